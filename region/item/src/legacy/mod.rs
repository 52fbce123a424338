//! The parameters that came before expressions (developer guide, "Legacy conditional parameters"):
//! `Expected`, `AttributeUpdates`, `KeyConditions`, `QueryFilter`, `ScanFilter`, `AttributesToGet` and
//! `ConditionalOperator`, as the same conditions, updates and projections that expressions become.
//!
//! Always true: attributes are top-level, a name with a dot in it is one attribute; the errors are
//! DynamoDB's own for these parameters and do not name an expression.

mod conditions;
mod updates;

use crate::projection::Projection;
use crate::value::Value;

pub use conditions::{
    ComparisonOperator, ConditionalOperator, Expected, LegacyCondition, conditions_to_filter,
    expected_to_condition, key_conditions,
};
pub use updates::{AttributeAction, AttributeUpdate, attribute_updates_to_update};

/// What is wrong with a legacy parameter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LegacyError {
    #[error("One or more parameter values were invalid: {0}")]
    Invalid(String),
    #[error(
        "The BETWEEN condition was provided a range where the lower bound is greater than the upper bound"
    )]
    BetweenOrder,
    #[error("Conditions can be of length 1 or 2 only")]
    KeyConditionCount,
    #[error("Attempted conditional constraint is not an indexable operation")]
    NotIndexable,
    #[error("ConditionalOperator cannot be used without Filter or Expected")]
    OperatorAlone,
    #[error(
        "ConditionalOperator can only be used when Filter or Expected has two or more elements"
    )]
    OperatorOfOne,
    #[error("{0}")]
    Item(#[from] crate::value::ItemError),
}

fn invalid(reason: impl Into<String>) -> LegacyError {
    LegacyError::Invalid(reason.into())
}

/// `AttributesToGet`: top-level attributes, each once.
pub fn attributes_to_get(names: &[String]) -> Result<Projection, LegacyError> {
    let mut seen = std::collections::BTreeSet::new();
    match names.iter().find(|name| !seen.insert(name.as_str())) {
        Some(name) => Err(invalid(format!("Duplicate value in attribute name: {name}"))),
        None => Ok(Projection::of_attributes(names.iter())),
    }
}

/// A type that is ordered and can be a member of a set.
fn is_scalar(value: &Value) -> bool {
    matches!(value, Value::S(_) | Value::N(_) | Value::B(_))
}

#[cfg(test)]
mod tests;
