//! Expectations from the developer guide's page "Update expressions" and from what others observed of
//! DynamoDB (the tests of Alternator and dynalite, which run against it).

use std::collections::BTreeMap;

use super::*;
use crate::condition::Substitutions;
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
