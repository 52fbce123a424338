//! What the machine gives without a database: the same payload through bare echoes of each protocol,
//! and a bare loop of write and fdatasync. A ratio against them says what Tombolo adds.

use std::io::{Seek, SeekFrom, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::BoxStream;
use serde::Serialize;
use tombolo_client::{Client, v1};
use tonic::{Request, Response, Status};

use super::{Credentials, DynamoDb, Latencies, Mix, Plan, Target, drive, histogram, load};
use crate::error::Result;

/// How long each floor is measured.
const SECONDS: u64 = 3;

#[derive(Clone, Debug, Serialize)]
pub struct Floors {
    /// Unary calls of the same messages to a server that answers at once.
    pub echo: Latencies,
    /// The same messages on streams of sessions, in frames as a router's.
    pub session_echo: Latencies,
    /// The same items as signed JSON over HTTP/1.1, to an axum server that parses and answers.
    pub http_echo: Latencies,
    /// One item's bytes written and fdatasynced, one after the other.
    pub fdatasync: Latencies,
}

/// Measures all, one after the other.
pub async fn floors(plan: &Plan) -> Result<Floors> {
    let plan = Plan {
        duration: Duration::from_secs(SECONDS),
        rate: 0,
        mix: Mix { read_percent: plan.mix.read_percent },
        ..plan.clone()
    };
    let (echo, session_echo) = grpc_echo(&plan).await?;
    let http_echo = http_echo(&plan).await?;
    Ok(Floors { echo, session_echo, http_echo, fdatasync: fdatasync(plan.item_bytes).await? })
}

/// An Items service that does nothing: puts answer nothing, gets answer the last item put.
#[derive(Default)]
struct Echo {
    item: Kept,
}

/// The item that gets are answered with: the first one put.
type Kept = Arc<std::sync::RwLock<v1::GetItemResponse>>;

fn keep(kept: &Kept, put: v1::PutItemRequest) {
    let empty = kept.read().is_ok_and(|kept| kept.item.is_empty());
    if empty && let Ok(mut kept) = kept.write() {
        kept.item = put.item;
    }
}

/// The answer to one operation of a session.
fn echoed(kept: &Kept, operation: v1::SessionOperation) -> v1::SessionAnswer {
    use v1::session_answer::Answer;
    use v1::session_operation::Operation;
    let answer = match operation.operation {
        Some(Operation::PutItem(put)) => {
            keep(kept, *put);
            Answer::PutItem(v1::PutItemResponse::default())
        }
        _ => Answer::GetItem(kept.read().map(|kept| kept.clone()).unwrap_or_default()),
    };
    v1::SessionAnswer { number: operation.number, answer: Some(answer) }
}

/// What the echo answers to everything else.
const PUTS_AND_GETS: &str = "the echo puts and gets";

#[tonic::async_trait]
impl v1::items_server::Items for Echo {
    type SessionStream = BoxStream<'static, std::result::Result<v1::SessionResponse, Status>>;

    async fn session(
        &self,
        request: Request<tonic::Streaming<v1::SessionRequest>>,
    ) -> std::result::Result<Response<Self::SessionStream>, Status> {
        let item = self.item.clone();
        let opened = v1::SessionOpened { now_ms: 1, in_flight: u32::MAX };
        let opened = v1::SessionResponse { opened: Some(opened), answers: Vec::new() };
        let answers = request.into_inner().map(move |frame| {
            let answers = frame?.operations.into_iter().map(|operation| echoed(&item, operation));
            Ok(v1::SessionResponse { opened: None, answers: answers.collect() })
        });
        Ok(Response::new(futures::stream::iter([Ok(opened)]).chain(answers).boxed()))
    }

    async fn put_item(
        &self,
        request: Request<v1::PutItemRequest>,
    ) -> std::result::Result<Response<v1::PutItemResponse>, Status> {
        keep(&self.item, request.into_inner());
        Ok(Response::new(v1::PutItemResponse::default()))
    }

    async fn get_item(
        &self,
        _request: Request<v1::GetItemRequest>,
    ) -> std::result::Result<Response<v1::GetItemResponse>, Status> {
        let item = self.item.read().map(|item| item.clone()).unwrap_or_default();
        Ok(Response::new(item))
    }

    async fn delete_item(
        &self,
        _request: Request<v1::DeleteItemRequest>,
    ) -> std::result::Result<Response<v1::DeleteItemResponse>, Status> {
        Err(Status::unimplemented(PUTS_AND_GETS))
    }

    async fn update_item(
        &self,
        _request: Request<v1::UpdateItemRequest>,
    ) -> std::result::Result<Response<v1::UpdateItemResponse>, Status> {
        Err(Status::unimplemented(PUTS_AND_GETS))
    }

    async fn query(
        &self,
        _request: Request<v1::QueryRequest>,
    ) -> std::result::Result<Response<v1::QueryResponse>, Status> {
        Err(Status::unimplemented(PUTS_AND_GETS))
    }

    async fn scan(
        &self,
        _request: Request<v1::ScanRequest>,
    ) -> std::result::Result<Response<v1::ScanResponse>, Status> {
        Err(Status::unimplemented(PUTS_AND_GETS))
    }

    async fn batch_get_item(
        &self,
        _request: Request<v1::BatchGetItemRequest>,
    ) -> std::result::Result<Response<v1::BatchGetItemResponse>, Status> {
        Err(Status::unimplemented(PUTS_AND_GETS))
    }

    async fn batch_write_item(
        &self,
        _request: Request<v1::BatchWriteItemRequest>,
    ) -> std::result::Result<Response<v1::BatchWriteItemResponse>, Status> {
        Err(Status::unimplemented(PUTS_AND_GETS))
    }

    async fn execute_statement(
        &self,
        _request: Request<v1::ExecuteStatementRequest>,
    ) -> std::result::Result<Response<v1::ExecuteStatementResponse>, Status> {
        Err(Status::unimplemented(PUTS_AND_GETS))
    }

    async fn batch_execute_statement(
        &self,
        _request: Request<v1::BatchExecuteStatementRequest>,
    ) -> std::result::Result<Response<v1::BatchExecuteStatementResponse>, Status> {
        Err(Status::unimplemented(PUTS_AND_GETS))
    }
}

/// Unary calls, and sessions.
async fn grpc_echo(plan: &Plan) -> Result<(Latencies, Latencies)> {
    let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    let address = listener.local_addr()?;
    // Without TCP_NODELAY a lone call takes 40 ms; the floor has the same transport as the router.
    let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
    let server = tonic::transport::Server::builder()
        .add_service(v1::items_server::ItemsServer::new(Echo::default()))
        .serve_with_incoming(incoming);
    let server = tokio::spawn(server);
    let client = Client::connect(&[format!("http://{address}")]).await?;
    let unary = measure(&Target::Tombolo(client.clone()), plan).await?;
    let sessions = measure(&Target::sessions(&client, 1, plan.clients), plan).await?;
    server.abort();
    Ok((unary, sessions))
}

/// Drives an echo.
async fn measure(target: &Target, plan: &Plan) -> Result<Latencies> {
    load(target, &Plan { items: 1, ..plan.clone() }).await?;
    let outcome = drive(target, plan).await;
    let measured = if plan.mix.read_percent >= 50 { outcome.reads() } else { outcome.writes() };
    Ok(measured.unwrap_or_else(|| Latencies::of(&histogram(), outcome.elapsed)))
}

/// Parses what it gets, as any server of JSON must, and answers a get with the last item put.
async fn http_echo(plan: &Plan) -> Result<Latencies> {
    use axum::body::Bytes as Body;
    use axum::extract::State;
    type Last = Arc<std::sync::RwLock<Body>>;
    async fn answer(State(last): State<Last>, body: Body) -> Body {
        let request: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        let Some(item) = request.get("Item") else {
            return last.read().map(|last| last.clone()).unwrap_or_default();
        };
        let empty = last.read().is_ok_and(|last| last.is_empty());
        if empty && let Ok(mut last) = last.write() {
            *last = serde_json::json!({ "Item": item }).to_string().into();
        }
        Body::from_static(b"{}")
    }
    let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    let address = listener.local_addr()?;
    let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
        // As the router's transport.
        let _ = stream.set_nodelay(true);
    });
    let echo = axum::Router::new().fallback(answer).with_state(Last::default());
    let server = tokio::spawn(async move { axum::serve(listener, echo).await });
    let nobody = Credentials { access_key: "nobody".into(), secret_key: "nothing".into() };
    let target = DynamoDb::new(&[format!("http://{address}")], "floor", &nobody)?;
    let measured = measure(&Target::DynamoDb(Arc::new(target)), plan).await;
    server.abort();
    measured
}

async fn fdatasync(bytes: usize) -> Result<Latencies> {
    let measured = tokio::task::spawn_blocking(move || -> std::io::Result<Latencies> {
        const FILE: u64 = 16 << 20;
        let mut file = tempfile::tempfile_in(std::env::current_dir()?)?;
        // Real zeros first: a sync that also allocates would measure the file system.
        file.write_all(&vec![0; FILE as usize])?;
        file.sync_all()?;
        let buffer = vec![7_u8; bytes];
        let (start, mut latencies, mut at) = (Instant::now(), histogram(), 0);
        while start.elapsed() < Duration::from_secs(SECONDS) {
            let one = Instant::now();
            file.seek(SeekFrom::Start(at))?;
            file.write_all(&buffer)?;
            file.sync_data()?;
            latencies.saturating_record(one.elapsed().as_micros() as u64);
            at = (at + bytes as u64) % (FILE - bytes as u64);
        }
        Ok(Latencies::of(&latencies, start.elapsed()))
    });
    let measured = measured.await.map_err(|e| crate::error::Failure::unavailable(e.to_string()))?;
    Ok(measured?)
}
