//! What the machine gives without a database: the same payload through a bare gRPC echo, and a bare
//! loop of write and fdatasync. A ratio against them says what Tombolo adds.

use std::io::{Seek, SeekFrom, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::Serialize;
use tombolo_client::{Client, v1};
use tonic::{Request, Response, Status};

use super::{Latencies, Mix, Plan, Target, drive, histogram, load};
use crate::error::Result;

/// How long each floor is measured.
const SECONDS: u64 = 3;

#[derive(Clone, Debug, Serialize)]
pub struct Floors {
    /// Unary calls of the same messages to a server that answers at once.
    pub echo: Latencies,
    /// One item's bytes written and fdatasynced, one after the other.
    pub fdatasync: Latencies,
}

/// Measures both, one after the other.
pub async fn floors(plan: &Plan) -> Result<Floors> {
    let plan = Plan {
        duration: Duration::from_secs(SECONDS),
        rate: 0,
        mix: Mix { read_percent: plan.mix.read_percent },
        ..plan.clone()
    };
    Ok(Floors { echo: echo(&plan).await?, fdatasync: fdatasync(plan.item_bytes).await? })
}

/// An Items service that does nothing: puts answer nothing, gets answer the last item put.
#[derive(Default)]
struct Echo {
    item: std::sync::RwLock<v1::GetItemResponse>,
}

#[tonic::async_trait]
impl v1::items_server::Items for Echo {
    async fn put_item(
        &self,
        request: Request<v1::PutItemRequest>,
    ) -> std::result::Result<Response<v1::PutItemResponse>, Status> {
        if let Ok(item) = self.item.read()
            && item.item.is_empty()
        {
            drop(item);
            if let Ok(mut item) = self.item.write() {
                item.item = request.into_inner().item;
            }
        }
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
        Err(Status::unimplemented("the echo puts and gets"))
    }

    async fn query(
        &self,
        _request: Request<v1::QueryRequest>,
    ) -> std::result::Result<Response<v1::QueryResponse>, Status> {
        Err(Status::unimplemented("the echo puts and gets"))
    }

    async fn scan(
        &self,
        _request: Request<v1::ScanRequest>,
    ) -> std::result::Result<Response<v1::ScanResponse>, Status> {
        Err(Status::unimplemented("the echo puts and gets"))
    }
}

async fn echo(plan: &Plan) -> Result<Latencies> {
    let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    let address = listener.local_addr()?;
    // Without TCP_NODELAY a lone call takes 40 ms; the floor has the same transport as the router.
    let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
    let server = tonic::transport::Server::builder()
        .add_service(v1::items_server::ItemsServer::new(Echo::default()))
        .serve_with_incoming(incoming);
    let server = tokio::spawn(server);
    let client = Target::Tombolo(Client::connect(&[format!("http://{address}")]).await?);
    load(&client, &Plan { items: 1, ..plan.clone() }).await?;
    let outcome = drive(&client, plan).await;
    server.abort();
    let measured = if plan.mix.read_percent >= 50 { outcome.reads() } else { outcome.writes() };
    Ok(measured.unwrap_or_else(|| Latencies::of(&histogram(), outcome.elapsed)))
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
