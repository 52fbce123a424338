//! What an operator may tune about links and tombstone purging. Plain data with documented defaults;
//! every value has a default that is right for most, so `LinkSettings::default()` runs a region.

use std::time::Duration;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinkSettings {
    /// How long a link's lease lasts when its holder dies: the longest pause of a link. Milliseconds.
    pub lease_ms: u64,
    /// How often the heads of the source's shards are asked for over the direct channel.
    pub heads_ms: u64,
    /// How often a checkpoint that moved is made durable, and then confirmed to the source.
    pub checkpoint_ms: u64,
    /// How long a shard may stand behind its head, with nothing coming from the broker, before the
    /// rest is read from the source's log.
    pub behind_ms: u64,
    /// How often the closed stamps of an otherwise idle link are made durable (tombstones wait for them).
    pub closed_ms: u64,
    /// Records of one link that are being merged at the same time.
    pub in_flight_records: usize,
    /// Bytes of records of one link that are held in memory.
    pub in_flight_bytes: usize,
    /// Patience of one merge before it is sent again.
    pub merge_deadline_ms: u64,
    /// How often each group leader looks for tombstones that nobody needs any more.
    pub purge_ms: u64,
    /// Most tombstones purged from one group in one round.
    pub purge_rows: usize,
}

impl Default for LinkSettings {
    fn default() -> Self {
        LinkSettings {
            lease_ms: 5_000,
            heads_ms: 1_000,
            checkpoint_ms: 200,
            behind_ms: 2_000,
            closed_ms: 10_000,
            in_flight_records: 1_024,
            in_flight_bytes: 16 << 20,
            merge_deadline_ms: 10_000,
            purge_ms: 30_000,
            purge_rows: 10_000,
        }
    }
}

impl LinkSettings {
    pub(crate) fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms)
    }
    pub(crate) fn heads(&self) -> Duration {
        Duration::from_millis(self.heads_ms)
    }
    pub(crate) fn checkpoint(&self) -> Duration {
        Duration::from_millis(self.checkpoint_ms)
    }
    pub(crate) fn behind(&self) -> Duration {
        Duration::from_millis(self.behind_ms)
    }
    pub(crate) fn closed(&self) -> Duration {
        Duration::from_millis(self.closed_ms)
    }
    pub(crate) fn merge_deadline(&self) -> Duration {
        Duration::from_millis(self.merge_deadline_ms)
    }
    pub(crate) fn purge(&self) -> Duration {
        Duration::from_millis(self.purge_ms)
    }
}
