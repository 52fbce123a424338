//! What callers of a group say and hear: requests, answers, descriptors.
//!
//! Always true: every request names the group and the range epoch it believes in. All of these
//! travel in postcard behind one version byte (see `service.rs`).

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tombolo_item::update::Update;
use tombolo_item::{
    Condition, GroupId, Hlc, Key, KeyRange, NodeId, RegionId, RowKey, Shard, Stamp, StreamView,
    TableId,
};
use tombolo_storage::{Digest, Finding};
use uuid::Uuid;

/// Identifies one attempt-independent write of a router session, so that a retry does not apply twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Token {
    pub session: Uuid,
    pub number: u64,
    /// Everything below this number is finished: its answers may be forgotten.
    pub lowest_unfinished: u64,
    /// When the router first sent it, ms since 1970.
    pub issued_ms: u64,
}

/// One write of one row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WriteRequest {
    pub group: GroupId,
    pub epoch: u32,
    pub key: Key,
    pub row_key: RowKey,
    pub op: WriteOp,
    pub token: Option<Token>,
}

/// What to do with the row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum WriteOp {
    /// Replace the item with `item` ([`tombolo_item::Item::encode`]).
    Put { item: Bytes, condition: Option<Condition>, return_old: bool, return_on_failure: bool },
    /// Remove the item.
    Delete { condition: Option<Condition>, return_old: bool, return_on_failure: bool },
    /// Change the item, or make one of the key's attributes and what the update sets.
    Update {
        update: Update,
        condition: Option<Condition>,
        returns: ReturnImages,
        return_on_failure: bool,
    },
    /// Take in a change of another region (a canonical change record); stamps decide.
    Merge { change: Bytes },
    /// Remove the row's tombstone, if its stamp is at most `older_than`.
    PurgeTombstone { older_than: Stamp },
    /// Rows outside the items, for internal state: replaced if `expect` holds.
    Rows { rows: Vec<RawRow>, expect: Option<RawRow> },
}

/// What an update answers with (API reference, `ReturnValues` of UpdateItem).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReturnImages {
    #[default]
    None,
    AllOld,
    /// What the updated paths led to before.
    UpdatedOld,
    AllNew,
    /// What the updated paths lead to now.
    UpdatedNew,
}

/// A row of a space other than the items.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RawRow {
    pub space: u8,
    pub key: RowKey,
    pub value: Option<Bytes>,
}

/// What the write did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum WriteOutcome {
    /// Applied. `old` and `new` only if asked for and there was (is) an item; of an update perhaps only a
    /// part of it ([`ReturnImages`]). A retry that finds the write done says so without `old`, and with `new`
    /// only while the item still is what the write made of it.
    Written { old: Option<Bytes>, new: Option<Bytes> },
    /// The condition was false; `item` only if asked for and there is one.
    ConditionFailed { item: Option<Bytes> },
    /// The item already was as asked.
    Unchanged { old: Option<Bytes>, new: Option<Bytes> },
    /// The remote change was decided: `won` = it is what the row now holds (or held already).
    Merged { won: bool },
}

/// The answer to a write, after its outcome can no longer be lost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WriteResponse {
    pub outcome: WriteOutcome,
    /// The stamp of the row after the write (or of the version that made the condition fail).
    pub stamp: Option<Stamp>,
    /// The change record's sequence number in the shard; 0 without one.
    pub seq: u64,
    /// Bytes of the item before and after, as DynamoDB counts them; 0: there was (is) none, or the
    /// write is not one of an item, or this answers a retry of what was done before. What capacity units
    /// are counted from.
    pub size_before: u32,
    pub size_after: u32,
}

/// Read one item.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReadRequest {
    pub group: GroupId,
    pub epoch: u32,
    pub row_key: RowKey,
    pub strong: bool,
}

/// The item, if there is one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReadResponse {
    pub item: Option<Bytes>,
    pub stamp: Option<Stamp>,
}

/// Read items of a range of row keys, in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RangeRequest {
    pub group: GroupId,
    pub epoch: u32,
    pub range: KeyRange,
    pub reverse: bool,
    /// At most this many items; 0 = as many as `max_bytes` allows.
    pub limit: u32,
    /// Stop once the items hold this many bytes; 0 = the default of 1 MiB; at most 4 MiB.
    pub max_bytes: u32,
    pub strong: bool,
    /// Walk the rows of this local index instead: `range` is one of index row keys
    /// ([`tombolo_item::key::index_sort_range`]), and so are the answer's keys.
    pub index: Option<u8>,
}

/// Items in the asked order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RangeResponse {
    /// Of an index: the whole items, under their rows' keys in the index.
    pub items: Vec<(RowKey, Bytes)>,
    /// Stopped before the end of the range; resume after the last row key.
    pub more: bool,
}

/// Read the rows of lost writes in a range of their keys ([`crate::ConflictRow::key`]), in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConflictsRequest {
    pub group: GroupId,
    pub epoch: u32,
    pub range: KeyRange,
    /// At most this many; 0 = as many as fit 1 MiB.
    pub limit: u32,
}

/// Lost writes in the order of their keys.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ConflictsResponse {
    /// Key and [`crate::ConflictRow`], encoded.
    pub rows: Vec<(RowKey, Bytes)>,
    /// Stopped before the end of the range; go on after the last key.
    pub more: bool,
}

/// What of a table its groups know, and can be told anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableFacts {
    pub view: Option<StreamView>,
    pub regions: Vec<RegionId>,
}

/// Where a group is and what it owns. The highest (epoch, conf_index) is the newest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    pub group: GroupId,
    pub table: TableId,
    pub range: KeyRange,
    pub epoch: u32,
    pub conf_index: u64,
    pub replicas: Vec<NodeId>,
    pub leader: Option<NodeId>,
}

impl Descriptor {
    /// Whether this one is newer than `other`, of the same group.
    pub fn newer_than(&self, other: &Descriptor) -> bool {
        (self.epoch, self.conf_index) > (other.epoch, other.conf_index)
    }
}

/// What a group is doing, seen from one replica.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupStatus {
    pub group: GroupId,
    pub table: TableId,
    pub shard: Shard,
    pub range: KeyRange,
    pub conf_index: u64,
    pub leader: Option<NodeId>,
    pub term: u64,
    pub is_leader: bool,
    /// This replica leads, holds a lease and evaluates.
    pub serving: bool,
    pub applied: u64,
    pub committed: u64,
    /// Last index in the log, committed or not.
    pub last_index: u64,
    pub seq: u64,
    pub chain_hash: u64,
    pub voters: Vec<NodeId>,
    /// Leader only: how many entries each voter is behind the leader's log.
    pub lag: Vec<(NodeId, u64)>,
}

impl GroupStatus {
    /// The newest routing facts this replica knows.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor {
            group: self.group,
            table: self.table,
            range: self.range.clone(),
            epoch: self.shard.epoch,
            conf_index: self.conf_index,
            replicas: self.voters.clone(),
            leader: self.leader,
        }
    }
}

/// Where a shard's stream stands on one replica; moves after every apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    pub applied: u64,
    pub seq: u64,
    pub hash: u64,
    /// No record with a stamp at or below this follows.
    pub closed: Hlc,
}

/// What to compute over a replica's view pinned at a marker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum DigestRequest {
    /// One digest per each of 2^bits equal parts of the hash space inside `range`. Rows of local indexes
    /// are no part of them; that they are not those the items ask for is a finding.
    Buckets { range: KeyRange, bits: u8 },
    /// The items of a range: row key, stamp, content hash.
    Keys { range: KeyRange, limit: u32 },
}

/// What one replica holds at a marker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DigestResponse {
    /// The log index the view was pinned at: equal on every replica.
    pub index: u64,
    /// For [`DigestRequest::Buckets`].
    pub buckets: Vec<Digest>,
    /// For [`DigestRequest::Keys`]: row key, stamp, content hash.
    pub keys: Vec<(RowKey, Stamp, u64)>,
    /// The limit was reached: go on after the last key.
    pub more: bool,
    /// Rows that fail their checksum: a replica with any is the odd one out.
    pub findings: Vec<Finding>,
}

/// Something about a group changed on this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostEvent {
    Leader { group: GroupId, term: u64 },
    NotLeader { group: GroupId },
    ConfigChanged { group: GroupId },
    Dropped { group: GroupId },
}
