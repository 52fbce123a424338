//! Every metric of this crate. Labels are region names only (a fixed, small set); never a table, a
//! shard or a key.

use std::sync::LazyLock;

use prometheus::{
    Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, exponential_buckets,
    register_histogram, register_histogram_vec, register_int_counter, register_int_counter_vec,
    register_int_gauge, register_int_gauge_vec,
};

const DECLARED: &str = "each metric is declared once, with a valid name";

/// Among them the bar of 50 ms; the upper ones are for regions that were cut off.
const LAG_SECONDS: [f64; 18] = [
    0.001, 0.002, 0.003, 0.005, 0.008, 0.012, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0, 3.0, 10.0,
    60.0, 600.0, 3_600.0,
];

/// From the stamp of a write in its region to the moment a read sees it here.
pub(crate) static LAG: LazyLock<HistogramVec> = LazyLock::new(|| {
    register_histogram_vec!(
        "tombolo_link_lag_seconds",
        "From a write's stamp in its region to its visibility in this one",
        &["from", "to"],
        LAG_SECONDS.to_vec()
    )
    .expect(DECLARED)
});

pub(crate) static APPLIED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        "tombolo_link_applied_records_total",
        "Change records of another region that were merged and committed here",
        &["from"]
    )
    .expect(DECLARED)
});

/// Added up over all links of this node from one region.
pub(crate) static BACKLOG: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    register_int_gauge_vec!(
        "tombolo_link_backlog_records",
        "Change records the source has and the links of this node have not applied",
        &["from"]
    )
    .expect(DECLARED)
});

pub(crate) static HOLES: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "tombolo_link_holes_total",
        "Times a range was missing from a stream and was read from the source's log"
    )
    .expect(DECLARED)
});

pub(crate) static BACKFILLED: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "tombolo_link_backfilled_records_total",
        "Change records read from the source's log because the stream did not bring them"
    )
    .expect(DECLARED)
});

/// An alarm: a held shard replicates nothing until a person, or the clock, mends it.
pub(crate) static HELD: LazyLock<IntGauge> = LazyLock::new(|| {
    register_int_gauge!(
        "tombolo_link_held_shards",
        "Shards whose replication into this region stands still, because a record cannot be merged"
    )
    .expect(DECLARED)
});

pub(crate) static ACTIVE: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    register_int_gauge_vec!(
        "tombolo_link_active_links",
        "Links (one per table) from a region that this node holds the lease of",
        &["from"]
    )
    .expect(DECLARED)
});

pub(crate) static CONFIRMATIONS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        "tombolo_link_confirmations_total",
        "Durable checkpoints reported to the region they are about",
        &["to"]
    )
    .expect(DECLARED)
});

pub(crate) static PURGED: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "tombolo_link_purged_tombstones_total",
        "Tombstones purged because every other region is past them"
    )
    .expect(DECLARED)
});

pub(crate) static VERIFY_FINDINGS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        "tombolo_verify_findings_total",
        "Differences found by verification, by kind",
        &["kind"]
    )
    .expect(DECLARED)
});

pub(crate) static VERIFY_LAST_RESULT: LazyLock<IntGauge> = LazyLock::new(|| {
    register_int_gauge!(
        "tombolo_verify_last_result",
        "0 when the last verification that this node ran found copies that differ, else 1"
    )
    .expect(DECLARED)
});

pub(crate) static VERIFY_DURATION: LazyLock<Histogram> = LazyLock::new(|| {
    register_histogram!(
        "tombolo_verify_duration_seconds",
        "How long verifications of a table took",
        exponential_buckets(0.01, 2.0, 16).expect(DECLARED)
    )
    .expect(DECLARED)
});

pub(crate) static VERIFY_ITEMS: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "tombolo_verify_items_total",
        "Items read by verifications that this node ran, every copy counted"
    )
    .expect(DECLARED)
});

/// Registers everything, so that a scrape shows zeros before the first event.
pub(crate) fn declare() {
    for metric in [&HOLES, &BACKFILLED, &PURGED, &VERIFY_ITEMS] {
        LazyLock::force(metric);
    }
    LazyLock::force(&HELD);
    LazyLock::force(&LAG);
    LazyLock::force(&APPLIED);
    LazyLock::force(&BACKLOG);
    LazyLock::force(&ACTIVE);
    LazyLock::force(&CONFIRMATIONS);
    LazyLock::force(&VERIFY_FINDINGS);
    // Nothing was found that differs until something is.
    VERIFY_LAST_RESULT.set(1);
    LazyLock::force(&VERIFY_DURATION);
}
