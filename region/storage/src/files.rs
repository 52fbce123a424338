//! Small file-system steps that must be durable: folders, renames, removals, and files full of
//! zeros.
//!
//! Always true: after a function here returns `Ok`, its effect survives a power cut.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use crate::StorageError;

/// Makes the names inside `dir` durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), StorageError> {
    File::open(dir)
        .and_then(|d| d.sync_all())
        .map_err(|e| StorageError::io("sync the folder", dir, e))
}

/// Creates `dir` and its missing parents, each name durable.
pub(crate) fn create_dir(dir: &Path) -> Result<(), StorageError> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = dir.parent().filter(|p| !p.as_os_str().is_empty());
    if let Some(parent) = parent {
        create_dir(parent)?;
    }
    match fs::create_dir(dir) {
        Err(e) if e.kind() != ErrorKind::AlreadyExists => {
            return Err(StorageError::io("create the folder", dir, e));
        }
        _ => {}
    }
    sync_dir(parent.unwrap_or(Path::new(".")))
}

/// Renames inside one folder.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), StorageError> {
    fs::rename(from, to).map_err(|e| StorageError::io("rename", from, e))?;
    match to.parent() {
        Some(dir) => sync_dir(dir),
        None => Ok(()),
    }
}

/// Removes a file; one that is gone already is fine.
pub(crate) fn remove_file(path: &Path) -> Result<(), StorageError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(StorageError::io("remove", path, e)),
        _ => Ok(()),
    }
}

/// Removes a folder with all in it; one that is gone already is fine.
pub(crate) fn remove_dir(path: &Path) -> Result<(), StorageError> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => {
            Err(StorageError::io("remove the folder", path, e))
        }
        _ => Ok(()),
    }
}

/// The names in a folder, sorted; a missing folder is empty.
pub(crate) fn list(dir: &Path) -> Result<Vec<(String, PathBuf)>, StorageError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(StorageError::io("list the folder", dir, e)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| StorageError::io("list the folder", dir, e))?;
        if let Ok(name) = entry.file_name().into_string() {
            names.push((name, entry.path()));
        }
    }
    names.sort();
    Ok(names)
}

/// Creates `path` with `bytes` zeros, really written, and synced. On failure nothing is left.
pub(crate) fn zero_filled(path: &Path, bytes: u64) -> Result<(), StorageError> {
    let filled = fill(path, bytes);
    if filled.is_err()
        && let Err(e) = remove_file(path)
    {
        tracing::warn!(path = %path.display(), error = %e, "a half-filled segment stays behind");
    }
    filled
}

fn fill(path: &Path, bytes: u64) -> Result<(), StorageError> {
    const ACTION: &str = "zero-fill the log segment";
    let fail = |e| StorageError::io(ACTION, path, e);
    let mut file =
        OpenOptions::new().create(true).write(true).truncate(true).open(path).map_err(fail)?;
    // SAFETY: the descriptor is open and owned by `file` for the whole call; no memory is passed.
    // The call only reserves blocks, so that a full disk is seen at once and not after the writing.
    let reserved = unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, bytes as libc::off_t) };
    if reserved != 0 {
        let e = std::io::Error::last_os_error();
        // Some file systems cannot reserve; there the writing below finds out.
        if crate::error::is_full(&e) {
            return Err(fail(e));
        }
    }
    let zeros = vec![0; 1 << 20];
    let mut left = bytes;
    while left > 0 {
        let now = left.min(zeros.len() as u64);
        file.write_all(&zeros[..now as usize]).map_err(fail)?;
        left -= now;
    }
    file.sync_all().map_err(fail)?;
    match path.parent() {
        Some(dir) => sync_dir(dir),
        None => Ok(()),
    }
}

/// Holds a lock file; another process that asks for it is refused while this lives.
pub(crate) struct LockFile(#[allow(dead_code, reason = "held, never read")] File);

impl LockFile {
    pub(crate) fn take(what: &'static str, path: PathBuf) -> Result<Self, StorageError> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|e| StorageError::io("open the lock file", &path, e))?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(fs::TryLockError::WouldBlock) => Err(StorageError::Locked { what, path }),
            Err(fs::TryLockError::Error(e)) => Err(StorageError::io("lock", &path, e)),
        }
    }
}
