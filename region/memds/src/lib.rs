//! Tables and the partition map in memory, fed by the replicated system group. Skeleton.

mod error;
mod lease;
mod memds;
mod model;
mod routed;

pub use error::{CatalogError, MemdsError, RouteError, Uncertain};
pub use lease::LeaseGuard;
pub use memds::{Expect, Memds};
pub use model::{MemdsSettings, NodeInfo, RegionConfig, TableInfo, TableSpec, TableStatus};
pub use routed::Routed;
