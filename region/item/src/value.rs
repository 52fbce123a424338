//! Attribute values and items: the ten types of DynamoDB, their sizes and their rules.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::limits::{ATTRIBUTE_NAME_BYTES, ITEM_BYTES, NESTING_LEVELS};
use crate::number::Number;

/// What is wrong with an item, key or name; the wording is DynamoDB's where it has one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ItemError {
    #[error("Item size has exceeded the maximum allowed size")]
    TooLarge,
    #[error(
        "Nesting Levels have exceeded supported limits: Attributes in the item have nested levels beyond supported limit"
    )]
    TooDeep,
    #[error("One or more parameter values were invalid: {}", empty_set(.0))]
    EmptySet(&'static str),
    #[error("One or more parameter values were invalid: An attribute name may not be empty")]
    EmptyName,
    #[error("Attribute name is too large, must be less than 65536 bytes")]
    NameTooLong,
    #[error("One or more parameter values were invalid: Missing the key {0} in the item")]
    MissingKey(String),
    #[error(
        "One or more parameter values were invalid: Type mismatch for key {name} expected: {expected} actual: {actual}"
    )]
    KeyType { name: String, expected: &'static str, actual: &'static str },
    #[error("The provided key element does not match the schema")]
    KeyShape,
    #[error(
        "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty {what} value. Key: {name}"
    )]
    EmptyKey { name: String, what: &'static str },
    #[error(
        "One or more parameter values were invalid: Type mismatch for Index Key {name} Expected: {expected} Actual: {actual} IndexName: {index}"
    )]
    IndexKeyType { index: String, name: String, expected: &'static str, actual: &'static str },
    /// The same, where an update expression made the value.
    #[error(
        "The update expression attempted to update the secondary index key to unsupported type"
    )]
    IndexKeyUpdate,
    #[error(
        "One or more parameter values are not valid. A value specified for a secondary index key is not supported. The AttributeValue for a key attribute cannot contain an empty {what} value. IndexName: {index}, IndexKey: {name}"
    )]
    EmptyIndexKey { index: String, name: String, what: &'static str },
    #[error(
        "One or more parameter values were invalid: Size of hashkey has exceeded the maximum size limit of2048 bytes"
    )]
    PartitionKeyTooLong,
    #[error(
        "One or more parameter values were invalid: Aggregated size of all range keys has exceeded the size limit of 1024 bytes"
    )]
    SortKeyTooLong,
    #[error("The BETWEEN operator requires upper bound to be greater than or equal to lower bound")]
    BetweenOrder,
    #[error("begins_with on a key needs a string or binary sort key")]
    BeginsWithType,
    #[error("TableName must be at least 3 characters long and at most 255 characters long")]
    TableNameLength,
    #[error("table name {0:?} must satisfy the pattern [a-zA-Z0-9_.-]+")]
    TableNamePattern(String),
}

/// DynamoDB's own spelling, which differs by type.
fn empty_set(kind: &str) -> String {
    match kind {
        "binary" => "Binary sets should not be empty".to_owned(),
        kind => format!("An {kind} set  may not be empty"),
    }
}

/// An attribute's value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Value {
    S(String),
    N(Number),
    B(Bytes),
    Bool(bool),
    Null,
    M(#[serde(deserialize_with = "crate::depth::in_value")] BTreeMap<String, Value>),
    L(#[serde(deserialize_with = "crate::depth::in_value")] Vec<Value>),
    Ss(BTreeSet<String>),
    Ns(BTreeSet<Number>),
    Bs(BTreeSet<Bytes>),
}

impl Value {
    /// DynamoDB's name of the type.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::S(_) => "S",
            Self::N(_) => "N",
            Self::B(_) => "B",
            Self::Bool(_) => "BOOL",
            Self::Null => "NULL",
            Self::M(_) => "M",
            Self::L(_) => "L",
            Self::Ss(_) => "SS",
            Self::Ns(_) => "NS",
            Self::Bs(_) => "BS",
        }
    }

    /// Bytes DynamoDB counts (developer guide, "DynamoDB item sizes and formats").
    pub fn size(&self) -> usize {
        match self {
            Self::S(text) => text.len(),
            Self::N(number) => number.size(),
            Self::B(bytes) => bytes.len(),
            Self::Bool(_) | Self::Null => 1,
            Self::M(map) => 3 + map.iter().map(|(k, v)| 1 + k.len() + v.size()).sum::<usize>(),
            Self::L(list) => 3 + list.iter().map(|v| 1 + v.size()).sum::<usize>(),
            Self::Ss(set) => set.iter().map(String::len).sum(),
            Self::Ns(set) => set.iter().map(Number::size).sum(),
            Self::Bs(set) => set.iter().map(Bytes::len).sum(),
        }
    }

    /// As a value of its own: no empty set, no empty name, 32 levels.
    pub fn check(&self) -> Result<(), ItemError> {
        self.validate(0)
    }

    /// Checks sets, names and depth; `level` is how many lists and maps this value is in.
    fn validate(&self, level: usize) -> Result<(), ItemError> {
        if level > NESTING_LEVELS {
            return Err(ItemError::TooDeep);
        }
        match self {
            Self::Ss(set) if set.is_empty() => Err(ItemError::EmptySet("string")),
            Self::Ns(set) if set.is_empty() => Err(ItemError::EmptySet("number")),
            Self::Bs(set) if set.is_empty() => Err(ItemError::EmptySet("binary")),
            Self::M(map) => map.iter().try_for_each(|(name, value)| {
                check_name(name)?;
                value.validate(level + 1)
            }),
            Self::L(list) => list.iter().try_for_each(|value| value.validate(level + 1)),
            _ => Ok(()),
        }
    }
}

fn check_name(name: &str) -> Result<(), ItemError> {
    match name.len() {
        0 => Err(ItemError::EmptyName),
        1..ATTRIBUTE_NAME_BYTES => Ok(()),
        _ => Err(ItemError::NameTooLong),
    }
}

/// A set of named attributes.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Item(pub BTreeMap<String, Value>);

impl Item {
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    pub fn insert(&mut self, name: impl Into<String>, value: Value) -> Option<Value> {
        self.0.insert(name.into(), value)
    }

    /// Names and values, as DynamoDB counts them.
    pub fn size(&self) -> usize {
        self.0.iter().map(|(name, value)| name.len() + value.size()).sum()
    }

    /// Everything but the table's key schema: 400 KB, 32 levels, no empty set, no empty name.
    pub fn validate(&self) -> Result<(), ItemError> {
        for (name, value) in &self.0 {
            check_name(name)?;
            value.validate(0)?;
        }
        if self.size() > ITEM_BYTES { Err(ItemError::TooLarge) } else { Ok(()) }
    }
}

impl FromIterator<(String, Value)> for Item {
    fn from_iter<I: IntoIterator<Item = (String, Value)>>(attributes: I) -> Self {
        Self(attributes.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(name: &str, value: Value) -> Item {
        [(name.to_owned(), value)].into_iter().collect()
    }

    fn nested(levels: usize) -> Value {
        (0..levels).fold(Value::Null, |inner, _| Value::L(vec![inner]))
    }

    /// Worked by hand from the guide's rules.
    #[test]
    fn sizes_follow_the_guide() {
        assert_eq!(item("ab", Value::S("größe".into())).size(), 2 + 7);
        assert_eq!(item("a", Value::Null).size(), 2);
        assert_eq!(item("a", Value::L(vec![Value::Null, Value::Bool(true)])).size(), 1 + 3 + 2 + 2);
        let map = Value::M([("k".to_owned(), Value::S("vv".into()))].into());
        assert_eq!(item("a", map).size(), 1 + 3 + 1 + 1 + 2);
        assert_eq!(item("a", Value::Ss(["x".to_owned(), "yy".to_owned()].into())).size(), 4);
    }

    #[test]
    fn limits_hold_on_both_sides() {
        let of = |bytes| item("a", Value::B(vec![0; bytes].into()));
        assert_eq!(of(ITEM_BYTES - 1).validate(), Ok(()));
        assert_eq!(of(ITEM_BYTES).validate(), Err(ItemError::TooLarge));
        assert_eq!(item("a", nested(31)).validate(), Ok(()));
        assert_eq!(item("a", nested(32)).validate(), Err(ItemError::TooDeep));
        assert_eq!(item("a", Value::Ss([].into())).validate(), Err(ItemError::EmptySet("string")));
        let said = |kind| ItemError::EmptySet(kind).to_string();
        assert!(said("number").ends_with(": An number set  may not be empty"));
        assert!(said("binary").ends_with(": Binary sets should not be empty"));
        assert_eq!(item("", Value::Null).validate(), Err(ItemError::EmptyName));
        assert_eq!(item("a", Value::S(String::new())).validate(), Ok(()));
    }
}
