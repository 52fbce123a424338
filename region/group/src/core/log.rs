//! A replica's raft log in memory: what the consensus library reads instead of the disk.
//!
//! Always true: it never fails and never waits. Everything above the base is here; below the base
//! the answer is `Compacted`, and a replica that needs more gets a snapshot. The write-ahead log
//! holds the same entries durably; which of them are durable is the library's `persisted` mark.

use std::collections::VecDeque;

use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage, StorageError};

/// The recent entries of one replica.
pub(crate) struct MemoryLog {
    /// The entry before the first one kept.
    base: (u64, u64),
    entries: VecDeque<Entry>,
    bytes: usize,
    hard_state: HardState,
    conf: ConfState,
    /// Last applied (index, term): what a snapshot taken now covers.
    applied: (u64, u64),
}

impl MemoryLog {
    pub(crate) fn new(base: (u64, u64), hard_state: HardState, conf: ConfState) -> MemoryLog {
        MemoryLog { base, entries: VecDeque::new(), bytes: 0, hard_state, conf, applied: base }
    }

    #[cfg(test)]
    pub(crate) fn base(&self) -> (u64, u64) {
        self.base
    }

    pub(crate) fn conf(&self) -> &ConfState {
        &self.conf
    }

    pub(crate) fn set_applied(&mut self, index: u64, term: u64) {
        self.applied = (index, term);
    }

    pub(crate) fn last(&self) -> u64 {
        self.base.0 + self.entries.len() as u64
    }

    /// Appends `new`, first dropping whatever is at or above its first index.
    pub(crate) fn append(&mut self, new: &[Entry]) {
        let Some(first) = new.first() else { return };
        assert!(first.index > self.base.0, "an append may not reach below the log's base");
        assert!(first.index <= self.last() + 1, "an append may not leave a hole");
        while self.last() >= first.index {
            if let Some(dropped) = self.entries.pop_back() {
                self.bytes -= weight(&dropped);
            }
        }
        for entry in new {
            self.bytes += weight(entry);
            self.entries.push_back(entry.clone());
        }
    }

    /// The log is now nothing but a snapshot at (`index`, `term`).
    pub(crate) fn reset(&mut self, index: u64, term: u64, conf: ConfState) {
        self.base = (index, term);
        self.entries.clear();
        self.bytes = 0;
        self.applied = (index, term);
        self.conf = conf;
    }

    /// Forgets entries up to `index`, but keeps the newest `keep_bytes` of them for slow followers.
    pub(crate) fn compact(&mut self, index: u64, keep_bytes: usize) {
        while self.bytes > keep_bytes {
            match self.entries.front() {
                Some(first) if first.index <= index => {
                    self.base = (first.index, first.term);
                    self.bytes -= weight(first);
                    self.entries.pop_front();
                }
                _ => break,
            }
        }
        if self.entries.is_empty() {
            self.entries.shrink_to_fit();
        }
    }

    /// The kept entries above `index`.
    pub(crate) fn after(&self, index: u64) -> impl Iterator<Item = &Entry> {
        let skip = index.saturating_sub(self.base.0) as usize;
        self.entries.iter().skip(skip)
    }

    /// The term of the entry at `index`, if it is kept (or is the base).
    pub(crate) fn term_at(&self, index: u64) -> Option<u64> {
        if index == self.base.0 {
            return Some(self.base.1);
        }
        let at = index.checked_sub(self.base.0 + 1)?;
        self.entries.get(at as usize).map(|e| e.term)
    }
}

fn weight(entry: &Entry) -> usize {
    entry.data.len() + entry.context.len() + 64
}

impl Storage for MemoryLog {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState { hard_state: self.hard_state.clone(), conf_state: self.conf.clone() })
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low <= self.base.0 {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        if high > self.last() + 1 {
            return Err(raft::Error::Store(StorageError::Unavailable));
        }
        let limit = max_size.into().unwrap_or(u64::MAX);
        let (mut size, mut out) = (0u64, Vec::new());
        let from = (low - self.base.0 - 1) as usize;
        for entry in self.entries.range(from..from + (high.saturating_sub(low)) as usize) {
            size += weight(entry) as u64;
            if size > limit && !out.is_empty() {
                break;
            }
            out.push(entry.clone());
        }
        Ok(out)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index < self.base.0 {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        self.term_at(index).ok_or(raft::Error::Store(StorageError::Unavailable))
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.base.0 + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    /// Only metadata: the content is pulled by the follower, at this index or a later one.
    fn snapshot(&self, request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        if self.applied.0 < request_index.max(1) {
            return Err(raft::Error::Store(StorageError::SnapshotTemporarilyUnavailable));
        }
        let mut snapshot = Snapshot::default();
        let meta = snapshot.mut_metadata();
        meta.index = self.applied.0;
        meta.term = self.applied.1;
        meta.set_conf_state(self.conf.clone());
        Ok(snapshot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: u64, term: u64) -> Entry {
        Entry { index, term, data: vec![0; 100].into(), ..Entry::default() }
    }

    #[test]
    fn append_replaces_from_its_first_index() {
        let mut log = MemoryLog::new((0, 0), HardState::default(), ConfState::default());
        log.append(&[entry(1, 1), entry(2, 1), entry(3, 1)]);
        log.append(&[entry(2, 2)]);
        assert_eq!(log.last(), 2);
        assert_eq!(log.term(2).unwrap(), 2);
        assert_eq!(log.term(3), Err(raft::Error::Store(StorageError::Unavailable)));
    }

    #[test]
    fn compaction_keeps_a_tail_and_then_answers_compacted() {
        let mut log = MemoryLog::new((0, 0), HardState::default(), ConfState::default());
        log.append(&(1..=10).map(|i| entry(i, 1)).collect::<Vec<_>>());
        log.compact(8, 4 * 164);
        assert_eq!(log.base(), (6, 1));
        assert_eq!(log.term(5), Err(raft::Error::Store(StorageError::Compacted)));
        log.compact(8, 0);
        assert_eq!(log.base(), (8, 1), "nothing above the checkpoint is dropped");
        assert_eq!(log.after(8).count(), 2);
        assert_eq!(log.after(0).count(), 2);
    }
}
