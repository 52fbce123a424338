//! What a table is called, what its stream shows and what its local indexes are.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::key::{KeyAttribute, KeySchema, KeyType};
use crate::limits::{SORT_KEY_BYTES, TABLE_NAME_LENGTH};
use crate::value::{Item, ItemError, Value};

/// What a change record shows to people (API reference, `StreamViewType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum StreamView {
    KeysOnly,
    NewImage,
    OldImage,
    NewAndOldImages,
}

impl StreamView {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::KeysOnly => "KEYS_ONLY",
            Self::NewImage => "NEW_IMAGE",
            Self::OldImage => "OLD_IMAGE",
            Self::NewAndOldImages => "NEW_AND_OLD_IMAGES",
        }
    }
    pub fn has_new(self) -> bool {
        matches!(self, Self::NewImage | Self::NewAndOldImages)
    }
    pub fn has_old(self) -> bool {
        matches!(self, Self::OldImage | Self::NewAndOldImages)
    }
}

impl fmt::Display for StreamView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A table's name, checked: 3 to 255 characters of `a-z A-Z 0-9 _ - .`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TableName(String);

impl TableName {
    pub fn new(name: impl Into<String>) -> Result<Self, ItemError> {
        let name = name.into();
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        if !TABLE_NAME_LENGTH.contains(&name.len()) {
            return Err(ItemError::TableNameLength);
        }
        if !name.bytes().all(legal) {
            return Err(ItemError::TableNamePattern(name));
        }
        Ok(Self(name))
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for TableName {
    type Error = ItemError;
    fn try_from(name: String) -> Result<Self, ItemError> {
        Self::new(name)
    }
}

impl From<TableName> for String {
    fn from(name: TableName) -> Self {
        name.0
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An index's name, checked by the rules of table names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IndexName(String);

impl IndexName {
    pub fn new(name: impl Into<String>) -> Result<Self, ItemError> {
        let TableName(name) = TableName::new(name)?;
        Ok(Self(name))
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for IndexName {
    type Error = ItemError;
    fn try_from(name: String) -> Result<Self, ItemError> {
        Self::new(name)
    }
}

impl From<IndexName> for String {
    fn from(name: IndexName) -> Self {
        name.0
    }
}

impl fmt::Display for IndexName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A local secondary index: the table's partition key with another sort key. Its number is its place in
/// the table's list, which never changes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LocalIndex {
    pub name: IndexName,
    pub sort: KeyAttribute,
    pub projection: IndexProjection,
}

/// Which attributes an index shows besides the keys of table and index (API reference, `Projection`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum IndexProjection {
    All,
    KeysOnly,
    Include(Vec<String>),
}

impl LocalIndex {
    /// The index's key schema.
    pub fn schema(&self, table: &KeySchema) -> KeySchema {
        KeySchema { partition: table.partition.clone(), sort: Some(self.sort.clone()) }
    }

    /// The item's value of the index's sort key, checked; `None` leaves the item out of the index.
    pub fn sort_of<'a>(&self, item: &'a Item) -> Result<Option<&'a Value>, ItemError> {
        let Some(value) = item.get(&self.sort.name) else { return Ok(None) };
        let (index, name) = (self.name.to_string(), self.sort.name.clone());
        let what = match value {
            _ if KeyType::of(value) != Some(self.sort.kind) => {
                let (expected, actual) = (self.sort.kind.as_str(), value.type_name());
                return Err(ItemError::IndexKeyType { index, name, expected, actual });
            }
            Value::S(text) if text.is_empty() => "string",
            Value::B(bytes) if bytes.is_empty() => "binary",
            Value::S(text) if text.len() > SORT_KEY_BYTES => return Err(ItemError::SortKeyTooLong),
            Value::B(bytes) if bytes.len() > SORT_KEY_BYTES => {
                return Err(ItemError::SortKeyTooLong);
            }
            _ => return Ok(Some(value)),
        };
        Err(ItemError::EmptyIndexKey { index, name, what })
    }

    /// The part of an item that the index shows. Whether the item is in the index at all is another question:
    /// it is, when it has the sort key's attribute.
    pub fn project(&self, table: &KeySchema, item: &Item) -> Item {
        let included: &[String] = match &self.projection {
            IndexProjection::All => return item.clone(),
            IndexProjection::KeysOnly => &[],
            IndexProjection::Include(names) => names,
        };
        let keys = [Some(&table.partition), table.sort.as_ref(), Some(&self.sort)];
        let names = keys.into_iter().flatten().map(|attribute| &attribute.name).chain(included);
        let shown = names.filter_map(|name| item.0.get_key_value(name));
        shown.map(|(name, value)| (name.clone(), value.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_guide() {
        for good in ["abc", "Music.v2", "a_b-c", &"x".repeat(255)] {
            assert!(TableName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "ab", "a b", "tisch/1", "größe", &"x".repeat(256)] {
            assert!(TableName::new(bad).is_err(), "{bad}");
        }
    }
}
