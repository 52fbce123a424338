//! What a host does around the step: nodes measure their disks and tell each other.

use std::sync::Arc;

use tombolo_item::NodeId;

use super::{Property, World};
use crate::core::fitness::Health;
use crate::core::{Event, frame};

impl World {
    /// Once a beat of node `id`.
    pub(super) fn judge(&mut self, id: u64, property: &mut dyn Property) -> Result<(), String> {
        let now_ms = self.now_ms;
        let node = &mut self.nodes[id as usize - 1];
        let now = node.now(now_ms);
        let wrote = std::mem::take(&mut node.wrote);
        let mean = wrote.iter().sum::<u64>().checked_div(wrote.len() as u64);
        let oldest = node.writing.front().map(|at| now_ms - at);
        node.fitness.measured(mean.max(oldest));
        let standing = Arc::new(node.fitness.judge(now.mono_ms));
        let health = node.fitness.health(now.mono_ms);
        let home = node.core.as_ref().is_some_and(|core| core.wants_home(now));
        let others: Vec<u64> = self.nodes.iter().map(|n| n.id).filter(|n| *n != id).collect();
        for to in others {
            self.send(id, to, frame::encode(now_ms, 0, Some(&health), &[]));
        }
        self.step(id, Event::Standing(standing), property)?;
        if home { self.step(id, Event::GoHome, property) } else { Ok(()) }
    }

    /// A frame arrived.
    pub(super) fn hear(&mut self, from: u64, to: u64, health: Option<Health>) {
        let now_ms = self.now_ms;
        let node = &mut self.nodes[to as usize - 1];
        let now = node.now(now_ms);
        node.fitness.heard(NodeId(from), now.mono_ms);
        if let Some(health) = health {
            node.fitness.told(NodeId(from), now.mono_ms, health);
        }
    }
}
