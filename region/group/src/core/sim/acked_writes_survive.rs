//! An acknowledged write is in every replica's history for ever, exactly once.

use std::collections::{BTreeMap, BTreeSet};

use tombolo_item::Stamp;

use super::{Observation, Property, World};
use crate::core::planted::Planted;

#[derive(Default)]
pub(super) struct AckedWritesSurvive {
    acked: BTreeMap<Stamp, u64>,
}

impl Property for AckedWritesSurvive {
    fn observe(&mut self, _at_ms: u64, what: &Observation<'_>) -> Result<(), String> {
        if let Observation::WriteAcked { op, stamp: Some(stamp), .. } = what {
            self.acked.insert(*stamp, *op);
        }
        Ok(())
    }

    fn finish(&mut self, world: &World) -> Result<(), String> {
        if self.acked.len() < 20 {
            return Err(format!("only {} writes were acknowledged", self.acked.len()));
        }
        for (node, history) in world.histories() {
            let mut stamps = BTreeSet::new();
            for change in history {
                if !stamps.insert(change.stamp) {
                    return Err(format!("node {node} applied {} twice", change.stamp));
                }
            }
            if let Some((lost, op)) = self.acked.iter().find(|(s, _)| !stamps.contains(s)) {
                return Err(format!("node {node} lost the write of operation {op} at {lost}"));
            }
        }
        Ok(())
    }
}

#[test]
fn holds() {
    super::holds(300..306, AckedWritesSurvive::default);
}

#[test]
fn an_answer_before_the_quorum_is_caught() {
    super::catches(Planted::AckBeforeQuorum, false, 0..60, AckedWritesSurvive::default);
}
