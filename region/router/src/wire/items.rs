//! The service `Items`.

use std::collections::BTreeMap;

use tombolo_client::v1::items_server::Items;
use tombolo_client::{convert, v1};
use tombolo_item::Item;
use tombolo_item::condition::{Substitutions, parse_key_expression};
use tonic::{Request, Response, Status, Streaming};

use super::session::Session;
use super::{Services, parse};
use crate::errors;
use crate::failure::Failure;
use crate::operation::{
    Answer, DeleteItem, GetItem, Got, KeyCondition, Operation, Page, PutItem, Query, Report, Scan,
    Written,
};
use crate::region::Region;

pub(super) fn put_item(wire: v1::PutItemRequest) -> Result<Operation, Failure> {
    parse::no_client_token(wire.client_request_token)?;
    if wire.item.is_empty() {
        return Err(errors::missing_parameter("item"));
    }
    Ok(Operation::PutItem(PutItem {
        table: parse::table_name(wire.table_name)?,
        item: parse::item(wire.item)?,
        condition: parse::condition(
            wire.condition_expression,
            wire.expression_attribute_names,
            wire.expression_attribute_values,
        )?,
        returns: parse::return_values(wire.return_values)?,
        return_on_failure: parse::return_on_failure(wire.return_values_on_condition_check_failure)?,
        report: Report::default(),
    }))
}

pub(super) fn get_item(wire: v1::GetItemRequest) -> Result<Operation, Failure> {
    Ok(Operation::GetItem(GetItem {
        table: parse::table_name(wire.table_name)?,
        key: parse::key(wire.key)?,
        consistent: wire.consistent_read,
        projection: None,
        report: Report::default(),
    }))
}

pub(super) fn delete_item(wire: v1::DeleteItemRequest) -> Result<Operation, Failure> {
    parse::no_client_token(wire.client_request_token)?;
    Ok(Operation::DeleteItem(DeleteItem {
        table: parse::table_name(wire.table_name)?,
        key: parse::key(wire.key)?,
        condition: parse::condition(
            wire.condition_expression,
            wire.expression_attribute_names,
            wire.expression_attribute_values,
        )?,
        returns: parse::return_values(wire.return_values)?,
        return_on_failure: parse::return_on_failure(wire.return_values_on_condition_check_failure)?,
        report: Report::default(),
    }))
}

pub(super) fn query(wire: v1::QueryRequest) -> Result<Operation, Failure> {
    let table = parse::table_name(wire.table_name)?;
    let names = wire.expression_attribute_names;
    let values = wire.expression_attribute_values;
    let condition = match (wire.key_condition, wire.key_condition_expression) {
        (None, None) => return Err(errors::key_condition_count(0)),
        (Some(_), Some(_)) => return Err(errors::key_condition_count(2)),
        (Some(condition), None) => {
            if !names.is_empty() || !values.is_empty() {
                return Err(parse::without_expression(&names));
            }
            let convert = |error: convert::ConvertError| errors::validation(error.to_string());
            let partition = condition
                .partition
                .ok_or_else(|| errors::missing_parameter("keyCondition.partition"))?;
            KeyCondition::Parts {
                partition: convert::value(partition).map_err(convert)?,
                sort: condition.sort.map(convert::sort_condition).transpose().map_err(convert)?,
            }
        }
        (None, Some(text)) => {
            let values = parse::values(values)?;
            let mut substitutions = Substitutions::new(&names, &values);
            substitutions.check().map_err(errors::from_expression)?;
            let expression = parse_key_expression(&text, &mut substitutions);
            let expression = expression.map_err(errors::from_expression)?;
            substitutions.finish().map_err(errors::from_expression)?;
            KeyCondition::Named(expression)
        }
    };
    Ok(Operation::Query(Query {
        table,
        index: None,
        condition,
        filter: None,
        projection: None,
        select: None,
        report: Report::default(),
        forward: wire.scan_index_forward.unwrap_or(true),
        page: parse::page(wire.limit, wire.exclusive_start_key, wire.consistent_read)?,
    }))
}

fn scan(wire: v1::ScanRequest) -> Result<Operation, Failure> {
    Ok(Operation::Scan(Scan {
        index: None,
        filter: None,
        projection: None,
        select: None,
        segment: None,
        report: Report::default(),
        table: parse::table_name(wire.table_name)?,
        page: parse::page(wire.limit, wire.exclusive_start_key, wire.consistent_read)?,
    }))
}

/// The answer to a put.
pub(super) fn written(answer: Answer) -> Option<v1::PutItemResponse> {
    let Answer::Written(written) = answer else { return None };
    let Written { attributes: old, stamp, seq, .. } = written;
    Some(v1::PutItemResponse {
        attributes: attributes(old),
        stamp: stamp.map(convert::stamp_to_wire),
        sequence: seq,
    })
}

/// The answer to a delete.
pub(super) fn removed(answer: Answer) -> Option<v1::DeleteItemResponse> {
    let v1::PutItemResponse { attributes, stamp, sequence } = written(answer)?;
    Some(v1::DeleteItemResponse { attributes, stamp, sequence })
}

fn attributes(item: Option<Item>) -> BTreeMap<String, v1::AttributeValue> {
    item.map(convert::item_to_wire).unwrap_or_default()
}

/// A page of a scan.
fn page(answer: Answer) -> Option<v1::ScanResponse> {
    let Answer::Page(Page { items, last, count, scanned, .. }) = answer else { return None };
    let items = items
        .unwrap_or_default()
        .into_iter()
        .map(|item| v1::Item { attributes: convert::item_to_wire(item) });
    Some(v1::ScanResponse {
        count,
        items: items.collect(),
        last_evaluated_key: attributes(last),
        scanned_count: scanned,
    })
}

/// A page of a query.
pub(super) fn query_page(answer: Answer) -> Option<v1::QueryResponse> {
    let v1::ScanResponse { items, last_evaluated_key, count, scanned_count } = page(answer)?;
    Some(v1::QueryResponse { items, last_evaluated_key, count, scanned_count })
}

/// The answer to a get.
pub(super) fn found(answer: Answer) -> Option<v1::GetItemResponse> {
    let Answer::Got(Got { item, .. }) = answer else { return None };
    Some(match item {
        None => v1::GetItemResponse::default(),
        Some((item, stamp)) => v1::GetItemResponse {
            item: convert::item_to_wire(item),
            stamp: stamp.map(convert::stamp_to_wire),
        },
    })
}

#[tonic::async_trait]
impl<R: Region> Items for Services<R> {
    type SessionStream = Session<R>;

    async fn session(
        &self,
        request: Request<Streaming<v1::SessionRequest>>,
    ) -> Result<Response<Session<R>>, Status> {
        Session::open(self, request).map(Response::new)
    }

    async fn put_item(
        &self,
        request: Request<v1::PutItemRequest>,
    ) -> Result<Response<v1::PutItemResponse>, Status> {
        self.answer(request, put_item, written).await
    }

    async fn get_item(
        &self,
        request: Request<v1::GetItemRequest>,
    ) -> Result<Response<v1::GetItemResponse>, Status> {
        self.answer(request, get_item, found).await
    }

    async fn delete_item(
        &self,
        request: Request<v1::DeleteItemRequest>,
    ) -> Result<Response<v1::DeleteItemResponse>, Status> {
        self.answer(request, delete_item, removed).await
    }

    async fn query(
        &self,
        request: Request<v1::QueryRequest>,
    ) -> Result<Response<v1::QueryResponse>, Status> {
        self.answer(request, query, query_page).await
    }

    async fn scan(
        &self,
        request: Request<v1::ScanRequest>,
    ) -> Result<Response<v1::ScanResponse>, Status> {
        self.answer(request, scan, page).await
    }
}
