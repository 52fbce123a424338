//! Who uses a generation's folder in this process. Always true: at most one holder per folder, from
//! before it is created or emptied until its tree is closed or its files are unlinked.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::StorageError;

static CLAIMED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// The right to use a folder, until dropped or released.
pub(crate) struct Claim {
    dir: PathBuf,
    held: AtomicBool,
}

impl Claim {
    pub(crate) fn take(dir: &Path) -> Result<Self, StorageError> {
        if !CLAIMED.lock().insert(dir.to_owned()) {
            return Err(StorageError::InUse { path: dir.to_owned() });
        }
        Ok(Self { dir: dir.to_owned(), held: AtomicBool::new(true) })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn release(&self) {
        if self.held.swap(false, Ordering::SeqCst) {
            CLAIMED.lock().remove(&self.dir);
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.release();
    }
}
