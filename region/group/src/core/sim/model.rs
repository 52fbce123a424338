//! A machine in memory: what a partition does, in the fewest words.
//!
//! It keeps every change record it applied, so that checkers can look at the whole history.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tombolo_item::{ChangeRecord, RowKey, chain_hash};
use tombolo_storage::{
    Applied, LogRecord, PartitionState, StorageError, StoredRow, TokenAnswer, TokenResult,
};
use uuid::Uuid;

use crate::core::Machine;

#[derive(Debug, Clone, Default)]
pub(in crate::core) struct Model {
    applied: (u64, u64),
    state: PartitionState,
    tokens: BTreeMap<(Uuid, u64), TokenResult>,
    rows: BTreeMap<RowKey, StoredRow>,
    raw: BTreeMap<(u8, RowKey), Bytes>,
    pub(in crate::core) history: Vec<ChangeRecord>,
}

impl Model {
    /// A number that differs when anything in the replica differs.
    pub(super) fn fingerprint(&self) -> u64 {
        let text = format!(
            "{:?}{:?}{:?}{:?}{}{}{:?}",
            self.rows,
            self.raw,
            self.tokens,
            self.state.config,
            self.state.seq,
            self.state.chain_hash,
            self.state.greatest
        );
        chain_hash(text.as_bytes())
    }

    fn follow(&mut self, index: u64, term: u64) -> Result<(), StorageError> {
        if index != self.applied.0 + 1 {
            let reason = format!("it follows {}", self.applied.0);
            return Err(StorageError::Unappliable { group: "16".into(), index, reason });
        }
        self.applied = (index, term);
        Ok(())
    }
}

impl Machine for Model {
    fn apply(
        &mut self,
        index: u64,
        term: u64,
        batch: &[LogRecord],
    ) -> Result<Applied, StorageError> {
        self.follow(index, term)?;
        let mut applied = Applied::default();
        for record in batch {
            if record.eval_term != term {
                applied.stale += 1;
                continue;
            }
            if let Some(config) = &record.config {
                self.state.config = Some(config.clone());
                applied.config = Some(config.clone());
            }
            if let Some(token) = &record.token {
                self.tokens.insert((token.session, token.number), token.result.clone());
            }
            for op in &record.rows {
                match &op.value {
                    Some(value) => self.raw.insert((op.space, op.key.clone()), value.clone()),
                    None => self.raw.remove(&(op.space, op.key.clone())),
                };
            }
            for bytes in &record.changes {
                let change = ChangeRecord::decode(bytes).expect("the leader wrote it");
                self.state.seq = change.seq;
                self.state.chain_hash = chain_hash(bytes);
                self.state.greatest = self.state.greatest.max(change.stamp.hlc);
                let row = StoredRow {
                    stamp: change.stamp,
                    tombstone: change.new.is_none(),
                    origin: change.origin,
                    item: change.new.clone().unwrap_or_default(),
                    key: change.key.clone(),
                    merge_state: Bytes::new(),
                };
                self.rows.insert(change.row_key.clone(), row);
                self.history.push(change);
                applied.changes += 1;
            }
            applied.markers.extend(record.marker);
            self.state.greatest = self.state.greatest.max(record.closed.unwrap_or_default());
        }
        Ok(applied)
    }

    fn apply_empty(&mut self, index: u64, term: u64) -> Result<(), StorageError> {
        self.follow(index, term)
    }

    fn applied(&self) -> (u64, u64) {
        self.applied
    }

    fn state(&self) -> Arc<PartitionState> {
        Arc::new(self.state.clone())
    }

    fn token(&self, session: Uuid, number: u64, _issued_ms: u64) -> TokenAnswer {
        match self.tokens.get(&(session, number)) {
            Some(kept) => TokenAnswer::Answer(kept.clone()),
            None => TokenAnswer::New,
        }
    }

    fn row(&self, key: &RowKey) -> Result<Option<StoredRow>, StorageError> {
        Ok(self.rows.get(key).cloned())
    }

    fn raw(&self, space: u8, key: &RowKey) -> Result<Option<Bytes>, StorageError> {
        Ok(self.raw.get(&(space, key.clone())).cloned())
    }

    fn pushed_back(&self) -> bool {
        false
    }
}
