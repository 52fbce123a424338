//! The write-ahead log: one per node, shared by all its groups.
//!
//! Always true:
//! - `done` is called with `Ok` only after one `fdatasync` covered the append, in append order.
//! - Log sequence numbers (LSN) are contiguous over everything that recovery accepts.
//! - A segment is full of written blocks before it is used, so appends inside it cannot run out of
//!   space; each start opens a fresh segment whose header names the last valid LSN.
//! - A segment is recycled, oldest first, only when no group needs an entry in it and what it alone
//!   held of any group (hard state, base) was written again later and synced.
//!
//! Absent: retries after a failed sync (the kernel may have dropped the pages), checkpoints (the
//! host makes them; [`Wal::oldest_pins`] says where they are due).
//!
//! Reading order: `frame`, `segment`, `groups`, `recover`, `spares`, `writer`.

mod frame;
mod groups;
mod recover;
mod segment;
mod spares;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use tombolo_item::GroupId;

use crate::StorageError;
pub use writer::Wal;

/// What a user may tune about the log.
#[derive(Debug, Clone)]
pub struct WalSettings {
    /// The folder of the log; created when missing.
    pub dir: PathBuf,
    /// Size of a segment. Larger ones sync a little less often for themselves and pin more.
    pub segment_bytes: u64,
    /// While there are no more segments than this, [`Wal::oldest_pins`] asks for nothing.
    pub keep_segments: usize,
    /// Zero-filled segments kept ready beside the one in use, so that rolling over is cheap.
    pub spare_segments: usize,
    /// After this long without an append the log notes, unsynced, that everything before is durable,
    /// so that damage to the last records can be told from a torn tail. `None`: never.
    pub idle_mark: Option<Duration>,
}

impl WalSettings {
    /// 64 MiB segments in `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            segment_bytes: 64 << 20,
            keep_segments: 4,
            spare_segments: 1,
            idle_mark: Some(Duration::from_millis(100)),
        }
    }
}

/// One thing to make durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WalRecord {
    /// At index i it replaces all of the group's entries from i on.
    Entry {
        group: GroupId,
        entry: LogEntry,
    },
    HardState {
        group: GroupId,
        state: HardState,
    },
    Base {
        group: GroupId,
        base: LogBase,
    },
    /// The group is gone from this node.
    Drop {
        group: GroupId,
    },
}

impl WalRecord {
    pub fn group(&self) -> GroupId {
        match self {
            Self::Entry { group, .. }
            | Self::HardState { group, .. }
            | Self::Base { group, .. }
            | Self::Drop { group } => *group,
        }
    }
}

/// One consensus entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    pub index: u64,
    pub term: u64,
    pub kind: u8,
    pub data: Bytes,
    pub context: Bytes,
}

/// What consensus must remember of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HardState {
    pub term: u64,
    pub vote: u64,
    pub commit: u64,
}

/// Where a group's log starts. Entries up to `index` are in the tree of `generation` and may be
/// forgotten. A base with another generation (a snapshot was installed) forgets *all* entries
/// written before it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogBase {
    pub index: u64,
    pub term: u64,
    pub generation: u64,
    /// The group's own encoding of its membership.
    pub conf: Bytes,
}

/// What a start found in the log.
#[derive(Debug, Default)]
pub struct Recovered {
    pub groups: BTreeMap<GroupId, RecoveredGroup>,
    /// The last valid LSN.
    pub last_lsn: u64,
    /// Records read.
    pub records: u64,
    /// Bytes of a torn tail that were cut; they were never acknowledged.
    pub torn_bytes: u64,
}

/// One group as the log knows it: entries are contiguous and start at `base.index + 1`.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct RecoveredGroup {
    pub base: LogBase,
    pub hard_state: HardState,
    pub entries: Vec<LogEntry>,
}

/// The log at a glance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WalStatus {
    /// Segments that hold records.
    pub segments: usize,
    /// Bytes of those segments on disk.
    pub bytes: u64,
    /// The first LSN still held.
    pub oldest_lsn: u64,
    /// The last durable LSN.
    pub last_lsn: u64,
    /// Entries are refused because the disk is full.
    pub full: bool,
    /// A sync failed: nothing is accepted any more.
    pub failed: bool,
}

/// Called once with the outcome of an append, on the log's writer thread: keep it short.
pub type Done = Box<dyn FnOnce(Result<(), StorageError>) + Send>;
