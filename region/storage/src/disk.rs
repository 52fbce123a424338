//! One node's data folder.
//!
//! ```text
//! DIR/LOCK              held while a node runs
//! DIR/quarantine        replicas whose tree crashed the process
//! DIR/wal/              the write-ahead log
//! DIR/replicas/<group>/<generation>/      tree (data.mdb, lock.mdb)
//! DIR/replicas/<group>/<generation>/logs-<epoch>/log-<first>-<last>
//! ```
//! Numbers are hexadecimal; names of tables and items appear nowhere. Other files in DIR (`node.toml`,
//! `lost+found`) are left alone.
//!
//! Always true: one process per folder; a replica that once crashed the process is listed in
//! [`Disk::quarantined`] until it has another generation or is cleared.

use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use tombolo_item::GroupId;

use crate::{StorageError, crash, files, partition, tree};

/// Files a node needs beside those of its replicas.
const LEAST_FILES: u64 = 4_096;

/// The data folder of a node, in use by this process.
pub struct Disk {
    dir: PathBuf,
    quarantined: Mutex<Vec<(u64, u64)>>,
    _lock: files::LockFile,
}

impl Disk {
    /// Takes the folder (created when missing): locks it, checks LMDB's key limit, raises the limit
    /// of open files, installs the crash handler, reads what earlier crashes left.
    pub fn open(dir: &Path) -> Result<Self, StorageError> {
        tree::check_key_limit()?;
        files::create_dir(dir)?;
        let lock = files::LockFile::take("the data folder", dir.join("LOCK"))?;
        let limit = raise_file_limit()?;
        if limit < LEAST_FILES {
            tracing::warn!(
                limit,
                wanted = LEAST_FILES,
                "few open files are allowed; each replica takes three: raise `ulimit -n`"
            );
        }
        files::create_dir(&dir.join("replicas"))?;
        let report = dir.join("quarantine");
        let disk = Self { dir: dir.to_owned(), quarantined: Mutex::default(), _lock: lock };
        let mut found = crash::read(&report)?;
        found.retain(|(group, generation)| {
            partition::generation_dir(&disk.replica_dir(GroupId(*group)), *generation).is_dir()
        });
        crash::rewrite(&report, &found)?;
        for (group, generation) in &found {
            tracing::error!(
                group = %GroupId(*group),
                generation,
                "reading this replica's tree crashed the node: it stays closed until it is rebuilt"
            );
        }
        *disk.quarantined.lock() = found;
        crash::install(&report)?;
        Ok(disk)
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn wal_dir(&self) -> PathBuf {
        self.dir.join("wal")
    }

    /// The folder of a group's replica, which holds its generations.
    pub fn replica_dir(&self, group: GroupId) -> PathBuf {
        self.dir.join("replicas").join(format!("{:016x}", group.0))
    }

    /// Groups that have a folder; some may be leftovers of groups the log no longer knows.
    pub fn replicas(&self) -> Result<Vec<GroupId>, StorageError> {
        let names = files::list(&self.dir.join("replicas"))?;
        let group = |(name, _): &(String, PathBuf)| {
            (name.len() == 16).then(|| u64::from_str_radix(name, 16).ok()).flatten().map(GroupId)
        };
        Ok(names.iter().filter_map(group).collect())
    }

    /// Replicas (group, generation) whose tree crashed the process: do not open them, rebuild them
    /// from a healthy copy.
    pub fn quarantined(&self) -> Vec<(GroupId, u64)> {
        self.quarantined
            .lock()
            .iter()
            .map(|(group, generation)| (GroupId(*group), *generation))
            .collect()
    }

    /// Forgets that a group's replica was quarantined: it was rebuilt or removed.
    pub fn clear_quarantine(&self, group: GroupId) -> Result<(), StorageError> {
        let mut quarantined = self.quarantined.lock();
        quarantined.retain(|(g, _)| *g != group.0);
        let report = self.dir.join("quarantine");
        crash::rewrite(&report, &quarantined)
    }

    /// Removes a group's folder with all generations. The replica must not be open.
    pub fn remove_replica(&self, group: GroupId) -> Result<(), StorageError> {
        files::remove_dir(&self.replica_dir(group))?;
        files::sync_dir(&self.dir.join("replicas"))
    }
}

/// Raises this process's limit of open files as far as the system lets it; returns the limit.
pub fn raise_file_limit() -> Result<u64, StorageError> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid `rlimit` for both calls, which only read or write it.
    let failed = unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) != 0 || {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit) != 0
        }
    };
    if failed {
        let reason = std::io::Error::last_os_error().to_string();
        return Err(StorageError::Invalid { what: "limit of open files", reason });
    }
    Ok(limit.rlim_cur)
}
