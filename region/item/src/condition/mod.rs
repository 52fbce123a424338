//! Condition and key-condition expressions (AWS developer guide, "Condition and filter expressions").
//!
//! Text becomes tokens ([`lexer`]), tokens a tree ([`parser`]), and a tree is asked about an item
//! ([`evaluate`]). The tree carries its values, so it travels to the group's leader without the request.
//!
//! Always true: text, operators, depth and operands are bounded before anything recurses; names and
//! values that are not used, or not defined, are errors, as in DynamoDB.

mod evaluate;
mod key_condition;
mod lexer;
mod parser;
mod reserved;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::limits::SUBSTITUTION_BYTES;
use crate::value::Value;

pub use key_condition::parse_key_condition;
pub use parser::parse;

/// What is wrong with an expression. `Invalid` names the kind of expression it was in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionError {
    #[error("Invalid {kind}: {reason}")]
    Invalid { kind: &'static str, reason: String },
    #[error("Value provided in ExpressionAttributeNames unused in expressions: keys: {{{0}}}")]
    UnusedNames(String),
    #[error("Value provided in ExpressionAttributeValues unused in expressions: keys: {{{0}}}")]
    UnusedValues(String),
    #[error("{parameter} contains invalid key: Syntax error; key: \"{key}\"")]
    PlaceholderName { parameter: &'static str, key: String },
    #[error("{parameter} contains invalid value: {reason} for key {key}")]
    PlaceholderValue { parameter: &'static str, key: String, reason: String },
    #[error(
        "Substitution names and values together have {0} bytes; at most {SUBSTITUTION_BYTES} are legal"
    )]
    SubstitutionsTooLarge(usize),
    #[error("Query condition missed key schema element: {0}")]
    MissedKey(String),
    #[error("Query key condition not supported")]
    KeyConditionNotSupported,
    #[error("{0}")]
    Item(#[from] crate::value::ItemError),
}

/// A step of a document path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    Attribute(String),
    Index(u32),
}

/// A document path: an attribute's name, then steps into it. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Path(pub Vec<Step>);

/// As DynamoDB's errors show it: `[a, b, [1]]`.
impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, step) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            match step {
                Step::Attribute(name) => write!(f, "{comma}{name}")?,
                Step::Index(index) => write!(f, "{comma}[{index}]")?,
            }
        }
        f.write_str("]")
    }
}

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

/// Which of a request's names and values its expressions have used. A request with several
/// expressions shares one.
#[derive(Debug)]
pub struct Substitutions<'a> {
    names: &'a BTreeMap<String, String>,
    values: &'a BTreeMap<String, Value>,
    used_names: BTreeSet<&'a str>,
    used_values: BTreeSet<&'a str>,
}

impl<'a> Substitutions<'a> {
    /// Names are given as `#n`, values as `:v`.
    pub fn new(names: &'a BTreeMap<String, String>, values: &'a BTreeMap<String, Value>) -> Self {
        Self { names, values, used_names: BTreeSet::new(), used_values: BTreeSet::new() }
    }

    /// Placeholders are `#` or `:` and letters, digits or `_`; values are legal; all together have a
    /// bounded size.
    pub fn check(&self) -> Result<(), ExpressionError> {
        let (names, values) = ("ExpressionAttributeNames", "ExpressionAttributeValues");
        let mut bytes = 0;
        for (key, name) in self.names {
            check_placeholder(names, '#', key)?;
            bytes += key.len() + name.len();
        }
        for (key, value) in self.values {
            check_placeholder(values, ':', key)?;
            value.check().map_err(|error| {
                let (key, reason) = (key.clone(), error.to_string());
                ExpressionError::PlaceholderValue { parameter: values, key, reason }
            })?;
            bytes += key.len() + value.size();
        }
        if bytes > SUBSTITUTION_BYTES {
            return Err(ExpressionError::SubstitutionsTooLarge(bytes));
        }
        Ok(())
    }

    fn name(&mut self, name: &str) -> Option<&'a str> {
        let (key, value) = self.names.get_key_value(name)?;
        self.used_names.insert(key);
        Some(value)
    }

    fn value(&mut self, name: &str) -> Option<&'a Value> {
        let (key, value) = self.values.get_key_value(name)?;
        self.used_values.insert(key);
        Some(value)
    }

    /// Every name and value must have been used.
    pub fn finish(self) -> Result<(), ExpressionError> {
        let unused = |all: Vec<&str>, used: &BTreeSet<&str>| {
            let left: Vec<_> = all.into_iter().filter(|key| !used.contains(key)).collect();
            (!left.is_empty()).then(|| left.join(", "))
        };
        if let Some(keys) =
            unused(self.values.keys().map(String::as_str).collect(), &self.used_values)
        {
            return Err(ExpressionError::UnusedValues(keys));
        }
        match unused(self.names.keys().map(String::as_str).collect(), &self.used_names) {
            Some(keys) => Err(ExpressionError::UnusedNames(keys)),
            None => Ok(()),
        }
    }
}

fn check_placeholder(
    parameter: &'static str,
    sign: char,
    key: &str,
) -> Result<(), ExpressionError> {
    let legal = key.strip_prefix(sign).is_some_and(|rest| {
        !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    });
    let shown = || key.chars().take(255).collect();
    if legal { Ok(()) } else { Err(ExpressionError::PlaceholderName { parameter, key: shown() }) }
}

#[cfg(test)]
mod tests;
