//! PutItem, GetItem, UpdateItem, DeleteItem.

use super::Call;
use crate::dynamodb::expressions::{compatible, read};
use crate::dynamodb::fault::Fault;
use crate::dynamodb::fields::Fields;
use crate::dynamodb::legacy;
use crate::errors;
use crate::operation::{DeleteItem, GetItem, Operation, PutItem, ReturnValues, UpdateItem};

pub(super) fn put(call: &Call<'_>) -> Result<Operation, Fault> {
    let fields = call.fields();
    compatible(fields, &["ConditionExpression"], &["Expected"])?;
    let item = fields.item("Item")?;
    let returns = before_only(fields)?;
    item.validate().map_err(errors::from_item)?;
    let expected = legacy::expected(fields)?;
    let found = read(fields)?;
    Ok(Operation::PutItem(PutItem {
        table: fields.table(call.region)?,
        item,
        condition: found.condition.or(expected),
        returns,
        return_on_failure: fields.returns_on_failure(),
        report: fields.report(),
    }))
}

pub(super) fn get(call: &Call<'_>) -> Result<Operation, Fault> {
    let fields = call.fields();
    compatible(fields, &["ProjectionExpression"], &["AttributesToGet"])?;
    let key = fields.item("Key")?;
    let attributes = fields.attributes_to_get()?;
    let found = read(fields)?;
    Ok(Operation::GetItem(GetItem {
        table: fields.table(call.region)?,
        key,
        consistent: fields.flag("ConsistentRead").unwrap_or(false),
        projection: found.projection.or(attributes),
        report: fields.report(),
    }))
}

pub(super) fn update(call: &Call<'_>) -> Result<Operation, Fault> {
    let fields = call.fields();
    compatible(
        fields,
        &["UpdateExpression", "ConditionExpression"],
        &["AttributeUpdates", "Expected"],
    )?;
    let key = fields.item("Key")?;
    let updates = legacy::updates(fields)?;
    let expected = legacy::expected(fields)?;
    let found = read(fields)?;
    Ok(Operation::UpdateItem(UpdateItem {
        table: fields.table(call.region)?,
        key,
        update: found.update.or(updates).unwrap_or_default(),
        condition: found.condition.or(expected),
        returns: fields.returns(),
        return_on_failure: fields.returns_on_failure(),
        report: fields.report(),
    }))
}

pub(super) fn delete(call: &Call<'_>) -> Result<Operation, Fault> {
    let fields = call.fields();
    compatible(fields, &["ConditionExpression"], &["Expected"])?;
    let key = fields.item("Key")?;
    let returns = before_only(fields)?;
    let expected = legacy::expected(fields)?;
    let found = read(fields)?;
    Ok(Operation::DeleteItem(DeleteItem {
        table: fields.table(call.region)?,
        key,
        condition: found.condition.or(expected),
        returns,
        return_on_failure: fields.returns_on_failure(),
        report: fields.report(),
    }))
}

/// What puts and deletes may give back.
fn before_only(fields: Fields<'_>) -> Result<ReturnValues, Fault> {
    match fields.returns() {
        legal @ (ReturnValues::None | ReturnValues::AllOld) => Ok(legal),
        _ => Err(Fault::validation("ReturnValues can only be ALL_OLD or NONE")),
    }
}
