//! Replicas that applied the same index hold the same rows and the same state
//! (Ongaro 2014, §3.6: state machine safety).

use std::collections::BTreeMap;

use super::{Observation, Property, World};
use crate::core::planted::Planted;

#[derive(Default)]
pub(super) struct EqualState {
    seen: BTreeMap<u64, (u64, u64)>,
}

impl Property for EqualState {
    fn observe(&mut self, at_ms: u64, what: &Observation<'_>) -> Result<(), String> {
        let Observation::Applied { node, index, fingerprint } = what else { return Ok(()) };
        let (first, print) = *self.seen.entry(*index).or_insert((*node, *fingerprint));
        if print != *fingerprint {
            return Err(format!("at {at_ms} ms nodes {first} and {node} differ at index {index}"));
        }
        Ok(())
    }

    fn finish(&mut self, world: &World) -> Result<(), String> {
        let ends: Vec<(u64, u64)> = world.ends();
        if ends.windows(2).any(|pair| pair[0] != pair[1]) {
            return Err(format!("healed replicas (applied, fingerprint) differ: {ends:?}"));
        }
        Ok(())
    }
}

#[test]
fn holds() {
    super::holds(200..206, EqualState::default);
}

#[test]
fn a_replica_that_applies_differently_is_caught() {
    super::catches(Planted::DivergingApply, false, 0..20, EqualState::default);
}
