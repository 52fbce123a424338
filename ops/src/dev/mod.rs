//! Development clusters: several regions of three zones each, real NATS, real processes, one machine.
//!
//! Used by `tombolo dev`, by `tombolo demo` and by tests. Always true: what scripts rely on (ports,
//! folders, `cluster.json`) is decided in [`layout`] and [`cluster_file`] and nowhere else; nothing
//! listens on anything but 127.0.0.1; every process dies with the one that started the cluster.
//!
//! In reading order: [`layout`], [`cluster_file`], `identity` (what a folder keeps), `configs` (the
//! files written for nodes and NATS), `supervise`, [`child`], [`faults`] (cut and heal), this file.

pub mod child;
pub mod cluster_file;
mod configs;
pub mod faults;
mod identity;
pub mod layout;
pub mod ports;
pub mod rot;
mod supervise;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

pub use cluster_file::{ClusterJson, CredentialsJson, NodeJson, RegionJson};
pub use rustix::process::Signal;
pub use supervise::ProcessState;

use crate::error::{Context, Failure, Result};
use crate::http;
use crate::nats::find::{self, Search};
use crate::telemetry::LogFormat;
use cluster_file::VERSION;
use identity::Identity;
use layout::Layout;
use supervise::{OnStart, Spec, Supervisor};

/// Gets the lines that are meant for people.
pub type Talk = Arc<dyn Fn(&str) + Send + Sync>;

/// What a development cluster is started with.
#[derive(Clone)]
pub struct DevOptions {
    /// Names of the regions, in the order of their ports.
    pub regions: Vec<String>,
    /// The folder that holds everything; made if it is not there.
    pub dir: PathBuf,
    pub base_port: u16,
    /// 1 to 3.
    pub nodes_per_zone: u8,
    /// Start again what ends.
    pub restart: bool,
    /// Delay of everything sent from one region to another, one way.
    pub link_delay_ms: u64,
    /// Never download a nats-server.
    pub offline: bool,
    /// The nats-server to run.
    pub nats_server: Option<PathBuf>,
    /// The access key of the DynamoDB ports. Default: that of the folder, else a new one.
    pub access_key: Option<String>,
    /// Its secret key.
    pub secret_key: Option<String>,
    /// The DynamoDB ports take unsigned requests.
    pub insecure: bool,
    pub log_format: LogFormat,
    /// What nodes log, as `tracing` filters say it.
    pub log: String,
    /// The `tombolo` program; nodes are its `serve`.
    pub program: PathBuf,
    /// Patience until everything serves.
    pub start_timeout: Duration,
    pub talk: Talk,
}

impl DevOptions {
    /// The defaults of `tombolo dev`, for a program and a folder.
    pub fn new(program: impl Into<PathBuf>, dir: impl Into<PathBuf>) -> DevOptions {
        DevOptions {
            regions: vec!["us-east".into(), "eu-west".into()],
            dir: dir.into(),
            base_port: 8000,
            nodes_per_zone: 1,
            restart: true,
            link_delay_ms: 0,
            offline: false,
            nats_server: None,
            access_key: None,
            secret_key: None,
            insecure: false,
            log_format: LogFormat::Text,
            log: "info".into(),
            program: program.into(),
            start_timeout: Duration::from_secs(180),
            talk: Arc::new(|_| ()),
        }
    }
}

/// A running development cluster. Dropping it kills its processes; [`DevCluster::stop`] is kinder.
pub struct DevCluster {
    layout: Layout,
    supervisor: Supervisor,
    publisher: Arc<Mutex<Publisher>>,
    /// Held for as long as the cluster runs: two clusters never share a folder.
    _lock: std::fs::File,
}

/// Writes `cluster.json` once everything served, and after each start of a process from then on.
struct Publisher {
    layout: Layout,
    nats_urls: Vec<String>,
    credentials: CredentialsJson,
    serving: bool,
}

impl Publisher {
    fn document(&self, processes: &[ProcessState]) -> ClusterJson {
        let pid = |name: String| processes.iter().find(|p| p.name == name).map_or(0, |p| p.pid);
        let local = |port: u16| format!("http://127.0.0.1:{port}");
        let regions = self.layout.regions.iter().zip(&self.nats_urls);
        ClusterJson {
            version: VERSION,
            regions: regions
                .map(|(region, nats)| RegionJson {
                    name: region.name.clone(),
                    nats: nats.clone(),
                    nats_pid: pid(format!("{}/nats", region.name)),
                    nodes: region
                        .nodes
                        .iter()
                        .map(|node| NodeJson {
                            id: node.id,
                            zone: node.zone.to_owned(),
                            pid: pid(format!("{}/{}", region.name, node.place)),
                            data: node.data.to_string_lossy().into_owned(),
                            dynamodb: local(node.dynamodb),
                            grpc: local(node.grpc),
                            admin: local(node.admin),
                        })
                        .collect(),
                })
                .collect(),
            credentials: self.credentials.clone(),
        }
    }

    fn publish(&self, processes: &[ProcessState]) {
        if !self.serving {
            return;
        }
        let path = self.layout.cluster_json();
        if let Err(error) = self.document(processes).write(&path) {
            tracing::error!(error = error.message, "cluster.json is stale now");
        }
    }
}

fn lock_publisher(publisher: &Mutex<Publisher>) -> std::sync::MutexGuard<'_, Publisher> {
    publisher.lock().unwrap_or_else(PoisonError::into_inner)
}

impl DevCluster {
    /// Starts everything and waits until it serves; then `cluster.json` exists.
    pub async fn start(options: DevOptions) -> Result<DevCluster> {
        let deadline = Instant::now() + options.start_timeout;
        let talk = options.talk.clone();
        let prepared = tokio::task::spawn_blocking(move || prepare(&options));
        let cluster = prepared.await.context(|| "preparing a development cluster")??;
        cluster.wait_until_serving(deadline, &talk).await?;
        {
            let mut publisher = lock_publisher(&cluster.publisher);
            publisher.serving = true;
            publisher
                .document(&cluster.supervisor.state())
                .write(&cluster.layout.cluster_json())?;
        }
        Ok(cluster)
    }

    /// Where processes are now; the same as in the file.
    pub fn cluster_json(&self) -> ClusterJson {
        lock_publisher(&self.publisher).document(&self.supervisor.state())
    }

    pub fn dir(&self) -> &Path {
        &self.layout.dir
    }

    /// All processes; names are `us-east/a`, `us-east/a2`, `us-east/nats`.
    pub fn processes(&self) -> Vec<ProcessState> {
        self.supervisor.state()
    }

    /// Ends a process with a signal and keeps it down until [`DevCluster::release`]. Waits for its end.
    pub async fn hold(&self, name: &str, signal: Signal) -> Result {
        let (orders, name) = (self.supervisor.orders(), name.to_owned());
        let held = tokio::task::spawn_blocking(move || orders.hold(&name, signal)).await;
        held.context(|| "holding a process")?
    }

    /// Starts a held process again.
    pub async fn release(&self, name: &str) -> Result {
        let (orders, name) = (self.supervisor.orders(), name.to_owned());
        let released = tokio::task::spawn_blocking(move || orders.release(&name)).await;
        released.context(|| "releasing a process")?
    }

    /// Waits until every process that is not held serves.
    pub async fn wait_serving(&self, patience: Duration) -> Result {
        let quiet: Talk = Arc::new(|_| ());
        self.wait_until_serving(Instant::now() + patience, &quiet).await
    }

    /// Cuts places (`eu-west`, `us-east/a`) off from everything else.
    pub async fn cut(&self, places: &[String]) -> Result {
        faults::cut(&self.layout.dir, &self.cluster_json(), places).await.map(|_| ())
    }

    /// Takes all cuts away.
    pub async fn heal(&self) -> Result {
        faults::heal(&self.layout.dir, &self.cluster_json()).await.map(|_| ())
    }

    /// Stops everything cleanly; what does not end within `patience` is killed.
    pub async fn stop(mut self, patience: Duration) -> Result {
        let path = self.layout.cluster_json();
        lock_publisher(&self.publisher).serving = false;
        let _ = std::fs::remove_file(path);
        tokio::task::spawn_blocking(move || self.supervisor.stop(patience))
            .await
            .context(|| "stopping the development cluster")
    }

    async fn wait_until_serving(&self, deadline: Instant, talk: &Talk) -> Result {
        let mut told = Instant::now();
        loop {
            let waiting = self.not_serving().await;
            if waiting.is_empty() {
                return Ok(());
            }
            let names: Vec<&str> = waiting.iter().map(|(name, _)| name.as_str()).collect();
            // A process that keeps ending will not come up by waiting: its log says why.
            let state = self.supervisor.state();
            let failing = state.iter().find(|p| p.starts >= 5 && names.contains(&p.name.as_str()));
            if let Some(process) = failing {
                return Err(cannot_start(process, "keeps ending"));
            }
            if Instant::now() >= deadline {
                let (name, why) = &waiting[0];
                let process = state.iter().find(|p| &p.name == name);
                let reason = format!("does not serve in time ({why})");
                return Err(process.map_or_else(
                    || Failure::unavailable(format!("{name} {reason}")),
                    |process| cannot_start(process, &reason),
                ));
            }
            if told.elapsed() > Duration::from_secs(5) {
                told = Instant::now();
                let (name, why) = &waiting[0];
                talk(&format!("waiting for {} ({name}: {why})", names.join(", ")));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Names and reasons of the processes that do not serve and are not held.
    async fn not_serving(&self) -> Vec<(String, String)> {
        let mut questions = Vec::new();
        for region in &self.layout.regions {
            let nats = format!("http://127.0.0.1:{}/healthz", region.nats_monitor);
            questions.push((format!("{}/nats", region.name), nats));
            for node in &region.nodes {
                let url = format!("http://127.0.0.1:{}/readyz", node.admin);
                questions.push((format!("{}/{}", region.name, node.place), url));
            }
        }
        let held = self.supervisor.held();
        let asked = questions.into_iter().filter(|(name, _)| !held.contains(name)).map(
            |(name, url)| async move {
                match http::get(&url, Duration::from_secs(2)).await {
                    Ok(answer) if answer.status == 200 => None,
                    Ok(answer) => Some((name, answer.body.trim().replace('\n', "; "))),
                    Err(error) => Some((name, error.to_string())),
                }
            },
        );
        futures::future::join_all(asked).await.into_iter().flatten().collect()
    }
}

fn cannot_start(process: &ProcessState, what: &str) -> Failure {
    let text = std::fs::read_to_string(&process.log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let tail = lines[lines.len().saturating_sub(12)..].join("\n  ");
    Failure::unavailable(format!(
        "{} {what}; last end: {}; the end of {}:\n  {tail}",
        process.name,
        process.last_end.as_deref().unwrap_or("none"),
        process.log.display()
    ))
}

/// Everything up to the start of the processes. Blocks.
fn prepare(options: &DevOptions) -> Result<DevCluster> {
    let made = std::fs::create_dir_all(&options.dir).and_then(|()| options.dir.canonicalize());
    let dir = made.context(|| format!("making the folder {}", options.dir.display()))?;
    let lock = lock_folder(&dir)?;
    let identity = Identity::read_or_make(
        &dir,
        &options.regions,
        options.nodes_per_zone,
        (options.access_key.as_deref(), options.secret_key.as_deref()),
    )?;
    let numbered: Vec<(String, u16)> =
        options.regions.iter().map(|name| (name.clone(), identity.region_id(name))).collect();
    let layout = Layout::new(&dir, &numbered, options.base_port, options.nodes_per_zone)?;
    layout::check_ports(&layout)?;
    // A file of an earlier run speaks of processes that are gone.
    let _ = std::fs::remove_file(layout.cluster_json());
    let search = Search {
        named: options.nats_server.clone(),
        offline: options.offline,
        ..Search::default()
    };
    let nats_server = find::find_or_install(&search, &|line| (options.talk)(line))?;
    identity::make_certificates(&layout, &identity.cluster)?;
    faults::clear(&dir)?;
    let written = configs::write(&layout, &identity, options)?;
    let specs = specs(&layout, &written, options, &nats_server);
    let publisher = Arc::new(Mutex::new(Publisher {
        layout: layout.clone(),
        nats_urls: written.nats_urls,
        credentials: CredentialsJson {
            access_key: identity.access_key.clone(),
            secret_key: identity.secret_key.clone(),
        },
        serving: false,
    }));
    let told = publisher.clone();
    let on_start: OnStart = Box::new(move |all| lock_publisher(&told).publish(all));
    let supervisor = Supervisor::start(options.restart, on_start, specs)?;
    Ok(DevCluster { layout, supervisor, publisher, _lock: lock })
}

/// The folder that was named, else that of the cluster that was started last.
pub fn folder(named: Option<&Path>) -> Result<PathBuf> {
    if let Some(named) = named {
        return Ok(named.to_owned());
    }
    let unknown = "no development cluster was started yet; name its folder with --dir";
    let remembered = find::cache_dir().map(|cache| cache.join(LAST_DIR));
    let text = remembered.and_then(|path| std::fs::read_to_string(path).ok());
    text.map(|dir| PathBuf::from(dir.trim_end())).ok_or_else(|| Failure::usage(unknown))
}

/// Makes `dir` the answer of [`folder`]. Failing to is no failure.
pub fn remember(dir: &Path) {
    if let Some(cache) = find::cache_dir() {
        let text = dir.to_string_lossy();
        let _ = crate::files::write_atomically(&cache.join(LAST_DIR), text.as_bytes(), 0o644);
    }
}

/// In the user's cache: the folder of the development cluster that was started last.
const LAST_DIR: &str = "last-dev-dir";

fn lock_folder(dir: &Path) -> Result<std::fs::File> {
    let config = dir.join("config");
    std::fs::create_dir_all(&config).context(|| format!("making {}", config.display()))?;
    let path = config.join("lock");
    let file = std::fs::File::create(&path).context(|| format!("opening {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(Failure::usage(format!(
            "a development cluster already runs in {}; stop it, or choose another --dir",
            dir.display()
        ))),
        Err(std::fs::TryLockError::Error(error)) => {
            Err(error).context(|| format!("locking {}", path.display()))
        }
    }
}

fn specs(
    layout: &Layout,
    written: &configs::Written,
    options: &DevOptions,
    nats_server: &Path,
) -> Vec<Spec> {
    let mut specs = Vec::new();
    for (region, nats_config) in layout.regions.iter().zip(&written.nats_configs) {
        let (program, server) = (options.program.clone(), nats_server.to_owned());
        let file = nats_config.clone();
        specs.push(Spec {
            name: format!("{}/nats", region.name),
            log: layout.logs().join(format!("{}-nats.log", region.name)),
            command: Box::new(move || {
                let mut command = child::command(&program, &server);
                command.arg("--config").arg(&file);
                command
            }),
        });
    }
    for region in &layout.regions {
        for node in &region.nodes {
            let program = options.program.clone();
            let file = configs::node_file(layout, &region.name, &node.place);
            specs.push(Spec {
                name: format!("{}/{}", region.name, node.place),
                log: layout.logs().join(format!("{}-{}.log", region.name, node.place)),
                command: Box::new(move || {
                    let mut command = child::command(&program, &program);
                    // The node's file alone decides: variables meant for the person's own
                    // `tombolo` do not reach it.
                    for (name, _) in std::env::vars_os() {
                        if name.to_string_lossy().starts_with("TOMBOLO_") {
                            command.env_remove(name);
                        }
                    }
                    command.arg("serve").arg("--config").arg(&file);
                    command
                }),
            });
        }
    }
    specs
}
