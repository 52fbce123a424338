//! The admin port: `/metrics`, `/livez`, `/readyz`, `/credentials`, and for development nodes `/dev/…`.
//!
//! Always true: nothing here reads or changes data. `/credentials` answers who proves to have the region
//! key; the key itself and secrets in the clear never travel. `/dev/…` exists only on a node that was given a
//! development secret, answers loopback only, and only with that secret in its header.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use axum::Json;
use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::sync::watch;
use tombolo_group::{Host, Net};
use tombolo_item::RegionId;
use tombolo_memds::Memds;
use tombolo_router::dynamodb::RegionKey;

use crate::credentials::PROOF_HEADER;
use crate::dev::faults::{Cuts, SECRET_HEADER};
use crate::error::{Context, Result};
use crate::metrics;

/// Where a node is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    Starting = 0,
    /// Everything is wired; it becomes ready once each of its groups has a leader and it knows a node
    /// of every zone.
    Wired = 1,
    /// Ready, and it stays so: a group that loses its leader does not take the node's others away.
    Ready = 2,
    Stopping = 3,
}

/// What the admin port knows of its node.
pub struct Health {
    phase: AtomicU8,
    parts: std::sync::OnceLock<(Host, Memds)>,
}

impl Health {
    pub fn new() -> Arc<Health> {
        Arc::new(Health {
            phase: AtomicU8::new(Phase::Starting as u8),
            parts: std::sync::OnceLock::new(),
        })
    }

    /// Everything is wired.
    pub fn wired(&self, host: Host, memds: Memds) {
        let _ = self.parts.set((host, memds));
        self.phase.store(Phase::Wired as u8, Ordering::Release);
    }

    /// The metadata service, once it runs.
    fn memds(&self) -> Option<Memds> {
        self.parts.get().map(|(_, memds)| memds.clone())
    }

    /// The node is on its way down.
    pub fn stopping(&self) {
        self.phase.store(Phase::Stopping as u8, Ordering::Release);
        metrics::NODE_READY.set(0);
    }

    /// `Err` says what is missing.
    fn ready(&self) -> std::result::Result<(), String> {
        match self.phase.load(Ordering::Acquire) {
            p if p == Phase::Ready as u8 => return Ok(()),
            p if p == Phase::Wired as u8 => {}
            p if p == Phase::Stopping as u8 => return Err("stopping".into()),
            _ => return Err("starting".into()),
        }
        let Some((host, memds)) = self.parts.get() else { return Err("starting".into()) };
        let groups = host.groups();
        let leaderless: Vec<String> = groups
            .iter()
            .filter(|group| group.leader.is_none())
            .map(|group| format!("group {} has no leader yet", group.group))
            .collect();
        if !leaderless.is_empty() {
            return Err(leaderless.join("\n"));
        }
        // So that who waits for the region to be ready can make tables in it.
        memds.placeable().map_err(|error| error.to_string())?;
        let (wired, ready) = (Phase::Wired as u8, Phase::Ready as u8);
        if self.phase.compare_exchange(wired, ready, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            metrics::NODE_READY.set(1);
        }
        Ok(())
    }
}

/// What development nodes are given besides.
pub struct DevPort {
    pub secret: String,
    pub net: Net,
    /// Names and numbers of all regions.
    pub regions: Vec<(String, RegionId)>,
}

impl DevPort {
    fn region(&self, name: &str) -> std::result::Result<RegionId, String> {
        let found = self.regions.iter().find(|(known, _)| known == name);
        found.map(|(_, id)| *id).ok_or_else(|| format!("there is no region {name:?}"))
    }

    /// Makes `cuts` what is cut off, no more and no less.
    pub fn set_cuts(&self, cuts: &Cuts) -> std::result::Result<(), String> {
        let mut places = Vec::new();
        for place in &cuts.places {
            places.push((self.region(&place.region)?, place.zone.clone()));
        }
        let faults = self.net.faults();
        faults.heal();
        metrics::DEV_CUTS.set(i64::try_from(places.len()).unwrap_or(i64::MAX));
        for (region, zone) in places {
            faults.cut(region, zone);
        }
        Ok(())
    }

    /// Reads the state that an earlier process of this node may have missed.
    pub fn restore(&self, file: Option<&PathBuf>) -> Result {
        let Some(file) = file else { return Ok(()) };
        let cuts = crate::dev::faults::read(file)?;
        self.set_cuts(&cuts).map_err(crate::error::Failure::usage)
    }
}

/// Serves until `shutdown` says true.
pub async fn serve(
    listen: SocketAddr,
    health: Arc<Health>,
    region_key: Option<RegionKey>,
    dev: Option<Arc<DevPort>>,
    mut shutdown: watch::Receiver<bool>,
) -> Result {
    let listener = tokio::net::TcpListener::bind(listen)
        .await
        .context(|| format!("listening on {listen} (listen_admin)"))?;
    let mut app = Router::new()
        .route("/metrics", get(metrics_text))
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(readyz).with_state(health.clone()))
        .route("/credentials", post(credentials).with_state((health, region_key)));
    if let Some(dev) = dev {
        let routes = Router::new()
            .route("/dev/cut", post(cut))
            .route("/dev/heal", post(heal))
            .route("/dev/delay", post(delay))
            .with_state(dev.clone())
            .layer(middleware::from_fn_with_state(dev, guard));
        app = app.merge(routes);
    }
    tokio::spawn(async move {
        let app = app.into_make_service_with_connect_info::<SocketAddr>();
        // A graceful end would wait for scrapers that keep their connections.
        tokio::select! {
            ended = axum::serve(listener, app) => {
                if let Err(error) = ended {
                    tracing::error!(%error, "the admin port is gone");
                }
            }
            _ = shutdown.wait_for(|stop| *stop) => {}
        }
    });
    Ok(())
}

async fn metrics_text() -> Response {
    match metrics::text() {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
            .into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn readyz(State(health): State<Arc<Health>>) -> Response {
    match health.ready() {
        Ok(()) => "ready\n".into_response(),
        Err(missing) => (StatusCode::SERVICE_UNAVAILABLE, format!("{missing}\n")).into_response(),
    }
}

async fn credentials(
    State((health, key)): State<(Arc<Health>, Option<RegionKey>)>,
    headers: HeaderMap,
    body: String,
) -> Response {
    let proof = headers.get(PROOF_HEADER).and_then(|value| value.to_str().ok());
    let (status, text) = match health.memds() {
        Some(memds) => {
            crate::credentials::answer(key.as_ref(), &memds, proof.unwrap_or_default(), &body).await
        }
        None => (503, "starting\n".to_owned()),
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, text).into_response()
}

async fn guard(
    State(dev): State<Arc<DevPort>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    let given = request.headers().get(SECRET_HEADER).map(|value| value.as_bytes());
    let known = given.is_some_and(|given| same(given, dev.secret.as_bytes()));
    if !from.ip().is_loopback() || !known {
        let said = format!("this needs the cluster's secret in {SECRET_HEADER}, from loopback\n");
        return (StatusCode::FORBIDDEN, said).into_response();
    }
    next.run(request).await
}

/// Compares without telling by its time how much was right.
fn same(given: &[u8], secret: &[u8]) -> bool {
    let difference = given.iter().zip(secret).fold(0, |sum, (a, b)| sum | (a ^ b));
    given.len() == secret.len() && difference == 0 && !secret.is_empty()
}

fn answer(result: std::result::Result<(), String>) -> Response {
    match result {
        Ok(()) => "done\n".into_response(),
        Err(why) => (StatusCode::BAD_REQUEST, format!("{why}\n")).into_response(),
    }
}

async fn cut(State(dev): State<Arc<DevPort>>, Json(cuts): Json<Cuts>) -> Response {
    tracing::warn!(?cuts, "cut off for a trial");
    answer(dev.set_cuts(&cuts))
}

async fn heal(State(dev): State<Arc<DevPort>>) -> Response {
    tracing::warn!("the trial's cuts are healed");
    answer(dev.set_cuts(&Cuts::default()))
}

/// The body of `POST /dev/delay`.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Delay {
    /// The region that what is sent to is delayed; all others if it is absent.
    region: Option<String>,
    ms: u64,
}

async fn delay(State(dev): State<Arc<DevPort>>, Json(delay): Json<Delay>) -> Response {
    let regions = match &delay.region {
        None => Ok(dev.regions.iter().map(|(_, id)| *id).collect()),
        Some(name) => dev.region(name).map(|id| vec![id]),
    };
    answer(regions.map(|regions: Vec<RegionId>| {
        for region in regions {
            dev.net.faults().set_delay_ms(region, delay.ms);
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_compared_whole() {
        assert!(same(b"abc", b"abc"));
        for wrong in [&b"abd"[..], b"ab", b"abcd", b""] {
            assert!(!same(wrong, b"abc"));
        }
        assert!(!same(b"", b""), "no secret lets nobody in");
    }

    #[tokio::test]
    async fn health_and_metrics_answer_and_dev_does_not_exist() {
        let (stop, shutdown) = watch::channel(false);
        let port = {
            let probe = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            probe.local_addr().unwrap()
        };
        metrics::describe("r", "a");
        let health = Health::new();
        serve(port, health.clone(), None, None, shutdown).await.unwrap();
        let patience = std::time::Duration::from_secs(5);
        let get = |path: &'static str| async move {
            crate::http::get(&format!("http://{port}{path}"), patience).await.unwrap()
        };
        assert_eq!(get("/livez").await.status, 200);
        let ready = get("/readyz").await;
        assert_eq!((ready.status, ready.body.as_str()), (503, "starting\n"));
        let text = get("/metrics").await.body;
        assert!(text.contains("tombolo_build_info{commit="), "{text}");
        assert!(text.contains("process_resident_memory_bytes"), "the process collector");
        let cut = crate::http::post(&format!("http://{port}/dev/cut"), &[], "{}", patience).await;
        assert_eq!(cut.unwrap().status, 404);
        stop.send_replace(true);
    }
}
