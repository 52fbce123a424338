//! What reaches the event loop from other threads.
//!
//! Always true: pushing never blocks on the loop's work; commands arrive in the order they were
//! pushed; the loop takes everything that is there at once. Once closed it drops what is pushed, so
//! nobody waits for a loop that has ended.

use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;
use tombolo_item::{GroupId, NodeId};
use tombolo_storage::{Checkpoint, Partition, StorageError};

use super::GroupSpec;
use crate::core::frame::Frame;
use crate::core::{Answer, Submit};
use crate::error::{GroupError, HostError};

/// Where an answer goes.
pub(crate) type Reply = oneshot::Sender<Result<Answer, GroupError>>;

/// A snapshot that was pulled and synced, not yet in use.
pub(crate) struct Pulled {
    pub(crate) partition: Partition,
    pub(crate) generation: u64,
    pub(crate) index: u64,
    pub(crate) entry_term: u64,
    pub(crate) conf: Bytes,
    pub(crate) leader: NodeId,
    pub(crate) leader_term: u64,
}

pub(crate) enum Cmd {
    Frame {
        from: NodeId,
        frame: Frame,
    },
    Submit {
        group: GroupId,
        submit: Submit,
        reply: Reply,
    },
    Create {
        spec: Box<GroupSpec>,
        partition: Partition,
        reply: oneshot::Sender<Result<(), HostError>>,
    },
    Drop {
        group: GroupId,
    },
    /// The empty next generation of a replica whose rows are to be fetched anew.
    Rebuild {
        group: GroupId,
        partition: Partition,
        reply: oneshot::Sender<Result<(), HostError>>,
    },
    Durable {
        batch: u64,
        attempt: u64,
        result: Result<(), StorageError>,
    },
    Checkpointed {
        group: GroupId,
        generation: u64,
        result: Result<Checkpoint, StorageError>,
    },
    Pulled {
        group: GroupId,
        result: Result<Box<Pulled>, String>,
    },
    HandOverAll,
    SetDrained(bool),
    Stop,
}

#[derive(Default)]
struct Queue {
    cmds: Vec<Cmd>,
    closed: bool,
}

#[derive(Default)]
pub(crate) struct Inbox {
    queue: Mutex<Queue>,
    wake: Condvar,
}

impl Inbox {
    pub(crate) fn push(&self, cmd: Cmd) {
        let mut queue = self.queue.lock();
        if queue.closed {
            // Dropped after the lock is: dropping may complete whoever waits.
            drop(queue);
            return drop(cmd);
        }
        queue.cmds.push(cmd);
        if queue.cmds.len() == 1 {
            self.wake.notify_one();
        }
    }

    /// The loop has ended.
    pub(crate) fn close(&self) {
        let rest = {
            let mut queue = self.queue.lock();
            queue.closed = true;
            std::mem::take(&mut queue.cmds)
        };
        drop(rest);
    }

    /// Takes everything into the empty `into`, waiting up to `timeout` for the first.
    pub(crate) fn take(&self, into: &mut Vec<Cmd>, timeout: Duration) {
        let mut queue = self.queue.lock();
        if queue.cmds.is_empty() {
            self.wake.wait_for(&mut queue, timeout);
        }
        std::mem::swap(&mut queue.cmds, into);
    }
}
