//! What one log entry of a group holds: rows to put and delete, change records, the token with its
//! result, configuration, confirmations.
//!
//! Always true: the record is physical. Applying it reads no clock and evaluates nothing, so equal
//! entries make equal replicas. Its first byte is the format version.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tombolo_item::{
    GroupId, HashSecret, Hlc, KeyRange, KeySchema, RegionId, RowKey, Shard, Stamp, StreamView,
    TableId,
};
use uuid::Uuid;

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

/// The data of one consensus entry.
pub fn encode_batch(_records: &[LogRecord]) -> Bytes {
    todo!()
}

/// Reads [`encode_batch`]'s bytes; change records and values are slices of `data`, not copies.
pub fn decode_batch(_data: &Bytes) -> Result<Vec<LogRecord>, crate::StorageError> {
    todo!()
}
