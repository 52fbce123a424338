//! The handle. Skeleton.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tombolo_group::{Descriptor, Host, Net};
use tombolo_item::{RowKey, Stamp, TableId};

use crate::error::{CatalogError, MemdsError};
use crate::lease::LeaseGuard;
use crate::model::{MemdsSettings, NodeInfo, RegionConfig, TableInfo, TableSpec};

/// What a system row must be for a write of it to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    Any,
    Absent,
    Stamp(Stamp),
}

/// The metadata service of this node.
#[derive(Clone)]
pub struct Memds(#[allow(dead_code)] Arc<()>);

#[allow(unused_variables, clippy::todo)]
impl Memds {
    pub async fn start(settings: MemdsSettings, host: Host, net: Net) -> Result<Memds, MemdsError> {
        todo!()
    }
    pub fn table_by_name(&self, name: &str) -> Option<Arc<TableInfo>> {
        todo!()
    }
    pub fn table(&self, id: TableId) -> Option<Arc<TableInfo>> {
        todo!()
    }
    pub fn tables(&self) -> Vec<Arc<TableInfo>> {
        todo!()
    }
    pub fn locate(&self, table: TableId, key: &RowKey) -> Option<Arc<Descriptor>> {
        todo!()
    }
    pub fn partitions(&self, table: TableId) -> Vec<Arc<Descriptor>> {
        todo!()
    }
    pub fn nodes(&self) -> Vec<NodeInfo> {
        todo!()
    }
    pub fn node(&self) -> &NodeInfo {
        todo!()
    }
    pub fn regions(&self) -> &[RegionConfig] {
        todo!()
    }
    pub fn version(&self) -> u64 {
        todo!()
    }
    pub fn changed(&self) -> watch::Receiver<u64> {
        todo!()
    }
    pub async fn create_table(&self, spec: TableSpec) -> Result<Arc<TableInfo>, CatalogError> {
        todo!()
    }
    pub async fn delete_table(&self, name: &str) -> Result<Arc<TableInfo>, CatalogError> {
        todo!()
    }
    pub async fn wait_active(
        &self,
        table: TableId,
        deadline: Instant,
    ) -> Result<Arc<TableInfo>, CatalogError> {
        todo!()
    }
    pub async fn system_get(
        &self,
        kind: &str,
        id: &str,
    ) -> Result<Option<(Vec<u8>, Stamp)>, MemdsError> {
        todo!()
    }
    pub async fn system_put(
        &self,
        kind: &str,
        id: &str,
        value: Vec<u8>,
        expect: Expect,
    ) -> Result<Stamp, MemdsError> {
        todo!()
    }
    pub async fn system_delete(
        &self,
        kind: &str,
        id: &str,
        expect: Expect,
    ) -> Result<(), MemdsError> {
        todo!()
    }
    pub async fn system_list(&self, kind: &str) -> Result<Vec<(String, Vec<u8>)>, MemdsError> {
        todo!()
    }
    pub async fn lease(
        &self,
        name: &str,
        ttl: Duration,
    ) -> Result<Option<LeaseGuard>, MemdsError> {
        todo!()
    }
    pub fn is_system_leader(&self) -> bool {
        todo!()
    }
    pub async fn run_control(self) {
        todo!()
    }
    pub async fn shutdown(&self) {
        todo!()
    }
}
