//! One segment file of the log.
//!
//! Names: `wal-<number, 16 hex>` in use, `spare-<number>` zero-filled or recycled and waiting.
//! Header (64 bytes): magic `TMBLWAL` ‖ version u8 ‖ number u64 ‖ last LSN before it u64 ‖ crc32c
//! over those 24 bytes u32 ‖ zeros.
//!
//! Always true: a file has the name `wal-…` only after its header was synced, and its blocks were
//! all written before.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::{StorageError, files};

pub(super) const HEADER: usize = 64;
const MAGIC: &[u8; 7] = b"TMBLWAL";
const VERSION: u8 = 1;

/// The one door to the disk that the writer uses; tests put a hostile one in its place.
pub(super) trait LogFile: Send {
    fn write(&self, bytes: &[u8], at: u64) -> std::io::Result<()>;
    fn sync(&self) -> std::io::Result<()>;
}

impl LogFile for File {
    fn write(&self, bytes: &[u8], at: u64) -> std::io::Result<()> {
        self.write_all_at(bytes, at)
    }
    fn sync(&self) -> std::io::Result<()> {
        self.sync_data()
    }
}

/// The segment that is being written.
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) path: PathBuf,
    pub(super) file: Box<dyn LogFile>,
    pub(super) position: u64,
    pub(super) size: u64,
}

impl Segment {
    pub(super) fn remaining(&self) -> u64 {
        self.size - self.position
    }
}

/// A segment file on disk and how many bytes it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SegmentFile {
    pub(super) number: u64,
    pub(super) path: PathBuf,
    pub(super) size: u64,
    /// The last LSN before its first record.
    pub(super) before: u64,
}

pub(super) fn path_of(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("wal-{number:016x}"))
}

pub(super) fn spare_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("spare-{number:016x}"))
}

/// Files by their number, in order.
pub(super) type Numbered = Vec<(u64, PathBuf)>;

/// The files of the log's folder: segments and spares.
pub(super) fn list(dir: &Path) -> Result<(Numbered, Numbered), StorageError> {
    let (mut segments, mut spares) = (Vec::new(), Vec::new());
    for (name, path) in files::list(dir)? {
        let numbered = |prefix: &str| {
            name.strip_prefix(prefix)
                .filter(|n| n.len() == 16)
                .and_then(|n| u64::from_str_radix(n, 16).ok())
        };
        if let Some(number) = numbered("wal-") {
            segments.push((number, path));
        } else if let Some(number) = numbered("spare-") {
            spares.push((number, path));
        }
    }
    Ok((segments, spares))
}

pub(super) fn encode_header(number: u64, before: u64) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..7].copy_from_slice(MAGIC);
    header[7] = VERSION;
    header[8..16].copy_from_slice(&number.to_be_bytes());
    header[16..24].copy_from_slice(&before.to_be_bytes());
    let crc = crc_fast::crc32_iscsi(&header[..24]);
    header[24..28].copy_from_slice(&crc.to_be_bytes());
    header
}

/// The last LSN before the segment's first record.
pub(super) fn decode_header(path: &Path, number: u64, bytes: &[u8]) -> Result<u64, StorageError> {
    let damaged = |reason: &str| {
        crate::metrics::corruption("wal segment header");
        StorageError::WalDamaged { path: path.to_owned(), offset: 0, reason: reason.to_owned() }
    };
    if bytes.len() < HEADER {
        return Err(damaged("the file is shorter than a segment's header"));
    }
    let word = |at: usize| {
        u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes were sliced"))
    };
    let crc = u32::from_be_bytes(bytes[24..28].try_into().expect("four bytes were sliced"));
    if &bytes[..7] != MAGIC || crc_fast::crc32_iscsi(&bytes[..24]) != crc {
        return Err(damaged("the segment's header does not match its checksum"));
    }
    if bytes[7] != VERSION {
        return Err(StorageError::UnknownVersion {
            what: "write-ahead log segment",
            path: path.to_owned(),
            found: bytes[7],
            known: VERSION,
        });
    }
    if word(8) != number {
        return Err(damaged("the segment's header names another number than the file's name"));
    }
    Ok(word(16))
}

/// Turns a spare into segment `number`, whose first record follows `before`.
pub(super) fn open_fresh(
    dir: &Path,
    spare: &Path,
    number: u64,
    before: u64,
) -> Result<(File, SegmentFile), StorageError> {
    let path = path_of(dir, number);
    let fatal = |action| move |e| StorageError::fatal(action, spare, e);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(spare)
        .map_err(|e| StorageError::io("open the spare log segment", spare, e))?;
    let size = file
        .metadata()
        .map_err(|e| StorageError::io("read the size of the spare log segment", spare, e))?
        .len();
    file.write_all_at(&encode_header(number, before), 0)
        .map_err(fatal("write the header of the log segment"))?;
    file.sync_data().map_err(fatal("sync the header of the log segment"))?;
    files::rename(spare, &path)?;
    Ok((file, SegmentFile { number, path, size, before }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_header() {
        let header = encode_header(2, 0x1234);
        let hex: String = header[..28].iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, "544d424c57414c0100000000000000020000000000001234a1a59b4a");
        assert!(header[28..].iter().all(|b| *b == 0));
    }

    #[test]
    fn a_header_of_another_version_or_number_is_refused() {
        let path = Path::new("wal-0000000000000002");
        let mut header = encode_header(2, 7);
        assert_eq!(decode_header(path, 2, &header).unwrap(), 7);
        assert!(matches!(decode_header(path, 3, &header), Err(StorageError::WalDamaged { .. })));
        header[7] = 9;
        let crc = crc_fast::crc32_iscsi(&header[..24]);
        header[24..28].copy_from_slice(&crc.to_be_bytes());
        assert!(matches!(
            decode_header(path, 2, &header),
            Err(StorageError::UnknownVersion { found: 9, .. })
        ));
    }
}
