//! Answers about items.

use tombolo_item::Item;

use crate::dynamodb::fault::Fault;
use crate::dynamodb::operations::Call;
use crate::dynamodb::values::write_item;
use crate::dynamodb::writer::{Object, list, object};
use crate::errors;
use crate::operation::{
    BatchGot, BatchStatements, BatchWriteRequest, BatchWritten, CapacityDetail, CollectionMetrics,
    Consumed, Got, Page, StatementResult, Written,
};

fn item(o: &mut Object<'_>, name: &str, item: Option<&Item>) {
    if let Some(item) = item {
        o.put(name, |out| write_item(out, item));
    }
}

/// Units as the service prints them: always with a fraction.
fn units(o: &mut Object<'_>, name: &str, units: f64) {
    o.put(name, |out| out.extend_from_slice(format!("{units:?}").as_bytes()));
}

fn consumed(out: &mut Vec<u8>, of: &Consumed) {
    object(out, |o| {
        o.text("TableName", &of.table);
        units(o, "CapacityUnits", of.units);
        if of.detail == CapacityDetail::Indexes {
            o.object("Table", |o| units(o, "CapacityUnits", of.table_units));
            if !of.local.is_empty() {
                o.object("LocalSecondaryIndexes", |o| {
                    for (index, share) in &of.local {
                        o.object(index, |o| units(o, "CapacityUnits", *share));
                    }
                });
            }
        }
    });
}

fn consumed_one(o: &mut Object<'_>, all: &[Consumed]) {
    if let Some(one) = all.first() {
        o.put("ConsumedCapacity", |out| consumed(out, one));
    }
}

fn consumed_all(o: &mut Object<'_>, all: &[Consumed]) {
    if !all.is_empty() {
        o.list("ConsumedCapacity", all, consumed);
    }
}

fn collection(out: &mut Vec<u8>, of: &CollectionMetrics) {
    object(out, |o| {
        o.put("ItemCollectionKey", |out| write_item(out, &of.key));
        let (low, high) = of.size_gb;
        o.list("SizeEstimateRangeGB", [low, high], |out, bound| {
            out.extend_from_slice(format!("{bound:?}").as_bytes());
        });
    });
}

pub(super) fn written(out: &mut Vec<u8>, of: &Written) {
    object(out, |o| {
        item(o, "Attributes", of.attributes.as_ref());
        consumed_one(o, &of.consumed);
        if let Some(of) = &of.collection {
            o.put("ItemCollectionMetrics", |out| collection(out, of));
        }
    });
}

pub(super) fn got(out: &mut Vec<u8>, of: &Got) {
    object(out, |o| {
        item(o, "Item", of.item.as_ref().map(|(item, _)| item));
        consumed_one(o, &of.consumed);
    });
}

pub(super) fn page(out: &mut Vec<u8>, of: &Page) {
    object(out, |o| {
        if let Some(items) = &of.items {
            o.list("Items", items, write_item);
        }
        o.plain("Count", of.count);
        o.plain("ScannedCount", of.scanned);
        item(o, "LastEvaluatedKey", of.last.as_ref());
        consumed_one(o, &of.consumed);
    });
}

/// Tables are called what the request called them, be it by ARN.
fn as_asked<'a>(call: &'a Call<'_>, table: &'a str) -> &'a str {
    let asked = call.fields().entries("RequestItems").unwrap_or_default();
    let same = |name: &&str| crate::arn::table(name, call.region).is_ok_and(|of| of == table);
    asked.iter().map(|(name, _)| &**name).find(same).unwrap_or(table)
}

pub(super) fn batch_got(out: &mut Vec<u8>, call: &Call<'_>, of: &BatchGot) {
    object(out, |o| {
        o.object("Responses", |o| {
            for (table, items) in &of.found {
                o.list(as_asked(call, table), items, write_item);
            }
        });
        o.object("UnprocessedKeys", |o| {
            for (table, keys) in &of.unprocessed {
                let name = as_asked(call, table).to_owned();
                let fields = call.fields().structure("RequestItems");
                let asked = fields.and_then(|all| all.structure(&name));
                o.object(&name, |o| {
                    o.list("Keys", keys, write_item);
                    let Some(asked) = asked else { return };
                    if let Some(text) = asked.text("ProjectionExpression") {
                        o.text("ProjectionExpression", text);
                    }
                    if let Some(names) = asked.names("ExpressionAttributeNames") {
                        o.object("ExpressionAttributeNames", |o| {
                            names.iter().for_each(|(key, name)| o.text(key, name));
                        });
                    }
                    if let Some(names) = asked.texts("AttributesToGet") {
                        o.list("AttributesToGet", &names, |out, name| {
                            crate::dynamodb::json::write_string(out, name);
                        });
                    }
                    if let Some(strong) = asked.flag("ConsistentRead") {
                        o.plain("ConsistentRead", strong);
                    }
                });
            }
        });
        consumed_all(o, &of.consumed);
    });
}

pub(super) fn batch_written(out: &mut Vec<u8>, of: &BatchWritten) {
    object(out, |o| {
        o.object("UnprocessedItems", |o| {
            for (table, requests) in &of.unprocessed {
                o.list(table, requests, |out, request| {
                    object(out, |o| match request {
                        BatchWriteRequest::Put(item) => o.object("PutRequest", |o| {
                            o.put("Item", |out| write_item(out, item));
                        }),
                        BatchWriteRequest::Delete(key) => o.object("DeleteRequest", |o| {
                            o.put("Key", |out| write_item(out, key));
                        }),
                    });
                });
            }
        });
        consumed_all(o, &of.consumed);
        if !of.collections.is_empty() {
            o.object("ItemCollectionMetrics", |o| {
                for (table, metrics) in &of.collections {
                    o.list(table, metrics, collection);
                }
            });
        }
    });
}

pub(super) fn statement(out: &mut Vec<u8>, of: &StatementResult) {
    object(out, |o| {
        o.list("Items", &of.items, write_item);
        if let Some(token) = &of.next_token {
            o.text("NextToken", token);
        }
        item(o, "LastEvaluatedKey", of.last.as_ref());
        consumed_one(o, &of.consumed);
    });
}

pub(super) fn statements(out: &mut Vec<u8>, of: BatchStatements) {
    let BatchStatements { responses, consumed, .. } = of;
    object(out, |o| {
        o.put("Responses", |out| {
            list(out, responses, |out, (table, result)| {
                object(out, |o| {
                    match result {
                        Ok(found) => item(o, "Item", found.as_ref()),
                        Err(failure) => {
                            let code = errors::statement_code(failure.reason);
                            let fault = Fault::from(failure);
                            o.object("Error", |o| {
                                o.text("Code", code);
                                o.text("Message", fault.message().unwrap_or_default());
                                item(o, "Item", fault.item());
                            });
                        }
                    }
                    if let Some(table) = table {
                        o.text("TableName", &table);
                    }
                });
            });
        });
        consumed_all(o, &consumed);
    });
}
