//! What checkers see.

use tombolo_item::{RowKey, Stamp};

use super::world::World;
use crate::core::frame::PeerMessage;

#[derive(Debug)]
pub(in crate::core) enum Observation<'a> {
    /// A message left a node.
    Sent { node: u64, to: u64, message: &'a PeerMessage },
    /// A node's machine moved to this index.
    Applied { node: u64, index: u64, fingerprint: u64 },
    /// Which nodes would answer a strong read from their lease right now, with their terms.
    Serving { nodes: &'a [(u64, u64)] },
    /// A client sent an operation.
    Invoked { op: u64, key: &'a RowKey },
    /// A write was acknowledged with this stamp.
    WriteAcked { op: u64, key: &'a RowKey, stamp: Option<Stamp> },
    /// A strong read saw the row at this stamp.
    ReadAnswered { op: u64, key: &'a RowKey, stamp: Option<Stamp> },
}

/// One promise of a group.
pub(in crate::core) trait Property {
    /// Looks at one thing that happened.
    fn observe(&mut self, at_ms: u64, what: &Observation<'_>) -> Result<(), String>;
    /// Looks at the healed world.
    fn finish(&mut self, world: &World) -> Result<(), String>;
}
