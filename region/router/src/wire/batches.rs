//! Batches and PartiQL statements of the service `Items`.

use std::collections::BTreeMap;

use tombolo_client::{convert, v1};
use tombolo_item::partiql::{Statement, parse_statement};
use tombolo_item::projection::parse_projection;
use tombolo_item::{Item, Value};

use super::{parse, print};
use crate::errors;
use crate::failure::Failure;
use crate::operation::{
    Answer, BatchExecuteStatement, BatchGet, BatchGetTable, BatchStatement, BatchWrite,
    BatchWriteRequest, ExecuteStatement, Operation,
};

/// Longest text of a statement, in characters (botocore's model: `PartiQLStatement`).
const LONGEST_STATEMENT: usize = 8192;

fn wire_item(item: Item) -> v1::Item {
    v1::Item { attributes: convert::item_to_wire(item) }
}

pub(super) fn batch_get(wire: v1::BatchGetItemRequest) -> Result<Operation, Failure> {
    let mut tables = Vec::with_capacity(wire.request_items.len());
    for (name, of) in wire.request_items {
        let (names, text) = (of.expression_attribute_names, of.projection_expression);
        let projection = parse::expressions(&names, BTreeMap::new(), text.is_some(), |all| {
            text.map(|text| parse_projection(&text, all)).transpose()
        })?;
        let keys = of.keys.into_iter().map(|key| parse::key(key.attributes));
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        let of = BatchGetTable { keys, projection, consistent: of.consistent_read };
        tables.push((parse::table_name(name)?, of));
    }
    let report = parse::report(wire.return_consumed_capacity, 0)?;
    Ok(Operation::BatchGetItem(BatchGet { tables, report }))
}

/// The answer to a batch of reads; what was asked says how the rest is to be read.
pub(super) fn got(
    answer: Answer,
    asked: BTreeMap<String, v1::KeysAndAttributes>,
) -> Option<v1::BatchGetItemResponse> {
    let Answer::BatchGot(got) = answer else { return None };
    let found = got.found.into_iter().map(|(table, items)| {
        (table, v1::ItemList { items: items.into_iter().map(wire_item).collect() })
    });
    let unprocessed = got.unprocessed.into_iter().map(|(table, keys)| {
        let of = asked.get(&table).cloned().unwrap_or_default();
        let keys = keys.into_iter().map(wire_item).collect();
        (table, v1::KeysAndAttributes { keys, ..of })
    });
    Some(v1::BatchGetItemResponse {
        responses: found.collect(),
        unprocessed_keys: unprocessed.collect(),
        consumed_capacity: got.consumed.into_iter().map(print::capacity).collect(),
    })
}

pub(super) fn batch_write(wire: v1::BatchWriteItemRequest) -> Result<Operation, Failure> {
    use v1::write_request::Request;
    let one = |request: v1::WriteRequest| match request.request {
        Some(Request::Put(item)) => parse::item(item.attributes).map(BatchWriteRequest::Put),
        Some(Request::Delete(key)) => parse::key(key.attributes).map(BatchWriteRequest::Delete),
        None => Err(errors::empty_write_request()),
    };
    let mut tables = Vec::with_capacity(wire.request_items.len());
    for (name, of) in wire.request_items {
        let requests = of.requests.into_iter().map(one).collect::<Result<Vec<_>, _>>()?;
        tables.push((parse::table_name(name)?, requests));
    }
    let report = parse::report(wire.return_consumed_capacity, wire.return_item_collection_metrics)?;
    Ok(Operation::BatchWriteItem(BatchWrite { tables, report }))
}

pub(super) fn written(answer: Answer) -> Option<v1::BatchWriteItemResponse> {
    use v1::write_request::Request;
    let Answer::BatchWritten(written) = answer else { return None };
    let request = |request| v1::WriteRequest {
        request: Some(match request {
            BatchWriteRequest::Put(item) => Request::Put(wire_item(item)),
            BatchWriteRequest::Delete(key) => Request::Delete(wire_item(key)),
        }),
    };
    let unprocessed = written.unprocessed.into_iter().map(|(table, requests)| {
        (table, v1::WriteRequests { requests: requests.into_iter().map(request).collect() })
    });
    let collections = written.collections.into_iter().map(|(table, all)| {
        let collections = all.into_iter().map(print::collection).collect();
        (table, v1::ItemCollectionMetricsList { collections })
    });
    Some(v1::BatchWriteItemResponse {
        unprocessed_items: unprocessed.collect(),
        consumed_capacity: written.consumed.into_iter().map(print::capacity).collect(),
        item_collection_metrics: collections.collect(),
    })
}

fn statement(text: &str, parameters: Vec<v1::AttributeValue>) -> Result<Statement, Failure> {
    if text.is_empty() {
        return Err(errors::too_short_text(text, "statement", 1));
    }
    if text.chars().count() > LONGEST_STATEMENT {
        return Err(errors::too_long_text(text, "statement", LONGEST_STATEMENT));
    }
    let parameters = parameters.into_iter().map(convert::value).collect::<Result<Vec<Value>, _>>();
    let parameters = parameters.map_err(|error| errors::validation(error.to_string()))?;
    parse_statement(text, &parameters).map_err(errors::from_statement)
}

pub(super) fn execute(wire: v1::ExecuteStatementRequest) -> Result<Operation, Failure> {
    Ok(Operation::ExecuteStatement(ExecuteStatement {
        statement: statement(&wire.statement, wire.parameters)?,
        consistent: wire.consistent_read,
        limit: parse::limit(wire.limit)?,
        next_token: wire.next_token,
        return_on_failure: parse::return_on_failure(wire.return_values_on_condition_check_failure)?,
        report: parse::report(wire.return_consumed_capacity, 0)?,
    }))
}

pub(super) fn executed(answer: Answer) -> Option<v1::ExecuteStatementResponse> {
    let Answer::Statement(result) = answer else { return None };
    Some(v1::ExecuteStatementResponse {
        items: result.items.into_iter().map(wire_item).collect(),
        next_token: result.next_token,
        last_evaluated_key: result.last.map(convert::item_to_wire).unwrap_or_default(),
        consumed_capacity: print::consumed(result.consumed),
    })
}

pub(super) fn batch_execute(wire: v1::BatchExecuteStatementRequest) -> Result<Operation, Failure> {
    let one = |one: v1::BatchStatementRequest| {
        let return_on_failure =
            parse::return_on_failure(one.return_values_on_condition_check_failure)?;
        let statement = statement(&one.statement, one.parameters);
        Ok(BatchStatement { statement, consistent: one.consistent_read, return_on_failure })
    };
    let statements = wire.statements.into_iter().map(one).collect::<Result<_, _>>()?;
    let report = parse::report(wire.return_consumed_capacity, 0)?;
    Ok(Operation::BatchExecuteStatement(BatchExecuteStatement { statements, report }))
}

pub(super) fn batch_executed(answer: Answer) -> Option<v1::BatchExecuteStatementResponse> {
    let Answer::Statements(answer) = answer else { return None };
    let responses = answer.responses.into_iter().map(|(table, result)| {
        let table_name = table.unwrap_or_default();
        match result {
            Ok(item) => v1::BatchStatementResponse {
                error: None,
                table_name,
                item: item.map(convert::item_to_wire).unwrap_or_default(),
            },
            Err(failure) => v1::BatchStatementResponse {
                error: Some(v1::BatchStatementError {
                    code: errors::statement_code(failure.reason).into(),
                    message: failure.message.into_owned(),
                    item: failure.item.map(|item| convert::item_to_wire(*item)).unwrap_or_default(),
                }),
                table_name,
                item: BTreeMap::new(),
            },
        }
    });
    Some(v1::BatchExecuteStatementResponse {
        responses: responses.collect(),
        consumed_capacity: answer.consumed.into_iter().map(print::capacity).collect(),
    })
}
