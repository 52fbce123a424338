//! The promise: what three real nodes acknowledge comes out of their region's stream, complete and
//! in order, also when the node that leads is stopped. Only the binary is missing: hosts, node
//! ports, map and publishers are the real ones, in one process.

use crate::publisher::for_tests::wait_for;
use crate::publisher::{PublisherSettings, run};
use crate::subject::{Family, stream_name};
use crate::subscriber::{Start, SubscriberSettings, Subscription};
use crate::testkit::{NatsServer, REGION};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tombolo_group::{Host, HostSettings, Net, NetSettings, NodeTls};
use tombolo_item::{
    Item, Key, KeyAttribute, KeySchema, KeyType, NodeId, RegionId, StreamView, Value,
};
use tombolo_memds::{Memds, MemdsSettings, NodeInfo, RegionConfig, Routed, TableInfo, TableSpec};

const ZONES: [&str; 3] = ["a", "b", "c"];
const ONE: RegionId = RegionId(1);

struct Node {
    net: Net,
    host: Host,
    memds: Memds,
    routed: Routed,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    _dir: tempfile::TempDir,
}

impl Node {
    fn id(&self) -> NodeId {
        self.net.node()
    }

    /// Its publisher ends with it, its replicas and its port too.
    async fn stop(self) {
        self.stop.send_replace(true);
        self.tasks.iter().for_each(JoinHandle::abort);
        self.memds.shutdown().await;
        self.host.shutdown().await;
        self.net.shutdown().await;
    }
}

fn certificate(authority: &CertifiedIssuer<'static, KeyPair>, node: NodeId) -> NodeTls {
    let key = KeyPair::generate().expect("a key");
    let name = tombolo_group::net::node_san("test", node);
    let params = CertificateParams::new(vec![name]).expect("a name");
    let certificate = params.signed_by(&key, authority).expect("signed");
    NodeTls { ca_pem: authority.pem(), cert_pem: certificate.pem(), key_pem: key.serialize_pem() }
}

async fn start_region(server: &NatsServer) -> Vec<Node> {
    // Another test of this process may have chosen first; it chose the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let authority = CertifiedIssuer::self_signed(params, key).expect("an authority");
    let ids: Vec<NodeId> = (1..=3).map(|ordinal| NodeId((1 << 32) | ordinal)).collect();
    let mut nets = Vec::new();
    for (id, zone) in ids.iter().zip(ZONES) {
        let settings = NetSettings {
            node: *id,
            region: ONE,
            zone: zone.into(),
            listen: "127.0.0.1:0".parse().expect("an address"),
            tls: certificate(&authority, *id),
            cluster: "test".into(),
        };
        nets.push(Net::start(settings).await.expect("a node port"));
    }
    let regions = vec![RegionConfig {
        id: ONE,
        name: REGION.into(),
        nats: server.url(),
        nodes: nets
            .iter()
            .zip(ZONES)
            .map(|(net, zone)| (net.node(), net.local_addr().to_string(), zone.into()))
            .collect(),
    }];
    let starts = nets.into_iter().zip(ZONES).map(|(net, zone)| {
        let (regions, ids, url) = (regions.clone(), ids.clone(), server.url());
        async move { start_node(net, zone, regions, ids, url).await }
    });
    futures::future::join_all(starts).await
}

async fn start_node(
    net: Net,
    zone: &str,
    regions: Vec<RegionConfig>,
    system_voters: Vec<NodeId>,
    nats_url: String,
) -> Node {
    let dir = tempfile::tempdir().expect("a folder");
    let host =
        Host::start(HostSettings::new(net.node(), ONE, dir.path()), net.clone()).expect("a host");
    let info = NodeInfo {
        id: net.node(),
        region: ONE,
        zone: zone.into(),
        node_addr: net.local_addr().to_string(),
        grpc: String::new(),
        admin: String::new(),
        dynamodb: String::new(),
        roles: ["router", "storage", "memds", "control"].map(String::from).to_vec(),
    };
    let settings = MemdsSettings {
        node: info,
        dir: dir.path().to_owned(),
        region_name: REGION.into(),
        regions,
        system_voters,
    };
    let memds = Memds::start(settings, host.clone(), net.clone()).await.expect("a map");
    let (stop, stopped) = watch::channel(false);
    let publisher = PublisherSettings {
        nats_url,
        region_name: REGION.into(),
        region: ONE,
        development: true,
        ..PublisherSettings::default()
    };
    let tasks = vec![
        tokio::spawn({
            let (host, memds) = (host.clone(), memds.clone());
            async move { run(publisher, host, memds, stopped).await.expect("ends when told to") }
        }),
        tokio::spawn(memds.clone().run_control()),
    ];
    let routed = Routed::new(memds.clone(), host.clone());
    Node { net, host, memds, routed, stop, tasks, _dir: dir }
}

async fn put(node: &Node, table: &TableInfo, n: usize) {
    let key = Key { partition: Value::S(format!("key-{n}")), sort: None };
    let item = Item([("id".to_owned(), key.partition.clone())].into());
    let op = tombolo_group::WriteOp::Put {
        item: item.encode(),
        condition: None,
        return_old: false,
        return_on_failure: false,
    };
    let deadline = Instant::now() + Duration::from_secs(30);
    node.routed.write(table, key, op, deadline).await.expect("written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_region_acknowledges_comes_out_of_its_stream() {
    let server = NatsServer::start();
    let mut nodes = start_region(&server).await;
    let deadline = Instant::now() + Duration::from_secs(60);
    nodes[0].memds.wait_ready(deadline).await.expect("ready");
    wait_for("all nodes announcing themselves", || nodes[0].memds.nodes().len() == 3).await;
    let spec = TableSpec {
        name: "orders.eu".into(),
        schema: KeySchema {
            partition: KeyAttribute { name: "id".into(), kind: KeyType::S },
            sort: None,
        },
        view: Some(StreamView::NewImage),
        partitions: 4,
        regions: Vec::new(),
        settings: Default::default(),
    };
    let table = nodes[0].memds.create_table(spec).await.expect("created");
    let table = nodes[0].memds.wait_active(table.id, deadline).await.expect("active");
    let from_the_first = Start::Checkpoint(BTreeMap::new());
    let settings =
        SubscriberSettings::new(server.url(), REGION, table.id, Family::People, from_the_first);
    let mut reader = Subscription::open(settings, None).await.expect("opened");

    let mut seen = BTreeMap::new();
    let mut written = 0;
    for phase in 0..2 {
        written += 200;
        let writes = async {
            let mut acknowledged = BTreeMap::new();
            for n in written - 200..written {
                put(&nodes[0], &table, n).await;
                acknowledged.insert(format!("key-{n}"), Instant::now());
            }
            acknowledged
        };
        let reads = async {
            let mut arrived = BTreeMap::new();
            while seen.len() < written {
                let record = tokio::time::timeout(Duration::from_secs(60), reader.next())
                    .await
                    .unwrap_or_else(|_| panic!("{} of {written} records came", seen.len()))
                    .expect("a record");
                let json: serde_json::Value = serde_json::from_slice(&record.body).expect("JSON");
                let key = json["dynamodb"]["Keys"]["id"]["S"].as_str().expect("a key").to_owned();
                assert_eq!(json["dynamodb"]["NewImage"]["id"]["S"], key.as_str());
                arrived.insert(key.clone(), Instant::now());
                assert_eq!(seen.insert(key, record.shard), None, "twice");
            }
            arrived
        };
        let (acknowledged, arrived) = futures::join!(writes, reads);
        assert!(acknowledged.keys().eq(arrived.keys()), "what was acknowledged, no less, no more");
        let mut delays: Vec<Duration> = acknowledged
            .iter()
            .map(|(key, at)| arrived[key].saturating_duration_since(*at))
            .collect();
        delays.sort();
        println!("ack to subscriber: p50 {:?}, p99 {:?}", delays[100], delays[198]);
        if phase == 0 {
            // Stop whoever leads most; another node publishes after it.
            let leads = |node: &Node| {
                let groups = node.host.groups();
                groups.iter().filter(|group| group.is_leader && group.table == table.id).count()
            };
            let (index, _) =
                nodes.iter().enumerate().max_by_key(|(_, node)| leads(node)).expect("three nodes");
            let stopped = nodes.remove(index);
            assert!(leads(&stopped) > 0);
            tracing::info!(node = %stopped.id(), "stopping a leader");
            stopped.stop().await;
        }
    }
    let shards: std::collections::BTreeSet<_> = seen.values().collect();
    assert_eq!(shards.len(), 4, "every partition wrote");

    // Its stream goes with the table.
    let connection =
        crate::connect::Connection::open(&server.url(), "test").await.expect("an address");
    connection.up().await;
    let context = crate::jet::context(connection.client, Duration::from_secs(5));
    let name = stream_name(REGION, table.id);
    crate::jet::stream(&context, &name).await.expect("a stream");
    nodes[0].memds.delete_table("orders.eu").await.expect("deleted");
    let deadline = Instant::now() + Duration::from_secs(60);
    while crate::jet::stream(&context, &name).await.err() != Some(crate::jet::JetError::NoStream) {
        assert!(Instant::now() < deadline, "the stream outlived its table");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for node in nodes {
        node.stop().await;
    }
}
