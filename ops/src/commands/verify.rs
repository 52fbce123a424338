//! `tombolo verify`: proof that every copy of a table agrees, or the keys that differ.

use std::time::Duration;

use futures::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use tombolo_client::report::{TableDigest, VerifyEvent, VerifyFinding, VerifySummary};
use tombolo_item::json;

use super::connection::Connection;
use crate::error::{Failure, Result};
use crate::output::{self, Format, columns};

/// Compares every copy of a table by checksum: replica with replica, region with region.
///
/// Storage is read on every node; nothing is sent but digests. Changes that are on their way are
/// told apart from differences. Exit code 0 when every copy agrees; 1 with the differing keys when
/// one does not; 3 when a copy could not be read.
///
/// Examples:
///   tombolo verify music
///   tombolo verify music --output json | jq .findings
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// The table.
    table: String,
    #[command(flatten)]
    connection: Connection,
}

/// What is printed as JSON.
#[derive(Default, serde::Serialize)]
struct Outcome {
    summary: VerifySummary,
    regions: Vec<serde_json::Value>,
    replicas: Vec<serde_json::Value>,
    findings: Vec<serde_json::Value>,
}

/// The same, as columns.
#[derive(Default)]
struct Lines {
    digests: Vec<Vec<String>>,
    findings: Vec<Vec<String>>,
}

pub(super) async fn run(args: Args) -> Result {
    let client = args.connection.connect().await?;
    let mut events = client.verify_table(&args.table).await?;
    let bar = progress_bar();
    let mut outcome = Outcome::default();
    let mut lines = Lines::default();
    let mut finished = false;
    while let Some(event) = events.next().await {
        match event? {
            VerifyEvent::Progress { phase, done, total } => {
                bar.set_length(total.max(1));
                bar.set_position(done);
                bar.set_message(phase);
            }
            VerifyEvent::Replica { region, group, node, index, digest } => {
                lines.digests.push(vec![
                    region.clone(),
                    group.to_string(),
                    node.to_string(),
                    digest.items.to_string(),
                    hash(&digest),
                ]);
                outcome.replicas.push(serde_json::json!({
                    "region": region, "group": group.0, "node": node.0, "index": index,
                    "items": digest.items, "digest": hash(&digest),
                }));
            }
            VerifyEvent::Region { region, digest } => {
                lines.digests.push(vec![
                    region.clone(),
                    "all".into(),
                    "-".into(),
                    digest.items.to_string(),
                    hash(&digest),
                ]);
                outcome.regions.push(serde_json::json!({
                    "region": region, "items": digest.items, "digest": hash(&digest),
                }));
            }
            VerifyEvent::Finding(finding) => {
                lines.findings.push(row(&finding));
                outcome.findings.push(finding_json(&finding));
            }
            VerifyEvent::Summary(summary) => {
                outcome.summary = summary;
                finished = true;
            }
        }
    }
    bar.finish_and_clear();
    if !finished {
        return Err(Failure::unavailable(
            "the verification ended before it was complete; ask again, perhaps at another node",
        ));
    }
    match args.connection.format() {
        Format::Json => output::json(&outcome)?,
        Format::Table => output::data(render(&args.table, &outcome.summary, &lines)),
    }
    if outcome.summary.agreed {
        return Ok(());
    }
    let unread = outcome.findings.iter().all(|f| f["kind"] == "unreachable");
    let count = outcome.summary.findings;
    Err(match unread {
        true => Failure::unavailable("a copy could not be read, so nothing is proved"),
        false => Failure::negative(format!("{count} findings: the copies do not agree")),
    })
}

fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::new(1);
    if let Ok(style) =
        ProgressStyle::with_template("{spinner} {msg} [{bar:30}] {pos}/{len} {elapsed}")
    {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

fn hash(digest: &TableDigest) -> String {
    format!("{:016x}{:016x}", digest.sum, digest.xor)
}

fn key_json(finding: &VerifyFinding) -> serde_json::Value {
    finding.key.as_ref().map_or(serde_json::Value::Null, json::item_to_plain)
}

fn row(finding: &VerifyFinding) -> Vec<String> {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    vec![
        finding.kind.clone(),
        finding.region.clone(),
        or_dash(finding.group.map(|g| g.to_string())),
        or_dash(finding.node.map(|n| n.to_string())),
        key_json(finding).to_string(),
        finding.reason.clone(),
    ]
}

fn finding_json(finding: &VerifyFinding) -> serde_json::Value {
    serde_json::json!({
        "kind": finding.kind,
        "region": finding.region,
        "group": finding.group.map(|g| g.0),
        "node": finding.node.map(|n| n.0),
        "key": key_json(finding),
        "reason": finding.reason,
    })
}

fn render(table: &str, summary: &VerifySummary, lines: &Lines) -> String {
    let mut text = columns(&["REGION", "GROUP", "NODE", "ITEMS", "DIGEST"], &lines.digests);
    if !lines.findings.is_empty() {
        text.push_str("\n\n");
        text.push_str(&columns(
            &["FINDING", "REGION", "GROUP", "NODE", "KEY", "WHAT"],
            &lines.findings,
        ));
    }
    text.push_str(&format!(
        "\n\n{table}: {} copies in {} regions, {} items, {:.1} s, {} changes on their way: {}",
        summary.replicas,
        summary.regions,
        summary.items,
        summary.elapsed_ms as f64 / 1000.0,
        summary.in_flight,
        if summary.agreed { "every copy agrees" } else { "THE COPIES DO NOT AGREE" },
    ));
    text
}
