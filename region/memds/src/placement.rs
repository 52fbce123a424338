//! Where the replicas of new partitions go. Pure.
//!
//! Always true: one replica per zone, zones in order; within a zone the node with the fewest replicas
//! is taken, so that tables spread. Leaders spread by themselves: a group's preferred leader is the
//! voter at its number modulo their count.

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

/// The voters of `count` new partitions.
pub(crate) fn place(candidates: &[Candidate], count: u32) -> Vec<Vec<NodeId>> {
    let mut zones: BTreeMap<&str, Vec<(usize, NodeId)>> = BTreeMap::new();
    for candidate in candidates {
        let zone = zones.entry(&candidate.zone).or_default();
        zone.push((candidate.replicas, candidate.node));
    }
    let take = |nodes: &mut Vec<(usize, NodeId)>| {
        let least = nodes.iter_mut().min()?;
        least.0 += 1;
        Some(least.1)
    };
    (0..count).map(|_| zones.values_mut().filter_map(take).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(node: u64, zone: &str, replicas: usize) -> Candidate {
        Candidate { node: NodeId(node), zone: zone.into(), replicas }
    }

    #[test]
    fn one_replica_per_zone_in_their_order() {
        let nodes = [candidate(3, "c", 0), candidate(2, "b", 0), candidate(1, "a", 0)];
        let expected = [NodeId(1), NodeId(2), NodeId(3)];
        assert!(place(&nodes, 6).iter().all(|voters| *voters == expected));
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
