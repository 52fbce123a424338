//! How a region starts from nothing, and how a founding voter with an empty disk is kept from
//! voting twice.
//!
//! Each founding voter without a replica of the system group asks all others ([`Founding`]):
//!
//! 1. `Empty`: it has no replica, and has not yet heard from all others.
//! 2. When every other voter has answered that it is empty (or ready), it writes `founding` into
//!    its `memds.json`, durably, and is `Ready`.
//! 3. When every other voter is ready, or has a replica, it creates its own.
//!
//! A voter in state 1 that hears of a replica with applied entries refuses to start: the group
//! lives, so this disk once held a vote and has lost it. With an empty log it could give that vote
//! again. Founding therefore needs every founding voter once; afterwards a quorum is enough.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use tombolo_item::NodeId;

use crate::wire::Founding;

/// Pause between two rounds of asking.
pub(crate) const ASK_INTERVAL: Duration = Duration::from_millis(100);

/// What to do after hearing from the other founding voters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Ask again those who did not answer, or are not ready.
    Ask,
    /// Make `founding` durable, then ask again.
    BecomeReady,
    /// Create the replica.
    Create,
    /// The group lives without us.
    Refuse { peer: NodeId, applied: u64 },
}

/// The decision, from what each of the others last answered (`None`: nothing yet).
pub(crate) fn decide(ready: bool, others: &BTreeMap<NodeId, Option<Founding>>) -> Verdict {
    if ready {
        let waiting = |heard: &Option<Founding>| matches!(heard, None | Some(Founding::Empty));
        return if others.values().any(waiting) { Verdict::Ask } else { Verdict::Create };
    }
    for (peer, heard) in others {
        if let Some(Founding::Founded { applied }) = heard
            && *applied > 0
        {
            return Verdict::Refuse { peer: *peer, applied: *applied };
        }
    }
    if others.values().any(Option::is_none) { Verdict::Ask } else { Verdict::BecomeReady }
}

/// What this node answers to the others.
#[derive(Debug)]
pub(crate) struct State(Mutex<Founding>);

impl State {
    pub(crate) fn new() -> State {
        State(Mutex::new(Founding::Empty))
    }

    pub(crate) fn set(&self, founding: Founding) {
        *self.0.lock() = founding;
    }

    pub(crate) fn get(&self) -> Founding {
        *self.0.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn others(heard: &[Option<Founding>]) -> BTreeMap<NodeId, Option<Founding>> {
        heard.iter().enumerate().map(|(n, h)| (NodeId(n as u64 + 2), *h)).collect()
    }

    #[test]
    fn founding_needs_everybody_once() {
        use Founding::{Empty, Founded, Ready};
        assert_eq!(decide(false, &others(&[])), Verdict::BecomeReady, "alone");
        assert_eq!(decide(true, &others(&[])), Verdict::Create, "alone");
        assert_eq!(decide(false, &others(&[Some(Empty), None])), Verdict::Ask);
        assert_eq!(decide(false, &others(&[Some(Empty), Some(Ready)])), Verdict::BecomeReady);
        assert_eq!(decide(true, &others(&[Some(Empty), Some(Ready)])), Verdict::Ask);
        assert_eq!(decide(true, &others(&[Some(Ready), Some(Ready)])), Verdict::Create);
        let created = Some(Founded { applied: 4 });
        assert_eq!(decide(true, &others(&[created, Some(Ready)])), Verdict::Create);
    }

    #[test]
    fn an_emptied_disk_refuses() {
        let created = Some(Founding::Founded { applied: 4 });
        let refuse = Verdict::Refuse { peer: NodeId(3), applied: 4 };
        assert_eq!(decide(false, &others(&[None, created])), refuse);
    }

    /// Whatever the order of answers and restarts: nobody refuses at a first start, and nobody
    /// creates while another could still refuse.
    #[test]
    fn every_order_of_three_voters_founds() {
        for seed in 0..500u64 {
            let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let mut draw = |below: u64| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                random % below
            };
            // Durable: ready, created. In memory: what was heard.
            let mut ready = [false; 3];
            let mut created = [false; 3];
            let mut heard = [[None; 3]; 3];
            let answer = |node: usize, ready: &[bool; 3], created: &[bool; 3]| {
                if created[node] {
                    // Two replicas are a quorum: entries are applied.
                    let applied = u64::from(created.iter().filter(|c| **c).count() >= 2);
                    Founding::Founded { applied }
                } else if ready[node] {
                    Founding::Ready
                } else {
                    Founding::Empty
                }
            };
            let mut steps = 0;
            while created.contains(&false) {
                steps += 1;
                assert!(steps < 10_000, "seed {seed} does not end");
                let node = draw(3) as usize;
                if draw(10) == 0 {
                    heard[node] = [None; 3];
                    continue;
                }
                let other = draw(3) as usize;
                if other == node || created[node] {
                    continue;
                }
                heard[node][other] = Some(answer(other, &ready, &created));
                let others = (0..3)
                    .filter(|other| *other != node)
                    .map(|other| (NodeId(other as u64), heard[node][other]))
                    .collect();
                match decide(ready[node], &others) {
                    Verdict::Ask => {}
                    Verdict::BecomeReady => ready[node] = true,
                    Verdict::Create => {
                        assert!(ready.iter().all(|ready| *ready), "seed {seed}");
                        created[node] = true;
                    }
                    Verdict::Refuse { .. } => panic!("seed {seed}: a first start refused"),
                }
            }
        }
    }
}
