//! What the publisher needs of a shard that this node leads: its log and where it ends.
//!
//! Always true: only committed and applied records are read, so whatever is published is history.

use crate::chain::Position;
use bytes::Bytes;
use futures::future::BoxFuture;
use tombolo_item::{Shard, TableId};

/// A shard led by this node.
pub(crate) trait LedShard: Send + Sync + 'static {
    fn table(&self) -> TableId;
    fn shard(&self) -> Shard;
    /// The newest applied record.
    fn head(&self) -> Position;
    /// Completes when the head is past `seq`.
    fn past(&self, seq: u64) -> BoxFuture<'_, ()>;
    /// Canonical change records with their sequence numbers, consecutive, from `from` on (or from the
    /// oldest the log still has): at least one if there is one, about `bytes_max` at most. May read
    /// a disk: large reads are made on a thread that may block.
    fn read(&self, from: u64, bytes_max: usize) -> Result<Vec<(u64, Bytes)>, String>;
    /// Whether this node still leads it.
    fn leads(&self) -> bool;
}
