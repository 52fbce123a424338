//! What is asked of change streams, and what comes back.

use std::sync::Arc;

use bytes::Bytes;
use tombolo_item::{Cause, ChangeKind, Item, KeySchema, Shard, StreamView};
use tombolo_memds::TableInfo;

use crate::iterator::ShardIterator;

/// A change stream: of a table, since it was last enabled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamName {
    /// Name of the table.
    pub table: String,
    /// Its label; nothing for the table's latest stream.
    pub label: Option<String>,
}

/// Streams with their tables (API_streams_ListStreams).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListStreams {
    /// Of this table only.
    pub table: Option<String>,
    /// After this one.
    pub after: Option<StreamName>,
    /// Most streams, 1 to 100.
    pub limit: usize,
}

/// A stream and its shards (API_streams_DescribeStream).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribeStream {
    /// Which.
    pub stream: StreamName,
    /// Shards after this one.
    pub after: Option<Shard>,
    /// Most shards, 1 to 100; all without.
    pub limit: Option<usize>,
    /// Only the children of this shard.
    pub children_of: Option<Shard>,
}

/// Where an iterator begins (`ShardIteratorType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IteratorStart {
    /// The oldest record there is.
    TrimHorizon,
    /// After the newest record.
    Latest,
    /// This record.
    AtSequence(u64),
    /// After this record.
    AfterSequence(u64),
    /// The first record of this time or later, ms since 1970.
    AtTimestamp(u64),
}

/// A place in a shard (API_streams_GetShardIterator).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetShardIterator {
    /// The stream.
    pub stream: StreamName,
    /// Its shard.
    pub shard: Shard,
    /// Where it begins.
    pub start: IteratorStart,
}

/// Records of one shard (API_streams_GetRecords).
#[derive(Debug, Clone, PartialEq)]
pub struct GetRecords {
    /// From where.
    pub from: RecordsFrom,
    /// Most records.
    pub limit: usize,
}

/// Where records are read from.
#[derive(Debug, Clone, PartialEq)]
pub enum RecordsFrom {
    /// A sequence number: gives canonical records.
    Position {
        /// Name of the table.
        table: String,
        /// The shard.
        shard: Shard,
        /// First sequence number.
        seq: u64,
    },
    /// An iterator: gives what the stream's view shows, and the next iterator.
    Iterator(ShardIterator),
}

impl RecordsFrom {
    /// Name of the table.
    pub fn table(&self) -> &str {
        match self {
            RecordsFrom::Position { table, .. } => table,
            RecordsFrom::Iterator(iterator) => &iterator.table,
        }
    }
}

/// Names of streams.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamNames {
    /// In order of their tables.
    pub streams: Vec<StreamName>,
    /// Where to go on.
    pub last: Option<StreamName>,
}

/// A change stream.
#[derive(Debug, Clone)]
pub struct StreamDescription {
    /// The table.
    pub info: Arc<TableInfo>,
    /// Name of the region that answers.
    pub region: String,
    /// Its label; empty when the table has no stream for people.
    pub label: String,
    /// People can read it; a disabled one can be read for a day.
    pub enabled: bool,
    /// When it was enabled, ms since 1970.
    pub created_ms: u64,
    /// JetStream's name of it.
    pub stream_name: String,
    /// People's subjects; empty when none.
    pub subject: String,
    /// Replication's subjects; empty when none.
    pub replication_subject: String,
    /// Its shards, in order.
    pub shards: Vec<ShardDescription>,
    /// Where to go on.
    pub last: Option<Shard>,
}

/// A shard of a change stream.
#[derive(Debug, Clone)]
pub struct ShardDescription {
    /// Its name.
    pub shard: Shard,
    /// The shard that it continues, and that one's last sequence number.
    pub parent: Option<(Shard, u64)>,
    /// Oldest sequence number that can be read.
    pub oldest_seq: u64,
    /// Newest sequence number, its hash, closed stamp; nothing without a copy here.
    pub head: Option<(u64, u64, u64)>,
    /// Its last sequence number, when no more will follow.
    pub ending_seq: Option<u64>,
    /// The node that leads.
    pub leader: Option<u64>,
}

/// Canonical records of a shard.
#[derive(Debug, Clone)]
pub struct RecordsPage {
    /// The table's keys, to name them in decoded records.
    pub schema: KeySchema,
    /// Sequence number and canonical bytes, in order.
    pub records: Vec<(u64, Bytes)>,
    /// Where to go on.
    pub next_seq: u64,
    /// Oldest sequence number that can be read.
    pub oldest_seq: u64,
    /// Newest sequence number applied here.
    pub head_seq: u64,
}

/// Records as the stream's view shows them.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamPage {
    /// Name of the region that answers.
    pub region: String,
    /// What the view shows.
    pub view: StreamView,
    /// In order.
    pub records: Vec<StreamRecord>,
    /// Where to go on; nothing when the shard is closed and read to its end.
    pub next: Option<ShardIterator>,
}

/// One change as the stream's view shows it (API_streams_Record).
#[derive(Debug, Clone, PartialEq)]
pub struct StreamRecord {
    /// The shard.
    pub shard: Shard,
    /// In the shard.
    pub seq: u64,
    /// What happened; never `Touch`.
    pub kind: ChangeKind,
    /// Who made it.
    pub cause: Cause,
    /// When, ms since 1970.
    pub created_ms: u64,
    /// The key attributes.
    pub keys: Item,
    /// The item after, if the view shows it and there is one.
    pub new: Option<Item>,
    /// The item before, if the view shows it and there was one.
    pub old: Option<Item>,
    /// Bytes of keys and images as DynamoDB counts them.
    pub size_bytes: u64,
}
