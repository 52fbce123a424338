//! The API of DynamoDB Streams.

use super::Call;
use crate::arn;
use crate::dynamodb::fault::Fault;
use crate::iterator::ShardIterator;
use crate::operation::{
    DescribeStream, GetRecords, GetShardIterator, IteratorStart, ListStreams, Operation,
    RecordsFrom,
};

/// Streams on one page, and shards on one page (API_streams_ListStreams, API_streams_DescribeStream).
const MOST_STREAMS: u32 = 100;
const MOST_SHARDS: u32 = 100;
/// Records on one page (API_streams_GetRecords).
const MOST_RECORDS: u32 = 1000;

fn too_many(limit: u32, most: u32) -> Fault {
    Fault::validation(format!(
        "1 validation error detected: Value '{limit}' at 'limit' failed to satisfy constraint: \
         Member must have value less than or equal to {most}"
    ))
}

/// At most so many.
fn limit(call: &Call<'_>, most: u32) -> Result<usize, Fault> {
    match call.fields().count("Limit") {
        None => Ok(most as usize),
        Some(limit) if limit > most => Err(too_many(limit, most)),
        Some(limit) => Ok(limit as usize),
    }
}

pub(super) fn list(call: &Call<'_>) -> Result<Operation, Fault> {
    let fields = call.fields();
    let limit = limit(call, MOST_STREAMS)?;
    let table = fields.text("TableName").map(|name| arn::table(name, call.region)).transpose()?;
    let after = fields.text("ExclusiveStartStreamArn");
    let after = after.map(|text| arn::stream(text, call.region)).transpose()?;
    Ok(Operation::ListStreams(ListStreams { table, after, limit }))
}

pub(super) fn describe(call: &Call<'_>) -> Result<Operation, Fault> {
    let fields = call.fields();
    let limit = limit(call, MOST_SHARDS)?;
    let shard = |text: Option<&str>| text.map(arn::shard).transpose();
    Ok(Operation::DescribeStream(DescribeStream {
        stream: arn::stream(fields.text("StreamArn").unwrap_or_default(), call.region)?,
        after: shard(fields.text("ExclusiveStartShardId"))?,
        limit: Some(limit),
        children_of: shard(fields.structure("ShardFilter").and_then(|of| of.text("ShardId")))?,
    }))
}

pub(super) fn iterator(call: &Call<'_>) -> Result<Operation, Fault> {
    let fields = call.fields();
    let sequence = || match fields.text("SequenceNumber") {
        Some(text) => Ok(arn::parse_sequence(text)?),
        None => Err(Fault::validation(
            "One or more parameter values were invalid: SequenceNumber must be specified when \
             ShardIteratorType is AT_SEQUENCE_NUMBER or AFTER_SEQUENCE_NUMBER",
        )),
    };
    let kind = fields.text("ShardIteratorType").unwrap_or_default();
    if fields.has("SequenceNumber") && matches!(kind, "TRIM_HORIZON" | "LATEST" | "AT_TIMESTAMP") {
        return Err(Fault::validation(format!(
            "One or more parameter values were invalid: SequenceNumber must not be specified when \
             ShardIteratorType is {kind}"
        )));
    }
    let start = match kind {
        "TRIM_HORIZON" => IteratorStart::TrimHorizon,
        "LATEST" => IteratorStart::Latest,
        "AT_SEQUENCE_NUMBER" => IteratorStart::AtSequence(sequence()?),
        "AFTER_SEQUENCE_NUMBER" => IteratorStart::AfterSequence(sequence()?),
        _ => IteratorStart::AtTimestamp(timestamp_ms(call)?),
    };
    Ok(Operation::GetShardIterator(GetShardIterator {
        stream: arn::stream(fields.text("StreamArn").unwrap_or_default(), call.region)?,
        shard: arn::shard(fields.text("ShardId").unwrap_or_default())?,
        start,
    }))
}

/// Seconds with a fraction, as milliseconds.
fn timestamp_ms(call: &Call<'_>) -> Result<u64, Fault> {
    let seconds = match call.fields().get("Timestamp") {
        Some(crate::dynamodb::json::Json::Number(text)) => text.parse::<f64>().ok(),
        _ => None,
    };
    match seconds {
        Some(seconds) if seconds >= 0.0 && seconds.is_finite() => Ok((seconds * 1000.0) as u64),
        _ => Err(Fault::validation(
            "One or more parameter values were invalid: Timestamp must be specified when \
             ShardIteratorType is AT_TIMESTAMP",
        )),
    }
}

pub(super) fn records(call: &Call<'_>) -> Result<Operation, Fault> {
    let limit = limit(call, MOST_RECORDS)?;
    let iterator = ShardIterator::parse(call.fields().text("ShardIterator").unwrap_or_default())?;
    Ok(Operation::GetRecords(GetRecords { from: RecordsFrom::Iterator(iterator), limit }))
}
