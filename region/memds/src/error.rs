//! What metadata operations and routed requests can fail with.

use thiserror::Error;
use tombolo_group::{GroupError, HostError};
use tombolo_item::TableId;

/// Why MemDS cannot start or answer.
#[derive(Debug, Error)]
pub enum MemdsError {
    /// This node's disk is empty, but the system group already lives: creating a second one would
    /// fork the region.
    #[error(
        "this node is a founding voter of the system group but its disk is empty, while node {peer} \
         holds the group with {applied} applied entries: refusing to found it again; restore this \
         node's data folder, or replace the node"
    )]
    AlreadyFounded { peer: u64, applied: u64 },
    #[error("host: {0}")]
    Host(#[from] HostError),
    #[error("system group, while {attempt}: {source}")]
    System { attempt: String, source: GroupError },
    #[error("the system group cannot be reached while {attempt}: {reason}")]
    Unreachable { attempt: String, reason: String },
    /// The row is not as expected.
    #[error("system row {kind}/{id} is not as expected; read it again")]
    Conflict { kind: String, id: String },
    #[error("system row {kind}/{id} cannot be read: {reason}")]
    Format { kind: String, id: String, reason: String },
    #[error("{what} cannot be used: {reason}")]
    Settings { what: &'static str, reason: String },
}

/// Why a table was not created, found or deleted.
#[derive(Debug, Error)]
pub enum CatalogError {
    #[error("table {0} already exists")]
    Exists(String),
    #[error("there is no table {0}")]
    NotFound(String),
    #[error("table {name} is {status}; wait until it is ACTIVE")]
    InUse { name: String, status: String },
    #[error("invalid table: {0}")]
    Invalid(String),
    /// The caller asked for something that cannot be; the text is DynamoDB's where it has one.
    #[error("{0}")]
    Rejected(String),
    #[error("table {0} was not ACTIVE in time; it goes on being created")]
    NotActiveInTime(TableId),
    #[error(transparent)]
    Memds(#[from] MemdsError),
}

/// Whether a request that got no answer may have been applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uncertain {
    No,
    Unknown,
}

/// Why a routed request has no answer.
#[derive(Debug, Error)]
pub enum RouteError {
    #[error("there is no such table")]
    NoTable,
    #[error("no answer before the deadline (applied: {applied:?}); last: {last}")]
    Timeout { applied: Uncertain, last: String },
    #[error("the outcome is unknown: {0}")]
    OutcomeUnknown(String),
    #[error(transparent)]
    Group(GroupError),
    #[error("overloaded: {0}; retry after a pause")]
    Overloaded(String),
}
