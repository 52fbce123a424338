//! `tombolo status`: what one node knows of its region.

use tombolo_client::report::StatusReport;

use super::connection::Connection;
use crate::error::Result;
use crate::output::{self, Format, columns};

/// Shows regions, nodes, groups, leaders and lag, as the answering node sees them.
///
/// Exit code 0 when every group has a leader and every node is reachable, else 1.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(args: Args) -> Result {
    let report = args.connection.connect().await?.status().await?;
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
        "region {}, seen by node {}, version {}\n",
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
                    yes(g.serving),
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
                    l.head_seq.to_string(),
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
