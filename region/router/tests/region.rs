//! A whole region in one process — three nodes with real ports, disks and consensus — asked through
//! the gRPC port of each node. One story, told in phases.

#![allow(clippy::unwrap_used, reason = "a test stops where something is missing")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tombolo_client::conflict::ConflictPage;
use tombolo_client::report::{StatusReport, VerifyEvent};
use tombolo_client::{Client, Expression, KeyQuery, ReadPage, TableDefinition, WriteOptions};
use tombolo_client::{convert, v1};
use tombolo_group::net::node_san;
use tombolo_group::{Host, HostSettings, Net, NetSettings, NodeTls};
use tombolo_item::{
    ChangeKind, Item, KeyAttribute, KeySchema, KeyType, NodeId, RegionId, RowKey, SortCondition,
    StreamView, Value,
};
use tombolo_memds::{Memds, MemdsSettings, NodeInfo, RegionConfig, Routed, TableInfo};
use tombolo_router::dynamodb::Credentials;
use tombolo_router::{Operations, OperationsError, Router, RouterSettings, base_status};

const REGION: RegionId = RegionId(1);
const ZONES: [&str; 3] = ["a", "b", "c"];

struct Seen {
    memds: Memds,
    host: Host,
}

impl Operations for Seen {
    fn status(&self) -> BoxFuture<'_, Result<StatusReport, OperationsError>> {
        async { Ok(base_status(&self.memds, &self.host, "test")) }.boxed()
    }

    fn drain(&self, _node: NodeId, _drained: bool) -> BoxFuture<'_, Result<(), OperationsError>> {
        async { Err(OperationsError::Unavailable("nobody drains in this test".into())) }.boxed()
    }

    fn conflicts(
        &self,
        _table: Arc<TableInfo>,
        _after: Option<RowKey>,
        _limit: usize,
    ) -> BoxFuture<'_, Result<ConflictPage, OperationsError>> {
        let refusal = OperationsError::Unavailable("one region has no conflicts".into());
        async { Err(refusal) }.boxed()
    }

    fn verify(
        &self,
        _table: Arc<TableInfo>,
    ) -> BoxStream<'static, Result<VerifyEvent, OperationsError>> {
        let refusal = OperationsError::Unavailable("nobody compares in this test".into());
        Box::pin(futures::stream::iter([Err(refusal)]))
    }
}

struct Node {
    net: Net,
    host: Host,
    memds: Memds,
    control: JoinHandle<()>,
    endpoint: String,
    stop: oneshot::Sender<()>,
    router: JoinHandle<()>,
}

impl Node {
    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.router.await.unwrap();
        self.memds.shutdown().await;
        self.control.await.unwrap();
        self.host.shutdown().await;
        self.net.shutdown().await;
    }
}

fn node_id(ordinal: usize) -> NodeId {
    NodeId(u64::from(REGION.0) << 32 | (ordinal as u64 + 1))
}

async fn start(dir: &Path) -> Vec<Node> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let mut nets = Vec::new();
    for (ordinal, zone) in ZONES.into_iter().enumerate() {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![node_san("test", node_id(ordinal))]).unwrap();
        let cert = params.signed_by(&key, &authority).unwrap();
        let net = Net::start(NetSettings {
            node: node_id(ordinal),
            region: REGION,
            zone: zone.into(),
            listen: "127.0.0.1:0".parse().unwrap(),
            tls: NodeTls {
                ca_pem: authority.pem(),
                cert_pem: cert.pem(),
                key_pem: key.serialize_pem(),
            },
            cluster: "test".into(),
        });
        nets.push(net.await.unwrap());
    }
    let addresses: Vec<_> = nets.iter().map(|net| net.local_addr().to_string()).collect();
    let starting = nets.into_iter().enumerate().map(|(ordinal, net)| {
        let addresses = &addresses;
        async move { start_node(dir, ordinal, net, addresses).await }
    });
    futures::future::join_all(starting).await
}

async fn start_node(dir: &Path, ordinal: usize, net: Net, addresses: &[String]) -> Node {
    let id = node_id(ordinal);
    let folder = dir.join(ZONES[ordinal]);
    std::fs::create_dir_all(&folder).unwrap();
    let host = Host::start(HostSettings::new(id, REGION, &folder), net.clone()).unwrap();
    let listener = Router::bind(RouterSettings::new(([127, 0, 0, 1], 0).into())).unwrap();
    let endpoint = format!("http://{}", listener.local_addr());
    let members = (0..3).map(|n| (node_id(n), addresses[n].clone(), ZONES[n].to_string()));
    let settings = MemdsSettings {
        node: NodeInfo {
            id,
            region: REGION,
            zone: ZONES[ordinal].into(),
            node_addr: addresses[ordinal].clone(),
            grpc: endpoint.clone(),
            admin: String::new(),
            dynamodb: String::new(),
            roles: vec!["router".into(), "storage".into()],
        },
        dir: folder,
        region_name: "us-east".into(),
        regions: vec![RegionConfig {
            id: REGION,
            name: "us-east".into(),
            nats: String::new(),
            nodes: members.collect(),
        }],
        system_voters: (0..3).map(node_id).collect(),
    };
    let memds = Memds::start(settings, host.clone(), net.clone()).await.unwrap();
    let routed = Routed::new(memds.clone(), host.clone());
    let control = tokio::spawn(memds.clone().run_control());
    memds.wait_ready(Instant::now() + Duration::from_secs(30)).await.unwrap();
    let operations = Arc::new(Seen { memds: memds.clone(), host: host.clone() });
    let (stop, stopped) = oneshot::channel::<()>();
    let end = async {
        let _ = stopped.await;
    };
    let keys = Arc::new(NoKeys);
    let serving = listener.serve(memds.clone(), host.clone(), routed, operations, keys, end);
    let router = tokio::spawn(async move { serving.await.unwrap() });
    Node { net, host, memds, control, endpoint, stop, router }
}

/// Everybody here comes over loopback.
struct NoKeys;

impl Credentials for NoKeys {
    fn secret(&self, _access_key: &str) -> Option<String> {
        None
    }
}

fn s(text: impl Into<String>) -> Value {
    Value::S(text.into())
}

fn n(number: i64) -> Value {
    Value::N(number.to_string().parse().unwrap())
}

fn key(pk: &str, sk: i64) -> Item {
    Item([("pk".to_string(), s(pk)), ("sk".to_string(), n(sk))].into())
}

fn song(pk: &str, sk: i64, title: &str) -> Item {
    let mut item = key(pk, sk);
    item.insert("title", s(title));
    item
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_region_serves_items_through_every_port() {
    let dir = tempfile::tempdir().unwrap();
    let nodes = start(dir.path()).await;
    let endpoints: Vec<_> = nodes.iter().map(|node| node.endpoint.clone()).collect();
    let client = Client::connect(&endpoints).await.unwrap();

    // A table of four partitions comes to life.
    let definition = TableDefinition {
        schema: KeySchema {
            partition: KeyAttribute { name: "pk".into(), kind: KeyType::S },
            sort: Some(KeyAttribute { name: "sk".into(), kind: KeyType::N }),
        },
        view: Some(StreamView::NewAndOldImages),
        partitions: 4,
        ..TableDefinition::new(
            "music",
            KeySchema {
                partition: KeyAttribute { name: "pk".into(), kind: KeyType::S },
                sort: None,
            },
        )
    };
    client.create_table(definition.clone()).await.unwrap();
    // Every router has its own map, so each is waited for.
    let mut clients = Vec::new();
    for endpoint in &endpoints {
        let one = Client::connect(std::slice::from_ref(endpoint)).await.unwrap();
        let table = one.wait_active("music", Duration::from_secs(20)).await.unwrap();
        assert_eq!(table.partitions.len(), 4);
        assert!(table.partitions.iter().all(|partition| partition.replicas.len() == 3));
        clients.push(one);
    }
    assert_eq!(client.create_table(definition).await.unwrap_err().reason, "ResourceInUseException");
    assert_eq!(client.list_tables().await.unwrap(), ["music"]);

    // What one port took in, every other port gives out.
    for pk in 0..12 {
        for sk in -3..3 {
            let writer = &clients[(pk as usize) % 3];
            writer.put_item("music", song(&format!("band {pk}"), sk, "first")).await.unwrap();
        }
    }
    for reader in &clients {
        let read = reader.get_item("music", key("band 5", -2), true).await.unwrap();
        assert_eq!(read, Some(song("band 5", -2, "first")));
    }

    // Conditions are judged against what is there.
    let absent = WriteOptions {
        return_on_failure: true,
        ..WriteOptions::when(Expression::new("attribute_not_exists(pk)"))
    };
    let error = clients[1]
        .put_item_with("music", song("band 5", -2, "second"), absent.clone())
        .await
        .unwrap_err();
    assert!(error.is_condition_failed());
    assert_eq!(error.item, Some(song("band 5", -2, "first")));
    clients[2].put_item_with("music", song("band 5", 77, "new"), absent).await.unwrap();
    let old = WriteOptions { return_old: true, ..WriteOptions::default() };
    let removed = clients[0].delete_item_with("music", key("band 5", 77), old).await.unwrap();
    assert_eq!(removed.old, Some(song("band 5", 77, "new")));
    assert_eq!(clients[1].get_item("music", key("band 5", 77), true).await.unwrap(), None);

    // Ranges, page by page, in both directions.
    for (reverse, expected) in [(false, [-1, 0, 1, 2]), (true, [2, 1, 0, -1])] {
        let query =
            KeyQuery { partition: s("band 7"), sort: Some(SortCondition::Ge(n(-1))), reverse };
        let (mut seen, mut start) = (Vec::new(), None);
        loop {
            let from = ReadPage { limit: Some(3), start, consistent: true };
            let page = client.query("music", query.clone(), from).await.unwrap();
            seen.extend(page.items.iter().map(|item| item.0["sk"].clone()));
            match page.last_evaluated_key {
                None => break,
                last => start = last,
            }
        }
        assert_eq!(seen, expected.map(n), "reverse {reverse}");
    }

    // A scan walks over every partition once.
    let (mut seen, mut start) = (std::collections::BTreeSet::new(), None);
    loop {
        let from = ReadPage { limit: Some(10), start, consistent: true };
        let page = client.scan("music", from).await.unwrap();
        for item in page.items {
            assert!(seen.insert((format!("{:?}", item.0["pk"]), format!("{:?}", item.0["sk"]))));
        }
        match page.last_evaluated_key {
            None => break,
            last => start = last,
        }
    }
    assert_eq!(seen.len(), 72);

    // A description counts what is there, sooner or later.
    let deadline = Instant::now() + Duration::from_secs(20);
    while client.describe_table("music").await.unwrap().item_count != Some(72) {
        assert!(Instant::now() < deadline, "the items were never counted");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    // The change stream's records are in the log, chained, and decode to what was written.
    let stream = client.describe_stream("music").await.unwrap();
    assert_eq!(stream.shards.len(), 4);
    let (mut inserted, mut removed) = (0, 0);
    for shard in &stream.shards {
        assert_eq!(shard.oldest_seq, 1);
        let mut seq = 1;
        let mut previous = None;
        loop {
            let page = client.get_records("music", shard.shard, seq, Some(7)).await.unwrap();
            for change in &page.changes {
                assert_eq!(change.seq, seq);
                let record = change.decode().unwrap();
                assert!(previous.is_none_or(|hash| hash == record.prev_hash));
                previous = Some(change.hash);
                match record.kind {
                    ChangeKind::Insert => inserted += 1,
                    ChangeKind::Remove => removed += 1,
                    ChangeKind::Modify | ChangeKind::Touch => {}
                }
                seq += 1;
            }
            if page.changes.is_empty() {
                break;
            }
        }
    }
    assert_eq!((inserted, removed), (73, 1));

    // A program without our decoder gets them decoded.
    let request = v1::GetRecordsRequest {
        table_name: "music".into(),
        shard: stream.shards[0].shard.to_string(),
        sequence: 1,
        ..v1::GetRecordsRequest::default()
    };
    let page = client.raw().streams.get_records(request).await.unwrap().into_inner();
    let first = &page.records[0];
    assert_eq!(first.kind(), v1::ChangeKind::Insert);
    let image = convert::item(first.new_image.clone()).unwrap();
    assert_eq!(image.get("title"), Some(&s("first")));
    assert_eq!(first.keys.keys().collect::<Vec<_>>(), ["pk", "sk"]);

    // Whoever is asked tells what it sees.
    let status = clients[2].status().await.unwrap();
    assert_eq!((status.region.as_str(), status.node), ("us-east", Some(node_id(2))));
    assert_eq!(status.groups.iter().filter(|group| group.table == "music").count(), 4);

    // A table goes, and is gone.
    client.delete_table("music").await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    for one in &clients {
        while !one.describe_table("music").await.is_err_and(|error| error.is_not_found()) {
            assert!(Instant::now() < deadline, "the table never went away");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    for node in nodes {
        node.stop().await;
    }
}
