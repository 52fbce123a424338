//! Change streams: their parts, and records from the log of this node's copy.

use tombolo_item::Shard;

use super::Executor;
use crate::errors;
use crate::failure::Failure;
use crate::operation::{
    Answer, DescribeStream, GetRecords, RecordsFrom, RecordsPage, ShardDescription,
    StreamDescription,
};
use crate::region::Region;
use crate::subjects;

/// Bytes of canonical records after which a page ends (API_streams_GetRecords: 1 MB).
const PAGE_BYTES: usize = 1 << 20;

impl<R: Region> Executor<R> {
    pub(super) async fn describe_stream(&self, of: DescribeStream) -> Result<Answer, Failure> {
        let info = self.table(&of.stream.table)?;
        let region = self.region_name();
        let region = region.as_str();
        let people = |shard: Option<Shard>| match info.view {
            None => String::new(),
            Some(_) => subjects::people(region, info.id, shard),
        };
        let replication = |shard: Option<Shard>| match info.regions.len() {
            0 | 1 => String::new(),
            _ => subjects::replication(region, info.id, shard),
        };
        let mut shards = Vec::new();
        for descriptor in self.region.partitions(info.id) {
            let shard = Shard { group: descriptor.group, epoch: descriptor.epoch };
            let head = self.region.head(descriptor.group);
            let oldest_seq = match head {
                None => 0,
                // Past the head there is nothing to read but the numbers.
                Some(head) => match self.region.changes(shard, head.seq + 1, 0).await {
                    Some(Ok(page)) => page.oldest_seq,
                    Some(Err(_)) | None => 0,
                },
            };
            shards.push(ShardDescription {
                shard,
                parent: self.region.parent(descriptor.group),
                oldest_seq,
                head: head.map(|head| (head.seq, head.hash, head.closed.0)),
                ending_seq: None,
                leader: descriptor.leader.map(|node| node.0),
            });
        }
        Ok(Answer::Stream(Box::new(StreamDescription {
            region: region.into(),
            label: String::new(),
            enabled: info.view.is_some(),
            created_ms: info.created_ms,
            last: None,
            stream_name: subjects::stream(region, info.id),
            subject: people(None),
            replication_subject: replication(None),
            shards,
            info,
        })))
    }

    pub(super) async fn get_records(&self, get: GetRecords) -> Result<Answer, Failure> {
        let GetRecords { from, limit } = get;
        let RecordsFrom::Position { table: name, shard, seq } = from else {
            return Err(errors::internal("read from an iterator", "not yet served"));
        };
        let info = self.table(&name)?;
        let partitions = self.region.partitions(info.id);
        let descriptor = partitions
            .iter()
            .find(|one| one.group == shard.group && one.epoch == shard.epoch)
            .ok_or_else(|| errors::shard_not_found(shard))?;
        let Some(changes) = self.region.changes(shard, seq, PAGE_BYTES).await else {
            let nodes = self.region.nodes();
            let holders: Vec<_> = nodes
                .into_iter()
                .filter(|node| descriptor.replicas.contains(&node.id) && !node.grpc.is_empty())
                .map(|node| node.grpc)
                .collect();
            return Err(errors::shard_elsewhere(shard, &holders.join(", ")));
        };
        let changes = changes.map_err(|error| errors::from_group(error, &name, false))?;
        if seq < changes.oldest_seq {
            return Err(errors::trimmed(seq, changes.oldest_seq));
        }
        let mut records = changes.records;
        records.truncate(limit);
        let next_seq = records.last().map_or(seq, |(last, _)| last + 1);
        Ok(Answer::Records(RecordsPage {
            schema: info.schema.clone(),
            records,
            next_seq,
            oldest_seq: changes.oldest_seq,
            head_seq: changes.head_seq,
        }))
    }
}
