//! What a change of an item makes of the rows of its table's local indexes.
//!
//! Always true: an item has one row in each index whose sort key it has, and no other; the rows move in
//! the log record of the change itself, worked out from the two images alone, so that every replica has
//! equal rows and a snapshot, a restart or another leader changes nothing about them. An index row names
//! its item and holds nothing else: what is projected is read from the item.
//!
//! A change of another region is taken in whatever it holds: an item whose sort key is none (another
//! type, empty, too long) stands in no row of that index.
//!
//! ```text
//! row key    tombolo_item::key::index_row_key
//! value      u8 version = 1 ‖ the item's row key
//! ```

use bytes::Bytes;
use tombolo_item::key::index_row_key;
use tombolo_item::table::LocalIndex;
use tombolo_item::{Item, ItemError, Key, RowKey};
use tombolo_storage::{GroupConfig, RowOp, Space};

const VERSION: u8 = 1;

/// Whether an item of a user may stand in the table's indexes.
pub(super) fn check(config: &GroupConfig, item: &Item) -> Result<(), ItemError> {
    config.indexes.iter().try_for_each(|index| index.sort_of(item).map(|_| ()))
}

/// The row operations that follow an item from `old` to `new`.
pub(super) fn moves(
    config: &GroupConfig,
    key: &Key,
    row_key: &RowKey,
    old: Option<&Item>,
    new: Option<&Item>,
) -> Vec<RowOp> {
    let mut ops = Vec::new();
    for number in 0..config.indexes.len() {
        let at = |item: Option<&Item>| item.and_then(|item| place(config, number, key, item));
        let (from, to) = (at(old), at(new));
        if from == to {
            continue;
        }
        let space = Space::INDEX;
        ops.extend(from.map(|key| RowOp { space, key, value: None }));
        ops.extend(to.map(|key| RowOp { space, key, value: Some(encode(row_key)) }));
    }
    ops
}

/// Where an item stands in the index of this number.
pub(crate) fn place(config: &GroupConfig, number: usize, key: &Key, item: &Item) -> Option<RowKey> {
    let index: &LocalIndex = config.indexes.get(number)?;
    let value = index.sort_of(item).ok().flatten()?;
    let number = u8::try_from(number).ok()?;
    index_row_key(&config.schema, &config.secret, number, &index.sort, value, key).ok()
}

fn encode(row_key: &RowKey) -> Bytes {
    let mut bytes = Vec::with_capacity(1 + row_key.0.len());
    bytes.push(VERSION);
    bytes.extend_from_slice(&row_key.0);
    bytes.into()
}

/// The row key of the item that an index row names. The error is the reason.
pub(crate) fn base_of(value: &Bytes) -> Result<RowKey, String> {
    match value.split_first() {
        Some((&VERSION, rest)) if !rest.is_empty() => Ok(RowKey(value.slice(1..))),
        Some((&VERSION, _)) => Err("an index row that names no item".into()),
        Some((other, _)) => Err(format!("unknown version {other} of an index row")),
        None => Err("an empty index row".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_row_has_the_written_form() {
        let base = RowKey(Bytes::from_static(b"base"));
        assert_eq!(encode(&base), b"\x01base"[..]);
        assert_eq!(base_of(&encode(&base)), Ok(base));
        for (bad, reason) in [(&b""[..], "empty"), (b"\x01", "no item"), (b"\x02x", "version 2")] {
            let error = base_of(&Bytes::from_static(bad)).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }
}
