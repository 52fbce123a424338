//! One replica of a group: overlay in memory, tree and sealed logs on disk.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tombolo_item::{GroupId, Hlc, KeyRange, RegionId, RowKey, Shard};
use uuid::Uuid;

use crate::record::{Confirmed, GroupConfig, LogRecord, TokenResult};
use crate::row::StoredRow;
use crate::snapshot::SnapshotReader;
use crate::view::PinnedView;
use crate::StorageError;

#[derive(Debug, Clone)]
pub struct PartitionSettings {
    pub overlay_bytes: usize,
    pub window_bytes: usize,
    pub map_bytes: usize,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct PartitionState {
    pub config: Option<GroupConfig>,
    pub seq: u64,
    pub chain_hash: u64,
    pub greatest: Hlc,
    pub tokens: BTreeMap<Uuid, Arc<Session>>,
    pub confirmed: BTreeMap<(RegionId, Shard), Confirmed>,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Session {
    pub lowest_unfinished: u64,
    pub answers: BTreeMap<u64, KeptAnswer>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct KeptAnswer {
    pub result: TokenResult,
    pub until_ms: u64,
}

/// What a group knows of a token.
#[derive(Debug, Clone, PartialEq)]
pub enum TokenAnswer {
    /// Already applied, with this result.
    Answer(TokenResult),
    /// Not seen: evaluate it.
    New,
    /// Too old to know whether it was applied: do not apply it (`OutcomeUnknown`).
    Unknown,
}

/// What one entry did.
#[derive(Debug, Clone, Default)]
pub struct Applied {
    pub markers: Vec<u64>,
    /// The configuration after the entry, if it changed it.
    pub config: Option<GroupConfig>,
    /// Change records applied.
    pub changes: usize,
    /// Records whose evaluation term was not the entry's: they did nothing.
    pub stale: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    pub index: u64,
    pub term: u64,
}

#[derive(Debug, Clone, Default)]
pub struct Changes {
    pub records: Vec<(u64, Bytes)>,
    pub oldest_seq: u64,
    pub head_seq: u64,
}

#[derive(Clone)]
pub struct Partition(Arc<()>);

#[allow(unused_variables)]
impl Partition {
    pub fn create(dir: &Path, generation: u64, group: GroupId) -> Result<Self, StorageError> { todo!() }
    pub fn open(dir: &Path, generation: u64, group: GroupId) -> Result<Self, StorageError> { todo!() }
    pub fn destroy(self) -> Result<(), StorageError> { todo!() }
    pub fn group(&self) -> GroupId { todo!() }
    pub fn generation(&self) -> u64 { todo!() }
    pub fn apply(&self, index: u64, term: u64, batch: &[LogRecord]) -> Result<Applied, StorageError> { todo!() }
    pub fn apply_empty(&self, index: u64, term: u64) -> Result<(), StorageError> { todo!() }
    pub fn applied(&self) -> (u64, u64) { todo!() }
    pub fn checkpointed(&self) -> (u64, u64) { todo!() }
    pub fn state(&self) -> Arc<PartitionState> { todo!() }
    pub fn token(&self, session: Uuid, number: u64, issued_ms: u64) -> TokenAnswer { todo!() }
    pub fn get(&self, space: u8, key: &RowKey) -> Result<Option<StoredRow>, StorageError> { todo!() }
    pub fn get_raw(&self, space: u8, key: &RowKey) -> Result<Option<Bytes>, StorageError> { todo!() }
    pub fn range(&self, space: u8, range: &KeyRange, reverse: bool, visit: &mut dyn FnMut(RowKey, StoredRow) -> ControlFlow<()>) -> Result<(), StorageError> { todo!() }
    pub fn range_raw(&self, space: u8, range: &KeyRange, reverse: bool, visit: &mut dyn FnMut(RowKey, Bytes) -> ControlFlow<()>) -> Result<(), StorageError> { todo!() }
    pub fn needs_checkpoint(&self) -> bool { todo!() }
    pub fn pushed_back(&self) -> bool { todo!() }
    pub fn overlay_bytes(&self) -> usize { todo!() }
    pub fn checkpoint(&self) -> Result<Checkpoint, StorageError> { todo!() }
    pub fn read_changes(&self, from_seq: u64, max_bytes: usize) -> Result<Changes, StorageError> { todo!() }
    pub fn trim_sealed(&self, keep_from_seq: u64, max_age_ms: u64, max_bytes: u64) -> Result<u64, StorageError> { todo!() }
    pub fn view(&self) -> Result<PinnedView, StorageError> { todo!() }
    pub fn snapshot(&self) -> Result<SnapshotReader, StorageError> { todo!() }
}
