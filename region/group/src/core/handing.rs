//! Giving leadership away because of where it should be: off an unfit node, home to the preferred
//! one.
//!
//! Always true:
//! - It goes only to a voter that the node's judgement names, that was heard lately and that holds
//!   (almost) the whole log, so that the writes of a hand-over wait for milliseconds.
//! - After giving a group away for slowness the same replica waits before it does so again, longer
//!   each time: two slow nodes do not throw a group to and fro. A drained or full node does not wait.
//! - A group goes home only when home was fit, heard and level for all of [`SETTLED_MS`].
//!
//! Deliberately absent: how many groups go home at once (the host lets one go per beat).

use tombolo_item::NodeId;

use super::Machine;
use super::event::{Note, Now, Output};
use super::fitness::{Standing, Unfit};
use super::replica::GroupCore;

/// How long home must have been well, and this replica have led.
const SETTLED_MS: u64 = 30_000;
/// The first pause after giving a group away for slowness, and the longest.
const PAUSE_MS: u64 = 5_000;
const PAUSE_MAX_MS: u64 = 300_000;
/// After this long without a reason the pause is short again.
const FORGIVEN_MS: u64 = 600_000;
/// A voter with this few entries to go is level.
const LEVEL_ENTRIES: u64 = 256;

/// When this replica last gave its group away, and since when home is well.
#[derive(Debug, Default)]
pub(super) struct Handing {
    not_before_ms: u64,
    pause_ms: u64,
    home_well_since_ms: Option<u64>,
}

impl Handing {
    fn may(&self, now_ms: u64) -> bool {
        now_ms >= self.not_before_ms
    }

    fn gave(&mut self, now_ms: u64) {
        if now_ms >= self.not_before_ms.saturating_add(FORGIVEN_MS) {
            self.pause_ms = 0;
        }
        self.pause_ms = (self.pause_ms * 2).clamp(PAUSE_MS, PAUSE_MAX_MS);
        self.not_before_ms = now_ms + self.pause_ms;
    }
}

impl<M: Machine> GroupCore<M> {
    /// The voter that leads when nothing else decides: spread by the group's number.
    pub(super) fn home(&self) -> Option<NodeId> {
        let voters = &self.membership.conf.voters;
        voters.get(self.group.0 as usize % voters.len().max(1)).map(|id| NodeId(*id))
    }

    /// The node's judgement of this beat.
    pub(super) fn on_standing(&mut self, now: Now, standing: &Standing, out: &mut Output) {
        if !self.leading.as_ref().is_some_and(|l| l.ready() && l.hand_over_ms.is_none()) {
            self.handing.home_well_since_ms = None;
            return;
        }
        let level = |core: &Self, node: NodeId| core.is_level(now, node);
        let Some(reason) = standing.unfit else {
            let home = self.home().filter(|home| *home != self.settings.node);
            let well = home.is_some_and(|h| standing.takers.contains(&h) && level(self, h));
            let since = self.handing.home_well_since_ms.unwrap_or(now.mono_ms);
            self.handing.home_well_since_ms = well.then_some(since);
            return;
        };
        self.handing.home_well_since_ms = None;
        let waits = matches!(reason, Unfit::Slow | Unfit::CutOff);
        if waits && !self.handing.may(now.mono_ms) {
            return;
        }
        let taker = standing.takers.iter().copied().find(|node| level(self, *node));
        if let Some(to) = taker {
            if waits {
                self.handing.gave(now.mono_ms);
            }
            out.notes.push((self.group, Note::GivenAway { to, reason: Some(reason) }));
            self.hand_over_to(now, to);
        }
    }

    /// Whether this group should go home by now.
    pub fn wants_home(&self, now: Now) -> bool {
        let led = self.leading.as_ref().is_some_and(|l| now.mono_ms >= l.since_ms + SETTLED_MS);
        let well = self.handing.home_well_since_ms;
        led && well.is_some_and(|at| now.mono_ms >= at + SETTLED_MS)
    }

    pub(super) fn go_home(&mut self, now: Now, out: &mut Output) {
        let Some(to) = self.home().filter(|home| self.wants_home(now) && self.is_level(now, *home))
        else {
            return;
        };
        self.handing.home_well_since_ms = None;
        out.notes.push((self.group, Note::GivenAway { to, reason: None }));
        self.hand_over_to(now, to);
    }

    fn is_level(&self, now: Now, node: NodeId) -> bool {
        let last = self.raw.raft.raft_log.last_index();
        self.membership.conf.voters.contains(&node.0)
            && node != self.settings.node
            && self.lease.hears(node.0, now.mono_ms)
            && self
                .raw
                .raft
                .prs()
                .get(node.0)
                .is_some_and(|progress| progress.matched + LEVEL_ENTRIES >= last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_the_pause_is_longer_until_it_is_forgiven() {
        let mut handing = Handing::default();
        let mut now = 1_000;
        for pause in [5_000, 10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000] {
            assert!(handing.may(now));
            handing.gave(now);
            assert!(!handing.may(now + pause - 1));
            now += pause;
        }
        handing.gave(now + FORGIVEN_MS);
        assert!(handing.may(now + FORGIVEN_MS + PAUSE_MS));
    }
}
