//! What the operator's service gives the router to serve: injected, so that nothing here depends on
//! links, streams or verification.

use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use tombolo_client::conflict::ConflictPage;
use tombolo_client::report::{GroupStatus, NodeStatus, RegionStatus, StatusReport, VerifyEvent};
use tombolo_group::Host;
use tombolo_item::{NodeId, RowKey};
use tombolo_memds::{Memds, TableInfo};

/// Why an operator's request could not be met.
#[derive(Debug, thiserror::Error)]
pub enum OperationsError {
    /// Not now; a retry may help.
    #[error("{0}")]
    Unavailable(String),
    /// The request makes no sense for this table or region.
    #[error("{0}")]
    Invalid(String),
    /// Our own fault; the text goes to the log.
    #[error("{0}")]
    Internal(String),
}

/// What operators may ask of a running region. Implemented by `ops` over link and stream.
pub trait Operations: Send + Sync + 'static {
    /// The region as this node sees it. [`base_status`] gives the part that needs no link or stream.
    fn status(&self) -> BoxFuture<'_, Result<StatusReport, OperationsError>>;

    /// Asks a node of this region to lead nothing, or no longer to.
    fn drain(&self, node: NodeId, drained: bool) -> BoxFuture<'_, Result<(), OperationsError>>;

    /// Writes of the table that lost a conflict, in the order of row keys, after the place `after`,
    /// at most `limit` of them; what one partition has, and more to come.
    fn conflicts(
        &self,
        table: Arc<TableInfo>,
        after: Option<RowKey>,
        limit: usize,
    ) -> BoxFuture<'_, Result<ConflictPage, OperationsError>>;

    /// Compares every copy of a table. The last event is [`VerifyEvent::Summary`]; dropping the
    /// stream gives up.
    fn verify(
        &self,
        table: Arc<TableInfo>,
    ) -> BoxStream<'static, Result<VerifyEvent, OperationsError>>;
}

/// Regions, nodes and groups as this node sees them; `links` and `streams` are left empty, and
/// everything is called reachable whose reachability is not looked at here.
pub fn base_status(memds: &Memds, host: &Host, version: &str) -> StatusReport {
    let own = memds.node();
    let name_of = |id| {
        let region = memds.regions().iter().find(|region| region.id == id);
        region.map(|region| region.name.clone()).unwrap_or_default()
    };
    let regions = memds.regions().iter().map(|region| RegionStatus {
        name: region.name.clone(),
        id: region.id,
        local: region.id == own.region,
        reachable: true,
    });
    let drained = memds.drained();
    let nodes = memds.nodes().into_iter().map(|node| NodeStatus {
        id: node.id,
        region: name_of(node.region),
        zone: node.zone,
        reachable: true,
        grpc: node.grpc,
        admin: node.admin,
        roles: node.roles,
        drained: drained.contains(&node.id),
        disk_bytes: None,
        disk_free_bytes: None,
    });
    let groups = host.groups().into_iter().map(|status| GroupStatus {
        group: status.group,
        shard: status.shard,
        table: memds.table(status.table).map(|table| table.name.clone()).unwrap_or_default(),
        leader: status.leader,
        term: status.term,
        serving: status.serving,
        applied: status.applied,
        committed: status.committed,
        seq: status.seq,
        lag_entries: match status.is_leader {
            true => Some(status.lag.iter().map(|(_, behind)| *behind).max().unwrap_or_default()),
            false => None,
        },
        voters: status.voters,
    });
    StatusReport {
        region: name_of(own.region),
        node: Some(own.id),
        version: version.into(),
        regions: regions.collect(),
        nodes: nodes.collect(),
        groups: groups.collect(),
        links: Vec::new(),
        streams: Vec::new(),
    }
}
