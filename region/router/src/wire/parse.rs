//! What several requests have in common: names, items, conditions, limits, enums.

use std::collections::BTreeMap;

use tombolo_client::{convert, v1};
use tombolo_item::condition::Substitutions;
use tombolo_item::{Condition, ExpressionError, Item, Value};

use crate::arn;
use crate::errors;
use crate::failure::Failure;
use crate::operation::{CapacityDetail, PageRequest, Report, ReturnValues, Select};

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

/// Expressions that share names and values, each of which one of them must use. `any` is whether there
/// is an expression at all.
pub(super) fn expressions<T>(
    names: &BTreeMap<String, String>,
    wire_values: BTreeMap<String, v1::AttributeValue>,
    any: bool,
    parse: impl FnOnce(&mut Substitutions<'_>) -> Result<T, ExpressionError>,
) -> Result<T, Failure> {
    if !(any || names.is_empty() && wire_values.is_empty()) {
        return Err(without_expression(names));
    }
    let values = values(wire_values)?;
    let mut substitutions = Substitutions::new(names, &values);
    substitutions.check().map_err(errors::from_expression)?;
    let parsed = parse(&mut substitutions).map_err(errors::from_expression)?;
    substitutions.finish().map_err(errors::from_expression)?;
    Ok(parsed)
}

/// What a write is to give back.
pub(super) fn return_values(number: i32) -> Result<ReturnValues, Failure> {
    let legal = "ALL_NEW, UPDATED_OLD, ALL_OLD, NONE, UPDATED_NEW";
    match v1::ReturnValues::try_from(number) {
        Ok(v1::ReturnValues::Unspecified | v1::ReturnValues::None) => Ok(ReturnValues::None),
        Ok(v1::ReturnValues::AllOld) => Ok(ReturnValues::AllOld),
        Ok(v1::ReturnValues::UpdatedOld) => Ok(ReturnValues::UpdatedOld),
        Ok(v1::ReturnValues::AllNew) => Ok(ReturnValues::AllNew),
        Ok(v1::ReturnValues::UpdatedNew) => Ok(ReturnValues::UpdatedNew),
        Err(_) => Err(errors::unknown_enum(number, "returnValues", legal)),
    }
}

/// What the answer is to report besides its content.
pub(super) fn report(capacity: i32, collections: i32) -> Result<Report, Failure> {
    use v1::ReturnConsumedCapacity as Capacity;
    use v1::ReturnItemCollectionMetrics as Collections;
    let capacity = match Capacity::try_from(capacity) {
        Ok(Capacity::Unspecified | Capacity::None) => CapacityDetail::None,
        Ok(Capacity::Total) => CapacityDetail::Total,
        Ok(Capacity::Indexes) => CapacityDetail::Indexes,
        Err(_) => {
            let legal = "INDEXES, TOTAL, NONE";
            return Err(errors::unknown_enum(capacity, "returnConsumedCapacity", legal));
        }
    };
    let collections = match Collections::try_from(collections) {
        Ok(Collections::Unspecified | Collections::None) => false,
        Ok(Collections::Size) => true,
        Err(_) => {
            let parameter = "returnItemCollectionMetrics";
            return Err(errors::unknown_enum(collections, parameter, "SIZE, NONE"));
        }
    };
    Ok(Report { capacity, collections })
}

/// Which attributes to return.
pub(super) fn select(number: i32) -> Result<Option<Select>, Failure> {
    let legal = "SPECIFIC_ATTRIBUTES, COUNT, ALL_ATTRIBUTES, ALL_PROJECTED_ATTRIBUTES";
    match v1::Select::try_from(number) {
        Ok(v1::Select::Unspecified) => Ok(None),
        Ok(v1::Select::AllAttributes) => Ok(Some(Select::AllAttributes)),
        Ok(v1::Select::AllProjectedAttributes) => Ok(Some(Select::AllProjectedAttributes)),
        Ok(v1::Select::SpecificAttributes) => Ok(Some(Select::SpecificAttributes)),
        Ok(v1::Select::Count) => Ok(Some(Select::Count)),
        Err(_) => Err(errors::unknown_enum(number, "select", legal)),
    }
}

/// Which of how many parts of a scan.
pub(super) fn segment(
    segment: Option<i32>,
    total: Option<i32>,
) -> Result<Option<(u32, u32)>, Failure> {
    let number = |number: i32, parameter, least: i32| match number >= least {
        true => Ok(number.unsigned_abs()),
        false => Err(errors::too_small(number, parameter, least.unsigned_abs().into())),
    };
    match (segment, total) {
        (None, None) => Ok(None),
        (Some(segment), Some(total)) => {
            Ok(Some((number(segment, "segment", 0)?, number(total, "totalSegments", 1)?)))
        }
        (None, Some(_)) => Err(errors::segment_without_total("Segment", "TotalSegments")),
        (Some(_), None) => Err(errors::segment_without_total("TotalSegments", "Segment")),
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
