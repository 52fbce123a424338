//! The listener: binds, speaks HTTP/2 with limits, hands requests to the door, stops in good order.
//!
//! Always true: plain text is served on loopback only; with TLS every client presents a certificate
//! of our authority, or a token; `TCP_NODELAY` is set on every connection; connections are bounded, and those
//! that do not get going are closed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::Future;
use tombolo_client::v1::items_server::ItemsServer;
use tombolo_client::v1::operations_server::OperationsServer;
use tombolo_client::v1::streams_server::StreamsServer;
use tombolo_client::v1::tables_server::TablesServer;
use tombolo_group::Host;
use tombolo_memds::{Memds, Routed};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};

use crate::bearer::Bearers;
use crate::door::DoorLayer;
use crate::dynamodb::Credentials;
use crate::execute::Executor;
use crate::figures::Figures;
use crate::incoming::Incoming;
use crate::metrics;
use crate::operations::Operations;
use crate::region::{Live, Region};
use crate::settings::RouterSettings;
use crate::wire::Services;

/// How long requests under way may take to end after the signal to stop.
const GRACE: Duration = Duration::from_secs(5);
/// Added to the longest deadline: after this the transport itself gives a request up.
const BACKSTOP: Duration = Duration::from_secs(5);
/// Largest list of headers that is read, in bytes.
const HEADER_BYTES: u32 = 16 << 10;
/// Bytes in flight towards us on one stream and on one connection.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;
/// Streams that a peer may reset before we look at them, before the connection is closed
/// (CVE-2023-44487).
const PENDING_RESETS: usize = 64;

/// Why the gRPC server does not run.
#[derive(Debug, thiserror::Error)]
pub enum RouterError {
    /// Plain text may not leave the machine.
    #[error(
        "the gRPC listener {0} is not on loopback and has no certificates: give it a certificate, \
         its key and the authority of the client certificates (tombolo certs makes them), or let it \
         listen on 127.0.0.1"
    )]
    PlainText(SocketAddr),
    /// The address cannot be listened on.
    #[error("cannot listen on {0} for gRPC: is another process there?")]
    Bind(SocketAddr, #[source] std::io::Error),
    /// Certificates cannot be used.
    #[error(
        "the certificates of the gRPC listener {0} cannot be used: check that they are PEM and belong together"
    )]
    Tls(SocketAddr, #[source] tonic::transport::Error),
    /// Reflection cannot be served.
    #[error("the descriptors for reflection are damaged")]
    Reflection(#[source] tonic_reflection::server::Error),
    /// It ran and then failed.
    #[error("the gRPC server on {0} failed")]
    Serve(SocketAddr, #[source] tonic::transport::Error),
}

/// A gRPC server that listens and does not serve yet.
pub struct Router {
    settings: RouterSettings,
    incoming: TcpIncoming,
    address: SocketAddr,
}

impl Router {
    /// Binds the address, after checking that it may be served as asked.
    pub fn bind(settings: RouterSettings) -> Result<Router, RouterError> {
        let asked = settings.listen;
        if settings.tls.is_none() && !asked.ip().is_loopback() {
            return Err(RouterError::PlainText(asked));
        }
        metrics::register();
        let incoming = TcpIncoming::bind(asked)
            .map_err(|error| RouterError::Bind(asked, error))?
            .with_nodelay(Some(true))
            .with_keepalive(Some(Duration::from_secs(60)));
        let address = incoming.local_addr().map_err(|error| RouterError::Bind(asked, error))?;
        Ok(Router { settings, incoming, address })
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
    ) -> Result<(), RouterError> {
        let live = Live { memds, host, routed, figures: Figures::default() };
        self.serve_region(live, operations, credentials, shutdown).await
    }

    pub(crate) async fn serve_region<R: Region>(
        self,
        region: R,
        operations: Arc<dyn Operations>,
        credentials: Arc<dyn Credentials>,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), RouterError> {
        let Router { settings, incoming, address } = self;
        let (ending, ends) = tokio::sync::watch::channel(false);
        let services = Services::new(Executor::new(region, operations), ends);
        let most = settings.max_message_bytes;
        let shared = Arc::new(services);
        let items = ItemsServer::from_arc(Arc::clone(&shared)).max_decoding_message_size(most);
        let tables = TablesServer::from_arc(Arc::clone(&shared)).max_decoding_message_size(most);
        let streams = StreamsServer::from_arc(Arc::clone(&shared)).max_decoding_message_size(most);
        let operations = OperationsServer::from_arc(shared).max_decoding_message_size(most);

        let (health_reporter, health) = tonic_health::server::health_reporter();
        // The empty name speaks for the server as a whole and is SERVING from the start.
        for name in
            ["tombolo.v1.Items", "tombolo.v1.Tables", "tombolo.v1.Streams", "tombolo.v1.Operations"]
        {
            health_reporter.set_service_status(name, tonic_health::ServingStatus::Serving).await;
        }
        let descriptors = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(tombolo_client::FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
        };
        // Both versions: older tools ask v1alpha only.
        let reflection = descriptors().build_v1().map_err(RouterError::Reflection)?;
        let reflection_old = descriptors().build_v1alpha().map_err(RouterError::Reflection)?;

        let mut server = Server::builder()
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_concurrent_streams(settings.max_streams_per_connection)
            .http2_keepalive_interval(Some(Duration::from_secs(20)))
            .http2_keepalive_timeout(Some(Duration::from_secs(10)))
            .http2_max_header_list_size(HEADER_BYTES)
            .http2_max_pending_accept_reset_streams(Some(PENDING_RESETS))
            .timeout(settings.longest_deadline + BACKSTOP);
        if let Some(tls) = &settings.tls {
            let config = ServerTlsConfig::new()
                .identity(Identity::from_pem(&tls.cert_pem, &tls.key_pem))
                .client_ca_root(Certificate::from_pem(&tls.client_ca_pem))
                // Who comes without is asked for a token, at the door.
                .client_auth_optional(true)
                .timeout(settings.handshake_limit);
            server = server.tls_config(config).map_err(|error| RouterError::Tls(address, error))?;
        }

        let incoming = Incoming::new(incoming, settings.max_connections, settings.handshake_limit);
        // Two ways to an end: everything under way has finished, or the grace has passed.
        let (stopping, stopped) = tokio::sync::oneshot::channel::<()>();
        let serving = server
            .layer(DoorLayer::new(items.clone(), &settings, Bearers::new(credentials)))
            .add_service(items)
            .add_service(tables)
            .add_service(streams)
            .add_service(operations)
            .add_service(health)
            .add_service(reflection)
            .add_service(reflection_old)
            .serve_with_incoming_shutdown(incoming, async move {
                shutdown.await;
                // Whoever asks for our health learns it before the connection closes.
                health_reporter
                    .set_service_status("", tonic_health::ServingStatus::NotServing)
                    .await;
                let _ = stopping.send(());
                ending.send_replace(true);
            });
        let patience = async {
            match stopped.await {
                Ok(()) => tokio::time::sleep(GRACE).await,
                Err(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            served = serving => served.map_err(|error| RouterError::Serve(address, error)),
            () = patience => Ok(()),
        }
    }
}

/// Binds and serves in one step.
pub async fn serve(
    settings: RouterSettings,
    memds: Memds,
    host: Host,
    routed: Routed,
    operations: Arc<dyn Operations>,
    credentials: Arc<dyn Credentials>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), RouterError> {
    Router::bind(settings)?.serve(memds, host, routed, operations, credentials, shutdown).await
}
