//! The host of one node's replicas: what the rest of the node calls.
//!
//! Always true:
//! - A write is answered after a quorum holds it durably and the leader applied it.
//! - A strong read takes no hop through the event loop while the lease holds: it compares one
//!   number with the clock and reads the partition on the caller's thread.
//! - Nothing here blocks an async worker for longer than a short tree read; everything longer runs
//!   on a blocking thread.
//!
//! Reading order: this file, `inbox`, `run`, `shared`, `journal`, `snapshot`, `checkpoint`, `skew`,
//! `clock`.

mod checkpoint;
mod clock;
mod inbox;
mod journal;
mod recover;
mod run;
mod shared;
mod skew;
mod snapshot;

use std::collections::HashMap;
use std::future::Future;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{broadcast, oneshot, watch};
use tombolo_item::{GroupId, Hlc, NodeId, RowKey, Shard};
use tombolo_storage::{Changes, Confirmed, Disk, GroupConfig, Partition, Space, Wal, WalSettings};

use crate::core::{Answer, CoreSettings, PROMISE_MS, Submit, frame, stored};
use crate::error::{GroupError, HostError};
use crate::metrics;
use crate::net::{CallError, Net, ServiceId};
use crate::service::{Ask, GroupService, Tell, decode, encode};
use crate::settings::HostSettings;
use crate::types::*;
use checkpoint::Pool;
use clock::Clock;
use inbox::{Cmd, Inbox};
use journal::Journal;
use run::Loop;
#[cfg(test)]
pub(crate) use run::first_records;
use shared::{Shared, Wants};
use snapshot::Readers;

/// What a range read stops at when nothing smaller is asked.
const RANGE_BYTES: usize = 1 << 20;
/// What it stops at whatever is asked: an answer must fit a frame between nodes.
const RANGE_BYTES_MAX: usize = 4 << 20;
/// A range read of at most this many items runs on the caller's thread.
const RANGE_INLINE: u32 = 32;
/// How long a digest waits for its replica to reach the marker.
const DIGEST_WAIT: Duration = Duration::from_secs(5);

/// What a group is created from: equal on all its nodes.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupSpec {
    pub group: GroupId,
    pub config: GroupConfig,
    pub voters: Vec<NodeId>,
}

/// The change records of one shard, as this node holds them.
pub trait ChangeLog: Send + Sync {
    /// Records from `from_seq` on, in order, at least one if there is any, at most about
    /// `max_bytes`. Reads disk: not for an async worker's thread unless what is asked is recent.
    fn read(&self, from_seq: u64, max_bytes: usize) -> Result<Changes, GroupError>;
}

pub(crate) struct Inner {
    settings: HostSettings,
    net: Net,
    inbox: Arc<Inbox>,
    clock: Clock,
    runtime: tokio::runtime::Handle,
    groups: RwLock<HashMap<GroupId, Arc<Shared>>>,
    events: broadcast::Sender<HostEvent>,
    fatal: watch::Sender<Option<String>>,
    pool: Arc<Pool>,
    readers: Mutex<Readers>,
    disk: Mutex<Option<Arc<Disk>>>,
    replicas_dir: PathBuf,
    next_marker: AtomicU64,
    stopped: AtomicBool,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl Inner {
    fn replica_dir(&self, group: GroupId) -> PathBuf {
        match &*self.disk.lock() {
            Some(disk) => disk.replica_dir(group),
            None => self.replicas_dir.clone(),
        }
    }
}

/// All replicas of one node.
#[derive(Clone)]
pub struct Host(Arc<Inner>);

impl Host {
    /// Recovers what the node's disk holds and starts serving it. Must be called inside a tokio
    /// runtime; blocks while the write-ahead log is read.
    pub fn start(settings: HostSettings, net: Net) -> Result<Host, HostError> {
        metrics::register();
        let clock = Clock::start();
        let runtime = tokio::runtime::Handle::try_current().map_err(|e| HostError::Thread {
            name: "async runtime",
            source: std::io::Error::other(e.to_string()),
        })?;
        let disk = Disk::open(&settings.dir).map_err(failed("opening the data folder"))?;
        let (wal, recovered) = Wal::open(WalSettings::new(disk.wal_dir()))
            .map_err(failed("recovering the write-ahead log"))?;
        for group in disk.replicas().map_err(failed("listing replicas"))? {
            if !recovered.groups.contains_key(&group) {
                // Half created or half dropped: the log decides what exists.
                disk.remove_replica(group).map_err(failed("removing an unknown replica"))?;
            }
        }
        let inbox = Arc::new(Inbox::default());
        let pool = Pool::start(settings.checkpoint_threads, settings.region, &inbox)?;
        let core = CoreSettings {
            node: settings.node,
            region: settings.region,
            max_clock_skew_ms: settings.max_clock_skew.as_millis() as u64,
            uncommitted_bytes: settings.uncommitted_bytes,
            log_tail_bytes: settings.log_tail_bytes,
            quiet_until_ms: clock.mono_ms() + PROMISE_MS,
            seed: settings.seed,
            #[cfg(test)]
            planted: None,
        };
        let journal = Journal::new(wal, inbox.clone());
        let disk = Arc::new(disk);
        let inner = Arc::new(Inner {
            replicas_dir: settings.dir.join("replicas"),
            settings,
            net: net.clone(),
            inbox,
            clock,
            runtime,
            groups: RwLock::default(),
            events: broadcast::Sender::new(4096),
            fatal: watch::Sender::new(None),
            pool,
            readers: Mutex::default(),
            disk: Mutex::new(Some(disk.clone())),
            next_marker: AtomicU64::new(1),
            stopped: AtomicBool::new(false),
            thread: Mutex::new(None),
        });
        let mut run = Loop::new(inner.clone(), core, journal);
        for (group, found) in recovered.groups {
            run.recover(&disk, group, found, clock.now())?;
        }
        let host = Host(inner);
        host.connect(&net);
        let thread = std::thread::Builder::new()
            .name("groups".into())
            .spawn(move || run.run())
            .map_err(|source| HostError::Thread { name: "groups", source })?;
        *host.0.thread.lock() = Some(thread);
        Ok(host)
    }

    fn connect(&self, net: &Net) {
        let (inbox, node) = (self.0.inbox.clone(), self.0.settings.node);
        net.on_frame(Arc::new(move |from, bytes| match frame::decode(&bytes, from, node) {
            Ok(frame) => inbox.push(Cmd::Frame { from, frame }),
            Err(error) => {
                metrics::BAD_FRAMES.inc();
                tracing::warn!(%from, %error, "a consensus frame was dropped");
            }
        }));
        net.serve(ServiceId::Group, Arc::new(GroupService(self.clone())));
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.0
    }

    pub(crate) fn shared(&self, group: GroupId) -> Result<Arc<Shared>, GroupError> {
        if let Some(shared) = self.0.groups.read().get(&group) {
            return Ok(shared.clone());
        }
        if self.0.stopped.load(Ordering::SeqCst) {
            return Err(GroupError::Stopped);
        }
        Err(GroupError::NoSuchGroup)
    }

    /// Runs something that reads the disk for long on a thread made for it.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, GroupError> {
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|e| GroupError::NotServing(format!("the read was interrupted: {e}")))
    }

    async fn submit(&self, group: GroupId, submit: Submit) -> Result<Answer, GroupError> {
        if self.0.stopped.load(Ordering::SeqCst) {
            return Err(GroupError::Stopped);
        }
        let (reply, answer) = oneshot::channel();
        self.0.inbox.push(Cmd::Submit { group, submit, reply });
        answer.await.unwrap_or_else(|_| {
            Err(GroupError::OutcomeUnknown("the host stopped before it answered".into()))
        })
    }

    // ---- groups ---------------------------------------------------------------------------

    /// Starts a replica of a new group here. Idempotent; the same specification must be given on
    /// every node of `voters`.
    pub fn create(
        &self,
        spec: GroupSpec,
    ) -> impl Future<Output = Result<(), HostError>> + Send + 'static {
        let host = self.clone();
        async move {
            let group = spec.group;
            let node = host.0.settings.node;
            if !spec.voters.contains(&node) {
                let reason = format!("node {node} is not among its voters");
                return Err(HostError::Spec { group, reason });
            }
            if spec.config.group != group {
                let reason = "its configuration names another group".to_owned();
                return Err(HostError::Spec { group, reason });
            }
            if host.0.groups.read().contains_key(&group) {
                return Ok(());
            }
            let dir = host.0.replica_dir(group);
            let create = move || Partition::create(&dir, 1, group);
            let partition = tokio::task::spawn_blocking(create)
                .await
                .map_err(|_| HostError::Stopped)?
                .map_err(failed(format!("creating the replica of group {group}")))?;
            let (reply, done) = oneshot::channel();
            host.0.inbox.push(Cmd::Create { spec, partition, reply });
            done.await.unwrap_or(Err(HostError::Stopped))
        }
    }

    /// Throws this replica's rows and log away and lets the leader fill it again: for a copy whose
    /// digest differs or whose rows fail their checksum. Not on the leader.
    pub async fn rebuild(&self, group: GroupId) -> Result<(), HostError> {
        let reason = || "there is no replica of it here".to_owned();
        let old =
            self.partition(group).ok_or_else(|| HostError::Spec { group, reason: reason() })?;
        let (dir, generation) = (self.0.replica_dir(group), old.generation() + 1);
        drop(old);
        let create = move || Partition::create(&dir, generation, group);
        let partition = tokio::task::spawn_blocking(create)
            .await
            .map_err(|_| HostError::Stopped)?
            .map_err(failed(format!("creating the replica of group {group} anew")))?;
        let (reply, done) = oneshot::channel();
        self.0.inbox.push(Cmd::Rebuild { group, partition, reply });
        done.await.unwrap_or(Err(HostError::Stopped))
    }

    /// Removes this node's replica of the group and its data.
    pub fn drop_group(&self, group: GroupId) {
        self.0.inbox.push(Cmd::Drop { group });
    }

    /// Every replica here, seen from here.
    pub fn groups(&self) -> Vec<GroupStatus> {
        let now_ms = self.0.clock.mono_ms();
        let shared: Vec<Arc<Shared>> = self.0.groups.read().values().cloned().collect();
        let mut all: Vec<GroupStatus> = shared.iter().map(|s| s.status(now_ms)).collect();
        all.sort_by_key(|s| s.group);
        all
    }

    pub fn group(&self, group: GroupId) -> Option<GroupStatus> {
        let now_ms = self.0.clock.mono_ms();
        self.shared(group).ok().map(|shared| shared.status(now_ms))
    }

    /// The replica's rows and state, as applied here: no proof of leadership.
    pub fn partition(&self, group: GroupId) -> Option<Partition> {
        let shared = self.shared(group).ok()?;
        Some(Partition::clone(&shared.partition.load()))
    }

    pub fn events(&self) -> broadcast::Receiver<HostEvent> {
        self.0.events.subscribe()
    }

    /// Where the replica's shard stands; changes after every apply.
    pub fn heads(&self, group: GroupId) -> Option<watch::Receiver<Head>> {
        self.shared(group).ok().map(|shared| shared.head.subscribe())
    }

    /// The change records this node holds of a shard.
    pub fn change_log(&self, shard: Shard) -> Option<Arc<dyn ChangeLog>> {
        let shared = self.shared(shard.group).ok()?;
        Some(Arc::new(ReplicaLog { shared, shard }))
    }

    /// Set once the node's disk failed for good: the process must stop.
    pub fn fatal(&self) -> watch::Receiver<Option<String>> {
        self.0.fatal.subscribe()
    }

    // ---- writes ---------------------------------------------------------------------------

    /// Evaluates and replicates a write. Only on the group's leader.
    pub async fn write(&self, request: WriteRequest) -> Result<WriteResponse, GroupError> {
        let group = request.group;
        match self.submit(group, Submit::Write(Box::new(request))).await? {
            Answer::Write(response) => Ok(response),
            other => Err(unexpected(&other)),
        }
    }

    /// Records how far another region has durably applied a shard of this group.
    pub async fn confirm(&self, group: GroupId, confirmed: Confirmed) -> Result<(), GroupError> {
        self.submit(group, Submit::Confirm(confirmed)).await.map(|_| ())
    }

    /// Replaces the group's configuration (same group and table, same or later epoch).
    pub async fn set_config(&self, group: GroupId, config: GroupConfig) -> Result<(), GroupError> {
        self.submit(group, Submit::Config(Box::new(config))).await.map(|_| ())
    }

    /// Leader: nothing at or below this stamp follows from this shard. Logs one if the last that
    /// was logged is older than 30 s.
    pub async fn closed_stamp(&self, group: GroupId) -> Result<Hlc, GroupError> {
        const FRESH_MS: u64 = 30_000;
        let since_ms = Clock::wall_ms().saturating_sub(FRESH_MS);
        match self.submit(group, Submit::Closed { since_ms }).await? {
            Answer::Closed(closed) => Ok(closed),
            other => Err(unexpected(&other)),
        }
    }

    // ---- reads ----------------------------------------------------------------------------

    /// Returns once this replica led at some moment after the call.
    async fn prove(&self, shared: &Shared) -> Result<(), GroupError> {
        if shared.serves(self.0.clock.mono_ms()) {
            return Ok(());
        }
        if !shared.view.load().is_leader {
            return Err(shared.not_leader());
        }
        self.submit(shared.group, Submit::Barrier).await.map(|_| ())
    }

    /// Reads one item: strongly only on the leader, else as this replica has applied it.
    pub async fn read(&self, request: ReadRequest) -> Result<ReadResponse, GroupError> {
        let shared = self.shared(request.group)?;
        if request.strong {
            self.prove(&shared).await?;
        }
        shared.check(request.epoch, Wants::Row(&request.row_key))?;
        let row = shared.partition.load().get(Space::ITEMS, &request.row_key).map_err(stored)?;
        Ok(match row {
            Some(row) => {
                let item = (!row.tombstone).then_some(row.item);
                ReadResponse { item, stamp: Some(row.stamp) }
            }
            None => ReadResponse { item: None, stamp: None },
        })
    }

    /// Reads the items of a range, in order.
    pub async fn range(&self, request: RangeRequest) -> Result<RangeResponse, GroupError> {
        let shared = self.shared(request.group)?;
        if request.strong {
            self.prove(&shared).await?;
        }
        shared.check(request.epoch, Wants::Range(&request.range))?;
        let partition = Partition::clone(&shared.partition.load());
        if (1..=RANGE_INLINE).contains(&request.limit) {
            return collect(&partition, &request);
        }
        self.blocking(move || collect(&partition, &request)).await?
    }

    // ---- other nodes ----------------------------------------------------------------------

    async fn ask(&self, node: NodeId, ask: Ask, deadline: Duration) -> Result<Tell, GroupError> {
        let changes = matches!(ask, Ask::Write(_) | Ask::Confirm(..) | Ask::Marker(_));
        let body = encode(&ask);
        match self.0.net.call(node, ServiceId::Group, body, deadline).await {
            Ok(answer) => decode::<Result<Tell, GroupError>>(&answer).unwrap_or_else(|reason| {
                Err(GroupError::OutcomeUnknown(format!("node {node}: {reason}")))
            }),
            Err(CallError::Overloaded(why)) => Err(GroupError::Overloaded(why)),
            Err(error @ (CallError::Lost(_) | CallError::Timeout)) if changes => {
                Err(GroupError::OutcomeUnknown(format!("node {node}: {error}")))
            }
            Err(error) => Err(GroupError::NotServing(format!("node {node}: {error}"))),
        }
    }

    /// [`Self::write`] on another node (or here, without the net).
    pub async fn write_on(
        &self,
        node: NodeId,
        request: WriteRequest,
        deadline: Duration,
    ) -> Result<WriteResponse, GroupError> {
        if node == self.0.settings.node {
            let late = || GroupError::OutcomeUnknown("no answer before the deadline".into());
            let write = tokio::time::timeout(deadline, self.write(request));
            return write.await.unwrap_or_else(|_| Err(late()));
        }
        match self.ask(node, Ask::Write(Box::new(request)), deadline).await? {
            Tell::Write(response) => Ok(response),
            other => Err(unexpected(&other)),
        }
    }

    /// [`Self::read`] on another node (or here).
    pub async fn read_on(
        &self,
        node: NodeId,
        request: ReadRequest,
        deadline: Duration,
    ) -> Result<ReadResponse, GroupError> {
        if node == self.0.settings.node {
            let read = tokio::time::timeout(deadline, self.read(request));
            return read.await.unwrap_or_else(|_| Err(late()));
        }
        match self.ask(node, Ask::Read(request), deadline).await? {
            Tell::Read(response) => Ok(response),
            other => Err(unexpected(&other)),
        }
    }

    /// [`Self::range`] on another node (or here).
    pub async fn range_on(
        &self,
        node: NodeId,
        request: RangeRequest,
        deadline: Duration,
    ) -> Result<RangeResponse, GroupError> {
        if node == self.0.settings.node {
            let range = tokio::time::timeout(deadline, self.range(request));
            return range.await.unwrap_or_else(|_| Err(late()));
        }
        match self.ask(node, Ask::Range(request), deadline).await? {
            Tell::Range(response) => Ok(response),
            other => Err(unexpected(&other)),
        }
    }

    /// [`Self::confirm`] on another node (or here).
    pub async fn confirm_on(
        &self,
        node: NodeId,
        group: GroupId,
        confirmed: Confirmed,
        deadline: Duration,
    ) -> Result<(), GroupError> {
        if node == self.0.settings.node {
            let confirm = tokio::time::timeout(deadline, self.confirm(group, confirmed));
            return confirm.await.unwrap_or_else(|_| Err(late()));
        }
        self.ask(node, Ask::Confirm(group, confirmed), deadline).await.map(|_| ())
    }

    /// [`Self::marker`] on another node (or here).
    pub async fn marker_on(
        &self,
        node: NodeId,
        group: GroupId,
        deadline: Duration,
    ) -> Result<u64, GroupError> {
        if node == self.0.settings.node {
            let marker = tokio::time::timeout(deadline, self.marker(group));
            return marker.await.unwrap_or_else(|_| Err(late()));
        }
        match self.ask(node, Ask::Marker(group), deadline).await? {
            Tell::Marker(index) => Ok(index),
            other => Err(unexpected(&other)),
        }
    }

    /// [`Self::closed_stamp`] on another node (or here).
    pub async fn closed_stamp_on(
        &self,
        node: NodeId,
        group: GroupId,
        deadline: Duration,
    ) -> Result<Hlc, GroupError> {
        if node == self.0.settings.node {
            let closed = tokio::time::timeout(deadline, self.closed_stamp(group));
            return closed.await.unwrap_or_else(|_| Err(late()));
        }
        match self.ask(node, Ask::Closed(group), deadline).await? {
            Tell::Closed(closed) => Ok(closed),
            other => Err(unexpected(&other)),
        }
    }

    /// [`Self::group`] of another node (or here).
    pub async fn status_on(
        &self,
        node: NodeId,
        group: GroupId,
        deadline: Duration,
    ) -> Result<GroupStatus, GroupError> {
        if node == self.0.settings.node {
            return self.group(group).ok_or(GroupError::NoSuchGroup);
        }
        match self.ask(node, Ask::Status(group), deadline).await? {
            Tell::Status(status) => Ok(*status),
            other => Err(unexpected(&other)),
        }
    }

    /// Change records of a shard as another node (or this one) holds them.
    pub async fn changes_on(
        &self,
        node: NodeId,
        shard: Shard,
        from_seq: u64,
        max_bytes: u32,
        deadline: Duration,
    ) -> Result<Changes, GroupError> {
        if node == self.0.settings.node {
            let log = self.change_log(shard).ok_or(GroupError::NoSuchGroup)?;
            return self.blocking(move || log.read(from_seq, max_bytes as usize)).await?;
        }
        match self.ask(node, Ask::Changes(shard, from_seq, max_bytes), deadline).await? {
            Tell::Changes { records, oldest_seq, head_seq } => {
                Ok(Changes { records, oldest_seq, head_seq })
            }
            other => Err(unexpected(&other)),
        }
    }

    /// [`Self::digest`] of another node's replica (or of the one here).
    pub async fn digest_on(
        &self,
        node: NodeId,
        group: GroupId,
        at_index: u64,
        request: DigestRequest,
        deadline: Duration,
    ) -> Result<DigestResponse, GroupError> {
        if node == self.0.settings.node {
            let digest = tokio::time::timeout(deadline, self.digest(group, at_index, request));
            return digest.await.unwrap_or_else(|_| Err(late()));
        }
        match self.ask(node, Ask::Digest(group, at_index, request), deadline).await? {
            Tell::Digest(response) => Ok(response),
            other => Err(unexpected(&other)),
        }
    }

    // ---- scrub ----------------------------------------------------------------------------

    /// Leader: logs a marker. Every replica pins its view when it applies it; [`Self::digest`] asks
    /// for it by the index this returns, for about a minute.
    pub async fn marker(&self, group: GroupId) -> Result<u64, GroupError> {
        let id = self.0.next_marker.fetch_add(1, Ordering::SeqCst);
        match self.submit(group, Submit::Marker(id)).await? {
            Answer::Logged { index } => Ok(index),
            other => Err(unexpected(&other)),
        }
    }

    /// Digests of this node's replica at a marker; waits a little for it to be applied here.
    pub async fn digest(
        &self,
        group: GroupId,
        at_index: u64,
        request: DigestRequest,
    ) -> Result<DigestResponse, GroupError> {
        let shared = self.shared(group)?;
        let mut head = shared.head.subscribe();
        let reached = head.wait_for(|head| head.applied >= at_index);
        if !matches!(tokio::time::timeout(DIGEST_WAIT, reached).await, Ok(Ok(_))) {
            let why = format!("this replica has not applied the marker at {at_index} yet");
            return Err(GroupError::NotServing(why));
        }
        let pinned = {
            let pins = shared.pins.lock();
            pins.iter().find(|pin| pin.index == at_index).map(|pin| pin.view.clone())
        };
        let Some(view) = pinned else {
            let why = format!("no view is pinned at index {at_index} any more; log a new marker");
            return Err(GroupError::NotServing(why));
        };
        self.blocking(move || digest(&view.lock(), at_index, request)).await?
    }

    // ---- the end --------------------------------------------------------------------------

    /// Hands the leadership of every group to another voter; returns when that is done, or after
    /// a few seconds.
    pub async fn hand_over_all(&self) {
        self.0.inbox.push(Cmd::HandOverAll);
        let until = tokio::time::Instant::now() + Duration::from_secs(4);
        let mut poll = tokio::time::interval(Duration::from_millis(20));
        loop {
            poll.tick().await;
            let leads = |s: &Arc<Shared>| {
                let view = s.view.load();
                view.is_leader && view.voters.len() > 1
            };
            let busy = self.0.groups.read().values().any(leads);
            if !busy || tokio::time::Instant::now() >= until {
                return;
            }
        }
    }

    /// Stops the loop. What is durable stays; leadership is not handed over ([`Self::hand_over_all`]).
    pub async fn shutdown(self) {
        self.0.stopped.store(true, Ordering::SeqCst);
        self.0.inbox.push(Cmd::Stop);
        let thread = self.0.thread.lock().take();
        if let Some(thread) = thread
            && !matches!(tokio::task::spawn_blocking(move || thread.join()).await, Ok(Ok(())))
        {
            tracing::error!("the host's loop did not end cleanly");
        }
        let pool = self.0.pool.clone();
        let joined = tokio::task::spawn_blocking(move || {
            pool.stop();
            pool.join();
        });
        if joined.await.is_err() {
            tracing::error!("the checkpoint threads did not end cleanly");
        }
        self.0.groups.write().clear();
        *self.0.readers.lock() = Readers::default();
        *self.0.disk.lock() = None;
    }
}

pub(crate) fn failed(
    attempt: impl Into<String>,
) -> impl FnOnce(tombolo_storage::StorageError) -> HostError {
    let attempt = attempt.into();
    move |source| HostError::Storage { attempt, source }
}

fn unexpected(answer: &impl std::fmt::Debug) -> GroupError {
    GroupError::OutcomeUnknown(format!("an answer of another kind arrived: {answer:?}"))
}

fn late() -> GroupError {
    GroupError::OutcomeUnknown("no answer before the deadline".into())
}

fn collect(partition: &Partition, request: &RangeRequest) -> Result<RangeResponse, GroupError> {
    let limit = if request.limit == 0 { usize::MAX } else { request.limit as usize };
    let max_bytes = match request.max_bytes as usize {
        0 => RANGE_BYTES,
        n => n.min(RANGE_BYTES_MAX),
    };
    let (mut items, mut bytes, mut more): (Vec<(RowKey, Bytes)>, _, _) = (Vec::new(), 0, false);
    let mut visit = |key: RowKey, row: tombolo_storage::StoredRow| {
        if row.tombstone {
            return ControlFlow::Continue(());
        }
        if items.len() >= limit || bytes >= max_bytes {
            more = true;
            return ControlFlow::Break(());
        }
        bytes += key.0.len() + row.item.len();
        items.push((key, row.item));
        ControlFlow::Continue(())
    };
    partition.range(Space::ITEMS, &request.range, request.reverse, &mut visit).map_err(stored)?;
    Ok(RangeResponse { items, more })
}

fn digest(
    view: &tombolo_storage::PinnedView,
    index: u64,
    request: DigestRequest,
) -> Result<DigestResponse, GroupError> {
    let mut response = DigestResponse {
        index,
        buckets: Vec::new(),
        keys: Vec::new(),
        more: false,
        findings: Vec::new(),
    };
    match request {
        DigestRequest::Buckets { range, bits } => {
            if bits > 16 {
                let why = format!("2^{bits} buckets are more than 2^16");
                return Err(GroupError::Invalid(why));
            }
            let digests = view.digest_buckets(&range, bits).map_err(stored)?;
            response.buckets = digests.buckets;
            response.findings = digests.findings;
        }
        DigestRequest::Keys { range, limit } => {
            let keys = view.digest_keys(&range, limit as usize).map_err(stored)?;
            response.keys = keys.keys;
            response.findings = keys.findings;
            response.more = keys.more;
        }
    }
    Ok(response)
}

/// A shard's change records in one replica.
struct ReplicaLog {
    shared: Arc<Shared>,
    shard: Shard,
}

impl ChangeLog for ReplicaLog {
    fn read(&self, from_seq: u64, max_bytes: usize) -> Result<Changes, GroupError> {
        let epoch = self.shared.config.load().as_ref().map(|config| config.epoch);
        if epoch != Some(self.shard.epoch) {
            return Err(match self.shared.descriptor() {
                Some(descriptor) => GroupError::WrongRange { descriptor },
                None => GroupError::NotServing("the group has no configuration yet".into()),
            });
        }
        self.shared.partition.load().read_changes(from_seq, max_bytes).map_err(stored)
    }
}
