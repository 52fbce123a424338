//! Every metric of this crate.

use std::sync::LazyLock;

use prometheus::{
    IntCounter, IntCounterVec, IntGauge, register_int_counter, register_int_counter_vec,
    register_int_gauge,
};

/// Show all of them from the start, at zero.
pub(crate) fn register() {
    LazyLock::force(&REQUESTS);
    LazyLock::force(&MAP_VERSION);
    LazyLock::force(&MAP_TABLES);
    LazyLock::force(&LOST_REPLICAS);
    LazyLock::force(&CONTROL_ERRORS);
    LazyLock::force(&RETRIES);
    for event in ["taken", "released", "lost"] {
        LEASES.with_label_values(&[event]);
    }
}

/// What was asked of a MemDS node.
pub(crate) struct Requests {
    pub(crate) founding: IntCounter,
    pub(crate) watch: IntCounter,
    pub(crate) refresh: IntCounter,
    pub(crate) states: IntCounter,
    pub(crate) table: IntCounter,
}

pub(crate) static REQUESTS: LazyLock<Requests> = LazyLock::new(|| {
    let vec = register_int_counter_vec!(
        "tombolo_memds_requests_total",
        "Requests answered by this node's metadata service. `refresh` is what lookups cost: the \
         same with cold and with warm caches.",
        &["kind"]
    )
    .expect("each metric is registered once");
    let child = |kind: &str| vec.with_label_values(&[kind]);
    Requests {
        founding: child("founding"),
        watch: child("watch"),
        refresh: child("refresh"),
        states: child("states"),
        table: child("table"),
    }
});

pub(crate) static MAP_VERSION: LazyLock<IntGauge> = LazyLock::new(|| {
    register_int_gauge!(
        "tombolo_memds_map_version",
        "Applied index of the system group that this node's map was built from."
    )
    .expect("each metric is registered once")
});

pub(crate) static MAP_TABLES: LazyLock<IntGauge> = LazyLock::new(|| {
    register_int_gauge!("tombolo_memds_tables_count", "Tables in this node's map.")
        .expect("each metric is registered once")
});

pub(crate) static LOST_REPLICAS: LazyLock<IntGauge> = LazyLock::new(|| {
    register_int_gauge!(
        "tombolo_memds_lost_replicas_count",
        "Replicas placed on a disk that this node no longer has: they must be rebuilt."
    )
    .expect("each metric is registered once")
});

pub(crate) static LEASES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        "tombolo_memds_leases_total",
        "What happened to leases this node asked for.",
        &["event"]
    )
    .expect("each metric is registered once")
});

pub(crate) static CONTROL_ERRORS: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "tombolo_memds_control_errors_total",
        "Steps of the control role that failed and are tried again."
    )
    .expect("each metric is registered once")
});

/// Why a routed request was tried again.
pub(crate) struct Retries {
    pub(crate) not_leader: IntCounter,
    pub(crate) no_such_group: IntCounter,
    pub(crate) wrong_range: IntCounter,
    pub(crate) not_serving: IntCounter,
    pub(crate) overloaded: IntCounter,
    pub(crate) outcome_unknown: IntCounter,
    pub(crate) no_map: IntCounter,
}

pub(crate) static RETRIES: LazyLock<Retries> = LazyLock::new(|| {
    let vec = register_int_counter_vec!(
        "tombolo_router_retries_total",
        "Routed requests tried again, by reason.",
        &["reason"]
    )
    .expect("each metric is registered once");
    let child = |reason: &str| vec.with_label_values(&[reason]);
    Retries {
        not_leader: child("not_leader"),
        no_such_group: child("no_such_group"),
        wrong_range: child("wrong_range"),
        not_serving: child("not_serving"),
        overloaded: child("overloaded"),
        outcome_unknown: child("outcome_unknown"),
        no_map: child("no_map"),
    }
});
