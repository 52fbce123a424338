//! A replica's state as checksummed chunks.
use std::path::Path;
use bytes::Bytes;
use tombolo_item::GroupId;
use crate::{Partition, PartitionState, StorageError};

pub struct SnapshotReader { pub index: u64, pub term: u64, pub state: std::sync::Arc<PartitionState> }
#[allow(unused_variables)]
impl SnapshotReader {
    pub fn next_chunk(&mut self, max: usize) -> Result<Option<Bytes>, StorageError> { todo!() }
}
pub struct SnapshotWriter(());
#[allow(unused_variables)]
impl SnapshotWriter {
    pub fn create(dir: &Path, generation: u64, group: GroupId) -> Result<Self, StorageError> { todo!() }
    pub fn write_chunk(&mut self, chunk: &Bytes) -> Result<(), StorageError> { todo!() }
    pub fn finish(self) -> Result<Partition, StorageError> { todo!() }
}
