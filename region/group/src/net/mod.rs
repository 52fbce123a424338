//! The node port: how nodes of a cluster talk to each other, over mutual TLS, in batched frames on
//! two long-lived streams per direction and pair (consensus, data).
//!
//! Skeleton: types and signatures.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tombolo_item::{NodeId, RegionId};

/// What a user sets about the node port.
#[derive(Debug, Clone)]
pub struct NetSettings {
    pub node: NodeId,
    pub region: RegionId,
    pub zone: String,
    pub listen: SocketAddr,
    pub tls: NodeTls,
    /// The cluster's name: a DNS label. Part of every node's certificate.
    pub cluster: String,
}

/// A node's certificate, its key, and the authority that signs the cluster's nodes. All PEM.
#[derive(Clone)]
pub struct NodeTls {
    pub ca_pem: String,
    pub cert_pem: String,
    pub key_pem: String,
}

impl std::fmt::Debug for NodeTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NodeTls(..)")
    }
}

/// Another node, as far as the node port needs to know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    pub node: NodeId,
    pub region: RegionId,
    pub zone: String,
    /// host:port of its node port; empty when unknown.
    pub addr: String,
}

/// Who answers a call. The numbers are wire format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ServiceId {
    Group = 1,
    Memds = 2,
    Link = 3,
    Verify = 4,
    Stream = 5,
}

/// Answers the calls of one [`ServiceId`].
pub trait Service: Send + Sync {
    fn call(&self, from: Peer, body: Bytes) -> BoxFuture<'static, Result<Bytes, CallError>>;
}

/// Receives consensus frames: sender, bytes.
pub type FrameHandler = Arc<dyn Fn(NodeId, Bytes) + Send + Sync>;

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CallError {
    /// It surely was not executed: never sent.
    #[error("not sent: {0}")]
    Unreachable(String),
    /// Sent, then the stream broke: the outcome is unknown.
    #[error("outcome unknown, the stream broke: {0}")]
    Lost(String),
    /// Sent, no answer until the deadline: the outcome is unknown.
    #[error("no answer before the deadline; the outcome is unknown")]
    Timeout,
    /// Too much is in flight to or on that node; it was not executed.
    #[error("overloaded: {0}; retry after a pause")]
    Overloaded(String),
    /// The other node refused it, unexecuted.
    #[error("refused: {0}")]
    Refused(String),
}

/// Why the node port cannot start.
#[derive(Debug, Error)]
pub enum NetError {
    #[error("cannot listen for nodes on {listen}; is the port free?")]
    Listen { listen: SocketAddr, source: std::io::Error },
    #[error("the node's certificate, key or authority cannot be used: {0}")]
    Tls(String),
    #[error("{what} cannot be used: {reason}")]
    Settings { what: &'static str, reason: String },
}

/// The node port of this node.
#[derive(Clone)]
pub struct Net(Arc<()>);

/// Faults for development clusters.
#[derive(Debug, Default)]
pub struct Faults(());

#[allow(unused_variables, clippy::todo)]
impl Faults {
    pub fn cut(&self, region: RegionId, zone: Option<String>) {
        todo!()
    }
    pub fn heal(&self) {
        todo!()
    }
    pub fn set_delay_ms(&self, region: RegionId, delay_ms: u64) {
        todo!()
    }
}

/// The DNS name a node's certificate must carry.
pub fn node_san(cluster: &str, node: NodeId) -> String {
    format!("node-{}.{cluster}.tombolo.internal", node.0)
}

#[allow(unused_variables, clippy::todo)]
impl Net {
    pub async fn start(settings: NetSettings) -> Result<Net, NetError> {
        todo!()
    }
    pub fn learn(&self, peer: Peer) {
        todo!()
    }
    pub fn peers(&self) -> Vec<Peer> {
        todo!()
    }
    pub fn local_addr(&self) -> SocketAddr {
        todo!()
    }
    pub fn node(&self) -> NodeId {
        todo!()
    }
    pub fn send(&self, to: NodeId, frame: Bytes) {
        todo!()
    }
    pub fn on_frame(&self, handler: FrameHandler) {
        todo!()
    }
    pub fn serve(&self, service: ServiceId, handler: Arc<dyn Service>) {
        todo!()
    }
    pub async fn call(
        &self,
        to: NodeId,
        service: ServiceId,
        body: Bytes,
        deadline: Duration,
    ) -> Result<Bytes, CallError> {
        todo!()
    }
    pub fn faults(&self) -> &Faults {
        todo!()
    }
    pub async fn shutdown(&self) {
        todo!()
    }
}
