//! What goes into a step and what comes out of it.
//!
//! Always true: everything a replica decides on is in here (time, chance and the disk's answers
//! included), so the same events give the same outputs, byte for byte.

use std::sync::Arc;

use bytes::Bytes;
use tombolo_item::{GroupId, Hlc, NodeId};
use tombolo_storage::{Confirmed, GroupConfig, PinnedView, StorageError, WalRecord};

use super::fitness::{Standing, Unfit};
use super::frame::{PeerBody, PeerMessage};
use crate::error::GroupError;
use crate::types::{WriteRequest, WriteResponse};

/// Both clocks, read once per turn by the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// Monotonic milliseconds since the node's start.
    pub mono_ms: u64,
    /// Milliseconds since 1970.
    pub wall_ms: u64,
}

/// Names a waiting caller; given back with the answer.
pub type Ticket = u64;

/// Something a caller wants logged (or, for `Barrier`, proved).
#[derive(Debug, Clone, PartialEq)]
pub enum Submit {
    Write(Box<WriteRequest>),
    Confirm(Confirmed),
    Config(Box<GroupConfig>),
    Marker(u64),
    /// Answer once this replica is proved to lead, after everything known committed is applied.
    Barrier,
    /// Log "nothing at or below this stamp follows", unless the log already says so for `since_ms`.
    Closed {
        since_ms: u64,
    },
}

/// What the caller gets.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    Write(WriteResponse),
    /// Logged and applied at this index.
    Logged {
        index: u64,
    },
    /// This replica led at some moment since the question.
    Leads,
    /// Nothing at or below this stamp follows from this shard.
    Closed(Hlc),
}

/// One thing that happened to a replica.
#[derive(Debug)]
pub enum Event {
    Message {
        from: NodeId,
        body: PeerBody,
    },
    Submit(Vec<(Ticket, Submit)>),
    /// Everything up to this ready of this replica is durable.
    Persisted {
        number: u64,
    },
    /// The node's heartbeat beat.
    Beat,
    /// The replica's deadline passed.
    Wake,
    /// Hand leadership to the most caught-up voter.
    HandOver,
    /// What the node's judgement of itself says this beat.
    Standing(Arc<Standing>),
    /// Hand leadership to the preferred replica, if it still wants to go there.
    GoHome,
    /// Whether this node's clock is too far ahead of its peers'.
    ClockAhead(bool),
    /// Whether the node's disk refuses writes.
    DiskFull(bool),
    /// The tree holds everything up to `index`: older entries may leave memory.
    Checkpointed {
        index: u64,
    },
    /// A pulled snapshot is durable at (`index`, `term`); the machine was replaced by it.
    SnapshotInstalled {
        leader: NodeId,
        term: u64,
        index: u64,
        entry_term: u64,
        conf: Bytes,
    },
    /// The pull failed; ask the leader again later.
    SnapshotFailed,
}

/// What the caller of `step` must do. One `Output` gathers the steps of many groups.
#[derive(Debug, Default)]
pub struct Output {
    pub sends: Vec<(NodeId, PeerMessage)>,
    /// To be made durable in one append, in this order.
    pub records: Vec<WalRecord>,
    /// Readies that are durable once `records` are.
    pub persists: Vec<(GroupId, u64)>,
    pub answers: Vec<(Ticket, Result<Answer, GroupError>)>,
    /// The machine's view as of a marker's entry, pinned before the next entry was applied: two
    /// replicas that apply the entries after a marker in steps of other sizes still show the same rows.
    pub pins: Vec<(GroupId, u64, Result<PinnedView, StorageError>)>,
    /// What changed about groups, for whoever watches.
    pub notes: Vec<(GroupId, Note)>,
}

/// A change worth telling.
#[derive(Debug, Clone, PartialEq)]
pub enum Note {
    /// Leadership or term changed here.
    Role,
    /// The machine moved.
    Applied,
    /// The group's configuration was replaced.
    Config,
    /// A marker was applied at this index; the machine's view as of it is in [`Output::pins`].
    Marker { index: u64 },
    /// The leader says this replica is too far behind: pull a snapshot from it.
    SnapshotWanted { leader: NodeId, term: u64 },
    /// An election was started.
    Campaign,
    /// A conflict between regions was logged.
    Conflict { from: u16, to: u16 },
    /// An own proposal was applied this long after it was made.
    Committed { took_ms: u64, records: usize },
    /// Leadership is handed to `to`: off an unfit node, or (no reason) home.
    GivenAway { to: NodeId, reason: Option<Unfit> },
    /// The machine refused an entry: the replica serves no more.
    Fault(String),
}

impl Output {
    /// Nothing to do.
    pub fn is_empty(&self) -> bool {
        self.sends.is_empty()
            && self.records.is_empty()
            && self.persists.is_empty()
            && self.answers.is_empty()
            && self.pins.is_empty()
            && self.notes.is_empty()
    }
}
