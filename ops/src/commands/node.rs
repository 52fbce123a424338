//! `tombolo node list`, `tombolo node drain`: the machines of a region.
//!
//! Always true: what is printed is what the nodes themselves say, gathered from all that answer;
//! "it may be stopped" is said only when every group that the node keeps a copy of is led elsewhere
//! and has its other copies on nodes that answer.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use clap::Subcommand;
use serde_json::json;
use tombolo_client::report::{NodeStatus, StatusReport};
use tombolo_item::NodeId;

use super::connection::Connection;
use super::status::gather;
use crate::error::{Failure, Result};
use crate::output::{self, Format, columns};

/// Lists the nodes of a region, or lets one lead nothing.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Prints each node: zone, roles, whether it answers, groups it leads and keeps, its disk.
    List,
    /// Lets a node lead nothing, waits until that is so, and says whether it may be stopped.
    ///
    /// The wish outlives restarts of the node; --undo takes it back. The node's copies stay where they
    /// are. Exit code 0: it may be stopped; 3: not yet, and why.
    ///
    /// Examples:
    ///   tombolo node drain 3
    ///   tombolo node drain 3 --undo
    #[command(verbatim_doc_comment)]
    Drain {
        /// The node's number, as `tombolo node list` prints it.
        node: u64,
        /// It may lead again, and gets its share back within a minute or so.
        #[arg(long)]
        undo: bool,
        /// How long to wait until it leads nothing, in seconds.
        #[arg(long, default_value_t = 60, value_name = "SECONDS")]
        wait: u64,
    },
}

pub(super) async fn run(args: Args) -> Result {
    match args.command {
        Command::List => list(&args.connection).await,
        Command::Drain { node, undo: true, .. } => {
            args.connection.connect().await?.drain_node(NodeId(node), false).await?;
            output::talk(format!("node {node} may lead again"));
            Ok(())
        }
        Command::Drain { node, undo: false, wait } => {
            drain(&args.connection, NodeId(node), Duration::from_secs(wait)).await
        }
    }
}

/// Groups led and kept, by node.
fn shares(report: &StatusReport) -> BTreeMap<NodeId, (usize, usize)> {
    let mut shares: BTreeMap<NodeId, (usize, usize)> = BTreeMap::new();
    for group in &report.groups {
        for voter in &group.voters {
            shares.entry(*voter).or_default().1 += 1;
        }
        if let Some(leader) = group.leader {
            shares.entry(leader).or_default().0 += 1;
        }
    }
    shares
}

async fn list(connection: &Connection) -> Result {
    let report = gather(connection).await?;
    let shares = shares(&report);
    let share = |node: &NodeStatus| shares.get(&node.id).copied().unwrap_or_default();
    match connection.format() {
        Format::Json => {
            for node in &report.nodes {
                let (leads, copies) = share(node);
                output::data(
                    json!({
                        "id": node.id, "region": node.region, "zone": node.zone,
                        "roles": node.roles, "alive": node.reachable, "drained": node.drained,
                        "leads": leads, "copies": copies, "grpc": node.grpc,
                        "disk_bytes": node.disk_bytes, "disk_free_bytes": node.disk_free_bytes,
                    })
                    .to_string(),
                );
            }
        }
        Format::Table => {
            let rows: Vec<Vec<String>> = report
                .nodes
                .iter()
                .map(|node| {
                    let (leads, copies) = share(node);
                    vec![
                        node.id.to_string(),
                        node.region.clone(),
                        node.zone.clone(),
                        node.roles.join(","),
                        if node.reachable { "yes" } else { "no" }.to_owned(),
                        if node.drained { "yes" } else { "no" }.to_owned(),
                        leads.to_string(),
                        copies.to_string(),
                        disk(node),
                    ]
                })
                .collect();
            let heading =
                ["NODE", "REGION", "ZONE", "ROLES", "ALIVE", "DRAINED", "LEADS", "COPIES", "DISK"];
            output::data(columns(&heading, &rows));
        }
    }
    Ok(())
}

/// Free and whole, in GiB.
fn disk(node: &NodeStatus) -> String {
    let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
    match (node.disk_free_bytes, node.disk_bytes) {
        (Some(free), Some(whole)) => {
            format!("{:.1} of {:.1} GiB free", gib(free), gib(whole))
        }
        _ => "-".to_owned(),
    }
}

async fn drain(connection: &Connection, node: NodeId, wait: Duration) -> Result {
    connection.connect().await?.drain_node(node, true).await?;
    output::talk(format!("node {node} is asked to lead nothing"));
    let until = Instant::now() + wait;
    loop {
        let report = gather(connection).await?;
        let Some(reason) = in_the_way(&report, node) else {
            let copies = shares(&report).get(&node).map_or(0, |(_, copies)| *copies);
            output::data(format!(
                "node {node} leads nothing and may be stopped; it keeps {copies} copies, each with a \
                 majority elsewhere"
            ));
            return Ok(());
        };
        if Instant::now() >= until {
            return Err(Failure::unavailable(format!("node {node} may not be stopped: {reason}")));
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Why the node may not be stopped (yet).
fn in_the_way(report: &StatusReport, node: NodeId) -> Option<String> {
    let alive = |id: &NodeId| report.nodes.iter().any(|known| known.id == *id && known.reachable);
    let kept = report.groups.iter().filter(|group| group.voters.contains(&node));
    let mut leads = 0;
    for group in kept {
        let name = group.group;
        let others = group.voters.iter().filter(|voter| **voter != node);
        let living = others.filter(|voter| alive(voter)).count();
        if group.leader == Some(node) {
            leads += 1;
        } else if group.leader.is_none() {
            return Some(format!("group {name} has no leader"));
        }
        if living * 2 <= group.voters.len() {
            return Some(format!("group {name} would be left without a majority of its copies"));
        }
    }
    (leads > 0).then(|| format!("it still leads {leads} groups"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tombolo_client::report::GroupStatus;
    use tombolo_item::{GroupId, Shard};

    fn report(leader: Option<u64>, alive: &[u64]) -> StatusReport {
        let node = |id: u64| NodeStatus {
            id: NodeId(id),
            region: "r".into(),
            zone: "a".into(),
            reachable: alive.contains(&id),
            grpc: String::new(),
            admin: String::new(),
            roles: Vec::new(),
            drained: id == 1,
            disk_bytes: None,
            disk_free_bytes: None,
        };
        let group = GroupStatus {
            group: GroupId(16),
            shard: Shard { group: GroupId(16), epoch: 1 },
            table: "t".into(),
            leader: leader.map(NodeId),
            term: 1,
            serving: true,
            applied: 1,
            committed: 1,
            seq: 1,
            voters: (1..=3).map(NodeId).collect(),
            lag_entries: Some(0),
        };
        StatusReport {
            nodes: (1..=3).map(node).collect(),
            groups: vec![group],
            ..StatusReport::default()
        }
    }

    #[test]
    fn a_node_may_stop_when_its_groups_are_led_elsewhere_and_keep_a_majority() {
        assert_eq!(in_the_way(&report(Some(2), &[1, 2, 3]), NodeId(1)), None);
        let check = |report: &StatusReport, part: &str| {
            let reason = in_the_way(report, NodeId(1)).unwrap();
            assert!(reason.contains(part), "{reason}");
        };
        check(&report(Some(1), &[1, 2, 3]), "still leads 1 groups");
        check(&report(None, &[1, 2, 3]), "no leader");
        check(&report(Some(2), &[1, 2]), "without a majority");
    }
}
