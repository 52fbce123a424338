//! What operators are told, as plain data: the same types on the serving side (which fills them) and
//! on the asking side (which prints them).
//!
//! Always true: generated protobuf types do not leave this crate and the router; these do.

use serde::{Deserialize, Serialize};
use tombolo_item::{GroupId, Item, NodeId, RegionId, Shard};

/// Regions, nodes, groups and lags as one node sees them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StatusReport {
    /// Name of the answering node's region.
    pub region: String,
    /// The answering node: whose view this is.
    pub node: Option<NodeId>,
    /// Version of its program.
    pub version: String,
    /// All regions that it knows.
    pub regions: Vec<RegionStatus>,
    /// The nodes that it knows.
    pub nodes: Vec<NodeStatus>,
    /// The groups of its region.
    pub groups: Vec<GroupStatus>,
    /// Replication from other regions into this one.
    pub links: Vec<LinkStatus>,
    /// Publishing to the broker.
    pub streams: Vec<StreamStatus>,
}

/// One region.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RegionStatus {
    /// Its name.
    pub name: String,
    /// Its number.
    pub id: RegionId,
    /// True for the region that answers.
    pub local: bool,
    /// True when one of its nodes can be reached.
    pub reachable: bool,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Unique over all regions.
    pub id: NodeId,
    /// Name of its region.
    pub region: String,
    /// Its failure domain.
    pub zone: String,
    /// True when it can be reached from the answering node.
    pub reachable: bool,
    /// host:port of its gRPC server; empty when it has none.
    pub grpc: String,
    /// host:port of its admin server; empty when not known.
    pub admin: String,
    /// "router", "storage", "memds", "control".
    pub roles: Vec<String>,
    /// An operator asked it to lead nothing.
    pub drained: bool,
    /// Bytes of the file system with its data; known of the answering node only.
    pub disk_bytes: Option<u64>,
    /// Bytes of it that are free.
    pub disk_free_bytes: Option<u64>,
}

/// One replication group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupStatus {
    /// The group.
    pub group: GroupId,
    /// Its shard.
    pub shard: Shard,
    /// Name of its table; empty for the system group.
    pub table: String,
    /// The node that leads.
    pub leader: Option<NodeId>,
    /// Term of the consensus.
    pub term: u64,
    /// True when the leader may serve.
    pub serving: bool,
    /// Last log index applied on the answering node.
    pub applied: u64,
    /// Last log index committed, as it knows.
    pub committed: u64,
    /// Last sequence number of its change stream.
    pub seq: u64,
    /// The nodes that vote.
    pub voters: Vec<NodeId>,
    /// Log entries by which the slowest copy is behind; known on the leader only.
    pub lag_entries: Option<u64>,
}

/// Replication of one shard into the answering region.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LinkStatus {
    /// Name of the table.
    pub table: String,
    /// Name of the region that sends.
    pub source: String,
    /// Its shard.
    pub shard: Shard,
    /// Last sequence number durable here.
    pub applied_seq: u64,
    /// Last sequence number that the source has.
    pub head_seq: u64,
    /// From the write there to its durability here, of the newest record, in milliseconds.
    pub lag_ms: Option<u64>,
    /// "running", or why it is not.
    pub state: String,
}

/// Publishing of one shard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StreamStatus {
    /// Name of the table.
    pub table: String,
    /// The shard.
    pub shard: Shard,
    /// Last sequence number that the broker has acknowledged.
    pub published_seq: u64,
    /// Last sequence number committed.
    pub head_seq: u64,
    /// "running", or why it is not.
    pub state: String,
}

/// A digest of logical items: equal contents give equal digests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableDigest {
    /// Items.
    pub items: u64,
    /// Bytes of their encoding.
    pub bytes: u64,
    /// Sum of the items' hashes, modulo 2^64.
    pub sum: u64,
    /// Exclusive or of the items' hashes.
    pub xor: u64,
}

/// What a verification says while it works.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum VerifyEvent {
    /// How far it is.
    Progress {
        /// What is being done, in a few words.
        phase: String,
        /// Steps done.
        done: u64,
        /// Steps in all, as far as known.
        total: u64,
    },
    /// What one replica of one group holds.
    Replica {
        /// Name of the region.
        region: String,
        /// The group.
        group: GroupId,
        /// The node that keeps the copy.
        node: NodeId,
        /// The log index at which it was taken.
        index: u64,
        /// The digest.
        digest: TableDigest,
    },
    /// What one region holds.
    Region {
        /// Its name.
        region: String,
        /// The digest.
        digest: TableDigest,
    },
    /// Something that should not be.
    Finding(VerifyFinding),
    /// The end; always the last event.
    Summary(VerifySummary),
}

/// Something that should not be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VerifyFinding {
    /// Name of the region.
    pub region: String,
    /// The group, unless it concerns a whole region.
    pub group: Option<GroupId>,
    /// The node whose copy it is, unless it concerns a whole region.
    pub node: Option<NodeId>,
    /// The item's key attributes, when known.
    pub key: Option<Item>,
    /// "corrupt", "differs", "missing", "extra", "unreachable", ...: a fixed word.
    pub kind: String,
    /// A sentence: what was compared with what, and what came out.
    pub reason: String,
}

/// The end of a verification.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifySummary {
    /// True when every copy agrees and every copy was compared.
    pub agreed: bool,
    /// Copies compared, over all regions.
    pub replicas: u32,
    /// Regions compared.
    pub regions: u32,
    /// Findings sent before.
    pub findings: u32,
    /// Items compared in one region.
    pub items: u64,
    /// How long it took, in milliseconds.
    pub elapsed_ms: u64,
    /// Keys that differed at first sight and agreed once what was under way had been applied.
    pub in_flight: u64,
}
