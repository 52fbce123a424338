//! A replica as of one applied index: frozen overlay layers and a read transaction, pinned.
//!
//! Always true: every call sees the same rows, whatever is applied or checkpointed meanwhile. Bad
//! rows do not end a digest: they are reported beside it.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tombolo_item::{KeyRange, RowKey};

use crate::digest::{self, Digest, Digests, Finding, KeyDigests};
use crate::partition::overlay::{Overlay, Piece, Span};
use crate::row::StoredRow;
use crate::tree::ReadTxn;
use crate::{Partition, PartitionState, Space, StorageError, metrics};

const PIECE_ROWS: usize = 1_024;

/// See the module.
pub struct PinnedView {
    partition: Partition,
    /// Oldest first.
    layers: Vec<Arc<Overlay>>,
    txn: Mutex<ReadTxn>,
    applied: (u64, u64),
    state: Arc<PartitionState>,
}

impl std::fmt::Debug for PinnedView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PinnedView").field("applied", &self.applied).finish_non_exhaustive()
    }
}

impl PinnedView {
    pub(crate) fn new(
        partition: Partition,
        layers: Vec<Arc<Overlay>>,
        txn: ReadTxn,
        applied: (u64, u64),
        state: Arc<PartitionState>,
    ) -> Self {
        Self { partition, layers, txn: Mutex::new(txn), applied, state }
    }

    /// The applied index it shows.
    pub fn index(&self) -> u64 {
        self.applied.0
    }

    pub fn term(&self) -> u64 {
        self.applied.1
    }

    /// The replicated state at that index.
    pub fn state(&self) -> &Arc<PartitionState> {
        &self.state
    }

    pub fn partition(&self) -> &Partition {
        &self.partition
    }

    /// Walks the stored rows of a range in order, tombstones too; a damaged row ends it.
    pub fn range(
        &self,
        space: u8,
        range: &KeyRange,
        reverse: bool,
        visit: &mut dyn FnMut(RowKey, StoredRow) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        let mut span = Span::of(range, reverse);
        loop {
            let (rows, more) = self.piece(space, &mut span, PIECE_ROWS)?;
            for (key, bytes) in rows {
                let row = self.partition.0.stored(space, &key, &bytes)?;
                if visit(key, row).is_break() {
                    return Ok(());
                }
            }
            if !more {
                return Ok(());
            }
        }
    }

    /// [`PinnedView::range`] over rows that were put as [`crate::RowOp`]s.
    pub fn range_raw(
        &self,
        space: u8,
        range: &KeyRange,
        reverse: bool,
        visit: &mut dyn FnMut(RowKey, Bytes) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        let mut span = Span::of(range, reverse);
        loop {
            let (rows, more) = self.piece(space, &mut span, PIECE_ROWS)?;
            for (key, bytes) in rows {
                let value = self.partition.0.raw(space, &key, &bytes)?;
                if visit(key, value).is_break() {
                    return Ok(());
                }
            }
            if !more {
                return Ok(());
            }
        }
    }

    /// The next encoded rows of a span, which moves on; false when it is at its end.
    pub(crate) fn piece(
        &self,
        space: u8,
        span: &mut Span,
        rows: usize,
    ) -> Result<(Vec<(RowKey, Bytes)>, bool), StorageError> {
        let piece = Piece::collect(self.layers.iter().map(|l| &**l), space, span, rows);
        let txn = self.txn.lock();
        self.partition.0.piece_over(piece, &txn, space, rows, span)
    }

    /// Digests of the live items of `range`, one per value of the top `bits` (at most 16) of the
    /// row key's hash, each row verified.
    pub fn digest_buckets(&self, range: &KeyRange, bits: u8) -> Result<Digests, StorageError> {
        let bits = bits.min(16);
        let mut digests =
            Digests { buckets: vec![Digest::default(); 1 << bits], findings: Vec::new() };
        let mut findings = Vec::new();
        self.live(range, &mut findings, &mut |key, row| {
            let bucket = digest::bucket(&key, bits);
            digests.buckets[bucket].add(digest::item_hash(&key, &row.stamp, &row.item), &row.item);
            ControlFlow::Continue(())
        })?;
        digests.findings = findings;
        Ok(digests)
    }

    /// Row key, stamp and hash of up to `limit` live items of `range`, in order, each verified.
    pub fn digest_keys(&self, range: &KeyRange, limit: usize) -> Result<KeyDigests, StorageError> {
        let mut digests = KeyDigests::default();
        let mut findings = Vec::new();
        self.live(range, &mut findings, &mut |key, row| {
            if digests.keys.len() == limit {
                digests.more = true;
                return ControlFlow::Break(());
            }
            let hash = digest::item_hash(&key, &row.stamp, &row.item);
            digests.keys.push((key, row.stamp, hash));
            ControlFlow::Continue(())
        })?;
        digests.findings = findings;
        Ok(digests)
    }

    fn live(
        &self,
        range: &KeyRange,
        findings: &mut Vec<Finding>,
        visit: &mut dyn FnMut(RowKey, StoredRow) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        let mut span = Span::of(range, false);
        loop {
            let (rows, more) = self.piece(Space::ITEMS, &mut span, PIECE_ROWS)?;
            for (key, bytes) in rows {
                match self.partition.0.stored(Space::ITEMS, &key, &bytes) {
                    Ok(row) if row.tombstone => {}
                    Ok(row) => {
                        if visit(key, row).is_break() {
                            return Ok(());
                        }
                    }
                    Err(StorageError::Corrupt { reason, .. }) => {
                        findings.push(Finding { row_key: key, reason });
                    }
                    Err(e) => return Err(e),
                }
            }
            if !more {
                metrics::DIGESTS.inc();
                return Ok(());
            }
        }
    }
}
