//! At most one replica serves strong reads at any moment, and never two in one term.
//! DESIGN.md §5, "Lease as a promise".

use super::{Observation, Property, World};
use crate::core::planted::Planted;

#[derive(Default)]
pub(super) struct OneServingLeader {
    terms: std::collections::BTreeMap<u64, u64>,
}

impl Property for OneServingLeader {
    fn observe(&mut self, at_ms: u64, what: &Observation<'_>) -> Result<(), String> {
        let Observation::Serving { nodes } = what else { return Ok(()) };
        if nodes.len() > 1 {
            return Err(format!("at {at_ms} ms several serve (node, term): {nodes:?}"));
        }
        for (node, term) in nodes.iter() {
            let first = *self.terms.entry(*term).or_insert(*node);
            if first != *node {
                return Err(format!("term {term} was served by {first} and by {node}"));
            }
        }
        Ok(())
    }

    fn finish(&mut self, _world: &World) -> Result<(), String> {
        if self.terms.is_empty() { Err("nobody ever served".into()) } else { Ok(()) }
    }
}

#[test]
fn holds() {
    super::holds(100..106, OneServingLeader::default);
}

#[test]
fn a_lease_counted_from_receipt_is_caught() {
    super::catches(Planted::LeaseFromReceipt, false, 80..400, OneServingLeader::default);
}

#[test]
fn a_broken_promise_is_caught() {
    super::catches(Planted::NoPromise, false, 0..300, OneServingLeader::default);
}
