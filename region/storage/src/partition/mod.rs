//! One replica of a group: overlay in memory, tree and sealed logs on disk.
//!
//! Always true:
//! - Rows and state at an applied index are the same on every replica, whatever was checkpointed,
//!   reopened or installed on the way.
//! - The tree's rows, its applied index and the state were committed together.
//! - A reader looks at the overlays first and begins its tree transaction after; a frozen overlay is
//!   dropped only after the commit that holds it. So no row vanishes for a moment.
//! - What a sealed log holds reaches disk before the tree's commit that covers it.
//!
//! Absent: threads, clocks, consensus. The host applies from one thread and checkpoints from
//! another; readers come from anywhere.
//!
//! Reading order: [`state`], `overlay`, `window`, `apply`, `checkpoint`, `changes`.

mod apply;
mod changes;
mod checkpoint;
pub(crate) mod overlay;
pub mod state;
mod window;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tombolo_item::{GroupId, KeyRange, RowKey, Shard};
use uuid::Uuid;

pub use apply::Applied;
pub use changes::{Changes, Retention, Trimmed};
pub use checkpoint::Checkpoint;
pub use state::{KeptAnswer, PartitionState, Session, TokenAnswer};

use crate::row::{self, Row, StoredRow};
use crate::sealed::{self, SealedLog};
use crate::snapshot::SnapshotReader;
use crate::tree::{Claim, Scan, Tree, TreeOptions};
use crate::view::PinnedView;
use crate::{Space, StorageError, files};
use overlay::{Overlay, Piece, Span};
use window::Window;

/// The key of the saved state in the tree's `meta` database.
pub(crate) const STATE_KEY: &[u8] = b"state";

/// What a host may tune about a partition.
#[derive(Debug, Clone, Copy)]
pub struct PartitionSettings {
    /// Overlay bytes at which a checkpoint is due; at twice this, new proposals should be refused.
    pub overlay_bytes: usize,
    /// Change records kept in memory after they were sealed.
    pub window_bytes: usize,
    /// Address space reserved for the tree at first; it grows by doubling.
    pub map_bytes: usize,
}

impl Default for PartitionSettings {
    fn default() -> Self {
        Self { overlay_bytes: 16 << 20, window_bytes: 8 << 20, map_bytes: 16 << 30 }
    }
}

/// A replica. Clones are the same replica.
#[derive(Clone)]
pub struct Partition(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) group: GroupId,
    generation: u64,
    /// The replica's folder, and the generation's inside it.
    replica_dir: PathBuf,
    pub(crate) dir: PathBuf,
    settings: PartitionSettings,
    pub(crate) tree: Arc<Tree>,
    pub(crate) memory: RwLock<Memory>,
    /// One checkpoint at a time.
    checkpointing: Mutex<()>,
    pub(crate) sealed: Mutex<Vec<SealedLog>>,
    destroyed: AtomicBool,
}

pub(crate) struct Memory {
    active: Overlay,
    /// Frozen layers, oldest first.
    frozen: Vec<Arc<Overlay>>,
    /// How many of them, and of their bytes, the running checkpoint writes.
    writing_bytes: usize,
    pub(crate) applied: (u64, u64),
    checkpointed: (u64, u64),
    pub(crate) state: Arc<PartitionState>,
    pub(crate) window: Window,
}

impl Memory {
    /// Turns the active overlay into a frozen layer.
    fn freeze(&mut self) {
        if !self.active.is_empty() {
            self.frozen.push(Arc::new(std::mem::take(&mut self.active)));
        }
    }

    fn overlay_bytes(&self) -> usize {
        self.active.bytes() + self.frozen.iter().map(|o| o.bytes()).sum::<usize>()
    }

    /// Oldest first.
    fn layers(&self) -> impl Iterator<Item = &Overlay> {
        self.frozen.iter().map(|o| &**o).chain(std::iter::once(&self.active))
    }
}

/// The folder of a generation inside a replica's folder.
pub(crate) fn generation_dir(replica_dir: &Path, generation: u64) -> PathBuf {
    replica_dir.join(format!("{generation:016x}"))
}

impl Partition {
    /// Makes an empty replica in `dir/<generation>`, durable before it returns. What an unfinished
    /// earlier attempt left of this generation is removed.
    pub fn create(dir: &Path, generation: u64, group: GroupId) -> Result<Self, StorageError> {
        Self::create_with(dir, generation, group, PartitionSettings::default())
    }

    /// [`Partition::create`] with settings.
    pub fn create_with(
        dir: &Path,
        generation: u64,
        group: GroupId,
        settings: PartitionSettings,
    ) -> Result<Self, StorageError> {
        let folder = generation_dir(dir, generation);
        let claim = Claim::take(&folder)?;
        files::remove_dir(&folder)?;
        files::create_dir(&folder)?;
        let options = TreeOptions { map_bytes: settings.map_bytes, filling: false, create: true };
        let tree = Tree::open(claim, group.0, generation, options)?;
        let state = PartitionState::default();
        tree.write(|txn| txn.put_meta(STATE_KEY, &state.encode((0, 0))))?;
        files::sync_dir(&folder)?;
        Ok(Self::assemble(dir, generation, group, settings, tree, state, (0, 0), Vec::new()))
    }

    /// Opens the replica's `generation`; other generations (an old one, or a snapshot that was not
    /// finished or not switched to) are removed.
    pub fn open(dir: &Path, generation: u64, group: GroupId) -> Result<Self, StorageError> {
        Self::open_with(dir, generation, group, PartitionSettings::default())
    }

    /// [`Partition::open`] with settings.
    pub fn open_with(
        dir: &Path,
        generation: u64,
        group: GroupId,
        settings: PartitionSettings,
    ) -> Result<Self, StorageError> {
        let folder = generation_dir(dir, generation);
        if !folder.is_dir() {
            return Err(StorageError::corrupt(
                "replica",
                &folder,
                format!("group {group}"),
                "the folder of the generation that the log names is missing",
            ));
        }
        let opened = Self::open_folder(dir, generation, group, settings)?;
        for (name, path) in files::list(dir)? {
            if path.is_dir() && path != folder && name.len() == 16 {
                files::remove_dir(&path)?;
            }
        }
        Ok(opened)
    }

    pub(crate) fn open_folder(
        dir: &Path,
        generation: u64,
        group: GroupId,
        settings: PartitionSettings,
    ) -> Result<Self, StorageError> {
        let folder = generation_dir(dir, generation);
        let options = TreeOptions { map_bytes: settings.map_bytes, filling: false, create: false };
        let tree = Tree::open(Claim::take(&folder)?, group.0, generation, options)?;
        let damaged = |reason: String| {
            StorageError::corrupt("partition state", &folder, format!("group {group}"), reason)
        };
        let saved = tree
            .read()?
            .meta(STATE_KEY)?
            .ok_or_else(|| damaged("the tree was never finished".into()))?;
        let (state, applied) = PartitionState::decode(&saved).map_err(damaged)?;
        let logs = match &state.config {
            Some(config) => sealed::open(&sealed::folder(&folder, config.epoch), state.seq)?,
            None => Vec::new(),
        };
        Ok(Self::assemble(dir, generation, group, settings, tree, state, applied, logs))
    }

    #[allow(clippy::too_many_arguments, reason = "one private constructor for both ways in")]
    fn assemble(
        dir: &Path,
        generation: u64,
        group: GroupId,
        settings: PartitionSettings,
        tree: Arc<Tree>,
        state: PartitionState,
        applied: (u64, u64),
        logs: Vec<SealedLog>,
    ) -> Self {
        let keep_log = state.config.as_ref().is_some_and(|c| c.keep_log);
        Self(Arc::new(Inner {
            group,
            generation,
            replica_dir: dir.to_owned(),
            dir: generation_dir(dir, generation),
            settings,
            tree,
            memory: RwLock::new(Memory {
                active: Overlay::default(),
                frozen: Vec::new(),
                writing_bytes: 0,
                applied,
                checkpointed: applied,
                window: Window::new(state.seq, keep_log),
                state: Arc::new(state),
            }),
            checkpointing: Mutex::new(()),
            sealed: Mutex::new(logs),
            destroyed: AtomicBool::new(false),
        }))
    }

    /// Unlinks the replica's generation. Views and clones that are still held stay readable until
    /// they are dropped; their space comes back then.
    pub fn destroy(self) -> Result<(), StorageError> {
        let _no_checkpoint = self.0.checkpointing.lock();
        if self.0.destroyed.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        files::remove_dir(&self.0.dir)?;
        self.0.tree.release();
        // Gone too when this was its last generation.
        match std::fs::remove_dir(&self.0.replica_dir) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::DirectoryNotEmpty => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => {
                return Err(StorageError::io("remove the folder", &self.0.replica_dir, e));
            }
        }
        match self.0.replica_dir.parent() {
            Some(parent) => files::sync_dir(parent),
            None => Ok(()),
        }
    }

    pub fn group(&self) -> GroupId {
        self.0.group
    }

    pub fn generation(&self) -> u64 {
        self.0.generation
    }

    /// The generation's folder.
    pub fn dir(&self) -> &Path {
        &self.0.dir
    }

    /// Index and term of the last applied entry.
    pub fn applied(&self) -> (u64, u64) {
        self.0.memory.read().applied
    }

    /// Index and term that the tree on disk holds.
    pub fn checkpointed(&self) -> (u64, u64) {
        self.0.memory.read().checkpointed
    }

    /// The state as of `applied`. Drop it soon: the next apply copies what is still held.
    pub fn state(&self) -> Arc<PartitionState> {
        self.0.memory.read().state.clone()
    }

    /// What is known about a write token, without holding the state.
    pub fn token(&self, session: &Uuid, number: u64, issued_ms: u64) -> TokenAnswer {
        self.0.memory.read().state.token(session, number, issued_ms)
    }

    /// The shard whose changes this partition logs now.
    pub(crate) fn shard(&self, state: &PartitionState) -> Shard {
        Shard { group: self.0.group, epoch: state.config.as_ref().map_or(0, |c| c.epoch) }
    }

    /// The stored version of a row, verified; tombstones too.
    pub fn get(&self, space: u8, key: &RowKey) -> Result<Option<StoredRow>, StorageError> {
        self.0.lookup(space, key)?.map(|bytes| self.0.stored(space, key, &bytes)).transpose()
    }

    /// The value of a row that was put as a [`crate::RowOp`], verified.
    pub fn get_raw(&self, space: u8, key: &RowKey) -> Result<Option<Bytes>, StorageError> {
        self.0.lookup(space, key)?.map(|bytes| self.0.raw(space, key, &bytes)).transpose()
    }

    /// Walks the stored rows of a range in order, tombstones too. Each row is at least as new as
    /// when the call began; the walk as a whole is no snapshot (that is [`Partition::view`]).
    pub fn range(
        &self,
        space: u8,
        range: &KeyRange,
        reverse: bool,
        visit: &mut dyn FnMut(RowKey, StoredRow) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        self.walk(space, range, reverse, &mut |key, bytes| {
            let row = self.0.stored(space, &key, &bytes)?;
            Ok(visit(key, row))
        })
    }

    /// [`Partition::range`] over rows that were put as [`crate::RowOp`]s.
    pub fn range_raw(
        &self,
        space: u8,
        range: &KeyRange,
        reverse: bool,
        visit: &mut dyn FnMut(RowKey, Bytes) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        self.walk(space, range, reverse, &mut |key, bytes| {
            let value = self.0.raw(space, &key, &bytes)?;
            Ok(visit(key, value))
        })
    }

    fn walk(
        &self,
        space: u8,
        range: &KeyRange,
        reverse: bool,
        visit: &mut dyn FnMut(RowKey, Bytes) -> Result<ControlFlow<()>, StorageError>,
    ) -> Result<(), StorageError> {
        check_space(space)?;
        let mut span = Span::of(range, reverse);
        let mut rows = 32;
        loop {
            let piece = Piece::collect(self.0.memory.read().layers(), space, &span, rows);
            // After the overlays were looked at, so that the tree holds what they no longer do.
            let txn = self.0.tree.read()?;
            let (found, more) = self.0.piece_over(piece, &txn, space, rows, &mut span)?;
            drop(txn);
            for (key, bytes) in found {
                if visit(key, bytes)?.is_break() {
                    return Ok(());
                }
            }
            if !more {
                return Ok(());
            }
            rows = (rows * 2).min(1_024);
        }
    }

    /// Whether a checkpoint is due.
    pub fn needs_checkpoint(&self) -> bool {
        let memory = self.0.memory.read();
        let waiting = memory.overlay_bytes() - memory.writing_bytes;
        waiting > self.0.settings.overlay_bytes
            || memory.window.unsealed_bytes() > 2 * self.0.settings.overlay_bytes
            || memory.frozen.len() > 8
    }

    /// Whether so much waits for a checkpoint that no new proposals should be taken. What is
    /// committed is still applied.
    pub fn pushed_back(&self) -> bool {
        let memory = self.0.memory.read();
        memory.overlay_bytes() > 2 * self.0.settings.overlay_bytes
            || memory.window.unsealed_bytes() > 4 * self.0.settings.overlay_bytes
    }

    /// Bytes applied and not yet in the tree.
    pub fn overlay_bytes(&self) -> usize {
        self.0.memory.read().overlay_bytes()
    }

    /// The replica as of `applied`, pinned: for digests and snapshots. Drop it within a minute or
    /// so: while it lives the tree cannot use its freed pages again.
    pub fn view(&self) -> Result<PinnedView, StorageError> {
        self.view_with(|_| ()).map(|(view, ())| view)
    }

    /// A view, and what `look` sees in memory at the same moment.
    pub(crate) fn view_with<T>(
        &self,
        look: impl FnOnce(&Memory) -> T,
    ) -> Result<(PinnedView, T), StorageError> {
        let mut memory = self.0.memory.write();
        memory.freeze();
        // Under the lock: a checkpoint that freezes later cannot have committed yet, so the
        // transaction sees nothing newer than `applied`.
        let txn = self.0.tree.read()?;
        let layers = memory.frozen.clone();
        let (applied, state) = (memory.applied, memory.state.clone());
        Ok((PinnedView::new(self.clone(), layers, txn, applied, state), look(&memory)))
    }

    /// Reads the whole replica as of `applied`, as chunks.
    pub fn snapshot(&self) -> Result<SnapshotReader, StorageError> {
        SnapshotReader::new(self)
    }
}

impl Inner {
    fn lookup(&self, space: u8, key: &RowKey) -> Result<Option<Bytes>, StorageError> {
        check_space(space)?;
        {
            let memory = self.memory.read();
            let known =
                memory.active.get(space, key).or_else(|| overlay::find(&memory.frozen, space, key));
            if let Some(word) = known {
                return Ok(word.clone());
            }
        }
        if key.0.is_empty() {
            return Ok(None);
        }
        self.tree.read()?.get(space, &key.0)
    }

    /// Lays `piece` over what the tree has in its span.
    pub(crate) fn piece_over(
        &self,
        piece: Piece,
        txn: &crate::tree::ReadTxn,
        space: u8,
        rows: usize,
        span: &mut Span,
    ) -> Result<(Vec<(RowKey, Bytes)>, bool), StorageError> {
        let mut found = Vec::new();
        let mut more = false;
        if !piece.span.is_empty() {
            let scan = Scan {
                start: piece.span.start.as_ref().map(|k| &k.0[..]),
                end: piece.span.end.as_ref().map(|k| &k.0[..]),
                reverse: piece.span.reverse,
                rows,
                bytes: 1 << 20,
            };
            more = txn.scan(space, scan, &mut found)?;
        }
        Ok(piece.over(found, more, span))
    }

    pub(crate) fn stored(
        &self,
        space: u8,
        key: &RowKey,
        bytes: &Bytes,
    ) -> Result<StoredRow, StorageError> {
        match row::decode(row::Place { group: self.group, space, key }, bytes) {
            Ok(Row::Stored(row)) => Ok(row),
            Ok(Row::Raw(_)) => Err(self.bad_row(space, key, "a raw value where an item belongs")),
            Err(reason) => Err(self.bad_row(space, key, reason)),
        }
    }

    pub(crate) fn raw(
        &self,
        space: u8,
        key: &RowKey,
        bytes: &Bytes,
    ) -> Result<Bytes, StorageError> {
        match row::decode(row::Place { group: self.group, space, key }, bytes) {
            Ok(Row::Raw(value)) => Ok(value),
            Ok(Row::Stored(_)) => {
                Err(self.bad_row(space, key, "an item where a raw value belongs"))
            }
            Err(reason) => Err(self.bad_row(space, key, reason)),
        }
    }

    fn bad_row(&self, space: u8, key: &RowKey, reason: impl ToString) -> StorageError {
        let key: String = key.0.iter().map(|b| format!("{b:02x}")).collect();
        let place = format!(
            "group {}, generation {}, space {space}, row key {key}",
            self.group, self.generation
        );
        StorageError::corrupt("row", &self.dir, place, reason)
    }

    fn is_destroyed(&self) -> bool {
        self.destroyed.load(Ordering::SeqCst)
    }
}

fn check_space(space: u8) -> Result<(), StorageError> {
    if usize::from(space) < Space::COUNT {
        return Ok(());
    }
    Err(StorageError::Invalid { what: "row space", reason: format!("{space} does not exist") })
}
