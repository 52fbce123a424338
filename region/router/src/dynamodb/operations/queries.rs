//! Query and Scan.

use tombolo_item::Item;

use super::Call;
use crate::dynamodb::expressions::{compatible, read};
use crate::dynamodb::fault::Fault;
use crate::dynamodb::fields::Fields;
use crate::dynamodb::{legacy, values};
use crate::errors;
use crate::operation::{KeyCondition, Operation, PageRequest, Query, Scan, Select};

pub(super) fn query(call: &Call<'_>) -> Result<Operation, Fault> {
    let fields = call.fields();
    compatible(
        fields,
        &["ProjectionExpression", "FilterExpression", "KeyConditionExpression"],
        &["AttributesToGet", "QueryFilter", "ConditionalOperator", "KeyConditions"],
    )?;
    let legacy_filter = legacy::filter(fields, "QueryFilter")?;
    let attributes = fields.attributes_to_get()?;
    let start = start_key(fields)?;
    if !fields.has("KeyConditions") && !fields.has("KeyConditionExpression") {
        return Err(errors::key_condition_count(0).into());
    }
    let found = read(fields)?;
    let condition = match found.key {
        Some(expression) => KeyCondition::Named(expression),
        None => KeyCondition::Named(legacy::key_conditions(fields)?),
    };
    let projection = found.projection.or(attributes);
    Ok(Operation::Query(Query {
        table: fields.table(call.region)?,
        index: fields.text("IndexName").map(str::to_owned),
        condition,
        filter: found.filter.or(legacy_filter),
        select: select(fields, projection.is_some())?,
        projection,
        forward: fields.flag("ScanIndexForward").unwrap_or(true),
        page: page(fields, start),
        report: fields.report(),
    }))
}

pub(super) fn scan(call: &Call<'_>) -> Result<Operation, Fault> {
    let fields = call.fields();
    compatible(
        fields,
        &["ProjectionExpression", "FilterExpression"],
        &["AttributesToGet", "ScanFilter", "ConditionalOperator"],
    )?;
    let attributes = fields.attributes_to_get()?;
    let legacy_filter = legacy::filter(fields, "ScanFilter")?;
    let start = start_key(fields)?;
    let segment = segment(fields)?;
    let found = read(fields)?;
    let projection = found.projection.or(attributes);
    Ok(Operation::Scan(Scan {
        table: fields.table(call.region)?,
        index: fields.text("IndexName").map(str::to_owned),
        filter: found.filter.or(legacy_filter),
        select: select(fields, projection.is_some())?,
        projection,
        segment,
        page: page(fields, start),
        report: fields.report(),
    }))
}

fn page(fields: Fields<'_>, start: Option<Item>) -> PageRequest {
    PageRequest {
        limit: fields.count("Limit"),
        start,
        consistent: fields.flag("ConsistentRead").unwrap_or(false),
    }
}

fn start_key(fields: Fields<'_>) -> Result<Option<Item>, Fault> {
    let Some(json) = fields.get("ExclusiveStartKey") else { return Ok(None) };
    values::item(json).map(Some).map_err(|why| {
        // The service says this before some texts and not before others.
        let bare = [
            "contains duplicates",
            "number set",
            "numeric value",
            "significant digits",
            "number with magnitude",
        ];
        Fault::validation(match bare.iter().any(|part| why.contains(part)) {
            true => why,
            false => format!("The provided starting key is invalid: {why}"),
        })
    })
}

fn segment(fields: Fields<'_>) -> Result<Option<(u32, u32)>, Fault> {
    match (fields.count("Segment"), fields.count("TotalSegments")) {
        (None, None) => Ok(None),
        (Some(_), None) => Err(Fault::validation(
            "The TotalSegments parameter is required but was not present in the request when Segment \
             parameter is present",
        )),
        (None, Some(_)) => Err(Fault::validation(
            "The Segment parameter is required but was not present in the request when parameter \
             TotalSegments is present",
        )),
        (Some(segment), Some(total)) if segment >= total => Err(Fault::validation(format!(
            "The Segment parameter is zero-based and must be less than parameter TotalSegments: \
             Segment: {segment} is not less than TotalSegments: {total}"
        ))),
        (Some(segment), Some(total)) => Ok(Some((segment, total))),
    }
}

fn select(fields: Fields<'_>, projects: bool) -> Result<Option<Select>, Fault> {
    let select = match fields.text("Select") {
        Some("ALL_ATTRIBUTES") => Some(Select::AllAttributes),
        Some("ALL_PROJECTED_ATTRIBUTES") => Some(Select::AllProjectedAttributes),
        Some("SPECIFIC_ATTRIBUTES") => Some(Select::SpecificAttributes),
        Some("COUNT") => Some(Select::Count),
        _ => None,
    };
    let parameter = match fields.has("ProjectionExpression") {
        true => "ProjectionExpression",
        false => "AttributesToGet",
    };
    match select {
        Some(Select::SpecificAttributes) if !projects => Err(Fault::validation(
            "Must specify the AttributesToGet or ProjectionExpression when choosing to get \
             SPECIFIC_ATTRIBUTES",
        )),
        Some(Select::AllProjectedAttributes) if !fields.has("IndexName") => Err(Fault::validation(
            "ALL_PROJECTED_ATTRIBUTES can be used only when Querying using an IndexName",
        )),
        Some(select) if projects && select != Select::SpecificAttributes => {
            let what = match select {
                Select::Count => "only the Count".to_owned(),
                other => other.as_str().to_owned(),
            };
            Err(Fault::validation(format!(
                "Cannot specify the {parameter} when choosing to get {what}"
            )))
        }
        other => Ok(other),
    }
}
