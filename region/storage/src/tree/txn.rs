//! Transactions of one tree. Always true: a read transaction goes back to the pool (reset) when it
//! is dropped, a write transaction that was not committed is aborted.

use std::ops::Bound;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use lmdb_sys as ffi;

use super::{Idle, MOST_VALUE, POOLED, Tree};
use crate::{StorageError, crash};

/// One unchanging view of the tree. Holding it keeps the pages it sees from being used again.
pub(crate) struct ReadTxn {
    tree: Arc<Tree>,
    txn: *mut ffi::MDB_txn,
}

// SAFETY: with NO_TLS a read transaction may move between threads; `&self` methods are kept to one
// thread at a time because the type is not `Sync`.
unsafe impl Send for ReadTxn {}

/// Where a scan goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scan<'a> {
    pub(crate) start: Bound<&'a [u8]>,
    pub(crate) end: Bound<&'a [u8]>,
    pub(crate) reverse: bool,
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
}

impl ReadTxn {
    pub(super) fn new(tree: Arc<Tree>, txn: *mut ffi::MDB_txn) -> Self {
        Self { tree, txn }
    }

    pub(crate) fn get(&self, space: u8, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        self.get_from(self.tree.rows[usize::from(space)], key)
    }

    pub(crate) fn meta(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        self.get_from(self.tree.meta, key)
    }

    fn get_from(&self, dbi: ffi::MDB_dbi, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        let _reading = crash::reading(self.tree.group, self.tree.generation);
        let (mut key, mut value) = (borrowed(key), empty());
        // SAFETY: the transaction is open; LMDB only reads through `key`; `value` points into the
        // map, which stays as it is while the transaction is open, and is copied here.
        unsafe {
            match ffi::mdb_get(self.txn, dbi, &mut key, &mut value) {
                0 => Ok(Some(copied(&self.tree, &value)?)),
                ffi::MDB_NOTFOUND => Ok(None),
                code => Err(self.tree.error("read a row", code)),
            }
        }
    }

    /// Copies rows of a range, in order, until a limit; true when it stopped at a limit.
    pub(crate) fn scan(
        &self,
        space: u8,
        scan: Scan<'_>,
        out: &mut Vec<(Bytes, Bytes)>,
    ) -> Result<bool, StorageError> {
        let _reading = crash::reading(self.tree.group, self.tree.generation);
        let mut cursor = Cursor::open(self, self.tree.rows[usize::from(space)])?;
        let mut row = cursor.seek(scan)?;
        let mut bytes = 0;
        while let Some((key, value)) = row {
            if !inside(&key, scan) {
                return Ok(false);
            }
            if out.len() >= scan.rows || bytes >= scan.bytes {
                return Ok(true);
            }
            bytes += key.len() + value.len();
            out.push((key, value));
            row = cursor.step(if scan.reverse { ffi::MDB_PREV } else { ffi::MDB_NEXT })?;
        }
        Ok(false)
    }
}

impl Drop for ReadTxn {
    fn drop(&mut self) {
        let mut pool = self.tree.pool.lock();
        // SAFETY: the transaction is open and nobody else has it; after the reset only the pool
        // does.
        unsafe {
            if pool.len() < POOLED {
                ffi::mdb_txn_reset(self.txn);
                pool.push(Idle(self.txn));
            } else {
                ffi::mdb_txn_abort(self.txn);
            }
        }
        self.tree.live.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Whether a key still lies within the bound a scan runs towards.
fn inside(key: &[u8], scan: Scan<'_>) -> bool {
    match (scan.reverse, scan.start, scan.end) {
        (false, _, Bound::Included(end)) => key <= end,
        (false, _, Bound::Excluded(end)) => key < end,
        (true, Bound::Included(start), _) => key >= start,
        (true, Bound::Excluded(start), _) => key > start,
        _ => true,
    }
}

struct Cursor<'a> {
    txn: &'a ReadTxn,
    cursor: *mut ffi::MDB_cursor,
}

impl<'a> Cursor<'a> {
    fn open(txn: &'a ReadTxn, dbi: ffi::MDB_dbi) -> Result<Self, StorageError> {
        let mut cursor = ptr::null_mut();
        // SAFETY: the transaction is open and outlives the cursor, which `Drop` closes.
        let code = unsafe { ffi::mdb_cursor_open(txn.txn, dbi, &mut cursor) };
        txn.tree.check("open a cursor", code)?;
        Ok(Self { txn, cursor })
    }

    /// The first row of the scan.
    fn seek(&mut self, scan: Scan<'_>) -> Result<Option<(Bytes, Bytes)>, StorageError> {
        let from = if scan.reverse { scan.end } else { scan.start };
        let (Bound::Included(bound) | Bound::Excluded(bound)) = from else {
            return self.step(if scan.reverse { ffi::MDB_LAST } else { ffi::MDB_FIRST });
        };
        if bound.is_empty() {
            // LMDB knows no empty key: everything comes after it.
            return if scan.reverse { Ok(None) } else { self.step(ffi::MDB_FIRST) };
        }
        let found = self.get(borrowed(bound), ffi::MDB_SET_RANGE)?;
        let hit = found.as_ref().is_some_and(|(key, _)| key == bound);
        let wanted = matches!(from, Bound::Included(_));
        match (scan.reverse, found) {
            (false, Some(_)) if hit && !wanted => self.step(ffi::MDB_NEXT),
            (false, found) => Ok(found),
            (true, None) => self.step(ffi::MDB_LAST),
            (true, found) if hit && wanted => Ok(found),
            (true, Some(_)) => self.step(ffi::MDB_PREV),
        }
    }

    fn step(&mut self, op: ffi::MDB_cursor_op) -> Result<Option<(Bytes, Bytes)>, StorageError> {
        self.get(empty(), op)
    }

    fn get(
        &mut self,
        mut key: ffi::MDB_val,
        op: ffi::MDB_cursor_op,
    ) -> Result<Option<(Bytes, Bytes)>, StorageError> {
        let mut value = empty();
        let tree = &self.txn.tree;
        // SAFETY: cursor and transaction are open; what the pointers show afterwards lies in the
        // map, unchanged while the transaction is open, and is copied here.
        unsafe {
            match ffi::mdb_cursor_get(self.cursor, &mut key, &mut value, op) {
                0 => Ok(Some((copied(tree, &key)?, copied(tree, &value)?))),
                ffi::MDB_NOTFOUND => Ok(None),
                code => Err(tree.error("read a range", code)),
            }
        }
    }
}

impl Drop for Cursor<'_> {
    fn drop(&mut self) {
        // SAFETY: opened in `open`, closed once, before its transaction ends.
        unsafe { ffi::mdb_cursor_close(self.cursor) };
    }
}

/// The one write transaction of a tree.
pub(crate) struct WriteTxn<'a> {
    tree: &'a Tree,
    txn: *mut ffi::MDB_txn,
}

impl<'a> WriteTxn<'a> {
    pub(super) fn new(tree: &'a Tree, txn: *mut ffi::MDB_txn) -> Self {
        Self { tree, txn }
    }

    pub(crate) fn put(&mut self, space: u8, key: &[u8], value: &[u8]) -> Result<(), StorageError> {
        self.put_into(self.tree.rows[usize::from(space)], key, value)
    }

    pub(crate) fn put_meta(&mut self, key: &[u8], value: &[u8]) -> Result<(), StorageError> {
        self.put_into(self.tree.meta, key, value)
    }

    fn put_into(
        &mut self,
        dbi: ffi::MDB_dbi,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), StorageError> {
        let _reading = crash::reading(self.tree.group, self.tree.generation);
        let (mut key, mut value) = (borrowed(key), borrowed(value));
        // SAFETY: the transaction is open; LMDB copies key and value during the call.
        let code = unsafe { ffi::mdb_put(self.txn, dbi, &mut key, &mut value, 0) };
        self.tree.check("write a row", code)
    }

    /// Deletes a row; one that is not there is fine.
    pub(crate) fn delete(&mut self, space: u8, key: &[u8]) -> Result<(), StorageError> {
        let _reading = crash::reading(self.tree.group, self.tree.generation);
        let mut key = borrowed(key);
        let dbi = self.tree.rows[usize::from(space)];
        // SAFETY: as in `put_into`; a null value deletes the key whatever its value.
        match unsafe { ffi::mdb_del(self.txn, dbi, &mut key, ptr::null_mut()) } {
            ffi::MDB_NOTFOUND => Ok(()),
            code => self.tree.check("delete a row", code),
        }
    }

    pub(super) fn commit(mut self) -> Result<(), StorageError> {
        let _reading = crash::reading(self.tree.group, self.tree.generation);
        let txn = std::mem::replace(&mut self.txn, ptr::null_mut());
        // SAFETY: the transaction is open; a commit ends it in every case, and `Drop` sees null.
        let code = unsafe { ffi::mdb_txn_commit(txn) };
        self.tree.check("commit", code)
    }
}

impl Drop for WriteTxn<'_> {
    fn drop(&mut self) {
        if !self.txn.is_null() {
            // SAFETY: open and not committed.
            unsafe { ffi::mdb_txn_abort(self.txn) };
        }
    }
}

fn borrowed(bytes: &[u8]) -> ffi::MDB_val {
    ffi::MDB_val { mv_size: bytes.len(), mv_data: bytes.as_ptr().cast_mut().cast() }
}

fn empty() -> ffi::MDB_val {
    ffi::MDB_val { mv_size: 0, mv_data: ptr::null_mut() }
}

/// Copies what LMDB points to.
///
/// # Safety
/// `value` must have been filled by LMDB within a transaction that is still open.
unsafe fn copied(tree: &Tree, value: &ffi::MDB_val) -> Result<Bytes, StorageError> {
    if value.mv_size > MOST_VALUE {
        let reason = format!("a length of {} bytes", value.mv_size);
        return Err(StorageError::corrupt("tree page", tree.dir(), "a node's header", reason));
    }
    if value.mv_size == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: per the contract above the pointer is valid for `mv_size` bytes (a rotten page may
    // lie: then the crash handler names this tree).
    let slice = unsafe { std::slice::from_raw_parts(value.mv_data.cast::<u8>(), value.mv_size) };
    Ok(Bytes::copy_from_slice(slice))
}
