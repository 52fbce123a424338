//! Stands for the PartiQL type that `tombolo-item` is about to have under the same name.

/// Parsed PartiQL statement.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Statement;

impl Statement {
    /// Name of the table.
    pub fn table(&self) -> &str {
        ""
    }
}
