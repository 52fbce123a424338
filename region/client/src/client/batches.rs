//! Many items in one call, and PartiQL statements.
//!
//! What a batch did not do comes back and is not asked for again here: whoever asks knows how long to
//! wait and when to stop.

use std::collections::BTreeMap;

use tombolo_item::{Item, Value};

use super::Client;
use super::items::{bad, page};
use crate::convert;
use crate::error::ClientError;
use crate::v1;

/// One write of a batch.
#[derive(Debug, Clone, PartialEq)]
pub enum BatchWrite {
    /// Store this item.
    Put(Item),
    /// Remove the item with these key attributes.
    Delete(Item),
}

/// A page of a statement's items.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StatementPage {
    /// Items of a SELECT; what RETURNING asked for.
    pub items: Vec<Item>,
    /// Where to go on; nothing after the last page.
    pub next_token: Option<String>,
}

fn wire_item(item: Item) -> v1::Item {
    v1::Item { attributes: convert::item_to_wire(item) }
}

fn items(wire: Vec<v1::Item>) -> Result<Vec<Item>, ClientError> {
    Ok(page(wire, BTreeMap::new(), 0)?.items)
}

impl Client {
    /// Reads up to 100 items of a table by their keys: those that are there, and the keys that were not
    /// read.
    pub async fn batch_get_items(
        &self,
        table: &str,
        keys: Vec<Item>,
        consistent: bool,
    ) -> Result<(Vec<Item>, Vec<Item>), ClientError> {
        let keys = v1::KeysAndAttributes {
            keys: keys.into_iter().map(wire_item).collect(),
            consistent_read: consistent,
            ..Default::default()
        };
        let request_items = BTreeMap::from([(table.to_owned(), keys)]);
        let message = v1::BatchGetItemRequest { request_items, ..Default::default() };
        let mut answer: v1::BatchGetItemResponse =
            self.call(false, "/tombolo.v1.Items/BatchGetItem", message).await?;
        let found = answer.responses.remove(table).unwrap_or_default();
        let left = answer.unprocessed_keys.remove(table).unwrap_or_default();
        Ok((items(found.items)?, items(left.keys)?))
    }

    /// Makes up to 25 writes to a table, each for itself; gives back those that were not made.
    pub async fn batch_write_items(
        &self,
        table: &str,
        writes: Vec<BatchWrite>,
    ) -> Result<Vec<BatchWrite>, ClientError> {
        use v1::write_request::Request;
        let one = |write| v1::WriteRequest {
            request: Some(match write {
                BatchWrite::Put(item) => Request::Put(wire_item(item)),
                BatchWrite::Delete(key) => Request::Delete(wire_item(key)),
            }),
        };
        let requests = v1::WriteRequests { requests: writes.into_iter().map(one).collect() };
        let request_items = BTreeMap::from([(table.to_owned(), requests)]);
        let message = v1::BatchWriteItemRequest { request_items, ..Default::default() };
        let mut answer: v1::BatchWriteItemResponse =
            self.call(true, "/tombolo.v1.Items/BatchWriteItem", message).await?;
        let left = answer.unprocessed_items.remove(table).unwrap_or_default();
        let item = |wire: v1::Item| convert::item(wire.attributes).map_err(bad);
        let back = left.requests.into_iter().filter_map(|one| {
            Some(match one.request? {
                Request::Put(wire) => item(wire).map(BatchWrite::Put),
                Request::Delete(wire) => item(wire).map(BatchWrite::Delete),
            })
        });
        back.collect()
    }

    /// Carries out a PartiQL statement with values for its `?`; `next_token` is of the page before.
    pub async fn execute_statement(
        &self,
        statement: &str,
        parameters: Vec<Value>,
        next_token: Option<String>,
    ) -> Result<StatementPage, ClientError> {
        let message = v1::ExecuteStatementRequest {
            statement: statement.into(),
            parameters: parameters.into_iter().map(convert::value_to_wire).collect(),
            next_token,
            ..Default::default()
        };
        // It may write: an attempt whose fate is not known is not repeated.
        let answer: v1::ExecuteStatementResponse =
            self.call(true, "/tombolo.v1.Items/ExecuteStatement", message).await?;
        Ok(StatementPage { items: items(answer.items)?, next_token: answer.next_token })
    }
}
