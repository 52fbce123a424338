//! One node's data folder: `DIR/{wal/, replicas/<group>/<generation>/, quarantine}`.
use std::path::{Path, PathBuf};
use tombolo_item::GroupId;
use crate::StorageError;

pub struct Disk(());
#[allow(unused_variables)]
impl Disk {
    /// Locks the folder, checks LMDB's key limit, raises the file limit, installs the crash handler.
    pub fn open(dir: &Path) -> Result<Self, StorageError> { todo!() }
    pub fn dir(&self) -> &Path { todo!() }
    pub fn wal_dir(&self) -> PathBuf { todo!() }
    pub fn replica_dir(&self, group: GroupId) -> PathBuf { todo!() }
    /// Groups that have a folder.
    pub fn replicas(&self) -> Result<Vec<GroupId>, StorageError> { todo!() }
    /// Replicas whose tree crashed the process: (group, generation). Rebuild them from a healthy copy.
    pub fn quarantined(&self) -> Vec<(GroupId, u64)> { todo!() }
    pub fn clear_quarantine(&self, group: GroupId) -> Result<(), StorageError> { todo!() }
    /// Removes a group's folder with all generations.
    pub fn remove_replica(&self, group: GroupId) -> Result<(), StorageError> { todo!() }
}

pub fn raise_file_limit() -> Result<u64, StorageError> { todo!() }
