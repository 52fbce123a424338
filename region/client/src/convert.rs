//! `tombolo.v1` messages <-> `tombolo_item` types, each in a single pass that moves what it can.
//!
//! Always true: what comes out of [`value`] and [`item`] is of exactly one kind, its numbers are in
//! range and its sets have no duplicates and are not empty. Size and depth are the item's own
//! business ([`Item::validate`]). The texts of [`ConvertError`] are DynamoDB's.

use std::collections::{BTreeMap, BTreeSet};

use tombolo_item::{Item, Number, SortCondition, Stamp, StreamView, Value};

use crate::v1;
use crate::v1::attribute_value::Value as Wire;

/// Why a message is no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConvertError {
    /// Nothing is set, or something that this version does not know.
    #[error(
        "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes"
    )]
    Unset,
    /// The text is no number, or none in range.
    #[error("{0}")]
    Number(String),
    /// A set without elements.
    #[error("One or more parameter values were invalid: {}", empty_set(.0))]
    EmptySet(&'static str),
    /// A set with the same element twice.
    #[error("One or more parameter values were invalid: Input collection {0} contains duplicates.")]
    Duplicates(String),
    /// The same, of numbers: DynamoDB's text does not quote them.
    #[error("Input collection contains duplicates")]
    DuplicateNumbers,
    /// Null says false.
    #[error(
        "One or more parameter values were invalid: Null attribute value types must have the value of true"
    )]
    NullFalse,
    /// A sort condition of no kind.
    #[error(
        "The sort condition is empty, must contain exactly one of eq, lt, le, gt, ge, between, begins_with"
    )]
    NoCondition,
}

/// A number from its text.
fn number(text: &str) -> Result<Number, ConvertError> {
    text.parse::<Number>().map_err(|error| ConvertError::Number(error.to_string()))
}

/// A set out of elements that must all differ.
fn set<T: Ord>(
    kind: &'static str,
    count: usize,
    elements: impl Iterator<Item = Result<T, ConvertError>>,
    shown: impl FnOnce() -> String,
) -> Result<BTreeSet<T>, ConvertError> {
    if count == 0 {
        return Err(ConvertError::EmptySet(kind));
    }
    let set = elements.collect::<Result<BTreeSet<T>, _>>()?;
    if set.len() == count { Ok(set) } else { Err(ConvertError::Duplicates(shown())) }
}

/// The elements of a set as an error shows them: not more than a few.
fn shown<'a>(elements: impl Iterator<Item = &'a str>) -> String {
    let mut text = String::from("[");
    for (index, element) in elements.enumerate() {
        if text.len() > 256 {
            text.push_str(", ...");
            break;
        }
        if index > 0 {
            text.push_str(", ");
        }
        text.extend(element.chars().take(64));
    }
    text.push(']');
    text
}

/// DynamoDB's own spelling, which differs by type.
fn empty_set(kind: &str) -> String {
    match kind {
        "binary" => "Binary sets should not be empty".to_owned(),
        kind => format!("An {kind} set  may not be empty"),
    }
}

/// A value from the wire.
pub fn value(wire: v1::AttributeValue) -> Result<Value, ConvertError> {
    Ok(match wire.value.ok_or(ConvertError::Unset)? {
        Wire::S(text) => Value::S(text),
        Wire::N(text) => Value::N(number(&text)?),
        Wire::B(bytes) => Value::B(bytes),
        Wire::Bool(truth) => Value::Bool(truth),
        Wire::Null(true) => Value::Null,
        Wire::Null(false) => return Err(ConvertError::NullFalse),
        Wire::M(map) => Value::M(attributes(map.entries)?),
        Wire::L(list) => Value::L(list.values.into_iter().map(value).collect::<Result<_, _>>()?),
        Wire::Ss(v1::StringSet { values }) => {
            let count = values.len();
            // Kept for the error only when there can be one.
            let text = has_duplicates(&values).then(|| shown(values.iter().map(String::as_str)));
            Value::Ss(set("string", count, values.into_iter().map(Ok), || {
                text.unwrap_or_default()
            })?)
        }
        Wire::Ns(v1::NumberSet { values }) => {
            let numbers = values.iter().map(|text| number(text));
            let set = set("number", values.len(), numbers, String::new);
            Value::Ns(set.map_err(|error| match error {
                ConvertError::Duplicates(_) => ConvertError::DuplicateNumbers,
                other => other,
            })?)
        }
        Wire::Bs(v1::BinarySet { values }) => {
            let count = values.len();
            Value::Bs(set("binary", count, values.into_iter().map(Ok), || {
                format!("[{count} values]")
            })?)
        }
    })
}

/// Whether two of these are equal.
fn has_duplicates(values: &[String]) -> bool {
    let mut seen = BTreeSet::new();
    !values.iter().all(|value| seen.insert(value.as_str()))
}

/// Named values from the wire.
pub fn attributes(
    wire: BTreeMap<String, v1::AttributeValue>,
) -> Result<BTreeMap<String, Value>, ConvertError> {
    wire.into_iter().map(|(name, wire)| Ok((name, value(wire)?))).collect()
}

/// An item from the wire.
pub fn item(wire: BTreeMap<String, v1::AttributeValue>) -> Result<Item, ConvertError> {
    attributes(wire).map(Item)
}

/// A value for the wire.
pub fn value_to_wire(value: Value) -> v1::AttributeValue {
    let wire = match value {
        Value::S(text) => Wire::S(text),
        Value::N(number) => Wire::N(number.to_string()),
        Value::B(bytes) => Wire::B(bytes),
        Value::Bool(truth) => Wire::Bool(truth),
        Value::Null => Wire::Null(true),
        Value::M(map) => Wire::M(v1::MapValue { entries: attributes_to_wire(map) }),
        Value::L(list) => {
            Wire::L(v1::ListValue { values: list.into_iter().map(value_to_wire).collect() })
        }
        Value::Ss(set) => Wire::Ss(v1::StringSet { values: set.into_iter().collect() }),
        Value::Ns(set) => {
            Wire::Ns(v1::NumberSet { values: set.iter().map(Number::to_string).collect() })
        }
        Value::Bs(set) => Wire::Bs(v1::BinarySet { values: set.into_iter().collect() }),
    };
    v1::AttributeValue { value: Some(wire) }
}

/// Named values for the wire.
pub fn attributes_to_wire(
    attributes: BTreeMap<String, Value>,
) -> BTreeMap<String, v1::AttributeValue> {
    attributes.into_iter().map(|(name, value)| (name, value_to_wire(value))).collect()
}

/// An item for the wire.
pub fn item_to_wire(item: Item) -> BTreeMap<String, v1::AttributeValue> {
    attributes_to_wire(item.0)
}

/// A sort condition from the wire.
pub fn sort_condition(wire: v1::SortCondition) -> Result<SortCondition, ConvertError> {
    use v1::sort_condition::Condition;
    Ok(match wire.condition.ok_or(ConvertError::NoCondition)? {
        Condition::Eq(operand) => SortCondition::Eq(value(operand)?),
        Condition::Lt(operand) => SortCondition::Lt(value(operand)?),
        Condition::Le(operand) => SortCondition::Le(value(operand)?),
        Condition::Gt(operand) => SortCondition::Gt(value(operand)?),
        Condition::Ge(operand) => SortCondition::Ge(value(operand)?),
        Condition::Between(v1::Between { low, high }) => SortCondition::Between(
            value(low.ok_or(ConvertError::Unset)?)?,
            value(high.ok_or(ConvertError::Unset)?)?,
        ),
        Condition::BeginsWith(operand) => SortCondition::BeginsWith(value(operand)?),
    })
}

/// A sort condition for the wire.
pub fn sort_condition_to_wire(condition: SortCondition) -> v1::SortCondition {
    use v1::sort_condition::Condition;
    let wire = match condition {
        SortCondition::Eq(operand) => Condition::Eq(value_to_wire(operand)),
        SortCondition::Lt(operand) => Condition::Lt(value_to_wire(operand)),
        SortCondition::Le(operand) => Condition::Le(value_to_wire(operand)),
        SortCondition::Gt(operand) => Condition::Gt(value_to_wire(operand)),
        SortCondition::Ge(operand) => Condition::Ge(value_to_wire(operand)),
        SortCondition::Between(low, high) => Condition::Between(v1::Between {
            low: Some(value_to_wire(low)),
            high: Some(value_to_wire(high)),
        }),
        SortCondition::BeginsWith(operand) => Condition::BeginsWith(value_to_wire(operand)),
    };
    v1::SortCondition { condition: Some(wire) }
}

/// A stamp for the wire.
pub fn stamp_to_wire(stamp: Stamp) -> v1::Stamp {
    v1::Stamp { hlc: stamp.hlc.0, region: u32::from(stamp.region.0), sequence: stamp.seq }
}

/// A stamp from the wire; nothing when its region is out of range.
pub fn stamp(wire: v1::Stamp) -> Option<Stamp> {
    Some(Stamp {
        hlc: tombolo_item::Hlc(wire.hlc),
        region: tombolo_item::RegionId(u16::try_from(wire.region).ok()?),
        seq: wire.sequence,
    })
}

/// A stream view for the wire.
pub fn view_to_wire(view: Option<StreamView>) -> v1::StreamViewType {
    match view {
        None => v1::StreamViewType::Unspecified,
        Some(StreamView::KeysOnly) => v1::StreamViewType::KeysOnly,
        Some(StreamView::NewImage) => v1::StreamViewType::NewImage,
        Some(StreamView::OldImage) => v1::StreamViewType::OldImage,
        Some(StreamView::NewAndOldImages) => v1::StreamViewType::NewAndOldImages,
    }
}

/// A stream view from the wire.
pub fn view(wire: v1::StreamViewType) -> Option<StreamView> {
    match wire {
        v1::StreamViewType::Unspecified => None,
        v1::StreamViewType::KeysOnly => Some(StreamView::KeysOnly),
        v1::StreamViewType::NewImage => Some(StreamView::NewImage),
        v1::StreamViewType::OldImage => Some(StreamView::OldImage),
        v1::StreamViewType::NewAndOldImages => Some(StreamView::NewAndOldImages),
    }
}

#[cfg(test)]
#[path = "convert_tests.rs"]
mod tests;
