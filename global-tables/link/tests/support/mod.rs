//! Two whole regions in this process: three nodes each on real sockets with real certificates, and a
//! real nats-server per region. Everything is in a temporary folder and ends with the test.

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tombolo_group::net::node_san;
use tombolo_group::{Host, HostSettings, Net, NetSettings, NodeTls, WriteOp, WriteResponse};
use tombolo_item::{Item, Key, KeyAttribute, KeySchema, KeyType, NodeId, RegionId, Value};
use tombolo_link::verify::{Report, VerifyDeps, verify_table};
use tombolo_link::{LinkSettings, run};
use tombolo_memds::{Memds, MemdsSettings, NodeInfo, RegionConfig, Routed, TableInfo, TableSpec};
use tombolo_stream::PublisherSettings;

pub(crate) const REGIONS: [&str; 2] = ["us-east", "eu-west"];
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Node {
    pub(crate) net: Net,
    pub(crate) host: Host,
    pub(crate) memds: Memds,
    pub(crate) routed: Routed,
}

pub(crate) struct Cluster {
    pub(crate) regions: Vec<Vec<Node>>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    pub(crate) nats: Vec<Nats>,
    _dir: tempfile::TempDir,
}

fn node_id(region: usize, ordinal: usize) -> NodeId {
    NodeId((region as u64 + 1) << 32 | (ordinal as u64 + 1))
}

impl Cluster {
    pub(crate) async fn start() -> Cluster {
        // What the nodes say, with RUST_LOG set; a second test in the process finds it there.
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_test_writer()
            .try_init();
        let dir = tempfile::tempdir().unwrap();
        let nats: Vec<Nats> = REGIONS.iter().map(|name| Nats::start(&dir, name)).collect();
        let authority = Authority::new();
        let mut nets = Vec::new();
        let mut configs = Vec::new();
        for (r, name) in REGIONS.iter().enumerate() {
            let mut region = RegionConfig {
                id: RegionId(r as u16 + 1),
                name: (*name).into(),
                nats: nats[r].url(),
                nodes: Vec::new(),
            };
            for (n, zone) in ["a", "b", "c"].iter().enumerate() {
                let id = node_id(r, n);
                let settings = NetSettings {
                    node: id,
                    region: region.id,
                    zone: (*zone).into(),
                    listen: "127.0.0.1:0".parse().unwrap(),
                    tls: authority.certify(id),
                    cluster: "test".into(),
                };
                let net = Net::start(settings).await.unwrap();
                region.nodes.push((id, net.local_addr().to_string(), (*zone).into()));
                nets.push((r, id, (*zone).to_owned(), net));
            }
            configs.push(region);
        }
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let mut starting = JoinSet::new();
        for (r, id, zone, net) in nets {
            let folder = dir.path().join(REGIONS[r]).join(&zone);
            let settings = HostSettings::new(id, configs[r].id, folder.clone());
            let host = Host::start(settings, net.clone()).unwrap();
            let settings = MemdsSettings {
                dir: folder,
                node: NodeInfo {
                    id,
                    region: configs[r].id,
                    zone,
                    node_addr: net.local_addr().to_string(),
                    grpc: String::new(),
                    admin: String::new(),
                    dynamodb: String::new(),
                    roles: ["router", "storage", "memds", "control"].map(String::from).to_vec(),
                },
                region_name: REGIONS[r].into(),
                regions: configs.clone(),
                system_voters: (0..3).map(|n| node_id(r, n)).collect(),
            };
            starting.spawn(async move {
                let memds = Memds::start(settings, host.clone(), net.clone()).await.unwrap();
                (r, id, net, host, memds)
            });
        }
        let mut started = starting.join_all().await;
        started.sort_by_key(|node| node.1);
        let mut regions: Vec<Vec<Node>> = vec![Vec::new(), Vec::new()];
        for (r, _, net, host, memds) in started {
            let routed = Routed::new(memds.clone(), host.clone());
            let control = memds.clone();
            tasks.spawn(async move { control.run_control().await });
            let publisher = PublisherSettings {
                nats_url: nats[r].url(),
                region_name: REGIONS[r].into(),
                region: configs[r].id,
                development: true,
                ..PublisherSettings::default()
            };
            let (h, m, s) = (host.clone(), memds.clone(), stopped.clone());
            tasks.spawn(async move { tombolo_stream::run(publisher, h, m, s).await.unwrap() });
            let (h, m, s) = (host.clone(), memds.clone(), stopped.clone());
            let (q, n) = (routed.clone(), net.clone());
            let settings = LinkSettings { purge_ms: 1_000, closed_ms: 500, ..Default::default() };
            tasks.spawn(async move { run(settings, h, m, q, n, s).await.unwrap() });
            regions[r].push(Node { net, host, memds, routed });
        }
        let cluster = Cluster { regions, stop, tasks, nats, _dir: dir };
        let until = Instant::now() + PATIENCE;
        for node in cluster.regions.iter().flatten() {
            while node.memds.nodes().len() < 3 {
                assert!(Instant::now() < until, "a node never announced itself");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        cluster
    }

    pub(crate) async fn table(
        &self,
        name: &str,
        partitions: u32,
    ) -> Vec<std::sync::Arc<TableInfo>> {
        let spec = TableSpec {
            name: name.into(),
            schema: schema(),
            view: None,
            partitions,
            regions: REGIONS.map(String::from).to_vec(),
            settings: Default::default(),
        };
        let created = self.regions[0][0].memds.create_table(spec).await.unwrap();
        let mut tables = Vec::new();
        for region in &self.regions {
            for node in region {
                let until = Instant::now() + PATIENCE;
                let table = node.memds.wait_active(created.id, until).await.unwrap();
                if node.memds.node().zone == "a" {
                    tables.push(table);
                }
            }
        }
        tables
    }

    pub(crate) async fn write(
        &self,
        region: usize,
        table: &TableInfo,
        key: &str,
        op: Op,
    ) -> WriteResponse {
        let op = match op {
            Op::Put(text) => WriteOp::Put {
                item: item(key, &text).encode(),
                condition: None,
                return_old: false,
                return_on_failure: false,
            },
            Op::Delete => {
                WriteOp::Delete { condition: None, return_old: false, return_on_failure: false }
            }
        };
        let deadline = Instant::now() + PATIENCE;
        self.regions[region][0].routed.write(table, self::key(key), op, deadline).await.unwrap()
    }

    pub(crate) async fn read(&self, region: usize, table: &TableInfo, key: &str) -> Option<String> {
        let deadline = Instant::now() + PATIENCE;
        let routed = &self.regions[region][1].routed;
        let read = routed.read(table, &self::key(key), true, deadline).await.unwrap();
        let item = Item::decode(&read.item?).unwrap();
        match item.get("text") {
            Some(Value::S(text)) => Some(text.clone()),
            other => panic!("an item without text: {other:?}"),
        }
    }

    /// Waits until a strong read in the region gives this.
    pub(crate) async fn until_reads(
        &self,
        region: usize,
        table: &TableInfo,
        key: &str,
        expected: Option<&str>,
    ) {
        let until = Instant::now() + PATIENCE;
        loop {
            let read = self.read(region, table, key).await;
            if read.as_deref() == expected {
                return;
            }
            assert!(Instant::now() < until, "{key} in {region}: {read:?}, not {expected:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub(crate) async fn verify(&self, table: &TableInfo) -> Report {
        let node = &self.regions[0][2];
        let deps = VerifyDeps {
            host: node.host.clone(),
            memds: node.memds.clone(),
            net: node.net.clone(),
        };
        verify_table(&deps, table.id, std::sync::Arc::new(|_| {})).await.unwrap()
    }

    /// Cuts the second region off from the first, everywhere.
    pub(crate) fn cut(&self) {
        for node in self.regions.iter().flatten() {
            node.net.faults().cut(RegionId(2), None);
        }
    }

    pub(crate) fn heal(&self) {
        for node in self.regions.iter().flatten() {
            node.net.faults().heal();
        }
    }

    pub(crate) async fn end(mut self) {
        self.stop.send_replace(true);
        for node in self.regions.iter().flatten() {
            node.memds.shutdown().await;
        }
        self.tasks.shutdown().await;
        for node in self.regions.into_iter().flatten() {
            let Node { net, host, .. } = node;
            host.shutdown().await;
            net.shutdown().await;
        }
    }
}

pub(crate) enum Op {
    Put(String),
    Delete,
}

pub(crate) fn put(text: impl Into<String>) -> Op {
    Op::Put(text.into())
}

pub(crate) fn schema() -> KeySchema {
    KeySchema { partition: KeyAttribute { name: "id".into(), kind: KeyType::S }, sort: None }
}

pub(crate) fn key(name: &str) -> Key {
    Key { partition: Value::S(name.into()), sort: None }
}

pub(crate) fn item(key: &str, text: &str) -> Item {
    let mut item = Item::default();
    item.insert("id", Value::S(key.into()));
    item.insert("text", Value::S(text.into()));
    item
}

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn certify(&self, node: NodeId) -> NodeTls {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![node_san("test", node)]).unwrap();
        let cert = params.signed_by(&key, &self.0).unwrap();
        NodeTls { ca_pem: self.0.pem(), cert_pem: cert.pem(), key_pem: key.serialize_pem() }
    }
}

/// A nats-server with JetStream and credentials; killed when dropped.
pub(crate) struct Nats {
    child: Option<Child>,
    folder: PathBuf,
    port: u16,
}

impl Nats {
    fn start(dir: &tempfile::TempDir, region: &str) -> Nats {
        let folder = dir.path().join(format!("nats-{region}"));
        std::fs::create_dir_all(&folder).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut nats = Nats { child: None, folder, port };
        nats.up();
        nats
    }

    /// Starts it (again), on the same port and store.
    pub(crate) fn up(&mut self) {
        let config = self.folder.join("nats.conf");
        let text = format!(
            "listen: \"127.0.0.1:{}\"\nserver_name: test\n\
             jetstream {{ store_dir: \"{}\" }}\n\
             authorization {{ user: tester, password: secret }}\n",
            self.port,
            self.folder.join("store").display()
        );
        std::fs::write(&config, text).unwrap();
        let child = Command::new(binary())
            .arg("-c")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
        let until = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < until, "nats-server does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Gone already is as good.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// All streams and messages are gone.
    pub(crate) fn forget(&mut self) {
        assert!(self.child.is_none());
        std::fs::remove_dir_all(self.folder.join("store")).unwrap();
    }

    fn url(&self) -> String {
        format!("nats://tester:secret@127.0.0.1:{}", self.port)
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The server that development clusters run; fetched where there is none.
fn binary() -> PathBuf {
    let search = tombolo::nats::find::Search {
        named: std::env::var_os("TOMBOLO_NATS_SERVER").map(PathBuf::from),
        ..Default::default()
    };
    tombolo::nats::find::find_or_install(&search, &|line| eprintln!("{line}"))
        .unwrap_or_else(|error| panic!("these tests need a nats-server: {error}"))
}
