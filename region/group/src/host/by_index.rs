//! Reading items in the order of a local index.
//!
//! Always true: an item is given only under the index row that its own content asks for, so a row of the
//! index that is older or newer than the item beside it (the two are read one after the other) shows
//! nothing wrong. A row that goes on naming an item which does not stand there is damage, and said so.

use std::ops::ControlFlow;

use bytes::Bytes;
use tombolo_item::key::index_of_row;
use tombolo_item::{Item, RowKey};
use tombolo_storage::{GroupConfig, Partition, Space};

use crate::core::{base_of, place, stored};
use crate::error::GroupError;
use crate::types::{RangeRequest, RangeResponse};

/// A row and its item are read again this often before they are believed to disagree: each time only
/// another write of the item in the same moment can do it.
const TRIES: u32 = 16;

pub(crate) fn collect(
    partition: &Partition,
    config: &GroupConfig,
    number: u8,
    request: &RangeRequest,
    limit: usize,
    max_bytes: usize,
) -> Result<RangeResponse, GroupError> {
    if usize::from(number) >= config.indexes.len() {
        return Err(GroupError::Invalid(format!("the table has no local index {number}")));
    }
    let mut response = RangeResponse { items: Vec::new(), more: false };
    let mut bytes = 0;
    let mut failed = None;
    let mut visit = |key: RowKey, value: Bytes| {
        if index_of_row(&key) != Some(number) {
            return ControlFlow::Continue(());
        }
        if response.items.len() >= limit || bytes >= max_bytes {
            response.more = true;
            return ControlFlow::Break(());
        }
        match item_of(partition, config, number, &key, value) {
            Ok(Some(item)) => {
                bytes += key.0.len() + item.len();
                response.items.push((key, item));
                ControlFlow::Continue(())
            }
            Ok(None) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        }
    };
    let walked = partition.range_raw(Space::INDEX, &request.range, request.reverse, &mut visit);
    match failed {
        Some(error) => Err(error),
        None => walked.map(|()| response).map_err(stored),
    }
}

/// The item that stands under an index row; `None` if the row is gone by now.
fn item_of(
    partition: &Partition,
    config: &GroupConfig,
    number: u8,
    key: &RowKey,
    value: Bytes,
) -> Result<Option<Bytes>, GroupError> {
    let damaged = |reason: String| {
        let key: String = key.0.iter().map(|byte| format!("{byte:02x}")).collect();
        GroupError::Corrupt(format!("group {}, index row {key}: {reason}", config.group))
    };
    let mut value = Some(value);
    for _ in 0..TRIES {
        let Some(row) = &value else { return Ok(None) };
        let base = base_of(row).map_err(damaged)?;
        let found = partition.get(Space::ITEMS, &base).map_err(stored)?;
        if let Some(found) = found.filter(|row| !row.tombstone) {
            let item = Item::decode(&found.item).map_err(|error| damaged(error.to_string()))?;
            if place(config, usize::from(number), &found.key, &item).as_ref() == Some(key) {
                return Ok(Some(found.item));
            }
        }
        value = partition.get_raw(Space::INDEX, key).map_err(stored)?;
    }
    Err(damaged("the item that it names does not stand there".into()))
}
