//! Applying an update to an item.
//!
//! First every new value is worked out from the item as it was, then all of them are written in one walk.
//! So indexes count as they were before: elements are removed after all others are set, and elements set
//! beyond the end of a list are appended in the order of their indexes.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::{Action, Dialect, SetOperand, SetValue, Update};
use crate::expression::{Path, PathTree};
use crate::limits::ITEM_BYTES;
use crate::number::{Number, NumberError};
use crate::value::{Item, ItemError, Value};

/// Why an update cannot be applied to the item that is there; the texts are DynamoDB's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpdateError {
    #[error("The provided expression refers to an attribute that does not exist in the item")]
    MissingAttribute,
    #[error("An operand in the update expression has an incorrect data type")]
    WrongType,
    /// The legacy parameter's word for it.
    #[error("Type mismatch for attribute to update")]
    AttributeMismatch,
    #[error("The document path provided in the update expression is invalid for update")]
    InvalidPath,
    #[error("{0}")]
    Number(#[from] NumberError),
    #[error("Item size to update has exceeded the maximum allowed size")]
    TooLarge,
    #[error("{0}")]
    Item(ItemError),
}

/// What happens at the end of a path.
enum Edit {
    Put(Value),
    Remove,
    /// The place must be there to be written to, but nothing changes.
    Nothing,
}

impl Update {
    /// The item after the update. `before` is the item as it is, or the key's attributes alone where there
    /// is none (see [`Update::creates`]). Size, nesting and sets of the result are checked, its key is not.
    pub fn apply(&self, before: &Item) -> Result<Item, UpdateError> {
        let mut edits = PathTree::default();
        let mut bytes = 0;
        for action in &self.actions {
            let edit = self.edit(action, before)?;
            if let Edit::Put(value) = &edit {
                // Each of them will be in the item: too much now is too much then.
                bytes += value.size();
                if bytes > ITEM_BYTES {
                    return Err(UpdateError::TooLarge);
                }
            }
            edits.insert(action.path(), edit).map_err(|_| UpdateError::InvalidPath)?;
        }
        let PathTree::Map(edits) = edits else { return Err(UpdateError::InvalidPath) };
        let mut after = before.clone();
        for (name, edit) in edits {
            write_attribute(&mut after.0, name, edit)?;
        }
        after.validate().map_err(|error| match error {
            ItemError::TooLarge => UpdateError::TooLarge,
            other => UpdateError::Item(other),
        })?;
        Ok(after)
    }

    fn edit(&self, action: &Action, before: &Item) -> Result<Edit, UpdateError> {
        Ok(match action {
            Action::Set(_, value) => Edit::Put(value.evaluate(before)?),
            Action::Remove(_) => Edit::Remove,
            Action::Add(path, value) => match path.find(before) {
                None => Edit::Put(value.clone()),
                Some(present) => Edit::Put(self.add(present, value)?),
            },
            Action::Delete(path, members) => match path.find(before) {
                None => Edit::Nothing,
                Some(present) => self.without(present, members)?.map_or(Edit::Remove, Edit::Put),
            },
        })
    }

    fn wrong_type(&self) -> UpdateError {
        match self.dialect {
            Dialect::UpdateExpression => UpdateError::WrongType,
            Dialect::AttributeUpdates => UpdateError::AttributeMismatch,
        }
    }

    fn add(&self, present: &Value, value: &Value) -> Result<Value, UpdateError> {
        Ok(match (present, value) {
            (Value::N(a), Value::N(b)) => Value::N(a.plus(b)?),
            (Value::Ss(a), Value::Ss(b)) => Value::Ss(a | b),
            (Value::Ns(a), Value::Ns(b)) => Value::Ns(a | b),
            (Value::Bs(a), Value::Bs(b)) => Value::Bs(a | b),
            (Value::L(a), Value::L(b)) if self.dialect == Dialect::AttributeUpdates => {
                Value::L(a.iter().chain(b).cloned().collect())
            }
            _ => return Err(self.wrong_type()),
        })
    }

    /// What is left of a set; `None` is nothing.
    fn without(&self, present: &Value, members: &Value) -> Result<Option<Value>, UpdateError> {
        fn left<T: Ord + Clone>(
            a: &BTreeSet<T>,
            b: &BTreeSet<T>,
            of: impl Fn(BTreeSet<T>) -> Value,
        ) -> Option<Value> {
            let left = a - b;
            (!left.is_empty()).then(|| of(left))
        }
        match (present, members) {
            (Value::Ss(a), Value::Ss(b)) => Ok(left(a, b, Value::Ss)),
            (Value::Ns(a), Value::Ns(b)) => Ok(left(a, b, Value::Ns)),
            (Value::Bs(a), Value::Bs(b)) => Ok(left(a, b, Value::Bs)),
            _ => Err(self.wrong_type()),
        }
    }
}

impl SetValue {
    fn evaluate(&self, before: &Item) -> Result<Value, UpdateError> {
        let number = |operand: &SetOperand| -> Result<Number, UpdateError> {
            match &*operand.evaluate(before)? {
                Value::N(number) => Ok(*number),
                _ => Err(UpdateError::WrongType),
            }
        };
        Ok(match self {
            Self::Is(operand) => operand.evaluate(before)?.into_owned(),
            Self::Plus(a, b) => Value::N(number(a)?.plus(&number(b)?)?),
            Self::Minus(a, b) => Value::N(number(a)?.minus(&number(b)?)?),
        })
    }
}

impl SetOperand {
    /// Recurses as deep as functions are in functions, which is bounded.
    fn evaluate<'a>(&'a self, before: &'a Item) -> Result<Cow<'a, Value>, UpdateError> {
        let found = |path: &'a Path| path.find(before).map(Cow::Borrowed);
        match self {
            Self::Value(value) => Ok(Cow::Borrowed(value)),
            Self::Path(path) => found(path).ok_or(UpdateError::MissingAttribute),
            Self::IfNotExists(path, otherwise) => match found(path) {
                Some(value) => Ok(value),
                None => otherwise.evaluate(before),
            },
            Self::ListAppend(a, b) => match (a.evaluate(before)?, b.evaluate(before)?) {
                (a, b) if a.size() + b.size() > 2 * ITEM_BYTES => Err(UpdateError::TooLarge),
                (a, b) => match (&*a, &*b) {
                    (Value::L(a), Value::L(b)) => {
                        Ok(Cow::Owned(Value::L(a.iter().chain(b).cloned().collect())))
                    }
                    _ => Err(UpdateError::WrongType),
                },
            },
        }
    }
}

type Attributes = std::collections::BTreeMap<String, Value>;

fn write_attribute(
    map: &mut Attributes,
    name: String,
    edit: PathTree<Edit>,
) -> Result<(), UpdateError> {
    match edit {
        PathTree::Leaf(Edit::Put(value)) => {
            map.insert(name, value);
        }
        PathTree::Leaf(Edit::Remove) => {
            map.remove(&name);
        }
        PathTree::Leaf(Edit::Nothing) => {}
        below => write(map.get_mut(&name).ok_or(UpdateError::InvalidPath)?, below)?,
    }
    Ok(())
}

/// Writes below a value. Recurses as deep as paths are long, which is bounded.
fn write(value: &mut Value, edits: PathTree<Edit>) -> Result<(), UpdateError> {
    match (value, edits) {
        (Value::M(map), PathTree::Map(edits)) => {
            edits.into_iter().try_for_each(|(name, edit)| write_attribute(map, name, edit))
        }
        (Value::L(list), PathTree::List(edits)) => {
            let len = list.len();
            let mut removed = BTreeSet::new();
            for (index, edit) in edits {
                let index = index as usize;
                match edit {
                    PathTree::Leaf(Edit::Put(value)) if index < len => list[index] = value,
                    PathTree::Leaf(Edit::Put(value)) => list.push(value),
                    PathTree::Leaf(Edit::Remove) => {
                        removed.insert(index);
                    }
                    PathTree::Leaf(Edit::Nothing) => {}
                    below if index < len => write(&mut list[index], below)?,
                    _ => return Err(UpdateError::InvalidPath),
                }
            }
            let mut index = 0;
            // What was appended stands behind every index that can be removed.
            list.retain(|_| {
                let kept = index >= len || !removed.contains(&index);
                index += 1;
                kept
            });
            Ok(())
        }
        _ => Err(UpdateError::InvalidPath),
    }
}
