//! The event loop: one thread that steps every replica of the node.
//!
//! Always true:
//! - A turn takes everything that arrived, steps the groups it concerns, and then does all their
//!   outside work at once: one append to the write-ahead log, one frame per peer.
//! - What readers see of a replica is updated before its messages leave.
//! - A replica that panics or whose machine refuses an entry is isolated; the others go on.
//! - An idle group costs a heartbeat per beat and a comparison per scan, nothing else.

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use tombolo_item::{GroupId, NodeId};
use tombolo_storage::{Partition, PinnedView, StorageError, WalRecord};

use super::checkpoint::Job;
use super::inbox::{Cmd, Pulled, Reply};
use super::journal::{Ack, Journal};
use super::shared::{Pin, Shared};
use super::skew::Skew;
use super::{GroupSpec, Inner, snapshot};
use crate::core::frame::{self, Frame, PeerBody, PeerMessage};
use crate::core::{Answer, CoreSettings, Event, Fitness, GroupCore, Note, Now, Output};
use crate::core::{Restored, Standing, Submit};
use crate::core::{Ticket, first_conf};
use crate::error::{GroupError, HostError};
use crate::metrics;
use crate::types::HostEvent;

/// How often deadlines are compared.
const SCAN_MS: u64 = 50;
/// How often slow duties (pins, gauges) are looked at.
const CHORE_MS: u64 = 1_000;
/// A frame is closed once its messages hold about this much.
const FRAME_BYTES: usize = 1 << 20;

/// One replica as the loop keeps it.
pub(super) struct Replica {
    pub(super) core: GroupCore<Partition>,
    pub(super) shared: Arc<Shared>,
    pub(super) generation: u64,
    pub(super) submits: Vec<(Ticket, Submit)>,
    pub(super) dirty: bool,
    pub(super) unchecked_since_ms: Option<u64>,
    pub(super) checkpointing: bool,
    /// The next base must bring every entry above it along, so that old segments can go.
    pub(super) repin: bool,
    pub(super) pulled: Option<Box<Pulled>>,
    pub(super) told: (bool, u64),
}

pub(super) struct Loop {
    pub(super) inner: Arc<Inner>,
    pub(super) settings: CoreSettings,
    pub(super) journal: Journal,
    pub(super) replicas: BTreeMap<GroupId, Replica>,
    pub(super) creating: BTreeMap<GroupId, Created>,
    pub(super) dropping: BTreeMap<GroupId, Arc<Shared>>,
    pub(super) dirty: Vec<GroupId>,
    pub(super) out: Output,
    pub(super) replies: Vec<Option<Reply>>,
    pub(super) free: Vec<Ticket>,
    pub(super) skew: Skew,
    pub(super) ahead: Vec<NodeId>,
    pub(super) disk_full: bool,
    pub(super) fitness: Fitness,
    pub(super) standing: Arc<Standing>,
    /// When the next beat is due.
    pub(super) beat_due_ms: u64,
    /// The log's batch with this node's newest proposals, until it is durable here. What arrives
    /// meanwhile is proposed together: one entry, one frame and one sync for all of it, as in a
    /// database's group commit. A lone write never waits: nothing is on its way to the disk then.
    pub(super) proposing: Option<u64>,
    /// Groups with submits that wait for it.
    pub(super) held: Vec<GroupId>,
}

pub(super) struct Created {
    pub(super) partition: Partition,
    pub(super) restored: Restored,
    pub(super) replies: Vec<tokio::sync::oneshot::Sender<Result<(), HostError>>>,
}

impl Loop {
    pub(super) fn new(inner: Arc<Inner>, settings: CoreSettings, journal: Journal) -> Loop {
        Loop {
            inner,
            settings,
            journal,
            replicas: BTreeMap::new(),
            creating: BTreeMap::new(),
            dropping: BTreeMap::new(),
            dirty: Vec::new(),
            out: Output::default(),
            replies: Vec::new(),
            free: Vec::new(),
            skew: Skew::default(),
            ahead: Vec::new(),
            disk_full: false,
            fitness: Fitness::default(),
            standing: Arc::default(),
            beat_due_ms: 0,
            proposing: None,
            held: Vec::new(),
        }
    }

    /// Takes in a replica found on the disk, or a new one whose first records are durable.
    pub(super) fn admit(
        &mut self,
        group: GroupId,
        restored: Restored,
        partition: Partition,
        now: Now,
    ) -> Result<(), HostError> {
        let generation = restored.base.generation;
        let shared = Arc::new(Shared::new(group, partition.clone()));
        let core = GroupCore::new(group, self.settings.clone(), restored, partition, now)?;
        shared.view.store(Arc::new(core.view()));
        *shared.conf.lock() = core.conf();
        self.inner.groups.write().insert(group, shared.clone());
        let replica = Replica {
            core,
            shared,
            generation,
            submits: Vec::new(),
            dirty: false,
            unchecked_since_ms: None,
            checkpointing: false,
            repin: false,
            pulled: None,
            told: (false, 0),
        };
        self.replicas.insert(group, replica);
        if self.disk_full {
            self.step(now, group, Event::DiskFull(true));
        }
        self.touch(group);
        Ok(())
    }

    fn touch(&mut self, group: GroupId) {
        if let Some(replica) = self.replicas.get_mut(&group)
            && !replica.dirty
        {
            replica.dirty = true;
            self.dirty.push(group);
        }
    }

    /// Runs until told to stop or the disk fails. However it ends, nobody is left waiting.
    pub(super) fn run(self) {
        let inner = self.inner.clone();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.turns())) {
            let reason = format!("the event loop of the groups: {}", reason_of(panic));
            tracing::error!(reason, "this node stops serving");
            inner.groups.read().values().for_each(|shared| shared.set_serves_until(0));
            inner.groups.write().clear();
            inner.fatal.send_replace(Some(reason));
        }
        inner.stopped.store(true, Ordering::SeqCst);
        inner.inbox.close();
    }

    fn turns(mut self) {
        let (mut beat_at, mut scan_at, mut chore_at) = (0, 0, 0);
        let beat_ms = self.inner.settings.beat.as_millis() as u64;
        let mut cmds = Vec::new();
        loop {
            let now = self.inner.clock.mono_ms();
            let idle = if self.dirty.is_empty() { scan_at.max(now) - now } else { 0 };
            self.inner.inbox.take(&mut cmds, Duration::from_millis(idle));
            let now = self.inner.clock.now();
            for cmd in cmds.drain(..) {
                if !self.take(now, cmd) {
                    return self.end(now);
                }
            }
            if now.mono_ms >= beat_at {
                beat_at = now.mono_ms + beat_ms;
                self.beat(now);
                self.beat_due_ms = beat_at;
            }
            if now.mono_ms >= scan_at {
                scan_at = now.mono_ms + SCAN_MS;
                self.scan(now);
            }
            if now.mono_ms >= chore_at {
                chore_at = now.mono_ms + CHORE_MS;
                self.chores(now);
            }
            self.turn(now);
        }
    }

    /// One command; `false` ends the loop.
    fn take(&mut self, now: Now, cmd: Cmd) -> bool {
        match cmd {
            Cmd::Frame { from, frame } => self.on_frame(now, from, frame),
            Cmd::Submit { group, submit, reply } => self.on_submit(group, submit, reply),
            Cmd::Create { spec, partition, reply } => self.on_create(*spec, partition, reply),
            Cmd::Drop { group } => self.on_drop(group),
            Cmd::Rebuild { group, partition, reply } => self.on_rebuild(group, partition, reply),
            Cmd::Durable { batch, attempt, result } => {
                return self.on_durable(now, batch, attempt, result);
            }
            Cmd::Checkpointed { group, generation, result } => {
                self.on_checkpointed(now, group, generation, result);
            }
            Cmd::Pulled { group, result } => self.on_pulled(now, group, result),
            Cmd::HandOverAll => {
                self.fitness.leave();
                self.judge(now);
                // What no fit node can take goes to whoever lives.
                let led: Vec<GroupId> = self.replicas.keys().copied().collect();
                led.into_iter().for_each(|group| self.step(now, group, Event::HandOver));
            }
            Cmd::SetDrained(drained) => self.fitness.set_drained(drained),
            Cmd::Stop => return false,
        }
        true
    }

    /// Gives one event to one replica. What follows from it is done at the end of the turn.
    pub(super) fn step(&mut self, now: Now, group: GroupId, event: Event) {
        let Some(replica) = self.replicas.get_mut(&group) else { return };
        let out = &mut self.out;
        let stepped = catch_unwind(AssertUnwindSafe(|| replica.core.handle(now, event, out)));
        if let Err(panic) = stepped {
            replica.core.fail(reason_of(panic), out);
        }
        self.touch(group);
    }

    fn on_frame(&mut self, now: Now, from: NodeId, frame: Frame) {
        self.fitness.heard(from, now.mono_ms);
        if let Some(health) = frame.health {
            self.fitness.told(from, now.mono_ms, health);
        }
        self.skew.sample(from, now.mono_ms, frame.heard_ms, frame.wall_ms);
        for PeerMessage { group, body } in frame.messages {
            self.step(now, group, Event::Message { from, body });
        }
    }

    fn on_submit(&mut self, group: GroupId, submit: Submit, reply: Reply) {
        if !self.replicas.contains_key(&group) {
            let _ = reply.send(Err(GroupError::NoSuchGroup));
            return;
        }
        let ticket = match self.free.pop() {
            Some(ticket) => {
                self.replies[ticket as usize] = Some(reply);
                ticket
            }
            None => {
                self.replies.push(Some(reply));
                self.replies.len() as Ticket - 1
            }
        };
        if let Some(replica) = self.replicas.get_mut(&group) {
            replica.submits.push((ticket, submit));
        }
        self.touch(group);
    }

    // ---- time -----------------------------------------------------------------------------

    fn beat(&mut self, now: Now) {
        self.judge(now);
        let bound = self.settings.max_clock_skew_ms;
        let ahead = self.skew.behind(now.mono_ms, bound);
        if ahead != self.ahead {
            if !ahead.is_empty() {
                tracing::error!(
                    peers = ?ahead, bound_ms = bound,
                    "this node's clock is ahead of these peers by more than the bound; \
                     groups whose other voters are mostly among them are handed over"
                );
            }
            self.ahead = ahead;
            let flags: Vec<(GroupId, bool)> = self
                .replicas
                .iter()
                .map(|(group, replica)| {
                    let voters = &replica.shared.view.load().voters;
                    let behind = voters.iter().filter(|v| self.ahead.contains(v)).count();
                    (*group, behind * 2 > voters.len())
                })
                .collect();
            for (group, flag) in flags {
                self.step(now, group, Event::ClockAhead(flag));
            }
        }
        let out = &mut self.out;
        for (group, replica) in &mut self.replicas {
            let was_dirty = replica.dirty;
            let beat = AssertUnwindSafe(|| replica.core.handle(now, Event::Beat, out));
            if let Err(panic) = catch_unwind(beat) {
                replica.core.fail(reason_of(panic), out);
            }
            if !was_dirty {
                replica.dirty = true;
                self.dirty.push(*group);
            }
        }
    }

    fn scan(&mut self, now: Now) {
        let due: Vec<GroupId> = self
            .replicas
            .iter()
            .filter(|(_, replica)| now.mono_ms >= replica.core.deadline_ms())
            .map(|(group, _)| *group)
            .collect();
        for group in due {
            self.step(now, group, Event::Wake);
        }
        if self.journal.retry(now.mono_ms) {
            tracing::info!("writing to the log again after it had no room");
        }
        let age_ms = self.inner.settings.checkpoint_age.as_millis() as u64;
        for replica in self.replicas.values_mut() {
            let old = replica.unchecked_since_ms.is_some_and(|at| now.mono_ms >= at + age_ms);
            if (old || replica.core.machine().needs_checkpoint()) && !replica.checkpointing {
                checkpoint(&self.inner, replica);
            }
        }
    }

    fn chores(&mut self, now: Now) {
        for group in self.journal.wal().oldest_pins() {
            if let Some(replica) = self.replicas.get_mut(&group) {
                replica.repin = true;
                if !replica.checkpointing && replica.core.fault().is_none() {
                    checkpoint(&self.inner, replica);
                }
            }
        }
        let pin_ms = self.inner.settings.pin_age.as_millis() as u64;
        let (mut leaders, mut lag) = (0, 0);
        for replica in self.replicas.values() {
            let view = replica.core.view();
            leaders += i64::from(view.is_leader);
            lag = view.lag.iter().map(|(_, n)| *n).chain([lag]).max().unwrap_or(0);
            let mut pins = replica.shared.pins.lock();
            while pins.front().is_some_and(|p| now.mono_ms >= p.at_ms + pin_ms) {
                pins.pop_front();
            }
            drop(pins);
            if **replica.shared.view.load() != view {
                replica.shared.view.store(Arc::new(view));
            }
        }
        metrics::LEADERS.set(leaders);
        metrics::REPLICAS.set(self.replicas.len() as i64);
        metrics::LAG.set(lag as i64);
        metrics::CLOCK_AHEAD.set(self.skew.largest_ms());
    }

    // ---- the end of a turn ----------------------------------------------------------------

    fn turn(&mut self, now: Now) {
        let dirty = std::mem::take(&mut self.dirty);
        let holds = self.proposing.is_some();
        let mut proposes = false;
        for group in &dirty {
            let Some(replica) = self.replicas.get_mut(group) else { continue };
            replica.dirty = false;
            let submits = if holds && !replica.submits.is_empty() {
                self.held.push(*group);
                Vec::new()
            } else {
                std::mem::take(&mut replica.submits)
            };
            proposes |= !submits.is_empty();
            let (core, out) = (&mut replica.core, &mut self.out);
            let settled = catch_unwind(AssertUnwindSafe(|| {
                if !submits.is_empty() {
                    core.handle(now, Event::Submit(submits), out);
                }
                core.settle(now, out);
            }));
            if let Err(panic) = settled {
                replica.core.fail(reason_of(panic), &mut self.out);
            }
            replica.shared.set_serves_until(replica.core.serves_until_ms());
        }
        if self.out.is_empty() {
            return;
        }
        let mut out = std::mem::take(&mut self.out);
        // Before the heads move: whoever hears that the marker is applied finds its view.
        for (group, index, view) in out.pins.drain(..) {
            if let Some(replica) = self.replicas.get(&group) {
                pin(&replica.shared, index, now.mono_ms, view);
            }
        }
        self.heed(now, out.notes.drain(..));
        if !out.records.is_empty() || !out.persists.is_empty() {
            let acks = out.persists.drain(..).map(|(group, number)| Ack::Ready { group, number });
            let batch = self.journal.append(std::mem::take(&mut out.records), acks.collect());
            if proposes {
                self.proposing = Some(batch);
            }
        }
        self.send(now, out.sends.drain(..));
        for (ticket, answer) in out.answers.drain(..) {
            self.answer(ticket, answer);
        }
        self.out = out;
    }

    /// The newest proposals are durable here, or will not be: what waited is proposed.
    pub(super) fn release(&mut self) {
        self.proposing = None;
        for group in std::mem::take(&mut self.held) {
            self.touch(group);
        }
    }

    fn answer(&mut self, ticket: Ticket, answer: Result<Answer, GroupError>) {
        if let Some(reply) = self.replies.get_mut(ticket as usize).and_then(Option::take) {
            let _ = reply.send(answer);
            self.free.push(ticket);
        }
    }

    fn send(&self, now: Now, sends: impl Iterator<Item = (NodeId, PeerMessage)>) {
        let mut peers: HashMap<NodeId, (usize, Vec<PeerMessage>)> = HashMap::new();
        for (to, message) in sends {
            let (bytes, messages) = peers.entry(to).or_default();
            if let PeerBody::Raft { message, .. } = &message.body {
                *bytes += message.entries.iter().map(|e| e.data.len() + 24).sum::<usize>();
            }
            *bytes += 32;
            messages.push(message);
            if *bytes >= FRAME_BYTES {
                let frame = frame::encode(now.wall_ms, self.skew.heard(to), None, messages);
                self.inner.net.send(to, frame);
                (*bytes, *messages) = (0, Vec::new());
            }
        }
        for (to, (_, messages)) in peers {
            if !messages.is_empty() {
                let frame = frame::encode(now.wall_ms, self.skew.heard(to), None, &messages);
                self.inner.net.send(to, frame);
            }
        }
    }

    fn heed(&mut self, now: Now, notes: impl Iterator<Item = (GroupId, Note)>) {
        let mut moved: Vec<GroupId> = Vec::new();
        for (group, note) in notes {
            let Some(replica) = self.replicas.get_mut(&group) else { continue };
            match note {
                Note::Role => {
                    let view = replica.core.view();
                    let told = (view.is_leader && view.ready, view.term);
                    if told != replica.told {
                        let event = match told {
                            (true, term) => Some(HostEvent::Leader { group, term }),
                            _ if replica.told.0 => Some(HostEvent::NotLeader { group }),
                            _ => None,
                        };
                        if let Some(event) = event {
                            tracing::info!(%group, term = view.term, ?event, "leadership");
                            let _ = self.inner.events.send(event);
                        }
                        replica.told = told;
                    }
                    replica.shared.view.store(Arc::new(view));
                }
                Note::Applied => {
                    if moved.last() != Some(&group) {
                        moved.push(group);
                    }
                    replica.unchecked_since_ms.get_or_insert(now.mono_ms);
                }
                Note::Config => {
                    replica.shared.reconfigured();
                    let _ = self.inner.events.send(HostEvent::ConfigChanged { group });
                }
                Note::Marker { index } => tracing::debug!(%group, index, "marker"),
                Note::SnapshotWanted { leader, term } => {
                    let generation = replica.generation + 1;
                    snapshot::pull(&self.inner, group, generation, leader, term);
                }
                Note::GivenAway { to, reason } => {
                    metrics::given_away(reason);
                    tracing::info!(%group, %to, ?reason, "leadership is given away");
                }
                Note::Campaign => metrics::ELECTIONS.inc(),
                Note::Conflict { from, to } => metrics::conflict(from, to),
                Note::Committed { took_ms, records } => {
                    metrics::PROPOSALS.inc_by(records as u64);
                    metrics::COMMIT_SECONDS.observe(took_ms as f64 / 1_000.0);
                }
                Note::Fault(reason) => {
                    metrics::FAULTS.inc();
                    replica.shared.set_serves_until(0);
                    let view = replica.core.view();
                    replica.shared.view.store(Arc::new(view));
                    tracing::error!(
                        %group, reason,
                        "a replica is isolated: it serves and votes no more; rebuild it"
                    );
                }
            }
        }
        for group in moved {
            if let Some(replica) = self.replicas.get(&group) {
                replica.shared.moved();
            }
        }
    }

    /// Nothing is served any more; what was proposed may still be in other logs.
    fn end(mut self, now: Now) {
        let mut out = Output::default();
        for replica in self.replicas.values_mut() {
            replica.shared.set_serves_until(0);
            let unsent = replica.submits.drain(..).map(|(t, _)| (t, Err(GroupError::Stopped)));
            out.answers.extend(unsent);
            replica.core.fail("the host is stopping".into(), &mut out);
        }
        for (ticket, answer) in std::mem::take(&mut self.out.answers) {
            self.answer(ticket, answer);
        }
        for (ticket, answer) in out.answers {
            self.answer(ticket, answer);
        }
        self.inner.groups.write().clear();
        self.inner.pool.stop();
        tracing::debug!(at_ms = now.mono_ms, "the host's loop ended");
    }
}

pub(super) fn checkpoint(inner: &Inner, replica: &mut Replica) {
    replica.checkpointing = true;
    let partition = replica.core.machine().clone();
    let (group, generation) = (replica.core.group(), replica.generation);
    inner.pool.submit(Job::Checkpoint { group, generation, partition });
}

fn pin(shared: &Shared, index: u64, at_ms: u64, view: Result<PinnedView, StorageError>) {
    const PINS_MAX: usize = 4;
    match view {
        Ok(view) => {
            let mut pins = shared.pins.lock();
            pins.push_back(Pin { index, at_ms, view: Arc::new(Mutex::new(view)) });
            if pins.len() > PINS_MAX {
                pins.pop_front();
            }
        }
        Err(error) => {
            tracing::error!(group = %shared.group, index, %error, "a marker's view cannot be pinned");
        }
    }
}

fn reason_of(panic: Box<dyn std::any::Any + Send>) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("it panicked: {}", text.unwrap_or("(no message)"))
}

/// What every replica of a new group starts from: the same first entry, committed by definition.
pub(crate) fn first_records(spec: &GroupSpec) -> Restored {
    use tombolo_item::Shard;
    use tombolo_storage::{HardState, LogBase, LogEntry, LogRecord, encode_batch};
    let (conf, _) = first_conf(&spec.voters);
    let record = LogRecord {
        table: spec.config.table,
        shard: Shard { group: spec.group, epoch: spec.config.epoch },
        eval_term: 1,
        token: None,
        changes: Vec::new(),
        rows: Vec::new(),
        config: Some(spec.config.clone()),
        confirmed: Vec::new(),
        marker: None,
        closed: None,
        ext: Default::default(),
    };
    let data = encode_batch(&[record]);
    let entry = LogEntry { index: 1, term: 1, kind: 0, data, context: Default::default() };
    Restored {
        base: LogBase { index: 0, term: 0, generation: 1, conf },
        hard_state: HardState { term: 1, vote: 0, commit: 1 },
        entries: vec![entry],
    }
}

pub(super) fn records_of(group: GroupId, restored: &Restored) -> Vec<WalRecord> {
    let mut records = vec![
        WalRecord::Base { group, base: restored.base.clone() },
        WalRecord::HardState { group, state: restored.hard_state },
    ];
    let entries = restored.entries.iter().cloned();
    records.extend(entries.map(|entry| WalRecord::Entry { group, entry }));
    records
}
