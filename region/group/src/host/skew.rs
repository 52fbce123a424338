//! Whether this node's wall clock is ahead of its peers'.
//!
//! Always true: a sample (our clock at receipt minus the sender's clock in the frame) is too large
//! by the time the frame travelled, never too small; so the smallest of the last samples is used,
//! and a pause of either node alone does not look like skew.

use std::collections::{BTreeMap, VecDeque};

use tombolo_item::NodeId;

const SAMPLES: usize = 8;
/// A peer that was silent this long says nothing about clocks.
const STALE_MS: u64 = 10_000;

/// The last clock comparisons with each peer.
#[derive(Debug, Default)]
pub(crate) struct Skew {
    peers: BTreeMap<NodeId, VecDeque<(u64, i64)>>,
}

impl Skew {
    pub(crate) fn sample(&mut self, from: NodeId, now_ms: u64, our_wall: u64, their_wall: u64) {
        let samples = self.peers.entry(from).or_default();
        // Frames arrive in bursts: one sample per 100 ms spreads the window over a second or more.
        if samples.back().is_some_and(|(at, _)| now_ms < at + 100) {
            return;
        }
        samples.push_back((now_ms, our_wall as i64 - their_wall as i64));
        if samples.len() > SAMPLES {
            samples.pop_front();
        }
    }

    /// Peers whose clock is behind ours by more than `bound_ms`.
    pub(crate) fn behind(&self, now_ms: u64, bound_ms: u64) -> Vec<NodeId> {
        let late = |samples: &VecDeque<(u64, i64)>| {
            let fresh = samples.iter().filter(|(at, _)| now_ms < at + STALE_MS);
            let (count, least) = fresh.fold((0, i64::MAX), |(n, m), (_, s)| (n + 1, m.min(*s)));
            count >= 3 && least > bound_ms as i64
        };
        self.peers.iter().filter(|(_, samples)| late(samples)).map(|(node, _)| *node).collect()
    }

    /// The largest difference to any peer, for the metric.
    pub(crate) fn largest_ms(&self) -> i64 {
        let least = |s: &VecDeque<(u64, i64)>| s.iter().map(|(_, v)| *v).min().unwrap_or(0);
        self.peers.values().map(least).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_frame_is_not_a_slow_clock() {
        let mut skew = Skew::default();
        for i in 0..8u64 {
            let travelled = if i == 3 { 40 } else { 5_000 };
            skew.sample(NodeId(2), 1_000 + i * 100, 100_000 + travelled, 100_000);
        }
        assert!(skew.behind(2_000, 500).is_empty());
    }

    #[test]
    fn a_clock_ahead_of_a_peer_is_seen_and_forgotten() {
        let mut skew = Skew::default();
        for i in 0..8u64 {
            skew.sample(NodeId(2), 1_000 + i * 100, 101_000, 100_000);
        }
        assert_eq!(skew.behind(2_000, 500), vec![NodeId(2)]);
        assert!(skew.behind(60_000, 500).is_empty(), "old samples say nothing");
    }
}
