//! Local indexes: their rows are always those that the items ask for, whatever happens, and items are read
//! in their order (API reference, Query: IndexName; developer guide, "Local secondary indexes").

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tombolo_item::condition::Substitutions;
use tombolo_item::key::index_sort_range;
use tombolo_item::table::{IndexName, IndexProjection};
use tombolo_item::update::parse_update;
use tombolo_storage::{SnapshotWriter, decode_batch};

use super::*;
use crate::host::{collect_by_index, compare};
use crate::types::{RangeRequest, ReturnImages};

fn index(name: &str, attribute: &str, kind: KeyType) -> LocalIndex {
    LocalIndex {
        name: IndexName::new(name).unwrap(),
        sort: KeyAttribute { name: attribute.into(), kind },
        projection: IndexProjection::All,
    }
}

fn indexes() -> Vec<LocalIndex> {
    vec![index("by-v", "v", KeyType::S), index("by-n", "n", KeyType::N)]
}

fn encoded(key: &str, attributes: &[(&str, Value)]) -> Bytes {
    let mut item = Item::default();
    item.insert("k", Value::S(key.to_owned()));
    for (name, value) in attributes {
        item.insert(*name, value.clone());
    }
    item.encode()
}

fn put_of(key: &str, attributes: &[(&str, Value)]) -> WriteOp {
    let item = encoded(key, attributes);
    WriteOp::Put { item, condition: None, return_old: false, return_on_failure: false }
}

fn set(text: &str, value: Value) -> WriteOp {
    let (names, values) = (BTreeMap::new(), BTreeMap::from([(":v".to_owned(), value)]));
    let used = if text.contains(":v") { values } else { BTreeMap::new() };
    let update = parse_update(text, &mut Substitutions::new(&names, &used)).unwrap();
    let returns = ReturnImages::None;
    WriteOp::Update { update, condition: None, returns, return_on_failure: false }
}

fn n(number: i64) -> Value {
    Value::N(number.to_string().parse().unwrap())
}

fn s(text: &str) -> Value {
    Value::S(text.to_owned())
}

fn config(partition: &Partition) -> GroupConfig {
    partition.state().config.clone().unwrap()
}

/// Whole index, all partition keys: the items' attribute of it, in the order of the index.
fn walk(partition: &Partition, number: u8, reverse: bool, page: usize) -> Vec<Item> {
    let mut request = RangeRequest {
        group: GROUP,
        epoch: 1,
        range: KeyRange::full(),
        reverse,
        limit: 0,
        max_bytes: 0,
        strong: true,
        index: Some(number),
    };
    let mut items = Vec::new();
    loop {
        let config = config(partition);
        let page = collect_by_index(partition, &config, number, &request, page, 1 << 20).unwrap();
        let last = page.items.last().map(|(key, _)| key.clone());
        items.extend(page.items.iter().map(|(_, item)| Item::decode(item).unwrap()));
        match last {
            Some(last) if page.more && reverse => request.range.end = Some(last),
            Some(last) if page.more => request.range.start = last.successor(),
            _ => return items,
        }
    }
}

fn check(partition: &Partition) {
    let view = partition.view().unwrap();
    assert_eq!(compare(&view, &KeyRange::full()).unwrap(), None);
    let mut live = Vec::new();
    let mut visit = |_, row: tombolo_storage::StoredRow| {
        live.extend((!row.tombstone).then(|| Item::decode(&row.item).unwrap()));
        std::ops::ControlFlow::Continue(())
    };
    view.range(Space::ITEMS, &KeyRange::full(), false, &mut visit).unwrap();
    for (number, index) in indexes().iter().enumerate() {
        let number = number as u8;
        let mut expected: Vec<Item> = live.clone();
        expected.retain(|item| matches!(index.sort_of(item), Ok(Some(_))));
        expected.sort();
        let mut found = walk(partition, number, false, 3);
        let mut back = walk(partition, number, true, 2);
        back.reverse();
        assert_eq!(found, back, "both directions, whatever the page");
        found.sort();
        assert_eq!(found, expected, "index {number}");
    }
}

/// A replica of what was logged, taken up where it stands.
fn replay(log: &[LogEntry], partition: &Partition) {
    for entry in log.iter().filter(|entry| entry.index > partition.applied().0) {
        let batch = decode_batch(&entry.data).unwrap_or_default();
        partition.apply(entry.index, entry.term, &batch).unwrap();
    }
}

/// Random puts, updates, deletes, merges and purges, with checkpoints and restarts between, and in the end a
/// replica from a snapshot and one from the log alone: all have the index rows that their items ask for.
#[test]
fn index_rows_are_always_those_the_items_ask_for() {
    for seed in 0..12 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let folder = tempfile::tempdir().unwrap();
        let partition = Partition::create(folder.path(), 1, GROUP).unwrap();
        let mut solo = Solo::indexed(partition, &[OURS, THEIRS], None, indexes());
        for step in 0..150u64 {
            let key = format!("key {}", rng.random_range(0..6));
            let text = "abc"[..rng.random_range(1..=3)].to_owned();
            let number = n(rng.random_range(-3..3));
            let op = match rng.random_range(0..10) {
                0 | 1 => put_of(&key, &[("v", s(&text)), ("n", number)]),
                2 => put_of(&key, &[("v", s(&text))]),
                3 => put_of(&key, &[]),
                4 => set("SET v = :v", s(&text)),
                5 => set("ADD n :v", number),
                6 => set("REMOVE v", Value::Null),
                7 => delete(),
                8 => {
                    let row = solo.core.machine().row(&name(&key).1).unwrap();
                    let older_than = row.map(|row| row.stamp).unwrap_or_default();
                    WriteOp::PurgeTombstone { older_than }
                }
                _ => {
                    // Of another region, older or newer, with what a user here could not have put.
                    let ms = solo.now.wall_ms + rng.random_range(0..40) - 20;
                    let mut change = remote(&key, None, ms, None);
                    change.stamp.seq = step;
                    change.new = match rng.random_range(0..3) {
                        0 => None,
                        1 => Some(encoded(&key, &[("v", number), ("n", s(&text))])),
                        _ => Some(encoded(&key, &[("v", s(&text)), ("n", number)])),
                    };
                    merge_of(&change)
                }
            };
            // What a merge brought may be nothing that an update may leave as it is.
            let written = solo.write(&key, op);
            assert!(matches!(written, Ok(_) | Err(GroupError::Rejected(_))), "{written:?}");
            match rng.random_range(0..30) {
                0 => drop(solo.core.machine().checkpoint().unwrap()),
                1 => {
                    // A crash: what no checkpoint holds comes from the log again.
                    let reopen = tempfile::tempdir().unwrap();
                    let empty = Partition::create(reopen.path(), 1, GROUP).unwrap();
                    solo.core.replace_machine(empty);
                    let again = Partition::open(folder.path(), 1, GROUP).unwrap();
                    replay(&solo.log, &again);
                    solo.core.replace_machine(again);
                }
                2 => check(solo.core.machine()),
                _ => {}
            }
        }
        let partition = solo.core.machine().clone();
        check(&partition);

        let copies = tempfile::tempdir().unwrap();
        let from_log = Partition::create(&copies.path().join("log"), 1, GROUP).unwrap();
        replay(&solo.log, &from_log);
        check(&from_log);
        let mut reader = partition.snapshot().unwrap();
        let mut writer = SnapshotWriter::create(&copies.path().join("copy"), 1, GROUP).unwrap();
        while let Some(chunk) = reader.next_chunk(64 << 10).unwrap() {
            writer.write_chunk(&chunk).unwrap();
        }
        let copy = writer.finish().unwrap();
        assert_eq!(config(&copy).indexes, indexes());
        check(&copy);
    }
}

#[test]
fn items_are_read_in_the_order_of_the_index() {
    let folder = tempfile::tempdir().unwrap();
    let partition = Partition::create(folder.path(), 1, GROUP).unwrap();
    let mut solo = Solo::indexed(partition, &[OURS], None, indexes());
    solo.write("a", put_of("a", &[("v", s("x")), ("n", n(7))])).unwrap();
    solo.write("b", put_of("b", &[("v", s("x"))])).unwrap();
    let partition = solo.core.machine().clone();
    let config = config(&partition);
    let ask = |number: u8, partition_key: &str| {
        let index = &config.indexes[usize::from(number)];
        let range = index_sort_range(
            &config.schema,
            &config.secret,
            number,
            &index.sort,
            &s(partition_key),
            None,
        );
        let request = RangeRequest {
            group: GROUP,
            epoch: 1,
            range: range.unwrap(),
            reverse: false,
            limit: 0,
            max_bytes: 0,
            strong: true,
            index: Some(number),
        };
        collect_by_index(&partition, &config, number, &request, 9, 1 << 20)
            .map(|page| page.items.len())
    };
    assert_eq!((ask(0, "a"), ask(1, "a")), (Ok(1), Ok(1)));
    assert_eq!((ask(0, "b"), ask(1, "b")), (Ok(1), Ok(0)), "b has no n");
    let request = RangeRequest {
        group: GROUP,
        epoch: 1,
        range: KeyRange::full(),
        reverse: false,
        limit: 0,
        max_bytes: 0,
        strong: true,
        index: Some(2),
    };
    let unknown = collect_by_index(&partition, &config, 2, &request, 9, 1);
    assert!(matches!(unknown, Err(GroupError::Invalid(_))));
}

#[test]
fn what_cannot_stand_in_an_index_is_rejected() {
    let mut solo = Solo::indexed(Model::default(), &[OURS], None, indexes());
    let refused = |solo: &mut Solo, op| match solo.write("a", op) {
        Err(GroupError::Rejected(text)) => text,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        refused(&mut solo, put_of("a", &[("n", s("x"))])),
        "One or more parameter values were invalid: Type mismatch for Index Key n Expected: N \
         Actual: S IndexName: by-n"
    );
    assert!(refused(&mut solo, put_of("a", &[("v", s(""))])).contains("empty string value"));
    assert_eq!(
        refused(&mut solo, set("SET v = :v", n(1))),
        "The update expression attempted to update the secondary index key to unsupported type"
    );
    assert_eq!(solo.core.machine().state().seq, 0);
}

/// A scrub notices what is not there, and what should not be.
#[test]
fn a_missing_and_a_stray_index_row_are_found() {
    for stray in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let partition = Partition::create(folder.path(), 1, GROUP).unwrap();
        let mut solo = Solo::indexed(partition, &[OURS], None, indexes());
        solo.write("a", put_of("a", &[("v", s("x")), ("n", n(7))])).unwrap();
        check(solo.core.machine());
        let mut rows = Vec::new();
        let mut visit = |key: RowKey, value: Bytes| {
            rows.push((key, value));
            std::ops::ControlFlow::Continue(())
        };
        let full = KeyRange::full();
        solo.core.machine().range_raw(Space::INDEX, &full, false, &mut visit).unwrap();
        assert_eq!(rows.len(), 2);
        let (key, value) = rows.remove(0);
        let row = match stray {
            true => RawRow { space: Space::INDEX, key: key.successor(), value: Some(value) },
            false => RawRow { space: Space::INDEX, key, value: None },
        };
        solo.write("a", WriteOp::Rows { rows: vec![row], expect: None }).unwrap();
        let view = solo.core.machine().view().unwrap();
        let finding = compare(&view, &full).unwrap().expect("they differ");
        assert!(finding.reason.contains("ask for 2 rows"), "{}", finding.reason);
    }
}
