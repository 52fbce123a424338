//! Reads, and the scrub's digests.
//!
//! Always true: a strong read proves leadership first and reads the partition after; what may take
//! long runs on a blocking thread; an answer fits a frame between nodes.

use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tombolo_item::{GroupId, RowKey};
use tombolo_storage::{GroupConfig, Partition, Space};

use super::shared::{Shared, Wants};
use super::{Host, by_index, index_scrub, unexpected};
use crate::core::{Answer, Submit, stored};
use crate::error::GroupError;
use crate::types::*;

/// What a range read stops at when nothing smaller is asked.
const RANGE_BYTES: usize = 1 << 20;
/// What it stops at whatever is asked: an answer must fit a frame between nodes.
const RANGE_BYTES_MAX: usize = 4 << 20;
/// A range read of at most this many items runs on the caller's thread.
const RANGE_INLINE: u32 = 32;
/// How long a digest waits for its replica to reach the marker.
const DIGEST_WAIT: Duration = Duration::from_secs(5);

impl Host {
    /// Returns once this replica led at some moment after the call.
    async fn prove(&self, shared: &Shared) -> Result<(), GroupError> {
        if shared.serves(self.0.clock.mono_ms()) {
            return Ok(());
        }
        if !shared.view.load().is_leader {
            return Err(shared.not_leader());
        }
        self.submit(shared.group, Submit::Barrier).await.map(|_| ())
    }

    /// Reads one item: strongly only on the leader, else as this replica has applied it.
    pub async fn read(&self, request: ReadRequest) -> Result<ReadResponse, GroupError> {
        let shared = self.shared(request.group)?;
        if request.strong {
            self.prove(&shared).await?;
        }
        shared.check(request.epoch, Wants::Row(&request.row_key))?;
        let row = shared.partition.load().get(Space::ITEMS, &request.row_key).map_err(stored)?;
        Ok(match row {
            Some(row) => {
                let item = (!row.tombstone).then_some(row.item);
                ReadResponse { item, stamp: Some(row.stamp) }
            }
            None => ReadResponse { item: None, stamp: None },
        })
    }

    /// Reads the items of a range, in order.
    pub async fn range(&self, request: RangeRequest) -> Result<RangeResponse, GroupError> {
        let shared = self.shared(request.group)?;
        if request.strong {
            self.prove(&shared).await?;
        }
        shared.check(request.epoch, Wants::Range(&request.range))?;
        let partition = Partition::clone(&shared.partition.load());
        let config = shared.config.load_full();
        if (1..=RANGE_INLINE).contains(&request.limit) {
            return collect(&partition, config.as_deref(), &request);
        }
        self.blocking(move || collect(&partition, config.as_deref(), &request)).await?
    }

    /// Reads the rows of writes that lost a conflict, as this replica has applied them.
    pub async fn conflicts(
        &self,
        request: ConflictsRequest,
    ) -> Result<ConflictsResponse, GroupError> {
        let shared = self.shared(request.group)?;
        shared.check(request.epoch, Wants::Range(&request.range))?;
        let partition = Partition::clone(&shared.partition.load());
        self.blocking(move || lost_writes(&partition, &request)).await?
    }

    /// Leader: logs a marker. Every replica pins its view when it applies it; [`Self::digest`] asks
    /// for it by the index this returns, for about a minute.
    pub async fn marker(&self, group: GroupId) -> Result<u64, GroupError> {
        let id = self.0.next_marker.fetch_add(1, Ordering::SeqCst);
        match self.submit(group, Submit::Marker(id)).await? {
            Answer::Logged { index } => Ok(index),
            other => Err(unexpected(&other)),
        }
    }

    /// Digests of this node's replica at a marker; waits a little for it to be applied here.
    pub async fn digest(
        &self,
        group: GroupId,
        at_index: u64,
        request: DigestRequest,
    ) -> Result<DigestResponse, GroupError> {
        let shared = self.shared(group)?;
        let mut head = shared.head.subscribe();
        let reached = head.wait_for(|head| head.applied >= at_index);
        if !matches!(tokio::time::timeout(DIGEST_WAIT, reached).await, Ok(Ok(_))) {
            let why = format!("this replica has not applied the marker at {at_index} yet");
            return Err(GroupError::NotServing(why));
        }
        let pinned = {
            let pins = shared.pins.lock();
            pins.iter().find(|pin| pin.index == at_index).map(|pin| pin.view.clone())
        };
        let Some(view) = pinned else {
            let why = format!("no view is pinned at index {at_index} any more; log a new marker");
            return Err(GroupError::NotServing(why));
        };
        self.blocking(move || digest(&view.lock(), at_index, request)).await?
    }
}

fn collect(
    partition: &Partition,
    config: Option<&GroupConfig>,
    request: &RangeRequest,
) -> Result<RangeResponse, GroupError> {
    let limit = if request.limit == 0 { usize::MAX } else { request.limit as usize };
    let max_bytes = match request.max_bytes as usize {
        0 => RANGE_BYTES,
        n => n.min(RANGE_BYTES_MAX),
    };
    if let Some(number) = request.index {
        let config = config
            .ok_or_else(|| GroupError::NotServing("the group has no configuration yet".into()))?;
        return by_index::collect(partition, config, number, request, limit, max_bytes);
    }
    let (mut items, mut bytes, mut more): (Vec<(RowKey, Bytes)>, _, _) = (Vec::new(), 0, false);
    let mut visit = |key: RowKey, row: tombolo_storage::StoredRow| {
        if row.tombstone {
            return ControlFlow::Continue(());
        }
        if items.len() >= limit || bytes >= max_bytes {
            more = true;
            return ControlFlow::Break(());
        }
        bytes += key.0.len() + row.item.len();
        items.push((key, row.item));
        ControlFlow::Continue(())
    };
    partition.range(Space::ITEMS, &request.range, request.reverse, &mut visit).map_err(stored)?;
    Ok(RangeResponse { items, more })
}

fn lost_writes(
    partition: &Partition,
    request: &ConflictsRequest,
) -> Result<ConflictsResponse, GroupError> {
    let limit = if request.limit == 0 { usize::MAX } else { request.limit as usize };
    let (mut response, mut bytes) = (ConflictsResponse::default(), 0);
    let mut visit = |key: RowKey, row: Bytes| {
        if response.rows.len() >= limit || bytes >= RANGE_BYTES {
            response.more = true;
            return ControlFlow::Break(());
        }
        bytes += key.0.len() + row.len();
        response.rows.push((key, row));
        ControlFlow::Continue(())
    };
    partition.range_raw(Space::CONFLICTS, &request.range, false, &mut visit).map_err(stored)?;
    Ok(response)
}

fn digest(
    view: &tombolo_storage::PinnedView,
    index: u64,
    request: DigestRequest,
) -> Result<DigestResponse, GroupError> {
    let mut response = DigestResponse {
        index,
        buckets: Vec::new(),
        keys: Vec::new(),
        more: false,
        findings: Vec::new(),
    };
    match request {
        DigestRequest::Buckets { range, bits } => {
            if bits > 16 {
                let why = format!("2^{bits} buckets are more than 2^16");
                return Err(GroupError::Invalid(why));
            }
            let digests = view.digest_buckets(&range, bits).map_err(stored)?;
            response.buckets = digests.buckets;
            response.findings = digests.findings;
            response.findings.extend(index_scrub::compare(view, &range).map_err(stored)?);
        }
        DigestRequest::Keys { range, limit } => {
            let keys = view.digest_keys(&range, limit as usize).map_err(stored)?;
            response.keys = keys.keys;
            response.findings = keys.findings;
            response.more = keys.more;
        }
    }
    Ok(response)
}
