//! Proof that the copies of a table agree: replica against replica, region against region.
//!
//! How. In every region each partition's leader logs a marker; each replica gives digests of its
//! rows as of that log index, by hash range. Replicas of a group must be equal bucket by bucket;
//! where they are not, their rows are compared and the odd copy is named by majority. Regions are
//! compared by the same buckets, added up over the partitions (a region's partition bounds are its
//! own; hash ranges are everybody's). Where sums differ, row lists do, and rows that differ are
//! looked up with their tombstones, then again after every region applied all that any region's log
//! held in between: what then is still behind is divergence, everything else was in flight.
//!
//! Always true: it reads storage, never a Scan; one partition per region at a time, so that serving
//! goes on; a copy that could not be read is a finding, never silence.
//!
//! In reading order: [`report`], `compare` (pure), `copies`, `replicas`, `regions`, `service`.

mod compare;
mod copies;
mod regions;
mod replicas;
pub mod report;
mod service;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tombolo_item::{RegionId, RowKey, TableId};

use crate::error::VerifyError;
use crate::metrics;
use compare::{summary, total};
use copies::Copies;
pub use report::{
    DigestSummary, Finding, FindingKind, Phase, Progress, RegionDigest, ReplicaDigest, Report,
};
pub use service::VerifyDeps;
pub(crate) use service::VerifyService;

/// Called as a verification goes on; must not block.
pub type ProgressFn = Arc<dyn Fn(Progress) + Send + Sync>;

/// Findings listed in one report.
const FINDINGS_MAX: usize = 1_000;

/// How a verification behaves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// How long the regions may take to apply what was in flight.
    pub(super) settle: Duration,
    /// How often they are asked.
    pub(super) poll: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Pace { settle: Duration::from_secs(30), poll: Duration::from_millis(200) }
    }
}

/// Compares every copy of the table with every other. `Ok` also when copies differ: see
/// [`Report::agreed`].
pub async fn verify_table(
    deps: &VerifyDeps,
    table: TableId,
    progress: ProgressFn,
) -> Result<Report, VerifyError> {
    let info = deps.memds.table(table).ok_or(VerifyError::NoTable(table))?;
    let regions: Vec<(RegionId, String)> =
        info.regions.iter().copied().zip(info.region_names.iter().cloned()).collect();
    let copies = service::real(deps, table);
    let mut report = verify(copies, &regions, Pace::default(), progress).await;
    report.table = table;
    report.table_name = info.name.clone();
    count(&report);
    Ok(report)
}

fn count(report: &Report) {
    for finding in &report.findings {
        metrics::VERIFY_FINDINGS.with_label_values(&[finding.kind.name()]).inc();
    }
    metrics::VERIFY_LAST_RESULT.set(i64::from(report.agreed()));
    metrics::VERIFY_DURATION.observe(report.seconds);
    metrics::VERIFY_ITEMS.inc_by(report.items_read);
}

/// What one verification gathers.
pub(super) struct Run {
    copies: Arc<dyn Copies>,
    names: BTreeMap<RegionId, String>,
    pace: Pace,
    progress: ProgressFn,
    state: Mutex<State>,
}

struct State {
    now: Progress,
    findings: Vec<Finding>,
    truncated: bool,
    replicas: Vec<ReplicaDigest>,
}

impl Run {
    fn name(&self, region: RegionId) -> String {
        self.names.get(&region).cloned().unwrap_or_else(|| region.to_string())
    }

    fn find(&self, finding: Finding) {
        let mut state = self.state.lock();
        if state.findings.len() < FINDINGS_MAX {
            state.findings.push(finding);
        } else {
            state.truncated = true;
        }
    }

    fn truncate(&self) {
        self.state.lock().truncated = true;
    }

    fn tell(&self, change: impl FnOnce(&mut Progress)) {
        let now = {
            let mut state = self.state.lock();
            change(&mut state.now);
            state.now.clone()
        };
        (self.progress)(now);
    }

    /// A region, or a part of it, that could not be read.
    fn unreachable(&self, region: RegionId, detail: String) -> Finding {
        Finding {
            kind: FindingKind::Unreachable,
            region,
            region_name: self.name(region),
            group: None,
            node: None,
            key: None,
            row_key: None,
            detail,
        }
    }
}

fn hex(row_key: &RowKey) -> String {
    row_key.0.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn verify(
    copies: Arc<dyn Copies>,
    regions: &[(RegionId, String)],
    pace: Pace,
    progress: ProgressFn,
) -> Report {
    let started = Instant::now();
    let run = Run {
        copies,
        names: regions.iter().cloned().collect(),
        pace,
        progress,
        state: Mutex::new(State {
            now: Progress {
                phase: Phase::Digesting,
                replicas_done: 0,
                replicas_total: 0,
                items_read: 0,
                bytes_read: 0,
                candidates: 0,
            },
            findings: Vec::new(),
            truncated: false,
            replicas: Vec::new(),
        }),
    };
    let read = regions.iter().map(|(region, _)| replicas::read_region(&run, *region));
    let read = futures::future::join_all(read).await;
    let mut views = BTreeMap::new();
    let mut digests = Vec::new();
    for ((region, name), view) in regions.iter().zip(read) {
        let Some(view) = view else { continue };
        digests.push(RegionDigest {
            region: *region,
            name: name.clone(),
            partitions: view.parts.len() as u32,
            digest: summary(&total(&view.buckets())),
        });
        views.insert(*region, view);
    }
    let in_flight = regions::compare(&run, &views).await;
    run.tell(|now| now.phase = Phase::Done);

    let state = run.state.into_inner();
    let seconds = started.elapsed().as_secs_f64();
    Report {
        table: TableId::default(),
        table_name: String::new(),
        items: digests.first().map_or(0, |region| region.digest.items),
        regions: digests,
        replicas: state.replicas,
        findings: state.findings,
        truncated: state.truncated,
        items_read: state.now.items_read,
        bytes_read: state.now.bytes_read,
        megabytes_per_second: state.now.bytes_read as f64 / 1e6 / seconds.max(1e-9),
        in_flight,
        seconds,
    }
}
