//! When a tombstone may go, and the loop that lets it go.
//!
//! The rule. A delete leaves a tombstone so that an older write of the same key, still on its way,
//! does not bring the item back. It may be purged when, for *every* other region of the table:
//!
//! 1. that region has reported, as part of its durable confirmation of this shard, that everything
//!    of the table stamped at or below some `closed_applied` is applied there, and the tombstone is
//!    older: so it has the tombstone too, whoever made it, and comparing or repairing the regions
//!    later will not offer the deleted item again; and
//! 2. this region has applied everything that every shard of that region sends with stamps at or
//!    below some `closed` (its links' durable checkpoints), and the tombstone is older: so nothing
//!    that it must win against can still arrive.
//!
//! Why stamps and not sequences: confirmed sequences say the same only for tombstones of this
//! region's own users in this very shard. A tombstone that came from a third region, or from before
//! a split, has a sequence of another shard. A confirmation's `closed_applied` is taken only when
//! everything before the head it was announced with is durable, so it implies the sequence.
//!
//! Why "older", strictly: two records may share a time but not a stamp; `closed` excludes all stamps
//! of that time and below, and the strict comparison keeps a margin that costs nothing.
//!
//! Purging is a log entry like any other (`WriteOp::PurgeTombstone` with the tombstone's own stamp),
//! so all replicas do it at the same index, and a newer row in its place is left alone. What was
//! decided is never undone by a crash: not purging is always safe.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use futures::StreamExt;
use tombolo_group::{GroupStatus, Host, Partition, Space, WriteOp, WriteRequest};
use tombolo_item::{GroupId, Hlc, Key, KeyRange, RegionId, RowKey, Stamp};
use tombolo_memds::{Memds, TableStatus};

use crate::metrics;
use crate::settings::LinkSettings;
use crate::target::load_checkpoint;

/// Rows looked at in one go on a blocking thread; between two, others have their turn.
const CHUNK_ROWS: usize = 2_000;
const IN_FLIGHT: usize = 32;

/// What is known about one other region of the table. `None`: nothing, so nothing may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OtherRegion {
    /// It has applied everything of the table stamped at or below this.
    pub(crate) closed_there: Option<Hlc>,
    /// We have applied everything it sends stamped at or below this.
    pub(crate) closed_here: Option<Hlc>,
}

/// Tombstones stamped below this may go; `None`: none may.
pub(crate) fn purge_limit(others: impl IntoIterator<Item = OtherRegion>) -> Option<Hlc> {
    let mut limit = None::<Hlc>;
    for other in others {
        let region = other.closed_there?.min(other.closed_here?);
        limit = Some(limit.map_or(region, |limit| limit.min(region)));
    }
    limit
}

pub(crate) fn may_purge(stamp: &Stamp, limit: Hlc) -> bool {
    stamp.hlc < limit
}

/// What the last full look at a group found: an idle group is not looked at twice.
#[derive(Clone, Copy)]
struct Looked {
    seq: u64,
    /// The oldest tombstone that had to stay.
    oldest_left: Option<Hlc>,
}

/// Runs for as long as the node does.
pub(crate) async fn run(settings: LinkSettings, host: Host, memds: Memds, here: RegionId) {
    let mut tick = tokio::time::interval(settings.purge());
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut looked: BTreeMap<GroupId, Looked> = BTreeMap::new();
    loop {
        tick.tick().await;
        for table in memds.tables() {
            if table.regions.len() < 2 || table.status != TableStatus::Active {
                continue;
            }
            let led: Vec<GroupStatus> = memds
                .partitions(table.id)
                .iter()
                .filter_map(|partition| host.group(partition.group))
                .filter(|status| status.serving)
                .collect();
            if led.is_empty() {
                continue;
            }
            let others: BTreeSet<RegionId> =
                table.regions.iter().copied().filter(|region| *region != here).collect();
            let mut closed_here = BTreeMap::new();
            for region in &others {
                if let Ok(Some((checkpoint, _))) = load_checkpoint(&memds, &table, *region).await {
                    closed_here.insert(*region, checkpoint.closed());
                }
            }
            for status in led {
                let Some(partition) = host.partition(status.group) else { continue };
                let confirmed = &partition.state().confirmed;
                let limit = purge_limit(others.iter().map(|region| {
                    OtherRegion {
                        closed_there: confirmed
                            .get(&(*region, status.shard))
                            .map(|confirmed| confirmed.closed_applied),
                        closed_here: closed_here.get(region).copied().flatten(),
                    }
                }));
                let Some(limit) = limit else { continue };
                let idle = looked.get(&status.group).is_some_and(|looked| {
                    looked.seq == status.seq
                        && looked.oldest_left.is_none_or(|oldest| oldest >= limit)
                });
                if idle {
                    continue;
                }
                if let Some(found) = purge(&settings, &host, &partition, &status, limit).await {
                    looked.insert(status.group, found);
                }
            }
        }
    }
}

/// One look at a whole group. `None` when there is a reason to look again soon.
async fn purge(
    settings: &LinkSettings,
    host: &Host,
    partition: &Partition,
    status: &GroupStatus,
    limit: Hlc,
) -> Option<Looked> {
    let mut purged = 0_u64;
    let mut oldest_left = None::<Hlc>;
    let mut range = status.range.clone();
    let mut complete = true;
    loop {
        let chunk = {
            let (partition, range) = (partition.clone(), range.clone());
            tokio::task::spawn_blocking(move || tombstones(&partition, &range, limit)).await
        };
        let chunk = match chunk {
            Ok(Ok(chunk)) => chunk,
            Ok(Err(error)) => {
                tracing::warn!(group = %status.group, %error, "cannot look for tombstones");
                return None;
            }
            Err(_) => return None,
        };
        if let Some(left) = chunk.oldest_left {
            oldest_left = Some(oldest_left.map_or(left, |known| known.min(left)));
        }
        let outcomes: Vec<bool> = futures::stream::iter(chunk.due.into_iter().map(|due| {
            let request = WriteRequest {
                group: status.group,
                epoch: status.shard.epoch,
                key: due.key,
                row_key: due.row_key,
                op: WriteOp::PurgeTombstone { older_than: due.stamp },
                token: None,
            };
            async move { host.write(request).await.is_ok() }
        }))
        .buffer_unordered(IN_FLIGHT)
        .collect()
        .await;
        let done = outcomes.iter().filter(|ok| **ok).count() as u64;
        complete &= done == outcomes.len() as u64;
        purged += done;
        metrics::PURGED.inc_by(done);
        match chunk.resume {
            Some(_) if purged >= settings.purge_rows as u64 || !complete => {
                complete = false;
                break;
            }
            Some(start) => range.start = start,
            None => break,
        }
        tokio::task::yield_now().await;
    }
    if purged > 0 {
        tracing::info!(group = %status.group, purged, "tombstones purged");
    }
    complete.then_some(Looked { seq: status.seq, oldest_left })
}

struct Due {
    row_key: RowKey,
    key: Key,
    stamp: Stamp,
}

struct Chunk {
    due: Vec<Due>,
    oldest_left: Option<Hlc>,
    /// Where the next chunk starts; `None` at the end.
    resume: Option<RowKey>,
}

fn tombstones(
    partition: &Partition,
    range: &KeyRange,
    limit: Hlc,
) -> Result<Chunk, tombolo_group::StorageError> {
    let mut chunk = Chunk { due: Vec::new(), oldest_left: None, resume: None };
    let mut rows = 0;
    partition.range(Space::ITEMS, range, false, &mut |row_key, row| {
        if rows == CHUNK_ROWS {
            chunk.resume = Some(row_key);
            return ControlFlow::Break(());
        }
        rows += 1;
        if row.tombstone {
            if may_purge(&row.stamp, limit) {
                chunk.due.push(Due { row_key, key: row.key, stamp: row.stamp });
            } else {
                let left = row.stamp.hlc;
                chunk.oldest_left = Some(chunk.oldest_left.map_or(left, |known| known.min(left)));
            }
        }
        ControlFlow::Continue(())
    })?;
    Ok(chunk)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn other(there: Option<u64>, here: Option<u64>) -> OtherRegion {
        OtherRegion { closed_there: there.map(Hlc), closed_here: here.map(Hlc) }
    }

    fn stamp(hlc: u64) -> Stamp {
        Stamp { hlc: Hlc(hlc), region: RegionId(1), seq: 1 }
    }

    #[test]
    fn the_slowest_of_all_regions_and_directions_decides() {
        assert_eq!(purge_limit([other(Some(10), Some(20))]), Some(Hlc(10)));
        assert_eq!(purge_limit([other(Some(30), Some(20))]), Some(Hlc(20)));
        let three = [other(Some(30), Some(20)), other(Some(15), Some(90))];
        assert_eq!(purge_limit(three), Some(Hlc(15)));
    }

    #[test]
    fn an_unknown_region_keeps_every_tombstone() {
        assert_eq!(purge_limit([other(None, Some(20))]), None);
        assert_eq!(purge_limit([other(Some(20), None)]), None);
        assert_eq!(purge_limit([other(Some(20), Some(20)), other(None, None)]), None);
        assert_eq!(purge_limit([]), None, "without other regions nobody keeps tombstones");
    }

    #[test]
    fn only_what_is_strictly_older_goes() {
        assert!(may_purge(&stamp(9), Hlc(10)));
        assert!(!may_purge(&stamp(10), Hlc(10)));
        assert!(!may_purge(&stamp(11), Hlc(10)));
    }

    /// Every schedule of: a delete here, an older put there, the put's arrival, what each side
    /// learns of the other. Whatever the order, a purge by the rule never lets the put come back.
    #[test]
    fn no_schedule_brings_a_deleted_item_back() {
        // The other region wrote at stamp 5; we deleted at 7. Its record arrives here at some step,
        // ours there at some step; closed stamps are reported at every step in between.
        for put_arrives in 0..6_u64 {
            for delete_arrives in 0..6_u64 {
                let mut purged_at = None;
                for step in 0..6_u64 {
                    // We know its shard closed above 5 only once its record is applied here.
                    let closed_here = if step >= put_arrives { 8 + step } else { 4 };
                    let closed_there = if step >= delete_arrives { 8 + step } else { 6 };
                    let limit = purge_limit([other(Some(closed_there), Some(closed_here))]);
                    if limit.is_some_and(|limit| may_purge(&stamp(7), limit)) {
                        purged_at.get_or_insert(step);
                    }
                }
                let Some(purged) = purged_at else { continue };
                assert!(purged >= put_arrives, "the older put would have come back");
                assert!(purged >= delete_arrives, "the other region would offer the item again");
            }
        }
    }
}
