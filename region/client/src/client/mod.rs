//! The client: typed calls over a few shared connections to several endpoints.
//!
//! Always true: a call is repeated elsewhere only when the earlier attempt surely did nothing, or
//! when it only reads; all attempts together end within the request timeout. Cloning shares the
//! connections.

mod batches;
mod items;
mod operations;
mod session;
mod streams;
mod tables;

pub use batches::{BatchWrite, StatementPage};
pub use items::{Expression, KeyQuery, Page, ReadPage, UpdateOptions, WriteOptions, Written};
pub use session::{Session, SessionOptions};
pub use streams::{Change, ChangePage, ShardInfo, StreamInfo};
pub use tables::{PartitionInfo, Table, TableDefinition};

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use prost::Message;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataValue;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};

use crate::bearer::Line;
use crate::codec::EncodedCodec;
use crate::error::{ClientError, STATUS_BYTES};
use crate::settings::{ClientIdentity, ClientSettings, ClientTls};
use crate::v1::items_client::ItemsClient;
use crate::v1::operations_client::OperationsClient;
use crate::v1::streams_client::StreamsClient;
use crate::v1::tables_client::TablesClient;

/// How long an endpoint that could not be reached is passed over.
const REST: Duration = Duration::from_millis(500);
/// The first wait before another attempt; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// The longest wait before another attempt.
const LONGEST_PAUSE: Duration = Duration::from_millis(320);

/// The largest item that is accepted in a status, in bytes: any.
const ITEM_BYTES: &str = "1048576";
/// The largest list of headers that is accepted: such an item in base64, and the rest.
const HEADER_BYTES: u32 = 2 << 20;

/// A client of one region.
#[derive(Debug, Clone)]
pub struct Client(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    lanes: Vec<Lane>,
    next: AtomicUsize,
    born: Instant,
    request_timeout: Duration,
    max_message_bytes: usize,
}

/// One connection.
#[derive(Debug)]
struct Lane {
    line: Line,
    /// Milliseconds after the client's birth until which this lane is passed over.
    resting_until_ms: AtomicU64,
}

/// The generated clients on one connection.
#[derive(Debug, Clone)]
pub struct Raw {
    /// Items.
    pub items: ItemsClient<Line>,
    /// Tables.
    pub tables: TablesClient<Line>,
    /// Streams.
    pub streams: StreamsClient<Line>,
    /// Operations.
    pub operations: OperationsClient<Line>,
}

impl Raw {
    fn new(line: Line, max_bytes: usize) -> Self {
        Self {
            items: ItemsClient::new(line.clone()).max_decoding_message_size(max_bytes),
            tables: TablesClient::new(line.clone()).max_decoding_message_size(max_bytes),
            streams: StreamsClient::new(line.clone()).max_decoding_message_size(max_bytes),
            operations: OperationsClient::new(line).max_decoding_message_size(max_bytes),
        }
    }
}

impl Client {
    /// Connects in plain text; at least one endpoint must answer.
    pub async fn connect(endpoints: &[String]) -> Result<Self, ClientError> {
        Self::with_settings(ClientSettings::new(endpoints.iter().cloned())).await
    }

    /// Connects with certificates; at least one endpoint must answer.
    pub async fn with_tls(endpoints: &[String], tls: ClientTls) -> Result<Self, ClientError> {
        let mut settings = ClientSettings::new(endpoints.iter().cloned());
        settings.tls = Some(tls);
        Self::with_settings(settings).await
    }

    /// Connects; at least one endpoint must answer, the others are tried again later.
    pub async fn with_settings(settings: ClientSettings) -> Result<Self, ClientError> {
        if settings.endpoints.is_empty() {
            return Err(ClientError::invalid("No endpoint was given.".into()));
        }
        let mut probes = Vec::new();
        for text in &settings.endpoints {
            let endpoint = endpoint(text, &settings)?;
            probes.push((text.clone(), endpoint));
        }
        let mut reached = 0;
        let mut failures = Vec::new();
        let mut lanes = Vec::new();
        let born = Instant::now();
        // A second connection to an endpoint is made when it is first used; the first one tells
        // whether somebody is there.
        let mut attempts = tokio::task::JoinSet::new();
        for (index, (_, endpoint)) in probes.iter().enumerate() {
            let endpoint = endpoint.clone();
            attempts.spawn(async move { (index, endpoint.connect().await) });
        }
        let mut connected: Vec<Option<Channel>> = vec![None; probes.len()];
        while let Some(joined) = attempts.join_next().await {
            let Ok((index, outcome)) = joined else { continue };
            match outcome {
                Ok(channel) => {
                    reached += 1;
                    connected[index] = Some(channel);
                }
                Err(error) => failures.push(format!("{}: {}", probes[index].0, chain(&error))),
            }
        }
        if reached == 0 {
            return Err(ClientError::local(
                Code::Unavailable,
                "Unreachable",
                format!("No endpoint answers. {}", failures.join("; ")),
                true,
            ));
        }
        for turn in 0..settings.connections_per_endpoint.max(1) {
            for (index, (_, endpoint)) in probes.iter().enumerate() {
                let rests = connected[index].is_none() && turn == 0;
                let channel = match (turn, connected[index].take()) {
                    (0, Some(channel)) => channel,
                    (_, _) => endpoint.connect_lazy(),
                };
                lanes.push(Lane {
                    line: Line::new(channel, settings.token.clone()),
                    resting_until_ms: AtomicU64::new(if rests {
                        REST.as_millis() as u64
                    } else {
                        0
                    }),
                });
            }
        }
        Ok(Self(Arc::new(Shared {
            lanes,
            next: AtomicUsize::new(0),
            born,
            request_timeout: settings.request_timeout,
            max_message_bytes: settings.max_message_bytes,
        })))
    }

    /// The largest answer that is accepted, in bytes.
    pub fn max_message_bytes(&self) -> usize {
        self.0.max_message_bytes
    }

    /// The generated clients on the next connection: no retries, no decoding of errors.
    pub fn raw(&self) -> Raw {
        Raw::new(self.lane().line.clone(), self.0.max_message_bytes)
    }

    /// The next lane that is not resting; any when all are.
    fn lane(&self) -> &Lane {
        let shared = &*self.0;
        let now = shared.born.elapsed().as_millis() as u64;
        for _ in 0..shared.lanes.len() {
            let lane =
                &shared.lanes[shared.next.fetch_add(1, Ordering::Relaxed) % shared.lanes.len()];
            if lane.resting_until_ms.load(Ordering::Relaxed) <= now {
                return lane;
            }
        }
        &shared.lanes[shared.next.load(Ordering::Relaxed) % shared.lanes.len()]
    }

    /// Passes a lane over for a while.
    fn rest(&self, lane: &Lane) {
        let until = self.0.born.elapsed() + REST;
        lane.resting_until_ms.store(until.as_millis() as u64, Ordering::Relaxed);
    }

    /// Makes a call, and again elsewhere where that is safe, until the request timeout. The message
    /// is encoded once, however often it is sent.
    async fn call<Q, A>(
        &self,
        writes: bool,
        path: &'static str,
        message: Q,
    ) -> Result<A, ClientError>
    where
        Q: Message,
        A: Message + Default + 'static,
    {
        let deadline = Instant::now() + self.0.request_timeout;
        let body = Bytes::from(message.encode_to_vec());
        let mut pause = FIRST_PAUSE;
        loop {
            let lane = self.lane();
            let left = deadline.saturating_duration_since(Instant::now());
            let status = match self.send(lane, path, body.clone(), left).await {
                Ok(answer) => return Ok(answer),
                Err(status) => status,
            };
            let error = ClientError::from_status(status, writes);
            if error.reason == "Unreachable" || error.is_outcome_unknown() {
                self.rest(lane);
            }
            if !error.retryable || Instant::now() + pause >= deadline {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// One attempt.
    async fn send<A: Message + Default + 'static>(
        &self,
        lane: &Lane,
        path: &'static str,
        body: Bytes,
        patience: Duration,
    ) -> Result<A, Status> {
        let mut request = Request::new(body);
        request.set_timeout(patience);
        request.metadata_mut().insert(STATUS_BYTES, MetadataValue::from_static(ITEM_BYTES));
        let mut grpc =
            Grpc::new(lane.line.clone()).max_decoding_message_size(self.0.max_message_bytes);
        // A channel that cannot be made ready has no connection: nothing was sent.
        grpc.ready().await.map_err(|error| Status::from_error(Box::new(error)))?;
        let codec = EncodedCodec::<A>::default();
        let answer = grpc.unary(request, PathAndQuery::from_static(path), codec).await?;
        Ok(answer.into_inner())
    }
}

/// An endpoint from its text.
fn endpoint(text: &str, settings: &ClientSettings) -> Result<Endpoint, ClientError> {
    let full = if text.contains("://") {
        text.to_string()
    } else if settings.tls.is_some() {
        format!("https://{text}")
    } else {
        format!("http://{text}")
    };
    let bad = |error: &dyn std::error::Error| {
        ClientError::invalid(format!("The endpoint {text:?} cannot be used: {error}"))
    };
    let mut endpoint = Endpoint::from_shared(full.clone())
        .map_err(|error| bad(&error))?
        .connect_timeout(settings.connect_timeout)
        .tcp_nodelay(true)
        .tcp_keepalive(Some(Duration::from_secs(30)))
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(5))
        .http2_max_header_list_size(HEADER_BYTES)
        .initial_stream_window_size(2 << 20)
        .initial_connection_window_size(16 << 20);
    if full.starts_with("https://") {
        let Some(tls) = &settings.tls else {
            return Err(ClientError::invalid(format!(
                "The endpoint {text:?} speaks TLS: give a CA, and a client certificate or a token."
            )));
        };
        let mut config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&tls.ca_pem));
        if let Some(ClientIdentity { cert_pem, key_pem }) = &tls.identity {
            config = config.identity(Identity::from_pem(cert_pem, key_pem));
        }
        if let Some(name) = &tls.server_name {
            config = config.domain_name(name);
        }
        endpoint = endpoint.tls_config(config).map_err(|error| bad(&error))?;
    } else if settings.token.is_some() && !is_loopback(endpoint.uri().host()) {
        return Err(ClientError::invalid(format!(
            "The endpoint {text:?} does not speak TLS: a token is not sent to it in plain text."
        )));
    }
    Ok(endpoint)
}

/// Whether what is sent to this host stays on this machine.
fn is_loopback(host: Option<&str>) -> bool {
    let Some(host) = host else { return false };
    let address = host.trim_start_matches('[').trim_end_matches(']').parse();
    host == "localhost" || address.is_ok_and(|address: IpAddr| address.is_loopback())
}

/// An error and its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_leaves_this_machine_over_tls_only() {
        let mut settings = ClientSettings::new(["unused"]);
        settings.token = "AKID.secret".parse().ok();
        for near in ["http://127.0.0.1:1", "localhost:1", "http://[::1]:1", "127.8.8.8:1"] {
            assert!(endpoint(near, &settings).is_ok(), "{near}");
        }
        for far in ["http://10.0.0.1:1", "example.com:1", "http://localhost.example.com:1"] {
            let refused = endpoint(far, &settings).unwrap_err();
            assert!(refused.message.contains("plain text"), "{far}: {refused}");
        }
        settings.token = None;
        assert!(endpoint("http://10.0.0.1:1", &settings).is_ok());
    }
}
