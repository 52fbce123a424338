//! Whether the rows of local indexes are those that the items ask for, on one replica at one marker.
//!
//! Always true: both sides are summed in one pass each, in no memory to speak of, so it costs about what the
//! digests of the items cost. It says that they differ, not where: the replica is rebuilt whatever the row.

use std::ops::ControlFlow;

use bytes::Bytes;
use tombolo_item::key::HASH_BYTES;
use tombolo_item::{Item, KeyRange, RowKey, Stamp};
use tombolo_storage::digest::item_hash;
use tombolo_storage::{Digest, Finding, GroupConfig, PinnedView, Space, StorageError};

use crate::core::{base_of, place};

/// A finding if they differ in `range`. A range that begins or ends inside an item collection, where items
/// and their index rows part, is not looked at; nor is one with damaged rows, which are findings themselves.
pub(crate) fn compare(
    view: &PinnedView,
    range: &KeyRange,
) -> Result<Option<Finding>, StorageError> {
    let Some(config) = view.state().config.as_ref().filter(|config| !config.indexes.is_empty())
    else {
        return Ok(None);
    };
    let bounds = [Some(&range.start), range.end.as_ref()];
    if bounds.into_iter().flatten().any(|bound| bound.0.len() > HASH_BYTES) {
        return Ok(None);
    }
    let sums = asked(view, config, range).and_then(|asked| Ok((asked, there(view, range)?)));
    match sums {
        Ok((asked, there)) if asked == there => Ok(None),
        Ok((asked, there)) => Ok(Some(Finding {
            row_key: range.start.clone(),
            reason: format!(
                "the items ask for {} rows of local indexes, there are {}, and they are not the same",
                asked.items, there.items
            ),
        })),
        Err(StorageError::Corrupt { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn asked(
    view: &PinnedView,
    config: &GroupConfig,
    range: &KeyRange,
) -> Result<Digest, StorageError> {
    let mut sum = Digest::default();
    view.range(Space::ITEMS, range, false, &mut |row_key, row| {
        let item = (!row.tombstone).then(|| Item::decode(&row.item).ok()).flatten();
        for number in 0..config.indexes.len() {
            let key = item.as_ref().and_then(|item| place(config, number, &row.key, item));
            if let Some(key) = key {
                add(&mut sum, &key, &row_key);
            }
        }
        ControlFlow::Continue(())
    })?;
    Ok(sum)
}

fn there(view: &PinnedView, range: &KeyRange) -> Result<Digest, StorageError> {
    let mut sum = Digest::default();
    view.range_raw(Space::INDEX, range, false, &mut |key, value: Bytes| {
        // One that names nothing is one that nothing asks for.
        add(&mut sum, &key, &base_of(&value).unwrap_or_default());
        ControlFlow::Continue(())
    })?;
    Ok(sum)
}

fn add(sum: &mut Digest, key: &RowKey, base: &RowKey) {
    sum.add(item_hash(key, &Stamp::default(), &base.0), &base.0);
}
