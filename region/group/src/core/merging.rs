//! Taking in another region's change: stamps decide, losers are written down.
//!
//! Always true: the winner keeps its own stamp and origin; the local record's cause is
//! `Replication` and its sequence number is this shard's. A stamp too far in the future is refused
//! (the link holds the shard), never skipped and never adopted. A change seen before does nothing.

use bytes::Bytes;
use tombolo_item::{Cause, ChangeKind, ChangeRecord, Item};
use tombolo_merge::{Decision, Version, merge};
use tombolo_storage::{GroupConfig, RowOp, Space, StoredRow};

use super::Machine;
use super::conflict::{ConflictRow, Loser, Side};
use super::evaluate::{Bench, Verdict, too_far_ahead};
use super::event::{Answer, Note};
use super::indexing;
use super::writes::{Change, answer, corrupt};
use crate::error::GroupError;
use crate::types::{Token, WriteOutcome, WriteRequest};

impl<M: Machine> Bench<'_, M> {
    pub(super) fn merge(
        &mut self,
        config: &GroupConfig,
        request: &WriteRequest,
        change: &Bytes,
        token: Option<Token>,
    ) -> Result<Verdict, GroupError> {
        let remote = ChangeRecord::decode(change)
            .map_err(|e| GroupError::Invalid(format!("the change to merge: {e}")))?;
        if remote.table != config.table || remote.row_key != request.row_key {
            let why = "the change to merge is of another table or row";
            return Err(GroupError::Invalid(why.into()));
        }
        if remote.key != request.key {
            return Err(GroupError::Invalid("the change to merge has another key".into()));
        }
        if too_far_ahead(remote.stamp.hlc, self.now, self.max_skew_ms) {
            let ahead = (remote.stamp.hlc.0 >> 16).saturating_sub(self.now.wall_ms);
            let why = format!(
                "a stamp of region {} is {ahead} ms ahead of this clock; held until it is past",
                remote.origin
            );
            return Err(GroupError::ClockSkew(why));
        }
        let (after, current) = self.row(&request.row_key)?;
        let theirs = side(remote.stamp, remote.origin, remote.new.clone());
        let ours = current
            .as_ref()
            .map(|row| side(row.stamp, row.origin, (!row.tombstone).then(|| row.item.clone())));
        let decision = merge(ours.as_ref().map(version).as_ref(), &version(&theirs));
        let known = |won, stamp| {
            let outcome = WriteOutcome::Merged { won };
            let response = answer(outcome, stamp, 0);
            Ok(Verdict::Known(after, Answer::Write(response)))
        };
        if decision == Decision::Same {
            return known(true, Some(remote.stamp));
        }
        if decision == Decision::Forked {
            return Err(GroupError::Corrupt(format!(
                "the change to merge and the stored version carry one stamp ({}) and two contents; \
                 verify the table",
                remote.stamp
            )));
        }
        let mut record = self.record()?;
        let won = decision == Decision::Take;
        let index = if won {
            index_moves(config, request, current.as_ref(), remote.new.as_ref())?
        } else {
            Vec::new()
        };
        if let Some(ours) = ours.filter(|ours| conflicts(&remote, ours, won)) {
            let lost = if won { Loser::Local } else { Loser::Remote };
            let (winner, loser) = if won { (theirs.clone(), ours) } else { (ours, theirs.clone()) };
            let key = ConflictRow::key(&request.row_key, &loser.stamp);
            if self.raw(Space::CONFLICTS, &key)?.is_none() {
                let row = ConflictRow { loser_is: lost, winner, loser };
                let value = Some(row.encode());
                self.set_raw(&mut record, RowOp { space: Space::CONFLICTS, key, value });
                let (from, to) = (remote.origin.0, self.region.0);
                self.draft.notes.push(Note::Conflict { from, to });
            }
        }
        if !won {
            let stamp = current.map(|row| row.stamp);
            if record.rows.is_empty() {
                return known(false, stamp);
            }
            let outcome = WriteOutcome::Merged { won: false };
            let response = answer(outcome, stamp, 0);
            self.keep(&mut record, token, &response);
            return self.log(record, Answer::Write(response));
        }
        self.tip.clock.observe(remote.stamp.hlc);
        let old = current.as_ref().filter(|row| !row.tombstone).map(|row| row.item.clone());
        let taken = Change {
            stamp: remote.stamp,
            replaced: current.as_ref().map(|row| row.stamp),
            origin: remote.origin,
            cause: Cause::Replication,
            kind: kind(current.as_ref(), remote.new.as_ref()),
            transaction: remote.transaction,
            new: remote.new.clone(),
            old,
            merge_state: remote.merge_state.clone(),
            index,
        };
        let seq = self.change(config, request, &mut record, taken);
        let outcome = WriteOutcome::Merged { won: true };
        let response = answer(outcome, Some(remote.stamp), seq);
        self.keep(&mut record, token, &response);
        self.log(record, Answer::Write(response))
    }
}

/// What the taken change makes of the rows of local indexes.
fn index_moves(
    config: &GroupConfig,
    request: &WriteRequest,
    current: Option<&StoredRow>,
    new: Option<&Bytes>,
) -> Result<Vec<RowOp>, GroupError> {
    if config.indexes.is_empty() {
        return Ok(Vec::new());
    }
    let old = current.filter(|row| !row.tombstone).map(|row| Item::decode(&row.item)).transpose();
    let old = old.map_err(|e| corrupt(request, e.to_string()))?;
    let new = new.map(|item| Item::decode(item)).transpose();
    let new = new.map_err(|e| GroupError::Invalid(format!("the change to merge: {e}")))?;
    Ok(indexing::moves(config, &request.key, &request.row_key, old.as_ref(), new.as_ref()))
}

/// A conflict: the change replaced something else than what is here. Not one: a change that comes
/// again, or late, after a later one of its own region.
fn conflicts(remote: &ChangeRecord, ours: &Side, won: bool) -> bool {
    remote.replaced != Some(ours.stamp) && (won || ours.origin != remote.origin)
}

fn kind(current: Option<&StoredRow>, new: Option<&Bytes>) -> ChangeKind {
    match (current.filter(|row| !row.tombstone), new) {
        (Some(row), Some(new)) if row.item == *new => ChangeKind::Touch,
        (None, None) => ChangeKind::Touch,
        (Some(_), Some(_)) => ChangeKind::Modify,
        (None, Some(_)) => ChangeKind::Insert,
        (Some(_), None) => ChangeKind::Remove,
    }
}

fn side(stamp: tombolo_item::Stamp, origin: tombolo_item::RegionId, item: Option<Bytes>) -> Side {
    Side { stamp, origin, item }
}

fn version(side: &Side) -> Version {
    Version {
        stamp: side.stamp,
        tombstone: side.item.is_none(),
        content: side.item.clone().unwrap_or_default(),
    }
}
