//! Every metric of this crate (the node port's are in `net/`).

use std::sync::LazyLock;

use prometheus::{
    Histogram, IntCounter, IntCounterVec, IntGauge, register_histogram, register_int_counter,
    register_int_counter_vec, register_int_gauge,
};

use crate::core::Unfit;

macro_rules! counter {
    ($name:ident, $metric:literal, $help:literal) => {
        pub(crate) static $name: LazyLock<IntCounter> = LazyLock::new(|| {
            register_int_counter!($metric, $help).expect("a metric is registered once")
        });
    };
}

macro_rules! gauge {
    ($name:ident, $metric:literal, $help:literal) => {
        pub(crate) static $name: LazyLock<IntGauge> = LazyLock::new(|| {
            register_int_gauge!($metric, $help).expect("a metric is registered once")
        });
    };
}

gauge!(LEADERS, "tombolo_group_leaders", "Groups that this node leads.");
gauge!(REPLICAS, "tombolo_group_replicas", "Replicas on this node.");
gauge!(
    LAG,
    "tombolo_group_replica_lag_entries",
    "The largest number of entries a voter is behind a leader of this node."
);
gauge!(
    CLOCK_AHEAD,
    "tombolo_group_clock_ahead_milliseconds",
    "How far this node's clock is ahead of the peer that is furthest behind it, at least."
);
gauge!(DISK_FULL, "tombolo_group_disk_full", "1 while the log refuses writes for lack of room.");
gauge!(
    UNFIT,
    "tombolo_group_unfit",
    "1 while this node gives leadership away: slow, cut off, drained, or its disk is full."
);
counter!(
    PROPOSALS,
    "tombolo_group_proposals_total",
    "Log records that this node proposed as leader and applied."
);
counter!(ELECTIONS, "tombolo_group_elections_total", "Elections that this node started.");
counter!(CHECKPOINTS, "tombolo_group_checkpoints_total", "Checkpoints written.");
counter!(
    CHECKPOINT_FAILURES,
    "tombolo_group_checkpoint_failures_total",
    "Checkpoints that failed."
);
counter!(
    SNAPSHOTS_INSTALLED,
    "tombolo_group_snapshots_installed_total",
    "Snapshots that replicas of this node pulled and put to use."
);
counter!(
    FAULTS,
    "tombolo_group_faults_total",
    "Replicas of this node that were isolated because of a fault."
);
counter!(
    BAD_FRAMES,
    "tombolo_group_bad_frames_total",
    "Consensus frames that could not be read, and were dropped."
);

/// From proposing a record to having applied it.
pub(crate) static COMMIT_SECONDS: LazyLock<Histogram> = LazyLock::new(|| {
    let buckets =
        vec![0.001, 0.002, 0.003, 0.005, 0.007, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];
    register_histogram!(
        "tombolo_group_commit_seconds",
        "Time from proposing records to having applied them on the leader.",
        buckets
    )
    .expect("a metric is registered once")
});

static GIVEN_AWAY: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        "tombolo_group_leaderships_given_away_total",
        "Leaderships that this node gave away while it could have kept them, by reason.",
        &["reason"]
    )
    .expect("a metric is registered once")
});

/// `None` = the group went home to its preferred leader.
pub(crate) fn given_away(reason: Option<Unfit>) {
    GIVEN_AWAY.with_label_values(&[label(reason)]).inc();
}

fn label(reason: Option<Unfit>) -> &'static str {
    match reason {
        None => "home",
        Some(Unfit::Drained) => "drained",
        Some(Unfit::DiskFull) => "disk_full",
        Some(Unfit::Slow) => "slow",
        Some(Unfit::CutOff) => "cut_off",
    }
}

static CONFLICTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        "tombolo_group_conflicts_total",
        "Conflicts between regions that were decided and logged here, by region pair.",
        &["from", "to"]
    )
    .expect("a metric is registered once")
});

/// A conflict with a change that came from region `from` was logged in region `to`.
pub(crate) fn conflict(from: u16, to: u16) {
    CONFLICTS.with_label_values(&[&from.to_string(), &to.to_string()]).inc();
}

/// Registers everything, so that a scrape before the first event shows zeros.
pub(crate) fn register() {
    LazyLock::force(&COMMIT_SECONDS);
    LazyLock::force(&CONFLICTS);
    for reason in [Unfit::Drained, Unfit::DiskFull, Unfit::Slow, Unfit::CutOff] {
        GIVEN_AWAY.with_label_values(&[label(Some(reason))]);
    }
    GIVEN_AWAY.with_label_values(&[label(None)]);
    LazyLock::force(&UNFIT);
    LazyLock::force(&LAG);
    LazyLock::force(&CLOCK_AHEAD);
    LazyLock::force(&DISK_FULL);
    LazyLock::force(&LEADERS);
    LazyLock::force(&REPLICAS);
    for counter in [
        &PROPOSALS,
        &ELECTIONS,
        &CHECKPOINTS,
        &CHECKPOINT_FAILURES,
        &SNAPSHOTS_INSTALLED,
        &FAULTS,
        &BAD_FRAMES,
    ] {
        LazyLock::force(counter);
    }
}
