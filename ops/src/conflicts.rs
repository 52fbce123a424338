//! The conflict log of a table, as its leaders hold it.
//!
//! Always true: a row that cannot be read is an error, never left out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tombolo_client::conflict::{Conflict, ConflictPage, ConflictSide};
use tombolo_group::{ConflictRow, Loser, Side};
use tombolo_item::{Item, KeyRange, RowKey};
use tombolo_memds::{Routed, TableInfo};
use tombolo_router::OperationsError;

/// How long the partitions may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// At most `limit` conflicts after the place `after`.
pub(crate) async fn page(
    routed: &Routed,
    table: Arc<TableInfo>,
    after: Option<RowKey>,
    limit: usize,
) -> Result<ConflictPage, OperationsError> {
    let mut range = KeyRange::full();
    if let Some(after) = after {
        range.start = after.successor();
    }
    let limit = u32::try_from(limit).unwrap_or(u32::MAX);
    let found = routed.conflicts(&table, range, limit, Instant::now() + PATIENCE).await;
    let found = found.map_err(|error| OperationsError::Unavailable(error.to_string()))?;
    let next = found.rows.last().filter(|_| found.more).map(|(place, _)| place.0.to_vec());
    let conflicts = found.rows.iter().map(|(place, value)| conflict(&table, place, value));
    Ok(ConflictPage {
        conflicts: conflicts.collect::<Result<_, _>>().map_err(OperationsError::Internal)?,
        next: next.unwrap_or_default(),
    })
}

fn conflict(table: &TableInfo, place: &RowKey, value: &Bytes) -> Result<Conflict, String> {
    let unreadable =
        |error: &dyn std::fmt::Display| format!("the conflict row at {place:?}: {error}");
    let row = ConflictRow::decode(value).map_err(|error| unreadable(&error))?;
    let (winner, loser) = (side(row.winner), side(row.loser));
    let (winner, loser) =
        (winner.map_err(|error| unreadable(&error))?, loser.map_err(|error| unreadable(&error))?);
    let whole = winner.item.as_ref().or(loser.item.as_ref());
    let mut key = Item::default();
    let names = std::iter::once(&table.schema.partition).chain(&table.schema.sort);
    for name in names.map(|attribute| &attribute.name) {
        if let Some(value) = whole.and_then(|item| item.0.get(name)) {
            key.insert(name.as_str(), value.clone());
        }
    }
    Ok(Conflict {
        key,
        winner,
        loser,
        loser_was_local: row.loser_is == Loser::Local,
        // The only rule that the format knows so far.
        rule: "later-stamp".to_owned(),
    })
}

fn side(side: Side) -> Result<ConflictSide, String> {
    let item = side.item.map(|item| Item::decode(&item)).transpose();
    let item = item.map_err(|error| error.to_string())?;
    Ok(ConflictSide { stamp: side.stamp, origin: side.origin, item })
}
