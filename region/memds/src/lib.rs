//! A region's metadata in memory: which tables there are, which partition owns a row key, which
//! nodes hold it; fed by the replicated system group. And the routed submit on top of it.
//!
//! # Always true
//! - The system group (id 1, a group like any other) is the truth of this crate; every map is a
//!   copy of it as of one applied index. A group's own configuration is the truth about the group:
//!   the map is only where one begins to ask, and the newest descriptor wins.
//! - The work that look-ups cause is the same with a cold and with a warm map.
//! - Whatever process dies in the middle of whatever change, the control role finishes it.
//! - No replica is ever created on a disk other than the one it was placed on.
//!
//! # How a region starts from nothing
//! The configuration names the founding voters of the system group (the first node of each zone).
//! Each with an empty disk asks all the others; when all have said that their disks are empty, each
//! notes durably that it may found, and when all are that far, each creates its replica
//! (`founding.rs`). Then every node, voter or not, writes its own row, with the identity of its
//! disk, and tables can be created once each zone has a node.
//!
//! # How a node starts from a cold disk
//! - *Disk as it was*: replicas come from the disk, the map from the replica of the system group, or
//!   from a node that has one.
//! - *Emptied disk, founding voter*: it finds that the system group lives, and refuses to start
//!   ([`MemdsError::AlreadyFounded`]): it must not vote twice. Restore the folder, or replace the node.
//! - *Emptied disk, other node*: it has a new identity. Replicas placed on the old one are not
//!   created again; they are counted in `tombolo_memds_lost_replicas_count` until they are rebuilt.
//!   New partitions may be placed on it.
//!
//! # Deliberately absent
//! Moving and rebuilding replicas, splits, changes of the system group's voters (their rows have
//! room for them); discovery of nodes of other regions (they are configured); wall-clock leases.
//!
//! # In reading order
//! [`model`] (the nouns), [`rows`] (what is replicated), [`directory`] (the map and its floor
//! search), [`settings`] (what a table is set to), [`memds`] (the handle), [`founding`] and [`identity`] (starting), [`feed`] (keeping the
//! map; the constant-work refresh), [`wire`] and [`service`] (between nodes), [`system`] (rows from
//! anywhere), [`catalog`], [`revise`], [`placement`], [`reconcile`], [`control`] (tables from wish to
//! replicas), [`credentials`],
//! [`lease`], [`submit`] and [`routed`] (requests on their way).

mod catalog;
mod control;
mod credentials;
mod directory;
mod drain;
mod error;
mod feed;
mod founding;
mod identity;
mod lease;
mod memds;
mod metrics;
mod model;
mod placement;
mod reconcile;
mod revise;
mod routed;
mod rows;
mod service;
mod settings;
mod submit;
mod system;
mod wire;

pub use catalog::PARTITIONS_MAX;
pub use error::{CatalogError, MemdsError, RouteError, Uncertain};
pub use lease::LeaseGuard;
pub use memds::{Expect, Memds};
pub use model::{
    Credential, MemdsSettings, NodeInfo, RegionConfig, TableInfo, TableSpec, TableStatus,
};
pub use routed::{Routed, Walk};
pub use settings::{
    BillingMode, Encryption, GlobalIndex, IndexStatus, Provisioned, Revision, TAGS_MAX,
    TableChange, TableClass, TableSettings, ThroughputChanges, TimeToLive,
};
