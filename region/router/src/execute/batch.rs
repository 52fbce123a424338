//! Many items in one request, each for itself.
//!
//! Always true: everything that can be wrong with the request is found before anything is done
//! (API_BatchGetItem, API_BatchWriteItem); what a partition could not do now comes back as unprocessed,
//! in the caller's own words; when nothing at all could be done, the reason is the answer.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream;
use tombolo_item::Key;
use tombolo_memds::TableInfo;

use super::Executor;
use super::capacity;
use super::items::{check_index_keys, key_from};
use crate::door::RequestContext;
use crate::errors;
use crate::failure::Failure;
use crate::operation::{
    BatchGet, BatchGot, BatchWrite, BatchWriteRequest, BatchWritten, CollectionMetrics, DeleteItem,
    GetItem, Got, PutItem, Report, ReturnValues, Written,
};
use crate::region::Region;

/// Most keys of a BatchGetItem.
const MOST_KEYS: usize = 100;
/// Most writes of a BatchWriteItem.
const MOST_WRITES: usize = 25;
/// Bytes of items that one answer, or one request, holds.
const MOST_BYTES: usize = 16 << 20;
/// Requests of one batch under way at a time.
const AT_ONCE: usize = 25;

/// Whether another attempt may do what this one did not. A blind put or delete may be repeated, also
/// when it is not known whether it took place.
fn unprocessed(failure: &Failure) -> bool {
    failure.retryable || failure.reason == "OutcomeUnknown"
}

/// Adds an element to the list of its table.
fn push<T>(tables: &mut Vec<(String, Vec<T>)>, table: &str, element: T) {
    match tables.iter_mut().find(|(known, _)| known == table) {
        Some((_, elements)) => elements.push(element),
        None => tables.push((table.into(), vec![element])),
    }
}

/// The key of a write.
fn key_of(table: &TableInfo, request: &BatchWriteRequest) -> Result<Key, Failure> {
    match request {
        BatchWriteRequest::Put(item) => {
            let key = table.schema.key_of(item).map_err(errors::from_batched_key)?;
            item.validate().map_err(errors::from_item)?;
            check_index_keys(table, item)?;
            Ok(key)
        }
        BatchWriteRequest::Delete(key) => key_from(&table.schema, key),
    }
}

impl<R: Region> Executor<R> {
    pub(super) async fn batch_get(
        &self,
        context: &RequestContext,
        batch: BatchGet,
    ) -> Result<BatchGot, Failure> {
        let BatchGet { tables, report } = batch;
        let count: usize = tables.iter().map(|(_, of)| of.keys.len()).sum();
        match count {
            0 => return Err(errors::empty_batch()),
            1..=MOST_KEYS => {}
            _ => return Err(errors::too_many_requests_in_batch("BatchGetItem")),
        }
        let mut reads = Vec::with_capacity(count);
        let mut answer = BatchGot::default();
        for (name, of) in tables {
            let table = self.serving(&name).await?;
            let mut seen = BTreeSet::new();
            answer.found.push((name.clone(), Vec::new()));
            for key in of.keys {
                if !seen.insert(key_from(&table.schema, &key)?) {
                    return Err(errors::duplicate_keys());
                }
                reads.push(GetItem {
                    table: name.clone(),
                    key,
                    consistent: of.consistent,
                    projection: of.projection.clone(),
                    report,
                });
            }
        }
        let mut results = stream::iter(reads.into_iter().map(|read| async move {
            let key = (read.table.clone(), read.key.clone());
            (key, self.get_item(context, read).await)
        }))
        .buffered(AT_ONCE);
        let (mut bytes, mut done, mut refusal) = (0, 0, None);
        let mut consumed = Vec::new();
        while let Some(((table, key), result)) = results.next().await {
            let result = match result {
                // An answer that is full takes no more; what was read ahead is read again.
                Ok(_) if bytes >= MOST_BYTES => None,
                Ok(got) => Some(got),
                Err(failure) if unprocessed(&failure) => {
                    refusal = Some(failure);
                    None
                }
                Err(failure) => return Err(failure),
            };
            let Some(Got { item, consumed: units }) = result else {
                push(&mut answer.unprocessed, &table, key);
                continue;
            };
            done += 1;
            consumed.extend(units);
            if let Some((item, _)) = item {
                bytes += item.size();
                push(&mut answer.found, &table, item);
            }
        }
        drop(results);
        if let Some(failure) = refusal.filter(|_| done == 0) {
            return Err(failure);
        }
        answer.consumed = capacity::sum(consumed);
        Ok(answer)
    }

    pub(super) async fn batch_write(
        &self,
        context: &RequestContext,
        batch: BatchWrite,
    ) -> Result<BatchWritten, Failure> {
        let BatchWrite { tables, report } = batch;
        let writes = self.check_writes(tables).await?;
        // A token of the caller stands for one write.
        let context = &RequestContext { token: None, ..context.clone() };
        let mut results = stream::iter(writes.into_iter().map(|(table, request)| async move {
            let result = self.write_one(context, &table, request.clone(), report).await;
            (table, request, result)
        }))
        .buffered(AT_ONCE);
        let (mut done, mut refusal) = (0, None);
        let mut consumed = Vec::new();
        let mut collections: Vec<(String, Vec<CollectionMetrics>)> = Vec::new();
        let mut answer = BatchWritten::default();
        while let Some((table, request, result)) = results.next().await {
            match result {
                Ok(written) => {
                    done += 1;
                    consumed.extend(written.consumed);
                    if let Some(collection) = written.collection {
                        let of_table = collections.iter().find(|(name, _)| *name == table.name);
                        if !of_table.is_some_and(|(_, known)| known.contains(&collection)) {
                            push(&mut collections, &table.name, collection);
                        }
                    }
                }
                Err(failure) if unprocessed(&failure) => {
                    refusal = Some(failure);
                    push(&mut answer.unprocessed, &table.name, request);
                }
                Err(failure) => return Err(failure),
            }
        }
        drop(results);
        if let Some(failure) = refusal.filter(|_| done == 0) {
            return Err(failure);
        }
        answer.consumed = capacity::sum(consumed);
        answer.collections = collections;
        Ok(answer)
    }

    /// The writes of a batch, if all of them can be done.
    async fn check_writes(
        &self,
        tables: Vec<(String, Vec<BatchWriteRequest>)>,
    ) -> Result<Vec<(Arc<TableInfo>, BatchWriteRequest)>, Failure> {
        let count: usize = tables.iter().map(|(_, requests)| requests.len()).sum();
        match count {
            0 => return Err(errors::empty_batch()),
            1..=MOST_WRITES => {}
            _ => return Err(errors::too_many_requests_in_batch("BatchWriteItem")),
        }
        let mut bytes = 0;
        let mut writes = Vec::with_capacity(count);
        for (name, requests) in tables {
            let table = self.serving(&name).await?;
            let mut seen = BTreeSet::new();
            for request in requests {
                if !seen.insert(key_of(&table, &request)?) {
                    return Err(errors::duplicate_keys());
                }
                bytes += match &request {
                    BatchWriteRequest::Put(item) | BatchWriteRequest::Delete(item) => item.size(),
                };
                writes.push((Arc::clone(&table), request));
            }
        }
        match bytes > MOST_BYTES {
            true => Err(errors::batch_too_large(MOST_BYTES)),
            false => Ok(writes),
        }
    }

    async fn write_one(
        &self,
        context: &RequestContext,
        table: &TableInfo,
        request: BatchWriteRequest,
        report: Report,
    ) -> Result<Written, Failure> {
        let (table, condition) = (table.name.clone(), None);
        let (returns, return_on_failure) = (ReturnValues::None, false);
        match request {
            BatchWriteRequest::Put(item) => {
                let put = PutItem { table, item, condition, returns, return_on_failure, report };
                self.put_item(context, put).await
            }
            BatchWriteRequest::Delete(key) => {
                let of = DeleteItem { table, key, condition, returns, return_on_failure, report };
                self.delete_item(context, of).await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_stand_with_their_table() {
        let mut tables = vec![("b".to_string(), Vec::new())];
        for (table, element) in [("a", 1), ("b", 2), ("a", 3)] {
            push(&mut tables, table, element);
        }
        assert_eq!(tables, [("b".to_string(), vec![2]), ("a".to_string(), vec![1, 3])]);
    }

    #[test]
    fn what_may_be_asked_for_again_is_unprocessed() {
        assert!(unprocessed(&errors::overloaded("busy")));
        assert!(!unprocessed(&errors::condition_failed(None)));
        assert!(!unprocessed(&errors::table_not_found("music")));
    }
}
