//! One link's part of the metrics that all links of a node share: cached children, and gauges that
//! are given back when the link ends, however it ends.

use prometheus::{Histogram, IntCounter, IntGauge};

use crate::metrics;

pub(crate) struct Gauges {
    held: i64,
    backlog: i64,
    backlog_gauge: IntGauge,
    active: IntGauge,
    pub(crate) applied: IntCounter,
    pub(crate) confirmations: IntCounter,
    pub(crate) lag: Histogram,
}

impl Gauges {
    pub(crate) fn new(from: &str, to: &str) -> Self {
        let active = metrics::ACTIVE.with_label_values(&[from]);
        active.inc();
        Gauges {
            held: 0,
            backlog: 0,
            backlog_gauge: metrics::BACKLOG.with_label_values(&[from]),
            active,
            applied: metrics::APPLIED.with_label_values(&[from]),
            confirmations: metrics::CONFIRMATIONS.with_label_values(&[from]),
            lag: metrics::LAG.with_label_values(&[from, to]),
        }
    }

    pub(crate) fn set(&mut self, held: i64, backlog: i64) {
        metrics::HELD.add(held - self.held);
        self.backlog_gauge.add(backlog - self.backlog);
        self.held = held;
        self.backlog = backlog;
    }
}

impl Drop for Gauges {
    fn drop(&mut self) {
        self.set(0, 0);
        self.active.dec();
    }
}
