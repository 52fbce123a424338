//! One seed, one world: the replicas decide on nothing but what they are given.

use super::{Observation, Property, Settings, World};

struct Nothing;

impl Property for Nothing {
    fn observe(&mut self, _at_ms: u64, _what: &Observation<'_>) -> Result<(), String> {
        Ok(())
    }
    fn finish(&mut self, _world: &World) -> Result<(), String> {
        Ok(())
    }
}

fn trace(seed: u64) -> Vec<u8> {
    let mut world = World::new(Settings { seed, ..Settings::default() });
    world.run(&mut Nothing).expect("nothing is checked");
    world.trace().to_vec()
}

#[test]
fn equal_seeds_give_equal_bytes_and_others_do_not() {
    let (a, b) = (trace(7), trace(7));
    assert!(a.len() > 10_000, "a world says something");
    assert!(a == b, "the same seed gave two traces");
    assert!(a != trace(8), "another seed gave the same trace");
}

/// The deciding part names no clock, no sleep and no chance of its own.
#[test]
fn the_deciding_part_reads_no_clock_and_draws_no_chance() {
    let banned = ["Instant::", "SystemTime", "thread::sleep", "rand::rng()", "thread_rng", "tokio"];
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/core");
    for file in std::fs::read_dir(folder).expect("the sources are there") {
        let path = file.expect("a folder lists its files").path();
        if path.extension().is_none_or(|e| e != "rs") {
            continue;
        }
        let source = std::fs::read_to_string(&path).expect("a source is text");
        let code = source.lines().filter(|line| !line.trim_start().starts_with("//"));
        for line in code {
            for word in banned {
                assert!(!line.contains(word), "{}: {line}", path.display());
            }
        }
    }
}
