//! What a replica does with another's message: what it believes, and whom it elects.
//!
//! Always true: a message of a stranger, and one that only the local replica may give, does nothing;
//! a vote passes the promise and the lease, or is a planned hand-over's; while a snapshot is on its
//! way to the disk nothing is appended and nothing is committed past it.

use bytes::Bytes;
use raft::StateRole;
use raft::eraftpb::{Message, MessageType, Snapshot};
use tombolo_item::NodeId;

use super::Machine;
use super::conf::Membership;
use super::event::{Note, Now, Output};
use super::frame::{PeerBody, PeerMessage, TRANSFER, may_travel};
use super::replica::GroupCore;

impl<M: Machine> GroupCore<M> {
    pub(super) fn on_message(&mut self, now: Now, from: NodeId, body: PeerBody, out: &mut Output) {
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

    pub(super) fn on_raft(
        &mut self,
        now: Now,
        from: NodeId,
        mut m: Message,
        sent_ms: u64,
        out: &mut Output,
    ) {
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
    pub(super) fn planted_sent(&self, _now: Now, sent_ms: u64) -> u64 {
        sent_ms
    }

    #[cfg(test)]
    pub(super) fn planted_sent(&self, now: Now, sent_ms: u64) -> u64 {
        use super::planted::Planted::LeaseFromReceipt;
        if self.settings.planted == Some(LeaseFromReceipt) { now.mono_ms } else { sent_ms }
    }

    /// The promise, the lease, and what a replica without history may do.
    pub(super) fn may_vote(&self, now: Now, m: &Message) -> bool {
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
    pub(super) fn notice_lost_log(&mut self, from: NodeId, m: &Message) {
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

    pub(super) fn is_member(&self, id: u64) -> bool {
        let conf = &self.membership.conf;
        [&conf.voters, &conf.learners, &conf.voters_outgoing, &conf.learners_next]
            .iter()
            .any(|set| set.contains(&id))
    }

    /// Returns whether the notice was kept from the library (a pull starts, or runs already).
    pub(super) fn take_snapshot_notice(
        &mut self,
        from: NodeId,
        m: &Message,
        out: &mut Output,
    ) -> bool {
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

    pub(super) fn on_installed(
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
}
