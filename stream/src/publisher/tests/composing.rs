//! What goes into one message.

use super::face;
use crate::chain::{CheckedRecord, Verdict};
use crate::people;
use crate::publisher::compose::compose;
use crate::repl::ReplMessage;
use crate::subject::Family;
use crate::testkit::{TestLog, shard_id, table_id};
use tombolo_item::{ChangeKind, StreamView};

#[test]
fn messages_of_both_families_cover_everything_once_and_stay_within_the_limit() {
    let log = TestLog::new(table_id(1), shard_id(16));
    for n in 0..200 {
        let kind = match n % 5 {
            0 => ChangeKind::Touch,
            1 => ChangeKind::Remove,
            2 => ChangeKind::Modify,
            _ => ChangeKind::Insert,
        };
        log.append(kind, n * 10);
    }
    let face = face(log.table, StreamView::NewAndOldImages);
    for family in Family::ALL {
        let limit = 6000;
        let mut position = crate::Position::default();
        let mut shown = 0;
        while position.seq < 200 {
            let records = log.read(position.seq + 1, usize::MAX);
            let message = compose(&face, log.shard, family, &records, limit)
                .expect("composed")
                .expect("some");
            let head = &message.head;
            assert_eq!(
                position.judge(head.first_seq, head.last_seq, head.prev_hash),
                Verdict::Next
            );
            assert!(message.body.len() <= limit, "{}", message.body.len());
            position = crate::Position { seq: head.last_seq, hash: head.hash };
            match family {
                Family::Repl => {
                    let body = ReplMessage::decode(&message.body).expect("readable");
                    assert_eq!((body.first_seq, body.last_seq()), (head.first_seq, head.last_seq));
                    shown += body.records.len();
                }
                Family::People => {
                    let _: serde_json::Value =
                        serde_json::from_slice(&message.body).expect("a JSON document");
                    shown += people::split(&message.body).expect("readable").len();
                }
            }
        }
        assert_eq!(position, log.head());
        assert_eq!(shown, if family == Family::Repl { 200 } else { 160 }, "touches are not shown");
    }
}

#[test]
fn only_touches_make_an_empty_body_that_still_covers_them() {
    let log = TestLog::new(table_id(1), shard_id(16));
    log.append(ChangeKind::Touch, 0);
    log.append(ChangeKind::Touch, 0);
    let face = face(log.table, StreamView::KeysOnly);
    let records = log.read(1, usize::MAX);
    let message = compose(&face, log.shard, Family::People, &records, 1 << 19)
        .expect("composed")
        .expect("some");
    assert_eq!(&message.body[..], br#"{"Records":[]}"#);
    assert_eq!((message.head.first_seq, message.head.last_seq), (1, 2));
}

#[test]
fn a_record_too_large_goes_alone_as_a_stub() {
    let log = TestLog::new(table_id(1), shard_id(16));
    log.grow(1, 10);
    log.grow(1, 9000);
    log.grow(1, 10);
    let face = face(log.table, StreamView::NewImage);
    for family in Family::ALL {
        let ranges: Vec<(u64, u64, bool)> = {
            let mut next = 1;
            let mut ranges = Vec::new();
            while next <= 3 {
                let message = compose(&face, log.shard, family, &log.read(next, usize::MAX), 4000)
                    .expect("composed")
                    .expect("some");
                ranges.push((message.head.first_seq, message.head.last_seq, message.stub));
                next = message.head.last_seq + 1;
            }
            ranges
        };
        assert_eq!(ranges, [(1, 1, false), (2, 2, true), (3, 3, false)], "{family:?}");
    }
    let stub = compose(&face, log.shard, Family::People, &log.read(2, 1), 4000)
        .expect("composed")
        .expect("some");
    let line = &people::split(&stub.body).expect("readable")[0];
    let record = CheckedRecord::read(&log.get(2)).expect("readable");
    assert!(line.stub);
    assert_eq!((line.seq, line.hash), (2, record.hash));
    let json: serde_json::Value = serde_json::from_slice(&line.text).expect("JSON");
    assert_eq!(json["dynamodb"]["Keys"]["id"]["S"], "key-2");
    assert!(json["dynamodb"]["NewImage"].is_null());
}

#[test]
fn each_view_type_shows_what_it_says() {
    let log = TestLog::new(table_id(1), shard_id(16));
    log.append(ChangeKind::Modify, 5);
    let record = CheckedRecord::read(&log.get(1)).expect("readable");
    for (view, name, new, old) in [
        (StreamView::KeysOnly, "KEYS_ONLY", false, false),
        (StreamView::NewImage, "NEW_IMAGE", true, false),
        (StreamView::OldImage, "OLD_IMAGE", false, true),
        (StreamView::NewAndOldImages, "NEW_AND_OLD_IMAGES", true, true),
    ] {
        let text = face(log.table, view).show(&record).expect("shown").expect("not a touch");
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(json["dynamodb"]["StreamViewType"], name);
        assert_eq!(json["dynamodb"]["NewImage"].is_object(), new, "{name}");
        assert_eq!(json["dynamodb"]["OldImage"].is_object(), old, "{name}");
        assert_eq!(json["dynamodb"]["Keys"]["id"]["S"], "key-1");
    }
}

#[test]
fn the_golden_record() {
    let log = TestLog::new(table_id(1), shard_id(16));
    log.append(ChangeKind::Insert, 2);
    let record = CheckedRecord::read(&log.get(1)).expect("readable");
    let text = face(log.table, StreamView::NewImage).show(&record).expect("shown").expect("some");
    let golden = concat!(
        r#"{"eventID":"00010000000000000010000000010000000000000001","eventName":"INSERT","#,
        r#""eventVersion":"1.1","eventSource":"aws:dynamodb","awsRegion":"us-east","#,
        r#""dynamodb":{"ApproximateCreationDateTime":1700000000,"Keys":{"id":{"S":"key-1"}},"#,
        r#""NewImage":{"id":{"S":"key-1"},"text":{"S":"xx"}},"#,
        r#""SequenceNumber":"000000000000000000001","SizeBytes":20,"#,
        r#""StreamViewType":"NEW_IMAGE"},"tombolo":{"shard":"0000000000000010-1","sequence":1,"#,
        r#""stamp":{"time":1700000000001,"counter":0,"region":1,"sequence":1700000000001},"#,
        r#""origin":1,"cause":"user","prevHash":"0000000000000000","hash":"HASH"}}"#,
    );
    assert_eq!(text, golden.replace("HASH", &crate::head::hash_text(record.hash)));
}

#[test]
fn what_is_not_always_there_is_there_when_it_should_be() {
    let log = TestLog::new(table_id(1), shard_id(16));
    log.append(ChangeKind::Remove, 2);
    let mut record = CheckedRecord::read(&log.get(1)).expect("readable");
    record.record.cause = tombolo_item::Cause::Ttl;
    record.record.transaction = Some((uuid::Uuid::from_u128(5), 3));
    let mut face = face(log.table, StreamView::NewAndOldImages);
    let json = |face: &crate::TableFace| {
        let text = face.show(&record).expect("shown").expect("some");
        serde_json::from_str::<serde_json::Value>(&text).expect("JSON")
    };
    let expired = json(&face);
    assert_eq!(expired["eventName"], "REMOVE");
    assert_eq!(expired["userIdentity"]["PrincipalId"], "dynamodb.amazonaws.com");
    assert_eq!(expired["tombolo"]["cause"], "ttl");
    assert_eq!(expired["tombolo"]["transaction"]["size"], 3);
    assert_eq!(expired["tombolo"]["replaced"]["region"], 1);
    face.region = tombolo_item::RegionId(2);
    assert!(json(&face)["userIdentity"].is_null(), "it expired in another region");
}

#[test]
fn a_log_that_is_not_what_was_asked_for_is_refused() {
    let log = TestLog::new(table_id(1), shard_id(16));
    log.grow(3, 10);
    let face = face(log.table, StreamView::KeysOnly);
    let mut records = log.read(1, usize::MAX);
    records.remove(1);
    let error = compose(&face, log.shard, Family::Repl, &records, 1 << 19).expect_err("a hole");
    assert!(error.to_string().contains("at record 2"), "{error}");
    let error = compose(&face, shard_id(17), Family::Repl, &records, 1 << 19).expect_err("other");
    assert!(error.to_string().contains("0000000000000011-1"), "{error}");
}
