//! The replica: the consensus library, the log, the machine, and the order in which they move.
//!
//! Always true:
//! - Term, vote and entries of one ready go to the disk in one append; what a follower answers
//!   leaves only after it is durable; a leader's appends may leave before its own are.
//! - Committed entries are applied in the same step, so `applied` stays close to `committed`.
//! - Nothing the library panics on reaches it: proposals, reads and transfers of others are
//!   dropped, commits beyond the log are cut, storage never fails.
//! - A replica whose machine refused an entry is at fault: it answers nothing and votes no more.

use std::collections::VecDeque;

use bytes::Bytes;
use raft::eraftpb::{ConfState, Entry, HardState, Message, MessageType, Snapshot};
use raft::{Config, RawNode, SnapshotStatus, StateRole};
use tombolo_item::{GroupId, NodeId, RegionId};
use tombolo_storage::{LogBase, LogEntry, WalRecord, decode_batch};

use super::Machine;
use super::conf::Membership;
use super::election::{Election, Verdict};
use super::event::{Event, Note, Now, Output};
use super::frame::{PeerBody, PeerMessage, TRANSFER, may_travel};
use super::leading::Leading;
use super::lease::{Lease, Promise};
use super::log::MemoryLog;
use crate::error::{GroupError, HostError};
use crate::types::Descriptor;

/// How long a leader goes without a lease before it steps down.
const LEASELESS_MS: u64 = 2_500;
/// How long a follower gets to pull a snapshot before the leader tries appending again.
const SNAPSHOT_MS: u64 = 5_000;
/// Followers hear of a commit with the next append, or this long after it: an idle moment later,
/// and half the messages of a lone write.
const TELL_COMMIT_MS: u64 = 20;
/// How long a planned hand-over may take to reach the moment of TimeoutNow, and after it.
const HAND_OVER_MS: u64 = 2_000;

/// What all replicas of a node share.
#[derive(Debug, Clone)]
pub struct CoreSettings {
    pub node: NodeId,
    pub region: RegionId,
    pub max_clock_skew_ms: u64,
    pub uncommitted_bytes: u64,
    pub log_tail_bytes: usize,
    /// No vote and no campaign before this monotonic time: the node's start plus the promise.
    pub quiet_until_ms: u64,
    pub seed: u64,
    #[cfg(test)]
    pub(crate) planted: Option<super::planted::Planted>,
}

/// What a replica remembers: from a fresh specification, or from the disk.
#[derive(Debug, Clone)]
pub struct Restored {
    pub base: LogBase,
    pub hard_state: tombolo_storage::HardState,
    pub entries: Vec<LogEntry>,
}

/// What others may see of a replica.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct View {
    pub term: u64,
    pub leader: Option<NodeId>,
    pub is_leader: bool,
    /// 0, or until when (monotonic) this replica serves strong reads in `term`.
    pub serves_until_ms: u64,
    pub ready: bool,
    pub committed: u64,
    pub applied: u64,
    pub last_index: u64,
    pub conf_index: u64,
    pub voters: Vec<NodeId>,
    pub lag: Vec<(NodeId, u64)>,
}

struct Unpersisted {
    number: u64,
    /// Needs the disk itself (else it only waits for those before it).
    writes: bool,
    /// Brings a new term or vote.
    votes: bool,
    messages: Vec<PeerMessage>,
    to: Vec<NodeId>,
}

/// One replica.
pub struct GroupCore<M: Machine> {
    pub(super) group: GroupId,
    pub(super) settings: CoreSettings,
    pub(super) raw: RawNode<MemoryLog>,
    pub(super) machine: M,
    pub(super) membership: Membership,
    pub(super) lease: Lease,
    pub(super) leading: Option<Leading>,
    pub(super) clock_ahead: bool,
    pub(super) disk_full: bool,
    promise: Promise,
    election: Election,
    /// Term and sending time of the newest heartbeat heard, echoed to the leader.
    echo: (u64, u64),
    unpersisted: VecDeque<Unpersisted>,
    written: tombolo_storage::HardState,
    seen: (StateRole, u64, u64),
    installing: bool,
    /// Followers that were sent a snapshot notice, and when.
    snapshots: Vec<(u64, u64)>,
    pinged_at_ms: u64,
    /// The commit index followers were told last, and when to tell them of the newer one.
    told_commit: u64,
    tell_commit_at_ms: u64,
    fault: Option<String>,
}

impl<M: Machine> GroupCore<M> {
    /// A replica with what it remembers. `machine` holds everything up to at least the base.
    pub fn new(
        group: GroupId,
        settings: CoreSettings,
        restored: Restored,
        machine: M,
        now: Now,
    ) -> Result<GroupCore<M>, HostError> {
        let refuse = |reason: String| HostError::Consensus { group, reason };
        let membership = Membership::decode(&restored.base.conf)
            .map_err(|e| refuse(format!("its membership cannot be read: {e}")))?;
        let base = (restored.base.index, restored.base.term);
        let applied = machine.applied();
        let hard = restored.hard_state;
        let last = restored.entries.last().map_or(base.0, |e| e.index);
        if applied.0 > last {
            return Err(refuse(format!(
                "its tree is at index {} but its log ends at {last}; rebuild it from its peers",
                applied.0
            )));
        }
        let state = HardState {
            term: hard.term,
            vote: hard.vote,
            commit: hard.commit.max(base.0).max(applied.0).min(last),
            ..HardState::default()
        };
        let mut log = MemoryLog::new(base, state, membership.conf.clone());
        let entries: Vec<Entry> = restored.entries.into_iter().map(to_raft).collect();
        if entries.first().is_some_and(|e| e.index != base.0 + 1) {
            return Err(refuse("its log does not start after its base".into()));
        }
        log.append(&entries);
        log.set_applied(applied.0, applied.1);
        let id = settings.node.0;
        let config = Config {
            id,
            applied: applied.0,
            pre_vote: true,
            check_quorum: false,
            max_size_per_msg: (1 << 20).min(settings.uncommitted_bytes / 2),
            max_inflight_msgs: 128,
            max_uncommitted_size: settings.uncommitted_bytes,
            // Not `batch_append`: with an empty append in the buffer and a progress that moved
            // back meanwhile it glues entries to the wrong previous index (found by simulation).
            batch_append: false,
            skip_bcast_commit: true,
            ..Config::default()
        };
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let raw = RawNode::new(&config, log, &logger).map_err(|e| refuse(e.to_string()))?;
        let voters = &membership.conf.voters;
        let preferred = voters.get(group.0 as usize % voters.len().max(1)) == Some(&id);
        let seed = settings.seed ^ group.0.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let first = now.mono_ms.max(settings.quiet_until_ms);
        let election = Election::new(seed, preferred, first);
        let seen = (StateRole::Follower, raw.raft.term, 0);
        Ok(GroupCore {
            group,
            promise: Promise::until(settings.quiet_until_ms),
            settings,
            raw,
            machine,
            membership,
            lease: Lease::default(),
            leading: None,
            clock_ahead: false,
            disk_full: false,
            election,
            echo: (0, 0),
            unpersisted: VecDeque::new(),
            written: hard,
            seen,
            installing: false,
            snapshots: Vec::new(),
            pinged_at_ms: 0,
            told_commit: 0,
            tell_commit_at_ms: u64::MAX,
            fault: None,
        })
    }

    pub fn group(&self) -> GroupId {
        self.group
    }

    pub fn machine(&self) -> &M {
        &self.machine
    }

    /// The replica follows its group into a snapshot: everything it applied is replaced.
    pub fn replace_machine(&mut self, machine: M) {
        self.machine = machine;
    }

    pub fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// Isolates the replica: it answers nothing any more.
    pub fn fail(&mut self, reason: String, out: &mut Output) {
        if let Some(leading) = self.leading.take() {
            leading.dissolve(&self.not_leader(), out);
        }
        out.notes.push((self.group, Note::Fault(reason.clone())));
        self.fault = Some(reason);
    }

    /// Takes in one event and carries out everything that follows from it.
    pub fn step(&mut self, now: Now, event: Event, out: &mut Output) {
        self.handle(now, event, out);
        self.settle(now, out);
    }

    /// Takes in one event; [`Self::settle`] must follow before anything else is done with `out`.
    pub fn handle(&mut self, now: Now, event: Event, out: &mut Output) {
        if let Some(reason) = &self.fault {
            if let Event::Submit(submits) = event {
                let error = GroupError::Corrupt(reason.clone());
                out.answers.extend(submits.into_iter().map(|(t, _)| (t, Err(error.clone()))));
            }
            return;
        }
        match event {
            Event::Message { from, body } => self.on_message(now, from, body, out),
            Event::Submit(submits) => self.on_submits(now, submits, out),
            Event::Persisted { number } => self.on_persisted(number, out),
            Event::Beat => self.on_beat(now, out),
            Event::Wake => self.on_wake(now, out),
            Event::HandOver => self.hand_over(now),
            Event::ClockAhead(ahead) => {
                self.clock_ahead = ahead;
                if ahead {
                    self.hand_over(now);
                }
            }
            Event::DiskFull(full) => self.disk_full = full,
            Event::Checkpointed { index } => {
                let keep = self.settings.log_tail_bytes;
                self.raw.mut_store().compact(index, keep);
            }
            Event::SnapshotInstalled { leader, term, index, entry_term, conf } => {
                self.on_installed(leader, term, (index, entry_term), &conf, out);
            }
            Event::SnapshotFailed => self.installing = false,
        }
    }

    // ---- messages -------------------------------------------------------------------------

    fn on_message(&mut self, now: Now, from: NodeId, body: PeerBody, out: &mut Output) {
        if !self.is_member(from.0) || from == self.settings.node {
            return;
        }
        match body {
            PeerBody::Probe { term } => {
                let leads = self.leading.is_some() && self.lease.holds(now.mono_ms);
                let hears = leads || self.election.hears(now.mono_ms);
                let hears = hears && self.raw.raft.term >= term;
                let answer = PeerBody::ProbeAnswer { term, hears };
                out.sends.push((from, PeerMessage { group: self.group, body: answer }));
            }
            PeerBody::ProbeAnswer { term, hears } => {
                if term == self.raw.raft.term {
                    self.election.answer(from.0, hears);
                    self.decide_probe(now, out);
                }
            }
            PeerBody::Raft { message, sent_ms } => {
                self.on_raft(now, from, *message, sent_ms, out);
            }
        }
    }

    fn on_raft(&mut self, now: Now, from: NodeId, mut m: Message, sent_ms: u64, out: &mut Output) {
        if !may_travel(m.msg_type) {
            return;
        }
        let term = m.term;
        if self.installing {
            // What is applied must not pass the snapshot on its way to the disk.
            m.commit = m.commit.min(self.raw.raft.raft_log.committed);
        }
        match m.msg_type {
            MessageType::MsgRequestVote | MessageType::MsgRequestPreVote
                if !self.may_vote(now, &m) =>
            {
                return;
            }
            MessageType::MsgAppend if self.installing => return,
            MessageType::MsgHeartbeat => {
                m.commit = m.commit.min(self.raw.raft.raft_log.last_index());
            }
            MessageType::MsgSnapshot if self.take_snapshot_notice(from, &m, out) => return,
            MessageType::MsgTimeoutNow => {
                let raft = &self.raw.raft;
                if self.installing || term != raft.term || raft.leader_id != from.0 {
                    return;
                }
            }
            MessageType::MsgAppendResponse => self.notice_lost_log(from, &m),
            _ => {}
        }
        let kind = m.msg_type;
        // Errors are answers of strangers and dropped proposals: nothing to do about either.
        let _ = self.raw.step(m);
        let raft = &self.raw.raft;
        let follows = raft.state == StateRole::Follower && raft.leader_id == from.0;
        match kind {
            MessageType::MsgHeartbeat if raft.term == term && follows => {
                self.promise.extend(now.mono_ms);
                self.echo = (term, sent_ms);
                self.election.heard(now.mono_ms);
            }
            MessageType::MsgAppend | MessageType::MsgSnapshot if raft.term == term && follows => {
                self.election.heard(now.mono_ms);
            }
            MessageType::MsgHeartbeatResponse
                if raft.term == term && raft.state == StateRole::Leader =>
            {
                let sent_ms = self.planted_sent(now, sent_ms);
                if sent_ms > 0 && sent_ms <= now.mono_ms {
                    self.lease.acknowledge(from.0, sent_ms);
                    self.lease.renew(self.raw.store().conf(), self.settings.node.0, now.mono_ms);
                }
            }
            _ => {}
        }
    }

    #[cfg(not(test))]
    fn planted_sent(&self, _now: Now, sent_ms: u64) -> u64 {
        sent_ms
    }

    #[cfg(test)]
    fn planted_sent(&self, now: Now, sent_ms: u64) -> u64 {
        use super::planted::Planted::LeaseFromReceipt;
        if self.settings.planted == Some(LeaseFromReceipt) { now.mono_ms } else { sent_ms }
    }

    /// The promise, the lease, and what a replica without history may do.
    fn may_vote(&self, now: Now, m: &Message) -> bool {
        if m.context.as_ref() == TRANSFER {
            return true;
        }
        #[cfg(test)]
        if self.breaks_promises() {
            return true;
        }
        if self.promise.holds(now.mono_ms) {
            return false;
        }
        if self.leading.is_some() && self.lease.holds(now.mono_ms) {
            return false;
        }
        // A replica that holds nothing but the group's first entry may have lost its disk, and
        // with it what it acknowledged: it elects nobody who knows more than that. It first has
        // to hear a leader that was elected without it.
        let history = |index: u64| index > 1;
        history(self.raw.raft.raft_log.last_index()) || !history(m.index)
    }

    /// A follower whose log ends below what it once acknowledged lost its disk: start over with it.
    fn notice_lost_log(&mut self, from: NodeId, m: &Message) {
        let raft = &mut self.raw.raft;
        if raft.state != StateRole::Leader || m.term != raft.term || !m.reject {
            return;
        }
        if m.request_snapshot != 0 {
            return;
        }
        if let Some(progress) = raft.mut_prs().get_mut(from.0)
            && m.reject_hint < progress.matched
        {
            progress.matched = m.reject_hint;
            progress.become_probe();
        }
    }

    fn is_member(&self, id: u64) -> bool {
        let conf = &self.membership.conf;
        [&conf.voters, &conf.learners, &conf.voters_outgoing, &conf.learners_next]
            .iter()
            .any(|set| set.contains(&id))
    }

    // ---- snapshots ------------------------------------------------------------------------

    /// Returns whether the notice was kept from the library (a pull starts, or runs already).
    fn take_snapshot_notice(&mut self, from: NodeId, m: &Message, out: &mut Output) -> bool {
        let raft = &self.raw.raft;
        if m.term < raft.term || m.get_snapshot().get_metadata().index <= self.machine.applied().0 {
            return false;
        }
        if !self.installing {
            self.installing = true;
            let note = Note::SnapshotWanted { leader: from, term: m.term };
            out.notes.push((self.group, note));
        }
        true
    }

    /// Whether a pulled snapshot at `index` may be made durable: nothing beyond it is committed
    /// here, and nothing will be until it is installed.
    pub fn accepts_snapshot(&self, index: u64) -> bool {
        let committed = self.raw.raft.raft_log.committed;
        self.installing && index >= committed && index > self.machine.applied().0
    }

    /// A snapshot is being pulled or made durable.
    pub fn is_installing(&self) -> bool {
        self.installing
    }

    fn on_installed(
        &mut self,
        leader: NodeId,
        term: u64,
        at: (u64, u64),
        conf: &Bytes,
        out: &mut Output,
    ) {
        self.installing = false;
        let membership = match Membership::decode(conf) {
            Ok(membership) => membership,
            Err(e) => return self.fail(format!("the snapshot's membership: {e}"), out),
        };
        let mut snapshot = Snapshot::default();
        let meta = snapshot.mut_metadata();
        meta.index = at.0;
        meta.term = at.1;
        meta.set_conf_state(membership.conf.clone());
        if self.raw.raft.term == term {
            let to = self.settings.node.0;
            let mut m = Message { from: leader.0, to, term, ..Message::default() };
            m.set_msg_type(MessageType::MsgSnapshot);
            m.set_snapshot(snapshot);
            let _ = self.raw.step(m);
        } else if self.raw.raft.raft_log.committed < at.0 {
            // The leader that gave it is gone; what it gave is committed all the same.
            if self.raw.raft.state != StateRole::Follower {
                let term = self.raw.raft.term;
                self.raw.raft.become_follower(term, 0);
            }
            self.raw.raft.restore(snapshot);
        }
        self.membership = membership;
        out.notes.push((self.group, Note::Applied));
    }

    // ---- time -----------------------------------------------------------------------------

    /// The monotonic time at which the replica wants [`Event::Wake`].
    pub fn deadline_ms(&self) -> u64 {
        if self.fault.is_some() {
            return u64::MAX;
        }
        match &self.leading {
            Some(leading) => {
                let steps_down = self.lease.until_ms().max(leading.since_ms) + LEASELESS_MS;
                let other = self.snapshot_deadline().min(steps_down).min(self.tell_commit_at_ms);
                leading.deadline_ms(other)
            }
            None => {
                let at = self.election.deadline_ms();
                if self.election.probing() { at } else { at.max(self.promise.until_ms()) }
            }
        }
    }

    fn snapshot_deadline(&self) -> u64 {
        self.snapshots.iter().map(|(_, at)| at + SNAPSHOT_MS).min().unwrap_or(u64::MAX)
    }

    fn on_beat(&mut self, now: Now, out: &mut Output) {
        if self.raw.raft.state == StateRole::Leader {
            self.ping(now);
        }
        if now.mono_ms >= self.deadline_ms() {
            self.on_wake(now, out);
        }
    }

    pub(super) fn ping(&mut self, now: Now) {
        self.pinged_at_ms = now.mono_ms;
        self.told_commit = self.raw.raft.raft_log.committed;
        self.tell_commit_at_ms = u64::MAX;
        self.lease.renew(self.raw.store().conf(), self.settings.node.0, now.mono_ms);
        self.raw.ping();
    }

    /// Pings, unless that was done a moment ago.
    pub(super) fn ping_soon(&mut self, now: Now) {
        if now.mono_ms >= self.pinged_at_ms + 20 {
            self.ping(now);
        }
    }

    fn on_wake(&mut self, now: Now, out: &mut Output) {
        if self.leading.is_some() {
            return self.wake_leader(now, out);
        }
        if self.election.probing() {
            return self.decide_probe(now, out);
        }
        if !self.may_campaign(now) {
            return;
        }
        let peers = self.peers();
        #[cfg(test)]
        let peers = if self.breaks_promises() { Vec::new() } else { peers };
        if peers.is_empty() {
            return self.campaign(now, out);
        }
        self.election.start_probe(now.mono_ms);
        let term = self.raw.raft.term;
        for to in peers {
            let body = PeerBody::Probe { term };
            out.sends.push((to, PeerMessage { group: self.group, body }));
        }
    }

    #[cfg(test)]
    fn breaks_promises(&self) -> bool {
        use super::planted::Planted::{ForgetVote, NoPromise};
        matches!(self.settings.planted, Some(NoPromise | ForgetVote))
    }

    fn may_campaign(&self, now: Now) -> bool {
        #[cfg(test)]
        if self.breaks_promises() {
            return self.election.due(now.mono_ms) && !self.installing;
        }
        self.election.due(now.mono_ms) && !self.promise.holds(now.mono_ms) && !self.installing
    }

    fn decide_probe(&mut self, now: Now, out: &mut Output) {
        if !self.election.probing() {
            return;
        }
        match self.election.verdict(now.mono_ms, self.membership.conf.voters.len()) {
            Verdict::Wait => {}
            Verdict::StandDown => self.election.retry(now.mono_ms),
            Verdict::Campaign => self.campaign(now, out),
        }
    }

    fn campaign(&mut self, now: Now, out: &mut Output) {
        self.election.retry(now.mono_ms);
        if self.promise.holds(now.mono_ms) {
            #[cfg(test)]
            if !self.breaks_promises() {
                return;
            }
            #[cfg(not(test))]
            return;
        }
        out.notes.push((self.group, Note::Campaign));
        let _ = self.raw.campaign();
    }

    fn peers(&self) -> Vec<NodeId> {
        let own = self.settings.node;
        self.membership.voters().into_iter().filter(|n| *n != own).collect()
    }

    fn wake_leader(&mut self, now: Now, out: &mut Output) {
        if now.mono_ms >= self.tell_commit_at_ms {
            self.ping(now);
        }
        let until = self.lease.until_ms();
        let Some(leading) = &mut self.leading else { return };
        leading.expire_barriers(now.mono_ms, out);
        let leaseless = now.mono_ms >= until.max(leading.since_ms) + LEASELESS_MS;
        let handed_over = leading.handed_over_ms.is_some_and(|at| now.mono_ms >= at + HAND_OVER_MS);
        if leaseless || handed_over {
            return self.step_down(now);
        }
        if leading.hand_over_ms.is_some_and(|at| now.mono_ms >= at + HAND_OVER_MS) {
            leading.hand_over_ms = None;
            if leading.handed_over_ms.is_none() {
                self.raw.raft.abort_leader_transfer();
            }
        }
        let late: Vec<u64> = self
            .snapshots
            .extract_if(.., |(_, at)| now.mono_ms >= *at + SNAPSHOT_MS)
            .map(|(id, _)| id)
            .collect();
        for id in late {
            self.raw.report_snapshot(id, SnapshotStatus::Failure);
        }
    }

    fn step_down(&mut self, now: Now) {
        let term = self.raw.raft.term;
        self.raw.raft.become_follower(term, 0);
        self.election.hold_back(now.mono_ms, 1_000);
    }

    // ---- hand-over ------------------------------------------------------------------------

    /// Hands over to the voter whose log is closest to ours and that spoke lately.
    fn hand_over(&mut self, now: Now) {
        let own = self.settings.node.0;
        let Some(leading) = &mut self.leading else { return };
        if leading.hand_over_ms.is_some() {
            return;
        }
        let voters = &self.membership.conf.voters;
        let best = self
            .raw
            .raft
            .prs()
            .iter()
            // Not the library's `recent_active`: without its ticks that is never taken back.
            .filter(|(id, _)| {
                **id != own && voters.contains(id) && self.lease.hears(**id, now.mono_ms)
            })
            .map(|(id, progress)| (progress.matched, std::cmp::Reverse(*id)))
            .max();
        if let Some((_, std::cmp::Reverse(to))) = best {
            leading.hand_over_ms = Some(now.mono_ms);
            self.raw.transfer_leader(to);
        }
    }

    // ---- carrying out ---------------------------------------------------------------------

    fn on_persisted(&mut self, number: u64, out: &mut Output) {
        let mut reached = 0;
        while let Some(first) = self.unpersisted.front() {
            if first.writes && first.number > number {
                break;
            }
            reached = first.number;
            if let Some(done) = self.unpersisted.pop_front() {
                out.sends.extend(done.to.into_iter().zip(done.messages));
            }
        }
        if reached > 0 {
            self.raw.on_persist_ready(reached);
            self.tell_applied();
        }
    }

    /// Does everything the library now wants done.
    pub fn settle(&mut self, now: Now, out: &mut Output) {
        if self.fault.is_some() {
            return;
        }
        self.drain(now, out);
        if self.leading.is_some() {
            self.pass_barriers(now, out);
            // It may have asked for a proof.
            self.drain(now, out);
            let untold = self.raw.raft.raft_log.committed > self.told_commit;
            if untold && self.tell_commit_at_ms == u64::MAX {
                self.tell_commit_at_ms = now.mono_ms + TELL_COMMIT_MS;
            }
        }
    }

    fn drain(&mut self, now: Now, out: &mut Output) {
        while self.fault.is_none() && self.raw.has_ready() {
            self.carry_out(now, out);
            self.follow_role(now, out);
        }
    }

    fn carry_out(&mut self, now: Now, out: &mut Output) {
        let mut ready = self.raw.ready();
        for m in ready.take_messages() {
            if let Some((to, message)) = self.outgoing(now, m) {
                out.sends.push((to, message));
            }
        }
        let before = out.records.len();
        if !ready.snapshot().is_empty() {
            let meta = ready.snapshot().get_metadata();
            let conf = meta.get_conf_state().clone();
            self.raw.mut_store().reset(meta.index, meta.term, conf);
        }
        let entries = ready.take_entries();
        let hard = self.hard_state();
        let owes_state = ready.must_sync() || !entries.is_empty();
        let votes = (hard.term, hard.vote) != (self.written.term, self.written.vote);
        for entry in &entries {
            let entry = from_raft(entry);
            out.records.push(WalRecord::Entry { group: self.group, entry });
        }
        if owes_state && hard != self.written {
            out.records.push(WalRecord::HardState { group: self.group, state: hard });
            self.written = hard;
        }
        self.raw.mut_store().append(&entries);
        let committed = ready.take_committed_entries();
        let number = ready.number();
        let messages = ready.take_persisted_messages();
        let (mut to, mut held) = (Vec::new(), Vec::new());
        // That a leader is heard does not wait for its entries, only for the term it leads in.
        let term_is_durable = !votes && self.unpersisted.iter().all(|u| !u.votes);
        for m in messages {
            let at_once = term_is_durable && m.msg_type == MessageType::MsgHeartbeatResponse;
            match self.outgoing(now, m) {
                Some(send) if at_once => out.sends.push(send),
                Some((node, message)) => {
                    to.push(node);
                    held.push(message);
                }
                None => {}
            }
        }
        self.raw.advance_append_async(ready);
        let writes = out.records.len() > before;
        if writes {
            out.persists.push((self.group, number));
        }
        if writes || !self.unpersisted.is_empty() {
            self.unpersisted.push_back(Unpersisted { number, writes, votes, messages: held, to });
        } else {
            out.sends.extend(to.into_iter().zip(held));
            self.raw.on_persist_ready(number);
        }
        self.apply(now, committed, out);
    }

    fn hard_state(&self) -> tombolo_storage::HardState {
        let raft = &self.raw.raft;
        #[allow(unused_mut)]
        let mut vote = raft.vote;
        #[cfg(test)]
        if self.settings.planted == Some(super::planted::Planted::ForgetVote) {
            vote = 0;
        }
        tombolo_storage::HardState { term: raft.term, vote, commit: raft.raft_log.committed }
    }

    /// Dresses a message for the wire; a hand-over is noted before it can leave.
    fn outgoing(&mut self, now: Now, m: Message) -> Option<(NodeId, PeerMessage)> {
        if !may_travel(m.msg_type) {
            return None;
        }
        let sent_ms = match m.msg_type {
            MessageType::MsgHeartbeat => now.mono_ms,
            MessageType::MsgHeartbeatResponse if self.echo.0 == m.term => self.echo.1,
            MessageType::MsgTimeoutNow => {
                if let Some(leading) = &mut self.leading {
                    leading.handed_over_ms.get_or_insert(now.mono_ms);
                }
                0
            }
            MessageType::MsgSnapshot => {
                self.snapshots.retain(|(id, _)| *id != m.to);
                self.snapshots.push((m.to, now.mono_ms));
                0
            }
            _ => 0,
        };
        let to = NodeId(m.to);
        let body = PeerBody::Raft { message: Box::new(m), sent_ms };
        Some((to, PeerMessage { group: self.group, body }))
    }

    fn apply(&mut self, now: Now, committed: Vec<Entry>, out: &mut Output) {
        let mut moved = false;
        for entry in committed {
            let (index, term) = (entry.index, entry.term);
            if index <= self.machine.applied().0 {
                continue;
            }
            if let Err(reason) = self.apply_one(now, &entry, out) {
                let reason = format!("entry {index} of term {term}: {reason}");
                return self.fail(reason, out);
            }
            moved = true;
        }
        self.tell_applied();
        if moved {
            out.notes.push((self.group, Note::Applied));
        }
    }

    /// Tells the library how far the machine is (after a snapshot, further than it handed out).
    fn tell_applied(&mut self) {
        let (index, term) = self.machine.applied();
        self.raw.mut_store().set_applied(index, term);
        let log = &self.raw.raft.raft_log;
        let reach = index.min(log.committed).min(log.persisted);
        if reach > log.applied {
            self.raw.advance_apply_to(reach);
        }
    }

    fn apply_one(&mut self, now: Now, entry: &Entry, out: &mut Output) -> Result<(), String> {
        let (index, term) = (entry.index, entry.term);
        if entry.data.is_empty() {
            self.machine.apply_empty(index, term).map_err(|e| e.to_string())?;
        } else {
            let batch = decode_batch(&entry.data).map_err(|e| e.to_string())?;
            let batch = self.planted_batch(batch);
            let applied = self.machine.apply(index, term, &batch).map_err(|e| e.to_string())?;
            if applied.config.is_some() {
                out.notes.push((self.group, Note::Config));
            }
            for _ in &applied.markers {
                out.notes.push((self.group, Note::Marker { index }));
            }
        }
        self.applied_one(now, index, term, out);
        Ok(())
    }

    #[cfg(not(test))]
    fn planted_batch(
        &self,
        batch: Vec<tombolo_storage::LogRecord>,
    ) -> Vec<tombolo_storage::LogRecord> {
        batch
    }

    #[cfg(test)]
    fn planted_batch(
        &self,
        mut batch: Vec<tombolo_storage::LogRecord>,
    ) -> Vec<tombolo_storage::LogRecord> {
        if self.settings.planted == Some(super::planted::Planted::DivergingApply)
            && self.settings.node.0 == 2
            && batch.len() > 1
        {
            batch.iter_mut().for_each(|r| r.token = None);
        }
        batch
    }

    /// Notices a change of role or term and moves the leader's state along.
    fn follow_role(&mut self, now: Now, out: &mut Output) {
        let raft = &self.raw.raft;
        let role = (raft.state, raft.term, raft.leader_id);
        if role == self.seen {
            return;
        }
        let led = self.leading.is_some();
        let stays = raft.state == StateRole::Leader
            && self.leading.as_ref().is_some_and(|l| l.term == raft.term);
        self.seen = role;
        if !stays {
            if let Some(leading) = self.leading.take() {
                leading.dissolve(&self.not_leader(), out);
            }
            self.lease = Lease::default();
            self.snapshots.clear();
            if role.0 == StateRole::Leader {
                self.leading = Some(Leading::new(role.1, now.mono_ms));
                self.ping(now);
            } else if led {
                self.election.hold_back(now.mono_ms, 300);
            }
        }
        out.notes.push((self.group, Note::Role));
    }

    // ---- what others may see --------------------------------------------------------------

    /// Where requests should go instead.
    pub fn descriptor(&self) -> Option<Descriptor> {
        let state = self.machine.state();
        let config = state.config.as_ref()?;
        Some(Descriptor {
            group: self.group,
            table: config.table,
            range: config.range.clone(),
            epoch: config.epoch,
            conf_index: self.membership.index,
            replicas: self.membership.voters(),
            leader: self.leader(),
        })
    }

    fn leader(&self) -> Option<NodeId> {
        let id = self.raw.raft.leader_id;
        (id != 0).then_some(NodeId(id))
    }

    pub(super) fn not_leader(&self) -> GroupError {
        let leader = self.leader().filter(|n| *n != self.settings.node);
        GroupError::NotLeader { leader, descriptor: self.descriptor() }
    }

    /// The replica at a glance.
    pub fn view(&self) -> View {
        let raft = &self.raw.raft;
        let last_index = raft.raft_log.last_index();
        let (mut serves_until_ms, mut ready, mut lag) = (0, false, Vec::new());
        if let (Some(leading), None) = (&self.leading, &self.fault) {
            ready = leading.ready() && leading.handed_over_ms.is_none();
            serves_until_ms = if ready { self.lease.until_ms() } else { 0 };
            lag = raft
                .prs()
                .iter()
                .map(|(id, p)| (NodeId(*id), last_index.saturating_sub(p.matched)))
                .collect();
            lag.sort_unstable();
        }
        View {
            term: raft.term,
            leader: self.leader(),
            is_leader: self.leading.is_some() && self.fault.is_none(),
            serves_until_ms,
            ready,
            committed: raft.raft_log.committed,
            applied: self.machine.applied().0,
            last_index,
            conf_index: self.membership.index,
            voters: self.membership.voters(),
            lag,
        }
    }

    /// 0, or until when strong reads may be served here in the current term.
    pub fn serves_until_ms(&self) -> u64 {
        match &self.leading {
            Some(l) if self.fault.is_none() && l.ready() && l.handed_over_ms.is_none() => {
                self.lease.until_ms()
            }
            _ => 0,
        }
    }

    /// The log records that carry this replica from a checkpoint at `base` on: what the write-ahead
    /// log needs again before it may forget older segments.
    pub fn rebase(&self, base: (u64, u64), generation: u64, with_entries: bool) -> Vec<WalRecord> {
        let (group, conf) = (self.group, self.membership.encode());
        let base = LogBase { index: base.0, term: base.1, generation, conf };
        let mut state = self.written;
        state.commit = state.commit.max(base.index);
        let mut records = vec![
            WalRecord::Base { group, base: base.clone() },
            WalRecord::HardState { group, state },
        ];
        if with_entries {
            let entries = self.raw.store().after(base.index).map(from_raft);
            records.extend(entries.map(|entry| WalRecord::Entry { group, entry }));
        }
        records
    }

    /// What a replica starts over with when its rows are lost: it keeps its vote and forgets its log,
    /// so it elects nobody who knows more before a leader has filled it again.
    pub fn start_over(
        conf: Bytes,
        hard_state: tombolo_storage::HardState,
        generation: u64,
    ) -> Restored {
        let base = LogBase { index: 0, term: 0, generation, conf };
        let hard_state = tombolo_storage::HardState { commit: 0, ..hard_state };
        Restored { base, hard_state, entries: Vec::new() }
    }

    /// Term and vote as they were last written.
    pub fn written(&self) -> tombolo_storage::HardState {
        self.written
    }

    /// The term of an entry that is still in memory.
    pub fn term_at(&self, index: u64) -> Option<u64> {
        self.raw.store().term_at(index)
    }

    /// Who is in the group, as a log base carries it.
    pub fn conf(&self) -> Bytes {
        self.membership.encode()
    }
}

fn to_raft(entry: LogEntry) -> Entry {
    let LogEntry { index, term, data, context, .. } = entry;
    Entry { index, term, data, context, ..Entry::default() }
}

fn from_raft(entry: &Entry) -> LogEntry {
    LogEntry {
        index: entry.index,
        term: entry.term,
        kind: 0,
        data: entry.data.clone(),
        context: entry.context.clone(),
    }
}

/// The voters in an encoded membership; none if it cannot be read.
pub(crate) fn voters_of(conf: &[u8]) -> Vec<NodeId> {
    Membership::decode(conf).map(|m| m.voters()).unwrap_or_default()
}

/// The membership that a fresh group starts from.
pub(crate) fn first_conf(voters: &[NodeId]) -> (Bytes, ConfState) {
    let membership = Membership::of_voters(voters);
    (membership.encode(), membership.conf)
}
