//! The copies of one partition: consensus, lease, evaluation, and the host that runs the replicas
//! of many groups on one node.
//!
//! What it is for: a write answered here is held durably by a quorum of zones and is never lost; a
//! strong read never misses an answered write; every replica applies the same records in the same
//! order and can prove it by digests.
//!
//! Always true:
//! - At most one replica of a group serves at any moment: the lease of the old leader is over
//!   before a quorum may elect another ([`core`], `lease`).
//! - What a leader decides on is only ever the newest *proposed* state; what it answers is committed.
//! - Sequence numbers of a shard have no holes and each record names the hash of the one before.
//! - Applying reads no clock and draws no chance: equal logs make equal replicas.
//!
//! Deliberately absent: membership changes, splits and log replicas (their places are in the
//! formats); any knowledge of requests other than rows of one group; retries (the routed submit
//! retries, under a token); tasks or threads per group.
//!
//! Reading order: [`types`], [`error`], [`core`] (the decisions, pure), [`host`] (the doing),
//! `service` (other nodes' calls), [`net`] (the node port), [`settings`], `metrics`.

pub mod core;
pub mod error;
pub mod host;
mod metrics;
pub mod net;
mod service;
pub mod settings;
pub mod types;

pub use core::{ConflictRow, Loser, Side};
pub use error::{GroupError, HostError};
pub use host::{ChangeLog, GroupSpec, Host};
pub use net::{CallError, Net, NetSettings, NodeTls, Peer, Service, ServiceId};
pub use settings::HostSettings;
pub use types::*;
// What callers of a group meet of its disk.
pub use tombolo_storage::{
    Changes, Confirmed, Digest, Finding as DamagedRow, GroupConfig, Partition, PinnedView, Space,
    StorageError, StoredRow,
};
