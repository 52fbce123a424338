//! The service `Streams`.

use std::collections::BTreeMap;

use bytes::Bytes;
use tombolo_client::v1::streams_server::Streams;
use tombolo_client::{convert, v1};
use tombolo_item::{Cause, ChangeKind, ChangeRecord, Item, KeySchema, Shard, chain_hash};
use tonic::{Request, Response, Status};

use super::{Services, parse};
use crate::arn;
use crate::errors;
use crate::failure::Failure;
use crate::iterator::ShardIterator;
use crate::operation::{
    Answer, DescribeStream, GetRecords, GetShardIterator, IteratorStart, ListStreams, Operation,
    RecordsFrom, RecordsPage, StreamName, StreamNames, StreamRecord,
};
use crate::region::Region;

/// Most records on a page (API_streams_GetRecords).
const MOST_RECORDS: u32 = 1000;
/// Most streams, and most shards, on a page (API_streams_ListStreams, API_streams_DescribeStream).
const MOST_STREAMS: u32 = 100;

fn get_records(wire: v1::GetRecordsRequest) -> Result<Operation, Failure> {
    let limit = parse::limit(wire.limit)?.unwrap_or(MOST_RECORDS);
    if limit > MOST_RECORDS {
        return Err(errors::too_large(limit, "limit", MOST_RECORDS.into()));
    }
    let limit = limit as usize;
    if let Some(text) = wire.shard_iterator {
        let from = RecordsFrom::Iterator(ShardIterator::parse(&text)?);
        return Ok(Operation::GetRecords(GetRecords { from, limit }));
    }
    if wire.sequence == 0 {
        return Err(errors::too_small(0, "sequence", 1));
    }
    let table = parse::table_name(wire.table_name)?;
    let shard = wire.shard.parse().map_err(|_| errors::bad_shard(&wire.shard))?;
    let from = RecordsFrom::Position { table, shard, seq: wire.sequence };
    Ok(Operation::GetRecords(GetRecords { from, limit }))
}

/// A page's limit, 1 to 100.
fn page_limit(limit: Option<i32>) -> Result<Option<usize>, Failure> {
    match parse::limit(limit)? {
        Some(limit) if limit > MOST_STREAMS => {
            Err(errors::too_large(limit, "limit", MOST_STREAMS.into()))
        }
        limit => Ok(limit.map(|limit| limit as usize)),
    }
}

fn shard(text: &str) -> Result<Shard, Failure> {
    text.parse().map_err(|_| errors::bad_shard(text))
}

fn describe_stream(wire: v1::DescribeStreamRequest) -> Result<Operation, Failure> {
    let table = parse::table_name(wire.table_name)?;
    Ok(Operation::DescribeStream(DescribeStream {
        stream: StreamName { table, label: wire.stream_label },
        after: wire.exclusive_start_shard.as_deref().map(shard).transpose()?,
        limit: page_limit(wire.limit)?,
        children_of: None,
    }))
}

fn list_streams(wire: v1::ListStreamsRequest) -> Result<Operation, Failure> {
    let after = wire.exclusive_start_table_name.map(parse::table_name).transpose()?;
    Ok(Operation::ListStreams(ListStreams {
        table: wire.table_name.map(parse::table_name).transpose()?,
        after: after.map(|table| StreamName { table, label: None }),
        limit: page_limit(wire.limit)?.unwrap_or(MOST_STREAMS as usize),
    }))
}

fn get_shard_iterator(wire: v1::GetShardIteratorRequest) -> Result<Operation, Failure> {
    use v1::ShardIteratorType as Kind;
    let sequence = || match wire.sequence {
        0 => Err(errors::too_small(0, "sequence", 1)),
        sequence => Ok(sequence),
    };
    let number = wire.shard_iterator_type;
    let start = match Kind::try_from(number) {
        Ok(Kind::TrimHorizon) => IteratorStart::TrimHorizon,
        Ok(Kind::Latest) => IteratorStart::Latest,
        Ok(Kind::AtSequenceNumber) => IteratorStart::AtSequence(sequence()?),
        Ok(Kind::AfterSequenceNumber) => IteratorStart::AfterSequence(sequence()?),
        Ok(Kind::AtTimestamp) => IteratorStart::AtTimestamp(wire.timestamp_ms),
        Ok(Kind::Unspecified) | Err(_) => {
            let legal = "AFTER_SEQUENCE_NUMBER, LATEST, AT_SEQUENCE_NUMBER, TRIM_HORIZON, \
                         AT_TIMESTAMP";
            return Err(errors::unknown_enum(number, "shardIteratorType", legal));
        }
    };
    let table = parse::table_name(wire.table_name)?;
    let stream = StreamName { table, label: wire.stream_label };
    let shard = shard(&wire.shard)?;
    Ok(Operation::GetShardIterator(GetShardIterator { stream, shard, start }))
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
    let (transaction_id, transaction_size) = match decoded.transaction {
        None => (String::new(), 0),
        Some((id, size)) => (id.to_string(), size),
    };
    let mut wire = v1::ChangeRecord {
        sequence: seq,
        hash,
        previous_hash: decoded.prev_hash,
        kind: kind(decoded.kind).into(),
        cause: cause(decoded.cause).into(),
        stamp: Some(convert::stamp_to_wire(decoded.stamp)),
        replaced: decoded.replaced.map(convert::stamp_to_wire),
        origin_region: decoded.origin.0.into(),
        transaction_id,
        transaction_size,
        created_ms: decoded.stamp.hlc.ms(),
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

fn kind(kind: ChangeKind) -> v1::ChangeKind {
    match kind {
        ChangeKind::Insert => v1::ChangeKind::Insert,
        ChangeKind::Modify => v1::ChangeKind::Modify,
        ChangeKind::Remove => v1::ChangeKind::Remove,
        ChangeKind::Touch => v1::ChangeKind::Touch,
    }
}

fn cause(cause: Cause) -> v1::ChangeCause {
    match cause {
        Cause::User => v1::ChangeCause::User,
        Cause::Ttl => v1::ChangeCause::Ttl,
        Cause::Replication => v1::ChangeCause::Replication,
        Cause::Repair => v1::ChangeCause::Repair,
        Cause::Touch => v1::ChangeCause::Touch,
    }
}

/// A record as people see it.
fn shown(record: StreamRecord) -> v1::ChangeRecord {
    let image = |item: Option<Item>| item.map(convert::item_to_wire).unwrap_or_default();
    v1::ChangeRecord {
        sequence: record.seq,
        kind: kind(record.kind).into(),
        cause: cause(record.cause).into(),
        created_ms: record.created_ms,
        keys: convert::item_to_wire(record.keys),
        new_image: image(record.new),
        old_image: image(record.old),
        size_bytes: record.size_bytes,
        ..v1::ChangeRecord::default()
    }
}

fn records(answer: Answer, canonical_only: bool) -> Option<v1::GetRecordsResponse> {
    let page = match answer {
        Answer::Records(page) => page,
        Answer::StreamRecords(page) => {
            return Some(v1::GetRecordsResponse {
                records: page.records.into_iter().map(shown).collect(),
                next_shard_iterator: page.next.map(|next| next.to_string()),
                ..v1::GetRecordsResponse::default()
            });
        }
        _ => return None,
    };
    let RecordsPage { schema, records, next_seq, oldest_seq, head_seq } = page;
    let records =
        records.into_iter().map(|(seq, bytes)| record(seq, bytes, &schema, canonical_only));
    Some(v1::GetRecordsResponse {
        records: records.collect::<Option<_>>()?,
        next_sequence: next_seq,
        oldest_sequence: oldest_seq,
        head_sequence: head_seq,
        next_shard_iterator: None,
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
        stream_label: stream.label.clone(),
        last_evaluated_shard: stream.last.map(|shard| shard.to_string()),
    })
}

#[tonic::async_trait]
impl<R: Region> Streams for Services<R> {
    async fn describe_stream(
        &self,
        request: Request<v1::DescribeStreamRequest>,
    ) -> Result<Response<v1::DescribeStreamResponse>, Status> {
        self.answer(request, describe_stream, description).await
    }

    async fn list_streams(
        &self,
        request: Request<v1::ListStreamsRequest>,
    ) -> Result<Response<v1::ListStreamsResponse>, Status> {
        let region = self.executor.region_name();
        self.answer(request, list_streams, |answer| {
            let Answer::Streams(StreamNames { streams, last }) = answer else { return None };
            let one = |StreamName { table, label }: StreamName| {
                let stream_label = label.unwrap_or_default();
                let stream_arn = arn::of_stream(&region, &table, &stream_label);
                v1::StreamSummary { table_name: table, stream_label, stream_arn }
            };
            Some(v1::ListStreamsResponse {
                streams: streams.into_iter().map(one).collect(),
                last_evaluated_table_name: last.map(|last| last.table),
            })
        })
        .await
    }

    async fn get_shard_iterator(
        &self,
        request: Request<v1::GetShardIteratorRequest>,
    ) -> Result<Response<v1::GetShardIteratorResponse>, Status> {
        self.answer(request, get_shard_iterator, |answer| {
            let Answer::ShardIterator(iterator) = answer else { return None };
            Some(v1::GetShardIteratorResponse { shard_iterator: iterator.to_string() })
        })
        .await
    }

    async fn get_records(
        &self,
        request: Request<v1::GetRecordsRequest>,
    ) -> Result<Response<v1::GetRecordsResponse>, Status> {
        let canonical_only = request.get_ref().canonical_only;
        self.answer(request, get_records, |answer| records(answer, canonical_only)).await
    }
}
