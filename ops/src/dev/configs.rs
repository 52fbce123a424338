//! The files that `tombolo dev` writes for its nodes and NATS servers, at every start.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::DevOptions;
use super::faults;
use super::identity::{Identity, keys_file, region_key_file, secret_file};
use super::layout::{Layout, NodeLayout, RegionLayout};
use crate::certs;
use crate::config::{NodeConfig, OtherRegion, PeerConfig, check};
use crate::error::{Context, Result};
use crate::files::write_atomically;
use crate::nats::config::NatsConfig;

/// What was written, by region.
pub(super) struct Written {
    pub nats_configs: Vec<PathBuf>,
    pub nats_urls: Vec<String>,
}

/// The file of one node.
pub(super) fn node_file(layout: &Layout, region: &str, place: &str) -> PathBuf {
    layout.config().join(format!("{region}-{place}.toml"))
}

/// Makes all folders and files.
pub(super) fn write(layout: &Layout, identity: &Identity, options: &DevOptions) -> Result<Written> {
    make_dir(&layout.logs())?;
    let mut written = Written { nats_configs: Vec::new(), nats_urls: Vec::new() };
    for region in &layout.regions {
        let nats = nats(region, identity);
        make_dir(&region.nats_data)?;
        let path = layout.config().join(format!("{}-nats.conf", region.name));
        write_atomically(&path, nats.text().as_bytes(), 0o600)?;
        written.nats_configs.push(path);
        written.nats_urls.push(nats.url());
    }
    for region in &layout.regions {
        for node in &region.nodes {
            make_dir(&node.data)?;
            let config = node_config(layout, region, node, identity, options);
            check::check(&config)?;
            let text = toml::to_string(&config)?;
            let path = node_file(layout, &region.name, &node.place);
            write_atomically(&path, text.as_bytes(), 0o600)?;
        }
    }
    Ok(written)
}

fn make_dir(path: &Path) -> Result {
    std::fs::create_dir_all(path).context(|| format!("making the folder {}", path.display()))
}

fn nats<'a>(region: &'a RegionLayout, identity: &'a Identity) -> NatsConfig<'a> {
    NatsConfig {
        region: &region.name,
        port: region.nats,
        monitor_port: region.nats_monitor,
        store_dir: &region.nats_data,
        user: "tombolo",
        password: identity.nats_password(&region.name),
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

fn peer(node: &NodeLayout) -> PeerConfig {
    PeerConfig {
        node: node.number,
        zone: node.zone.to_owned(),
        addr: loopback(node.node).to_string(),
    }
}

fn node_config(
    layout: &Layout,
    region: &RegionLayout,
    node: &NodeLayout,
    identity: &Identity,
    options: &DevOptions,
) -> NodeConfig {
    let certificates = layout.config();
    let (tls_cert, tls_key) =
        certs::paths(&certificates, &format!("{}-{}", region.name, node.place));
    NodeConfig {
        cluster: identity.cluster.clone(),
        region: region.name.clone(),
        region_id: region.id,
        zone: node.zone.to_owned(),
        node: node.number,
        data_dir: node.data.clone(),
        listen_grpc: loopback(node.grpc),
        listen_admin: loopback(node.admin),
        listen_node: loopback(node.node),
        listen_dynamodb: loopback(node.dynamodb),
        tls_ca: certs::paths(&certificates, "ca").0,
        tls_cert,
        tls_key,
        dynamodb_keys: Some(keys_file(&layout.dir)),
        region_key: Some(region_key_file(&layout.dir)),
        insecure: options.insecure,
        nats_url: nats(region, identity).url(),
        nats_monitor_url: format!("http://{}", loopback(region.nats_monitor)),
        nats_replicas: 1,
        // All nodes share one machine: few threads each.
        worker_threads: 2,
        shutdown_ms: 5_000,
        log_format: options.log_format,
        log: options.log.clone(),
        dev_secret_file: Some(secret_file(&layout.dir)),
        dev_faults_file: Some(faults::file(&layout.dir)),
        dev_link_delay_ms: options.link_delay_ms,
        peers: region.nodes.iter().filter(|n| n.number != node.number).map(peer).collect(),
        regions: layout
            .regions
            .iter()
            .filter(|other| other.id != region.id)
            .map(|other| OtherRegion {
                id: other.id,
                name: other.name.clone(),
                nats_url: nats(other, identity).url(),
                nodes: other.nodes.iter().map(peer).collect(),
            })
            .collect(),
        ..NodeConfig::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_gets_a_file_that_serve_accepts() {
        let dir = tempfile::tempdir().unwrap();
        let mut options = DevOptions::new("/bin/tombolo", dir.path());
        options.nodes_per_zone = 2;
        let identity =
            Identity::read_or_make(dir.path(), &options.regions, 2, (None, None)).unwrap();
        let numbered: Vec<(String, u16)> =
            options.regions.iter().map(|n| (n.clone(), identity.region_id(n))).collect();
        let layout = Layout::new(dir.path(), &numbered, 8000, 2).unwrap();
        let written = write(&layout, &identity, &options).unwrap();
        assert_eq!(written.nats_urls.len(), 2);
        assert!(written.nats_urls[1].ends_with("@127.0.0.1:8190"));
        let config = NodeConfig::read(&node_file(&layout, "eu-west", "b2")).unwrap();
        check::check(&config).unwrap();
        assert_eq!((config.region_id, config.node, config.zone.as_str()), (2, 5, "b"));
        assert_eq!((config.peers.len(), config.regions[0].nodes.len()), (5, 6));
        assert_eq!(config.system_voters().len(), 3);
        assert!(config.data_dir.is_dir());
    }
}
