//! The service `Items`.

use std::collections::BTreeMap;

use tombolo_client::v1::items_server::Items;
use tombolo_client::{convert, v1};
use tombolo_item::Item;
use tombolo_item::condition::{ExpressionKind, parse_key_expression, parse_with};
use tombolo_item::projection::parse_projection;
use tombolo_item::update::parse_update;
use tonic::{Request, Response, Status, Streaming};

use super::session::Session;
use super::{Services, batches, parse, print};
use crate::errors;
use crate::failure::Failure;
use crate::operation::{
    Answer, DeleteItem, GetItem, Got, KeyCondition, Operation, Page, PutItem, Query, Scan,
    UpdateItem, Written,
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
        report: parse::report(wire.return_consumed_capacity, wire.return_item_collection_metrics)?,
    }))
}

pub(super) fn get_item(wire: v1::GetItemRequest) -> Result<Operation, Failure> {
    Ok(Operation::GetItem(GetItem {
        table: parse::table_name(wire.table_name)?,
        key: parse::key(wire.key)?,
        consistent: wire.consistent_read,
        projection: match wire.projection_expression {
            None if wire.expression_attribute_names.is_empty() => None,
            text => parse::expressions(
                &wire.expression_attribute_names,
                BTreeMap::new(),
                text.is_some(),
                |all| text.map(|text| parse_projection(&text, all)).transpose(),
            )?,
        },
        report: parse::report(wire.return_consumed_capacity, 0)?,
    }))
}

pub(super) fn update_item(wire: v1::UpdateItemRequest) -> Result<Operation, Failure> {
    let (update, condition) = (wire.update_expression, wire.condition_expression);
    let (names, values) = (wire.expression_attribute_names, wire.expression_attribute_values);
    let any = update.is_some() || condition.is_some();
    let (update, condition) = parse::expressions(&names, values, any, |all| {
        let update = update.map(|text| parse_update(&text, all)).transpose()?;
        let condition = condition.map(|text| parse_with(ExpressionKind::Condition, &text, all));
        Ok((update.unwrap_or_default(), condition.transpose()?))
    })?;
    Ok(Operation::UpdateItem(UpdateItem {
        table: parse::table_name(wire.table_name)?,
        key: parse::key(wire.key)?,
        update,
        condition,
        returns: parse::return_values(wire.return_values)?,
        return_on_failure: parse::return_on_failure(wire.return_values_on_condition_check_failure)?,
        report: parse::report(wire.return_consumed_capacity, wire.return_item_collection_metrics)?,
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
        report: parse::report(wire.return_consumed_capacity, wire.return_item_collection_metrics)?,
    }))
}

pub(super) fn query(wire: v1::QueryRequest) -> Result<Operation, Failure> {
    let table = parse::table_name(wire.table_name)?;
    let names = wire.expression_attribute_names;
    let values = wire.expression_attribute_values;
    let (filter, projection) = (wire.filter_expression, wire.projection_expression);
    let text = match (&wire.key_condition, wire.key_condition_expression) {
        (None, None) => return Err(errors::key_condition_count(0)),
        (Some(_), Some(_)) => return Err(errors::key_condition_count(2)),
        (_, text) => text,
    };
    let any = text.is_some() || filter.is_some() || projection.is_some();
    let (named, filter, projection) = parse::expressions(&names, values, any, |all| {
        let named = text.map(|text| parse_key_expression(&text, all)).transpose()?;
        let filter = filter.map(|text| parse_with(ExpressionKind::Filter, &text, all));
        let projection = projection.map(|text| parse_projection(&text, all));
        Ok((named, filter.transpose()?, projection.transpose()?))
    })?;
    let condition = match (named, wire.key_condition) {
        (Some(named), _) => KeyCondition::Named(named),
        (None, condition) => key_parts(condition.unwrap_or_default())?,
    };
    Ok(Operation::Query(Query {
        table,
        index: wire.index_name,
        condition,
        filter,
        projection,
        select: parse::select(wire.select)?,
        report: parse::report(wire.return_consumed_capacity, 0)?,
        forward: wire.scan_index_forward.unwrap_or(true),
        page: parse::page(wire.limit, wire.exclusive_start_key, wire.consistent_read)?,
    }))
}

/// A key condition in structured form.
fn key_parts(wire: v1::KeyCondition) -> Result<KeyCondition, Failure> {
    let convert = |error: convert::ConvertError| errors::validation(error.to_string());
    let partition =
        wire.partition.ok_or_else(|| errors::missing_parameter("keyCondition.partition"))?;
    Ok(KeyCondition::Parts {
        partition: convert::value(partition).map_err(convert)?,
        sort: wire.sort.map(convert::sort_condition).transpose().map_err(convert)?,
    })
}

fn scan(wire: v1::ScanRequest) -> Result<Operation, Failure> {
    let (filter, projection) = (wire.filter_expression, wire.projection_expression);
    let (names, values) = (wire.expression_attribute_names, wire.expression_attribute_values);
    let any = filter.is_some() || projection.is_some();
    let (filter, projection) = parse::expressions(&names, values, any, |all| {
        let filter = filter.map(|text| parse_with(ExpressionKind::Filter, &text, all));
        let projection = projection.map(|text| parse_projection(&text, all));
        Ok((filter.transpose()?, projection.transpose()?))
    })?;
    Ok(Operation::Scan(Scan {
        table: parse::table_name(wire.table_name)?,
        index: wire.index_name,
        filter,
        projection,
        select: parse::select(wire.select)?,
        segment: parse::segment(wire.segment, wire.total_segments)?,
        page: parse::page(wire.limit, wire.exclusive_start_key, wire.consistent_read)?,
        report: parse::report(wire.return_consumed_capacity, 0)?,
    }))
}

/// The answer to a put.
pub(super) fn written(answer: Answer) -> Option<v1::PutItemResponse> {
    let Answer::Written(written) = answer else { return None };
    let Written { attributes: old, stamp, seq, consumed, collection } = written;
    Some(v1::PutItemResponse {
        consumed_capacity: print::consumed(consumed),
        item_collection_metrics: collection.map(print::collection),
        attributes: attributes(old),
        stamp: stamp.map(convert::stamp_to_wire),
        sequence: seq,
    })
}

/// The answer to a delete.
pub(super) fn removed(answer: Answer) -> Option<v1::DeleteItemResponse> {
    let written = written(answer)?;
    Some(v1::DeleteItemResponse {
        attributes: written.attributes,
        stamp: written.stamp,
        sequence: written.sequence,
        consumed_capacity: written.consumed_capacity,
        item_collection_metrics: written.item_collection_metrics,
    })
}

/// The answer to an update.
pub(super) fn updated(answer: Answer) -> Option<v1::UpdateItemResponse> {
    let written = written(answer)?;
    Some(v1::UpdateItemResponse {
        attributes: written.attributes,
        stamp: written.stamp,
        sequence: written.sequence,
        consumed_capacity: written.consumed_capacity,
        item_collection_metrics: written.item_collection_metrics,
    })
}

fn attributes(item: Option<Item>) -> BTreeMap<String, v1::AttributeValue> {
    item.map(convert::item_to_wire).unwrap_or_default()
}

/// A page of a scan.
fn page(answer: Answer) -> Option<v1::ScanResponse> {
    let Answer::Page(page) = answer else { return None };
    let Page { items, last, count, scanned, consumed } = page;
    let items = items
        .unwrap_or_default()
        .into_iter()
        .map(|item| v1::Item { attributes: convert::item_to_wire(item) });
    Some(v1::ScanResponse {
        count,
        items: items.collect(),
        last_evaluated_key: attributes(last),
        scanned_count: scanned,
        consumed_capacity: print::consumed(consumed),
    })
}

/// A page of a query.
pub(super) fn query_page(answer: Answer) -> Option<v1::QueryResponse> {
    let page = page(answer)?;
    Some(v1::QueryResponse {
        items: page.items,
        last_evaluated_key: page.last_evaluated_key,
        count: page.count,
        scanned_count: page.scanned_count,
        consumed_capacity: page.consumed_capacity,
    })
}

/// The answer to a get.
pub(super) fn found(answer: Answer) -> Option<v1::GetItemResponse> {
    let Answer::Got(Got { item, consumed }) = answer else { return None };
    let (item, stamp) = item.map(|(item, stamp)| (Some(item), stamp)).unwrap_or_default();
    Some(v1::GetItemResponse {
        item: attributes(item),
        stamp: stamp.map(convert::stamp_to_wire),
        consumed_capacity: print::consumed(consumed),
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

    async fn update_item(
        &self,
        request: Request<v1::UpdateItemRequest>,
    ) -> Result<Response<v1::UpdateItemResponse>, Status> {
        self.answer(request, update_item, updated).await
    }

    async fn batch_get_item(
        &self,
        request: Request<v1::BatchGetItemRequest>,
    ) -> Result<Response<v1::BatchGetItemResponse>, Status> {
        // What is not read comes back as it was asked for.
        let asked = request.get_ref().request_items.clone();
        self.answer(request, batches::batch_get, |answer| batches::got(answer, asked)).await
    }

    async fn batch_write_item(
        &self,
        request: Request<v1::BatchWriteItemRequest>,
    ) -> Result<Response<v1::BatchWriteItemResponse>, Status> {
        self.answer(request, batches::batch_write, batches::written).await
    }

    async fn execute_statement(
        &self,
        request: Request<v1::ExecuteStatementRequest>,
    ) -> Result<Response<v1::ExecuteStatementResponse>, Status> {
        self.answer(request, batches::execute, batches::executed).await
    }

    async fn batch_execute_statement(
        &self,
        request: Request<v1::BatchExecuteStatementRequest>,
    ) -> Result<Response<v1::BatchExecuteStatementResponse>, Status> {
        self.answer(request, batches::batch_execute, batches::batch_executed).await
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
