//! A small node under load: one log, one replica, a checkpoint now and then. It says what it was
//! acknowledged on standard output, and may be killed at any moment.

use std::io::Write;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use tombolo_item::ChangeRecord;
use tombolo_storage::{
    HardState, LogBase, LogEntry, LogRecord, Partition, PartitionSettings, Recovered, Space,
    StorageError, Wal, WalRecord, WalSettings, decode_batch, encode_batch,
};

use crate::support::{GROUP, Maker, TERM};

pub struct Node {
    pub wal: Wal,
    pub partition: Partition,
    pub maker: Maker,
    pub last: u64,
    base: u64,
}

fn settings() -> PartitionSettings {
    PartitionSettings { overlay_bytes: 64 << 10, window_bytes: 16 << 10, map_bytes: 16 << 20 }
}

impl Node {
    /// Starts from whatever `dir` holds.
    pub fn start(dir: &Path) -> Result<Self, StorageError> {
        let wal_settings = WalSettings {
            segment_bytes: 256 << 10,
            keep_segments: 2,
            idle_mark: Some(Duration::from_millis(5)),
            ..WalSettings::new(dir.join("wal"))
        };
        let (wal, recovered) = Wal::open(wal_settings)?;
        let replica = dir.join("replica");
        let known = recovered.groups.get(&GROUP).map(|g| g.base.generation);
        let partition = match known {
            Some(generation) => Partition::open_with(&replica, generation, GROUP, settings())?,
            None => {
                let partition = Partition::create_with(&replica, 1, GROUP, settings())?;
                let base = LogBase { generation: 1, ..LogBase::default() };
                append(&wal, vec![WalRecord::Base { group: GROUP, base }])?;
                partition
            }
        };
        let mut node = Self { wal, partition, maker: Maker::new(true), last: 0, base: 0 };
        node.replay(&recovered)?;
        if node.last == 0 {
            let configure = node.maker.configure();
            node.write(vec![configure])?;
        }
        Ok(node)
    }

    fn replay(&mut self, recovered: &Recovered) -> Result<(), StorageError> {
        self.last = self.partition.applied().0;
        if let Some(group) = recovered.groups.get(&GROUP) {
            assert!(group.base.index <= self.last, "a base was logged before its checkpoint");
            self.base = group.base.index;
            for entry in &group.entries {
                let batch = decode_batch(&entry.data)?;
                self.partition.apply(entry.index, entry.term, &batch)?;
                self.last = self.last.max(entry.index);
            }
        }
        let state = self.partition.state();
        (self.maker.seq, self.maker.hash) = (state.seq, state.chain_hash);
        self.maker.ms = self.maker.ms.max(state.log_ms());
        Ok(())
    }

    /// Makes one entry durable and applies it.
    pub fn write(&mut self, batch: Vec<LogRecord>) -> Result<(), StorageError> {
        let index = self.last + 1;
        let data = encode_batch(&batch);
        let entry = LogEntry { index, term: TERM, kind: 0, data, context: Bytes::new() };
        let state = HardState { term: TERM, vote: 1, commit: index };
        append(
            &self.wal,
            vec![
                WalRecord::Entry { group: GROUP, entry },
                WalRecord::HardState { group: GROUP, state },
            ],
        )?;
        self.last = index;
        self.partition.apply(index, TERM, &batch)?;
        Ok(())
    }

    pub fn checkpoint(&mut self) -> Result<(), StorageError> {
        let done = self.partition.checkpoint()?;
        if done.index > self.base {
            let base = LogBase {
                index: done.index,
                term: done.term,
                generation: 1,
                conf: Bytes::from_static(b"members"),
            };
            append(&self.wal, vec![WalRecord::Base { group: GROUP, base }])?;
            self.base = done.index;
        }
        Ok(())
    }

    /// Writes until killed; after each acknowledgement prints the sequence number.
    pub fn run(mut self) -> Result<(), StorageError> {
        let mut out = std::io::stdout().lock();
        loop {
            let before = self.maker.clone();
            let batch = (0..3)
                .map(|_| {
                    let name = format!("key-{}", (self.maker.seq + 1) % 500);
                    let value = noise(self.maker.seq + 1);
                    self.maker.put(&name, &value)
                })
                .collect();
            match self.write(batch) {
                Ok(()) => {}
                Err(e) if e.is_no_space() => {
                    self.maker = before;
                    writeln!(out, "full: {e}").and_then(|()| out.flush()).expect("the test reads");
                    let name = format!("key-{}", self.maker.seq % 500);
                    let row = self.partition.get(Space::ITEMS, &self.maker.row_key(&name))?;
                    assert!(row.is_some_and(|r| r.stamp.seq == self.maker.seq), "reads go on");
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(e) => return Err(e),
            }
            writeln!(out, "acked {}", self.maker.seq)
                .and_then(|()| out.flush())
                .expect("the test reads");
            if self.partition.needs_checkpoint()
                && let Err(e) = self.checkpoint()
                && !e.is_no_space()
            {
                return Err(e);
            }
        }
    }

    /// Every change up to the last one is there, in rows and in the change log.
    pub fn check(&self) {
        let head = self.maker.seq;
        let mut from = 1;
        while from <= head {
            let changes = self.partition.read_changes(from, 1 << 20).expect("no hole");
            assert!(!changes.records.is_empty(), "change {from} of {head}");
            for (seq, record) in changes.records {
                assert_eq!(seq, from);
                assert_eq!(ChangeRecord::decode(&record).expect("whole").seq, seq);
                from += 1;
            }
        }
        for seq in head.saturating_sub(499).max(1)..=head {
            let key = self.maker.row_key(&format!("key-{}", seq % 500));
            let row = self.partition.get(Space::ITEMS, &key).expect("whole").expect("there");
            assert_eq!(row.stamp.seq, seq);
        }
    }
}

/// 320 bytes that do not compress.
fn noise(seed: u64) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut word = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x
    };
    (0..40).flat_map(|_| word().to_be_bytes()).collect()
}

pub fn append(wal: &Wal, records: Vec<WalRecord>) -> Result<(), StorageError> {
    let (send, receive) = mpsc::channel();
    wal.append(records, Box::new(move |outcome| drop(send.send(outcome))));
    receive.recv().expect("the log answers every append")
}
