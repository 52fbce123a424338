//! What a user may tune about a host of replication groups.

use std::path::PathBuf;
use std::time::Duration;

use tombolo_item::{NodeId, RegionId};

/// One node's host.
#[derive(Debug, Clone)]
pub struct HostSettings {
    pub node: NodeId,
    pub region: RegionId,
    /// The node's data folder.
    pub dir: PathBuf,
    /// How far a clock may be ahead: a leader beyond it (against its peers) refuses writes; a stamp
    /// of another region beyond it is held.
    pub max_clock_skew: Duration,
    /// How often leaders send heartbeats. All groups of a node share the beat.
    pub beat: Duration,
    /// A replica with changes is checkpointed at least this often.
    pub checkpoint_age: Duration,
    /// Threads that write checkpoints.
    pub checkpoint_threads: usize,
    /// Bytes of log kept in memory per group below the checkpoint, for followers that lag a little.
    pub log_tail_bytes: usize,
    /// Bytes proposed but not committed, per group, above which writes are refused as overload.
    pub uncommitted_bytes: u64,
    /// How long a replica keeps the view it pinned at a marker.
    pub pin_age: Duration,
    /// Seed of the election timers; equal seeds and equal events make equal elections.
    pub seed: u64,
}

impl HostSettings {
    /// The defaults for `node`, with its data in `dir`.
    pub fn new(node: NodeId, region: RegionId, dir: impl Into<PathBuf>) -> HostSettings {
        HostSettings {
            node,
            region,
            dir: dir.into(),
            max_clock_skew: Duration::from_millis(500),
            beat: Duration::from_millis(500),
            checkpoint_age: Duration::from_secs(10),
            checkpoint_threads: 2,
            log_tail_bytes: 1 << 20,
            uncommitted_bytes: 32 << 20,
            pin_age: Duration::from_secs(60),
            seed: node.0,
        }
    }
}
