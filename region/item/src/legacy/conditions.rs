//! Comparisons of attributes with values: `Expected`, `QueryFilter`, `ScanFilter`, `KeyConditions`.

use std::collections::BTreeMap;

use super::{LegacyError, invalid, is_scalar};
use crate::condition::{Comparator, Condition, KeyExpression, Operand};
use crate::expression::Path;
use crate::key::SortCondition;
use crate::value::Value;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ComparisonOperator {
    Eq,
    Ne,
    In,
    Le,
    Lt,
    Ge,
    Gt,
    Between,
    NotNull,
    Null,
    Contains,
    NotContains,
    BeginsWith,
}

/// How several conditions belong together; AND where nothing is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConditionalOperator {
    And,
    Or,
}

impl ConditionalOperator {
    /// As requests name it.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "AND" => Self::And,
            "OR" => Self::Or,
            _ => return None,
        })
    }
}

impl ComparisonOperator {
    const NAMES: [(&'static str, Self); 13] = [
        ("EQ", Self::Eq),
        ("NE", Self::Ne),
        ("IN", Self::In),
        ("LE", Self::Le),
        ("LT", Self::Lt),
        ("GE", Self::Ge),
        ("GT", Self::Gt),
        ("BETWEEN", Self::Between),
        ("NOT_NULL", Self::NotNull),
        ("NULL", Self::Null),
        ("CONTAINS", Self::Contains),
        ("NOT_CONTAINS", Self::NotContains),
        ("BEGINS_WITH", Self::BeginsWith),
    ];

    /// As requests name it.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, operator)| *operator)
    }

    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, known)| *known == self).map_or("", |(name, _)| name)
    }

    fn takes(self, count: usize) -> bool {
        match self {
            Self::NotNull | Self::Null => count == 0,
            Self::In => count > 0,
            Self::Between => count == 2,
            _ => count == 1,
        }
    }

    /// Whether it compares with values of this type.
    fn takes_type(self, value: &Value) -> bool {
        match self {
            Self::Eq | Self::Ne | Self::Null | Self::NotNull => true,
            Self::BeginsWith => matches!(value, Value::S(_) | Value::B(_)),
            _ => is_scalar(value),
        }
    }
}

/// The API's `Condition`: an operator and what it compares with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegacyCondition {
    pub operator: ComparisonOperator,
    pub values: Vec<Value>,
}

/// The API's `ExpectedAttributeValue`. `operator` and `values` belong together, and `value` and
/// `exists`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    pub value: Option<Value>,
    pub exists: Option<bool>,
    pub operator: Option<ComparisonOperator>,
    pub values: Option<Vec<Value>>,
}

/// `Expected`, from attribute names.
pub fn expected_to_condition(
    expected: &BTreeMap<String, Expected>,
    operator: Option<ConditionalOperator>,
) -> Result<Option<Condition>, LegacyError> {
    let conditions: Vec<_> = expected
        .iter()
        .map(|(name, expected)| expected.condition(name))
        .collect::<Result<_, _>>()?;
    join(conditions, operator)
}

/// `QueryFilter` or `ScanFilter`, from attribute names.
pub fn conditions_to_filter(
    conditions: &BTreeMap<String, LegacyCondition>,
    operator: Option<ConditionalOperator>,
) -> Result<Option<Condition>, LegacyError> {
    let conditions: Vec<_> = conditions
        .iter()
        .map(|(name, condition)| condition.clone().condition(name))
        .collect::<Result<_, _>>()?;
    join(conditions, operator)
}

/// `KeyConditions`, from attribute names; the schema is asked when it is resolved.
pub fn key_conditions(
    conditions: &BTreeMap<String, LegacyCondition>,
) -> Result<KeyExpression, LegacyError> {
    for condition in conditions.values() {
        condition.check()?;
    }
    if !(1..=2).contains(&conditions.len()) {
        return Err(LegacyError::KeyConditionCount);
    }
    let parts = conditions.iter().map(|(name, condition)| {
        let mut values = condition.values.iter().cloned();
        let condition = match (condition.operator, values.next(), values.next()) {
            (ComparisonOperator::Eq, Some(value), None) => SortCondition::Eq(value),
            (ComparisonOperator::Le, Some(value), None) => SortCondition::Le(value),
            (ComparisonOperator::Lt, Some(value), None) => SortCondition::Lt(value),
            (ComparisonOperator::Ge, Some(value), None) => SortCondition::Ge(value),
            (ComparisonOperator::Gt, Some(value), None) => SortCondition::Gt(value),
            (ComparisonOperator::BeginsWith, Some(value), None) => SortCondition::BeginsWith(value),
            (ComparisonOperator::Between, Some(low), Some(high)) => {
                SortCondition::Between(low, high)
            }
            _ => return Err(LegacyError::NotIndexable),
        };
        Ok((name.clone(), condition))
    });
    Ok(KeyExpression { parts: parts.collect::<Result<_, _>>()? })
}

/// Balanced, so that as many conditions as a request can hold nest no deeper than a condition may.
fn join(
    mut conditions: Vec<Condition>,
    operator: Option<ConditionalOperator>,
) -> Result<Option<Condition>, LegacyError> {
    match (conditions.len(), operator) {
        (0, Some(_)) => return Err(LegacyError::OperatorAlone),
        (1, Some(_)) => return Err(LegacyError::OperatorOfOne),
        _ => {}
    }
    while conditions.len() > 1 {
        let mut joined = Vec::with_capacity(conditions.len().div_ceil(2));
        let mut left = conditions.into_iter();
        while let Some(a) = left.next() {
            joined.push(match (left.next(), operator) {
                (None, _) => a,
                (Some(b), Some(ConditionalOperator::Or)) => Condition::Or(Box::new(a), Box::new(b)),
                (Some(b), _) => Condition::And(Box::new(a), Box::new(b)),
            });
        }
        conditions = joined;
    }
    Ok(conditions.pop())
}

impl Expected {
    fn condition(&self, name: &str) -> Result<Condition, LegacyError> {
        let path = Path::attribute(name);
        if self.value.is_some() && self.values.is_some() {
            return Err(invalid(format!(
                "Value and AttributeValueList cannot be used together for Attribute: {name}"
            )));
        }
        if let Some(operator) = self.operator {
            if self.exists.is_some() {
                return Err(invalid(format!(
                    "Exists and ComparisonOperator cannot be used together for Attribute: {name}"
                )));
            }
            let values = match (&self.values, &self.value) {
                (Some(values), _) => values.clone(),
                (None, Some(value)) => vec![value.clone()],
                (None, None) if operator.takes(0) => Vec::new(),
                (None, None) => {
                    return Err(invalid(format!(
                        "Value or AttributeValueList must be used with ComparisonOperator: {} for \
                         Attribute: {name}",
                        operator.name()
                    )));
                }
            };
            return LegacyCondition { operator, values }.condition(name);
        }
        if self.values.is_some() {
            return Err(invalid(format!(
                "AttributeValueList can only be used with a ComparisonOperator for Attribute: {name}"
            )));
        }
        match (self.exists, &self.value) {
            (Some(false), None) => Ok(Condition::NotExists(path)),
            (Some(false), Some(_)) => Err(invalid(format!(
                "Value cannot be used when Exists is false for Attribute: {name}"
            ))),
            (exists, None) => {
                let exists = exists.map_or("null", |_| "true");
                Err(invalid(format!(
                    "Value must be provided when Exists is {exists} for Attribute: {name}"
                )))
            }
            (_, Some(value)) => {
                value.check()?;
                let (path, value) = (Operand::Path(path), Operand::Value(value.clone()));
                Ok(Condition::Compare(path, Comparator::Eq, value))
            }
        }
    }
}

impl LegacyCondition {
    fn check(&self) -> Result<(), LegacyError> {
        let name = self.operator.name();
        for value in &self.values {
            value.check()?;
        }
        if !self.operator.takes(self.values.len()) {
            return Err(invalid(format!(
                "Invalid number of argument(s) for the {name} ComparisonOperator"
            )));
        }
        let kind = |value: &Value| value.type_name();
        if self.values.windows(2).any(|pair| kind(&pair[0]) != kind(&pair[1])) {
            return Err(invalid("AttributeValues inside AttributeValueList must be of same type"));
        }
        if let Some(value) = self.values.iter().find(|value| !self.operator.takes_type(value)) {
            return Err(invalid(format!(
                "ComparisonOperator {name} is not valid for {} AttributeValue type",
                kind(value)
            )));
        }
        match (self.operator, &self.values[..]) {
            (ComparisonOperator::Between, [low, high]) if low > high => {
                Err(LegacyError::BetweenOrder)
            }
            _ => Ok(()),
        }
    }

    fn condition(self, name: &str) -> Result<Condition, LegacyError> {
        self.check()?;
        let path = Path::attribute(name);
        let left = Operand::Path(path.clone());
        let mut values = self.values.into_iter().map(Operand::Value);
        if self.operator == ComparisonOperator::In {
            return Ok(Condition::In(left, values.collect()));
        }
        let compare = |left, comparator, value| Condition::Compare(left, comparator, value);
        Ok(match (self.operator, values.next(), values.next()) {
            (ComparisonOperator::NotNull, ..) => Condition::Exists(path),
            (ComparisonOperator::Null, ..) => Condition::NotExists(path),
            (ComparisonOperator::Eq, Some(value), _) => compare(left, Comparator::Eq, value),
            (ComparisonOperator::Ne, Some(value), _) => compare(left, Comparator::Ne, value),
            (ComparisonOperator::Le, Some(value), _) => compare(left, Comparator::Le, value),
            (ComparisonOperator::Lt, Some(value), _) => compare(left, Comparator::Lt, value),
            (ComparisonOperator::Ge, Some(value), _) => compare(left, Comparator::Ge, value),
            (ComparisonOperator::Gt, Some(value), _) => compare(left, Comparator::Gt, value),
            (ComparisonOperator::Between, Some(low), Some(high)) => {
                Condition::Between(left, low, high)
            }
            (ComparisonOperator::BeginsWith, Some(prefix), _) => {
                Condition::BeginsWith(left, prefix)
            }
            (ComparisonOperator::Contains, Some(part), _) => Condition::Contains(left, part),
            // An attribute that is not there does not satisfy it.
            (ComparisonOperator::NotContains, Some(part), _) => Condition::And(
                Box::new(Condition::Exists(path)),
                Box::new(Condition::Not(Box::new(Condition::Contains(left, part)))),
            ),
            (operator, ..) => {
                return Err(invalid(format!(
                    "Invalid number of argument(s) for the {} ComparisonOperator",
                    operator.name()
                )));
            }
        })
    }
}
