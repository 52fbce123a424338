//! What a node is told: one flat list of settings, from a TOML file, `TOMBOLO_*` variables and flags.
//!
//! Always true: a flag wins over its variable, a variable over the file, the file over the default.
//! A name that is not known is refused. Every setting below that has a flag has, under the same
//! name, a variable and a line in the file (a test walks through all of them); lists of peers and
//! regions exist in the file only.
//!
//! In reading order: this file (the settings and their defaults), [`flags`] (flags and variables),
//! [`check`] (what is refused, and the sentence that says what to do).

pub mod check;
pub mod flags;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tombolo_item::{NodeId, RegionId};
use tombolo_link::LinkSettings;

use crate::error::{Context, Failure, Result};
use crate::telemetry::LogFormat;

/// What a process does. A node runs one or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Answers clients.
    Router,
    /// Keeps copies, publishes the shards it leads, runs links.
    Storage,
    /// Answers which group owns a row.
    Memds,
    /// Places and heals, while it holds the system group's lease.
    Control,
}

impl Role {
    pub const ALL: [Role; 4] = [Role::Router, Role::Storage, Role::Memds, Role::Control];

    pub fn name(self) -> &'static str {
        match self {
            Role::Router => "router",
            Role::Storage => "storage",
            Role::Memds => "memds",
            Role::Control => "control",
        }
    }
}

/// Another node of this region, or of another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerConfig {
    /// Its number in its region.
    pub node: u32,
    /// Its zone.
    pub zone: String,
    /// `host:port` of its node port.
    pub addr: String,
}

/// Another region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OtherRegion {
    /// Its number: part of every stamp, never given to another region.
    pub id: u16,
    /// Its name.
    pub name: String,
    /// Its NATS, with credentials: `nats://user:password@host:port`.
    pub nats_url: String,
    /// Its nodes, for the direct channel.
    #[serde(default)]
    pub nodes: Vec<PeerConfig>,
}

/// All settings of a node.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeConfig {
    /// Name of the cluster: equal on all nodes of all regions. Nodes of another name are refused.
    pub cluster: String,
    /// Name of this node's region.
    pub region: String,
    /// Number of this node's region, from 1. Part of every stamp: never reuse one.
    pub region_id: u16,
    /// This node's zone: a failure domain of the region. A group has one copy per zone.
    pub zone: String,
    /// This node's number in its region, from 1. Never reuse one.
    pub node: u32,
    /// What this process does. Default: all four roles.
    pub roles: Vec<Role>,
    /// The folder that holds all of this node's data.
    pub data_dir: PathBuf,
    /// Where clients connect (gRPC). Default: 127.0.0.1:8001.
    pub listen_grpc: SocketAddr,
    /// `/metrics`, `/livez`, `/readyz`. Plain HTTP: keep it inside. Default: 127.0.0.1:8002.
    pub listen_admin: SocketAddr,
    /// Where other nodes connect (mutual TLS). Default: 127.0.0.1:8003.
    pub listen_node: SocketAddr,
    /// Where clients of the DynamoDB protocol connect. With `grpc_tls_cert` it speaks TLS. Default:
    /// 127.0.0.1:8000.
    pub listen_dynamodb: SocketAddr,
    /// The host name or address by which others reach this node. Default: that of `listen_node`.
    pub advertise_host: Option<String>,
    /// The authority that signed the certificates of all nodes (PEM).
    pub tls_ca: PathBuf,
    /// This node's certificate (PEM). SIGHUP reads it again.
    pub tls_cert: PathBuf,
    /// The key of `tls_cert` (PEM, mode 0600).
    pub tls_key: PathBuf,
    /// Certificate of the client port (PEM). Needed when it listens on more than loopback.
    pub grpc_tls_cert: Option<PathBuf>,
    /// The key of `grpc_tls_cert`.
    pub grpc_tls_key: Option<PathBuf>,
    /// The authority that signed the certificates of clients (PEM). Default: `tls_ca`.
    pub grpc_tls_client_ca: Option<PathBuf>,
    /// A JSON file `{"<access key>":"<secret key>"}` with keys that are valid here besides those made by
    /// `tombolo credentials` (mode 0600). SIGHUP reads it again.
    pub dynamodb_keys: Option<PathBuf>,
    /// The region key (64 hexadecimal digits, mode 0600), equal on all nodes of the region: secrets lie in
    /// the region's metadata sealed under it. `tombolo certs region-key` makes one.
    pub region_key: Option<PathBuf>,
    /// Requests on the DynamoDB port need no signatures. Loopback only. Default: false.
    pub insecure: bool,
    /// This region's NATS, with credentials: `nats://user:password@host:port`, several with commas.
    pub nats_url: String,
    /// The monitor of this region's NATS (`http://host:port`), to read its sync setting. Default:
    /// empty = not asked.
    pub nats_monitor_url: String,
    /// Copies JetStream keeps of a table's stream. Default: 3.
    pub nats_replicas: usize,
    /// Numbers of the nodes that keep the system group. Default: the lowest number of each zone.
    pub system_voters: Vec<u32>,
    /// Requests of clients that this node works on at the same time. Default: 4096.
    pub max_in_flight: usize,
    /// Largest message a client may send, in bytes. Default: 4194304.
    pub max_message_bytes: usize,
    /// How far a clock may be ahead before its owner is refused, in milliseconds. Default: 500.
    pub max_clock_skew_ms: u64,
    /// Patience of a clean stop, in milliseconds. Default: 10000.
    pub shutdown_ms: u64,
    /// Threads that answer requests. Default: 0 = one per processor, at most 8.
    pub worker_threads: usize,
    /// `text` or `json`. Default: text.
    pub log_format: LogFormat,
    /// What is logged, as `tracing` filters say it. Default: info.
    pub log: String,
    /// Development only: a file with the secret that guards `/dev/…` on the admin port.
    pub dev_secret_file: Option<PathBuf>,
    /// Development only: a file that says what is cut off, read at start.
    pub dev_faults_file: Option<PathBuf>,
    /// Development only: delay of everything sent to another region, in milliseconds. Default: 0.
    pub dev_link_delay_ms: u64,
    /// The other nodes of this region.
    pub peers: Vec<PeerConfig>,
    /// The other regions.
    pub regions: Vec<OtherRegion>,
    /// Replication from other regions.
    pub link: LinkSettings,
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

impl Default for NodeConfig {
    fn default() -> NodeConfig {
        NodeConfig {
            cluster: "tombolo".to_owned(),
            region: String::new(),
            region_id: 0,
            zone: String::new(),
            node: 0,
            roles: Role::ALL.to_vec(),
            data_dir: PathBuf::new(),
            listen_grpc: loopback(8001),
            listen_admin: loopback(8002),
            listen_node: loopback(8003),
            listen_dynamodb: loopback(8000),
            advertise_host: None,
            tls_ca: PathBuf::new(),
            tls_cert: PathBuf::new(),
            tls_key: PathBuf::new(),
            grpc_tls_cert: None,
            grpc_tls_key: None,
            grpc_tls_client_ca: None,
            dynamodb_keys: None,
            region_key: None,
            insecure: false,
            nats_url: String::new(),
            nats_monitor_url: String::new(),
            nats_replicas: 3,
            system_voters: Vec::new(),
            max_in_flight: 4096,
            max_message_bytes: 4 << 20,
            max_clock_skew_ms: 500,
            shutdown_ms: 10_000,
            worker_threads: 0,
            log_format: LogFormat::Text,
            log: "info".to_owned(),
            dev_secret_file: None,
            dev_faults_file: None,
            dev_link_delay_ms: 0,
            peers: Vec::new(),
            regions: Vec::new(),
            link: LinkSettings::default(),
        }
    }
}

/// A node's number over all regions.
pub fn node_id(region_id: u16, node: u32) -> NodeId {
    NodeId((u64::from(region_id) << 32) | u64::from(node))
}

impl NodeConfig {
    /// Reads a file. Unknown names are refused; nothing is checked yet.
    pub fn read(path: &Path) -> Result<NodeConfig> {
        let text = std::fs::read_to_string(path)
            .context(|| format!("reading the configuration {}", path.display()))?;
        NodeConfig::parse(&text)
            .map_err(|f| Failure::usage(format!("{}: {}", path.display(), f.message)))
    }

    /// Reads a file's text.
    pub fn parse(text: &str) -> Result<NodeConfig> {
        toml::from_str(text).map_err(|error| Failure::usage(error.to_string()))
    }

    /// This node's number over all regions.
    pub fn id(&self) -> NodeId {
        node_id(self.region_id, self.node)
    }

    /// This node's region.
    pub fn region(&self) -> RegionId {
        RegionId(self.region_id)
    }

    pub fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// Whether this is a node of a development cluster.
    pub fn is_dev(&self) -> bool {
        self.dev_secret_file.is_some()
    }

    /// `host:port` by which others reach the listener at `listen`.
    pub fn advertised(&self, listen: SocketAddr) -> String {
        match &self.advertise_host {
            Some(host) if host.contains(':') => format!("[{host}]:{}", listen.port()),
            Some(host) => format!("{host}:{}", listen.port()),
            None => listen.to_string(),
        }
    }

    /// The nodes of the system group: as configured, else the lowest number of each zone.
    pub fn system_voters(&self) -> Vec<NodeId> {
        let mut numbers = self.system_voters.clone();
        if numbers.is_empty() {
            let mut lowest = std::collections::BTreeMap::new();
            let own = std::iter::once((self.zone.as_str(), self.node));
            for (zone, node) in own.chain(self.peers.iter().map(|p| (p.zone.as_str(), p.node))) {
                let entry = lowest.entry(zone).or_insert(node);
                *entry = node.min(*entry);
            }
            numbers.extend(lowest.values());
        }
        numbers.sort_unstable();
        numbers.dedup();
        numbers.into_iter().map(|n| node_id(self.region_id, n)).collect()
    }

    /// Threads for tokio.
    pub fn threads(&self) -> usize {
        match self.worker_threads {
            0 => std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 8),
            n => n,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_refused() {
        let error = NodeConfig::parse("regoin = \"x\"").expect_err("a typo");
        assert!(error.message.contains("regoin"), "{}", error.message);
        assert_eq!(error.exit, crate::error::Exit::Usage);
    }

    #[test]
    fn a_configuration_survives_its_own_file() {
        let mut config = NodeConfig { region: "us-east".into(), ..NodeConfig::default() };
        config.peers.push(PeerConfig { node: 2, zone: "b".into(), addr: "h:1".into() });
        let text = toml::to_string(&config).expect("it can be written");
        let read = NodeConfig::parse(&text).expect("it can be read");
        assert_eq!(format!("{read:?}"), format!("{config:?}"));
    }

    #[test]
    fn the_shipped_file_is_read_and_passes_every_check() {
        let shipped = include_str!("../../deploy/node.toml");
        check::check(&NodeConfig::parse(shipped).expect("it can be read")).expect("it is right");
        // Every line that shows a default is a setting too, and shows the default.
        let defaults = toml::Table::try_from(NodeConfig::default()).expect("it can be written");
        let (top, link) = shipped.split_once("[link]").expect("the file has a table link");
        for line in top.lines().filter_map(|line| line.strip_prefix("# ")) {
            let Some((name, value)) = line.split_once(" = ") else { continue };
            let Ok(shown) = toml::from_str::<toml::Table>(line) else { continue };
            let examples = ["system_voters", "nats_monitor_url", "grpc_tls_client_ca"];
            if !examples.contains(&name) {
                assert_eq!(defaults.get(name), shown.get(name), "{name} = {value}");
            }
        }
        for line in link.lines().filter_map(|line| line.strip_prefix("# ")) {
            if let Ok(shown) = toml::from_str::<toml::Table>(line) {
                let (name, value) = shown.iter().next().expect("one setting per line");
                assert_eq!(defaults["link"].get(name), Some(value), "link.{name}");
            }
        }
    }

    #[test]
    fn the_files_for_containers_are_read() {
        for text in [
            include_str!("../../deploy/compose-node1.toml"),
            include_str!("../../deploy/compose-node2.toml"),
            include_str!("../../deploy/compose-node3.toml"),
        ] {
            assert_eq!(NodeConfig::parse(text).expect("it can be read").peers.len(), 2);
        }
    }

    #[test]
    fn the_lowest_node_of_each_zone_keeps_the_system_group() {
        let peer = |node, zone: &str| PeerConfig { node, zone: zone.into(), addr: "h:1".into() };
        let config = NodeConfig {
            region_id: 2,
            zone: "a".into(),
            node: 4,
            peers: vec![peer(1, "a"), peer(2, "b"), peer(3, "c"), peer(5, "b"), peer(6, "c")],
            ..NodeConfig::default()
        };
        assert_eq!(config.system_voters(), [1, 2, 3].map(|n| node_id(2, n)));
    }

    #[test]
    fn an_advertised_host_takes_the_port_of_the_listener() {
        let mut config = NodeConfig::default();
        assert_eq!(config.advertised(config.listen_node), "127.0.0.1:8003");
        config.advertise_host = Some("db1.example".into());
        assert_eq!(config.advertised(config.listen_grpc), "db1.example:8001");
        config.advertise_host = Some("fd00::1".into());
        assert_eq!(config.advertised(config.listen_grpc), "[fd00::1]:8001");
    }
}
