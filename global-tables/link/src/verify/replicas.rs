//! Replica against replica: one marker, one log index, one truth. Reads one region, partition by
//! partition, and names the copies that stand alone; what it read is kept for the comparison of
//! regions, so nothing is read twice.

use std::collections::BTreeMap;
use std::time::Instant;

use futures::future::join_all;
use tombolo_group::{DamagedRow, Descriptor, Digest, DigestRequest};
use tombolo_item::{GroupId, KeyRange, NodeId, RegionId, RowKey};

use super::compare::{
    BITS, OddRow, Version, add, bucket_range, differing, majority, odd_rows, summary, total,
};
use super::copies::Marker;
use super::report::{Finding, FindingKind, Phase, ReplicaDigest};
use super::{Run, hex};

/// Row keys in one answer.
const PAGE: u32 = 8_192;
/// Buckets of one group looked into: a replica that differs everywhere needs no list of every row.
const BUCKETS_MAX: usize = 64;

/// What was read of one region.
pub(super) struct RegionView {
    pub(super) parts: Vec<Part>,
}

/// One partition: the buckets most of its replicas agree on, and a replica that holds them.
pub(super) struct Part {
    pub(super) descriptor: Descriptor,
    pub(super) marker: Marker,
    pub(super) node: NodeId,
    pub(super) buckets: Vec<Digest>,
}

impl RegionView {
    /// The region's logical items by hash range.
    pub(super) fn buckets(&self) -> Vec<Digest> {
        let mut sums = vec![Digest::default(); 1 << BITS];
        for part in &self.parts {
            for (sum, bucket) in sums.iter_mut().zip(&part.buckets) {
                add(sum, bucket);
            }
        }
        sums
    }
}

/// `None` when the region, or any partition of it, could not be read: that is a finding, and a sum
/// over a part of a region would say nothing.
pub(super) async fn read_region(run: &Run, region: RegionId) -> Option<RegionView> {
    let partitions = match run.copies.partitions(region).await {
        Ok(partitions) if !partitions.is_empty() => partitions,
        Ok(_) => {
            run.find(run.unreachable(region, "the region knows no partition of the table".into()));
            return None;
        }
        Err(error) => {
            run.find(run.unreachable(region, format!("no node of the region answers: {error}")));
            return None;
        }
    };
    let replicas: u32 = partitions.iter().map(|partition| partition.replicas.len() as u32).sum();
    run.tell(|now| now.replicas_total += replicas);
    let mut parts = Vec::with_capacity(partitions.len());
    let mut complete = true;
    for partition in partitions {
        match read_partition(run, region, partition).await {
            Some(part) => parts.push(part),
            None => complete = false,
        }
    }
    complete.then_some(RegionView { parts })
}

async fn read_partition(run: &Run, region: RegionId, descriptor: Descriptor) -> Option<Part> {
    let group = descriptor.group;
    let marker = match run.copies.marker(region, &descriptor).await {
        Ok(marker) => marker,
        Err(error) => {
            let detail = format!("no leader of group {group} logs a marker: {error}");
            run.find(Finding { group: Some(group), ..run.unreachable(region, detail) });
            return None;
        }
    };
    let reads = descriptor.replicas.iter().map(|node| async {
        let started = Instant::now();
        let request = DigestRequest::Buckets { range: KeyRange::full(), bits: BITS };
        let digest = run.copies.digest(*node, group, marker.index, request).await;
        let seconds = started.elapsed().as_secs_f64();
        run.tell(|now| {
            now.replicas_done += 1;
            if let Ok(digest) = &digest {
                let total = total(&digest.buckets);
                now.items_read += total.items;
                now.bytes_read += total.bytes;
            }
        });
        (*node, digest, seconds)
    });
    let mut copies: BTreeMap<NodeId, Vec<Digest>> = BTreeMap::new();
    let mut damaged: BTreeMap<NodeId, Vec<DamagedRow>> = BTreeMap::new();
    let mut seconds = BTreeMap::new();
    for (node, digest, took) in join_all(reads).await {
        match digest {
            Ok(digest) => {
                copies.insert(node, digest.buckets);
                damaged.insert(node, digest.findings);
                seconds.insert(node, took);
            }
            Err(error) => {
                let detail = format!("the replica could not be read: {error}");
                run.find(Finding {
                    group: Some(group),
                    node: Some(node),
                    ..run.unreachable(region, detail)
                });
            }
        }
    }
    // A replica with damaged rows does not vote where others can.
    let sound: BTreeMap<NodeId, Vec<Digest>> = copies
        .iter()
        .filter(|(node, _)| damaged.get(node).is_none_or(Vec::is_empty))
        .map(|(node, buckets)| (*node, buckets.clone()))
        .collect();
    let voters = if sound.is_empty() { &copies } else { &sound };
    let expected = majority(voters, Some(marker.leader)).map(|(buckets, _)| buckets.clone())?;
    let node = voters.iter().find(|(_, buckets)| **buckets == expected).map(|(node, _)| *node)?;
    {
        let mut state = run.state.lock();
        for (node, buckets) in &copies {
            state.replicas.push(ReplicaDigest {
                region,
                group,
                node: *node,
                index: marker.index,
                leader: *node == marker.leader,
                digest: summary(&total(buckets)),
                agrees: *buckets == expected && damaged.get(node).is_none_or(Vec::is_empty),
                seconds: seconds.get(node).copied().unwrap_or_default(),
            });
        }
    }
    let part = Part { descriptor, marker, node, buckets: expected };
    report_damage(run, region, &part, &damaged).await;
    let differing = differing(copies.iter());
    if !differing.is_empty() {
        run.tell(|now| now.phase = Phase::ComparingReplicas);
        drill(run, region, &part, &copies, &differing, &damaged).await;
    }
    Some(part)
}

async fn report_damage(
    run: &Run,
    region: RegionId,
    part: &Part,
    damaged: &BTreeMap<NodeId, Vec<DamagedRow>>,
) {
    for (node, rows) in damaged {
        let keys: Vec<RowKey> = rows.iter().map(|row| row.row_key.clone()).collect();
        let names = names_of(run, region, part, &keys).await;
        for (row, name) in rows.iter().zip(names) {
            run.find(Finding {
                kind: FindingKind::Corrupt,
                region,
                region_name: run.name(region),
                group: Some(part.descriptor.group),
                node: Some(*node),
                key: name,
                row_key: Some(hex(&row.row_key)),
                detail: row.reason.clone(),
            });
        }
    }
}

/// Which rows make the buckets differ, and whose are odd.
async fn drill(
    run: &Run,
    region: RegionId,
    part: &Part,
    copies: &BTreeMap<NodeId, Vec<Digest>>,
    buckets: &[usize],
    damaged: &BTreeMap<NodeId, Vec<DamagedRow>>,
) {
    let group = part.descriptor.group;
    if buckets.len() > BUCKETS_MAX {
        run.truncate();
    }
    for bucket in buckets.iter().take(BUCKETS_MAX) {
        let range = bucket_range(*bucket, BITS);
        let mut rows: BTreeMap<NodeId, BTreeMap<RowKey, Version>> = BTreeMap::new();
        for node in copies.keys() {
            match list(run, *node, group, part.marker.index, range.clone()).await {
                Ok(list) => {
                    rows.insert(*node, list);
                }
                Err(error) => {
                    let detail = format!("the rows of bucket {bucket} could not be read: {error}");
                    let node = Some(*node);
                    run.find(Finding {
                        group: Some(group),
                        node,
                        ..run.unreachable(region, detail)
                    });
                }
            }
        }
        let reported = |odd: &OddRow<NodeId>| {
            damaged
                .get(&odd.copy)
                .is_some_and(|rows| rows.iter().any(|row| row.row_key == odd.row_key))
        };
        let odd: Vec<OddRow<NodeId>> =
            odd_rows(&rows, Some(part.node)).into_iter().filter(|odd| !reported(odd)).collect();
        run.tell(|now| now.candidates += odd.len() as u64);
        let keys: Vec<RowKey> = odd.iter().map(|odd| odd.row_key.clone()).collect();
        let names = names_of(run, region, part, &keys).await;
        for (odd, mut key) in odd.into_iter().zip(names) {
            if key.is_none() {
                // Only the odd copy has the row.
                let row = [odd.row_key.clone()];
                key = names_by(run, region, part, odd.copy, &row).await.pop().flatten();
            }
            let of = rows.len();
            let detail = if odd.against * 2 > of {
                format!("{} of {of} replicas agree against this one", odd.against)
            } else {
                format!("{of} replicas and no majority; compared with node {}", part.node)
            };
            run.find(Finding {
                kind: odd.kind,
                region,
                region_name: run.name(region),
                group: Some(group),
                node: Some(odd.copy),
                key,
                row_key: Some(hex(&odd.row_key)),
                detail,
            });
        }
    }
}

/// All rows of a range as one replica has them at the marker.
pub(super) async fn list(
    run: &Run,
    node: NodeId,
    group: GroupId,
    index: u64,
    mut range: KeyRange,
) -> Result<BTreeMap<RowKey, Version>, String> {
    let mut rows = BTreeMap::new();
    loop {
        let request = DigestRequest::Keys { range: range.clone(), limit: PAGE };
        let page = run.copies.digest(node, group, index, request).await?;
        let last = page.keys.last().map(|row| row.0.clone());
        rows.extend(page.keys.into_iter().map(|(key, stamp, content)| (key, (stamp, content))));
        match last {
            Some(last) if page.more => range.start = last.successor(),
            _ => return Ok(rows),
        }
    }
}

/// Keys for people, from a sound copy; `None` where it has none to tell.
async fn names_of(
    run: &Run,
    region: RegionId,
    part: &Part,
    keys: &[RowKey],
) -> Vec<Option<serde_json::Value>> {
    names_by(run, region, part, part.node, keys).await
}

async fn names_by(
    run: &Run,
    region: RegionId,
    part: &Part,
    node: NodeId,
    keys: &[RowKey],
) -> Vec<Option<serde_json::Value>> {
    if keys.is_empty() {
        return Vec::new();
    }
    let found = run.copies.rows(region, &part.descriptor, Some(node), keys.to_vec()).await;
    let found = found.unwrap_or_default();
    let mut names: Vec<Option<serde_json::Value>> = found
        .into_iter()
        .map(|row| row.ok().flatten().and_then(|row| serde_json::from_str(&row.key).ok()))
        .collect();
    names.resize(keys.len(), None);
    names
}
