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
use raft::eraftpb::{ConfState, Entry, HardState, Message, MessageType};
use raft::{Config, RawNode, StateRole};
use tombolo_item::{GroupId, NodeId, RegionId};
use tombolo_storage::{LogBase, LogEntry, WalRecord, decode_batch};

use super::Machine;
use super::conf::Membership;
use super::election::Election;
use super::event::{Event, Note, Now, Output};
use super::frame::{PeerBody, PeerMessage, may_travel};
use super::handing::Handing;
use super::leading::Leading;
use super::lease::{Lease, Promise};
use super::log::MemoryLog;
use crate::error::{GroupError, HostError};

/// Followers hear of a commit with the next append, or this long after it: an idle moment later,
/// and half the messages of a lone write.
const TELL_COMMIT_MS: u64 = 20;

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

pub(super) struct Unpersisted {
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
    pub(super) promise: Promise,
    pub(super) election: Election,
    pub(super) handing: Handing,
    /// Term and sending time of the newest heartbeat heard, echoed to the leader.
    pub(super) echo: (u64, u64),
    pub(super) unpersisted: VecDeque<Unpersisted>,
    pub(super) written: tombolo_storage::HardState,
    pub(super) seen: (StateRole, u64, u64),
    pub(super) installing: bool,
    /// Followers that were sent a snapshot notice, and when.
    pub(super) snapshots: Vec<(u64, u64)>,
    pub(super) pinged_at_ms: u64,
    /// The commit index followers were told last, and when to tell them of the newer one.
    pub(super) told_commit: u64,
    pub(super) tell_commit_at_ms: u64,
    pub(super) fault: Option<String>,
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
            handing: Handing::default(),
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
            Event::Standing(standing) => self.on_standing(now, &standing, out),
            Event::GoHome => self.go_home(now, out),
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

    // ---- carrying out ---------------------------------------------------------------------

    pub(super) fn on_persisted(&mut self, number: u64, out: &mut Output) {
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

    pub(super) fn drain(&mut self, now: Now, out: &mut Output) {
        while self.fault.is_none() && self.raw.has_ready() {
            self.carry_out(now, out);
            self.follow_role(now, out);
        }
    }

    pub(super) fn carry_out(&mut self, now: Now, out: &mut Output) {
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

    pub(super) fn hard_state(&self) -> tombolo_storage::HardState {
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
    pub(super) fn outgoing(&mut self, now: Now, m: Message) -> Option<(NodeId, PeerMessage)> {
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

    pub(super) fn apply(&mut self, now: Now, committed: Vec<Entry>, out: &mut Output) {
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
    pub(super) fn tell_applied(&mut self) {
        let (index, term) = self.machine.applied();
        self.raw.mut_store().set_applied(index, term);
        let log = &self.raw.raft.raft_log;
        let reach = index.min(log.committed).min(log.persisted);
        if reach > log.applied {
            self.raw.advance_apply_to(reach);
        }
    }

    pub(super) fn apply_one(
        &mut self,
        now: Now,
        entry: &Entry,
        out: &mut Output,
    ) -> Result<(), String> {
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
            if !applied.markers.is_empty() {
                // Here, not at the end of the step: the entries after this one may follow in the same
                // step on one replica and in the next on another.
                out.pins.extend(self.machine.pin().map(|view| (self.group, index, view)));
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
    pub(super) fn follow_role(&mut self, now: Now, out: &mut Output) {
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
}

fn to_raft(entry: LogEntry) -> Entry {
    let LogEntry { index, term, data, context, .. } = entry;
    Entry { index, term, data, context, ..Entry::default() }
}

pub(super) fn from_raft(entry: &Entry) -> LogEntry {
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
