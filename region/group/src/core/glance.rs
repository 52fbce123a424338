//! What others may see of a replica, and what of it goes to the disk again.

use bytes::Bytes;
use tombolo_item::NodeId;
use tombolo_storage::{LogBase, WalRecord};

use super::Machine;
use super::replica::{GroupCore, Restored, View, from_raft};
use crate::error::GroupError;
use crate::types::Descriptor;

impl<M: Machine> GroupCore<M> {
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

    pub(super) fn leader(&self) -> Option<NodeId> {
        let id = self.raw.raft.leader_id;
        (id != 0).then_some(NodeId(id))
    }

    pub(super) fn not_leader(&self) -> GroupError {
        let leader = self.leader().filter(|n| *n != self.settings.node);
        GroupError::NotLeader { leader, descriptor: self.descriptor() }
    }

    /// Whether this replica leads.
    pub fn leads(&self) -> bool {
        self.leading.is_some() && self.fault.is_none()
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
