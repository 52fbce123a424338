//! What callers of a group get when it cannot answer, and what starting a host can fail with.
//!
//! Always true: [`GroupError::surely_not_applied`] is `true` only when no replica can hold the
//! write in its log, so that a caller without a token may retry it.

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tombolo_item::{GroupId, NodeId};
use tombolo_storage::StorageError;

use crate::types::Descriptor;

/// Why a group did not answer a request.
#[derive(Debug, Clone, PartialEq, Error, Serialize, Deserialize)]
pub enum GroupError {
    /// This replica does not lead the group. Try `leader`, or ask the others.
    #[error("this replica does not lead the group (leader: {leader:?}); try the leader")]
    NotLeader { leader: Option<NodeId>, descriptor: Option<Descriptor> },
    /// This node holds no replica of the group.
    #[error("this node holds no replica of the group; refresh the partition map")]
    NoSuchGroup,
    /// The row is outside the group's range, or the request believes in another range epoch.
    #[error("the request's range epoch or key does not fit the group's range; use the descriptor")]
    WrongRange { descriptor: Descriptor },
    /// The replica cannot serve now (no lease, new leader, starting). A retry helps.
    #[error("the replica does not serve now: {0}; retry")]
    NotServing(String),
    /// Too much is in flight. A retry after a pause helps.
    #[error("overloaded: {0}; retry after a pause")]
    Overloaded(String),
    /// The write may or may not have been applied. A retry with the same token tells.
    #[error("outcome unknown: {0}; retry with the same token")]
    OutcomeUnknown(String),
    /// No room on the leader's disk. Nothing was written.
    #[error("disk full: {0}; free space or add a node")]
    DiskFull(String),
    /// A clock is further ahead than the bound. Nothing was written.
    #[error("clock skew: {0}; correct the clock")]
    ClockSkew(String),
    /// Stored bytes fail their checksum.
    #[error("corrupt data: {0}; rebuild the replica from a healthy copy")]
    Corrupt(String),
    /// The host is shutting down. Nothing was written.
    #[error("the host is stopping; try another replica")]
    Stopped,
    /// The request itself is wrong; a retry does not help.
    #[error("invalid request: {0}")]
    Invalid(String),
    /// The write's token is too old to tell whether it was applied before. It was not applied now,
    /// and never will be under this token.
    #[error("the token has expired: whether the write was applied before is not known any more")]
    Expired,
    /// What the caller asked cannot be done with what is stored; a retry does not help. The text is
    /// DynamoDB's.
    #[error("{0}")]
    Rejected(String),
}

impl GroupError {
    /// Whether no replica can hold the write, now or later.
    pub fn surely_not_applied(&self) -> bool {
        !matches!(self, GroupError::OutcomeUnknown(_) | GroupError::Expired)
    }

    /// Whether the same request may succeed if it is tried again, here or at another replica.
    pub fn retry_helps(&self) -> bool {
        !matches!(
            self,
            GroupError::Corrupt(_)
                | GroupError::Invalid(_)
                | GroupError::ClockSkew(_)
                | GroupError::Expired
                | GroupError::Rejected(_)
        )
    }
}

/// Why a host could not start or could not do what an operator asked.
#[derive(Debug, Error)]
pub enum HostError {
    /// The disk said no.
    #[error("the node's disk failed while {attempt}")]
    Storage { attempt: String, source: StorageError },
    /// The consensus library refused what it was given.
    #[error("replica of group {group}: {reason}")]
    Consensus { group: GroupId, reason: String },
    /// The operating system refused a thread.
    #[error("cannot start the thread {name}")]
    Thread { name: &'static str, source: std::io::Error },
    /// The specification of a group is not usable.
    #[error("group {group} cannot be created: {reason}")]
    Spec { group: GroupId, reason: String },
    /// The host is shutting down.
    #[error("the host is stopping")]
    Stopped,
}
