//! Who asks, and the one gate that every operation passes.
//!
//! Always true: nothing is carried out but an [`Authorized`], and only [`authorize`] makes one,
//! after the request was decoded, over every resource that it touches. An operation for which no
//! rule speaks is refused; a test walks all kinds and fails on one without a rule.

use std::sync::Arc;

use crate::errors;
use crate::failure::Failure;
use crate::operation::{Kind, Operation, Resource};

/// Ends the DNS name in the certificate of every node.
pub const NODE_DOMAIN: &str = ".tombolo.internal";

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// Plain text on the loopback interface: whoever may log in on this machine.
    Loopback,
    /// A client certificate that our authority signed, with its subject's common name.
    Client(Arc<str>),
    /// A request signed with the secret of this access key.
    AccessKey(Arc<str>),
    /// A node's certificate: good on the node port, good for nothing here.
    Node,
    /// None of these.
    Unknown,
}

impl std::fmt::Display for Principal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Principal::Loopback => f.write_str("loopback"),
            Principal::Client(name) => write!(f, "client certificate {name:?}"),
            Principal::AccessKey(key) => write!(f, "access key {key:?}"),
            Principal::Node => f.write_str("node certificate"),
            Principal::Unknown => f.write_str("nobody"),
        }
    }
}

impl Principal {
    /// Whom a certificate (DER) stands for. Its signature was checked by the handshake.
    pub fn of_certificate(der: &[u8]) -> Principal {
        // A node cannot take its name out of what the authority signed, so a search of the bytes is
        // enough, and errs towards refusal.
        if der.windows(NODE_DOMAIN.len()).any(|window| window == NODE_DOMAIN.as_bytes()) {
            return Principal::Node;
        }
        Principal::Client(common_name(der).unwrap_or("without a name").into())
    }
}

/// The last common name in a certificate, which is its subject's; for people to read, no more.
fn common_name(der: &[u8]) -> Option<&str> {
    const COMMON_NAME: [u8; 5] = [0x06, 0x03, 0x55, 0x04, 0x03];
    let at = der.windows(COMMON_NAME.len()).rposition(|window| window == COMMON_NAME)?;
    let rest = &der[at + COMMON_NAME.len()..];
    let (&length, rest) = rest.get(1..)?.split_first()?;
    std::str::from_utf8(rest.get(..usize::from(length))?).ok()
}

/// What a rule says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Allow,
    Deny,
}

/// The rules. Nothing where none speaks.
fn rule(principal: &Principal, kind: Kind, resource: Resource<'_>) -> Option<Verdict> {
    let everybody = match (kind, resource) {
        (
            Kind::PutItem
            | Kind::GetItem
            | Kind::UpdateItem
            | Kind::DeleteItem
            | Kind::Query
            | Kind::Scan
            | Kind::BatchGetItem
            | Kind::BatchWriteItem
            | Kind::ExecuteStatement
            | Kind::BatchExecuteStatement
            | Kind::CreateTable
            | Kind::UpdateTable
            | Kind::DescribeTable
            | Kind::DeleteTable
            | Kind::TagResource
            | Kind::UntagResource
            | Kind::ListTagsOfResource
            | Kind::DescribeTimeToLive
            | Kind::UpdateTimeToLive
            | Kind::DescribeContinuousBackups
            | Kind::ListStreams
            | Kind::DescribeStream
            | Kind::GetShardIterator
            | Kind::GetRecords
            | Kind::VerifyTable
            | Kind::ListConflicts,
            Resource::Table(_),
        )
        | (Kind::ListTables | Kind::ListStreams, Resource::AllTables)
        | (
            Kind::DescribeLimits
            | Kind::DescribeEndpoints
            | Kind::Session
            | Kind::Status
            | Kind::DrainNode,
            Resource::Region,
        )
        | (Kind::BatchExecuteStatement, Resource::Nothing) => Verdict::Allow,
        _ => return None,
    };
    match principal {
        Principal::Loopback | Principal::Client(_) | Principal::AccessKey(_) => Some(everybody),
        Principal::Node | Principal::Unknown => Some(Verdict::Deny),
    }
}

/// An operation that may be carried out.
#[derive(Debug)]
pub struct Authorized(Operation);

impl Authorized {
    /// The operation.
    pub fn into_operation(self) -> Operation {
        self.0
    }
}

/// The gate.
pub fn authorize(principal: &Principal, operation: Operation) -> Result<Authorized, Failure> {
    let kind = operation.kind();
    let mut touched = 0;
    for resource in operation.resources() {
        touched += 1;
        if rule(principal, kind, resource) != Some(Verdict::Allow) {
            return Err(errors::access_denied(principal, kind.name()));
        }
    }
    // An operation that names no resource has slipped past every rule.
    if touched == 0 {
        return Err(errors::access_denied(principal, kind.name()));
    }
    Ok(Authorized(operation))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::{
        BatchExecuteStatement, BatchGet, BatchGetTable, BatchStatement, BatchWrite, CreateTable,
        DeleteItem, DescribeStream, ExecuteStatement, GetItem, GetRecords, GetShardIterator,
        IteratorStart, KeyCondition, ListConflicts, ListStreams, PageRequest, PutItem, Query,
        RecordsFrom, Report, ReturnValues, Scan, StreamName, TimeToLive, UpdateItem, UpdateTable,
    };
    use tombolo_item::partiql::{Statement, parse_statement};
    use tombolo_item::{GroupId, Item, NodeId, Shard, Update, Value};

    fn select() -> Statement {
        parse_statement("SELECT * FROM music", &[]).expect("a statement")
    }

    /// One operation of each kind.
    fn one_of(kind: Kind) -> Operation {
        let table = || String::from("music");
        let item = || Item(Default::default());
        let page = PageRequest::default;
        let report = Report::default();
        let shard = Shard { group: GroupId(16), epoch: 1 };
        let stream = || StreamName { table: table(), label: None };
        match kind {
            Kind::PutItem => Operation::PutItem(PutItem {
                table: table(),
                item: item(),
                condition: None,
                returns: ReturnValues::None,
                return_on_failure: false,
                report,
            }),
            Kind::GetItem => Operation::GetItem(GetItem {
                table: table(),
                key: item(),
                consistent: false,
                projection: None,
                report,
            }),
            Kind::UpdateItem => Operation::UpdateItem(UpdateItem {
                table: table(),
                key: item(),
                update: Update::default(),
                condition: None,
                returns: ReturnValues::None,
                return_on_failure: false,
                report,
            }),
            Kind::DeleteItem => Operation::DeleteItem(DeleteItem {
                table: table(),
                key: item(),
                condition: None,
                returns: ReturnValues::None,
                return_on_failure: false,
                report,
            }),
            Kind::Query => Operation::Query(Query {
                table: table(),
                index: None,
                condition: KeyCondition::Parts { partition: Value::S("a".into()), sort: None },
                filter: None,
                projection: None,
                select: None,
                forward: true,
                page: page(),
                report,
            }),
            Kind::Session => Operation::Session,
            Kind::Scan => Operation::Scan(Scan {
                table: table(),
                index: None,
                filter: None,
                projection: None,
                select: None,
                segment: None,
                page: page(),
                report,
            }),
            Kind::BatchGetItem => {
                let keys =
                    BatchGetTable { keys: vec![item()], projection: None, consistent: false };
                Operation::BatchGetItem(BatchGet { tables: vec![(table(), keys)], report })
            }
            Kind::BatchWriteItem => Operation::BatchWriteItem(BatchWrite {
                tables: vec![(table(), Vec::new())],
                report,
            }),
            Kind::ExecuteStatement => Operation::ExecuteStatement(ExecuteStatement {
                statement: select(),
                consistent: false,
                limit: None,
                next_token: None,
                return_on_failure: false,
                report,
            }),
            Kind::BatchExecuteStatement => {
                let one = |statement| BatchStatement {
                    statement,
                    consistent: false,
                    return_on_failure: false,
                };
                let statements = vec![one(Ok(select())), one(Err(errors::bad_iterator()))];
                Operation::BatchExecuteStatement(BatchExecuteStatement { statements, report })
            }
            Kind::CreateTable => Operation::CreateTable(Box::new(CreateTable {
                table: table(),
                ..CreateTable::default()
            })),
            Kind::UpdateTable => Operation::UpdateTable(Box::new(UpdateTable {
                table: table(),
                ..UpdateTable::default()
            })),
            Kind::DescribeTable => Operation::DescribeTable(table()),
            Kind::ListTables => Operation::ListTables { after: None, limit: 1 },
            Kind::DeleteTable => Operation::DeleteTable(table()),
            Kind::TagResource => Operation::TagResource { table: table(), tags: Vec::new() },
            Kind::UntagResource => Operation::UntagResource { table: table(), keys: Vec::new() },
            Kind::ListTagsOfResource => {
                Operation::ListTagsOfResource { table: table(), next_token: None }
            }
            Kind::DescribeLimits => Operation::DescribeLimits,
            Kind::DescribeEndpoints => Operation::DescribeEndpoints,
            Kind::DescribeTimeToLive => Operation::DescribeTimeToLive(table()),
            Kind::UpdateTimeToLive => Operation::UpdateTimeToLive {
                table: table(),
                time_to_live: TimeToLive { enabled: true, attribute: "ttl".into() },
            },
            Kind::DescribeContinuousBackups => Operation::DescribeContinuousBackups(table()),
            Kind::ListStreams => {
                Operation::ListStreams(ListStreams { table: None, after: None, limit: 1 })
            }
            Kind::DescribeStream => Operation::DescribeStream(DescribeStream {
                stream: stream(),
                after: None,
                limit: None,
                children_of: None,
            }),
            Kind::GetShardIterator => Operation::GetShardIterator(GetShardIterator {
                stream: stream(),
                shard,
                start: IteratorStart::Latest,
            }),
            Kind::GetRecords => Operation::GetRecords(GetRecords {
                from: RecordsFrom::Position { table: table(), shard, seq: 1 },
                limit: 1,
            }),
            Kind::Status => Operation::Status,
            Kind::VerifyTable => Operation::VerifyTable(table()),
            Kind::DrainNode => Operation::DrainNode { node: NodeId(1), drained: true },
            Kind::ListConflicts => {
                Operation::ListConflicts(ListConflicts { table: table(), after: None, limit: 1 })
            }
        }
    }

    #[test]
    fn every_operation_has_a_rule_for_every_resource_it_touches() {
        for &kind in Kind::ALL {
            let operation = one_of(kind);
            assert_eq!(operation.kind(), kind);
            assert!(operation.resources().count() > 0, "{kind:?} touches nothing");
            for resource in operation.resources() {
                let verdict = rule(&Principal::Loopback, kind, resource);
                assert!(verdict.is_some(), "no rule speaks of {kind:?} on {resource:?}");
            }
        }
    }

    #[test]
    fn loopback_and_clients_may_everything_and_nodes_nothing() {
        let client = Principal::Client("app".into());
        for &kind in Kind::ALL {
            assert!(authorize(&Principal::Loopback, one_of(kind)).is_ok());
            assert!(authorize(&client, one_of(kind)).is_ok());
            for refused in [Principal::Node, Principal::Unknown] {
                let failure = authorize(&refused, one_of(kind)).unwrap_err();
                assert_eq!(failure.reason, "AccessDeniedException");
            }
        }
    }

    #[test]
    fn a_resource_without_a_rule_is_refused() {
        assert_eq!(rule(&Principal::Loopback, Kind::PutItem, Resource::Region), None);
        assert_eq!(rule(&Principal::Loopback, Kind::Status, Resource::AllTables), None);
    }

    #[test]
    fn a_node_is_known_by_its_name_and_a_client_by_its_common_name() {
        let mut der = vec![0x30, 0x82];
        der.extend([0x06, 0x03, 0x55, 0x04, 0x03, 0x0c, 0x02, b'c', b'a']);
        der.extend([0x06, 0x03, 0x55, 0x04, 0x03, 0x0c, 0x03, b'a', b'p', b'p']);
        assert_eq!(Principal::of_certificate(&der), Principal::Client("app".into()));
        der.extend(b"node-7.dev.tombolo.internal");
        assert_eq!(Principal::of_certificate(&der), Principal::Node);
        // A cut or lying length is no panic.
        for end in 0..der.len() {
            Principal::of_certificate(&der[..end]);
        }
        assert_eq!(
            Principal::of_certificate(&[0x06, 0x03, 0x55, 0x04, 0x03, 0x0c, 0xff, b'a']),
            Principal::Client("without a name".into())
        );
    }
}
