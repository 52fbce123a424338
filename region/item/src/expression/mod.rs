//! What all expressions share (AWS developer guide, "Using expressions in DynamoDB"): text becomes tokens
//! ([`lexer`]), a cursor walks over them ([`cursor`]), placeholders stand for names and values
//! ([`substitutions`]), and document paths lead into an item ([`path`]).
//!
//! Always true: text, operators and depth are bounded before anything recurses. Syntax errors come before
//! all others, and of the others the one that DynamoDB names comes first ([`flaw`]).

pub(crate) mod cursor;
mod flaw;
mod lexer;
mod path;
mod reserved;
mod substitutions;

use std::fmt;

pub(crate) use cursor::{Cursor, path_clash};
pub(crate) use flaw::Flaw;
pub(crate) use path::PathTree;
pub use path::{Path, Step};
pub use substitutions::Substitutions;

/// Which parameter of a request an expression is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExpressionKind {
    Condition,
    Filter,
    KeyCondition,
    Update,
    Projection,
}

/// The parameter's name, as errors show it.
impl fmt::Display for ExpressionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Condition => "ConditionExpression",
            Self::Filter => "FilterExpression",
            Self::KeyCondition => "KeyConditionExpression",
            Self::Update => "UpdateExpression",
            Self::Projection => "ProjectionExpression",
        })
    }
}

/// What is wrong with an expression; the texts are DynamoDB's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionError {
    #[error("Invalid {kind}: {reason}")]
    Invalid { kind: ExpressionKind, reason: String },
    #[error("Value provided in ExpressionAttributeNames unused in expressions: keys: {{{0}}}")]
    UnusedNames(String),
    #[error("Value provided in ExpressionAttributeValues unused in expressions: keys: {{{0}}}")]
    UnusedValues(String),
    #[error("{parameter} contains invalid key: Syntax error; key: \"{key}\"")]
    PlaceholderName { parameter: &'static str, key: String },
    #[error("{parameter} contains invalid value: {reason} for key {key}")]
    PlaceholderValue { parameter: &'static str, key: String, reason: String },
    /// More than 2 MB together.
    #[error(
        "Combined size of ExpressionAttributeNames and ExpressionAttributeValues exceeds max size"
    )]
    SubstitutionsTooLarge,
    #[error(
        "The number of query conditions ({conditions}) exceeds the number of key attributes defined in the schema ({attributes})"
    )]
    KeyConditionCount { conditions: usize, attributes: usize },
    #[error("Query condition missed key schema element: {0}")]
    MissedKey(String),
    #[error("Query key condition not supported")]
    KeyConditionNotSupported,
    #[error(
        "One or more parameter values were invalid: Condition parameter type does not match schema type"
    )]
    KeyConditionType,
    #[error(
        "{parameter} can only contain non-primary key attributes: Primary key attribute: {attribute}"
    )]
    FilterOnKey { parameter: &'static str, attribute: String },
    #[error(
        "Key attributes must be scalars; list random access '[]' and map lookup '.' are not allowed: {what}: {attribute}"
    )]
    NestedKey { what: &'static str, attribute: String },
    #[error("{0}")]
    Item(#[from] crate::value::ItemError),
}
