//! A node's disk in the simulation: records become durable in order, after a while; a crash keeps a
//! prefix of what was on its way.

use std::collections::VecDeque;

use tombolo_storage::{HardState, LogBase, LogEntry, WalRecord};

use super::model::Model;
use crate::core::Restored;

/// Something that becomes durable as one.
#[derive(Debug, Clone)]
pub(super) struct Batch {
    pub(super) records: Vec<WalRecord>,
    /// The tree that a base in `records` stands on.
    pub(super) tree: Option<Model>,
    pub(super) readies: Vec<u64>,
    /// A snapshot that is in use once this is durable.
    pub(super) installs: Option<Install>,
}

#[derive(Debug, Clone)]
pub(super) struct Install {
    pub(super) leader: u64,
    pub(super) leader_term: u64,
    pub(super) model: Model,
    pub(super) conf: bytes::Bytes,
}

#[derive(Debug, Clone, Default)]
pub(super) struct SimDisk {
    base: LogBase,
    hard_state: HardState,
    entries: Vec<LogEntry>,
    /// The checkpoint at (or after) the base.
    tree: Model,
    pub(super) queue: VecDeque<Batch>,
}

impl SimDisk {
    pub(super) fn new(first: &Restored) -> SimDisk {
        SimDisk {
            base: first.base.clone(),
            hard_state: first.hard_state,
            entries: first.entries.clone(),
            ..SimDisk::default()
        }
    }

    pub(super) fn write(&mut self, batch: &Batch) {
        if let Some(tree) = &batch.tree {
            self.tree = tree.clone();
        }
        for record in &batch.records {
            match record {
                WalRecord::Entry { entry, .. } => {
                    self.entries.retain(|e| e.index < entry.index);
                    if entry.index > self.base.index {
                        self.entries.push(entry.clone());
                    }
                }
                WalRecord::HardState { state, .. } => self.hard_state = *state,
                WalRecord::Base { base, .. } => {
                    if base.generation != self.base.generation {
                        self.entries.clear();
                    }
                    self.entries.retain(|e| e.index > base.index);
                    self.base = base.clone();
                }
                WalRecord::Drop { .. } => unreachable!("the simulation drops no group"),
            }
        }
    }

    pub(super) fn generation(&self) -> u64 {
        self.base.generation
    }

    /// What a start finds.
    pub(super) fn restore(&self) -> (Restored, Model) {
        let restored = Restored {
            base: self.base.clone(),
            hard_state: self.hard_state,
            entries: self.entries.clone(),
        };
        (restored, self.tree.clone())
    }
}
