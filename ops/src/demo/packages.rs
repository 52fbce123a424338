//! The demonstration's data: the packages of a Cargo.lock.

use std::path::Path;

use serde::Deserialize;
use tombolo_item::{Item, KeyAttribute, KeySchema, KeyType, Value};

use crate::error::{Context, Failure, Result};

/// Used when no file is named, so that the demonstration works from any folder.
const OWN_LOCK: &str = include_str!("../../../Cargo.lock");

#[derive(Deserialize)]
struct Lock {
    #[serde(default)]
    package: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    source: Option<String>,
    checksum: Option<String>,
    #[serde(default)]
    dependencies: Vec<String>,
}

/// Partition key `name`, sort key `version`.
pub(super) fn schema() -> KeySchema {
    let text = |name: &str| KeyAttribute { name: name.into(), kind: KeyType::S };
    KeySchema { partition: text("name"), sort: Some(text("version")) }
}

pub(super) fn read(file: Option<&Path>) -> Result<Vec<Item>> {
    let text = match file {
        None => OWN_LOCK.to_owned(),
        Some(file) => std::fs::read_to_string(file)
            .context(|| format!("reading {}", file.display()))
            .map_err(|failure| failure.with_exit(crate::error::Exit::Usage))?,
    };
    let lock: Lock = toml::from_str(&text).map_err(|error| {
        let name = file.map_or("Cargo.lock".into(), |file| file.display().to_string());
        Failure::usage(format!("{name} is not a Cargo.lock: {error}"))
    })?;
    if lock.package.is_empty() {
        return Err(Failure::usage("the Cargo.lock names no package"));
    }
    Ok(lock.package.into_iter().map(item).collect())
}

fn item(package: Package) -> Item {
    let mut item: Item = [
        ("name".to_owned(), Value::S(package.name)),
        ("version".to_owned(), Value::S(package.version)),
    ]
    .into_iter()
    .collect();
    if let Some(source) = package.source {
        item.insert("source", Value::S(source));
    }
    if let Some(checksum) = package.checksum {
        item.insert("checksum", Value::S(checksum));
    }
    if !package.dependencies.is_empty() {
        let list = package.dependencies.into_iter().map(Value::S).collect();
        item.insert("dependencies", Value::L(list));
    }
    item
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_lock_file_has_packages_with_legal_items() {
        let items = read(None).expect("this workspace has a lock file");
        assert!(items.len() > 100);
        for item in &items {
            item.validate().expect("a legal item");
            schema().key_of(item).expect("a legal key");
        }
    }
}
