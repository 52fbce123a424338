//! The newest change records, in memory.
//!
//! Always true: it holds consecutive sequence numbers up to the last applied one, and every record
//! that no sealed log holds yet (when the partition keeps a log).

use std::collections::VecDeque;

use bytes::Bytes;

#[derive(Debug, Default)]
pub(crate) struct Window {
    records: VecDeque<(u64, Bytes)>,
    bytes: usize,
    /// Records up to this one are in sealed logs.
    sealed: u64,
    unsealed_bytes: usize,
    keep_log: bool,
}

impl Window {
    pub(crate) fn new(sealed: u64, keep_log: bool) -> Self {
        Self { sealed, keep_log, ..Self::default() }
    }

    /// The log is wanted from now on, or no longer. What begins to be kept begins after `seq`: what stands
    /// before it nobody asked for, and replicas hold different parts of it.
    pub(crate) fn set_keep_log(&mut self, keep_log: bool, seq: u64) {
        if keep_log && !self.keep_log {
            *self = Self::new(seq, true);
        }
        self.keep_log = keep_log;
    }

    pub(crate) fn push(&mut self, seq: u64, record: Bytes) {
        self.bytes += record.len();
        self.unsealed_bytes += record.len();
        self.records.push_back((seq, record));
    }

    /// Forgets everything: sequence numbers start again.
    pub(crate) fn restart(&mut self) {
        *self = Self { keep_log: self.keep_log, ..Self::default() };
    }

    pub(crate) fn unsealed_bytes(&self) -> usize {
        if self.keep_log { self.unsealed_bytes } else { 0 }
    }

    /// Records that no sealed log holds.
    pub(crate) fn unsealed(&self) -> Vec<(u64, Bytes)> {
        self.records.iter().filter(|(seq, _)| *seq > self.sealed).cloned().collect()
    }

    /// Notes that a sealed log holds everything up to `seq`.
    pub(crate) fn note_sealed(&mut self, seq: u64) {
        self.sealed = self.sealed.max(seq);
        let unsealed = self.records.iter().rev().take_while(|(s, _)| *s > self.sealed);
        self.unsealed_bytes = unsealed.map(|(_, r)| r.len()).sum();
    }

    /// Keeps about `limit` bytes of what is safe elsewhere or not wanted.
    pub(crate) fn trim(&mut self, limit: usize) {
        while self.bytes > limit
            && let Some((seq, record)) = self.records.front()
            && (!self.keep_log || *seq <= self.sealed)
        {
            self.bytes -= record.len();
            if *seq > self.sealed {
                self.unsealed_bytes -= record.len();
            }
            self.records.pop_front();
        }
    }

    /// The first sequence number held.
    pub(crate) fn first(&self) -> Option<u64> {
        self.records.front().map(|(seq, _)| *seq)
    }

    /// Records from `from` on, about `max_bytes` of them, at least one if there is one.
    pub(crate) fn read(&self, from: u64, max_bytes: usize, out: &mut Vec<(u64, Bytes)>) {
        let Some(first) = self.first() else { return };
        let mut bytes: usize = out.iter().map(|(_, r)| r.len()).sum();
        let skip = usize::try_from(from.saturating_sub(first)).unwrap_or(usize::MAX);
        for (seq, record) in self.records.iter().skip(skip) {
            if !out.is_empty() && bytes + record.len() > max_bytes {
                return;
            }
            bytes += record.len();
            out.push((*seq, record.clone()));
        }
    }
}
