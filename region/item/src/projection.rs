//! Projection expressions: which attributes of an item are shown (developer guide, "Projection
//! expressions").
//!
//! Always true: what is shown stands where it stood, but for list elements, which close up: of
//! `[1, 2, 3]` the path `a[2]` shows `[3]`. A path that leads to nothing shows nothing, not even the
//! maps on its way.

use serde::{Deserialize, Serialize};

use crate::condition::Substitutions;
use crate::expression::{Cursor, ExpressionError, ExpressionKind, Path, PathTree};
use crate::value::{Item, Value};

/// The paths to show. They do not overlap.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Projection {
    pub paths: Vec<Path>,
}

/// Paths, separated by commas. The substitutions have been checked; the caller finishes them after its last
/// expression.
pub fn parse_projection(
    text: &str,
    substitutions: &mut Substitutions<'_>,
) -> Result<Projection, ExpressionError> {
    let mut cursor = Cursor::new(ExpressionKind::Projection, text, substitutions)?;
    let mut paths = vec![cursor.path()?];
    while cursor.symbol(",") {
        paths.push(cursor.path()?);
    }
    cursor.check_paths(paths.iter());
    cursor.finish(Projection { paths })
}

impl Projection {
    /// Top-level attributes by name.
    pub fn of_attributes<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        Self { paths: names.into_iter().map(Path::attribute).collect() }
    }

    /// The part of the item that is shown.
    pub fn apply(&self, item: &Item) -> Item {
        if !self.paths.iter().any(Path::is_nested) {
            let shown = self.paths.iter().filter_map(|path| item.0.get_key_value(path.top()));
            return shown.map(|(name, value)| (name.clone(), value.clone())).collect();
        }
        let PathTree::Map(children) = tree(self.paths.iter()) else { return Item::default() };
        let shown = children
            .iter()
            .filter_map(|(name, below)| Some((name.clone(), pick(below, item.get(name)?)?)));
        shown.collect()
    }

    /// Names of the top-level attributes that it shows, or shows a part of.
    pub fn top_level(&self) -> impl Iterator<Item = &str> {
        self.paths.iter().map(Path::top)
    }
}

fn tree<'p>(paths: impl Iterator<Item = &'p Path>) -> PathTree<()> {
    let mut tree = PathTree::default();
    for path in paths {
        // Paths that overlap were refused when they were read; from elsewhere, the first one counts.
        let _ = tree.insert(path, ());
    }
    tree
}

/// Recurses as deep as paths are long, which is bounded.
fn pick(tree: &PathTree<()>, value: &Value) -> Option<Value> {
    match (tree, value) {
        (PathTree::Leaf(()), value) => Some(value.clone()),
        (PathTree::Map(children), Value::M(map)) => {
            let shown = children
                .iter()
                .filter_map(|(name, below)| Some((name.clone(), pick(below, map.get(name)?)?)));
            let shown: std::collections::BTreeMap<_, _> = shown.collect();
            (!shown.is_empty()).then_some(Value::M(shown))
        }
        (PathTree::List(children), Value::L(list)) => {
            let shown: Vec<_> = children
                .iter()
                .filter_map(|(&index, below)| pick(below, list.get(index as usize)?))
                .collect();
            (!shown.is_empty()).then_some(Value::L(shown))
        }
        _ => None,
    }
}
