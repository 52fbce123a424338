//! Many records in flight, yet one at a time and in order for each row key. Pure.
//!
//! Always true: of the records of one row key at most one is out; the others wait in the order they
//! were offered; a row key nobody works on is not remembered.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

#[derive(Debug)]
pub(crate) struct KeyOrder<K, T> {
    waiting: HashMap<K, VecDeque<T>>,
}

impl<K: Eq + Hash + Clone, T> KeyOrder<K, T> {
    pub(crate) fn new() -> Self {
        KeyOrder { waiting: HashMap::new() }
    }

    /// Gives the record back when it may start now; keeps it when an earlier one of its key is out.
    pub(crate) fn offer(&mut self, key: &K, record: T) -> Option<T> {
        match self.waiting.get_mut(key) {
            Some(queue) => {
                queue.push_back(record);
                None
            }
            None => {
                self.waiting.insert(key.clone(), VecDeque::new());
                Some(record)
            }
        }
    }

    /// The record of this key that was out is finished: here is the next one, if there is one.
    pub(crate) fn finish(&mut self, key: &K) -> Option<T> {
        let next = self.waiting.get_mut(key).and_then(VecDeque::pop_front);
        if next.is_none() {
            self.waiting.remove(key);
        }
        next
    }

    /// Row keys with a record out.
    #[cfg(test)]
    pub(crate) fn busy(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_and_in_order_for_each_key() {
        let mut order = KeyOrder::new();
        assert_eq!(order.offer(&'a', 1), Some(1));
        assert_eq!(order.offer(&'b', 2), Some(2), "another key does not wait");
        assert_eq!(order.offer(&'a', 3), None);
        assert_eq!(order.offer(&'a', 4), None);
        assert_eq!(order.busy(), 2);
        assert_eq!(order.finish(&'a'), Some(3));
        assert_eq!(order.offer(&'a', 5), None, "3 is out");
        assert_eq!(order.finish(&'a'), Some(4));
        assert_eq!(order.finish(&'a'), Some(5));
        assert_eq!(order.finish(&'a'), None);
        assert_eq!(order.finish(&'b'), None);
        assert_eq!(order.busy(), 0, "nothing is remembered of idle keys");
        assert_eq!(order.offer(&'a', 6), Some(6));
    }
}
