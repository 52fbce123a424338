//! A shard's sequence numbers run 1, 2, 3 ... without holes, each record names the hash of the one
//! before, and this region's stamps only grow.

use tombolo_item::chain_hash;

use super::{Observation, Property, World};
use crate::core::planted::Planted;

pub(super) struct SequenceWithoutHoles;

impl Property for SequenceWithoutHoles {
    fn observe(&mut self, _at_ms: u64, _what: &Observation<'_>) -> Result<(), String> {
        Ok(())
    }

    fn finish(&mut self, world: &World) -> Result<(), String> {
        for (node, history) in world.histories() {
            let (mut hash, mut latest) = (0, Default::default());
            for (at, change) in history.iter().enumerate() {
                if change.seq != at as u64 + 1 {
                    return Err(format!("node {node}: {} follows {at}", change.seq));
                }
                if change.prev_hash != hash {
                    return Err(format!("node {node}: the chain breaks at {}", change.seq));
                }
                if change.stamp.hlc <= latest {
                    return Err(format!("node {node}: the stamp of {} is not later", change.seq));
                }
                latest = change.stamp.hlc;
                hash = chain_hash(&change.encode());
            }
            if history.is_empty() {
                return Err("nothing was written".into());
            }
        }
        Ok(())
    }
}

#[test]
fn holds() {
    super::holds(400..406, || SequenceWithoutHoles);
}

#[test]
fn a_number_consumed_by_a_refused_proposal_is_caught() {
    super::catches(Planted::SkipSequence, false, 0..100, || SequenceWithoutHoles);
}
