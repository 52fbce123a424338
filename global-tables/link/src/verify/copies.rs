//! What a verification needs of the copies of a table, wherever they are; a small trait, so that
//! tests can plant differences. The real one is in `service.rs`.

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tombolo_group::{Descriptor, DigestRequest, DigestResponse};
use tombolo_item::{GroupId, NodeId, RegionId, RowKey, Shard};

use super::compare::RowSeen;

/// How far a region is: where its own shards end, and what it has applied of the others'.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Level {
    pub(super) heads: Vec<(Shard, u64)>,
    pub(super) applied: Vec<(RegionId, Vec<(Shard, u64)>)>,
}

impl Level {
    pub(super) fn applied_of(&self, from: RegionId, shard: Shard) -> u64 {
        self.applied
            .iter()
            .filter(|(region, _)| *region == from)
            .flat_map(|(_, shards)| shards)
            .find(|(known, _)| *known == shard)
            .map_or(0, |(_, seq)| *seq)
    }
}

/// A row looked up at its leader: the row, nothing, or why its stored bytes cannot be believed.
pub(super) type RowLookup = Result<Option<RowSeen>, String>;

/// All answers carry an error in words: it ends up in a finding.
pub(super) trait Copies: Send + Sync {
    fn partitions(&self, region: RegionId) -> BoxFuture<'_, Result<Vec<Descriptor>, String>>;
    /// The leader logs a marker; every replica pins its view at the index it has in the log.
    fn marker(
        &self,
        region: RegionId,
        partition: &Descriptor,
    ) -> BoxFuture<'_, Result<Marker, String>>;
    fn digest(
        &self,
        node: NodeId,
        group: GroupId,
        index: u64,
        request: DigestRequest,
    ) -> BoxFuture<'_, Result<DigestResponse, String>>;
    /// Rows as one replica has them now, in the order of the keys: the leader's, or, to name rows that
    /// the leader itself may have damaged, those of the node that is named.
    fn rows(
        &self,
        region: RegionId,
        partition: &Descriptor,
        node: Option<NodeId>,
        keys: Vec<RowKey>,
    ) -> BoxFuture<'_, Result<Vec<RowLookup>, String>>;
    fn level(&self, region: RegionId) -> BoxFuture<'_, Result<Level, String>>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marker {
    pub(super) leader: NodeId,
    pub(super) index: u64,
}
