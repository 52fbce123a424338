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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::json::{item_from_json, item_to_json};
    use serde_json::json;

    fn item() -> Item {
        item_from_json(&json!({
            "a": {"M": {
                "b": {"L": [{"N": "2"}, {"N": "4"}, {"M": {"x": {"S": "hi"}, "y": {"S": "yo"}}}]},
                "c": {"N": "5"},
            }},
            "b": {"S": "hello"},
            "a.b": {"S": "dotted"},
        }))
        .expect("a legal item")
    }

    fn project(text: &str) -> Result<serde_json::Value, String> {
        let names = [("#b", "b"), ("#dot", "a.b"), ("#a", "a")];
        let names = names.map(|(key, name)| (key.to_owned(), name.to_owned())).into();
        let values = BTreeMap::new();
        let mut substitutions = Substitutions::new(&names, &values);
        let projection = parse_projection(text, &mut substitutions);
        Ok(item_to_json(&projection.map_err(|error| error.to_string())?.apply(&item())))
    }

    /// As observed of DynamoDB (Alternator's tests, which run against it).
    #[test]
    fn what_is_shown_stands_where_it_stood() {
        let of_a = |map: serde_json::Value| json!({"a": {"M": map}});
        let b = |list: serde_json::Value| json!({"b": {"L": list}});
        for (text, expected) in [
            ("b", json!({"b": {"S": "hello"}})),
            ("x", json!({})),
            ("#dot", json!({"a.b": {"S": "dotted"}})),
            ("a.b[0]", of_a(b(json!([{"N": "2"}])))),
            ("#a.#b[2].y", of_a(b(json!([{"M": {"y": {"S": "yo"}}}])))),
            ("a.b[1], a.b[0]", of_a(b(json!([{"N": "2"}, {"N": "4"}])))),
            ("a.b[2].x,a.b[0]", of_a(b(json!([{"N": "2"}, {"M": {"x": {"S": "hi"}}}])))),
            ("a.b[0],a.c", of_a(json!({"b": {"L": [{"N": "2"}]}, "c": {"N": "5"}}))),
            ("a.c,b", json!({"a": {"M": {"c": {"N": "5"}}}, "b": {"S": "hello"}})),
            ("a.x, a.b[0], x, a.b[3].x", of_a(b(json!([{"N": "2"}])))),
            ("a.b[3]", json!({})),
            ("a.x.y", json!({})),
            ("a.b.x", json!({})),
            ("a[0]", json!({})),
            ("a.b[0][0]", json!({})),
        ] {
            assert_eq!(project(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn projections_are_refused_in_dynamodbs_words() {
        let overlap =
            "Two document paths overlap with each other; must remove or rewrite one of these paths";
        let conflict = "Two document paths conflict with each other; must remove or rewrite one of these paths";
        for (text, said) in [
            ("", "The expression can not be empty;".to_owned()),
            ("a,", "Syntax error; token: \"<EOF>\", near: \",\"".to_owned()),
            ("a b", "Syntax error; token: \"b\", near: \"a b\"".to_owned()),
            (",a", "Syntax error; token: \",\", near: \",a\"".to_owned()),
            ("a, :v", "Syntax error; token: \":v\", near: \", :v\"".to_owned()),
            ("a, a", format!("{overlap}; path one: [a], path two: [a]")),
            ("a.b[0], #a.b", format!("{overlap}; path one: [a, b, [0]], path two: [a, b]")),
            ("a.b, a[1]", format!("{conflict}; path one: [a, b], path two: [a, [1]]")),
            // An overlap is told before a conflict, wherever it is.
            ("a.b, a[1], c, c", format!("{overlap}; path one: [c], path two: [c]")),
            ("a, size", "Attribute name is a reserved keyword; reserved keyword: size".to_owned()),
            (
                "a, #x",
                "An expression attribute name used in the document path is not defined; attribute name: #x"
                    .to_owned(),
            ),
            (
                "a[2147483648]",
                "List index is not within the allowable range; index: [2147483648]".to_owned(),
            ),
            (
                &format!("a{}", ".b".repeat(32)),
                "The document path has too many nesting levels; nesting levels: 33".to_owned(),
            ),
        ] {
            assert_eq!(project(text), Err(format!("Invalid ProjectionExpression: {said}")), "{text}");
        }
        assert!(project(&format!("a{}", ".b".repeat(31))).is_ok());
    }
}
