//! Is a concurrent history of one register per key linearizable?
//!
//! The algorithm is Wing & Gong's search with Lowe's memo ("Testing for linearizability", 2017): walk
//! the history in time order, linearize any operation that is open and whose effect the register
//! allows, step back where a return is met that nothing explains, and never visit the same (set of
//! linearized operations, register value) twice. Keys are independent, so each is checked alone.
//!
//! A write whose outcome is unknown may take effect at any time after its start, or never: it is given
//! an end after everything else, and need not be linearized for the history to be explained.

use std::collections::{BTreeMap, HashSet};

/// What an operation did to its register. Values name writes: a test never writes one value twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Write(u64),
    /// What was read; `None` is "no item".
    Read(Option<u64>),
}

#[derive(Clone, Debug)]
pub struct Operation {
    pub key: String,
    pub action: Action,
    /// Nanoseconds since the history began, from one monotonic clock.
    pub start: u64,
    /// `None`: the outcome is unknown (time-out, lost connection). Reads with no outcome are left out.
    pub end: Option<u64>,
}

#[derive(Debug)]
pub struct Violation {
    pub key: String,
    pub operations: Vec<Operation>,
}

/// `Err` names a key whose operations no order explains.
pub fn check(history: &[Operation]) -> Result<(), Violation> {
    let mut by_key: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    for operation in history {
        by_key.entry(&operation.key).or_default().push(operation);
    }
    for (key, operations) in by_key {
        if !explainable(&operations) {
            return Err(Violation {
                key: key.to_owned(),
                operations: operations.into_iter().cloned().collect(),
            });
        }
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Edge {
    Call,
    Return,
}

/// The time line as a doubly linked list, so that an operation is lifted out and put back in O(1).
struct TimeLine {
    edges: Vec<(Edge, usize)>,
    next: Vec<usize>,
    previous: Vec<usize>,
    /// Position of each operation's call and return edge.
    call: Vec<usize>,
    ret: Vec<usize>,
}

impl TimeLine {
    const HEAD: usize = 0;

    fn new(operations: &[&Operation]) -> Self {
        let mut order: Vec<(u64, u8, usize)> = Vec::with_capacity(operations.len() * 2);
        for (id, operation) in operations.iter().enumerate() {
            // At equal times calls come first: overlapping is the weaker claim.
            order.push((operation.start, 0, id));
            order.push((operation.end.unwrap_or(u64::MAX), 1, id));
        }
        order.sort_unstable();
        let mut line = Self {
            edges: vec![(Edge::Call, usize::MAX)],
            next: vec![0],
            previous: vec![0],
            call: vec![0; operations.len()],
            ret: vec![0; operations.len()],
        };
        for (_, kind, id) in order {
            let at = line.edges.len();
            let edge = if kind == 0 { Edge::Call } else { Edge::Return };
            match edge {
                Edge::Call => line.call[id] = at,
                Edge::Return => line.ret[id] = at,
            }
            line.edges.push((edge, id));
            line.previous.push(at - 1);
            line.next.push(0);
            line.next[at - 1] = at;
        }
        line.previous[Self::HEAD] = line.edges.len() - 1;
        line
    }

    fn unlink(&mut self, at: usize) {
        let (before, after) = (self.previous[at], self.next[at]);
        self.next[before] = after;
        self.previous[after] = before;
    }

    fn relink(&mut self, at: usize) {
        let (before, after) = (self.previous[at], self.next[at]);
        self.next[before] = at;
        self.previous[after] = at;
    }

    fn lift(&mut self, id: usize) {
        self.unlink(self.call[id]);
        self.unlink(self.ret[id]);
    }

    fn put_back(&mut self, id: usize) {
        self.relink(self.ret[id]);
        self.relink(self.call[id]);
    }
}

fn explainable(operations: &[&Operation]) -> bool {
    let mut line = TimeLine::new(operations);
    let mut taken = vec![0_u64; operations.len().div_ceil(64)];
    let mut value: Option<u64> = None;
    let mut seen: HashSet<(Vec<u64>, Option<u64>)> = HashSet::new();
    let mut path: Vec<(usize, Option<u64>)> = Vec::new();
    let mut at = line.next[TimeLine::HEAD];
    loop {
        if at == TimeLine::HEAD {
            return true;
        }
        let (edge, id) = line.edges[at];
        if edge == Edge::Return && operations[id].end.is_none() {
            // Only unknown writes are left: they may never have happened.
            return true;
        }
        if edge == Edge::Call {
            let allowed = match &operations[id].action {
                Action::Write(written) => Some(Some(*written)),
                Action::Read(read) => (*read == value).then_some(value),
            };
            if let Some(after) = allowed {
                taken[id / 64] |= 1 << (id % 64);
                if seen.insert((taken.clone(), after)) {
                    path.push((id, value));
                    value = after;
                    line.lift(id);
                    at = line.next[TimeLine::HEAD];
                    continue;
                }
                taken[id / 64] &= !(1 << (id % 64));
            }
            at = line.next[at];
            continue;
        }
        // A return that nothing explains: take the last choice back and try the next one.
        let Some((undone, before)) = path.pop() else { return false };
        value = before;
        taken[undone / 64] &= !(1 << (undone % 64));
        line.put_back(undone);
        at = line.next[line.call[undone]];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(value: u64, start: u64, end: u64) -> Operation {
        Operation { key: "k".into(), action: Action::Write(value), start, end: Some(end) }
    }

    fn lost_write(value: u64, start: u64) -> Operation {
        Operation { key: "k".into(), action: Action::Write(value), start, end: None }
    }

    fn read(value: Option<u64>, start: u64, end: u64) -> Operation {
        Operation { key: "k".into(), action: Action::Read(value), start, end: Some(end) }
    }

    #[test]
    fn accepts_what_some_order_explains() {
        let histories = [
            vec![],
            vec![read(None, 0, 1), write(1, 2, 3), read(Some(1), 4, 5)],
            // Overlapping: the read may see either side of the write.
            vec![write(1, 0, 10), read(None, 1, 2), read(Some(1), 3, 4)],
            vec![write(1, 0, 10), write(2, 0, 10), read(Some(1), 11, 12)],
            // An unknown write may appear late, or never.
            vec![lost_write(1, 0), read(None, 5, 6), read(Some(1), 7, 8)],
            vec![lost_write(1, 0), read(None, 5, 6)],
        ];
        for history in histories {
            assert!(check(&history).is_ok(), "{history:?}");
        }
    }

    #[test]
    fn rejects_what_no_order_explains() {
        let histories = [
            // A stale read after an acknowledged write.
            vec![write(1, 0, 1), write(2, 2, 3), read(Some(1), 4, 5)],
            // A lost acknowledged write.
            vec![write(1, 0, 1), read(None, 2, 3)],
            // Going back in time: seen, then unseen.
            vec![write(1, 0, 10), read(Some(1), 1, 2), read(None, 3, 4)],
            // A value nobody wrote.
            vec![read(Some(7), 0, 1)],
            vec![lost_write(1, 4), read(Some(1), 0, 1)],
        ];
        for history in histories {
            assert!(check(&history).is_err(), "{history:?}");
        }
    }

    /// Agrees with trying every order, on thousands of small random histories, both verdicts occurring.
    #[test]
    fn agrees_with_brute_force() {
        use rand::{Rng, SeedableRng};
        let mut random = rand::rngs::SmallRng::seed_from_u64(7);
        let (mut good, mut bad) = (0, 0);
        for _ in 0..4_000 {
            let count = random.random_range(1..6);
            let history: Vec<Operation> = (0..count)
                .map(|i| {
                    let start = random.random_range(0..12);
                    let end = start + random.random_range(0..6);
                    if random.random_bool(0.5) {
                        let mut operation = write(i, start, end);
                        if random.random_bool(0.2) {
                            operation.end = None;
                        }
                        operation
                    } else {
                        let value = random.random_range(0..count + 1);
                        read((value < count).then_some(value), start, end)
                    }
                })
                .collect();
            let expected = brute_force(&history, 0, None);
            assert_eq!(check(&history).is_ok(), expected, "{history:?}");
            if expected { good += 1 } else { bad += 1 }
        }
        assert!(good > 200 && bad > 200, "one-sided sample: {good} good, {bad} bad");
    }

    /// Every permutation that respects real time, by definition and not by cleverness.
    fn brute_force(history: &[Operation], done: u32, value: Option<u64>) -> bool {
        let open = |i: usize| done & (1 << i) == 0;
        if (0..history.len()).all(|i| !open(i) || history[i].end.is_none()) {
            return true;
        }
        (0..history.len()).filter(|&i| open(i)).any(|i| {
            let first = (0..history.len())
                .filter(|&j| j != i && open(j))
                .all(|j| history[j].end.is_none_or(|end| end >= history[i].start));
            let after = match history[i].action {
                Action::Write(written) => Some(Some(written)),
                Action::Read(read) => (read == value).then_some(value),
            };
            first && after.is_some_and(|after| brute_force(history, done | (1 << i), after))
        })
    }
}
