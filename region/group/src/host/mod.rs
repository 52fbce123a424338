//! The host of one node's replicas.
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, watch};
use tombolo_item::{GroupId, Hlc, NodeId, Shard};
use tombolo_storage::{Changes, Confirmed, GroupConfig, Partition};

use crate::error::{GroupError, HostError};
use crate::net::Net;
use crate::settings::HostSettings;
use crate::types::*;

/// What a group is created from: equal on all its nodes.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupSpec {
    pub group: GroupId,
    pub config: GroupConfig,
    pub voters: Vec<NodeId>,
}

/// The change records of one shard, as this node holds them.
pub trait ChangeLog: Send + Sync {
    /// Records from `from_seq` on, in order, at least one if there is any, at most about `max_bytes`.
    fn read(&self, from_seq: u64, max_bytes: usize) -> Result<Changes, GroupError>;
}

/// All replicas of one node.
#[derive(Clone)]
pub struct Host(Arc<()>);

#[allow(unused_variables, clippy::todo)]
impl Host {
    pub fn start(settings: HostSettings, net: Net) -> Result<Host, HostError> { todo!() }
    /// Idempotent.
    pub fn create(&self, spec: GroupSpec) -> impl Future<Output = Result<(), HostError>> + Send + 'static { async { todo!() } }
    pub fn drop_group(&self, group: GroupId) { todo!() }
    pub async fn write(&self, request: WriteRequest) -> Result<WriteResponse, GroupError> { todo!() }
    pub async fn read(&self, request: ReadRequest) -> Result<ReadResponse, GroupError> { todo!() }
    pub async fn range(&self, request: RangeRequest) -> Result<RangeResponse, GroupError> { todo!() }
    /// On another node (or here, without the net); the deadline is the caller's.
    pub async fn write_on(&self, node: NodeId, request: WriteRequest, deadline: Duration) -> Result<WriteResponse, GroupError> { todo!() }
    pub async fn read_on(&self, node: NodeId, request: ReadRequest, deadline: Duration) -> Result<ReadResponse, GroupError> { todo!() }
    pub async fn range_on(&self, node: NodeId, request: RangeRequest, deadline: Duration) -> Result<RangeResponse, GroupError> { todo!() }
    pub async fn confirm(&self, group: GroupId, confirmed: Confirmed) -> Result<(), GroupError> { todo!() }
    pub async fn set_config(&self, group: GroupId, config: GroupConfig) -> Result<(), GroupError> { todo!() }
    pub fn groups(&self) -> Vec<GroupStatus> { todo!() }
    pub fn group(&self, group: GroupId) -> Option<GroupStatus> { todo!() }
    pub fn partition(&self, group: GroupId) -> Option<Partition> { todo!() }
    pub fn events(&self) -> broadcast::Receiver<HostEvent> { todo!() }
    pub fn heads(&self, group: GroupId) -> Option<watch::Receiver<Head>> { todo!() }
    /// Leader: nothing at or below this stamp follows from this shard.
    pub async fn closed_stamp(&self, group: GroupId) -> Result<Hlc, GroupError> { todo!() }
    pub fn change_log(&self, shard: Shard) -> Option<Arc<dyn ChangeLog>> { todo!() }
    /// Leader: logs a marker; every replica pins its view at the index this returns.
    pub async fn marker(&self, group: GroupId) -> Result<u64, GroupError> { todo!() }
    /// This node's replica, at a marker's index; waits a little for it to get there.
    pub async fn digest(&self, group: GroupId, at_index: u64, request: DigestRequest) -> Result<DigestResponse, GroupError> { todo!() }
    pub async fn digest_on(&self, node: NodeId, group: GroupId, at_index: u64, request: DigestRequest, deadline: Duration) -> Result<DigestResponse, GroupError> { todo!() }
    /// Set once the node's disk failed for good: the process must stop.
    pub fn fatal(&self) -> watch::Receiver<Option<String>> { todo!() }
    pub async fn hand_over_all(&self) { todo!() }
    pub async fn shutdown(self) { todo!() }
}
