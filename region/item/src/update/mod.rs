//! Update expressions (developer guide, "Update expressions"; API reference, UpdateItem).
//!
//! Text becomes actions ([`parser`]), actions change an item ([`evaluate`]). An update carries its values,
//! so it travels to the group's leader without the request.
//!
//! Always true: all right-hand sides read the item as it was; no two actions write to, or into, the
//! same place.

mod evaluate;
mod parser;

use serde::{Deserialize, Serialize};

use crate::expression::Path;
use crate::projection::Projection;
use crate::value::{Item, Value};

pub use evaluate::UpdateError;
pub use parser::parse_update;

/// What an UpdateItem request changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Update {
    pub actions: Vec<Action>,
    pub dialect: Dialect,
}

/// Which parameter the update came from: the rules of ADD and the errors differ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Dialect {
    #[default]
    UpdateExpression,
    /// The legacy parameter: ADD takes lists too.
    AttributeUpdates,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    Set(Path, SetValue),
    Remove(Path),
    /// Adds a number to a number, members to a set, elements to a list.
    Add(Path, Value),
    /// Takes members out of a set.
    Delete(Path, Value),
}

/// The right-hand side of SET.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SetValue {
    Is(SetOperand),
    Plus(SetOperand, SetOperand),
    Minus(SetOperand, SetOperand),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SetOperand {
    Path(Path),
    Value(Value),
    /// `if_not_exists(path, operand)`
    IfNotExists(Path, #[serde(deserialize_with = "crate::depth::in_operand")] Box<SetOperand>),
    /// `list_append(operand, operand)`
    ListAppend(
        #[serde(deserialize_with = "crate::depth::in_operand")] Box<SetOperand>,
        #[serde(deserialize_with = "crate::depth::in_operand")] Box<SetOperand>,
    ),
}

impl Action {
    pub fn path(&self) -> &Path {
        match self {
            Self::Set(path, _)
            | Self::Remove(path)
            | Self::Add(path, _)
            | Self::Delete(path, _) => path,
        }
    }
}

impl Update {
    /// The paths that are written, in the order of the text.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.actions.iter().map(Action::path)
    }

    /// Names of the top-level attributes that are written, or written into.
    pub fn top_level(&self) -> impl Iterator<Item = &str> {
        self.paths().map(Path::top)
    }

    /// Whether an item comes to be where there was none. REMOVE and DELETE alone do not make one, and
    /// whatever their paths, they then do nothing; no actions at all make one of the key alone.
    pub fn creates(&self) -> bool {
        let creates = |action: &Action| matches!(action, Action::Set(..) | Action::Add(..));
        self.actions.is_empty() || self.actions.iter().any(creates)
    }

    /// The images UPDATED_OLD and UPDATED_NEW: what the written paths led to before and lead to after.
    /// Paths count as they are written, in both: an element that SET appended behind its index is not
    /// shown, and where an element was removed the one that moved up is.
    pub fn touched(&self, before: &Item, after: &Item) -> (Item, Item) {
        let shown = Projection { paths: self.paths().cloned().collect() };
        (shown.apply(before), shown.apply(after))
    }
}

#[cfg(test)]
mod tests;
