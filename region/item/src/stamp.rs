//! Stamps: the version of an item, and the hybrid logical clock they are drawn from.
//!
//! Always true: two different writes never carry the same stamp (hybrid time, region, and the
//! sequence number in the shard where the write happened), so last-writer-wins has no ties. Hybrid time
//! never goes back in a shard, and is never smaller than any stamp the shard has seen.
//!
//! Source: Kulkarni et al., "Logical Physical Clocks" (2014): wall time in the high bits, a counter
//! in the low ones, so that one integer compares.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::codec::{Decoder, FormatError};
use crate::ids::RegionId;

/// Hybrid time: milliseconds since 1970 in the upper 48 bits, a counter in the lower 16.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Hlc(pub u64);

impl Hlc {
    pub fn from_ms(ms: u64) -> Self {
        Self(ms << 16)
    }
    pub fn ms(self) -> u64 {
        self.0 >> 16
    }
}

impl fmt::Display for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0 >> 16, self.0 & 0xffff)
    }
}

/// An item's version. Ordered by hybrid time, then region, then sequence.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Stamp {
    pub hlc: Hlc,
    /// Where the write happened.
    pub region: RegionId,
    /// The change's sequence number in the shard where the write happened.
    pub seq: u64,
}

impl Stamp {
    /// Length of the encoded form.
    pub const BYTES: usize = 18;

    /// Hybrid time (8 bytes), region (2), sequence (8), big endian: encoded stamps sort like stamps.
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.hlc.0.to_be_bytes());
        bytes[8..10].copy_from_slice(&self.region.0.to_be_bytes());
        bytes[10..].copy_from_slice(&self.seq.to_be_bytes());
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut d = Decoder::new(bytes, "stamp");
        let stamp = Self { hlc: Hlc(d.u64()?), region: RegionId(d.u16()?), seq: d.u64()? };
        d.end()?;
        Ok(stamp)
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}#{}", self.hlc, self.region, self.seq)
    }
}

/// Draws strictly increasing hybrid times. It reads no clock: `now_ms` is wall time, given by the
/// caller, and may jump back without harm.
#[derive(Debug, Clone)]
pub struct HybridClock {
    region: RegionId,
    latest: Hlc,
}

impl HybridClock {
    pub fn new(region: RegionId) -> Self {
        Self { region, latest: Hlc(0) }
    }

    pub fn region(&self) -> RegionId {
        self.region
    }

    /// The next time: wall time, or one counter step after the latest where wall time is not ahead.
    /// A full counter runs over into the milliseconds, which keeps the order.
    pub fn tick(&mut self, now_ms: u64) -> Hlc {
        self.latest = Hlc::from_ms(now_ms).max(Hlc(self.latest.0 + 1));
        self.latest
    }

    /// No later tick is at or below `seen`.
    pub fn observe(&mut self, seen: Hlc) {
        self.latest = self.latest.max(seen);
    }

    pub fn latest(&self) -> Hlc {
        self.latest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_only_grow_and_follow_wall_time() {
        let mut clock = HybridClock::new(RegionId(1));
        assert_eq!(clock.tick(1_000), Hlc(1_000 << 16));
        assert_eq!(clock.tick(1_000), Hlc((1_000 << 16) + 1));
        assert_eq!(clock.tick(900), Hlc((1_000 << 16) + 2), "wall time went back");
        clock.observe(Hlc(2_000 << 16));
        assert_eq!(clock.tick(1_001), Hlc((2_000 << 16) + 1));
        assert_eq!(clock.tick(3_000), Hlc(3_000 << 16));
        clock.observe(Hlc((3_000 << 16) + 0xffff));
        assert_eq!(clock.tick(0), Hlc(3_001 << 16), "a full counter runs over");
    }

    #[test]
    fn encoded_stamps_have_the_written_form_and_sort() {
        let stamp = Stamp { hlc: Hlc(0x0102), region: RegionId(3), seq: 4 };
        assert_eq!(stamp.encode(), [0, 0, 0, 0, 0, 0, 1, 2, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4]);
        assert_eq!(Stamp::decode(&stamp.encode()), Ok(stamp));
        assert!(Stamp::decode(&[0; 17]).is_err());
        let later = Stamp { region: RegionId(4), seq: 0, ..stamp };
        assert!(stamp < later && stamp.encode() < later.encode());
    }
}
