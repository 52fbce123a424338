//! Every metric of this crate. Always true: label values come from fixed sets; none names a
//! partition or a key.

use std::sync::LazyLock;

use prometheus::{
    Histogram, IntCounter, IntCounterVec, IntGauge, exponential_buckets, register_histogram,
    register_int_counter, register_int_counter_vec, register_int_gauge,
};

macro_rules! metric {
    ($(#[$doc:meta])* $name:ident: $kind:ty = $make:expr) => {
        $(#[$doc])*
        pub static $name: LazyLock<$kind> =
            LazyLock::new(|| $make.expect("a metric of this crate is registered once"));
    };
}

metric!(
    /// Seconds of each `fdatasync` of the write-ahead log.
    WAL_FSYNC_SECONDS: Histogram = register_histogram!(
        "tombolo_wal_fsync_seconds",
        "Time of one fdatasync of the write-ahead log",
        exponential_buckets(0.000_1, 2.0, 15).expect("positive start and factor")
    )
);
metric!(
    WAL_APPEND_BYTES: IntCounter = register_int_counter!(
        "tombolo_wal_append_bytes_total",
        "Bytes appended to the write-ahead log"
    )
);
metric!(
    WAL_RECORDS: IntCounter = register_int_counter!(
        "tombolo_wal_records_total",
        "Records appended to the write-ahead log"
    )
);
metric!(
    WAL_BATCHES: IntCounter = register_int_counter!(
        "tombolo_wal_batches_total",
        "Batches (one write and one fdatasync each) of the write-ahead log"
    )
);
metric!(
    WAL_SEGMENTS: IntGauge = register_int_gauge!(
        "tombolo_wal_segments",
        "Segments of the write-ahead log that hold records"
    )
);
metric!(
    WAL_FULL: IntGauge = register_int_gauge!(
        "tombolo_wal_full",
        "1 while the write-ahead log refuses entries because the disk is full"
    )
);
metric!(
    WAL_REFUSED: IntCounter = register_int_counter!(
        "tombolo_wal_refused_total",
        "Appends refused because the disk was full"
    )
);
metric!(
    CHECKPOINT_SECONDS: Histogram = register_histogram!(
        "tombolo_checkpoint_seconds",
        "Time of one checkpoint of one replica: sealed log and tree, synced",
        exponential_buckets(0.001, 2.0, 14).expect("positive start and factor")
    )
);
metric!(
    CHECKPOINT_ROWS: IntCounter = register_int_counter!(
        "tombolo_checkpoint_rows_total",
        "Rows that checkpoints wrote into trees"
    )
);
metric!(
    SEALED_BYTES: IntCounter = register_int_counter!(
        "tombolo_sealed_log_bytes_total",
        "Compressed bytes written into sealed logs"
    )
);
metric!(
    DIGESTS: IntCounter = register_int_counter!(
        "tombolo_storage_digests_total",
        "Walks over a key range that verified and digested every item"
    )
);
metric!(
    CORRUPTIONS: IntCounterVec = register_int_counter_vec!(
        "tombolo_storage_corruptions_total",
        "Damaged records, rows, logs and chunks found, by what was damaged",
        &["what"]
    )
);

/// Counts one finding of damage. `what` is one of the crate's own fixed names.
pub(crate) fn corruption(what: &'static str) {
    CORRUPTIONS.with_label_values(&[what]).inc();
}
