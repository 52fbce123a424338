//! What of a link is durable here and known at the source: when a checkpoint is due, and which
//! confirmations. Pure; `link.rs` writes and sends.
//!
//! Always true: a confirmation says no more than the last checkpoint that the system group took;
//! nothing is said twice that says nothing new; until the source named all its shards no time is
//! called closed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tombolo_item::{Hlc, NodeId, Shard, Stamp};

use crate::checkpoint::{Checkpoint, ShardCheckpoint};
use crate::prefix::Position;
use crate::shard::ShardState;
use crate::wire::Confirmation;

/// At most one confirmation per shard in this time: each is an entry of the source's log.
const CONFIRM_EVERY: Duration = Duration::from_secs(1);

pub(crate) struct Progress {
    shards: BTreeMap<Shard, Reported>,
    /// The stamp of the checkpoint row: what the next write of it expects.
    row: Option<Stamp>,
    saving: bool,
    saved_at: Instant,
    /// How far what other regions wrote is applied here, as of the last checkpoint.
    closed_elsewhere: Hlc,
    /// The source named all its shards: what they close together is the source's.
    complete: bool,
}

#[derive(Clone, Copy)]
struct Reported {
    saved: Position,
    confirmed: (u64, Hlc),
    confirmed_at: Option<Instant>,
    confirming: bool,
}

impl Progress {
    pub(crate) fn new(row: Option<Stamp>, complete: bool, now: Instant) -> Self {
        Progress {
            shards: BTreeMap::new(),
            row,
            saving: false,
            saved_at: now,
            closed_elsewhere: Hlc(0),
            complete,
        }
    }

    pub(crate) fn add(&mut self, shard: Shard, saved: Position) {
        let confirmed = (0, Hlc(0));
        let new = Reported { saved, confirmed, confirmed_at: None, confirming: false };
        self.shards.entry(shard).or_insert(new);
    }

    pub(crate) fn learn_complete(&mut self, complete: bool) {
        self.complete |= complete;
    }

    /// The checkpoint to write now, against this stamp: when a shard moved, or, now and then, when
    /// only closed stamps did.
    pub(crate) fn due_checkpoint(
        &mut self,
        states: &BTreeMap<Shard, ShardState>,
        closed_every: Duration,
        now: Instant,
    ) -> Option<(Checkpoint, Option<Stamp>)> {
        if self.saving {
            return None;
        }
        let mut moved = self.row.is_none() && !states.is_empty();
        let mut closed = false;
        for (shard, state) in states {
            let saved = self.shards.get(shard).map(|reported| reported.saved);
            moved |= saved.is_none_or(|saved| saved.seq != state.done().seq);
            closed |= saved.is_none_or(|saved| saved.closed != state.done().closed);
        }
        if !(moved || closed && now - self.saved_at >= closed_every) {
            return None;
        }
        self.saving = true;
        let row = |(shard, state): (&Shard, &ShardState)| {
            let Position { seq, hash, closed } = state.done();
            ShardCheckpoint { shard: *shard, seq, hash, closed }
        };
        let shards = states.iter().map(row).collect();
        Some((Checkpoint { complete: self.complete, shards }, self.row))
    }

    pub(crate) fn not_saved(&mut self) {
        self.saving = false;
    }

    pub(crate) fn saved(
        &mut self,
        row: Stamp,
        checkpoint: &Checkpoint,
        closed_elsewhere: Option<Hlc>,
        now: Instant,
    ) {
        self.saving = false;
        self.row = Some(row);
        self.saved_at = now;
        self.closed_elsewhere = closed_elsewhere.unwrap_or(self.closed_elsewhere);
        for shard in &checkpoint.shards {
            if let Some(reported) = self.shards.get_mut(&shard.shard) {
                reported.saved = shard.position();
            }
        }
    }

    /// What to tell the source, by the leaders of its shards, where that says something new: a
    /// sequence, or that time is closed beyond the newest record (tombstones wait for that).
    pub(crate) fn due_confirmations(
        &mut self,
        states: &BTreeMap<Shard, ShardState>,
        now: Instant,
    ) -> BTreeMap<NodeId, Vec<Confirmation>> {
        let horizon = self
            .shards
            .values()
            .map(|reported| reported.saved.closed)
            .min()
            .filter(|_| self.complete)
            .unwrap_or(Hlc(0))
            .min(self.closed_elsewhere);
        let mut by_leader: BTreeMap<NodeId, Vec<Confirmation>> = BTreeMap::new();
        for (shard, reported) in &mut self.shards {
            let Some(state) = states.get(shard) else { continue };
            let Some(head) = state.head else { continue };
            let (seq, closed) = reported.confirmed;
            let closed_matters = closed <= state.newest && horizon > state.newest;
            let due = reported.saved.seq > seq || closed_matters;
            let recent = reported.confirmed_at.is_some_and(|at| now - at < CONFIRM_EVERY);
            if !due || recent || reported.confirming {
                continue;
            }
            reported.confirming = true;
            reported.confirmed_at = Some(now);
            by_leader.entry(head.leader).or_default().push(Confirmation {
                shard: *shard,
                seq: reported.saved.seq,
                closed_applied: horizon.max(closed),
            });
        }
        by_leader
    }

    /// Whether the source took the confirmation into its log.
    pub(crate) fn confirmed(&mut self, confirmation: &Confirmation, accepted: bool) {
        if let Some(reported) = self.shards.get_mut(&confirmation.shard) {
            reported.confirming = false;
            if accepted {
                reported.confirmed = (confirmation.seq, confirmation.closed_applied);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ShardHead;
    use tombolo_item::{GroupId, RegionId};

    const SHARD: Shard = Shard { group: GroupId(16), epoch: 1 };
    const OTHER: Shard = Shard { group: GroupId(17), epoch: 1 };

    fn at(seq: u64, closed: u64) -> Position {
        Position { seq, hash: seq, closed: Hlc(closed) }
    }

    fn states(shard: u64, other: u64) -> BTreeMap<Shard, ShardState> {
        [(SHARD, shard), (OTHER, other)]
            .map(|(shard, closed)| {
                let mut state = ShardState::new(RegionId(1), at(5, closed), Hlc(50));
                let (leader, seq, hash, closed) = (NodeId(1), 5, 5, Hlc(closed));
                state.learn_head(ShardHead { shard, leader, seq, hash, closed });
                (shard, state)
            })
            .into()
    }

    fn saved(complete: bool, states: &BTreeMap<Shard, ShardState>, now: Instant) -> Progress {
        let mut progress = Progress::new(None, complete, now);
        progress.add(SHARD, at(0, 0));
        progress.add(OTHER, at(0, 0));
        let (checkpoint, expect) =
            progress.due_checkpoint(states, Duration::MAX, now).expect("it moved");
        assert_eq!(expect, None);
        progress.saved(Stamp::default(), &checkpoint, Some(Hlc(u64::MAX)), now);
        progress
    }

    fn closed(confirmations: &BTreeMap<NodeId, Vec<Confirmation>>) -> Vec<u64> {
        confirmations.values().flatten().map(|confirmation| confirmation.closed_applied.0).collect()
    }

    #[test]
    fn nothing_is_confirmed_before_it_is_saved() {
        let now = Instant::now();
        let mut progress = Progress::new(None, true, now);
        progress.add(SHARD, at(0, 0));
        progress.add(OTHER, at(0, 0));
        let states = states(90, 80);
        assert!(progress.due_confirmations(&states, now).is_empty());
        assert!(progress.due_checkpoint(&states, Duration::MAX, now).is_some());
        assert!(progress.due_checkpoint(&states, Duration::MAX, now).is_none(), "under way");
        assert!(progress.due_confirmations(&states, now).is_empty());
    }

    #[test]
    fn time_is_closed_where_the_slowest_shard_is_and_said_once() {
        let now = Instant::now();
        let states = states(90, 80);
        let mut progress = saved(true, &states, now);
        let due = progress.due_confirmations(&states, now);
        assert_eq!(closed(&due), [80, 80]);
        assert!(progress.due_confirmations(&states, now).is_empty(), "under way");
        for confirmation in due.values().flatten() {
            progress.confirmed(confirmation, true);
        }
        let later = now + CONFIRM_EVERY;
        assert!(progress.due_confirmations(&states, later).is_empty(), "nothing new");
    }

    #[test]
    fn a_confirmation_that_was_not_taken_is_sent_again_later() {
        let now = Instant::now();
        let states = states(90, 80);
        let mut progress = saved(true, &states, now);
        for confirmation in progress.due_confirmations(&states, now).values().flatten() {
            progress.confirmed(confirmation, false);
        }
        assert!(progress.due_confirmations(&states, now).is_empty(), "not at once");
        assert_eq!(progress.due_confirmations(&states, now + CONFIRM_EVERY)[&NodeId(1)].len(), 2);
    }

    #[test]
    fn no_time_is_closed_before_all_shards_are_known() {
        let now = Instant::now();
        let states = states(90, 80);
        let mut progress = saved(false, &states, now);
        assert_eq!(closed(&progress.due_confirmations(&states, now)), [0, 0]);
    }

    #[test]
    fn closed_stamps_alone_are_saved_now_and_then() {
        let now = Instant::now();
        let mut progress = saved(true, &states(90, 80), now);
        let moved = states(95, 99);
        let every = Duration::from_secs(10);
        assert!(progress.due_checkpoint(&moved, every, now + every / 2).is_none());
        assert!(progress.due_checkpoint(&moved, every, now + every).is_some());
        progress.not_saved();
        assert!(progress.due_checkpoint(&moved, every, now + every).is_some(), "tried again");
    }
}
