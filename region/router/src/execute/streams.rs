//! Change streams: which there are, what they consist of, and places in them.

use bytes::Bytes;
use futures::{StreamExt, stream};
use tombolo_group::Descriptor;
use tombolo_item::{ChangeRecord, Shard};
use tombolo_memds::TableInfo;

use super::{Executor, now_ms};
use crate::errors;
use crate::failure::Failure;
use crate::iterator::{Position, ShardIterator};
use crate::operation::{
    Answer, DescribeStream, GetShardIterator, IteratorStart, ListStreams, ShardDescription,
    StreamDescription, StreamName, StreamNames,
};
use crate::region::Region;
use crate::subjects;

/// Shards whose copies are asked at a time.
const SHARDS_AT_ONCE: usize = 128;
/// Past every record there can be: asked for, a log tells nothing but what it holds.
const BEYOND: u64 = u64::MAX >> 1;

impl<R: Region> Executor<R> {
    /// The table of a stream that people can read. A label that is not the table's is a stream that was
    /// disabled; its records are not kept apart.
    pub(super) fn stream(&self, name: &StreamName) -> Result<std::sync::Arc<TableInfo>, Failure> {
        let info = self.table(&name.table).map_err(|_| errors::stream_not_found(name))?;
        let latest = info.stream_label().filter(|_| info.view.is_some());
        match &name.label {
            Some(label) if latest.as_ref() != Some(label) => Err(errors::stream_not_found(name)),
            _ => Ok(info),
        }
    }

    pub(super) fn list_streams(&self, list: ListStreams) -> Result<Answer, Failure> {
        let ListStreams { table, after, limit } = list;
        let mut tables = match table {
            Some(name) => vec![self.table(&name)?],
            None => self.region.tables(),
        };
        tables.sort_by(|a, b| a.name.cmp(&b.name));
        let named = tables.iter().filter(|table| table.view.is_some()).filter_map(|table| {
            Some(StreamName { table: table.name.clone(), label: Some(table.stream_label()?) })
        });
        let after = after.as_ref();
        let mut streams: Vec<_> = named
            .filter(|stream| after.is_none_or(|after| stream.table > after.table))
            .take(limit.saturating_add(1))
            .collect();
        let more = streams.len() > limit;
        streams.truncate(limit);
        let last = streams.last().filter(|_| more).cloned();
        Ok(Answer::Streams(StreamNames { streams, last }))
    }

    pub(super) async fn describe_stream(&self, of: DescribeStream) -> Result<Answer, Failure> {
        let DescribeStream { stream, after, limit, children_of } = of;
        let info = self.stream(&stream)?;
        let region = self.region_name();
        let people = |shard: Option<Shard>| match info.view {
            None => String::new(),
            Some(_) => subjects::people(&region, info.id, shard),
        };
        let replication = |shard: Option<Shard>| match info.regions.len() {
            0 | 1 => String::new(),
            _ => subjects::replication(&region, info.id, shard),
        };
        let mut descriptors = self.region.partitions(info.id);
        descriptors.sort_by_key(|one| (one.group, one.epoch));
        let mut rest = descriptors.into_iter().filter(|one| {
            let shard = shard_of(one);
            let parent = || self.region.parent(one.group).map(|(parent, _)| parent);
            after.is_none_or(|after| (shard.group, shard.epoch) > (after.group, after.epoch))
                && children_of.is_none_or(|of| parent() == Some(of))
        });
        let most = limit.map_or(usize::MAX, |limit| limit.max(1));
        let page: Vec<_> = rest.by_ref().take(most).collect();
        let last = page.last().map(|last| shard_of(last)).filter(|_| rest.next().is_some());
        // Together: a node that is down lets each of them wait.
        let shards = page
            .into_iter()
            .map(|descriptor| async move { self.described_shard(&descriptor).await });
        let shards = stream::iter(shards).buffered(SHARDS_AT_ONCE).collect().await;
        let label = info.stream_label().unwrap_or_default();
        Ok(Answer::Stream(Box::new(StreamDescription {
            stream_name: subjects::stream(&region, info.id),
            subject: people(None),
            replication_subject: replication(None),
            shards,
            last,
            enabled: info.view.is_some(),
            created_ms: label_ms(&label).unwrap_or(info.created_ms),
            label,
            region,
            info,
        })))
    }

    async fn described_shard(&self, descriptor: &Descriptor) -> ShardDescription {
        let shard = shard_of(descriptor);
        let head = self.region.head(descriptor.group);
        let held = self.region.changes(shard, &descriptor.replicas, BEYOND, 0).await;
        ShardDescription {
            shard,
            parent: self.region.parent(descriptor.group),
            oldest_seq: match held {
                Some(Ok(page)) => page.oldest_seq,
                Some(Err(_)) | None => 0,
            },
            head: head.map(|head| (head.seq, head.hash, head.closed.0)),
            ending_seq: None,
            leader: descriptor.leader.map(|node| node.0),
        }
    }

    /// The partition whose stream a shard is.
    pub(super) fn shard(
        &self,
        info: &TableInfo,
        shard: Shard,
    ) -> Result<std::sync::Arc<Descriptor>, Failure> {
        let mut partitions = self.region.partitions(info.id).into_iter();
        let found = partitions.find(|one| shard_of(one) == shard);
        found.ok_or_else(|| errors::shard_not_found(shard))
    }

    pub(super) async fn get_shard_iterator(
        &self,
        get: GetShardIterator,
    ) -> Result<Answer, Failure> {
        let GetShardIterator { stream, shard, start } = get;
        let info = self.stream(&stream)?;
        if info.view.is_none() {
            return Err(errors::stream_not_found(&stream));
        }
        let descriptor = self.shard(&info, shard)?;
        let now = now_ms();
        let held = async || self.log_page(&info, &descriptor, BEYOND, 0).await;
        let position = match start {
            IteratorStart::TrimHorizon => Position::TrimHorizon,
            IteratorStart::Latest => Position::At(held().await?.head_seq + 1),
            IteratorStart::AtSequence(seq) | IteratorStart::AfterSequence(seq) => {
                let held = self.log_page(&info, &descriptor, seq.max(1), 0).await?;
                if seq < held.oldest_seq {
                    return Err(errors::trimmed(seq, held.oldest_seq));
                }
                let after = matches!(start, IteratorStart::AfterSequence(_));
                Position::At(seq.saturating_add(u64::from(after)))
            }
            IteratorStart::AtTimestamp(ms) if ms > now => {
                return Err(errors::timestamp_in_the_future());
            }
            IteratorStart::AtTimestamp(ms) => {
                Position::At(self.first_at(&info, &descriptor, ms).await?)
            }
        };
        let label = info.stream_label().unwrap_or_default();
        let table = info.name.clone();
        Ok(Answer::ShardIterator(ShardIterator::issue(
            &info.secret,
            table,
            label,
            shard,
            position,
            now,
        )))
    }

    /// The first record that was made at a time or later, by halves: a shard's records stand in the
    /// order of their making, but for those that come from other regions and keep their stamps.
    pub(super) async fn first_at(
        &self,
        info: &TableInfo,
        descriptor: &Descriptor,
        ms: u64,
    ) -> Result<u64, Failure> {
        let held = self.log_page(info, descriptor, 1, 0).await?;
        let (mut low, mut high) = (held.oldest_seq.max(1), held.head_seq + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            let page = self.log_page(info, descriptor, middle, 1).await?;
            let older = match page.records.first() {
                Some((_, canonical)) => created_ms(canonical)? < ms,
                // It was trimmed meanwhile: so was everything before it.
                None => true,
            };
            match older {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        Ok(low)
    }
}

pub(super) fn shard_of(descriptor: &Descriptor) -> Shard {
    Shard { group: descriptor.group, epoch: descriptor.epoch }
}

fn created_ms(canonical: &Bytes) -> Result<u64, Failure> {
    let record = ChangeRecord::decode(canonical);
    let record = record.map_err(|error| errors::internal("decode a change record", error))?;
    Ok(record.stamp.hlc.ms())
}

/// The time that a label names: when the stream was enabled, ms since 1970.
pub(super) fn label_ms(label: &str) -> Option<u64> {
    let (date, time) = label.split_once('T')?;
    let mut date = date.splitn(3, '-').map(str::parse::<u64>);
    let (year, month, day) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    let (time, milli) = time.split_once('.')?;
    let mut time = time.splitn(3, ':').map(str::parse::<u64>);
    let (hour, minute, second) = (time.next()?.ok()?, time.next()?.ok()?, time.next()?.ok()?);
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Days since 1970: years begin in March, so that the leap day is the last one.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year / 4 - year / 100 + year / 400;
    let days = year * 365 + leap_days + (153 * month + 2) / 5 + day - 1;
    let days = days.checked_sub(719_468)?;
    let milli: u64 = milli.parse().ok()?;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + milli)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_a_time() {
        assert_eq!(label_ms("1970-01-01T00:00:00.000"), Some(0));
        assert_eq!(label_ms("2000-02-29T12:34:56.789"), Some(951_827_696_789));
        assert_eq!(label_ms("2026-11-21T00:17:24.001"), Some(1_795_220_244_001));
        for bad in ["", "2026", "2026-13-01T00:00:00.000", "x-y-zT1:2:3.4", "0000-01-01T00:00:00.0"]
        {
            assert_eq!(label_ms(bad), None, "{bad}");
        }
    }
}
