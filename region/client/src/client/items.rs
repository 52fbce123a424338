//! Items: put, get, update, delete, query, scan.

use std::collections::BTreeMap;

use tombolo_item::{Item, SortCondition, Stamp, Value};

use super::Client;
use crate::convert::{self, ConvertError};
use crate::error::ClientError;
use crate::v1;

/// An expression with its names and values.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Expression {
    /// The text.
    pub text: String,
    /// Names behind `#placeholders`.
    pub names: BTreeMap<String, String>,
    /// Values behind `:placeholders`.
    pub values: BTreeMap<String, Value>,
}

impl Expression {
    /// An expression without placeholders.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// Adds a name.
    pub fn name(mut self, placeholder: impl Into<String>, name: impl Into<String>) -> Self {
        self.names.insert(placeholder.into(), name.into());
        self
    }

    /// Adds a value.
    pub fn value(mut self, placeholder: impl Into<String>, value: Value) -> Self {
        self.values.insert(placeholder.into(), value);
        self
    }
}

/// What a write asks besides writing.
#[derive(Debug, Clone, Default)]
pub struct WriteOptions {
    /// The write happens only if this holds.
    pub condition: Option<Expression>,
    /// Return the item as it was before.
    pub return_old: bool,
    /// When the condition fails, return the item in the error.
    pub return_on_failure: bool,
}

impl WriteOptions {
    /// Only if this holds.
    pub fn when(condition: Expression) -> Self {
        Self { condition: Some(condition), ..Self::default() }
    }
}

/// What an update asks besides changing.
#[derive(Debug, Clone, Default)]
pub struct UpdateOptions {
    /// The change happens only if this holds.
    pub condition: Option<Expression>,
    /// What the answer contains.
    pub returns: v1::ReturnValues,
    /// When the condition fails, return the item in the error.
    pub return_on_failure: bool,
}

/// A write that took place.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    /// The item before (of an update: what its options ask for), if asked for and there was one.
    pub old: Option<Item>,
    /// The version it has now.
    pub stamp: Option<Stamp>,
    /// Sequence number in the shard's change stream; 0 when nothing changed.
    pub seq: u64,
}

/// A query by key.
#[derive(Debug, Clone)]
pub struct KeyQuery {
    /// The partition key's value.
    pub partition: Value,
    /// What is asked of the sort key.
    pub sort: Option<SortCondition>,
    /// Descending sort keys.
    pub reverse: bool,
}

impl KeyQuery {
    /// All items of a partition key, ascending.
    pub fn all(partition: Value) -> Self {
        Self { partition, sort: None, reverse: false }
    }
}

/// Which page, and how to read it.
#[derive(Debug, Clone, Default)]
pub struct ReadPage {
    /// Most items.
    pub limit: Option<u32>,
    /// `last_evaluated_key` of the page before.
    pub start: Option<Item>,
    /// Strongly consistent.
    pub consistent: bool,
}

/// A page of items.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    /// In order.
    pub items: Vec<Item>,
    /// Where to go on; nothing after the last page.
    pub last_evaluated_key: Option<Item>,
    /// Items looked at.
    pub scanned: u32,
}

pub(super) fn bad(error: ConvertError) -> ClientError {
    ClientError::incomprehensible(&error.to_string())
}

fn optional_item(wire: BTreeMap<String, v1::AttributeValue>) -> Result<Option<Item>, ClientError> {
    if wire.is_empty() { Ok(None) } else { convert::item(wire).map(Some).map_err(bad) }
}

pub(super) fn written(
    attributes: BTreeMap<String, v1::AttributeValue>,
    stamp: Option<v1::Stamp>,
    seq: u64,
) -> Result<Written, ClientError> {
    Ok(Written { old: optional_item(attributes)?, stamp: stamp.and_then(convert::stamp), seq })
}

pub(super) fn page(
    items: Vec<v1::Item>,
    last: BTreeMap<String, v1::AttributeValue>,
    scanned: u32,
) -> Result<Page, ClientError> {
    let items = items.into_iter().map(|wire| convert::item(wire.attributes));
    Ok(Page {
        items: items.collect::<Result<_, _>>().map_err(bad)?,
        last_evaluated_key: optional_item(last)?,
        scanned,
    })
}

fn limit(limit: Option<u32>) -> Option<i32> {
    limit.map(|limit| i32::try_from(limit).unwrap_or(i32::MAX))
}

/// The wire's parts of the options that put and delete share.
struct Conditions {
    expression: Option<String>,
    names: BTreeMap<String, String>,
    values: BTreeMap<String, v1::AttributeValue>,
    return_values: i32,
    on_failure: i32,
}

impl From<WriteOptions> for Conditions {
    fn from(options: WriteOptions) -> Self {
        let (expression, names, values) = match options.condition {
            None => (None, BTreeMap::new(), BTreeMap::new()),
            Some(Expression { text, names, values }) => {
                (Some(text), names, convert::attributes_to_wire(values))
            }
        };
        let return_values = match options.return_old {
            true => v1::ReturnValues::AllOld,
            false => v1::ReturnValues::Unspecified,
        };
        let on_failure = match options.return_on_failure {
            true => v1::ReturnValuesOnConditionCheckFailure::AllOld,
            false => v1::ReturnValuesOnConditionCheckFailure::Unspecified,
        };
        Self {
            expression,
            names,
            values,
            return_values: return_values.into(),
            on_failure: on_failure.into(),
        }
    }
}

pub(super) fn put_message(table: &str, item: Item, options: WriteOptions) -> v1::PutItemRequest {
    let conditions = Conditions::from(options);
    v1::PutItemRequest {
        table_name: table.into(),
        item: convert::item_to_wire(item),
        condition_expression: conditions.expression,
        expression_attribute_names: conditions.names,
        expression_attribute_values: conditions.values,
        return_values: conditions.return_values,
        return_values_on_condition_check_failure: conditions.on_failure,
        ..Default::default()
    }
}

pub(super) fn get_message(table: &str, key: Item, consistent: bool) -> v1::GetItemRequest {
    v1::GetItemRequest {
        table_name: table.into(),
        key: convert::item_to_wire(key),
        consistent_read: consistent,
        ..Default::default()
    }
}

pub(super) fn found(
    answer: v1::GetItemResponse,
) -> Result<Option<(Item, Option<Stamp>)>, ClientError> {
    let stamp = answer.stamp.and_then(convert::stamp);
    Ok(optional_item(answer.item)?.map(|item| (item, stamp)))
}

pub(super) fn delete_message(
    table: &str,
    key: Item,
    options: WriteOptions,
) -> v1::DeleteItemRequest {
    let conditions = Conditions::from(options);
    v1::DeleteItemRequest {
        table_name: table.into(),
        key: convert::item_to_wire(key),
        condition_expression: conditions.expression,
        expression_attribute_names: conditions.names,
        expression_attribute_values: conditions.values,
        return_values: conditions.return_values,
        return_values_on_condition_check_failure: conditions.on_failure,
        ..Default::default()
    }
}

pub(super) fn update_message(
    table: &str,
    key: Item,
    update: Expression,
    options: UpdateOptions,
) -> v1::UpdateItemRequest {
    let Expression { text, mut names, mut values } = update;
    let condition = options.condition.map(|condition| {
        names.extend(condition.names);
        values.extend(condition.values);
        condition.text
    });
    let on_failure = match options.return_on_failure {
        true => v1::ReturnValuesOnConditionCheckFailure::AllOld,
        false => v1::ReturnValuesOnConditionCheckFailure::Unspecified,
    };
    v1::UpdateItemRequest {
        table_name: table.into(),
        key: convert::item_to_wire(key),
        update_expression: (!text.is_empty()).then_some(text),
        condition_expression: condition,
        expression_attribute_names: names,
        expression_attribute_values: convert::attributes_to_wire(values),
        return_values: options.returns.into(),
        return_values_on_condition_check_failure: on_failure.into(),
        ..Default::default()
    }
}

pub(super) fn query_message(table: &str, query: KeyQuery, from: ReadPage) -> v1::QueryRequest {
    let condition = v1::KeyCondition {
        partition: Some(convert::value_to_wire(query.partition)),
        sort: query.sort.map(convert::sort_condition_to_wire),
    };
    v1::QueryRequest {
        table_name: table.into(),
        key_condition: Some(condition),
        scan_index_forward: Some(!query.reverse),
        limit: limit(from.limit),
        exclusive_start_key: from.start.map(convert::item_to_wire).unwrap_or_default(),
        consistent_read: from.consistent,
        ..v1::QueryRequest::default()
    }
}

impl Client {
    /// Stores an item.
    pub async fn put_item(&self, table: &str, item: Item) -> Result<Written, ClientError> {
        self.put_item_with(table, item, WriteOptions::default()).await
    }

    /// Stores an item, with a condition or an answer that says more.
    pub async fn put_item_with(
        &self,
        table: &str,
        item: Item,
        options: WriteOptions,
    ) -> Result<Written, ClientError> {
        let message = put_message(table, item, options);
        let answer: v1::PutItemResponse =
            self.call(true, "/tombolo.v1.Items/PutItem", message).await?;
        written(answer.attributes, answer.stamp, answer.sequence)
    }

    /// Reads the item with this key (its key attributes).
    pub async fn get_item(
        &self,
        table: &str,
        key: Item,
        consistent: bool,
    ) -> Result<Option<Item>, ClientError> {
        Ok(self.get_item_with_stamp(table, key, consistent).await?.map(|(item, _)| item))
    }

    /// Reads the item with this key and its version.
    pub async fn get_item_with_stamp(
        &self,
        table: &str,
        key: Item,
        consistent: bool,
    ) -> Result<Option<(Item, Option<Stamp>)>, ClientError> {
        let message = get_message(table, key, consistent);
        let answer: v1::GetItemResponse =
            self.call(false, "/tombolo.v1.Items/GetItem", message).await?;
        found(answer)
    }

    /// Changes the item with this key (its key attributes), or makes it: `SET #a = :b` and its like.
    pub async fn update_item(
        &self,
        table: &str,
        key: Item,
        update: Expression,
    ) -> Result<Written, ClientError> {
        self.update_item_with(table, key, update, UpdateOptions::default()).await
    }

    /// Changes an item, with a condition or an answer that says more. Both expressions share names and
    /// values.
    pub async fn update_item_with(
        &self,
        table: &str,
        key: Item,
        update: Expression,
        options: UpdateOptions,
    ) -> Result<Written, ClientError> {
        let message = update_message(table, key, update, options);
        let answer: v1::UpdateItemResponse =
            self.call(true, "/tombolo.v1.Items/UpdateItem", message).await?;
        written(answer.attributes, answer.stamp, answer.sequence)
    }

    /// Removes the item with this key (its key attributes).
    pub async fn delete_item(&self, table: &str, key: Item) -> Result<Written, ClientError> {
        self.delete_item_with(table, key, WriteOptions::default()).await
    }

    /// Removes an item, with a condition or an answer that says more.
    pub async fn delete_item_with(
        &self,
        table: &str,
        key: Item,
        options: WriteOptions,
    ) -> Result<Written, ClientError> {
        let message = delete_message(table, key, options);
        let answer: v1::DeleteItemResponse =
            self.call(true, "/tombolo.v1.Items/DeleteItem", message).await?;
        written(answer.attributes, answer.stamp, answer.sequence)
    }

    /// One page of the items of a partition key.
    pub async fn query(
        &self,
        table: &str,
        query: KeyQuery,
        from: ReadPage,
    ) -> Result<Page, ClientError> {
        self.query_any(query_message(table, query, from)).await
    }

    /// One page of the items that a textual key condition names.
    pub async fn query_text(
        &self,
        table: &str,
        condition: Expression,
        reverse: bool,
        from: ReadPage,
    ) -> Result<Page, ClientError> {
        self.query_any(v1::QueryRequest {
            table_name: table.into(),
            key_condition_expression: Some(condition.text),
            expression_attribute_names: condition.names,
            expression_attribute_values: convert::attributes_to_wire(condition.values),
            scan_index_forward: Some(!reverse),
            limit: limit(from.limit),
            exclusive_start_key: from.start.map(convert::item_to_wire).unwrap_or_default(),
            consistent_read: from.consistent,
            ..Default::default()
        })
        .await
    }

    /// One page of a query with whatever the interface offers: index, filter, projection, count.
    pub async fn query_any(&self, message: v1::QueryRequest) -> Result<Page, ClientError> {
        let answer: v1::QueryResponse =
            self.call(false, "/tombolo.v1.Items/Query", message).await?;
        page(answer.items, answer.last_evaluated_key, answer.scanned_count)
    }

    /// One page of all items.
    pub async fn scan(&self, table: &str, from: ReadPage) -> Result<Page, ClientError> {
        let message = v1::ScanRequest {
            table_name: table.into(),
            limit: limit(from.limit),
            exclusive_start_key: from.start.map(convert::item_to_wire).unwrap_or_default(),
            consistent_read: from.consistent,
            ..Default::default()
        };
        self.scan_any(message).await
    }

    /// One page of a scan with whatever the interface offers: index, filter, projection, segment, count.
    pub async fn scan_any(&self, message: v1::ScanRequest) -> Result<Page, ClientError> {
        let answer: v1::ScanResponse = self.call(false, "/tombolo.v1.Items/Scan", message).await?;
        page(answer.items, answer.last_evaluated_key, answer.scanned_count)
    }
}
