//! Every metric of this crate, and the text that `/metrics` serves. The process collector
//! (`process_cpu_seconds_total`, `process_resident_memory_bytes`, …) comes with the registry.

use std::sync::LazyLock;

use prometheus::{IntGauge, IntGaugeVec, TextEncoder, register_int_gauge, register_int_gauge_vec};

/// Always 1; the labels say what runs.
static BUILD_INFO: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    register_int_gauge_vec!(
        "tombolo_build_info",
        "Always 1; version and commit of the running program",
        &["version", "commit"]
    )
    .expect("metric names are unique in the process")
});

/// 1 while `/readyz` says yes.
pub(crate) static NODE_READY: LazyLock<IntGauge> = LazyLock::new(|| {
    register_int_gauge!("tombolo_node_ready", "1 while the node says it is ready to serve")
        .expect("metric names are unique in the process")
});

/// Where this node stands.
static NODE_INFO: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    register_int_gauge_vec!(
        "tombolo_node_info",
        "Always 1; region and zone of the node",
        &["region", "zone"]
    )
    .expect("metric names are unique in the process")
});

/// Development clusters: places cut off by `tombolo dev cut`.
pub(crate) static DEV_CUTS: LazyLock<IntGauge> = LazyLock::new(|| {
    register_int_gauge!("tombolo_dev_cut_places", "Regions and zones cut off for a trial")
        .expect("metric names are unique in the process")
});

/// Sets what is known from the start, so that it is there at the first scrape.
pub fn describe(region: &str, zone: &str) {
    BUILD_INFO.with_label_values(&[env!("CARGO_PKG_VERSION"), env!("TOMBOLO_COMMIT")]).set(1);
    NODE_INFO.with_label_values(&[region, zone]).set(1);
    NODE_READY.set(0);
    DEV_CUTS.set(0);
}

/// All metrics of the process in Prometheus' text form.
pub fn text() -> Result<String, prometheus::Error> {
    TextEncoder::new().encode_to_string(&prometheus::gather())
}
