//! Verification against copies in memory with planted differences: each must be found and named,
//! and what is only in flight must not be.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tombolo_group::{DamagedRow, Descriptor, Digest, DigestRequest, DigestResponse};
use tombolo_item::{
    GroupId, Hlc, KeyRange, NodeId, RegionId, RowKey, Shard, Stamp, TableId, chain_hash,
};

use super::compare::RowSeen;
use super::copies::{Copies, Level, Marker, RowLookup};
use super::{FindingKind, Pace, Report, verify};

const EAST: RegionId = RegionId(1);
const WEST: RegionId = RegionId(2);

#[derive(Clone)]
struct Row {
    stamp: Stamp,
    tombstone: bool,
    content: u64,
    damaged: bool,
}

type Rows = BTreeMap<RowKey, Row>;

type Part = (Descriptor, BTreeMap<NodeId, Rows>);
type Arrival = Box<dyn FnOnce(&mut World) + Send>;

/// Region -> partition -> node -> rows. The first node leads.
#[derive(Default)]
struct World {
    regions: BTreeMap<RegionId, Vec<Part>>,
    levels: BTreeMap<RegionId, Level>,
    down: Vec<NodeId>,
    /// Runs once, when levels are asked for the second time: what was in flight arrives.
    arrives: Option<Arrival>,
    /// The views pinned at first are gone when rows are listed.
    expired: bool,
    marked: BTreeMap<(NodeId, GroupId), u64>,
    levels_asked: u32,
}

struct Fake(Mutex<World>);

fn row_key(number: u64) -> RowKey {
    RowKey(Bytes::copy_from_slice(&chain_hash(&number.to_be_bytes()).to_be_bytes()))
}

fn row(number: u64) -> Row {
    let stamp = Stamp { hlc: Hlc(number + 1), region: EAST, seq: number };
    Row { stamp, tombstone: false, content: number * 7, damaged: false }
}

fn content(row: &Row) -> u64 {
    chain_hash(&[&row.stamp.encode()[..], &row.content.to_be_bytes()].concat())
}

fn seen(key: &RowKey, row: &Row) -> RowSeen {
    let key = format!("{{\"id\":{{\"B\":\"{:?}\"}}}}", key.0.first());
    RowSeen {
        stamp: row.stamp,
        tombstone: row.tombstone,
        content: content(row),
        key: key.replace("\\", ""),
    }
}

/// `rows` items in both regions, three replicas each; the regions are cut into partitions
/// differently.
fn world(rows: u64) -> World {
    let mut world = World::default();
    for (region, partitions) in [(EAST, 2), (WEST, 3)] {
        let mut parts = Vec::new();
        for (i, range) in KeyRange::split_evenly(partitions).into_iter().enumerate() {
            let held: Rows = (0..rows)
                .map(|number| (row_key(number), row(number)))
                .filter(|(key, _)| range.contains(key))
                .collect();
            let nodes: Vec<NodeId> =
                (1..=3).map(|n| NodeId(u64::from(region.0) << 32 | n)).collect();
            let group = GroupId(16 + i as u64);
            let descriptor = Descriptor {
                group,
                table: TableId::default(),
                range,
                epoch: 1,
                conf_index: 1,
                replicas: nodes.clone(),
                leader: Some(nodes[0]),
            };
            let level = world.levels.entry(region).or_default();
            level.heads.push((Shard { group, epoch: 1 }, rows));
            parts.push((descriptor, nodes.into_iter().map(|n| (n, held.clone())).collect()));
        }
        world.regions.insert(region, parts);
    }
    for (here, other) in [(EAST, WEST), (WEST, EAST)] {
        let applied = world.levels[&other].heads.clone();
        world.levels.get_mut(&here).unwrap().applied.push((other, applied));
    }
    world
}

impl World {
    /// Every copy of a row in the region, or one node's.
    fn copies(&mut self, region: RegionId, key: &RowKey) -> Vec<(NodeId, &mut Rows)> {
        self.regions
            .get_mut(&region)
            .unwrap()
            .iter_mut()
            .filter(|(descriptor, _)| descriptor.range.contains(key))
            .flat_map(|(_, nodes)| nodes.iter_mut().map(|(node, rows)| (*node, rows)))
            .collect()
    }

    fn put(&mut self, region: RegionId, key: &RowKey, row: Row) {
        for (_, rows) in self.copies(region, key) {
            rows.insert(key.clone(), row.clone());
        }
    }

    fn lose(&mut self, region: RegionId, key: &RowKey) {
        for (_, rows) in self.copies(region, key) {
            rows.remove(key);
        }
    }
}

impl Copies for Fake {
    fn partitions(&self, region: RegionId) -> BoxFuture<'_, Result<Vec<Descriptor>, String>> {
        let world = self.0.lock();
        let parts = world.regions.get(&region);
        let parts = parts.map(|parts| parts.iter().map(|(known, _)| known.clone()).collect());
        let answer = parts.ok_or_else(|| "the region is cut off".to_owned());
        Box::pin(async move { answer })
    }

    fn marker(&self, _: RegionId, part: &Descriptor) -> BoxFuture<'_, Result<Marker, String>> {
        let leader = part.leader.unwrap();
        let mut world = self.0.lock();
        let marked = world.marked.entry((leader, part.group)).or_insert(8);
        *marked += 1;
        let index = *marked;
        Box::pin(async move { Ok(Marker { leader, index }) })
    }

    fn digest(
        &self,
        node: NodeId,
        group: GroupId,
        index: u64,
        request: DigestRequest,
    ) -> BoxFuture<'_, Result<DigestResponse, String>> {
        let world = self.0.lock();
        let first = index == 9 && matches!(request, DigestRequest::Keys { .. });
        if world.expired && first {
            return Box::pin(async { Err("no view is pinned any more".into()) });
        }
        if world.down.contains(&node) {
            return Box::pin(async { Err("down".into()) });
        }
        let rows = world
            .regions
            .values()
            .flatten()
            .find(|(known, nodes)| known.group == group && nodes.contains_key(&node))
            .map(|(_, nodes)| nodes[&node].clone())
            .unwrap();
        let mut response = DigestResponse {
            index,
            buckets: Vec::new(),
            keys: Vec::new(),
            more: false,
            findings: Vec::new(),
        };
        let (range, limit) = match &request {
            DigestRequest::Buckets { range, bits } => {
                response.buckets = vec![Digest::default(); 1 << bits];
                (range.clone(), usize::MAX)
            }
            // Small pages, so that paging is tried.
            DigestRequest::Keys { range, limit } => (range.clone(), (*limit as usize).min(2)),
        };
        for (key, row) in rows.iter().filter(|(key, _)| range.contains(key)) {
            if row.damaged {
                let reason = "its checksum does not fit".into();
                response.findings.push(DamagedRow { row_key: key.clone(), reason });
                continue;
            }
            if row.tombstone {
                continue;
            }
            match request {
                DigestRequest::Buckets { bits, .. } => {
                    let top = u32::from_be_bytes(key.0[..4].try_into().unwrap());
                    let bucket = &mut response.buckets[(top >> (32 - u32::from(bits))) as usize];
                    let whole = chain_hash(&[&key.0[..], &content(row).to_be_bytes()].concat());
                    bucket.items += 1;
                    bucket.bytes += 100;
                    bucket.sum = bucket.sum.wrapping_add(whole);
                    bucket.xor ^= whole;
                }
                DigestRequest::Keys { .. } if response.keys.len() == limit => {
                    response.more = true;
                    break;
                }
                DigestRequest::Keys { .. } => {
                    response.keys.push((key.clone(), row.stamp, content(row)));
                }
            }
        }
        Box::pin(async move { Ok(response) })
    }

    fn rows(
        &self,
        region: RegionId,
        part: &Descriptor,
        node: Option<NodeId>,
        keys: Vec<RowKey>,
    ) -> BoxFuture<'_, Result<Vec<RowLookup>, String>> {
        let world = self.0.lock();
        let (_, nodes) =
            world.regions[&region].iter().find(|(known, _)| known.group == part.group).unwrap();
        let rows = &nodes[&node.or(part.leader).unwrap()];
        let found = keys
            .iter()
            .map(|key| match rows.get(key) {
                Some(row) if row.damaged => Err("damaged".into()),
                row => Ok(row.map(|row| seen(key, row))),
            })
            .collect();
        Box::pin(async move { Ok(found) })
    }

    fn level(&self, region: RegionId) -> BoxFuture<'_, Result<Level, String>> {
        let mut world = self.0.lock();
        world.levels_asked += 1;
        // The first look at both regions sets the goals.
        if world.levels_asked == 3
            && let Some(arrives) = world.arrives.take()
        {
            arrives(&mut world);
        }
        let level = world.levels[&region].clone();
        Box::pin(async move { Ok(level) })
    }
}

async fn check(world: World) -> Report {
    let regions = [(EAST, "us-east".to_owned()), (WEST, "eu-west".to_owned())];
    let pace = Pace { settle: Duration::from_millis(300), poll: Duration::from_millis(5) };
    let told = Arc::new(AtomicU64::new(0));
    let seen = told.clone();
    let progress = Arc::new(move |_| {
        seen.fetch_add(1, Ordering::Relaxed);
    });
    let report = verify(Arc::new(Fake(Mutex::new(world))), &regions, pace, progress).await;
    assert!(told.load(Ordering::Relaxed) > 0, "nothing was told on the way");
    report
}

fn kinds(report: &Report) -> Vec<(FindingKind, RegionId, Option<NodeId>)> {
    report.findings.iter().map(|f| (f.kind, f.region, f.node)).collect()
}

#[tokio::test]
async fn equal_copies_agree_whatever_their_partition_bounds() {
    let report = check(world(2_000)).await;
    assert!(report.agreed(), "{:?}", report.findings);
    assert_eq!(report.replicas.len(), 15);
    assert!(report.replicas.iter().all(|replica| replica.agrees));
    assert_eq!(report.regions.len(), 2);
    assert_eq!(report.regions[0].digest, report.regions[1].digest);
    assert_eq!((report.items, report.items_read), (2_000, 12_000));
}

#[tokio::test]
async fn one_altered_bit_names_replica_and_key() {
    let mut world = world(500);
    let key = row_key(77);
    let (node, rows) = world.copies(WEST, &key).remove(1);
    rows.get_mut(&key).unwrap().content ^= 1 << 9;
    let report = check(world).await;
    assert_eq!(kinds(&report), [(FindingKind::Differs, WEST, Some(node))]);
    let finding = &report.findings[0];
    assert_eq!(finding.row_key, Some(super::hex(&key)));
    assert!(finding.key.is_some());
    assert_eq!(finding.region_name, "eu-west");
}

#[tokio::test]
async fn an_altered_leader_is_outvoted() {
    let mut world = world(500);
    let key = row_key(3);
    let (node, rows) = world.copies(EAST, &key).remove(0);
    rows.get_mut(&key).unwrap().content ^= 1;
    let report = check(world).await;
    // The region's sum is the majority's, and the regions differ only in what the leader says when
    // it is asked for the row: it is the same fault, seen from outside.
    assert!(kinds(&report).contains(&(FindingKind::Differs, EAST, Some(node))));
}

#[tokio::test]
async fn a_missing_and_an_extra_row_are_told_apart() {
    let mut world = world(500);
    let (lost, extra) = (row_key(10), row_key(100_000));
    world.copies(EAST, &lost).remove(2).1.remove(&lost);
    world.copies(WEST, &extra).remove(1).1.insert(extra.clone(), row(100_000));
    let report = check(world).await;
    let mut found: Vec<FindingKind> = report.findings.iter().map(|found| found.kind).collect();
    found.sort();
    assert_eq!(found, [FindingKind::Missing, FindingKind::Extra]);
    assert!(report.findings.iter().all(|finding| finding.key.is_some()));
}

#[tokio::test]
async fn damaged_rows_are_findings_themselves_and_named_once() {
    let mut world = world(500);
    let key = row_key(42);
    let (node, rows) = world.copies(EAST, &key).remove(1);
    rows.get_mut(&key).unwrap().damaged = true;
    let report = check(world).await;
    assert_eq!(kinds(&report), [(FindingKind::Corrupt, EAST, Some(node))]);
    let odd: Vec<NodeId> =
        report.replicas.iter().filter(|replica| !replica.agrees).map(|r| r.node).collect();
    assert_eq!(odd, [node]);
}

#[tokio::test]
async fn a_row_that_the_leader_damaged_is_named_by_a_sound_copy() {
    let mut world = world(500);
    let key = row_key(42);
    let (leader, rows) = world.copies(EAST, &key).remove(0);
    rows.get_mut(&key).unwrap().damaged = true;
    let report = check(world).await;
    assert_eq!(kinds(&report), [(FindingKind::Corrupt, EAST, Some(leader))]);
    assert!(report.findings[0].key.is_some(), "{:?}", report.findings);
}

#[tokio::test]
async fn a_row_that_a_whole_region_lost_is_divergence() {
    let mut world = world(500);
    let key = row_key(5);
    world.lose(WEST, &key);
    let report = check(world).await;
    assert_eq!(kinds(&report), [(FindingKind::Missing, WEST, None)]);
    assert_eq!(report.in_flight, 0);
}

#[tokio::test]
async fn views_that_expired_are_pinned_again() {
    let mut world = world(500);
    world.expired = true;
    let key = row_key(5);
    world.lose(WEST, &key);
    let report = check(world).await;
    assert_eq!(kinds(&report), [(FindingKind::Missing, WEST, None)]);
}

#[tokio::test]
async fn a_region_that_lost_everything_is_told_and_bounded() {
    let mut world = world(3_000);
    for (_, nodes) in world.regions.get_mut(&WEST).unwrap() {
        for rows in nodes.values_mut() {
            rows.clear();
        }
    }
    let report = check(world).await;
    assert_eq!(report.findings.len(), super::FINDINGS_MAX);
    assert!(report.truncated && !report.agreed());
    assert!(report.findings.iter().all(|f| f.kind == FindingKind::Missing && f.region == WEST));
}

#[tokio::test]
async fn one_stamp_with_two_contents_is_divergence() {
    let mut world = world(500);
    let key = row_key(5);
    let mut altered = row(5);
    altered.content ^= 1;
    world.put(WEST, &key, altered);
    let report = check(world).await;
    assert_eq!(kinds(&report), [(FindingKind::Differs, WEST, None)]);
}

#[tokio::test]
async fn a_change_on_its_way_is_not_reported() {
    let mut world = world(500);
    let key = row_key(5);
    let mut newer = row(5);
    newer.stamp.hlc = Hlc(900_000);
    newer.content = 1;
    world.put(EAST, &key, newer.clone());
    // A delete on its way, too.
    let deleted = row_key(6);
    let mut grave = row(6);
    grave.stamp.hlc = Hlc(900_001);
    grave.tombstone = true;
    world.put(EAST, &deleted, grave.clone());
    // Until it arrives, the west has not applied the east's logs to their heads.
    for (_, shards) in &mut world.levels.get_mut(&WEST).unwrap().applied {
        for (_, seq) in shards.iter_mut() {
            *seq -= 2;
        }
    }
    world.arrives = Some(Box::new(move |world| {
        world.put(WEST, &key, newer);
        world.put(WEST, &deleted, grave);
        for (_, shards) in &mut world.levels.get_mut(&WEST).unwrap().applied {
            for (_, seq) in shards.iter_mut() {
                *seq += 2;
            }
        }
    }));
    let report = check(world).await;
    assert!(report.agreed(), "{:?}", report.findings);
    assert_eq!(report.in_flight, 2);
}

#[tokio::test]
async fn a_link_that_does_not_come_level_leaves_the_question_open() {
    let mut world = world(500);
    let key = row_key(5);
    world.lose(WEST, &key);
    for (_, shards) in &mut world.levels.get_mut(&WEST).unwrap().applied {
        shards[0].1 -= 1;
    }
    let report = check(world).await;
    assert_eq!(kinds(&report), [(FindingKind::Unsettled, WEST, None)]);
}

#[tokio::test]
async fn what_cannot_be_read_is_said() {
    let mut world = world(100);
    let down = NodeId(u64::from(EAST.0) << 32 | 3);
    world.down.push(down);
    let report = check(world).await;
    assert_eq!(report.findings.len(), 2, "one per partition");
    assert!(
        report.findings.iter().all(|f| f.kind == FindingKind::Unreachable && f.node == Some(down))
    );

    let mut world = self::world(100);
    world.regions.remove(&WEST);
    let report = check(world).await;
    assert_eq!(kinds(&report), [(FindingKind::Unreachable, WEST, None)]);
    assert_eq!(report.regions.len(), 1);
}
