//! Every metric of the node port. Children are looked up once, here.

use std::sync::LazyLock;

use prometheus::{
    IntCounter, IntCounterVec, IntGauge, register_int_counter, register_int_counter_vec,
    register_int_gauge,
};

/// Show all of them from the start, at zero.
pub(super) fn register() {
    LazyLock::force(&FRAMES);
    LazyLock::force(&ITEMS);
    LazyLock::force(&BYTES);
    LazyLock::force(&CALLS);
    LazyLock::force(&DROPPED);
    LazyLock::force(&DAMAGED);
    LazyLock::force(&CONNECTIONS);
    LazyLock::force(&REFUSED_CONNECTIONS);
    for outcome in ["ok", "failed"] {
        DIALS.with_label_values(&[outcome]);
    }
}

fn counter_vec(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    register_int_counter_vec!(name, help, labels).expect("each metric is registered once")
}

/// Sent and received, of one stream.
pub(super) struct Directions {
    pub(super) sent: IntCounter,
    pub(super) received: IntCounter,
}

/// One counter per stream and direction.
pub(super) struct Streams {
    pub(super) consensus: Directions,
    pub(super) data: Directions,
}

impl Streams {
    fn new(vec: &IntCounterVec) -> Streams {
        let pair = |stream: &str| Directions {
            sent: vec.with_label_values(&[stream, "sent"]),
            received: vec.with_label_values(&[stream, "received"]),
        };
        Streams { consensus: pair("consensus"), data: pair("data") }
    }
}

/// How calls to other nodes ended.
pub(super) struct Calls {
    pub(super) ok: IntCounter,
    pub(super) unreachable: IntCounter,
    pub(super) lost: IntCounter,
    pub(super) timeout: IntCounter,
    pub(super) overloaded: IntCounter,
    pub(super) refused: IntCounter,
}

pub(super) static FRAMES: LazyLock<Streams> = LazyLock::new(|| {
    Streams::new(&counter_vec(
        "tombolo_net_frames_total",
        "Frames on the node port.",
        &["stream", "direction"],
    ))
});
pub(super) static ITEMS: LazyLock<Streams> = LazyLock::new(|| {
    Streams::new(&counter_vec(
        "tombolo_net_items_total",
        "Messages, calls and answers in those frames.",
        &["stream", "direction"],
    ))
});
pub(super) static BYTES: LazyLock<Streams> = LazyLock::new(|| {
    Streams::new(&counter_vec(
        "tombolo_net_bytes_total",
        "Bytes of bodies in those frames.",
        &["stream", "direction"],
    ))
});
pub(super) static CALLS: LazyLock<Calls> = LazyLock::new(|| {
    let vec = counter_vec(
        "tombolo_net_calls_total",
        "Calls to other nodes, by how they ended.",
        &["outcome"],
    );
    let child = |outcome: &str| vec.with_label_values(&[outcome]);
    Calls {
        ok: child("ok"),
        unreachable: child("unreachable"),
        lost: child("lost"),
        timeout: child("timeout"),
        overloaded: child("overloaded"),
        refused: child("refused"),
    }
});
pub(super) static DROPPED: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "tombolo_net_dropped_total",
        "Consensus messages dropped because the peer cannot be reached or does not keep up."
    )
    .expect("each metric is registered once")
});
pub(super) static DAMAGED: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "tombolo_net_damaged_total",
        "Items that arrived with a wrong checksum; none was used."
    )
    .expect("each metric is registered once")
});
pub(super) static CONNECTIONS: LazyLock<IntGauge> = LazyLock::new(|| {
    register_int_gauge!(
        "tombolo_net_connections_count",
        "Connections accepted on the node port and open."
    )
    .expect("each metric is registered once")
});
pub(super) static REFUSED_CONNECTIONS: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "tombolo_net_refused_connections_total",
        "Streams refused at their Hello: wrong certificate, cluster, version, or cut."
    )
    .expect("each metric is registered once")
});
pub(super) static DIALS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter_vec("tombolo_net_dials_total", "Connections dialled to peers.", &["outcome"])
});
