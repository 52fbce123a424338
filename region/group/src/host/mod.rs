//! The host of one node's replicas: what the rest of the node calls.
//!
//! Always true:
//! - A write is answered after a quorum holds it durably and the leader applied it.
//! - A strong read takes no hop through the event loop while the lease holds: it compares one
//!   number with the clock and reads the partition on the caller's thread.
//! - Nothing here blocks an async worker for longer than a short tree read; everything longer runs
//!   on a blocking thread.
//!
//! Reading order: this file, `reads`, `by_index`, `index_scrub`, `remote`, `inbox`, `run`, `life`, `recover`, `shared`, `journal`, `snapshot`, `checkpoint`, `skew`,
//! `fitness`, `clock`.

mod by_index;
mod checkpoint;
mod clock;
mod fitness;
mod inbox;
mod index_scrub;
mod journal;
mod life;
mod reads;
mod recover;
mod remote;
mod run;
mod shared;
mod skew;
mod snapshot;

use std::collections::HashMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::{broadcast, oneshot, watch};
use tombolo_item::{GroupId, Hlc, NodeId, Shard};
use tombolo_storage::{Changes, Confirmed, Disk, GroupConfig, Partition, Wal, WalSettings};

use crate::core::{Answer, CoreSettings, PROMISE_MS, Submit, frame, stored};
use crate::error::{GroupError, HostError};
use crate::metrics;
use crate::net::{Net, ServiceId};
use crate::service::GroupService;
use crate::settings::HostSettings;
use crate::types::*;
use checkpoint::Pool;
use clock::Clock;
use inbox::{Cmd, Inbox};
use journal::Journal;
use run::Loop;
use shared::Shared;
use snapshot::Readers;
#[cfg(test)]
pub(crate) use {by_index::collect as collect_by_index, index_scrub::compare, run::first_records};

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
        let journal = Journal::new(wal, inbox.clone(), clock);
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

    pub(super) async fn submit(
        &self,
        group: GroupId,
        submit: Submit,
    ) -> Result<Answer, GroupError> {
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
            host.0.inbox.push(Cmd::Create { spec: Box::new(spec), partition, reply });
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

    /// Leader: makes the group follow what its table has become. A region is taken in only while the
    /// group was never written.
    pub async fn follow(&self, group: GroupId, facts: TableFacts) -> Result<(), GroupError> {
        let known = self.shared(group)?.config.load_full();
        let Some(config) = known else {
            return Err(GroupError::NotServing("the group has no configuration yet".into()));
        };
        let mut config = GroupConfig::clone(&config);
        config.keep_log = facts.view.is_some() || facts.regions.len() > 1;
        (config.view, config.regions) = (facts.view, facts.regions);
        self.set_config(group, config).await
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

    // ---- the end --------------------------------------------------------------------------

    /// Hands the leadership of every group to another voter, for good: call it before
    /// [`Self::shutdown`]. Returns when that is done, or after a few seconds.
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

    /// Whether this node leads nothing it can hand over, and takes no leadership. Not remembered
    /// over a restart: whoever operates the node says so again.
    pub fn set_drained(&self, drained: bool) {
        self.0.inbox.push(Cmd::SetDrained(drained));
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

pub(super) fn unexpected(answer: &impl std::fmt::Debug) -> GroupError {
    GroupError::OutcomeUnknown(format!("an answer of another kind arrived: {answer:?}"))
}

pub(super) fn late() -> GroupError {
    GroupError::OutcomeUnknown("no answer before the deadline".into())
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
