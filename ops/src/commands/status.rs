//! `tombolo status`: what one node knows of its region.

use tombolo_client::report::{LinkStatus, StatusReport};

use super::connection::Connection;
use crate::error::Result;
use crate::output::{self, Format, columns};

/// Shows regions, nodes, groups, leaders and lag.
///
/// One node is asked, then all nodes that it names, so that each group is described by its own
/// leader. A node that does not answer is left out, and its groups show what a follower knows.
/// Exit code 0 when every group has a leader and every node is reachable, else 1.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(args: Args) -> Result {
    let report = gather(&args.connection).await?;
    match args.connection.format() {
        Format::Json => output::json(&report)?,
        Format::Table => output::data(render(&report)),
    }
    let complaints = complaints(&report);
    if complaints.is_empty() {
        return Ok(());
    }
    Err(crate::error::Failure::negative(complaints.join("; ")))
}

/// Asks one node, then the nodes it names.
pub(super) async fn gather(connection: &Connection) -> Result<StatusReport> {
    let mut report = connection.connect().await?.status().await?;
    let own = report.node;
    let others = report.nodes.iter().filter(|n| Some(n.id) != own && n.reachable).map(|node| {
        let mut to = connection.clone();
        to.endpoint = vec![node.grpc.clone()];
        to.timeout = to.timeout.min(3);
        async move { to.connect().await?.status().await.map_err(crate::error::Failure::from) }
    });
    for other in futures::future::join_all(others).await.into_iter().flatten() {
        merge(&mut report, other);
    }
    Ok(report)
}

/// Takes from `other` what it knows best: the groups it leads, the shards it publishes, its links.
fn merge(report: &mut StatusReport, other: StatusReport) {
    if let Some(itself) = other.nodes.into_iter().find(|node| Some(node.id) == other.node)
        && let Some(known) = report.nodes.iter_mut().find(|node| node.id == itself.id)
    {
        (known.disk_bytes, known.disk_free_bytes) = (itself.disk_bytes, itself.disk_free_bytes);
    }
    for group in other.groups {
        match report.groups.iter_mut().find(|known| known.group == group.group) {
            Some(known) if group.leader == other.node && group.term >= known.term => *known = group,
            Some(_) => {}
            None => report.groups.push(group),
        }
    }
    report.groups.sort_by_key(|group| group.group);
    report.streams.extend(other.streams);
    for link in other.links {
        let same = |known: &&mut LinkStatus| {
            (&known.table, &known.source, known.shard) == (&link.table, &link.source, link.shard)
        };
        match report.links.iter_mut().find(same) {
            Some(known) if link.head_seq >= known.head_seq => *known = link,
            Some(_) => {}
            None => report.links.push(link),
        }
    }
}

fn complaints(report: &StatusReport) -> Vec<String> {
    let nodes = report.nodes.iter().filter(|n| !n.reachable);
    let groups = report.groups.iter().filter(|g| g.leader.is_none());
    nodes
        .map(|n| format!("node {} ({} {}) is not reachable", n.id, n.region, n.zone))
        .chain(groups.map(|g| format!("group {} has no leader", g.group)))
        .collect()
}

fn yes(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |v| v.to_string())
}

fn or_system(table: &str) -> String {
    if table.is_empty() { "(system)".to_owned() } else { table.to_owned() }
}

fn render(report: &StatusReport) -> String {
    let mut text = format!(
        "region {}, asked node {}, version {}\n",
        report.region,
        or_dash(report.node),
        report.version
    );
    let mut section = |heading: &[&str], rows: Vec<Vec<String>>| {
        if !rows.is_empty() {
            text.push('\n');
            text.push_str(&columns(heading, &rows));
            text.push('\n');
        }
    };
    section(
        &["REGION", "NUMBER", "HERE", "REACHABLE"],
        report
            .regions
            .iter()
            .map(|r| vec![r.name.clone(), r.id.to_string(), yes(r.local), yes(r.reachable)])
            .collect(),
    );
    section(
        &["NODE", "REGION", "ZONE", "REACHABLE", "GRPC", "ROLES"],
        report
            .nodes
            .iter()
            .map(|n| {
                vec![
                    n.id.to_string(),
                    n.region.clone(),
                    n.zone.clone(),
                    yes(n.reachable),
                    n.grpc.clone(),
                    n.roles.join(","),
                ]
            })
            .collect(),
    );
    section(
        &["GROUP", "TABLE", "SHARD", "LEADER", "TERM", "SERVING", "APPLIED", "SEQ", "LAG"],
        report
            .groups
            .iter()
            .map(|g| {
                vec![
                    g.group.to_string(),
                    or_system(&g.table),
                    g.shard.to_string(),
                    or_dash(g.leader),
                    g.term.to_string(),
                    // Only the leader itself knows.
                    or_dash(g.lag_entries.map(|_| yes(g.serving))),
                    format!("{}/{}", g.applied, g.committed),
                    g.seq.to_string(),
                    or_dash(g.lag_entries),
                ]
            })
            .collect(),
    );
    section(
        &["LINK FROM", "TABLE", "SHARD", "APPLIED", "HEAD", "LAG MS", "STATE"],
        report
            .links
            .iter()
            .map(|l| {
                vec![
                    l.source.clone(),
                    l.table.clone(),
                    l.shard.to_string(),
                    l.applied_seq.to_string(),
                    or_dash((l.head_seq > 0).then_some(l.head_seq)),
                    or_dash(l.lag_ms),
                    l.state.clone(),
                ]
            })
            .collect(),
    );
    section(
        &["STREAM OF", "SHARD", "PUBLISHED", "HEAD", "STATE"],
        report
            .streams
            .iter()
            .map(|s| {
                vec![
                    s.table.clone(),
                    s.shard.to_string(),
                    s.published_seq.to_string(),
                    s.head_seq.to_string(),
                    s.state.clone(),
                ]
            })
            .collect(),
    );
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tombolo_client::report::GroupStatus;
    use tombolo_item::{GroupId, NodeId, Shard};

    fn group(group: u64, leader: u64, term: u64, lag: Option<u64>) -> GroupStatus {
        GroupStatus {
            group: GroupId(group),
            shard: Shard { group: GroupId(group), epoch: 1 },
            table: "t".into(),
            leader: Some(NodeId(leader)),
            term,
            serving: lag.is_some(),
            applied: 1,
            committed: 1,
            seq: 1,
            voters: Vec::new(),
            lag_entries: lag,
        }
    }

    #[test]
    fn a_group_is_described_by_its_leader() {
        let report = |node, groups| StatusReport {
            node: Some(NodeId(node)),
            groups,
            ..StatusReport::default()
        };
        let mut seen = report(1, vec![group(16, 2, 5, None), group(17, 1, 3, Some(0))]);
        // A leader of an older term, and a follower, do not count.
        merge(&mut seen, report(3, vec![group(16, 3, 4, Some(9)), group(17, 1, 3, None)]));
        assert_eq!(seen.groups[0].lag_entries, None);
        merge(&mut seen, report(2, vec![group(16, 2, 5, Some(7)), group(18, 2, 1, Some(0))]));
        let lags: Vec<_> = seen.groups.iter().map(|g| g.lag_entries).collect();
        assert_eq!(lags, [Some(7), Some(0), Some(0)]);
        assert!(render(&seen).contains("GROUP"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let mut leaderless = group(16, 1, 1, None);
        leaderless.leader = None;
        let report = StatusReport { groups: vec![leaderless], ..StatusReport::default() };
        assert_eq!(complaints(&report), ["group 16 has no leader"]);
    }
}
