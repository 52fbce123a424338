//! Records of a shard, from whichever copy holds them.
//!
//! Always true: a record is called trimmed only when no replica of the shard holds it any more; people
//! are shown what the stream's view shows, and nothing of what changed nothing.

use bytes::Bytes;
use tombolo_group::Descriptor;
use tombolo_item::{ChangeKind, ChangeRecord, Item, Shard, StreamView};
use tombolo_memds::TableInfo;

use super::streams::label_ms;
use super::{Executor, now_ms};
use crate::errors;
use crate::failure::Failure;
use crate::iterator::{Position, ShardIterator};
use crate::operation::{
    Answer, GetRecords, RecordsFrom, RecordsPage, StreamName, StreamPage, StreamRecord,
};
use crate::region::{LogPage, Region};

/// Bytes of canonical records after which a page ends (API_streams_GetRecords: 1 MB).
const PAGE_BYTES: usize = 1 << 20;

impl<R: Region> Executor<R> {
    pub(super) async fn get_records(&self, get: GetRecords) -> Result<Answer, Failure> {
        let GetRecords { from, limit } = get;
        match from {
            RecordsFrom::Position { table, shard, seq } => {
                self.records_from(&table, shard, seq, limit).await.map(Answer::Records)
            }
            RecordsFrom::Iterator(iterator) => {
                self.records_of(iterator, limit).await.map(Answer::StreamRecords)
            }
        }
    }

    async fn records_from(
        &self,
        name: &str,
        shard: Shard,
        seq: u64,
        limit: usize,
    ) -> Result<RecordsPage, Failure> {
        let info = self.table(name)?;
        let descriptor = self.shard(&info, shard)?;
        let changes = self.log_page(&info, &descriptor, seq, PAGE_BYTES).await?;
        if seq < changes.oldest_seq {
            return Err(errors::trimmed(seq, changes.oldest_seq));
        }
        let mut records = changes.records;
        records.truncate(limit);
        Ok(RecordsPage {
            schema: info.schema.clone(),
            next_seq: records.last().map_or(seq, |(last, _)| last + 1),
            records,
            oldest_seq: changes.oldest_seq,
            head_seq: changes.head_seq,
        })
    }

    async fn records_of(
        &self,
        iterator: ShardIterator,
        limit: usize,
    ) -> Result<StreamPage, Failure> {
        let now = now_ms();
        let name =
            StreamName { table: iterator.table.clone(), label: Some(iterator.label.clone()) };
        let info = self.stream(&name)?;
        iterator.check(&info.secret, now)?;
        let Some(view) = info.view else { return Err(errors::stream_not_found(&name)) };
        let descriptor = self.shard(&info, iterator.shard)?;
        let seq = match iterator.position {
            Position::At(seq) => seq,
            Position::TrimHorizon => self.oldest(&info, &descriptor).await?,
        };
        let changes = self.log_page(&info, &descriptor, seq, PAGE_BYTES).await?;
        if seq < changes.oldest_seq {
            return Err(errors::trimmed(seq, changes.oldest_seq));
        }
        let mut canonical = changes.records;
        canonical.truncate(limit);
        let next_seq = canonical.last().map_or(seq, |(last, _)| last + 1);
        let mut records = Vec::with_capacity(canonical.len());
        for (seq, bytes) in canonical {
            records.extend(record(&info, iterator.shard, seq, bytes, view)?);
        }
        let ShardIterator { table, label, shard, .. } = iterator;
        let next = Position::At(next_seq);
        let next = ShardIterator::issue(&info.secret, table, label, shard, next, now);
        Ok(StreamPage { region: self.region_name(), view, records, next: Some(next) })
    }

    /// The oldest record of the stream that is held anywhere. A stream that was enabled later than its
    /// table was made begins then, though the log may go further back.
    async fn oldest(&self, info: &TableInfo, descriptor: &Descriptor) -> Result<u64, Failure> {
        let enabled = info.stream_label().and_then(|label| label_ms(&label));
        match enabled.filter(|enabled| *enabled > info.created_ms) {
            Some(enabled) => self.first_at(info, descriptor, enabled).await,
            None => Ok(self.log_page(info, descriptor, 1, 0).await?.oldest_seq.max(1)),
        }
    }

    /// Consecutive records from the copy that holds the most of what was asked for.
    pub(super) async fn log_page(
        &self,
        info: &TableInfo,
        descriptor: &Descriptor,
        from: u64,
        max_bytes: usize,
    ) -> Result<LogPage, Failure> {
        let shard = super::streams::shard_of(descriptor);
        match self.region.changes(shard, &descriptor.replicas, from, max_bytes).await {
            Some(page) => page.map_err(|error| errors::from_group(error, &info.name, false)),
            None => Err(errors::shard_unreachable(shard)),
        }
    }
}

/// A record as the view shows it; nothing when nothing happened to the item.
fn record(
    info: &TableInfo,
    shard: Shard,
    seq: u64,
    canonical: Bytes,
    view: StreamView,
) -> Result<Option<StreamRecord>, Failure> {
    let unreadable = |error: String| errors::internal("decode a change record", error);
    let record = ChangeRecord::decode(&canonical).map_err(|error| unreadable(error.to_string()))?;
    if record.kind == ChangeKind::Touch {
        return Ok(None);
    }
    let image = |bytes: Option<&Bytes>, shown: bool| {
        let item = bytes.filter(|_| shown).map(|bytes| Item::decode(bytes)).transpose();
        item.map_err(|error| unreadable(error.to_string()))
    };
    let keys = record.key.to_item(&info.schema);
    let new = image(record.new.as_ref(), view.has_new())?;
    let old = image(record.old.as_ref(), view.has_old())?;
    let size = keys.size() + [&new, &old].into_iter().flatten().map(Item::size).sum::<usize>();
    Ok(Some(StreamRecord {
        shard,
        seq,
        kind: record.kind,
        cause: record.cause,
        created_ms: record.stamp.hlc.ms(),
        keys,
        new,
        old,
        size_bytes: size as u64,
    }))
}
