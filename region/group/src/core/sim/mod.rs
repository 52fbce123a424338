//! A seeded world of three replicas that drives the pure step: losses, delays, duplicates, pauses,
//! clocks that drift, crashes with what the disk had by then, snapshots, and clients.
//!
//! Always true: one seed gives one world, byte for byte (a test holds it). Each property is a file
//! of its own, sees everything that happens, and is shown to catch a fault planted in the replica.

mod disk;
mod fitness;
mod model;
mod observe;
mod world;

mod acked_writes_survive;
mod equal_state;
mod one_serving_leader;
mod one_vote_per_term;
mod reads_never_stale;
mod same_seed_same_bytes;
mod sequence_without_holes;
mod the_slow_hand_over;

pub(in crate::core) use model::Model;
pub(in crate::core) use observe::{Observation, Property};
pub(in crate::core) use world::{Settings, SlowDisk, World};

use super::planted::Planted;

/// Runs one world under one property.
fn run(settings: Settings, property: &mut dyn Property) -> Result<(), String> {
    let seed = settings.seed;
    let mut world = World::new(settings);
    world.run(property)?;
    property.finish(&world).map_err(|e| format!("seed {seed}, at the end: {e}"))
}

/// The property holds in these worlds.
fn holds<P: Property>(seeds: std::ops::Range<u64>, make: impl Fn() -> P) {
    for seed in seeds {
        // Every fourth world is a storm.
        let storm = seed % 4 == 3;
        let settings = Settings { seed, storm, ..Settings::default() };
        if let Err(violation) = run(settings, &mut make()) {
            panic!("{violation}");
        }
    }
}

/// The property is violated in one of these worlds, once the fault is planted.
fn catches<P: Property>(
    planted: Planted,
    storm: bool,
    seeds: std::ops::Range<u64>,
    make: impl Fn() -> P,
) {
    for seed in seeds {
        let settings = Settings { seed, planted: Some(planted), storm, ..Settings::default() };
        if let Err(violation) = run(settings, &mut make()) {
            println!("{violation}");
            return;
        }
    }
    panic!("no world showed the planted {planted:?}: the checker sees nothing");
}

/// All properties at once, over as many worlds as asked for: `TOMBOLO_SIM_SEEDS=1000..2000`.
#[test]
fn many_worlds() {
    let asked = std::env::var("TOMBOLO_SIM_SEEDS").unwrap_or_else(|_| "900..904".into());
    let (from, to) = asked.split_once("..").expect("a range like 1000..2000");
    let (from, to): (u64, u64) = (from.parse().expect("a seed"), to.parse().expect("a seed"));
    holds(from..to, || {
        All(vec![
            Box::<acked_writes_survive::AckedWritesSurvive>::default(),
            Box::<equal_state::EqualState>::default(),
            Box::<one_serving_leader::OneServingLeader>::default(),
            Box::<one_vote_per_term::OneVotePerTerm>::default(),
            Box::<reads_never_stale::ReadsNeverStale>::default(),
            Box::new(sequence_without_holes::SequenceWithoutHoles),
        ])
    });
}

struct All(Vec<Box<dyn Property>>);

impl Property for All {
    fn observe(&mut self, at_ms: u64, what: &Observation<'_>) -> Result<(), String> {
        self.0.iter_mut().try_for_each(|property| property.observe(at_ms, what))
    }

    fn finish(&mut self, world: &World) -> Result<(), String> {
        self.0.iter_mut().try_for_each(|property| property.finish(world))
    }
}
