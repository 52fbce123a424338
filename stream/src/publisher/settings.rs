//! What an operator sets for the publisher.

use crate::connect::without_password;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;
use tombolo_item::RegionId;

/// Where and how this node publishes.
#[derive(Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PublisherSettings {
    /// `nats://user:password@host:port` of this region's NATS.
    pub nats_url: String,
    /// `http://host:port` of its monitor, to read the sync setting; empty: not asked.
    pub monitor_url: String,
    pub region_name: String,
    pub region: RegionId,
    /// Copies JetStream keeps of a table's stream: 3 in production, 1 with a single server.
    pub replicas: usize,
    /// A broker weaker than the shipped configuration is expected: said as information only.
    pub development: bool,
    /// Largest message body. The server's `max_payload` lowers it.
    pub message_bytes_max: usize,
    /// How long the broker keeps messages.
    pub max_age: Duration,
    /// The broker's memory of message ids.
    pub duplicate_window: Duration,
    /// Most bytes a table's stream may hold on the broker; 0: no limit but its store.
    pub stream_bytes_max: u64,
    /// How long to wait for the broker's acknowledgement before asking it what it has.
    pub ack_timeout: Duration,
    /// How often a table's stream is looked at, to notice that it was deleted or reset.
    pub stream_check: Duration,
    /// How long our log may be behind what the broker has before that counts as two histories.
    pub ahead_patience: Duration,
    /// Catch-up after an outage takes at most this much of the node's network and disk.
    pub catch_up_bytes_per_second: u64,
    /// Shards that catch up at the same time.
    pub catch_up_shards: usize,
}

impl Default for PublisherSettings {
    fn default() -> PublisherSettings {
        PublisherSettings {
            nats_url: "nats://127.0.0.1:4222".into(),
            monitor_url: String::new(),
            region_name: String::new(),
            region: RegionId(0),
            replicas: 1,
            development: false,
            message_bytes_max: 512 * 1024,
            max_age: Duration::from_secs(24 * 3600),
            duplicate_window: Duration::from_secs(120),
            stream_bytes_max: 0,
            ack_timeout: Duration::from_secs(5),
            stream_check: Duration::from_secs(5),
            ahead_patience: Duration::from_secs(3),
            catch_up_bytes_per_second: 64 * 1024 * 1024,
            catch_up_shards: 4,
        }
    }
}

/// The address without its password.
impl fmt::Debug for PublisherSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublisherSettings")
            .field("nats_url", &without_password(&self.nats_url))
            .field("region_name", &self.region_name)
            .field("replicas", &self.replicas)
            .field("message_bytes_max", &self.message_bytes_max)
            .finish_non_exhaustive()
    }
}
