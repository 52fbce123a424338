//! The subscriber against messages that were lost, doubled, swapped and damaged, and against a real
//! nats-server with a real publisher.

mod nats;
mod planted;

use super::fetch::{FetchFailure, FetchMissing, Fetched};
use crate::chain::CheckedRecord;
use crate::face::TableFace;
use crate::subject::Family;
use crate::testkit::{REGION, TestLog};
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tombolo_item::{KeyAttribute, KeySchema, KeyType, RegionId, Shard, StreamView, TableId};

/// Fetches from logs in memory, as the log's owner would answer.
struct LogFetch {
    logs: Vec<Arc<TestLog>>,
    family: Family,
    calls: AtomicU64,
}

impl LogFetch {
    fn of(log: &Arc<TestLog>, family: Family) -> Arc<LogFetch> {
        Arc::new(LogFetch { logs: vec![log.clone()], family, calls: AtomicU64::new(0) })
    }

    fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    fn answer(&self, shard: Shard, from: u64, to: u64) -> Result<Vec<Fetched>, FetchFailure> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let log = self
            .logs
            .iter()
            .find(|log| log.shard == shard)
            .ok_or_else(|| FetchFailure::Failed("no such shard".into()))?;
        if from < log.oldest() {
            return Err(FetchFailure::Trimmed { oldest: log.oldest() });
        }
        let records = log.read(from, 4000).into_iter().filter(|(seq, _)| *seq <= to);
        Ok(records.map(|(_, bytes)| rendered(&bytes, log.table, self.family)).collect())
    }
}

impl FetchMissing for LogFetch {
    fn fetch(
        &self,
        shard: Shard,
        from: u64,
        to: u64,
    ) -> BoxFuture<'static, Result<Vec<Fetched>, FetchFailure>> {
        std::future::ready(self.answer(shard, from, to)).boxed()
    }
}

/// A record as a subscriber of the family should hand it on.
fn rendered(bytes: &Bytes, table: TableId, family: Family) -> Fetched {
    let mut fetched = Fetched::canonical(bytes).expect("a good record");
    if family == Family::People {
        let checked = CheckedRecord::read(bytes).expect("a good record");
        fetched.body = face(table).show(&checked).expect("shown").unwrap_or_default().into();
    }
    fetched
}

fn face(table: TableId) -> TableFace {
    TableFace {
        table,
        name: "orders".into(),
        region_name: REGION.into(),
        region: RegionId(1),
        schema: KeySchema {
            partition: KeyAttribute { name: "id".into(), kind: KeyType::S },
            sort: None,
        },
        view: Some(StreamView::NewAndOldImages),
        replicated: true,
    }
}

/// What a subscriber should hand on of a log after record `after`.
fn expected(log: &TestLog, family: Family, after: u64) -> Vec<(u64, Bytes)> {
    log.all()
        .iter()
        .map(|bytes| rendered(bytes, log.table, family))
        .filter(|record| record.seq > after && !record.body.is_empty())
        .map(|record| (record.seq, record.body))
        .collect()
}
