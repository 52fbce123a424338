//! One stored row: version byte, checksum over (group, space, row key, content), content.

use bytes::Bytes;
use tombolo_item::{Key, RegionId, Stamp};

/// One version of one item, or the tombstone of a deleted one.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRow {
    pub stamp: Stamp,
    pub tombstone: bool,
    /// The region whose user wrote this version.
    pub origin: RegionId,
    /// `Item::encode`; empty for a tombstone.
    pub item: Bytes,
    pub key: Key,
    pub merge_state: Bytes,
}
