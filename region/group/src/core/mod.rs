//! One replica of a group, deciding: events in, commands out.
//!
//! Always true: nothing in here sleeps, reads a clock, draws a random number of its own, writes to
//! a disk or sends on a network (a test searches the sources for it). Time and a seed come in, what
//! to send and to make durable goes out, so a seeded test can drive three replicas and get the same
//! bytes twice. The only state outside is the [`Machine`], which the step itself applies to.
//!
//! Deliberately absent: the library's own election timers, `check_quorum`, `priority`, lease reads
//! and proposal forwarding. Timers and the lease are ours (`election.rs`, `lease.rs`).
//!
//! Reading order: [`event`], `replica`, `voting`, `timing`, `election`, `lease`, `leading`,
//! `fitness`, `handing`, `evaluate`, `writes`, `updating`, `indexing`, `merging`, `conflict`, `glance`,
//! `log`, `conf`, [`frame`].

mod conf;
mod conflict;
mod election;
mod evaluate;
mod event;
mod fitness;
pub mod frame;
mod glance;
mod handing;
mod indexing;
mod leading;
mod lease;
mod log;
mod merging;
#[cfg(test)]
mod planted;
mod replica;
#[cfg(test)]
mod sim;
#[cfg(test)]
mod solo;
mod timing;
mod updating;
mod voting;
mod writes;

use std::sync::Arc;

use bytes::Bytes;
use tombolo_item::RowKey;
use tombolo_storage::{
    Applied, LogRecord, Partition, PartitionState, PinnedView, StorageError, StoredRow, TokenAnswer,
};
use uuid::Uuid;

pub use conflict::{ConflictRow, Loser, Side};
pub(crate) use evaluate::stored;
pub use event::{Answer, Event, Note, Now, Output, Submit, Ticket};
pub use fitness::{Fitness, Health, Standing, Unfit};
pub(crate) use indexing::{base_of, place};
pub use lease::{LEASE_MS, PROMISE_MS};
pub use replica::{CoreSettings, GroupCore, Restored, View};
pub(crate) use replica::{first_conf, voters_of};

/// What committed entries are applied to and reads come from: a partition, or a model of one.
pub trait Machine {
    /// Applies one entry's records. Entries come in order, once each.
    fn apply(
        &mut self,
        index: u64,
        term: u64,
        batch: &[LogRecord],
    ) -> Result<Applied, StorageError>;
    /// An entry without records.
    fn apply_empty(&mut self, index: u64, term: u64) -> Result<(), StorageError>;
    /// (index, term) of the last entry applied.
    fn applied(&self) -> (u64, u64);
    /// The replicated state beside the rows.
    fn state(&self) -> Arc<PartitionState>;
    /// What is known of a token.
    fn token(&self, session: Uuid, number: u64, issued_ms: u64) -> TokenAnswer;
    /// The item's row, tombstones included.
    fn row(&self, key: &RowKey) -> Result<Option<StoredRow>, StorageError>;
    /// A row of another space.
    fn raw(&self, space: u8, key: &RowKey) -> Result<Option<Bytes>, StorageError>;
    /// Too much is waiting for a checkpoint: refuse writes.
    fn pushed_back(&self) -> bool;
    /// The rows as of the last entry applied, pinned; nothing where digests are not taken.
    fn pin(&self) -> Option<Result<PinnedView, StorageError>> {
        None
    }
}

impl Machine for Partition {
    fn apply(
        &mut self,
        index: u64,
        term: u64,
        batch: &[LogRecord],
    ) -> Result<Applied, StorageError> {
        Partition::apply(self, index, term, batch)
    }
    fn apply_empty(&mut self, index: u64, term: u64) -> Result<(), StorageError> {
        Partition::apply_empty(self, index, term)
    }
    fn applied(&self) -> (u64, u64) {
        Partition::applied(self)
    }
    fn state(&self) -> Arc<PartitionState> {
        Partition::state(self)
    }
    fn token(&self, session: Uuid, number: u64, issued_ms: u64) -> TokenAnswer {
        Partition::token(self, &session, number, issued_ms)
    }
    fn row(&self, key: &RowKey) -> Result<Option<StoredRow>, StorageError> {
        self.get(tombolo_storage::Space::ITEMS, key)
    }
    fn raw(&self, space: u8, key: &RowKey) -> Result<Option<Bytes>, StorageError> {
        self.get_raw(space, key)
    }
    fn pushed_back(&self) -> bool {
        Partition::pushed_back(self)
    }
    fn pin(&self) -> Option<Result<PinnedView, StorageError>> {
        Some(self.view())
    }
}
