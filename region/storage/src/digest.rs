//! Digests over logical items: equal on every replica and in every region that holds equal items.
use serde::{Deserialize, Serialize};
use tombolo_item::{RowKey, Stamp};

/// A commutative digest of a set of items: digests of disjoint sets add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Digest {
    pub items: u64,
    pub bytes: u64,
    pub sum: u64,
    pub xor: u64,
}

/// A stored row that is damaged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub row_key: RowKey,
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Digests {
    pub buckets: Vec<Digest>,
    pub findings: Vec<Finding>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct KeyDigests {
    /// Row key, stamp and content hash of each live item, in order.
    pub keys: Vec<(RowKey, Stamp, u64)>,
    pub findings: Vec<Finding>,
    /// The limit was reached; go on after the last key.
    pub more: bool,
}
