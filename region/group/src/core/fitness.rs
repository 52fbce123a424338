//! Whether this node is fit to lead, compared with what its peers say of themselves.
//!
//! Always true:
//! - One slow moment decides nothing: a node's level is the median of its last beats, and must be
//!   far worse than a peer's for several: it takes some three seconds of slow beats (a log write
//!   that never ends counts in every beat).
//! - A node that is as slow as everybody keeps what it leads: it gives up only when a peer is
//!   [`TIMES`] as fast, and is called well again only after a long while far below the bound.
//! - A peer that was not heard lately, or that says it is unfit itself, is offered nothing.
//!
//! Deliberately absent: which group goes to whom (`handing.rs`); any clock, all times come in.

use std::collections::{BTreeMap, VecDeque};

use tombolo_item::NodeId;

/// Beats whose median is the level.
const BEATS: usize = 6;
/// Beats in a row in which a peer must be that much faster: when all get slow, not all notice at once.
const SURE_BEATS: u32 = 3;
/// A log write (or a turn of the loop) that takes this long is slow, if others are much faster.
const SLOW_MS: u32 = 100;
/// How much faster a peer must be.
pub(crate) const TIMES: u32 = 5;
/// Below this for [`WELL_AFTER_MS`], a slow node is well again.
const WELL_MS: u32 = 50;
const WELL_AFTER_MS: u64 = 10_000;
/// A node that was silent this long is not heard.
const SILENT_MS: u64 = 2_000;
/// How long a node must be missed by us and heard by a peer.
const MISSED_MS: u64 = 3_000;
/// Nodes named in one telling: more are left out.
pub(crate) const HEARS_MAX: usize = 1_024;

/// What a node tells its peers about itself, once a beat.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Health {
    /// Milliseconds that a write to its log or a turn of its loop takes; `None` = not measured.
    pub level_ms: Option<u32>,
    /// It takes nothing: it is drained, cut off from some, or its disk is full.
    pub refuses: bool,
    /// It found itself far slower than a peer. One that is slower still may give to it.
    pub slow: bool,
    /// Whom it heard lately, in ascending order.
    pub hears: Vec<NodeId>,
}

/// Why a node should not lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// An operator drains it, or its process is about to end.
    Drained,
    /// Its disk refuses writes.
    DiskFull,
    /// Its disk or its processor is far slower than those of its peers.
    Slow,
    /// It does not hear a node that peers hear: routers there cannot reach it.
    CutOff,
}

/// The judgement of one beat.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    /// Set: give away what can be given away.
    pub unfit: Option<Unfit>,
    /// Who may take it, fastest first. When this node is fit: every fit peer.
    pub takers: Vec<NodeId>,
}

#[derive(Debug, Default)]
struct Peer {
    heard_ms: u64,
    told_ms: Option<u64>,
    health: Health,
    /// Since when a peer hears it and we do not.
    missed_since_ms: Option<u64>,
}

/// What this node knows of itself and of its peers.
#[derive(Debug, Default)]
pub struct Fitness {
    beats: VecDeque<Option<u32>>,
    peers: BTreeMap<NodeId, Peer>,
    drained: bool,
    leaving: bool,
    disk_full: bool,
    /// Beats in a row in which a peer was far faster.
    slow_beats: u32,
    slow: bool,
    well_since_ms: Option<u64>,
}

impl Fitness {
    pub fn set_drained(&mut self, drained: bool) {
        self.drained = drained;
    }

    /// The process is about to end: like drained, for good.
    pub fn leave(&mut self) {
        self.leaving = true;
    }

    pub fn set_disk_full(&mut self, full: bool) {
        self.disk_full = full;
    }

    /// Something arrived from this node.
    pub fn heard(&mut self, from: NodeId, now_ms: u64) {
        let peer = self.peers.entry(from).or_default();
        peer.heard_ms = now_ms;
        peer.missed_since_ms = None;
    }

    /// This node told of itself.
    pub fn told(&mut self, from: NodeId, now_ms: u64, health: Health) {
        let peer = self.peers.entry(from).or_default();
        peer.told_ms = Some(now_ms);
        peer.health = health;
    }

    /// What the last beat measured here: the mean of its log writes, the age of one that does not
    /// end, or how late the loop was, whichever is worst; `None` = there was nothing to measure.
    pub fn measured(&mut self, took_ms: Option<u64>) {
        self.beats.push_back(took_ms.map(|ms| u32::try_from(ms).unwrap_or(u32::MAX)));
        if self.beats.len() > BEATS {
            self.beats.pop_front();
        }
    }

    /// The median of the last beats; an idle beat counts as a fast one once any was measured.
    fn level_ms(&self) -> Option<u32> {
        if self.beats.len() < BEATS || self.beats.iter().all(Option::is_none) {
            return None;
        }
        let mut beats: Vec<u32> = self.beats.iter().map(|beat| beat.unwrap_or(0)).collect();
        beats.sort_unstable();
        beats.get(BEATS / 2 - 1).copied()
    }

    /// What to tell the peers.
    pub fn health(&self, now_ms: u64) -> Health {
        let hears = self.peers.iter().filter(|(_, peer)| peer.is_heard(now_ms));
        let hears = hears.map(|(node, _)| *node).take(HEARS_MAX).collect();
        let refuses = self.unfit(now_ms).is_some_and(|why| why != Unfit::Slow);
        Health { level_ms: self.level_ms(), refuses, slow: self.slow, hears }
    }

    /// Judges this node. Call once a beat, after [`Self::measured`].
    pub fn judge(&mut self, now_ms: u64) -> Standing {
        self.judge_level(now_ms);
        self.look_for_missed(now_ms);
        let unfit = self.unfit(now_ms);
        let missed = self.missed(now_ms);
        let bound = self.level_ms().unwrap_or(0) / TIMES;
        let mut takers: Vec<(u32, NodeId)> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.is_heard(now_ms) && peer.accepts(now_ms))
            .filter(|(_, peer)| match unfit {
                Some(Unfit::Slow) => peer.health.level_ms.is_some_and(|level| level <= bound),
                Some(Unfit::CutOff) => missed.iter().all(|node| peer.health.hears.contains(node)),
                Some(Unfit::Drained | Unfit::DiskFull) => true,
                None => !peer.health.slow,
            })
            .map(|(node, peer)| (peer.health.level_ms.unwrap_or(0), *node))
            .collect();
        takers.sort_unstable();
        Standing { unfit, takers: takers.into_iter().map(|(_, node)| node).collect() }
    }

    fn unfit(&self, now_ms: u64) -> Option<Unfit> {
        if self.drained || self.leaving {
            Some(Unfit::Drained)
        } else if self.disk_full {
            Some(Unfit::DiskFull)
        } else if !self.missed(now_ms).is_empty() {
            Some(Unfit::CutOff)
        } else {
            self.slow.then_some(Unfit::Slow)
        }
    }

    fn judge_level(&mut self, now_ms: u64) {
        let level = self.level_ms().unwrap_or(0);
        if level >= SLOW_MS {
            self.well_since_ms = None;
            let faster = |peer: &Peer| peer.health.level_ms.is_some_and(|l| l <= level / TIMES);
            let accepts = |p: &&Peer| p.is_heard(now_ms) && p.accepts(now_ms);
            let found = self.peers.values().filter(accepts).any(faster);
            self.slow_beats = if found { self.slow_beats.saturating_add(1) } else { 0 };
            self.slow |= self.slow_beats >= SURE_BEATS;
            return;
        }
        self.slow_beats = 0;
        if level >= WELL_MS {
            self.well_since_ms = None;
        } else if self.slow {
            let since = *self.well_since_ms.get_or_insert(now_ms);
            self.slow = now_ms < since + WELL_AFTER_MS;
        }
    }

    /// Notes who is heard by others and not by us: alive, and out of our reach.
    fn look_for_missed(&mut self, now_ms: u64) {
        let heard_by_others: Vec<NodeId> = self
            .peers
            .values()
            .filter(|peer| peer.is_heard(now_ms) && peer.is_told(now_ms))
            .flat_map(|peer| peer.health.hears.iter().copied())
            .collect();
        for (node, peer) in &mut self.peers {
            if peer.is_heard(now_ms) || !heard_by_others.contains(node) {
                peer.missed_since_ms = None;
            } else {
                peer.missed_since_ms.get_or_insert(now_ms);
            }
        }
    }

    fn missed(&self, now_ms: u64) -> Vec<NodeId> {
        let late = |peer: &Peer| peer.missed_since_ms.is_some_and(|at| now_ms >= at + MISSED_MS);
        self.peers.iter().filter(|(_, peer)| late(peer)).map(|(node, _)| *node).collect()
    }
}

impl Peer {
    fn is_heard(&self, now_ms: u64) -> bool {
        self.heard_ms > 0 && now_ms < self.heard_ms + SILENT_MS
    }

    fn is_told(&self, now_ms: u64) -> bool {
        self.told_ms.is_some_and(|at| now_ms < at + SILENT_MS)
    }

    fn accepts(&self, now_ms: u64) -> bool {
        self.is_told(now_ms) && !self.health.refuses
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const B: NodeId = NodeId(2);
    const C: NodeId = NodeId(3);

    fn says(level_ms: u32, hears: &[NodeId]) -> Health {
        Health { level_ms: Some(level_ms), refuses: false, slow: false, hears: hears.to_vec() }
    }

    /// Beats from `from` on, each measuring `took`, with both peers telling `levels`.
    fn beats(f: &mut Fitness, from: u64, count: u64, took: Option<u64>, levels: u32) -> Standing {
        let mut last = Standing::default();
        for beat in from..from + count {
            let now = 1_000 + beat * 500;
            for peer in [B, C] {
                f.heard(peer, now);
                f.told(peer, now, says(levels, &[NodeId(1), B, C]));
            }
            f.measured(took);
            last = f.judge(now);
        }
        last
    }

    #[test]
    fn seconds_of_slow_beats_are_needed_and_enough() {
        let mut f = Fitness::default();
        assert_eq!(beats(&mut f, 0, 10, Some(2), 2).unfit, None);
        assert_eq!(beats(&mut f, 10, 5, Some(400), 2).unfit, None, "two seconds and a half");
        let standing = beats(&mut f, 15, 1, Some(400), 2);
        assert_eq!(standing, Standing { unfit: Some(Unfit::Slow), takers: vec![B, C] });
        assert!(f.health(9_000).slow, "it tells so");
    }

    #[test]
    fn one_long_pause_is_no_slowness() {
        let mut f = Fitness::default();
        beats(&mut f, 0, 10, Some(2), 2);
        beats(&mut f, 10, 1, Some(30_000), 2);
        assert_eq!(beats(&mut f, 11, 10, Some(2), 2).unfit, None);
    }

    #[test]
    fn as_slow_as_everybody_is_not_slow() {
        let mut f = Fitness::default();
        assert_eq!(beats(&mut f, 0, 40, Some(400), 90).unfit, None);
        assert_eq!(beats(&mut f, 40, 2, Some(400), 80).unfit, None, "for a moment");
        assert_eq!(beats(&mut f, 42, 1, Some(400), 80).unfit, Some(Unfit::Slow));
    }

    #[test]
    fn well_again_only_after_a_long_while() {
        let mut f = Fitness::default();
        assert_eq!(beats(&mut f, 0, 10, Some(400), 2).unfit, Some(Unfit::Slow));
        // Three beats until the median is small, and ten seconds.
        assert_eq!(beats(&mut f, 10, 22, Some(2), 2).unfit, Some(Unfit::Slow));
        assert_eq!(beats(&mut f, 32, 2, Some(2), 2).unfit, None);
        // In between it stays what it is: no flapping around one bound.
        let mut f = Fitness::default();
        beats(&mut f, 0, 10, Some(400), 2);
        assert_eq!(beats(&mut f, 10, 80, Some(70), 2).unfit, Some(Unfit::Slow));
    }

    #[test]
    fn a_slow_peer_or_an_unfit_one_takes_nothing() {
        let mut f = Fitness::default();
        beats(&mut f, 0, 9, Some(400), 2);
        let now = 1_000 + 9 * 500;
        f.told(B, now, says(300, &[]));
        assert_eq!(f.judge(now).takers, [C]);
        f.told(C, now, Health { slow: true, ..says(20, &[]) });
        assert_eq!(f.judge(now).takers, [C], "slow, and still far better");
        f.told(C, now, Health { refuses: true, ..says(1, &[]) });
        assert_eq!(f.judge(now).takers, []);
    }

    #[test]
    fn a_node_that_a_peer_hears_and_we_do_not_makes_us_cut_off() {
        let mut f = Fitness::default();
        f.heard(B, 1_000);
        let mut at = None;
        for beat in 0..20u64 {
            let now = 1_000 + beat * 500;
            f.heard(C, now);
            f.told(C, now, says(1, &[NodeId(1), B]));
            f.measured(Some(1));
            let standing = f.judge(now);
            if standing.unfit == Some(Unfit::CutOff) && at.is_none() {
                assert_eq!(standing.takers, [C]);
                at = Some(now);
            }
        }
        assert_eq!(at, Some(1_000 + SILENT_MS + MISSED_MS));
        f.heard(B, 11_500);
        assert_eq!(f.judge(11_500).unfit, None);
    }

    #[test]
    fn a_dead_node_is_missed_by_nobody() {
        let mut f = Fitness::default();
        f.heard(B, 1_000);
        for beat in 0..40u64 {
            let now = 1_000 + beat * 500;
            f.heard(C, now);
            f.told(C, now, says(1, if beat < 4 { &[B] } else { &[] }));
            f.measured(Some(1));
            assert_eq!(f.judge(now).unfit, None);
        }
    }
}
