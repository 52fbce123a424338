//! The routed submit: finds the partition, sends to its leader, tries again while that is safe.
//! Router and link share it.
//!
//! Always true: a caller sees a pause, not an error, while leadership moves within its deadline. A
//! write is retried only under its token. When this node leads the partition, the request stays in
//! the process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tombolo_group::{
    ConflictsRequest, ConflictsResponse, Host, RangeRequest, RangeResponse, ReadRequest,
    ReadResponse, Token, WriteOp, WriteRequest, WriteResponse,
};
use tombolo_item::{GroupId, Key, KeyRange, NodeId, RowKey};

use crate::directory::Slot;
use crate::error::RouteError;
use crate::memds::Memds;
use crate::model::{TableInfo, TableStatus};
use crate::submit::{Session, Tries};

/// A table that no refresh has shown for this long is gone.
const GONE_AFTER: Duration = Duration::from_secs(1);
/// What a range read returns at most when the caller does not say.
const RANGE_BYTES: u32 = 1 << 20;

/// The routed submit of this process.
#[derive(Clone)]
pub struct Routed(Arc<Inner>);

/// A range to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walk {
    /// Row keys; of a local index, keys of its rows ([`tombolo_item::key::index_sort_range`]).
    pub range: KeyRange,
    /// The number of a local index: items in its order, under its rows' keys.
    pub index: Option<u8>,
    pub reverse: bool,
    /// At most this many items; 0 = no limit.
    pub limit: u32,
    /// About this many bytes; 0 = 1 MiB.
    pub max_bytes: u32,
    pub strong: bool,
}

struct Inner {
    memds: Memds,
    host: Host,
    session: Arc<Session>,
}

impl Routed {
    /// With a write session of its own.
    pub fn new(memds: Memds, host: Host) -> Routed {
        Routed(Arc::new(Inner { memds, host, session: Session::new() }))
    }

    /// Write one row of `table`, applied at most once, answered when it cannot be lost.
    pub async fn write(
        &self,
        table: &TableInfo,
        key: Key,
        op: WriteOp,
        deadline: Instant,
    ) -> Result<WriteResponse, RouteError> {
        let unfinished = self.0.session.begin();
        self.write_under(unfinished.token(), table, key, op, deadline).await
    }

    /// [`Self::write`] under a token of the caller, who may send the same write again under it, here
    /// or on another node: it is applied at most once.
    pub async fn write_under(
        &self,
        token: Token,
        table: &TableInfo,
        key: Key,
        op: WriteOp,
        deadline: Instant,
    ) -> Result<WriteResponse, RouteError> {
        let row_key = row_key(table, &key)?;
        let mut tries = Tries::write(deadline);
        loop {
            let slot = self.slot(table, &row_key, &mut tries).await?;
            let left = tries.left()?;
            let Some(target) = tries.leader(&slot) else {
                tries.nowhere("the partition has no replicas").await?;
                continue;
            };
            let request = WriteRequest {
                group: slot.group,
                epoch: slot.epoch(),
                key: key.clone(),
                row_key: row_key.clone(),
                op: op.clone(),
                token: Some(token),
            };
            match self.0.host.write_on(target, request, left).await {
                Ok(response) => {
                    slot.set_leader(target);
                    return Ok(response);
                }
                Err(error) => {
                    tries.failed(&slot, target, error).await?;
                }
            }
        }
    }

    /// Read one item: strong from the leader, else from the nearest replica.
    pub async fn read(
        &self,
        table: &TableInfo,
        key: &Key,
        strong: bool,
        deadline: Instant,
    ) -> Result<ReadResponse, RouteError> {
        let row_key = row_key(table, key)?;
        let mut tries = Tries::read(deadline);
        loop {
            let slot = self.slot(table, &row_key, &mut tries).await?;
            let left = tries.left()?;
            let Some(target) = self.target(&slot, strong, &mut tries) else {
                tries.nowhere("the partition has no replicas").await?;
                continue;
            };
            let request = ReadRequest {
                group: slot.group,
                epoch: slot.epoch(),
                row_key: row_key.clone(),
                strong,
            };
            match self.0.host.read_on(target, request, left).await {
                Ok(response) => {
                    if strong {
                        slot.set_leader(target);
                    }
                    return Ok(response);
                }
                Err(error) => {
                    tries.failed(&slot, target, error).await?;
                }
            }
        }
    }

    /// [`Self::walk`] of a table's own rows.
    #[allow(clippy::too_many_arguments, reason = "they are the request, one each")]
    pub async fn range(
        &self,
        table: &TableInfo,
        range: KeyRange,
        reverse: bool,
        limit: u32,
        max_bytes: u32,
        strong: bool,
        deadline: Instant,
    ) -> Result<RangeResponse, RouteError> {
        let walk = Walk { range, index: None, reverse, limit, max_bytes, strong };
        self.walk(table, walk, deadline).await
    }

    /// Read the items of a range in order, or in reverse, over as many partitions as it takes. `more`
    /// says that it stopped before the end of the range: go on after the last row key.
    pub async fn walk(
        &self,
        table: &TableInfo,
        walk: Walk,
        deadline: Instant,
    ) -> Result<RangeResponse, RouteError> {
        let Walk { range, index, reverse, limit, max_bytes, strong } = walk;
        let max_bytes = if max_bytes == 0 { RANGE_BYTES } else { max_bytes };
        let mut answer = RangeResponse { items: Vec::new(), more: false };
        let mut bytes = 0u32;
        let mut rest = range;
        let mut tries = Tries::read(deadline);
        while !rest.is_empty() {
            let left = tries.left()?;
            let Some((slot, part)) = self.part(table, &rest, reverse, &mut tries).await? else {
                continue;
            };
            let Some(target) = self.target(&slot, strong, &mut tries) else {
                tries.nowhere("the partition has no replicas").await?;
                continue;
            };
            let count = answer.items.len() as u32;
            let request = RangeRequest {
                group: slot.group,
                epoch: slot.epoch(),
                range: part.clone(),
                reverse,
                limit: if limit == 0 { 0 } else { limit - count },
                max_bytes: max_bytes - bytes,
                strong,
                index,
            };
            let page = match self.0.host.range_on(target, request, left).await {
                Ok(page) => page,
                Err(error) => {
                    tries.failed(&slot, target, error).await?;
                    continue;
                }
            };
            if strong {
                slot.set_leader(target);
            }
            bytes = page.items.iter().fold(bytes, |sum, (_, item)| {
                sum.saturating_add(u32::try_from(item.len()).unwrap_or(u32::MAX))
            });
            answer.items.extend(page.items);
            let rest_is = |range: &KeyRange| !range.is_empty();
            if page.more {
                answer.more = true;
                return Ok(answer);
            }
            if reverse {
                rest.end = Some(part.start);
            } else {
                match part.end {
                    Some(end) => rest.start = end,
                    None => return Ok(answer),
                }
            }
            let full = limit != 0 && answer.items.len() as u32 >= limit || bytes >= max_bytes;
            if full {
                answer.more = rest_is(&rest);
                return Ok(answer);
            }
            tries = Tries::read(deadline);
        }
        Ok(answer)
    }

    /// The rows of this region's lost writes in a range of their keys, in order, over as many partitions
    /// as it takes, as the partitions' leaders have applied them. At most `limit` (0: as many as fit
    /// 1 MiB); go on after the last key while there is `more`.
    pub async fn conflicts(
        &self,
        table: &TableInfo,
        range: KeyRange,
        limit: u32,
        deadline: Instant,
    ) -> Result<ConflictsResponse, RouteError> {
        let mut rest = range;
        let mut tries = Tries::read(deadline);
        while !rest.is_empty() {
            let left = tries.left()?;
            let Some((slot, part)) = self.part(table, &rest, false, &mut tries).await? else {
                continue;
            };
            let Some(target) = tries.leader(&slot) else {
                tries.nowhere("the partition has no replicas").await?;
                continue;
            };
            let request = ConflictsRequest {
                group: slot.group,
                epoch: slot.epoch(),
                range: part.clone(),
                limit,
            };
            let page = match self.0.host.conflicts_on(target, request, left).await {
                Ok(page) => page,
                Err(error) => {
                    tries.failed(&slot, target, error).await?;
                    continue;
                }
            };
            let Some(end) = part.end.filter(|_| !page.more) else { return Ok(page) };
            rest.start = end;
            // A page is one partition's; what has none is passed over.
            if !page.rows.is_empty() {
                return Ok(ConflictsResponse { more: !rest.is_empty(), ..page });
            }
            tries = Tries::read(deadline);
        }
        Ok(ConflictsResponse::default())
    }

    /// The next partition of a walk, and the part of the range that it holds.
    async fn part(
        &self,
        table: &TableInfo,
        rest: &KeyRange,
        reverse: bool,
        tries: &mut Tries,
    ) -> Result<Option<(Arc<Slot>, KeyRange)>, RouteError> {
        let found = self.0.memds.entry(table.id).and_then(|entry| {
            let held = |slot: &Arc<Slot>| {
                let part = slot.descriptor().range.intersect(rest)?;
                Some((slot.clone(), part))
            };
            let mut parts = entry.slots.iter();
            if reverse { parts.rev().find_map(held) } else { parts.find_map(held) }
        });
        // A hole in the map must not become a hole in the answer.
        let adjoins = |part: &KeyRange| {
            if reverse { part.end == rest.end } else { part.start == rest.start }
        };
        match found {
            Some((slot, part)) if adjoins(&part) => Ok(Some((slot, part))),
            _ => {
                self.missing(table, tries).await?;
                Ok(None)
            }
        }
    }

    fn target(&self, slot: &Slot, strong: bool, tries: &mut Tries) -> Option<NodeId> {
        if strong {
            return tries.leader(slot);
        }
        let memds = &self.0.memds;
        let me = memds.node();
        tries.nearest(slot, |node| {
            if node == me.id {
                return 0;
            }
            let directory = memds.0.directory.load();
            let zone = directory.nodes.get(&node).map(|row| &row.info.zone);
            if zone == Some(&me.zone) { 1 } else { 2 }
        })
    }

    async fn slot(
        &self,
        table: &TableInfo,
        row_key: &RowKey,
        tries: &mut Tries,
    ) -> Result<Arc<Slot>, RouteError> {
        loop {
            if let Some(slot) = self.0.memds.slot(table.id, row_key) {
                return Ok(slot);
            }
            self.missing(table, tries).await?;
        }
    }

    /// The map has no partition for the request: it may be on its way, or the table is gone.
    async fn missing(&self, table: &TableInfo, tries: &mut Tries) -> Result<(), RouteError> {
        let gone = match self.0.memds.entry(table.id) {
            Some(entry) => entry.info.status == TableStatus::Deleting,
            None => tries.begun.elapsed() > GONE_AFTER,
        };
        if gone {
            return Err(RouteError::NoTable);
        }
        tries.nowhere("the partition is not in the map yet").await
    }

    /// Where a group's leader probably is: for status pages, not for routing.
    pub fn leader_hint(&self, table: &TableInfo, group: GroupId) -> Option<NodeId> {
        let entry = self.0.memds.entry(table.id)?;
        entry.slots.iter().find(|slot| slot.group == group)?.leader()
    }
}

fn row_key(table: &TableInfo, key: &Key) -> Result<RowKey, RouteError> {
    table
        .schema
        .row_key(&table.secret, key)
        .map_err(|error| RouteError::Group(tombolo_group::GroupError::Invalid(error.to_string())))
}
