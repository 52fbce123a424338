//! A strong read sees every write to its row that was answered before the read began, and nothing
//! older than an earlier read saw. (Stamps of one row only grow, so comparing stamps is enough.)

use std::collections::BTreeMap;

use tombolo_item::{RowKey, Stamp};

use super::{Observation, Property, World};
use crate::core::planted::Planted;

#[derive(Default)]
pub(super) struct ReadsNeverStale {
    newest_seen: BTreeMap<RowKey, Stamp>,
    floor_of: BTreeMap<u64, Option<Stamp>>,
    reads: u64,
}

impl ReadsNeverStale {
    fn raise(&mut self, key: &RowKey, stamp: Option<Stamp>) {
        if let Some(stamp) = stamp {
            let newest = self.newest_seen.entry(key.clone()).or_insert(stamp);
            *newest = stamp.max(*newest);
        }
    }
}

impl Property for ReadsNeverStale {
    fn observe(&mut self, at_ms: u64, what: &Observation<'_>) -> Result<(), String> {
        match what {
            Observation::Invoked { op, key } => {
                self.floor_of.insert(*op, self.newest_seen.get(key).copied());
            }
            Observation::WriteAcked { key, stamp, .. } => self.raise(key, *stamp),
            Observation::ReadAnswered { op, key, stamp } => {
                self.reads += 1;
                let floor = self.floor_of.get(op).copied().flatten();
                if *stamp < floor {
                    return Err(format!(
                        "at {at_ms} ms read {op} saw {stamp:?}, but {floor:?} was known before it"
                    ));
                }
                self.raise(key, *stamp);
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self, _world: &World) -> Result<(), String> {
        if self.reads < 20 { Err(format!("only {} reads", self.reads)) } else { Ok(()) }
    }
}

#[test]
fn holds() {
    super::holds(500..506, ReadsNeverStale::default);
}

#[test]
fn a_leader_that_serves_without_proof_is_caught() {
    super::catches(Planted::ServeAtOnce, false, 0..100, ReadsNeverStale::default);
}
