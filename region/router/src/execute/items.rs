//! One item: put, get, delete.

use bytes::Bytes;
use tombolo_group::{WriteOp, WriteOutcome, WriteResponse};
use tombolo_item::{Item, Key, KeySchema};

use super::Executor;
use crate::door::RequestContext;
use crate::errors;
use crate::failure::Failure;
use crate::operation::{Answer, DeleteItem, GetItem, Got, PutItem, ReturnValues, Written};
use crate::region::Region;

/// A key from exactly its attributes.
pub(super) fn key_from(schema: &KeySchema, attributes: &Item) -> Result<Key, Failure> {
    schema.key_from(attributes).map_err(errors::from_item)
}

/// A stored item.
pub(super) fn decode(bytes: &Bytes) -> Result<Item, Failure> {
    Item::decode(bytes).map_err(|error| errors::internal("decode a stored item", error))
}

fn decode_some(bytes: Option<Bytes>) -> Result<Option<Item>, Failure> {
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

/// The answer to a put or a delete.
fn written(response: WriteResponse) -> Result<Answer, Failure> {
    match response.outcome {
        WriteOutcome::Written { old, .. } | WriteOutcome::Unchanged { old, .. } => {
            let (stamp, seq) = (response.stamp, response.seq);
            let attributes = decode_some(old)?;
            Ok(Answer::Written(Written { attributes, stamp, seq, ..Written::default() }))
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
    ) -> Result<Answer, Failure> {
        let PutItem { table: name, item, condition, returns, return_on_failure, .. } = put;
        let return_old = returns_old(returns)?;
        let table = self.serving(&name).await?;
        let key = table.schema.key_of(&item).map_err(errors::from_item)?;
        item.validate().map_err(errors::from_item)?;
        let op = WriteOp::Put { item: item.encode(), condition, return_old, return_on_failure };
        let response = self
            .region
            .write(&table, key, op, context.token, context.deadline)
            .await
            .map_err(|error| errors::from_route(error, &name, true))?;
        written(response)
    }

    pub(super) async fn get_item(
        &self,
        context: &RequestContext,
        get: GetItem,
    ) -> Result<Answer, Failure> {
        let GetItem { table: name, key, consistent, .. } = get;
        let table = self.serving(&name).await?;
        let key = key_from(&table.schema, &key)?;
        let response = self
            .region
            .read(&table, &key, consistent, context.deadline)
            .await
            .map_err(|error| errors::from_route(error, &name, false))?;
        let item = decode_some(response.item)?;
        let item = item.map(|item| (item, response.stamp));
        Ok(Answer::Got(Got { item, consumed: Vec::new() }))
    }

    pub(super) async fn delete_item(
        &self,
        context: &RequestContext,
        delete: DeleteItem,
    ) -> Result<Answer, Failure> {
        let DeleteItem { table: name, key, condition, returns, return_on_failure, .. } = delete;
        let return_old = returns_old(returns)?;
        let table = self.serving(&name).await?;
        let key = key_from(&table.schema, &key)?;
        let op = WriteOp::Delete { condition, return_old, return_on_failure };
        let response = self
            .region
            .write(&table, key, op, context.token, context.deadline)
            .await
            .map_err(|error| errors::from_route(error, &name, true))?;
        written(response)
    }
}
