//! What the service's API model says of requests: shapes, limits, enums.
//!
//! Always true: it is read once from `model.json`, which `tests/python/dynamodb_model.py` writes from
//! the package `botocore`; a test compares the two where that package is installed.

use std::collections::HashMap;
use std::sync::OnceLock;

use serde::Deserialize;

/// The file.
const MODEL: &str = include_str!("model.json");

/// Number of a shape.
pub(crate) type ShapeId = usize;

/// Member of a structure.
#[derive(Debug)]
pub(crate) struct Member {
    /// As in requests.
    pub(crate) name: String,
    pub(crate) shape: ShapeId,
    pub(crate) required: bool,
}

/// What a value may be.
#[derive(Debug)]
pub(crate) enum Kind {
    /// In the order in which the service looks at them.
    Structure(Vec<Member>),
    List(ShapeId),
    Map {
        key: ShapeId,
        value: ShapeId,
    },
    String,
    Blob,
    Boolean,
    Integer,
    Long,
    Double,
}

/// A shape.
#[derive(Debug)]
pub(crate) struct Shape {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// Least length or value.
    pub(crate) min: Option<i64>,
    /// Greatest length or value.
    pub(crate) max: Option<i64>,
    /// Letters, digits, `_`, `.` and `-` only; the pattern as the service prints it.
    pub(crate) pattern: Option<String>,
    /// In the order in which the service prints them.
    pub(crate) values: Vec<String>,
    /// `TableName` is looked at before everything else.
    pub(crate) named_first: bool,
}

/// All of it.
#[derive(Debug)]
pub(crate) struct Model {
    /// Where it is from.
    #[cfg(test)]
    pub(crate) source: String,
    shapes: Vec<Shape>,
    /// Target prefix, operation, its input.
    targets: Vec<(String, Vec<(String, ShapeId)>)>,
}

#[derive(Deserialize)]
struct FileShape {
    r#type: String,
    min: Option<i64>,
    max: Option<i64>,
    pattern: Option<String>,
    #[serde(default)]
    r#enum: Vec<String>,
    #[serde(default)]
    members: Vec<(String, String, bool)>,
    member: Option<String>,
    key: Option<String>,
    value: Option<String>,
    #[serde(default)]
    named_first: bool,
}

#[derive(Deserialize)]
struct File {
    #[cfg(test)]
    source: String,
    targets: std::collections::BTreeMap<String, std::collections::BTreeMap<String, String>>,
    shapes: std::collections::BTreeMap<String, FileShape>,
}

/// The model. The file is part of the program and its test reads all of it: it cannot be damaged.
pub(crate) fn model() -> &'static Model {
    static READ: OnceLock<Model> = OnceLock::new();
    READ.get_or_init(|| {
        read(MODEL).unwrap_or_else(|| Model {
            #[cfg(test)]
            source: String::new(),
            shapes: Vec::new(),
            targets: Vec::new(),
        })
    })
}

fn read(text: &str) -> Option<Model> {
    let file: File = serde_json::from_str(text).ok()?;
    let ids: HashMap<&str, ShapeId> =
        file.shapes.keys().enumerate().map(|(id, name)| (name.as_str(), id)).collect();
    let id = |name: &Option<String>| ids.get(name.as_deref()?).copied();
    let mut shapes = Vec::with_capacity(ids.len());
    for (name, shape) in &file.shapes {
        let kind = match shape.r#type.as_str() {
            "structure" => Kind::Structure(
                shape
                    .members
                    .iter()
                    .map(|(name, of, required)| {
                        let shape = *ids.get(of.as_str())?;
                        Some(Member { name: name.clone(), shape, required: *required })
                    })
                    .collect::<Option<_>>()?,
            ),
            "list" => Kind::List(id(&shape.member)?),
            "map" => Kind::Map { key: id(&shape.key)?, value: id(&shape.value)? },
            "string" => Kind::String,
            "blob" => Kind::Blob,
            "boolean" => Kind::Boolean,
            "integer" => Kind::Integer,
            "long" => Kind::Long,
            "double" | "timestamp" => Kind::Double,
            _ => return None,
        };
        shapes.push(Shape {
            name: name.clone(),
            kind,
            min: shape.min,
            max: shape.max,
            pattern: shape.pattern.clone(),
            values: shape.r#enum.clone(),
            named_first: shape.named_first,
        });
    }
    let targets = file
        .targets
        .iter()
        .map(|(target, operations)| {
            let inputs = operations
                .iter()
                .map(|(operation, input)| Some((operation.clone(), *ids.get(input.as_str())?)))
                .collect::<Option<_>>()?;
            Some((target.clone(), inputs))
        })
        .collect::<Option<_>>()?;
    Some(Model {
        #[cfg(test)]
        source: file.source.clone(),
        shapes,
        targets,
    })
}

impl Model {
    /// A shape.
    pub(crate) fn shape(&self, id: ShapeId) -> &Shape {
        &self.shapes[id]
    }

    /// The operation behind an `X-Amz-Target`, and the shape of its request.
    pub(crate) fn operation(&self, target: &str) -> Option<(&str, ShapeId)> {
        let (prefix, name) = target.split_once('.')?;
        let (_, operations) = self.targets.iter().find(|(known, _)| known == prefix)?;
        let at = operations.binary_search_by(|(known, _)| known.as_str().cmp(name)).ok()?;
        Some((&operations[at].0, operations[at].1))
    }

    /// Every operation: target prefix, name, request.
    #[cfg(test)]
    pub(crate) fn operations(&self) -> impl Iterator<Item = (&str, &str, ShapeId)> {
        self.targets.iter().flat_map(|(target, operations)| {
            operations.iter().map(move |(name, input)| (target.as_str(), name.as_str(), *input))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_whole() {
        let model = read(MODEL).expect("the file is read");
        assert!(model.source.starts_with("botocore "));
        // 62 operations of DynamoDB and 4 of its streams in that version.
        assert_eq!(model.operations().count(), 66);
        let (name, input) = model.operation("DynamoDB_20120810.PutItem").expect("it is there");
        assert_eq!((name, model.shape(input).name.as_str()), ("PutItem", "PutItemInput"));
        assert!(model.operation("DynamoDBStreams_20120810.GetRecords").is_some());
        for unknown in
            ["DynamoDB_20120810.GetRecords", "DynamoDB_20120810.putItem", "PutItem", "", "."]
        {
            assert!(model.operation(unknown).is_none(), "{unknown}");
        }
    }

    #[test]
    fn it_is_what_botocore_says() {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/python/dynamodb_model.py");
        let checked = std::process::Command::new("python3").args([script, "--check"]).output();
        // Exit code 2: the package is not installed, or in another version.
        let code = checked.ok().and_then(|output| output.status.code());
        assert!(code.is_none_or(|code| code == 0 || code == 2), "{script} makes another file");
    }
}
