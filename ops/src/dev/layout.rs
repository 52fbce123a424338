//! Where everything of a development cluster is: ports, folders, numbers.
//!
//! Always true: region r, zone z, node n of that zone have the ports
//! base + 100 r + 10 (3 n + z) + {0 DynamoDB, 1 gRPC, 2 admin, 3 node}; NATS is at base + 100 r + 90,
//! its monitor at + 91. A node's data is in `DIR/<region>/<zone>/` (`<zone>2/`, `<zone>3/` for the
//! second and third node of a zone), NATS' in `DIR/<region>/nats/`, logs in `DIR/logs/`. Scripts and
//! tests rely on every word of this.

use std::path::{Path, PathBuf};

use crate::config::{check::is_plain_name, node_id};
use crate::error::{Failure, Result};

/// The zones of every region.
pub const ZONES: [&str; 3] = ["a", "b", "c"];
/// More nodes would run into NATS' ports.
pub const NODES_PER_ZONE_MAX: u8 = 3;
/// Names of folders beside those of the regions.
const TAKEN: [&str; 2] = ["logs", "config"];

/// One node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeLayout {
    /// From 1, unique in the region.
    pub number: u32,
    /// Unique over all regions.
    pub id: u64,
    pub zone: &'static str,
    /// The zone and, from the second node on, which of its nodes: `a`, `a2`, `a3`.
    pub place: String,
    pub data: PathBuf,
    pub dynamodb: u16,
    pub grpc: u16,
    pub admin: u16,
    pub node: u16,
}

/// One region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionLayout {
    pub name: String,
    pub id: u16,
    pub nats: u16,
    pub nats_monitor: u16,
    pub nats_data: PathBuf,
    pub nodes: Vec<NodeLayout>,
}

/// A whole cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    pub dir: PathBuf,
    pub regions: Vec<RegionLayout>,
}

impl Layout {
    /// Lays out `regions` (name, number) below `dir`, which must be absolute.
    pub fn new(
        dir: &Path,
        regions: &[(String, u16)],
        base_port: u16,
        nodes_per_zone: u8,
    ) -> Result<Layout> {
        check_names(regions.iter().map(|(name, _)| name.as_str()))?;
        if !(1..=NODES_PER_ZONE_MAX).contains(&nodes_per_zone) {
            return Err(Failure::usage(format!(
                "--nodes-per-zone {nodes_per_zone}: choose 1, 2 or 3"
            )));
        }
        let highest = u32::from(base_port) + 100 * (regions.len() as u32 - 1) + 91;
        if base_port < 1024 || highest > 65_535 {
            return Err(Failure::usage(format!(
                "--base-port {base_port}: {} regions need ports up to {highest}; choose from 1024 \
                 to {}",
                regions.len(),
                65_535 - (highest - u32::from(base_port)),
            )));
        }
        let regions = regions
            .iter()
            .enumerate()
            .map(|(r, (name, id))| {
                let base = base_port + 100 * r as u16;
                let home = dir.join(name);
                RegionLayout {
                    name: name.clone(),
                    id: *id,
                    nats: base + 90,
                    nats_monitor: base + 91,
                    nats_data: home.join("nats"),
                    nodes: (0..u16::from(nodes_per_zone))
                        .flat_map(|n| (0..3).map(move |z| (n, z)))
                        .map(|(n, z)| node(&home, *id, base, n, z))
                        .collect(),
                }
            })
            .collect();
        Ok(Layout { dir: dir.to_owned(), regions })
    }

    pub fn cluster_json(&self) -> PathBuf {
        self.dir.join("cluster.json")
    }

    pub fn logs(&self) -> PathBuf {
        self.dir.join("logs")
    }

    /// What `tombolo dev` itself keeps: certificates, configurations, the secret, what is cut off.
    pub fn config(&self) -> PathBuf {
        self.dir.join("config")
    }

    /// Every port with what it is for.
    pub fn ports(&self) -> Vec<(u16, String)> {
        let mut ports = Vec::new();
        for region in &self.regions {
            for node in &region.nodes {
                let place = format!("{}/{}", region.name, node.place);
                ports.push((node.dynamodb, format!("DynamoDB of {place}")));
                ports.push((node.grpc, format!("gRPC of {place}")));
                ports.push((node.admin, format!("admin of {place}")));
                ports.push((node.node, format!("node port of {place}")));
            }
            ports.push((region.nats, format!("NATS of {}", region.name)));
            ports.push((region.nats_monitor, format!("NATS monitor of {}", region.name)));
        }
        ports
    }
}

fn node(home: &Path, region_id: u16, base: u16, n: u16, z: u16) -> NodeLayout {
    let zone = ZONES[usize::from(z)];
    let place = if n == 0 { zone.to_owned() } else { format!("{zone}{}", n + 1) };
    let first = base + 10 * (3 * n + z);
    let number = u32::from(3 * n + z) + 1;
    NodeLayout {
        number,
        id: node_id(region_id, number).0,
        zone,
        data: home.join(&place),
        place,
        dynamodb: first,
        grpc: first + 1,
        admin: first + 2,
        node: first + 3,
    }
}

/// Refuses what cannot name a region.
pub fn check_names<'a>(names: impl Iterator<Item = &'a str>) -> Result {
    let mut seen = std::collections::BTreeSet::new();
    for name in names {
        if !is_plain_name(name) || TAKEN.contains(&name) {
            return Err(Failure::usage(format!(
                "--regions: {name:?} cannot name a region; use 1 to 40 of a-z, 0-9 and '-', and \
                 neither \"logs\" nor \"config\""
            )));
        }
        if !seen.insert(name) {
            return Err(Failure::usage(format!("--regions: {name:?} is named twice")));
        }
    }
    if seen.is_empty() {
        return Err(Failure::usage("--regions: name at least one region"));
    }
    Ok(())
}

/// Names every port that something else listens on.
pub fn check_ports(layout: &Layout) -> Result {
    let taken: Vec<String> = layout
        .ports()
        .into_iter()
        .filter_map(|(port, purpose)| {
            let error = std::net::TcpListener::bind(("127.0.0.1", port)).err()?;
            Some(format!("127.0.0.1:{port} ({purpose}): {error}"))
        })
        .collect();
    if taken.is_empty() {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "these ports cannot be used; stop what uses them, or choose another --base-port:\n  {}",
        taken.join("\n  ")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(nodes_per_zone: u8) -> Layout {
        let regions = [("us-east".to_owned(), 1), ("eu-west".to_owned(), 2)];
        Layout::new(Path::new("/d"), &regions, 8000, nodes_per_zone).unwrap()
    }

    #[test]
    fn ports_and_folders_are_as_promised() {
        let layout = layout(3);
        let [us, eu] = &layout.regions[..] else { panic!("two regions") };
        assert_eq!((us.nats, us.nats_monitor, eu.nats), (8090, 8091, 8190));
        assert_eq!(us.nats_data, Path::new("/d/us-east/nats"));
        let find = |place: &str| eu.nodes.iter().find(|n| n.place == place).unwrap();
        let c = find("c");
        assert_eq!((c.dynamodb, c.grpc, c.admin, c.node), (8120, 8121, 8122, 8123));
        let b3 = find("b3");
        assert_eq!((b3.grpc, b3.zone, b3.number), (8171, "b", 8));
        assert_eq!(b3.data, Path::new("/d/eu-west/b3"));
        assert_eq!(b3.id, (2 << 32) | 8);
    }

    #[test]
    fn no_port_is_used_twice() {
        let layout = layout(3);
        let ports: std::collections::BTreeSet<u16> =
            layout.ports().iter().map(|(port, _)| *port).collect();
        assert_eq!(ports.len(), layout.ports().len());
        assert_eq!(layout.ports().len(), 2 * (9 * 4 + 2));
    }

    #[test]
    fn what_cannot_be_laid_out_is_refused() {
        let one = [("x".to_owned(), 1)];
        let refused = |regions: &[(String, u16)], port, nodes| {
            Layout::new(Path::new("/d"), regions, port, nodes).expect_err("refused").message
        };
        assert!(refused(&one, 8000, 4).contains("1, 2 or 3"));
        assert!(refused(&one, 65_500, 1).contains("choose from 1024 to 65444"));
        assert!(refused(&[("logs".to_owned(), 1)], 8000, 1).contains("logs"));
        assert!(refused(&[("a.b".to_owned(), 1)], 8000, 1).contains("a.b"));
        let twice = [("x".to_owned(), 1), ("x".to_owned(), 2)];
        assert!(refused(&twice, 8000, 1).contains("twice"));
    }

    #[test]
    fn an_occupied_port_is_named() {
        let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = holder.local_addr().unwrap().port();
        let mut layout = layout(1);
        layout.regions.truncate(1);
        layout.regions[0].nodes.truncate(1);
        let node = &mut layout.regions[0].nodes[0];
        node.grpc = port;
        let refused = check_ports(&layout).expect_err("it is occupied").message;
        assert!(refused.contains(&format!("127.0.0.1:{port} (gRPC of us-east/a)")), "{refused}");
    }
}
