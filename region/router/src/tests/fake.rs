//! A region in memory, which can be made to refuse.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use tombolo_group::{
    Descriptor, GroupError, Head, RangeResponse, ReadResponse, ReturnImages, Token, WriteOp,
    WriteOutcome, WriteResponse,
};
use tombolo_item::key::index_row_key;
use tombolo_item::{
    Cause, ChangeKind, ChangeRecord, Condition, GroupId, HashSecret, Hlc, Item, Key, KeyRange,
    KeySchema, NodeId, RegionId, RowKey, Shard, Stamp, TableId,
};
use tombolo_memds::{
    CatalogError, NodeInfo, RegionConfig, RouteError, TableChange, TableInfo, TableSpec,
    TableStatus, Uncertain, Walk,
};
use uuid::Uuid;

use crate::region::{LogPage, Region};

/// When everything here happens, ms since 1970.
pub(super) const NOW_MS: u64 = 1_700_000_000_000;
/// The stream of tables with a view, since [`NOW_MS`].
pub(super) const LABEL: &str = "2023-11-14T22:13:20.000";

#[derive(Default)]
struct State {
    tables: BTreeMap<String, Arc<TableInfo>>,
    rows: BTreeMap<(TableId, RowKey), (Bytes, Stamp)>,
    seq: u64,
    /// Change records, canonical; number 1 first.
    log: Vec<Bytes>,
    /// Numbers below this one are trimmed.
    oldest_seq: u64,
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

    /// Drops the records before this number.
    pub(super) fn trim(&self, oldest_seq: u64) {
        self.0.lock().unwrap().oldest_seq = oldest_seq;
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

    fn changed(&self, name: &str) -> Result<TableInfo, CatalogError> {
        let state = self.0.lock().unwrap();
        let info = state.tables.get(name).ok_or_else(|| CatalogError::NotFound(name.into()))?;
        Ok((**info).clone())
    }

    fn put_back(&self, info: TableInfo) -> Arc<TableInfo> {
        let info = Arc::new(info);
        self.0.lock().unwrap().tables.insert(info.name.clone(), Arc::clone(&info));
        info
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
            return Ok(response(outcome, Some(*kept), 0, None, None));
        }
        let row_key = table.schema.row_key(&table.secret, &key).expect("checked before");
        let row = (table.id, row_key.clone());
        let old = state.rows.get(&row).cloned();
        let (condition, failure) = match &op {
            WriteOp::Put { condition, return_on_failure, .. }
            | WriteOp::Delete { condition, return_on_failure, .. }
            | WriteOp::Update { condition, return_on_failure, .. } => {
                (condition.as_ref(), *return_on_failure)
            }
            other => panic!("the router never sends {other:?}"),
        };
        let before = old.as_ref().map(|(item, _)| decoded(item));
        if !holds(condition, before.as_ref()) {
            let item = old.filter(|_| failure).map(|(item, _)| item);
            let outcome = WriteOutcome::ConditionFailed { item };
            return Ok(response(outcome, None, 0, before.as_ref(), before.as_ref()));
        }
        let (after, shown_old, shown_new) = outcome(&op, &table.schema, &key, before.as_ref())
            .map_err(|error| RouteError::Group(GroupError::Rejected(error)))?;
        let outcome = WriteOutcome::Written {
            old: shown_old.map(|item| item.encode()),
            new: shown_new.map(|item| item.encode()),
        };
        if after == before {
            return Ok(response(outcome, None, 0, before.as_ref(), after.as_ref()));
        }
        state.seq += 1;
        state.writes += 1;
        let seq = state.seq;
        let stamp = Stamp { hlc: Hlc((NOW_MS + seq) << 16), region: RegionId(0), seq };
        let record = ChangeRecord {
            table: table.id,
            shard: Shard { group: GroupId(16), epoch: 1 },
            seq,
            stamp,
            replaced: None,
            closed: Hlc(0),
            origin: RegionId(0),
            cause: Cause::User,
            kind: match (&before, &after) {
                (None, _) => ChangeKind::Insert,
                (Some(_), Some(_)) => ChangeKind::Modify,
                (Some(_), None) => ChangeKind::Remove,
            },
            transaction: None,
            key,
            row_key,
            new: after.as_ref().map(Item::encode),
            old: before.as_ref().map(Item::encode),
            eval_term: 1,
            prev_hash: 0,
            merge_state: Bytes::new(),
            ext: Bytes::new(),
        };
        state.log.push(record.encode());
        match &after {
            Some(item) => state.rows.insert(row, (item.encode(), stamp)),
            None => state.rows.remove(&row),
        };
        state.answered.extend(name.map(|name| (name, stamp)));
        Ok(response(outcome, Some(stamp), seq, before.as_ref(), after.as_ref()))
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
        _replicas: &[NodeId],
        from: u64,
        max_bytes: usize,
    ) -> Option<Result<LogPage, GroupError>> {
        let state = self.0.lock().unwrap();
        let (head_seq, oldest_seq) = (state.seq, state.oldest_seq.max(1));
        let mut bytes = 0;
        let numbered = state.log.iter().zip(1..).filter(|(_, seq)| *seq >= from.max(oldest_seq));
        let records =
            numbered.map(|(record, seq)| (seq, record.clone())).take_while(|(_, record)| {
                let wanted = bytes < max_bytes;
                bytes += record.len();
                wanted
            });
        Some(Ok(LogPage { records: records.collect(), oldest_seq, head_seq }))
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
        let mut info = TableInfo {
            id: TableId(Uuid::now_v7()),
            name: spec.name.clone(),
            schema: spec.schema,
            secret: HashSecret([7; 16]),
            view: spec.view,
            regions: vec![RegionId(0)],
            region_names: vec!["us-east".into()],
            status: TableStatus::Active,
            partitions: spec.partitions,
            created_ms: NOW_MS,
            origin: RegionId(0),
            settings: spec.settings,
        };
        info.settings.stream_label = info.view.map(|_| LABEL.into());
        let creating = TableInfo { status: TableStatus::Creating, ..info.clone() };
        state.tables.insert(spec.name, Arc::new(info));
        Ok(Arc::new(creating))
    }

    async fn delete(&self, name: &str) -> Result<Arc<TableInfo>, CatalogError> {
        let mut state = self.0.lock().unwrap();
        let info = state.tables.get(name).ok_or_else(|| CatalogError::NotFound(name.into()))?;
        if info.settings.deletion_protection {
            return Err(CatalogError::Rejected("it is protected".into()));
        }
        let info = state.tables.remove(name).expect("it was there");
        Ok(Arc::new(TableInfo { status: TableStatus::Deleting, ..(*info).clone() }))
    }

    async fn update(
        &self,
        name: &str,
        change: TableChange,
    ) -> Result<Arc<TableInfo>, CatalogError> {
        let mut info = self.changed(name)?;
        change.apply(&mut info, NOW_MS)?;
        Ok(self.put_back(info))
    }

    async fn tag(&self, name: &str, tags: BTreeMap<String, String>) -> Result<(), CatalogError> {
        let mut info = self.changed(name)?;
        info.settings.tags.extend(tags);
        self.put_back(info);
        Ok(())
    }

    async fn untag(&self, name: &str, keys: &[String]) -> Result<(), CatalogError> {
        let mut info = self.changed(name)?;
        info.settings.tags.retain(|key, _| !keys.contains(key));
        self.put_back(info);
        Ok(())
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
        of: Walk,
        deadline: Instant,
    ) -> Result<RangeResponse, RouteError> {
        self.trouble(deadline).await?;
        let state = self.0.lock().unwrap();
        let of_table = state.rows.iter().filter(|((id, _), _)| *id == table.id);
        let placed = of_table.filter_map(|((_, key), (bytes, _))| {
            let Some(number) = of.index else { return Some((key.clone(), bytes.clone())) };
            let index = &table.settings.local_indexes[usize::from(number)];
            let item = decoded(bytes);
            let value = item.get(&index.sort.name)?;
            let (schema, secret) = (&table.schema, &table.secret);
            let key = schema.key_of(&item).expect("it is stored");
            let row = index_row_key(schema, secret, number, &index.sort, value, &key);
            Some((row.expect("it is stored"), bytes.clone()))
        });
        let mut rows: Vec<_> = placed.filter(|(key, _)| of.range.contains(key)).collect();
        rows.sort();
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

fn decoded(bytes: &Bytes) -> Item {
    Item::decode(bytes).expect("encoded by the router")
}

fn holds(condition: Option<&Condition>, item: Option<&Item>) -> bool {
    condition.is_none_or(|condition| condition.matches(item).expect("it evaluates"))
}

fn response(
    outcome: WriteOutcome,
    stamp: Option<Stamp>,
    seq: u64,
    before: Option<&Item>,
    after: Option<&Item>,
) -> WriteResponse {
    let size = |item: Option<&Item>| item.map_or(0, Item::size) as u32;
    WriteResponse { outcome, stamp, seq, size_before: size(before), size_after: size(after) }
}

type Images = (Option<Item>, Option<Item>, Option<Item>);

/// The item after a write, and the images that were asked for.
fn outcome(
    op: &WriteOp,
    schema: &KeySchema,
    key: &Key,
    before: Option<&Item>,
) -> Result<Images, String> {
    let old = || before.cloned();
    match op {
        WriteOp::Put { item, return_old, .. } => {
            Ok((Some(decoded(item)), old().filter(|_| *return_old), None))
        }
        WriteOp::Delete { return_old, .. } => Ok((None, old().filter(|_| *return_old), None)),
        WriteOp::Update { update, returns, .. } => {
            let was = old().unwrap_or_else(|| key.to_item(schema));
            let after = match before.is_some() || update.creates() {
                true => Some(update.apply(&was).map_err(|error| error.to_string())?),
                false => None,
            };
            let (touched_old, touched_new) =
                update.touched(&old().unwrap_or_default(), &after.clone().unwrap_or_default());
            let some = |item: Item| Some(item).filter(|item| !item.0.is_empty());
            let (old, new) = match returns {
                ReturnImages::None => (None, None),
                ReturnImages::AllOld => (old(), None),
                ReturnImages::AllNew => (None, after.clone()),
                ReturnImages::UpdatedOld => (some(touched_old), None),
                ReturnImages::UpdatedNew => (None, some(touched_new)),
            };
            Ok((after, old, new))
        }
        other => panic!("the router never sends {other:?}"),
    }
}
