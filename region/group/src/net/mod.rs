//! The node port: how nodes of a cluster talk to each other, over mutual TLS, in batched frames.
//!
//! A node dials two connections to each peer it talks to, one for consensus and one for calls, so
//! that large reads do not block votes; answers come back on the caller's connection.
//!
//! Always true:
//! - Only a certificate with the node's own name ([`node_san`]) opens a stream.
//! - Consensus messages from one node arrive in order, or not at all.
//! - A call ends exactly once, at its deadline at the latest; [`CallError`] tells "surely not
//!   executed" from "outcome unknown".
//! - Every body is checked against its crc32c at receipt.
//! - Sending never blocks and has no task per message; queues are bounded.
//!
//! Deliberately absent: retries (the caller knows whether they are safe), discovery (peers are
//! learned from the configuration and the directory), relaying.
//!
//! In reading order: [`wire`] (bytes), [`certificate`], [`faults`], [`outbox`] (queue and batching),
//! [`link`] (dialling side), [`port`] (accepting side).

mod certificate;
mod faults;
mod link;
mod metrics;
mod outbox;
mod port;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tombolo_item::{NodeId, RegionId};
use tonic::transport::{Certificate, ClientTlsConfig, Identity, Server, ServerTlsConfig};

pub use certificate::{node_san, valid_cluster_name};
pub use faults::Faults;
use link::{Kind, Link};
use port::{Accepted, Port, Shared};

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

impl ServiceId {
    const COUNT: usize = 5;
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
pub struct Net(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    links: ArcSwap<HashMap<NodeId, Arc<Pair>>>,
    /// Serialises changes of `links`.
    learning: Mutex<()>,
    local_addr: SocketAddr,
    /// Told when a call starts to wait, so that its deadline is watched.
    waiting: Notify,
    /// Where accepted sockets go: to the server with the newest certificate.
    accepted: Arc<ArcSwap<mpsc::Sender<std::io::Result<Accepted>>>>,
    servers: Mutex<Vec<JoinHandle<()>>>,
}

struct Pair {
    consensus: Arc<Link>,
    data: Arc<Link>,
}

/// How precisely deadlines of calls are kept.
const DEADLINE_GRAIN: Duration = Duration::from_millis(20);
/// How long open streams get to end at shutdown.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(2);
/// A TLS handshake on the node port must be done in this time.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

impl Net {
    /// Listen, and be ready to dial. Must be called inside a tokio runtime, which then carries it.
    pub async fn start(settings: NetSettings) -> Result<Net, NetError> {
        if !valid_cluster_name(&settings.cluster) {
            return Err(NetError::Settings {
                what: "the cluster's name",
                reason: "it must be 1-40 of a-z, 0-9, '-', as in a DNS label".into(),
            });
        }
        metrics::register();
        // Fails if the process has already installed one, which is just as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (client_tls, server_tls) = configurations(&settings.tls);
        let listen = settings.listen;
        let listener = TcpListener::bind(listen)
            .await
            .map_err(|source| NetError::Listen { listen, source })?;
        let local_addr =
            listener.local_addr().map_err(|source| NetError::Listen { listen, source })?;
        let shared = Arc::new(Shared {
            faults: Faults::new(settings.region, settings.zone.clone()),
            settings,
            client_tls: ArcSwap::from_pointee(client_tls),
            stop: watch::Sender::new(false),
            known: ArcSwap::default(),
            runtime: tokio::runtime::Handle::current(),
            frame_handler: OnceLock::new(),
            services: std::array::from_fn(|_| OnceLock::new()),
        });
        let (sender, server) = serve(&shared, server_tls)?;
        let accepted = Arc::new(ArcSwap::from_pointee(sender));
        shared.spawn(port::accept(listener, shared.clone(), accepted.clone()));
        let net = Net(Arc::new(Inner {
            shared: shared.clone(),
            links: ArcSwap::default(),
            learning: Mutex::new(()),
            local_addr,
            waiting: Notify::new(),
            accepted,
            servers: Mutex::new(vec![server]),
        }));
        shared.spawn(watch_deadlines(net.clone()));
        Ok(net)
    }

    /// Remember a peer, or where it is now.
    pub fn learn(&self, peer: Peer) {
        let inner = &self.0;
        if peer.node == self.node() {
            return;
        }
        let _learning = inner.learning.lock();
        let mut known = HashMap::clone(&inner.shared.known.load());
        if known.get(&peer.node) == Some(&peer) {
            return;
        }
        known.insert(peer.node, peer.clone());
        inner.shared.known.store(Arc::new(known));
        let links = inner.links.load();
        if let Some(pair) = links.get(&peer.node) {
            pair.consensus.set_peer(peer.clone());
            pair.data.set_peer(peer);
            return;
        }
        let mut more = HashMap::clone(&links);
        let link = |kind| Link::new(kind, inner.shared.clone(), peer.clone());
        let pair = Pair { consensus: link(Kind::Consensus), data: link(Kind::Data) };
        more.insert(peer.node, Arc::new(pair));
        inner.links.store(Arc::new(more));
    }

    /// All peers learned so far.
    pub fn peers(&self) -> Vec<Peer> {
        self.0.shared.known.load().values().cloned().collect()
    }

    /// One peer, if it is known.
    pub fn peer(&self, node: NodeId) -> Option<Peer> {
        self.0.shared.known.load().get(&node).cloned()
    }

    /// This node, as its peers see it.
    pub fn me(&self) -> Peer {
        let settings = &self.0.shared.settings;
        Peer {
            node: settings.node,
            region: settings.region,
            zone: settings.zone.clone(),
            addr: self.0.local_addr.to_string(),
        }
    }

    /// This node's id.
    pub fn node(&self) -> NodeId {
        self.0.shared.settings.node
    }

    /// Where the port listens: of use when the settings said port 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.0.local_addr
    }

    /// Send a consensus message: in order, lossy, never blocks. Callable from any thread.
    pub fn send(&self, to: NodeId, frame: Bytes) {
        if to == self.node() {
            if let Some(handler) = self.0.shared.frame_handler.get() {
                handler(to, frame);
            }
            return;
        }
        let links = self.0.links.load();
        let Some(pair) = links.get(&to) else {
            metrics::DROPPED.inc();
            return;
        };
        let link = &pair.consensus;
        if frame.len() > wire::BODY_BYTES_MAX || link.severed() {
            metrics::DROPPED.inc();
            return;
        }
        match link.outbox.push(wire::consensus_item(frame), link.delay()) {
            outbox::Pushed::Dropped => metrics::DROPPED.inc(),
            pushed => link.pushed(pushed),
        }
    }

    /// Who receives consensus messages. It runs on the stream's task: it must not block. Set once;
    /// later settings are ignored.
    pub fn on_frame(&self, handler: FrameHandler) {
        if self.0.shared.frame_handler.set(handler).is_err() {
            tracing::warn!("a second receiver of consensus messages was ignored");
        }
    }

    /// Who answers the calls of `service`. It is polled once on the stream's task: it must not
    /// block. Set once; later settings are ignored.
    pub fn serve(&self, service: ServiceId, handler: Arc<dyn Service>) {
        if self.0.shared.services[service as usize - 1].set(handler).is_err() {
            tracing::warn!(?service, "a second handler of the service was ignored");
        }
    }

    /// Call a service on another node, or here.
    pub async fn call(
        &self,
        to: NodeId,
        service: ServiceId,
        body: Bytes,
        deadline: Duration,
    ) -> Result<Bytes, CallError> {
        let outcome = if to == self.node() {
            self.call_self(service, body, deadline).await
        } else {
            self.call_peer(to, service, body, deadline).await
        };
        let calls = &*metrics::CALLS;
        match &outcome {
            Ok(_) => calls.ok.inc(),
            Err(CallError::Unreachable(_)) => calls.unreachable.inc(),
            Err(CallError::Lost(_)) => calls.lost.inc(),
            Err(CallError::Timeout) => calls.timeout.inc(),
            Err(CallError::Overloaded(_)) => calls.overloaded.inc(),
            Err(CallError::Refused(_)) => calls.refused.inc(),
        }
        outcome
    }

    async fn call_self(
        &self,
        service: ServiceId,
        body: Bytes,
        deadline: Duration,
    ) -> Result<Bytes, CallError> {
        let handler = self.0.shared.service(service as u32).ok_or_else(|| {
            CallError::Unreachable(format!("this node does not serve {service:?} (yet)"))
        })?;
        let call = handler.call(self.me(), body);
        timeout(deadline, call).await.unwrap_or(Err(CallError::Timeout))
    }

    async fn call_peer(
        &self,
        to: NodeId,
        service: ServiceId,
        body: Bytes,
        deadline: Duration,
    ) -> Result<Bytes, CallError> {
        if body.len() > wire::BODY_BYTES_MAX {
            return Err(CallError::Refused(format!(
                "a body of {} bytes is over {}",
                body.len(),
                wire::BODY_BYTES_MAX
            )));
        }
        let answered = {
            let links = self.0.links.load();
            let pair = links
                .get(&to)
                .ok_or_else(|| CallError::Unreachable(format!("node {to} is not known here")))?;
            let link = &pair.data;
            if link.severed() {
                return Err(CallError::Unreachable(format!("node {to} is cut off")));
            }
            let (answer, answered) = oneshot::channel();
            let pushed =
                link.outbox.submit(service as u32, body, deadline, link.delay(), answer)?;
            link.pushed(pushed);
            answered
        };
        self.0.waiting.notify_one();
        answered.await.unwrap_or_else(|_| Err(CallError::Lost("the node port is closed".into())))
    }

    /// Cuts and delays; whoever calls this decides that they are allowed.
    pub fn faults(&self) -> &Faults {
        &self.0.shared.faults
    }

    /// Use another certificate from now on, for what is accepted and what is dialled. Streams that
    /// are open stay as they are. If it cannot be used, the old one stays.
    pub fn reload(&self, tls: &NodeTls) -> Result<(), NetError> {
        let shared = &self.0.shared;
        let (client_tls, server_tls) = configurations(tls);
        tonic::transport::Endpoint::from_static("https://node.invalid")
            .tls_config(client_tls.clone().domain_name("node.invalid"))
            .map_err(|error| NetError::Tls(link::chain(&error)))?;
        let (sender, server) = serve(shared, server_tls)?;
        shared.client_tls.store(Arc::new(client_tls));
        self.0.accepted.store(Arc::new(sender));
        let mut servers = self.0.servers.lock();
        servers.retain(|server| !server.is_finished());
        servers.push(server);
        Ok(())
    }

    /// Close the port and all streams; calls in flight end.
    pub async fn shutdown(&self) {
        self.0.shared.stop.send_replace(true);
        for pair in self.0.links.load().values() {
            pair.consensus.outbox.down(outbox::Phase::Closed, "the node port is closed");
            pair.data.outbox.down(outbox::Phase::Closed, "the node port is closed");
        }
        let servers = std::mem::take(&mut *self.0.servers.lock());
        for mut server in servers {
            if timeout(SHUTDOWN_LIMIT, &mut server).await.is_err() {
                server.abort();
            }
        }
    }
}

/// How this node dials and how it accepts, with one certificate.
fn configurations(tls: &NodeTls) -> (ClientTlsConfig, ServerTlsConfig) {
    let identity = Identity::from_pem(&tls.cert_pem, &tls.key_pem);
    let authority = Certificate::from_pem(&tls.ca_pem);
    let client = ClientTlsConfig::new()
        .identity(identity.clone())
        .ca_certificate(authority.clone())
        .timeout(HANDSHAKE_TIMEOUT);
    let server = ServerTlsConfig::new()
        .identity(identity)
        .client_ca_root(authority)
        .timeout(HANDSHAKE_TIMEOUT);
    (client, server)
}

type Accepting = (mpsc::Sender<std::io::Result<Accepted>>, JoinHandle<()>);

/// A server for sockets that are accepted elsewhere. It takes no more once the sender is gone, and
/// ends with its last stream.
fn serve(shared: &Arc<Shared>, tls: ServerTlsConfig) -> Result<Accepting, NetError> {
    let (sender, sockets) = mpsc::channel(64);
    let port = wire::NodePortServer::new(Port(shared.clone()))
        .max_decoding_message_size(wire::MESSAGE_BYTES_MAX)
        .max_encoding_message_size(wire::MESSAGE_BYTES_MAX);
    let mut stopped = shared.stop.subscribe();
    let serving = Server::builder()
        .tls_config(tls)
        .map_err(|error| NetError::Tls(link::chain(&error)))?
        .initial_stream_window_size(link::STREAM_WINDOW)
        .initial_connection_window_size(link::CONNECTION_WINDOW)
        .max_concurrent_streams(16)
        .http2_max_header_list_size(16 << 10)
        .http2_keepalive_interval(Some(link::KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(link::KEEPALIVE_TIMEOUT))
        .add_service(port)
        .serve_with_incoming_shutdown(ReceiverStream::new(sockets), async move {
            // An error means that the port is gone, which also ends it.
            let _ = stopped.wait_for(|stopped| *stopped).await;
        });
    let server = shared.runtime.spawn(async move {
        if let Err(error) = serving.await {
            tracing::error!(reason = link::chain(&error), "the node port stopped");
        }
    });
    Ok((sender, server))
}

/// Ends calls at their deadlines, for all links. Sleeps while no call waits.
async fn watch_deadlines(net: Net) {
    let mut stop = net.0.shared.stop.subscribe();
    loop {
        tokio::select! {
            _ = stop.wait_for(|stopped| *stopped) => return,
            () = net.0.waiting.notified() => {}
        }
        loop {
            tokio::time::sleep(DEADLINE_GRAIN).await;
            let mut more = false;
            for pair in net.0.links.load().values() {
                more |= pair.data.outbox.expire();
            }
            if !more {
                break;
            }
        }
    }
}
