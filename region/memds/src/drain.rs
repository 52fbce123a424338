//! Nodes that an operator drains: they lead nothing that another can lead.
//!
//! Always true: the wish is a row of its own beside the node's (which the node itself writes when it
//! starts), so it outlives restarts of the node; the node obeys what the map says, within a moment.
//!
//! Deliberately absent: moving the node's copies elsewhere.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use tombolo_item::NodeId;

use crate::error::MemdsError;
use crate::memds::Memds;
use crate::rows::Row;
use crate::system::Held;

/// `drain / <node id>`: written and removed by an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DrainRow {
    pub(crate) node: NodeId,
}
impl Row for DrainRow {
    const KIND: &'static str = "drain";
}

impl Memds {
    /// Asks a node of this region to lead nothing, or no longer to. Returns once that is durable;
    /// the node follows within a moment. Idempotent.
    pub async fn drain(&self, node: NodeId, drained: bool) -> Result<(), MemdsError> {
        let id = node.to_string();
        match drained {
            true => self.put_row(&id, &DrainRow { node }, Held::Any).await,
            false => self.delete_row::<DrainRow>(&id, Held::Any).await,
        }
    }

    /// The nodes of this region that are drained, as far as this node knows.
    pub fn drained(&self) -> BTreeSet<NodeId> {
        self.0.directory.load().drained.iter().map(|row| row.node).collect()
    }
}

/// Does what the map says about this node.
pub(crate) async fn obey(memds: Memds) {
    let mut changed = memds.changed();
    let mut obeyed = false;
    loop {
        changed.borrow_and_update();
        let drained = memds.drained().contains(&memds.node().id);
        if drained != obeyed {
            obeyed = drained;
            tracing::info!(drained, "what an operator asks of this node has changed");
            memds.0.host.set_drained(drained);
        }
        if changed.changed().await.is_err() {
            return;
        }
    }
}
