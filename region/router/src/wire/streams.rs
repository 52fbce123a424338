//! The service `Streams`.

use std::collections::BTreeMap;

use bytes::Bytes;
use tombolo_client::v1::streams_server::Streams;
use tombolo_client::{convert, v1};
use tombolo_item::{Cause, ChangeKind, ChangeRecord, Item, KeySchema, chain_hash};
use tonic::{Request, Response, Status};

use super::{Services, parse};
use crate::errors;
use crate::failure::Failure;
use crate::operation::{
    Answer, DescribeStream, GetRecords, Operation, RecordsFrom, RecordsPage, StreamName,
};
use crate::region::Region;

/// Most records on a page (API_streams_GetRecords).
const MOST_RECORDS: u32 = 1000;

fn get_records(wire: v1::GetRecordsRequest) -> Result<Operation, Failure> {
    let limit = parse::limit(wire.limit)?.unwrap_or(MOST_RECORDS);
    if limit > MOST_RECORDS {
        return Err(errors::too_large(limit, "limit", MOST_RECORDS.into()));
    }
    if wire.sequence == 0 {
        return Err(errors::too_small(0, "sequence", 1));
    }
    let table = parse::table_name(wire.table_name)?;
    let shard = wire.shard.parse().map_err(|_| errors::bad_shard(&wire.shard))?;
    let from = RecordsFrom::Position { table, shard, seq: wire.sequence };
    Ok(Operation::GetRecords(GetRecords { from, limit: limit as usize }))
}

fn image(bytes: Option<&Bytes>) -> Option<BTreeMap<String, v1::AttributeValue>> {
    match bytes {
        None => Some(BTreeMap::new()),
        Some(bytes) => Item::decode(bytes).ok().map(convert::item_to_wire),
    }
}

/// One record; nothing when its bytes cannot be read.
fn record(
    seq: u64,
    canonical: Bytes,
    schema: &KeySchema,
    canonical_only: bool,
) -> Option<v1::ChangeRecord> {
    let hash = chain_hash(&canonical);
    let decoded = ChangeRecord::decode(&canonical).ok()?;
    let kind = match decoded.kind {
        ChangeKind::Insert => v1::ChangeKind::Insert,
        ChangeKind::Modify => v1::ChangeKind::Modify,
        ChangeKind::Remove => v1::ChangeKind::Remove,
        ChangeKind::Touch => v1::ChangeKind::Touch,
    };
    let cause = match decoded.cause {
        Cause::User => v1::ChangeCause::User,
        Cause::Ttl => v1::ChangeCause::Ttl,
        Cause::Replication => v1::ChangeCause::Replication,
        Cause::Repair => v1::ChangeCause::Repair,
        Cause::Touch => v1::ChangeCause::Touch,
    };
    let (transaction_id, transaction_size) = match decoded.transaction {
        None => (String::new(), 0),
        Some((id, size)) => (id.to_string(), size),
    };
    let mut wire = v1::ChangeRecord {
        sequence: seq,
        hash,
        previous_hash: decoded.prev_hash,
        kind: kind.into(),
        cause: cause.into(),
        stamp: Some(convert::stamp_to_wire(decoded.stamp)),
        replaced: decoded.replaced.map(convert::stamp_to_wire),
        origin_region: decoded.origin.0.into(),
        transaction_id,
        transaction_size,
        ..v1::ChangeRecord::default()
    };
    if !canonical_only {
        wire.keys = convert::item_to_wire(decoded.key.to_item(schema));
        wire.new_image = image(decoded.new.as_ref())?;
        wire.old_image = image(decoded.old.as_ref())?;
    }
    wire.canonical = canonical;
    Some(wire)
}

fn records(answer: Answer, canonical_only: bool) -> Option<v1::GetRecordsResponse> {
    let Answer::Records(page) = answer else { return None };
    let RecordsPage { schema, records, next_seq, oldest_seq, head_seq } = page;
    let records =
        records.into_iter().map(|(seq, bytes)| record(seq, bytes, &schema, canonical_only));
    Some(v1::GetRecordsResponse {
        records: records.collect::<Option<_>>()?,
        next_sequence: next_seq,
        oldest_sequence: oldest_seq,
        head_sequence: head_seq,
    })
}

fn description(answer: Answer) -> Option<v1::DescribeStreamResponse> {
    let Answer::Stream(stream) = answer else { return None };
    let stream = *stream;
    let subject_of = |pattern: &str, shard: &str| pattern.replacen('*', shard, 1);
    let shards = stream.shards.iter().map(|one| {
        let shard = one.shard.to_string();
        let (head_sequence, head_hash, closed_hlc) = one.head.unwrap_or_default();
        v1::ShardDescription {
            parent_shard: one.parent.map(|(parent, _)| parent.to_string()),
            parent_sequence: one.parent.map_or(0, |(_, seq)| seq),
            subject: subject_of(&stream.subject, &shard),
            replication_subject: subject_of(&stream.replication_subject, &shard),
            oldest_sequence: one.oldest_seq,
            head_sequence,
            head_hash,
            closed_hlc,
            leader_node: one.leader,
            head_known: one.head.is_some(),
            shard,
        }
    });
    Some(v1::DescribeStreamResponse {
        table_id: stream.info.id.to_string(),
        stream_view_type: convert::view_to_wire(stream.info.view).into(),
        shards: shards.collect(),
        stream_name: stream.stream_name.clone(),
        subject: stream.subject.clone(),
        replication_subject: stream.replication_subject.clone(),
    })
}

#[tonic::async_trait]
impl<R: Region> Streams for Services<R> {
    async fn describe_stream(
        &self,
        request: Request<v1::DescribeStreamRequest>,
    ) -> Result<Response<v1::DescribeStreamResponse>, Status> {
        let parse = |wire: v1::DescribeStreamRequest| {
            let stream = StreamName { table: parse::table_name(wire.table_name)?, label: None };
            let (after, limit, children_of) = (None, None, None);
            Ok(Operation::DescribeStream(DescribeStream { stream, after, limit, children_of }))
        };
        self.answer(request, parse, description).await
    }

    async fn get_records(
        &self,
        request: Request<v1::GetRecordsRequest>,
    ) -> Result<Response<v1::GetRecordsResponse>, Status> {
        let canonical_only = request.get_ref().canonical_only;
        self.answer(request, get_records, |answer| records(answer, canonical_only)).await
    }
}
