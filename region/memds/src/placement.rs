//! Where the replicas of new partitions go. Pure.
//!
//! Always true: one replica per zone; within a zone the node with the fewest replicas is taken, so
//! that tables spread; preferred leaders go round the zones.

use std::collections::BTreeMap;

use tombolo_item::NodeId;

/// A node that can take replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) node: NodeId,
    pub(crate) zone: String,
    /// Replicas it has already.
    pub(crate) replicas: usize,
}

/// The voters of `count` new partitions; the first of each is its preferred leader.
pub(crate) fn place(candidates: &[Candidate], count: u32) -> Vec<Vec<NodeId>> {
    let mut zones: BTreeMap<&str, Vec<(usize, NodeId)>> = BTreeMap::new();
    for candidate in candidates {
        let zone = zones.entry(&candidate.zone).or_default();
        zone.push((candidate.replicas, candidate.node));
    }
    let mut leads: BTreeMap<NodeId, usize> = BTreeMap::new();
    (0..count as usize)
        .map(|_| {
            let mut voters: Vec<NodeId> = zones
                .values_mut()
                .filter_map(|nodes| {
                    let least = nodes.iter_mut().min()?;
                    least.0 += 1;
                    Some(least.1)
                })
                .collect();
            let leader = (0..voters.len())
                .min_by_key(|&at| (leads.get(&voters[at]).copied().unwrap_or(0), at));
            if let Some(leader) = leader {
                voters.rotate_left(leader);
                *leads.entry(voters[0]).or_default() += 1;
            }
            voters
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(node: u64, zone: &str, replicas: usize) -> Candidate {
        Candidate { node: NodeId(node), zone: zone.into(), replicas }
    }

    #[test]
    fn one_replica_per_zone_and_leaders_in_turn() {
        let nodes = [candidate(1, "a", 0), candidate(2, "b", 0), candidate(3, "c", 0)];
        let placed = place(&nodes, 6);
        for node in [1, 2, 3] {
            assert_eq!(placed.iter().filter(|voters| voters[0] == NodeId(node)).count(), 2);
            assert!(placed.iter().all(|voters| voters.contains(&NodeId(node))));
        }
    }

    #[test]
    fn emptier_nodes_of_a_zone_fill_up_first() {
        let nodes = [
            candidate(1, "a", 5),
            candidate(4, "a", 0),
            candidate(2, "b", 0),
            candidate(5, "b", 0),
            candidate(3, "c", 0),
        ];
        let placed = place(&nodes, 8);
        let count = |node| placed.iter().flatten().filter(|n| **n == NodeId(node)).count();
        assert_eq!((count(1), count(4)), (2, 6), "level at 5, then in turn");
        assert_eq!((count(2), count(5)), (4, 4));
        assert_eq!(count(3), 8);
        assert!(place(&[], 2).iter().all(Vec::is_empty));
    }
}
