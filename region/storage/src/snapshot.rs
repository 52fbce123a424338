//! A whole replica at one index, as chunks over the wire, and a new generation made of them.
//!
//! The reader makes one stream of elements and cuts it into chunks; the writer puts the stream
//! together again and fills a new generation folder.
//!
//! ```text
//! chunk    version u8 ‖ group u64 ‖ number u32 ‖ flags u8 (1: last) ‖ raw length u32 ‖
//!          zstd of a piece of the stream ‖ crc32c of all before u32
//! element  type u8 ‖ length u32 ‖ body
//!          1 state  the saved form of the partition state, with index and term
//!          2 row    space u8 ‖ key length u32 ‖ key ‖ stored bytes (with their own checksum)
//!          3 log    epoch u32 ‖ first u64 ‖ last u64 ‖ length u64 ‖ offset u64 ‖ a piece of the file
//!          4 end    rows u64 ‖ logs u64
//! ```
//!
//! Always true: the state comes first, the end last, chunks in order without a hole, else the
//! writer refuses; a generation that was not finished has no saved state and is never opened. The
//! sealed logs go along, so that the new replica can publish as far back as the old one.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use crc_fast::crc32_iscsi;
use tombolo_item::{GroupId, KeyRange, RowKey};

use crate::partition::overlay::Span;
use crate::partition::{self, Inner, PartitionSettings, STATE_KEY};
use crate::row::{self, Place};
use crate::sealed::{self, SealedLog};
use crate::tree::{Claim, Tree, TreeOptions};
use crate::view::PinnedView;
use crate::{Partition, PartitionState, Space, StorageError, files};

const WHAT: &str = "snapshot chunk";
const VERSION: u8 = 1;
const HEAD: usize = 18;
const FOOT: usize = 4;
const LAST: u8 = 1;
/// Chunks are at most this long, whatever the caller asks for.
pub const MOST_CHUNK: usize = 256 << 10;
const LEAST_CHUNK: usize = 4 << 10;

const STATE: u8 = 1;
const ROW: u8 = 2;
const LOG: u8 = 3;
const END: u8 = 4;
const ELEMENT_HEAD: usize = 5;
/// Longer than any element: an item of 400 KB with key and merge state, or a piece of a log.
const MOST_ELEMENT: usize = 64 << 20;
const LOG_PIECE: usize = 128 << 10;

/// Reads a replica as of the moment it was made.
pub struct SnapshotReader {
    pub index: u64,
    pub term: u64,
    pub state: Arc<PartitionState>,
    view: PinnedView,
    logs: VecDeque<SealedLog>,
    /// Records that no sealed log held, as one that was never written.
    fresh: Option<(u64, u64, Bytes)>,
    stream: Vec<u8>,
    step: Step,
    number: u32,
    rows: u64,
    sent_logs: u64,
}

enum Step {
    Rows { space: u8, span: Span },
    Logs,
    Done,
    Sent,
}

impl SnapshotReader {
    pub(crate) fn new(partition: &Partition) -> Result<Self, StorageError> {
        let inner: &Inner = &partition.0;
        // In one moment: what memory no longer holds is in the logs listed then.
        let (view, (logs, unsealed)) = partition.view_with(|memory| {
            let logs: Vec<SealedLog> = inner.sealed.lock().clone();
            let sealed = logs.last().map_or(0, |l| l.last);
            let mut unsealed = Vec::new();
            if memory.state.config.as_ref().is_some_and(|c| c.keep_log) {
                memory.window.read(0, usize::MAX, &mut unsealed);
                unsealed.retain(|(seq, _)| *seq > sealed);
            }
            (logs, unsealed)
        })?;
        let state = view.state().clone();
        let fresh = match (unsealed.first(), unsealed.last()) {
            (Some((first, _)), Some((last, _))) => {
                let bytes = sealed::encode(partition.shard(&state), &unsealed)
                    .map_err(|e| StorageError::io("compress the log of", &inner.dir, e))?;
                Some((*first, *last, bytes.into()))
            }
            _ => None,
        };
        let mut reader = Self {
            index: view.index(),
            term: view.term(),
            view,
            logs: logs.into(),
            fresh,
            stream: Vec::new(),
            step: Step::Rows { space: 0, span: Span::of(&KeyRange::full(), false) },
            number: 0,
            rows: 0,
            sent_logs: 0,
            state,
        };
        let saved = reader.state.encode((reader.index, reader.term));
        reader.element(STATE, &[&saved]);
        Ok(reader)
    }

    /// The next chunk, at most `max` bytes (and at most [`MOST_CHUNK`]); `None` after the last.
    pub fn next_chunk(&mut self, max: usize) -> Result<Option<Bytes>, StorageError> {
        // zstd may add a little to what it cannot compress.
        let raw = max.clamp(LEAST_CHUNK, MOST_CHUNK) - HEAD - FOOT - 1_024;
        while self.stream.len() < raw {
            match &self.step {
                Step::Rows { .. } => self.more_rows()?,
                Step::Logs => self.more_logs()?,
                Step::Done => break,
                Step::Sent => return Ok(None),
            }
        }
        let rest = self.stream.split_off(self.stream.len().min(raw));
        let piece = std::mem::replace(&mut self.stream, rest);
        let last = self.stream.is_empty() && matches!(self.step, Step::Done);
        if last {
            self.step = Step::Sent;
        }
        let chunk = encode_chunk(self.view.partition().group(), self.number, last, &piece)
            .map_err(|e| StorageError::io("compress", self.view.partition().dir(), e))?;
        self.number += 1;
        Ok(Some(chunk))
    }

    fn element(&mut self, kind: u8, parts: &[&[u8]]) {
        let length: usize = parts.iter().map(|p| p.len()).sum();
        self.stream.push(kind);
        self.stream.extend_from_slice(&(length as u32).to_be_bytes());
        for part in parts {
            self.stream.extend_from_slice(part);
        }
    }

    fn more_rows(&mut self) -> Result<(), StorageError> {
        let Step::Rows { space, span } = &mut self.step else { return Ok(()) };
        let space = *space;
        let (rows, more) = self.view.piece(space, span, 256)?;
        if !more {
            self.step = if usize::from(space) + 1 < Space::COUNT {
                Step::Rows { space: space + 1, span: Span::of(&KeyRange::full(), false) }
            } else {
                Step::Logs
            };
        }
        for (key, bytes) in rows {
            // Verified here, so that a rotten row stops at its source.
            let place = Place { group: self.view.partition().group(), space, key: &key };
            row::decode(place, &bytes).map_err(|reason| {
                StorageError::corrupt(
                    "row",
                    self.view.partition().dir(),
                    format!("group {}, space {space}", place.group),
                    reason,
                )
            })?;
            let length = (key.0.len() as u32).to_be_bytes();
            self.element(ROW, &[&[space], &length, &key.0, &bytes]);
            self.rows += 1;
        }
        Ok(())
    }

    fn more_logs(&mut self) -> Result<(), StorageError> {
        let shard = self.view.partition().shard(&self.state);
        let Some(log) = self.logs.pop_front() else {
            if let Some((first, last, bytes)) = self.fresh.take() {
                self.log(shard.epoch, first, last, &bytes);
                return Ok(());
            }
            let (rows, logs) = (self.rows.to_be_bytes(), self.sent_logs.to_be_bytes());
            self.element(END, &[&rows, &logs]);
            self.step = Step::Done;
            return Ok(());
        };
        match log.read_whole(shard) {
            Ok(bytes) => self.log(shard.epoch, log.first, log.last, &bytes),
            // Retention removed it after the snapshot began: older ones are gone too.
            Err(_) if !log.path.exists() => {}
            Err(e) => return Err(e),
        }
        Ok(())
    }

    fn log(&mut self, epoch: u32, first: u64, last: u64, bytes: &[u8]) {
        let mut head = Vec::with_capacity(28);
        head.extend_from_slice(&epoch.to_be_bytes());
        for field in [first, last, bytes.len() as u64] {
            head.extend_from_slice(&field.to_be_bytes());
        }
        for (at, piece) in bytes.chunks(LOG_PIECE).enumerate() {
            let offset = ((at * LOG_PIECE) as u64).to_be_bytes();
            self.element(LOG, &[&head, &offset, piece]);
        }
        self.sent_logs += 1;
    }
}

fn encode_chunk(group: GroupId, number: u32, last: bool, raw: &[u8]) -> std::io::Result<Bytes> {
    let stored = zstd::bulk::compress(raw, 1)?;
    let mut out = Vec::with_capacity(HEAD + stored.len() + FOOT);
    out.push(VERSION);
    out.extend_from_slice(&group.0.to_be_bytes());
    out.extend_from_slice(&number.to_be_bytes());
    out.push(if last { LAST } else { 0 });
    out.extend_from_slice(&(raw.len() as u32).to_be_bytes());
    out.extend_from_slice(&stored);
    let crc = crc32_iscsi(&out);
    out.extend_from_slice(&crc.to_be_bytes());
    Ok(out.into())
}

/// Fills a new generation from chunks.
pub struct SnapshotWriter {
    replica_dir: PathBuf,
    folder: PathBuf,
    generation: u64,
    group: GroupId,
    settings: PartitionSettings,
    tree: Arc<Tree>,
    /// The part of the stream that is not a whole element yet.
    stream: Vec<u8>,
    rows: Vec<(u8, Bytes, Bytes)>,
    rows_bytes: usize,
    saved: Option<Bytes>,
    log: Option<OpenLog>,
    number: u32,
    row_count: u64,
    log_count: u64,
    ended: bool,
    complete: bool,
}

struct OpenLog {
    file: File,
    temporary: PathBuf,
    path: PathBuf,
    length: u64,
    written: u64,
}

impl SnapshotWriter {
    /// Begins generation `generation` of the replica in `dir`; what an earlier attempt left of it is
    /// removed.
    pub fn create(dir: &Path, generation: u64, group: GroupId) -> Result<Self, StorageError> {
        Self::create_with(dir, generation, group, PartitionSettings::default())
    }

    /// [`SnapshotWriter::create`] with the settings of the partition to be.
    pub fn create_with(
        dir: &Path,
        generation: u64,
        group: GroupId,
        settings: PartitionSettings,
    ) -> Result<Self, StorageError> {
        let folder = partition::generation_dir(dir, generation);
        let claim = Claim::take(&folder)?;
        files::remove_dir(&folder)?;
        files::create_dir(&folder)?;
        let options = TreeOptions { map_bytes: settings.map_bytes, filling: true, create: true };
        let tree = Tree::open(claim, group.0, generation, options)?;
        Ok(Self {
            replica_dir: dir.to_owned(),
            folder,
            generation,
            group,
            settings,
            tree,
            stream: Vec::new(),
            rows: Vec::new(),
            rows_bytes: 0,
            saved: None,
            log: None,
            number: 0,
            row_count: 0,
            log_count: 0,
            ended: false,
            complete: false,
        })
    }

    fn bad(&self, reason: impl ToString) -> StorageError {
        let place = format!("group {}, chunk {}", self.group, self.number);
        StorageError::corrupt(WHAT, &self.folder, place, reason)
    }

    /// Takes the next chunk. An error ends the attempt: drop the writer and begin again.
    pub fn write_chunk(&mut self, chunk: &Bytes) -> Result<(), StorageError> {
        let piece = self.open_chunk(chunk)?;
        self.number += 1;
        self.stream.extend_from_slice(&piece);
        let stream = std::mem::take(&mut self.stream);
        let mut stream = Bytes::from(stream);
        while stream.len() >= ELEMENT_HEAD {
            let length =
                u32::from_be_bytes(stream[1..5].try_into().expect("four bytes were sliced"));
            let length = length as usize;
            if length > MOST_ELEMENT {
                return Err(self.bad(format!("an element of {length} bytes")));
            }
            if stream.len() < ELEMENT_HEAD + length {
                break;
            }
            let kind = stream[0];
            let body = stream.split_to(ELEMENT_HEAD + length).slice(ELEMENT_HEAD..);
            self.element(kind, body)?;
        }
        self.stream = stream.to_vec();
        if self.complete && (!self.ended || !self.stream.is_empty()) {
            return Err(self.bad("the last chunk does not end the stream"));
        }
        Ok(())
    }

    fn open_chunk(&mut self, chunk: &Bytes) -> Result<Vec<u8>, StorageError> {
        if self.complete {
            return Err(self.bad("a chunk after the last one"));
        }
        if chunk.len() < HEAD + FOOT {
            return Err(self.bad("it is too short"));
        }
        let (body, crc) = chunk.split_at(chunk.len() - FOOT);
        let be32 = |bytes: &[u8]| {
            u32::from_be_bytes(bytes[..4].try_into().expect("four bytes were sliced"))
        };
        if crc32_iscsi(body) != be32(crc) {
            return Err(self.bad("its checksum does not match"));
        }
        if body[0] != VERSION {
            return Err(StorageError::UnknownVersion {
                what: WHAT,
                path: self.folder.clone(),
                found: body[0],
                known: VERSION,
            });
        }
        let group = u64::from_be_bytes(body[1..9].try_into().expect("eight bytes were sliced"));
        if group != self.group.0 {
            return Err(self.bad(format!("it belongs to group {}", GroupId(group))));
        }
        if be32(&body[9..]) != self.number {
            return Err(self.bad(format!("chunk {} came instead", be32(&body[9..]))));
        }
        let raw = be32(&body[14..]) as usize;
        if raw > MOST_CHUNK {
            return Err(self.bad(format!("it says it holds {raw} bytes")));
        }
        self.complete = body[13] & LAST != 0;
        let piece = zstd::bulk::decompress(&body[HEAD..], raw).map_err(|e| self.bad(e))?;
        if piece.len() != raw {
            return Err(self.bad("it holds less than it says"));
        }
        Ok(piece)
    }

    fn element(&mut self, kind: u8, body: Bytes) -> Result<(), StorageError> {
        if self.ended {
            return Err(self.bad("an element after the end"));
        }
        if self.saved.is_none() && kind != STATE {
            return Err(self.bad("the state does not come first"));
        }
        match kind {
            STATE => {
                PartitionState::decode(&body).map_err(|reason| self.bad(reason))?;
                self.saved = Some(body);
            }
            ROW => self.row(body)?,
            LOG => self.log_piece(&body)?,
            END => {
                self.flush_rows()?;
                let (rows, logs) = (self.row_count.to_be_bytes(), self.log_count.to_be_bytes());
                if body[..] != [rows, logs].concat() || self.log.is_some() {
                    return Err(self.bad("rows or logs are missing"));
                }
                self.ended = true;
            }
            other => return Err(self.bad(format!("an element of unknown type {other}"))),
        }
        Ok(())
    }

    fn row(&mut self, mut body: Bytes) -> Result<(), StorageError> {
        if body.len() < 5 {
            return Err(self.bad("a row without its key"));
        }
        let space = body[0];
        let length = u32::from_be_bytes(body[1..5].try_into().expect("four bytes were sliced"));
        let length = length as usize;
        if usize::from(space) >= Space::COUNT || body.len() < 5 + length {
            return Err(self.bad("a row that ends early"));
        }
        let key = RowKey(body.slice(5..5 + length));
        let value = body.split_off(5 + length);
        row::decode(Place { group: self.group, space, key: &key }, &value)
            .map_err(|reason| self.bad(reason))?;
        self.row_count += 1;
        self.rows_bytes += key.0.len() + value.len();
        self.rows.push((space, key.0, value));
        if self.rows_bytes >= 16 << 20 || self.rows.len() >= 50_000 {
            self.flush_rows()?;
        }
        Ok(())
    }

    fn flush_rows(&mut self) -> Result<(), StorageError> {
        let rows = std::mem::take(&mut self.rows);
        self.rows_bytes = 0;
        if rows.is_empty() {
            return Ok(());
        }
        self.tree.write(|txn| {
            rows.iter().try_for_each(|(space, key, value)| txn.put(*space, key, value))
        })
    }

    fn log_piece(&mut self, body: &[u8]) -> Result<(), StorageError> {
        let Some((head, piece)) = body.split_at_checked(36) else {
            return Err(self.bad("a piece of a log without its head"));
        };
        let word = |at: usize| {
            u64::from_be_bytes(head[at..at + 8].try_into().expect("eight bytes were sliced"))
        };
        let epoch = u32::from_be_bytes(head[..4].try_into().expect("four bytes were sliced"));
        let (first, last, length, offset) = (word(4), word(12), word(20), word(28));
        if offset == 0 {
            if self.log.is_some() {
                return Err(self.bad("a log begins before the last one ended"));
            }
            let dir = sealed::folder(&self.folder, epoch);
            files::create_dir(&dir)?;
            let temporary = dir.join(format!("writing-{first:016x}-{last:016x}"));
            let file = File::create(&temporary)
                .map_err(|e| StorageError::io("create the sealed log", &temporary, e))?;
            let path = dir.join(format!("log-{first:016x}-{last:016x}"));
            self.log = Some(OpenLog { file, temporary, path, length, written: 0 });
        }
        let Some(mut log) = self.log.take() else {
            return Err(self.bad("a piece of a log that never began"));
        };
        if log.written != offset || log.length != length {
            return Err(self.bad("a piece of a log is missing"));
        }
        log.file
            .write_all(piece)
            .map_err(|e| StorageError::io("write the sealed log", &log.temporary, e))?;
        log.written += piece.len() as u64;
        if log.written < log.length {
            self.log = Some(log);
            return Ok(());
        }
        log.file
            .sync_all()
            .map_err(|e| StorageError::io("sync the sealed log", &log.temporary, e))?;
        let whole = std::fs::read(&log.temporary)
            .map_err(|e| StorageError::io("read the sealed log", &log.temporary, e))?;
        sealed::verify(&whole).map_err(|reason| self.bad(reason))?;
        files::rename(&log.temporary, &log.path)?;
        self.log_count += 1;
        Ok(())
    }

    /// Finishes the generation: everything synced, the saved state last. The caller then logs one
    /// durable `Base` with the new generation, and only after that destroys the old one.
    pub fn finish(mut self) -> Result<Partition, StorageError> {
        let saved = match self.saved.take() {
            Some(saved) if self.complete && self.ended => saved,
            _ => return Err(self.bad("the snapshot is not complete")),
        };
        self.tree.sync()?;
        self.tree.write(|txn| txn.put_meta(STATE_KEY, &saved))?;
        self.tree.sync()?;
        files::sync_dir(&self.folder)?;
        let Self { replica_dir, folder, generation, group, settings, tree, .. } = self;
        // Closed before it is opened again with full syncs.
        drop(tree);
        files::sync_dir(&folder)?;
        Partition::open_folder(&replica_dir, generation, group, settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// What the first version wrote; the compressed part may differ from library to library.
    const GOLDEN: &str =
        "01000000000000001000000003010000001428b52ffd20146d00003873747265616d2001003a8a1192e983bb";

    #[test]
    fn golden_chunk_is_read_and_its_head_written_alike() {
        let chunk = encode_chunk(GroupId(16), 3, true, b"stream stream stream").unwrap();
        assert_eq!(hex(&chunk[..HEAD]), GOLDEN[..2 * HEAD], "{}", hex(&chunk));
        let golden: Vec<u8> = (0..GOLDEN.len() / 2)
            .map(|at| u8::from_str_radix(&GOLDEN[2 * at..2 * at + 2], 16).unwrap())
            .collect();
        let dir = tempfile::tempdir().unwrap();
        let mut writer = SnapshotWriter::create(dir.path(), 1, GroupId(16)).unwrap();
        writer.number = 3;
        assert_eq!(writer.open_chunk(&golden.into()).unwrap(), b"stream stream stream");
        assert!(writer.complete);
    }
}
