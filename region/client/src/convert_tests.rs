//! Every legal value survives the way over the wire; nothing else gets through.

use std::collections::BTreeSet;

use proptest::prelude::*;
use prost::Message;
use tombolo_item::{Item, Number, Value};

use super::*;

fn number_text() -> impl Strategy<Value = String> {
    (any::<bool>(), "[1-9][0-9]{0,20}", -80i32..80).prop_map(|(negative, digits, exponent)| {
        format!("{}{digits}E{exponent}", if negative { "-" } else { "" })
    })
}

fn legal() -> impl Strategy<Value = Value> {
    let number = number_text().prop_map(|text| text.parse::<Number>().unwrap()).boxed();
    let bytes = proptest::collection::vec(any::<u8>(), 0..20);
    let leaf = prop_oneof![
        ".{0,12}".prop_map(Value::S),
        number.clone().prop_map(Value::N),
        bytes.clone().prop_map(|bytes| Value::B(bytes.into())),
        any::<bool>().prop_map(Value::Bool),
        Just(Value::Null),
        proptest::collection::btree_set(".{0,5}", 1..4).prop_map(Value::Ss),
        proptest::collection::btree_set(number, 1..4).prop_map(Value::Ns),
        proptest::collection::btree_set(bytes, 1..4)
            .prop_map(|set| Value::Bs(set.into_iter().map(Into::into).collect::<BTreeSet<_>>())),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::L),
            proptest::collection::btree_map(".{0,5}", inner, 0..4).prop_map(Value::M),
        ]
    })
}

proptest! {
    #[test]
    fn every_item_survives_the_way_over_the_wire(
        attributes in proptest::collection::btree_map(".{1,8}", legal(), 1..6)
    ) {
        let sent = Item(attributes);
        let message = v1::Item { attributes: item_to_wire(sent.clone()) };
        let read = v1::Item::decode(message.encode_to_vec().as_slice()).unwrap();
        prop_assert_eq!(item(read.attributes), Ok(sent));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(message) = v1::PutItemRequest::decode(bytes.as_slice()) {
            let _ = item(message.item);
        }
    }
}

#[test]
fn the_wire_has_the_written_form() {
    let item = v1::Item {
        attributes: item_to_wire(Item(
            [("pk".to_string(), Value::S("a".into())), ("x".to_string(), Value::Null)].into(),
        )),
    };
    let expected = [
        0x0a, 0x09, 0x0a, 0x02, b'p', b'k', 0x12, 0x03, 0x0a, 0x01, b'a', // pk: s
        0x0a, 0x07, 0x0a, 0x01, b'x', 0x12, 0x02, 0x28, 0x01, // x: null
    ];
    assert_eq!(item.encode_to_vec(), expected);
}

#[test]
fn what_is_no_value_is_refused() {
    let of = |value| super::value(v1::AttributeValue { value });
    let numbers = |texts: &[&str]| {
        Some(Wire::Ns(v1::NumberSet {
            values: texts.iter().map(|text| text.to_string()).collect(),
        }))
    };
    assert_eq!(of(None), Err(ConvertError::Unset));
    assert_eq!(of(Some(Wire::Null(false))), Err(ConvertError::NullFalse));
    assert_eq!(of(numbers(&[])), Err(ConvertError::EmptySet("number")));
    assert_eq!(of(numbers(&["1", "1.00"])), Err(ConvertError::DuplicateNumbers));
    assert!(matches!(of(Some(Wire::N("one".into()))), Err(ConvertError::Number(_))));
    let nothing = Some(Wire::M(v1::MapValue::default()));
    assert_eq!(of(nothing), Ok(Value::M(Default::default())));
}
