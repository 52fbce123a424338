//! Reading the change chain, newest part from memory, older from sealed logs, and letting old logs
//! go.
//!
//! Always true: what is returned has no hole; if a number is not held any more the answer says so
//! instead of starting later.

use bytes::Bytes;

use super::Partition;
use crate::{StorageError, files};

/// Consecutive change records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Sequence number and canonical bytes.
    pub records: Vec<(u64, Bytes)>,
    /// The first number still held; `head_seq + 1` when none is.
    pub oldest_seq: u64,
    /// The last number applied here.
    pub head_seq: u64,
}

/// Which sealed logs may go. All times are milliseconds since 1970 by the caller's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Records from this number on are still wanted by somebody (the least confirmed + 1).
    pub keep_from_seq: u64,
    /// Logs written after this stay in any case.
    pub written_before_ms: u64,
    /// Beyond this many bytes the oldest go even if they are wanted: whoever wants them needs a
    /// backfill.
    pub max_bytes: u64,
}

/// What [`Partition::trim_sealed`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Trimmed {
    pub files: usize,
    pub bytes: u64,
    /// Wanted records were dropped, up to this number: regions that confirmed less need a backfill.
    pub dropped_wanted: Option<u64>,
}

impl Partition {
    /// Change records from `from_seq` on, about `max_bytes` of them (at least one, if there is one).
    /// A number that is not held any more is [`StorageError::Trimmed`]; one beyond the head gives
    /// none.
    pub fn read_changes(&self, from_seq: u64, max_bytes: usize) -> Result<Changes, StorageError> {
        let mut changes = Changes::default();
        let shard;
        {
            let memory = self.0.memory.read();
            shard = self.shard(&memory.state);
            changes.head_seq = memory.state.seq;
            let window = memory.window.first();
            changes.oldest_seq = self.oldest(window.unwrap_or(changes.head_seq + 1));
            if from_seq > changes.head_seq {
                return Ok(changes);
            }
            if window.is_some_and(|first| from_seq >= first) {
                memory.window.read(from_seq, max_bytes, &mut changes.records);
                return Ok(changes);
            }
        }
        if from_seq < changes.oldest_seq {
            return Err(StorageError::Trimmed {
                group: self.0.group.to_string(),
                wanted: from_seq,
                oldest: changes.oldest_seq,
            });
        }
        let logs: Vec<_> =
            self.0.sealed.lock().iter().filter(|l| l.last >= from_seq).cloned().collect();
        let mut held = 0;
        for log in logs {
            log.read(shard, from_seq, max_bytes, &mut changes.records)?;
            held = changes.records.iter().map(|(_, r)| r.len()).sum();
            if held >= max_bytes || changes.records.last().is_some_and(|(s, _)| *s < log.last) {
                return Ok(changes);
            }
        }
        let next = changes.records.last().map_or(from_seq, |(seq, _)| seq + 1);
        if held < max_bytes {
            let memory = self.0.memory.read();
            if memory.window.first().is_some_and(|first| next >= first) {
                memory.window.read(next, max_bytes, &mut changes.records);
            }
        }
        Ok(changes)
    }

    /// The first number from which sealed logs and the window (beginning at `window`) have no hole.
    fn oldest(&self, window: u64) -> u64 {
        let mut oldest = window;
        for log in self.0.sealed.lock().iter().rev() {
            if log.last + 1 < oldest {
                break;
            }
            oldest = oldest.min(log.first);
        }
        oldest
    }

    /// Removes sealed logs, oldest first, as far as `retention` allows.
    pub fn trim_sealed(&self, retention: Retention) -> Result<Trimmed, StorageError> {
        let mut sealed = self.0.sealed.lock();
        let mut total: u64 = sealed.iter().map(|l| l.bytes).sum();
        let mut trimmed = Trimmed::default();
        while let Some(log) = sealed.first() {
            let wanted = log.last >= retention.keep_from_seq;
            let young = log.written_ms >= retention.written_before_ms;
            if (wanted || young) && total <= retention.max_bytes {
                break;
            }
            files::remove_file(&log.path)?;
            if wanted {
                trimmed.dropped_wanted = Some(log.last);
            }
            total -= log.bytes;
            trimmed.files += 1;
            trimmed.bytes += log.bytes;
            sealed.remove(0);
        }
        Ok(trimmed)
    }
}
