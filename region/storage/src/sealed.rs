//! Sealed logs: the change records that a checkpoint covers, in files beside the tree.
//!
//! Name: `log-<first>-<last>` (16 hexadecimal digits each) in the folder `logs-<epoch, 8 hex>` of a
//! generation.
//!
//! ```text
//! header   magic "TMBLLOG" ‖ version u8 ‖ group u64 ‖ epoch u32 ‖ first u64 ‖ last u64 ‖
//!          crc32c of those 36 bytes u32
//! block    first u64 ‖ count u32 ‖ raw length u32 ‖ stored length u32 ‖ crc32c over those 20
//!          bytes and the stored bytes u32 ‖ stored bytes (zstd)
//!          raw: for each record length u32 ‖ crc32c u32 ‖ canonical bytes
//! footer   zero u64 ‖ blocks u32 ‖ crc32c of the whole file before u32
//! ```
//!
//! Always true: a file has its name only when it is complete and synced; it never changes; blocks
//! hold consecutive sequence numbers, so a reader skips to its block by heads alone.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest, crc32_iscsi};
use tombolo_item::Shard;

use crate::{StorageError, files, metrics};

const WHAT: &str = "sealed log";
const MAGIC: &[u8; 7] = b"TMBLLOG";
const VERSION: u8 = 1;
const HEADER: usize = 40;
const BLOCK_HEAD: usize = 24;
const FOOTER: usize = 16;
/// Raw bytes after which a block is closed.
const BLOCK_BYTES: usize = 256 << 10;
/// No block of ours is longer: a record is at most some MiB.
const MOST_BLOCK: u32 = 64 << 20;

/// One sealed log on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedLog {
    pub first: u64,
    pub last: u64,
    pub path: PathBuf,
    pub bytes: u64,
    /// When it was written, by the file system's clock.
    pub written_ms: u64,
}

pub(crate) fn folder(generation: &Path, epoch: u32) -> PathBuf {
    generation.join(format!("logs-{epoch:08x}"))
}

/// Writes the consecutive `records` of `shard` as one sealed log in `dir`.
pub(crate) fn write(
    dir: &Path,
    shard: Shard,
    records: &[(u64, Bytes)],
) -> Result<Option<SealedLog>, StorageError> {
    let (Some((first, _)), Some((last, _))) = (records.first(), records.last()) else {
        return Ok(None);
    };
    files::create_dir(dir)?;
    let path = dir.join(format!("log-{first:016x}-{last:016x}"));
    let temporary = dir.join(format!("writing-{first:016x}-{last:016x}"));
    let bytes = encode(shard, records).map_err(|e| StorageError::io("compress", &path, e))?;
    let written = write_synced(&temporary, &bytes).and_then(|()| files::rename(&temporary, &path));
    if let Err(e) = written {
        // Best effort: a leftover is removed when the replica is opened.
        if let Err(e) = files::remove_file(&temporary) {
            tracing::warn!(path = %temporary.display(), error = %e, "half a sealed log is left");
        }
        return Err(e);
    }
    metrics::SEALED_BYTES.inc_by(bytes.len() as u64);
    describe(&path, *first, *last).map(Some)
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), StorageError> {
    let mut file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .open(path)
        .map_err(|e| StorageError::io("create the sealed log", path, e))?;
    file.write_all(bytes).map_err(|e| StorageError::io("write the sealed log", path, e))?;
    file.sync_all().map_err(|e| match crate::error::is_full(&e) {
        true => StorageError::io("sync the sealed log", path, e),
        false => StorageError::fatal("sync the sealed log", path, e),
    })
}

fn describe(path: &Path, first: u64, last: u64) -> Result<SealedLog, StorageError> {
    let metadata =
        path.metadata().map_err(|e| StorageError::io("look at the sealed log", path, e))?;
    let written_ms = metadata
        .modified()
        .ok()
        .and_then(|t| t.duration_since(UNIX_EPOCH).ok())
        .map_or(0, |d| d.as_millis() as u64);
    Ok(SealedLog { first, last, path: path.to_owned(), bytes: metadata.len(), written_ms })
}

/// The sealed logs in `dir` that a checkpoint at sequence number `upto` covers, in order. Others,
/// and half-written ones, are leftovers of a crash before the checkpoint's commit: the write-ahead
/// log still holds their records, and they are removed.
pub(crate) fn open(dir: &Path, upto: u64) -> Result<Vec<SealedLog>, StorageError> {
    let mut logs = Vec::new();
    for (name, path) in files::list(dir)? {
        match parse_name(&name) {
            Some((first, last)) if last <= upto => logs.push(describe(&path, first, last)?),
            Some(_) => files::remove_file(&path)?,
            None if name.starts_with("writing-") => files::remove_file(&path)?,
            None => {}
        }
    }
    Ok(logs)
}

pub(crate) fn parse_name(name: &str) -> Option<(u64, u64)> {
    let (first, last) = name.strip_prefix("log-")?.split_once('-')?;
    let number =
        |text: &str| (text.len() == 16).then(|| u64::from_str_radix(text, 16).ok()).flatten();
    Some((number(first)?, number(last)?))
}

pub(crate) fn encode(shard: Shard, records: &[(u64, Bytes)]) -> std::io::Result<Vec<u8>> {
    let (first, last) = (records[0].0, records[records.len() - 1].0);
    let mut out = Vec::new();
    out.extend_from_slice(MAGIC);
    out.push(VERSION);
    out.extend_from_slice(&shard.group.0.to_be_bytes());
    out.extend_from_slice(&shard.epoch.to_be_bytes());
    out.extend_from_slice(&first.to_be_bytes());
    out.extend_from_slice(&last.to_be_bytes());
    let crc = crc32_iscsi(&out);
    out.extend_from_slice(&crc.to_be_bytes());
    let (mut raw, mut from, mut blocks) = (Vec::new(), 0, 0u32);
    for (at, (_, record)) in records.iter().enumerate() {
        raw.extend_from_slice(&(record.len() as u32).to_be_bytes());
        raw.extend_from_slice(&crc32_iscsi(record).to_be_bytes());
        raw.extend_from_slice(record);
        if raw.len() >= BLOCK_BYTES || at + 1 == records.len() {
            let stored = zstd::bulk::compress(&raw, 1)?;
            let head = out.len();
            out.extend_from_slice(&records[from].0.to_be_bytes());
            out.extend_from_slice(&((at + 1 - from) as u32).to_be_bytes());
            out.extend_from_slice(&(raw.len() as u32).to_be_bytes());
            out.extend_from_slice(&(stored.len() as u32).to_be_bytes());
            let crc = block_crc(&out[head..], &stored);
            out.extend_from_slice(&crc.to_be_bytes());
            out.extend_from_slice(&stored);
            raw.clear();
            from = at + 1;
            blocks += 1;
        }
    }
    out.extend_from_slice(&0u64.to_be_bytes());
    out.extend_from_slice(&blocks.to_be_bytes());
    let crc = crc32_iscsi(&out);
    out.extend_from_slice(&crc.to_be_bytes());
    Ok(out)
}

fn block_crc(head: &[u8], stored: &[u8]) -> u32 {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    digest.update(&head[..20]);
    digest.update(stored);
    digest.finalize() as u32
}

impl SealedLog {
    fn damaged(&self, place: impl Into<String>, reason: impl ToString) -> StorageError {
        StorageError::corrupt(WHAT, &self.path, place, reason)
    }

    /// Appends records from `from` on to `out`, until it holds about `max_bytes`.
    pub(crate) fn read(
        &self,
        shard: Shard,
        from: u64,
        max_bytes: usize,
        out: &mut Vec<(u64, Bytes)>,
    ) -> Result<(), StorageError> {
        let file = File::open(&self.path)
            .map_err(|e| StorageError::io("open the sealed log", &self.path, e))?;
        let read = |at: u64, length: usize| {
            if at.saturating_add(length as u64) > self.bytes {
                return Err(self.damaged(format!("byte {at}"), "the file ends too early"));
            }
            let mut bytes = vec![0; length];
            file.read_exact_at(&mut bytes, at)
                .map_err(|e| StorageError::io("read the sealed log", &self.path, e))?;
            Ok(bytes)
        };
        self.check_header(shard, &read(0, HEADER)?)?;
        let mut at = HEADER as u64;
        let mut held: usize = out.iter().map(|(_, r)| r.len()).sum();
        loop {
            let head = read(at, FOOTER)?;
            let first = be64(&head, 0);
            if first == 0 {
                return Ok(());
            }
            let head = read(at, BLOCK_HEAD)?;
            let (count, stored) = (u64::from(be32(&head, 8)), be32(&head, 16));
            if stored > MOST_BLOCK || be32(&head, 12) > MOST_BLOCK {
                return Err(self.damaged(format!("byte {at}"), "a block's length is impossible"));
            }
            let place = format!("block at byte {at}");
            if first + count > from {
                let stored = read(at + BLOCK_HEAD as u64, stored as usize)?;
                if block_crc(&head, &stored) != be32(&head, 20) {
                    return Err(self.damaged(place, "the block's checksum does not match"));
                }
                for (seq, record) in self.records(&head, &stored, &place)? {
                    if seq < from || out.last().is_some_and(|(last, _)| seq <= *last) {
                        continue;
                    }
                    if !out.is_empty() && held + record.len() > max_bytes {
                        return Ok(());
                    }
                    held += record.len();
                    out.push((seq, record));
                }
            }
            at += BLOCK_HEAD as u64 + u64::from(stored);
        }
    }

    /// Reads the whole file and verifies its checksum; returns its bytes.
    pub(crate) fn read_whole(&self, shard: Shard) -> Result<Bytes, StorageError> {
        let bytes = std::fs::read(&self.path)
            .map_err(|e| StorageError::io("read the sealed log", &self.path, e))?;
        verify(&bytes).map_err(|reason| self.damaged("whole file", reason))?;
        self.check_header(shard, &bytes)?;
        Ok(bytes.into())
    }

    fn check_header(&self, shard: Shard, header: &[u8]) -> Result<(), StorageError> {
        if &header[..7] != MAGIC || crc32_iscsi(&header[..36]) != be32(header, 36) {
            return Err(self.damaged("header", "it does not match its checksum"));
        }
        if header[7] != VERSION {
            return Err(StorageError::UnknownVersion {
                what: WHAT,
                path: self.path.clone(),
                found: header[7],
                known: VERSION,
            });
        }
        let names = (be64(header, 8), be32(header, 16), be64(header, 20), be64(header, 28));
        if names != (shard.group.0, shard.epoch, self.first, self.last) {
            return Err(self.damaged("header", "it names another shard or other records"));
        }
        Ok(())
    }

    fn records(
        &self,
        head: &[u8],
        stored: &[u8],
        place: &str,
    ) -> Result<Vec<(u64, Bytes)>, StorageError> {
        let raw = zstd::bulk::decompress(stored, be32(head, 12) as usize)
            .map_err(|e| self.damaged(place, e))?;
        let mut raw = Bytes::from(raw);
        let mut records = Vec::new();
        for seq in (be64(head, 0)..).take(be32(head, 8) as usize) {
            let short = || self.damaged(place, format!("record {seq} ends early"));
            if raw.len() < 8 {
                return Err(short());
            }
            let head = raw.split_to(8);
            let length = be32(&head, 0) as usize;
            if raw.len() < length {
                return Err(short());
            }
            let record = raw.split_to(length);
            if crc32_iscsi(&record) != be32(&head, 4) {
                let reason = format!("the checksum of record {seq} does not match");
                return Err(self.damaged(place, reason));
            }
            records.push((seq, record));
        }
        Ok(records)
    }
}

/// Verifies the checksum over a whole sealed log.
pub(crate) fn verify(bytes: &[u8]) -> Result<(), &'static str> {
    match bytes.split_last_chunk::<4>() {
        Some((body, crc)) if body.len() >= HEADER + FOOTER - 4 => {
            if crc32_iscsi(body) == u32::from_be_bytes(*crc) {
                Ok(())
            } else {
                Err("the file's checksum does not match")
            }
        }
        _ => Err("the file is too short"),
    }
}

fn be64(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes were sliced"))
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes were sliced"))
}

#[cfg(test)]
mod tests {
    use tombolo_item::GroupId;

    use super::*;

    const SHARD: Shard = Shard { group: GroupId(16), epoch: 2 };

    fn records(range: std::ops::RangeInclusive<u64>, bytes: usize) -> Vec<(u64, Bytes)> {
        range.map(|seq| (seq, Bytes::from(vec![seq as u8; bytes]))).collect()
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    fn unhex(text: &str) -> Vec<u8> {
        text.as_bytes()
            .chunks(2)
            .map(|d| u8::from_str_radix(std::str::from_utf8(d).unwrap(), 16).unwrap())
            .collect()
    }

    /// What the first version wrote; the compressed part may differ from library to library.
    const GOLDEN: &str = "544d424c4c4f470100000000000000100000000200000000000000050000000000000006\
        4c1bdd60000000000000000500000002000000220000002b28c8ce5028b52ffd20221101\
        00000000094466a76105050505050505050500000009edbc307006060606060606060600\
        000000000000000000000188dffb16";

    #[test]
    fn golden_bytes_are_read_and_heads_written_alike() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(format!("log-{:016x}-{:016x}", 5, 6));
        std::fs::write(&path, unhex(GOLDEN)).unwrap();
        let log = describe(&path, 5, 6).unwrap();
        let mut read = Vec::new();
        log.read(SHARD, 5, 1 << 20, &mut read).unwrap();
        assert_eq!(read, records(5..=6, 9));
        verify(&unhex(GOLDEN)).unwrap();
        let written = encode(SHARD, &records(5..=6, 9)).unwrap();
        assert_eq!(hex(&written[..HEADER + 16]), GOLDEN[..2 * (HEADER + 16)], "{}", hex(&written));
    }

    #[test]
    fn reading_starts_anywhere_and_stops_at_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        let all = records(1..=900, 1_000);
        let log = write(dir.path(), SHARD, &all).unwrap().unwrap();
        for from in [1, 2, 260, 263, 264, 899, 900] {
            let mut read = Vec::new();
            log.read(SHARD, from, 5_000, &mut read).unwrap();
            let wanted: Vec<_> = all.iter().skip(from as usize - 1).take(5).cloned().collect();
            assert_eq!(read, wanted, "from {from}");
        }
        let opened = open(dir.path(), 900).unwrap();
        assert_eq!(opened, [log]);
        assert!(open(dir.path(), 899).unwrap().is_empty(), "beyond the checkpoint");
        assert!(list_is_empty(dir.path()));
    }

    fn list_is_empty(dir: &Path) -> bool {
        files::list(dir).unwrap().is_empty()
    }

    #[test]
    fn any_flipped_byte_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let log = write(dir.path(), SHARD, &records(1..=6, 40)).unwrap().unwrap();
        let whole = std::fs::read(&log.path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x20;
            std::fs::write(&log.path, &bytes).unwrap();
            let error = log.read_whole(SHARD).unwrap_err();
            assert!(error.is_corrupt() || matches!(error, StorageError::UnknownVersion { .. }));
            let mut read = Vec::new();
            if log.read(SHARD, 1, 1 << 20, &mut read).is_ok() {
                assert!(at >= whole.len() - 8, "byte {at} is read and not covered");
                assert_eq!(read, records(1..=6, 40));
            }
        }
        let foreign = Shard { group: GroupId(16), epoch: 3 };
        std::fs::write(&log.path, &whole).unwrap();
        assert!(log.read_whole(foreign).is_err());
    }
}
