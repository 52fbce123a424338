//! What a request asks, as typed operations, and what it gets, as typed answers.
//!
//! Always true: every rpc of `tombolo.v1` is one [`Kind`]; an [`Operation`] names every resource it
//! touches; it is carried out only as an [`crate::authorize::Authorized`]. A second front (DynamoDB
//! JSON over HTTP) parses into the same operations and prints the same answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::BoxStream;
use tombolo_client::report::{StatusReport, VerifyEvent};
use tombolo_group::Descriptor;
use tombolo_item::{Condition, Item, KeySchema, Shard, SortCondition, Stamp, Value};
use tombolo_memds::{TableInfo, TableSpec};

use crate::failure::Failure;

/// Names the rpcs once: their kinds, paths, and metric labels.
macro_rules! kinds {
    ($($kind:ident = $service:literal),* $(,)?) => {
        /// The rpcs.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Kind { $(#[doc = concat!("`", stringify!($kind), "`.")] $kind),* }

        impl Kind {
            /// All of them.
            pub const ALL: &[Kind] = &[$(Kind::$kind),*];

            /// As in the protobuf files and in metrics.
            pub const fn name(self) -> &'static str {
                match self { $(Kind::$kind => stringify!($kind)),* }
            }

            /// The rpc behind a request path.
            pub fn of_path(path: &str) -> Option<Kind> {
                match path {
                    $(concat!("/tombolo.v1.", $service, "/", stringify!($kind)) => Some(Kind::$kind),)*
                    _ => None,
                }
            }
        }
    };
}

kinds! {
    PutItem = "Items",
    GetItem = "Items",
    DeleteItem = "Items",
    Query = "Items",
    Scan = "Items",
    Session = "Items",
    CreateTable = "Tables",
    DescribeTable = "Tables",
    ListTables = "Tables",
    DeleteTable = "Tables",
    DescribeStream = "Streams",
    GetRecords = "Streams",
    Status = "Operations",
    VerifyTable = "Operations",
}

/// Something that an operation touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource<'a> {
    /// One table.
    Table(&'a str),
    /// The names of all tables.
    AllTables,
    /// The region: its nodes, groups, links.
    Region,
}

/// Store an item.
#[derive(Debug, Clone, PartialEq)]
pub struct PutItem {
    /// Name of the table.
    pub table: String,
    /// The item.
    pub item: Item,
    /// Only if this holds.
    pub condition: Option<Condition>,
    /// Answer with the item before.
    pub return_old: bool,
    /// When the condition fails, answer with the item.
    pub return_on_failure: bool,
}

/// Read an item.
#[derive(Debug, Clone, PartialEq)]
pub struct GetItem {
    /// Name of the table.
    pub table: String,
    /// Its key attributes.
    pub key: Item,
    /// Strongly consistent.
    pub consistent: bool,
}

/// Remove an item.
#[derive(Debug, Clone, PartialEq)]
pub struct DeleteItem {
    /// Name of the table.
    pub table: String,
    /// Its key attributes.
    pub key: Item,
    /// Only if this holds.
    pub condition: Option<Condition>,
    /// Answer with the item before.
    pub return_old: bool,
    /// When the condition fails, answer with the item.
    pub return_on_failure: bool,
}

/// What a query asks of the key.
#[derive(Debug, Clone, PartialEq)]
pub enum KeyCondition {
    /// Already apart.
    Parts {
        /// The partition key's value.
        partition: Value,
        /// What is asked of the sort key.
        sort: Option<SortCondition>,
    },
    /// Text, which needs the table's key names to be understood.
    Text {
        /// The expression.
        text: String,
        /// Names behind `#placeholders`.
        names: BTreeMap<String, String>,
        /// Values behind `:placeholders`.
        values: BTreeMap<String, Value>,
    },
}

/// Items of one partition key.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// Name of the table.
    pub table: String,
    /// Which items.
    pub condition: KeyCondition,
    /// Ascending sort keys.
    pub forward: bool,
    /// Which page.
    pub page: PageRequest,
}

/// All items.
#[derive(Debug, Clone, PartialEq)]
pub struct Scan {
    /// Name of the table.
    pub table: String,
    /// Which page.
    pub page: PageRequest,
}

/// Which page, and how to read it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PageRequest {
    /// Most items, at least 1.
    pub limit: Option<u32>,
    /// Key attributes of the last item of the page before.
    pub start: Option<Item>,
    /// Strongly consistent.
    pub consistent: bool,
}

/// Records of one shard.
#[derive(Debug, Clone, PartialEq)]
pub struct GetRecords {
    /// Name of the table.
    pub table: String,
    /// The shard.
    pub shard: Shard,
    /// First sequence number.
    pub seq: u64,
    /// Most records.
    pub limit: usize,
    /// Leave decoded images out.
    pub canonical_only: bool,
}

/// A request, understood.
#[derive(Debug, Clone, PartialEq)]
pub enum Operation {
    /// Store an item.
    PutItem(PutItem),
    /// Read an item.
    GetItem(GetItem),
    /// Remove an item.
    DeleteItem(DeleteItem),
    /// Items of one partition key.
    Query(Query),
    /// All items.
    Scan(Scan),
    /// Open a stream of operations, each of which is asked for by itself.
    Session,
    /// Make a table.
    CreateTable(TableSpec),
    /// A table as it is.
    DescribeTable(String),
    /// Names, after this one, at most so many.
    ListTables {
        /// After this name.
        after: Option<String>,
        /// Most names.
        limit: usize,
    },
    /// Remove a table.
    DeleteTable(String),
    /// A table's change stream.
    DescribeStream(String),
    /// Records of one shard.
    GetRecords(GetRecords),
    /// The region as this node sees it.
    Status,
    /// Compare every copy of a table.
    VerifyTable(String),
}

impl Operation {
    /// Which rpc it is.
    pub fn kind(&self) -> Kind {
        match self {
            Operation::PutItem(_) => Kind::PutItem,
            Operation::GetItem(_) => Kind::GetItem,
            Operation::DeleteItem(_) => Kind::DeleteItem,
            Operation::Query(_) => Kind::Query,
            Operation::Scan(_) => Kind::Scan,
            Operation::Session => Kind::Session,
            Operation::CreateTable(_) => Kind::CreateTable,
            Operation::DescribeTable(_) => Kind::DescribeTable,
            Operation::ListTables { .. } => Kind::ListTables,
            Operation::DeleteTable(_) => Kind::DeleteTable,
            Operation::DescribeStream(_) => Kind::DescribeStream,
            Operation::GetRecords(_) => Kind::GetRecords,
            Operation::Status => Kind::Status,
            Operation::VerifyTable(_) => Kind::VerifyTable,
        }
    }

    /// Everything it touches. One today; transactions and batches will name several.
    pub fn resources(&self) -> impl Iterator<Item = Resource<'_>> {
        let resource = match self {
            Operation::PutItem(put) => Resource::Table(&put.table),
            Operation::GetItem(get) => Resource::Table(&get.table),
            Operation::DeleteItem(delete) => Resource::Table(&delete.table),
            Operation::Query(query) => Resource::Table(&query.table),
            Operation::Scan(scan) => Resource::Table(&scan.table),
            Operation::CreateTable(spec) => Resource::Table(&spec.name),
            Operation::DescribeTable(table)
            | Operation::DeleteTable(table)
            | Operation::DescribeStream(table)
            | Operation::VerifyTable(table) => Resource::Table(table),
            Operation::GetRecords(get) => Resource::Table(&get.table),
            Operation::ListTables { .. } => Resource::AllTables,
            Operation::Session | Operation::Status => Resource::Region,
        };
        std::iter::once(resource)
    }
}

/// What an operation gives.
pub enum Answer {
    /// A put or a delete took place.
    Written {
        /// The item before, if asked for and there was one.
        old: Option<Item>,
        /// The version it has now.
        stamp: Option<Stamp>,
        /// Sequence number in the shard; 0 when nothing changed.
        seq: u64,
    },
    /// An item and its version, if there is one.
    Item(Option<(Item, Option<Stamp>)>),
    /// A page of items.
    Page(Page),
    /// Operations may follow.
    Opened,
    /// A table.
    Table(Box<TableDescription>),
    /// Names of tables.
    Tables {
        /// In order.
        names: Vec<String>,
        /// Where to go on.
        last: Option<String>,
    },
    /// A change stream.
    Stream(Box<StreamDescription>),
    /// Records of a shard.
    Records(RecordsPage),
    /// The region.
    Status(Box<StatusReport>),
    /// A verification under way.
    Verification(BoxStream<'static, Result<VerifyEvent, Failure>>),
}

/// A page of items.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    /// In order.
    pub items: Vec<Item>,
    /// Key attributes of the last item, when there is more.
    pub last: Option<Item>,
    /// Items looked at.
    pub scanned: u32,
}

/// A table and what is known of it here.
#[derive(Debug, Clone)]
pub struct TableDescription {
    /// The table.
    pub info: Arc<TableInfo>,
    /// Its regions: name, number, whether it is this one.
    pub regions: Vec<(String, u16, bool)>,
    /// Its partitions here.
    pub partitions: Vec<Arc<Descriptor>>,
    /// People's subjects; empty when none.
    pub stream_subject: String,
    /// Items and bytes, approximately.
    pub figures: Option<(u64, u64)>,
    /// Name of the region in which it was created.
    pub origin_region: String,
}

/// A change stream.
#[derive(Debug, Clone)]
pub struct StreamDescription {
    /// The table.
    pub info: Arc<TableInfo>,
    /// JetStream's name of it.
    pub stream_name: String,
    /// People's subjects; empty when none.
    pub subject: String,
    /// Replication's subjects; empty when none.
    pub replication_subject: String,
    /// Open shards.
    pub shards: Vec<ShardDescription>,
}

/// A shard of a change stream.
#[derive(Debug, Clone)]
pub struct ShardDescription {
    /// Its name.
    pub shard: Shard,
    /// The shard that it continues, and that one's last sequence number.
    pub parent: Option<(Shard, u64)>,
    /// Oldest sequence number that can be read.
    pub oldest_seq: u64,
    /// Newest sequence number, its hash, closed stamp; nothing without a copy here.
    pub head: Option<(u64, u64, u64)>,
    /// The node that leads.
    pub leader: Option<u64>,
}

/// Records of a shard.
#[derive(Debug, Clone)]
pub struct RecordsPage {
    /// The table's keys, to name them in decoded records.
    pub schema: KeySchema,
    /// Sequence number and canonical bytes, in order.
    pub records: Vec<(u64, Bytes)>,
    /// Where to go on.
    pub next_seq: u64,
    /// Oldest sequence number that can be read.
    pub oldest_seq: u64,
    /// Newest sequence number applied here.
    pub head_seq: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rpc_of_the_files_is_a_kind_and_no_other() {
        use prost::Message as _;
        let files =
            prost_types_of(tombolo_client::FILE_DESCRIPTOR_SET).expect("the descriptors decode");
        let mut paths = Vec::new();
        for file in &files.file {
            for service in &file.service {
                for method in &service.method {
                    paths.push(format!("/tombolo.v1.{}/{}", service.name(), method.name()));
                }
            }
        }
        assert_eq!(paths.len(), Kind::ALL.len());
        for path in paths {
            let kind = Kind::of_path(&path).unwrap_or_else(|| panic!("no operation for {path}"));
            assert!(path.ends_with(&format!("/{}", kind.name())));
        }
        fn prost_types_of(bytes: &[u8]) -> Option<prost_types::FileDescriptorSet> {
            prost_types::FileDescriptorSet::decode(bytes).ok()
        }
    }
}
