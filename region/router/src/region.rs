//! What the router needs of the region behind it: one small trait with the real implementation and,
//! in tests, one in memory that can be made to misbehave.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::figures::Figures;
use bytes::Bytes;
use tombolo_group::{
    Changes, Descriptor, GroupError, Head, Host, RangeResponse, ReadResponse, Token, WriteOp,
    WriteResponse,
};
use tombolo_item::{GroupId, Key, NodeId, RegionId, Shard, TableId};
use tombolo_memds::{
    CatalogError, Memds, NodeInfo, RegionConfig, RouteError, Routed, TableChange, TableInfo,
    TableSpec, Walk,
};

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
    /// Consecutive records from this node's copy, or from another replica's when this one has none, or
    /// one that begins later; nothing when nobody has any.
    fn changes(
        &self,
        shard: Shard,
        replicas: &[NodeId],
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
    fn update(
        &self,
        name: &str,
        change: TableChange,
    ) -> impl Future<Output = Result<Arc<TableInfo>, CatalogError>> + Send;
    fn tag(
        &self,
        name: &str,
        tags: BTreeMap<String, String>,
    ) -> impl Future<Output = Result<(), CatalogError>> + Send;
    fn untag(
        &self,
        name: &str,
        keys: &[String],
    ) -> impl Future<Output = Result<(), CatalogError>> + Send;
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
        walk: Walk,
        deadline: Instant,
    ) -> impl Future<Output = Result<RangeResponse, RouteError>> + Send;
}

/// How long another replica of a shard may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

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
        replicas: &[NodeId],
        from: u64,
        max_bytes: usize,
    ) -> Option<Result<LogPage, GroupError>> {
        let me = self.memds.node().id;
        let max_bytes = u32::try_from(max_bytes).unwrap_or(u32::MAX);
        let others = replicas.iter().copied().filter(|node| *node != me);
        let mut best: Option<Result<LogPage, GroupError>> = None;
        for node in std::iter::once(me).chain(others) {
            let read = self.host.changes_on(node, shard, from, max_bytes, PATIENCE).await;
            let page = match read {
                Ok(Changes { records, oldest_seq, head_seq }) => {
                    LogPage { records, oldest_seq, head_seq }
                }
                Err(GroupError::NoSuchGroup) => continue,
                Err(error) => {
                    best = best.or(Some(Err(error)));
                    continue;
                }
            };
            if page.oldest_seq <= from {
                return Some(Ok(page));
            }
            // It begins later than was asked for: perhaps somebody else's goes further back.
            best = match best {
                Some(Ok(known)) if known.oldest_seq <= page.oldest_seq => Some(Ok(known)),
                _ => Some(Ok(page)),
            };
        }
        best
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

    async fn update(
        &self,
        name: &str,
        change: TableChange,
    ) -> Result<Arc<TableInfo>, CatalogError> {
        self.memds.update_table(name, change).await
    }

    async fn tag(&self, name: &str, tags: BTreeMap<String, String>) -> Result<(), CatalogError> {
        self.memds.tag(name, tags).await
    }

    async fn untag(&self, name: &str, keys: &[String]) -> Result<(), CatalogError> {
        self.memds.untag(name, keys).await
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
        walk: Walk,
        deadline: Instant,
    ) -> Result<RangeResponse, RouteError> {
        self.routed.walk(table, walk, deadline).await
    }
}
