//! Condition and key-condition expressions (AWS developer guide, "Condition and filter expressions").
//!
//! Tokens become a tree ([`parser`]), and a tree is asked about an item ([`evaluate`]). The tree carries its
//! values, so it travels to the group's leader without the request.
//!
//! Always true: text, operators, depth and operands are bounded before anything recurses; names and
//! values that are not used, or not defined, are errors, as in DynamoDB.

pub(crate) mod build;
mod evaluate;
mod key_condition;
mod parser;

use serde::{Deserialize, Serialize};

use crate::key::{KeyAttribute, KeySchema};
use crate::value::Value;

pub use crate::expression::{ExpressionError, ExpressionKind, Path, Step, Substitutions};
pub use key_condition::{KeyExpression, parse_key_condition, parse_key_expression};
pub use parser::{parse, parse_with};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operand {
    Path(Path),
    Value(Value),
    /// `size(path)`
    Size(Path),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Comparator {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

/// A condition on one item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Condition {
    Exists(Path),
    NotExists(Path),
    TypeIs(Path, String),
    BeginsWith(Operand, Operand),
    Contains(Operand, Operand),
    Compare(Operand, Comparator, Operand),
    Between(Operand, Operand, Operand),
    In(Operand, Vec<Operand>),
    Not(#[serde(deserialize_with = "crate::depth::in_condition")] Box<Condition>),
    And(
        #[serde(deserialize_with = "crate::depth::in_condition")] Box<Condition>,
        #[serde(deserialize_with = "crate::depth::in_condition")] Box<Condition>,
    ),
    Or(
        #[serde(deserialize_with = "crate::depth::in_condition")] Box<Condition>,
        #[serde(deserialize_with = "crate::depth::in_condition")] Box<Condition>,
    ),
}

impl Condition {
    /// Every path that it asks about.
    pub fn paths(&self) -> Vec<&Path> {
        let mut found = Vec::new();
        let mut left = vec![self];
        while let Some(condition) = left.pop() {
            let mut operands: Vec<&Operand> = Vec::new();
            match condition {
                Self::Exists(path) | Self::NotExists(path) | Self::TypeIs(path, _) => {
                    found.push(path);
                }
                Self::BeginsWith(a, b) | Self::Contains(a, b) | Self::Compare(a, _, b) => {
                    operands.extend([a, b]);
                }
                Self::Between(a, b, c) => operands.extend([a, b, c]),
                Self::In(a, list) => operands.extend(std::iter::once(a).chain(list)),
                Self::Not(inner) => left.push(inner),
                Self::And(a, b) | Self::Or(a, b) => left.extend([&**b, &**a]),
            }
            found.extend(operands.into_iter().filter_map(|operand| match operand {
                Operand::Path(path) | Operand::Size(path) => Some(path),
                Operand::Value(_) => None,
            }));
        }
        found
    }
}

/// A filter runs on what the key condition has found, so it may not name the attributes of the key
/// that is asked. `parameter` is how the request calls it: `Filter Expression` or `QueryFilter`.
pub fn check_filter(
    parameter: &'static str,
    filter: &Condition,
    schema: &KeySchema,
) -> Result<(), ExpressionError> {
    let keys = [Some(&schema.partition), schema.sort.as_ref()];
    let paths = filter.paths();
    let named = |attribute: &&KeyAttribute| paths.iter().any(|path| path.top() == attribute.name);
    match keys.into_iter().flatten().find(named) {
        Some(key) => Err(ExpressionError::FilterOnKey { parameter, attribute: key.name.clone() }),
        None => Ok(()),
    }
}

/// Key attributes are scalars: no path leads into them. `what` is `Key` for the table's, `IndexKey` for an
/// index's.
pub fn check_scalar_keys<'p>(
    what: &'static str,
    mut paths: impl Iterator<Item = &'p Path>,
    schema: &KeySchema,
) -> Result<(), ExpressionError> {
    let keys = [Some(&schema.partition), schema.sort.as_ref()];
    let is_key = |path: &Path| keys.iter().flatten().any(|key| key.name == path.top());
    match paths.find(|path| path.is_nested() && is_key(path)) {
        Some(path) => Err(ExpressionError::NestedKey { what, attribute: path.top().to_owned() }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
