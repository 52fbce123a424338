//! The expressions of one request, with the names and values that they share.
//!
//! Always true: they are checked in the service's order: what may not stand together, names, values,
//! then update, condition, key condition, filter and projection, then what nobody used.

use std::collections::BTreeMap;

use tombolo_item::condition::{
    ExpressionKind, KeyExpression, Substitutions, parse_key_expression, parse_with,
};
use tombolo_item::projection::parse_projection;
use tombolo_item::update::parse_update;
use tombolo_item::{Condition, Projection, Update};

use super::fault::Fault;
use super::fields::Fields;
use super::json::Json;
use super::values;
use crate::errors;

const NAMES: &str = "ExpressionAttributeNames";
const VALUES: &str = "ExpressionAttributeValues";

/// What the expressions of a request say.
#[derive(Debug, Default)]
pub(super) struct Expressions {
    pub(super) update: Option<Update>,
    pub(super) condition: Option<Condition>,
    pub(super) key: Option<KeyExpression>,
    pub(super) filter: Option<Condition>,
    pub(super) projection: Option<Projection>,
}

/// Whether expressions, legacy parameters and placeholders may stand together in a request.
pub(super) fn compatible(
    fields: Fields<'_>,
    expressions: &[&str],
    legacy: &[&str],
) -> Result<(), Fault> {
    let given = |names: &[&str]| -> Vec<String> {
        names.iter().filter(|name| fields.has(name)).map(|&name| name.to_owned()).collect()
    };
    let modern = given(expressions);
    if !modern.is_empty() {
        let mut old = given(legacy);
        // A legacy key condition goes with a filter expression: only two key conditions do not.
        if !fields.has("KeyConditionExpression") {
            old.retain(|name| name != "KeyConditions");
        }
        if !old.is_empty() {
            return Err(Fault::validation(format!(
                "Can not use both expression and non-expression parameters in the same request: \
                 Non-expression parameters: {{{}}} Expression parameters: {{{}}}",
                old.join(", "),
                modern.join(", ")
            )));
        }
    }
    if fields.has(NAMES) && modern.is_empty() {
        return Err(errors::placeholders_without_expression(NAMES).into());
    }
    let with_values: Vec<&str> =
        expressions.iter().copied().filter(|name| *name != "ProjectionExpression").collect();
    let unused = with_values.iter().all(|name| !fields.has(name));
    if fields.has(VALUES) && !with_values.is_empty() && unused {
        let verb = if with_values.len() > 1 { "are" } else { "is" };
        return Err(Fault::validation(format!(
            "{VALUES} can only be specified when using expressions: {} {verb} null",
            with_values.join(" and ")
        )));
    }
    Ok(())
}

/// Reads all expressions of a request.
pub(super) fn read(fields: Fields<'_>) -> Result<Expressions, Fault> {
    let names = names(fields)?;
    let values = placeholder_values(fields)?;
    let mut found = Expressions::default();
    let mut shared = Substitutions::new(&names, &values);
    shared.check().map_err(errors::from_expression)?;
    if let Some(text) = fields.text("UpdateExpression") {
        found.update = Some(parse_update(text, &mut shared).map_err(errors::from_expression)?);
    }
    if let Some(text) = fields.text("ConditionExpression") {
        let condition = parse_with(ExpressionKind::Condition, text, &mut shared);
        found.condition = Some(condition.map_err(errors::from_expression)?);
    }
    if let Some(text) = fields.text("KeyConditionExpression") {
        let key = parse_key_expression(text, &mut shared);
        found.key = Some(key.map_err(errors::from_expression)?);
    }
    if let Some(text) = fields.text("FilterExpression") {
        let filter = parse_with(ExpressionKind::Filter, text, &mut shared);
        found.filter = Some(filter.map_err(errors::from_expression)?);
    }
    if let Some(text) = fields.text("ProjectionExpression") {
        let projection = parse_projection(text, &mut shared);
        found.projection = Some(projection.map_err(errors::from_expression)?);
    }
    shared.finish().map_err(errors::from_expression)?;
    Ok(found)
}

fn legal_key(parameter: &str, sign: char, key: &str) -> Result<(), Fault> {
    let legal = key.strip_prefix(sign).is_some_and(|rest| {
        !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    });
    match legal {
        true => Ok(()),
        false => Err(Fault::validation(format!(
            "{parameter} contains invalid key: Syntax error; key: \"{key}\""
        ))),
    }
}

fn names(fields: Fields<'_>) -> Result<BTreeMap<String, String>, Fault> {
    let Some(names) = fields.names(NAMES) else { return Ok(BTreeMap::new()) };
    if names.is_empty() {
        return Err(Fault::validation(format!("{NAMES} must not be empty")));
    }
    for key in names.keys() {
        legal_key(NAMES, '#', key)?;
    }
    Ok(names)
}

fn placeholder_values(fields: Fields<'_>) -> Result<BTreeMap<String, tombolo_item::Value>, Fault> {
    let Some(entries) = fields.entries(VALUES) else { return Ok(BTreeMap::new()) };
    if entries.is_empty() {
        return Err(Fault::validation(format!("{VALUES} must not be empty")));
    }
    for (key, _) in entries {
        legal_key(VALUES, ':', key)?;
    }
    let value = |key: &str, json: &Json<'_>| {
        values::value(json).map_err(|why| {
            Fault::validation(format!("{VALUES} contains invalid value: {why} for key {key}"))
        })
    };
    entries.iter().map(|(key, json)| Ok((key.to_string(), value(key, json)?))).collect()
}
