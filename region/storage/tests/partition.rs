//! One replica against a plain map: whatever is checkpointed, reopened, viewed or installed on the
//! way, rows, state and change log are those of the entries applied.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test's helpers")]

mod support;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use proptest::prelude::*;
use support::{GROUP, Maker, TERM, empty_record};
use tombolo_item::{ChangeKind, ChangeRecord, Hlc, KeyRange, RegionId, RowKey, Shard, Stamp};
use tombolo_storage::partition::Retention;
use tombolo_storage::{
    Confirmed, LogRecord, Partition, PartitionSettings, RowOp, SnapshotWriter, Space, StorageError,
    TokenAnswer, TokenRecord, TokenResult, decode_batch, encode_batch,
};
use uuid::Uuid;

fn settings() -> PartitionSettings {
    PartitionSettings { overlay_bytes: 4 << 10, window_bytes: 2 << 10, map_bytes: 1 << 20 }
}

/// A replica and, beside it, what it must hold.
struct Model {
    dir: tempfile::TempDir,
    /// `None` only while it is closed.
    open: Option<Partition>,
    maker: Maker,
    replicated: bool,
    /// The consensus log: entry i is at index i + 1.
    log: Vec<Vec<LogRecord>>,
    items: BTreeMap<RowKey, (Stamp, Option<Bytes>)>,
    raw: BTreeMap<(u8, RowKey), Bytes>,
    changes: Vec<Bytes>,
}

impl Model {
    fn new(replicated: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("replica");
        let partition = Partition::create_with(&folder, 1, GROUP, settings()).unwrap();
        let mut model = Self {
            dir,
            open: Some(partition),
            maker: Maker::new(replicated),
            replicated,
            log: Vec::new(),
            items: BTreeMap::new(),
            raw: BTreeMap::new(),
            changes: Vec::new(),
        };
        let configure = model.maker.configure();
        model.apply(vec![configure]);
        model
    }

    fn folder(&self) -> PathBuf {
        self.dir.path().join("replica")
    }

    fn partition(&self) -> &Partition {
        self.open.as_ref().unwrap()
    }

    fn apply(&mut self, batch: Vec<LogRecord>) {
        // As the group does: through the bytes of an entry.
        let batch = decode_batch(&encode_batch(&batch)).unwrap();
        self.log.push(batch.clone());
        let index = self.log.len() as u64;
        let applied = self.partition().apply(index, TERM, &batch).unwrap();
        assert!(!applied.repeated);
        for record in batch.iter().filter(|r| r.eval_term == TERM) {
            for canonical in &record.changes {
                let change = ChangeRecord::decode(canonical).unwrap();
                self.changes.push(canonical.clone());
                if change.new.is_none() && !self.replicated {
                    self.items.remove(&change.row_key);
                } else {
                    self.items.insert(change.row_key, (change.stamp, change.new));
                }
            }
            for op in &record.rows {
                let place = (op.space, op.key.clone());
                match &op.value {
                    Some(value) => drop(self.raw.insert(place, value.clone())),
                    None => drop(self.raw.remove(&place)),
                }
            }
        }
    }

    /// Starts again from what is on disk, and reads the consensus log from its beginning.
    fn reopen(&mut self) {
        let generation = self.partition().generation();
        self.open = None;
        let opened = Partition::open_with(&self.folder(), generation, GROUP, settings()).unwrap();
        let (on_disk, _) = opened.applied();
        assert_eq!(opened.checkpointed(), opened.applied());
        for (at, batch) in self.log.iter().enumerate() {
            let index = at as u64 + 1;
            let applied = opened.apply(index, TERM, batch).unwrap();
            assert_eq!(applied.repeated, index <= on_disk);
        }
        self.open = Some(opened);
    }

    /// Goes on from a snapshot of itself, as another replica would.
    fn install(&mut self, max_chunk: usize) {
        let generation = self.partition().generation() + 1;
        let mut reader = self.partition().snapshot().unwrap();
        let mut writer =
            SnapshotWriter::create_with(&self.folder(), generation, GROUP, settings()).unwrap();
        while let Some(chunk) = reader.next_chunk(max_chunk).unwrap() {
            assert!(chunk.len() <= max_chunk.max(4 << 10), "{} bytes", chunk.len());
            writer.write_chunk(&chunk).unwrap();
        }
        drop(reader);
        let installed = writer.finish().unwrap();
        assert_eq!(installed.applied(), self.partition().applied());
        assert_eq!(installed.state(), self.partition().state());
        self.open.take().unwrap().destroy().unwrap();
        self.open = Some(installed);
    }

    fn check(&self) {
        let partition = self.partition();
        for (key, (stamp, item)) in &self.items {
            let row = partition.get(Space::ITEMS, key).unwrap().unwrap();
            assert_eq!((row.stamp, row.tombstone), (*stamp, item.is_none()));
            assert_eq!(row.item, item.clone().unwrap_or_default());
            assert_eq!(&row.merge_state[..], b"merge");
        }
        for ((space, key), value) in &self.raw {
            assert_eq!(partition.get_raw(*space, key).unwrap().as_ref(), Some(value));
        }
        self.check_range(&KeyRange::full(), false);
        self.check_range(&KeyRange::full(), true);
        self.check_changes();
    }

    fn check_range(&self, range: &KeyRange, reverse: bool) {
        let wanted: Vec<RowKey> = {
            let keys = self.items.keys().filter(|k| range.contains(k)).cloned();
            if reverse { keys.rev().collect() } else { keys.collect() }
        };
        let walk = |visit: &mut dyn FnMut(RowKey)| {
            let mut seen = Vec::new();
            self.partition()
                .range(Space::ITEMS, range, reverse, &mut |key, row| {
                    assert_eq!(row.stamp, self.items[&key].0);
                    seen.push(key);
                    ControlFlow::Continue(())
                })
                .unwrap();
            seen.into_iter().for_each(visit);
        };
        let mut found = Vec::new();
        walk(&mut |key| found.push(key));
        assert_eq!(found, wanted);
        let view = self.partition().view().unwrap();
        let mut found = Vec::new();
        view.range(Space::ITEMS, range, reverse, &mut |key, _| {
            found.push(key);
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(found, wanted);
    }

    fn check_changes(&self) {
        let mut from = 1;
        let mut read = Vec::new();
        loop {
            let changes = self.partition().read_changes(from, 600).unwrap();
            assert_eq!((changes.oldest_seq, changes.head_seq), (1, self.changes.len() as u64));
            if changes.records.is_empty() {
                break;
            }
            for (seq, record) in changes.records {
                assert_eq!(seq, from);
                read.push(record);
                from += 1;
            }
        }
        assert_eq!(read, self.changes);
    }

    /// A replica that applied the same entries and nothing else holds the same.
    fn check_against_a_plain_replica(&self) {
        let dir = tempfile::tempdir().unwrap();
        let plain = Partition::create(&dir.path().join("plain"), 9, GROUP).unwrap();
        for (at, batch) in self.log.iter().enumerate() {
            plain.apply(at as u64 + 1, TERM, batch).unwrap();
        }
        assert_eq!(plain.state(), self.partition().state());
        let digests =
            |p: &Partition| p.view().unwrap().digest_buckets(&KeyRange::full(), 4).unwrap();
        assert_eq!(digests(&plain), digests(self.partition()));
        let live = self.items.values().filter(|(_, item)| item.is_some()).count() as u64;
        assert_eq!(digests(&plain).buckets.iter().map(|d| d.items).sum::<u64>(), live);
    }
}

#[derive(Debug, Clone)]
enum Step {
    Write(Vec<(u8, Option<u16>)>),
    Touch(u8),
    Row(u8, u8, Option<u8>),
    Token(u8, u8),
    Confirm(u8),
    Stale(u8),
    Checkpoint,
    Reopen,
    Install(usize),
    Range(u8, u8, bool),
    Check,
}

fn step() -> impl Strategy<Value = Step> {
    let write = (any::<u8>(), proptest::option::weighted(0.8, 0..900u16));
    prop_oneof![
        6 => proptest::collection::vec(write, 1..12).prop_map(Step::Write),
        1 => any::<u8>().prop_map(Step::Touch),
        2 => (1..4u8, 0..9u8, any::<Option<u8>>()).prop_map(|(s, k, v)| Step::Row(s, k, v)),
        1 => (0..3u8, any::<u8>()).prop_map(|(s, n)| Step::Token(s, n)),
        1 => any::<u8>().prop_map(Step::Confirm),
        1 => any::<u8>().prop_map(Step::Stale),
        3 => Just(Step::Checkpoint),
        1 => Just(Step::Reopen),
        1 => (4_000..9_000usize).prop_map(Step::Install),
        1 => (any::<u8>(), any::<u8>(), any::<bool>()).prop_map(|(a, b, r)| Step::Range(a, b, r)),
        1 => Just(Step::Check),
    ]
}

fn name(key: u8) -> String {
    format!("key-{}", key % 40)
}

fn raw_key(key: u8) -> RowKey {
    RowKey(Bytes::from(vec![key; usize::from(key) + 1]))
}

fn run(model: &mut Model, step: Step) {
    match step {
        Step::Write(writes) => {
            let batch = writes
                .into_iter()
                .map(|(key, value)| match value {
                    Some(size) => model.maker.put(&name(key), &vec![key; usize::from(size)]),
                    None => model.maker.delete(&name(key)),
                })
                .collect();
            model.apply(batch);
        }
        Step::Touch(key) => {
            let row_key = model.maker.row_key(&name(key));
            let stays = model.items.get(&row_key).and_then(|(_, item)| item.clone());
            let touch = model.maker.change(&name(key), stays, ChangeKind::Touch);
            model.apply(vec![touch]);
        }
        Step::Row(space, key, value) => {
            let value = value.map(|v| Bytes::from(vec![v; 30]));
            let rows = vec![RowOp { space, key: raw_key(key), value }];
            model.apply(vec![LogRecord { rows, ..empty_record() }]);
        }
        Step::Token(session, number) => {
            let token = TokenRecord {
                session: Uuid::from_u128(session.into()),
                number: number.into(),
                lowest_unfinished: u64::from(number).saturating_sub(9),
                issued_ms: model.maker.ms,
                result: TokenResult { outcome: number, stamp: None },
            };
            model.apply(vec![LogRecord { token: Some(token), ..empty_record() }]);
            let answer = model.partition().token(
                &Uuid::from_u128(session.into()),
                number.into(),
                model.maker.ms,
            );
            assert_ne!(answer, TokenAnswer::New, "what was applied is never evaluated again");
        }
        Step::Confirm(seq) => {
            let confirmed = vec![Confirmed {
                region: RegionId(2),
                shard: Shard { group: GROUP, epoch: 1 },
                seq: seq.into(),
                closed_applied: Hlc(seq.into()),
            }];
            model.apply(vec![LogRecord { confirmed, ..empty_record() }]);
        }
        Step::Stale(key) => {
            // Evaluated by a leader of another term: it does nothing.
            let mut other = model.maker.clone();
            let record = LogRecord { eval_term: TERM + 1, ..other.put(&name(key), b"stale") };
            model.apply(vec![record]);
        }
        Step::Checkpoint => {
            let done = model.partition().checkpoint().unwrap();
            assert_eq!((done.index, done.term), model.partition().applied());
            assert_eq!(model.partition().overlay_bytes(), 0);
        }
        Step::Reopen => model.reopen(),
        Step::Install(max_chunk) => model.install(max_chunk),
        Step::Range(a, b, reverse) => {
            let start = model.maker.row_key(&name(a));
            let end = Some(model.maker.row_key(&name(b)));
            model.check_range(&KeyRange { start, end }, reverse);
        }
        Step::Check => model.check(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn any_history_gives_the_rows_and_state_of_its_entries(
        replicated: bool,
        steps in proptest::collection::vec(step(), 1..50),
    ) {
        let mut model = Model::new(replicated);
        for step in steps {
            run(&mut model, step);
        }
        model.check();
        model.check_against_a_plain_replica();
        model.reopen();
        model.check();
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Every place where a crash can cut a checkpoint: before the log file, in it, after it and before
/// the tree's commit, after the commit. From each, the disk and the consensus log give it all back.
#[test]
fn a_checkpoint_cut_anywhere_loses_nothing() {
    let mut model = Model::new(true);
    let write = |model: &mut Model, keys: std::ops::Range<u8>| {
        let batch = keys.map(|k| model.maker.put(&name(k), &[k; 300])).collect();
        model.apply(batch);
    };
    write(&mut model, 0..10);
    model.partition().checkpoint().unwrap();
    write(&mut model, 5..20);
    let generation = model.folder().join(format!("{:016x}", 1));
    let before = model.dir.path().join("before");
    copy(&model.folder(), &before);
    model.partition().checkpoint().unwrap();
    let logs = "logs-00000001";
    let sealed = format!("log-{:016x}-{:016x}", 11, 25);
    let sealed_bytes = std::fs::read(generation.join(logs).join(&sealed)).unwrap();

    let in_old = |file: &str| before.join(format!("{:016x}", 1)).join(logs).join(file);
    type Cut<'a> = (&'a str, Box<dyn Fn() + 'a>);
    let cuts: [Cut<'_>; 4] = [
        ("before the log file", Box::new(|| {})),
        (
            "inside the log file",
            Box::new(|| {
                let half = &sealed_bytes[..sealed_bytes.len() / 2];
                std::fs::write(in_old("writing-000000000000000b-0000000000000019"), half).unwrap();
            }),
        ),
        (
            "after the log file, before the commit",
            Box::new(|| std::fs::write(in_old(&sealed), &sealed_bytes).unwrap()),
        ),
        (
            "in a log file of an attempt that covered less",
            Box::new(|| {
                std::fs::write(in_old(&format!("log-{:016x}-{:016x}", 11, 26)), b"x").unwrap();
            }),
        ),
    ];
    model.open = None;
    for (place, cut) in cuts {
        println!("a crash {place}");
        cut();
        std::fs::remove_dir_all(model.folder()).unwrap();
        copy(&before, &model.folder());
        model.open = Some(Partition::open_with(&model.folder(), 1, GROUP, settings()).unwrap());
        model.reopen();
        model.check();
        model.partition().checkpoint().unwrap();
        model.reopen();
        model.check();
        model.open = None;
        for file in std::fs::read_dir(in_old("").as_path()).unwrap() {
            let path = file.unwrap().path();
            if !path.ends_with(format!("log-{:016x}-{:016x}", 1, 10)) {
                std::fs::remove_file(path).unwrap();
            }
        }
    }
    println!("a crash after the commit, before the log's new base");
    model.open = Some(Partition::open_with(&model.folder(), 1, GROUP, settings()).unwrap());
    model.reopen();
    model.check();
}

#[test]
fn a_generation_that_was_never_finished_is_not_opened_and_then_removed() {
    let mut model = Model::new(false);
    let put = model.maker.put("a", b"x");
    model.apply(vec![put]);
    let mut reader = model.partition().snapshot().unwrap();
    let mut writer = SnapshotWriter::create(&model.folder(), 2, GROUP).unwrap();
    writer.write_chunk(&reader.next_chunk(4_096).unwrap().unwrap()).unwrap();
    drop((writer, reader));
    let half = Partition::open(&model.folder(), 2, GROUP).err().unwrap();
    assert!(half.is_corrupt(), "{half}");
    model.reopen();
    model.check();
    assert_eq!(std::fs::read_dir(model.folder()).unwrap().count(), 1);
    model.open.take().unwrap().destroy().unwrap();
    assert!(!model.folder().exists());
}

#[test]
fn a_folder_in_use_is_neither_emptied_nor_opened_again() {
    let mut model = Model::new(false);
    let put = model.maker.put("a", b"x");
    model.apply(vec![put]);
    let in_use = |e: Option<StorageError>| {
        let e = e.unwrap();
        assert!(matches!(e, StorageError::InUse { .. }), "{e}");
    };
    in_use(Partition::create(&model.folder(), 1, GROUP).err());
    in_use(Partition::open(&model.folder(), 1, GROUP).err());
    in_use(SnapshotWriter::create(&model.folder(), 1, GROUP).err());
    model.partition().checkpoint().unwrap();
    model.reopen();
    model.check();
    // Once destroyed its name is free, also while a view of it is still read, and a second call
    // does not touch what took the name.
    let view = model.partition().view().unwrap();
    let again = model.partition().clone();
    model.open.take().unwrap().destroy().unwrap();
    let successor = Partition::create(&model.folder(), 1, GROUP).unwrap();
    again.destroy().unwrap();
    assert!(successor.dir().join("data.mdb").exists());
    assert_eq!(view.digest_keys(&KeyRange::full(), 9).unwrap().keys.len(), 1);
}

#[test]
fn snapshot_chunks_that_are_damaged_missing_or_foreign_are_refused() {
    let mut model = Model::new(true);
    for k in 0..40 {
        let put = model.maker.put(&name(k), &[k; 900]);
        model.apply(vec![put]);
    }
    let mut reader = model.partition().snapshot().unwrap();
    let mut chunks = Vec::new();
    while let Some(chunk) = reader.next_chunk(4_096).unwrap() {
        chunks.push(chunk);
    }
    assert!(chunks.len() >= 2, "{} chunks", chunks.len());
    let dir = tempfile::tempdir().unwrap();
    let writer = |group| SnapshotWriter::create(&dir.path().join("r"), 1, group).unwrap();
    for bit in (0..chunks[0].len() * 8).step_by(97) {
        let mut flipped = chunks[0].to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(writer(GROUP).write_chunk(&flipped.into()).is_err(), "bit {bit}");
    }
    assert!(writer(GROUP).write_chunk(&chunks[1]).is_err(), "the first is missing");
    assert!(writer(tombolo_item::GroupId(99)).write_chunk(&chunks[0]).is_err(), "foreign");
    let mut short = writer(GROUP);
    short.write_chunk(&chunks[0]).unwrap();
    assert!(short.finish().is_err(), "the end is missing");
}

#[test]
fn an_entry_that_does_not_fit_changes_nothing() {
    let mut model = Model::new(true);
    let first = model.maker.put("a", b"1");
    model.apply(vec![first]);
    let state = model.partition().state();
    let mut ahead = model.maker.clone();
    let skipped = ahead.put("a", b"2");
    let gap = ahead.put("a", b"3");
    let refused = |index, batch: Vec<LogRecord>| {
        let error = model.partition().apply(index, TERM, &batch).err().unwrap();
        assert!(matches!(error, StorageError::Unappliable { .. }), "{error}");
    };
    refused(3, vec![gap]);
    refused(4, vec![skipped.clone()]);
    let rows = vec![RowOp { space: Space::ITEMS, key: raw_key(1), value: Some(Bytes::new()) }];
    refused(3, vec![skipped.clone(), LogRecord { rows, ..empty_record() }]);
    assert_eq!(model.partition().state(), state);
    model.maker = ahead;
    model.partition().apply(3, TERM, &[skipped]).unwrap();
}

#[test]
fn a_flipped_bit_in_the_tree_is_an_error_and_a_finding_never_data() {
    let mut model = Model::new(true);
    for k in 0..40 {
        let put = model.maker.put(&name(k), &[k; 500]);
        model.apply(vec![put]);
    }
    model.partition().checkpoint().unwrap();
    model.open = None;
    let data = model.folder().join(format!("{:016x}/data.mdb", 1));
    let mut bytes = std::fs::read(&data).unwrap();
    let pattern = [11u8; 400];
    let places: Vec<usize> =
        (0..bytes.len() - 400).filter(|at| bytes[*at..at + 400] == pattern).collect();
    for at in places {
        bytes[at + 7] ^= 0x10;
    }
    std::fs::write(&data, bytes).unwrap();
    let opened = Partition::open_with(&model.folder(), 1, GROUP, settings()).unwrap();
    let key = model.maker.row_key(&name(11));
    let error = opened.get(Space::ITEMS, &key).err().unwrap();
    assert!(error.is_corrupt(), "{error}");
    let text = error.to_string();
    assert!(text.contains("group 16") && text.contains("data.mdb") || text.contains("row key"));
    let digests = opened.view().unwrap().digest_buckets(&KeyRange::full(), 0).unwrap();
    assert_eq!(digests.findings.len(), 1);
    assert_eq!(digests.findings[0].row_key, key);
    assert_eq!(digests.buckets[0].items, 39);
    assert!(opened.snapshot().unwrap().next_chunk(1 << 18).is_err(), "it is not passed on");
}

#[test]
fn sealed_logs_go_by_confirmation_age_and_size() {
    let mut model = Model::new(true);
    for round in 0..5 {
        let batch = (0..10).map(|k| model.maker.put(&name(k), &[round; 200])).collect();
        model.apply(batch);
        model.partition().checkpoint().unwrap();
    }
    let all = u64::MAX;
    let keep = |keep_from_seq, written_before_ms, max_bytes| Retention {
        keep_from_seq,
        written_before_ms,
        max_bytes,
    };
    let partition = model.partition();
    assert_eq!(partition.trim_sealed(keep(51, 0, all)).unwrap().files, 0, "too young");
    assert_eq!(partition.trim_sealed(keep(15, all, all)).unwrap().files, 1, "not confirmed");
    let oldest = partition.read_changes(15, 100).unwrap().oldest_seq;
    assert_eq!(oldest, 11);
    let gone = partition.read_changes(10, 100).err().unwrap();
    assert!(matches!(gone, StorageError::Trimmed { wanted: 10, oldest: 11, .. }), "{gone}");
    let trimmed = partition.trim_sealed(keep(15, 0, 1)).unwrap();
    assert_eq!((trimmed.files, trimmed.dropped_wanted), (4, Some(50)));
}

/// A stream that is switched on, off and on again: what was written meanwhile is in none.
#[test]
fn a_log_begins_where_it_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let mut partition = Partition::create_with(dir.path(), 1, GROUP, settings()).unwrap();
    let mut maker = Maker::new(false);
    let mut index = 0;
    let mut keep = |partition: &Partition, maker: &mut Maker, keep_log: bool| {
        maker.config.keep_log = keep_log;
        let writes = (0..3).map(|k| maker.put(&name(k), &[index as u8; 50])).collect::<Vec<_>>();
        let batch = [vec![maker.configure()], writes].concat();
        index += 1;
        partition.apply(index, TERM, &batch).unwrap();
    };
    for (keep_log, oldest) in [(false, None), (true, Some(4)), (false, None), (true, Some(10))] {
        keep(&partition, &mut maker, keep_log);
        for _ in 0..2 {
            if let Some(oldest) = oldest {
                let changes = partition.read_changes(oldest, 1 << 20).unwrap();
                assert_eq!(changes.oldest_seq, oldest);
                let found: Vec<u64> = changes.records.iter().map(|(seq, _)| *seq).collect();
                assert_eq!(found, [oldest, oldest + 1, oldest + 2]);
            }
            partition.checkpoint().unwrap();
            drop(partition);
            partition = Partition::open_with(dir.path(), 1, GROUP, settings()).unwrap();
        }
    }
}

#[test]
fn a_view_stays_as_it_was() {
    let mut model = Model::new(true);
    let batch = (0..40).map(|k| model.maker.put(&name(k), b"old")).collect();
    model.apply(batch);
    let view = model.partition().view().unwrap();
    let before = view.digest_buckets(&KeyRange::full(), 3).unwrap();
    for _ in 0..3 {
        let batch = (0..40).map(|k| model.maker.put(&name(k), b"new")).collect();
        model.apply(batch);
        model.partition().checkpoint().unwrap();
        assert_eq!(view.digest_buckets(&KeyRange::full(), 3).unwrap(), before);
    }
    assert_eq!(view.index(), 2);
    let keys = view.digest_keys(&KeyRange::full(), 10).unwrap();
    assert!(keys.more && keys.keys.len() == 10);
}

/// Readers run beside applies and checkpoints: a row that exists is never missing for a moment.
#[test]
fn no_row_vanishes_while_a_checkpoint_drops_its_overlay() {
    let mut model = Model::new(true);
    let batch = (0..40).map(|k| model.maker.put(&name(k), &[0; 100])).collect();
    model.apply(batch);
    let keys: Vec<RowKey> = (0..40).map(|k| model.maker.row_key(&name(k))).collect();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let reader = model.partition().clone();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut newest = vec![None; keys.len()];
                while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                    for (key, seen) in keys.iter().zip(&mut newest) {
                        let row = reader.get(Space::ITEMS, key).unwrap().expect("it exists");
                        assert!(Some(row.stamp) >= *seen, "reads do not go back");
                        *seen = Some(row.stamp);
                    }
                    let mut count = 0;
                    reader
                        .range(Space::ITEMS, &KeyRange::full(), false, &mut |_, _| {
                            count += 1;
                            ControlFlow::Continue(())
                        })
                        .unwrap();
                    assert_eq!(count, keys.len());
                }
            });
        }
        for round in 0..60u8 {
            let batch = (0..40).map(|k| model.maker.put(&name(k), &[round; 100])).collect();
            model.apply(batch);
            model.partition().checkpoint().unwrap();
        }
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
    });
}

#[test]
fn the_longest_legal_keys_and_items_come_back() {
    let model = Model::new(true);
    let long = |byte| RowKey(Bytes::from(vec![byte; 1_982]));
    let value = Bytes::from(vec![7; 400 << 10]);
    let rows = (1..9)
        .map(|b| RowOp { space: Space::INDEX, key: long(b), value: Some(value.clone()) })
        .collect();
    model.partition().apply(2, TERM, &[LogRecord { rows, ..empty_record() }]).unwrap();
    model.partition().checkpoint().unwrap();
    for b in 1..9 {
        let found = model.partition().get_raw(Space::INDEX, &long(b)).unwrap();
        assert_eq!(found.as_ref(), Some(&value));
    }
    let dir = tempfile::tempdir().unwrap();
    let mut reader = model.partition().snapshot().unwrap();
    let mut writer = SnapshotWriter::create(dir.path(), 1, GROUP).unwrap();
    while let Some(chunk) = reader.next_chunk(256 << 10).unwrap() {
        writer.write_chunk(&chunk).unwrap();
    }
    let copy = writer.finish().unwrap();
    assert_eq!(copy.get_raw(Space::INDEX, &long(8)).unwrap(), Some(value));
}
