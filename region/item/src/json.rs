//! Items as JSON: attribute-value JSON (`{"S": "text"}`, API reference `AttributeValue`) and plain JSON
//! for people. Plain JSON has no sets and no binary: they are shown as lists and as base64 text.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value as Json, json};

use crate::key::{Key, KeySchema};
use crate::limits::NESTING_LEVELS;
use crate::number::Number;
use crate::value::{Item, Value};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct JsonError {
    /// Where in the item, for example `a.b[2]`.
    pub path: String,
    pub reason: String,
}

fn bad(path: &str, reason: impl Into<String>) -> JsonError {
    JsonError {
        path: if path.is_empty() { "item".into() } else { path.into() },
        reason: reason.into(),
    }
}

/// `{"S": "text"}` and so on.
pub fn value_to_json(value: &Value) -> Json {
    match value {
        Value::S(text) => json!({ "S": text }),
        Value::N(number) => json!({ "N": number.to_string() }),
        Value::B(bytes) => json!({ "B": STANDARD.encode(bytes) }),
        Value::Bool(truth) => json!({ "BOOL": truth }),
        Value::Null => json!({ "NULL": true }),
        Value::M(map) => json!({ "M": map_to_json(map) }),
        Value::L(list) => json!({ "L": list.iter().map(value_to_json).collect::<Vec<_>>() }),
        Value::Ss(set) => json!({ "SS": set }),
        Value::Ns(set) => json!({ "NS": set.iter().map(Number::to_string).collect::<Vec<_>>() }),
        Value::Bs(set) => {
            json!({ "BS": set.iter().map(|b| STANDARD.encode(b)).collect::<Vec<_>>() })
        }
    }
}

fn map_to_json(map: &BTreeMap<String, Value>) -> Json {
    Json::Object(map.iter().map(|(name, value)| (name.clone(), value_to_json(value))).collect())
}

/// Attribute-value JSON of an item.
pub fn item_to_json(item: &Item) -> Json {
    map_to_json(&item.0)
}

/// Attribute-value JSON of a key.
pub fn key_to_json(schema: &KeySchema, key: &Key) -> Json {
    item_to_json(&key.to_item(schema))
}

pub fn item_from_json(json: &Json) -> Result<Item, JsonError> {
    let map = json.as_object().ok_or_else(|| bad("", "expected an object of attributes"))?;
    map_from_json(map, "", 0).map(Item)
}

pub fn value_from_json(json: &Json) -> Result<Value, JsonError> {
    from_json(json, "value", 0)
}

fn map_from_json(
    map: &Map<String, Json>,
    path: &str,
    level: usize,
) -> Result<BTreeMap<String, Value>, JsonError> {
    let dot = if path.is_empty() { "" } else { "." };
    map.iter()
        .map(|(name, json)| {
            Ok((name.clone(), from_json(json, &format!("{path}{dot}{name}"), level)?))
        })
        .collect()
}

fn from_json(json: &Json, path: &str, level: usize) -> Result<Value, JsonError> {
    if level > NESTING_LEVELS {
        return Err(bad(path, format!("nested deeper than {NESTING_LEVELS} levels")));
    }
    let mut fields = json
        .as_object()
        .ok_or_else(|| bad(path, "expected an attribute value such as {\"S\": \"text\"}"))?
        .iter();
    let (Some((kind, content)), None) = (fields.next(), fields.next()) else {
        return Err(bad(path, "expected exactly one type, such as {\"S\": \"text\"}"));
    };
    let text = |json: &Json| {
        json.as_str().map(str::to_owned).ok_or_else(|| bad(path, format!("{kind} needs a string")))
    };
    let number = |json: &Json| text(json)?.parse::<Number>().map_err(|e| bad(path, e.to_string()));
    let binary = |json: &Json| {
        let decoded = STANDARD.decode(text(json)?).map(Bytes::from);
        decoded.map_err(|e| bad(path, format!("{kind} needs base64: {e}")))
    };
    let list = || content.as_array().ok_or_else(|| bad(path, format!("{kind} needs a list")));
    fn set<T: Ord>(
        list: &[Json],
        path: &str,
        read: impl Fn(&Json) -> Result<T, JsonError>,
    ) -> Result<BTreeSet<T>, JsonError> {
        let set = list.iter().map(read).collect::<Result<BTreeSet<_>, _>>()?;
        match set.len() == list.len() {
            true => Ok(set),
            false => Err(bad(path, "Input collection contains duplicates.")),
        }
    }
    Ok(match kind.as_str() {
        "S" => Value::S(text(content)?),
        "N" => Value::N(number(content)?),
        "B" => Value::B(binary(content)?),
        "BOOL" => {
            Value::Bool(content.as_bool().ok_or_else(|| bad(path, "BOOL needs true or false"))?)
        }
        "NULL" if content == &Json::Bool(true) => Value::Null,
        "NULL" => return Err(bad(path, "NULL needs true")),
        "M" => {
            let map = content.as_object().ok_or_else(|| bad(path, "M needs an object"))?;
            Value::M(map_from_json(map, path, level + 1)?)
        }
        "L" => Value::L(
            list()?
                .iter()
                .enumerate()
                .map(|(i, json)| from_json(json, &format!("{path}[{i}]"), level + 1))
                .collect::<Result<_, _>>()?,
        ),
        "SS" => Value::Ss(set(list()?, path, text)?),
        "NS" => Value::Ns(set(list()?, path, number)?),
        "BS" => Value::Bs(set(list()?, path, binary)?),
        other => return Err(bad(path, format!("{other} is not a type; see AttributeValue"))),
    })
}

/// Plain JSON for people. Numbers keep all their digits where JSON's reader does; else they are text.
pub fn item_to_plain(item: &Item) -> Json {
    Json::Object(item.0.iter().map(|(name, value)| (name.clone(), to_plain(value))).collect())
}

fn to_plain(value: &Value) -> Json {
    match value {
        Value::S(text) => Json::String(text.clone()),
        Value::N(number) => plain_number(number),
        Value::B(bytes) => Json::String(STANDARD.encode(bytes)),
        Value::Bool(truth) => Json::Bool(*truth),
        Value::Null => Json::Null,
        Value::M(map) => {
            Json::Object(map.iter().map(|(name, value)| (name.clone(), to_plain(value))).collect())
        }
        Value::L(list) => list.iter().map(to_plain).collect(),
        Value::Ss(set) => set.iter().map(|text| Json::String(text.clone())).collect(),
        Value::Ns(set) => set.iter().map(plain_number).collect(),
        Value::Bs(set) => set.iter().map(|b| Json::String(STANDARD.encode(b))).collect(),
    }
}

/// A JSON number if reading it back gives the same number, else its text.
fn plain_number(number: &Number) -> Json {
    let text = number.to_string();
    let exact = serde_json::from_str::<serde_json::Number>(&text)
        .ok()
        .filter(|json| json.to_string().parse::<Number>() == Ok(*number));
    exact.map_or(Json::String(text), Json::Number)
}

/// Strings become S, numbers N, objects M, arrays L.
pub fn item_from_plain(json: &Json) -> Result<Item, JsonError> {
    let map = json.as_object().ok_or_else(|| bad("", "expected an object of attributes"))?;
    plain_map(map, "", 0).map(Item)
}

fn plain_map(
    map: &Map<String, Json>,
    path: &str,
    level: usize,
) -> Result<BTreeMap<String, Value>, JsonError> {
    map.iter()
        .map(|(name, json)| Ok((name.clone(), from_plain(json, &format!("{path}{name}"), level)?)))
        .collect()
}

fn from_plain(json: &Json, path: &str, level: usize) -> Result<Value, JsonError> {
    if level > NESTING_LEVELS {
        return Err(bad(path, format!("nested deeper than {NESTING_LEVELS} levels")));
    }
    Ok(match json {
        Json::Null => Value::Null,
        Json::Bool(truth) => Value::Bool(*truth),
        Json::Number(number) => {
            let number = number.to_string().parse::<Number>();
            Value::N(number.map_err(|e| bad(path, e.to_string()))?)
        }
        Json::String(text) => Value::S(text.clone()),
        Json::Array(list) => Value::L(
            list.iter()
                .enumerate()
                .map(|(i, json)| from_plain(json, &format!("{path}[{i}]"), level + 1))
                .collect::<Result<_, _>>()?,
        ),
        Json::Object(map) => Value::M(plain_map(map, &format!("{path}."), level + 1)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The example of the API reference, AttributeValue.
    #[test]
    fn attribute_values_are_written_as_aws_writes_them() {
        let item: Item = [
            ("a", Value::S("Hello".into())),
            ("b", Value::B(Bytes::from_static(b"this text is base64-encoded"))),
            ("n", Value::Ns(["42.2".parse().unwrap(), "-19".parse().unwrap()].into())),
            ("z", Value::Null),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        let expected = json!({
            "a": {"S": "Hello"},
            "b": {"B": "dGhpcyB0ZXh0IGlzIGJhc2U2NC1lbmNvZGVk"},
            "n": {"NS": ["-19", "42.2"]},
            "z": {"NULL": true},
        });
        assert_eq!(item_to_json(&item), expected);
        assert_eq!(item_from_json(&expected), Ok(item));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (given, said) in [
            (json!([]), "expected an object"),
            (json!({"a": {"S": 1}}), "a: S needs a string"),
            (json!({"a": {"L": [{"N": "x"}]}}), "a[0]: The parameter cannot be converted"),
            (json!({"a": {"S": "x", "N": "1"}}), "exactly one type"),
            (json!({"a": {"Q": "x"}}), "Q is not a type"),
            (json!({"a": {"SS": ["x", "x"]}}), "duplicates"),
            (json!({"a": {"B": "?"}}), "base64"),
        ] {
            let error = item_from_json(&given).expect_err("bad JSON").to_string();
            assert!(error.contains(said), "{given}: {error}");
        }
    }

    #[test]
    fn plain_numbers_lose_no_digit() {
        let long = "12345678901234567890123456789012345678";
        let item: Item = [("n".to_owned(), Value::N(long.parse().unwrap()))].into_iter().collect();
        assert_eq!(item_to_plain(&item), json!({ "n": long }));
        let item: Item =
            [("n".to_owned(), Value::N("42.5".parse().unwrap()))].into_iter().collect();
        assert_eq!(item_to_plain(&item), json!({ "n": 42.5 }));
        assert_eq!(item_from_plain(&json!({ "n": 42.5 })), Ok(item));
    }

    proptest! {
        #[test]
        fn attribute_value_json_round_trips(item in crate::encoding::tests::item()) {
            prop_assert_eq!(item_from_json(&item_to_json(&item)), Ok(item));
        }
    }
}
