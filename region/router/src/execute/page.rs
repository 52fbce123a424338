//! Ranges of items: query and scan, page by page.
//!
//! Always true: a page ends at the limit or at 1 MB, whichever is first (API_Query, API_Scan); what
//! it does not hold begins after `last`. Two partition keys with one hash share a range of row keys:
//! a query drops the items of the other.

use tombolo_item::{Item, Key, KeyRange, KeySchema, RowKey, SortCondition, Value};
use tombolo_memds::TableInfo;

use super::Executor;
use super::items::{decode, key_from};
use crate::door::RequestContext;
use crate::errors;
use crate::failure::Failure;
use crate::operation::{Answer, KeyCondition, Page, PageRequest, Query, Scan};
use crate::region::{RangeOf, Region};

/// Bytes of items after which a page ends.
const PAGE_BYTES: u32 = tombolo_item::limits::PAGE_BYTES as u32;

/// The part of a range that lies after a row key, in the direction of travel.
fn after(range: KeyRange, last: &RowKey, reverse: bool) -> KeyRange {
    match reverse {
        false => KeyRange { start: last.successor().max(range.start), end: range.end },
        true => {
            let end = match range.end {
                Some(end) => end.min(last.clone()),
                None => last.clone(),
            };
            KeyRange { start: range.start, end: Some(end) }
        }
    }
}

/// The key attributes of an item that is stored.
fn key_attributes(schema: &KeySchema, item: &Item) -> Item {
    let names =
        std::iter::once(&schema.partition.name).chain(schema.sort.iter().map(|sort| &sort.name));
    let pairs =
        names.filter_map(|name| item.0.get(name).map(|value| (name.clone(), value.clone())));
    Item(pairs.collect())
}

/// `exclusive_start_key`, understood.
fn start_key(schema: &KeySchema, start: &Item) -> Result<Key, Failure> {
    key_from(schema, start).map_err(|_| errors::start_key_invalid())
}

impl<R: Region> Executor<R> {
    pub(super) async fn query(
        &self,
        context: &RequestContext,
        query: Query,
    ) -> Result<Answer, Failure> {
        let Query { table: name, condition, forward, page, .. } = query;
        let table = self.serving(&name).await?;
        let (partition, sort) = match condition {
            KeyCondition::Parts { partition, sort } => (partition, sort),
            KeyCondition::Named(expression) => {
                expression.resolve(&table.schema).map_err(errors::from_expression)?
            }
        };
        let range = sort_range(&table, &partition, sort.as_ref())?;
        let range = match &page.start {
            None => range,
            Some(start) => {
                let start = start_key(&table.schema, start)?;
                if start.partition != partition {
                    return Err(errors::start_key_elsewhere());
                }
                let row_key = row_key(&table, &start)?;
                if !range.contains(&row_key) {
                    return Err(errors::start_key_outside_range());
                }
                after(range, &row_key, !forward)
            }
        };
        let of_partition =
            |item: &Item| item.0.get(&table.schema.partition.name) == Some(&partition);
        self.page(context, &table, range, !forward, page, of_partition).await
    }

    pub(super) async fn scan(
        &self,
        context: &RequestContext,
        scan: Scan,
    ) -> Result<Answer, Failure> {
        let Scan { table: name, page, .. } = scan;
        let table = self.serving(&name).await?;
        let range = match &page.start {
            None => KeyRange::full(),
            Some(start) => {
                let start = start_key(&table.schema, start)?;
                after(KeyRange::full(), &row_key(&table, &start)?, false)
            }
        };
        self.page(context, &table, range, false, page, |_| true).await
    }

    /// One page of a range.
    async fn page(
        &self,
        context: &RequestContext,
        table: &TableInfo,
        range: KeyRange,
        reverse: bool,
        page: PageRequest,
        wanted: impl Fn(&Item) -> bool + Send,
    ) -> Result<Answer, Failure> {
        if range.is_empty() {
            return Ok(Answer::Page(Page::default()));
        }
        let limit = page.limit.unwrap_or(0);
        let of = RangeOf { range, reverse, limit, max_bytes: PAGE_BYTES, strong: page.consistent };
        let response = self
            .region
            .range(table, of, context.deadline)
            .await
            .map_err(|error| errors::from_route(error, &table.name, false))?;
        let mut items = Vec::with_capacity(response.items.len());
        let mut last = None;
        for (_, bytes) in &response.items {
            let item = decode(bytes)?;
            if let Some(item) = last.replace(item)
                && wanted(&item)
            {
                items.push(item);
            }
        }
        let last_key = match (&last, response.more) {
            (Some(item), true) => Some(key_attributes(&table.schema, item)),
            _ => None,
        };
        items.extend(last.filter(|item| wanted(item)));
        let scanned = u32::try_from(items.len()).unwrap_or(u32::MAX);
        Ok(Answer::Page(Page {
            items: Some(items),
            last: last_key,
            count: scanned,
            scanned,
            ..Page::default()
        }))
    }
}

fn row_key(table: &TableInfo, key: &Key) -> Result<RowKey, Failure> {
    let row_key = table.schema.row_key(&table.secret, key);
    row_key.map_err(errors::from_item)
}

/// The row keys that a query asks for.
fn sort_range(
    table: &TableInfo,
    partition: &Value,
    sort: Option<&SortCondition>,
) -> Result<KeyRange, Failure> {
    let range = table.schema.sort_range(&table.secret, partition, sort);
    range.map_err(errors::from_query_item)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn key(bytes: &[u8]) -> RowKey {
        RowKey(Bytes::copy_from_slice(bytes))
    }

    #[test]
    fn a_page_begins_right_after_the_last_key_in_both_directions() {
        let range = || KeyRange { start: key(b"b"), end: Some(key(b"f")) };
        let forward = after(range(), &key(b"c"), false);
        assert!(!forward.contains(&key(b"c")) && forward.contains(&key(b"c\0")));
        assert!(forward.contains(&key(b"d")) && !forward.contains(&key(b"f")));
        let backward = after(range(), &key(b"c"), true);
        assert!(backward.contains(&key(b"b")) && !backward.contains(&key(b"c")));
        assert!(after(range(), &key(b"b"), true).is_empty());
        assert!(after(range(), &key(b"g"), false).is_empty());
        assert!(!after(KeyRange::full(), &key(b"g"), false).is_empty());
    }
}
