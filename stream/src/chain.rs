//! The check: are these the next records of the shard, all of them, unaltered, in order?
//!
//! Always true: a verdict is a function of the position and the record alone. Whoever follows only
//! `Next` verdicts has seen exactly one history, from its position on, without hole or repetition.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tombolo_item::{ChangeRecord, Shard, chain_hash};

/// How far a reader of a shard has come: the last record it took in, and that record's chain hash.
/// Sequence number 0 means "nothing yet"; the hash before the first record is not compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Position {
    pub seq: u64,
    pub hash: u64,
}

/// What a record, or a range of records, is to a reader at some position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// What comes next.
    Next,
    /// Taken in before.
    Duplicate,
    /// Records from `expected` on are missing.
    Gap { expected: u64 },
    /// It has the right number and follows something else than what we took in.
    BrokenChain { ours: u64, theirs: u64 },
}

impl Position {
    /// Judges records `first..=last`, the first of which follows a record with hash `prev_hash`.
    /// A range that begins before the position and ends after it is `Next`: its older part is to be
    /// skipped, and the chain is compared where it can be (at the first record that is new).
    pub fn judge(&self, first: u64, last: u64, prev_hash: u64) -> Verdict {
        if last <= self.seq {
            Verdict::Duplicate
        } else if first > self.seq + 1 {
            Verdict::Gap { expected: self.seq + 1 }
        } else if first == self.seq + 1 && self.seq > 0 && prev_hash != self.hash {
            Verdict::BrokenChain { ours: self.hash, theirs: prev_hash }
        } else {
            Verdict::Next
        }
    }
}

/// A canonical record that was read and found whole, with its own chain hash.
#[derive(Debug, Clone)]
pub struct CheckedRecord {
    pub record: ChangeRecord,
    pub hash: u64,
    pub bytes: Bytes,
}

impl CheckedRecord {
    pub fn read(bytes: &Bytes) -> Result<CheckedRecord, crate::MessageError> {
        let record = ChangeRecord::decode(bytes).map_err(|error| {
            crate::MessageError::Malformed { what: "change record", reason: error.to_string() }
        })?;
        Ok(CheckedRecord { record, hash: chain_hash(bytes), bytes: bytes.clone() })
    }
}

/// Follows one shard through canonical records.
#[derive(Debug, Clone)]
pub struct Chain {
    pub shard: Shard,
    pub position: Position,
}

impl Chain {
    /// Judges one record and, when it is the next one, moves on.
    pub fn offer(&mut self, bytes: &Bytes) -> Result<Verdict, crate::MessageError> {
        let CheckedRecord { record, hash, .. } = CheckedRecord::read(bytes)?;
        if record.shard != self.shard {
            return Err(crate::MessageError::Malformed {
                what: "change record",
                reason: format!("it is of shard {}, expected {}", record.shard, self.shard),
            });
        }
        let verdict = self.position.judge(record.seq, record.seq, record.prev_hash);
        if verdict == Verdict::Next {
            self.position = Position { seq: record.seq, hash };
        }
        Ok(verdict)
    }
}
