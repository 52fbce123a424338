//! Reads members of a request that [`super::convert`] and [`super::constraints`] let through.

use std::borrow::Cow;
use std::collections::BTreeMap;

use tombolo_item::{Item, Projection};

use super::fault::Fault;
use super::json::Json;
use super::values;
use crate::arn;
use crate::operation::{CapacityDetail, Report, ReturnValues};

/// A structure of a request.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    json: &'a Json<'a>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(json: &'a Json<'a>) -> Self {
        Self { json }
    }

    pub(super) fn get(self, name: &str) -> Option<&'a Json<'a>> {
        self.json.get(name)
    }

    pub(super) fn has(self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub(super) fn text(self, name: &str) -> Option<&'a str> {
        match self.get(name)? {
            Json::String(text) => Some(text),
            _ => None,
        }
    }

    /// A text that the model requires.
    pub(super) fn required(self, name: &str) -> String {
        self.text(name).unwrap_or_default().to_owned()
    }

    pub(super) fn flag(self, name: &str) -> Option<bool> {
        match self.get(name)? {
            Json::Bool(truth) => Some(*truth),
            _ => None,
        }
    }

    pub(super) fn number(self, name: &str) -> Option<i64> {
        match self.get(name)? {
            Json::Number(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// A count, which the model holds above zero.
    pub(super) fn count(self, name: &str) -> Option<u32> {
        self.number(name).map(|number| u32::try_from(number.max(0)).unwrap_or(u32::MAX))
    }

    pub(super) fn structure(self, name: &str) -> Option<Fields<'a>> {
        self.get(name).map(Fields::new)
    }

    pub(super) fn list(self, name: &str) -> Option<&'a [Json<'a>]> {
        match self.get(name)? {
            Json::Array(list) => Some(list),
            _ => None,
        }
    }

    pub(super) fn structures(self, name: &str) -> Vec<Fields<'a>> {
        self.list(name).unwrap_or_default().iter().map(Fields::new).collect()
    }

    pub(super) fn texts(self, name: &str) -> Option<Vec<String>> {
        let texts = self.list(name)?.iter().filter_map(|one| match one {
            Json::String(text) => Some(text.to_string()),
            _ => None,
        });
        Some(texts.collect())
    }

    pub(super) fn entries(self, name: &str) -> Option<&'a [(Cow<'a, str>, Json<'a>)]> {
        match self.get(name)? {
            Json::Object(entries) => Some(entries),
            _ => None,
        }
    }

    /// An item or a key.
    pub(super) fn item(self, name: &str) -> Result<Item, Fault> {
        match self.get(name) {
            None => Ok(Item::default()),
            Some(json) => values::item(json).map_err(Fault::validation),
        }
    }

    /// Names behind placeholders.
    pub(super) fn names(self, name: &str) -> Option<BTreeMap<String, String>> {
        let entries = self.entries(name)?.iter().filter_map(|(key, one)| match one {
            Json::String(text) => Some((key.to_string(), text.to_string())),
            _ => None,
        });
        Some(entries.collect())
    }

    /// The table, by name or by ARN.
    pub(super) fn table(self, region: &str) -> Result<String, Fault> {
        Ok(arn::table(self.text("TableName").unwrap_or_default(), region)?)
    }

    pub(super) fn report(self) -> Report {
        Report {
            capacity: match self.text("ReturnConsumedCapacity") {
                Some("TOTAL") => CapacityDetail::Total,
                Some("INDEXES") => CapacityDetail::Indexes,
                _ => CapacityDetail::None,
            },
            collections: self.text("ReturnItemCollectionMetrics") == Some("SIZE"),
        }
    }

    pub(super) fn returns(self) -> ReturnValues {
        match self.text("ReturnValues") {
            Some("ALL_OLD") => ReturnValues::AllOld,
            Some("UPDATED_OLD") => ReturnValues::UpdatedOld,
            Some("ALL_NEW") => ReturnValues::AllNew,
            Some("UPDATED_NEW") => ReturnValues::UpdatedNew,
            _ => ReturnValues::None,
        }
    }

    pub(super) fn returns_on_failure(self) -> bool {
        self.text("ReturnValuesOnConditionCheckFailure") == Some("ALL_OLD")
    }

    /// The legacy parameter in place of a projection expression.
    pub(super) fn attributes_to_get(self) -> Result<Option<Projection>, Fault> {
        let Some(names) = self.texts("AttributesToGet") else { return Ok(None) };
        if let Some(twice) = first_duplicate(&names) {
            return Err(Fault::validation(format!(
                "One or more parameter values were invalid: Duplicate value in attribute name: {twice}"
            )));
        }
        Ok(Some(Projection::of_attributes(names)))
    }
}

fn first_duplicate(names: &[String]) -> Option<&String> {
    let mut seen = std::collections::HashSet::new();
    names.iter().find(|name| !seen.insert(*name))
}
