//! The parameters that came before expressions, as typed conditions and updates.
//!
//! Always true: values are checked before what they are used for; what may be said in them, and the
//! texts, are `tombolo_item::legacy`'s.

use std::collections::BTreeMap;

use tombolo_item::condition::KeyExpression;
use tombolo_item::legacy::{
    AttributeAction, AttributeUpdate, ComparisonOperator, ConditionalOperator, Expected,
    LegacyCondition, LegacyError, attribute_updates_to_update, conditions_to_filter,
    expected_to_condition, key_conditions as to_key_expression,
};
use tombolo_item::{Condition, Update, Value};

use super::fault::Fault;
use super::fields::Fields;
use super::values;

fn refused(error: LegacyError) -> Fault {
    Fault::validation(error.to_string())
}

fn operator(fields: Fields<'_>) -> Option<ComparisonOperator> {
    fields.text("ComparisonOperator").and_then(ComparisonOperator::from_name)
}

fn joined(fields: Fields<'_>) -> Option<ConditionalOperator> {
    fields.text("ConditionalOperator").and_then(ConditionalOperator::from_name)
}

fn value(fields: Fields<'_>) -> Result<Option<Value>, Fault> {
    fields.get("Value").map(values::value).transpose().map_err(Fault::validation)
}

fn value_list(fields: Fields<'_>) -> Result<Option<Vec<Value>>, Fault> {
    let Some(list) = fields.list("AttributeValueList") else { return Ok(None) };
    list.iter().map(values::value).collect::<Result<_, _>>().map(Some).map_err(Fault::validation)
}

/// `Expected`.
pub(super) fn expected(fields: Fields<'_>) -> Result<Option<Condition>, Fault> {
    let Some(entries) = fields.entries("Expected") else {
        return expected_to_condition(&BTreeMap::new(), joined(fields)).map_err(refused);
    };
    let mut all = BTreeMap::new();
    for (name, json) in entries {
        let of = Fields::new(json);
        let one = Expected {
            exists: of.flag("Exists"),
            value: value(of)?,
            operator: operator(of),
            values: value_list(of)?,
        };
        all.insert(name.to_string(), one);
    }
    expected_to_condition(&all, joined(fields)).map_err(refused)
}

fn conditions(
    fields: Fields<'_>,
    parameter: &str,
) -> Result<BTreeMap<String, LegacyCondition>, Fault> {
    let mut all = BTreeMap::new();
    for (name, json) in fields.entries(parameter).unwrap_or_default() {
        let of = Fields::new(json);
        // The model requires the operator and knows all of them.
        let Some(operator) = operator(of) else { continue };
        let values = value_list(of)?.unwrap_or_default();
        all.insert(name.to_string(), LegacyCondition { operator, values });
    }
    Ok(all)
}

/// `QueryFilter` or `ScanFilter`.
pub(super) fn filter(fields: Fields<'_>, parameter: &str) -> Result<Option<Condition>, Fault> {
    conditions_to_filter(&conditions(fields, parameter)?, joined(fields)).map_err(refused)
}

/// `KeyConditions`.
pub(super) fn key_conditions(fields: Fields<'_>) -> Result<KeyExpression, Fault> {
    to_key_expression(&conditions(fields, "KeyConditions")?).map_err(refused)
}

/// `AttributeUpdates`.
pub(super) fn updates(fields: Fields<'_>) -> Result<Option<Update>, Fault> {
    let Some(entries) = fields.entries("AttributeUpdates") else { return Ok(None) };
    let mut all = BTreeMap::new();
    for (name, json) in entries {
        let of = Fields::new(json);
        let action = match of.text("Action") {
            None => AttributeAction::default(),
            Some(text) => AttributeAction::from_name(text).ok_or_else(|| {
                Fault::validation(format!(
                    "1 validation error detected: Value '{text}' at \
                     'attributeUpdates.{name}.member.action' failed to satisfy constraint: Member must \
                     satisfy enum value set: [ADD, DELETE, PUT]"
                ))
            })?,
        };
        all.insert(name.to_string(), AttributeUpdate { action, value: value(of)? });
    }
    attribute_updates_to_update(&all).map(Some).map_err(refused)
}
