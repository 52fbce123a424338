//! Attribute values: from JSON with the service's checks in its order, and back to JSON.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tombolo_item::{Item, Number, Value};

use super::constraints::quote;
use super::json::{Json, write_string};

type Text = String;

const EMPTY: &str =
    "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes";
const SEVERAL: &str = "Supplied AttributeValue has more than one datatypes set, must contain exactly \
                       one of the supported datatypes";
const INVALID: &str = "One or more parameter values were invalid: ";

/// Reads one attribute value that [`super::convert`] made of JSON.
pub(crate) fn value(json: &Json<'_>) -> Result<Value, Text> {
    let Json::Object(types) = json else { return Err(EMPTY.into()) };
    let mut read = None;
    for (name, content) in types {
        let one = typed(name, content)?;
        if read.is_none() {
            read = Some(one);
        }
    }
    match read {
        None => Err(EMPTY.into()),
        Some(_) if types.len() > 1 => Err(SEVERAL.into()),
        Some(value) => Ok(value),
    }
}

/// Reads the attributes of an item or a key.
pub(crate) fn item(json: &Json<'_>) -> Result<Item, Text> {
    map(json).map(Item)
}

/// Reads named values.
pub(crate) fn map(json: &Json<'_>) -> Result<BTreeMap<String, Value>, Text> {
    let Json::Object(entries) = json else { return Ok(BTreeMap::new()) };
    entries.iter().map(|(name, one)| Ok((name.to_string(), value(one)?))).collect()
}

fn typed(name: &str, content: &Json<'_>) -> Result<Value, Text> {
    Ok(match (name, content) {
        ("S", Json::String(text)) => Value::S(text.to_string()),
        ("N", Json::String(text)) => Value::N(number(text)?),
        ("B", Json::Blob(bytes)) => Value::B(bytes.clone()),
        ("BOOL", Json::Bool(truth)) => Value::Bool(*truth),
        ("NULL", Json::Bool(true)) => Value::Null,
        ("NULL", _) => {
            return Err(format!("{INVALID}Null attribute value types must have the value of true"));
        }
        ("SS", Json::Array(list)) => {
            if list.is_empty() {
                return Err(format!("{INVALID}An string set  may not be empty"));
            }
            let set = list.iter().filter_map(text).map(str::to_owned).collect();
            let set: std::collections::BTreeSet<String> = set;
            if set.len() < list.len() {
                return Err(duplicates(content));
            }
            Value::Ss(set)
        }
        ("NS", Json::Array(list)) => {
            if list.is_empty() {
                return Err(format!("{INVALID}An number set  may not be empty"));
            }
            let numbers = list.iter().filter_map(text).map(number);
            let set = numbers.collect::<Result<std::collections::BTreeSet<Number>, _>>()?;
            if set.len() < list.len() {
                return Err("Input collection contains duplicates".into());
            }
            Value::Ns(set)
        }
        ("BS", Json::Array(list)) => {
            if list.is_empty() {
                return Err(format!("{INVALID}Binary sets should not be empty"));
            }
            let set: std::collections::BTreeSet<bytes::Bytes> = list
                .iter()
                .filter_map(|one| match one {
                    Json::Blob(bytes) => Some(bytes.clone()),
                    _ => None,
                })
                .collect();
            if set.len() < list.len() {
                let shown = quote(content);
                return Err(format!(
                    "{INVALID}Input collection {shown}of type BS contains duplicates."
                ));
            }
            Value::Bs(set)
        }
        ("M", content) => Value::M(map(content)?),
        ("L", Json::Array(list)) => Value::L(list.iter().map(value).collect::<Result<_, _>>()?),
        // `convert` lets nothing else through.
        _ => return Err(EMPTY.into()),
    })
}

fn text<'a>(json: &'a Json<'_>) -> Option<&'a str> {
    match json {
        Json::String(text) => Some(text),
        _ => None,
    }
}

fn duplicates(list: &Json<'_>) -> Text {
    format!("{INVALID}Input collection {} contains duplicates.", quote(list))
}

fn number(text: &str) -> Result<Number, Text> {
    text.parse().map_err(|error: tombolo_item::number::NumberError| error.to_string())
}

/// Appends an item.
pub(crate) fn write_item(out: &mut Vec<u8>, item: &Item) {
    write_map(out, &item.0);
}

/// Appends named values.
pub(crate) fn write_map(out: &mut Vec<u8>, map: &BTreeMap<String, Value>) {
    out.push(b'{');
    for (index, (name, value)) in map.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_string(out, name);
        out.push(b':');
        write_value(out, value);
    }
    out.push(b'}');
}

/// Appends one value.
pub(crate) fn write_value(out: &mut Vec<u8>, value: &Value) {
    let list = |out: &mut Vec<u8>, kind: &[u8], texts: &mut dyn Iterator<Item = String>| {
        out.extend_from_slice(kind);
        for (index, text) in texts.enumerate() {
            if index > 0 {
                out.push(b',');
            }
            write_string(out, &text);
        }
        out.extend_from_slice(b"]}");
    };
    match value {
        Value::S(text) => {
            out.extend_from_slice(b"{\"S\":");
            write_string(out, text);
            out.push(b'}');
        }
        Value::N(number) => {
            out.extend_from_slice(b"{\"N\":\"");
            out.extend_from_slice(number.to_string().as_bytes());
            out.extend_from_slice(b"\"}");
        }
        Value::B(bytes) => {
            out.extend_from_slice(b"{\"B\":\"");
            out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
            out.extend_from_slice(b"\"}");
        }
        Value::Bool(true) => out.extend_from_slice(b"{\"BOOL\":true}"),
        Value::Bool(false) => out.extend_from_slice(b"{\"BOOL\":false}"),
        Value::Null => out.extend_from_slice(b"{\"NULL\":true}"),
        Value::M(map) => {
            out.extend_from_slice(b"{\"M\":");
            write_map(out, map);
            out.push(b'}');
        }
        Value::L(values) => {
            out.extend_from_slice(b"{\"L\":[");
            for (index, value) in values.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_value(out, value);
            }
            out.extend_from_slice(b"]}");
        }
        Value::Ss(set) => list(out, b"{\"SS\":[", &mut set.iter().cloned()),
        Value::Ns(set) => list(out, b"{\"NS\":[", &mut set.iter().map(Number::to_string)),
        Value::Bs(set) => {
            list(out, b"{\"BS\":[", &mut set.iter().map(|bytes| STANDARD.encode(bytes)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{convert, json, model::model};
    use super::*;

    fn read(text: &str) -> Result<Value, String> {
        let model = model();
        let (_, input) = model.operation("DynamoDB_20120810.GetItem").unwrap();
        let body = format!(r#"{{"Key":{{"a":{text}}}}}"#);
        let request =
            convert::request(model, input, json::parse(body.as_bytes()).unwrap()).unwrap();
        map(request.get("Key").unwrap()).map(|mut map| map.remove("a").unwrap())
    }

    /// Texts as the service gives them (seen in dynalite's tests, which run against the service).
    #[test]
    fn what_is_no_value_is_told_as_the_service_tells_it() {
        let digits = "1".repeat(39);
        let cases = [
            ("{}", EMPTY),
            (r#"{"S":"a","N":"1"}"#, SEVERAL),
            (r#"{"S":"a","N":""}"#, "The parameter cannot be converted to a numeric value"),
            (r#"{"N":"b"}"#, "The parameter cannot be converted to a numeric value: b"),
            (
                r#"{"NULL":"no"}"#,
                "One or more parameter values were invalid: Null attribute value types must have the value of true",
            ),
            (
                r#"{"SS":[]}"#,
                "One or more parameter values were invalid: An string set  may not be empty",
            ),
            (
                r#"{"NS":[]}"#,
                "One or more parameter values were invalid: An number set  may not be empty",
            ),
            (
                r#"{"BS":[]}"#,
                "One or more parameter values were invalid: Binary sets should not be empty",
            ),
            (
                r#"{"SS":["a","a"]}"#,
                "One or more parameter values were invalid: Input collection [a, a] contains duplicates.",
            ),
            (
                r#"{"BS":["Yg==","Yg=="]}"#,
                "One or more parameter values were invalid: Input collection [Yg==, Yg==]of type BS contains duplicates.",
            ),
            (r#"{"NS":["1","1.0"]}"#, "Input collection contains duplicates"),
            (r#"{"NS":["1","b"]}"#, "The parameter cannot be converted to a numeric value: b"),
            (
                r#"{"N":"1e126"}"#,
                "Number overflow. Attempting to store a number with magnitude larger than supported range",
            ),
            (
                &format!(r#"{{"N":"{digits}"}}"#),
                "Attempting to store more than 38 significant digits in a Number",
            ),
            (r#"{"L":[{"M":{"a":{}}}]}"#, EMPTY),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text), Err(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn values_are_read_and_written_alike() {
        for text in [
            r#"{"S":"a\"\n"}"#,
            r#"{"N":"-12.5"}"#,
            r#"{"B":"AAEC"}"#,
            r#"{"BOOL":true}"#,
            r#"{"NULL":true}"#,
            r#"{"M":{"a":{"L":[{"N":"1"},{"SS":["x","y"]},{"NS":["1","2"]},{"BS":["AA==","AQ=="]}]}}}"#,
        ] {
            let mut out = Vec::new();
            write_value(&mut out, &read(text).unwrap());
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }
}
