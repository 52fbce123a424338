//! Expectations from the developer guide's page "Update expressions" and from what others observed of
//! DynamoDB (the tests of Alternator and dynalite, which run against it).

use std::collections::BTreeMap;

use super::*;
use crate::condition::{Step, Substitutions};
use crate::json::item_from_json;

fn item(json: serde_json::Value) -> Item {
    item_from_json(&json).expect("a legal item")
}

/// The guide's product, shortened, with numbers, sets and nesting.
fn product() -> Item {
    item(serde_json::json!({
        "Id": {"N": "789"},
        "Price": {"N": "650"},
        "Title": {"S": "Hammer"},
        "InStock": {"BOOL": true},
        "Colors": {"SS": ["Red", "Black"]},
        "Codes": {"NS": ["1", "2"]},
        "RelatedItems": {"L": [{"S": "a"}, {"S": "b"}, {"S": "c"}, {"S": "d"}]},
        "Reviews": {"M": {"One": {"L": [{"S": "bad"}]}, "Amount": {"N": "1"}}},
    }))
}

fn values() -> BTreeMap<String, Value> {
    let list = serde_json::json!({
        ":one": {"N": "1"}, ":p": {"N": "15"}, ":huge": {"N": "9E125"}, ":s": {"S": "x"},
        ":t": {"S": "y"}, ":u": {"S": "z"}, ":red": {"SS": ["Red"]}, ":both": {"SS": ["Red", "Black"]},
        ":blue": {"SS": ["Blue", "Red"]}, ":two": {"NS": ["2"]}, ":l": {"L": [{"N": "1"}]}, ":m": {"M": {}},
        ":b": {"B": "YQ=="}, ":yes": {"BOOL": true}, ":null": {"NULL": true},
    });
    item(list).0
}

fn parse(text: &str) -> Result<Update, String> {
    let names = [("#r", "Reviews"), ("#dot", "a.b")];
    let names = names.map(|(key, name)| (key.to_owned(), name.to_owned())).into();
    let values = values();
    let mut substitutions = Substitutions::new(&names, &values);
    substitutions.check().expect("legal placeholders");
    parse_update(text, &mut substitutions).map_err(|error| error.to_string())
}

fn apply(text: &str) -> Result<Item, String> {
    parse(text)?.apply(&product()).map_err(|error| error.to_string())
}

/// The attribute after the update, as attribute-value JSON.
fn after(text: &str, name: &str) -> serde_json::Value {
    let item = apply(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    item.get(name).map_or(serde_json::Value::Null, crate::json::value_to_json)
}

#[test]
fn actions_do_what_the_guide_says() {
    use serde_json::json;
    for (text, name, expected) in [
        ("SET Price = Price - :p", "Price", json!({"N": "635"})),
        ("SET Price = :p + Price", "Price", json!({"N": "665"})),
        ("SET Price = if_not_exists(Price, :p)", "Price", json!({"N": "650"})),
        ("SET Sale = if_not_exists(Sale, :p) + :one", "Sale", json!({"N": "16"})),
        ("SET Sale = if_not_exists(Nope, if_not_exists(Price, :p))", "Sale", json!({"N": "650"})),
        ("set #dot=:s", "a.b", json!({"S": "x"})),
        ("SET x = (:p + Price)", "x", json!({"N": "665"})),
        ("SET x = ((Price)-(:p))", "x", json!({"N": "635"})),
        (
            "SET RelatedItems[1] = :s",
            "RelatedItems",
            json!({"L": [{"S":"a"},{"S":"x"},{"S":"c"},{"S":"d"}]}),
        ),
        (
            "SET RelatedItems[9] = :s, RelatedItems[7] = :t, RelatedItems[8] = :u",
            "RelatedItems",
            json!({"L": [{"S":"a"},{"S":"b"},{"S":"c"},{"S":"d"},{"S":"y"},{"S":"z"},{"S":"x"}]}),
        ),
        (
            "REMOVE RelatedItems[1] SET RelatedItems[3] = :s",
            "RelatedItems",
            json!({"L": [{"S":"a"},{"S":"c"},{"S":"x"}]}),
        ),
        (
            "REMOVE RelatedItems[0], RelatedItems[1], RelatedItems[9]",
            "RelatedItems",
            json!({"L": [{"S":"c"},{"S":"d"}]}),
        ),
        ("REMOVE Nope, Title", "Title", json!(null)),
        (
            "SET #r.Two = :s REMOVE #r.One, #r.Nope",
            "Reviews",
            json!({"M": {"Two": {"S":"x"}, "Amount": {"N":"1"}}}),
        ),
        (
            "SET #r.One = list_append(:l, #r.One)",
            "Reviews",
            json!({"M": {"One": {"L": [{"N":"1"},{"S":"bad"}]}, "Amount": {"N":"1"}}}),
        ),
        ("SET x = list_append(if_not_exists(x, :l), :l)", "x", json!({"L": [{"N":"1"},{"N":"1"}]})),
        ("ADD Price :p", "Price", json!({"N": "665"})),
        ("ADD Fresh :p", "Fresh", json!({"N": "15"})),
        (
            "ADD #r.Amount :one",
            "Reviews",
            json!({"M": {"One": {"L": [{"S":"bad"}]}, "Amount": {"N":"2"}}}),
        ),
        ("ADD Colors :blue", "Colors", json!({"SS": ["Black", "Blue", "Red"]})),
        ("ADD Fresh :red", "Fresh", json!({"SS": ["Red"]})),
        ("ADD Codes :two", "Codes", json!({"NS": ["1", "2"]})),
        ("DELETE Colors :red", "Colors", json!({"SS": ["Black"]})),
        ("DELETE Colors :both", "Colors", json!(null)),
        ("DELETE Nope :red", "Nope", json!(null)),
        // All right-hand sides read the item as it was.
        ("REMOVE Title SET x = Title", "x", json!({"S": "Hammer"})),
        ("SET Price = :one, x = Price", "x", json!({"N": "650"})),
    ] {
        assert_eq!(after(text, name), expected, "{text}");
    }
}

#[test]
fn what_the_item_does_not_allow_is_told_in_dynamodbs_words() {
    let path = "The document path provided in the update expression is invalid for update";
    let kind = "An operand in the update expression has an incorrect data type";
    let missing = "The provided expression refers to an attribute that does not exist in the item";
    let overflow =
        "Number overflow. Attempting to store a number with magnitude larger than supported range";
    for (text, said) in [
        ("SET x = Nope", missing),
        ("SET x = :s, y = x", missing),
        ("SET x = Nope + :one", missing),
        ("SET x = list_append(Nope, :l)", missing),
        ("SET x = Title + :one", kind),
        ("SET x = list_append(Price, :l)", kind),
        ("SET x = list_append(:l, :l) , Title.b = :s", path),
        ("SET Nope.b = :s", path),
        ("SET Nope[0] = :s", path),
        ("SET RelatedItems.b = :s", path),
        ("SET #r[0] = :s", path),
        ("SET RelatedItems[9].x = :s", path),
        ("REMOVE Nope.b", path),
        ("REMOVE Title[0]", path),
        ("DELETE Nope.b :red", path),
        ("ADD Title :one", kind),
        ("ADD Colors :two", kind),
        ("ADD RelatedItems :red", kind),
        ("DELETE Codes :red", kind),
        ("SET x = :huge + :huge", overflow),
        // 9E125 + 1 has more than 38 digits.
        ("SET x = :huge + :one", overflow),
    ] {
        assert_eq!(apply(text), Err(said.to_owned()), "{text}");
    }
}

/// The order of mistakes and their texts as observed of DynamoDB.
#[test]
fn expressions_are_refused_in_dynamodbs_words() {
    let overlap =
        "Two document paths overlap with each other; must remove or rewrite one of these paths";
    let conflict =
        "Two document paths conflict with each other; must remove or rewrite one of these paths";
    let kinds = "Incorrect operand type for operator or function";
    for (text, said) in [
        ("", "The expression can not be empty;".to_owned()),
        ("INVALID SYNTAX HERE", "Syntax error; token: \"INVALID\", near: \"INVALID SYNTAX\"".to_owned()),
        ("SET _123 = :one", "Syntax error; token: \"_\", near: \"SET _123\"".to_owned()),
        ("set a", "Syntax error; token: \"<EOF>\", near: \"a\"".to_owned()),
        ("set a=set", "Syntax error; token: \"set\", near: \"=set\"".to_owned()),
        ("remove a b", "Syntax error; token: \"b\", near: \"a b\"".to_owned()),
        ("add a b", "Syntax error; token: \"b\", near: \"a b\"".to_owned()),
        ("set :a = b", "Syntax error; token: \":a\", near: \"set :a =\"".to_owned()),
        ("set a = b + c + d", "Syntax error; token: \"+\", near: \"c + d\"".to_owned()),
        ("set a = b * c", "Syntax error; token: \"*\", near: \"b * c\"".to_owned()),
        ("set a = (b.c).d + e", "Syntax error; token: \".\", near: \").d\"".to_owned()),
        ("set a = if_not_exists(a, :one + :p)", "Syntax error; token: \"+\", near: \":one + :p\"".to_owned()),
        ("set a[:one] = :one", "Syntax error; token: \":one\", near: \"[:one]\"".to_owned()),
        // Reserved words come before all other flaws, and functions before sections.
        (" set #c = :c set abOrt = true ", "Attribute name is a reserved keyword; reserved keyword: abOrt".to_owned()),
        ("set #c = if_not_exist(:c) set c = d", "Invalid function name; function: if_not_exist".to_owned()),
        ("set a = size(b)", "The function is not allowed in an update expression; function: size".to_owned()),
        ("set a = LIST_APPEND(b, c)", "Invalid function name; function: LIST_APPEND".to_owned()),
        (
            "set a = list_append(list_append(:l, :l), :l)",
            "The function is not allowed to be used this way in an expression; function: list_append".to_owned(),
        ),
        ("set a = #c set c = :d", "The \"SET\" section can only be used once in an update expression;".to_owned()),
        (
            "remove #d set a = b remove e",
            "The \"REMOVE\" section can only be used once in an update expression;".to_owned(),
        ),
        (
            "SET #c = if_not_exists(:c)",
            "An expression attribute name used in the document path is not defined; attribute name: #c".to_owned(),
        ),
        (
            "SET #r = if_not_exists(:c)",
            "An expression attribute value used in expression is not defined; attribute value: :c".to_owned(),
        ),
        ("REMOVE a SET a = :one", format!("{overlap}; path one: [a], path two: [a]")),
        ("SET a = :one, a.b = :p", format!("{overlap}; path one: [a], path two: [a, b]")),
        ("SET a[1][1] = :one, a[1] = :p", format!("{overlap}; path one: [a, [1], [1]], path two: [a, [1]]")),
        ("remove a.c set a[1] = b", format!("{conflict}; path one: [a, c], path two: [a, [1]]")),
        ("set b = list_append(:s, a), c = if_not_exists(a) add a.b :s", format!("{kinds}; operator: ADD, operand type: STRING")),
        ("delete a.b :null", format!("{kinds}; operator: DELETE, operand type: NULL")),
        ("add a.b :yes", format!("{kinds}; operator: ADD, operand type: BOOLEAN")),
        ("add a.b :b", format!("{kinds}; operator: ADD, operand type: BINARY")),
        ("add a.b :m", format!("{kinds}; operator: ADD, operand type: MAP")),
        ("delete a.b :l", format!("{kinds}; operator: DELETE, operand type: LIST")),
        ("delete a.b :one", format!("{kinds}; operator: DELETE, operand type: NUMBER")),
        (
            "set a = if_not_exists(c)",
            "Incorrect number of operands for operator or function; operator or function: if_not_exists, number of operands: 1".to_owned(),
        ),
        (
            "set a = if_not_exists(:one, c)",
            "Operator or function requires a document path; operator or function: if_not_exists".to_owned(),
        ),
        ("set a = list_append(:s, a)", format!("{kinds}; operator or function: list_append, operand type: S")),
        ("set a = a + :red", format!("{kinds}; operator or function: +, operand type: SS")),
        ("set a = :b - a", format!("{kinds}; operator or function: -, operand type: B")),
        ("set a = ((b))", "The expression has redundant parentheses;".to_owned()),
    ] {
        let error = parse(text).expect_err(text);
        let known = format!("Invalid UpdateExpression: {said}");
        assert_eq!(error, known, "{text}");
    }
}

#[test]
fn limits_hold_on_both_sides() {
    // "SET a = :val1 + :val2 + :val3 contains two operators": an assignment counts for nothing.
    let terms = |count| {
        let terms: Vec<_> = (0..count).map(|i| format!("a{i}=b+c")).collect();
        format!("SET {}", terms.join(","))
    };
    assert!(parse(&terms(300)).is_ok());
    assert!(
        parse(&terms(301)).expect_err("301").ends_with("too many operators; operator count: 301")
    );
    let nested = |levels: usize| {
        format!("SET a = {}:one{}", "if_not_exists(b,".repeat(levels), ")".repeat(levels))
    };
    assert!(parse(&nested(128)).is_ok());
    assert!(parse(&nested(129)).expect_err("deep").contains("nested deeper"));
    let sent = postcard::to_stdvec(&parse(&nested(128)).expect("legal")).expect("written");
    assert_eq!(postcard::from_bytes(&sent), Ok(parse(&nested(128)).expect("legal")));
    let parentheses = format!("SET a = {}b{}", "(".repeat(2_000), ")".repeat(2_000));
    assert!(parse(&parentheses).expect_err("deep").contains("nested deeper"));
    // Postcard: one action, SET of `a`, an operand in an operand in an operand.
    let mut bytes = vec![1, 0, 1, 0, 1, b'a', 0];
    bytes.extend([3].repeat(1_000_000));
    assert!(postcard::from_bytes::<Update>(&bytes).is_err());
}

#[test]
fn what_an_update_makes_is_bounded() {
    let full = [("a".to_owned(), Value::L(vec![Value::S("x".repeat(300_000))]))];
    let full: Item = full.into_iter().collect();
    let apply = |text| parse(text).expect("legal").apply(&full);
    assert!(apply("SET b = :one").is_ok());
    assert_eq!(apply("SET b = a"), Err(UpdateError::TooLarge));
    assert_eq!(apply("SET a = list_append(a, a)"), Err(UpdateError::TooLarge));
    assert_eq!(
        UpdateError::TooLarge.to_string(),
        "Item size to update has exceeded the maximum allowed size"
    );
    // One level more than an item may have.
    let deep = (0..31).fold(Value::Null, |inner, _| Value::L(vec![inner]));
    let deep: Item =
        [("a".to_owned(), deep), ("l".to_owned(), Value::L(vec![]))].into_iter().collect();
    let error = parse("SET l[0] = a").expect("legal").apply(&deep).expect_err("too deep");
    assert!(
        error.to_string().starts_with("Nesting Levels have exceeded supported limits"),
        "{error}"
    );
}

/// A REMOVE or DELETE alone does not make an item (observed of DynamoDB by Alternator's tests).
#[test]
fn what_makes_an_item_is_known() {
    for (text, creates) in [
        ("SET a = :one", true),
        ("ADD a :one", true),
        ("REMOVE a", false),
        ("DELETE a :red", false),
        ("REMOVE a.b, c[1]", false),
        ("REMOVE a SET b = :one", true),
    ] {
        assert_eq!(parse(text).expect(text).creates(), creates, "{text}");
    }
    assert!(Update::default().creates());
}

/// The story that Alternator's tests tell of DynamoDB.
#[test]
fn touched_images_show_the_written_paths_alone() {
    let before = item(serde_json::json!({
        "p": {"S": "key"}, "d": {"S": "cat"},
        "a": {"M": {"b": {"S": "dog"}, "c": {"L": [{"N": "1"}, {"N": "2"}, {"N": "3"}]}}},
    }));
    let touched = |text: &str| {
        let update = parse(text).expect(text);
        let after = update.apply(&before).expect(text);
        let (old, new) = update.touched(&before, &after);
        (crate::json::item_to_json(&old), crate::json::item_to_json(&new))
    };
    use serde_json::json;
    let a = |map: serde_json::Value| json!({"a": {"M": map}});
    for (text, old, new) in [
        (
            "SET d = :s, e = :t",
            json!({"d": {"S": "cat"}}),
            json!({"d": {"S": "x"}, "e": {"S": "y"}}),
        ),
        ("REMOVE d", json!({"d": {"S": "cat"}}), json!({})),
        ("REMOVE nope", json!({}), json!({})),
        ("SET a.b = :s", a(json!({"b": {"S": "dog"}})), a(json!({"b": {"S": "x"}}))),
        (
            "SET a.c[1] = :one, a.b = :s",
            a(json!({"b": {"S": "dog"}, "c": {"L": [{"N": "2"}]}})),
            a(json!({"b": {"S": "x"}, "c": {"L": [{"N": "1"}]}})),
        ),
        ("SET a.x1 = :one", json!({}), a(json!({"x1": {"N": "1"}}))),
        // Appended behind its index: not shown. Removed: the one that moved up is.
        ("SET a.c[100] = :one", json!({}), json!({})),
        (
            "REMOVE a.c[1], a.c[3]",
            a(json!({"c": {"L": [{"N": "2"}]}})),
            a(json!({"c": {"L": [{"N": "3"}]}})),
        ),
    ] {
        assert_eq!(touched(text), (old, new), "{text}");
    }
}

proptest::proptest! {
    /// Against the rule as it is told: indexes count as they were, what is set beyond the end comes in the order
    /// of its indexes.
    #[test]
    fn lists_change_as_if_they_had_holes(
        len in 0..6_u32, set in proptest::collection::btree_set(0..12_u32, 0..5),
        removed in proptest::collection::btree_set(0..12_u32, 0..5),
    ) {
        let value = |text: String| Value::S(text);
        let list: Vec<_> = (0..len).map(|i| value(format!("old{i}"))).collect();
        let mut holes: BTreeMap<u32, Value> =
            list.iter().cloned().enumerate().map(|(i, value)| (i as u32, value)).collect();
        let path = |index| Path(vec![Step::Attribute("a".into()), Step::Index(index)]);
        let mut actions = Vec::new();
        for &index in set.difference(&removed) {
            let new = value(format!("new{index}"));
            holes.insert(index, new.clone());
            actions.push(Action::Set(path(index), SetValue::Is(SetOperand::Value(new))));
        }
        for &index in &removed {
            holes.remove(&index);
            actions.push(Action::Remove(path(index)));
        }
        let before: Item = [("a".to_owned(), Value::L(list))].into_iter().collect();
        let after = Update { actions, dialect: Dialect::UpdateExpression }.apply(&before);
        let expected: Item =
            [("a".to_owned(), Value::L(holes.into_values().collect()))].into_iter().collect();
        proptest::prop_assert_eq!(after, Ok(expected));
    }
}
