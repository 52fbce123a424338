//! What a request asks, as typed operations, and what it gets, as typed answers.
//!
//! Always true: every rpc of `tombolo.v1` is one [`Kind`]; an [`Operation`] names every resource it
//! touches; it is carried out only as an [`crate::authorize::Authorized`]. A second front (DynamoDB
//! JSON over HTTP) parses into the same operations and prints the same answers.

mod items;
mod streams;
mod tables;

use futures::stream::BoxStream;
use tombolo_client::conflict::ConflictPage;
use tombolo_client::report::{StatusReport, VerifyEvent};
use tombolo_item::{NodeId, RowKey};

use crate::failure::Failure;
use crate::iterator::ShardIterator;

pub use items::*;
pub use streams::*;
pub use tables::*;

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
    UpdateItem = "Items",
    DeleteItem = "Items",
    Query = "Items",
    Scan = "Items",
    Session = "Items",
    BatchGetItem = "Items",
    BatchWriteItem = "Items",
    ExecuteStatement = "Items",
    BatchExecuteStatement = "Items",
    CreateTable = "Tables",
    UpdateTable = "Tables",
    DescribeTable = "Tables",
    ListTables = "Tables",
    DeleteTable = "Tables",
    TagResource = "Tables",
    UntagResource = "Tables",
    ListTagsOfResource = "Tables",
    DescribeLimits = "Tables",
    DescribeEndpoints = "Tables",
    DescribeTimeToLive = "Tables",
    UpdateTimeToLive = "Tables",
    DescribeContinuousBackups = "Tables",
    ListStreams = "Streams",
    DescribeStream = "Streams",
    GetShardIterator = "Streams",
    GetRecords = "Streams",
    Status = "Operations",
    VerifyTable = "Operations",
    DrainNode = "Operations",
    ListConflicts = "Operations",
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
    /// Nothing: part of a batch that is refused whoever asks.
    Nothing,
}

/// Writes that lost a conflict.
#[derive(Debug, Clone, PartialEq)]
pub struct ListConflicts {
    /// Name of the table.
    pub table: String,
    /// After this place; `None` = from the beginning.
    pub after: Option<RowKey>,
    /// Most conflicts.
    pub limit: usize,
}

/// A request, understood.
#[derive(Debug, Clone, PartialEq)]
pub enum Operation {
    /// Store an item.
    PutItem(PutItem),
    /// Read an item.
    GetItem(GetItem),
    /// Change an item.
    UpdateItem(UpdateItem),
    /// Remove an item.
    DeleteItem(DeleteItem),
    /// Items of one partition key.
    Query(Query),
    /// All items.
    Scan(Scan),
    /// Open a stream of operations, each of which is asked for by itself.
    Session,
    /// Read many items.
    BatchGetItem(BatchGet),
    /// Write many items.
    BatchWriteItem(BatchWrite),
    /// One PartiQL statement.
    ExecuteStatement(ExecuteStatement),
    /// Several PartiQL statements.
    BatchExecuteStatement(BatchExecuteStatement),
    /// Make a table.
    CreateTable(Box<CreateTable>),
    /// Change a table.
    UpdateTable(Box<UpdateTable>),
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
    /// Tie tags to a table.
    TagResource {
        /// Name of the table.
        table: String,
        /// Tags; one with a known key replaces it.
        tags: Vec<Tag>,
    },
    /// Take tags from a table.
    UntagResource {
        /// Name of the table.
        table: String,
        /// Keys of tags.
        keys: Vec<String>,
    },
    /// The tags of a table.
    ListTagsOfResource {
        /// Name of the table.
        table: String,
        /// `next_token` of the page before.
        next_token: Option<String>,
    },
    /// What may be provisioned.
    DescribeLimits,
    /// Where to send requests.
    DescribeEndpoints,
    /// Which attribute says when an item of this table ends.
    DescribeTimeToLive(String),
    /// Set which attribute says when an item ends.
    UpdateTimeToLive {
        /// Name of the table.
        table: String,
        /// What to set.
        time_to_live: TimeToLive,
    },
    /// Whether a table can be restored to a point in time.
    DescribeContinuousBackups(String),
    /// Change streams and their tables.
    ListStreams(ListStreams),
    /// A table's change stream.
    DescribeStream(DescribeStream),
    /// A place in a shard.
    GetShardIterator(GetShardIterator),
    /// Records of one shard.
    GetRecords(GetRecords),
    /// The region as this node sees it.
    Status,
    /// Compare every copy of a table.
    VerifyTable(String),
    /// Let a node lead nothing, or let it lead again.
    DrainNode {
        /// Of this region.
        node: NodeId,
        /// It shall lead nothing.
        drained: bool,
    },
    /// Writes that lost a conflict.
    ListConflicts(ListConflicts),
}

impl Operation {
    /// Which rpc it is.
    pub fn kind(&self) -> Kind {
        match self {
            Operation::PutItem(_) => Kind::PutItem,
            Operation::GetItem(_) => Kind::GetItem,
            Operation::UpdateItem(_) => Kind::UpdateItem,
            Operation::DeleteItem(_) => Kind::DeleteItem,
            Operation::Query(_) => Kind::Query,
            Operation::Scan(_) => Kind::Scan,
            Operation::Session => Kind::Session,
            Operation::BatchGetItem(_) => Kind::BatchGetItem,
            Operation::BatchWriteItem(_) => Kind::BatchWriteItem,
            Operation::ExecuteStatement(_) => Kind::ExecuteStatement,
            Operation::BatchExecuteStatement(_) => Kind::BatchExecuteStatement,
            Operation::CreateTable(_) => Kind::CreateTable,
            Operation::UpdateTable(_) => Kind::UpdateTable,
            Operation::DescribeTable(_) => Kind::DescribeTable,
            Operation::ListTables { .. } => Kind::ListTables,
            Operation::DeleteTable(_) => Kind::DeleteTable,
            Operation::TagResource { .. } => Kind::TagResource,
            Operation::UntagResource { .. } => Kind::UntagResource,
            Operation::ListTagsOfResource { .. } => Kind::ListTagsOfResource,
            Operation::DescribeLimits => Kind::DescribeLimits,
            Operation::DescribeEndpoints => Kind::DescribeEndpoints,
            Operation::DescribeTimeToLive(_) => Kind::DescribeTimeToLive,
            Operation::UpdateTimeToLive { .. } => Kind::UpdateTimeToLive,
            Operation::DescribeContinuousBackups(_) => Kind::DescribeContinuousBackups,
            Operation::ListStreams(_) => Kind::ListStreams,
            Operation::DescribeStream(_) => Kind::DescribeStream,
            Operation::GetShardIterator(_) => Kind::GetShardIterator,
            Operation::GetRecords(_) => Kind::GetRecords,
            Operation::Status => Kind::Status,
            Operation::VerifyTable(_) => Kind::VerifyTable,
            Operation::DrainNode { .. } => Kind::DrainNode,
            Operation::ListConflicts(_) => Kind::ListConflicts,
        }
    }

    /// Everything it touches.
    pub fn resources(&self) -> impl Iterator<Item = Resource<'_>> {
        let (one, many) = match self {
            Operation::BatchGetItem(batch) => (None, named(&batch.tables)),
            Operation::BatchWriteItem(batch) => (None, named(&batch.tables)),
            Operation::BatchExecuteStatement(batch) => (None, stated(&batch.statements)),
            one => (Some(one.resource()), none()),
        };
        one.into_iter().chain(many)
    }

    /// What an operation that touches one thing touches.
    fn resource(&self) -> Resource<'_> {
        match self {
            Operation::PutItem(put) => Resource::Table(&put.table),
            Operation::GetItem(get) => Resource::Table(&get.table),
            Operation::UpdateItem(update) => Resource::Table(&update.table),
            Operation::DeleteItem(delete) => Resource::Table(&delete.table),
            Operation::Query(query) => Resource::Table(&query.table),
            Operation::Scan(scan) => Resource::Table(&scan.table),
            Operation::ExecuteStatement(execute) => Resource::Table(execute.statement.table()),
            Operation::CreateTable(create) => Resource::Table(&create.table),
            Operation::UpdateTable(update) => Resource::Table(&update.table),
            Operation::DescribeTable(table)
            | Operation::DeleteTable(table)
            | Operation::TagResource { table, .. }
            | Operation::UntagResource { table, .. }
            | Operation::ListTagsOfResource { table, .. }
            | Operation::DescribeTimeToLive(table)
            | Operation::UpdateTimeToLive { table, .. }
            | Operation::DescribeContinuousBackups(table)
            | Operation::VerifyTable(table) => Resource::Table(table),
            Operation::ListConflicts(list) => Resource::Table(&list.table),
            Operation::ListStreams(list) => match &list.table {
                Some(table) => Resource::Table(table),
                None => Resource::AllTables,
            },
            Operation::DescribeStream(describe) => Resource::Table(&describe.stream.table),
            Operation::GetShardIterator(get) => Resource::Table(&get.stream.table),
            Operation::GetRecords(get) => Resource::Table(get.from.table()),
            Operation::ListTables { .. } => Resource::AllTables,
            Operation::DescribeLimits
            | Operation::DescribeEndpoints
            | Operation::Session
            | Operation::DrainNode { .. }
            | Operation::Status => Resource::Region,
            Operation::BatchGetItem(_)
            | Operation::BatchWriteItem(_)
            | Operation::BatchExecuteStatement(_) => Resource::Nothing,
        }
    }
}

type Resources<'a> = Box<dyn Iterator<Item = Resource<'a>> + Send + 'a>;

/// Costs no allocation: it is empty.
fn none<'a>() -> Resources<'a> {
    Box::new(std::iter::empty())
}

fn named<T: Sync>(tables: &[(String, T)]) -> Resources<'_> {
    Box::new(tables.iter().map(|(name, _)| Resource::Table(name)))
}

/// A statement that could not be understood touches nothing: its error is its answer.
fn stated(statements: &[BatchStatement]) -> Resources<'_> {
    Box::new(statements.iter().map(|one| match &one.statement {
        Ok(statement) => Resource::Table(statement.table()),
        Err(_) => Resource::Nothing,
    }))
}

/// What an operation gives.
pub enum Answer {
    /// Of a put, an update or a delete.
    Written(Written),
    /// Of a read of one item.
    Got(Got),
    /// Of a query or a scan.
    Page(Page),
    /// Operations may follow.
    Opened,
    /// Of a batch of reads.
    BatchGot(BatchGot),
    /// Of a batch of writes.
    BatchWritten(BatchWritten),
    /// Of a PartiQL statement.
    Statement(StatementResult),
    /// Of several PartiQL statements.
    Statements(BatchStatements),
    /// A table.
    Table(Box<TableDescription>),
    /// Names of tables.
    Tables {
        /// In order.
        names: Vec<String>,
        /// Where to go on.
        last: Option<String>,
    },
    /// Nothing but that it was done.
    Done,
    /// Tags, in order of their keys.
    Tags {
        /// All, or a page.
        tags: Vec<Tag>,
        /// Where to go on.
        next_token: Option<String>,
    },
    /// What may be provisioned.
    Limits(Limits),
    /// Host and port of each endpoint that is good, and for how many minutes.
    Endpoints(Vec<(String, u64)>),
    /// Which attribute says when an item ends.
    TimeToLive(TimeToLive),
    /// Whether a table can be restored to a point in time.
    ContinuousBackups {
        /// It can.
        point_in_time: bool,
    },
    /// Names of streams.
    Streams(StreamNames),
    /// A change stream.
    Stream(Box<StreamDescription>),
    /// A place in a shard.
    ShardIterator(ShardIterator),
    /// Canonical records of a shard.
    Records(RecordsPage),
    /// Records as people see them.
    StreamRecords(StreamPage),
    /// The region.
    Status(Box<StatusReport>),
    /// A verification under way.
    Verification(BoxStream<'static, Result<VerifyEvent, Failure>>),
    /// The node knows, or will in a moment.
    NodeDrained,
    /// Writes that lost.
    Conflicts(ConflictPage),
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
