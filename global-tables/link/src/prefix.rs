//! Which sequences of a shard are complete. Records complete in any order; a checkpoint may only
//! stand at the end of a prefix without holes. Pure.
//!
//! Always true: everything up to `done()` is complete; `done()` never goes back; `done() + 1` is not
//! complete; what is remembered above it is at most what was offered and not yet finished.

use std::collections::BTreeMap;

use tombolo_item::Hlc;

/// What the prefix ends with: where a checkpoint may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) seq: u64,
    /// Chain hash of the record at `seq`: what the next one must name.
    pub(crate) hash: u64,
    /// Nothing that this shard sends after `seq` is stamped at or below this.
    pub(crate) closed: Hlc,
}

#[derive(Debug)]
pub(crate) struct Prefix {
    done: Position,
    /// Complete, or under way (`false`), above the prefix: seq -> (complete, hash, closed).
    above: BTreeMap<u64, (bool, u64, Hlc)>,
    /// A closed stamp that counts once the prefix has reached its sequence.
    announced: Option<(u64, Hlc)>,
}

impl Prefix {
    pub(crate) fn new(done: Position) -> Self {
        Prefix { done, above: BTreeMap::new(), announced: None }
    }

    pub(crate) fn done(&self) -> Position {
        self.done
    }

    /// A record was taken in: it will be completed later.
    pub(crate) fn begin(&mut self, seq: u64, hash: u64, closed: Hlc) {
        if seq > self.done.seq {
            self.above.entry(seq).or_insert((false, hash, closed));
        }
    }

    /// The record is durable here (or concerns us not). True when the prefix moved.
    pub(crate) fn complete(&mut self, seq: u64) -> bool {
        let Some(entry) = self.above.get_mut(&seq) else { return false };
        entry.0 = true;
        let before = self.done.seq;
        while let Some((&next, &(complete, hash, closed))) = self.above.first_key_value() {
            if !complete || next != self.done.seq + 1 {
                break;
            }
            self.above.pop_first();
            self.done.seq = next;
            self.done.hash = hash;
            self.done.closed = self.done.closed.max(closed);
        }
        self.settle_announced();
        self.done.seq != before
    }

    /// A head of the source: at `seq` nothing at or below `closed` follows. True when the closed
    /// stamp moved at once (the prefix is already there).
    pub(crate) fn announce(&mut self, seq: u64, closed: Hlc) -> bool {
        let before = self.done.closed;
        // An older announcement that is already reachable must not be lost to one further ahead.
        self.settle_announced();
        if self.announced.is_none_or(|(at, _)| self.done.seq >= at || seq <= at) {
            self.announced = Some((seq, closed));
        }
        self.settle_announced();
        self.done.closed != before
    }

    fn settle_announced(&mut self) {
        if let Some((at, closed)) = self.announced
            && self.done.seq >= at
        {
            self.done.closed = self.done.closed.max(closed);
            self.announced = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seq: u64) -> Position {
        Position { seq, hash: seq * 10, closed: Hlc(seq * 100) }
    }

    fn begun(from: u64, to: u64) -> Prefix {
        let mut prefix = Prefix::new(at(from - 1));
        for seq in from..=to {
            prefix.begin(seq, seq * 10, Hlc(seq * 100));
        }
        prefix
    }

    #[test]
    fn the_prefix_moves_only_without_holes() {
        let mut prefix = begun(1, 4);
        assert!(!prefix.complete(2));
        assert!(!prefix.complete(4));
        assert_eq!(prefix.done().seq, 0);
        assert!(prefix.complete(1));
        assert_eq!(prefix.done(), at(2));
        assert!(prefix.complete(3));
        assert_eq!(prefix.done(), at(4));
        assert_eq!(prefix.above.len(), 0);
    }

    #[test]
    fn what_was_never_begun_completes_nothing() {
        let mut prefix = begun(5, 6);
        assert!(!prefix.complete(7));
        assert!(!prefix.complete(3));
        prefix.begin(4, 0, Hlc(0)); // already behind the prefix: a repeat
        assert_eq!(prefix.above.len(), 2);
        assert_eq!(prefix.done(), at(4));
    }

    #[test]
    fn every_order_of_completion_ends_at_the_same_place() {
        // All permutations of five records.
        fn permute(rest: Vec<u64>, taken: Vec<u64>, out: &mut Vec<Vec<u64>>) {
            if rest.is_empty() {
                out.push(taken);
                return;
            }
            for (i, &seq) in rest.iter().enumerate() {
                let mut rest = rest.clone();
                rest.remove(i);
                permute(rest, [taken.clone(), vec![seq]].concat(), out);
            }
        }
        let mut orders = Vec::new();
        permute((1..=5).collect(), Vec::new(), &mut orders);
        assert_eq!(orders.len(), 120);
        for order in orders {
            let mut prefix = begun(1, 5);
            let mut complete = std::collections::BTreeSet::new();
            for seq in order {
                prefix.complete(seq);
                complete.insert(seq);
                let expected = (1..=5).take_while(|s| complete.contains(s)).count() as u64;
                assert_eq!(prefix.done().seq, expected);
            }
            assert_eq!(prefix.done(), at(5));
        }
    }

    #[test]
    fn a_closed_stamp_counts_only_when_all_before_its_head_is_applied() {
        let mut prefix = begun(1, 3);
        assert!(!prefix.announce(3, Hlc(9_000)));
        prefix.complete(1);
        prefix.complete(2);
        assert_eq!(prefix.done().closed, Hlc(200));
        prefix.complete(3);
        assert_eq!(prefix.done().closed, Hlc(9_000));
        assert!(prefix.announce(3, Hlc(9_500)), "an idle shard's closed stamp moves at once");
        assert!(!prefix.announce(3, Hlc(9_100)), "and never goes back");
        assert_eq!(prefix.done().closed, Hlc(9_500));
    }

    #[test]
    fn an_announcement_in_reach_is_not_lost_to_one_further_ahead() {
        let mut prefix = begun(1, 2);
        prefix.announce(1, Hlc(5_000));
        prefix.announce(2, Hlc(6_000));
        prefix.complete(1);
        assert_eq!(prefix.done().closed, Hlc(5_000));
        prefix.announce(2, Hlc(6_000));
        prefix.complete(2);
        assert_eq!(prefix.done().closed, Hlc(6_000));
    }
}
