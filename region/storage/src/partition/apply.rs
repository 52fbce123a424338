//! Putting one committed entry into memory.
//!
//! Always true: an entry is checked as a whole before it changes anything; index follows index; a
//! record whose evaluation term is not the entry's does nothing. Change records become rows by one
//! rule: an item when the change has a new image, else a tombstone where the table has more than
//! one region, else no row. So a touch carries the image that stays.

use std::sync::Arc;

use bytes::Bytes;
use tombolo_item::{ChangeRecord, GroupId, Hlc, RowKey, chain_hash};

use super::{Memory, Partition};
use crate::record::{GroupConfig, LogRecord, RowOp};
use crate::row::{self, Place, RowParts};
use crate::{Space, StorageError};

/// What one entry did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Applied {
    /// Markers in it, in order.
    pub markers: Vec<u64>,
    /// The configuration after the entry, if the entry changed it.
    pub config: Option<GroupConfig>,
    /// Change records applied.
    pub changes: usize,
    /// Records whose evaluation term was not the entry's: they did nothing.
    pub stale: usize,
    /// The entry was in the tree already (the log is being read again after a start).
    pub repeated: bool,
}

/// A checked entry, ready to go in.
struct Prepared {
    rows: Vec<(u8, RowKey, Option<Bytes>)>,
    /// Per record that counts: its changes as (sequence number, bytes).
    changes: Vec<Vec<(u64, Bytes)>>,
    greatest: Hlc,
    seq: u64,
    hash: u64,
}

impl Partition {
    /// Applies the records of one committed entry, from the host's one thread, in index order.
    /// An index that is in the tree already does nothing.
    pub fn apply(
        &self,
        index: u64,
        term: u64,
        batch: &[LogRecord],
    ) -> Result<Applied, StorageError> {
        let (applied, state) = {
            let memory = self.0.memory.read();
            (memory.applied, memory.state.clone())
        };
        if index <= applied.0 {
            return Ok(Applied { repeated: true, ..Applied::default() });
        }
        let refuse = |reason: String| StorageError::Unappliable {
            group: self.0.group.to_string(),
            index,
            reason,
        };
        if index != applied.0 + 1 {
            return Err(refuse(format!("the last applied index is {}", applied.0)));
        }
        let records: Vec<&LogRecord> = batch.iter().filter(|r| r.eval_term == term).collect();
        let prepared = prepare(self.0.group, &records, &state).map_err(refuse)?;
        drop(state);
        let mut outcome = Applied { stale: batch.len() - records.len(), ..Applied::default() };
        let mut memory = self.0.memory.write();
        memory.applied = (index, term);
        memory.take(&records, prepared, &mut outcome);
        if outcome.changes > 0 {
            memory.window.trim(self.0.settings.window_bytes);
        }
        Ok(outcome)
    }

    /// Applies an entry that holds nothing for the partition (a new leader's, a membership change).
    pub fn apply_empty(&self, index: u64, term: u64) -> Result<(), StorageError> {
        self.apply(index, term, &[]).map(drop)
    }
}

/// Where the change chain stands when `config` takes effect: a new lineage epoch starts again at 0
/// with the parent's hash.
fn chain_after(config: &GroupConfig, old: Option<&GroupConfig>, seq: u64, hash: u64) -> (u64, u64) {
    if old.is_some_and(|old| old.epoch == config.epoch) {
        return (seq, hash);
    }
    (0, config.parent.as_ref().map_or(0, |p| p.hash))
}

fn prepare(
    group: GroupId,
    records: &[&LogRecord],
    state: &super::PartitionState,
) -> Result<Prepared, String> {
    let mut config = state.config.as_ref();
    let mut ready = Prepared {
        rows: Vec::new(),
        changes: Vec::with_capacity(records.len()),
        greatest: state.greatest,
        seq: state.seq,
        hash: state.chain_hash,
    };
    for record in records {
        if let Some(new) = &record.config {
            if new.group != group {
                return Err(format!("a configuration of group {}", new.group));
            }
            (ready.seq, ready.hash) = chain_after(new, config, ready.seq, ready.hash);
            config = Some(new);
        }
        let mut changes = Vec::with_capacity(record.changes.len());
        for canonical in &record.changes {
            let config = config.ok_or("a change before the group's configuration")?;
            let change = ChangeRecord::decode(canonical)
                .map_err(|e| format!("a change record that cannot be read: {e}"))?;
            if change.seq != ready.seq + 1 || change.prev_hash != ready.hash {
                return Err(format!(
                    "change {} (previous hash {:016x}) does not follow change {} (hash {:016x})",
                    change.seq, change.prev_hash, ready.seq, ready.hash
                ));
            }
            ready.seq = change.seq;
            ready.hash = chain_hash(canonical);
            ready.greatest = ready.greatest.max(change.stamp.hlc).max(change.closed);
            ready.rows.push(row_of(group, config, &change)?);
            changes.push((change.seq, canonical.clone()));
        }
        for op in &record.rows {
            ready.rows.push(row_op(group, op)?);
        }
        ready.changes.push(changes);
    }
    Ok(ready)
}

fn row_of(
    group: GroupId,
    config: &GroupConfig,
    change: &ChangeRecord,
) -> Result<(u8, RowKey, Option<Bytes>), String> {
    check_key(&change.row_key)?;
    // Copied: the slice would keep the whole entry in memory as long as the overlay lives.
    let key = RowKey(Bytes::copy_from_slice(&change.row_key.0));
    if change.new.is_none() && config.regions.len() <= 1 {
        return Ok((Space::ITEMS, key, None));
    }
    let parts = RowParts {
        stamp: change.stamp,
        origin: change.origin,
        key: &change.key,
        merge_state: &change.merge_state,
        item: change.new.as_deref(),
    };
    let value = row::encode(Place { group, space: Space::ITEMS, key: &key }, &parts);
    Ok((Space::ITEMS, key, Some(value)))
}

fn row_op(group: GroupId, op: &RowOp) -> Result<(u8, RowKey, Option<Bytes>), String> {
    check_key(&op.key)?;
    if usize::from(op.space) >= Space::COUNT {
        return Err(format!("row space {} does not exist", op.space));
    }
    if op.space == Space::ITEMS && op.value.is_some() {
        return Err("items are put by change records, not by row operations".into());
    }
    let key = RowKey(Bytes::copy_from_slice(&op.key.0));
    let place = Place { group, space: op.space, key: &key };
    let value = op.value.as_ref().map(|value| row::encode_raw(place, value));
    Ok((op.space, key, value))
}

fn check_key(key: &RowKey) -> Result<(), String> {
    if key.0.is_empty() || key.0.len() > crate::tree::LEAST_KEY {
        return Err(format!(
            "a row key of {} bytes; 1 to {} are possible",
            key.0.len(),
            crate::tree::LEAST_KEY
        ));
    }
    Ok(())
}

impl Memory {
    fn take(&mut self, records: &[&LogRecord], ready: Prepared, outcome: &mut Applied) {
        for (space, key, value) in ready.rows {
            self.active.put(space, key, value);
        }
        let state = Arc::make_mut(&mut self.state);
        state.greatest = ready.greatest;
        for (record, changes) in records.iter().zip(ready.changes) {
            if let Some(config) = &record.config {
                let (seq, hash) =
                    chain_after(config, state.config.as_ref(), state.seq, state.chain_hash);
                if seq != state.seq {
                    self.window.restart();
                }
                (state.seq, state.chain_hash) = (seq, hash);
                self.window.set_keep_log(config.keep_log, state.seq);
                state.config = Some(config.clone());
                outcome.config = Some(config.clone());
            }
            outcome.changes += changes.len();
            for (seq, canonical) in changes {
                state.seq = seq;
                self.window.push(seq, canonical);
            }
            if let Some(closed) = record.closed {
                state.observe(closed);
            }
            if let Some(token) = &record.token {
                if let Some(stamp) = token.result.stamp {
                    state.observe(stamp.hlc);
                }
                state.keep_token(token);
            }
            for confirmed in &record.confirmed {
                state.confirm(confirmed);
            }
            outcome.markers.extend(record.marker);
        }
        (state.seq, state.chain_hash) = (ready.seq, ready.hash);
        state.sweep();
    }
}
