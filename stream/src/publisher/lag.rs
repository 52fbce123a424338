//! How far each shard's stream is behind its log.
//!
//! Always true: the gauges are computed from samples taken on a timer, nothing is counted on the
//! way of a record. What has waited is measured with this node's steady clock, not with stamps.

use crate::metrics;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tombolo_item::Shard;

const SAMPLES_MAX: usize = 128;

/// One shard and family: what its task tells.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    published_seq: AtomicU64,
}

impl Progress {
    pub(crate) fn published(&self, seq: u64) {
        self.published_seq.store(seq, Ordering::Relaxed);
    }

    pub(crate) fn seq(&self) -> u64 {
        self.published_seq.load(Ordering::Relaxed)
    }
}

/// Heads seen earlier, the oldest unpublished one first.
#[derive(Debug, Default)]
struct Samples(VecDeque<(Instant, u64)>);

impl Samples {
    /// Takes a sample and says for how long the oldest unpublished record has been seen waiting.
    fn take(&mut self, now: Instant, head_seq: u64, published_seq: u64) -> f64 {
        while self.0.front().is_some_and(|(_, seq)| *seq <= published_seq) {
            self.0.pop_front();
        }
        let newest = self.0.back().map_or(published_seq, |(_, seq)| *seq);
        if head_seq > newest && self.0.len() < SAMPLES_MAX {
            self.0.push_back((now, head_seq));
        }
        self.0.front().map_or(0.0, |(since, _)| now.duration_since(*since).as_secs_f64())
    }
}

/// How far one family of a shard's stream is, for operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardLag {
    pub shard: Shard,
    /// `people` or `repl`.
    pub family: &'static str,
    /// Last sequence number that the broker acknowledged.
    pub published_seq: u64,
    /// Last sequence number committed.
    pub head_seq: u64,
}

/// What this process publishes, as of the last sample.
static LAST: Mutex<Vec<ShardLag>> = Mutex::new(Vec::new());

/// The shards this node publishes; empty when it leads none, or has no publisher.
pub fn shard_lags() -> Vec<ShardLag> {
    LAST.lock().clone()
}

/// All shards and families this node publishes.
#[derive(Debug, Default)]
pub(crate) struct LagBoard {
    samples: Mutex<BTreeMap<(Shard, &'static str), Samples>>,
}

/// One line of the board, as its owner sees it.
pub(crate) struct Line {
    pub(crate) shard: Shard,
    pub(crate) family: &'static str,
    pub(crate) head_seq: u64,
    pub(crate) progress: Arc<Progress>,
}

impl LagBoard {
    /// Sets the gauges from what is true now. A shard with both families counts with the slower.
    pub(crate) fn sample(&self, now: Instant, lines: &[Line]) {
        let mut samples = self.samples.lock();
        if samples.len() > lines.len() {
            let kept: BTreeSet<_> = lines.iter().map(|line| (line.shard, line.family)).collect();
            samples.retain(|key, _| kept.contains(key));
        }
        let now_lags = lines.iter().map(|line| ShardLag {
            shard: line.shard,
            family: line.family,
            published_seq: line.progress.seq(),
            head_seq: line.head_seq,
        });
        *LAST.lock() = now_lags.collect();
        let mut records: BTreeMap<Shard, u64> = BTreeMap::new();
        let mut seconds = 0.0f64;
        for line in lines {
            let published = line.progress.seq();
            let behind = records.entry(line.shard).or_default();
            *behind = (*behind).max(line.head_seq.saturating_sub(published));
            let waited = samples.entry((line.shard, line.family)).or_default();
            seconds = seconds.max(waited.take(now, line.head_seq, published));
        }
        metrics::LAG_RECORDS.set(records.values().sum::<u64>() as i64);
        metrics::LAG_SECONDS.set(seconds);
        metrics::SHARDS_PUBLISHED.set(lines.len() as i64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_oldest_waiting_record_counts() {
        let mut samples = Samples::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(samples.take(at(0), 5, 5), 0.0);
        assert_eq!(samples.take(at(1), 7, 5), 0.0);
        assert_eq!(samples.take(at(3), 9, 5), 2.0);
        assert_eq!(samples.take(at(4), 9, 7), 1.0, "7 went out, 9 was first seen at 3");
        assert_eq!(samples.take(at(5), 9, 9), 0.0);
    }

    #[test]
    fn a_long_outage_keeps_a_bounded_number_of_samples() {
        let mut samples = Samples::default();
        let start = Instant::now();
        for second in 0..1000 {
            samples.take(start + Duration::from_secs(second), second + 1, 0);
        }
        assert_eq!(samples.0.len(), SAMPLES_MAX);
        assert_eq!(samples.take(start + Duration::from_secs(1000), 1001, 0), 1000.0);
    }
}
