//! The one error of the crate: what was attempted, on which file, and what to do about it.
//!
//! Always true: only [`StorageError::Fatal`] and [`StorageError::WalDamaged`] end a node;
//! [`StorageError::NoSpace`] passes when there is room again; everything else concerns one replica
//! or one call.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tombolo_item::FormatError;

/// What went wrong on this node's disk. Cheap to clone: one failed sync answers many waiters.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StorageError {
    /// The disk is full. Nothing of the refused call was kept; reads go on; retry when there is
    /// room.
    #[error(
        "{action} {path}: no space left on the disk; nothing of it was kept; free space or add a disk, writes resume by themselves"
    )]
    NoSpace { action: &'static str, path: PathBuf },
    /// A write or sync failed in a way after which the kernel's cache cannot be trusted.
    #[error(
        "{action} {path} failed: {source}; what the disk holds is unknown now: stop this node, check the disk, start again (it recovers from its log and its peers)"
    )]
    Fatal { action: &'static str, path: PathBuf, source: Arc<std::io::Error> },
    #[error("{action} {path} failed: {source}")]
    Io { action: &'static str, path: PathBuf, source: Arc<std::io::Error> },
    /// Damage in the middle of the write-ahead log: records that were acknowledged are lost.
    #[error(
        "write-ahead log damaged: {path} at byte {offset}: {reason}; acknowledged records follow or are missing, so this is not a torn tail: do not delete it; move this node's data folder away, start the node empty under its old id so that its replicas are rebuilt from the other zones"
    )]
    WalDamaged { path: PathBuf, offset: u64, reason: String },
    /// A stored row, log or chunk whose checksum or content is wrong.
    #[error(
        "{what} in {path} is corrupt ({place}): {reason}; this copy must be rebuilt from a healthy replica"
    )]
    Corrupt { what: &'static str, path: PathBuf, place: String, reason: String },
    /// Written by another version of this program.
    #[error(
        "{what} in {path} has format version {found}; this program knows version {known}: use the program that wrote it"
    )]
    UnknownVersion { what: &'static str, path: PathBuf, found: u8, known: u8 },
    #[error("LMDB refused to {action} in {path}: {reason} (code {code})")]
    Tree { action: &'static str, path: PathBuf, code: i32, reason: String },
    /// A log record that contradicts the replica's state: a fault of the program, not of the disk.
    #[error("group {group}: log record at index {index} cannot be applied: {reason}")]
    Unappliable { group: String, index: u64, reason: String },
    /// The change log no longer (or not yet) holds this sequence number.
    #[error(
        "group {group}: change {wanted} is not in the log any more, the oldest kept is {oldest}: take a snapshot"
    )]
    Trimmed { group: String, wanted: u64, oldest: u64 },
    #[error("{what}: {reason}")]
    Invalid { what: &'static str, reason: String },
    #[error(
        "{what} is in use by another process ({path}): two processes must not share a data folder"
    )]
    Locked { what: &'static str, path: PathBuf },
    #[error(
        "the replica's folder {path} is in use in this process: close or destroy that replica first, then try again"
    )]
    InUse { path: PathBuf },
    #[error("the write-ahead log has stopped: {reason}")]
    Stopped { reason: String },
}

impl StorageError {
    /// An I/O error while doing `action` on `path`; a full disk becomes [`StorageError::NoSpace`].
    pub(crate) fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        if is_full(&source) {
            return Self::NoSpace { action, path: path.to_owned() };
        }
        Self::Io { action, path: path.to_owned(), source: Arc::new(source) }
    }

    pub(crate) fn fatal(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::Fatal { action, path: path.to_owned(), source: Arc::new(source) }
    }

    pub(crate) fn corrupt(
        what: &'static str,
        path: &Path,
        place: impl Into<String>,
        reason: impl ToString,
    ) -> Self {
        crate::metrics::corruption(what);
        Self::Corrupt {
            what,
            path: path.to_owned(),
            place: place.into(),
            reason: reason.to_string(),
        }
    }

    pub(crate) fn format(what: &'static str, source: FormatError) -> Self {
        Self::Invalid { what, reason: source.to_string() }
    }

    /// The disk was full; the same call may succeed later.
    pub fn is_no_space(&self) -> bool {
        matches!(self, Self::NoSpace { .. })
    }

    /// The node must stop: what its disk holds is unknown or damaged.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Fatal { .. } | Self::WalDamaged { .. } | Self::Stopped { .. })
    }

    /// The replica's stored data is damaged and must be rebuilt.
    pub fn is_corrupt(&self) -> bool {
        matches!(self, Self::Corrupt { .. })
    }
}

pub(crate) fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}
