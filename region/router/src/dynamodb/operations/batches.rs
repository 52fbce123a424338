//! BatchGetItem and BatchWriteItem.

use std::collections::BTreeSet;

use super::Call;
use crate::arn;
use crate::dynamodb::expressions::{compatible, read};
use crate::dynamodb::fault::Fault;
use crate::dynamodb::fields::Fields;
use crate::dynamodb::values;
use crate::errors;
use crate::operation::{BatchGet, BatchGetTable, BatchWrite, BatchWriteRequest, Operation};

/// Keys of one BatchGetItem (API_BatchGetItem).
const MOST_KEYS: usize = 100;
/// Writes of one BatchWriteItem (API_BatchWriteItem).
const MOST_WRITES: usize = 25;

const TWO_TYPES: &str = "Supplied AttributeValue has more than one datatypes set, must contain \
                         exactly one of the supported datatypes";

pub(super) fn get(call: &Call<'_>) -> Result<Operation, Fault> {
    let fields = call.fields();
    let mut tables = Vec::new();
    let mut count = 0;
    for (name, json) in fields.entries("RequestItems").unwrap_or_default() {
        let of = Fields::new(json);
        compatible(of, &["ProjectionExpression"], &["AttributesToGet"])?;
        let attributes = of.attributes_to_get()?;
        let found = read(of)?;
        let mut keys = Vec::new();
        let mut seen = BTreeSet::new();
        for key in of.list("Keys").unwrap_or_default() {
            let key = values::item(key).map_err(Fault::validation)?;
            if !seen.insert(key.0.clone()) {
                return Err(Fault::validation("Provided list of item keys contains duplicates"));
            }
            keys.push(key);
            count += 1;
            if count > MOST_KEYS {
                return Err(Fault::validation(
                    "Too many items requested for the BatchGetItem call",
                ));
            }
        }
        let one = BatchGetTable {
            keys,
            projection: found.projection.or(attributes),
            consistent: of.flag("ConsistentRead").unwrap_or(false),
        };
        tables.push((arn::table(name, call.region)?, one));
    }
    once_each(&tables)?;
    Ok(Operation::BatchGetItem(BatchGet { tables, report: fields.report() }))
}

pub(super) fn write(call: &Call<'_>) -> Result<Operation, Fault> {
    let fields = call.fields();
    let mut tables = Vec::new();
    let mut count = 0;
    for (name, json) in fields.entries("RequestItems").unwrap_or_default() {
        let crate::dynamodb::json::Json::Array(list) = json else { continue };
        let requests: Vec<Fields<'_>> = list.iter().map(Fields::new).collect();
        // The service's text for requests that are neither or both.
        if requests.iter().any(|one| one.has("PutRequest") == one.has("DeleteRequest")) {
            return Err(Fault::validation(TWO_TYPES));
        }
        let mut writes = Vec::with_capacity(requests.len());
        for one in requests {
            writes.push(match (one.structure("PutRequest"), one.structure("DeleteRequest")) {
                (Some(put), _) => {
                    let item = put.item("Item")?;
                    item.validate().map_err(errors::from_item)?;
                    BatchWriteRequest::Put(item)
                }
                (None, delete) => {
                    let key = delete.map_or_else(|| Ok(Default::default()), |d| d.item("Key"))?;
                    BatchWriteRequest::Delete(key)
                }
            });
        }
        count += writes.len();
        if count > MOST_WRITES {
            return Err(Fault::validation("Too many items requested for the BatchWriteItem call"));
        }
        tables.push((arn::table(name, call.region)?, writes));
    }
    once_each(&tables)?;
    Ok(Operation::BatchWriteItem(BatchWrite { tables, report: fields.report() }))
}

/// A table by its name and again by its ARN would be two tables.
fn once_each<T>(tables: &[(String, T)]) -> Result<(), Fault> {
    let names: BTreeSet<&String> = tables.iter().map(|(name, _)| name).collect();
    match names.len() == tables.len() {
        true => Ok(()),
        false => Err(Fault::validation("Provided list of tables contains duplicates")),
    }
}
