//! The streams this node dials: one [`Link`] per peer and kind, kept up for as long as it is used.
//!
//! Always true: a link dials when there is something to send and never before; after a failed dial
//! it pauses (doubling, with jitter), and what is asked of it meanwhile fails at once. When its peer
//! is cut off it has no stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio::time::timeout;
use tonic::Streaming;
use tonic::transport::{ClientTlsConfig, Endpoint};

use super::certificate::node_san;
use super::outbox::{Bounds, Outbox, Outgoing, Phase, Pushed};
use super::port::Shared;
use super::wire::{Frame, MESSAGE_BYTES_MAX, NodePortClient, PROTOCOL_VERSION};
use super::{Peer, metrics};

pub(super) const STREAM_WINDOW: u32 = 4 << 20;
pub(super) const CONNECTION_WINDOW: u32 = 16 << 20;
/// A dead connection without traffic is noticed after the sum of these.
pub(super) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
pub(super) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
const DIAL_TIMEOUT: Duration = Duration::from_secs(3);
pub(super) const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
const BACKOFF_FIRST: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// A stream that lived this long was a good one: the next dial does not pause.
const GOOD_STREAM: Duration = Duration::from_secs(1);

/// Which of a pair's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Consensus,
    Data,
}

impl Kind {
    fn bounds(self) -> Bounds {
        match self {
            // A group's messages to one peer are re-sent by consensus itself: better to drop them
            // than to hold them for long.
            Kind::Consensus => Bounds { items: 16_384, bytes: 64 << 20 },
            Kind::Data => Bounds { items: 16_384, bytes: 128 << 20 },
        }
    }
}

/// One dialled stream to one peer.
pub(super) struct Link {
    kind: Kind,
    shared: Arc<Shared>,
    peer: ArcSwap<Peer>,
    pub(super) outbox: Arc<Outbox>,
    started: AtomicBool,
    demand: Notify,
    readdressed: Notify,
}

impl Link {
    pub(super) fn new(kind: Kind, shared: Arc<Shared>, peer: Peer) -> Arc<Link> {
        Arc::new(Link {
            kind,
            shared,
            peer: ArcSwap::from_pointee(peer),
            outbox: Outbox::new(Phase::Idle, kind == Kind::Consensus, kind.bounds()),
            started: AtomicBool::new(false),
            demand: Notify::new(),
            readdressed: Notify::new(),
        })
    }

    pub(super) fn peer(&self) -> Arc<Peer> {
        self.peer.load_full()
    }

    /// The peer may have moved: the stream to the old address ends.
    pub(super) fn set_peer(&self, peer: Peer) {
        let moved = self.peer.load().addr != peer.addr;
        self.peer.store(Arc::new(peer));
        if moved {
            self.readdressed.notify_one();
        }
    }

    pub(super) fn severed(&self) -> bool {
        let peer = self.peer.load();
        self.shared.faults.severed(peer.region, &peer.zone)
    }

    pub(super) fn delay(&self) -> Option<Duration> {
        self.shared.faults.delay_to(self.peer.load().region)
    }

    /// Do what a push asked for. Callable from any thread.
    pub(super) fn pushed(self: &Arc<Self>, pushed: Pushed) {
        if pushed == Pushed::Dial {
            if !self.started.swap(true, Ordering::AcqRel) {
                let link = self.clone();
                self.shared.spawn(link.drive());
            }
            self.demand.notify_one();
        }
    }

    async fn drive(self: Arc<Self>) {
        let mut backoff = BACKOFF_FIRST;
        let mut stop = self.shared.stop.subscribe();
        loop {
            if !self.outbox.idle() {
                tokio::select! {
                    _ = stop.wait_for(|stopped| *stopped) => break,
                    () = self.demand.notified() => {}
                }
            }
            let begun = Instant::now();
            let reason = tokio::select! {
                _ = stop.wait_for(|stopped| *stopped) => break,
                () = self.readdressed.notified() => "the peer has a new address".to_owned(),
                () = self.cut() => "the peer is cut off".to_owned(),
                reason = self.stream() => reason,
            };
            self.outbox.down(Phase::Backoff, &reason);
            if begun.elapsed() >= GOOD_STREAM {
                backoff = BACKOFF_FIRST;
            }
            let pause = backoff.mul_f64(0.5 + rand::random::<f64>() / 2.0);
            backoff = (backoff * 2).min(BACKOFF_MAX);
            let mut faults = self.shared.faults.changed();
            tokio::select! {
                _ = stop.wait_for(|stopped| *stopped) => break,
                () = self.readdressed.notified() => {}
                _ = faults.changed() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
        self.outbox.down(Phase::Closed, "the node port is closed");
    }

    /// Returns once the peer is cut off.
    async fn cut(&self) {
        let mut changed = self.shared.faults.changed();
        loop {
            if self.severed() {
                return;
            }
            if changed.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Dial and run the stream; says why it ended.
    async fn stream(&self) -> String {
        let peer = self.peer();
        let generation = self.outbox.dialling();
        let dials = &metrics::DIALS;
        let inbound = match self.dial(&peer, generation).await {
            Ok(inbound) => inbound,
            Err(reason) => {
                dials.with_label_values(&["failed"]).inc();
                tracing::debug!(peer = peer.node.0, addr = %peer.addr, %reason, "cannot reach node");
                return format!("cannot reach node {} at {}: {reason}", peer.node, peer.addr);
            }
        };
        dials.with_label_values(&["ok"]).inc();
        tracing::debug!(peer = peer.node.0, kind = ?self.kind, "stream up");
        self.outbox.up();
        let reason = self.receive(inbound).await;
        tracing::debug!(peer = peer.node.0, kind = ?self.kind, %reason, "stream down");
        format!("the stream to node {} broke: {reason}", peer.node)
    }

    async fn dial(&self, peer: &Peer, generation: u64) -> Result<Streaming<Frame>, String> {
        let shared = &self.shared;
        let tls = ClientTlsConfig::clone(&shared.client_tls.load())
            .domain_name(node_san(&shared.settings.cluster, peer.node));
        let endpoint = Endpoint::from_shared(format!("https://{}", peer.addr))
            .map_err(|error| error.to_string())?
            .tls_config(tls)
            .map_err(|error| chain(&error))?
            .tcp_nodelay(true)
            .connect_timeout(DIAL_TIMEOUT)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true);
        let channel = timeout(HELLO_TIMEOUT, endpoint.connect())
            .await
            .map_err(|_| "no connection in time".to_owned())?
            .map_err(|error| chain(&error))?;
        let mut client = NodePortClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let outgoing = Outgoing::new(self.outbox.clone(), generation, shared.hello());
        let greeting = async {
            let answer = match self.kind {
                Kind::Consensus => client.consensus(outgoing).await,
                Kind::Data => client.data(outgoing).await,
            };
            let mut inbound = answer.map_err(|status| chain(&status))?.into_inner();
            let first = inbound.message().await.map_err(|status| chain(&status))?;
            match first.and_then(|frame| frame.hello) {
                None => Err("it did not say Hello first".to_owned()),
                Some(hello) if hello.version != PROTOCOL_VERSION => Err(format!(
                    "it speaks version {} of the node protocol, this node {PROTOCOL_VERSION}",
                    hello.version
                )),
                Some(hello) if hello.node != peer.node.0 => {
                    Err(format!("it says that it is node {}", hello.node))
                }
                Some(_) => Ok(inbound),
            }
        };
        timeout(HELLO_TIMEOUT, greeting).await.map_err(|_| "no Hello in time".to_owned())?
    }

    async fn receive(&self, mut inbound: Streaming<Frame>) -> String {
        let mut scratch = Vec::new();
        loop {
            match inbound.message().await {
                Ok(Some(frame)) => {
                    metrics::FRAMES.data.received.inc();
                    metrics::ITEMS.data.received.inc_by(frame.items.len() as u64);
                    self.outbox.complete(frame.items, &mut scratch);
                }
                Ok(None) => return "it closed the stream".to_owned(),
                Err(status) => return chain(&status),
            }
        }
    }
}

/// An error with its causes, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
