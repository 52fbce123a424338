//! The leader's evaluation: conditions and writes against the newest *proposed* value.
//!
//! Always true:
//! - Evaluation happens on a [`Draft`] beside the tip; the draft becomes part of the tip only if its
//!   entry was accepted. A refused proposal consumes no sequence number and no place in the chain.
//! - Stamps of this region only grow along the log, so a record's `closed` is the newest stamp
//!   drawn or observed when it was evaluated.
//! - What arrived together goes into one entry, up to [`BATCH_BYTES`].

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use raft::eraftpb::{Entry, Message, MessageType};
use tombolo_item::{
    Cause, ChangeKind, ChangeRecord, Condition, Hlc, Item, RegionId, RowKey, Shard, Stamp,
    StreamView, chain_hash,
};
use tombolo_storage::{
    GroupConfig, LogRecord, RowOp, Space, StorageError, StoredRow, TokenAnswer, TokenRecord,
    TokenResult, encode_batch,
};
use uuid::Uuid;

use super::Machine;
use super::event::{Answer, Note, Now, Output, Submit, Ticket};
use super::leading::{NewRow, Proposal, RowName, Tip};
use super::replica::GroupCore;
use crate::error::GroupError;
use crate::types::{RawRow, Token, WriteOp, WriteOutcome, WriteRequest, WriteResponse};

/// An entry is closed once it holds this much.
const BATCH_BYTES: usize = 512 << 10;
/// No image, change or row of one write may hold more. The router's own limits are lower; this one
/// keeps an entry small enough for one consensus message.
const IMAGE_BYTES_MAX: usize = 1 << 20;

/// What a token's answer remembers.
mod outcome {
    pub(super) const WRITTEN: u8 = 1;
    pub(super) const UNCHANGED: u8 = 2;
    pub(super) const MERGED_WON: u8 = 3;
    pub(super) const MERGED_LOST: u8 = 4;
}

/// An entry in the making.
pub(super) struct Draft {
    pub(super) seq: u64,
    pub(super) hash: u64,
    pub(super) config: Option<Arc<GroupConfig>>,
    pub(super) rows: HashMap<RowName, NewRow>,
    tokens: Vec<((Uuid, u64), TokenResult)>,
    pub(super) records: Vec<LogRecord>,
    bytes: usize,
    waiters: Vec<(Ticket, Answer)>,
    onlookers: Vec<(Ticket, Answer)>,
    pub(super) notes: Vec<Note>,
}

impl Draft {
    fn from(tip: &Tip) -> Draft {
        Draft {
            seq: tip.seq,
            hash: tip.hash,
            config: tip.config.clone(),
            rows: HashMap::new(),
            tokens: Vec::new(),
            records: Vec::new(),
            bytes: 0,
            waiters: Vec::new(),
            onlookers: Vec::new(),
            notes: Vec::new(),
        }
    }
}

/// Where an answer without an entry of its own has to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// The entry being drafted.
    Draft,
    /// An entry already proposed; 0 = none, the lease alone decides.
    Entry(u64),
}

/// What evaluating one submit came to.
pub(super) enum Verdict {
    Logged(Answer),
    Known(After, Answer),
}

/// Everything an evaluation looks at.
pub(super) struct Bench<'a, M: Machine> {
    pub(super) machine: &'a M,
    pub(super) tip: &'a mut Tip,
    pub(super) draft: &'a mut Draft,
    pub(super) term: u64,
    pub(super) now: Now,
    pub(super) region: RegionId,
    pub(super) max_skew_ms: u64,
}

impl<M: Machine> GroupCore<M> {
    pub(super) fn on_submits(
        &mut self,
        now: Now,
        submits: Vec<(Ticket, Submit)>,
        out: &mut Output,
    ) {
        if let Some(error) = self.refuses(now) {
            for (ticket, submit) in submits {
                let waits = matches!(submit, Submit::Barrier) && self.leading.is_some();
                match &mut self.leading {
                    Some(leading) if waits && leading.handed_over_ms.is_none() => {
                        leading.look_on(now.mono_ms, 0, ticket, Answer::Leads);
                    }
                    _ => out.answers.push((ticket, Err(error.clone()))),
                }
            }
            return;
        }
        let mut draft: Option<Draft> = None;
        for (ticket, submit) in submits {
            let Some(leading) = &mut self.leading else { break };
            if matches!(submit, Submit::Barrier) {
                leading.look_on(now.mono_ms, 0, ticket, Answer::Leads);
                continue;
            }
            let Some(tip) = &mut leading.tip else { break };
            let open = draft.get_or_insert_with(|| Draft::from(tip));
            let mut bench = Bench {
                machine: &self.machine,
                tip,
                draft: open,
                term: leading.term,
                now,
                region: self.settings.region,
                max_skew_ms: self.settings.max_clock_skew_ms,
            };
            let verdict = bench.submit(submit, self.clock_ahead, self.disk_full);
            match verdict {
                Ok(Verdict::Logged(answer)) => open.waiters.push((ticket, answer)),
                Ok(Verdict::Known(After::Draft, answer)) => open.onlookers.push((ticket, answer)),
                Ok(Verdict::Known(After::Entry(index), answer)) => {
                    leading.look_on(now.mono_ms, index, ticket, answer);
                }
                Err(GroupError::WrongRange { .. }) => {
                    let error = match self.descriptor() {
                        Some(descriptor) => GroupError::WrongRange { descriptor },
                        None => GroupError::NotServing("the group has no configuration".into()),
                    };
                    out.answers.push((ticket, Err(error)));
                }
                Err(error) => out.answers.push((ticket, Err(error))),
            }
            if let Some(full) = draft.take_if(|d| d.bytes >= BATCH_BYTES) {
                self.propose(now, full, out);
            }
        }
        if let Some(rest) = draft {
            self.propose(now, rest, out);
        }
    }

    /// Why nothing can be evaluated now.
    fn refuses(&self, _now: Now) -> Option<GroupError> {
        let Some(leading) = &self.leading else { return Some(self.not_leader()) };
        if leading.handed_over_ms.is_some() || leading.hand_over_ms.is_some() {
            return Some(GroupError::NotServing("the leader is handing over".into()));
        }
        if leading.tip.is_none() {
            return Some(GroupError::NotServing("the leader is new".into()));
        }
        None
    }

    fn propose(&mut self, now: Now, draft: Draft, out: &mut Output) {
        let Some(leading) = &mut self.leading else { return };
        let Some(tip) = &mut leading.tip else { return };
        if draft.records.is_empty() {
            return;
        }
        let entry = Entry { data: encode_batch(&draft.records), ..Entry::default() };
        let mut m = Message::default();
        m.set_msg_type(MessageType::MsgPropose);
        m.from = self.settings.node.0;
        m.set_entries(vec![entry].into());
        if self.raw.raft.term != leading.term || self.raw.step(m).is_err() {
            #[cfg(test)]
            if self.settings.planted == Some(super::planted::Planted::SkipSequence) {
                tip.seq = draft.seq;
                tip.hash = draft.hash;
            }
            let why = "too much is waiting to be replicated in this group".to_owned();
            let refused = draft.waiters.into_iter().chain(draft.onlookers);
            out.answers.extend(
                refused.map(|(ticket, _)| (ticket, Err(GroupError::Overloaded(why.clone())))),
            );
            return;
        }
        let index = self.raw.raft.raft_log.last_index();
        tip.seq = draft.seq;
        tip.hash = draft.hash;
        tip.config = draft.config;
        let names = draft.rows.keys().cloned().collect();
        tip.rows.extend(draft.rows.into_iter().map(|(name, row)| (name, (index, row))));
        let tokens = draft.tokens.iter().map(|(name, _)| *name).collect();
        tip.tokens.extend(draft.tokens.into_iter().map(|(name, kept)| (name, (index, kept))));
        out.notes.extend(draft.notes.into_iter().map(|note| (self.group, note)));
        #[allow(unused_mut)]
        let mut waiters = draft.waiters;
        #[cfg(test)]
        if self.settings.planted == Some(super::planted::Planted::AckBeforeQuorum) {
            out.answers.extend(waiters.drain(..).map(|(t, answer)| (t, Ok(answer))));
        }
        leading.proposals.push_back(Proposal {
            index,
            at_ms: now.mono_ms,
            records: draft.records.len(),
            rows: names,
            tokens,
            waiters,
            onlookers: draft.onlookers,
        });
    }
}

impl<M: Machine> Bench<'_, M> {
    fn submit(
        &mut self,
        submit: Submit,
        clock_ahead: bool,
        disk_full: bool,
    ) -> Result<Verdict, GroupError> {
        if disk_full {
            let why = "the leader's disk has no room for the log";
            return Err(GroupError::DiskFull(why.into()));
        }
        if self.machine.pushed_back() {
            let why = "too much is waiting to be written to the tree";
            return Err(GroupError::Overloaded(why.into()));
        }
        match submit {
            Submit::Write(request) => {
                if clock_ahead {
                    let why = "the leader's clock is ahead of its peers by more than the bound";
                    return Err(GroupError::ClockSkew(why.into()));
                }
                self.write(*request)
            }
            Submit::Confirm(confirmed) => {
                let mut record = self.record()?;
                record.confirmed.push(confirmed);
                self.log(record, Answer::Logged { index: 0 })
            }
            Submit::Config(config) => self.configure(*config),
            Submit::Marker(id) => {
                let mut record = self.record()?;
                record.marker = Some(id);
                self.log(record, Answer::Logged { index: 0 })
            }
            Submit::Closed { since_ms } => self.close(since_ms),
            Submit::Barrier => Ok(Verdict::Known(After::Entry(0), Answer::Leads)),
        }
    }

    fn config(&self) -> Result<Arc<GroupConfig>, GroupError> {
        self.draft
            .config
            .clone()
            .ok_or_else(|| GroupError::NotServing("the group has no configuration yet".into()))
    }

    /// An empty record of this term.
    pub(super) fn record(&self) -> Result<LogRecord, GroupError> {
        let config = self.config()?;
        Ok(LogRecord {
            table: config.table,
            shard: Shard { group: config.group, epoch: config.epoch },
            eval_term: self.term,
            token: None,
            changes: Vec::new(),
            rows: Vec::new(),
            config: None,
            confirmed: Vec::new(),
            marker: None,
            closed: None,
            ext: Bytes::new(),
        })
    }

    /// Takes the record into the draft. Nothing may fail between a change drawn with
    /// [`Self::change`] and this.
    pub(super) fn log(&mut self, record: LogRecord, answer: Answer) -> Result<Verdict, GroupError> {
        let rows = record
            .rows
            .iter()
            .map(|r| r.key.0.len() + r.value.as_ref().map_or(0, |v| v.len()) + 16);
        let bytes = record.changes.iter().map(|c| c.len()).chain(rows).sum::<usize>() + 128;
        self.draft.bytes += bytes;
        self.draft.records.push(record);
        Ok(Verdict::Logged(answer))
    }

    fn configure(&mut self, config: GroupConfig) -> Result<Verdict, GroupError> {
        let old = self.config()?;
        if (config.group, config.table) != (old.group, old.table) || config.epoch < old.epoch {
            let why = "a configuration of another group or table, or an older epoch";
            return Err(GroupError::Invalid(why.into()));
        }
        if *old == config {
            return Ok(Verdict::Known(After::Entry(0), Answer::Logged { index: 0 }));
        }
        let mut record = self.record()?;
        record.config = Some(config.clone());
        if config.epoch != old.epoch {
            // A new lineage: its sequence starts again, its chain continues its parent's.
            self.draft.seq = 0;
            self.draft.hash = config.parent.as_ref().map_or(0, |p| p.hash);
        }
        self.draft.config = Some(Arc::new(config));
        self.log(record, Answer::Logged { index: 0 })
    }

    fn close(&mut self, since_ms: u64) -> Result<Verdict, GroupError> {
        let closed = self.machine.state().greatest;
        if closed.0 >> 16 >= since_ms {
            return Ok(Verdict::Known(After::Entry(0), Answer::Closed(closed)));
        }
        let mut record = self.record()?;
        let closed = self.tip.clock.tick(self.now.wall_ms);
        record.closed = Some(closed);
        self.log(record, Answer::Closed(closed))
    }

    // ---- rows -----------------------------------------------------------------------------

    fn look(&self, name: &RowName) -> Option<(After, &NewRow)> {
        if let Some(row) = self.draft.rows.get(name) {
            return Some((After::Draft, row));
        }
        self.tip.rows.get(name).map(|(index, row)| (After::Entry(*index), row))
    }

    /// The newest proposed version of an item, and whose entry makes it.
    pub(super) fn row(&self, key: &RowKey) -> Result<(After, Option<StoredRow>), GroupError> {
        match self.look(&(Space::ITEMS, key.clone())) {
            Some((after, NewRow::Item(row))) => Ok((after, row.clone())),
            _ => Ok((After::Entry(0), self.machine.row(key).map_err(stored)?)),
        }
    }

    pub(super) fn raw(&self, space: u8, key: &RowKey) -> Result<Option<Bytes>, GroupError> {
        match self.look(&(space, key.clone())) {
            Some((_, NewRow::Raw(row))) => Ok(row.clone()),
            _ => self.machine.raw(space, key).map_err(stored),
        }
    }

    pub(super) fn set_raw(&mut self, record: &mut LogRecord, op: RowOp) {
        let name = (op.space, op.key.clone());
        self.draft.rows.insert(name, NewRow::Raw(op.value.clone()));
        record.rows.push(op);
    }

    // ---- writes ---------------------------------------------------------------------------

    fn write(&mut self, request: WriteRequest) -> Result<Verdict, GroupError> {
        let config = self.config()?;
        let raw_rows = matches!(request.op, WriteOp::Rows { .. });
        if request.epoch != config.epoch || !config.range.contains(&request.row_key) {
            return Err(wrong_range(&config));
        }
        if !raw_rows {
            let row_key = config
                .schema
                .row_key(&config.secret, &request.key)
                .map_err(|e| GroupError::Invalid(e.to_string()))?;
            if row_key != request.row_key {
                let why = "the row key does not belong to the key";
                return Err(GroupError::Invalid(why.into()));
            }
        }
        if let Some(token) = &request.token
            && let Some(known) = self.known(token)?
        {
            return Ok(known);
        }
        let bytes = match &request.op {
            WriteOp::Put { item, .. } => item.len(),
            WriteOp::Merge { change } => change.len() / 2,
            WriteOp::Rows { rows, .. } => {
                rows.iter().map(|r| r.key.0.len() + r.value.as_ref().map_or(0, |v| v.len())).sum()
            }
            WriteOp::Delete { .. } | WriteOp::PurgeTombstone { .. } => 0,
        };
        if bytes > IMAGE_BYTES_MAX {
            let why = format!("a write of {bytes} bytes; at most {IMAGE_BYTES_MAX} fit an entry");
            return Err(GroupError::Invalid(why));
        }
        let token = request.token;
        match request.op.clone() {
            WriteOp::Put { item, condition, return_old, return_on_failure } => {
                let asked = Asked { condition, return_old, return_on_failure };
                self.put(&config, &request, Some(item), asked, token)
            }
            WriteOp::Delete { condition, return_old, return_on_failure } => {
                let asked = Asked { condition, return_old, return_on_failure };
                self.put(&config, &request, None, asked, token)
            }
            WriteOp::Merge { change } => self.merge(&config, &request, &change, token),
            WriteOp::PurgeTombstone { older_than } => self.purge(&request, older_than),
            WriteOp::Rows { rows, expect } => self.rows(&config, rows, expect, token),
        }
    }

    /// Whether the token was seen before, and what was answered.
    fn known(&self, token: &Token) -> Result<Option<Verdict>, GroupError> {
        let name = (token.session, token.number);
        let (after, kept) =
            if let Some((_, kept)) = self.draft.tokens.iter().find(|(known, _)| *known == name) {
                (After::Draft, kept.clone())
            } else if let Some((index, kept)) = self.tip.tokens.get(&name) {
                (After::Entry(*index), kept.clone())
            } else {
                match self.machine.token(token.session, token.number, token.issued_ms) {
                    TokenAnswer::New => return Ok(None),
                    TokenAnswer::Answer(kept) => (After::Entry(0), kept),
                    TokenAnswer::Unknown => {
                        let why = "the session of this retry has expired; it was not applied now";
                        return Err(GroupError::OutcomeUnknown(why.into()));
                    }
                }
            };
        let outcome = match kept.outcome {
            outcome::WRITTEN => WriteOutcome::Written { old: None },
            outcome::UNCHANGED => WriteOutcome::Unchanged { old: None },
            outcome::MERGED_WON => WriteOutcome::Merged { won: true },
            outcome::MERGED_LOST => WriteOutcome::Merged { won: false },
            other => {
                let why = format!("a kept answer has the unknown outcome {other}");
                return Err(GroupError::OutcomeUnknown(why));
            }
        };
        let response = WriteResponse { outcome, stamp: kept.stamp, seq: 0 };
        Ok(Some(Verdict::Known(after, Answer::Write(response))))
    }

    /// Puts the token with its answer into the record.
    pub(super) fn keep(
        &mut self,
        record: &mut LogRecord,
        token: Option<Token>,
        response: &WriteResponse,
    ) {
        let Some(token) = token else { return };
        let outcome = match response.outcome {
            WriteOutcome::Unchanged { .. } => outcome::UNCHANGED,
            WriteOutcome::Merged { won: true } => outcome::MERGED_WON,
            WriteOutcome::Merged { won: false } => outcome::MERGED_LOST,
            WriteOutcome::Written { .. } | WriteOutcome::ConditionFailed { .. } => outcome::WRITTEN,
        };
        let result = TokenResult { outcome, stamp: response.stamp };
        self.draft.tokens.push(((token.session, token.number), result.clone()));
        record.token = Some(TokenRecord {
            session: token.session,
            number: token.number,
            lowest_unfinished: token.lowest_unfinished,
            issued_ms: token.issued_ms,
            result,
        });
    }

    fn put(
        &mut self,
        config: &GroupConfig,
        request: &WriteRequest,
        item: Option<Bytes>,
        asked: Asked,
        token: Option<Token>,
    ) -> Result<Verdict, GroupError> {
        if let Some(item) = &item {
            let decoded = Item::decode(item).map_err(|e| GroupError::Invalid(e.to_string()))?;
            let key =
                config.schema.key_of(&decoded).map_err(|e| GroupError::Invalid(e.to_string()))?;
            if key != request.key {
                let why = "the item's key attributes are not the request's key";
                return Err(GroupError::Invalid(why.into()));
            }
        }
        let (after, current) = self.row(&request.row_key)?;
        let old = current.as_ref().filter(|row| !row.tombstone).map(|row| row.item.clone());
        let replaced = current.as_ref().map(|row| row.stamp);
        if let Some(condition) = &asked.condition {
            let held = match &old {
                Some(bytes) => {
                    let item = Item::decode(bytes).map_err(|e| corrupt(request, e.to_string()))?;
                    condition.matches(Some(&item))
                }
                None => condition.matches(None),
            };
            if !held.map_err(|e| GroupError::Invalid(e.to_string()))? {
                let item = old.filter(|_| asked.return_on_failure);
                let outcome = WriteOutcome::ConditionFailed { item };
                let response = WriteResponse { outcome, stamp: replaced, seq: 0 };
                return Ok(Verdict::Known(after, Answer::Write(response)));
            }
        }
        let kind = match (&old, &item) {
            (Some(a), Some(b)) if a == b => ChangeKind::Touch,
            (None, None) => ChangeKind::Touch,
            (None, Some(_)) => ChangeKind::Insert,
            (Some(_), Some(_)) => ChangeKind::Modify,
            (Some(_), None) => ChangeKind::Remove,
        };
        let returned = old.clone().filter(|_| asked.return_old);
        let touch = kind == ChangeKind::Touch;
        if touch && config.regions.len() < 2 {
            let outcome = WriteOutcome::Unchanged { old: returned };
            let response = WriteResponse { outcome, stamp: replaced, seq: 0 };
            return Ok(Verdict::Known(after, Answer::Write(response)));
        }
        let hlc = self.tip.clock.tick(self.now.wall_ms);
        let stamp = Stamp { hlc, region: self.region, seq: self.draft.seq + 1 };
        let change = Change {
            stamp,
            replaced,
            origin: self.region,
            cause: if touch { Cause::Touch } else { Cause::User },
            kind,
            transaction: None,
            new: item,
            old,
            merge_state: Bytes::new(),
        };
        let mut record = self.record()?;
        let seq = self.change(config, request, &mut record, change);
        let outcome = if touch {
            WriteOutcome::Unchanged { old: returned }
        } else {
            WriteOutcome::Written { old: returned }
        };
        let response = WriteResponse { outcome, stamp: Some(stamp), seq };
        self.keep(&mut record, token, &response);
        self.log(record, Answer::Write(response))
    }

    /// Writes a change into the record and the draft; returns its sequence number.
    pub(super) fn change(
        &mut self,
        config: &GroupConfig,
        request: &WriteRequest,
        record: &mut LogRecord,
        change: Change,
    ) -> u64 {
        let seq = self.draft.seq + 1;
        let old_wanted =
            matches!(config.view, Some(StreamView::OldImage) | Some(StreamView::NewAndOldImages));
        let canonical = ChangeRecord {
            table: config.table,
            shard: record.shard,
            seq,
            stamp: change.stamp,
            replaced: change.replaced,
            closed: self.tip.clock.latest(),
            origin: change.origin,
            cause: change.cause,
            kind: change.kind,
            transaction: change.transaction,
            key: request.key.clone(),
            row_key: request.row_key.clone(),
            new: change.new.clone(),
            old: change.old.filter(|_| old_wanted),
            eval_term: self.term,
            prev_hash: self.draft.hash,
            merge_state: change.merge_state.clone(),
            ext: Bytes::new(),
        }
        .encode();
        self.draft.seq = seq;
        self.draft.hash = chain_hash(&canonical);
        let keeps_tombstone = config.regions.len() > 1;
        let row = match change.new {
            None if !keeps_tombstone => None,
            new => Some(StoredRow {
                stamp: change.stamp,
                tombstone: new.is_none(),
                origin: change.origin,
                item: new.unwrap_or_default(),
                key: request.key.clone(),
                merge_state: change.merge_state,
            }),
        };
        let name = (Space::ITEMS, request.row_key.clone());
        self.draft.rows.insert(name, NewRow::Item(row));
        record.changes.push(canonical);
        seq
    }

    fn purge(&mut self, request: &WriteRequest, older_than: Stamp) -> Result<Verdict, GroupError> {
        let (after, current) = self.row(&request.row_key)?;
        let response = |outcome, stamp| Answer::Write(WriteResponse { outcome, stamp, seq: 0 });
        match current {
            Some(row) if row.tombstone && row.stamp <= older_than => {
                let mut record = self.record()?;
                let key = request.row_key.clone();
                record.rows.push(RowOp { space: Space::ITEMS, key: key.clone(), value: None });
                self.draft.rows.insert((Space::ITEMS, key), NewRow::Item(None));
                let outcome = WriteOutcome::Written { old: None };
                self.log(record, response(outcome, Some(row.stamp)))
            }
            other => {
                let stamp = other.map(|row| row.stamp);
                let outcome = WriteOutcome::Unchanged { old: None };
                Ok(Verdict::Known(after, response(outcome, stamp)))
            }
        }
    }

    fn rows(
        &mut self,
        config: &GroupConfig,
        rows: Vec<RawRow>,
        expect: Option<RawRow>,
        token: Option<Token>,
    ) -> Result<Verdict, GroupError> {
        let known = |space: u8| space != Space::ITEMS && (space as usize) < Space::COUNT;
        if rows.iter().chain(&expect).any(|row| !known(row.space)) {
            return Err(GroupError::Invalid("items are written by Put and Delete only".into()));
        }
        if rows.iter().any(|row| !config.range.contains(&row.key)) {
            return Err(wrong_range(config));
        }
        if let Some(expect) = expect {
            let name = (expect.space, expect.key.clone());
            let after = self.look(&name).map_or(After::Entry(0), |(after, _)| after);
            let current = self.raw(expect.space, &expect.key)?;
            if current != expect.value {
                let outcome = WriteOutcome::ConditionFailed { item: current };
                let response = WriteResponse { outcome, stamp: None, seq: 0 };
                return Ok(Verdict::Known(after, Answer::Write(response)));
            }
        }
        let mut record = self.record()?;
        for row in rows {
            let op = RowOp { space: row.space, key: row.key, value: row.value };
            self.set_raw(&mut record, op);
        }
        let outcome = WriteOutcome::Written { old: None };
        let response = WriteResponse { outcome, stamp: None, seq: 0 };
        self.keep(&mut record, token, &response);
        self.log(record, Answer::Write(response))
    }
}

/// What a put or delete asks beside the row.
struct Asked {
    condition: Option<Condition>,
    return_old: bool,
    return_on_failure: bool,
}

/// The parts of a change record that differ by cause.
pub(super) struct Change {
    pub(super) stamp: Stamp,
    pub(super) replaced: Option<Stamp>,
    pub(super) origin: RegionId,
    pub(super) cause: Cause,
    pub(super) kind: ChangeKind,
    pub(super) transaction: Option<(Uuid, u32)>,
    pub(super) new: Option<Bytes>,
    pub(super) old: Option<Bytes>,
    pub(super) merge_state: Bytes,
}

/// The caller fills in the descriptor it knows.
pub(super) fn wrong_range(config: &GroupConfig) -> GroupError {
    GroupError::WrongRange {
        descriptor: crate::types::Descriptor {
            group: config.group,
            table: config.table,
            range: config.range.clone(),
            epoch: config.epoch,
            conf_index: 0,
            replicas: Vec::new(),
            leader: None,
        },
    }
}

/// What a failed read of the machine means to a caller.
pub(crate) fn stored(error: StorageError) -> GroupError {
    if error.is_corrupt() {
        GroupError::Corrupt(error.to_string())
    } else {
        GroupError::NotServing(error.to_string())
    }
}

fn corrupt(request: &WriteRequest, reason: String) -> GroupError {
    GroupError::Corrupt(format!("the stored item of group {}: {reason}", request.group))
}

/// Whether a stamp of another region is too far ahead of this clock to be taken in.
pub(super) fn too_far_ahead(hlc: Hlc, now: Now, max_skew_ms: u64) -> bool {
    hlc.0 >> 16 > now.wall_ms + max_skew_ms
}
