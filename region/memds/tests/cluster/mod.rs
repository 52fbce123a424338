//! Whole regions in one process: real node ports, real hosts on real disks, one metadata service
//! per node.

#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::task::JoinHandle;
use tombolo_group::net::node_san;
use tombolo_group::{Host, HostSettings, Net, NetSettings, NodeTls, WriteOp, WriteOutcome};
use tombolo_item::{
    Item, Key, KeyAttribute, KeyRange, KeySchema, KeyType, NodeId, RegionId, Value,
};
use tombolo_memds::{
    Memds, MemdsError, MemdsSettings, NodeInfo, RegionConfig, Routed, TableInfo, TableSpec,
};

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn soon() -> Instant {
    Instant::now() + PATIENCE
}

/// Waits on a state, never on time.
pub(crate) async fn until(what: &str, mut there: impl AsyncFnMut() -> bool) {
    let deadline = soon();
    while !there().await {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) zone: &'static str,
    pub(crate) net: Net,
    pub(crate) host: Host,
    pub(crate) memds: Memds,
    pub(crate) routed: Routed,
    pub(crate) control: JoinHandle<()>,
}

impl Node {
    pub(crate) async fn stop(self) {
        self.memds.shutdown().await;
        self.control.await.unwrap();
        self.host.shutdown().await;
        self.net.shutdown().await;
    }
}

/// A region: its number, its name, its nodes with their zones.
type Layout = (RegionId, &'static str, Vec<(NodeId, &'static str)>);

/// The folders and certificates of a cluster; nodes come and go.
pub(crate) struct Cluster {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) authority: CertifiedIssuer<'static, KeyPair>,
    pub(crate) regions: Vec<Layout>,
}

pub(crate) fn node_id(region: u16, ordinal: u64) -> NodeId {
    NodeId(u64::from(region) << 32 | ordinal)
}

impl Cluster {
    pub(crate) fn new(names: &[&'static str], nodes_per_zone: u64) -> Cluster {
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

    pub(crate) fn folder(&self, node: NodeId) -> PathBuf {
        self.dir.path().join(node.0.to_string())
    }

    pub(crate) async fn net(&self, region: RegionId, node: NodeId, zone: &str) -> Net {
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
    pub(crate) async fn start(&self) -> Vec<Node> {
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

    pub(crate) async fn node(
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
        let config = |(region, name, nodes): &Layout| {
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

    pub(crate) async fn ready(&self) -> Vec<Node> {
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

pub(crate) fn schema() -> KeySchema {
    KeySchema {
        partition: KeyAttribute { name: "pk".into(), kind: KeyType::S },
        sort: Some(KeyAttribute { name: "sk".into(), kind: KeyType::S }),
    }
}

pub(crate) fn spec(name: &str, partitions: u32, regions: &[&str]) -> TableSpec {
    TableSpec {
        name: name.into(),
        schema: schema(),
        view: None,
        partitions,
        regions: regions.iter().map(|region| region.to_string()).collect(),
        settings: Default::default(),
    }
}

pub(crate) fn key(n: u32) -> Key {
    let part = |prefix: &str| Value::S(format!("{prefix}{n:04}"));
    Key { partition: part("p"), sort: Some(part("s")) }
}

pub(crate) fn put(n: u32, content: &str) -> WriteOp {
    let mut item = key(n).to_item(&schema());
    item.insert("content", Value::S(content.into()));
    WriteOp::Put {
        item: item.encode(),
        condition: None,
        return_old: false,
        return_on_failure: false,
    }
}

pub(crate) async fn write(node: &Node, table: &TableInfo, n: u32, content: &str) {
    let response = node.routed.write(table, key(n), put(n, content), soon()).await.unwrap();
    assert!(!matches!(response.outcome, WriteOutcome::ConditionFailed { .. }));
}

pub(crate) async fn content(
    node: &Node,
    table: &TableInfo,
    n: u32,
    strong: bool,
) -> Option<String> {
    let response = node.routed.read(table, &key(n), strong, soon()).await.unwrap();
    let item = Item::decode(&response.item?).unwrap();
    match item.get("content") {
        Some(Value::S(content)) => Some(content.clone()),
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn create(node: &Node, spec: TableSpec) -> std::sync::Arc<TableInfo> {
    let created = node.memds.create_table(spec).await.unwrap();
    node.memds.wait_active(created.id, soon()).await.unwrap()
}

pub(crate) async fn walk(node: &Node, table: &TableInfo, reverse: bool, limit: u32) -> Vec<String> {
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
