//! What a replica does because time passed: heartbeats, campaigns, stepping down, handing over.
//!
//! Always true: it campaigns only outside its promise and after asking whether others hear the
//! leader; a leader without a lease for a while, or that handed over in vain, steps down.

use raft::{SnapshotStatus, StateRole};
use tombolo_item::NodeId;

use super::Machine;
use super::election::Verdict;
use super::event::{Note, Now, Output};
use super::frame::{PeerBody, PeerMessage};
use super::replica::GroupCore;

/// How long a leader goes without a lease before it steps down.
const LEASELESS_MS: u64 = 2_500;
/// How long a follower gets to pull a snapshot before the leader tries appending again.
const SNAPSHOT_MS: u64 = 5_000;
/// How long a planned hand-over may take to reach the moment of TimeoutNow, and after it.
const HAND_OVER_MS: u64 = 2_000;

impl<M: Machine> GroupCore<M> {
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

    pub(super) fn snapshot_deadline(&self) -> u64 {
        self.snapshots.iter().map(|(_, at)| at + SNAPSHOT_MS).min().unwrap_or(u64::MAX)
    }

    pub(super) fn on_beat(&mut self, now: Now, out: &mut Output) {
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

    pub(super) fn on_wake(&mut self, now: Now, out: &mut Output) {
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
    pub(super) fn breaks_promises(&self) -> bool {
        use super::planted::Planted::{ForgetVote, NoPromise};
        matches!(self.settings.planted, Some(NoPromise | ForgetVote))
    }

    pub(super) fn may_campaign(&self, now: Now) -> bool {
        #[cfg(test)]
        if self.breaks_promises() {
            return self.election.due(now.mono_ms) && !self.installing;
        }
        self.election.due(now.mono_ms) && !self.promise.holds(now.mono_ms) && !self.installing
    }

    pub(super) fn decide_probe(&mut self, now: Now, out: &mut Output) {
        if !self.election.probing() {
            return;
        }
        match self.election.verdict(now.mono_ms, self.membership.conf.voters.len()) {
            Verdict::Wait => {}
            Verdict::StandDown => self.election.retry(now.mono_ms),
            Verdict::Campaign => self.campaign(now, out),
        }
    }

    pub(super) fn campaign(&mut self, now: Now, out: &mut Output) {
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

    pub(super) fn peers(&self) -> Vec<NodeId> {
        let own = self.settings.node;
        self.membership.voters().into_iter().filter(|n| *n != own).collect()
    }

    pub(super) fn wake_leader(&mut self, now: Now, out: &mut Output) {
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

    pub(super) fn step_down(&mut self, now: Now) {
        let term = self.raw.raft.term;
        self.raw.raft.become_follower(term, 0);
        self.election.hold_back(now.mono_ms, 1_000);
    }

    /// Hands over to the voter whose log is closest to ours and that spoke lately.
    pub(super) fn hand_over(&mut self, now: Now) {
        let own = self.settings.node.0;
        let Some(leading) = &self.leading else { return };
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
            self.hand_over_to(now, NodeId(to));
        }
    }

    /// Hands over to this voter, unless a hand-over is under way.
    pub(super) fn hand_over_to(&mut self, now: Now, to: NodeId) {
        let Some(leading) = &mut self.leading else { return };
        if leading.hand_over_ms.is_none() {
            leading.hand_over_ms = Some(now.mono_ms);
            self.raw.transfer_leader(to.0);
        }
    }
}
