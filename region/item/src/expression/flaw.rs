//! Which error is told when an expression has several.
//!
//! DynamoDB reads the whole text first, then looks for one kind of mistake after the other, so the first
//! mistake in the text is not always the one it names. The order was observed by others (dynalite's tests
//! run against DynamoDB itself); here it is a table.

use super::ExpressionKind;

/// A mistake that is not one of syntax.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    Parentheses,
    UnknownFunction,
    /// A function that exists but not here.
    MisusedFunction,
    ReservedWord,
    RepeatedSection,
    UndefinedName,
    UndefinedValue,
    PathOverlap,
    PathConflict,
    /// What ADD or DELETE is given.
    ActionOperand,
    OperandCount,
    SameOperands,
    OperandType,
}

/// The lower, the sooner it is told: the flaw's place, then (in conditions) which predicate it is in,
/// then its place within that predicate.
pub(super) type Rank = (u8, u32, u8);

pub(super) fn rank(kind: ExpressionKind, flaw: Flaw, predicate: u32) -> Rank {
    use Flaw::*;
    match kind {
        ExpressionKind::Update | ExpressionKind::Projection => {
            let place = match flaw {
                ReservedWord => 0,
                Parentheses => 1,
                UnknownFunction => 2,
                MisusedFunction => 3,
                RepeatedSection => 4,
                UndefinedName => 5,
                UndefinedValue => 6,
                PathOverlap => 7,
                PathConflict => 8,
                ActionOperand => 9,
                OperandCount | OperandType | SameOperands => 10,
            };
            (place, 0, 0)
        }
        ExpressionKind::Condition | ExpressionKind::Filter | ExpressionKind::KeyCondition => {
            match flaw {
                Parentheses => (0, 0, 0),
                UnknownFunction => (1, 0, 0),
                MisusedFunction => (2, 0, 0),
                ReservedWord => (3, 0, 0),
                UndefinedName | UndefinedValue => (4, predicate, 0),
                OperandCount => (4, predicate, 1),
                SameOperands => (4, predicate, 2),
                RepeatedSection | PathOverlap | PathConflict | ActionOperand | OperandType => {
                    (4, predicate, 3)
                }
            }
        }
    }
}
