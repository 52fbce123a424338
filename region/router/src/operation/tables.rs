//! What is asked of tables, and how they are described.
//!
//! A definition holds what the caller sent, unchecked but for its shape: `execute` checks it, the same
//! for every protocol. Times are milliseconds since 1970.

use std::sync::Arc;

use tombolo_group::Descriptor;
use tombolo_item::{IndexProjection, KeySchema, KeyType, StreamView};
use tombolo_memds::TableInfo;

/// The part an attribute plays in a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyRole {
    /// The partition key.
    Hash,
    /// The sort key.
    Range,
}

/// How a table is paid for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BillingMode {
    /// Capacity is set beforehand.
    #[default]
    Provisioned,
    /// By request.
    PayPerRequest,
}

impl BillingMode {
    /// As in requests and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            BillingMode::Provisioned => "PROVISIONED",
            BillingMode::PayPerRequest => "PAY_PER_REQUEST",
        }
    }
}

/// Capacity units per second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Throughput {
    /// Of reading.
    pub read: i64,
    /// Of writing.
    pub write: i64,
}

/// Attributes that an index holds, as sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProjectionDefinition {
    /// `ALL`, `KEYS_ONLY` or `INCLUDE`.
    pub kind: Option<ProjectionKind>,
    /// Names for `INCLUDE`.
    pub non_key_attributes: Option<Vec<String>>,
}

/// Which attributes an index holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProjectionKind {
    /// All.
    All,
    /// Those of the keys.
    KeysOnly,
    /// Those of the keys and some more.
    Include,
}

/// An index, as sent. A local one has neither throughput.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IndexDefinition {
    /// Its name.
    pub name: String,
    /// Its keys.
    pub key_schema: Vec<(String, KeyRole)>,
    /// What it holds.
    pub projection: Option<ProjectionDefinition>,
    /// Capacity (global indexes).
    pub throughput: Option<Throughput>,
    /// Most request units a second (global indexes).
    pub on_demand: Option<OnDemand>,
}

/// Most request units a second of a table paid for by request; -1 takes a bound away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OnDemand {
    /// Of reading.
    pub read: Option<i64>,
    /// Of writing.
    pub write: Option<i64>,
}

/// Whether there is a change stream for people.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamSpecification {
    /// There is.
    pub enabled: bool,
    /// What it shows.
    pub view: Option<StreamView>,
}

/// Encryption at rest, as sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SseSpecification {
    /// With a key other than the service's own.
    pub enabled: Option<bool>,
    /// `AES256` or `KMS`.
    pub kind: Option<String>,
    /// Which key.
    pub key: Option<String>,
}

/// `STANDARD` or `STANDARD_INFREQUENT_ACCESS`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TableClass {
    /// The usual one.
    #[default]
    Standard,
    /// For data that is read seldom. It is kept and told; here it is stored like any other.
    InfrequentAccess,
}

impl TableClass {
    /// As in requests and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            TableClass::Standard => "STANDARD",
            TableClass::InfrequentAccess => "STANDARD_INFREQUENT_ACCESS",
        }
    }
}

/// A word that a user ties to a table, and its meaning.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tag {
    /// 1 to 128 characters.
    pub key: String,
    /// Up to 256 characters.
    pub value: String,
}

/// Make a table (API_CreateTable).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CreateTable {
    /// Its name.
    pub table: String,
    /// Types of the key attributes.
    pub attributes: Vec<(String, KeyType)>,
    /// Its keys.
    pub key_schema: Vec<(String, KeyRole)>,
    /// Local indexes; an empty list is not the same as none.
    pub local_indexes: Option<Vec<IndexDefinition>>,
    /// Global indexes; an empty list is not the same as none.
    pub global_indexes: Option<Vec<IndexDefinition>>,
    /// How it is paid for.
    pub billing: Option<BillingMode>,
    /// Capacity.
    pub throughput: Option<Throughput>,
    /// Most request units a second.
    pub on_demand: Option<OnDemand>,
    /// The change stream for people.
    pub stream: Option<StreamSpecification>,
    /// Encryption at rest.
    pub sse: Option<SseSpecification>,
    /// Tags.
    pub tags: Vec<Tag>,
    /// How it is stored.
    pub class: Option<TableClass>,
    /// DeleteTable refuses it.
    pub deletion_protection: bool,
    /// Partitions to start with; 0 for one (not DynamoDB's).
    pub partitions: u32,
    /// Names of the regions that keep a copy (not DynamoDB's; its way is UpdateTable).
    pub regions: Vec<String>,
}

/// Change a table (API_UpdateTable).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct UpdateTable {
    /// Its name.
    pub table: String,
    /// Types of the key attributes of new indexes.
    pub attributes: Vec<(String, KeyType)>,
    /// How it is paid for.
    pub billing: Option<BillingMode>,
    /// Capacity.
    pub throughput: Option<Throughput>,
    /// Most request units a second.
    pub on_demand: Option<OnDemand>,
    /// Changes of global indexes.
    pub global_indexes: Vec<GlobalIndexUpdate>,
    /// The change stream for people.
    pub stream: Option<StreamSpecification>,
    /// Encryption at rest.
    pub sse: Option<SseSpecification>,
    /// Regions to add and to remove.
    pub replicas: Vec<ReplicaUpdate>,
    /// How it is stored.
    pub class: Option<TableClass>,
    /// DeleteTable refuses it.
    pub deletion_protection: Option<bool>,
}

/// One change of a global index.
#[derive(Debug, Clone, PartialEq)]
pub enum GlobalIndexUpdate {
    /// Make it.
    Create(IndexDefinition),
    /// Give it other capacity.
    Update {
        /// Its name.
        name: String,
        /// Capacity.
        throughput: Option<Throughput>,
        /// Most request units a second.
        on_demand: Option<OnDemand>,
    },
    /// Remove it.
    Delete(String),
}

/// One change of the regions that keep a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplicaUpdate {
    /// Add this region.
    Create(String),
    /// Change settings of the copy in this region.
    Update(String),
    /// Remove the copy of this region.
    Delete(String),
}

/// A table and what is known of it here (API_TableDescription).
#[derive(Debug, Clone)]
pub struct TableDescription {
    /// The table: id, name, keys, status, view, creation.
    pub info: Arc<TableInfo>,
    /// Name of the region that answers.
    pub region: String,
    /// Its regions: name, number, whether it is this one.
    pub regions: Vec<(String, u16, bool)>,
    /// Its partitions here.
    pub partitions: Vec<Arc<Descriptor>>,
    /// People's subjects; empty when none.
    pub stream_subject: String,
    /// Items and bytes, approximately.
    pub figures: Option<(u64, u64)>,
    /// Name of the region in which it was created.
    pub origin_region: String,
    /// Types of all key attributes, the indexes' too, by name.
    pub attributes: Vec<(String, KeyType)>,
    /// How it is paid for, and since when by request.
    pub billing: BillingMode,
    /// When it was last switched to [`BillingMode::PayPerRequest`].
    pub billing_changed_ms: Option<u64>,
    /// Capacity; zeros when paid for by request.
    pub throughput: ThroughputDescription,
    /// Most request units a second, if bounded.
    pub on_demand: Option<OnDemand>,
    /// Local indexes, in the order of their definition.
    pub local_indexes: Vec<LocalIndexDescription>,
    /// Global indexes, in the order of their definition.
    pub global_indexes: Vec<GlobalIndexDescription>,
    /// `LatestStreamLabel`; nothing when it never had a stream.
    pub stream_label: Option<String>,
    /// DeleteTable refuses it.
    pub deletion_protection: bool,
    /// How it is stored, and since when if it was changed. Nothing unless it was ever set.
    pub class: Option<(TableClass, Option<u64>)>,
    /// Encryption at rest, when asked for.
    pub sse: Option<SseSpecification>,
}

/// Capacity of a table or a global index.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ThroughputDescription {
    /// Units a second of reading.
    pub read: u64,
    /// Units a second of writing.
    pub write: u64,
    /// When it was last raised.
    pub last_increase_ms: Option<u64>,
    /// When it was last lowered.
    pub last_decrease_ms: Option<u64>,
    /// How often it was lowered since midnight (UTC).
    pub decreases_today: u64,
}

/// A local index.
#[derive(Debug, Clone, PartialEq)]
pub struct LocalIndexDescription {
    /// Its name.
    pub name: String,
    /// The table's partition key and its own sort key.
    pub keys: KeySchema,
    /// What it holds.
    pub projection: IndexProjection,
    /// Items and bytes, approximately.
    pub figures: Option<(u64, u64)>,
}

/// A global index.
#[derive(Debug, Clone, PartialEq)]
pub struct GlobalIndexDescription {
    /// Its name.
    pub name: String,
    /// Its keys.
    pub keys: KeySchema,
    /// What it holds.
    pub projection: IndexProjection,
    /// `CREATING`, `ACTIVE`, ...
    pub status: String,
    /// Capacity.
    pub throughput: ThroughputDescription,
    /// Items and bytes, approximately.
    pub figures: Option<(u64, u64)>,
}

/// What an account may provision (API_DescribeLimits).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// All tables together, units of reading a second.
    pub account_read: u64,
    /// All tables together, units of writing a second.
    pub account_write: u64,
    /// One table, units of reading a second.
    pub table_read: u64,
    /// One table, units of writing a second.
    pub table_write: u64,
}

/// Which attribute says when an item ends (API_UpdateTimeToLive).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeToLive {
    /// Items do end.
    pub enabled: bool,
    /// The attribute; empty when never set.
    pub attribute: String,
}
