//! One node's disk: the write-ahead log that all its replication groups share, and for each
//! replica a folder with its tree, its sealed logs and the overlay in memory before them.
//!
//! Always true:
//! - What an append reported as done survives a power cut; what it refused was not kept.
//! - Every record, row, log and chunk is read only after its checksum was verified, and damage is
//!   reported with file, place and what to do: never skipped, never returned as data.
//! - Two replicas of a group that applied the same index hold equal rows and equal state.
//! - All `unsafe` of the workspace is in this crate, in `tree/` and `crash.rs`.
//!
//! Deliberately absent: consensus, clocks and time (stamps come with the records), threads other
//! than the log's own writer, async, retries after a failed fsync, and any cache of rows.
//!
//! Reading order: [`record`] (what one log entry holds), [`wal`], [`partition`] (overlay, apply,
//! checkpoint, change window), [`sealed`], `tree`, [`view`] and [`digest`], [`snapshot`],
//! [`disk`], `crash`.

mod crash;
pub mod digest;
pub mod disk;
mod error;
mod files;
pub mod metrics;
pub mod partition;
pub mod record;
pub mod row;
pub mod sealed;
pub mod snapshot;
mod tree;
pub mod view;
pub mod wal;

pub use digest::{Digest, Digests, Finding, KeyDigests};
pub use disk::{Disk, raise_file_limit};
pub use error::StorageError;
pub use partition::{
    Applied, Changes, Checkpoint, Partition, PartitionSettings, PartitionState, TokenAnswer,
};
pub use record::{
    Confirmed, GroupConfig, LogRecord, ParentShard, RowOp, Space, TokenRecord, TokenResult,
    decode_batch, encode_batch,
};
pub use row::StoredRow;
pub use snapshot::{SnapshotReader, SnapshotWriter};
pub use view::PinnedView;
pub use wal::{
    HardState, LogBase, LogEntry, Recovered, RecoveredGroup, Wal, WalRecord, WalSettings, WalStatus,
};
