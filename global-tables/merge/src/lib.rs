//! Which of two versions of an item wins. Pure.

use bytes::Bytes;
use tombolo_item::Stamp;

/// One version of an item.
#[derive(Debug, Clone, PartialEq)]
pub struct Version {
    pub stamp: Stamp,
    /// `Item::encode`; empty for a tombstone.
    pub content: Bytes,
    pub tombstone: bool,
}

/// What to do with the version that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Ours stays.
    Keep,
    /// Theirs replaces ours.
    Take,
    /// They are the same version.
    Same,
}

/// The later stamp wins.
pub fn merge(local: Option<&Version>, remote: &Version) -> Decision {
    match local.map(|local| local.stamp.cmp(&remote.stamp)) {
        None | Some(std::cmp::Ordering::Less) => Decision::Take,
        Some(std::cmp::Ordering::Equal) => Decision::Same,
        Some(std::cmp::Ordering::Greater) => Decision::Keep,
    }
}
