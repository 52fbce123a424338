//! What is refused before anything starts. Each sentence names the setting and says what to do.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;

use super::{NodeConfig, PeerConfig, Role};
use crate::error::{Failure, Result};

/// Checks a configuration without touching the network or the data folder.
pub fn check(config: &NodeConfig) -> Result {
    let mut wrong = Vec::new();
    names(config, &mut wrong);
    peers(config, &mut wrong);
    regions(config, &mut wrong);
    listeners(config, &mut wrong);
    limits(config, &mut wrong);
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Failure::usage(format!("the configuration cannot be used:\n  {}", wrong.join("\n  "))))
}

/// Whether a name can stand in a NATS subject and in a file name.
pub fn is_plain_name(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=40).contains(&name.len())
        && name.chars().all(legal)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

fn names(config: &NodeConfig, wrong: &mut Vec<String>) {
    for (setting, value) in
        [("cluster", &config.cluster), ("region", &config.region), ("zone", &config.zone)]
    {
        if !is_plain_name(value) {
            wrong.push(format!(
                "{setting} = {value:?}: set it to 1 to 40 of a-z, 0-9 and '-' (not first or last)"
            ));
        }
    }
    if config.region_id == 0 {
        wrong.push("region_id: set it to the region's number, 1 to 65535".into());
    }
    if config.node == 0 {
        wrong.push("node: set it to this node's number in its region, from 1".into());
    }
    if config.roles.is_empty() {
        wrong.push("roles: give at least one of router, storage, memds, control".into());
    }
    for (setting, path) in [
        ("data_dir", &config.data_dir),
        ("tls_ca", &config.tls_ca),
        ("tls_cert", &config.tls_cert),
        ("tls_key", &config.tls_key),
    ] {
        if path.as_os_str().is_empty() {
            let hint = match setting {
                "data_dir" => "name the folder that holds this node's data",
                _ => "name the file (`tombolo certs` makes one)",
            };
            wrong.push(format!("{setting}: {hint}"));
        }
    }
    nats("nats_url", &config.nats_url, wrong);
}

fn nats(setting: &str, url: &str, wrong: &mut Vec<String>) {
    if url.is_empty() {
        wrong.push(format!("{setting}: set it to nats://user:password@host:port"));
    }
    for part in url.split(',').filter(|part| !part.is_empty()) {
        let address = part.split_once("://");
        let credentials = address.and_then(|(_, rest)| rest.rsplit_once('@'));
        if !matches!(address, Some(("nats" | "tls", _))) || credentials.is_none() {
            // The value may hold a password: it is not repeated here.
            wrong.push(format!(
                "{setting}: write it as nats://user:password@host:port; NATS is never used without \
                 credentials"
            ));
        }
    }
}

fn peers(config: &NodeConfig, wrong: &mut Vec<String>) {
    let mut seen = BTreeSet::from([config.node]);
    for peer in &config.peers {
        peer_is_usable("peers", peer, wrong);
        if !seen.insert(peer.node) {
            wrong.push(format!(
                "peers: node {} is named twice (this node is {}); give every node its own number",
                peer.node, config.node
            ));
        }
    }
    for voter in &config.system_voters {
        if !seen.contains(voter) {
            wrong.push(format!("system_voters: node {voter} is not among the peers; add it there"));
        }
    }
    let voters = config.system_voters().len();
    if voters.is_multiple_of(2) {
        wrong.push(format!(
            "system_voters: {voters} nodes would keep the system group; name an odd number of \
             nodes in different zones (usually three)"
        ));
    }
}

fn peer_is_usable(setting: &str, peer: &PeerConfig, wrong: &mut Vec<String>) {
    if peer.node == 0 || !is_plain_name(&peer.zone) {
        wrong.push(format!(
            "{setting}: {} needs node = 1 or more and a zone of a-z, 0-9 and '-'",
            peer.addr
        ));
    }
    let port = peer.addr.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    if port.is_none_or(|port| port == 0) {
        wrong.push(format!("{setting}: addr = {:?}: write it as host:port", peer.addr));
    }
}

fn regions(config: &NodeConfig, wrong: &mut Vec<String>) {
    let mut ids = BTreeSet::from([config.region_id]);
    let mut names = BTreeSet::from([config.region.as_str()]);
    for region in &config.regions {
        if region.id == 0 || !ids.insert(region.id) {
            wrong.push(format!(
                "regions: id = {} of {:?} is zero or taken; every region has its own number",
                region.id, region.name
            ));
        }
        if !is_plain_name(&region.name) || !names.insert(&region.name) {
            wrong.push(format!(
                "regions: name = {:?} is taken or not made of a-z, 0-9 and '-'",
                region.name
            ));
        }
        nats(&format!("regions.nats_url of {:?}", region.name), &region.nats_url, wrong);
        for peer in &region.nodes {
            peer_is_usable(&format!("regions.nodes of {:?}", region.name), peer, wrong);
        }
    }
}

fn listeners(config: &NodeConfig, wrong: &mut Vec<String>) {
    let all = [
        ("listen_grpc", config.listen_grpc),
        ("listen_admin", config.listen_admin),
        ("listen_node", config.listen_node),
        ("listen_dynamodb", config.listen_dynamodb),
    ];
    for (i, (name, addr)) in all.iter().enumerate() {
        if addr.port() != 0
            && let Some((other, _)) = all[i + 1..].iter().find(|(_, other)| other == addr)
        {
            wrong.push(format!("{name} and {other} are both {addr}; give each its own port"));
        }
    }
    for (setting, listen) in
        [("listen_node", config.listen_node), ("listen_grpc", config.listen_grpc)]
    {
        if listen.ip().is_unspecified() && config.advertise_host.is_none() {
            wrong.push(format!(
                "{setting} = {listen}: others cannot connect to that; set advertise_host"
            ));
        }
    }
    let certificate = config.grpc_tls_cert.is_some();
    if certificate != config.grpc_tls_key.is_some() {
        wrong.push("grpc_tls_cert and grpc_tls_key: set both or none".into());
    }
    if config.has(Role::Router) && !config.listen_grpc.ip().is_loopback() && !certificate {
        wrong.push(format!(
            "listen_grpc = {}: clients may connect without TLS on loopback only; set grpc_tls_cert \
             and grpc_tls_key, or listen on 127.0.0.1",
            config.listen_grpc
        ));
    }
    let dynamodb = config.listen_dynamodb;
    if config.has(Role::Router) && !dynamodb.ip().is_loopback() && !certificate {
        wrong.push(format!(
            "listen_dynamodb = {dynamodb}: clients may connect without TLS on loopback only; set \
             grpc_tls_cert and grpc_tls_key, or listen on 127.0.0.1"
        ));
    }
    if config.insecure && !dynamodb.ip().is_loopback() {
        wrong.push(format!(
            "insecure with listen_dynamodb = {dynamodb}: whoever reaches the port could do anything; \
             take insecure away, or listen on 127.0.0.1"
        ));
    }
    let dev = config.is_dev() || config.dev_faults_file.is_some() || config.dev_link_delay_ms > 0;
    let outside: Vec<SocketAddr> =
        all.iter().map(|(_, a)| *a).filter(|a| !a.ip().is_loopback()).collect();
    if dev && !outside.is_empty() {
        wrong.push(format!(
            "dev_… settings are for loopback only, and this node listens on {outside:?}; remove them"
        ));
    }
}

fn limits(config: &NodeConfig, wrong: &mut Vec<String>) {
    let ranges = [
        ("max_in_flight", config.max_in_flight as u64, 1, 1_000_000),
        // An item of 400 KB, doubled by its encoding, has to fit.
        ("max_message_bytes", config.max_message_bytes as u64, 1 << 20, 64 << 20),
        ("max_clock_skew_ms", config.max_clock_skew_ms, 1, 60_000),
        ("shutdown_ms", config.shutdown_ms, 100, 600_000),
        ("nats_replicas", config.nats_replicas as u64, 1, 5),
        ("worker_threads", config.worker_threads as u64, 0, 1_024),
    ];
    for (setting, value, low, high) in ranges {
        if !(low..=high).contains(&value) {
            wrong.push(format!("{setting} = {value}: choose from {low} to {high}"));
        }
    }
}

/// A file that must be there before a node starts.
pub fn readable(setting: &str, path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| {
        Failure::usage(format!(
            "{setting} = {}: {error}; `tombolo certs` makes certificates and keys",
            path.display()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> NodeConfig {
        let peer = |node, zone: &str| PeerConfig { node, zone: zone.into(), addr: "h:8003".into() };
        NodeConfig {
            region: "us-east".into(),
            region_id: 1,
            zone: "a".into(),
            node: 1,
            data_dir: "/d".into(),
            tls_ca: "/ca".into(),
            tls_cert: "/c".into(),
            tls_key: "/k".into(),
            nats_url: "nats://u:p@127.0.0.1:4222".into(),
            peers: vec![peer(2, "b"), peer(3, "c")],
            ..NodeConfig::default()
        }
    }

    fn refusal(change: impl FnOnce(&mut NodeConfig)) -> String {
        let mut config = good();
        change(&mut config);
        check(&config).expect_err("it must be refused").message
    }

    #[test]
    fn a_good_one_passes() {
        check(&good()).expect("nothing is wrong");
    }

    #[test]
    fn each_mistake_is_named_with_its_remedy() {
        assert!(refusal(|c| c.region = "us.east".into()).contains("region = \"us.east\""));
        assert!(refusal(|c| c.node = 0).contains("node: set it"));
        assert!(refusal(|c| c.nats_url = "nats://h:1".into()).contains("credentials"));
        assert!(refusal(|c| c.peers[0].node = 1).contains("named twice"));
        assert!(refusal(|c| c.peers[0].addr = "h".into()).contains("host:port"));
        assert!(refusal(|c| c.system_voters = vec![9]).contains("node 9"));
        assert!(refusal(|c| c.max_in_flight = 0).contains("max_in_flight"));
        assert!(refusal(|c| c.listen_admin = c.listen_grpc).contains("its own port"));
    }

    #[test]
    fn nothing_but_loopback_without_tls() {
        let open = "0.0.0.0:8001".parse().expect("an address");
        assert!(refusal(|c| c.listen_grpc = open).contains("loopback only"));
        assert!(refusal(|c| c.listen_dynamodb = open).contains("listen_dynamodb"));
        let unsigned = refusal(|c| {
            c.listen_dynamodb = open;
            c.insecure = true;
        });
        assert!(unsigned.contains("could do anything"), "{unsigned}");
        let refused = refusal(|c| {
            c.listen_admin = "10.0.0.1:8002".parse().expect("an address");
            c.dev_link_delay_ms = 5;
        });
        assert!(refused.contains("dev_"), "{refused}");
    }

    #[test]
    fn a_password_is_not_repeated() {
        let refused = refusal(|c| c.nats_url = "http://user:s3cret@h:1".into());
        assert!(!refused.contains("s3cret"), "{refused}");
    }
}
