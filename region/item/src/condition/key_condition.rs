//! Key conditions of a Query: the partition key with `=`, and at most one condition on the sort key,
//! joined by AND (developer guide, "Key condition expressions for the Query operation").
//!
//! Reading is in two steps, because DynamoDB tells what is wrong with the text before it looks for the
//! table: [`parse_key_expression`] needs none, [`KeyExpression::resolve`] asks its schema. Key conditions are
//! conditions of a narrower grammar, so the condition parser reads them and this file takes the tree apart.

use super::parser::parse_with;
use super::{
    Comparator, Condition, ExpressionError, ExpressionKind, Operand, Path, Step, Substitutions,
};
use crate::key::{KeySchema, KeyType, SortCondition};
use crate::value::Value;

/// Conditions on different attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyExpression {
    pub(crate) parts: Vec<(String, SortCondition)>,
}

/// Text to conditions on attributes.
pub fn parse_key_expression(
    text: &str,
    substitutions: &mut Substitutions<'_>,
) -> Result<KeyExpression, ExpressionError> {
    let condition = parse_with(ExpressionKind::KeyCondition, text, substitutions)?;
    let mut parts = Vec::new();
    flatten(condition, &mut parts)?;
    Ok(KeyExpression { parts })
}

/// Both steps at once: the partition key's value and what is asked of the sort key.
pub fn parse_key_condition(
    text: &str,
    substitutions: &mut Substitutions<'_>,
    schema: &KeySchema,
) -> Result<(Value, Option<SortCondition>), ExpressionError> {
    substitutions.check()?;
    parse_key_expression(text, substitutions)?.resolve(schema)
}

impl KeyExpression {
    /// The partition key's value and what is asked of the sort key. `schema` is that of the table or of the
    /// index that is asked.
    pub fn resolve(
        self,
        schema: &KeySchema,
    ) -> Result<(Value, Option<SortCondition>), ExpressionError> {
        let (conditions, attributes) = (self.parts.len(), 1 + usize::from(schema.sort.is_some()));
        if conditions > 2 {
            return Err(ExpressionError::KeyConditionCount { conditions, attributes });
        }
        if conditions > attributes {
            return Err(ExpressionError::KeyConditionNotSupported);
        }
        let both = self.parts.len() > 1;
        let mut parts = self.parts;
        let mut take = |name: &str| {
            let at = parts.iter().position(|(known, _)| known == name)?;
            Some(parts.swap_remove(at).1)
        };
        let missed = |name: &str| ExpressionError::MissedKey(name.to_owned());
        let partition =
            take(&schema.partition.name).ok_or_else(|| missed(&schema.partition.name))?;
        check_type(&partition, schema.partition.kind)?;
        let SortCondition::Eq(partition) = partition else {
            return Err(ExpressionError::KeyConditionNotSupported);
        };
        let Some(attribute) = schema.sort.as_ref().filter(|_| both) else {
            return Ok((partition, None));
        };
        let sort = take(&attribute.name).ok_or_else(|| missed(&attribute.name))?;
        check_type(&sort, attribute.kind)?;
        if matches!(sort, SortCondition::BeginsWith(_)) && attribute.kind == KeyType::N {
            return Err(ExpressionError::KeyConditionType);
        }
        Ok((partition, Some(sort)))
    }
}

fn check_type(condition: &SortCondition, kind: KeyType) -> Result<(), ExpressionError> {
    let right = |value: &Value| KeyType::of(value) == Some(kind);
    let fits = match condition {
        SortCondition::Between(low, high) => right(low) && right(high),
        SortCondition::Eq(value)
        | SortCondition::Lt(value)
        | SortCondition::Le(value)
        | SortCondition::Gt(value)
        | SortCondition::Ge(value)
        | SortCondition::BeginsWith(value) => right(value),
    };
    if fits { Ok(()) } else { Err(ExpressionError::KeyConditionType) }
}

fn rule(reason: impl Into<String>) -> ExpressionError {
    ExpressionError::Invalid { kind: ExpressionKind::KeyCondition, reason: reason.into() }
}

fn flatten(
    condition: Condition,
    parts: &mut Vec<(String, SortCondition)>,
) -> Result<(), ExpressionError> {
    let operator =
        |name: &str| rule(format!("Invalid operator used in KeyConditionExpression: {name}"));
    let (operands, name) = match condition {
        // The depth of the tree is bounded by the parser.
        Condition::And(a, b) => {
            flatten(*a, parts)?;
            return flatten(*b, parts);
        }
        Condition::Or(..) => return Err(operator("OR")),
        Condition::Not(_) => return Err(operator("NOT")),
        Condition::In(..) => return Err(operator("IN")),
        Condition::Exists(_) => return Err(operator("attribute_exists")),
        Condition::NotExists(_) => return Err(operator("attribute_not_exists")),
        Condition::TypeIs(..) => return Err(operator("attribute_type")),
        Condition::Contains(..) => return Err(operator("contains")),
        Condition::Compare(_, Comparator::Ne, _) => return Err(operator("<>")),
        Condition::Compare(a, comparator, b) => (vec![a, b], Name::Comparator(comparator)),
        Condition::Between(a, b, c) => (vec![a, b, c], Name::Between),
        Condition::BeginsWith(a, b) => (vec![a, b], Name::BeginsWith),
    };
    let invalid =
        |reason: &str| rule(format!("Invalid condition in KeyConditionExpression: {reason}"));
    let mut key = None;
    let mut values = Vec::new();
    for (place, operand) in operands.into_iter().enumerate() {
        match operand {
            Operand::Size(_) => {
                return Err(rule("KeyConditionExpressions cannot contain nested operations"));
            }
            Operand::Path(_) if key.is_some() => {
                return Err(invalid("Multiple attribute names used in one condition"));
            }
            Operand::Path(path) => key = Some((place, path)),
            Operand::Value(value) => values.push(value),
        }
    }
    let first = match name {
        Name::Between => Some("BETWEEN"),
        Name::BeginsWith => Some("begins_with"),
        Name::Comparator(_) => None,
    };
    let (place, path) = match (key, first) {
        (Some((place, _)), Some(name)) if place > 0 => {
            return Err(invalid(&format!(
                "{name} operator must have the key attribute as its first operand"
            )));
        }
        (None, Some(name)) => {
            return Err(invalid(&format!(
                "{name} operator must have the key attribute as its first operand"
            )));
        }
        (None, None) => return Err(invalid("No key attribute specified")),
        (Some(key), _) => key,
    };
    let attribute = attribute_of(path)?;
    if parts.iter().any(|(known, _)| *known == attribute) {
        return Err(rule("KeyConditionExpressions must only contain one condition per key"));
    }
    let mut values = values.into_iter();
    let condition = match (name, values.next(), values.next()) {
        (Name::Between, Some(low), Some(high)) => SortCondition::Between(low, high),
        (Name::BeginsWith, Some(prefix), None) => SortCondition::BeginsWith(prefix),
        (Name::Comparator(comparator), Some(value), None) => ordered(comparator, place > 0, value),
        _ => return Err(ExpressionError::KeyConditionNotSupported),
    };
    parts.push((attribute, condition));
    Ok(())
}

enum Name {
    Comparator(Comparator),
    Between,
    BeginsWith,
}

fn attribute_of(Path(steps): Path) -> Result<String, ExpressionError> {
    match <[Step; 1]>::try_from(steps) {
        Ok([Step::Attribute(name)]) => Ok(name),
        _ => Err(rule("KeyConditionExpressions cannot have conditions on nested attributes")),
    }
}

/// A comparison as a condition on the attribute; `mirrored` when the attribute stands on the right.
fn ordered(comparator: Comparator, mirrored: bool, value: Value) -> SortCondition {
    match (comparator, mirrored) {
        (Comparator::Eq | Comparator::Ne, _) => SortCondition::Eq(value),
        (Comparator::Lt, false) | (Comparator::Gt, true) => SortCondition::Lt(value),
        (Comparator::Le, false) | (Comparator::Ge, true) => SortCondition::Le(value),
        (Comparator::Gt, false) | (Comparator::Lt, true) => SortCondition::Gt(value),
        (Comparator::Ge, false) | (Comparator::Le, true) => SortCondition::Ge(value),
    }
}
