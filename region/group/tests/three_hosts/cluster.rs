//! Three nodes in one process: certificates, ports, folders, and what a router would do with them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::time::sleep;
use tombolo_group::net::node_san;
use tombolo_group::*;
use tombolo_item::{
    GroupId, HashSecret, Item, Key, KeyAttribute, KeyRange, KeySchema, KeyType, NodeId, RegionId,
    RowKey, StreamView, TableId, Value,
};
use tombolo_storage::GroupConfig;
use uuid::Uuid;

pub(crate) const GROUP: GroupId = GroupId(16);
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

pub(crate) struct Node {
    settings: NetSettings,
    pub(crate) dir: TempDir,
    running: Option<(Host, Net)>,
}

pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
    peers: Vec<Peer>,
    tune: fn(&mut HostSettings),
    groups: Vec<GroupSpec>,
    session: Uuid,
    number: AtomicU64,
}

pub(crate) fn schema() -> KeySchema {
    KeySchema { partition: KeyAttribute { name: "k".into(), kind: KeyType::S }, sort: None }
}

pub(crate) fn spec(group: GroupId) -> GroupSpec {
    let config = GroupConfig {
        group,
        table: TableId(Uuid::from_u128(7)),
        schema: schema(),
        secret: HashSecret([3; 16]),
        range: KeyRange::full(),
        epoch: 1,
        view: Some(StreamView::NewAndOldImages),
        regions: vec![RegionId(1)],
        parent: None,
        keep_log: true,
        indexes: Vec::new(),
    };
    GroupSpec { group, config, voters: vec![NodeId(1), NodeId(2), NodeId(3)] }
}

impl Cluster {
    pub(crate) async fn start(tune: fn(&mut HostSettings)) -> Cluster {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let mut nodes = Vec::new();
        for id in 1..=3u64 {
            let key = KeyPair::generate().unwrap();
            let name = node_san("test", NodeId(id));
            let cert = CertificateParams::new(vec![name]).unwrap().signed_by(&key, &ca).unwrap();
            let settings = NetSettings {
                node: NodeId(id),
                region: RegionId(1),
                zone: ["a", "b", "c"][id as usize - 1].into(),
                listen: "127.0.0.1:0".parse().unwrap(),
                tls: NodeTls {
                    ca_pem: ca.pem(),
                    cert_pem: cert.pem(),
                    key_pem: key.serialize_pem(),
                },
                cluster: "test".into(),
            };
            nodes.push(Node { settings, dir: TempDir::new().unwrap(), running: None });
        }
        let mut cluster = Cluster {
            nodes,
            peers: Vec::new(),
            tune,
            groups: Vec::new(),
            session: Uuid::new_v4(),
            number: AtomicU64::new(1),
        };
        for id in 1..=3 {
            cluster.start_node(id).await;
        }
        cluster
    }

    pub(crate) async fn start_node(&mut self, id: u64) {
        let node = &mut self.nodes[id as usize - 1];
        let net = Net::start(node.settings.clone()).await.unwrap();
        // The port stays the node's own over its restarts.
        let addr: SocketAddr = net.local_addr();
        node.settings.listen = addr;
        let mut settings = HostSettings::new(NodeId(id), RegionId(1), node.dir.path());
        (self.tune)(&mut settings);
        let host = Host::start(settings, net.clone()).unwrap();
        node.running = Some((host, net.clone()));
        let peer = Peer {
            node: NodeId(id),
            region: RegionId(1),
            zone: node.settings.zone.clone(),
            addr: addr.to_string(),
        };
        self.peers.retain(|p| p.node != NodeId(id));
        self.peers.push(peer);
        for (_, net) in self.nodes.iter().filter_map(|n| n.running.as_ref()) {
            for peer in &self.peers {
                if peer.node != net.node() {
                    net.learn(peer.clone());
                }
            }
        }
    }

    /// Stops a node without handing anything over.
    pub(crate) async fn kill(&mut self, id: u64) {
        if let Some((host, net)) = self.nodes[id as usize - 1].running.take() {
            net.shutdown().await;
            host.shutdown().await;
        }
    }

    pub(crate) async fn create(&mut self, group: GroupId) {
        let spec = spec(group);
        for host in self.hosts() {
            host.create(spec.clone()).await.unwrap();
        }
        self.groups.push(spec);
    }

    pub(crate) fn hosts(&self) -> Vec<Host> {
        self.nodes.iter().filter_map(|n| n.running.as_ref().map(|(h, _)| h.clone())).collect()
    }

    pub(crate) fn host(&self, id: u64) -> Host {
        self.nodes[id as usize - 1].running.as_ref().unwrap().0.clone()
    }

    pub(crate) async fn leader(&self, group: GroupId) -> u64 {
        let begun = Instant::now();
        loop {
            for host in self.hosts() {
                if let Some(status) = host.group(group).filter(|status| status.serving) {
                    return status.leader.unwrap().0;
                }
            }
            assert!(begun.elapsed() < LIMIT, "no leader: {:#?}", self.statuses(group));
            sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) fn statuses(&self, group: GroupId) -> Vec<Option<GroupStatus>> {
        self.hosts().iter().map(|h| h.group(group)).collect()
    }

    pub(crate) fn put(&self, group: GroupId, key: &str, value: &str) -> WriteRequest {
        let item = Item(BTreeMap::from([
            ("k".to_owned(), Value::S(key.to_owned())),
            ("v".to_owned(), Value::S(value.to_owned())),
        ]));
        let number = self.number.fetch_add(1, Ordering::SeqCst);
        let token =
            Token { session: self.session, number, lowest_unfinished: 0, issued_ms: now_ms() };
        let (key, row_key) = name(key);
        let op = WriteOp::Put {
            item: item.encode(),
            condition: None,
            return_old: false,
            return_on_failure: false,
        };
        WriteRequest { group, epoch: 1, key, row_key, op, token: Some(token) }
    }

    /// What a router does: tries every node, with one token, until one answers.
    pub(crate) async fn write(&self, request: WriteRequest) -> WriteResponse {
        let begun = Instant::now();
        loop {
            for host in self.hosts() {
                if host.group(request.group).is_some_and(|s| s.is_leader) {
                    match host.write(request.clone()).await {
                        Ok(response) => return response,
                        Err(error) => assert!(error.retry_helps(), "{error}"),
                    }
                }
            }
            assert!(begun.elapsed() < LIMIT, "nobody takes the write");
            sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) async fn read(&self, group: GroupId, key: &str) -> Option<Item> {
        let begun = Instant::now();
        let (_, row_key) = name(key);
        loop {
            for host in self.hosts() {
                let request =
                    ReadRequest { group, epoch: 1, row_key: row_key.clone(), strong: true };
                match host.read(request).await {
                    Ok(response) => return response.item.map(|i| Item::decode(&i).unwrap()),
                    Err(error) => assert!(error.retry_helps(), "{error}"),
                }
            }
            assert!(begun.elapsed() < LIMIT, "nobody reads");
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Every replica's digest at one marker.
    pub(crate) async fn digests(&self, group: GroupId) -> Vec<DigestResponse> {
        let leader = self.leader(group).await;
        let index = self.host(leader).marker(group).await.unwrap();
        let mut all = Vec::new();
        for host in self.hosts() {
            let request = DigestRequest::Buckets { range: KeyRange::full(), bits: 4 };
            all.push(host.digest(group, index, request).await.unwrap());
        }
        all
    }

    pub(crate) async fn stop(mut self) {
        self.stop_all().await;
    }

    pub(crate) async fn stop_all(&mut self) {
        for id in 1..=3 {
            self.kill(id).await;
        }
    }
}

pub(crate) fn now_ms() -> u64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64
}

pub(crate) fn name(key: &str) -> (Key, RowKey) {
    let key = Key { partition: Value::S(key.to_owned()), sort: None };
    let row_key = schema().row_key(&HashSecret([3; 16]), &key).unwrap();
    (key, row_key)
}

pub(crate) fn value_of(item: Option<Item>) -> Option<String> {
    match item?.0.remove("v") {
        Some(Value::S(text)) => Some(text),
        other => panic!("not a text: {other:?}"),
    }
}

pub(crate) fn assert_equal(digests: &[DigestResponse]) {
    for digest in digests {
        assert_eq!(digest, &digests[0]);
        assert!(digest.findings.is_empty());
    }
}
