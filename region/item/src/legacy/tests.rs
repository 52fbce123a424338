//! Expectations from the developer guide's pages on legacy conditional parameters, and texts that others
//! observed of DynamoDB (dynalite's and Alternator's tests, which run against it).

use std::collections::BTreeMap;

use super::*;
use crate::condition::ExpressionError;
use crate::json::item_from_json;
use crate::key::{KeyAttribute, KeySchema, KeyType, SortCondition};
use crate::value::Item;

fn item() -> Item {
    item_from_json(&serde_json::json!({
        "n": {"N": "5"}, "s": {"S": "hello"}, "ss": {"SS": ["a", "b"]}, "l": {"L": [{"S": "a"}]},
        "yes": {"BOOL": true}, "a.b": {"S": "dotted"},
    }))
    .expect("a legal item")
}

fn s(text: &str) -> Value {
    Value::S(text.into())
}

fn n(text: &str) -> Value {
    Value::N(text.parse().expect("a number"))
}

fn compare(name: &str, operator: &str, values: &[Value]) -> Result<bool, String> {
    let operator = ComparisonOperator::from_name(operator).expect("an operator");
    let expected =
        Expected { operator: Some(operator), values: Some(values.to_vec()), ..Expected::default() };
    let condition = expected_to_condition(&[(name.to_owned(), expected)].into(), None);
    let condition = condition.map_err(|error| error.to_string())?.expect("one condition");
    Ok(condition.matches(Some(&item())).expect("evaluates"))
}

#[test]
fn comparisons_hold_as_the_guide_says() {
    for (name, operator, values, holds) in [
        ("n", "EQ", vec![n("5.0")], true),
        ("n", "NE", vec![n("6")], true),
        ("nope", "NE", vec![n("6")], true),
        ("nope", "EQ", vec![n("6")], false),
        ("n", "LE", vec![n("5")], true),
        ("n", "LT", vec![n("5")], false),
        ("n", "GE", vec![s("5")], false),
        ("n", "GT", vec![n("4")], true),
        ("n", "NOT_NULL", vec![], true),
        ("n", "NULL", vec![], false),
        ("nope", "NULL", vec![], true),
        ("s", "CONTAINS", vec![s("ell")], true),
        ("ss", "CONTAINS", vec![s("a")], true),
        ("l", "CONTAINS", vec![s("a")], true),
        ("ss", "NOT_CONTAINS", vec![s("c")], true),
        ("nope", "NOT_CONTAINS", vec![s("c")], false),
        ("s", "BEGINS_WITH", vec![s("he")], true),
        ("n", "IN", vec![n("1"), n("5")], true),
        ("n", "BETWEEN", vec![n("1"), n("5")], true),
        ("a.b", "EQ", vec![s("dotted")], true),
        ("yes", "EQ", vec![Value::Bool(true)], true),
    ] {
        assert_eq!(compare(name, operator, &values), Ok(holds), "{name} {operator}");
    }
}

#[test]
fn comparisons_are_refused_in_dynamodbs_words() {
    let invalid = "One or more parameter values were invalid: ";
    for (operator, values, said) in [
        ("EQ", vec![], "Invalid number of argument(s) for the EQ ComparisonOperator"),
        ("EQ", vec![n("1"), n("2")], "Invalid number of argument(s) for the EQ ComparisonOperator"),
        ("NULL", vec![n("1")], "Invalid number of argument(s) for the NULL ComparisonOperator"),
        ("IN", vec![], "Invalid number of argument(s) for the IN ComparisonOperator"),
        (
            "BETWEEN",
            vec![n("1")],
            "Invalid number of argument(s) for the BETWEEN ComparisonOperator",
        ),
        (
            "IN",
            vec![n("1"), s("x")],
            "AttributeValues inside AttributeValueList must be of same type",
        ),
        (
            "LT",
            vec![Value::Bool(true)],
            "ComparisonOperator LT is not valid for BOOL AttributeValue type",
        ),
        (
            "BEGINS_WITH",
            vec![n("1")],
            "ComparisonOperator BEGINS_WITH is not valid for N AttributeValue type",
        ),
    ] {
        assert_eq!(compare("n", operator, &values), Err(format!("{invalid}{said}")), "{operator}");
    }
    assert_eq!(
        compare("n", "BETWEEN", &[n("2"), n("1")]).expect_err("order"),
        "The BETWEEN condition was provided a range where the lower bound is greater than the upper bound"
    );
}

#[test]
fn expected_values_are_as_the_guide_says() {
    let one = Some(n("5"));
    let list = Some(vec![n("5")]);
    let (eq, null) = (Some(ComparisonOperator::Eq), Some(ComparisonOperator::Null));
    let expected = |value: &Option<Value>, exists, operator, values: &Option<Vec<Value>>| {
        Expected { value: value.clone(), exists, operator, values: values.clone() }
    };
    let check = |expected: Expected| {
        let condition = expected_to_condition(&[("n".to_owned(), expected)].into(), None);
        let holds = |condition: Option<crate::condition::Condition>| {
            condition.expect("one").matches(Some(&item())).expect("evaluates")
        };
        condition.map(holds).map_err(|error| error.to_string())
    };
    assert_eq!(check(expected(&one, None, None, &None)), Ok(true));
    assert_eq!(check(expected(&one, Some(true), None, &None)), Ok(true));
    assert_eq!(check(expected(&None, Some(false), None, &None)), Ok(false));
    assert_eq!(check(expected(&one, None, eq, &None)), Ok(true));
    assert_eq!(check(expected(&None, None, null, &None)), Ok(false));
    for (given, said) in [
        (
            expected(&None, None, None, &None),
            "Value must be provided when Exists is null for Attribute: n",
        ),
        (
            expected(&None, Some(true), None, &None),
            "Value must be provided when Exists is true for Attribute: n",
        ),
        (
            expected(&one, Some(false), None, &None),
            "Value cannot be used when Exists is false for Attribute: n",
        ),
        (
            expected(&one, None, eq, &list),
            "Value and AttributeValueList cannot be used together for Attribute: n",
        ),
        (
            expected(&one, Some(true), eq, &None),
            "Exists and ComparisonOperator cannot be used together for Attribute: n",
        ),
        (
            expected(&None, None, None, &list),
            "AttributeValueList can only be used with a ComparisonOperator for Attribute: n",
        ),
        (
            expected(&None, None, eq, &None),
            "Value or AttributeValueList must be used with ComparisonOperator: EQ for Attribute: n",
        ),
    ] {
        assert_eq!(check(given), Err(format!("One or more parameter values were invalid: {said}")));
    }
}

#[test]
fn several_conditions_are_joined() {
    let is = |text: &str| Expected { value: Some(n(text)), ..Expected::default() };
    let holds = |second: &str, operator| {
        let both = [("n".to_owned(), is("5")), ("zz".to_owned(), is(second))].into();
        let condition = expected_to_condition(&both, operator).expect("legal").expect("two");
        condition.matches(Some(&item())).expect("evaluates")
    };
    assert!(!holds("5", None));
    assert!(!holds("5", Some(ConditionalOperator::And)));
    assert!(holds("5", Some(ConditionalOperator::Or)));
    let or = Some(ConditionalOperator::Or);
    assert_eq!(expected_to_condition(&BTreeMap::new(), or), Err(LegacyError::OperatorAlone));
    let one = [("n".to_owned(), is("5"))].into();
    assert_eq!(expected_to_condition(&one, or), Err(LegacyError::OperatorOfOne));
    // As many as a request can hold are still a condition that travels.
    let many = (0..5_000).map(|i| (format!("a{i}"), is("5"))).collect();
    let condition = expected_to_condition(&many, None).expect("legal").expect("many");
    let sent = postcard::to_stdvec(&condition).expect("written");
    assert_eq!(postcard::from_bytes(&sent), Ok(condition));
}

fn update(updates: &[(&str, AttributeAction, Option<Value>)]) -> Result<Item, String> {
    let updates = updates.iter().map(|(name, action, value)| {
        ((*name).to_owned(), AttributeUpdate { action: *action, value: value.clone() })
    });
    let update = attribute_updates_to_update(&updates.collect()).map_err(|e| e.to_string())?;
    update.apply(&item()).map_err(|error| error.to_string())
}

#[test]
fn attribute_updates_do_what_the_guide_says() {
    use AttributeAction::{Add, Delete, Put};
    let set = |members: &[&str]| Value::Ss(members.iter().map(|&m| m.to_owned()).collect());
    let after = |name: &str, action, value| {
        update(&[(name, action, value)]).expect("legal").get(name).cloned()
    };
    assert_eq!(after("n", Put, Some(s("x"))), Some(s("x")));
    assert_eq!(after("n", Add, Some(n("-7"))), Some(n("-2")));
    assert_eq!(after("fresh", Add, Some(n("3"))), Some(n("3")));
    assert_eq!(after("ss", Add, Some(set(&["c"]))), Some(set(&["a", "b", "c"])));
    assert_eq!(after("l", Add, Some(Value::L(vec![n("1")]))), Some(Value::L(vec![s("a"), n("1")])));
    assert_eq!(after("ss", Delete, Some(set(&["a", "z"]))), Some(set(&["b"])));
    assert_eq!(after("ss", Delete, Some(set(&["a", "b"]))), None);
    assert_eq!(after("n", Delete, None), None);
    assert_eq!(after("fresh", Delete, None), None);
    let mismatch = Err("Type mismatch for attribute to update".to_owned());
    assert_eq!(update(&[("s", Add, Some(n("1")))]), mismatch);
    assert_eq!(update(&[("s", Delete, Some(set(&["a"])))]), mismatch);
    let invalid = |said: &str| Err(format!("One or more parameter values were invalid: {said}"));
    assert_eq!(
        update(&[("s", Put, None)]),
        invalid("Only DELETE action is allowed when no attribute value is specified")
    );
    assert_eq!(
        update(&[("s", Add, Some(s("x")))]),
        invalid("ADD action is not supported for the type S")
    );
    assert_eq!(
        update(&[("s", Delete, Some(s("x")))]),
        invalid("DELETE action with value is not supported for the type S")
    );
    assert_eq!(update(&[]), Ok(item()));
    assert!(attribute_updates_to_update(&BTreeMap::new()).expect("legal").creates());
}

#[test]
fn key_conditions_and_attributes_to_get() {
    let schema = KeySchema {
        partition: KeyAttribute { name: "p".into(), kind: KeyType::S },
        sort: Some(KeyAttribute { name: "c".into(), kind: KeyType::N }),
    };
    let conditions = |list: &[(&str, &str, &[Value])]| {
        list.iter()
            .map(|(name, operator, values)| {
                let operator = ComparisonOperator::from_name(operator).expect("an operator");
                let condition = LegacyCondition { operator, values: values.to_vec() };
                ((*name).to_owned(), condition)
            })
            .collect::<BTreeMap<_, _>>()
    };
    let p: (&str, &str, &[Value]) = ("p", "EQ", &[s("x")]);
    let resolved = key_conditions(&conditions(&[p, ("c", "BETWEEN", &[n("1"), n("2")])]))
        .expect("legal")
        .resolve(&schema);
    assert_eq!(resolved, Ok((s("x"), Some(SortCondition::Between(n("1"), n("2"))))));
    assert_eq!(key_conditions(&BTreeMap::new()), Err(LegacyError::KeyConditionCount));
    for operator in ["NE", "CONTAINS", "IN"] {
        let refused = key_conditions(&conditions(&[p, ("c", operator, &[n("1")])]));
        assert_eq!(refused, Err(LegacyError::NotIndexable), "{operator}");
    }
    let resolve = |list: &[(&str, &str, &[Value])]| {
        key_conditions(&conditions(list)).expect("legal").resolve(&schema)
    };
    assert_eq!(resolve(&[("c", "EQ", &[n("1")])]), Err(ExpressionError::MissedKey("p".into())));
    assert_eq!(resolve(&[p, ("zz", "EQ", &[n("1")])]), Err(ExpressionError::MissedKey("c".into())));
    assert_eq!(resolve(&[p, ("c", "EQ", &[s("1")])]), Err(ExpressionError::KeyConditionType));
    assert_eq!(resolve(&[("p", "GT", &[s("1")])]), Err(ExpressionError::KeyConditionNotSupported));

    let shown = attributes_to_get(&["n".to_owned(), "nope".to_owned(), "a.b".to_owned()]);
    let shown = shown.expect("legal").apply(&item());
    assert_eq!(shown.0.keys().collect::<Vec<_>>(), ["a.b", "n"]);
    assert_eq!(
        attributes_to_get(&["n".to_owned(), "n".to_owned()]).expect_err("twice").to_string(),
        "One or more parameter values were invalid: Duplicate value in attribute name: n"
    );
}
