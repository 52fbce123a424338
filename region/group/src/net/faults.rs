//! Cuts and delays between regions and zones, for development clusters and tests.
//!
//! Always true: a cut separates what is inside (a region, or one zone of it) from everything
//! outside; traffic among the nodes inside, and among those outside, goes on. So the same command
//! can be given to every node, and both ends come to the same verdict. Who may give it is decided
//! by the caller: nothing on the wire can.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use tokio::sync::watch;
use tombolo_item::RegionId;

#[derive(Debug, Default)]
struct Active {
    cuts: BTreeSet<(RegionId, Option<String>)>,
    delays: BTreeMap<RegionId, Duration>,
}

/// The faults in force on this node.
#[derive(Debug)]
pub struct Faults {
    region: RegionId,
    zone: String,
    any: AtomicBool,
    active: RwLock<Active>,
    version: watch::Sender<u64>,
}

impl Faults {
    pub(super) fn new(region: RegionId, zone: String) -> Faults {
        Faults {
            region,
            zone,
            any: AtomicBool::new(false),
            active: RwLock::default(),
            version: watch::Sender::new(0),
        }
    }

    /// Cut a region, or one zone of it, off from everything else.
    pub fn cut(&self, region: RegionId, zone: Option<String>) {
        self.change(|active| {
            active.cuts.insert((region, zone));
        });
    }

    /// Take all cuts away. Delays stay.
    pub fn heal(&self) {
        self.change(|active| active.cuts.clear());
    }

    /// Delay what this node sends to nodes of another region, one way; 0 takes the delay away.
    pub fn set_delay_ms(&self, region: RegionId, delay_ms: u64) {
        self.change(|active| {
            if delay_ms == 0 || region == self.region {
                active.delays.remove(&region);
            } else {
                active.delays.insert(region, Duration::from_millis(delay_ms));
            }
        });
    }

    /// The cuts in force: region, and zone if only that is cut off.
    pub fn cuts(&self) -> Vec<(RegionId, Option<String>)> {
        self.active.read().cuts.iter().cloned().collect()
    }

    /// Whether a node of that region and zone is out of reach.
    pub fn severed(&self, region: RegionId, zone: &str) -> bool {
        if !self.any.load(Ordering::Acquire) {
            return false;
        }
        let active = self.active.read();
        active.cuts.iter().any(|(cut_region, cut_zone)| {
            let inside = |r: RegionId, z: &str| {
                r == *cut_region && cut_zone.as_deref().is_none_or(|cut| cut == z)
            };
            inside(self.region, &self.zone) != inside(region, zone)
        })
    }

    /// One-way delay of what goes to that region.
    pub fn delay_to(&self, region: RegionId) -> Option<Duration> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        self.active.read().delays.get(&region).copied()
    }

    /// Moves with every change: whoever uses another transport (NATS) follows it.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    fn change(&self, apply: impl FnOnce(&mut Active)) {
        {
            let mut active = self.active.write();
            apply(&mut active);
            let any = !active.cuts.is_empty() || !active.delays.is_empty();
            self.any.store(any, Ordering::Release);
        }
        self.version.send_modify(|version| *version += 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_separates_inside_from_outside() {
        let here = Faults::new(RegionId(1), "a".into());
        assert!(!here.severed(RegionId(2), "a"));
        here.cut(RegionId(1), None);
        assert!(here.severed(RegionId(2), "a"));
        assert!(!here.severed(RegionId(1), "b"));
        here.heal();
        here.cut(RegionId(1), Some("a".into()));
        assert!(here.severed(RegionId(1), "b"));
        assert!(here.severed(RegionId(2), "a"));
        assert!(!here.severed(RegionId(1), "a"));
        here.heal();
        here.cut(RegionId(3), None);
        assert!(here.severed(RegionId(3), "a"));
        assert!(!here.severed(RegionId(2), "a"));
        here.heal();
        assert!(!here.severed(RegionId(3), "a"));
    }

    #[test]
    fn delays_are_between_regions() {
        let here = Faults::new(RegionId(1), "a".into());
        here.set_delay_ms(RegionId(2), 30);
        here.set_delay_ms(RegionId(1), 30);
        assert_eq!(here.delay_to(RegionId(2)), Some(Duration::from_millis(30)));
        assert_eq!(here.delay_to(RegionId(1)), None);
        here.set_delay_ms(RegionId(2), 0);
        assert_eq!(here.delay_to(RegionId(2)), None);
    }
}
