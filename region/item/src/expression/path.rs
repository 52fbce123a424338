//! Document paths: an attribute's name, then steps into it (developer guide, "Referring to item
//! attributes when using expressions").

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::limits::PATH_ELEMENTS;
use crate::value::{Item, Value};

/// A step of a document path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Step {
    Attribute(String),
    Index(u32),
}

/// A document path: an attribute's name, then steps into it. Never empty, and (where it was read) no
/// longer than what can be nested.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<Step>")]
pub struct Path(pub Vec<Step>);

impl Path {
    /// A path to a top-level attribute.
    pub fn attribute(name: impl Into<String>) -> Self {
        Self(vec![Step::Attribute(name.into())])
    }

    /// The top-level attribute that it begins with.
    pub fn top(&self) -> &str {
        match self.0.first() {
            Some(Step::Attribute(name)) => name,
            _ => "",
        }
    }

    /// Whether it leads into an attribute, not only to it.
    pub fn is_nested(&self) -> bool {
        self.0.len() > 1
    }

    pub fn find<'a>(&self, item: &'a Item) -> Option<&'a Value> {
        let mut steps = self.0.iter();
        let Some(Step::Attribute(first)) = steps.next() else { return None };
        steps.try_fold(item.get(first)?, |value, step| match (value, step) {
            (Value::M(map), Step::Attribute(name)) => map.get(name),
            (Value::L(list), Step::Index(index)) => list.get(*index as usize),
            _ => None,
        })
    }
}

impl TryFrom<Vec<Step>> for Path {
    type Error = String;
    fn try_from(steps: Vec<Step>) -> Result<Self, String> {
        if !matches!(steps.first(), Some(Step::Attribute(_))) {
            return Err("a document path does not begin with an attribute".into());
        }
        if steps.len() > PATH_ELEMENTS {
            return Err(format!("a document path has {} steps", steps.len()));
        }
        Ok(Self(steps))
    }
}

/// As DynamoDB's errors show it: `[a, b, [1]]`.
impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, step) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            match step {
                Step::Attribute(name) => write!(f, "{comma}{name}")?,
                Step::Index(index) => write!(f, "{comma}[{index}]")?,
            }
        }
        f.write_str("]")
    }
}

/// Two paths that cannot stand in one expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PathTreeError {
    /// One leads to, or into, what the other leads to.
    Overlap,
    /// One takes for a map what the other takes for a list.
    Conflict,
}

/// Paths that share their beginnings, with something at the end of each. What stands below a node is
/// either all attributes or all indexes, in ascending order.
#[derive(Debug)]
pub(crate) enum PathTree<T> {
    Leaf(T),
    Map(BTreeMap<String, PathTree<T>>),
    List(BTreeMap<u32, PathTree<T>>),
}

impl<T> Default for PathTree<T> {
    fn default() -> Self {
        Self::Map(BTreeMap::new())
    }
}

impl<T> PathTree<T> {
    /// Adds a path. Costs as many steps as the path has.
    pub(crate) fn insert(&mut self, path: &Path, leaf: T) -> Result<(), PathTreeError> {
        let mut node = self;
        for (i, step) in path.0.iter().enumerate() {
            let last = i + 1 == path.0.len();
            let next = match (step, node) {
                (_, Self::Leaf(_)) => return Err(PathTreeError::Overlap),
                (Step::Attribute(name), Self::Map(children)) => {
                    if last {
                        return match children.contains_key(name) {
                            true => Err(PathTreeError::Overlap),
                            false => {
                                children.insert(name.clone(), Self::Leaf(leaf));
                                Ok(())
                            }
                        };
                    }
                    let below = Self::below(&path.0[i + 1]);
                    children.entry(name.clone()).or_insert(below)
                }
                (Step::Index(index), Self::List(children)) => {
                    if last {
                        return match children.contains_key(index) {
                            true => Err(PathTreeError::Overlap),
                            false => {
                                children.insert(*index, Self::Leaf(leaf));
                                Ok(())
                            }
                        };
                    }
                    let below = Self::below(&path.0[i + 1]);
                    children.entry(*index).or_insert(below)
                }
                (Step::Attribute(_), Self::List(_)) | (Step::Index(_), Self::Map(_)) => {
                    return Err(PathTreeError::Conflict);
                }
            };
            node = next;
        }
        Err(PathTreeError::Overlap)
    }

    fn below(next: &Step) -> Self {
        match next {
            Step::Attribute(_) => Self::Map(BTreeMap::new()),
            Step::Index(_) => Self::List(BTreeMap::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_read_from_elsewhere_are_bounded() {
        let read = |path: &Path| {
            postcard::from_bytes::<Path>(&postcard::to_stdvec(path).expect("written"))
        };
        let long = |steps| {
            let mut path = Path::attribute("a");
            path.0.resize(steps, Step::Index(0));
            path
        };
        assert_eq!(read(&long(32)), Ok(long(32)));
        assert!(read(&long(33)).is_err());
        assert!(read(&Path(vec![])).is_err());
        assert!(read(&Path(vec![Step::Index(1)])).is_err());
    }
}
