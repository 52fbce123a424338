//! Evaluating one write: its token, its condition, its change record.
//!
//! Always true: nothing fails between a drawn sequence number and the record that carries it; old
//! images are logged only for views that show them; a write that changes nothing is logged only
//! where other regions must learn its stamp.

use bytes::Bytes;
use tombolo_item::encoding::stored_size;
use tombolo_item::{
    Cause, ChangeKind, ChangeRecord, Condition, Item, RegionId, Stamp, StreamView, chain_hash,
};
use tombolo_storage::{
    GroupConfig, LogRecord, RowOp, Space, StoredRow, TokenAnswer, TokenRecord, TokenResult,
};
use uuid::Uuid;

use super::evaluate::{After, Bench, Verdict, wrong_range};
use super::event::Answer;
use super::leading::NewRow;
use super::updating::Asked;
use super::{Machine, indexing};
use crate::error::GroupError;
use crate::types::{
    RawRow, ReturnImages, Token, WriteOp, WriteOutcome, WriteRequest, WriteResponse,
};

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

impl<M: Machine> Bench<'_, M> {
    pub(super) fn write(&mut self, request: WriteRequest) -> Result<Verdict, GroupError> {
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
            && let Some(known) = self.known(token, &request)?
        {
            return Ok(known);
        }
        let bytes = match &request.op {
            WriteOp::Put { item, .. } => item.len(),
            WriteOp::Merge { change } => change.len() / 2,
            WriteOp::Rows { rows, .. } => {
                rows.iter().map(|r| r.key.0.len() + r.value.as_ref().map_or(0, |v| v.len())).sum()
            }
            // What an update brings is measured by what it makes of the item.
            WriteOp::Update { .. } | WriteOp::Delete { .. } | WriteOp::PurgeTombstone { .. } => 0,
        };
        if bytes > IMAGE_BYTES_MAX {
            let why = format!("a write of {bytes} bytes; at most {IMAGE_BYTES_MAX} fit an entry");
            return Err(GroupError::Invalid(why));
        }
        let token = request.token;
        match request.op.clone() {
            WriteOp::Put { item, condition, return_old, return_on_failure } => {
                let asked = Asked { condition, returns: all_old(return_old), return_on_failure };
                self.put(&config, &request, Some(item), &asked, token)
            }
            WriteOp::Delete { condition, return_old, return_on_failure } => {
                let asked = Asked { condition, returns: all_old(return_old), return_on_failure };
                self.put(&config, &request, None, &asked, token)
            }
            WriteOp::Update { update, condition, returns, return_on_failure } => {
                let asked = Asked { condition, returns, return_on_failure };
                self.update(&config, &request, &update, &asked, token)
            }
            WriteOp::Merge { change } => self.merge(&config, &request, &change, token),
            WriteOp::PurgeTombstone { older_than } => self.purge(&request, older_than),
            WriteOp::Rows { rows, expect } => self.rows(&config, rows, expect, token),
        }
    }

    /// Whether the token was seen before, and what was answered.
    fn known(&self, token: &Token, request: &WriteRequest) -> Result<Option<Verdict>, GroupError> {
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
                    TokenAnswer::Unknown => return Err(GroupError::Expired),
                }
            };
        let new = self.shown_again(request, kept.stamp)?;
        let outcome = match kept.outcome {
            outcome::WRITTEN => WriteOutcome::Written { old: None, new },
            outcome::UNCHANGED => WriteOutcome::Unchanged { old: None, new },
            outcome::MERGED_WON => WriteOutcome::Merged { won: true },
            outcome::MERGED_LOST => WriteOutcome::Merged { won: false },
            other => {
                let why = format!("a kept answer has the unknown outcome {other}");
                return Err(GroupError::OutcomeUnknown(why));
            }
        };
        let response = answer(outcome, kept.stamp, 0);
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
        asked: &Asked,
        token: Option<Token>,
    ) -> Result<Verdict, GroupError> {
        let after = match &item {
            Some(item) => Some(Item::decode(item).map_err(|e| GroupError::Invalid(e.to_string()))?),
            None => None,
        };
        if let Some(after) = &after {
            let key =
                config.schema.key_of(after).map_err(|e| GroupError::Invalid(e.to_string()))?;
            if key != request.key {
                let why = "the item's key attributes are not the request's key";
                return Err(GroupError::Invalid(why.into()));
            }
            indexing::check(config, after).map_err(|e| GroupError::Rejected(e.to_string()))?;
        }
        let found = self.find(request)?;
        let looks = asked.condition.is_some() || !config.indexes.is_empty();
        let before = if looks { found.item(request)? } else { None };
        let failed =
            found.fails(asked.condition.as_ref(), before.as_ref(), asked.return_on_failure);
        if let Some(failed) = failed? {
            return Ok(failed);
        }
        let old = found.old().filter(|_| asked.returns == ReturnImages::AllOld).cloned();
        let images = Images { old, new: None };
        let written = Written { before, after, encoded: item, images };
        self.replace(config, request, found, written, token)
    }

    /// The newest proposed version of the request's row.
    pub(super) fn find(&self, request: &WriteRequest) -> Result<Found, GroupError> {
        let (after, current) = self.row(&request.row_key)?;
        let size = match current.as_ref().filter(|row| !row.tombstone) {
            Some(row) => stored_size(&row.item).map_err(|e| corrupt(request, e.to_string()))?,
            None => 0,
        };
        Ok(Found { after, current, size: size as u32 })
    }

    /// Makes what was found what was written.
    pub(super) fn replace(
        &mut self,
        config: &GroupConfig,
        request: &WriteRequest,
        found: Found,
        written: Written,
        token: Option<Token>,
    ) -> Result<Verdict, GroupError> {
        let (old, new) = (found.old().cloned(), written.encoded);
        let kind = match (&old, &new) {
            (Some(a), Some(b)) if a == b => ChangeKind::Touch,
            (None, None) => ChangeKind::Touch,
            (None, Some(_)) => ChangeKind::Insert,
            (Some(_), Some(_)) => ChangeKind::Modify,
            (Some(_), None) => ChangeKind::Remove,
        };
        let touch = kind == ChangeKind::Touch;
        let Images { old: old_shown, new: new_shown } = written.images;
        let mut response = WriteResponse {
            outcome: if touch {
                WriteOutcome::Unchanged { old: old_shown, new: new_shown }
            } else {
                WriteOutcome::Written { old: old_shown, new: new_shown }
            },
            stamp: found.stamp(),
            seq: 0,
            size_before: found.size,
            size_after: written.after.as_ref().map_or(0, |item| item.size() as u32),
        };
        if touch && config.regions.len() < 2 {
            return Ok(Verdict::Known(found.after, Answer::Write(response)));
        }
        let (key, row_key) = (&request.key, &request.row_key);
        let index =
            indexing::moves(config, key, row_key, written.before.as_ref(), written.after.as_ref());
        let hlc = self.tip.clock.tick(self.now.wall_ms);
        let stamp = Stamp { hlc, region: self.region, seq: self.draft.seq + 1 };
        let change = Change {
            stamp,
            replaced: found.stamp(),
            origin: self.region,
            cause: if touch { Cause::Touch } else { Cause::User },
            kind,
            transaction: None,
            new,
            old,
            merge_state: Bytes::new(),
            index,
        };
        let mut record = self.record()?;
        response.seq = self.change(config, request, &mut record, change);
        response.stamp = Some(stamp);
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
        record.rows.extend(change.index);
        seq
    }

    fn purge(&mut self, request: &WriteRequest, older_than: Stamp) -> Result<Verdict, GroupError> {
        let (after, current) = self.row(&request.row_key)?;
        let response = |outcome, stamp| Answer::Write(answer(outcome, stamp, 0));
        match current {
            Some(row) if row.tombstone && row.stamp <= older_than => {
                let mut record = self.record()?;
                let key = request.row_key.clone();
                record.rows.push(RowOp { space: Space::ITEMS, key: key.clone(), value: None });
                self.draft.rows.insert((Space::ITEMS, key), NewRow::Item(None));
                let outcome = WriteOutcome::Written { old: None, new: None };
                self.log(record, response(outcome, Some(row.stamp)))
            }
            other => {
                let stamp = other.map(|row| row.stamp);
                let outcome = WriteOutcome::Unchanged { old: None, new: None };
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
                let response = answer(outcome, None, 0);
                return Ok(Verdict::Known(after, Answer::Write(response)));
            }
        }
        let mut record = self.record()?;
        for row in rows {
            let op = RowOp { space: row.space, key: row.key, value: row.value };
            self.set_raw(&mut record, op);
        }
        let outcome = WriteOutcome::Written { old: None, new: None };
        let response = answer(outcome, None, 0);
        self.keep(&mut record, token, &response);
        self.log(record, Answer::Write(response))
    }
}

fn all_old(asked: bool) -> ReturnImages {
    if asked { ReturnImages::AllOld } else { ReturnImages::None }
}

/// An answer without sizes.
pub(super) fn answer(outcome: WriteOutcome, stamp: Option<Stamp>, seq: u64) -> WriteResponse {
    WriteResponse { outcome, stamp, seq, size_before: 0, size_after: 0 }
}

/// The row that a write finds.
pub(super) struct Found {
    after: After,
    current: Option<StoredRow>,
    /// Of the item, as DynamoDB counts it.
    size: u32,
}

impl Found {
    fn old(&self) -> Option<&Bytes> {
        self.current.as_ref().filter(|row| !row.tombstone).map(|row| &row.item)
    }

    fn stamp(&self) -> Option<Stamp> {
        self.current.as_ref().map(|row| row.stamp)
    }

    pub(super) fn item(&self, request: &WriteRequest) -> Result<Option<Item>, GroupError> {
        let decode =
            |bytes: &Bytes| Item::decode(bytes).map_err(|e| corrupt(request, e.to_string()));
        self.old().map(decode).transpose()
    }

    /// The answer, if the condition does not hold for `item`.
    pub(super) fn fails(
        &self,
        condition: Option<&Condition>,
        item: Option<&Item>,
        return_item: bool,
    ) -> Result<Option<Verdict>, GroupError> {
        let Some(condition) = condition else { return Ok(None) };
        if condition.matches(item).map_err(|e| GroupError::Invalid(e.to_string()))? {
            return Ok(None);
        }
        let outcome =
            WriteOutcome::ConditionFailed { item: self.old().filter(|_| return_item).cloned() };
        let (size_before, size_after) = (self.size, self.size);
        let response =
            WriteResponse { outcome, stamp: self.stamp(), seq: 0, size_before, size_after };
        Ok(Some(Verdict::Known(self.after, Answer::Write(response))))
    }
}

/// What a write makes of an item.
pub(super) struct Written {
    /// The item as it was: known where somebody looked.
    pub(super) before: Option<Item>,
    pub(super) after: Option<Item>,
    /// `after`, encoded.
    pub(super) encoded: Option<Bytes>,
    pub(super) images: Images,
}

/// What a write answers with.
#[derive(Default)]
pub(super) struct Images {
    pub(super) old: Option<Bytes>,
    pub(super) new: Option<Bytes>,
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
    /// What it makes of the rows of local indexes.
    pub(super) index: Vec<RowOp>,
}

pub(super) fn corrupt(request: &WriteRequest, reason: String) -> GroupError {
    GroupError::Corrupt(format!("the stored item of group {}: {reason}", request.group))
}
