use crate::number::NumberError;
use crate::value::ItemError;

/// Why a statement is refused; the texts are DynamoDB's. `place` is where in the text: line, column (both
/// from 1) and length.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// The reason is empty where DynamoDB gives none.
    #[error("Statement wasn't well formed, can't be processed: {0}")]
    NotWellFormed(&'static str),
    #[error("{0}")]
    Refused(String),
    #[error("{reason} at {place}")]
    RefusedAt { reason: String, place: String },
    #[error("{error} under {under}")]
    Number { error: NumberError, under: String },
    #[error("Number of parameters in request and statement don't match.")]
    Parameters,
    #[error("{0}")]
    Item(#[from] ItemError),
}

pub(super) type Parsed<T> = Result<T, StatementError>;

pub(super) fn refused<T>(reason: impl Into<String>) -> Parsed<T> {
    Err(StatementError::Refused(reason.into()))
}
