//! PartiQL statements (developer guide, "PartiQL - a SQL-compatible query language for Amazon DynamoDB"),
//! as the same conditions, updates and projections that expressions become.
//!
//! A statement is read without its table: which of its conditions name the key is asked afterwards, of a
//! schema ([`plan`]).
//!
//! Always true: text and depth are bounded before anything recurses; every parameter is used, and used
//! once, in the order of the text.

mod clauses;
mod error;
mod lexer;
mod literal;
mod parser;
mod plan;
mod statement;

use std::collections::BTreeMap;

use crate::condition::{Condition, Path, Step};
use crate::update::Update;
use crate::value::{Item, Value};

pub use error::StatementError;
pub use plan::{KeyPart, Read};
pub use statement::parse_statement;

/// One statement. Table and index names are as they were written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    Select(Select),
    /// `EXISTS(SELECT ...)`, a condition of a transaction.
    Exists(Select),
    Insert {
        table: String,
        item: Item,
    },
    /// Of an item that is there: it makes none, so the write has the condition that the key exists, too.
    Update {
        table: String,
        update: Update,
        condition: Condition,
        returning: Option<Returning>,
    },
    Delete {
        table: String,
        condition: Condition,
        /// `RETURNING ALL OLD *`, the only one that there is.
        returning: bool,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Select {
    pub table: String,
    pub index: Option<String>,
    /// `None` is `*`.
    pub columns: Option<Columns>,
    pub condition: Option<Condition>,
    pub order: Vec<OrderBy>,
}

/// What SELECT shows: each path as an attribute of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns(pub Vec<Path>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderBy {
    pub attribute: String,
    pub descending: bool,
}

/// What UPDATE gives back: `RETURNING ALL NEW *` and its like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Returning {
    AllOld,
    AllNew,
    ModifiedOld,
    ModifiedNew,
}

impl Statement {
    pub fn table(&self) -> &str {
        match self {
            Self::Select(select) | Self::Exists(select) => &select.table,
            Self::Insert { table, .. }
            | Self::Update { table, .. }
            | Self::Delete { table, .. } => table,
        }
    }
}

impl Columns {
    /// What a column is called: the last attribute of its path and the indexes behind it, as in `l[0]`.
    pub fn name(path: &Path) -> String {
        let last = path.0.iter().rposition(|step| matches!(step, Step::Attribute(_)));
        let mut name = String::new();
        for step in &path.0[last.unwrap_or(0)..] {
            match step {
                Step::Attribute(attribute) => name.push_str(attribute),
                Step::Index(index) => name.push_str(&format!("[{index}]")),
            }
        }
        name
    }

    /// The columns of an item; a path that leads to nothing gives none.
    pub fn apply(&self, item: &Item) -> Item {
        let shown = self.0.iter().filter_map(|path| {
            let value: Value = path.find(item)?.clone();
            Some((Self::name(path), value))
        });
        Item(shown.collect::<BTreeMap<_, _>>())
    }
}

#[cfg(test)]
mod tests;
