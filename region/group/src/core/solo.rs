//! Evaluation, driven through the step of a group with one voter and a disk that is at once durable.

mod indexes;
mod updates;

use std::collections::BTreeMap;

use bytes::Bytes;
use tombolo_item::table::LocalIndex;
use tombolo_item::{
    Cause, ChangeKind, ChangeRecord, Condition, GroupId, HashSecret, Hlc, Item, Key, KeyAttribute,
    KeyRange, KeySchema, KeyType, NodeId, RegionId, RowKey, Shard, Stamp, StreamView, TableId,
    Value, condition,
};
use tombolo_storage::{Confirmed, GroupConfig, LogEntry, Partition, Space, WalRecord};
use uuid::Uuid;

use super::sim::Model;
use super::{
    Answer, ConflictRow, CoreSettings, Event, GroupCore, Loser, Machine, Note, Now, Output, Submit,
};
use crate::error::GroupError;
use crate::host::{GroupSpec, first_records};
use crate::types::{
    RawRow, ReturnImages, Token, WriteOp, WriteOutcome, WriteRequest, WriteResponse,
};

const GROUP: GroupId = GroupId(16);
const OURS: RegionId = RegionId(1);
const THEIRS: RegionId = RegionId(2);

struct Solo<M: Machine = Model> {
    core: GroupCore<M>,
    now: Now,
    notes: Vec<Note>,
    /// Everything that was logged, from the beginning.
    log: Vec<LogEntry>,
}

impl Solo {
    fn new(regions: &[RegionId], view: Option<StreamView>) -> Solo {
        Solo::on(Model::default(), regions, view)
    }

    fn last(&self) -> &ChangeRecord {
        self.core.machine().history.last().unwrap()
    }
}

impl<M: Machine> Solo<M> {
    fn on(machine: M, regions: &[RegionId], view: Option<StreamView>) -> Solo<M> {
        Solo::indexed(machine, regions, view, Vec::new())
    }

    fn indexed(
        machine: M,
        regions: &[RegionId],
        view: Option<StreamView>,
        indexes: Vec<LocalIndex>,
    ) -> Solo<M> {
        let config = GroupConfig {
            group: GROUP,
            table: TableId(Uuid::from_u128(7)),
            schema: schema(),
            secret: HashSecret([3; 16]),
            range: KeyRange::full(),
            epoch: 1,
            view,
            regions: regions.to_vec(),
            parent: None,
            keep_log: false,
            indexes,
        };
        let spec = GroupSpec { group: GROUP, config, voters: vec![NodeId(1)] };
        let settings = CoreSettings {
            node: NodeId(1),
            region: OURS,
            max_clock_skew_ms: 500,
            uncommitted_bytes: 1 << 20,
            log_tail_bytes: 1 << 20,
            quiet_until_ms: 0,
            seed: 1,
            planted: None,
        };
        let now = Now { mono_ms: 1, wall_ms: 1_000_000 };
        let first = first_records(&spec);
        let log = first.entries.clone();
        let core = GroupCore::new(GROUP, settings, first, machine, now);
        let mut solo = Solo { core: core.unwrap(), now, notes: Vec::new(), log };
        solo.now.mono_ms = solo.core.deadline_ms();
        assert!(solo.step(Event::Wake).is_empty());
        assert!(solo.core.view().ready, "it leads at once");
        solo
    }

    /// Steps, and makes everything durable until nothing follows.
    fn step(&mut self, event: Event) -> Vec<(u64, Result<Answer, GroupError>)> {
        let (mut answers, mut next) = (Vec::new(), Some(event));
        while let Some(event) = next.take() {
            let mut out = Output::default();
            self.core.step(self.now, event, &mut out);
            assert!(out.sends.is_empty(), "there is nobody to talk to");
            answers.extend(out.answers);
            self.notes.extend(out.notes.into_iter().map(|(_, note)| note));
            assert!(out.persists.len() <= out.records.len() + 1);
            self.log.extend(out.records.into_iter().filter_map(|record| match record {
                WalRecord::Entry { entry, .. } => Some(entry),
                _ => None,
            }));
            next = out.persists.last().map(|(_, number)| Event::Persisted { number: *number });
        }
        answers
    }

    fn all(&mut self, submits: Vec<Submit>) -> Vec<Result<Answer, GroupError>> {
        self.now.mono_ms += 1;
        self.now.wall_ms += 1;
        let submits = submits.into_iter().enumerate().map(|(n, s)| (n as u64, s)).collect();
        let mut answers = self.step(Event::Submit(submits));
        answers.sort_by_key(|(ticket, _)| *ticket);
        answers.into_iter().map(|(_, answer)| answer).collect()
    }

    fn write(&mut self, key: &str, op: WriteOp) -> Result<WriteResponse, GroupError> {
        self.send(request(key, op, None))
    }

    fn send(&mut self, request: WriteRequest) -> Result<WriteResponse, GroupError> {
        let mut answers = self.all(vec![Submit::Write(Box::new(request))]);
        assert_eq!(answers.len(), 1);
        match answers.remove(0)? {
            Answer::Write(response) => Ok(response),
            other => panic!("not a write's answer: {other:?}"),
        }
    }
}

fn schema() -> KeySchema {
    KeySchema { partition: KeyAttribute { name: "k".into(), kind: KeyType::S }, sort: None }
}

fn name(key: &str) -> (Key, RowKey) {
    let key = Key { partition: Value::S(key.to_owned()), sort: None };
    let row_key = schema().row_key(&HashSecret([3; 16]), &key).unwrap();
    (key, row_key)
}

fn request(key: &str, op: WriteOp, token: Option<Token>) -> WriteRequest {
    let (key, row_key) = name(key);
    WriteRequest { group: GROUP, epoch: 1, key, row_key, op, token }
}

fn item(key: &str, value: &str) -> Bytes {
    Item(BTreeMap::from([
        ("k".to_owned(), Value::S(key.to_owned())),
        ("v".to_owned(), Value::S(value.to_owned())),
    ]))
    .encode()
}

fn put(key: &str, value: &str) -> WriteOp {
    put_if(key, value, None)
}

fn put_if(key: &str, value: &str, condition: Option<Condition>) -> WriteOp {
    let item = item(key, value);
    WriteOp::Put { item, condition, return_old: true, return_on_failure: true }
}

fn delete() -> WriteOp {
    WriteOp::Delete { condition: None, return_old: true, return_on_failure: false }
}

fn absent() -> Option<Condition> {
    let names = BTreeMap::new();
    Some(condition::parse("attribute_not_exists(k)", &names, &BTreeMap::new()).unwrap())
}

fn remote(key: &str, value: Option<&str>, ms: u64, replaced: Option<Stamp>) -> ChangeRecord {
    let (k, row_key) = name(key);
    let stamp = Stamp { hlc: Hlc(ms << 16), region: THEIRS, seq: ms };
    ChangeRecord {
        table: TableId(Uuid::from_u128(7)),
        shard: Shard { group: GroupId(99), epoch: 1 },
        seq: ms,
        stamp,
        replaced,
        closed: stamp.hlc,
        origin: THEIRS,
        cause: Cause::User,
        kind: ChangeKind::Insert,
        transaction: None,
        key: k,
        row_key,
        new: value.map(|v| item(key, v)),
        old: None,
        eval_term: 1,
        prev_hash: 0,
        merge_state: Bytes::new(),
        ext: Bytes::new(),
    }
}

fn merge_of(change: &ChangeRecord) -> WriteOp {
    WriteOp::Merge { change: change.encode() }
}

#[test]
fn a_put_inserts_modifies_and_leaves_equal_things_alone() {
    let mut solo = Solo::new(&[OURS], Some(StreamView::NewAndOldImages));
    let first = solo.write("a", put("a", "1")).unwrap();
    assert_eq!(first.outcome, WriteOutcome::Written { old: None, new: None });
    assert_eq!((first.seq, solo.last().kind), (1, ChangeKind::Insert));
    let second = solo.write("a", put("a", "2")).unwrap();
    assert_eq!(second.outcome, WriteOutcome::Written { old: Some(item("a", "1")), new: None });
    assert_eq!((solo.last().kind, solo.last().replaced), (ChangeKind::Modify, first.stamp));
    assert_eq!(solo.last().old, Some(item("a", "1")));
    assert!(second.stamp > first.stamp);
    let third = solo.write("a", put("a", "2")).unwrap();
    assert_eq!(third.outcome, WriteOutcome::Unchanged { old: Some(item("a", "2")), new: None });
    assert_eq!((third.stamp, third.seq), (second.stamp, 0), "nothing was logged");
    let gone = solo.write("a", delete()).unwrap();
    assert_eq!(gone.outcome, WriteOutcome::Written { old: Some(item("a", "2")), new: None });
    assert_eq!((solo.last().kind, solo.last().new.clone()), (ChangeKind::Remove, None));
    assert_eq!(solo.core.machine().state().seq, 3);
}

#[test]
fn old_images_are_logged_only_for_views_that_show_them() {
    for (view, shown) in [
        (None, false),
        (Some(StreamView::KeysOnly), false),
        (Some(StreamView::NewImage), false),
        (Some(StreamView::OldImage), true),
        (Some(StreamView::NewAndOldImages), true),
    ] {
        let mut solo = Solo::new(&[OURS], view);
        solo.write("a", put("a", "1")).unwrap();
        solo.write("a", put("a", "2")).unwrap();
        assert_eq!(solo.last().old.is_some(), shown, "{view:?}");
    }
}

#[test]
fn in_a_replicated_table_an_equal_write_is_a_touch_and_a_delete_leaves_a_stamp() {
    let mut solo = Solo::new(&[OURS, THEIRS], None);
    let first = solo.write("a", put("a", "1")).unwrap();
    let touch = solo.write("a", put("a", "1")).unwrap();
    assert_eq!(touch.outcome, WriteOutcome::Unchanged { old: Some(item("a", "1")), new: None });
    assert!(touch.stamp > first.stamp);
    assert_eq!((solo.last().kind, solo.last().cause), (ChangeKind::Touch, Cause::Touch));
    assert_eq!(solo.last().new, Some(item("a", "1")), "the image travels with the touch");
    solo.write("a", delete()).unwrap();
    let row = solo.core.machine().row(&name("a").1).unwrap().unwrap();
    assert!(row.tombstone);
    solo.write("nothing", delete()).unwrap();
    assert_eq!((solo.last().kind, solo.last().new.clone()), (ChangeKind::Touch, None));

    // The tombstone goes when told to, unless something newer is there.
    let older = WriteOp::PurgeTombstone { older_than: first.stamp.unwrap() };
    assert_eq!(
        solo.write("a", older).unwrap().outcome,
        WriteOutcome::Unchanged { old: None, new: None }
    );
}

#[test]
fn writes_of_one_batch_see_each_other() {
    let mut solo = Solo::new(&[OURS], None);
    let write = |value| Submit::Write(Box::new(request("a", put_if("a", value, absent()), None)));
    let answers = solo.all(vec![write("1"), write("2"), Submit::Barrier, write("3")]);
    let outcomes: Vec<String> = answers.iter().map(|a| format!("{a:?}")).collect();
    assert!(outcomes[0].contains("Written"), "{outcomes:?}");
    assert!(outcomes[1].contains("ConditionFailed"), "{outcomes:?}");
    assert!(outcomes[2].contains("Leads"), "{outcomes:?}");
    assert!(outcomes[3].contains("ConditionFailed"), "{outcomes:?}");
    assert_eq!(solo.core.machine().history.len(), 1);
}

#[test]
fn a_failed_condition_waits_for_what_it_saw() {
    let mut solo = Solo::new(&[OURS], None);
    let write = |value| Submit::Write(Box::new(request("a", put_if("a", value, absent()), None)));
    // The first write is proposed, and not durable yet.
    let mut out = Output::default();
    solo.core.step(solo.now, Event::Submit(vec![(1, write("1"))]), &mut out);
    let number = out.persists.last().unwrap().1;
    assert!(matches!(out.records[0], WalRecord::Entry { .. }) && out.answers.is_empty());
    let mut later = Output::default();
    solo.core.step(solo.now, Event::Submit(vec![(2, write("2"))]), &mut later);
    assert!(later.answers.is_empty(), "the answer would reveal what may still be lost");
    let answers = solo.step(Event::Persisted { number });
    assert_eq!(answers.len(), 2);
}

#[test]
fn a_token_is_answered_from_flight_and_from_the_log() {
    let mut solo = Solo::new(&[OURS], None);
    let token = Token {
        session: Uuid::from_u128(1),
        number: 1,
        lowest_unfinished: 1,
        issued_ms: 1_000_000,
    };
    let once = request("a", put("a", "1"), Some(token));
    let twice = vec![Submit::Write(Box::new(once.clone())), Submit::Write(Box::new(once.clone()))];
    let answers = solo.all(twice);
    let stamps: Vec<_> = answers
        .into_iter()
        .map(|answer| match answer.unwrap() {
            Answer::Write(response) => response.stamp,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(stamps[0], stamps[1]);
    let later = solo.send(once).unwrap();
    assert_eq!((later.stamp, later.seq), (stamps[0], 0));
    assert_eq!(solo.core.machine().history.len(), 1, "applied once");
}

/// The answer of the first attempt was lost: the second one gives what UpdateItem promises, as long as it
/// can be had, and nothing made up when it cannot.
#[test]
fn a_retried_update_shows_what_it_made_until_something_else_is_written() {
    let mut solo = Solo::new(&[OURS], None);
    let token = |number| Token {
        session: Uuid::from_u128(1),
        number,
        lowest_unfinished: 1,
        issued_ms: 1_000_000,
    };
    let values = BTreeMap::from([(":one".to_owned(), Value::N("1".parse().unwrap()))]);
    let names = BTreeMap::new();
    let add = |returns| {
        let mut substitutions = condition::Substitutions::new(&names, &values);
        let update = tombolo_item::update::parse_update("ADD n :one", &mut substitutions).unwrap();
        WriteOp::Update { update, condition: None, returns, return_on_failure: false }
    };
    let counted = |n: &str, whole: bool| {
        let n = ("n".to_owned(), Value::N(n.parse().unwrap()));
        let k = ("k".to_owned(), Value::S("a".into()));
        Some(Item([n].into_iter().chain(whole.then_some(k)).collect()).encode())
    };
    for (number, returns, old, new) in [
        (1, ReturnImages::AllNew, None, counted("1", true)),
        (2, ReturnImages::UpdatedNew, None, counted("2", false)),
        (3, ReturnImages::AllOld, counted("2", true), None),
    ] {
        let once = request("a", add(returns), Some(token(number)));
        let first = solo.send(once.clone()).unwrap();
        assert_eq!(first.outcome, WriteOutcome::Written { old, new: new.clone() }, "{returns:?}");
        let again = solo.send(once).unwrap();
        assert_eq!(again.outcome, WriteOutcome::Written { old: None, new }, "{returns:?}");
        assert_eq!((again.stamp, again.seq), (first.stamp, 0));
    }
    let early = request("a", add(ReturnImages::AllNew), Some(token(1)));
    let gone = solo.send(early).unwrap();
    assert_eq!(gone.outcome, WriteOutcome::Written { old: None, new: None });
    assert_eq!(solo.core.machine().history.len(), 3, "each counted once");
}

#[test]
fn a_request_for_another_range_key_or_size_is_refused() {
    let mut solo = Solo::new(&[OURS], None);
    let mut wrong_epoch = request("a", put("a", "1"), None);
    wrong_epoch.epoch = 2;
    let refused = solo.send(wrong_epoch);
    match refused {
        Err(GroupError::WrongRange { descriptor }) => assert_eq!(descriptor.epoch, 1),
        other => panic!("{other:?}"),
    }
    let mut wrong_row = request("a", put("a", "1"), None);
    wrong_row.row_key = name("b").1;
    assert!(matches!(solo.send(wrong_row), Err(GroupError::Invalid(_))));
    let wrong_item = solo.write("a", put("b", "1"));
    assert!(matches!(wrong_item, Err(GroupError::Invalid(_))));
    let huge = solo.write("a", put("a", &"x".repeat(2 << 20)));
    assert!(matches!(huge, Err(GroupError::Invalid(_))));
    let good = solo.write("a", put("a", "1")).unwrap();
    assert_eq!(good.seq, 1, "refusals consume no sequence number");
}

#[test]
fn a_later_remote_version_wins_and_keeps_its_stamp_and_origin() {
    let mut solo = Solo::new(&[OURS, THEIRS], None);
    let theirs = remote("a", Some("theirs"), 1_000_001, None);
    let merged = solo.write("a", merge_of(&theirs)).unwrap();
    assert_eq!(merged.outcome, WriteOutcome::Merged { won: true });
    assert_eq!((merged.stamp, merged.seq), (Some(theirs.stamp), 1));
    let logged = solo.last().clone();
    assert_eq!((logged.cause, logged.origin), (Cause::Replication, THEIRS));
    assert_eq!(logged.stamp, theirs.stamp);

    // Again: nothing happens. A local write after it is later than it.
    let again = solo.write("a", merge_of(&theirs)).unwrap();
    assert_eq!((again.outcome, again.seq), (WriteOutcome::Merged { won: true }, 0));
    let ours = solo.write("a", put("a", "ours")).unwrap();
    assert!(ours.stamp.unwrap() > theirs.stamp);
    assert_eq!(solo.last().replaced, Some(theirs.stamp));
    assert!(solo.notes.iter().all(|n| !matches!(n, Note::Conflict { .. })), "no conflict yet");
}

#[test]
fn the_loser_of_a_conflict_is_written_down_once() {
    let mut solo = Solo::new(&[OURS, THEIRS], None);
    let ours = solo.write("a", put("a", "ours")).unwrap().stamp.unwrap();

    // Theirs is older and did not know ours: it loses, readably.
    let older = remote("a", Some("older"), 999_000, None);
    for _ in 0..2 {
        let merged = solo.write("a", merge_of(&older)).unwrap();
        assert_eq!(merged.outcome, WriteOutcome::Merged { won: false });
        assert_eq!(merged.stamp, Some(ours));
    }
    let conflicts = |solo: &Solo| {
        solo.notes.iter().filter(|n| matches!(n, Note::Conflict { from: 2, to: 1 })).count()
    };
    assert_eq!(conflicts(&solo), 1);
    let key = ConflictRow::key(&name("a").1, &older.stamp);
    let row = solo.core.machine().raw(Space::CONFLICTS, &key).unwrap().unwrap();
    let row = ConflictRow::decode(&row).unwrap();
    assert_eq!((row.loser_is, row.winner.stamp), (Loser::Remote, ours));
    assert_eq!(row.loser.item, Some(item("a", "older")));

    // Theirs is later and did not know ours: ours loses, readably.
    let later = remote("a", None, 1_000_100, Some(older.stamp));
    assert_eq!(
        solo.write("a", merge_of(&later)).unwrap().outcome,
        WriteOutcome::Merged { won: true }
    );
    assert_eq!(conflicts(&solo), 2);
    let key = ConflictRow::key(&name("a").1, &ours);
    let row = solo.core.machine().raw(Space::CONFLICTS, &key).unwrap().unwrap();
    assert_eq!(ConflictRow::decode(&row).unwrap().loser_is, Loser::Local);

    // Their next one knows what it replaced: no conflict.
    let next = remote("a", Some("next"), 1_000_200, Some(later.stamp));
    solo.write("a", merge_of(&next)).unwrap();
    // And the one before arrives again, late: no conflict either.
    solo.write("a", merge_of(&later)).unwrap();
    assert_eq!(conflicts(&solo), 2);
}

#[test]
fn a_stamp_from_the_future_is_held_and_not_adopted() {
    let mut solo = Solo::new(&[OURS, THEIRS], None);
    let future = remote("a", Some("x"), 1_010_000, None);
    let refused = solo.write("a", merge_of(&future));
    assert!(matches!(refused, Err(GroupError::ClockSkew(_))), "{refused:?}");
    let ours = solo.write("b", put("b", "1")).unwrap();
    assert!(ours.stamp.unwrap().hlc < Hlc(1_001_000 << 16));
}

#[test]
fn a_leader_ahead_of_its_peers_refuses_writes() {
    let mut solo = Solo::new(&[OURS], None);
    solo.step(Event::ClockAhead(true));
    assert!(matches!(solo.write("a", put("a", "1")), Err(GroupError::ClockSkew(_))));
    solo.step(Event::ClockAhead(false));
    assert!(solo.write("a", put("a", "1")).is_ok());
    solo.step(Event::DiskFull(true));
    assert!(matches!(solo.write("a", put("a", "2")), Err(GroupError::DiskFull(_))));
}

#[test]
fn closed_stamps_confirmations_markers_and_rows_are_logged() {
    let mut solo = Solo::new(&[OURS, THEIRS], None);
    let shard = Shard { group: GroupId(99), epoch: 1 };
    let confirmed = Confirmed { region: THEIRS, shard, seq: 5, closed_applied: Hlc(9) };
    let row = |value: &'static [u8]| RawRow {
        space: Space::SYSTEM,
        key: name("row").1,
        value: Some(Bytes::from_static(value)),
    };
    let rows = |rows: Vec<RawRow>, expect| {
        let op = WriteOp::Rows { rows, expect };
        Submit::Write(Box::new(request("row", op, None)))
    };
    let answers = solo.all(vec![
        Submit::Confirm(confirmed),
        Submit::Marker(3),
        Submit::Closed { since_ms: 1_000_000 },
        rows(vec![row(b"1")], None),
        rows(vec![row(b"2")], Some(row(b"0"))),
        rows(vec![row(b"3")], Some(row(b"1"))),
    ]);
    let index = match answers[1] {
        Ok(Answer::Logged { index }) => index,
        ref other => panic!("{other:?}"),
    };
    assert!(solo.notes.contains(&Note::Marker { index }));
    let Ok(Answer::Closed(closed)) = answers[2] else { panic!("{:?}", answers[2]) };
    let write = solo.write("a", put("a", "1")).unwrap();
    assert!(write.stamp.unwrap().hlc > closed, "nothing at or below a closed stamp follows");
    assert!(format!("{:?}", answers[4]).contains("ConditionFailed"), "{:?}", answers[4]);
    let value = solo.core.machine().raw(Space::SYSTEM, &name("row").1).unwrap();
    assert_eq!(value, Some(Bytes::from_static(b"3")));
}

/// The entries after a marker may be applied in the same step, on this replica and not on another: the
/// marker's view is of its own entry, or replicas that agree would seem to differ.
#[test]
fn a_markers_view_holds_nothing_that_follows_it_in_the_same_step() {
    let folder = tempfile::tempdir().unwrap();
    let partition = Partition::create(folder.path(), 1, GROUP).unwrap();
    let mut solo = Solo::on(partition, &[OURS], None);
    solo.write("a", put("a", "before")).unwrap();
    let mut propose = |submit| {
        let mut out = Output::default();
        solo.core.step(solo.now, Event::Submit(vec![(0, submit)]), &mut out);
        assert!(out.pins.is_empty() && out.answers.is_empty(), "nothing is durable yet");
        out.persists.last().map(|(_, number)| *number)
    };
    propose(Submit::Marker(3));
    let last = propose(Submit::Write(Box::new(request("a", put("a", "after"), None))));
    let mut out = Output::default();
    solo.core.step(solo.now, Event::Persisted { number: last.unwrap() }, &mut out);
    assert_eq!(out.answers.len(), 2, "both entries were applied in one step");
    let (_, index, view) = out.pins.pop().unwrap();
    let mut seen = Vec::new();
    view.unwrap()
        .range(Space::ITEMS, &KeyRange::full(), false, &mut |_, row| {
            seen.push(row.item);
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(seen, [item("a", "before")]);
    assert_eq!(index + 1, solo.core.machine().applied().0);
}
