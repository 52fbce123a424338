//! Three hosts in one process, over real sockets with mutual TLS and on real disks.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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

const GROUP: GroupId = GroupId(16);
const LIMIT: Duration = Duration::from_secs(30);

struct Node {
    settings: NetSettings,
    dir: TempDir,
    running: Option<(Host, Net)>,
}

struct Cluster {
    nodes: Vec<Node>,
    peers: Vec<Peer>,
    tune: fn(&mut HostSettings),
    groups: Vec<GroupSpec>,
    session: Uuid,
    number: AtomicU64,
}

fn schema() -> KeySchema {
    KeySchema { partition: KeyAttribute { name: "k".into(), kind: KeyType::S }, sort: None }
}

fn spec(group: GroupId) -> GroupSpec {
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
    };
    GroupSpec { group, config, voters: vec![NodeId(1), NodeId(2), NodeId(3)] }
}

impl Cluster {
    async fn start(tune: fn(&mut HostSettings)) -> Cluster {
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

    async fn start_node(&mut self, id: u64) {
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
    async fn kill(&mut self, id: u64) {
        if let Some((host, net)) = self.nodes[id as usize - 1].running.take() {
            net.shutdown().await;
            host.shutdown().await;
        }
    }

    async fn create(&mut self, group: GroupId) {
        let spec = spec(group);
        for host in self.hosts() {
            host.create(spec.clone()).await.unwrap();
        }
        self.groups.push(spec);
    }

    fn hosts(&self) -> Vec<Host> {
        self.nodes.iter().filter_map(|n| n.running.as_ref().map(|(h, _)| h.clone())).collect()
    }

    fn host(&self, id: u64) -> Host {
        self.nodes[id as usize - 1].running.as_ref().unwrap().0.clone()
    }

    async fn leader(&self, group: GroupId) -> u64 {
        let begun = Instant::now();
        loop {
            for host in self.hosts() {
                if let Some(status) = host.group(group) {
                    if status.serving {
                        return status.leader.unwrap().0;
                    }
                }
            }
            assert!(begun.elapsed() < LIMIT, "no leader: {:#?}", self.statuses(group));
            sleep(Duration::from_millis(5)).await;
        }
    }

    fn statuses(&self, group: GroupId) -> Vec<Option<GroupStatus>> {
        self.hosts().iter().map(|h| h.group(group)).collect()
    }

    fn put(&self, group: GroupId, key: &str, value: &str) -> WriteRequest {
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
    async fn write(&self, request: WriteRequest) -> WriteResponse {
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

    async fn read(&self, group: GroupId, key: &str) -> Option<Item> {
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
    async fn digests(&self, group: GroupId) -> Vec<DigestResponse> {
        let leader = self.leader(group).await;
        let index = self.host(leader).marker(group).await.unwrap();
        let mut all = Vec::new();
        for host in self.hosts() {
            let request = DigestRequest::Buckets { range: KeyRange::full(), bits: 4 };
            all.push(host.digest(group, index, request).await.unwrap());
        }
        all
    }

    async fn stop(mut self) {
        for id in 1..=3 {
            self.kill(id).await;
        }
    }
}

fn now_ms() -> u64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64
}

fn name(key: &str) -> (Key, RowKey) {
    let key = Key { partition: Value::S(key.to_owned()), sort: None };
    let row_key = schema().row_key(&HashSecret([3; 16]), &key).unwrap();
    (key, row_key)
}

fn value_of(item: Option<Item>) -> Option<String> {
    match item?.0.remove("v") {
        Some(Value::S(text)) => Some(text),
        other => panic!("not a text: {other:?}"),
    }
}

fn assert_equal(digests: &[DigestResponse]) {
    for digest in digests {
        assert_eq!(digest, &digests[0]);
        assert!(digest.findings.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_are_read_everywhere_and_survive_a_restart_of_all() {
    let mut cluster = Cluster::start(|_| {}).await;
    cluster.create(GROUP).await;
    for n in 0..50 {
        let response =
            cluster.write(cluster.put(GROUP, &format!("key {n}"), &format!("{n}"))).await;
        assert_eq!(response.outcome, WriteOutcome::Written { old: None });
        assert_eq!(response.seq, n + 1);
    }
    assert_eq!(value_of(cluster.read(GROUP, "key 7").await), Some("7".into()));
    assert_eq!(cluster.read(GROUP, "nothing").await, None);

    // Every replica holds the same, also over the net.
    let digests = cluster.digests(GROUP).await;
    assert_eq!(digests.len(), 3);
    assert_eq!(digests[0].buckets.iter().map(|b| b.items).sum::<u64>(), 50);
    assert_equal(&digests);
    let leader = cluster.leader(GROUP).await;
    let other = cluster.host(leader % 3 + 1);
    let range = RangeRequest {
        group: GROUP,
        epoch: 1,
        range: KeyRange::full(),
        reverse: false,
        limit: 20,
        max_bytes: 0,
        strong: true,
    };
    let page = other.range_on(NodeId(leader), range.clone(), LIMIT).await.unwrap();
    assert_eq!((page.items.len(), page.more), (20, true));
    let refused = other.range(range).await;
    assert!(matches!(refused, Err(GroupError::NotLeader { leader: Some(_), .. })), "{refused:?}");

    // The change log is the same on a follower.
    let log = other.change_log(other.group(GROUP).unwrap().shard).unwrap();
    let changes = log.read(1, 1 << 20).unwrap();
    assert_eq!(changes.records.len(), 50);

    // All stop at once and start again.
    for id in 1..=3 {
        cluster.kill(id).await;
    }
    for id in 1..=3 {
        cluster.start_node(id).await;
    }
    for n in 0..50 {
        let item = cluster.read(GROUP, &format!("key {n}")).await;
        assert_eq!(value_of(item), Some(n.to_string()));
    }
    assert_equal(&cluster.digests(GROUP).await);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_loses_no_acknowledged_write() {
    let mut cluster = Cluster::start(|_| {}).await;
    cluster.create(GROUP).await;
    let first = cluster.leader(GROUP).await;

    // Phase 1: writers write through whoever leads, with tokens, and note what was acknowledged.
    let hosts: Arc<parking_lot::Mutex<Vec<Host>>> =
        Arc::new(parking_lot::Mutex::new(cluster.hosts()));
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for writer in 0..8u64 {
        let (hosts, stop) = (hosts.clone(), stop.clone());
        writers.push(tokio::spawn(async move {
            let session = Uuid::new_v4();
            let (mut acked, mut number, mut longest) = (Vec::new(), 0u64, Duration::ZERO);
            while !stop.load(Ordering::SeqCst) {
                number += 1;
                let key = format!("w{writer} {number}");
                let request = put_with(&key, session, number);
                let begun = Instant::now();
                'again: loop {
                    let now: Vec<Host> = hosts.lock().clone();
                    for host in now {
                        if host.group(GROUP).is_some_and(|s| s.is_leader) {
                            if let Ok(response) = host.write(request.clone()).await {
                                acked.push((key, response.stamp));
                                break 'again;
                            }
                        }
                    }
                    assert!(begun.elapsed() < LIMIT);
                    sleep(Duration::from_millis(2)).await;
                }
                longest = longest.max(begun.elapsed());
            }
            (acked, longest)
        }));
    }
    sleep(Duration::from_millis(500)).await;

    // Phase 2: the leader dies in mid-load; another takes over.
    let survivors: Vec<Host> =
        (1..=3).filter(|id| *id != first).map(|id| cluster.host(id)).collect();
    *hosts.lock() = survivors;
    cluster.kill(first).await;
    let second = cluster.leader(GROUP).await;
    assert_ne!(first, second);
    sleep(Duration::from_millis(500)).await;
    stop.store(true, Ordering::SeqCst);
    let (mut acked, mut longest) = (Vec::new(), Duration::ZERO);
    for writer in writers {
        let (theirs, pause) = writer.await.unwrap();
        acked.extend(theirs);
        longest = longest.max(pause);
    }
    assert!(longest < Duration::from_secs(6), "no write for {longest:?}");

    // Phase 3: everything acknowledged is there, under the stamp that was acknowledged.
    assert!(acked.len() > 50, "{} writes", acked.len());
    let leader = cluster.host(cluster.leader(GROUP).await);
    for (key, stamp) in &acked {
        let row_key = name(key).1;
        let request = ReadRequest { group: GROUP, epoch: 1, row_key, strong: true };
        assert_eq!(leader.read(request).await.unwrap().stamp, *stamp, "{key}");
    }

    // Phase 4: the dead one comes back and holds the same.
    cluster.start_node(first).await;
    let digests = cluster.digests(GROUP).await;
    assert_eq!(digests.len(), 3);
    assert_equal(&digests);
    println!("{} writes acknowledged, none lost, longest pause {longest:?}", acked.len());
    cluster.stop().await;
}

fn put_with(key: &str, session: Uuid, number: u64) -> WriteRequest {
    let item = Item(BTreeMap::from([
        ("k".to_owned(), Value::S(key.to_owned())),
        ("v".to_owned(), Value::S("x".repeat(100))),
    ]));
    let token = Token { session, number, lowest_unfinished: number, issued_ms: now_ms() };
    let (key, row_key) = name(key);
    let op = WriteOp::Put {
        item: item.encode(),
        condition: None,
        return_old: false,
        return_on_failure: false,
    };
    WriteRequest { group: GROUP, epoch: 1, key, row_key, op, token: Some(token) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_too_far_behind_gets_a_snapshot() {
    fn tune(settings: &mut HostSettings) {
        settings.log_tail_bytes = 2_000;
        settings.checkpoint_age = Duration::from_millis(100);
    }
    let mut cluster = Cluster::start(tune).await;
    cluster.create(GROUP).await;
    let leader = cluster.leader(GROUP).await;
    let behind = leader % 3 + 1;
    cluster.write(cluster.put(GROUP, "before", "1")).await;
    cluster.kill(behind).await;
    for n in 0..200 {
        cluster.write(cluster.put(GROUP, &format!("key {n}"), &"x".repeat(200))).await;
    }
    // The others no longer hold the log from the beginning.
    let others: Vec<Host> = cluster.hosts();
    let begun = Instant::now();
    while others.iter().any(|h| {
        let partition = h.partition(GROUP).unwrap();
        partition.checkpointed().0 + 5 < partition.applied().0
    }) {
        assert!(begun.elapsed() < LIMIT, "no checkpoint");
        sleep(Duration::from_millis(20)).await;
    }
    cluster.start_node(behind).await;
    let wanted = cluster.host(leader).group(GROUP).unwrap().applied;
    let begun = Instant::now();
    while cluster.host(behind).group(GROUP).unwrap().applied < wanted {
        assert!(begun.elapsed() < LIMIT, "{:#?}", cluster.statuses(GROUP));
        sleep(Duration::from_millis(20)).await;
    }
    assert!(cluster.host(behind).partition(GROUP).unwrap().generation() > 1, "a snapshot");
    assert_equal(&cluster.digests(GROUP).await);

    // It goes on from there, and the new generation survives a restart.
    cluster.write(cluster.put(GROUP, "after", "2")).await;
    cluster.kill(behind).await;
    cluster.start_node(behind).await;
    assert_equal(&cluster.digests(GROUP).await);
    assert_eq!(value_of(cluster.read(GROUP, "after").await), Some("2".into()));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_planned_hand_over_is_short_and_leaders_spread() {
    let mut cluster = Cluster::start(|_| {}).await;
    let groups: Vec<GroupId> = (16..28).map(GroupId).collect();
    for group in &groups {
        cluster.create(*group).await;
    }
    let mut led = BTreeMap::new();
    for group in &groups {
        *led.entry(cluster.leader(*group).await).or_insert(0) += 1;
    }
    assert_eq!(led.len(), 3, "leaders spread over the nodes: {led:?}");

    let leaving = *led.keys().next().unwrap();
    let begun = Instant::now();
    cluster.host(leaving).hand_over_all().await;
    for group in &groups {
        assert_ne!(cluster.leader(*group).await, leaving);
    }
    let took = begun.elapsed();
    assert!(took < Duration::from_millis(1_500), "the hand-over took {took:?}");
    for group in &groups {
        cluster.write(cluster.put(*group, "k", "v")).await;
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_with_its_token_is_answered_and_not_applied_again() {
    let mut cluster = Cluster::start(|_| {}).await;
    cluster.create(GROUP).await;
    let request = cluster.put(GROUP, "k", "1");
    let first = cluster.write(request.clone()).await;
    let other = cluster.write(cluster.put(GROUP, "k", "2")).await;
    let again = cluster.write(request.clone()).await;
    assert_eq!(again.stamp, first.stamp);
    assert!(other.stamp > first.stamp);
    assert_eq!(value_of(cluster.read(GROUP, "k").await), Some("2".into()));

    // Also under a new leader, which knows the answer from the log alone.
    let leader = cluster.leader(GROUP).await;
    cluster.kill(leader).await;
    let again = cluster.write(request).await;
    assert_eq!(again.stamp, first.stamp);
    assert_eq!(value_of(cluster.read(GROUP, "k").await), Some("2".into()));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_group_leaves_nothing_on_the_disk() {
    let mut cluster = Cluster::start(|_| {}).await;
    cluster.create(GROUP).await;
    cluster.write(cluster.put(GROUP, "k", "1")).await;
    let dirs: Vec<std::path::PathBuf> =
        cluster.nodes.iter().map(|n| replica_dir(n.dir.path())).collect();
    assert!(dirs.iter().all(|d| d.exists()), "{dirs:?}");
    for host in cluster.hosts() {
        host.drop_group(GROUP);
    }
    let begun = Instant::now();
    while dirs.iter().any(|d| d.exists()) {
        assert!(begun.elapsed() < LIMIT, "still there");
        sleep(Duration::from_millis(10)).await;
    }
    let refused = cluster.host(1).write(cluster.put(GROUP, "k", "2")).await;
    assert_eq!(refused, Err(GroupError::NoSuchGroup));
    for id in 1..=3 {
        cluster.kill(id).await;
        cluster.start_node(id).await;
        assert!(cluster.host(id).groups().is_empty());
    }
    cluster.stop().await;
}

fn replica_dir(node: &Path) -> std::path::PathBuf {
    let replicas = node.join("replicas");
    let mut found = std::fs::read_dir(replicas).unwrap();
    found.next().expect("one replica").unwrap().path()
}
