//! What the router needs of the region behind it: one small trait with the real implementation and,
//! in tests, one in memory that can be made to misbehave.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use crate::figures::Figures;
use bytes::Bytes;
use tombolo_group::{
    Descriptor, GroupError, Head, Host, RangeResponse, ReadResponse, Token, WriteOp, WriteResponse,
};
use tombolo_item::{GroupId, Key, KeyRange, RegionId, Shard, TableId};
use tombolo_memds::{
    CatalogError, Memds, NodeInfo, RegionConfig, RouteError, Routed, TableInfo, TableSpec,
};

/// A range to read.
#[derive(Debug, Clone)]
pub(crate) struct RangeOf {
    /// The row keys.
    pub(crate) range: KeyRange,
    /// Descending.
    pub(crate) reverse: bool,
    /// Most items; 0 = as many as a page holds.
    pub(crate) limit: u32,
    /// Most bytes.
    pub(crate) max_bytes: u32,
    /// Strongly consistent.
    pub(crate) strong: bool,
}

/// Consecutive records of a shard.
#[derive(Debug, Clone, Default)]
pub(crate) struct LogPage {
    /// Sequence number and canonical bytes.
    pub(crate) records: Vec<(u64, Bytes)>,
    /// The first number still held.
    pub(crate) oldest_seq: u64,
    /// The last number applied here.
    pub(crate) head_seq: u64,
}

/// The region behind the router.
pub(crate) trait Region: Clone + Send + Sync + Unpin + 'static {
    fn table(&self, name: &str) -> Option<Arc<TableInfo>>;
    fn tables(&self) -> Vec<Arc<TableInfo>>;
    fn partitions(&self, table: TableId) -> Vec<Arc<Descriptor>>;
    fn regions(&self) -> Vec<RegionConfig>;
    fn own_region(&self) -> RegionId;
    fn nodes(&self) -> Vec<NodeInfo>;
    /// The shard's head as this node's copy has it.
    fn head(&self, group: GroupId) -> Option<Head>;
    /// Consecutive records from this node's copy; nothing without one.
    fn changes(
        &self,
        shard: Shard,
        from: u64,
        max_bytes: usize,
    ) -> impl Future<Output = Option<Result<LogPage, GroupError>>> + Send;
    /// What the shard continues, if this node knows.
    fn parent(&self, group: GroupId) -> Option<(Shard, u64)>;
    /// Items and bytes of this node's copies of a table, as last counted.
    fn figures(&self, table: TableId) -> impl Future<Output = Option<(u64, u64)>> + Send;
    fn create(
        &self,
        spec: TableSpec,
    ) -> impl Future<Output = Result<Arc<TableInfo>, CatalogError>> + Send;
    fn delete(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<Arc<TableInfo>, CatalogError>> + Send;
    /// Under a token of the caller, or one of the router's own.
    fn write(
        &self,
        table: &TableInfo,
        key: Key,
        op: WriteOp,
        token: Option<Token>,
        deadline: Instant,
    ) -> impl Future<Output = Result<WriteResponse, RouteError>> + Send;
    fn read(
        &self,
        table: &TableInfo,
        key: &Key,
        strong: bool,
        deadline: Instant,
    ) -> impl Future<Output = Result<ReadResponse, RouteError>> + Send;
    fn range(
        &self,
        table: &TableInfo,
        range: RangeOf,
        deadline: Instant,
    ) -> impl Future<Output = Result<RangeResponse, RouteError>> + Send;
}

/// The real one.
#[derive(Clone)]
pub(crate) struct Live {
    pub(crate) memds: Memds,
    pub(crate) host: Host,
    pub(crate) routed: Routed,
    pub(crate) figures: Figures,
}

impl Region for Live {
    fn table(&self, name: &str) -> Option<Arc<TableInfo>> {
        self.memds.table_by_name(name)
    }

    fn tables(&self) -> Vec<Arc<TableInfo>> {
        self.memds.tables()
    }

    fn partitions(&self, table: TableId) -> Vec<Arc<Descriptor>> {
        self.memds.partitions(table)
    }

    fn regions(&self) -> Vec<RegionConfig> {
        self.memds.regions().to_vec()
    }

    fn own_region(&self) -> RegionId {
        self.memds.node().region
    }

    fn nodes(&self) -> Vec<NodeInfo> {
        self.memds.nodes()
    }

    fn head(&self, group: GroupId) -> Option<Head> {
        self.host.heads(group).map(|head| *head.borrow())
    }

    async fn changes(
        &self,
        shard: Shard,
        from: u64,
        max_bytes: usize,
    ) -> Option<Result<LogPage, GroupError>> {
        let log = self.host.change_log(shard)?;
        // Sealed logs are files: read them where blocking is allowed.
        let read = tokio::task::spawn_blocking(move || log.read(from, max_bytes)).await;
        let read = read.unwrap_or_else(|error| Err(GroupError::NotServing(error.to_string())));
        Some(read.map(|changes| LogPage {
            records: changes.records,
            oldest_seq: changes.oldest_seq,
            head_seq: changes.head_seq,
        }))
    }

    fn parent(&self, group: GroupId) -> Option<(Shard, u64)> {
        let state = self.host.partition(group)?.state();
        let parent = state.config.as_ref()?.parent.as_ref()?;
        Some((parent.shard, parent.seq))
    }

    async fn figures(&self, table: TableId) -> Option<(u64, u64)> {
        let groups = self.memds.partitions(table).iter().map(|one| one.group).collect();
        self.figures.of(&self.host, table, groups).await
    }

    async fn create(&self, spec: TableSpec) -> Result<Arc<TableInfo>, CatalogError> {
        self.memds.create_table(spec).await
    }

    async fn delete(&self, name: &str) -> Result<Arc<TableInfo>, CatalogError> {
        self.memds.delete_table(name).await
    }

    async fn write(
        &self,
        table: &TableInfo,
        key: Key,
        op: WriteOp,
        token: Option<Token>,
        deadline: Instant,
    ) -> Result<WriteResponse, RouteError> {
        match token {
            None => self.routed.write(table, key, op, deadline).await,
            Some(token) => self.routed.write_under(token, table, key, op, deadline).await,
        }
    }

    async fn read(
        &self,
        table: &TableInfo,
        key: &Key,
        strong: bool,
        deadline: Instant,
    ) -> Result<ReadResponse, RouteError> {
        self.routed.read(table, key, strong, deadline).await
    }

    async fn range(
        &self,
        table: &TableInfo,
        of: RangeOf,
        deadline: Instant,
    ) -> Result<RangeResponse, RouteError> {
        let RangeOf { range, reverse, limit, max_bytes, strong } = of;
        self.routed.range(table, range, reverse, limit, max_bytes, strong, deadline).await
    }
}
