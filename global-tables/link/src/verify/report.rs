//! What a verification says when it is over, and what it tells while it runs. Serialisable, so that
//! it can be printed as JSON and sent over gRPC as it is. Every difference is named down to the copy,
//! the key and the kind; a report without findings means that every copy was read and all agreed.

use serde::{Deserialize, Serialize};
use tombolo_item::{GroupId, NodeId, RegionId, TableId};

/// The sum over a set of logical items (no tombstones): equal sets give equal digests, whatever the
/// region, the partition bounds or the order of reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DigestSummary {
    pub items: u64,
    pub bytes: u64,
    pub sum: u64,
    pub xor: u64,
}

impl std::fmt::Display for DigestSummary {
    /// 32 hexadecimal digits: what people compare with their eyes.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}{:016x}", self.sum, self.xor)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// The copy holds the key with other content, or another stamp, than its peers.
    Differs,
    /// Its peers hold the key and this copy does not.
    Missing,
    /// This copy holds the key and its peers do not.
    Extra,
    /// The stored bytes do not match their own checksum.
    Corrupt,
    /// The copy could not be read: nothing is known about it.
    Unreachable,
    /// A difference that may be in flight, and the regions did not come level in time to tell.
    Unsettled,
}

impl FindingKind {
    pub fn name(self) -> &'static str {
        match self {
            FindingKind::Differs => "differs",
            FindingKind::Missing => "missing",
            FindingKind::Extra => "extra",
            FindingKind::Corrupt => "corrupt",
            FindingKind::Unreachable => "unreachable",
            FindingKind::Unsettled => "unsettled",
        }
    }
}

impl std::fmt::Display for FindingKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// One difference. `node` is set when one replica is the odd one among its peers; it is absent when
/// a whole region differs from another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub kind: FindingKind,
    pub region: RegionId,
    pub region_name: String,
    pub group: Option<GroupId>,
    pub node: Option<NodeId>,
    /// The item's key as DynamoDB JSON (`{"id":{"S":"a"}}`), when it could be read from any copy.
    pub key: Option<serde_json::Value>,
    /// The row key in hexadecimal: always there for a finding about a row.
    pub row_key: Option<String>,
    /// One sentence for people.
    pub detail: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReplicaDigest {
    pub region: RegionId,
    pub group: GroupId,
    pub node: NodeId,
    /// The log index at which the replica was read: the same for all replicas of a group.
    pub index: u64,
    pub leader: bool,
    pub digest: DigestSummary,
    /// Whether this replica equals the majority of its group.
    pub agrees: bool,
    pub seconds: f64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RegionDigest {
    pub region: RegionId,
    pub name: String,
    pub partitions: u32,
    pub digest: DigestSummary,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    pub table: TableId,
    pub table_name: String,
    pub regions: Vec<RegionDigest>,
    pub replicas: Vec<ReplicaDigest>,
    pub findings: Vec<Finding>,
    /// There is more than was looked into or listed: this is no proof of agreement.
    pub truncated: bool,
    /// Logical items of one copy of the table, as the region that was asked sees it.
    pub items: u64,
    /// Items and bytes read, all copies together.
    pub items_read: u64,
    pub bytes_read: u64,
    pub megabytes_per_second: f64,
    /// Rows that differed at first sight and were shown to be changes on their way.
    pub in_flight: u64,
    pub seconds: f64,
}

impl Report {
    /// Every copy was read and all agreed.
    pub fn agreed(&self) -> bool {
        self.findings.is_empty() && !self.truncated
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Progress {
    pub phase: Phase,
    pub replicas_done: u32,
    pub replicas_total: u32,
    pub items_read: u64,
    pub bytes_read: u64,
    /// Rows that differ and are being looked into.
    pub candidates: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Every replica of every region digests its rows.
    Digesting,
    /// Replicas of a group differ: which rows?
    ComparingReplicas,
    /// Regions differ: which rows?
    ComparingRegions,
    /// Waiting until what was in flight has arrived, to look again.
    Settling,
    Done,
}
