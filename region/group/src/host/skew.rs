//! Whether this node's wall clock is ahead of its peers'.
//!
//! Always true: a sample is never larger than the true difference, whatever the network or the
//! scheduler delays. A frame tells the sender's clock and the newest clock of ours that it had
//! heard; ours was read before theirs, so (ours heard - theirs) is at most what we are ahead. The
//! smallest of the last samples is used, so one step of either clock alone decides nothing.

use std::collections::{BTreeMap, VecDeque};

use tombolo_item::NodeId;

const SAMPLES: usize = 4;
/// Samples closer together than this say the same thing.
const APART_MS: u64 = 300;
/// A peer that was silent this long says nothing about clocks.
const STALE_MS: u64 = 10_000;

/// What we know of one peer's clock.
#[derive(Debug, Default)]
struct PeerClock {
    /// Its newest clock that we heard, to be told back.
    heard_ms: u64,
    /// (monotonic time, how far we are ahead at least).
    samples: VecDeque<(u64, i64)>,
}

/// The last clock comparisons with each peer.
#[derive(Debug, Default)]
pub(crate) struct Skew {
    peers: BTreeMap<NodeId, PeerClock>,
}

impl Skew {
    /// A frame arrived: `theirs_ms` is its sender's clock, `heard_ms` the newest of ours it knew.
    pub(crate) fn sample(&mut self, from: NodeId, now_ms: u64, heard_ms: u64, theirs_ms: u64) {
        let peer = self.peers.entry(from).or_default();
        peer.heard_ms = theirs_ms;
        let crowded = peer.samples.back().is_some_and(|(at, _)| now_ms < at + APART_MS);
        if heard_ms == 0 || crowded {
            return;
        }
        peer.samples.push_back((now_ms, heard_ms as i64 - theirs_ms as i64));
        if peer.samples.len() > SAMPLES {
            peer.samples.pop_front();
        }
    }

    /// What to tell this peer we heard of it.
    pub(crate) fn heard(&self, from: NodeId) -> u64 {
        self.peers.get(&from).map_or(0, |peer| peer.heard_ms)
    }

    /// Peers whose clock is behind ours by more than `bound_ms`.
    pub(crate) fn behind(&self, now_ms: u64, bound_ms: u64) -> Vec<NodeId> {
        let late = |peer: &PeerClock| {
            let fresh = peer.samples.iter().filter(|(at, _)| now_ms < at + STALE_MS);
            let (count, least) = fresh.fold((0, i64::MAX), |(n, m), (_, s)| (n + 1, m.min(*s)));
            count >= SAMPLES && least > bound_ms as i64
        };
        self.peers.iter().filter(|(_, peer)| late(peer)).map(|(node, _)| *node).collect()
    }

    /// How far we are ahead of the peer that is furthest behind, at least.
    pub(crate) fn largest_ms(&self) -> i64 {
        let least = |peer: &PeerClock| peer.samples.iter().map(|(_, s)| *s).min().unwrap_or(0);
        self.peers.values().map(least).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_network_is_not_a_slow_clock() {
        let mut skew = Skew::default();
        for i in 0..8u64 {
            // Equal clocks; every frame travels five seconds.
            let at = 100_000 + i * 500;
            skew.sample(NodeId(2), at, at - 10_000, at - 5_000);
        }
        assert!(skew.behind(104_000, 500).is_empty());
        assert_eq!(skew.heard(NodeId(2)), 98_500);
    }

    #[test]
    fn a_clock_ahead_of_a_peer_is_seen_and_forgotten() {
        let mut skew = Skew::default();
        for i in 0..8u64 {
            assert!(i >= 4 || skew.behind(1_000 + i * 500, 500).is_empty(), "one step is no skew");
            skew.sample(NodeId(2), 1_000 + i * 500, 101_000, 100_000);
        }
        assert_eq!(skew.behind(5_000, 500), vec![NodeId(2)]);
        assert!(skew.behind(60_000, 500).is_empty(), "old samples say nothing");
    }
}
