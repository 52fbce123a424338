//! The one module over LMDB: one environment per generation of a replica.
//!
//! Always true:
//! - NO_TLS (a thread may hold many read transactions), never WRITEMAP (a stray pointer would
//!   damage the file), no DUPSORT (its bugs are not fixed in this version), every commit fully
//!   synced: NO_META_SYNC would save one sync per checkpoint and buy nothing, since checkpoints are
//!   not on the write path.
//! - Nothing borrowed from the map leaves this module: values are copied out while the transaction
//!   is open, and the thread is marked as reading, so that a crash names the tree.
//! - The map grows only while no transaction is open.
//!
//! - A folder is opened once: LMDB forbids two environments of one file in one process, and removing
//!   a folder that somebody else writes would lose it.
//!
//! Reading order: [`Tree`], [`ReadTxn`], [`WriteTxn`], [`Claim`].

mod claim;
mod txn;

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lmdb_sys as ffi;
use parking_lot::{Mutex, RwLock};

use crate::{Space, StorageError, crash};
pub(crate) use claim::Claim;
pub(crate) use txn::{ReadTxn, Scan, WriteTxn};

/// The least key length LMDB must allow: what fits a page twice.
pub(crate) const LEAST_KEY: usize = 1_982;
const MAX_READERS: u32 = 512;
const POOLED: usize = 16;
/// The longest value that can be ours; a longer one is a rotten page.
const MOST_VALUE: usize = 16 << 20;

/// How a tree is opened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TreeOptions {
    /// Address space reserved at first; grows by doubling.
    pub(crate) map_bytes: usize,
    /// A new tree is being filled: commits are not synced until [`Tree::sync`].
    pub(crate) filling: bool,
    /// Make the named databases; else they must be there.
    pub(crate) create: bool,
}

/// An open environment.
pub(crate) struct Tree {
    env: *mut ffi::MDB_env,
    dir: PathBuf,
    claim: Claim,
    group: u64,
    generation: u64,
    rows: [ffi::MDB_dbi; Space::COUNT],
    meta: ffi::MDB_dbi,
    /// Read while a transaction begins, written while the map grows.
    gate: RwLock<()>,
    live: AtomicUsize,
    /// Read transactions that were reset and wait for their next use.
    pool: Mutex<Vec<Idle>>,
    map_bytes: AtomicUsize,
}

struct Idle(*mut ffi::MDB_txn);

// SAFETY: with NO_TLS a read transaction belongs to no thread, and a reset one is used by whoever
// takes it out of the pool's lock.
unsafe impl Send for Idle {}

// SAFETY: an LMDB environment may be used from any thread; `Tree` guards what may not run at once
// (growing the map against beginning transactions) with `gate` and `live`.
unsafe impl Send for Tree {}
// SAFETY: as above.
unsafe impl Sync for Tree {}

impl Tree {
    /// Opens the environment in the claimed folder.
    pub(crate) fn open(
        claim: Claim,
        group: u64,
        generation: u64,
        options: TreeOptions,
    ) -> Result<Arc<Self>, StorageError> {
        let dir = claim.dir().to_owned();
        let name = CString::new(dir.as_os_str().as_bytes()).map_err(|_| StorageError::Invalid {
            what: "tree folder",
            reason: "its name holds a zero".into(),
        })?;
        let mut tree = Self {
            env: ptr::null_mut(),
            dir,
            claim,
            group,
            generation,
            rows: [0; Space::COUNT],
            meta: 0,
            gate: RwLock::new(()),
            live: AtomicUsize::new(0),
            pool: Mutex::default(),
            map_bytes: AtomicUsize::new(options.map_bytes),
        };
        let _reading = crash::reading(group, generation);
        let flags = ffi::MDB_NOTLS | if options.filling { ffi::MDB_NOSYNC } else { 0 };
        // SAFETY: `env` is written by `mdb_env_create` before it is used, and closed exactly once
        // by `Drop`, also when a later call fails. `name` outlives the call.
        let code = unsafe {
            let mut code = ffi::mdb_env_create(&mut tree.env);
            let steps: [&dyn Fn() -> i32; 5] = [
                &|| ffi::mdb_env_set_mapsize(tree.env, options.map_bytes),
                &|| ffi::mdb_env_set_maxreaders(tree.env, MAX_READERS),
                &|| ffi::mdb_env_set_maxdbs(tree.env, Space::COUNT as u32 + 1),
                &|| ffi::mdb_env_set_assert(tree.env, Some(crash::on_assert)),
                &|| ffi::mdb_env_open(tree.env, name.as_ptr(), flags, 0o600),
            ];
            for step in steps {
                if code == 0 {
                    code = step();
                }
            }
            code
        };
        tree.check("open the tree", code)?;
        let limit = tree.max_key();
        if limit < LEAST_KEY {
            return Err(key_limit_error(limit));
        }
        tree.open_databases(options.create)?;
        Ok(Arc::new(tree))
    }

    fn open_databases(&mut self, create: bool) -> Result<(), StorageError> {
        let (begin, open) = if create { (0, ffi::MDB_CREATE) } else { (ffi::MDB_RDONLY, 0) };
        let mut handles = [0; Space::COUNT + 1];
        let names = [c"rows0", c"rows1", c"rows2", c"rows3", c"meta"];
        let _reading = crash::reading(self.group, self.generation);
        // SAFETY: the environment is open; the transaction is ended on every path; the handles are
        // plain numbers that stay valid as long as the environment.
        let code = unsafe {
            let mut txn = ptr::null_mut();
            let mut code = ffi::mdb_txn_begin(self.env, ptr::null_mut(), begin, &mut txn);
            if code == 0 {
                for (name, handle) in names.iter().zip(&mut handles) {
                    if code == 0 {
                        code = ffi::mdb_dbi_open(txn, name.as_ptr(), open, handle);
                    }
                }
                if code == 0 {
                    // Handles of a read transaction are kept only by a commit.
                    code = ffi::mdb_txn_commit(txn);
                } else {
                    ffi::mdb_txn_abort(txn);
                }
            }
            code
        };
        self.check("open the databases of the tree", code)?;
        self.rows.copy_from_slice(&handles[..Space::COUNT]);
        self.meta = handles[Space::COUNT];
        Ok(())
    }

    /// The folder was unlinked: another tree may take its name while this one is still read.
    pub(crate) fn release(&self) {
        self.claim.release();
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Begins (or renews) a read transaction: it sees everything committed before this call.
    pub(crate) fn read(self: &Arc<Self>) -> Result<ReadTxn, StorageError> {
        let _gate = self.gate.read();
        let _reading = crash::reading(self.group, self.generation);
        let idle = self.pool.lock().pop();
        let mut txn = ptr::null_mut();
        // SAFETY: the environment is open. A pooled transaction was reset and is in nobody else's
        // hands.
        let code = unsafe {
            match idle {
                Some(Idle(old)) => {
                    txn = old;
                    ffi::mdb_txn_renew(old)
                }
                None => ffi::mdb_txn_begin(self.env, ptr::null_mut(), ffi::MDB_RDONLY, &mut txn),
            }
        };
        if code != 0 && !txn.is_null() {
            // SAFETY: it came from the pool and failed to renew; nobody else has it.
            unsafe { ffi::mdb_txn_abort(txn) };
        }
        self.check("begin reading the tree", code)?;
        self.live.fetch_add(1, Ordering::SeqCst);
        Ok(ReadTxn::new(self.clone(), txn))
    }

    /// Runs `fill` in one write transaction and commits it; runs it again after growing the map
    /// when the map was full.
    pub(crate) fn write(
        self: &Arc<Self>,
        mut fill: impl FnMut(&mut WriteTxn<'_>) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        loop {
            match self.write_once(&mut fill) {
                Err(StorageError::Tree { code: ffi::MDB_MAP_FULL, .. }) => self.grow()?,
                other => return other,
            }
        }
    }

    fn write_once(
        &self,
        fill: &mut impl FnMut(&mut WriteTxn<'_>) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        let _reading = crash::reading(self.group, self.generation);
        let mut txn = ptr::null_mut();
        // SAFETY: the environment is open; `WriteTxn` ends the transaction exactly once.
        let code = unsafe { ffi::mdb_txn_begin(self.env, ptr::null_mut(), 0, &mut txn) };
        self.check("begin writing the tree", code)?;
        let mut txn = WriteTxn::new(self, txn);
        fill(&mut txn)?;
        txn.commit()
    }

    fn grow(&self) -> Result<(), StorageError> {
        let _gate = self.gate.write();
        if self.live.load(Ordering::SeqCst) > 0 {
            return Err(StorageError::Tree {
                action: "grow its map",
                path: self.dir.clone(),
                code: ffi::MDB_MAP_FULL,
                reason: "the map is full and readers are pinned; the next checkpoint tries again"
                    .into(),
            });
        }
        self.drain_pool();
        let bytes = self.map_bytes.load(Ordering::SeqCst) * 2;
        // SAFETY: no transaction of this process is open: `live` is zero, the pool is empty, and
        // `gate` keeps new ones out. Another process never opens this environment.
        let code = unsafe { ffi::mdb_env_set_mapsize(self.env, bytes) };
        self.check("grow the map of the tree", code)?;
        self.map_bytes.store(bytes, Ordering::SeqCst);
        Ok(())
    }

    /// Makes everything committed durable: for a tree that was filled without syncs.
    pub(crate) fn sync(&self) -> Result<(), StorageError> {
        // SAFETY: the environment is open.
        let code = unsafe { ffi::mdb_env_sync(self.env, 1) };
        self.check("sync the tree", code)
    }

    fn max_key(&self) -> usize {
        // SAFETY: the environment was created.
        let limit = unsafe { ffi::mdb_env_get_maxkeysize(self.env) };
        usize::try_from(limit).unwrap_or(0)
    }

    fn drain_pool(&self) {
        for Idle(txn) in self.pool.lock().drain(..) {
            // SAFETY: pooled transactions are reset and in nobody else's hands.
            unsafe { ffi::mdb_txn_abort(txn) };
        }
    }

    fn check(&self, action: &'static str, code: i32) -> Result<(), StorageError> {
        if code == 0 { Ok(()) } else { Err(self.error(action, code)) }
    }

    fn error(&self, action: &'static str, code: i32) -> StorageError {
        let path = self.dir.clone();
        match code {
            libc::ENOSPC | libc::EDQUOT => StorageError::NoSpace { action, path },
            libc::EIO | ffi::MDB_PANIC => {
                StorageError::fatal(action, &path, std::io::Error::from_raw_os_error(libc::EIO))
            }
            ffi::MDB_CORRUPTED | ffi::MDB_PAGE_NOTFOUND | ffi::MDB_INVALID => {
                StorageError::corrupt("tree page", &path, action, reason(code))
            }
            _ => StorageError::Tree { action, path, code, reason: reason(code) },
        }
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        self.drain_pool();
        if !self.env.is_null() {
            // SAFETY: every transaction holds the `Tree`, so none is open; closed once, here.
            unsafe { ffi::mdb_env_close(self.env) };
        }
    }
}

fn reason(code: i32) -> String {
    // SAFETY: `mdb_strerror` returns a pointer to a static string, or to the C library's message.
    let text = unsafe { std::ffi::CStr::from_ptr(ffi::mdb_strerror(code)) };
    text.to_string_lossy().into_owned()
}

fn key_limit_error(found: usize) -> StorageError {
    StorageError::Invalid {
        what: "LMDB's key limit",
        reason: format!(
            "it is {found} bytes and must be at least {LEAST_KEY}; this program was built without \
             CFLAGS=-DMDB_MAXKEYSIZE=0 (see .cargo/config.toml): build it again from the \
             repository's folder"
        ),
    }
}

/// Refuses a build whose LMDB would not take the longest legal keys.
pub(crate) fn check_key_limit() -> Result<(), StorageError> {
    let mut env = ptr::null_mut();
    // SAFETY: created, asked and closed here, never opened.
    let limit = unsafe {
        if ffi::mdb_env_create(&mut env) != 0 {
            0
        } else {
            let limit = ffi::mdb_env_get_maxkeysize(env);
            ffi::mdb_env_close(env);
            limit
        }
    };
    // 0 is the build we want: the limit follows from the page size when a tree is opened, and is
    // checked there again.
    match usize::try_from(limit).unwrap_or(0) {
        0 => Ok(()),
        limit if limit < LEAST_KEY => Err(key_limit_error(limit)),
        _ => Ok(()),
    }
}
