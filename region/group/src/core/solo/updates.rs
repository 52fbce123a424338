//! Updates: what they make of items, what they answer, what they refuse.
//!
//! Texts and images: API reference, UpdateItem (ReturnValues); developer guide, "Update expressions".

use tombolo_item::condition::Substitutions;
use tombolo_item::update::parse_update;

use super::*;
use crate::types::ReturnImages;

fn values() -> BTreeMap<String, Value> {
    let number = |text: &str| Value::N(text.parse().unwrap());
    BTreeMap::from([
        (":one".to_owned(), number("1")),
        (":x".to_owned(), Value::S("x".into())),
        (":big".to_owned(), Value::S("y".repeat(300 * 1024))),
    ])
}

fn update(text: &str, returns: ReturnImages) -> WriteOp {
    update_if(text, returns, None)
}

fn update_if(text: &str, returns: ReturnImages, condition: Option<Condition>) -> WriteOp {
    let (names, all) = (BTreeMap::new(), values());
    let used = all.into_iter().filter(|(name, _)| text.contains(name.as_str())).collect();
    let update = parse_update(text, &mut Substitutions::new(&names, &used)).unwrap();
    WriteOp::Update { update, condition, returns, return_on_failure: true }
}

fn of(attributes: &[(&str, Value)]) -> Item {
    attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

fn number(n: u32) -> Value {
    Value::N(n.to_string().parse().unwrap())
}

fn written(response: WriteResponse) -> (Option<Item>, Option<Item>) {
    let decode = |image: Option<Bytes>| image.map(|image| Item::decode(&image).unwrap());
    match response.outcome {
        WriteOutcome::Written { old, new } => (decode(old), decode(new)),
        other => panic!("{other:?}"),
    }
}

fn stored(solo: &Solo, key: &str) -> Option<Item> {
    let row = solo.core.machine().row(&name(key).1).unwrap()?;
    (!row.tombstone).then(|| Item::decode(&row.item).unwrap())
}

#[test]
fn an_update_makes_the_item_of_its_key_and_tells_what_was_asked() {
    let mut solo = Solo::new(&[OURS], Some(StreamView::NewAndOldImages));
    let key = ("k", Value::S("a".into()));
    let first = solo.write("a", update("ADD n :one", ReturnImages::AllOld)).unwrap();
    assert_eq!((first.size_before, first.size_after), (0, 2 + 1 + 2), "k, a, n and 2 bytes of 1");
    assert_eq!(written(first), (None, None), "there was none");
    assert_eq!(solo.last().kind, ChangeKind::Insert);
    let second = solo.write("a", update("ADD n :one", ReturnImages::UpdatedNew)).unwrap();
    assert_eq!(written(second), (None, Some(of(&[("n", number(2))]))));
    assert_eq!(solo.last().kind, ChangeKind::Modify);
    let third = solo.write("a", update("SET n = n + :one, v = :x", ReturnImages::UpdatedOld));
    assert_eq!(written(third.unwrap()), (Some(of(&[("n", number(2))])), None), "v was not there");
    let all = of(&[key.clone(), ("n", number(3)), ("v", Value::S("x".into()))]);
    let fourth = solo.write("a", update("REMOVE v", ReturnImages::AllOld)).unwrap();
    assert_eq!(written(fourth), (Some(all), None));
    let fifth = solo.write("a", update("ADD n :one", ReturnImages::AllNew)).unwrap();
    assert_eq!(written(fifth), (None, Some(of(&[key, ("n", number(4))]))));
    let gone = solo.write("a", update("REMOVE n", ReturnImages::UpdatedNew)).unwrap();
    assert_eq!(written(gone), (None, None), "an image without attributes is none");
}

#[test]
fn an_update_that_changes_nothing_is_not_logged() {
    let mut solo = Solo::new(&[OURS], None);
    let missing = solo.write("a", update("REMOVE v", ReturnImages::AllNew)).unwrap();
    assert_eq!(missing.outcome, WriteOutcome::Unchanged { old: None, new: None });
    assert_eq!(stored(&solo, "a"), None, "what only takes away makes no item");
    solo.write("a", update("SET v = :x", ReturnImages::None)).unwrap();
    let (seq, same) = (solo.core.machine().state().seq, update("SET v = :x", ReturnImages::AllNew));
    let again = solo.write("a", same.clone()).unwrap();
    let WriteOutcome::Unchanged { old: None, new: Some(new) } = again.outcome else { panic!() };
    assert_eq!(Some(Item::decode(&new).unwrap()), stored(&solo, "a"));
    assert_eq!((again.seq, solo.core.machine().state().seq), (0, seq));
    // Where other regions must learn its stamp it is a touch.
    let mut solo = Solo::new(&[OURS, THEIRS], None);
    solo.write("a", same.clone()).unwrap();
    let touch = solo.write("a", same).unwrap();
    assert!(matches!(touch.outcome, WriteOutcome::Unchanged { .. }));
    assert_eq!((solo.last().kind, touch.seq), (ChangeKind::Touch, 2));
}

#[test]
fn what_cannot_be_is_rejected_in_dynamodbs_words() {
    let mut solo = Solo::new(&[OURS], None);
    solo.write("a", update("SET v = :x, w = :big", ReturnImages::None)).unwrap();
    let before = stored(&solo, "a");
    for (text, said) in [
        ("SET k = :x", "Cannot update attribute k. This attribute is part of the key"),
        (
            "SET v = z",
            "The provided expression refers to an attribute that does not exist in the item",
        ),
        ("ADD v :one", "An operand in the update expression has an incorrect data type"),
        (
            "SET v.z = :x",
            "The document path provided in the update expression is invalid for update",
        ),
        ("SET z = :big", "Item size to update has exceeded the maximum allowed size"),
    ] {
        let error = solo.write("a", update(text, ReturnImages::None)).unwrap_err();
        assert!(!error.retry_helps(), "{text}");
        let GroupError::Rejected(why) = error else { panic!("{text}: {error:?}") };
        assert!(why.ends_with(said), "{text}: {why}");
    }
    assert_eq!(stored(&solo, "a"), before);
    assert_eq!(solo.core.machine().state().seq, 1);
}

#[test]
fn a_condition_guards_an_update() {
    let mut solo = Solo::new(&[OURS], None);
    let guarded = update_if("ADD n :one", ReturnImages::AllNew, absent());
    solo.write("a", guarded.clone()).unwrap();
    let refused = solo.write("a", guarded).unwrap();
    let WriteOutcome::ConditionFailed { item: Some(item) } = refused.outcome else { panic!() };
    assert_eq!(Some(Item::decode(&item).unwrap()), stored(&solo, "a"));
    assert_eq!((refused.size_before, refused.size_after), (5, 5));
}

#[test]
fn updates_of_one_batch_follow_each_other_and_a_retry_adds_nothing() {
    let mut solo = Solo::new(&[OURS], None);
    let token = |number| Token {
        session: Uuid::from_u128(1),
        number,
        lowest_unfinished: 1,
        issued_ms: 1_000_000,
    };
    let add = |number| {
        let op = update("ADD n :one", ReturnImages::UpdatedNew);
        Submit::Write(Box::new(request("a", op, Some(token(number)))))
    };
    let answers = solo.all(vec![add(1), add(2), add(3), add(2)]);
    let of_write = |answer: &Result<Answer, GroupError>| match answer {
        Ok(Answer::Write(response)) => response.clone(),
        other => panic!("{other:?}"),
    };
    for (at, n) in [(0, 1), (1, 2), (2, 3)] {
        assert_eq!(written(of_write(&answers[at])).1, Some(of(&[("n", number(n))])));
    }
    // In flight or long applied: it is done, at that stamp; images cannot be had again.
    let late = solo.all(vec![add(1)]);
    for (again, first) in [(of_write(&answers[3]), 1), (of_write(&late[0]), 0)] {
        assert_eq!(again.stamp, of_write(&answers[first]).stamp);
        assert_eq!(again.outcome, WriteOutcome::Written { old: None, new: None });
    }
    assert_eq!(stored(&solo, "a").unwrap().get("n"), Some(&number(3)));
}
