//! The source's side of the direct channel: answers links of other regions. It only reports what
//! this node's replicas hold, and takes confirmations for the shards this node leads.
//!
//! Always true: a region can confirm only for itself (its node's certificate says which region that
//! is), and only what the shard has.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::future::BoxFuture;
use tombolo_group::{CallError, Confirmed, Host, Peer, Service};
use tombolo_item::{RegionId, Shard, TableId};
use tombolo_memds::{Memds, TableInfo, TableStatus};

use crate::wire::{self, Answer, Ask, Confirmation, LogSlice, ShardHead, ShardPlace, Survey};

/// No answer from the log is larger, whatever was asked for (but one record always goes).
const LOG_BYTES_MAX: u32 = 2 << 20;
/// More confirmations than any link sends at once.
const CONFIRMATIONS_MAX: usize = 65_536;

/// How old the closed stamp of an idle shard may get.
const CLOSED_AGE_MS: u64 = 30_000;

pub(crate) struct LinkService {
    pub(crate) host: Host,
    pub(crate) memds: Memds,
}

impl Service for LinkService {
    fn call(&self, from: Peer, body: Bytes) -> BoxFuture<'static, Result<Bytes, CallError>> {
        let (host, memds) = (self.host.clone(), self.memds.clone());
        Box::pin(async move {
            let ask = wire::decode("answer a link", &body)
                .map_err(|error| CallError::Refused(error.to_string()))?;
            let answer = match ask {
                Ask::Survey { table } => Answer::Survey(survey(&host, &memds, table).await),
                Ask::ReadLog { shard, from, max_bytes } => {
                    Answer::Log(read_log(&host, shard, from, max_bytes).await?)
                }
                Ask::Confirm { region, confirmations } => {
                    if region != from.region {
                        return Err(CallError::Refused(format!(
                            "a node of region {} cannot confirm for region {region}",
                            from.region
                        )));
                    }
                    if confirmations.len() > CONFIRMATIONS_MAX {
                        return Err(CallError::Refused(format!(
                            "{} confirmations at once; at most {CONFIRMATIONS_MAX}",
                            confirmations.len()
                        )));
                    }
                    Answer::Confirmed(confirm(&host, region, confirmations).await)
                }
            };
            Ok(wire::encode(&answer))
        })
    }
}

async fn survey(host: &Host, memds: &Memds, table: TableId) -> Survey {
    let mut survey = Survey::default();
    let active = |table: Arc<TableInfo>| table.status == TableStatus::Active;
    survey.complete = memds.table(table).is_some_and(active);
    for partition in memds.partitions(table) {
        let shard = Shard { group: partition.group, epoch: partition.epoch };
        survey.shards.push(ShardPlace { shard, replicas: partition.replicas.clone() });
        let Some(status) = host.group(partition.group) else { continue };
        if !status.serving || status.shard != shard {
            continue;
        }
        let Some(heads) = host.heads(partition.group) else { continue };
        let mut head = *heads.borrow();
        if clock_ms().saturating_sub(head.closed.ms()) > CLOSED_AGE_MS {
            // Idle for so long that tombstones elsewhere wait: close the time up to now, once.
            if let Err(error) = host.closed_stamp(partition.group).await {
                tracing::debug!(%shard, %error, "no closed stamp now");
            }
            head = *heads.borrow();
        }
        survey.heads.push(ShardHead {
            shard,
            leader: memds.node().id,
            seq: head.seq,
            hash: head.hash,
            closed: head.closed,
        });
    }
    survey
}

/// Only to decide whether it is worth asking the group, whose own clock then counts.
fn clock_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

async fn read_log(
    host: &Host,
    shard: Shard,
    from: u64,
    max_bytes: u32,
) -> Result<LogSlice, CallError> {
    let log = host
        .change_log(shard)
        .ok_or_else(|| CallError::Refused(format!("this node has no replica of shard {shard}")))?;
    let bytes = max_bytes.min(LOG_BYTES_MAX) as usize;
    // Old records come from sealed logs: files.
    let read = tokio::task::spawn_blocking(move || log.read(from, bytes)).await;
    let changes = read
        .map_err(|error| CallError::Refused(format!("reading the log of {shard}: {error}")))?
        .map_err(|error| CallError::Refused(format!("reading the log of {shard}: {error}")))?;
    Ok(LogSlice { records: changes.records, oldest: changes.oldest_seq, head: changes.head_seq })
}

async fn confirm(host: &Host, region: RegionId, confirmations: Vec<Confirmation>) -> Vec<Shard> {
    let taken = confirmations.into_iter().map(|confirmation| async move {
        let Confirmation { shard, seq, closed_applied } = confirmation;
        let status = host.group(shard.group)?;
        if !status.serving || status.shard != shard || seq > status.seq {
            return None;
        }
        let confirmed = Confirmed { region, shard, seq, closed_applied };
        match host.confirm(shard.group, confirmed).await {
            Ok(()) => Some(shard),
            Err(error) => {
                tracing::debug!(%shard, %region, %error, "a confirmation was not logged");
                None
            }
        }
    });
    futures::future::join_all(taken).await.into_iter().flatten().collect()
}
