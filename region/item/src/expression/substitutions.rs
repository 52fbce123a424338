//! Placeholders: `#name` for an attribute's name, `:value` for a value.

use std::collections::{BTreeMap, BTreeSet};

use super::ExpressionError;
use crate::limits::{SUBSTITUTED_BYTES, SUBSTITUTION_BYTES};
use crate::value::Value;

/// Which of a request's names and values its expressions have used. A request with several
/// expressions shares one.
#[derive(Debug)]
pub struct Substitutions<'a> {
    names: &'a BTreeMap<String, String>,
    values: &'a BTreeMap<String, Value>,
    used_names: BTreeSet<&'a str>,
    used_values: BTreeSet<&'a str>,
    /// Bytes of all uses so far.
    used_bytes: usize,
}

impl<'a> Substitutions<'a> {
    /// Names are given as `#n`, values as `:v`.
    pub fn new(names: &'a BTreeMap<String, String>, values: &'a BTreeMap<String, Value>) -> Self {
        let (used_names, used_values) = (BTreeSet::new(), BTreeSet::new());
        Self { names, values, used_names, used_values, used_bytes: 0 }
    }

    /// Placeholders are `#` or `:` and letters, digits or `_`; values are legal; all together have a
    /// bounded size.
    pub fn check(&self) -> Result<(), ExpressionError> {
        let (names, values) = ("ExpressionAttributeNames", "ExpressionAttributeValues");
        let mut bytes = 0;
        for (key, name) in self.names {
            check_placeholder(names, '#', key)?;
            bytes += key.len() + name.len();
        }
        for (key, value) in self.values {
            check_placeholder(values, ':', key)?;
            value.check().map_err(|error| {
                let (key, reason) = (key.clone(), error.to_string());
                ExpressionError::PlaceholderValue { parameter: values, key, reason }
            })?;
            bytes += key.len() + value.size();
        }
        if bytes > SUBSTITUTION_BYTES {
            return Err(ExpressionError::SubstitutionsTooLarge);
        }
        Ok(())
    }

    /// The name behind a placeholder, if there is one, to be copied.
    pub(super) fn name(&mut self, name: &str) -> Result<Option<&'a str>, ExpressionError> {
        let Some((key, value)) = self.names.get_key_value(name) else { return Ok(None) };
        self.used_names.insert(key);
        self.spend(value.len())?;
        Ok(Some(value))
    }

    /// The value behind a placeholder, if there is one, to be copied.
    pub(super) fn value(&mut self, name: &str) -> Result<Option<&'a Value>, ExpressionError> {
        let Some((key, value)) = self.values.get_key_value(name) else { return Ok(None) };
        self.used_values.insert(key);
        self.spend(value.size())?;
        Ok(Some(value))
    }

    fn spend(&mut self, bytes: usize) -> Result<(), ExpressionError> {
        self.used_bytes = self.used_bytes.saturating_add(bytes);
        match self.used_bytes > SUBSTITUTED_BYTES {
            true => Err(ExpressionError::SubstitutionsTooLarge),
            false => Ok(()),
        }
    }

    /// Every name and value must have been used.
    pub fn finish(self) -> Result<(), ExpressionError> {
        if let Some(keys) = unused(self.names.keys(), &self.used_names) {
            return Err(ExpressionError::UnusedNames(keys));
        }
        match unused(self.values.keys(), &self.used_values) {
            Some(keys) => Err(ExpressionError::UnusedValues(keys)),
            None => Ok(()),
        }
    }
}

fn unused<'a>(all: impl Iterator<Item = &'a String>, used: &BTreeSet<&str>) -> Option<String> {
    let left: Vec<_> = all.map(String::as_str).filter(|key| !used.contains(key)).collect();
    (!left.is_empty()).then(|| left.join(", "))
}

fn check_placeholder(
    parameter: &'static str,
    sign: char,
    key: &str,
) -> Result<(), ExpressionError> {
    let legal = key.strip_prefix(sign).is_some_and(|rest| {
        !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    });
    let shown = || key.chars().take(255).collect();
    if legal { Ok(()) } else { Err(ExpressionError::PlaceholderName { parameter, key: shown() }) }
}
