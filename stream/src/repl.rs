//! The body of a `.repl` message: whole change records of one shard, in their canonical bytes.
//!
//! Always true: the records are consecutive, the first has `first_seq`; or the message is a stub,
//! alone, for one record too large to travel by NATS. The last eight bytes are a checksum of all
//! before them, and every length is compared with what is there before anything is allocated.
//!
//! Layout, big endian:
//!
//! ```text
//! version u8 = 1 | kind u8 (0 records, 1 stub) | table 16 | group u64 | epoch u32 | first_seq u64
//! kind 0: count u32, then count times: length u32, canonical change record
//! kind 1: record length u32 | prev_hash u64 | hash u64 | key length u32, key
//! checksum u64 (CRC-64/NVME of everything before)
//! ```

use crate::error::MessageError;
use bytes::{BufMut, Bytes, BytesMut};
use tombolo_item::{GroupId, Shard, TableId, chain_hash};
use uuid::Uuid;

const WHAT: &str = "replication message";
const VERSION: u8 = 1;
const KIND_RECORDS: u8 = 0;
const KIND_STUB: u8 = 1;
/// Bytes around the records of a message, without the four bytes before each.
pub const FRAME_BYTES: usize = 1 + 1 + 16 + 8 + 4 + 8 + 4 + 8;

/// What stands for a record too large for a message: fetch the body from the shard's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stub {
    /// The size of the record's canonical bytes.
    pub record_bytes: u32,
    /// Hash of the record before it.
    pub prev_hash: u64,
    /// Hash of the record itself: what the fetched body must have.
    pub hash: u64,
    /// The item's key, encoded ([`tombolo_item::Key::encode`]).
    pub key: Bytes,
}

/// Consecutive change records of one shard, or one stub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplMessage {
    pub table: TableId,
    pub shard: Shard,
    pub first_seq: u64,
    /// Canonical change records; empty in a stub.
    pub records: Vec<Bytes>,
    /// Instead of records: record `first_seq` has to be fetched.
    pub stub: Option<Stub>,
}

impl ReplMessage {
    /// The sequence number of the last record.
    pub fn last_seq(&self) -> u64 {
        self.first_seq + (self.records.len().max(1) as u64 - 1)
    }

    pub fn encode(&self) -> Bytes {
        let body: usize = match &self.stub {
            Some(stub) => 24 + stub.key.len(),
            None => self.records.iter().map(|record| 4 + record.len()).sum(),
        };
        let mut out = BytesMut::with_capacity(FRAME_BYTES + body);
        out.put_u8(VERSION);
        out.put_u8(if self.stub.is_some() { KIND_STUB } else { KIND_RECORDS });
        out.put_slice(self.table.0.as_bytes());
        out.put_u64(self.shard.group.0);
        out.put_u32(self.shard.epoch);
        out.put_u64(self.first_seq);
        match &self.stub {
            Some(stub) => {
                out.put_u32(stub.record_bytes);
                out.put_u64(stub.prev_hash);
                out.put_u64(stub.hash);
                out.put_u32(stub.key.len() as u32);
                out.put_slice(&stub.key);
            }
            None => {
                out.put_u32(self.records.len() as u32);
                for record in &self.records {
                    out.put_u32(record.len() as u32);
                    out.put_slice(record);
                }
            }
        }
        let checksum = chain_hash(&out);
        out.put_u64(checksum);
        out.freeze()
    }

    /// Reads a message; records are slices of `bytes`, nothing is copied.
    pub fn decode(bytes: &Bytes) -> Result<ReplMessage, MessageError> {
        let mut input = Input { bytes, at: 0 };
        let version = input.array::<1>()?[0];
        if version != VERSION {
            return Err(MessageError::Version { what: WHAT, found: version, newest: VERSION });
        }
        let body = bytes.len().checked_sub(8).ok_or(input.short(8))?;
        let stated = u64::from_be_bytes(Input { bytes, at: body }.array()?);
        let computed = chain_hash(&bytes[..body]);
        if stated != computed {
            return Err(MessageError::Checksum { what: WHAT, stated, computed });
        }
        let content = bytes.slice(..body);
        let mut input = Input { bytes: &content, at: 1 };
        let kind = input.array::<1>()?[0];
        let table = TableId(Uuid::from_bytes(input.array()?));
        let group = GroupId(u64::from_be_bytes(input.array()?));
        let epoch = u32::from_be_bytes(input.array()?);
        let first_seq = u64::from_be_bytes(input.array()?);
        let (mut records, mut stub) = (Vec::new(), None);
        match kind {
            KIND_RECORDS => {
                let count = u32::from_be_bytes(input.array()?) as usize;
                if count == 0 || count > (content.len() - input.at) / 4 {
                    return Err(input.malformed(format!("it claims to hold {count} records")));
                }
                records.reserve_exact(count);
                for _ in 0..count {
                    records.push(input.sized()?);
                }
            }
            KIND_STUB => {
                let record_bytes = u32::from_be_bytes(input.array()?);
                let prev_hash = u64::from_be_bytes(input.array()?);
                let hash = u64::from_be_bytes(input.array()?);
                stub = Some(Stub { record_bytes, prev_hash, hash, key: input.sized()? });
            }
            other => return Err(input.malformed(format!("message kind {other} is not known"))),
        }
        if input.at != content.len() {
            return Err(input.malformed(format!("{} bytes too many", content.len() - input.at)));
        }
        if first_seq.checked_add(records.len() as u64).is_none() {
            return Err(input.malformed(format!("its first sequence number is {first_seq}")));
        }
        Ok(ReplMessage { table, shard: Shard { group, epoch }, first_seq, records, stub })
    }
}

struct Input<'a> {
    bytes: &'a Bytes,
    at: usize,
}

impl Input<'_> {
    fn short(&self, need: usize) -> MessageError {
        MessageError::Truncated { what: WHAT, offset: self.at, need, have: self.bytes.len() }
    }

    fn malformed(&self, reason: String) -> MessageError {
        MessageError::Malformed { what: WHAT, reason }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], MessageError> {
        let slice = self.bytes.get(self.at..self.at + N).ok_or(self.short(N))?;
        self.at += N;
        slice.try_into().map_err(|_| self.short(N))
    }

    fn sized(&mut self) -> Result<Bytes, MessageError> {
        let length = u32::from_be_bytes(self.array()?) as usize;
        if length > self.bytes.len() - self.at {
            return Err(self.short(length));
        }
        let slice = self.bytes.slice(self.at..self.at + length);
        self.at += length;
        Ok(slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> ReplMessage {
        ReplMessage {
            table: TableId(Uuid::from_u128(1)),
            shard: Shard { group: GroupId(16), epoch: 2 },
            first_seq: 5,
            records: vec![Bytes::from_static(b"ab"), Bytes::from_static(b"c")],
            stub: None,
        }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn golden_bytes() {
        let frame = "00000000000000000000000000000001000000000000001000000002";
        assert_eq!(
            hex(&message().encode()),
            format!("0100{frame}00000000000000050000000200000002616200000001631111197d1ed07ad8")
        );
        let stub = Stub { record_bytes: 9, prev_hash: 3, hash: 4, key: Bytes::from_static(b"k") };
        let stub = ReplMessage { records: vec![], stub: Some(stub), ..message() };
        assert_eq!(
            hex(&stub.encode()),
            format!(
                "0101{frame}00000000000000050000000900000000000000030000000000000004000000016b\
                 3a844204e1bb2d66"
            )
        );
    }

    #[test]
    fn reads_back_what_was_written() {
        let records = message();
        assert_eq!(ReplMessage::decode(&records.encode()), Ok(records.clone()));
        assert_eq!(records.last_seq(), 6);
        let stub = Stub { record_bytes: 9, prev_hash: 3, hash: 4, key: Bytes::from_static(b"k") };
        let stub = ReplMessage { records: vec![], stub: Some(stub), ..message() };
        assert_eq!(ReplMessage::decode(&stub.encode()), Ok(stub.clone()));
        assert_eq!(stub.last_seq(), 5);
    }

    #[test]
    fn refuses_an_unknown_version_by_name() {
        let mut bytes = message().encode().to_vec();
        bytes[0] = 2;
        let error = ReplMessage::decode(&bytes.into()).unwrap_err();
        assert_eq!(error, MessageError::Version { what: WHAT, found: 2, newest: 1 });
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_noticed() {
        let good = message().encode();
        for length in 0..good.len() {
            assert!(ReplMessage::decode(&good.slice(..length)).is_err(), "cut at {length}");
        }
        for bit in 0..good.len() * 8 {
            let mut bytes = good.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(ReplMessage::decode(&bytes.into()).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_count_is_checked_before_it_is_believed() {
        let mut bytes = message().encode().to_vec();
        bytes[38..42].copy_from_slice(&u32::MAX.to_be_bytes());
        let body = bytes.len() - 8;
        let checksum = chain_hash(&bytes[..body]);
        bytes[body..].copy_from_slice(&checksum.to_be_bytes());
        let error = ReplMessage::decode(&bytes.into()).unwrap_err();
        assert!(error.to_string().contains("4294967295 records"), "{error}");
    }
}
