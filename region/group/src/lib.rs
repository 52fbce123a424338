//! The copies of one partition: consensus, lease, evaluation, and the host that runs the replicas
//! of many groups on one node.

pub mod error;
pub mod host;
pub mod net;
pub mod settings;
pub mod types;

pub use error::{GroupError, HostError};
pub use host::{ChangeLog, GroupSpec, Host};
pub use net::{CallError, Net, NetSettings, NodeTls, Peer, Service, ServiceId};
pub use settings::HostSettings;
pub use types::*;
