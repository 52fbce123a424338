//! Every metric of this crate. Label values come from fixed sets; there is no label per table,
//! shard or key.

use prometheus::{
    Gauge, Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, register_gauge,
    register_histogram, register_int_counter, register_int_counter_vec, register_int_gauge,
    register_int_gauge_vec,
};
use std::sync::LazyLock;

macro_rules! metric {
    ($name:ident : $kind:ty = $register:ident!($metric:expr, $help:expr $(, $more:expr)*)) => {
        pub static $name: LazyLock<$kind> = LazyLock::new(|| {
            $register!($metric, $help $(, $more)*).expect("metric names are unique and valid")
        });
    };
}

metric!(PUBLISHED_RECORDS: IntCounterVec = register_int_counter_vec!(
    "tombolo_stream_published_records_total",
    "Change records the broker acknowledged, touches included",
    &["family"]
));
metric!(PUBLISHED_BYTES: IntCounterVec = register_int_counter_vec!(
    "tombolo_stream_published_bytes_total",
    "Message bodies the broker acknowledged, in bytes",
    &["family"]
));
metric!(PUBLISH_SECONDS: Histogram = register_histogram!(
    "tombolo_stream_publish_seconds",
    "From sending a message to the broker's acknowledgement",
    vec![
        0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0
    ]
));
metric!(LAG_RECORDS: IntGauge = register_int_gauge!(
    "tombolo_stream_lag_records",
    "Committed records not yet acknowledged by the broker, over all shards led by this node"
));
metric!(LAG_SECONDS: Gauge = register_gauge!(
    "tombolo_stream_lag_seconds",
    "How long the oldest unpublished record has waited, over all shards led by this node"
));
metric!(GAPS: IntCounter = register_int_counter!(
    "tombolo_stream_gaps_total",
    "Holes a subscriber found in a stream and fetched from the log"
));
metric!(DUPLICATES: IntCounter = register_int_counter!(
    "tombolo_stream_duplicates_total",
    "Records a subscriber had already taken in and dropped"
));
metric!(DAMAGED: IntCounter = register_int_counter!(
    "tombolo_stream_damaged_messages_total",
    "Messages a subscriber could not read (checksum, format) and fetched from the log"
));
metric!(BROKEN_CHAINS: IntCounter = register_int_counter!(
    "tombolo_stream_broken_chains_total",
    "Messages whose chain hash did not continue what the subscriber had taken in"
));
metric!(REFILLS: IntCounter = register_int_counter!(
    "tombolo_stream_refills_total",
    "Times a shard was published again from its log because the broker had lost records"
));
metric!(TWO_HISTORIES: IntCounter = register_int_counter!(
    "tombolo_stream_two_histories_total",
    "Times the broker held records that are not in the shard's log; its copy was purged and refilled"
));
metric!(REFUSED: IntCounter = register_int_counter!(
    "tombolo_stream_refused_publishes_total",
    "Messages the broker refused because another publisher was there first, or knew already"
));
metric!(STUBS: IntCounter = register_int_counter!(
    "tombolo_stream_stubs_total",
    "Records too large for a message, sent as a stub"
));
metric!(BROKER_CONNECTED: IntGauge = register_int_gauge!(
    "tombolo_stream_broker_connected",
    "1 while this node is connected to its region's NATS"
));
metric!(BROKER_WEAK: IntGaugeVec = register_int_gauge_vec!(
    "tombolo_stream_broker_weak",
    "1 where the broker is weaker than the configuration this project ships",
    &["reason"]
));
metric!(SHARDS_PUBLISHED: IntGauge = register_int_gauge!(
    "tombolo_stream_published_shards",
    "Shards this node publishes, counted once for each family"
));

/// Why a broker counts as weak: the values of the label `reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weakness {
    Version,
    Replicas,
    Sync,
}

impl Weakness {
    pub const ALL: [Weakness; 3] = [Weakness::Version, Weakness::Replicas, Weakness::Sync];

    pub fn label(self) -> &'static str {
        match self {
            Weakness::Version => "version",
            Weakness::Replicas => "replicas",
            Weakness::Sync => "sync",
        }
    }
}

/// Makes every metric show up from the start, at zero.
pub fn register() {
    for family in crate::Family::ALL {
        PUBLISHED_RECORDS.with_label_values(&[family.name()]);
        PUBLISHED_BYTES.with_label_values(&[family.name()]);
    }
    for reason in Weakness::ALL {
        BROKER_WEAK.with_label_values(&[reason.label()]);
    }
    for counter in
        [&GAPS, &DUPLICATES, &DAMAGED, &BROKEN_CHAINS, &REFILLS, &TWO_HISTORIES, &REFUSED, &STUBS]
    {
        LazyLock::force(counter);
    }
    for gauge in [&LAG_RECORDS, &BROKER_CONNECTED, &SHARDS_PUBLISHED] {
        LazyLock::force(gauge);
    }
    LazyLock::force(&LAG_SECONDS);
    LazyLock::force(&PUBLISH_SECONDS);
}
