//! The sending region as its link reaches it: over the direct channel, through whichever of its
//! nodes answers. Also what fills holes of the stream, from the log of any replica.
//!
//! Heads are *pulled*: the link asks every node of the source about once a second and each answers
//! for the shards it leads. The source so needs to know nothing about where links run, a link that
//! moved misses nothing, and the load is the same whether anything changes or not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use parking_lot::Mutex;
use tombolo_group::{Net, ServiceId};
use tombolo_item::{NodeId, RegionId, Shard, TableId};
use tombolo_stream::subscriber::{FetchFailure, FetchMissing, Fetched};

use crate::error::LinkError;
use crate::metrics;
use crate::wire::{self, Answer, Ask, Confirmation, LogSlice, ShardHead, ShardPlace, Survey};
use crate::world::Source;

const CALL_DEADLINE: Duration = Duration::from_secs(2);
const LOG_DEADLINE: Duration = Duration::from_secs(10);
/// Bytes of one answer from the source's log.
const LOG_BYTES: u32 = 1 << 20;

#[derive(Clone)]
pub(crate) struct RegionSource(Arc<Inner>);

struct Inner {
    net: Net,
    here: RegionId,
    from: RegionId,
    nodes: Vec<NodeId>,
    table: TableId,
    /// Where a shard's log can be read, as of the last survey.
    replicas: Mutex<BTreeMap<Shard, Vec<NodeId>>>,
    /// Where the last fetch of a shard ended: the next one that goes on there is the same hole.
    fetched: Mutex<BTreeMap<Shard, u64>>,
}

impl RegionSource {
    pub(crate) fn new(
        net: Net,
        here: RegionId,
        from: RegionId,
        nodes: Vec<NodeId>,
        table: TableId,
    ) -> Self {
        RegionSource(Arc::new(Inner {
            net,
            here,
            from,
            nodes,
            table,
            replicas: Mutex::default(),
            fetched: Mutex::default(),
        }))
    }
}

impl Inner {
    fn silent(&self, reason: String) -> LinkError {
        LinkError::Direct { region: self.from, reason }
    }

    async fn ask(
        &self,
        node: NodeId,
        attempt: &'static str,
        ask: &Ask,
        deadline: Duration,
    ) -> Result<Answer, LinkError> {
        let body = self
            .net
            .call(node, ServiceId::Link, wire::encode(ask), deadline)
            .await
            .map_err(|error| self.silent(format!("node {node}: {error}")))?;
        wire::decode(attempt, &body)
    }

    fn unexpected(&self, attempt: &'static str) -> LinkError {
        LinkError::Wire { attempt, reason: "the answer belongs to another question".into() }
    }

    async fn survey(&self) -> Result<Survey, LinkError> {
        const ATTEMPT: &str = "learn the shards and heads of the source";
        let ask = Ask::Survey { table: self.table };
        let answers =
            join_all(self.nodes.iter().map(|node| self.ask(*node, ATTEMPT, &ask, CALL_DEADLINE)))
                .await;
        let mut places: BTreeMap<Shard, ShardPlace> = BTreeMap::new();
        let mut heads: BTreeMap<Shard, ShardHead> = BTreeMap::new();
        let mut answered = false;
        let mut complete = false;
        let mut failure = None;
        for answer in answers {
            match answer {
                Ok(Answer::Survey(survey)) => {
                    answered = true;
                    complete |= survey.complete;
                    for place in survey.shards {
                        places.insert(place.shard, place);
                    }
                    for head in survey.heads {
                        // Two answers for a shard: leadership moved in between; the later is longer.
                        let known = heads.entry(head.shard).or_insert(head);
                        if (known.seq, known.closed) < (head.seq, head.closed) {
                            *known = head;
                        }
                    }
                }
                Ok(_) => failure = Some(self.unexpected(ATTEMPT)),
                Err(error) => failure = Some(error),
            }
        }
        if !answered {
            return Err(failure.unwrap_or_else(|| self.silent("it has no nodes".into())));
        }
        let replicas = places.values().map(|place| (place.shard, place.replicas.clone())).collect();
        *self.replicas.lock() = replicas;
        Ok(Survey {
            complete,
            shards: places.into_values().collect(),
            heads: heads.into_values().collect(),
        })
    }

    async fn confirm(
        &self,
        leader: NodeId,
        confirmations: Vec<Confirmation>,
    ) -> Result<Vec<Shard>, LinkError> {
        const ATTEMPT: &str = "confirm what is durable here";
        let ask = Ask::Confirm { region: self.here, confirmations };
        match self.ask(leader, ATTEMPT, &ask, CALL_DEADLINE).await? {
            Answer::Confirmed(shards) => Ok(shards),
            _ => Err(self.unexpected(ATTEMPT)),
        }
    }

    async fn read_log(&self, node: NodeId, shard: Shard, from: u64) -> Result<LogSlice, LinkError> {
        const ATTEMPT: &str = "read the source's log";
        let ask = Ask::ReadLog { shard, from, max_bytes: LOG_BYTES };
        match self.ask(node, ATTEMPT, &ask, LOG_DEADLINE).await? {
            Answer::Log(slice) => Ok(slice),
            _ => Err(self.unexpected(ATTEMPT)),
        }
    }

    /// From the first replica that has it.
    async fn fetch(&self, shard: Shard, from: u64, to: u64) -> Result<Vec<Fetched>, FetchFailure> {
        let known = self.replicas.lock().get(&shard).cloned();
        let replicas = known.unwrap_or_else(|| self.nodes.clone());
        let mut last = format!("no replica of shard {shard} has record {from} yet");
        let mut oldest: Option<u64> = None;
        for node in replicas {
            let slice = match self.read_log(node, shard, from).await {
                Ok(slice) => slice,
                Err(error) => {
                    last = error.to_string();
                    continue;
                }
            };
            if slice.records.first().is_none_or(|first| first.0 != from) {
                if slice.oldest > from {
                    oldest = Some(oldest.map_or(slice.oldest, |known| known.min(slice.oldest)));
                }
                continue;
            }
            let mut records = Vec::with_capacity(slice.records.len());
            for (_, bytes) in slice.records.iter().filter(|(seq, _)| *seq <= to) {
                match Fetched::canonical(bytes) {
                    Ok(fetched) => records.push(fetched),
                    Err(error) => {
                        last = format!("node {node}: {error}");
                        break;
                    }
                }
            }
            if let Some(end) = records.last().map(|record| record.seq) {
                self.count(shard, from, end, records.len());
                return Ok(records);
            }
        }
        match oldest {
            // No replica that answered goes back far enough.
            Some(oldest) => Err(FetchFailure::Trimmed { oldest }),
            None => Err(FetchFailure::Failed(last)),
        }
    }

    fn count(&self, shard: Shard, from: u64, end: u64, records: usize) {
        let before = self.fetched.lock().insert(shard, end);
        if before != Some(from - 1) {
            metrics::HOLES.inc();
            tracing::info!(region = %self.from, %shard, from, "a hole in the stream: reading the log");
        }
        metrics::BACKFILLED.inc_by(records as u64);
    }
}

impl Source for RegionSource {
    fn survey(&self) -> BoxFuture<'static, Result<Survey, LinkError>> {
        let inner = self.0.clone();
        Box::pin(async move { inner.survey().await })
    }

    fn confirm(
        &self,
        leader: NodeId,
        confirmations: Vec<Confirmation>,
    ) -> BoxFuture<'static, Result<Vec<Shard>, LinkError>> {
        let inner = self.0.clone();
        Box::pin(async move { inner.confirm(leader, confirmations).await })
    }
}

impl FetchMissing for RegionSource {
    fn fetch(
        &self,
        shard: Shard,
        from: u64,
        to: u64,
    ) -> BoxFuture<'static, Result<Vec<Fetched>, FetchFailure>> {
        let inner = self.0.clone();
        Box::pin(async move { inner.fetch(shard, from, to).await })
    }
}
