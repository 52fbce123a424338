//! A leader whose disk is slow, or that a living node cannot reach, hands over within seconds and
//! without flapping; a group goes home once home is well again. DESIGN.md §5, "Gray failures".

use super::acked_writes_survive::AckedWritesSurvive;
use super::{Observation, Property, Settings, SlowDisk, World};

/// Where group 16 of three voters leads when nothing is wrong.
const HOME: u64 = 2;

/// Who served, from when on; and that nothing acknowledged was lost meanwhile.
#[derive(Default)]
struct Leaders {
    terms: Vec<(u64, u64)>,
    acked: AckedWritesSurvive,
}

impl Property for Leaders {
    fn observe(&mut self, at_ms: u64, what: &Observation<'_>) -> Result<(), String> {
        if let Observation::Serving { nodes } = what
            && let [(node, _)] = nodes
            && self.terms.last().is_none_or(|(_, last)| last != node)
        {
            self.terms.push((at_ms, *node));
        }
        self.acked.observe(at_ms, what)
    }

    fn finish(&mut self, world: &World) -> Result<(), String> {
        self.acked.finish(world)
    }
}

/// A world where nothing goes wrong but what `settings` says: (since, node) of its leaders.
fn leaders(settings: Settings) -> Vec<(u64, u64)> {
    let mut seen = Leaders::default();
    let settings = Settings { wild_ms: 0, steady: true, ..settings };
    super::run(settings, &mut seen).unwrap();
    seen.terms
}

fn slow(node: u64, while_ms: std::ops::Range<u64>) -> SlowDisk {
    SlowDisk { node, while_ms, takes_ms: 200..600 }
}

#[test]
fn a_slow_leader_hands_over_once_and_gets_its_group_back() {
    for seed in 0..2 {
        let slow_disks = vec![slow(HOME, 15_000..70_000)];
        let terms = leaders(Settings { seed, slow_disks, calm_ms: 150_000, ..Settings::default() });
        let [(_, HOME), (away_ms, _), (back_ms, HOME)] = terms[..] else {
            panic!("seed {seed}: {terms:?}");
        };
        assert!((15_000..23_000).contains(&away_ms), "seed {seed}: {terms:?}");
        // Ten seconds until it is well, thirty until that is trusted.
        assert!((108_000..130_000).contains(&back_ms), "seed {seed}: {terms:?}");
    }
}

#[test]
fn a_write_that_never_ends_counts_as_slow() {
    let stuck = SlowDisk { node: HOME, while_ms: 15_000..40_000, takes_ms: 30_000..30_001 };
    let slow_disks = vec![stuck];
    let terms = leaders(Settings { slow_disks, calm_ms: 80_000, ..Settings::default() });
    assert!(terms.len() == 2 && terms[1].0 < 23_000, "{terms:?}");
}

#[test]
fn where_all_are_slow_nobody_hands_over() {
    let slow_disks = (1..=3).map(|node| slow(node, 15_000..60_000)).collect();
    let terms = leaders(Settings { slow_disks, calm_ms: 60_000, ..Settings::default() });
    assert_eq!(terms.len(), 1, "{terms:?}");
}

#[test]
fn slowness_that_wanders_does_not_make_leadership_wander_with_it() {
    let turn = |n: u64| slow(1 + (n + 1) % 2, 15_000 + n * 6_000..21_000 + n * 6_000);
    let slow_disks = (0..16).map(turn).collect();
    let terms = leaders(Settings { slow_disks, calm_ms: 115_000, ..Settings::default() });
    assert!(terms.len() <= 8, "sixteen turns, {} leaders: {terms:?}", terms.len());
}

#[test]
fn a_leader_that_one_node_cannot_reach_gives_way_to_one_that_all_can() {
    let apart = Some((1, HOME, 15_000));
    let terms = leaders(Settings { apart, calm_ms: 60_000, ..Settings::default() });
    let [(_, HOME), (at_ms, 3)] = terms[..] else { panic!("{terms:?}") };
    assert!((18_000..24_000).contains(&at_ms), "{terms:?}");
}
