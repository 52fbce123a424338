//! What several requests have in common: names, items, conditions, limits, enums.

use std::collections::{BTreeMap, BTreeSet};

use tombolo_client::{convert, v1};
use tombolo_item::{Condition, Item, Value};

use crate::errors::{self, Failure};
use crate::key_condition;
use crate::operation::PageRequest;

/// Most bytes of all names and values of an expression (DynamoDB's quotas: 2 MB).
const PLACEHOLDER_BYTES: usize = 2 << 20;

/// A table's name: 3 to 255 of a-z, A-Z, 0-9, '_', '-' and '.'.
pub(super) fn table_name(name: String) -> Result<String, Failure> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    match (3..=255).contains(&name.len()) && name.bytes().all(legal) {
        true => Ok(name),
        false => Err(errors::bad_table_name()),
    }
}

/// Attributes from the wire.
pub(super) fn item(wire: BTreeMap<String, v1::AttributeValue>) -> Result<Item, Failure> {
    convert::item(wire).map_err(|error| errors::validation(error.to_string()))
}

/// Values from the wire.
pub(super) fn values(
    wire: BTreeMap<String, v1::AttributeValue>,
) -> Result<BTreeMap<String, Value>, Failure> {
    convert::attributes(wire).map_err(|error| errors::validation(error.to_string()))
}

/// A key from the wire, which must have something in it.
pub(super) fn key(wire: BTreeMap<String, v1::AttributeValue>) -> Result<Item, Failure> {
    if wire.is_empty() {
        return Err(errors::missing_parameter("key"));
    }
    item(wire)
}

/// Placeholders that a text uses.
fn placeholders(text: &str) -> BTreeSet<&str> {
    let of_name = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = BTreeSet::new();
    for (at, mark) in text.char_indices().filter(|(_, c)| matches!(c, '#' | ':')) {
        let from = at + mark.len_utf8();
        let length = text[from..].find(|c| !of_name(c)).unwrap_or(text.len() - from);
        found.insert(&text[at..from + length]);
    }
    found
}

/// Refuses what an expression does not use, and what is too large.
fn check_placeholders(
    text: Option<&str>,
    names: &BTreeMap<String, String>,
    values: &BTreeMap<String, Value>,
) -> Result<(), Failure> {
    const NAMES: &str = "ExpressionAttributeNames";
    const VALUES: &str = "ExpressionAttributeValues";
    let Some(text) = text else {
        return match (names.is_empty(), values.is_empty()) {
            (false, _) => Err(errors::placeholders_without_expression(NAMES)),
            (_, false) => Err(errors::placeholders_without_expression(VALUES)),
            _ => Ok(()),
        };
    };
    let names_bytes: usize = names.iter().map(|(key, name)| key.len() + name.len()).sum();
    if names_bytes > PLACEHOLDER_BYTES {
        return Err(errors::too_long(NAMES, names_bytes, PLACEHOLDER_BYTES));
    }
    let used = placeholders(text);
    let unused = |keys: Vec<&'_ str>| -> Vec<String> {
        keys.into_iter().filter(|key| !used.contains(key)).map(str::to_owned).collect()
    };
    for (which, unused) in [
        (NAMES, unused(names.keys().map(String::as_str).collect())),
        (VALUES, unused(values.keys().map(String::as_str).collect())),
    ] {
        if !unused.is_empty() {
            let unused: Vec<&str> = unused.iter().map(String::as_str).collect();
            return Err(errors::unused_placeholders(which, &unused));
        }
    }
    Ok(())
}

/// A condition from its text, names and values.
pub(super) fn condition(
    text: Option<String>,
    names: BTreeMap<String, String>,
    wire_values: BTreeMap<String, v1::AttributeValue>,
) -> Result<Option<Condition>, Failure> {
    // The usual case first: nothing to do.
    if text.is_none() && names.is_empty() && wire_values.is_empty() {
        return Ok(None);
    }
    const EXPRESSION: &str = "ConditionExpression";
    let values = values(wire_values)?;
    if let Some(text) = &text {
        expression_length(EXPRESSION, text)?;
    }
    check_placeholders(text.as_deref(), &names, &values)?;
    let Some(text) = text else { return Ok(None) };
    let condition = tombolo_item::condition::parse(&text, &names, &values);
    condition.map(Some).map_err(|error| errors::bad_expression(EXPRESSION, error))
}

/// Refuses an empty expression and one that is too long.
pub(super) fn expression_length(which: &str, text: &str) -> Result<(), Failure> {
    if text.trim().is_empty() {
        return Err(errors::empty_expression(which));
    }
    if text.len() > key_condition::LONGEST {
        return Err(errors::expression_too_long(which, text.len(), key_condition::LONGEST));
    }
    Ok(())
}

/// Whether ALL_OLD was asked for.
pub(super) fn return_values(number: i32) -> Result<bool, Failure> {
    match v1::ReturnValues::try_from(number) {
        Ok(v1::ReturnValues::Unspecified | v1::ReturnValues::None) => Ok(false),
        Ok(v1::ReturnValues::AllOld) => Ok(true),
        Err(_) => Err(errors::unknown_enum(number, "returnValues", "ALL_OLD, NONE")),
    }
}

/// Whether a failed condition is to show the item.
pub(super) fn return_on_failure(number: i32) -> Result<bool, Failure> {
    use v1::ReturnValuesOnConditionCheckFailure as Wire;
    match Wire::try_from(number) {
        Ok(Wire::Unspecified | Wire::None) => Ok(false),
        Ok(Wire::AllOld) => Ok(true),
        Err(_) => Err(errors::unknown_enum(
            number,
            "returnValuesOnConditionCheckFailure",
            "ALL_OLD, NONE",
        )),
    }
}

/// A limit of at least 1.
pub(super) fn limit(limit: Option<i32>) -> Result<Option<u32>, Failure> {
    match limit {
        None => Ok(None),
        Some(limit) if limit >= 1 => Ok(Some(limit.unsigned_abs())),
        Some(limit) => Err(errors::too_small(limit, "limit", 1)),
    }
}

/// Which page.
pub(super) fn page(
    limit: Option<i32>,
    start: BTreeMap<String, v1::AttributeValue>,
    consistent: bool,
) -> Result<PageRequest, Failure> {
    let start = if start.is_empty() { None } else { Some(item(start)?) };
    Ok(PageRequest { limit: self::limit(limit)?, start, consistent })
}

/// This version keeps no token of a caller.
pub(super) fn no_client_token(token: Option<String>) -> Result<(), Failure> {
    if token.is_some() { Err(errors::client_token_refused()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_tables() {
        for good in ["abc", "A.b-c_9", &"x".repeat(255)] {
            assert!(table_name(good.to_string()).is_ok(), "{good}");
        }
        for bad in ["", "ab", "a b c", "tablé", "a/b", &"x".repeat(256)] {
            assert!(table_name(bad.to_string()).is_err(), "{bad}");
        }
    }

    #[test]
    fn placeholders_are_found_whatever_stands_around_them() {
        let found = placeholders("attribute_exists(#a) AND (#b.#c=:x OR :yé<> #a)");
        assert_eq!(found, BTreeSet::from(["#a", "#b", "#c", ":x", ":yé"]));
        assert_eq!(placeholders("a :"), BTreeSet::from([":"]));
    }
}
