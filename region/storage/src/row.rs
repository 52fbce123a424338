//! One stored row as bytes.
//!
//! ```text
//! offset  bytes  field (big endian)
//!      0      1  format version, 1
//!      1      4  crc32c over group u64 ‖ space u8 ‖ row key length u32 ‖ row key ‖ bytes 5..
//!      5      1  kind: 1 item, 2 tombstone, 3 raw
//!      6      …  raw: the value
//!                item, tombstone: stamp (time u64 ‖ region u16 ‖ sequence u64) ‖ origin u16 ‖
//!                key length u32 ‖ key ‖ merge state length u32 ‖ merge state ‖ item
//! ```
//!
//! Always true: the checksum covers where the row belongs, so a value that a rotten page hands out
//! under another key, or that was copied from another group, is refused.

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};
use tombolo_item::{GroupId, Hlc, Key, RegionId, RowKey, Stamp};

const VERSION: u8 = 1;
const CONTENT: usize = 5;
const ITEM: u8 = 1;
const TOMBSTONE: u8 = 2;
const RAW: u8 = 3;

/// One version of one item, or the tombstone of a deleted one.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRow {
    pub stamp: Stamp,
    pub tombstone: bool,
    /// The region whose user wrote this version.
    pub origin: RegionId,
    /// `Item::encode`; empty for a tombstone.
    pub item: Bytes,
    pub key: Key,
    pub merge_state: Bytes,
}

/// A decoded row of any space.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Row {
    Stored(StoredRow),
    Raw(Bytes),
}

/// Where a row belongs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) group: GroupId,
    pub(crate) space: u8,
    pub(crate) key: &'a RowKey,
}

/// The parts of a change that become a row.
pub(crate) struct RowParts<'a> {
    pub(crate) stamp: Stamp,
    pub(crate) origin: RegionId,
    pub(crate) key: &'a Key,
    pub(crate) merge_state: &'a [u8],
    /// `None`: a tombstone.
    pub(crate) item: Option<&'a [u8]>,
}

pub(crate) fn encode(place: Place<'_>, row: &RowParts<'_>) -> Bytes {
    let key = row.key.encode();
    let item = row.item.unwrap_or_default();
    let mut out = Vec::with_capacity(34 + key.len() + row.merge_state.len() + item.len());
    out.extend_from_slice(&[VERSION, 0, 0, 0, 0]);
    out.push(if row.item.is_some() { ITEM } else { TOMBSTONE });
    out.extend_from_slice(&row.stamp.hlc.0.to_be_bytes());
    out.extend_from_slice(&row.stamp.region.0.to_be_bytes());
    out.extend_from_slice(&row.stamp.seq.to_be_bytes());
    out.extend_from_slice(&row.origin.0.to_be_bytes());
    for part in [&key[..], row.merge_state] {
        out.extend_from_slice(&(part.len() as u32).to_be_bytes());
        out.extend_from_slice(part);
    }
    out.extend_from_slice(item);
    sealed(place, out)
}

pub(crate) fn encode_raw(place: Place<'_>, value: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(CONTENT + 1 + value.len());
    out.extend_from_slice(&[VERSION, 0, 0, 0, 0]);
    out.push(RAW);
    out.extend_from_slice(value);
    sealed(place, out)
}

fn sealed(place: Place<'_>, mut out: Vec<u8>) -> Bytes {
    let crc = checksum(place, &out[CONTENT..]);
    out[1..CONTENT].copy_from_slice(&crc.to_be_bytes());
    out.into()
}

fn checksum(place: Place<'_>, content: &[u8]) -> u32 {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    let mut head = [0; 13];
    head[..8].copy_from_slice(&place.group.0.to_be_bytes());
    head[8] = place.space;
    head[9..].copy_from_slice(&(place.key.0.len() as u32).to_be_bytes());
    digest.update(&head);
    digest.update(&place.key.0);
    digest.update(content);
    digest.finalize() as u32
}

/// Verifies and reads a row; item and merge state are slices of `bytes`. The error is the reason.
pub(crate) fn decode(place: Place<'_>, bytes: &Bytes) -> Result<Row, String> {
    if bytes.len() <= CONTENT {
        return Err(format!("{} bytes are no row", bytes.len()));
    }
    if bytes[0] != VERSION {
        return Err(format!("row format version {}; this program knows {VERSION}", bytes[0]));
    }
    let crc = u32::from_be_bytes(bytes[1..CONTENT].try_into().expect("four bytes were sliced"));
    if checksum(place, &bytes[CONTENT..]) != crc {
        return Err("the checksum over group, row key and content does not match".into());
    }
    let kind = bytes[CONTENT];
    let mut rest = bytes.slice(CONTENT + 1..);
    let tombstone = match kind {
        RAW => return Ok(Row::Raw(rest)),
        ITEM => false,
        TOMBSTONE => true,
        other => return Err(format!("row kind {other} is unknown")),
    };
    let mut take = |count: usize| {
        if count > rest.len() {
            return Err(format!("the row ends {} bytes early", count - rest.len()));
        }
        Ok(rest.split_to(count))
    };
    let head = take(20)?;
    let u64_at = |at: usize| {
        u64::from_be_bytes(head[at..at + 8].try_into().expect("eight bytes were sliced"))
    };
    let u16_at =
        |at: usize| u16::from_be_bytes(head[at..at + 2].try_into().expect("two bytes were sliced"));
    let stamp = Stamp { hlc: Hlc(u64_at(0)), region: RegionId(u16_at(8)), seq: u64_at(10) };
    let origin = RegionId(u16_at(18));
    let mut part = || {
        let length = take(4)?;
        let length = u32::from_be_bytes(length[..].try_into().expect("four bytes were taken"));
        take(length as usize)
    };
    let key = part()?;
    let merge_state = part()?;
    let key = Key::decode(&key).map_err(|e| e.to_string())?;
    Ok(Row::Stored(StoredRow { stamp, tombstone, origin, item: rest, key, merge_state }))
}

#[cfg(test)]
mod tests {
    use tombolo_item::Value;

    use super::*;

    fn place(key: &RowKey) -> Place<'_> {
        Place { group: GroupId(16), space: 0, key }
    }

    fn parts(key: &Key) -> RowParts<'_> {
        RowParts {
            stamp: Stamp { hlc: Hlc(0x0102), region: RegionId(3), seq: 4 },
            origin: RegionId(5),
            key,
            merge_state: b"ms",
            item: Some(b"item"),
        }
    }

    fn key() -> (RowKey, Key) {
        (RowKey(Bytes::from_static(b"rowkey")), Key { partition: Value::S("k".into()), sort: None })
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    #[test]
    fn golden_bytes() {
        let (row_key, key) = key();
        let item = encode(place(&row_key), &parts(&key));
        assert_eq!(
            hex(&item),
            "01d93ad38301000000000000010200030000000000000004000500000005010001016b000000026d736974656d"
        );
        let tombstone = encode(place(&row_key), &RowParts { item: None, ..parts(&key) });
        assert_eq!(
            hex(&tombstone),
            "01c693548002000000000000010200030000000000000004000500000005010001016b000000026d73"
        );
        assert_eq!(hex(&encode_raw(place(&row_key), b"raw")), "01485f15a103726177");
    }

    #[test]
    fn rows_come_back_and_belong_to_their_place() {
        let (row_key, key) = key();
        let bytes = encode(place(&row_key), &parts(&key));
        let Ok(Row::Stored(row)) = decode(place(&row_key), &bytes) else { panic!("an item") };
        assert_eq!(
            (&row.item[..], &row.merge_state[..], row.tombstone),
            (&b"item"[..], &b"ms"[..], false)
        );
        assert_eq!((row.key, row.stamp.seq, row.origin), (key, 4, RegionId(5)));
        let other = RowKey(Bytes::from_static(b"rowkez"));
        assert!(decode(place(&other), &bytes).is_err());
        assert!(decode(Place { group: GroupId(17), ..place(&row_key) }, &bytes).is_err());
        assert!(decode(Place { space: 1, ..place(&row_key) }, &bytes).is_err());
        for cut in 0..bytes.len() {
            assert!(decode(place(&row_key), &bytes.slice(..cut)).is_err(), "cut at {cut}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(place(&row_key), &flipped.into()).is_err(), "bit {bit}");
        }
        let mut newer = bytes.to_vec();
        newer[0] = 2;
        let refused = decode(place(&row_key), &newer.into()).unwrap_err();
        assert!(refused.contains("version 2"), "{refused}");
    }
}
