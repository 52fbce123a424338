//! One replica in memory and on disk: a read that the overlay answers, one that the tree answers, and
//! the apply of one write.
//!
//! `cargo bench -p tombolo-storage --bench replica`

#![allow(clippy::unwrap_used, reason = "a benchmark")]

#[path = "../tests/support/mod.rs"]
mod support;

use criterion::{Criterion, criterion_group, criterion_main};
use support::{GROUP, Maker, TERM};
use tombolo_item::RowKey;
use tombolo_storage::{LogRecord, Partition, PartitionSettings, Space};

const KEYS: usize = 20_000;

fn replica(c: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let settings = PartitionSettings { overlay_bytes: 64 << 20, ..PartitionSettings::default() };
    let partition =
        Partition::create_with(&dir.path().join("replica"), 1, GROUP, settings).unwrap();
    let mut maker = Maker::new(true);
    partition.apply(1, TERM, &[maker.configure()]).unwrap();
    let names: Vec<String> = (0..KEYS).map(|k| format!("key-{k}")).collect();
    let keys: Vec<RowKey> = names.iter().map(|n| maker.row_key(n)).collect();
    let batch: Vec<LogRecord> = names.iter().map(|n| maker.put(n, &[7; 1_000])).collect();
    partition.apply(2, TERM, &batch).unwrap();

    let mut group = c.benchmark_group("replica, items of 1 KB");
    let mut at = 0;
    let mut next = || {
        at = (at + 7_919) % KEYS;
        at
    };
    group.bench_function("get from the overlay", |b| {
        b.iter(|| partition.get(Space::ITEMS, &keys[next()]).unwrap().unwrap());
    });
    partition.checkpoint().unwrap();
    group.bench_function("get from the tree", |b| {
        b.iter(|| partition.get(Space::ITEMS, &keys[next()]).unwrap().unwrap());
    });
    let mut index = 2;
    group.bench_function("make and apply a write", |b| {
        b.iter(|| {
            let record = maker.put(&names[next()], &[8; 1_000]);
            index += 1;
            partition.apply(index, TERM, &[record]).unwrap()
        });
    });
    group.bench_function("make a write", |b| {
        let mut other = maker.clone();
        b.iter(|| other.put(&names[next()], &[8; 1_000]));
    });
    group.finish();
}

criterion_group!(benches, replica);
criterion_main!(benches);
