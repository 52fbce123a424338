//! What several requests have in common: names, items, conditions, limits, enums.

use std::collections::BTreeMap;

use tombolo_client::{convert, v1};
use tombolo_item::{Condition, Item, Value};

use crate::arn;
use crate::errors;
use crate::failure::Failure;
use crate::operation::{PageRequest, ReturnValues};

/// A table's name: 3 to 255 of a-z, A-Z, 0-9, '_', '-' and '.'.
pub(super) fn table_name(name: String) -> Result<String, Failure> {
    match arn::is_name(&name) {
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
    let values = values(wire_values)?;
    let Some(text) = text else {
        return Err(without_expression(&names));
    };
    let condition = tombolo_item::condition::parse(&text, &names, &values);
    condition.map(Some).map_err(errors::from_expression)
}

/// Placeholders that no expression could use.
pub(super) fn without_expression(names: &BTreeMap<String, String>) -> Failure {
    errors::placeholders_without_expression(match names.is_empty() {
        true => "ExpressionAttributeValues",
        false => "ExpressionAttributeNames",
    })
}

/// What a write is to give back.
pub(super) fn return_values(number: i32) -> Result<ReturnValues, Failure> {
    match v1::ReturnValues::try_from(number) {
        Ok(v1::ReturnValues::Unspecified | v1::ReturnValues::None) => Ok(ReturnValues::None),
        Ok(v1::ReturnValues::AllOld) => Ok(ReturnValues::AllOld),
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
}
