use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::key::{KeyAttribute, KeySchema, KeyType, SortCondition};
use crate::value::Item;

fn item() -> Item {
    crate::json::item_from_json(&serde_json::json!({
        "s": {"S": "hello"},
        "n": {"N": "10"},
        "b": {"B": "AAEC"},
        "l": {"L": [{"N": "1"}, {"M": {"x": {"S": "deep"}}}]},
        "m": {"M": {"a": {"BOOL": true}}},
        "ss": {"SS": ["a", "b"]},
        "nil": {"NULL": true},
    }))
    .expect("a legal item")
}

fn values() -> BTreeMap<String, Value> {
    [
        (":s", Value::S("hello".into())),
        (":he", Value::S("he".into())),
        (":a", Value::S("a".into())),
        (":five", Value::N("5".parse().unwrap())),
        (":ten", Value::N("10.0".parse().unwrap())),
        (":N", Value::S("N".into())),
        (":yes", Value::Bool(true)),
    ]
    .into_iter()
    .map(|(k, v)| (k.to_owned(), v))
    .collect()
}

fn check(text: &str) -> Result<bool, String> {
    let all = values();
    let used: BTreeMap<_, _> = all
        .into_iter()
        .filter(|(k, _)| text.split(|c: char| !c.is_alphanumeric() && c != ':').any(|t| t == k))
        .collect();
    let names: BTreeMap<String, String> =
        if text.contains("#n") { [("#n".into(), "n".into())].into() } else { BTreeMap::new() };
    let condition = parse(text, &names, &used).map_err(|e| e.to_string())?;
    condition.matches(Some(&item())).map_err(|e| e.to_string())
}

#[test]
fn conditions_hold_as_the_guide_says() {
    for (text, holds) in [
        ("attribute_exists(s)", true),
        ("attribute_exists(zz)", false),
        ("attribute_not_exists(zz)", true),
        ("attribute_exists(l[1].x)", true),
        ("attribute_exists(l[2])", false),
        ("s = :s", true),
        ("s <> :s", false),
        ("zz <> :s", true),
        ("zz = :s", false),
        ("n = :ten", true),
        ("#n >= :five", true),
        ("n < :five", false),
        ("n < :s", false),
        ("n > :five AND s = :he", false),
        ("n < :five OR s = :s", true),
        ("NOT n < :five", true),
        ("not (n < :five or s = :he)", true),
        // NOT binds tighter than AND, AND tighter than OR.
        ("s = :s OR s = :he AND n < :five", true),
        ("(s = :s OR s = :he) AND n < :five", false),
        ("NOT s = :he AND n = :ten", true),
        ("n BETWEEN :five AND :ten", true),
        ("n BETWEEN :five AND :ten AND s = :he", false),
        ("n IN (:five, :ten)", true),
        ("s IN (:he)", false),
        ("begins_with(s, :he)", true),
        ("begins_with(n, :he)", false),
        ("contains(s, :he)", true),
        ("contains(ss, :a)", true),
        ("contains(l, :five)", false),
        ("attribute_type(n, :N)", true),
        ("attribute_type(s, :N)", false),
        ("size(s) = :five", true),
        ("size(n) = :five", false),
        ("size(ss) < :five", true),
        ("m.a <> s", true),
        ("(n) = (:ten)", true),
        ("(n) BETWEEN :five AND (:ten)", true),
        ("(size(s)) = :five", true),
        ("(n = :ten AND (s = :s)) OR (s = :he)", true),
    ] {
        assert_eq!(check(text), Ok(holds), "{text}");
    }
}

/// Every type with itself and with every other (developer guide, "Comparison operator and function
/// reference": different types are never equal, and only S, N and B are ordered).
#[test]
fn types_compare_with_themselves_alone() {
    let all = crate::json::item_from_json(&serde_json::json!({
        "S": {"S": "b"}, "N": {"N": "2"}, "B": {"B": "Ag=="}, "BOOL": {"BOOL": true}, "NULL": {"NULL": true},
        "L": {"L": [{"N": "2"}]}, "M": {"M": {"b": {"N": "2"}}}, "SS": {"SS": ["b"]}, "NS": {"NS": ["2"]},
        "BS": {"BS": ["Ag=="]},
    }))
    .expect("a legal item");
    let holds = |a: &str, comparator, b: &Value| {
        let (a, b) = (Operand::Path(Path::attribute(a)), Operand::Value(b.clone()));
        Condition::Compare(a, comparator, b).matches(Some(&all)).expect("evaluates")
    };
    for a in all.0.keys() {
        for (b, value) in &all.0 {
            let ordered = a == b && ["S", "N", "B"].contains(&a.as_str());
            assert_eq!(holds(a, Comparator::Eq, value), a == b, "{a} = {b}");
            assert_eq!(holds(a, Comparator::Ne, value), a != b, "{a} <> {b}");
            assert_eq!(holds(a, Comparator::Le, value), ordered, "{a} <= {b}");
            assert_eq!(holds(a, Comparator::Ge, value), ordered, "{a} >= {b}");
            assert!(!holds(a, Comparator::Lt, value) && !holds(a, Comparator::Gt, value));
        }
    }
    let size = |name: &str| Operand::Size(Path::attribute(name));
    for (name, expected) in [
        ("S", Some(1)),
        ("N", None),
        ("B", Some(1)),
        ("BOOL", None),
        ("NULL", None),
        ("L", Some(1)),
        ("M", Some(1)),
        ("SS", Some(1)),
        ("NS", Some(1)),
        ("BS", Some(1)),
        ("nope", None),
    ] {
        let is_one =
            Condition::Compare(size(name), Comparator::Eq, Operand::Value(Value::N(1_u64.into())));
        assert_eq!(is_one.matches(Some(&all)), Ok(expected == Some(1)), "size({name})");
    }
}

#[test]
fn a_missing_item_has_no_attributes() {
    let parse = |text| parse(text, &BTreeMap::new(), &BTreeMap::new()).expect("a legal condition");
    assert_eq!(parse("attribute_not_exists(pk)").matches(None), Ok(true));
    assert_eq!(parse("attribute_exists(pk)").matches(None), Ok(false));
}

/// The texts are those that DynamoDB's documentation and users' reports show.
#[test]
fn errors_say_what_is_wrong_in_dynamodbs_words() {
    for (text, said) in [
        ("", "Invalid ConditionExpression: The expression can not be empty;"),
        ("s = ", "Invalid ConditionExpression: Syntax error; token: \"<EOF>\", near: \"= \""),
        ("s == :s", "Syntax error; token: \"=\", near: \"== :s\""),
        ("s ? :s", "Syntax error; token: \"?\", near: \"s ? :s\""),
        ("_s = :s", "Syntax error; token: \"_\", near: \"_s\""),
        (
            "s = :undefined",
            "An expression attribute value used in expression is not defined; attribute value: :undefined",
        ),
        (
            "#undefined = :s",
            "An expression attribute name used in the document path is not defined; attribute name: #undefined",
        ),
        ("foo(s)", "Invalid function name; function: foo"),
        (
            "begins_with(s)",
            "Incorrect number of operands for operator or function; operator or function: begins_with, number of operands: 1",
        ),
        ("attribute_exists(:s)", "requires a document path"),
        (
            "begins_with(s, :five)",
            "Incorrect operand type for operator or function; operator or function: begins_with, operand type: N",
        ),
        (
            "n BETWEEN :ten AND :five",
            "The BETWEEN operator requires upper bound to be greater than or equal to lower bound; \
             lower bound operand: AttributeValue: {N:10}, upper bound operand: AttributeValue: {N:5}",
        ),
        (
            "n BETWEEN :ten AND :s",
            "The BETWEEN operator requires same data type for lower and upper bounds; \
             lower bound operand: AttributeValue: {N:10}, upper bound operand: AttributeValue: {S:hello}",
        ),
        ("((s = :s))", "Invalid ConditionExpression: The expression has redundant parentheses;"),
        ("s = :s AND n = ((:ten))", "The expression has redundant parentheses;"),
        (
            "m.l[1] <> m.l[1]",
            "The first operand must be distinct from the remaining operands for this operator or \
             function; operator: <>, first operand: [m, l, [1]]",
        ),
        ("contains(s, s)", "operator: contains, first operand: [s]"),
        (
            "n < :yes",
            "Incorrect operand type for operator or function; operator or function: <, operand type: BOOL",
        ),
        ("begins_with(:five, s)", "operator or function: begins_with, operand type: N"),
        (
            "attribute_type(s, n)",
            "operator or function: attribute_type, operand type: {NS,SS,L,BS,N,M,B,BOOL,NULL,S}",
        ),
        (
            "contains(s, :s) = :s",
            "The function is not allowed to be used this way in an expression; function: contains",
        ),
        (
            "s = contains(s, :s)",
            "The function is not allowed to be used this way in an expression; function: contains",
        ),
        ("status = :s", "Attribute name is a reserved keyword; reserved keyword: status"),
        ("m.Name = :s", "Attribute name is a reserved keyword; reserved keyword: Name"),
        ("(s = :s", "Syntax error; token: \"<EOF>\""),
        ("s = :s)", "Syntax error; token: \")\""),
        ("AND s = :s", "Syntax error; token: \"AND\""),
        ("l[x] = :s", "Syntax error; token: \"x\""),
    ] {
        let error = check(text).expect_err(text);
        assert!(error.contains(said), "{text}: {error}");
    }
}

#[test]
fn unused_names_and_values_are_errors() {
    let values = values();
    let error = parse("attribute_exists(a)", &BTreeMap::new(), &values).expect_err("unused");
    assert!(
        error.to_string().starts_with(
            "Value provided in ExpressionAttributeValues unused in expressions: keys: {:N, :a"
        ),
        "{error}"
    );
    let names = [("#x".to_owned(), "x".to_owned())].into();
    let error = parse("attribute_exists(a)", &names, &BTreeMap::new()).expect_err("unused");
    assert_eq!(
        error.to_string(),
        "Value provided in ExpressionAttributeNames unused in expressions: keys: {#x}"
    );
}

#[test]
fn placeholders_are_checked_before_the_text() {
    let none = BTreeMap::new();
    let names = [("n".to_owned(), "x".to_owned())].into();
    assert_eq!(
        parse("attribute_exists(n)", &names, &none).expect_err("no #").to_string(),
        "ExpressionAttributeNames contains invalid key: Syntax error; key: \"n\""
    );
    for key in ["v", ":", ":a-b", ":ä", ""] {
        let values = [(key.to_owned(), Value::Null)].into();
        assert_eq!(
            parse("a = :v", &BTreeMap::new(), &values).expect_err(key).to_string(),
            format!("ExpressionAttributeValues contains invalid key: Syntax error; key: \"{key}\"")
        );
    }
    let empty = [(":v".to_owned(), Value::Bs([].into()))].into();
    assert_eq!(
        parse("a = :v", &BTreeMap::new(), &empty).expect_err("an empty set").to_string(),
        "ExpressionAttributeValues contains invalid value: One or more parameter values were invalid: \
         Binary sets should not be empty for key :v"
    );
    let sized = |len| [(":v".to_owned(), Value::S("x".repeat(len)))].into();
    assert!(parse("a = :v", &BTreeMap::new(), &sized(2 * 1024 * 1024 - 2)).is_ok());
    let over = parse("a = :v", &BTreeMap::new(), &sized(2 * 1024 * 1024 - 1));
    assert_eq!(over, Err(ExpressionError::SubstitutionsTooLarge));
    // A value is copied as often as it is used: 4 KB of text could make gigabytes of one.
    let terms = |n| vec!["a = :v"; n].join(" OR ");
    assert!(parse(&terms(8), &BTreeMap::new(), &sized(400 * 1024)).is_ok());
    let over = parse(&terms(100), &BTreeMap::new(), &sized(400 * 1024));
    assert_eq!(over, Err(ExpressionError::SubstitutionsTooLarge));
    let names = [("#n".to_owned(), "x".repeat(60 * 1024))].into();
    let over = parse(&vec!["attribute_exists(#n)"; 100].join(" OR "), &names, &BTreeMap::new());
    assert_eq!(over, Err(ExpressionError::SubstitutionsTooLarge));
}

#[test]
fn limits_hold_on_both_sides() {
    let none = BTreeMap::new();
    let parse = |text: &str| parse(text, &none, &BTreeMap::new()).map(|_| ());
    let terms = |n| vec!["a = b"; n].join(" OR ");
    assert_eq!(parse(&terms(150)), Ok(()), "150 comparisons and 149 ORs");
    assert!(parse(&terms(151)).unwrap_err().to_string().contains("too many operators"));
    let pad = |n: usize| format!("{}a = b", " ".repeat(n - 5));
    assert_eq!(parse(&pad(4096)), Ok(()));
    assert!(parse(&pad(4097)).unwrap_err().to_string().contains("maximum allowed size"));
    // Each NOT and each parenthesis is a level.
    let nest = |n| format!("{}a = b{}", "NOT (".repeat(n), ")".repeat(n));
    assert_eq!(parse(&nest(64)), Ok(()));
    assert!(parse(&nest(65)).unwrap_err().to_string().contains("nested deeper"));
    let parentheses = |n| format!("{}a = b{}", "(".repeat(n), ")".repeat(n));
    assert!(parse(&parentheses(2_000)).unwrap_err().to_string().contains("nested deeper"));
    let list = |n| format!("a IN ({})", vec!["b"; n].join(","));
    assert_eq!(parse(&list(100)), Ok(()));
    assert!(parse(&list(101)).unwrap_err().to_string().contains("too many operands"));
}

#[test]
fn key_conditions_give_partition_and_sort() {
    let schema = KeySchema {
        partition: KeyAttribute { name: "s".into(), kind: KeyType::S },
        sort: Some(KeyAttribute { name: "n".into(), kind: KeyType::N }),
    };
    let (names, values) = (BTreeMap::new(), values());
    let parse = |text: &str| {
        let mut substitutions = Substitutions::new(&names, &values);
        parse_key_condition(text, &mut substitutions, &schema).map_err(|e| e.to_string())
    };
    let (s, five, ten) =
        (Value::S("hello".into()), values[":five"].clone(), values[":ten"].clone());
    assert_eq!(parse("s = :s"), Ok((s.clone(), None)));
    assert_eq!(
        parse("n > :five AND s = :s"),
        Ok((s.clone(), Some(SortCondition::Gt(five.clone()))))
    );
    assert_eq!(
        parse("s = :s AND n BETWEEN :five AND :ten"),
        Ok((s.clone(), Some(SortCondition::Between(five.clone(), ten))))
    );
    assert_eq!(parse(":s = s AND :five > n"), Ok((s, Some(SortCondition::Lt(five)))));
    for (text, said) in [
        ("n = :five", "Query condition missed key schema element: s"),
        ("s > :s", "Query key condition not supported"),
        ("s = :s AND zz = :five", "Query condition missed key schema element: n"),
        ("s = :s OR n = :five", "Invalid operator used in KeyConditionExpression: OR"),
        ("contains(s, :s)", "Invalid operator used in KeyConditionExpression: contains"),
        (
            "s = :s AND n = :five AND n > :five",
            "Invalid KeyConditionExpression: KeyConditionExpressions must only contain one condition per key",
        ),
        (
            "s = :s AND n = :five AND zz > :five",
            "The number of query conditions (3) exceeds the number of key attributes defined in the schema (2)",
        ),
        ("size(s) = :five", "KeyConditionExpressions cannot contain nested operations"),
        (
            "s = :s AND n = s",
            "Invalid condition in KeyConditionExpression: Multiple attribute names used in one condition",
        ),
        (":s = :he", "Invalid condition in KeyConditionExpression: No key attribute specified"),
        (
            "s = :s AND :five BETWEEN n AND :ten",
            "Invalid condition in KeyConditionExpression: BETWEEN operator must have the key attribute as its first operand",
        ),
        (
            "s = :s AND begins_with(n, :five)",
            "Incorrect operand type for operator or function; operator or function: begins_with, operand type: N",
        ),
        ("s = :s AND begins_with(n, :s)", "Condition parameter type does not match schema type"),
        ("s = :s AND n = :yes", "Condition parameter type does not match schema type"),
        ("s = :s AND n < :yes", "operator or function: <, operand type: BOOL"),
        // The first clause that has a flaw is the one that is told.
        ("s = :missing AND begins_with(n, :five)", "attribute value: :missing"),
        (
            "begins_with(n, :five) AND s = :missing",
            "operator or function: begins_with, operand type: N",
        ),
        ("s = :s AND n <> :five", "Invalid operator used in KeyConditionExpression: <>"),
        ("s = :s AND n.x = :five", "nested attributes"),
    ] {
        let error = parse(text).expect_err(text);
        assert!(error.contains(said), "{text}: {error}");
    }
}

proptest! {
    #[test]
    fn any_text_is_a_condition_or_an_error(text in ".{0,200}") {
        let _ = parse(&text, &BTreeMap::new(), &BTreeMap::new());
    }

    #[test]
    fn any_tokens_are_a_condition_or_an_error(
        words in proptest::collection::vec(prop_oneof![
            Just("a"), Just("b.c"), Just("[1]"), Just("("), Just(")"), Just("AND"), Just("OR"), Just("NOT"),
            Just("="), Just("<>"), Just("<="), Just(","), Just(":v"), Just("size("), Just("contains("),
            Just("attribute_exists("), Just("BETWEEN"), Just("IN"), Just("#n"),
        ], 0..40)
    ) {
        let names = [("#n".to_owned(), "n".to_owned())].into();
        let values = [(":v".to_owned(), Value::S("x".into()))].into();
        if let Ok(condition) = parse(&words.join(" "), &names, &values) {
            let _ = condition.matches(Some(&item()));
        }
    }
}
