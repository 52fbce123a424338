//! The nouns of the directory: nodes, regions, tables.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tombolo_item::{HashSecret, KeySchema, NodeId, RegionId, StreamView, TableId};

use crate::settings::{TableSettings, stream_label};

/// One node, as it announced itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInfo {
    pub id: NodeId,
    pub region: RegionId,
    pub zone: String,
    /// host:port of the node port.
    pub node_addr: String,
    /// URLs of its public ports.
    pub grpc: String,
    pub admin: String,
    pub dynamodb: String,
    pub roles: Vec<String>,
}

/// One region of the cluster, from the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionConfig {
    pub id: RegionId,
    pub name: String,
    pub nats: String,
    /// Node, host:port of its node port, zone.
    pub nodes: Vec<(NodeId, String, String)>,
}

/// What a node's metadata service is started with.
#[derive(Debug, Clone)]
pub struct MemdsSettings {
    pub node: NodeInfo,
    /// The node's data folder: the identity of this disk is kept in it (`memds.json`).
    pub dir: PathBuf,
    pub region_name: String,
    pub regions: Vec<RegionConfig>,
    /// The nodes that found the system group: the first of each zone.
    pub system_voters: Vec<NodeId>,
}

/// Where a table is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TableStatus {
    Creating,
    Active,
    Deleting,
}

impl std::fmt::Display for TableStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            TableStatus::Creating => "CREATING",
            TableStatus::Active => "ACTIVE",
            TableStatus::Deleting => "DELETING",
        })
    }
}

/// A table, equal in all its regions but for `status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableInfo {
    pub id: TableId,
    pub name: String,
    pub schema: KeySchema,
    pub secret: HashSecret,
    pub view: Option<StreamView>,
    pub regions: Vec<RegionId>,
    pub region_names: Vec<String>,
    pub status: TableStatus,
    pub partitions: u32,
    pub created_ms: u64,
    /// The region whose users created it.
    pub origin: RegionId,
    #[serde(default)]
    pub settings: TableSettings,
}

impl TableInfo {
    /// The label of the stream that is on, or was last; `None`: there never was one.
    pub fn stream_label(&self) -> Option<String> {
        let label = self.settings.stream_label.clone();
        // Tables of programs that kept no label had their stream from the beginning.
        label.or_else(|| self.view.map(|_| stream_label(self.created_ms)))
    }
}

/// What a user asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSpec {
    pub name: String,
    pub schema: KeySchema,
    pub view: Option<StreamView>,
    /// Initial partitions in each region; at least 1.
    pub partitions: u32,
    /// Names of the regions; empty = this one only. This one is always included.
    pub regions: Vec<String>,
    pub settings: TableSettings,
}

/// Who may sign requests: one pair of keys.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    pub access_key: String,
    /// Whose it is: the principal of requests signed with it.
    pub name: String,
    /// ms since 1970.
    pub created_ms: u64,
    pub revoked_ms: Option<u64>,
    /// Opaque here: who signs and verifies seals and opens it.
    pub sealed_secret: Vec<u8>,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credential")
            .field("access_key", &self.access_key)
            .field("name", &self.name)
            .field("created_ms", &self.created_ms)
            .field("revoked_ms", &self.revoked_ms)
            .finish_non_exhaustive()
    }
}
