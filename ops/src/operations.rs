//! What an operator may ask of a running node: its status, and proof that copies agree. The router
//! serves it; the answers come from the crates that know.
//!
//! Always true: a status is this node's own view and says so; what cannot be known here is left out,
//! never guessed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt, join_all};
use futures::stream::{BoxStream, StreamExt};
use tokio::sync::mpsc;
use tombolo_client::conflict::ConflictPage;
use tombolo_client::report::{
    LinkStatus, StatusReport, StreamStatus, TableDigest, VerifyEvent, VerifyFinding, VerifySummary,
};
use tombolo_group::{CallError, Host, Net, ServiceId};
use tombolo_item::{NodeId, RegionId, RowKey, json};
use tombolo_link::checkpoint::{CHECKPOINT_KIND, Checkpoint, checkpoint_id};
use tombolo_link::verify::{self, DigestSummary, Finding, Phase, Progress, Report, VerifyDeps};
use tombolo_memds::{Memds, Routed, TableInfo};
use tombolo_router::{Operations, OperationsError, base_status};

use crate::conflicts;

/// How long a node may take to answer before it counts as out of reach.
const REACH: Duration = Duration::from_secs(1);
/// Progress lines that wait for a slow reader; more are dropped.
const PROGRESS_WAITING: usize = 64;

/// The operations of one node.
pub(crate) struct NodeOperations {
    pub host: Host,
    pub memds: Memds,
    pub net: Net,
    pub routed: Routed,
    /// Where the node keeps its data.
    pub dir: PathBuf,
}

impl Operations for NodeOperations {
    fn status(&self) -> BoxFuture<'_, Result<StatusReport, OperationsError>> {
        async move {
            let mut report = base_status(&self.memds, &self.host, crate::VERSION);
            let reach = self.reach().await;
            for node in &mut report.nodes {
                node.reachable = reach.get(&node.id).copied().unwrap_or(false);
                if node.id == self.memds.node().id
                    && let Ok(disk) = rustix::fs::statvfs(&self.dir)
                {
                    node.disk_bytes = Some(disk.f_blocks * disk.f_frsize);
                    node.disk_free_bytes = Some(disk.f_bavail * disk.f_frsize);
                }
            }
            for region in &mut report.regions {
                let known = self.memds.regions().iter().find(|r| r.id == region.id);
                let nodes = known.map(|r| r.nodes.as_slice()).unwrap_or_default();
                region.reachable = region.local
                    || nodes.iter().any(|(id, ..)| reach.get(id).copied().unwrap_or(false));
            }
            report.links = self.links().await?;
            report.streams = self.streams();
            Ok(report)
        }
        .boxed()
    }

    fn drain(&self, node: NodeId, drained: bool) -> BoxFuture<'_, Result<(), OperationsError>> {
        async move {
            if !self.memds.nodes().iter().any(|known| known.id == node) {
                let region = self.memds.region_name();
                let why = format!("there is no node {node} in region {region}");
                return Err(OperationsError::Invalid(why));
            }
            let done = self.memds.drain(node, drained).await;
            done.map_err(|error| OperationsError::Unavailable(error.to_string()))
        }
        .boxed()
    }

    fn conflicts(
        &self,
        table: Arc<TableInfo>,
        after: Option<RowKey>,
        limit: usize,
    ) -> BoxFuture<'_, Result<ConflictPage, OperationsError>> {
        conflicts::page(&self.routed, table, after, limit).boxed()
    }

    fn verify(
        &self,
        table: Arc<TableInfo>,
    ) -> BoxStream<'static, Result<VerifyEvent, OperationsError>> {
        let deps = VerifyDeps {
            host: self.host.clone(),
            memds: self.memds.clone(),
            net: self.net.clone(),
        };
        let (events, inbox) = mpsc::channel(PROGRESS_WAITING);
        let task = tokio::spawn(verify(deps, table, events));
        let giving_up = AbortOnDrop(task);
        tokio_stream::wrappers::ReceiverStream::new(inbox)
            .map(move |event| {
                let _ = &giving_up;
                event
            })
            .boxed()
    }
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl NodeOperations {
    /// Which nodes answer, of this region and of the others.
    async fn reach(&self) -> BTreeMap<NodeId, bool> {
        let own = self.memds.node().id;
        let here = self.memds.nodes().into_iter().map(|node| node.id);
        let configured =
            self.memds.regions().iter().flat_map(|r| r.nodes.iter().map(|(id, ..)| *id));
        let all: std::collections::BTreeSet<NodeId> = here.chain(configured).collect();
        let asked =
            all.into_iter().map(|id| async move { (id, id == own || self.answers(id).await) });
        join_all(asked).await.into_iter().collect()
    }

    /// Any answer will do: an empty call is refused by whoever is there.
    async fn answers(&self, node: NodeId) -> bool {
        let called = self.net.call(node, ServiceId::Verify, Bytes::new(), REACH).await;
        matches!(called, Ok(_) | Err(CallError::Refused(_) | CallError::Overloaded(_)))
    }

    /// How far the streams of the shards that this node leads are.
    fn streams(&self) -> Vec<StreamStatus> {
        // A shard that is published for people and for links is as far as the slower of the two.
        let mut slowest = BTreeMap::new();
        for lag in tombolo_stream::shard_lags() {
            let known = slowest.entry(lag.shard).or_insert(lag);
            if lag.published_seq < known.published_seq {
                *known = lag;
            }
        }
        let status = slowest.into_values().map(|lag| {
            let group = self.host.group(lag.shard.group);
            let table = group.and_then(|group| self.memds.table(group.table));
            StreamStatus {
                table: table.map(|table| table.name.clone()).unwrap_or_default(),
                shard: lag.shard,
                published_seq: lag.published_seq,
                head_seq: lag.head_seq,
                state: "running".to_owned(),
            }
        });
        status.collect()
    }

    /// How far each link into this region is: what this node runs, as it knows it; the others from
    /// their replicated checkpoints.
    async fn links(&self) -> Result<Vec<LinkStatus>, OperationsError> {
        let own = self.memds.node().region;
        let running = tombolo_link::link_progress();
        let mut links = Vec::new();
        for table in self.memds.tables().iter().filter(|t| t.regions.contains(&own)) {
            for (id, name) in table.regions.iter().zip(&table.region_names) {
                if *id == own {
                    continue;
                }
                let here = running.iter().filter(|line| (line.table, line.from) == (table.id, *id));
                let before = links.len();
                links.extend(here.map(|line| LinkStatus {
                    table: table.name.clone(),
                    source: name.clone(),
                    shard: line.shard,
                    applied_seq: line.applied_seq,
                    head_seq: line.head_seq,
                    lag_ms: line.lag_ms,
                    state: line.held.clone().unwrap_or_else(|| "running".to_owned()),
                }));
                if links.len() == before {
                    links.extend(self.checkpoint(table, *id, name).await?);
                }
            }
        }
        Ok(links)
    }

    async fn checkpoint(
        &self,
        table: &TableInfo,
        from: RegionId,
        source: &str,
    ) -> Result<Vec<LinkStatus>, OperationsError> {
        let row = self.memds.system_get(CHECKPOINT_KIND, &checkpoint_id(table.id, from)).await;
        let Some((bytes, _)) = row.map_err(unavailable)? else { return Ok(Vec::new()) };
        let checkpoint = Checkpoint::decode(&bytes).map_err(unavailable)?;
        let status = checkpoint.shards.iter().map(|shard| LinkStatus {
            table: table.name.clone(),
            source: source.to_owned(),
            shard: shard.shard,
            applied_seq: shard.seq,
            // The checkpoint does not know the source's head, nor when records got here.
            head_seq: 0,
            lag_ms: None,
            state: "runs on another node".to_owned(),
        });
        Ok(status.collect())
    }
}

fn unavailable(error: impl std::error::Error + 'static) -> OperationsError {
    OperationsError::Unavailable(crate::error::chain(&error))
}

type Events = mpsc::Sender<Result<VerifyEvent, OperationsError>>;

/// Runs a verification and tells how it goes; the last event is the summary or an error.
async fn verify(deps: VerifyDeps, table: Arc<TableInfo>, events: Events) {
    let progress = {
        let events = events.clone();
        Arc::new(move |progress: Progress| {
            // A reader that is behind misses a step of the progress, never a finding.
            let _ = events.try_send(Ok(step(&progress)));
        })
    };
    match Box::pin(verify::verify_table(&deps, table.id, progress)).await {
        Ok(report) => {
            for event in tell(&report) {
                if events.send(Ok(event)).await.is_err() {
                    return;
                }
            }
        }
        Err(error) => {
            let _ = events.send(Err(unavailable(error))).await;
        }
    }
}

fn step(progress: &Progress) -> VerifyEvent {
    let phase = match progress.phase {
        Phase::Digesting => "reading every copy",
        Phase::ComparingReplicas => "comparing replicas that differ",
        Phase::ComparingRegions => "comparing regions that differ",
        Phase::Settling => "waiting for changes on their way",
        Phase::Done => "done",
    };
    VerifyEvent::Progress {
        phase: phase.to_owned(),
        done: progress.replicas_done.into(),
        total: progress.replicas_total.into(),
    }
}

fn digest(summary: &DigestSummary) -> TableDigest {
    let DigestSummary { items, bytes, sum, xor } = *summary;
    TableDigest { items, bytes, sum, xor }
}

fn finding(found: &Finding) -> VerifyFinding {
    VerifyFinding {
        region: found.region_name.clone(),
        group: found.group,
        node: found.node,
        key: found.key.as_ref().and_then(|key| json::item_from_json(key).ok()),
        kind: found.kind.name().to_owned(),
        reason: match &found.row_key {
            Some(row) if found.key.is_none() => format!("{} (row key {row})", found.detail),
            _ => found.detail.clone(),
        },
    }
}

/// A report as the events that end a verification.
fn tell(report: &Report) -> Vec<VerifyEvent> {
    let names: BTreeMap<_, _> = report.regions.iter().map(|r| (r.region, r.name.clone())).collect();
    let replicas = report.replicas.iter().map(|replica| VerifyEvent::Replica {
        region: names.get(&replica.region).cloned().unwrap_or_else(|| replica.region.to_string()),
        group: replica.group,
        node: replica.node,
        index: replica.index,
        digest: digest(&replica.digest),
    });
    let regions = report.regions.iter().map(|region| VerifyEvent::Region {
        region: region.name.clone(),
        digest: digest(&region.digest),
    });
    let findings = report.findings.iter().map(|found| VerifyEvent::Finding(finding(found)));
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let summary = VerifySummary {
        agreed: report.agreed(),
        replicas: count(report.replicas.len()),
        regions: count(report.regions.len()),
        findings: count(report.findings.len()),
        items: report.items,
        elapsed_ms: (report.seconds * 1000.0) as u64,
        in_flight: report.in_flight,
    };
    replicas.chain(regions).chain(findings).chain([VerifyEvent::Summary(summary)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tombolo_item::TableId;
    use tombolo_link::verify::{FindingKind, RegionDigest};

    #[test]
    fn a_report_ends_with_its_summary_and_names_the_key() {
        let report = Report {
            table: TableId(uuid::Uuid::nil()),
            table_name: "t".into(),
            regions: vec![RegionDigest {
                region: RegionId(1),
                name: "us-east".into(),
                partitions: 1,
                digest: DigestSummary { items: 3, bytes: 9, sum: 1, xor: 2 },
            }],
            replicas: Vec::new(),
            findings: vec![Finding {
                kind: FindingKind::Corrupt,
                region: RegionId(1),
                region_name: "us-east".into(),
                group: None,
                node: Some(NodeId(7)),
                key: Some(serde_json::json!({"id": {"S": "a"}})),
                row_key: Some("00ff".into()),
                detail: "the checksum does not match".into(),
            }],
            truncated: false,
            items: 3,
            items_read: 9,
            bytes_read: 27,
            megabytes_per_second: 1.0,
            in_flight: 0,
            seconds: 0.5,
        };
        let events = tell(&report);
        assert_eq!(events.len(), 3);
        let VerifyEvent::Finding(found) = &events[1] else { panic!("{events:?}") };
        assert_eq!((found.kind.as_str(), found.node), ("corrupt", Some(NodeId(7))));
        assert!(found.key.as_ref().is_some_and(|key| key.0.contains_key("id")));
        let Some(VerifyEvent::Summary(summary)) = events.last() else { panic!("{events:?}") };
        assert!(!summary.agreed);
        assert_eq!((summary.findings, summary.items, summary.elapsed_ms), (1, 3, 500));
    }
}
