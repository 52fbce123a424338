//! The DynamoDB port: accepts connections, bounds them, speaks HTTP/1.1 and HTTP/2.
//!
//! Always true: plain text, and requests without signatures, are taken on loopback only; `TCP_NODELAY` is
//! set on every connection; who sends slowly or nothing is cut off; memory is bounded by the number
//! of connections, by their buffers, and by the bytes of all bodies together.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::Future;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tombolo_group::Host;
use tombolo_memds::{Memds, Routed};

use super::credentials::Credentials;
use super::exchange::Exchange;
use super::guests::{Guests, Seat};
use super::settings::{DynamoDbSettings, DynamoDbTls};
use crate::execute::Executor;
use crate::figures::Figures;
use crate::metrics;
use crate::operations::Operations;
use crate::region::{Live, Region};

/// How long requests under way may take to end after the signal to stop.
const GRACE: Duration = Duration::from_secs(5);
/// Largest buffer for a request's headers, in bytes.
const HEADER_BYTES: usize = 64 << 10;
/// Bytes in flight towards us on one HTTP/2 stream and connection.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;
/// Streams that a peer may reset before we look at them (CVE-2023-44487).
const PENDING_RESETS: usize = 64;
/// Pause after the system refused a connection: it has no descriptors left, and needs a moment.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Why the DynamoDB port does not run.
#[derive(Debug, thiserror::Error)]
pub enum DynamoDbError {
    /// Plain text may not leave the machine.
    #[error(
        "the DynamoDB listener {0} is not on loopback and has no certificate: give it a certificate \
         and its key (tombolo certs makes them), or let it listen on 127.0.0.1"
    )]
    PlainText(SocketAddr),
    /// Whoever reaches the port may do anything.
    #[error(
        "the DynamoDB listener {0} is not on loopback and must check signatures: take --insecure \
         away, or let it listen on 127.0.0.1"
    )]
    Unsigned(SocketAddr),
    /// The address cannot be listened on.
    #[error("cannot listen on {0} for the DynamoDB protocol: is another process there?")]
    Bind(SocketAddr, #[source] std::io::Error),
    /// The certificate cannot be used.
    #[error(
        "the certificate of the DynamoDB listener {0} cannot be used: check that certificate and key \
         are PEM and belong together ({1})"
    )]
    Tls(SocketAddr, String),
}

/// A DynamoDB port that listens and does not serve yet.
pub struct DynamoDb {
    settings: DynamoDbSettings,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    address: SocketAddr,
}

impl DynamoDb {
    /// Binds the address, after checking that it may be served as asked.
    pub fn bind(settings: DynamoDbSettings) -> Result<DynamoDb, DynamoDbError> {
        let asked = settings.listen;
        if settings.tls.is_none() && !asked.ip().is_loopback() {
            return Err(DynamoDbError::PlainText(asked));
        }
        if !settings.check_signatures && !asked.ip().is_loopback() {
            return Err(DynamoDbError::Unsigned(asked));
        }
        metrics::register();
        let tls = match &settings.tls {
            None => None,
            Some(tls) => Some(acceptor(tls).map_err(|why| DynamoDbError::Tls(asked, why))?),
        };
        let bound = || {
            let listener = std::net::TcpListener::bind(asked)?;
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        };
        let listener = bound().map_err(|error| DynamoDbError::Bind(asked, error))?;
        let address = listener.local_addr().map_err(|error| DynamoDbError::Bind(asked, error))?;
        Ok(DynamoDb { settings, listener, tls, address })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` completes, then lets requests under way end for a while.
    pub async fn serve(
        self,
        memds: Memds,
        host: Host,
        routed: Routed,
        operations: Arc<dyn Operations>,
        credentials: Arc<dyn Credentials>,
        shutdown: impl Future<Output = ()> + Send,
    ) {
        let live = Live { memds, host, routed, figures: Figures::default() };
        self.serve_region(live, operations, credentials, shutdown).await;
    }

    pub(crate) async fn serve_region<R: Region>(
        self,
        region: R,
        operations: Arc<dyn Operations>,
        credentials: Arc<dyn Credentials>,
        shutdown: impl Future<Output = ()> + Send,
    ) {
        let DynamoDb { settings, listener, tls, .. } = self;
        let guests = Guests::new(settings.max_connections, settings.max_silent_connections);
        let settings = Arc::new(settings);
        let executor = Executor::new(region, operations);
        let exchange = Exchange::new(executor, credentials, Arc::clone(&settings));
        let (stop, stopped) = watch::channel(false);
        let mut connections = tokio::task::JoinSet::new();
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                () = &mut shutdown => break,
                accepted = listener.accept() => accepted,
                Some(_) = connections.join_next() => continue,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::debug!(%error, "a connection was not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // Without a place it is closed by being dropped.
            let Some(seat) = guests.seat() else { continue };
            let connection = Connection {
                seat,
                exchange: exchange.clone(),
                settings: Arc::clone(&settings),
                stopped: stopped.clone(),
            };
            connections.spawn(Box::pin(connection.run(stream, tls.clone())));
        }
        drop(listener);
        stop.send_replace(true);
        let ended = async { while connections.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(GRACE, ended).await;
    }
}

fn acceptor(tls: &DynamoDbTls) -> Result<TlsAcceptor, String> {
    let chain = CertificateDer::pem_slice_iter(&tls.cert_pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| error.to_string())?;
    let key = PrivateKeyDer::from_pem_slice(&tls.key_pem).map_err(|error| error.to_string())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| error.to_string())?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// One connection.
struct Connection<R> {
    seat: Seat,
    exchange: Exchange<R>,
    settings: Arc<DynamoDbSettings>,
    stopped: watch::Receiver<bool>,
}

impl<R: Region> Connection<R> {
    async fn run(self, stream: TcpStream, tls: Option<TlsAcceptor>) {
        let _ = stream.set_nodelay(true);
        let keepalive = socket2::TcpKeepalive::new().with_time(Duration::from_secs(60));
        let _ = SockRef::from(&stream).set_tcp_keepalive(&keepalive);
        let guest = Arc::clone(&self.seat.guest);
        let idle = self.settings.header_timeout;
        let Some(tls) = tls else { return self.speak(stream).await };
        let shaken = tokio::select! {
            shaken = tls.accept(stream) => shaken,
            () = guest.must_leave(idle) => return,
        };
        match shaken {
            Ok(stream) => Box::pin(self.speak(stream)).await,
            Err(error) => tracing::debug!(%error, "a TLS handshake failed"),
        }
    }

    async fn speak(mut self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let settings = &self.settings;
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(settings.header_timeout)
            .max_buf_size(HEADER_BYTES);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(10))
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_concurrent_streams(settings.max_streams_per_connection)
            .max_header_list_size(u32::try_from(HEADER_BYTES).unwrap_or(u32::MAX))
            .max_pending_accept_reset_streams(PENDING_RESETS);
        let (exchange, marker) = (self.exchange.clone(), self.seat.marker());
        let service = hyper::service::service_fn(move |request| {
            let (exchange, marker) = (exchange.clone(), marker.clone());
            async move { Ok::<_, Infallible>(exchange.answer(request, marker).await) }
        });
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let guest = Arc::clone(&self.seat.guest);
        let stopped = &mut self.stopped;
        let stop = async {
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        let end = tokio::select! {
            end = connection.as_mut() => end,
            () = guest.must_leave(settings.header_timeout) => return,
            () = stop => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = end {
            tracing::debug!(error = error.to_string(), "a connection ended");
        }
    }
}
