//! Key conditions of a Query: the partition key with `=`, and at most one condition on the sort key,
//! joined by AND. They are conditions of a narrower grammar, so the condition parser reads them and this
//! file takes the tree apart.

use super::parser::parse_with;
use super::{Comparator, Condition, ExpressionError, Operand, Path, Step, Substitutions};
use crate::key::{KeySchema, SortCondition};
use crate::value::Value;

const KIND: &str = "KeyConditionExpression";

/// The partition key's value and what is asked of the sort key.
pub fn parse_key_condition(
    text: &str,
    substitutions: &mut Substitutions<'_>,
    schema: &KeySchema,
) -> Result<(Value, Option<SortCondition>), ExpressionError> {
    substitutions.check()?;
    let condition = parse_with(KIND, text, substitutions)?;
    let mut parts = Vec::new();
    flatten(condition, &mut parts)?;
    let (mut partition, mut sort) = (None, None);
    for (name, part) in parts {
        if name == schema.partition.name {
            let SortCondition::Eq(value) = part else {
                return Err(ExpressionError::KeyConditionNotSupported);
            };
            if partition.replace(value).is_some() {
                return Err(twice(&name));
            }
        } else if schema.sort.as_ref().is_some_and(|attribute| attribute.name == name) {
            if sort.replace(part).is_some() {
                return Err(twice(&name));
            }
        } else {
            let missed = if partition.is_none() { &schema.partition.name } else { &name };
            return Err(ExpressionError::MissedKey(missed.clone()));
        }
    }
    let missed = || ExpressionError::MissedKey(schema.partition.name.clone());
    Ok((partition.ok_or_else(missed)?, sort))
}

fn invalid(reason: impl Into<String>) -> ExpressionError {
    ExpressionError::Invalid { kind: KIND, reason: reason.into() }
}

fn twice(name: &str) -> ExpressionError {
    invalid(format!("KeyConditionExpressions must only contain one condition per key; key: {name}"))
}

fn flatten(
    condition: Condition,
    parts: &mut Vec<(String, SortCondition)>,
) -> Result<(), ExpressionError> {
    let operator =
        |name: &str| invalid(format!("Invalid operator used in KeyConditionExpression: {name}"));
    let part = match condition {
        // The depth of the tree is bounded by the parser.
        Condition::And(a, b) => {
            flatten(*a, parts)?;
            return flatten(*b, parts);
        }
        Condition::Compare(Operand::Path(path), comparator, Operand::Value(value)) => {
            (path, ordered(comparator, value)?)
        }
        Condition::Compare(Operand::Value(value), comparator, Operand::Path(path)) => {
            let mirrored = match comparator {
                Comparator::Lt => Comparator::Gt,
                Comparator::Le => Comparator::Ge,
                Comparator::Gt => Comparator::Lt,
                Comparator::Ge => Comparator::Le,
                same => same,
            };
            (path, ordered(mirrored, value)?)
        }
        Condition::Between(Operand::Path(path), Operand::Value(low), Operand::Value(high)) => {
            (path, SortCondition::Between(low, high))
        }
        Condition::BeginsWith(Operand::Path(path), Operand::Value(prefix)) => {
            (path, SortCondition::BeginsWith(prefix))
        }
        Condition::Or(..) => return Err(operator("OR")),
        Condition::Not(_) => return Err(operator("NOT")),
        Condition::In(..) => return Err(operator("IN")),
        Condition::Exists(_) => return Err(operator("attribute_exists")),
        Condition::NotExists(_) => return Err(operator("attribute_not_exists")),
        Condition::TypeIs(..) => return Err(operator("attribute_type")),
        Condition::Contains(..) => return Err(operator("contains")),
        Condition::Compare(..) | Condition::Between(..) | Condition::BeginsWith(..) => {
            return Err(ExpressionError::KeyConditionNotSupported);
        }
    };
    let (Path(steps), part) = part;
    match <[Step; 1]>::try_from(steps) {
        Ok([Step::Attribute(name)]) => parts.push((name, part)),
        _ => {
            return Err(invalid(
                "KeyConditionExpressions cannot have conditions on nested attributes",
            ));
        }
    }
    Ok(())
}

fn ordered(comparator: Comparator, value: Value) -> Result<SortCondition, ExpressionError> {
    Ok(match comparator {
        Comparator::Eq => SortCondition::Eq(value),
        Comparator::Lt => SortCondition::Lt(value),
        Comparator::Le => SortCondition::Le(value),
        Comparator::Gt => SortCondition::Gt(value),
        Comparator::Ge => SortCondition::Ge(value),
        Comparator::Ne => {
            return Err(invalid("Invalid operator used in KeyConditionExpression: <>"));
        }
    })
}
