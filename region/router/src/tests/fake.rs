//! A region in memory, which can be made to refuse.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use tombolo_group::{
    Descriptor, GroupError, Head, RangeResponse, ReadResponse, Token, WriteOp, WriteOutcome,
    WriteResponse,
};
use tombolo_item::{
    Condition, GroupId, HashSecret, Hlc, Item, Key, KeyRange, NodeId, RegionId, RowKey, Shard,
    Stamp, TableId,
};
use tombolo_memds::{
    CatalogError, NodeInfo, RegionConfig, RouteError, TableInfo, TableSpec, TableStatus, Uncertain,
};
use uuid::Uuid;

use crate::region::{LogPage, RangeOf, Region};

#[derive(Default)]
struct State {
    tables: BTreeMap<String, Arc<TableInfo>>,
    rows: BTreeMap<(TableId, RowKey), (Bytes, Stamp)>,
    seq: u64,
    /// The writes that took place under a token.
    answered: BTreeMap<(Uuid, u64), Stamp>,
    /// The next requests get these, the last one first.
    refusals: Vec<RouteError>,
    /// Requests wait for their deadline.
    stuck: bool,
    /// How many do so now.
    waiting: usize,
    /// Writes take place, but nobody hears of it.
    mute: bool,
    /// Writes that took place, and reads that were made.
    writes: usize,
    reads: usize,
}

/// The region.
#[derive(Clone, Default)]
pub(super) struct Fake(Arc<Mutex<State>>);

impl Fake {
    pub(super) fn refuse(&self, error: RouteError) {
        self.0.lock().unwrap().refusals.push(error);
    }

    pub(super) fn get_stuck(&self, stuck: bool) {
        self.0.lock().unwrap().stuck = stuck;
    }

    pub(super) fn mute(&self, mute: bool) {
        self.0.lock().unwrap().mute = mute;
    }

    pub(super) fn writes(&self) -> usize {
        self.0.lock().unwrap().writes
    }

    pub(super) fn reads(&self) -> usize {
        self.0.lock().unwrap().reads
    }

    pub(super) fn waiting(&self) -> usize {
        self.0.lock().unwrap().waiting
    }

    pub(super) fn set_status(&self, name: &str, status: TableStatus) {
        let mut state = self.0.lock().unwrap();
        let table = state.tables.get_mut(name).expect("the table exists");
        *table = Arc::new(TableInfo { status, ..(**table).clone() });
    }

    /// Makes a write at once, unless its token tells that it took place.
    fn apply(
        &self,
        table: &TableInfo,
        key: Key,
        op: WriteOp,
        token: Option<Token>,
    ) -> Result<WriteResponse, RouteError> {
        let mut state = self.0.lock().unwrap();
        let name = token.map(|token| (token.session, token.number));
        if let Some(kept) = name.and_then(|name| state.answered.get(&name)) {
            // As a partition: the outcome and the stamp, no images, no number.
            let outcome = WriteOutcome::Written { old: None, new: None };
            return Ok(WriteResponse {
                outcome,
                stamp: Some(*kept),
                seq: 0,
                size_before: 0,
                size_after: 0,
            });
        }
        let row = (table.id, table.schema.row_key(&table.secret, &key).expect("checked before"));
        let old = state.rows.get(&row).cloned();
        let (new, condition, return_old, return_on_failure) = match op {
            WriteOp::Put { item, condition, return_old, return_on_failure } => {
                (Some(item), condition, return_old, return_on_failure)
            }
            WriteOp::Delete { condition, return_old, return_on_failure } => {
                (None, condition, return_old, return_on_failure)
            }
            other => panic!("the router never sends {other:?}"),
        };
        if !holds(condition.as_ref(), old.as_ref().map(|(item, _)| item)) {
            let item = old.filter(|_| return_on_failure).map(|(item, _)| item);
            let outcome = WriteOutcome::ConditionFailed { item };
            return Ok(WriteResponse {
                outcome,
                stamp: None,
                seq: 0,
                size_before: 0,
                size_after: 0,
            });
        }
        state.seq += 1;
        state.writes += 1;
        let seq = state.seq;
        let stamp = Stamp { hlc: Hlc(seq << 16), region: RegionId(0), seq };
        match new {
            Some(item) => state.rows.insert(row, (item, stamp)),
            None => state.rows.remove(&row),
        };
        state.answered.extend(name.map(|name| (name, stamp)));
        let old = old.filter(|_| return_old).map(|(item, _)| item);
        Ok(WriteResponse {
            outcome: WriteOutcome::Written { old, new: None },
            stamp: Some(stamp),
            seq,
            size_before: 0,
            size_after: 0,
        })
    }

    async fn trouble(&self, deadline: Instant) -> Result<(), RouteError> {
        let (refusal, stuck) = {
            let mut state = self.0.lock().unwrap();
            state.waiting += usize::from(state.stuck);
            (state.refusals.pop(), state.stuck)
        };
        if stuck {
            tokio::time::sleep_until(deadline.into()).await;
            self.0.lock().unwrap().waiting -= 1;
            return Err(RouteError::Timeout { applied: Uncertain::No, last: "stuck".into() });
        }
        refusal.map_or(Ok(()), Err)
    }
}

impl Region for Fake {
    fn table(&self, name: &str) -> Option<Arc<TableInfo>> {
        self.0.lock().unwrap().tables.get(name).cloned()
    }

    fn tables(&self) -> Vec<Arc<TableInfo>> {
        self.0.lock().unwrap().tables.values().cloned().collect()
    }

    fn partitions(&self, table: TableId) -> Vec<Arc<Descriptor>> {
        vec![Arc::new(Descriptor {
            group: GroupId(16),
            table,
            range: KeyRange::full(),
            epoch: 1,
            conf_index: 1,
            replicas: vec![NodeId(1), NodeId(2), NodeId(3)],
            leader: Some(NodeId(2)),
        })]
    }

    fn regions(&self) -> Vec<RegionConfig> {
        ["us-east", "eu-west"]
            .into_iter()
            .zip(0..)
            .map(|(name, id)| RegionConfig {
                id: RegionId(id),
                name: name.into(),
                nats: String::new(),
                nodes: Vec::new(),
            })
            .collect()
    }

    fn own_region(&self) -> RegionId {
        RegionId(0)
    }

    fn nodes(&self) -> Vec<NodeInfo> {
        Vec::new()
    }

    fn head(&self, _group: GroupId) -> Option<Head> {
        let seq = self.0.lock().unwrap().seq;
        Some(Head { applied: seq, seq, hash: 7, closed: Hlc(9) })
    }

    async fn changes(
        &self,
        _shard: Shard,
        _from: u64,
        _max_bytes: usize,
    ) -> Option<Result<LogPage, GroupError>> {
        let head_seq = self.0.lock().unwrap().seq;
        Some(Ok(LogPage { records: Vec::new(), oldest_seq: 3, head_seq }))
    }

    fn parent(&self, _group: GroupId) -> Option<(Shard, u64)> {
        None
    }

    async fn figures(&self, _table: TableId) -> Option<(u64, u64)> {
        None
    }

    async fn create(&self, spec: TableSpec) -> Result<Arc<TableInfo>, CatalogError> {
        let mut state = self.0.lock().unwrap();
        if state.tables.contains_key(&spec.name) {
            return Err(CatalogError::Exists(spec.name));
        }
        let info = TableInfo {
            id: TableId(Uuid::now_v7()),
            name: spec.name.clone(),
            schema: spec.schema,
            secret: HashSecret([7; 16]),
            view: spec.view,
            regions: vec![RegionId(0)],
            region_names: vec!["us-east".into()],
            status: TableStatus::Active,
            partitions: spec.partitions,
            created_ms: 1_700_000_000_000,
            origin: RegionId(0),
            settings: spec.settings,
        };
        let creating = TableInfo { status: TableStatus::Creating, ..info.clone() };
        state.tables.insert(spec.name, Arc::new(info));
        Ok(Arc::new(creating))
    }

    async fn delete(&self, name: &str) -> Result<Arc<TableInfo>, CatalogError> {
        let removed = self.0.lock().unwrap().tables.remove(name);
        let info = removed.ok_or_else(|| CatalogError::NotFound(name.into()))?;
        Ok(Arc::new(TableInfo { status: TableStatus::Deleting, ..(*info).clone() }))
    }

    async fn write(
        &self,
        table: &TableInfo,
        key: Key,
        op: WriteOp,
        token: Option<Token>,
        deadline: Instant,
    ) -> Result<WriteResponse, RouteError> {
        self.trouble(deadline).await?;
        let response = self.apply(table, key, op, token)?;
        let mute = self.0.lock().unwrap().mute;
        if mute {
            std::future::pending::<()>().await;
        }
        Ok(response)
    }

    async fn read(
        &self,
        table: &TableInfo,
        key: &Key,
        _strong: bool,
        deadline: Instant,
    ) -> Result<ReadResponse, RouteError> {
        self.trouble(deadline).await?;
        let row = (table.id, table.schema.row_key(&table.secret, key).expect("checked before"));
        let mut state = self.0.lock().unwrap();
        state.reads += 1;
        let (item, stamp) = state.rows.get(&row).cloned().unzip();
        Ok(ReadResponse { item, stamp })
    }

    async fn range(
        &self,
        table: &TableInfo,
        of: RangeOf,
        deadline: Instant,
    ) -> Result<RangeResponse, RouteError> {
        self.trouble(deadline).await?;
        let state = self.0.lock().unwrap();
        let mut rows: Vec<_> = state
            .rows
            .iter()
            .filter(|((id, key), _)| *id == table.id && of.range.contains(key))
            .map(|((_, key), (item, _))| (key.clone(), item.clone()))
            .collect();
        if of.reverse {
            rows.reverse();
        }
        let mut bytes = 0;
        let mut items = Vec::new();
        for (key, item) in rows {
            if bytes >= of.max_bytes as usize || of.limit > 0 && items.len() == of.limit as usize {
                return Ok(RangeResponse { items, more: true });
            }
            bytes += item.len();
            items.push((key, item));
        }
        Ok(RangeResponse { items, more: false })
    }
}

fn holds(condition: Option<&Condition>, item: Option<&Bytes>) -> bool {
    let item = item.map(|bytes| Item::decode(bytes).expect("encoded by the router"));
    condition.is_none_or(|condition| condition.matches(item.as_ref()).expect("it evaluates"))
}
