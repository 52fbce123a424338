//! Three hosts in one process, over real sockets with mutual TLS and on real disks.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod cluster;
mod drained;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cluster::{Cluster, GROUP, LIMIT, assert_equal, name, now_ms, value_of};
use tokio::time::sleep;
use tombolo_group::*;
use tombolo_item::{GroupId, Item, KeyRange, NodeId, Value};
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_are_read_everywhere_and_survive_a_restart_of_all() {
    let mut cluster = Cluster::start(|_| {}).await;
    cluster.create(GROUP).await;
    for n in 0..50 {
        let response =
            cluster.write(cluster.put(GROUP, &format!("key {n}"), &format!("{n}"))).await;
        assert_eq!(response.outcome, WriteOutcome::Written { old: None, new: None });
        assert_eq!(response.seq, n + 1);
    }
    assert_eq!(value_of(cluster.read(GROUP, "key 7").await), Some("7".into()));
    assert_eq!(cluster.read(GROUP, "nothing").await, None);

    // Every replica holds the same, also over the net.
    let digests = cluster.digests(GROUP).await;
    assert_eq!(digests.len(), 3);
    assert_eq!(digests[0].buckets.iter().map(|b| b.items).sum::<u64>(), 50);
    assert_equal(&digests);
    let leader = cluster.leader(GROUP).await;
    let other = cluster.host(leader % 3 + 1);
    let range = RangeRequest {
        group: GROUP,
        epoch: 1,
        range: KeyRange::full(),
        reverse: false,
        limit: 20,
        max_bytes: 0,
        strong: true,
        index: None,
    };
    let page = other.range_on(NodeId(leader), range.clone(), LIMIT).await.unwrap();
    assert_eq!((page.items.len(), page.more), (20, true));
    let refused = other.range(range).await;
    assert!(matches!(refused, Err(GroupError::NotLeader { leader: Some(_), .. })), "{refused:?}");

    // The change log is the same on a follower.
    let log = other.change_log(other.group(GROUP).unwrap().shard).unwrap();
    let changes = log.read(1, 1 << 20).unwrap();
    assert_eq!(changes.records.len(), 50);
    drop((log, other));

    // All stop at once and start again.
    for id in 1..=3 {
        cluster.kill(id).await;
    }
    for id in 1..=3 {
        cluster.start_node(id).await;
    }
    for n in 0..50 {
        let item = cluster.read(GROUP, &format!("key {n}")).await;
        assert_eq!(value_of(item), Some(n.to_string()));
    }
    assert_equal(&cluster.digests(GROUP).await);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_loses_no_acknowledged_write() {
    let mut cluster = Cluster::start(|_| {}).await;
    cluster.create(GROUP).await;
    let first = cluster.leader(GROUP).await;

    // Phase 1: writers write through whoever leads, with tokens, and note what was acknowledged.
    let hosts: Arc<parking_lot::Mutex<Vec<Host>>> =
        Arc::new(parking_lot::Mutex::new(cluster.hosts()));
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for writer in 0..8u64 {
        let (hosts, stop) = (hosts.clone(), stop.clone());
        writers.push(tokio::spawn(async move {
            let session = Uuid::new_v4();
            let (mut acked, mut number, mut longest) = (Vec::new(), 0u64, Duration::ZERO);
            while !stop.load(Ordering::SeqCst) {
                number += 1;
                let key = format!("w{writer} {number}");
                let request = put_with(&key, session, number);
                let begun = Instant::now();
                'again: loop {
                    let now: Vec<Host> = hosts.lock().clone();
                    for host in now {
                        if host.group(GROUP).is_some_and(|s| s.is_leader)
                            && let Ok(response) = host.write(request.clone()).await
                        {
                            acked.push((key, response.stamp));
                            break 'again;
                        }
                    }
                    assert!(begun.elapsed() < LIMIT);
                    sleep(Duration::from_millis(2)).await;
                }
                longest = longest.max(begun.elapsed());
            }
            (acked, longest)
        }));
    }
    sleep(Duration::from_millis(500)).await;

    // Phase 2: the leader dies in mid-load; another takes over.
    let survivors: Vec<Host> =
        (1..=3).filter(|id| *id != first).map(|id| cluster.host(id)).collect();
    *hosts.lock() = survivors;
    cluster.kill(first).await;
    let second = cluster.leader(GROUP).await;
    assert_ne!(first, second);
    sleep(Duration::from_millis(500)).await;
    stop.store(true, Ordering::SeqCst);
    let (mut acked, mut longest) = (Vec::new(), Duration::ZERO);
    for writer in writers {
        let (theirs, pause) = writer.await.unwrap();
        acked.extend(theirs);
        longest = longest.max(pause);
    }
    assert!(longest < Duration::from_secs(6), "no write for {longest:?}");

    // Phase 3: everything acknowledged is there, under the stamp that was acknowledged.
    assert!(acked.len() > 50, "{} writes", acked.len());
    let leader = cluster.host(cluster.leader(GROUP).await);
    for (key, stamp) in &acked {
        let row_key = name(key).1;
        let request = ReadRequest { group: GROUP, epoch: 1, row_key, strong: true };
        assert_eq!(leader.read(request).await.unwrap().stamp, *stamp, "{key}");
    }

    // Phase 4: the dead one comes back and holds the same.
    cluster.start_node(first).await;
    let digests = cluster.digests(GROUP).await;
    assert_eq!(digests.len(), 3);
    assert_equal(&digests);
    println!("{} writes acknowledged, none lost, longest pause {longest:?}", acked.len());
    cluster.stop().await;
}

fn put_with(key: &str, session: Uuid, number: u64) -> WriteRequest {
    let item = Item(BTreeMap::from([
        ("k".to_owned(), Value::S(key.to_owned())),
        ("v".to_owned(), Value::S("x".repeat(100))),
    ]));
    let token = Token { session, number, lowest_unfinished: number, issued_ms: now_ms() };
    let (key, row_key) = name(key);
    let op = WriteOp::Put {
        item: item.encode(),
        condition: None,
        return_old: false,
        return_on_failure: false,
    };
    WriteRequest { group: GROUP, epoch: 1, key, row_key, op, token: Some(token) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_too_far_behind_gets_a_snapshot() {
    fn tune(settings: &mut HostSettings) {
        settings.log_tail_bytes = 2_000;
        settings.checkpoint_age = Duration::from_millis(100);
    }
    let mut cluster = Cluster::start(tune).await;
    cluster.create(GROUP).await;
    let leader = cluster.leader(GROUP).await;
    let behind = leader % 3 + 1;
    cluster.write(cluster.put(GROUP, "before", "1")).await;
    cluster.kill(behind).await;
    for n in 0..200 {
        cluster.write(cluster.put(GROUP, &format!("key {n}"), &"x".repeat(200))).await;
    }
    // The others no longer hold the log from the beginning.
    let others: Vec<Host> = cluster.hosts();
    let begun = Instant::now();
    while others.iter().any(|h| {
        let partition = h.partition(GROUP).unwrap();
        partition.checkpointed().0 + 5 < partition.applied().0
    }) {
        assert!(begun.elapsed() < LIMIT, "no checkpoint");
        sleep(Duration::from_millis(20)).await;
    }
    cluster.start_node(behind).await;
    let wanted = cluster.host(leader).group(GROUP).unwrap().applied;
    let begun = Instant::now();
    while cluster.host(behind).group(GROUP).unwrap().applied < wanted {
        assert!(begun.elapsed() < LIMIT, "{:#?}", cluster.statuses(GROUP));
        sleep(Duration::from_millis(20)).await;
    }
    assert!(cluster.host(behind).partition(GROUP).unwrap().generation() > 1, "a snapshot");
    assert_equal(&cluster.digests(GROUP).await);

    // It goes on from there, and the new generation survives a restart.
    cluster.write(cluster.put(GROUP, "after", "2")).await;
    cluster.kill(behind).await;
    cluster.start_node(behind).await;
    assert_equal(&cluster.digests(GROUP).await);
    assert_eq!(value_of(cluster.read(GROUP, "after").await), Some("2".into()));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_copy_is_filled_again_by_its_leader() {
    let mut cluster = Cluster::start(|s| s.checkpoint_age = Duration::from_millis(100)).await;
    cluster.create(GROUP).await;
    for n in 0..30 {
        cluster.write(cluster.put(GROUP, &format!("key {n}"), "1")).await;
    }

    // An operator has a follower's copy rebuilt while it runs.
    let leader = cluster.leader(GROUP).await;
    assert!(cluster.host(leader).rebuild(GROUP).await.is_err(), "the leader's copy fills others");
    let follower = leader % 3 + 1;
    let before = cluster.host(follower).partition(GROUP).unwrap().generation();
    cluster.host(follower).rebuild(GROUP).await.unwrap();
    assert_equal(&cluster.digests(GROUP).await);
    assert!(cluster.host(follower).partition(GROUP).unwrap().generation() > before);

    // A copy whose folder was damaged while the node was down starts over by itself.
    let begun = Instant::now();
    let partition = cluster.host(follower).partition(GROUP).unwrap();
    while partition.checkpointed().0 < 20 {
        assert!(begun.elapsed() < LIMIT, "no checkpoint");
        sleep(Duration::from_millis(20)).await;
    }
    let folder = partition.dir().to_owned();
    drop(partition);
    cluster.kill(follower).await;
    std::fs::remove_dir_all(folder).unwrap();
    cluster.start_node(follower).await;
    assert_equal(&cluster.digests(GROUP).await);
    cluster.write(cluster.put(GROUP, "after", "2")).await;
    assert_equal(&cluster.digests(GROUP).await);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_planned_hand_over_is_short_and_leaders_spread() {
    let mut cluster = Cluster::start(|_| {}).await;
    let groups: Vec<GroupId> = (16..28).map(GroupId).collect();
    for group in &groups {
        cluster.create(*group).await;
    }
    let mut led = BTreeMap::new();
    for group in &groups {
        *led.entry(cluster.leader(*group).await).or_insert(0) += 1;
    }
    assert_eq!(led.len(), 3, "leaders spread over the nodes: {led:?}");

    let leaving = *led.keys().next().unwrap();
    let begun = Instant::now();
    cluster.host(leaving).hand_over_all().await;
    for group in &groups {
        assert_ne!(cluster.leader(*group).await, leaving);
    }
    let took = begun.elapsed();
    assert!(took < Duration::from_millis(1_500), "the hand-over took {took:?}");
    for group in &groups {
        cluster.write(cluster.put(*group, "k", "v")).await;
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_with_its_token_is_answered_and_not_applied_again() {
    let mut cluster = Cluster::start(|_| {}).await;
    cluster.create(GROUP).await;
    let request = cluster.put(GROUP, "k", "1");
    let first = cluster.write(request.clone()).await;
    let other = cluster.write(cluster.put(GROUP, "k", "2")).await;
    let again = cluster.write(request.clone()).await;
    assert_eq!(again.stamp, first.stamp);
    assert!(other.stamp > first.stamp);
    assert_eq!(value_of(cluster.read(GROUP, "k").await), Some("2".into()));

    // Also under a new leader, which knows the answer from the log alone.
    let leader = cluster.leader(GROUP).await;
    cluster.kill(leader).await;
    let again = cluster.write(request).await;
    assert_eq!(again.stamp, first.stamp);
    assert_eq!(value_of(cluster.read(GROUP, "k").await), Some("2".into()));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_group_leaves_nothing_on_the_disk() {
    let mut cluster = Cluster::start(|_| {}).await;
    cluster.create(GROUP).await;
    cluster.write(cluster.put(GROUP, "k", "1")).await;
    let dirs: Vec<std::path::PathBuf> =
        cluster.nodes.iter().map(|n| replica_dir(n.dir.path())).collect();
    assert!(dirs.iter().all(|d| d.exists()), "{dirs:?}");
    for host in cluster.hosts() {
        host.drop_group(GROUP);
    }
    let begun = Instant::now();
    while dirs.iter().any(|d| d.exists()) {
        assert!(begun.elapsed() < LIMIT, "still there");
        sleep(Duration::from_millis(10)).await;
    }
    let refused = cluster.host(1).write(cluster.put(GROUP, "k", "2")).await;
    assert_eq!(refused, Err(GroupError::NoSuchGroup));
    for id in 1..=3 {
        cluster.kill(id).await;
        cluster.start_node(id).await;
        assert!(cluster.host(id).groups().is_empty());
    }
    cluster.stop().await;
}

fn replica_dir(node: &Path) -> std::path::PathBuf {
    let replicas = node.join("replicas");
    let mut found = std::fs::read_dir(replicas).unwrap();
    found.next().expect("one replica").unwrap().path()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_is_handed_to_a_node_that_lives() {
    let mut cluster = Cluster::start(|_| {}).await;
    cluster.create(GROUP).await;
    cluster.write(cluster.put(GROUP, "k", "1")).await;
    let leader = cluster.leader(GROUP).await;
    let (dead, alive) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    cluster.kill(dead).await;
    // Dead for longer than a lease: the leader has to notice by itself.
    sleep(Duration::from_millis(1_800)).await;
    let begun = Instant::now();
    cluster.host(leader).hand_over_all().await;
    assert_eq!(cluster.leader(GROUP).await, alive);
    assert!(begun.elapsed() < Duration::from_millis(1_500), "{:?}", begun.elapsed());
    cluster.stop().await;
}
