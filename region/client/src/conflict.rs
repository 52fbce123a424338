//! Writes that lost a conflict between regions, as plain data, and their form on the wire.

use serde::{Deserialize, Serialize};
use tombolo_item::{Item, RegionId, Stamp};

use crate::error::ClientError;
use crate::{convert, v1};

/// One version of an item in a conflict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConflictSide {
    /// Its version.
    pub stamp: Stamp,
    /// The region in which it was written.
    pub origin: RegionId,
    /// `None`: a delete.
    pub item: Option<Item>,
}

/// A write that lost, and what it lost against.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conflict {
    /// The item's key; empty when both versions are deletes.
    pub key: Item,
    /// What stayed.
    pub winner: ConflictSide,
    /// What was lost.
    pub loser: ConflictSide,
    /// The lost version was the one that the answering region held.
    pub loser_was_local: bool,
    /// "later-stamp": the version with the later stamp stays.
    pub rule: String,
}

/// Some conflicts of a table.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConflictPage {
    /// In order.
    pub conflicts: Vec<Conflict>,
    /// Where to go on; empty when this was the last page.
    pub next: Vec<u8>,
}

/// A page from the wire.
pub fn page(wire: v1::ListConflictsResponse) -> Result<ConflictPage, ClientError> {
    let conflicts = wire.conflicts.into_iter().map(|one| {
        Ok(Conflict {
            key: item(one.key)?,
            winner: side(one.winner)?,
            loser: side(one.loser)?,
            loser_was_local: one.loser_was_local,
            rule: one.rule,
        })
    });
    Ok(ConflictPage {
        conflicts: conflicts.collect::<Result<_, ClientError>>()?,
        next: wire.last_evaluated.into(),
    })
}

fn item(wire: std::collections::BTreeMap<String, v1::AttributeValue>) -> Result<Item, ClientError> {
    convert::item(wire)
        .map_err(|_| ClientError::incomprehensible("an item of a conflict has another form"))
}

fn side(wire: Option<v1::ConflictSide>) -> Result<ConflictSide, ClientError> {
    let missing = || ClientError::incomprehensible("a conflict lacks one of its sides");
    let wire = wire.ok_or_else(missing)?;
    let origin = u16::try_from(wire.origin_region)
        .map_err(|_| ClientError::incomprehensible("a region's number is out of range"))?;
    Ok(ConflictSide {
        stamp: wire.stamp.and_then(convert::stamp).ok_or_else(missing)?,
        origin: RegionId(origin),
        item: match wire.deleted {
            true => None,
            false => Some(item(wire.item)?),
        },
    })
}

/// A page for the wire.
pub fn page_to_wire(page: ConflictPage) -> v1::ListConflictsResponse {
    let side = |side: ConflictSide| v1::ConflictSide {
        stamp: Some(convert::stamp_to_wire(side.stamp)),
        origin_region: side.origin.0.into(),
        deleted: side.item.is_none(),
        item: side.item.map(convert::item_to_wire).unwrap_or_default(),
    };
    let conflicts = page.conflicts.into_iter().map(|one| v1::Conflict {
        key: convert::item_to_wire(one.key),
        winner: Some(side(one.winner)),
        loser: Some(side(one.loser)),
        loser_was_local: one.loser_was_local,
        rule: one.rule,
    });
    v1::ListConflictsResponse { conflicts: conflicts.collect(), last_evaluated: page.next.into() }
}
