//! What a start does with the log it finds: read every segment, tell a torn tail from damage, make
//! durable what was read, and hand out what each group left.
//!
//! Always true:
//! - What is handed out is a prefix of what was appended, and holds all that was acknowledged; where
//!   that cannot be, the answer is [`StorageError::WalDamaged`] with file and offset.
//! - Everything handed out was synced before: after `kill -9` the page cache may hold what the disk
//!   does not, and a vote or an answer must not rest on that.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use tombolo_item::GroupId;

use super::frame::{self, Bad};
use super::groups::Groups;
use super::segment::{self, SegmentFile};
use super::{Recovered, RecoveredGroup, WalRecord};
use crate::StorageError;

/// The log as found, and what the writer needs to go on.
pub(super) struct Found {
    pub(super) recovered: Recovered,
    pub(super) groups: Groups,
    pub(super) segments: Vec<SegmentFile>,
    pub(super) spares: Vec<(u64, PathBuf)>,
}

/// Reads the log in `dir`.
pub(super) fn recover(dir: &Path) -> Result<Found, StorageError> {
    let (files, spares) = segment::list(dir)?;
    let mut found = Found {
        recovered: Recovered::default(),
        groups: Groups::default(),
        segments: Vec::new(),
        spares,
    };
    let mut heads = Vec::new();
    for (at, (number, path)) in files.iter().enumerate() {
        heads.push(head(path, *number)?);
        if at > 0 && files[at - 1].0 + 1 != *number {
            let reason = format!("segments after {} are missing before it", files[at - 1].0);
            return Err(damaged(path, 0, reason));
        }
    }
    for (at, (number, path)) in files.iter().enumerate() {
        let (mut file, size, before) = open(path, *number)?;
        if at == 0 {
            found.recovered.last_lsn = before;
        } else if found.recovered.last_lsn != before {
            return Err(damaged(
                path,
                0,
                format!(
                    "it continues after record {before}, the segment before it ends at {}",
                    found.recovered.last_lsn
                ),
            ));
        }
        let mut bytes = Vec::with_capacity(size as usize);
        file.read_to_end(&mut bytes)
            .map_err(|e| StorageError::io("read the log segment", path, e))?;
        read_segment(path, *number, &bytes, heads.get(at + 1).copied(), &mut found)?;
        file.sync_data().map_err(|e| StorageError::fatal("sync the log segment", path, e))?;
        found.segments.push(SegmentFile { number: *number, path: path.clone(), size, before });
    }
    check_groups(&found, dir)?;
    crate::files::sync_dir(dir)?;
    Ok(found)
}

fn open(path: &Path, number: u64) -> Result<(File, u64, u64), StorageError> {
    let file = File::open(path).map_err(|e| StorageError::io("open the log segment", path, e))?;
    let size = file
        .metadata()
        .map_err(|e| StorageError::io("read the size of the log segment", path, e))?
        .len();
    Ok((file, size, head(path, number)?))
}

fn head(path: &Path, number: u64) -> Result<u64, StorageError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|f| f.take(segment::HEADER as u64).read_to_end(&mut bytes))
        .map_err(|e| StorageError::io("read the header of the log segment", path, e))?;
    segment::decode_header(path, number, &bytes)
}

/// Takes the records of one segment in; `end` is the last LSN that belongs to it when another
/// segment follows.
fn read_segment(
    path: &Path,
    number: u64,
    bytes: &[u8],
    end: Option<u64>,
    found: &mut Found,
) -> Result<(), StorageError> {
    let mut at = segment::HEADER;
    loop {
        let next = found.recovered.last_lsn + 1;
        // What a crash left behind the last valid record was cut at that start: it stays cut.
        if end.is_some_and(|end| next > end) {
            return Ok(());
        }
        let reason = match frame::decode(number, &bytes[at..]) {
            Ok(frame) if frame.lsn == next => {
                if let Some(record) = frame.record {
                    take(record, number, frame.forgets, found);
                }
                found.recovered.last_lsn = next;
                found.recovered.records += 1;
                at += frame.bytes;
                continue;
            }
            Ok(frame) => format!("record {} stands where record {next} belongs", frame.lsn),
            Err(Bad::Version(version)) => {
                return Err(StorageError::UnknownVersion {
                    what: "write-ahead log record",
                    path: path.to_owned(),
                    found: version,
                    known: frame::VERSION,
                });
            }
            Err(Bad::Blank) => "nothing is written there".to_owned(),
            Err(Bad::Damaged(reason)) => reason.to_owned(),
        };
        if let Some(end) = end {
            let reason = format!(
                "record {next} cannot be read ({reason}) and the next segment begins after record \
                 {end}"
            );
            return Err(damaged(path, at, reason));
        }
        found.recovered.torn_bytes = torn_tail(path, number, bytes, at, next, &reason)?;
        return Ok(());
    }
}

/// The bad place at `at` in the last segment: bytes of a torn tail, or damage when something after
/// it was written in the knowledge that the bad place was durable.
fn torn_tail(
    path: &Path,
    number: u64,
    bytes: &[u8],
    at: usize,
    next: u64,
    reason: &str,
) -> Result<u64, StorageError> {
    let rest = &bytes[at..];
    let mut torn = 0;
    // A frame begins with its version, which is not zero, so blank space is passed quickly. What a
    // recycled segment holds of its earlier life is not blank: there, only what can be a later record
    // by its number is worth a checksum, which may cover megabytes.
    for (offset, _) in rest.iter().enumerate().filter(|(_, b)| **b == frame::VERSION) {
        if !frame::can_be_later(&rest[offset..], next, offset) {
            continue;
        }
        let Ok(frame) = frame::decode(number, &rest[offset..]) else { continue };
        if frame.lsn <= next {
            continue;
        }
        if frame.synced_from > next {
            return Err(damaged(
                path,
                at,
                format!(
                    "record {next} cannot be read ({reason}), but record {} at byte {} was written \
                     after it was durable",
                    frame.lsn,
                    at + offset
                ),
            ));
        }
        torn = (offset + frame.bytes) as u64;
    }
    // The header of a record that was being written says how much of it there should be.
    if torn == 0 && rest.len() >= frame::HEADER && rest[0] == frame::VERSION {
        let lsn = u64::from_be_bytes(rest[30..38].try_into().expect("eight bytes were sliced"));
        if lsn == next {
            let body = u32::from_be_bytes(rest[2..6].try_into().expect("four bytes were sliced"));
            torn = rest.len().min(frame::HEADER + body as usize) as u64;
        }
    }
    Ok(torn)
}

/// Takes one record in. A hole may show for a while: the entries in it were in recycled segments, and
/// the base that covers them comes later.
fn take(record: WalRecord, segment: u64, forgets: bool, found: &mut Found) {
    let group = record.group();
    found.groups.note(&record, segment, forgets);
    let groups: &mut BTreeMap<GroupId, RecoveredGroup> = &mut found.recovered.groups;
    match record {
        WalRecord::Entry { entry, .. } => {
            let known = groups.entry(group).or_default();
            if entry.index > known.base.index {
                while known.entries.last().is_some_and(|last| last.index >= entry.index) {
                    known.entries.pop();
                }
                known.entries.push(entry);
            }
        }
        WalRecord::HardState { state, .. } => {
            groups.entry(group).or_default().hard_state = state;
        }
        WalRecord::Base { base, .. } => {
            let known = groups.entry(group).or_default();
            known.entries.retain(|e| e.index > base.index && !forgets);
            known.base = base;
        }
        WalRecord::Drop { .. } => {
            groups.remove(&group);
        }
    }
}

/// In the end each group's entries follow its base without a hole.
fn check_groups(found: &Found, dir: &Path) -> Result<(), StorageError> {
    for (id, group) in &found.recovered.groups {
        let indexes = group.entries.iter().map(|e| e.index);
        if let Some((wanted, _)) = (group.base.index + 1..).zip(indexes).find(|(w, i)| w != i) {
            let reason = format!(
                "entry {wanted} of group {id} is missing; its base is {}",
                group.base.index
            );
            return Err(damaged(dir, 0, reason));
        }
    }
    Ok(())
}

fn damaged(path: &Path, offset: usize, reason: String) -> StorageError {
    crate::metrics::corruption("wal record");
    StorageError::WalDamaged { path: path.to_owned(), offset: offset as u64, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_headers_in_a_recycled_segment_is_passed_quickly() {
        // Each eight bytes begin what could be a frame of one megabyte; a checksum over each would
        // take hours.
        let bytes = [frame::VERSION, 1, 0, 16, 0, 0, 0, 0].repeat(4 << 17);
        let torn = torn_tail(Path::new("wal"), 2, &bytes, 0, 7, "a test");
        assert_eq!(torn.expect("a torn tail is no damage"), 0);
    }
}
