//! One item: put, get, update, delete.

use bytes::Bytes;
use tombolo_group::{ReturnImages, WriteOp, WriteOutcome, WriteResponse};
use tombolo_item::capacity::write_units;
use tombolo_item::{Item, Key, KeySchema, Update};
use tombolo_memds::TableInfo;

use super::{Executor, capacity};
use crate::door::RequestContext;
use crate::errors;
use crate::failure::Failure;
use crate::operation::{
    CapacityDetail, CollectionMetrics, DeleteItem, GetItem, Got, PutItem, Report, ReturnValues,
    UpdateItem, Written,
};
use crate::region::Region;

/// Bytes of a gigabyte, in which collections are measured.
const GIGABYTE: f64 = 1_073_741_824.0;
/// The largest an item collection may be, in gigabytes (developer guide, "Item collection size limit").
const COLLECTION_GB: f64 = 10.0;

/// A key from exactly its attributes.
pub(super) fn key_from(schema: &KeySchema, attributes: &Item) -> Result<Key, Failure> {
    schema.key_from(attributes).map_err(errors::from_item)
}

/// A stored item.
pub(super) fn decode(bytes: &Bytes) -> Result<Item, Failure> {
    Item::decode(bytes).map_err(|error| errors::internal("decode a stored item", error))
}

pub(super) fn decode_some(bytes: Option<Bytes>) -> Result<Option<Item>, Failure> {
    bytes.as_ref().map(decode).transpose()
}

/// Whether a put or a delete is to answer with the item before. More it cannot tell.
fn returns_old(returns: ReturnValues) -> Result<bool, Failure> {
    match returns {
        ReturnValues::None => Ok(false),
        ReturnValues::AllOld => Ok(true),
        _ => Err(errors::return_values_illegal()),
    }
}

/// Whether what a write took can only be counted from the images of the item.
fn needs_images(table: &TableInfo, report: Report) -> bool {
    report.capacity != CapacityDetail::None && !table.settings.local_indexes.is_empty()
}

/// What a partition did.
struct Done {
    old: Option<Item>,
    new: Option<Item>,
    response: WriteResponse,
}

fn done(mut response: WriteResponse) -> Result<Done, Failure> {
    let outcome = std::mem::replace(&mut response.outcome, WriteOutcome::Merged { won: false });
    match outcome {
        WriteOutcome::Written { old, new } | WriteOutcome::Unchanged { old, new } => {
            Ok(Done { old: decode_some(old)?, new: decode_some(new)?, response })
        }
        WriteOutcome::ConditionFailed { item } => Err(errors::condition_failed(decode_some(item)?)),
        WriteOutcome::Merged { .. } => {
            Err(errors::internal("understand a partition's answer", "a merge answered a write"))
        }
    }
}

impl<R: Region> Executor<R> {
    pub(super) async fn put_item(
        &self,
        context: &RequestContext,
        put: PutItem,
    ) -> Result<Written, Failure> {
        let PutItem { table: name, item, condition, returns, return_on_failure, report } = put;
        let returns_old = returns_old(returns)?;
        let table = self.serving(&name).await?;
        let key = table.schema.key_of(&item).map_err(errors::from_item)?;
        item.validate().map_err(errors::from_item)?;
        check_index_keys(&table, &item)?;
        let images = needs_images(&table, report);
        let return_old = returns_old || images;
        let op = WriteOp::Put { item: item.encode(), condition, return_old, return_on_failure };
        let collection = self.collection(&table, &key, report).await;
        let Done { old, response, .. } = self.write(context, &table, key, op).await?;
        let after = images.then_some(&item);
        let written = self.written(&table, report, response, old.as_ref(), after, collection);
        Ok(Written { attributes: old.filter(|_| returns_old), ..written })
    }

    pub(super) async fn get_item(
        &self,
        context: &RequestContext,
        get: GetItem,
    ) -> Result<Got, Failure> {
        let GetItem { table: name, key, consistent, projection, report } = get;
        let table = self.serving(&name).await?;
        let key = key_from(&table.schema, &key)?;
        let response = self
            .region
            .read(&table, &key, consistent, context.deadline)
            .await
            .map_err(|error| errors::from_route(error, &name, false))?;
        let item = decode_some(response.item)?;
        let consumed = match report.capacity {
            CapacityDetail::None => Vec::new(),
            _ => {
                let bytes = item.as_ref().map_or(0, Item::size);
                capacity::reading(report, &name, capacity::of_item(bytes, consistent), None)
            }
        };
        let shown = |item| match &projection {
            Some(projection) => projection.apply(&item),
            None => item,
        };
        Ok(Got { item: item.map(|item| (shown(item), response.stamp)), consumed })
    }

    pub(super) async fn update_item(
        &self,
        context: &RequestContext,
        of: UpdateItem,
    ) -> Result<Written, Failure> {
        let UpdateItem { table: name, key, update, condition, returns, return_on_failure, report } =
            of;
        let table = self.serving(&name).await?;
        let attributes = key;
        let key = key_from(&table.schema, &attributes)?;
        check_not_of_key(&table.schema, &update)?;
        let images = needs_images(&table, report);
        // With local indexes both images count; the one after follows from the one before.
        let asked = match returns {
            _ if images => ReturnImages::AllOld,
            ReturnValues::None => ReturnImages::None,
            ReturnValues::AllOld => ReturnImages::AllOld,
            ReturnValues::UpdatedOld => ReturnImages::UpdatedOld,
            ReturnValues::AllNew => ReturnImages::AllNew,
            ReturnValues::UpdatedNew => ReturnImages::UpdatedNew,
        };
        let again = images.then(|| update.clone());
        let op = WriteOp::Update { update, condition, returns: asked, return_on_failure };
        let collection = self.collection(&table, &key, report).await;
        let Done { old, new, response } = self.write(context, &table, key, op).await?;
        let Some(update) = again else {
            let written = self.written(&table, report, response, None, None, collection);
            return Ok(Written { attributes: old.or(new), ..written });
        };
        let before = old.clone().unwrap_or(attributes);
        // Without a number of its own it is a retry that found its update done: without the old image
        // there is nothing to work the new one out of.
        let made = update.creates() && response.seq > 0;
        let after = match old.is_some() || made {
            true => update.apply(&before).ok(),
            false => None,
        };
        let written =
            self.written(&table, report, response, old.as_ref(), after.as_ref(), collection);
        let (was, is) = (old.clone().unwrap_or_default(), after.clone().unwrap_or_default());
        let attributes = match returns {
            ReturnValues::None => None,
            ReturnValues::AllOld => old,
            ReturnValues::AllNew => after,
            ReturnValues::UpdatedOld => Some(update.touched(&was, &is).0),
            ReturnValues::UpdatedNew => Some(update.touched(&was, &is).1),
        };
        let attributes = attributes.filter(|shown| !shown.0.is_empty());
        Ok(Written { attributes, ..written })
    }

    pub(super) async fn delete_item(
        &self,
        context: &RequestContext,
        delete: DeleteItem,
    ) -> Result<Written, Failure> {
        let DeleteItem { table: name, key, condition, returns, return_on_failure, report } = delete;
        let returns_old = returns_old(returns)?;
        let table = self.serving(&name).await?;
        let key = key_from(&table.schema, &key)?;
        let return_old = returns_old || needs_images(&table, report);
        let op = WriteOp::Delete { condition, return_old, return_on_failure };
        let collection = self.collection(&table, &key, report).await;
        let Done { old, response, .. } = self.write(context, &table, key, op).await?;
        let written = self.written(&table, report, response, old.as_ref(), None, collection);
        Ok(Written { attributes: old.filter(|_| returns_old), ..written })
    }

    async fn write(
        &self,
        context: &RequestContext,
        table: &TableInfo,
        key: Key,
        op: WriteOp,
    ) -> Result<Done, Failure> {
        let written = self.region.write(table, key, op, context.token, context.deadline).await;
        done(written.map_err(|error| errors::from_route(error, &table.name, true))?)
    }

    fn written(
        &self,
        table: &TableInfo,
        report: Report,
        response: WriteResponse,
        before: Option<&Item>,
        after: Option<&Item>,
        collection: Option<CollectionMetrics>,
    ) -> Written {
        let consumed = match report.capacity {
            CapacityDetail::None => Vec::new(),
            _ => {
                let units =
                    write_units(response.size_before as usize, response.size_after as usize);
                let local = capacity::of_index_rows(table, before, after);
                capacity::writing(report, &table.name, units, local)
            }
        };
        let (stamp, seq) = (response.stamp, response.seq);
        Written { attributes: None, stamp, seq, consumed, collection }
    }

    /// Bounds of the size of the collection that a key belongs to: it is no larger than its table, and
    /// no larger than collections may be.
    pub(super) async fn collection(
        &self,
        table: &TableInfo,
        key: &Key,
        report: Report,
    ) -> Option<CollectionMetrics> {
        if !report.collections || table.settings.local_indexes.is_empty() {
            return None;
        }
        let bytes = match self.region.figures(table.id).await {
            Some((_, bytes)) => bytes as f64,
            None => COLLECTION_GB * GIGABYTE,
        };
        let most = (bytes / GIGABYTE).ceil().clamp(1.0, COLLECTION_GB);
        let name = table.schema.partition.name.clone();
        let key = [(name, key.partition.clone())].into_iter().collect();
        Some(CollectionMetrics { key, size_gb: (0.0, most) })
    }
}

/// An update may not touch what the item is found by.
fn check_not_of_key(schema: &KeySchema, update: &Update) -> Result<(), Failure> {
    let key = [Some(&schema.partition), schema.sort.as_ref()];
    let of_key = |name: &str| key.into_iter().flatten().any(|attribute| attribute.name == name);
    match update.top_level().find(|name| of_key(name)) {
        Some(name) => Err(errors::update_of_key(name)),
        None => Ok(()),
    }
}

/// Attributes that local indexes order by have the indexes' types.
pub(super) fn check_index_keys(table: &TableInfo, item: &Item) -> Result<(), Failure> {
    let indexes = table.settings.local_indexes.iter();
    indexes
        .map(|index| index.sort_of(item))
        .find_map(Result::err)
        .map_or(Ok(()), |error| Err(errors::from_item(error)))
}
