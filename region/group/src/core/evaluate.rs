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
use tombolo_item::{Hlc, RegionId, RowKey, Shard};
use tombolo_storage::{
    GroupConfig, LogRecord, RowOp, Space, StorageError, StoredRow, TokenResult, encode_batch,
};
use uuid::Uuid;

use super::Machine;
use super::event::{Answer, Note, Now, Output, Submit, Ticket};
use super::leading::{NewRow, Proposal, RowName, Tip};
use super::replica::GroupCore;
use crate::error::GroupError;

/// An entry is closed once it holds this much.
const BATCH_BYTES: usize = 512 << 10;
/// An entry in the making.
pub(super) struct Draft {
    pub(super) seq: u64,
    pub(super) hash: u64,
    pub(super) config: Option<Arc<GroupConfig>>,
    pub(super) rows: HashMap<RowName, NewRow>,
    pub(super) tokens: Vec<((Uuid, u64), TokenResult)>,
    pub(super) records: Vec<LogRecord>,
    pub(super) bytes: usize,
    pub(super) waiters: Vec<(Ticket, Answer)>,
    pub(super) onlookers: Vec<(Ticket, Answer)>,
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
    pub(super) fn submit(
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

    pub(super) fn config(&self) -> Result<Arc<GroupConfig>, GroupError> {
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

    pub(super) fn configure(&mut self, config: GroupConfig) -> Result<Verdict, GroupError> {
        let old = self.config()?;
        if (config.group, config.table) != (old.group, old.table) || config.epoch < old.epoch {
            let why = "a configuration of another group or table, or an older epoch";
            return Err(GroupError::Invalid(why.into()));
        }
        let joins = config.regions.iter().any(|region| !old.regions.contains(region));
        if joins && self.draft.seq > 0 {
            let why = "One or more parameter values were invalid: adding a replica to a table that \
                       holds data, or held some, is not supported yet; add it to a table that was \
                       never written, or create the table in all its Regions";
            return Err(GroupError::Rejected(why.into()));
        }
        if config.indexes != old.indexes {
            let why = "local indexes are what a table was created with";
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

    pub(super) fn close(&mut self, since_ms: u64) -> Result<Verdict, GroupError> {
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

    pub(super) fn look(&self, name: &RowName) -> Option<(After, &NewRow)> {
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

/// Whether a stamp of another region is too far ahead of this clock to be taken in.
pub(super) fn too_far_ahead(hlc: Hlc, now: Now, max_skew_ms: u64) -> bool {
    hlc.0 >> 16 > now.wall_ms + max_skew_ms
}
