//! A replica as of one applied index: overlay layers and a read transaction, pinned.
use std::ops::ControlFlow;
use tombolo_item::{KeyRange, RowKey};
use crate::{Digests, KeyDigests, StorageError, StoredRow};

pub struct PinnedView(());

#[allow(unused_variables)]
impl PinnedView {
    pub fn index(&self) -> u64 { todo!() }
    pub fn term(&self) -> u64 { todo!() }
    pub fn range(&self, space: u8, range: &KeyRange, reverse: bool, visit: &mut dyn FnMut(RowKey, StoredRow) -> ControlFlow<()>) -> Result<(), StorageError> { todo!() }
    pub fn digest_buckets(&self, range: &KeyRange, bits: u8) -> Result<Digests, StorageError> { todo!() }
    pub fn digest_keys(&self, range: &KeyRange, limit: usize) -> Result<KeyDigests, StorageError> { todo!() }
}
