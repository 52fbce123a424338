//! Asking a condition about an item.
//!
//! As in DynamoDB: a comparison with something that is not there, or of two different types, is false
//! (`<>` is true); ordering is defined for strings, numbers and binary only.

use std::cmp::Ordering;

use super::{Comparator, Condition, ExpressionError, Operand};
use crate::number::Number;
use crate::value::{Item, Value};

impl Operand {
    fn of<'a>(&'a self, item: &'a Item) -> Option<std::borrow::Cow<'a, Value>> {
        use std::borrow::Cow::{Borrowed, Owned};
        match self {
            Self::Value(value) => Some(Borrowed(value)),
            Self::Path(path) => path.find(item).map(Borrowed),
            Self::Size(path) => size(path.find(item)?).map(Owned),
        }
    }
}

/// What the function `size` gives: bytes of text and binary, members of everything that has members.
/// Numbers, booleans and null have none.
pub(super) fn size(value: &Value) -> Option<Value> {
    let size = match value {
        Value::S(text) => text.len(),
        Value::B(bytes) => bytes.len(),
        Value::M(map) => map.len(),
        Value::L(list) => list.len(),
        Value::Ss(set) => set.len(),
        Value::Ns(set) => set.len(),
        Value::Bs(set) => set.len(),
        Value::N(_) | Value::Bool(_) | Value::Null => return None,
    };
    Some(Value::N(Number::from(size as u64)))
}

impl Condition {
    /// Whether the condition holds; `None` is "there is no such item".
    pub fn matches(&self, item: Option<&Item>) -> Result<bool, ExpressionError> {
        static NOTHING: Item = Item(std::collections::BTreeMap::new());
        Ok(self.holds(item.unwrap_or(&NOTHING)))
    }

    fn holds(&self, item: &Item) -> bool {
        match self {
            Self::Exists(path) => path.find(item).is_some(),
            Self::NotExists(path) => path.find(item).is_none(),
            Self::TypeIs(path, kind) => path.find(item).is_some_and(|v| v.type_name() == kind),
            Self::BeginsWith(a, b) => match (a.of(item).as_deref(), b.of(item).as_deref()) {
                (Some(Value::S(text)), Some(Value::S(prefix))) => text.starts_with(prefix.as_str()),
                (Some(Value::B(bytes)), Some(Value::B(prefix))) => bytes.starts_with(prefix),
                _ => false,
            },
            Self::Contains(a, b) => match (a.of(item).as_deref(), b.of(item).as_deref()) {
                (Some(a), Some(b)) => contains(a, b),
                _ => false,
            },
            Self::Compare(a, comparator, b) => {
                match (a.of(item).as_deref(), b.of(item).as_deref()) {
                    (Some(a), Some(b)) => compare(a, *comparator, b),
                    _ => *comparator == Comparator::Ne,
                }
            }
            Self::Between(value, low, high) => {
                let (Some(value), Some(low), Some(high)) =
                    (value.of(item), low.of(item), high.of(item))
                else {
                    return false;
                };
                compare(&value, Comparator::Ge, &low) && compare(&value, Comparator::Le, &high)
            }
            Self::In(value, list) => value.of(item).is_some_and(|value| {
                list.iter().any(|other| other.of(item).is_some_and(|other| *value == *other))
            }),
            Self::Not(inner) => !inner.holds(item),
            Self::And(a, b) => a.holds(item) && b.holds(item),
            Self::Or(a, b) => a.holds(item) || b.holds(item),
        }
    }
}

fn contains(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::S(text), Value::S(part)) => text.contains(part.as_str()),
        (Value::B(bytes), Value::B(part)) => contains_bytes(bytes, part),
        (Value::L(list), value) => list.contains(value),
        (Value::Ss(set), Value::S(text)) => set.contains(text),
        (Value::Ns(set), Value::N(number)) => set.contains(number),
        (Value::Bs(set), Value::B(bytes)) => set.contains(bytes),
        _ => false,
    }
}

/// Knuth, Morris and Pratt: one step a byte, whatever the bytes are. A leader evaluates this between all
/// its other work, and comparing at each place would take as many steps as both lengths multiplied.
fn contains_bytes(bytes: &[u8], part: &[u8]) -> bool {
    if part.is_empty() || part.len() > bytes.len() {
        return part.is_empty();
    }
    // For each beginning of `part`: how much of it matches its own end.
    let mut overlaps = vec![0_u32; part.len()];
    let mut matched = 0;
    for at in 1..part.len() {
        while matched > 0 && part[at] != part[matched] {
            matched = overlaps[matched - 1] as usize;
        }
        matched += usize::from(part[at] == part[matched]);
        overlaps[at] = matched as u32;
    }
    matched = 0;
    for &byte in bytes {
        while matched > 0 && byte != part[matched] {
            matched = overlaps[matched - 1] as usize;
        }
        matched += usize::from(byte == part[matched]);
        if matched == part.len() {
            return true;
        }
    }
    false
}

fn compare(a: &Value, comparator: Comparator, b: &Value) -> bool {
    match comparator {
        Comparator::Eq => return a == b,
        Comparator::Ne => return a != b,
        _ => {}
    }
    let order = match (a, b) {
        (Value::S(a), Value::S(b)) => a.cmp(b),
        (Value::N(a), Value::N(b)) => a.cmp(b),
        (Value::B(a), Value::B(b)) => a.cmp(b),
        _ => return false,
    };
    match comparator {
        Comparator::Lt => order == Ordering::Less,
        Comparator::Le => order != Ordering::Greater,
        Comparator::Gt => order == Ordering::Greater,
        Comparator::Ge => order != Ordering::Less,
        Comparator::Eq | Comparator::Ne => order == Ordering::Equal,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::contains_bytes;

    #[test]
    fn the_worst_bytes_are_searched_to_their_end() {
        // As large as an item can be. Compared at each place this takes seconds.
        let (bytes, mut part) = (vec![0; 400 << 10], vec![0; 200 << 10]);
        assert!(contains_bytes(&bytes, &part));
        part.push(1);
        assert!(!contains_bytes(&bytes, &part));
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_stands_there(
            bytes in proptest::collection::vec(0..2_u8, 0..24),
            part in proptest::collection::vec(0..2_u8, 0..6),
        ) {
            let there = part.is_empty() || bytes.windows(part.len()).any(|window| window == part);
            prop_assert_eq!(contains_bytes(&bytes, &part), there);
        }
    }
}
