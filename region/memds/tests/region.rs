//! Whole regions in one process: real node ports, real hosts on real disks, one metadata service
//! per node. Each test is a story of one cluster.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::task::JoinHandle;
use tombolo_group::net::node_san;
use tombolo_group::{Host, HostSettings, Net, NetSettings, NodeTls, WriteOp, WriteOutcome};
use tombolo_item::{
    GroupId, Item, Key, KeyAttribute, KeyRange, KeySchema, KeyType, NodeId, RegionId, Value,
};
use tombolo_memds::{
    CatalogError, Expect, Memds, MemdsError, MemdsSettings, NodeInfo, RegionConfig, RouteError,
    Routed, TableInfo, TableSpec, TableStatus,
};

const PATIENCE: Duration = Duration::from_secs(30);

fn soon() -> Instant {
    Instant::now() + PATIENCE
}

/// Waits on a state, never on time.
async fn until(what: &str, mut there: impl AsyncFnMut() -> bool) {
    let deadline = soon();
    while !there().await {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

struct Node {
    id: NodeId,
    zone: &'static str,
    net: Net,
    host: Host,
    memds: Memds,
    routed: Routed,
    control: JoinHandle<()>,
}

impl Node {
    async fn stop(self) {
        self.memds.shutdown().await;
        self.control.await.unwrap();
        self.host.shutdown().await;
        self.net.shutdown().await;
    }
}

/// The folders and certificates of a cluster; nodes come and go.
struct Cluster {
    dir: tempfile::TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
    /// Region number, zones' nodes by ordinal.
    regions: Vec<(RegionId, &'static str, Vec<(NodeId, &'static str)>)>,
}

fn node_id(region: u16, ordinal: u64) -> NodeId {
    NodeId(u64::from(region) << 32 | ordinal)
}

impl Cluster {
    fn new(names: &[&'static str], nodes_per_zone: u64) -> Cluster {
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_test_writer()
            .try_init();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let regions = names
            .iter()
            .zip(1u16..)
            .map(|(name, region)| {
                let nodes = (0..nodes_per_zone).flat_map(|n| {
                    ["a", "b", "c"]
                        .into_iter()
                        .zip(1u64..)
                        .map(move |(zone, z)| (node_id(region, 3 * n + z), zone))
                });
                (RegionId(region), *name, nodes.collect())
            })
            .collect();
        Cluster {
            dir: tempfile::tempdir().unwrap(),
            authority: CertifiedIssuer::self_signed(params, key).unwrap(),
            regions,
        }
    }

    fn folder(&self, node: NodeId) -> PathBuf {
        self.dir.path().join(node.0.to_string())
    }

    async fn net(&self, region: RegionId, node: NodeId, zone: &str) -> Net {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![node_san("test", node)]).unwrap();
        let cert = params.signed_by(&key, &self.authority).unwrap();
        Net::start(NetSettings {
            node,
            region,
            zone: zone.into(),
            listen: "127.0.0.1:0".parse().unwrap(),
            tls: NodeTls {
                ca_pem: self.authority.pem(),
                cert_pem: cert.pem(),
                key_pem: key.serialize_pem(),
            },
            cluster: "test".into(),
        })
        .await
        .unwrap()
    }

    /// All nodes, started together.
    async fn start(&self) -> Vec<Node> {
        let mut nets = Vec::new();
        for (region, _, nodes) in &self.regions {
            for (node, zone) in nodes {
                nets.push((*region, *node, *zone, self.net(*region, *node, zone).await));
            }
        }
        let addresses: Vec<_> =
            nets.iter().map(|(_, node, _, net)| (*node, net.local_addr().to_string())).collect();
        let started = nets
            .into_iter()
            .map(|(region, node, zone, net)| self.node(region, node, zone, net, &addresses));
        futures::future::join_all(started).await.into_iter().map(Result::unwrap).collect()
    }

    async fn node(
        &self,
        region: RegionId,
        id: NodeId,
        zone: &'static str,
        net: Net,
        addresses: &[(NodeId, String)],
    ) -> Result<Node, MemdsError> {
        let address = |node: NodeId| {
            addresses.iter().find(|(id, _)| *id == node).map(|(_, a)| a.clone()).unwrap()
        };
        let dir = self.folder(id);
        std::fs::create_dir_all(&dir).unwrap();
        let host = Host::start(HostSettings::new(id, region, &dir), net.clone()).unwrap();
        let config = |(region, name, nodes): &(RegionId, &str, Vec<(NodeId, &'static str)>)| {
            let nodes = nodes.iter().map(|(node, zone)| (*node, address(*node), zone.to_string()));
            RegionConfig {
                id: *region,
                name: name.to_string(),
                nats: String::new(),
                nodes: nodes.collect(),
            }
        };
        let (_, region_name, nodes) = self.regions.iter().find(|r| r.0 == region).unwrap();
        let settings = MemdsSettings {
            node: NodeInfo {
                id,
                region,
                zone: zone.into(),
                node_addr: net.local_addr().to_string(),
                grpc: String::new(),
                admin: String::new(),
                dynamodb: String::new(),
                roles: vec![],
            },
            dir,
            region_name: region_name.to_string(),
            regions: self.regions.iter().map(config).collect(),
            system_voters: nodes.iter().take(3).map(|(node, _)| *node).collect(),
        };
        let memds = match Memds::start(settings, host.clone(), net.clone()).await {
            Ok(memds) => memds,
            Err(error) => {
                host.shutdown().await;
                net.shutdown().await;
                return Err(error);
            }
        };
        let routed = Routed::new(memds.clone(), host.clone());
        let control = tokio::spawn(memds.clone().run_control());
        Ok(Node { id, zone, net, host, memds, routed, control })
    }

    async fn ready(&self) -> Vec<Node> {
        let nodes = self.start().await;
        for node in &nodes {
            node.memds.wait_ready(soon()).await.unwrap();
        }
        let count = self.regions[0].2.len();
        until("every node is in every map", async || {
            nodes.iter().all(|node| node.memds.nodes().len() == count)
        })
        .await;
        nodes
    }
}

fn schema() -> KeySchema {
    KeySchema {
        partition: KeyAttribute { name: "pk".into(), kind: KeyType::S },
        sort: Some(KeyAttribute { name: "sk".into(), kind: KeyType::S }),
    }
}

fn spec(name: &str, partitions: u32, regions: &[&str]) -> TableSpec {
    TableSpec {
        name: name.into(),
        schema: schema(),
        view: None,
        partitions,
        regions: regions.iter().map(|region| region.to_string()).collect(),
    }
}

fn key(n: u32) -> Key {
    let part = |prefix: &str| Value::S(format!("{prefix}{n:04}"));
    Key { partition: part("p"), sort: Some(part("s")) }
}

fn put(n: u32, content: &str) -> WriteOp {
    let mut item = key(n).to_item(&schema());
    item.insert("content", Value::S(content.into()));
    WriteOp::Put {
        item: item.encode(),
        condition: None,
        return_old: false,
        return_on_failure: false,
    }
}

async fn write(node: &Node, table: &TableInfo, n: u32, content: &str) {
    let response = node.routed.write(table, key(n), put(n, content), soon()).await.unwrap();
    assert!(!matches!(response.outcome, WriteOutcome::ConditionFailed { .. }));
}

async fn content(node: &Node, table: &TableInfo, n: u32, strong: bool) -> Option<String> {
    let response = node.routed.read(table, &key(n), strong, soon()).await.unwrap();
    let item = Item::decode(&response.item?).unwrap();
    match item.get("content") {
        Some(Value::S(content)) => Some(content.clone()),
        other => panic!("{other:?}"),
    }
}

async fn create(node: &Node, spec: TableSpec) -> std::sync::Arc<TableInfo> {
    let created = node.memds.create_table(spec).await.unwrap();
    node.memds.wait_active(created.id, soon()).await.unwrap()
}

async fn walk(node: &Node, table: &TableInfo, reverse: bool, limit: u32) -> Vec<String> {
    let mut seen = Vec::new();
    let mut rest = KeyRange::full();
    loop {
        let page = node.routed.range(table, rest.clone(), reverse, limit, 0, true, soon());
        let page = page.await.unwrap();
        for (_, item) in &page.items {
            match Item::decode(item).unwrap().get("pk") {
                Some(Value::S(pk)) => seen.push(pk.clone()),
                other => panic!("{other:?}"),
            }
        }
        assert!(limit == 0 || page.items.len() as u32 <= limit);
        if !page.more {
            return seen;
        }
        let last = page.items.last().unwrap().0.clone();
        if reverse { rest.end = Some(last) } else { rest.start = last.successor() }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_is_founded_serves_restarts_and_forgets_a_table() {
    let cluster = Cluster::new(&["here"], 1);
    let nodes = cluster.ready().await;
    let [a, b, c] = &nodes[..] else { panic!() };

    // A table comes to be; its name is taken; each zone holds a replica of each partition.
    let table = create(a, spec("music", 4, &[])).await;
    assert!(matches!(
        b.memds.create_table(spec("music", 1, &[])).await,
        Err(CatalogError::Exists(_))
    ));
    for bad in [spec("no", 1, &[]), spec("fine", 0, &[]), spec("fine", 1, &["nowhere"])] {
        assert!(matches!(a.memds.create_table(bad).await, Err(CatalogError::Invalid(_))));
    }
    assert_eq!(table.partitions, 4);
    for node in [a, b, c] {
        node.memds.wait_active(table.id, soon()).await.unwrap();
        assert_eq!(node.memds.table_by_name("music").unwrap().id, table.id);
        let partitions = node.memds.partitions(table.id);
        assert_eq!(partitions.len(), 4);
        for partition in partitions {
            let zones: BTreeSet<NodeId> = partition.replicas.iter().copied().collect();
            assert_eq!(zones.len(), 3);
            assert!(node.host.group(partition.group).is_some());
        }
    }

    // Whoever asks, the leader answers.
    for n in 0..60 {
        write([a, b, c][n as usize % 3], &table, n, "first").await;
    }
    for n in 0..60 {
        let asked = [b, c, a][n as usize % 3];
        assert_eq!(content(asked, &table, n, true).await.as_deref(), Some("first"));
    }
    until("eventual reads see it everywhere", async || {
        let mut all = true;
        for node in [a, b, c] {
            all &= content(node, &table, 7, false).await.as_deref() == Some("first");
        }
        all
    })
    .await;
    assert_eq!(content(a, &table, 99, true).await, None);

    // Walks cross partitions in both directions, in pages of any size.
    let all = walk(a, &table, false, 0).await;
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 60);
    let mut backwards = walk(b, &table, true, 7).await;
    backwards.reverse();
    assert_eq!(all, backwards);
    assert_eq!(all, walk(c, &table, false, 1).await);

    // Everything stops, everything starts: it is all there.
    let other = create(c, spec("other", 2, &[])).await;
    for node in nodes {
        node.stop().await;
    }
    let nodes = cluster.ready().await;
    let [a, b, c] = &nodes[..] else { panic!() };
    for n in 0..60 {
        assert_eq!(content(b, &table, n, true).await.as_deref(), Some("first"));
    }

    // A deleted table leaves no row, no replica, and its name free.
    c.memds.delete_table("music").await.unwrap();
    assert!(matches!(a.memds.delete_table("nothing").await, Err(CatalogError::NotFound(_))));
    until("every trace of the table is gone", async || {
        let groups = nodes.iter().flat_map(|node| node.host.groups());
        groups.filter(|group| group.table == table.id).count() == 0
            && nodes.iter().all(|node| node.memds.table(table.id).is_none())
            && a.memds.system_list("dropped").await.unwrap().is_empty()
            && a.memds.system_list("name").await.unwrap().len() == 1
    })
    .await;
    let gone = a.routed.read(&table, &key(1), true, soon()).await;
    assert!(matches!(gone, Err(RouteError::NoTable)));
    let again = create(b, spec("music", 1, &[])).await;
    assert_ne!(again.id, table.id);
    assert_eq!(content(b, &again, 1, true).await, None);
    assert_eq!(a.memds.table(other.id).unwrap().status, TableStatus::Active);
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_less_is_a_pause_and_an_emptied_disk_is_refused() {
    let cluster = Cluster::new(&["here"], 1);
    let mut nodes = cluster.ready().await;
    let table = create(&nodes[0], spec("music", 3, &[])).await;
    for n in 0..20 {
        write(&nodes[0], &table, n, "before").await;
    }

    // The system group's leader goes, without a word.
    let leader = nodes.iter().position(|node| node.memds.is_system_leader()).unwrap();
    let lost = nodes.remove(leader);
    lost.net.shutdown().await;
    for n in 0..20 {
        write(&nodes[(n % 2) as usize], &table, n, "during").await;
    }
    let more = create(&nodes[0], spec("more", 1, &[])).await;
    write(&nodes[1], &more, 1, "new").await;

    // Its disk is emptied: it must not come back as the voter it was.
    let (id, zone) = (lost.id, lost.zone);
    lost.stop().await;
    std::fs::remove_dir_all(cluster.folder(id)).unwrap();
    let net = cluster.net(RegionId(1), id, zone).await;
    let mut addresses: Vec<_> =
        nodes.iter().map(|node| (node.id, node.net.local_addr().to_string())).collect();
    addresses.push((id, net.local_addr().to_string()));
    let refused = cluster.node(RegionId(1), id, zone, net, &addresses).await;
    match refused {
        Err(MemdsError::AlreadyFounded { applied, .. }) => assert!(applied > 0),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("an emptied founding voter was let in"),
    }
    for n in 0..20 {
        let read = content(&nodes[0], &table, n, true).await;
        assert_eq!(read.as_deref(), Some("during"));
    }
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_without_a_system_replica_route_too_and_lookups_cost_the_same_cold_and_warm() {
    let cluster = Cluster::new(&["here"], 2);
    let nodes = cluster.ready().await;
    let table = create(&nodes[5], spec("music", 6, &[])).await;
    assert!(nodes[5].host.group(GroupId(1)).is_none(), "not a voter of the system group");
    until("a table seen by all", async || {
        nodes
            .iter()
            .all(|node| node.memds.table(table.id).is_some_and(|t| t.status == TableStatus::Active))
    })
    .await;
    for n in 0..12 {
        write(&nodes[n as usize % 6], &table, n, "x").await;
    }
    // Both nodes of a zone share the replicas.
    let held = |node: &Node| node.host.groups().iter().filter(|g| g.table == table.id).count();
    for zone in 0..3 {
        assert_eq!((held(&nodes[zone]), held(&nodes[zone + 3])), (3, 3));
    }

    // Warm: one node looks up for a while. Then it restarts with an empty map, and does the same.
    let asked_in = async |nodes: &[Node]| {
        let node = &nodes[5];
        let before = refreshes();
        let end = Instant::now() + Duration::from_secs(3);
        let mut n = 0;
        while Instant::now() < end {
            n += 1;
            assert_eq!(content(node, &table, n % 12, true).await.as_deref(), Some("x"));
        }
        refreshes() - before
    };
    let warm = asked_in(&nodes).await;
    for node in nodes {
        node.stop().await;
    }
    let nodes = cluster.start().await;
    until("a leader is there", async || {
        nodes[5].routed.read(&table, &key(1), true, soon()).await.is_ok()
    })
    .await;
    let cold = asked_in(&nodes).await;
    // One refresh per 200 ms in both.
    assert!(warm >= 10.0 && cold >= 10.0, "warm {warm}, cold {cold}");
    assert!((warm - cold).abs() <= 2.0, "warm {warm}, cold {cold}");
    for node in nodes {
        node.stop().await;
    }
}

/// All nodes of the process together: only one of them looks tables up.
fn refreshes() -> f64 {
    let families = prometheus::gather();
    let family = families.iter().find(|f| f.name() == "tombolo_memds_requests_total").unwrap();
    let refresh = family
        .get_metric()
        .iter()
        .find(|metric| metric.get_label().iter().any(|label| label.value() == "refresh"));
    refresh.unwrap().get_counter().get_value()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_and_leases_have_one_winner() {
    let cluster = Cluster::new(&["here"], 1);
    let nodes = cluster.ready().await;
    let [a, b, c] = &nodes[..] else { panic!() };

    // Rows: of two writers with the same expectation one wins.
    let stamp = a.memds.system_put("checkpoint", "x", b"1".to_vec(), Expect::Absent).await.unwrap();
    let taken = b.memds.system_put("checkpoint", "x", b"2".to_vec(), Expect::Absent).await;
    assert!(matches!(taken, Err(MemdsError::Conflict { .. })));
    let (value, seen) = b.memds.system_get("checkpoint", "x").await.unwrap().unwrap();
    assert_eq!((&value[..], seen), (&b"1"[..], stamp));
    let next =
        b.memds.system_put("checkpoint", "x", b"3".to_vec(), Expect::Stamp(seen)).await.unwrap();
    assert!(next > stamp);
    let late = a.memds.system_put("checkpoint", "x", b"4".to_vec(), Expect::Stamp(seen)).await;
    assert!(matches!(late, Err(MemdsError::Conflict { .. })));
    c.memds.system_put("checkpoint", "y", b"5".to_vec(), Expect::Any).await.unwrap();
    let listed = c.memds.system_list("checkpoint").await.unwrap();
    assert_eq!(listed, [("x".into(), b"3".to_vec()), ("y".into(), b"5".to_vec())]);
    a.memds.system_delete("checkpoint", "x", Expect::Stamp(next)).await.unwrap();
    assert!(a.memds.system_get("checkpoint", "x").await.unwrap().is_none());

    // Leases: one holder; another takes over when it is released, or when the holder is silent.
    let ttl = Duration::from_millis(1500);
    let first = a.memds.lease("link", ttl).await.unwrap().unwrap();
    assert!(a.memds.lease("link", ttl).await.unwrap().is_none());
    assert!(b.memds.lease("link", ttl).await.unwrap().is_none());
    let renewed = Instant::now() + ttl * 2;
    while Instant::now() < renewed {
        assert!(first.held());
        assert!(b.memds.lease("link", ttl).await.unwrap().is_none());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let fence = first.fence();
    first.release().await;
    let second = b.memds.lease("link", ttl).await.unwrap().unwrap();
    assert!(second.fence() > fence);
    b.net.faults().cut(RegionId(1), Some("b".into()));
    let mut third = None;
    until("a silent holder's lease is taken over", async || {
        third = c.memds.lease("link", ttl).await.unwrap();
        assert!(third.is_none() || !second.held(), "two holders at once");
        third.is_some()
    })
    .await;
    second.lost().await;
    assert!(third.unwrap().fence() > second.fence());
    b.net.faults().heal();
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_global_table_is_there_in_all_its_regions_or_on_its_way() {
    let cluster = Cluster::new(&["east", "west"], 1);
    let nodes = cluster.ready().await;
    let (east, west) = nodes.split_at(3);
    let created = create(&east[1], spec("music", 2, &["west"])).await;
    assert_eq!(created.region_names, ["east", "west"]);
    until("the other region has it", async || {
        west[2].memds.table(created.id).is_some_and(|t| t.status == TableStatus::Active)
    })
    .await;
    let copy = west[2].memds.table_by_name("music").unwrap();
    assert_eq!(
        (copy.secret, copy.origin, &copy.regions),
        (created.secret, RegionId(1), &created.regions)
    );
    write(&west[0], &copy, 1, "western").await;

    // A name the other region uses is refused, and nothing is left of the attempt.
    create(&west[0], spec("mine", 1, &[])).await;
    let refused = east[0].memds.create_table(spec("mine", 1, &["west"])).await;
    assert!(matches!(refused, Err(CatalogError::Invalid(_))), "{refused:?}");
    until("the refused table is gone", async || east[0].memds.table_by_name("mine").is_none())
        .await;

    // Out of reach: the table is created when the regions meet again.
    for node in &nodes {
        node.net.faults().cut(RegionId(2), None);
    }
    let pending = east[0].memds.create_table(spec("later", 1, &["west"])).await.unwrap();
    assert_eq!(pending.status, TableStatus::Creating);
    let waited =
        east[0].memds.wait_active(pending.id, Instant::now() + Duration::from_secs(1)).await;
    assert!(matches!(waited, Err(CatalogError::NotActiveInTime(_))));
    for node in &nodes {
        node.net.faults().heal();
    }
    east[0].memds.wait_active(pending.id, soon()).await.unwrap();
    until("the west has it", async || west[1].memds.table_by_name("later").is_some()).await;

    // Deleted in one, gone in both.
    west[0].memds.delete_table("music").await.unwrap();
    until("gone in both", async || nodes.iter().all(|node| node.memds.table(created.id).is_none()))
        .await;
    for node in nodes {
        node.stop().await;
    }
}
