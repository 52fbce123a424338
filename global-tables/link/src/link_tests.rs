//! A link between a source and a target in memory, both hostile: records come twice, late and out of
//! order per shard, merges fail, leadership moves, another holder takes the checkpoint.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tombolo_item::{
    Cause, ChangeKind, ChangeRecord, GroupId, Hlc, Key, NodeId, RegionId, RowKey, Shard, Stamp,
    TableId, Value, chain_hash,
};
use tombolo_stream::subscriber::StreamRecord;

use crate::checkpoint::Checkpoint;
use crate::error::LinkError;
use crate::inlet::{Arrival, InletAsk};
use crate::link::{Inlet, Link, LinkName};
use crate::settings::LinkSettings;
use crate::wire::{Confirmation, ShardHead, ShardPlace, Survey};
use crate::world::{Change, MergeError, Source, Target};

const HERE: RegionId = RegionId(2);
const FROM: RegionId = RegionId(1);
const SHARD: Shard = Shard { group: GroupId(16), epoch: 1 };
const OTHER: Shard = Shard { group: GroupId(17), epoch: 1 };

/// The source's logs: canonical records that chain.
#[derive(Default)]
struct Logs(BTreeMap<Shard, Vec<StreamRecord>>);

impl Logs {
    fn write(&mut self, shard: Shard, key: &str, origin: RegionId) -> StreamRecord {
        let log = self.0.entry(shard).or_default();
        let seq = log.len() as u64 + 1;
        let record = ChangeRecord {
            table: TableId::default(),
            shard,
            seq,
            stamp: Stamp { hlc: Hlc::from_ms(seq), region: origin, seq },
            replaced: None,
            closed: Hlc::from_ms(seq - 1),
            origin,
            cause: if origin == FROM { Cause::User } else { Cause::Replication },
            kind: ChangeKind::Insert,
            transaction: None,
            key: Key { partition: Value::S(key.into()), sort: None },
            row_key: RowKey(Bytes::copy_from_slice(key.as_bytes())),
            new: Some(Bytes::from_static(b"item")),
            old: None,
            eval_term: 1,
            prev_hash: log.last().map_or(0, |last| last.hash),
            merge_state: Bytes::new(),
            ext: Bytes::new(),
        };
        let body = record.encode();
        let record = StreamRecord { shard, seq, hash: chain_hash(&body), body, fetched: false };
        log.push(record.clone());
        record
    }
}

#[derive(Default)]
struct SourceState {
    heads: BTreeMap<Shard, (u64, u64, Hlc)>,
    confirmed: BTreeMap<Shard, Confirmation>,
}

#[derive(Clone, Default)]
struct FakeSource(Arc<Mutex<SourceState>>);

impl Source for FakeSource {
    fn survey(&self) -> BoxFuture<'static, Result<Survey, LinkError>> {
        let state = self.0.lock();
        let leader = NodeId(1);
        let survey = Survey {
            complete: true,
            shards: state
                .heads
                .keys()
                .map(|shard| ShardPlace { shard: *shard, replicas: vec![leader] })
                .collect(),
            heads: state
                .heads
                .iter()
                .map(|(shard, (seq, hash, closed))| ShardHead {
                    shard: *shard,
                    leader,
                    seq: *seq,
                    hash: *hash,
                    closed: *closed,
                })
                .collect(),
        };
        Box::pin(async move { Ok(survey) })
    }

    fn confirm(
        &self,
        _: NodeId,
        confirmations: Vec<Confirmation>,
    ) -> BoxFuture<'static, Result<Vec<Shard>, LinkError>> {
        let mut state = self.0.lock();
        let shards = confirmations.iter().map(|confirmation| confirmation.shard).collect();
        for confirmation in confirmations {
            state.confirmed.insert(confirmation.shard, confirmation);
        }
        Box::pin(async move { Ok(shards) })
    }
}

#[derive(Default)]
struct TargetState {
    /// What was merged, per row key, in the order in which merges ended.
    merged: BTreeMap<RowKey, Vec<u64>>,
    /// Merges under way now, and the most there ever were.
    busy: BTreeMap<RowKey, u32>,
    most: usize,
    refuse: BTreeMap<(Shard, u64), MergeError>,
    row: Option<(Checkpoint, Stamp)>,
    saves: u64,
}

#[derive(Clone)]
struct FakeTarget {
    state: Arc<Mutex<TargetState>>,
    /// Merges wait until this is true.
    open: watch::Receiver<bool>,
    moved: Arc<watch::Sender<u64>>,
}

impl Target for FakeTarget {
    fn merge(&self, change: Change) -> BoxFuture<'static, Result<(), MergeError>> {
        let this = self.clone();
        Box::pin(async move {
            let key = change.record.row_key.clone();
            let id = (change.record.shard, change.record.seq);
            {
                let mut state = this.state.lock();
                if let Some(error) = state.refuse.get(&id) {
                    return Err(error.clone());
                }
                let busy = state.busy.entry(key.clone()).or_default();
                *busy += 1;
                assert_eq!(*busy, 1, "two merges of one row key at once");
                state.most = state.most.max(state.busy.len());
            }
            let mut open = this.open.clone();
            open.wait_for(|open| *open).await.unwrap();
            // Later records end sooner: order must not depend on it.
            for _ in 0..(7 - change.record.seq % 7) {
                tokio::task::yield_now().await;
            }
            let mut state = this.state.lock();
            state.busy.remove(&key);
            state.merged.entry(key).or_default().push(change.record.seq);
            this.moved.send_modify(|moved| *moved += 1);
            Ok(())
        })
    }

    fn load(&self) -> BoxFuture<'static, Result<Option<(Checkpoint, Stamp)>, LinkError>> {
        let row = self.state.lock().row.clone();
        Box::pin(async move { Ok(row) })
    }

    fn save(
        &self,
        checkpoint: Checkpoint,
        expect: Option<Stamp>,
    ) -> BoxFuture<'static, Result<Stamp, LinkError>> {
        let mut state = self.state.lock();
        let result = if state.row.as_ref().map(|row| row.1) == expect {
            state.saves += 1;
            let stamp = Stamp { hlc: Hlc(state.saves), region: HERE, seq: state.saves };
            state.row = Some((checkpoint, stamp));
            Ok(stamp)
        } else {
            Err(LinkError::Superseded { table: TableId::default(), from: FROM })
        };
        self.moved.send_modify(|moved| *moved += 1);
        Box::pin(async move { result })
    }

    fn closed_elsewhere(&self) -> BoxFuture<'static, Option<Hlc>> {
        Box::pin(async { Some(Hlc(u64::MAX)) })
    }

    fn now_ms(&self) -> u64 {
        0
    }
}

struct Rig {
    logs: Logs,
    source: FakeSource,
    target: FakeTarget,
    open: watch::Sender<bool>,
    records: mpsc::Sender<Arrival>,
    asked: mpsc::UnboundedReceiver<InletAsk>,
    stop: watch::Sender<bool>,
    link: tokio::task::JoinHandle<Result<(), LinkError>>,
}

fn settings() -> LinkSettings {
    LinkSettings {
        heads_ms: 20,
        checkpoint_ms: 5,
        closed_ms: 20,
        in_flight_records: 16,
        ..LinkSettings::default()
    }
}

async fn start(state: TargetState, source: FakeSource) -> Rig {
    let (open, is_open) = watch::channel(true);
    let target = FakeTarget {
        state: Arc::new(Mutex::new(state)),
        open: is_open,
        moved: Arc::new(watch::channel(0).0),
    };
    let name = LinkName {
        table: TableId::default(),
        from: FROM,
        from_name: "east".into(),
        to_name: "west".into(),
    };
    let link = Link::resume(name, settings(), Arc::new(source.clone()), Arc::new(target.clone()))
        .await
        .unwrap();
    let (records, arrivals) = mpsc::channel(4);
    let (asks, asked) = mpsc::unbounded_channel();
    let (stop, mut stopped) = watch::channel(false);
    let link = tokio::spawn(link.run(Inlet { arrivals, asks }, async move {
        stopped.wait_for(|stop| *stop).await.unwrap();
    }));
    Rig { logs: Logs::default(), source, target, open, records, asked, stop, link }
}

impl Rig {
    async fn send(&self, record: &StreamRecord) {
        assert!(self.records.send(Arrival::Record(record.clone())).await.is_ok());
    }

    /// Waits for a state, never for a time.
    async fn until(&self, what: &str, reached: impl Fn(&Rig) -> bool) {
        let waited = tokio::time::timeout(Duration::from_secs(10), async {
            while !reached(self) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        assert!(waited.await.is_ok(), "never came: {what}");
    }

    fn saved(&self, shard: Shard) -> u64 {
        let state = self.target.state.lock();
        state.row.as_ref().and_then(|row| row.0.shard(shard)).map_or(0, |shard| shard.seq)
    }

    fn confirmed(&self, shard: Shard) -> Option<Confirmation> {
        self.source.0.lock().confirmed.get(&shard).copied()
    }

    fn set_head(&self, shard: Shard, seq: u64, closed: Hlc) {
        let hash = self.logs.0[&shard].iter().find(|r| r.seq == seq).map_or(0, |r| r.hash);
        self.source.0.lock().heads.insert(shard, (seq, hash, closed));
    }

    async fn end(self) {
        self.stop.send_replace(true);
        self.link.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_merged_in_order_per_key_saved_and_confirmed() {
    let mut rig = start(TargetState::default(), FakeSource::default()).await;
    let keys = ["a", "b", "c", "d", "e"];
    for i in 0..500 {
        // Every seventh record came to the source from us: not merged, and counted as complete.
        let origin = if i % 7 == 0 { HERE } else { FROM };
        let record = rig.logs.write(SHARD, keys[i % 5], origin);
        rig.send(&record).await;
        if i % 3 == 0 {
            rig.send(&record).await; // twice
        }
    }
    rig.until("the checkpoint", |rig| rig.saved(SHARD) == 500).await;
    {
        let state = rig.target.state.lock();
        for (i, key) in keys.iter().enumerate() {
            let expected: Vec<u64> =
                (0..500_usize).filter(|n| n % 5 == i && n % 7 != 0).map(|n| n as u64 + 1).collect();
            assert_eq!(state.merged[&RowKey(Bytes::copy_from_slice(key.as_bytes()))], expected);
        }
        assert!(state.most > 1, "keys do not wait for each other");
    }
    assert!(rig.confirmed(SHARD).is_none(), "nobody knows the leader yet");
    rig.set_head(SHARD, 500, Hlc::from_ms(400));
    rig.until("the confirmation", |rig| rig.confirmed(SHARD).is_some()).await;
    assert_eq!(rig.confirmed(SHARD).unwrap().seq, 500);
    // Once the source closed its stamps behind its last record, that is confirmed too: tombstones
    // wait for it, and nothing else would ever tell.
    rig.set_head(SHARD, 500, Hlc::from_ms(1_000));
    rig.until("the closed stamp", |rig| {
        rig.confirmed(SHARD).is_some_and(|c| c.closed_applied == Hlc::from_ms(1_000))
    })
    .await;
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_never_passes_what_is_under_way() {
    let mut rig = start(TargetState::default(), FakeSource::default()).await;
    rig.open.send_replace(false);
    let first = rig.logs.write(SHARD, "a", HERE);
    let second = rig.logs.write(SHARD, "b", FROM);
    let third = rig.logs.write(SHARD, "c", HERE);
    for record in [&first, &second, &third] {
        rig.send(record).await;
    }
    rig.set_head(SHARD, 3, Hlc::from_ms(50));
    rig.until("the prefix", |rig| rig.saved(SHARD) == 1).await;
    rig.until("its confirmation", |rig| rig.confirmed(SHARD).is_some()).await;
    assert_eq!(rig.confirmed(SHARD).unwrap().seq, 1);
    assert!(rig.confirmed(SHARD).unwrap().closed_applied < Hlc::from_ms(50));
    rig.open.send_replace(true);
    rig.until("the rest", |rig| rig.saved(SHARD) == 3).await;
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_record_holds_its_shard_and_no_other() {
    let mut state = TargetState::default();
    state.refuse.insert((SHARD, 2), MergeError::Hold("stamp 700 ms ahead".into()));
    let mut rig = start(state, FakeSource::default()).await;
    for i in 0..40 {
        let record = rig.logs.write(SHARD, &format!("k{i}"), FROM);
        rig.send(&record).await;
        let record = rig.logs.write(OTHER, &format!("o{i}"), FROM);
        rig.send(&record).await;
    }
    rig.until("the other shard", |rig| rig.saved(OTHER) == 40).await;
    assert_eq!(rig.saved(SHARD), 1, "it stands before the refused record");
    rig.target.state.lock().refuse.clear();
    rig.until("the held shard goes on", |rig| rig.saved(SHARD) == 40).await;
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_held_shard_had_to_let_go_is_read_again() {
    let mut state = TargetState::default();
    state.refuse.insert((SHARD, 1), MergeError::Hold("clock".into()));
    let mut rig = start(state, FakeSource::default()).await;
    let records: Vec<StreamRecord> =
        (0..9_000).map(|i| rig.logs.write(SHARD, &format!("k{i}"), FROM)).collect();
    for record in &records {
        rig.send(record).await;
    }
    rig.target.state.lock().refuse.clear();
    let (shard, from) = loop {
        match tokio::time::timeout(Duration::from_secs(10), rig.asked.recv()).await.unwrap() {
            Some(InletAsk::ReadAgain(shard, position)) => break (shard, position.seq),
            Some(InletAsk::Head(..)) => {}
            None => panic!("the link ended"),
        }
    };
    assert_eq!(shard, SHARD);
    assert!(from > 0 && from < 9_000, "the inbox is bounded: {from}");
    for record in &records[from as usize..] {
        rig.send(record).await;
    }
    rig.until("all of it", |rig| rig.saved(SHARD) == 9_000).await;
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passing_trouble_is_tried_again_without_an_alarm() {
    let mut state = TargetState::default();
    state.refuse.insert((SHARD, 1), MergeError::Retry("leadership moves".into()));
    let mut rig = start(state, FakeSource::default()).await;
    let (first, second) = (rig.logs.write(SHARD, "a", FROM), rig.logs.write(SHARD, "b", FROM));
    rig.send(&first).await;
    rig.send(&second).await;
    let b = RowKey(Bytes::from_static(b"b"));
    rig.until("the second", |rig| rig.target.state.lock().merged.contains_key(&b)).await;
    assert_eq!(rig.saved(SHARD), 0);
    rig.target.state.lock().refuse.clear();
    rig.until("both", |rig| rig.saved(SHARD) == 2).await;
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_resumes_at_its_checkpoint_and_tells_heads_on() {
    let mut rig = start(TargetState::default(), FakeSource::default()).await;
    for i in 0..10 {
        let record = rig.logs.write(SHARD, &format!("k{i}"), FROM);
        rig.send(&record).await;
    }
    rig.until("the checkpoint", |rig| rig.saved(SHARD) == 10).await;
    rig.set_head(SHARD, 10, Hlc::from_ms(9));
    let told = tokio::time::timeout(Duration::from_secs(10), rig.asked.recv()).await.unwrap();
    assert!(matches!(told, Some(InletAsk::Head(SHARD, head)) if head.seq == 10));
    let row = rig.target.state.lock().row.clone();
    let log = rig.logs.0[&SHARD].clone();
    rig.end().await;

    let rig = start(TargetState { row, ..TargetState::default() }, FakeSource::default()).await;
    let mut rig = Rig { logs: Logs(BTreeMap::from([(SHARD, log)])), ..rig };
    let old = rig.logs.0[&SHARD][9].clone();
    rig.send(&old).await;
    let new = rig.logs.write(SHARD, "k10", FROM);
    rig.send(&new).await;
    rig.until("the new record", |rig| rig.saved(SHARD) == 11).await;
    assert_eq!(rig.target.state.lock().merged.len(), 1, "only the new one was merged");
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_whose_checkpoint_was_moved_by_another_stops() {
    let mut rig = start(TargetState::default(), FakeSource::default()).await;
    let record = rig.logs.write(SHARD, "a", FROM);
    rig.send(&record).await;
    rig.until("the checkpoint", |rig| rig.saved(SHARD) == 1).await;
    if let Some(row) = &mut rig.target.state.lock().row {
        row.1 = Stamp { hlc: Hlc(99), region: HERE, seq: 99 };
    }
    let record = rig.logs.write(SHARD, "b", FROM);
    rig.send(&record).await;
    let ended = tokio::time::timeout(Duration::from_secs(10), rig.link).await.unwrap().unwrap();
    assert!(matches!(ended, Err(LinkError::Superseded { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_histories_hold_the_shard() {
    let mut rig = start(TargetState::default(), FakeSource::default()).await;
    let record = rig.logs.write(SHARD, "a", FROM);
    rig.send(&record).await;
    rig.until("the checkpoint", |rig| rig.saved(SHARD) == 1).await;
    let before = crate::metrics::HELD.get();
    rig.source.0.lock().heads.insert(SHARD, (1, record.hash ^ 1, Hlc::from_ms(5)));
    rig.until("the alarm", |_| crate::metrics::HELD.get() > before).await;
    rig.end().await;
}
