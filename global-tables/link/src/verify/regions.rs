//! Region against region, over logical items: where the sums of a hash range differ, which rows do,
//! and whether that is divergence or a change on its way.

use std::collections::BTreeMap;
use std::time::Instant;

use futures::future::join_all;
use tombolo_group::Digest;
use tombolo_item::{KeyRange, RegionId, RowKey};

use super::compare::{
    BITS, Sight, Version, agrees, bucket_range, differing, differing_rows, settle,
};
use super::copies::{Level, RowLookup};
use super::replicas::{RegionView, list};
use super::report::{Finding, FindingKind, Phase};
use super::{Run, hex};

/// Rows looked into: enough for every change on its way, while memory stays bounded.
const ROWS_MAX: usize = 1_000_000;
/// Neighbouring buckets whose rows are listed together.
const RUN_MAX: usize = 256;

/// Returns how many rows differed at first sight and were changes on their way.
pub(super) async fn compare(run: &Run, views: &BTreeMap<RegionId, RegionView>) -> u64 {
    if views.len() < 2 {
        return 0;
    }
    let sums: BTreeMap<RegionId, Vec<Digest>> =
        views.iter().map(|(region, view)| (*region, view.buckets())).collect();
    let buckets = differing(sums.iter());
    if buckets.is_empty() {
        return 0;
    }
    run.tell(|now| now.phase = Phase::ComparingRegions);
    let mut rows = Vec::new();
    for range in ranges(&buckets) {
        let Some(lists) = list_everywhere(run, views, range).await else { continue };
        rows.extend(differing_rows(&lists));
        if rows.len() > ROWS_MAX {
            run.truncate();
            rows.truncate(ROWS_MAX);
            break;
        }
    }
    run.tell(|now| now.candidates += rows.len() as u64);
    judge(run, views, rows).await
}

/// The hash ranges of these buckets, neighbours joined.
fn ranges(buckets: &[usize]) -> Vec<KeyRange> {
    buckets
        .chunk_by(|a, b| a + 1 == *b)
        .flat_map(|run| run.chunks(RUN_MAX))
        .filter_map(|run| {
            let (first, last) = (*run.first()?, *run.last()?);
            let (first, last) = (bucket_range(first, BITS), bucket_range(last, BITS));
            Some(KeyRange { start: first.start, end: last.end })
        })
        .collect()
}

/// The rows of a hash range in each region; `None` (and a finding) when one cannot tell.
async fn list_everywhere(
    run: &Run,
    views: &BTreeMap<RegionId, RegionView>,
    range: KeyRange,
) -> Option<BTreeMap<RegionId, BTreeMap<RowKey, Version>>> {
    let lists = views.iter().map(|(region, view)| list_region(run, *region, view, &range));
    let lists: Option<Vec<BTreeMap<RowKey, Version>>> = join_all(lists).await.into_iter().collect();
    Some(views.keys().copied().zip(lists?).collect())
}

async fn list_region(
    run: &Run,
    region: RegionId,
    view: &RegionView,
    range: &KeyRange,
) -> Option<BTreeMap<RowKey, Version>> {
    let mut rows = BTreeMap::new();
    for part in &view.parts {
        let Some(inside) = part.descriptor.range.intersect(range) else { continue };
        let group = part.descriptor.group;
        let mut list = self::list(run, part.node, group, part.marker.index, inside.clone()).await;
        if list.is_err() {
            // The pinned view is gone after a minute. A new one does as well: every row that
            // differs is looked up again before it is judged.
            list = match run.copies.marker(region, &part.descriptor).await {
                Ok(marker) => self::list(run, part.node, group, marker.index, inside).await,
                Err(error) => Err(error),
            };
        }
        match list {
            Ok(list) => rows.extend(list),
            Err(error) => {
                let detail = format!("rows that differ between regions are unread: {error}");
                let group = Some(group);
                run.find(Finding { group, ..run.unreachable(region, detail) });
                return None;
            }
        }
    }
    Some(rows)
}

/// Looks the rows up, waits until what was in flight has arrived, looks again.
async fn judge(run: &Run, views: &BTreeMap<RegionId, RegionView>, rows: Vec<RowKey>) -> u64 {
    let differed = rows.len() as u64;
    let Some(first) = sight(run, views, &rows).await else { return 0 };
    let open: Vec<RowKey> =
        rows.into_iter().filter(|row| first.get(row).is_some_and(|seen| !agrees(seen))).collect();
    if open.is_empty() {
        return differed;
    }
    run.tell(|now| now.phase = Phase::Settling);
    let settled = level(run, views).await;
    let Some(now) = sight(run, views, &open).await else { return 0 };
    let mut diverged = 0;
    for row in &open {
        let (Some(first), Some(now)) = (first.get(row), now.get(row)) else { continue };
        let mut faults = settle(first, now);
        if settled.is_err() {
            // Without being level, only a contradiction in one stamp is proof.
            faults.retain(|_| contradicts(now));
        }
        let key = || {
            let json = now.values().chain(first.values()).flatten().next()?;
            serde_json::from_str(&json.key).ok()
        };
        if let (Err(why), true, false) = (&settled, faults.is_empty(), agrees(now)) {
            diverged += 1;
            let region = behind(now);
            run.find(Finding {
                kind: FindingKind::Unsettled,
                region,
                region_name: run.name(region),
                group: None,
                node: None,
                key: key(),
                row_key: Some(hex(row)),
                detail: format!("the regions differ, and it is not known whether for good: {why}"),
            });
        }
        if !faults.is_empty() {
            diverged += 1;
        }
        for fault in faults {
            run.find(Finding {
                kind: fault.kind,
                region: fault.region,
                region_name: run.name(fault.region),
                group: None,
                node: None,
                key: key(),
                row_key: Some(hex(row)),
                detail: fault.detail,
            });
        }
    }
    differed - diverged
}

fn contradicts(sight: &Sight) -> bool {
    let rows: Vec<_> = sight.values().flatten().collect();
    rows.iter().enumerate().any(|(i, row)| {
        rows[i + 1..].iter().any(|other| {
            row.stamp == other.stamp
                && (row.tombstone, row.content) != (other.tombstone, other.content)
        })
    })
}

/// The region with the oldest version, or none.
fn behind(sight: &Sight) -> RegionId {
    sight
        .iter()
        .min_by_key(|(_, row)| row.as_ref().map(|row| row.stamp))
        .map_or(RegionId(0), |(region, _)| *region)
}

/// Every region's leader on every row; damage met on the way is a finding of its own.
async fn sight(
    run: &Run,
    views: &BTreeMap<RegionId, RegionView>,
    rows: &[RowKey],
) -> Option<BTreeMap<RowKey, Sight>> {
    let mut sights: BTreeMap<RowKey, Sight> =
        rows.iter().map(|row| (row.clone(), Sight::new())).collect();
    for (region, view) in views {
        for part in &view.parts {
            let keys: Vec<RowKey> =
                rows.iter().filter(|row| part.descriptor.range.contains(row)).cloned().collect();
            if keys.is_empty() {
                continue;
            }
            let found: Vec<RowLookup> =
                match run.copies.rows(*region, &part.descriptor, None, keys.clone()).await {
                    Ok(found) => found,
                    Err(error) => {
                        let group = Some(part.descriptor.group);
                        let detail = format!("its leader does not tell its rows: {error}");
                        run.find(Finding { group, ..run.unreachable(*region, detail) });
                        return None;
                    }
                };
            for (key, row) in keys.into_iter().zip(found) {
                // A damaged row was named when the replicas were read; here it is one not there.
                if let Some(seen) = sights.get_mut(&key) {
                    match row {
                        Ok(row) => {
                            seen.insert(*region, row);
                        }
                        Err(_) => {
                            sights.remove(&key);
                        }
                    }
                }
            }
        }
    }
    Some(sights)
}

/// Waits until every region has applied every other region's log up to where it is now.
async fn level(run: &Run, views: &BTreeMap<RegionId, RegionView>) -> Result<(), String> {
    let mut goals: BTreeMap<RegionId, Level> = BTreeMap::new();
    for (region, view) in views {
        let level = run.copies.level(*region).await.map_err(|e| format!("region {region}: {e}"))?;
        for part in &view.parts {
            let group = part.descriptor.group;
            if !level.heads.iter().any(|(shard, _)| shard.group == group) {
                return Err(format!("group {group} of region {} has no leader", run.name(*region)));
            }
        }
        goals.insert(*region, level);
    }
    let deadline = Instant::now() + run.pace.settle;
    loop {
        let mut waiting_for = None;
        for here in views.keys() {
            let now = run.copies.level(*here).await.map_err(|e| format!("region {here}: {e}"))?;
            for (from, goal) in goals.iter().filter(|(from, _)| *from != here) {
                for (shard, seq) in &goal.heads {
                    let applied = now.applied_of(*from, *shard);
                    if applied < *seq {
                        waiting_for = Some(format!(
                            "region {} has applied shard {shard} of region {} up to {applied} of \
                             {seq} within {} s",
                            run.name(*here),
                            run.name(*from),
                            run.pace.settle.as_secs()
                        ));
                    }
                }
            }
        }
        match waiting_for {
            None => return Ok(()),
            Some(why) if Instant::now() >= deadline => return Err(why),
            Some(_) => tokio::time::sleep(run.pace.poll).await,
        }
    }
}
