//! Ranges of items: query and scan, page by page.
//!
//! Always true: a page ends when it has looked at `Limit` items or at 1 MB of them, as DynamoDB counts
//! bytes, whichever is first, or where the range ends (API_Query, API_Scan); in the first two cases
//! `last` says where, also when nothing follows. Filters hold back what was looked at already. Two
//! partition keys with one hash share a range of row keys: a query drops the items of the other, and
//! counts them nowhere.

use bytes::Bytes;
use tombolo_item::capacity::read_units;
use tombolo_item::key::{HASH_BYTES, index_row_key, index_sort_range};
use tombolo_item::limits::PAGE_BYTES;
use tombolo_item::{
    Condition, Item, KeyRange, KeySchema, LocalIndex, RowKey, SortCondition, Value,
};
use tombolo_memds::{TableInfo, Walk};

use super::Executor;
use super::items::{decode, key_from};
use super::select::{View, check_filter};
use crate::door::RequestContext;
use crate::errors;
use crate::execute::capacity;
use crate::failure::Failure;
use crate::operation::{CapacityDetail, Consumed, KeyCondition, Page, Query, Report, Scan};
use crate::region::Region;

/// Bytes that one page reads at most of a table whose index it walks: index rows are small, the items
/// behind them need not be.
const READ_BYTES: usize = 16 * PAGE_BYTES;
/// Most segments of a scan (API_Scan).
const MOST_SEGMENTS: u32 = 1_000_000;

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

/// One of `total` equal parts of the hash space.
fn segment(part: u32, total: u32) -> KeyRange {
    let bound = |part: u32| {
        let at = (u128::from(part) << 64) / u128::from(total.max(1));
        let mut bytes = [0; HASH_BYTES];
        bytes[..8].copy_from_slice(&(at as u64).to_be_bytes());
        RowKey(Bytes::copy_from_slice(&bytes))
    };
    KeyRange {
        start: if part == 0 { RowKey::default() } else { bound(part) },
        end: (part + 1 < total).then(|| bound(part + 1)),
    }
}

/// What is read: a table, or one of its local indexes.
pub(super) struct Source<'a> {
    table: &'a TableInfo,
    pub(super) index: Option<(u8, &'a LocalIndex)>,
}

impl<'a> Source<'a> {
    pub(super) fn of(table: &'a TableInfo, index: Option<&str>) -> Result<Self, Failure> {
        let Some(name) = index else { return Ok(Self { table, index: None }) };
        match table.settings.local_index(name) {
            Some(index) => Ok(Self { table, index: Some(index) }),
            None => Err(errors::index_not_found(name)),
        }
    }

    pub(super) fn keys(&self) -> KeySchema {
        match self.index {
            None => self.table.schema.clone(),
            Some((_, index)) => index.schema(&self.table.schema),
        }
    }

    /// The key attributes of an item, the index's too.
    fn key_attributes(&self, item: &Item) -> Item {
        let schema = &self.table.schema;
        let sort = self.index.map(|(_, index)| &index.sort);
        let keys = [Some(&schema.partition), schema.sort.as_ref(), sort].into_iter().flatten();
        let pairs = keys.filter_map(|key| item.0.get_key_value(&key.name));
        pairs.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// Where `exclusive_start_key` stands, and its partition key.
    fn start(&self, start: &Item) -> Result<(RowKey, Value), Failure> {
        let invalid = |_| errors::start_key_invalid();
        let TableInfo { schema, secret, .. } = self.table;
        let Some((number, index)) = self.index else {
            let key = key_from(schema, start).map_err(invalid)?;
            let row = schema.row_key(secret, &key).map_err(errors::from_item)?;
            return Ok((row, key.partition));
        };
        let mut base = start.clone();
        let of_key = schema.sort.as_ref().is_some_and(|sort| sort.name == index.sort.name);
        let value = match of_key {
            true => base.0.get(&index.sort.name).cloned(),
            false => base.0.remove(&index.sort.name),
        };
        let value = value.ok_or_else(errors::start_key_invalid)?;
        let key = key_from(schema, &base).map_err(invalid)?;
        let row = index_row_key(schema, secret, number, &index.sort, &value, &key);
        Ok((row.map_err(|_| errors::start_key_invalid())?, key.partition))
    }

    /// The row keys of a query, after its start key.
    pub(super) fn range(
        &self,
        partition: &Value,
        sort: Option<&SortCondition>,
        start: Option<&Item>,
        reverse: bool,
    ) -> Result<KeyRange, Failure> {
        let TableInfo { schema, secret, .. } = self.table;
        let range = match self.index {
            None => schema.sort_range(secret, partition, sort),
            Some((number, index)) => {
                index_sort_range(schema, secret, number, &index.sort, partition, sort)
            }
        };
        let range = range.map_err(errors::from_query_item)?;
        let Some(start) = start else { return Ok(range) };
        let (row, of) = self.start(start)?;
        if of != *partition {
            return Err(errors::start_key_elsewhere());
        }
        match range.contains(&row) {
            true => Ok(after(range, &row, reverse)),
            false => Err(errors::start_key_outside_range()),
        }
    }

    /// The row keys of a scan, after its start key.
    pub(super) fn everything(&self, start: Option<&Item>) -> Result<KeyRange, Failure> {
        match start {
            None => Ok(KeyRange::full()),
            Some(start) => Ok(after(KeyRange::full(), &self.start(start)?.0, false)),
        }
    }
}

impl Progress {
    /// What was taken, if asked for.
    pub(super) fn consumed(
        &self,
        source: &Source<'_>,
        consistent: bool,
        report: Report,
    ) -> Vec<Consumed> {
        if report.capacity == CapacityDetail::None {
            return Vec::new();
        }
        let units = read_units(self.bytes, consistent);
        let name = &source.table.name;
        match source.index {
            None => capacity::reading(report, name, units, None),
            Some((_, index)) => {
                let index = (index.name.as_str(), units);
                capacity::reading(report, name, self.fetched, Some(index))
            }
        }
    }
}

/// What a page is read by.
pub(super) struct Reading<'a> {
    pub(super) source: Source<'a>,
    pub(super) range: KeyRange,
    pub(super) reverse: bool,
    pub(super) limit: Option<u32>,
    pub(super) consistent: bool,
    /// Only items with this partition key are of the range.
    pub(super) partition: Option<&'a Value>,
    pub(super) filter: Option<&'a Condition>,
    pub(super) view: View,
    pub(super) report: Report,
}

/// What was read of a page so far.
#[derive(Default)]
pub(super) struct Progress {
    pub(super) items: Vec<Item>,
    count: u32,
    scanned: u32,
    /// Bytes of what was looked at, as DynamoDB counts them.
    bytes: usize,
    /// Bytes of the items behind index rows.
    read: usize,
    /// Units of the items fetched for an index that does not hold what was asked for.
    fetched: f64,
    pub(super) last: Option<Item>,
}

impl Reading<'_> {
    /// Looks at an item; says whether the page is full.
    fn look(&self, item: Item, progress: &mut Progress) -> Result<bool, Failure> {
        let schema = &self.source.table.schema;
        let of_range = |wanted: &Value| item.get(&schema.partition.name) == Some(wanted);
        if !self.partition.is_none_or(of_range) {
            return Ok(false);
        }
        let whole = item.size();
        progress.read += whole;
        let key = self.source.key_attributes(&item);
        let item = match self.source.index {
            None => {
                progress.bytes += whole;
                item
            }
            Some((_, index)) => {
                let held = index.project(schema, &item);
                progress.bytes += held.size();
                if self.view.whole {
                    progress.fetched += read_units(whole, self.consistent);
                    item
                } else {
                    held
                }
            }
        };
        progress.scanned += 1;
        progress.last = Some(key);
        let passes = match self.filter {
            None => true,
            Some(filter) => filter.matches(Some(&item)).map_err(errors::from_expression)?,
        };
        if passes {
            progress.count += 1;
            if !self.view.count_only {
                progress.items.push(self.view.show(item));
            }
        }
        let full = self.limit.is_some_and(|limit| progress.scanned >= limit);
        Ok(full || progress.bytes >= PAGE_BYTES || progress.read >= READ_BYTES)
    }
}

impl<R: Region> Executor<R> {
    pub(super) async fn query(
        &self,
        context: &RequestContext,
        query: Query,
    ) -> Result<Page, Failure> {
        let Query { table: name, index, condition, filter, projection, select, .. } = query;
        let table = self.serving(&name).await?;
        let source = Source::of(&table, index.as_deref())?;
        let keys = source.keys();
        let view =
            View::of(select, projection, source.index.map(|(_, index)| index), &table.schema)?;
        let (partition, sort) = match condition {
            KeyCondition::Parts { partition, sort } => (partition, sort),
            KeyCondition::Named(condition) => {
                condition.resolve(&keys).map_err(errors::from_expression)?
            }
        };
        check_filter(filter.as_ref(), &keys)?;
        let reverse = !query.forward;
        let range = source.range(&partition, sort.as_ref(), query.page.start.as_ref(), reverse)?;
        let reading = Reading {
            source,
            range,
            reverse,
            limit: query.page.limit,
            consistent: query.page.consistent,
            partition: Some(&partition),
            filter: filter.as_ref(),
            view,
            report: query.report,
        };
        self.page(context, reading).await
    }

    pub(super) async fn scan(&self, context: &RequestContext, scan: Scan) -> Result<Page, Failure> {
        let Scan { table: name, index, filter, projection, select, .. } = scan;
        if let Some((part, total)) = scan.segment {
            if !(1..=MOST_SEGMENTS).contains(&total) {
                return Err(errors::too_large(total, "totalSegments", MOST_SEGMENTS.into()));
            }
            if part >= total {
                return Err(errors::segment_beyond_total(part, total));
            }
        }
        let table = self.serving(&name).await?;
        let source = Source::of(&table, index.as_deref())?;
        let view =
            View::of(select, projection, source.index.map(|(_, index)| index), &table.schema)?;
        let range = scan.segment.map_or_else(KeyRange::full, |(part, total)| segment(part, total));
        let range = match &scan.page.start {
            None => range,
            Some(start) => {
                let (row, _) = source.start(start)?;
                if let Some((part, total)) = scan.segment.filter(|_| !range.contains(&row)) {
                    return Err(errors::start_key_of_another_segment(part, total));
                }
                after(range, &row, false)
            }
        };
        let reading = Reading {
            source,
            range,
            reverse: false,
            limit: scan.page.limit,
            consistent: scan.page.consistent,
            partition: None,
            filter: filter.as_ref(),
            view,
            report: scan.report,
        };
        self.page(context, reading).await
    }

    /// One page of a range.
    async fn page(&self, context: &RequestContext, reading: Reading<'_>) -> Result<Page, Failure> {
        let mut progress = Progress::default();
        let full = self.walk(context, &reading, &mut progress).await?;
        let Reading { source, consistent, view, report, .. } = reading;
        let consumed = progress.consumed(&source, consistent, report);
        let Progress { items, count, scanned, last, .. } = progress;
        let items = (!view.count_only).then_some(items);
        Ok(Page { items, count, scanned, last: last.filter(|_| full), consumed })
    }

    /// Reads until the page is full, which is said, or the range is at its end.
    pub(super) async fn walk(
        &self,
        context: &RequestContext,
        reading: &Reading<'_>,
        progress: &mut Progress,
    ) -> Result<bool, Failure> {
        let table = reading.source.table;
        let index = reading.source.index.map(|(number, _)| number);
        let mut rest = reading.range.clone();
        while !rest.is_empty() {
            // Stored bytes and counted ones differ a little: what is missing is read in another turn.
            let bytes = PAGE_BYTES.saturating_sub(progress.bytes).max(1);
            let walk = Walk {
                range: rest.clone(),
                reverse: reading.reverse,
                limit: reading.limit.map_or(0, |limit| limit - progress.scanned),
                max_bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
                strong: reading.consistent,
                index,
            };
            let response = self
                .region
                .range(table, walk, context.deadline)
                .await
                .map_err(|error| errors::from_route(error, &table.name, false))?;
            let last = response.items.last().map(|(row, _)| row.clone());
            for (_, bytes) in &response.items {
                if reading.look(decode(bytes)?, progress)? {
                    return Ok(true);
                }
            }
            match last {
                Some(last) if response.more => rest = after(rest, &last, reading.reverse),
                _ => return Ok(false),
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn segments_are_everything_and_share_nothing() {
        for total in [1, 2, 3, 7, 1000, MOST_SEGMENTS] {
            assert_eq!(segment(0, total).start, RowKey::default());
            assert_eq!(segment(total - 1, total).end, None);
            for part in (0..total - 1).step_by(1 + total as usize / 50) {
                assert_eq!(segment(part, total).end, Some(segment(part + 1, total).start));
                assert!(!segment(part, total).is_empty());
            }
        }
        assert_eq!(
            (0..5).map(|part| segment(part, 5)).collect::<Vec<_>>(),
            KeyRange::split_evenly(5)
        );
    }
}
