//! Items and key values as people write them, and as they are printed.

use std::collections::BTreeMap;
use std::io::Read;

use tombolo_client::{Expression, WriteOptions};
use tombolo_item::{Item, KeyAttribute, KeySchema, KeyType, Value, json};

use super::exact;
use crate::error::{Context, Failure, Result};
use crate::output::{self, Format, columns};

/// Reads an argument; `-` means standard input.
pub(super) fn text_or_stdin(argument: &str) -> Result<String> {
    if argument != "-" {
        return Ok(argument.to_owned());
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).context(|| "reading standard input")?;
    Ok(text)
}

/// Reads an item: plain JSON, or DynamoDB JSON.
pub(super) fn item(text: &str, dynamodb_json: bool) -> Result<Item> {
    let marked = exact::mark(text);
    let json: serde_json::Value = serde_json::from_str(&marked)
        .map_err(|error| Failure::usage(format!("this is no JSON ({error}): {}", short(text))))?;
    let read =
        if dynamodb_json { json::item_from_json(&json) } else { json::item_from_plain(&json) };
    read.map_err(|error| {
        let hint = match dynamodb_json {
            true => "with --dynamodb-json an item looks like {\"id\":{\"S\":\"a\"}}",
            false => "an item looks like {\"id\":\"a\",\"year\":1965}",
        };
        Failure::usage(format!("this is no item ({error}); {hint}: {}", short(text)))
    })
    .and_then(exact::restore)
}

fn short(text: &str) -> String {
    let mut start: String = text.trim().chars().take(80).collect();
    if start.len() < text.trim().len() {
        start.push('…');
    }
    start
}

/// A key's value as written on the command line: text as it is, numbers in digits, binary in base64.
pub(super) fn key_value(attribute: &KeyAttribute, text: &str) -> Result<Value> {
    let tagged = serde_json::json!({ attribute.kind.as_str(): text });
    json::value_from_json(&tagged).map_err(|error| {
        let how = match attribute.kind {
            KeyType::S => "text",
            KeyType::N => "a number",
            KeyType::B => "binary, written in base64",
        };
        Failure::usage(format!("{} is {how}; {text:?} is not ({error})", attribute.name))
    })
}

/// A key: a JSON object of the key attributes, or the bare value(s) in the schema's order.
pub(super) fn key(schema: &KeySchema, words: &[String], dynamodb_json: bool) -> Result<Item> {
    if let [one] = words
        && one.trim_start().starts_with('{')
    {
        return item(one, dynamodb_json);
    }
    let attributes: Vec<&KeyAttribute> =
        std::iter::once(&schema.partition).chain(schema.sort.as_ref()).collect();
    if words.len() != attributes.len() {
        let names: Vec<&str> = attributes.iter().map(|a| a.name.as_str()).collect();
        return Err(Failure::usage(format!(
            "the key of this table is {}; give {} value(s), or a JSON object",
            names.join(" and "),
            names.len()
        )));
    }
    let mut item = Item::default();
    for (attribute, word) in attributes.into_iter().zip(words) {
        item.0.insert(attribute.name.clone(), key_value(attribute, word)?);
    }
    Ok(item)
}

/// What put and delete may ask besides writing.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct WriteFlags {
    /// Write only if this holds, for example 'attribute_not_exists(artist)'.
    #[arg(long, value_name = "EXPRESSION")]
    condition: Option<String>,
    /// Names for #placeholders of the condition: {"#y":"year"}.
    #[arg(long, value_name = "JSON", requires = "condition")]
    names: Option<String>,
    /// Values for :placeholders of the condition: {":y":1965}.
    #[arg(long, value_name = "JSON", requires = "condition")]
    values: Option<String>,
    /// Print the item as it was before.
    #[arg(long)]
    return_old: bool,
}

impl WriteFlags {
    pub(super) fn options(&self, dynamodb_json: bool) -> Result<WriteOptions> {
        let condition = match &self.condition {
            None => None,
            Some(text) => Some(Expression {
                text: text.clone(),
                names: match &self.names {
                    Some(names) => serde_json::from_str::<BTreeMap<String, String>>(names)
                        .map_err(|e| Failure::usage(format!("--names: {e}")))?,
                    None => BTreeMap::new(),
                },
                values: match &self.values {
                    Some(values) => item(values, dynamodb_json)?.0,
                    None => BTreeMap::new(),
                },
            }),
        };
        Ok(WriteOptions { condition, return_old: self.return_old, return_on_failure: true })
    }
}

/// One item as JSON.
pub(super) fn to_json(item: &Item, dynamodb_json: bool) -> serde_json::Value {
    if dynamodb_json { json::item_to_json(item) } else { json::item_to_plain(item) }
}

/// Prints items: one JSON object per line, or columns by attribute (the key first).
pub(super) fn print(items: &[Item], schema: &KeySchema, format: Format, dynamodb_json: bool) {
    if format == Format::Json || dynamodb_json {
        for item in items {
            output::data(to_json(item, dynamodb_json).to_string());
        }
        return;
    }
    let mut names: Vec<String> = std::iter::once(&schema.partition)
        .chain(schema.sort.as_ref())
        .map(|attribute| attribute.name.clone())
        .collect();
    for item in items {
        for name in item.0.keys() {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
    }
    let rows: Vec<Vec<String>> = items
        .iter()
        .map(|item| {
            let plain = json::item_to_plain(item);
            names.iter().map(|name| plain.get(name).map(cell).unwrap_or_default()).collect()
        })
        .collect();
    let heading: Vec<&str> = names.iter().map(String::as_str).collect();
    output::data(columns(&heading, &rows));
}

fn cell(value: &serde_json::Value) -> String {
    let text = match value {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut shown: String = text.chars().take(48).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown.replace(['\n', '\r', '\t', '\u{1b}'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> KeySchema {
        let attribute = |name: &str, kind| KeyAttribute { name: name.into(), kind };
        KeySchema {
            partition: attribute("artist", KeyType::S),
            sort: Some(attribute("year", KeyType::N)),
        }
    }

    #[test]
    fn keys_are_written_bare_or_as_an_object() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let bare = key(&schema(), &words("Nina 1965"), false).unwrap();
        let object =
            key(&schema(), &[r#"{"artist":"Nina","year":1965}"#.to_owned()], false).unwrap();
        assert_eq!(bare, object);
        let typed = r#"{"artist":{"S":"Nina"},"year":{"N":"1965"}}"#.to_owned();
        assert_eq!(key(&schema(), &[typed], true).unwrap(), bare);
        let refused = key(&schema(), &words("Nina"), false).expect_err("one value is missing");
        assert!(refused.message.contains("artist and year"), "{}", refused.message);
        let refused = key(&schema(), &words("Nina then"), false).expect_err("no number");
        assert!(refused.message.contains("year is a number"), "{}", refused.message);
    }

    #[test]
    fn no_digit_of_a_number_is_lost() {
        let text = r#"{"a":12345678901234567890123,"l":[-0.1234567890123456789,{"m":1e30}],"s":"123456789012345678\"","z":1.5}"#;
        let read = item(text, false).unwrap();
        let typed = r#"{"a":{"N":"12345678901234567890123"},"l":{"L":[{"N":"-0.1234567890123456789"},{"M":{"m":{"N":"1e30"}}}]},"s":{"S":"123456789012345678\""},"z":{"N":"1.5"}}"#;
        assert_eq!(read, item(typed, true).unwrap());
        let long = format!("{{\"a\":{}}}", "1".repeat(39));
        assert!(item(&long, false).expect_err("39 digits").message.contains("38"));
    }

    #[test]
    fn what_is_no_item_is_shown_with_how_one_looks() {
        let refused = item("[1]", false).expect_err("an array");
        assert!(refused.message.contains("an item looks like"), "{}", refused.message);
        assert!(item("{", false).expect_err("half").message.contains("no JSON"));
    }
}
