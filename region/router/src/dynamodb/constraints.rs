//! Checks a request against the model's limits: "N validation errors detected: ...".
//!
//! Always true: members are looked at in the order in which the service does, at most ten violations
//! are told, and nothing else of the request was looked at before.

use std::fmt::Write as _;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::json::{Json, write_string};
use super::model::{Kind, Model, Shape, ShapeId};

/// Most violations in one answer.
const MOST_VIOLATIONS: usize = 10;
/// Longest quotation of a value, in bytes: the caller knows the rest.
const MOST_QUOTED_BYTES: usize = 16 << 10;

/// The text of the ValidationException that this request gets, if it gets one.
pub(crate) fn violated(model: &Model, input: ShapeId, request: &Json<'_>) -> Option<String> {
    let shape = model.shape(input);
    if shape.named_first
        && let Some(text) = table_name(request.get("TableName"))
    {
        return Some(text);
    }
    let mut found = Found { model, texts: Vec::new(), named_first: shape.named_first };
    found.structure(shape, request, "");
    match found.texts.len() {
        0 => None,
        count => Some(format!(
            "{count} validation error{} detected: {}",
            if count > 1 { "s" } else { "" },
            found.texts.join("; ")
        )),
    }
}

/// The operations on tables look at the name before all else.
fn table_name(name: Option<&Json<'_>>) -> Option<String> {
    match name {
        Some(Json::String(name)) if is_arn(name) => None,
        Some(Json::String(name)) if (3..=255).contains(&name.chars().count()) => None,
        Some(_) => Some(
            "TableName must be at least 3 characters long and at most 255 characters long".into(),
        ),
        None => {
            Some("The parameter 'TableName' is required but was not present in the request".into())
        }
    }
}

/// A table may be named by its ARN, which has limits of its own.
fn is_arn(name: &str) -> bool {
    name.starts_with("arn:") && name.len() <= 1024
}

struct Found<'m> {
    model: &'m Model,
    texts: Vec<String>,
    named_first: bool,
}

impl Found<'_> {
    fn full(&self) -> bool {
        self.texts.len() >= MOST_VIOLATIONS
    }

    fn add(&mut self, value: Option<&Json<'_>>, path: &str, rule: &str) {
        if self.full() {
            return;
        }
        let value = value.map_or("null".to_owned(), |value| format!("'{}'", quote(value)));
        self.texts.push(format!("Value {value} at '{path}' failed to satisfy constraint: {rule}"));
    }

    fn structure(&mut self, shape: &Shape, given: &Json<'_>, parent: &str) {
        let Kind::Structure(members) = &shape.kind else { return };
        for member in members {
            if self.full() {
                return;
            }
            let path = join(parent, &lower_first(&member.name));
            match given.get(&member.name) {
                None if member.required => self.add(None, &path, "Member must not be null"),
                None => {}
                Some(value) => self.value(member.shape, value, &path),
            }
        }
    }

    fn value(&mut self, shape: ShapeId, value: &Json<'_>, path: &str) {
        if self.full() {
            return;
        }
        let model = self.model;
        let shape = model.shape(shape);
        for rule in broken(shape, value, self.named_first && path == "tableName") {
            self.add(Some(value), path, &rule);
        }
        match (&shape.kind, value) {
            (Kind::Structure(_), _) => self.structure(shape, value, path),
            (Kind::List(member), Json::Array(list)) => {
                if !has_rules(model, *member) {
                    return;
                }
                for (index, one) in list.iter().enumerate() {
                    if self.full() {
                        return;
                    }
                    self.value(*member, one, &format!("{path}.{}.member", index + 1));
                }
            }
            (Kind::Map { key, value: of }, Json::Object(entries)) => {
                self.map(*key, *of, entries, value, path);
            }
            _ => {}
        }
    }

    fn map(
        &mut self,
        key: ShapeId,
        of: ShapeId,
        entries: &[(std::borrow::Cow<'_, str>, Json<'_>)],
        whole: &Json<'_>,
        path: &str,
    ) {
        let model = self.model;
        let (key, of_shape) = (model.shape(key), model.shape(of));
        let key_rules = all_rules(key);
        let value_rules = match of_shape.kind {
            // Limits of what maps hold are told of the map, not of the entry.
            Kind::List(_) | Kind::String | Kind::Integer | Kind::Long => all_rules(of_shape),
            _ => Vec::new(),
        };
        if !key_rules.is_empty() {
            for (name, _) in entries {
                if !broken(key, &Json::String(name.as_ref().into()), false).is_empty() {
                    let rule =
                        format!("Map keys must satisfy constraint: [{}]", key_rules.join(", "));
                    self.add(Some(whole), path, &rule);
                }
            }
        }
        if !value_rules.is_empty() {
            for (_, one) in entries {
                if !broken(of_shape, one, false).is_empty() {
                    let rules = value_rules.join(", ");
                    let rule = format!("Map value must satisfy constraint: [{rules}]");
                    self.add(Some(whole), path, &rule);
                }
            }
        }
        if !has_rules(model, of) {
            return;
        }
        for (name, one) in entries {
            if self.full() {
                return;
            }
            match &of_shape.kind {
                Kind::List(member) => {
                    let Json::Array(list) = one else { continue };
                    for (index, one) in list.iter().enumerate() {
                        let path = format!("{path}.{name}.member.{}.member", index + 1);
                        self.value(*member, one, &path);
                    }
                }
                Kind::Structure(_) => {
                    self.structure(of_shape, one, &format!("{path}.{name}.member"));
                }
                _ => {}
            }
        }
    }
}

/// Whether anything in values of this shape can break a rule; attribute values cannot, and they are
/// what most of a request consists of.
fn has_rules(model: &Model, id: ShapeId) -> bool {
    let shape = model.shape(id);
    shape.name != "AttributeValue"
        && (!all_rules(shape).is_empty()
            || match &shape.kind {
                Kind::Structure(_) => true,
                Kind::List(member) => has_rules(model, *member),
                Kind::Map { key, value } => has_rules(model, *key) || has_rules(model, *value),
                _ => false,
            })
}

fn length(value: &Json<'_>) -> Option<i64> {
    let length = match value {
        Json::String(text) => text.chars().count(),
        Json::Array(list) => list.len(),
        Json::Object(entries) => entries.len(),
        _ => return None,
    };
    i64::try_from(length).ok()
}

/// A map's rules for its keys or values, all of them, as the service lists them.
fn all_rules(shape: &Shape) -> Vec<String> {
    let mut rules = Vec::new();
    if let Some(max) = shape.max {
        rules.push(format!("Member must have length less than or equal to {max}"));
    }
    if let Some(min) = shape.min {
        rules.push(format!("Member must have length greater than or equal to {min}"));
    }
    if let Some(pattern) = &shape.pattern {
        rules.push(format!("Member must satisfy regular expression pattern: {pattern}"));
    }
    rules
}

/// The rules of its shape that this value breaks.
fn broken(shape: &Shape, value: &Json<'_>, length_checked: bool) -> Vec<String> {
    let mut rules = Vec::new();
    if let Json::String(text) = value {
        if shape.name == "TableArn" && is_arn(text) {
            return rules;
        }
        if !shape.values.is_empty() && !shape.values.iter().any(|legal| legal == text) {
            rules
                .push(format!("Member must satisfy enum value set: [{}]", shape.values.join(", ")));
        }
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
        if let Some(pattern) = &shape.pattern
            && (text.is_empty() || !text.bytes().all(legal))
        {
            rules.push(format!("Member must satisfy regular expression pattern: {pattern}"));
        }
    }
    if length_checked {
        return rules;
    }
    let (size, what) = match (&shape.kind, value) {
        (Kind::Integer | Kind::Long, Json::Number(text)) => (text.parse().ok(), "value"),
        (Kind::Double, _) => (None, "value"),
        _ => (length(value), "length"),
    };
    let Some(size) = size else { return rules };
    if let Some(min) = shape.min
        && size < min
    {
        rules.push(format!("Member must have {what} greater than or equal to {min}"));
    }
    if let Some(max) = shape.max
        && size > max
    {
        rules.push(format!("Member must have {what} less than or equal to {max}"));
    }
    rules
}

fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") }
}

/// `TableName` is `tableName` in texts.
pub(crate) fn lower_first(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

/// A value as texts quote it: strings bare, lists in brackets, objects as JSON.
pub(crate) fn quote(value: &Json<'_>) -> String {
    let mut out = String::new();
    write_quoted(&mut out, value);
    if out.len() > MOST_QUOTED_BYTES {
        let end = (0..=MOST_QUOTED_BYTES).rev().find(|&at| out.is_char_boundary(at));
        out.truncate(end.unwrap_or_default());
    }
    out
}

fn write_quoted(out: &mut String, value: &Json<'_>) {
    if out.len() > MOST_QUOTED_BYTES {
        return;
    }
    match value {
        Json::Null => out.push_str("null"),
        Json::Bool(truth) => {
            let _ = write!(out, "{truth}");
        }
        Json::Number(text) => out.push_str(text),
        Json::String(text) => out.push_str(text),
        Json::Blob(bytes) => out.push_str(&STANDARD.encode(bytes)),
        Json::Array(list) => {
            out.push('[');
            for (index, one) in list.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                write_quoted(out, one);
            }
            out.push(']');
        }
        Json::Object(_) => {
            let mut bytes = Vec::new();
            write_json(&mut bytes, value);
            out.push_str(&String::from_utf8_lossy(&bytes));
        }
    }
}

fn write_json(out: &mut Vec<u8>, value: &Json<'_>) {
    if out.len() > MOST_QUOTED_BYTES {
        return;
    }
    match value {
        Json::String(text) => write_string(out, text),
        Json::Blob(bytes) => write_string(out, &STANDARD.encode(bytes)),
        Json::Array(list) => {
            out.push(b'[');
            for (index, one) in list.iter().enumerate() {
                out.extend_from_slice(if index > 0 { b"," } else { b"" });
                write_json(out, one);
            }
            out.push(b']');
        }
        Json::Object(members) => {
            out.push(b'{');
            for (index, (name, one)) in members.iter().enumerate() {
                out.extend_from_slice(if index > 0 { b"," } else { b"" });
                write_string(out, name);
                out.push(b':');
                write_json(out, one);
            }
            out.push(b'}');
        }
        scalar => {
            let mut text = String::new();
            write_quoted(&mut text, scalar);
            out.extend_from_slice(text.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{convert, json, model::model};
    use super::*;

    fn check(operation: &str, body: &str) -> Option<String> {
        let model = model();
        let (_, input) = model.operation(&format!("DynamoDB_20120810.{operation}")).unwrap();
        let body = json::parse(body.as_bytes()).unwrap();
        let request = convert::request(model, input, body).unwrap();
        violated(model, input, &request)
    }

    /// Texts as the service gives them (seen in dynalite's tests, which run against the service).
    #[test]
    fn violations_are_told_in_the_services_order_and_words() {
        assert_eq!(check("GetItem", r#"{"TableName":"abc","Key":{}}"#), None);
        assert_eq!(
            check(
                "GetItem",
                r#"{"TableName":"a;","ReturnConsumedCapacity":"hi","AttributesToGet":[]}"#
            )
            .unwrap(),
            "5 validation errors detected: \
             Value 'hi' at 'returnConsumedCapacity' failed to satisfy constraint: Member must satisfy enum value set: [INDEXES, TOTAL, NONE]; \
             Value '[]' at 'attributesToGet' failed to satisfy constraint: Member must have length greater than or equal to 1; \
             Value 'a;' at 'tableName' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+; \
             Value 'a;' at 'tableName' failed to satisfy constraint: Member must have length greater than or equal to 3; \
             Value null at 'key' failed to satisfy constraint: Member must not be null"
        );
        assert_eq!(
            check("ListTables", r#"{"Limit":101,"ExclusiveStartTableName":"89hls;;f;d"}"#).unwrap(),
            "2 validation errors detected: \
             Value '101' at 'limit' failed to satisfy constraint: Member must have value less than or equal to 100; \
             Value '89hls;;f;d' at 'exclusiveStartTableName' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+"
        );
        assert_eq!(
            check("BatchWriteItem", r#"{"RequestItems":{"aa":[]}}"#).unwrap(),
            "2 validation errors detected: \
             Value '{\"aa\":[]}' at 'requestItems' failed to satisfy constraint: Map keys must satisfy constraint: [Member must have length less than or equal to 255, Member must have length greater than or equal to 3, Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+]; \
             Value '{\"aa\":[]}' at 'requestItems' failed to satisfy constraint: Map value must satisfy constraint: [Member must have length less than or equal to 25, Member must have length greater than or equal to 1]"
        );
        assert_eq!(
            check("BatchWriteItem", r#"{"RequestItems":{"aaa":[{"PutRequest":{}}]}}"#).unwrap(),
            "1 validation error detected: Value null at 'requestItems.aaa.member.1.member.putRequest.item' failed to satisfy constraint: Member must not be null"
        );
        assert_eq!(
            check(
                "CreateTable",
                r#"{"TableName":"abc","AttributeDefinitions":[{}],"KeySchema":[]}"#
            )
            .unwrap(),
            "3 validation errors detected: \
             Value null at 'attributeDefinitions.1.member.attributeName' failed to satisfy constraint: Member must not be null; \
             Value null at 'attributeDefinitions.1.member.attributeType' failed to satisfy constraint: Member must not be null; \
             Value '[]' at 'keySchema' failed to satisfy constraint: Member must have length greater than or equal to 1"
        );
    }

    #[test]
    fn operations_on_tables_look_at_the_name_first() {
        assert_eq!(
            check("CreateTable", "{}").unwrap(),
            "The parameter 'TableName' is required but was not present in the request"
        );
        assert_eq!(
            check("DescribeTable", r#"{"TableName":"ab"}"#).unwrap(),
            "TableName must be at least 3 characters long and at most 255 characters long"
        );
        let arn = r#"{"TableName":"arn:aws:dynamodb:us-east:000000000000:table/music"}"#;
        assert_eq!(check("DescribeTable", arn), None);
        assert_eq!(
            check("DescribeTable", r#"{"TableName":"a/b c"}"#).unwrap(),
            "1 validation error detected: Value 'a/b c' at 'tableName' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+"
        );
    }

    #[test]
    fn no_more_than_ten_are_told() {
        let definitions = vec!["{}"; 100].join(",");
        let body = format!(r#"{{"TableName":"abc","AttributeDefinitions":[{definitions}]}}"#);
        assert!(check("CreateTable", &body).unwrap().starts_with("10 validation errors detected"));
    }
}
