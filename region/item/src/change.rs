//! The change record: one item's mutation as it left its group. Its canonical bytes are what the log
//! holds, what `.repl` subjects carry, and what hashes and checksums cover.
//!
//! | bytes | field |
//! |---|---|
//! | 1 | version (1) |
//! | 1 | flags: 1 replaced, 2 transaction, 4 new image, 8 old image |
//! | 1 + 1 | cause, kind |
//! | 16 + 8 + 4 + 8 | table id, group, epoch, sequence |
//! | 18 | stamp |
//! | 18 | stamp that was replaced (flag 1) |
//! | 8 | closed stamp: no later record of this shard is stamped at or below it by this region |
//! | 2 + 8 + 8 | origin region, evaluation term, hash of the record before |
//! | 16 + 4 | transaction id, its number of items (flag 2) |
//! | 4 + n each | key, row key, new image (flag 4), old image (flag 8), merge state, extension |
//! | 4 | crc32c of all of the above |
//!
//! The extension is for fields that later versions add and this one carries along unread.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::codec::{Encoder, FormatError, SliceDecoder, crc64, verify_checksum};
use crate::ids::{GroupId, RegionId, Shard, TableId};
use crate::key::{Key, RowKey};
use crate::stamp::{Hlc, Stamp};

pub const VERSION: u8 = 1;
const WHAT: &str = "change record";
/// Everything but stamp replaced, transaction, and what has a length of its own.
const FIXED_BYTES: usize = 84 + CHECKSUM_BYTES;
const CHECKSUM_BYTES: usize = 4;
const TRANSACTION_BYTES: usize = 20;
const LENGTH_BYTES: usize = 4;

/// Who wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Cause {
    User = 1,
    Ttl = 2,
    Replication = 3,
    Repair = 4,
    /// A write that changed nothing but the stamp of an item in a replicated table.
    Touch = 5,
}

impl Cause {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Ttl => "ttl",
            Self::Replication => "replication",
            Self::Repair => "repair",
            Self::Touch => "touch",
        }
    }
}

/// What happened to the item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum ChangeKind {
    Insert = 1,
    Modify = 2,
    Remove = 3,
    /// Nothing that people see: only the stamp moved.
    Touch = 4,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeRecord {
    pub table: TableId,
    pub shard: Shard,
    /// From 1, without holes, in each shard.
    pub seq: u64,
    /// The item's new version. A replicated change keeps the stamp of the region it comes from.
    pub stamp: Stamp,
    /// The version it replaced, deletes' markers included.
    pub replaced: Option<Stamp>,
    pub closed: Hlc,
    /// The region where a client wrote it.
    pub origin: RegionId,
    pub cause: Cause,
    pub kind: ChangeKind,
    /// The transaction's id and how many items it wrote.
    pub transaction: Option<(Uuid, u32)>,
    pub key: Key,
    pub row_key: RowKey,
    /// [`crate::Item::encode`]d; `None` for a delete.
    pub new: Option<Bytes>,
    /// Kept where the table's stream shows it.
    pub old: Option<Bytes>,
    /// The term of the leader that evaluated it.
    pub eval_term: u64,
    /// [`chain_hash`] of the record before it in this shard; 0 before the first.
    pub prev_hash: u64,
    /// State of a merging table's attributes; empty for last-writer-wins.
    pub merge_state: Bytes,
    pub ext: Bytes,
}

/// The hash by which the next record names this one: CRC-64/NVME of the canonical bytes, which
/// contain the hash before.
pub fn chain_hash(canonical: &[u8]) -> u64 {
    crc64(canonical)
}

impl ChangeRecord {
    fn encoded_len(&self) -> usize {
        let key = self.key.encoded_len();
        let variable = [self.row_key.0.len(), self.merge_state.len(), self.ext.len()];
        let images = [&self.new, &self.old].into_iter().flatten().map(Bytes::len);
        let lengths = variable.into_iter().chain(images).map(|len| LENGTH_BYTES + len);
        FIXED_BYTES
            + self.replaced.map_or(0, |_| Stamp::BYTES)
            + self.transaction.map_or(0, |_| TRANSACTION_BYTES)
            + LENGTH_BYTES
            + key
            + lengths.sum::<usize>()
    }

    /// One allocation, of the exact size: every write passes here.
    pub fn encode(&self) -> Bytes {
        let len = self.encoded_len();
        let mut e = Encoder::with_capacity(len);
        e.u8(VERSION);
        let flag = |set, bit: u8| if set { bit } else { 0 };
        e.u8(flag(self.replaced.is_some(), 1)
            | flag(self.transaction.is_some(), 2)
            | flag(self.new.is_some(), 4)
            | flag(self.old.is_some(), 8));
        e.u8(self.cause as u8);
        e.u8(self.kind as u8);
        e.raw(self.table.0.as_bytes());
        e.u64(self.shard.group.0);
        e.u32(self.shard.epoch);
        e.u64(self.seq);
        e.raw(&self.stamp.encode());
        if let Some(replaced) = &self.replaced {
            e.raw(&replaced.encode());
        }
        e.u64(self.closed.0);
        e.u16(self.origin.0);
        e.u64(self.eval_term);
        e.u64(self.prev_hash);
        if let Some((id, items)) = &self.transaction {
            e.raw(id.as_bytes());
            e.u32(*items);
        }
        e.u32(u32::try_from(self.key.encoded_len()).expect("a key is shorter than 4 GiB"));
        self.key.write(&mut e);
        e.bytes(&self.row_key.0);
        for image in [&self.new, &self.old].into_iter().flatten() {
            e.bytes(image);
        }
        e.bytes(&self.merge_state);
        e.bytes(&self.ext);
        e.checksum();
        debug_assert_eq!(e.0.len(), len, "encoded length is computed exactly");
        e.finish()
    }

    /// Images, row key, merge state and extension are views of `canonical`.
    pub fn decode(canonical: &Bytes) -> Result<Self, FormatError> {
        if let Some(&version) = canonical.first().filter(|&&version| version != VERSION) {
            return Err(FormatError::version(WHAT, version, VERSION));
        }
        let body = verify_checksum(WHAT, canonical)?.len();
        let mut d = SliceDecoder::new(canonical.slice(..body), WHAT);
        d.version(VERSION)?;
        let flags = d.u8()?;
        if flags > 0xf {
            return Err(d.error(format!("unknown flags {flags:#x}")));
        }
        let has = |bit| flags & bit != 0;
        let cause = match d.u8()? {
            1 => Cause::User,
            2 => Cause::Ttl,
            3 => Cause::Replication,
            4 => Cause::Repair,
            5 => Cause::Touch,
            other => return Err(d.error(format!("unknown cause {other}"))),
        };
        let kind = match d.u8()? {
            1 => ChangeKind::Insert,
            2 => ChangeKind::Modify,
            3 => ChangeKind::Remove,
            4 => ChangeKind::Touch,
            other => return Err(d.error(format!("unknown kind {other}"))),
        };
        let uuid = |d: &mut SliceDecoder| -> Result<Uuid, FormatError> {
            Ok(Uuid::from_bytes(d.raw(16)?[..].try_into().expect("raw gives 16 bytes")))
        };
        let table = TableId(uuid(&mut d)?);
        let shard = Shard { group: GroupId(d.u64()?), epoch: d.u32()? };
        let seq = d.u64()?;
        let stamp = Stamp::decode(&d.raw(Stamp::BYTES)?)?;
        let replaced = if has(1) { Some(Stamp::decode(&d.raw(Stamp::BYTES)?)?) } else { None };
        let closed = Hlc(d.u64()?);
        let origin = RegionId(d.u16()?);
        let eval_term = d.u64()?;
        let prev_hash = d.u64()?;
        let transaction = if has(2) { Some((uuid(&mut d)?, d.u32()?)) } else { None };
        let key = Key::decode(&d.bytes()?)?;
        let row_key = RowKey(d.bytes()?);
        let new = if has(4) { Some(d.bytes()?) } else { None };
        let old = if has(8) { Some(d.bytes()?) } else { None };
        let merge_state = d.bytes()?;
        let ext = d.bytes()?;
        d.end()?;
        Ok(Self {
            table,
            shard,
            seq,
            stamp,
            replaced,
            closed,
            origin,
            cause,
            kind,
            transaction,
            key,
            row_key,
            new,
            old,
            eval_term,
            prev_hash,
            merge_state,
            ext,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Value;

    fn record() -> ChangeRecord {
        ChangeRecord {
            table: TableId(Uuid::from_u128(0x0102)),
            shard: Shard { group: GroupId(0x10), epoch: 1 },
            seq: 7,
            stamp: Stamp { hlc: Hlc(0xaa), region: RegionId(1), seq: 7 },
            replaced: Some(Stamp { hlc: Hlc(0x99), region: RegionId(2), seq: 3 }),
            closed: Hlc(0xa9),
            origin: RegionId(1),
            cause: Cause::User,
            kind: ChangeKind::Modify,
            transaction: None,
            key: Key { partition: Value::S("k".into()), sort: None },
            row_key: RowKey(Bytes::from_static(&[0xee; 16])),
            new: Some(Bytes::from_static(&[1, 0])),
            old: None,
            eval_term: 5,
            prev_hash: 0x0102_0304_0506_0708,
            merge_state: Bytes::new(),
            ext: Bytes::new(),
        }
    }

    /// Written by hand from the table above.
    #[test]
    fn bytes_have_the_written_form() {
        let mut expected: Vec<u8> = [
            &[1, 0b0101, 1, 2][..],
            &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2],
            &[0, 0, 0, 0, 0, 0, 0, 0x10],
            &[0, 0, 0, 1],
            &[0, 0, 0, 0, 0, 0, 0, 7],
            &[0, 0, 0, 0, 0, 0, 0, 0xaa, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7],
            &[0, 0, 0, 0, 0, 0, 0, 0x99, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3],
            &[0, 0, 0, 0, 0, 0, 0, 0xa9],
            &[0, 1],
            &[0, 0, 0, 0, 0, 0, 0, 5],
            &[1, 2, 3, 4, 5, 6, 7, 8],
            &[0, 0, 0, 5, 1, 0, 1, 1, b'k'],
            &[0, 0, 0, 16],
            &[0xee; 16],
            &[0, 0, 0, 2, 1, 0],
            &[0, 0, 0, 0],
            &[0, 0, 0, 0],
        ]
        .concat();
        expected.extend(crate::codec::crc32c(&expected).to_be_bytes());
        let encoded = record().encode();
        assert_eq!(encoded, expected);
        assert_eq!(ChangeRecord::decode(&encoded), Ok(record()));
    }

    #[test]
    fn all_fields_round_trip() {
        let full = ChangeRecord {
            transaction: Some((Uuid::from_u128(9), 3)),
            old: Some(Bytes::from_static(b"old")),
            merge_state: Bytes::from_static(b"state"),
            ext: Bytes::from_static(b"later"),
            ..record()
        };
        assert_eq!(ChangeRecord::decode(&full.encode()), Ok(full));
        let delete =
            ChangeRecord { new: None, replaced: None, kind: ChangeKind::Remove, ..record() };
        assert_eq!(ChangeRecord::decode(&delete.encode()), Ok(delete));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let good = record().encode();
        for bit in 0..good.len() * 8 {
            let mut bad = good.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(ChangeRecord::decode(&bad.into()).is_err(), "bit {bit}");
        }
        for cut in 0..good.len() {
            assert!(ChangeRecord::decode(&good.slice(..cut)).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn an_unknown_version_is_refused_by_name() {
        let mut bytes = record().encode().to_vec();
        bytes[0] = 2;
        let error = ChangeRecord::decode(&bytes.into()).expect_err("version 2");
        assert!(error.to_string().contains("version 2 is unknown"), "{error}");
    }

    #[test]
    fn the_chain_depends_on_all_that_came_before() {
        let first = record().encode();
        let second = ChangeRecord { prev_hash: chain_hash(&first), ..record() }.encode();
        assert_ne!(chain_hash(&first), chain_hash(&second));
    }
}
