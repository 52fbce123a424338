//! Digests over logical items: equal on every replica and in every region that holds equal items.
//!
//! Always true: a digest depends on the set of (row key, stamp, item) alone: not on order, group,
//! region, tombstones or what else a replica keeps. Digests of disjoint sets add up.
//!
//! An item's hash: crc64nvme over row key length u32 ‖ row key ‖ stamp (18 bytes) ‖ item, then
//! mixed, since the plain checksum is linear and equal differences would cancel in a xor.

use crc_fast::{CrcAlgorithm, Digest as Crc};
use serde::{Deserialize, Serialize};
use tombolo_item::{RowKey, Stamp};

/// A commutative digest of a set of items.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Digest {
    pub items: u64,
    /// Bytes of the encoded items.
    pub bytes: u64,
    /// Sum (wrapping) and xor of the items' hashes.
    pub sum: u64,
    pub xor: u64,
}

impl Digest {
    /// Takes one item in.
    pub fn add(&mut self, hash: u64, item: &[u8]) {
        *self += Self { items: 1, bytes: item.len() as u64, sum: hash, xor: mix(hash) };
    }
}

#[allow(clippy::suspicious_op_assign_impl, reason = "xor is its own inverse")]
impl std::ops::AddAssign for Digest {
    fn add_assign(&mut self, other: Self) {
        self.items = self.items.wrapping_add(other.items);
        self.bytes = self.bytes.wrapping_add(other.bytes);
        self.sum = self.sum.wrapping_add(other.sum);
        self.xor ^= other.xor;
    }
}

#[allow(clippy::suspicious_op_assign_impl, reason = "xor is its own inverse")]
impl std::ops::SubAssign for Digest {
    fn sub_assign(&mut self, other: Self) {
        self.items = self.items.wrapping_sub(other.items);
        self.bytes = self.bytes.wrapping_sub(other.bytes);
        self.sum = self.sum.wrapping_sub(other.sum);
        self.xor ^= other.xor;
    }
}

/// A stored row that is damaged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub row_key: RowKey,
    pub reason: String,
}

/// Digests of a range by hash bucket, and the rows that could not be part of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Digests {
    pub buckets: Vec<Digest>,
    pub findings: Vec<Finding>,
}

/// Single items of a range.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct KeyDigests {
    /// Row key, stamp and content hash of each live item, in order.
    pub keys: Vec<(RowKey, Stamp, u64)>,
    pub findings: Vec<Finding>,
    /// The limit was reached; go on after the last key.
    pub more: bool,
}

/// The hash of one live item.
pub fn item_hash(key: &RowKey, stamp: &Stamp, item: &[u8]) -> u64 {
    let mut crc = Crc::new(CrcAlgorithm::Crc64Nvme);
    crc.update(&(key.0.len() as u32).to_be_bytes());
    crc.update(&key.0);
    crc.update(&stamp.hlc.0.to_be_bytes());
    crc.update(&stamp.region.0.to_be_bytes());
    crc.update(&stamp.seq.to_be_bytes());
    crc.update(item);
    mix(crc.finalize())
}

/// The bucket of a row key: the top `bits` (at most 16) of its hash.
pub fn bucket(key: &RowKey, bits: u8) -> usize {
    let byte = |at: usize| usize::from(key.0.get(at).copied().unwrap_or(0));
    (byte(0) << 8 | byte(1)) >> (16 - bits.min(16))
}

/// The finalizer of splitmix64: every input bit moves every output bit.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tombolo_item::{Hlc, RegionId};

    use super::*;

    fn key(byte: u8) -> RowKey {
        RowKey(Bytes::from(vec![byte; 16]))
    }

    const STAMP: Stamp = Stamp { hlc: Hlc(5), region: RegionId(1), seq: 2 };

    #[test]
    fn golden_hash() {
        assert_eq!(item_hash(&key(7), &STAMP, b"item"), 9_771_820_146_264_790_508);
    }

    #[test]
    fn disjoint_sets_add_up_in_any_order() {
        let hashes: Vec<u64> = (0..9).map(|b| item_hash(&key(b), &STAMP, &[b])).collect();
        let of = |hashes: &[u64]| {
            let mut digest = Digest::default();
            hashes.iter().for_each(|h| digest.add(*h, b"x"));
            digest
        };
        let mut backwards = hashes.clone();
        backwards.reverse();
        assert_eq!(of(&hashes), of(&backwards));
        let mut whole = of(&hashes[..4]);
        whole += of(&hashes[4..]);
        assert_eq!(whole, of(&hashes));
        whole -= of(&hashes[4..]);
        assert_eq!(whole, of(&hashes[..4]));
    }

    #[test]
    fn buckets_are_the_top_bits() {
        assert_eq!(bucket(&key(0xff), 0), 0);
        assert_eq!(bucket(&key(0x80), 1), 1);
        assert_eq!(bucket(&key(0xab), 4), 0xa);
        assert_eq!(bucket(&key(0xab), 16), 0xabab);
    }
}
