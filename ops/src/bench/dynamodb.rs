//! A lean client of the DynamoDB wire: signed JSON over HTTP/1.1, one kept connection for each
//! caller. What it costs is small and the same for every server that is measured with it.
//!
//! Deliberately absent: retries (a refusal is counted by its name), checksums of answers, compression.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use super::sign::{Credentials, Signer};
use super::target::Refusal;
use crate::error::{Failure, Result};

/// Connections at most; callers beyond share them.
const CONNECTIONS: usize = 4096;

/// The servers and a connection for each caller.
pub struct DynamoDb {
    endpoints: Vec<Endpoint>,
    lanes: Vec<Mutex<Lane>>,
}

struct Endpoint {
    /// `host:port`, as it is signed.
    host: String,
}

/// One caller's connection, made when it is first used.
struct Lane {
    connection: Option<SendRequest<Full<Bytes>>>,
    signer: Signer,
}

#[derive(Deserialize)]
struct Got<'a> {
    #[serde(borrow, rename = "Item")]
    item: Option<Held<'a>>,
}

/// The attribute that the callers count in.
#[derive(Deserialize)]
struct Held<'a> {
    #[serde(borrow)]
    v: Option<NumberText<'a>>,
}

#[derive(Deserialize)]
struct NumberText<'a> {
    #[serde(rename = "N")]
    text: &'a str,
}

#[derive(Deserialize)]
struct Refused<'a> {
    #[serde(borrow, rename = "__type")]
    kind: &'a str,
}

impl DynamoDb {
    /// Of these endpoints, `http://host:port`; plain text only.
    pub fn new(endpoints: &[String], region: &str, credentials: &Credentials) -> Result<Self> {
        let mut hosts = Vec::new();
        for endpoint in endpoints {
            let host = endpoint.strip_prefix("http://").unwrap_or(endpoint).trim_end_matches('/');
            if host.contains('/') {
                let why = format!("{endpoint}: a DynamoDB endpoint to measure is http://host:port");
                return Err(Failure::usage(why));
            }
            hosts.push(Endpoint { host: host.to_owned() });
        }
        if hosts.is_empty() {
            return Err(Failure::usage("no DynamoDB endpoint was given"));
        }
        let lane = |at: usize| {
            let host = &hosts[at % hosts.len()].host;
            let signer = Signer::new(credentials.clone(), region, host);
            Mutex::new(Lane { connection: None, signer })
        };
        let lanes = (0..CONNECTIONS).map(lane).collect();
        Ok(Self { endpoints: hosts, lanes })
    }

    pub(super) async fn put(
        &self,
        table: &str,
        caller: u32,
        key: u64,
        version: u64,
        payload: &Bytes,
    ) -> std::result::Result<(), Refusal> {
        let data = STANDARD.encode(payload);
        let body = format!(
            r#"{{"TableName":"{table}","Item":{{"pk":{{"S":"user{key:012}"}},"v":{{"N":"{version}"}},"d":{{"B":"{data}"}}}}}}"#
        );
        self.call(caller, "DynamoDB_20120810.PutItem", body).await.map(|_| ())
    }

    pub(super) async fn get(
        &self,
        table: &str,
        caller: u32,
        key: u64,
        strong: bool,
    ) -> std::result::Result<Option<u64>, Refusal> {
        let body = format!(
            r#"{{"TableName":"{table}","Key":{{"pk":{{"S":"user{key:012}"}}}},"ConsistentRead":{strong}}}"#
        );
        let answer = self.call(caller, "DynamoDB_20120810.GetItem", body).await?;
        let got: Got<'_> = serde_json::from_slice(&answer).map_err(|_| "BadAnswer")?;
        Ok(got.item.and_then(|held| held.v?.text.parse().ok()))
    }

    async fn call(
        &self,
        caller: u32,
        target: &'static str,
        body: String,
    ) -> std::result::Result<Bytes, Refusal> {
        let at = caller as usize % self.lanes.len();
        let host = &self.endpoints[at % self.endpoints.len()].host;
        let mut lane = self.lanes[at].lock().await;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let signature = lane.signer.sign(target, body.as_bytes(), now);
        let request = Request::post("/")
            .header("host", host)
            .header("content-type", "application/x-amz-json-1.0")
            .header("x-amz-target", target)
            .header("x-amz-date", signature.date)
            .header("authorization", signature.authorization)
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| error.to_string())?;
        if lane.connection.as_ref().is_none_or(|connection| connection.is_closed()) {
            lane.connection = Some(connect(host).await.map_err(|_| "Unreachable")?);
        }
        let Some(connection) = &mut lane.connection else { return Err("Unreachable".into()) };
        let answered = async {
            connection.ready().await?;
            let answer = connection.send_request(request).await?;
            let status = answer.status();
            Ok::<_, hyper::Error>((status, answer.into_body().collect().await?.to_bytes()))
        };
        match answered.await {
            Ok((StatusCode::OK, body)) => Ok(body),
            Ok((status, body)) => {
                let refused: Option<Refused<'_>> = serde_json::from_slice(&body).ok();
                let kind = refused.and_then(|refused| refused.kind.rsplit('#').next());
                Err(kind.map_or_else(|| status.to_string(), str::to_owned))
            }
            Err(_) => {
                lane.connection = None;
                Err("ConnectionLost".into())
            }
        }
    }
}

async fn connect(host: &str) -> std::io::Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(host).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) =
        handshake(TokioIo::new(stream)).await.map_err(std::io::Error::other)?;
    // It ends when the sender is dropped or the server hangs up; both are seen at the next call.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(sender)
}
