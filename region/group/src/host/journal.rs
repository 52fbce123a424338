//! The loop's side of the write-ahead log: what is on its way to the disk, and a full disk.
//!
//! Always true: records reach the log in the order the loop made them. When the disk is full, the
//! refused batch and everything after it is kept and written again, in order, once there is room:
//! a later batch that slipped through is written again too, because an entry replaces what stands
//! at and above its index. What waits is acknowledged once, in order.

use std::collections::VecDeque;
use std::sync::Arc;

use tombolo_item::GroupId;
use tombolo_storage::{StorageError, Wal, WalRecord};

use super::clock::Clock;
use super::inbox::{Cmd, Inbox};

/// How long a full disk is left alone before the log is tried again.
const RETRY_MS: u64 = 250;

/// What is done once a batch is durable.
pub(crate) enum Ack {
    Ready { group: GroupId, number: u64 },
    Created { group: GroupId },
    Installed { group: GroupId },
    Dropped { group: GroupId },
}

struct Batch {
    number: u64,
    records: Vec<WalRecord>,
    acks: Vec<Ack>,
    at_ms: u64,
}

/// What a completion means.
pub(crate) enum Progress {
    Durable(Vec<Ack>),
    Nothing,
    DiskFull,
    Fatal(String),
}

pub(crate) struct Journal {
    wal: Wal,
    inbox: Arc<Inbox>,
    /// In order; the front is the oldest not yet known durable.
    batches: VecDeque<Batch>,
    next: u64,
    attempt: u64,
    /// A batch of this attempt was refused; when to try again.
    full_until_ms: Option<u64>,
    clock: Clock,
    /// Writes that ended since they were last asked for: sum of milliseconds, count.
    took: (u64, u64),
}

impl Journal {
    pub(crate) fn new(wal: Wal, inbox: Arc<Inbox>, clock: Clock) -> Journal {
        Journal {
            wal,
            inbox,
            batches: VecDeque::new(),
            next: 1,
            attempt: 1,
            full_until_ms: None,
            clock,
            took: (0, 0),
        }
    }

    pub(crate) fn wal(&self) -> &Wal {
        &self.wal
    }

    /// Queues records; the number is that of the batch they are in.
    pub(crate) fn append(&mut self, records: Vec<WalRecord>, acks: Vec<Ack>) -> u64 {
        let at_ms = self.clock.mono_ms();
        let batch = Batch { number: self.next, records, acks, at_ms };
        self.next += 1;
        if self.full_until_ms.is_none() {
            self.submit(&batch);
        }
        self.batches.push_back(batch);
        self.next - 1
    }

    fn submit(&self, batch: &Batch) {
        let (inbox, number, attempt) = (self.inbox.clone(), batch.number, self.attempt);
        let done = move |result| inbox.push(Cmd::Durable { batch: number, attempt, result });
        self.wal.append(batch.records.clone(), Box::new(done));
    }

    pub(crate) fn completed(
        &mut self,
        now_ms: u64,
        number: u64,
        attempt: u64,
        result: Result<(), StorageError>,
    ) -> Progress {
        if let Err(error) = &result
            && !error.is_no_space()
        {
            return Progress::Fatal(error.to_string());
        }
        if attempt != self.attempt {
            return Progress::Nothing;
        }
        match result {
            Ok(()) => match self.batches.front() {
                Some(first) if first.number == number => {
                    let (took, count) = &mut self.took;
                    *took += now_ms.saturating_sub(first.at_ms);
                    *count += 1;
                    let acks = self.batches.pop_front().map(|b| b.acks);
                    Progress::Durable(acks.unwrap_or_default())
                }
                _ => Progress::Nothing,
            },
            Err(_) => {
                self.attempt += 1;
                self.full_until_ms = Some(now_ms + RETRY_MS);
                Progress::DiskFull
            }
        }
    }

    /// How long writes took since this was last asked, on average; not less than the oldest one
    /// under way took so far. `None` = there was none.
    pub(crate) fn took_ms(&mut self, now_ms: u64) -> Option<u64> {
        let (took, count) = std::mem::take(&mut self.took);
        let mean = took.checked_div(count);
        let oldest = self.batches.front().map(|batch| now_ms.saturating_sub(batch.at_ms));
        mean.max(oldest)
    }

    /// Writes everything that waits again, once the pause is over.
    pub(crate) fn retry(&mut self, now_ms: u64) -> bool {
        if self.full_until_ms.is_none_or(|at| now_ms < at) {
            return false;
        }
        self.full_until_ms = None;
        for batch in &self.batches {
            self.submit(batch);
        }
        true
    }
}
