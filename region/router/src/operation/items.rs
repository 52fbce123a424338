//! What is asked of items, and what comes back.

use std::collections::BTreeMap;

use tombolo_item::condition::KeyExpression;
use tombolo_item::partiql::Statement;
use tombolo_item::{Condition, Item, Projection, SortCondition, Stamp, Update, Value};

use crate::failure::Failure;

/// How much of the capacity that a request took its answer tells (`ReturnConsumedCapacity`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CapacityDetail {
    /// Nothing.
    #[default]
    None,
    /// The sum.
    Total,
    /// The sum, and the shares of the table and of each index.
    Indexes,
}

/// What an answer reports besides its content.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// Capacity taken.
    pub capacity: CapacityDetail,
    /// Sizes of the item collections written to (`ReturnItemCollectionMetrics`).
    pub collections: bool,
}

/// What a write gives back (`ReturnValues`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ReturnValues {
    /// Nothing.
    #[default]
    None,
    /// The item before.
    AllOld,
    /// The attributes that the update names, before.
    UpdatedOld,
    /// The item after.
    AllNew,
    /// The attributes that the update names, after.
    UpdatedNew,
}

/// Store an item (API_PutItem).
#[derive(Debug, Clone, PartialEq)]
pub struct PutItem {
    /// Name of the table.
    pub table: String,
    /// The item.
    pub item: Item,
    /// Only if this holds.
    pub condition: Option<Condition>,
    /// What the answer contains; `None` and `AllOld` are legal.
    pub returns: ReturnValues,
    /// When the condition fails, answer with the item.
    pub return_on_failure: bool,
    /// What the answer reports besides.
    pub report: Report,
}

/// Read an item (API_GetItem).
#[derive(Debug, Clone, PartialEq)]
pub struct GetItem {
    /// Name of the table.
    pub table: String,
    /// Its key attributes.
    pub key: Item,
    /// Strongly consistent.
    pub consistent: bool,
    /// Only these parts.
    pub projection: Option<Projection>,
    /// What the answer reports besides.
    pub report: Report,
}

/// Change an item, or make it (API_UpdateItem).
#[derive(Debug, Clone, PartialEq)]
pub struct UpdateItem {
    /// Name of the table.
    pub table: String,
    /// Its key attributes.
    pub key: Item,
    /// What to change; an empty update makes the item if it is not there.
    pub update: Update,
    /// Only if this holds.
    pub condition: Option<Condition>,
    /// What the answer contains.
    pub returns: ReturnValues,
    /// When the condition fails, answer with the item.
    pub return_on_failure: bool,
    /// What the answer reports besides.
    pub report: Report,
}

/// Remove an item (API_DeleteItem).
#[derive(Debug, Clone, PartialEq)]
pub struct DeleteItem {
    /// Name of the table.
    pub table: String,
    /// Its key attributes.
    pub key: Item,
    /// Only if this holds.
    pub condition: Option<Condition>,
    /// What the answer contains; `None` and `AllOld` are legal.
    pub returns: ReturnValues,
    /// When the condition fails, answer with the item.
    pub return_on_failure: bool,
    /// What the answer reports besides.
    pub report: Report,
}

/// What a query asks of the key.
#[derive(Debug, Clone, PartialEq)]
pub enum KeyCondition {
    /// By part of the key, whatever its attributes are called.
    Parts {
        /// The partition key's value.
        partition: Value,
        /// What is asked of the sort key.
        sort: Option<SortCondition>,
    },
    /// By attribute name: which part each is, the table or index says.
    Named(KeyExpression),
}

/// Which attributes a query or scan returns (`Select`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Select {
    /// Whole items.
    AllAttributes,
    /// What the index holds.
    AllProjectedAttributes,
    /// What the projection names.
    SpecificAttributes,
    /// None: the number of items only.
    Count,
}

impl Select {
    /// As in requests and error texts.
    pub fn as_str(self) -> &'static str {
        match self {
            Select::AllAttributes => "ALL_ATTRIBUTES",
            Select::AllProjectedAttributes => "ALL_PROJECTED_ATTRIBUTES",
            Select::SpecificAttributes => "SPECIFIC_ATTRIBUTES",
            Select::Count => "COUNT",
        }
    }
}

/// Items of one partition key (API_Query).
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// Name of the table.
    pub table: String,
    /// Name of the index; the table itself without one.
    pub index: Option<String>,
    /// Which items.
    pub condition: KeyCondition,
    /// Of those read, only what this holds for.
    pub filter: Option<Condition>,
    /// Only these parts.
    pub projection: Option<Projection>,
    /// Which attributes.
    pub select: Option<Select>,
    /// Ascending sort keys.
    pub forward: bool,
    /// Which page.
    pub page: PageRequest,
    /// What the answer reports besides.
    pub report: Report,
}

/// All items (API_Scan).
#[derive(Debug, Clone, PartialEq)]
pub struct Scan {
    /// Name of the table.
    pub table: String,
    /// Name of the index; the table itself without one.
    pub index: Option<String>,
    /// Of those read, only what this holds for.
    pub filter: Option<Condition>,
    /// Only these parts.
    pub projection: Option<Projection>,
    /// Which attributes.
    pub select: Option<Select>,
    /// Which of how many equal parts: `Segment` and `TotalSegments`.
    pub segment: Option<(u32, u32)>,
    /// Which page.
    pub page: PageRequest,
    /// What the answer reports besides.
    pub report: Report,
}

/// Which page, and how to read it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PageRequest {
    /// Most items to look at, at least 1.
    pub limit: Option<u32>,
    /// Key attributes of the last item of the page before.
    pub start: Option<Item>,
    /// Strongly consistent.
    pub consistent: bool,
}

/// Read many items (API_BatchGetItem).
#[derive(Debug, Clone, PartialEq)]
pub struct BatchGet {
    /// By name of the table, each named once.
    pub tables: Vec<(String, BatchGetTable)>,
    /// What the answer reports besides.
    pub report: Report,
}

/// The part of a [`BatchGet`] that is about one table.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchGetTable {
    /// Key attributes of each item.
    pub keys: Vec<Item>,
    /// Only these parts.
    pub projection: Option<Projection>,
    /// Strongly consistent.
    pub consistent: bool,
}

/// Write many items, each for itself (API_BatchWriteItem).
#[derive(Debug, Clone, PartialEq)]
pub struct BatchWrite {
    /// By name of the table, each named once.
    pub tables: Vec<(String, Vec<BatchWriteRequest>)>,
    /// What the answer reports besides.
    pub report: Report,
}

/// One write of a [`BatchWrite`].
#[derive(Debug, Clone, PartialEq)]
pub enum BatchWriteRequest {
    /// Store this item.
    Put(Item),
    /// Remove the item with these key attributes.
    Delete(Item),
}

/// One PartiQL statement (API_ExecuteStatement).
#[derive(Debug, Clone, PartialEq)]
pub struct ExecuteStatement {
    /// The statement, its parameters put in.
    pub statement: Statement,
    /// Strongly consistent (SELECT).
    pub consistent: bool,
    /// Most items to look at (SELECT), at least 1.
    pub limit: Option<u32>,
    /// `next_token` of the page before.
    pub next_token: Option<String>,
    /// When the condition fails, answer with the item.
    pub return_on_failure: bool,
    /// What the answer reports besides.
    pub report: Report,
}

/// Several PartiQL statements, each for itself (API_BatchExecuteStatement).
#[derive(Debug, Clone, PartialEq)]
pub struct BatchExecuteStatement {
    /// 1 to 25.
    pub statements: Vec<BatchStatement>,
    /// What the answer reports besides.
    pub report: Report,
}

/// One statement of a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchStatement {
    /// The statement; what cannot be understood is that statement's error, not the batch's.
    pub statement: Result<Statement, Failure>,
    /// Strongly consistent (SELECT).
    pub consistent: bool,
    /// When the condition fails, answer with the item.
    pub return_on_failure: bool,
}

/// Capacity that a request took from one table and its indexes, in request units.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Consumed {
    /// Name of the table.
    pub table: String,
    /// How much of this was asked for: `Total` or `Indexes`.
    pub detail: CapacityDetail,
    /// Everything.
    pub units: f64,
    /// The reads among them.
    pub read: f64,
    /// The writes among them.
    pub write: f64,
    /// The table's own share.
    pub table_units: f64,
    /// The share of each local index that has one.
    pub local: BTreeMap<String, f64>,
}

/// The items of one partition key in a table with local indexes.
#[derive(Debug, Clone, PartialEq)]
pub struct CollectionMetrics {
    /// The partition key attribute.
    pub key: Item,
    /// Bounds of its size with its index rows, in gigabytes.
    pub size_gb: (f64, f64),
}

/// A write took place, or nothing had to change.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Written {
    /// What `returns` asked for, if there is any.
    pub attributes: Option<Item>,
    /// The version it has now.
    pub stamp: Option<Stamp>,
    /// Sequence number in the shard; 0 when nothing changed.
    pub seq: u64,
    /// Capacity, if asked for.
    pub consumed: Vec<Consumed>,
    /// The collection written to, if asked for and the table has local indexes.
    pub collection: Option<CollectionMetrics>,
}

/// A read of one item.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Got {
    /// The item and its version, if there is one. Only the parts asked for.
    pub item: Option<(Item, Option<Stamp>)>,
    /// Capacity, if asked for.
    pub consumed: Vec<Consumed>,
}

/// A page of items.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    /// In order. Nothing for [`Select::Count`].
    pub items: Option<Vec<Item>>,
    /// Items that passed the filter.
    pub count: u32,
    /// Items looked at.
    pub scanned: u32,
    /// Key attributes (the index's too) of the last item looked at, when there may be more.
    pub last: Option<Item>,
    /// Capacity, if asked for.
    pub consumed: Vec<Consumed>,
}

/// What a batch of reads found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BatchGot {
    /// By table, as in the request; items that are there, in no order to rely on.
    pub found: Vec<(String, Vec<Item>)>,
    /// By table, the keys that were not read: ask again.
    pub unprocessed: Vec<(String, Vec<Item>)>,
    /// Capacity by table, if asked for.
    pub consumed: Vec<Consumed>,
}

/// What a batch of writes did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BatchWritten {
    /// By table, what was not written: ask again.
    pub unprocessed: Vec<(String, Vec<BatchWriteRequest>)>,
    /// Capacity by table, if asked for.
    pub consumed: Vec<Consumed>,
    /// By table, the collections written to, if asked for.
    pub collections: Vec<(String, Vec<CollectionMetrics>)>,
}

/// What a PartiQL statement gave.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StatementResult {
    /// Items of a SELECT; what RETURNING asked for.
    pub items: Vec<Item>,
    /// Where to go on.
    pub next_token: Option<String>,
    /// Key attributes of the last item looked at, when there may be more.
    pub last: Option<Item>,
    /// Capacity, if asked for.
    pub consumed: Vec<Consumed>,
}

/// What one statement of a batch gave: an item, where it gives one.
pub type StatementAnswer = Result<Option<Item>, Failure>;

/// What a batch of PartiQL statements gave.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BatchStatements {
    /// By statement, in order: its table, if it could be understood, and what it gave.
    pub responses: Vec<(Option<String>, StatementAnswer)>,
    /// Capacity by table, if asked for.
    pub consumed: Vec<Consumed>,
}
