//! The readable row of a write that lost a conflict between regions.
//!
//! Always true: key = the item's row key ‖ the loser's stamp, so writing it twice changes nothing;
//! both versions and both stamps are in it; version byte first.
//!
//! ```text
//! u8 version = 1 · u8 rule (1 = later stamp wins) · u8 loser (1 = local, 2 = remote)
//! winner, loser: each 18 bytes of stamp · u16 origin · u8 tombstone · bytes item
//! ```

use bytes::Bytes;
use tombolo_item::{Encoder, FormatError, RegionId, RowKey, SliceDecoder, Stamp};

const VERSION: u8 = 1;
const RULE_LATER_STAMP: u8 = 1;

/// Which side lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loser {
    /// The version this region held.
    Local,
    /// The version that arrived.
    Remote,
}

/// One side of a conflict.
#[derive(Debug, Clone, PartialEq)]
pub struct Side {
    pub stamp: Stamp,
    pub origin: RegionId,
    /// `None`: a delete.
    pub item: Option<Bytes>,
}

/// A decided conflict.
#[derive(Debug, Clone, PartialEq)]
pub struct ConflictRow {
    pub loser_is: Loser,
    pub winner: Side,
    pub loser: Side,
}

impl ConflictRow {
    /// Where it is kept, in the space of conflicts.
    pub fn key(row_key: &RowKey, loser: &Stamp) -> RowKey {
        let mut bytes = Vec::with_capacity(row_key.0.len() + 18);
        bytes.extend_from_slice(&row_key.0);
        bytes.extend_from_slice(&loser.encode());
        RowKey(bytes.into())
    }

    pub fn encode(&self) -> Bytes {
        let mut e = Encoder::default();
        e.u8(VERSION);
        e.u8(RULE_LATER_STAMP);
        e.u8(match self.loser_is {
            Loser::Local => 1,
            Loser::Remote => 2,
        });
        for side in [&self.winner, &self.loser] {
            e.raw(&side.stamp.encode());
            e.u16(side.origin.0);
            e.u8(u8::from(side.item.is_none()));
            e.bytes(side.item.as_deref().unwrap_or_default());
        }
        e.0.into()
    }

    pub fn decode(bytes: &Bytes) -> Result<ConflictRow, FormatError> {
        let mut d = SliceDecoder::new(bytes.clone(), "conflict row");
        let version = d.u8()?;
        if version != VERSION {
            return Err(d.error(format!("unknown conflict row version {version}")));
        }
        let rule = d.u8()?;
        if rule != RULE_LATER_STAMP {
            return Err(d.error(format!("unknown rule {rule}")));
        }
        let loser_is = match d.u8()? {
            1 => Loser::Local,
            2 => Loser::Remote,
            other => return Err(d.error(format!("unknown side {other}"))),
        };
        let winner = side(&mut d)?;
        let loser = side(&mut d)?;
        Ok(ConflictRow { loser_is, winner, loser })
    }
}

fn side(d: &mut SliceDecoder) -> Result<Side, FormatError> {
    let stamp = Stamp::decode(&d.raw(18)?)?;
    let origin = RegionId(d.u16()?);
    let tombstone = d.u8()? != 0;
    let item = d.bytes()?;
    Ok(Side { stamp, origin, item: (!tombstone).then_some(item) })
}

#[cfg(test)]
mod tests {
    use tombolo_item::Hlc;

    use super::*;

    #[test]
    fn a_conflict_row_has_the_written_form() {
        let stamp = |hlc, region| Stamp { hlc: Hlc(hlc), region: RegionId(region), seq: 5 };
        let winner = Side {
            stamp: stamp(9, 2),
            origin: RegionId(2),
            item: Some(Bytes::from_static(b"new")),
        };
        let loser = Side { stamp: stamp(8, 1), origin: RegionId(1), item: None };
        let row = ConflictRow { loser_is: Loser::Local, winner, loser };
        let expected = [
            &[1, 1, 1][..],
            &9u64.to_be_bytes(),
            &[0, 2],
            &5u64.to_be_bytes(),
            &[0, 2, 0, 0, 0, 0, 3],
            b"new",
            &8u64.to_be_bytes(),
            &[0, 1],
            &5u64.to_be_bytes(),
            &[0, 1, 1, 0, 0, 0, 0],
        ]
        .concat();
        assert_eq!(row.encode(), expected);
        assert_eq!(ConflictRow::decode(&expected.clone().into()), Ok(row));
        let mut other = expected;
        other[0] = 2;
        let error = ConflictRow::decode(&other.into()).unwrap_err().to_string();
        assert!(error.contains("version 2"), "{error}");
    }
}
