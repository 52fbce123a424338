//! The log against the bare disk, in one run: batches of 128 records of 1 KiB, each batch made
//! durable before the next, and the same bytes written and `fdatasync`ed by a plain loop into a file
//! that was filled before.
//!
//! `cargo bench -p tombolo-storage --bench wal`; set TMPDIR to the disk in question.

#![allow(clippy::unwrap_used, reason = "a benchmark")]

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::sync::mpsc;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tombolo_item::GroupId;
use tombolo_storage::{LogBase, LogEntry, Wal, WalRecord, WalSettings};

const RECORDS: u64 = 128;
const BYTES: usize = 1024;
const SEGMENT: u64 = 64 << 20;

fn batches(c: &mut Criterion) {
    let mut group = c.benchmark_group("durable batch of 128 x 1 KiB");
    group.throughput(Throughput::Bytes(RECORDS * BYTES as u64)).sample_size(20);

    group.bench_function("wal", |b| {
        let dir = tempfile::tempdir().unwrap();
        let (wal, _) = Wal::open(WalSettings::new(dir.path())).unwrap();
        let data = Bytes::from(vec![7; BYTES]);
        let mut last = 0;
        b.iter(|| {
            let id = GroupId(16);
            // Segments are recycled as in a node that checkpoints in time.
            let base = LogBase { index: last, term: 1, generation: 1, conf: Bytes::new() };
            let mut records = vec![WalRecord::Base { group: id, base }];
            for index in last + 1..=last + RECORDS {
                let context = Bytes::new();
                let entry = LogEntry { index, term: 1, kind: 0, data: data.clone(), context };
                records.push(WalRecord::Entry { group: id, entry });
            }
            last += RECORDS;
            let (send, receive) = mpsc::channel();
            wal.append(records, Box::new(move |outcome| send.send(outcome).unwrap()));
            receive.recv().unwrap().unwrap();
        });
    });

    group.bench_function("bare write and fdatasync", |b| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bare");
        std::fs::write(&path, vec![0; SEGMENT as usize]).unwrap();
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.sync_all().unwrap();
        let bytes = vec![7; BYTES * RECORDS as usize];
        let mut at = 0;
        b.iter(|| {
            file.write_all_at(&bytes, at).unwrap();
            file.sync_data().unwrap();
            at = (at + bytes.len() as u64) % SEGMENT;
        });
    });
    group.finish();
}

criterion_group!(benches, batches);
criterion_main!(benches);
