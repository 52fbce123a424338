//! What one log entry of a group holds: rows to put and delete, change records, the token with its
//! result, configuration, confirmations.
//!
//! Always true: the record is physical. Applying it reads no clock and evaluates nothing, so equal
//! entries make equal replicas.
//!
//! A batch as bytes (big endian): version u8 (1, or 2 when a configuration with local indexes is in it) ‖ records u32 ‖ each record ‖ crc32c of all before.
//! A record: length u32 ‖ postcard of its head (table, shard, evaluation term, token,
//! configuration, confirmations, marker, closed stamp), in version 2 followed by postcard of the
//! configuration's local indexes ‖ changes u32, each length u32 ‖ bytes ‖
//! rows u32, each space u8 ‖ length u32 ‖ key ‖ 0, or 1 ‖ length u32 ‖ value ‖ extension length u32 ‖
//! extension.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tombolo_item::codec::verify_checksum;
use tombolo_item::table::LocalIndex;
use tombolo_item::{
    Encoder, FormatError, GroupId, HashSecret, Hlc, KeyRange, KeySchema, RegionId, RowKey, Shard,
    SliceDecoder, Stamp, StreamView, TableId,
};
use uuid::Uuid;

use crate::StorageError;

/// The folders of rows inside one replica.
pub struct Space;

impl Space {
    /// The table's items, by row key. Written by change records only; a [`RowOp`] may only delete
    /// here (a purged tombstone).
    pub const ITEMS: u8 = 0;
    /// Local index rows.
    pub const INDEX: u8 = 1;
    /// Writes that lost a conflict.
    pub const CONFLICTS: u8 = 2;
    /// What the group keeps for itself.
    pub const SYSTEM: u8 = 3;
    /// How many there are.
    pub const COUNT: usize = 4;
}

/// One evaluated write (or several of one evaluation) of one group.
#[derive(Debug, Clone, PartialEq)]
pub struct LogRecord {
    pub table: TableId,
    pub shard: Shard,
    /// The term in which the leader evaluated this; in an entry of another term it does nothing.
    pub eval_term: u64,
    pub token: Option<TokenRecord>,
    /// Canonical `ChangeRecord`s, sequence numbers without holes.
    pub changes: Vec<Bytes>,
    pub rows: Vec<RowOp>,
    pub config: Option<GroupConfig>,
    pub confirmed: Vec<Confirmed>,
    pub marker: Option<u64>,
    pub closed: Option<Hlc>,
    /// For later versions; kept, not read.
    pub ext: Bytes,
}

/// A write's idempotency token and the answer to give when it is tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    pub session: Uuid,
    pub number: u64,
    pub lowest_unfinished: u64,
    pub issued_ms: u64,
    pub result: TokenResult,
}

/// Outcome and stamp of a finished write; never an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenResult {
    pub outcome: u8,
    pub stamp: Option<Stamp>,
}

/// One row to put (`Some`) or delete (`None`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowOp {
    pub space: u8,
    pub key: RowKey,
    pub value: Option<Bytes>,
}

/// What a group is: its table, its range, its lineage. Replicated in the group itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupConfig {
    pub group: GroupId,
    pub table: TableId,
    pub schema: KeySchema,
    pub secret: HashSecret,
    pub range: KeyRange,
    pub epoch: u32,
    pub view: Option<StreamView>,
    /// All regions of the table, ours too. More than one: replicated, deletes leave tombstones.
    pub regions: Vec<RegionId>,
    pub parent: Option<ParentShard>,
    /// Whether checkpoints seal the change records they cover.
    pub keep_log: bool,
    /// The table's local indexes, by their numbers. Formats write them behind the configuration, and
    /// only where there are some: older ones stay what they were.
    #[serde(skip)]
    pub indexes: Vec<LocalIndex>,
}

/// Where a split child's chain of changes continues from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParentShard {
    pub shard: Shard,
    pub seq: u64,
    pub hash: u64,
}

/// How far another region has durably applied a shard of this group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmed {
    pub region: RegionId,
    pub shard: Shard,
    pub seq: u64,
    pub closed_applied: Hlc,
}

const VERSION: u8 = 1;
const VERSION_WITH_INDEXES: u8 = 2;
const WHAT: &str = "log record batch";

/// The parts of a record that are not bulk.
#[derive(Serialize, Deserialize)]
struct Head<T, G, C> {
    table: TableId,
    shard: Shard,
    eval_term: u64,
    token: T,
    config: G,
    confirmed: C,
    marker: Option<u64>,
    closed: Option<Hlc>,
}

type OwnedHead = Head<Option<TokenRecord>, Option<GroupConfig>, Vec<Confirmed>>;

/// The data of one consensus entry.
pub fn encode_batch(records: &[LogRecord]) -> Bytes {
    let bulk: usize = records
        .iter()
        .map(|r| {
            let rows =
                r.rows.iter().map(|o| o.key.0.len() + o.value.as_ref().map_or(0, Bytes::len));
            128 + r.changes.iter().map(|c| c.len() + 4).sum::<usize>() + rows.sum::<usize>()
        })
        .sum();
    let mut out = Encoder::with_capacity(16 + bulk);
    let indexes = |record: &LogRecord| record.config.as_ref().map_or(0, |c| c.indexes.len());
    let with_indexes = records.iter().any(|record| indexes(record) > 0);
    out.u8(if with_indexes { VERSION_WITH_INDEXES } else { VERSION });
    out.u32(records.len() as u32);
    for record in records {
        let head = Head {
            table: record.table,
            shard: record.shard,
            eval_term: record.eval_term,
            token: &record.token,
            config: &record.config,
            confirmed: &record.confirmed,
            marker: record.marker,
            closed: record.closed,
        };
        let at = out.0.len();
        out.u32(0);
        out.0 = postcard::to_extend(&head, out.0)
            .expect("a record of plain values always serializes into memory");
        if with_indexes {
            let indexes = record.config.as_ref().map_or(&[][..], |config| &config.indexes);
            out.0 = postcard::to_extend(indexes, out.0)
                .expect("a list of plain values always serializes into memory");
        }
        let length = (out.0.len() - at - 4) as u32;
        out.0[at..at + 4].copy_from_slice(&length.to_be_bytes());
        out.u32(record.changes.len() as u32);
        record.changes.iter().for_each(|change| out.bytes(change));
        out.u32(record.rows.len() as u32);
        for row in &record.rows {
            out.u8(row.space);
            out.bytes(&row.key.0);
            out.u8(u8::from(row.value.is_some()));
            if let Some(value) = &row.value {
                out.bytes(value);
            }
        }
        out.bytes(&record.ext);
    }
    out.checksum();
    out.finish()
}

/// Reads [`encode_batch`]'s bytes; change records and values are slices of `data`, not copies.
pub fn decode_batch(data: &Bytes) -> Result<Vec<LogRecord>, StorageError> {
    read_batch(data).map_err(|e| {
        crate::metrics::corruption(WHAT);
        StorageError::format(WHAT, e)
    })
}

fn read_batch(data: &Bytes) -> Result<Vec<LogRecord>, FormatError> {
    let body = verify_checksum(WHAT, data)?.len();
    let mut input = SliceDecoder::new(data.slice(..body), WHAT);
    let version = input.version(VERSION_WITH_INDEXES)?;
    let mut records = Vec::new();
    for _ in 0..input.u32()? {
        let head = input.bytes()?;
        let (mut head, rest): (OwnedHead, _) =
            postcard::take_from_bytes(&head).map_err(|e| input.error(format!("a head: {e}")))?;
        if version == VERSION_WITH_INDEXES {
            let indexes: Vec<LocalIndex> = postcard::from_bytes(rest)
                .map_err(|e| input.error(format!("local indexes: {e}")))?;
            if let Some(config) = &mut head.config {
                config.indexes = indexes;
            }
        }
        let mut changes = Vec::new();
        for _ in 0..input.u32()? {
            changes.push(input.bytes()?);
        }
        let mut rows = Vec::new();
        for _ in 0..input.u32()? {
            let space = input.u8()?;
            let key = RowKey(input.bytes()?);
            let value = match input.u8()? {
                0 => None,
                1 => Some(input.bytes()?),
                other => return Err(input.error(format!("{other} is neither put nor delete"))),
            };
            rows.push(RowOp { space, key, value });
        }
        let ext = input.bytes()?;
        records.push(LogRecord {
            table: head.table,
            shard: head.shard,
            eval_term: head.eval_term,
            token: head.token,
            changes,
            rows,
            config: head.config,
            confirmed: head.confirmed,
            marker: head.marker,
            closed: head.closed,
            ext,
        });
    }
    input.end()?;
    Ok(records)
}

#[cfg(test)]
mod tests {
    use tombolo_item::table::{IndexName, IndexProjection};
    use tombolo_item::{KeyAttribute, KeyType};

    use super::*;

    fn record() -> LogRecord {
        let shard = Shard { group: GroupId(16), epoch: 1 };
        let stamp = Stamp { hlc: Hlc(9), region: RegionId(1), seq: 2 };
        let kind = KeyType::S;
        LogRecord {
            table: TableId(Uuid::from_u128(1)),
            shard,
            eval_term: 3,
            token: Some(TokenRecord {
                session: Uuid::from_u128(2),
                number: 4,
                lowest_unfinished: 3,
                issued_ms: 5,
                result: TokenResult { outcome: 1, stamp: Some(stamp) },
            }),
            changes: vec![Bytes::from_static(b"change")],
            rows: vec![
                RowOp {
                    space: Space::INDEX,
                    key: RowKey(Bytes::from_static(b"k")),
                    value: Some(Bytes::from_static(b"v")),
                },
                RowOp { space: Space::ITEMS, key: RowKey(Bytes::from_static(b"t")), value: None },
            ],
            config: Some(GroupConfig {
                group: GroupId(16),
                table: TableId(Uuid::from_u128(1)),
                schema: KeySchema {
                    partition: KeyAttribute { name: "id".into(), kind },
                    sort: None,
                },
                secret: HashSecret([7; 16]),
                range: KeyRange::full(),
                epoch: 1,
                view: Some(StreamView::NewImage),
                regions: vec![RegionId(1), RegionId(2)],
                parent: Some(ParentShard { shard, seq: 8, hash: 9 }),
                keep_log: true,
                indexes: Vec::new(),
            }),
            confirmed: vec![Confirmed {
                region: RegionId(2),
                shard,
                seq: 6,
                closed_applied: Hlc(7),
            }],
            marker: Some(10),
            closed: Some(Hlc(11)),
            ext: Bytes::from_static(b"ext"),
        }
    }

    #[test]
    fn golden_bytes() {
        let hex: String = encode_batch(&[record()]).iter().map(|b| format!("{b:02x}")).collect();
        let golden = [
            "01000000010000006e10000000000000000000000000000000011001030110000000000000000000",
            "00000000000002040305010109010201101000000000000000000000000000000001026964000007",
            "0707070707070707070707070707070000010101020102011001080901010210010607010a010b00",
            "000001000000066368616e67650000000201000000016b0100000001760000000001740000000003",
            "6578746942e445",
        ];
        assert_eq!(hex, golden.concat());
    }

    /// What a version 1 batch says, then the indexes at the end of the head.
    #[test]
    fn golden_bytes_with_local_indexes() {
        let mut with = record();
        let index = |name: &str, kind, projection| LocalIndex {
            name: IndexName::new(name).unwrap(),
            sort: KeyAttribute { name: "at".into(), kind },
            projection,
        };
        with.config.as_mut().unwrap().indexes = vec![
            index("one", KeyType::N, IndexProjection::All),
            index("two", KeyType::S, IndexProjection::Include(vec!["a".into()])),
        ];
        let bytes = encode_batch(&[with.clone()]);
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let plain = hex(&encode_batch(&[record()]));
        let (head, rest) = (&plain[18..18 + 2 * 0x6e], &plain[18 + 2 * 0x6e..plain.len() - 8]);
        // Two: "one" by at (N), all; "two" by at (S), with a.
        let indexes =
            concat!("02", "036f6e65", "026174", "01", "00", "0374776f", "026174", "00", "02010161");
        let length = 0x6e + indexes.len() / 2;
        let expected = format!("0200000001{length:08x}{head}{indexes}{rest}");
        let written = hex(&bytes);
        assert_eq!(written[..written.len() - 8], expected);
        assert_eq!(decode_batch(&bytes).unwrap(), [with.clone()]);
        let bare = LogRecord { config: None, ..record() };
        let batch = [bare, with];
        assert_eq!(decode_batch(&encode_batch(&batch)).unwrap(), batch);
    }

    #[test]
    fn batches_come_back_and_damage_is_refused() {
        let bare = LogRecord {
            token: None,
            changes: Vec::new(),
            rows: Vec::new(),
            config: None,
            confirmed: Vec::new(),
            marker: None,
            closed: None,
            ..record()
        };
        let batch = [record(), bare, record()];
        let bytes = encode_batch(&batch);
        assert_eq!(decode_batch(&bytes).unwrap(), batch);
        assert!(decode_batch(&encode_batch(&[])).unwrap().is_empty());
        for cut in 0..bytes.len() {
            assert!(decode_batch(&bytes.slice(..cut)).is_err(), "cut at {cut}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_batch(&flipped.into()).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn an_unknown_version_is_refused_by_name() {
        let mut out = Encoder::default();
        out.u8(9);
        out.u32(0);
        out.checksum();
        let refused = decode_batch(&out.finish()).unwrap_err().to_string();
        assert!(refused.contains("format version 9"), "{refused}");
    }
}
