//! Streams: what they consist of, and records from the log.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tombolo_item::{ChangeRecord, Hlc, NodeId, Shard, StreamView};

use super::Client;
use crate::convert;
use crate::error::ClientError;
use crate::v1;

/// A table's change stream.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StreamInfo {
    /// The table's id; part of every subject.
    pub table_id: String,
    /// What people's messages show.
    pub view: Option<StreamView>,
    /// The JetStream stream.
    pub stream_name: String,
    /// People's subjects, with a wildcard for the shard; empty when none are published.
    pub subject: String,
    /// Replication's subjects; empty for a table of one region.
    pub replication_subject: String,
    /// Open shards.
    pub shards: Vec<ShardInfo>,
}

/// A shard of a change stream.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ShardInfo {
    /// Its name.
    pub shard: Shard,
    /// The shard that it continues, and that one's last sequence number.
    pub parent: Option<(Shard, u64)>,
    /// People's subject.
    pub subject: String,
    /// Replication's subject.
    pub replication_subject: String,
    /// Oldest sequence number that can still be read.
    pub oldest_seq: u64,
    /// Newest sequence number and its hash; nothing when the answering node keeps no copy.
    pub head: Option<(u64, u64)>,
    /// Nothing older follows.
    pub closed: Hlc,
    /// The node that leads.
    pub leader: Option<NodeId>,
}

/// One change from the log.
#[derive(Debug, Clone)]
pub struct Change {
    /// In the shard, from 1, without holes.
    pub seq: u64,
    /// The bytes that hashes cover.
    pub canonical: Bytes,
    /// Hash of them.
    pub hash: u64,
}

impl Change {
    /// The record.
    pub fn decode(&self) -> Result<ChangeRecord, ClientError> {
        ChangeRecord::decode(&self.canonical)
            .map_err(|error| ClientError::incomprehensible(&error.to_string()))
    }
}

/// Consecutive changes of one shard.
#[derive(Debug, Clone)]
pub struct ChangePage {
    /// In order, without holes.
    pub changes: Vec<Change>,
    /// Where to go on.
    pub next_seq: u64,
    /// Oldest sequence number that can still be read.
    pub oldest_seq: u64,
    /// Newest sequence number that the answering node has applied.
    pub head_seq: u64,
}

fn shard(wire: v1::ShardDescription) -> Result<ShardInfo, ClientError> {
    let name = |text: &str| {
        text.parse::<Shard>()
            .map_err(|_| ClientError::incomprehensible("a shard's name has another form"))
    };
    Ok(ShardInfo {
        shard: name(&wire.shard)?,
        parent: match &wire.parent_shard {
            None => None,
            Some(text) => Some((name(text)?, wire.parent_sequence)),
        },
        subject: wire.subject,
        replication_subject: wire.replication_subject,
        oldest_seq: wire.oldest_sequence,
        head: wire.head_known.then_some((wire.head_sequence, wire.head_hash)),
        closed: Hlc(wire.closed_hlc),
        leader: wire.leader_node.map(NodeId),
    })
}

impl Client {
    /// What a table's change stream consists of.
    pub async fn describe_stream(&self, table: &str) -> Result<StreamInfo, ClientError> {
        let message = v1::DescribeStreamRequest { table_name: table.into(), ..Default::default() };
        let answer: v1::DescribeStreamResponse =
            self.call(false, "/tombolo.v1.Streams/DescribeStream", message).await?;
        Ok(StreamInfo {
            view: convert::view(answer.stream_view_type()),
            table_id: answer.table_id,
            stream_name: answer.stream_name,
            subject: answer.subject,
            replication_subject: answer.replication_subject,
            shards: answer.shards.into_iter().map(shard).collect::<Result<_, _>>()?,
        })
    }

    /// Streams for people: table and label, in the order of their tables.
    pub async fn list_streams(&self) -> Result<Vec<(String, String)>, ClientError> {
        let mut streams = Vec::new();
        let mut message = v1::ListStreamsRequest::default();
        loop {
            let answer: v1::ListStreamsResponse =
                self.call(false, "/tombolo.v1.Streams/ListStreams", message.clone()).await?;
            streams
                .extend(answer.streams.into_iter().map(|one| (one.table_name, one.stream_label)));
            match answer.last_evaluated_table_name {
                None => return Ok(streams),
                last => message.exclusive_start_table_name = last,
            }
        }
    }

    /// A place in a shard, good for 15 minutes; `sequence` and `timestamp_ms` where the kind needs them.
    pub async fn shard_iterator(
        &self,
        message: v1::GetShardIteratorRequest,
    ) -> Result<String, ClientError> {
        let answer: v1::GetShardIteratorResponse =
            self.call(false, "/tombolo.v1.Streams/GetShardIterator", message).await?;
        Ok(answer.shard_iterator)
    }

    /// What the stream's view shows from a place in a shard, and where to go on.
    pub async fn records(
        &self,
        iterator: String,
        limit: Option<u32>,
    ) -> Result<(Vec<v1::ChangeRecord>, Option<String>), ClientError> {
        let message = v1::GetRecordsRequest {
            shard_iterator: Some(iterator),
            limit: limit.map(|limit| i32::try_from(limit).unwrap_or(i32::MAX)),
            ..Default::default()
        };
        let answer: v1::GetRecordsResponse =
            self.call(false, "/tombolo.v1.Streams/GetRecords", message).await?;
        Ok((answer.records, answer.next_shard_iterator))
    }

    /// Consecutive changes of one shard, from the log.
    pub async fn get_records(
        &self,
        table: &str,
        shard: Shard,
        seq: u64,
        limit: Option<u32>,
    ) -> Result<ChangePage, ClientError> {
        let message = v1::GetRecordsRequest {
            table_name: table.into(),
            shard: shard.to_string(),
            sequence: seq,
            limit: limit.map(|limit| i32::try_from(limit).unwrap_or(i32::MAX)),
            canonical_only: true,
            shard_iterator: None,
        };
        let answer: v1::GetRecordsResponse =
            self.call(false, "/tombolo.v1.Streams/GetRecords", message).await?;
        let changes = answer.records.into_iter().map(|record| Change {
            seq: record.sequence,
            canonical: record.canonical,
            hash: record.hash,
        });
        Ok(ChangePage {
            changes: changes.collect(),
            next_seq: answer.next_sequence,
            oldest_seq: answer.oldest_sequence,
            head_seq: answer.head_sequence,
        })
    }
}
