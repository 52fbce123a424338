//! One shard of a subscription: what to hand on, what to drop, what to ask the log for. No I/O.
//!
//! Always true: what is handed on continues the position. While something is asked of the log,
//! messages wait up to [`WAITING_BYTES_MAX`]; what does not fit is asked of the log later.

use super::StreamRecord;
use super::fetch::{FetchFailure, Fetched};
use crate::chain::{CheckedRecord, Position, Verdict};
use crate::error::{MessageError, StreamError};
use crate::head::MessageHead;
use crate::metrics;
use crate::people;
use crate::repl::ReplMessage;
use crate::subject::Family;
use bytes::Bytes;
use std::collections::VecDeque;
use tombolo_item::{Shard, TableId};

/// Message bodies one shard keeps while it waits for its log.
pub(crate) const WAITING_BYTES_MAX: usize = 4 << 20;

/// What came of it.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    Record(StreamRecord),
    /// Moved on without a record to show.
    Covered(Shard, Position),
    Failed(StreamError),
}

/// A message whose headers and checksum were read.
#[derive(Debug, Clone)]
pub(crate) struct Arrived {
    pub(crate) head: MessageHead,
    pub(crate) body: Bytes,
}

/// One shard's reader.
#[derive(Debug)]
pub(crate) struct ShardReader {
    table: TableId,
    shard: Shard,
    family: Family,
    position: Position,
    /// Records up to here have to come from the log.
    missing_to: u64,
    /// Messages up to here came and did not fit the waiting room.
    dropped_to: u64,
    waiting: VecDeque<Arrived>,
    waiting_bytes: usize,
    can_fetch: bool,
    held: bool,
}

impl ShardReader {
    pub(crate) fn new(
        table: TableId,
        shard: Shard,
        family: Family,
        position: Position,
        can_fetch: bool,
    ) -> ShardReader {
        ShardReader {
            table,
            shard,
            family,
            position,
            missing_to: 0,
            dropped_to: 0,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            can_fetch,
            held: false,
        }
    }

    pub(crate) fn position(&self) -> Position {
        self.position
    }

    /// The records to ask the log for, if any.
    pub(crate) fn wanted(&self) -> Option<(u64, u64)> {
        (!self.held && self.missing_to > self.position.seq)
            .then_some((self.position.seq + 1, self.missing_to))
    }

    /// A message came from the broker.
    pub(crate) fn arrived(&mut self, message: Arrived, out: &mut Vec<Outcome>) {
        if self.held {
            return;
        }
        if self.waiting_bytes + message.body.len() > WAITING_BYTES_MAX && !self.waiting.is_empty() {
            self.dropped_to = self.dropped_to.max(message.head.last_seq);
            return;
        }
        self.waiting_bytes += message.body.len();
        self.waiting.push_back(message);
        self.settle(out);
    }

    /// A message came whose body is damaged; its headers, if they could be read, say what it held.
    pub(crate) fn damaged(
        &mut self,
        head: Option<&MessageHead>,
        error: &MessageError,
        out: &mut Vec<Outcome>,
    ) {
        metrics::DAMAGED.inc();
        tracing::warn!(shard = %self.shard, %error, "a damaged message; its records come from the log");
        if let Some(head) = head {
            self.miss(head.last_seq, out);
        }
    }

    /// The shard has records up to `seq`, says a path other than the broker, and has had for long.
    pub(crate) fn behind(&mut self, seq: u64, out: &mut Vec<Outcome>) {
        if !self.held && self.wanted().is_none() && seq > self.position.seq {
            metrics::GAPS.inc();
            self.miss(seq, out);
        }
    }

    /// The log answered [`Self::wanted`]. Returns whether that helped.
    pub(crate) fn fetched(
        &mut self,
        answer: Result<Vec<Fetched>, FetchFailure>,
        out: &mut Vec<Outcome>,
    ) -> bool {
        let before = self.position;
        match answer {
            Ok(records) => {
                for record in records {
                    match self.position.judge(record.seq, record.seq, record.prev_hash) {
                        Verdict::Next => {
                            self.position = Position { seq: record.seq, hash: record.hash };
                            out.push(self.show(record.seq, record.hash, record.body, true));
                        }
                        Verdict::Duplicate => {}
                        Verdict::Gap { .. } => break,
                        Verdict::BrokenChain { ours, theirs } => {
                            let (shard, seq) = (self.shard, record.seq);
                            self.hold(
                                StreamError::TwoHistories { shard, seq, log: theirs, ours },
                                out,
                            );
                            break;
                        }
                    }
                }
            }
            Err(FetchFailure::Trimmed { oldest }) => {
                let (shard, after) = (self.shard, self.position.seq);
                self.hold(StreamError::Trimmed { shard, after, oldest }, out);
            }
            Err(FetchFailure::Failed(reason)) => {
                tracing::debug!(shard = %self.shard, reason, "the log did not answer; trying again");
            }
        }
        self.settle(out);
        self.position != before
    }

    /// Takes in what waits, for as long as nothing is missing.
    fn settle(&mut self, out: &mut Vec<Outcome>) {
        while !self.held && self.wanted().is_none() {
            match self.waiting.pop_front() {
                Some(message) => {
                    self.waiting_bytes -= message.body.len();
                    self.take(message, out);
                }
                None => {
                    let dropped_to = std::mem::take(&mut self.dropped_to);
                    if dropped_to > self.position.seq {
                        self.miss(dropped_to, out);
                    }
                    return;
                }
            }
        }
    }

    fn take(&mut self, message: Arrived, out: &mut Vec<Outcome>) {
        let head = &message.head;
        match self.position.judge(head.first_seq, head.last_seq, head.prev_hash) {
            Verdict::Duplicate => metrics::DUPLICATES.inc_by(head.last_seq - head.first_seq + 1),
            Verdict::Gap { expected } => {
                metrics::GAPS.inc();
                tracing::info!(shard = %self.shard, expected, found = head.first_seq, "gap in the stream");
                let last_missing = head.first_seq - 1;
                self.waiting_bytes += message.body.len();
                self.waiting.push_front(message);
                self.miss(last_missing, out);
            }
            Verdict::BrokenChain { ours, theirs } => self.broken(head.last_seq, ours, theirs, out),
            Verdict::Next => {
                let taken = match self.family {
                    Family::Repl => self.take_repl(&message, out),
                    Family::People => self.take_people(&message, out),
                };
                if let Err(error) = taken {
                    self.damaged(Some(&message.head), &error, out);
                }
            }
        }
    }

    fn take_repl(&mut self, message: &Arrived, out: &mut Vec<Outcome>) -> Result<(), MessageError> {
        let head = &message.head;
        let body = ReplMessage::decode(&message.body)?;
        let (first, last) = (body.first_seq, body.last_seq());
        if (body.table, body.shard, first, last)
            != (self.table, self.shard, head.first_seq, head.last_seq)
        {
            return Err(differs("the body is of another range than the headers"));
        }
        if body.stub.is_some() {
            self.miss(last, out);
            return Ok(());
        }
        for (seq, bytes) in (first..).zip(&body.records) {
            if seq <= self.position.seq {
                metrics::DUPLICATES.inc();
                continue;
            }
            let checked = CheckedRecord::read(bytes)?;
            let record = &checked.record;
            if (record.table, record.shard, record.seq) != (self.table, self.shard, seq) {
                return Err(differs("a record is of another place than its message"));
            }
            match self.position.judge(seq, seq, record.prev_hash) {
                Verdict::BrokenChain { ours, theirs } => {
                    self.broken(last, ours, theirs, out);
                    return Ok(());
                }
                _ => {
                    self.position = Position { seq, hash: checked.hash };
                    out.push(self.show(seq, checked.hash, checked.bytes, false));
                }
            }
        }
        Ok(())
    }

    fn take_people(
        &mut self,
        message: &Arrived,
        out: &mut Vec<Outcome>,
    ) -> Result<(), MessageError> {
        let head = &message.head;
        let records = people::split(&message.body)?;
        let in_range = records.iter().all(|record| {
            record.shard == self.shard && (head.first_seq..=head.last_seq).contains(&record.seq)
        });
        if !in_range || !records.windows(2).all(|pair| pair[0].seq < pair[1].seq) {
            return Err(differs("a record is of another place than its message"));
        }
        if self.can_fetch && records.iter().any(|record| record.stub) {
            self.miss(head.last_seq, out);
            return Ok(());
        }
        let known = self.position;
        if let Some(same) = records.iter().find(|record| record.seq == known.seq)
            && same.hash != known.hash
        {
            self.broken(head.last_seq, known.hash, same.hash, out);
            return Ok(());
        }
        for record in records {
            if record.seq <= known.seq {
                metrics::DUPLICATES.inc();
                continue;
            }
            self.position = Position { seq: record.seq, hash: record.hash };
            out.push(self.show(record.seq, record.hash, record.text, false));
        }
        let end = Position { seq: head.last_seq, hash: head.hash };
        if self.position != end {
            self.position = end;
            out.push(Outcome::Covered(self.shard, end));
        }
        Ok(())
    }

    fn show(&self, seq: u64, hash: u64, body: Bytes, fetched: bool) -> Outcome {
        if body.is_empty() {
            return Outcome::Covered(self.shard, Position { seq, hash });
        }
        Outcome::Record(StreamRecord { shard: self.shard, seq, hash, body, fetched })
    }

    fn broken(&mut self, last: u64, ours: u64, theirs: u64, out: &mut Vec<Outcome>) {
        metrics::BROKEN_CHAINS.inc();
        tracing::warn!(
            shard = %self.shard, after = self.position.seq,
            ours = %crate::head::hash_text(ours), theirs = %crate::head::hash_text(theirs),
            "a message does not continue what was read; asking the log"
        );
        self.miss(last, out);
    }

    /// Records up to `seq` have to come from the log.
    fn miss(&mut self, seq: u64, out: &mut Vec<Outcome>) {
        if seq <= self.position.seq {
            return;
        }
        if self.can_fetch {
            self.missing_to = self.missing_to.max(seq);
        } else {
            self.hold(StreamError::Gap { shard: self.shard, after: self.position.seq }, out);
        }
    }

    fn hold(&mut self, error: StreamError, out: &mut Vec<Outcome>) {
        self.held = true;
        self.waiting.clear();
        self.waiting_bytes = 0;
        out.push(Outcome::Failed(error));
    }
}

fn differs(reason: &str) -> MessageError {
    MessageError::Malformed { what: "message", reason: reason.into() }
}
