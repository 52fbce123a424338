//! The accepting side: who may open a stream, and what happens to the items on it.
//!
//! Always true: nothing is read beyond the Hello of a stream whose certificate does not carry the
//! node's name. Consensus items are handed over in order, on the stream's own task. A call is
//! polled once in place (most reads are done then) and gets a task only if it has to wait.
//! When the peer does not take its answers, its requests are no longer read.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{Stream, StreamExt};
use std::collections::HashMap;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tombolo_item::{NodeId, RegionId};
use tonic::transport::ClientTlsConfig;
use tonic::transport::server::{Connected, TcpConnectInfo};
use tonic::{Request, Response, Status, Streaming};

use super::certificate::names_node;
use super::faults::Faults;
use super::link::HELLO_TIMEOUT;
use super::metrics;
use super::outbox::{Bounds, Outbox, Outgoing, Phase};
use super::wire::{self, Frame, Hello, Item, NodePort, PROTOCOL_VERSION};
use super::{CallError, FrameHandler, NetSettings, Peer, Service, ServiceId};

/// Connections that may be open at once: far above what a cluster's nodes need.
const CONNECTIONS_MAX: usize = 1024;
/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Calls of one stream that may wait at once.
const CALLS_WAITING_MAX: usize = 16_384;
/// Answers made in place that go to the queue together.
const ANSWERS_TOGETHER: usize = 64;
const ANSWERS: Bounds = Bounds { items: 65_536, bytes: 64 << 20 };

/// What the accepting and the dialling side share.
pub(super) struct Shared {
    pub(super) settings: NetSettings,
    pub(super) client_tls: ArcSwap<ClientTlsConfig>,
    pub(super) faults: Faults,
    pub(super) stop: watch::Sender<bool>,
    pub(super) known: ArcSwap<HashMap<NodeId, Peer>>,
    pub(super) runtime: Handle,
    pub(super) frame_handler: OnceLock<FrameHandler>,
    pub(super) services: [OnceLock<Arc<dyn Service>>; ServiceId::COUNT],
}

impl Shared {
    pub(super) fn hello(&self) -> Hello {
        Hello {
            version: PROTOCOL_VERSION,
            cluster: self.settings.cluster.clone(),
            region: u32::from(self.settings.region.0),
            node: self.settings.node.0,
            zone: self.settings.zone.clone(),
        }
    }

    pub(super) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(future);
    }

    pub(super) fn service(&self, number: u32) -> Option<&Arc<dyn Service>> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        self.services.get(index)?.get()
    }
}

/// The tonic service.
#[derive(Clone)]
pub(super) struct Port(pub(super) Arc<Shared>);

type Answers = Pin<Box<dyn Stream<Item = Result<Frame, Status>> + Send>>;

impl Port {
    /// Read and check the Hello.
    async fn admit(
        &self,
        request: Request<Streaming<Frame>>,
    ) -> Result<(Peer, Streaming<Frame>), Status> {
        let admitted = self.check(request).await;
        if let Err(status) = &admitted {
            metrics::REFUSED_CONNECTIONS.inc();
            tracing::debug!(reason = status.message(), "refused a stream on the node port");
        }
        admitted
    }

    async fn check(
        &self,
        request: Request<Streaming<Frame>>,
    ) -> Result<(Peer, Streaming<Frame>), Status> {
        let shared = &self.0;
        let certificates =
            request.peer_certs().ok_or_else(|| Status::unauthenticated("no client certificate"))?;
        let certificate =
            certificates.first().ok_or_else(|| Status::unauthenticated("no client certificate"))?;
        let mut inbound = request.into_inner();
        let first = timeout(HELLO_TIMEOUT, inbound.message())
            .await
            .map_err(|_| Status::deadline_exceeded("no Hello in time"))??;
        let hello = first
            .and_then(|frame| frame.hello)
            .ok_or_else(|| Status::invalid_argument("the first frame must be a Hello"))?;
        if hello.version != PROTOCOL_VERSION {
            return Err(Status::failed_precondition(format!(
                "this node speaks version {PROTOCOL_VERSION} of the node protocol, not {}",
                hello.version
            )));
        }
        if hello.cluster != shared.settings.cluster {
            return Err(Status::permission_denied("this node belongs to another cluster"));
        }
        let node = NodeId(hello.node);
        if !names_node(certificate, &shared.settings.cluster, node) {
            return Err(Status::permission_denied(format!(
                "the certificate does not name node {node} of cluster {}",
                shared.settings.cluster
            )));
        }
        let region = u16::try_from(hello.region)
            .map_err(|_| Status::invalid_argument("the region is not a region number"))?;
        if hello.zone.len() > 64 {
            return Err(Status::invalid_argument("the zone's name is too long"));
        }
        let addr = shared.known.load().get(&node).map(|peer| peer.addr.clone());
        let peer = Peer {
            node,
            region: RegionId(region),
            zone: hello.zone,
            addr: addr.unwrap_or_default(),
        };
        if shared.faults.severed(peer.region, &peer.zone) {
            return Err(Status::unavailable("this node is cut off from yours"));
        }
        Ok((peer, inbound))
    }

    fn open(&self, peer: Peer, inbound: Streaming<Frame>, consensus: bool) -> Response<Answers> {
        let outbox = Outbox::new(Phase::Idle, false, ANSWERS);
        let generation = outbox.dialling();
        outbox.up();
        let outgoing = Outgoing::new(outbox.clone(), generation, self.0.hello()).only();
        let reader =
            Reader { shared: self.0.clone(), peer, outbox, waiting: Arc::new(AtomicUsize::new(0)) };
        tokio::spawn(reader.run(inbound, consensus));
        Response::new(Box::pin(outgoing.map(Ok)))
    }
}

#[tonic::async_trait]
impl NodePort for Port {
    type ConsensusStream = Answers;
    type DataStream = Answers;

    async fn consensus(
        &self,
        request: Request<Streaming<Frame>>,
    ) -> Result<Response<Answers>, Status> {
        let (peer, inbound) = self.admit(request).await?;
        Ok(self.open(peer, inbound, true))
    }

    async fn data(&self, request: Request<Streaming<Frame>>) -> Result<Response<Answers>, Status> {
        let (peer, inbound) = self.admit(request).await?;
        Ok(self.open(peer, inbound, false))
    }
}

/// Reads one accepted stream.
struct Reader {
    shared: Arc<Shared>,
    peer: Peer,
    outbox: Arc<Outbox>,
    waiting: Arc<AtomicUsize>,
}

impl Reader {
    async fn run(self, mut inbound: Streaming<Frame>, consensus: bool) {
        let mut stop = self.shared.stop.subscribe();
        let mut faults = self.shared.faults.changed();
        loop {
            let frame = tokio::select! {
                biased;
                _ = stop.wait_for(|stopped| *stopped) => break,
                changed = faults.changed() => {
                    if changed.is_err()
                        || self.shared.faults.severed(self.peer.region, &self.peer.zone) {
                        break;
                    }
                    continue;
                }
                frame = inbound.message() => frame,
            };
            let Ok(Some(frame)) = frame else { break };
            let (frames, items, bytes) = if consensus {
                (&metrics::FRAMES.consensus, &metrics::ITEMS.consensus, &metrics::BYTES.consensus)
            } else {
                (&metrics::FRAMES.data, &metrics::ITEMS.data, &metrics::BYTES.data)
            };
            frames.received.inc();
            items.received.inc_by(frame.items.len() as u64);
            bytes.received.inc_by(frame.items.iter().map(|item| item.body.len() as u64).sum());
            if consensus {
                frame.items.into_iter().for_each(|item| self.message(item));
            } else {
                self.requests(frame.items);
            }
            while self.outbox.over_bounds() {
                let drained = self.outbox.drained.notified();
                tokio::pin!(drained);
                drained.as_mut().enable();
                if !self.outbox.over_bounds() {
                    break;
                }
                tokio::select! {
                    _ = stop.wait_for(|stopped| *stopped) => break,
                    () = drained => {}
                }
            }
        }
        self.outbox.down(Phase::Closed, "the stream ended");
    }

    fn message(&self, item: Item) {
        if !wire::intact(&item) {
            metrics::DAMAGED.inc();
            tracing::warn!(peer = self.peer.node.0, "dropped a damaged consensus message");
            return;
        }
        if let Some(handler) = self.shared.frame_handler.get() {
            handler(self.peer.node, item.body);
        }
    }

    /// What is answered in place goes out together.
    fn requests(&self, items: Vec<Item>) {
        let delay = self.shared.faults.delay_to(self.peer.region);
        let mut answers = Vec::with_capacity(items.len().min(ANSWERS_TOGETHER));
        for item in items {
            let id = item.id;
            if let Some(answer) = self.request(item) {
                answers.push(wire::answer_item(id, answer));
            }
            if answers.len() == ANSWERS_TOGETHER {
                self.outbox.push_all(&mut answers, delay);
            }
        }
        self.outbox.push_all(&mut answers, delay);
    }

    /// The answer, unless it takes time.
    fn request(&self, item: Item) -> Option<Result<Bytes, CallError>> {
        let id = item.id;
        if !wire::intact(&item) {
            metrics::DAMAGED.inc();
            tracing::warn!(peer = self.peer.node.0, "refused a damaged call");
            let damaged = CallError::Unreachable("the call was damaged on its way".into());
            return Some(Err(damaged));
        }
        let Some(service) = self.shared.service(item.service) else {
            let unknown = CallError::Unreachable(format!(
                "node {} does not serve service {} (yet)",
                self.shared.settings.node, item.service
            ));
            return Some(Err(unknown));
        };
        let mut call = service.call(self.peer.clone(), item.body);
        match call.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => Some(answer),
            Poll::Pending => self.wait(id, call, Duration::from_millis(item.deadline_ms.into())),
        }
    }

    /// The call has to wait: it gets a task, which wakes it anew.
    fn wait(
        &self,
        id: u64,
        call: BoxFuture<'static, Result<Bytes, CallError>>,
        limit: Duration,
    ) -> Option<Result<Bytes, CallError>> {
        if self.waiting.fetch_add(1, Ordering::AcqRel) >= CALLS_WAITING_MAX {
            self.waiting.fetch_sub(1, Ordering::AcqRel);
            // It was polled once, so it may have begun.
            let over = CallError::Lost(format!("{CALLS_WAITING_MAX} calls already wait here"));
            return Some(Err(over));
        }
        let waiting = self.waiting.clone();
        let outbox = self.outbox.clone();
        let delay = self.shared.faults.delay_to(self.peer.region);
        tokio::spawn(async move {
            let answer = timeout(limit, call).await.unwrap_or(Err(CallError::Timeout));
            waiting.fetch_sub(1, Ordering::AcqRel);
            outbox.push(wire::answer_item(id, answer), delay);
        });
        None
    }
}

/// Accept sockets, without delay and not too many, for whichever server is the newest.
pub(super) async fn accept(
    listener: TcpListener,
    shared: Arc<Shared>,
    servers: Arc<ArcSwap<mpsc::Sender<std::io::Result<Accepted>>>>,
) {
    let open = Arc::new(AtomicUsize::new(0));
    let mut stop = shared.stop.subscribe();
    loop {
        let accepted = tokio::select! {
            _ = stop.wait_for(|stopped| *stopped) => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file handles, mostly: others may be closed soon.
                tracing::warn!(%error, "the node port could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if open.load(Ordering::Acquire) >= CONNECTIONS_MAX {
            tracing::warn!("node port: {CONNECTIONS_MAX} connections are open, refused one");
            continue;
        }
        if stream.set_nodelay(true).is_err() {
            continue;
        }
        open.fetch_add(1, Ordering::AcqRel);
        metrics::CONNECTIONS.inc();
        let accepted = Accepted { stream, open: open.clone() };
        let server = servers.load_full();
        tokio::select! {
            _ = stop.wait_for(|stopped| *stopped) => return,
            sent = server.send(Ok(accepted)) => {
                if sent.is_err() {
                    tracing::error!("the node port's server has ended");
                    return;
                }
            }
        }
    }
}

/// One accepted socket; counts itself out when it closes.
pub(super) struct Accepted {
    stream: TcpStream,
    open: Arc<AtomicUsize>,
}

impl Drop for Accepted {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::AcqRel);
        metrics::CONNECTIONS.dec();
    }
}

impl Connected for Accepted {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Accepted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
