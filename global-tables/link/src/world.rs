//! What a link needs of others: the region it reads from, over the direct channel, and the region
//! it writes to. Two small traits with a real implementation each (`source.rs`, `target.rs`) and
//! hostile ones in the tests.

use bytes::Bytes;
use futures::future::BoxFuture;
use tombolo_item::{ChangeRecord, NodeId, Shard, Stamp};

use crate::checkpoint::Checkpoint;
use crate::error::LinkError;
use crate::wire::{Confirmation, Survey};

/// The sending region, asked over the direct channel.
pub(crate) trait Source: Send + Sync + 'static {
    /// All shards of the table and the heads of those that have a leader now.
    fn survey(&self) -> BoxFuture<'static, Result<Survey, LinkError>>;
    /// Gives back the shards whose confirmation is now part of the source's replicated state.
    fn confirm(
        &self,
        leader: NodeId,
        confirmations: Vec<Confirmation>,
    ) -> BoxFuture<'static, Result<Vec<Shard>, LinkError>>;
}

/// The receiving region: this one.
pub(crate) trait Target: Send + Sync + 'static {
    /// Returns after the quorum of the local group holds the outcome.
    fn merge(&self, change: Change) -> BoxFuture<'static, Result<(), MergeError>>;
    fn load(&self) -> BoxFuture<'static, Result<Option<(Checkpoint, Stamp)>, LinkError>>;
    /// Writes the row if it is still as it was at `expect`, and gives its new stamp.
    fn save(
        &self,
        checkpoint: Checkpoint,
        expect: Option<Stamp>,
    ) -> BoxFuture<'static, Result<Stamp, LinkError>>;
    /// How far this region has applied what regions other than the link's source wrote to the table.
    /// `None`: not known (so nothing is claimed).
    fn closed_elsewhere(&self) -> BoxFuture<'static, Option<tombolo_item::Hlc>>;
    /// Milliseconds since 1970 by this node's clock.
    fn now_ms(&self) -> u64;
}

/// One record on its way into this region.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) record: std::sync::Arc<ChangeRecord>,
    pub(crate) canonical: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MergeError {
    /// Passing trouble: leadership moves, overload, an unknown outcome. Merging twice is harmless.
    Retry(String),
    /// It will be refused until a clock, a disk or a person changes something: raise the alarm.
    Hold(String),
}
