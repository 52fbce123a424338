//! One record of the write-ahead log as bytes.
//!
//! ```text
//! offset  bytes  field (big endian)
//!      0      1  format version, 1 (0 where nothing was written yet)
//!      1      1  kind: 1 entry, 2 hard state, 3 base, 4 drop, 5 mark
//!      2      4  length of the body
//!      6      8  group
//!     14      8  index
//!     22      8  term
//!     30      8  LSN, contiguous over the whole log
//!     38      8  the first LSN that was not known durable when this was written
//!     46      4  crc32c over segment number ‖ bytes 0..46 ‖ body
//!     50      …  body
//! ```
//! Bodies: entry = kind u8 ‖ context length u32 ‖ context ‖ data; hard state = vote u64 ‖ commit u64
//! (its term is in the header); base = 1 if it forgets all older entries of the group, else 0 ‖
//! generation u64 ‖ membership; drop and mark are empty.
//!
//! Always true: the segment's number is inside the checksum, so what a recycled segment still holds
//! from an earlier life is never valid; the field at 38 tells a torn tail (a later record of the
//! same batch survived) from damage (a record written after a sync of the bad place survived).

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};
use tombolo_item::GroupId;

use super::{HardState, LogBase, LogEntry, WalRecord};

pub(super) const VERSION: u8 = 1;
pub(super) const HEADER: usize = 50;
const CRC_AT: usize = 46;

const ENTRY: u8 = 1;
const HARD_STATE: u8 = 2;
const BASE: u8 = 3;
const DROP: u8 = 4;
const MARK: u8 = 5;

/// What surrounds a record in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) segment: u64,
    pub(super) lsn: u64,
    pub(super) synced_from: u64,
    /// For a base: it forgets all older entries of its group.
    pub(super) forgets: bool,
}

/// A frame that passed its checksum.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) lsn: u64,
    pub(super) synced_from: u64,
    /// `None` for a mark.
    pub(super) record: Option<WalRecord>,
    /// A base that forgets all older entries of its group.
    pub(super) forgets: bool,
    /// Header and body.
    pub(super) bytes: usize,
}

/// Why bytes are not a frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Bad {
    /// Nothing was written here in this or any life of the segment.
    Blank,
    Damaged(&'static str),
    /// The checksum is right and the version is not ours.
    Version(u8),
}

/// Bytes that `record` will take.
pub(super) fn size(record: &WalRecord) -> usize {
    HEADER
        + match record {
            WalRecord::Entry { entry, .. } => 5 + entry.context.len() + entry.data.len(),
            WalRecord::HardState { .. } => 16,
            WalRecord::Base { base, .. } => 9 + base.conf.len(),
            WalRecord::Drop { .. } => 0,
        }
}

/// Appends the frame of `record` (`None`: a mark) to `out`.
pub(super) fn encode(record: Option<&WalRecord>, place: Place, out: &mut Vec<u8>) {
    let start = out.len();
    let (kind, group, index, term) = match record {
        None => (MARK, 0, 0, 0),
        Some(WalRecord::Entry { group, entry }) => (ENTRY, group.0, entry.index, entry.term),
        Some(WalRecord::HardState { group, state }) => (HARD_STATE, group.0, 0, state.term),
        Some(WalRecord::Base { group, base }) => (BASE, group.0, base.index, base.term),
        Some(WalRecord::Drop { group }) => (DROP, group.0, 0, 0),
    };
    out.push(VERSION);
    out.push(kind);
    out.extend_from_slice(&[0; 4]);
    for field in [group, index, term, place.lsn, place.synced_from] {
        out.extend_from_slice(&field.to_be_bytes());
    }
    out.extend_from_slice(&[0; 4]);
    match record {
        Some(WalRecord::Entry { entry, .. }) => {
            out.push(entry.kind);
            out.extend_from_slice(&(entry.context.len() as u32).to_be_bytes());
            out.extend_from_slice(&entry.context);
            out.extend_from_slice(&entry.data);
        }
        Some(WalRecord::HardState { state, .. }) => {
            out.extend_from_slice(&state.vote.to_be_bytes());
            out.extend_from_slice(&state.commit.to_be_bytes());
        }
        Some(WalRecord::Base { base, .. }) => {
            out.push(u8::from(place.forgets));
            out.extend_from_slice(&base.generation.to_be_bytes());
            out.extend_from_slice(&base.conf);
        }
        Some(WalRecord::Drop { .. }) | None => {}
    }
    let body = (out.len() - start - HEADER) as u32;
    out[start + 2..start + 6].copy_from_slice(&body.to_be_bytes());
    let crc = checksum(place.segment, &out[start..start + CRC_AT], &out[start + HEADER..]);
    out[start + CRC_AT..start + HEADER].copy_from_slice(&crc.to_be_bytes());
}

/// Whether the header at the start of `bytes` can be that of a record after `next`, of which the
/// frame would begin `distance` bytes before. False for nothing that [`decode`] would accept as one.
pub(super) fn can_be_later(bytes: &[u8], next: u64, distance: usize) -> bool {
    let u64_at = |at: usize| {
        let field = bytes.get(at..at + 8).and_then(|field| field.try_into().ok());
        field.map_or(0, u64::from_be_bytes)
    };
    let (lsn, synced_from) = (u64_at(30), u64_at(38));
    let most = next.saturating_add((distance / HEADER) as u64);
    lsn > next && lsn <= most && synced_from <= lsn
}

/// Reads the frame at the start of `bytes`, which belong to `segment`.
pub(super) fn decode(segment: u64, bytes: &[u8]) -> Result<Frame, Bad> {
    if bytes.len() < HEADER {
        return Err(if bytes.iter().all(|b| *b == 0) {
            Bad::Blank
        } else {
            Bad::Damaged("the segment ends inside a record's header")
        });
    }
    let header = &bytes[..HEADER];
    if header.iter().all(|b| *b == 0) {
        return Err(Bad::Blank);
    }
    let u64_at = |at: usize| {
        u64::from_be_bytes(header[at..at + 8].try_into().expect("eight bytes were sliced"))
    };
    let u32_at = |at: usize| {
        u32::from_be_bytes(header[at..at + 4].try_into().expect("four bytes were sliced"))
    };
    let length = u32_at(2) as usize;
    if length > bytes.len() - HEADER {
        return Err(Bad::Damaged("the record's length leads beyond the segment"));
    }
    let body = &bytes[HEADER..HEADER + length];
    if checksum(segment, &header[..CRC_AT], body) != u32_at(CRC_AT) {
        return Err(Bad::Damaged("the record's checksum does not match"));
    }
    if header[0] != VERSION {
        return Err(Bad::Version(header[0]));
    }
    let group = GroupId(u64_at(6));
    let (index, term) = (u64_at(14), u64_at(22));
    let mut forgets = false;
    let record = match header[1] {
        ENTRY => Some(WalRecord::Entry { group, entry: entry(index, term, body)? }),
        HARD_STATE => {
            let [vote, commit] = words(body)?;
            Some(WalRecord::HardState { group, state: HardState { term, vote, commit } })
        }
        BASE => {
            let Some((&[flag, ref generation @ ..], conf)) = body.split_first_chunk::<9>() else {
                return Err(Bad::Damaged("a base without its generation"));
            };
            forgets = flag != 0;
            let generation = u64::from_be_bytes(*generation);
            let conf = Bytes::copy_from_slice(conf);
            Some(WalRecord::Base { group, base: LogBase { index, term, generation, conf } })
        }
        DROP => Some(WalRecord::Drop { group }),
        MARK => None,
        _ => return Err(Bad::Damaged("a record of unknown kind")),
    };
    Ok(Frame { lsn: u64_at(30), synced_from: u64_at(38), record, forgets, bytes: HEADER + length })
}

fn entry(index: u64, term: u64, body: &[u8]) -> Result<LogEntry, Bad> {
    const SHORT: Bad = Bad::Damaged("an entry shorter than it says");
    let (kind, rest) = body.split_first().ok_or(SHORT)?;
    let (length, rest) = rest.split_first_chunk::<4>().ok_or(SHORT)?;
    let length = u32::from_be_bytes(*length) as usize;
    if length > rest.len() {
        return Err(SHORT);
    }
    let (context, data) = rest.split_at(length);
    // Copied: a slice would keep the whole segment in memory.
    let (context, data) = (Bytes::copy_from_slice(context), Bytes::copy_from_slice(data));
    Ok(LogEntry { index, term, kind: *kind, data, context })
}

fn words(body: &[u8]) -> Result<[u64; 2], Bad> {
    let body: &[u8; 16] =
        body.try_into().map_err(|_| Bad::Damaged("a hard state of the wrong length"))?;
    let word = |at: usize| {
        u64::from_be_bytes(body[at..at + 8].try_into().expect("eight bytes were sliced"))
    };
    Ok([word(0), word(8)])
}

fn checksum(segment: u64, header: &[u8], body: &[u8]) -> u32 {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    digest.update(&segment.to_be_bytes());
    digest.update(header);
    digest.update(body);
    digest.finalize() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place { segment: 3, lsn: 0x0102, synced_from: 0x0101, forgets: true };

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    fn records() -> Vec<WalRecord> {
        let group = GroupId(16);
        vec![
            WalRecord::Entry {
                group,
                entry: LogEntry {
                    index: 7,
                    term: 2,
                    kind: 1,
                    data: Bytes::from_static(b"data"),
                    context: Bytes::from_static(b"cx"),
                },
            },
            WalRecord::HardState { group, state: HardState { term: 2, vote: 5, commit: 6 } },
            WalRecord::Base {
                group,
                base: LogBase {
                    index: 6,
                    term: 1,
                    generation: 9,
                    conf: Bytes::from_static(b"conf"),
                },
            },
            WalRecord::Drop { group },
        ]
    }

    #[test]
    fn golden_bytes() {
        let golden = [
            "01010000000b000000000000001000000000000000070000000000000002000000000000\
             01020000000000000101dbdb58d20100000002637864617461",
            "010200000010000000000000001000000000000000000000000000000002000000000000\
             01020000000000000101325b427a00000000000000050000000000000006",
            "01030000000d000000000000001000000000000000060000000000000001000000000000\
             0102000000000000010154911098010000000000000009636f6e66",
            "010400000000000000000000001000000000000000000000000000000000000000000000\
             01020000000000000101fe95e915",
        ];
        for (record, golden) in records().iter().zip(golden) {
            let mut bytes = Vec::new();
            encode(Some(record), PLACE, &mut bytes);
            assert_eq!(hex(&bytes), golden, "{record:?}");
        }
    }

    #[test]
    fn every_kind_comes_back() {
        for record in records() {
            let mut bytes = Vec::new();
            encode(Some(&record), PLACE, &mut bytes);
            assert_eq!(bytes.len(), size(&record));
            let frame = decode(3, &bytes).unwrap();
            assert_eq!(frame.record.as_ref(), Some(&record));
            assert_eq!((frame.lsn, frame.synced_from), (PLACE.lsn, PLACE.synced_from));
            assert_eq!(frame.forgets, matches!(record, WalRecord::Base { .. }));
        }
        let mut mark = Vec::new();
        encode(None, PLACE, &mut mark);
        assert_eq!(decode(3, &mark).unwrap().record, None);
    }

    #[test]
    fn another_segment_any_flipped_bit_and_any_cut_are_refused() {
        for record in records() {
            let mut bytes = Vec::new();
            encode(Some(&record), PLACE, &mut bytes);
            assert!(decode(4, &bytes).is_err(), "an old life of the segment");
            for cut in 0..bytes.len() {
                assert!(decode(3, &bytes[..cut]).is_err(), "cut at {cut}");
            }
            for bit in 0..bytes.len() * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert!(decode(3, &bytes).is_err(), "bit {bit}");
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }

    #[test]
    fn an_unknown_version_is_named() {
        let mut bytes = Vec::new();
        encode(Some(&records()[3]), PLACE, &mut bytes);
        bytes[0] = 2;
        let crc = checksum(3, &bytes[..CRC_AT], &[]);
        bytes[CRC_AT..HEADER].copy_from_slice(&crc.to_be_bytes());
        assert_eq!(decode(3, &bytes), Err(Bad::Version(2)));
    }
}
