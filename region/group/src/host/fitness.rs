//! The loop's side of a node's fitness: it measures, tells the peers, and lets one group go home
//! per beat. What is decided is in `core`.

use std::collections::BTreeSet;
use std::sync::Arc;

use tombolo_item::{GroupId, NodeId};

use super::run::Loop;
use crate::core::{Event, Now, frame};
use crate::metrics;

impl Loop {
    /// Once a beat, before the replicas beat.
    pub(super) fn judge(&mut self, now: Now) {
        let late_ms = now.mono_ms.saturating_sub(self.beat_due_ms.max(1));
        let late_ms = if self.beat_due_ms == 0 { 0 } else { late_ms };
        let wrote_ms = self.journal.took_ms(now.mono_ms);
        // An idle node measures nothing: that its loop is on time says little of its disk.
        let took_ms = wrote_ms.map(|ms| ms.max(late_ms));
        self.fitness.measured(took_ms);
        let standing = self.fitness.judge(now.mono_ms);
        if standing.unfit != self.standing.unfit {
            match standing.unfit {
                Some(reason) => tracing::warn!(?reason, "this node gives leadership away"),
                None => tracing::info!("this node may lead again"),
            }
            metrics::UNFIT.set(i64::from(standing.unfit.is_some()));
        }
        self.standing = Arc::new(standing);
        self.tell_peers(now);
        let leads: Vec<GroupId> = self
            .replicas
            .iter()
            .filter(|(_, replica)| replica.core.leads())
            .map(|(group, _)| *group)
            .collect();
        for group in leads {
            self.step(now, group, Event::Standing(self.standing.clone()));
        }
        let homesick = self.replicas.iter().find(|(_, replica)| replica.core.wants_home(now));
        if let Some((group, _)) = homesick {
            let group = *group;
            self.step(now, group, Event::GoHome);
        }
    }

    fn tell_peers(&self, now: Now) {
        let own = self.settings.node;
        let views = self.replicas.values().map(|replica| replica.shared.view.load());
        let peers: BTreeSet<NodeId> =
            views.flat_map(|v| v.voters.clone()).filter(|n| *n != own).collect();
        let health = self.fitness.health(now.mono_ms);
        for to in peers {
            let heard_ms = self.skew.heard(to);
            self.inner.net.send(to, frame::encode(now.wall_ms, heard_ms, Some(&health), &[]));
        }
    }
}
