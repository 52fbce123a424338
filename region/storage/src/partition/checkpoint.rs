//! Moving what was applied from memory to disk.
//!
//! Order: freeze the overlay; seal the change records it covers (written, synced, renamed); one
//! sorted, fully synced tree transaction with rows, state and applied index; drop the overlay.
//!
//! A crash after sealing and before the commit leaves a log file beyond the tree's sequence number:
//! opening removes it, and the write-ahead log, which is trimmed only after this returned, brings
//! its records again. A crash after the commit loses nothing: entries up to the tree's index do
//! nothing when they come again, and their changes are in the sealed log.

use std::time::Instant;

use super::overlay::{self, Overlay};
use super::{Partition, PartitionState, STATE_KEY};
use crate::sealed::{self, SealedLog};
use crate::{Space, StorageError, files, metrics};
use bytes::Bytes;
use std::sync::Arc;

/// What the tree on disk now holds. The host logs it as the group's base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    pub index: u64,
    pub term: u64,
}

/// The frozen part of memory that a checkpoint writes.
struct Frozen {
    layers: Vec<Arc<Overlay>>,
    state: Arc<PartitionState>,
    applied: (u64, u64),
    unsealed: Vec<(u64, Bytes)>,
    keep_log: bool,
}

impl Partition {
    /// Writes everything applied so far to disk. Blocks for the disk; runs on a thread of its own,
    /// beside apply and readers. On failure nothing is lost: the next one writes it all.
    pub fn checkpoint(&self) -> Result<Checkpoint, StorageError> {
        let _alone = self.0.checkpointing.lock();
        if self.0.is_destroyed() {
            return Err(StorageError::Stopped { reason: "the replica was destroyed".into() });
        }
        let started = Instant::now();
        let Some(frozen) = self.freeze() else {
            let (index, term) = self.checkpointed();
            return Ok(Checkpoint { index, term });
        };
        let sealed = self.seal(&frozen);
        let sealed = sealed.and_then(|log| match self.commit(&frozen) {
            Ok(()) => Ok(log),
            Err(e) => {
                // The next attempt seals these records again, with newer ones. After a fatal error
                // the commit may have reached the disk all the same: then opening decides.
                if let Some(log) = log.filter(|_| !e.is_fatal()) {
                    files::remove_file(&log.path)?;
                }
                Err(e)
            }
        });
        let sealed = match sealed {
            Ok(sealed) => sealed,
            Err(e) => {
                self.0.memory.write().writing_bytes = 0;
                return Err(e);
            }
        };
        self.finish(&frozen, sealed);
        metrics::CHECKPOINT_SECONDS.observe(started.elapsed().as_secs_f64());
        Ok(Checkpoint { index: frozen.applied.0, term: frozen.applied.1 })
    }

    fn freeze(&self) -> Option<Frozen> {
        let mut memory = self.0.memory.write();
        if memory.applied == memory.checkpointed {
            return None;
        }
        memory.freeze();
        memory.writing_bytes = memory.overlay_bytes();
        Some(Frozen {
            layers: memory.frozen.clone(),
            state: memory.state.clone(),
            applied: memory.applied,
            unsealed: memory.window.unsealed(),
            keep_log: memory.state.config.as_ref().is_some_and(|c| c.keep_log),
        })
    }

    fn seal(&self, frozen: &Frozen) -> Result<Option<SealedLog>, StorageError> {
        if !frozen.keep_log {
            return Ok(None);
        }
        let shard = self.shard(&frozen.state);
        sealed::write(&sealed::folder(&self.0.dir, shard.epoch), shard, &frozen.unsealed)
    }

    fn commit(&self, frozen: &Frozen) -> Result<(), StorageError> {
        let saved = frozen.state.encode(frozen.applied);
        self.0.tree.write(|txn| {
            let mut rows = 0;
            for space in 0..Space::COUNT as u8 {
                for (key, value) in overlay::merged(&frozen.layers, space) {
                    match value {
                        Some(value) => txn.put(space, &key.0, value)?,
                        None => txn.delete(space, &key.0)?,
                    }
                    rows += 1;
                }
            }
            metrics::CHECKPOINT_ROWS.inc_by(rows);
            txn.put_meta(STATE_KEY, &saved)
        })
    }

    fn finish(&self, frozen: &Frozen, log: Option<SealedLog>) {
        if let Some(log) = log {
            let mut sealed = self.0.sealed.lock();
            // A new lineage epoch has its own folder; logs of the old one are not read from here.
            if sealed.last().is_some_and(|l| l.last >= log.first) {
                sealed.clear();
            }
            sealed.push(log);
        }
        let mut memory = self.0.memory.write();
        // Views may have frozen more layers meanwhile: those come after.
        memory.frozen.drain(..frozen.layers.len());
        memory.writing_bytes = 0;
        memory.checkpointed = frozen.applied;
        if self.shard(&memory.state) == self.shard(&frozen.state) {
            memory.window.note_sealed(frozen.state.seq);
            memory.window.trim(self.0.settings.window_bytes);
        }
    }
}
