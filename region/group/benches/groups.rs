//! What groups cost on one machine that runs all three replicas: durable writes, strong reads, and
//! a thousand groups that do nothing. Not a criterion bench: it reports rates and processor time.
//!
//! `cargo bench -p tombolo-group` (`-- --idle-groups N`, 0 leaves the idle part out; `--idle-only`)

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints")]

#[path = "../tests/three_hosts/cluster.rs"]
#[allow(dead_code, reason = "shared with the tests, which use all of it")]
mod cluster;

use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster::{Cluster, name};
use tombolo_group::{ReadRequest, WriteRequest};
use tombolo_item::GroupId;

/// Processor time of this process so far.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

/// Resident memory in MB: (of the process's own, of mapped files).
fn resident_mb() -> (u64, u64) {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: Vec<u64> = statm.split_whitespace().map(|n| n.parse().unwrap()).collect();
    let mb = |pages: u64| pages * 4096 / 1_000_000;
    (mb(pages[1] - pages[2]), mb(pages[2]))
}

async fn writes(cluster: &Arc<Cluster>, groups: u64, writers: u64, for_: Duration) {
    let mut tasks = Vec::new();
    let (begun, before) = (Instant::now(), cpu());
    for writer in 0..writers {
        let group = GroupId(16 + writer % groups);
        let host = cluster.host(cluster.leader(group).await);
        let cluster = cluster.clone();
        tasks.push(tokio::spawn(async move {
            let (mut done, mut slowest) = (0u64, Vec::new());
            while begun.elapsed() < for_ {
                let key = format!("{writer} {}", done % 1_000);
                let value = format!("{done:01000}");
                let request: WriteRequest = cluster.put(group, &key, &value);
                let at = Instant::now();
                host.write(request).await.unwrap();
                slowest.push(at.elapsed());
                done += 1;
            }
            slowest
        }));
    }
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.unwrap());
    }
    report(&format!("write, {groups} groups, {writers} writers"), times, begun, before);
}

async fn reads(cluster: &Arc<Cluster>, readers: u64, for_: Duration) {
    let group = GroupId(16);
    let host = cluster.host(cluster.leader(group).await);
    let mut tasks = Vec::new();
    let (begun, before) = (Instant::now(), cpu());
    for reader in 0..readers {
        let host = host.clone();
        tasks.push(tokio::spawn(async move {
            let (mut times, mut n) = (Vec::new(), 0u64);
            while begun.elapsed() < for_ {
                let row_key = name(&format!("{reader} {}", n % 50)).1;
                let request = ReadRequest { group, epoch: 1, row_key, strong: true };
                let at = Instant::now();
                assert!(host.read(request).await.unwrap().stamp.is_some());
                times.push(at.elapsed());
                n += 1;
                if n % 16 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            times
        }));
    }
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.unwrap());
    }
    report(&format!("strong read on the leader, {readers} readers"), times, begun, before);
}

fn report(what: &str, mut times: Vec<Duration>, begun: Instant, before: Duration) {
    let (took, spent) = (begun.elapsed(), cpu() - before);
    times.sort_unstable();
    let n = times.len().max(1);
    println!(
        "{what}: {:.0}/s, p50 {:?}, p99 {:?}, {:.1} us of processor each",
        n as f64 / took.as_secs_f64(),
        times[n / 2],
        times[n * 99 / 100],
        spent.as_micros() as f64 / n as f64,
    );
}

async fn loaded() {
    let mut cluster = Cluster::start(|_| {}).await;
    for group in 16..24 {
        cluster.create(GroupId(group)).await;
    }
    let cluster = Arc::new(cluster);
    let each = Duration::from_secs(5);
    writes(&cluster, 1, 1, each).await;
    writes(&cluster, 1, 64, each).await;
    writes(&cluster, 8, 64, each).await;
    writes(&cluster, 8, 256, each).await;
    reads(&cluster, 64, each).await;
    let mut cluster = Arc::try_unwrap(cluster).unwrap_or_else(|_| panic!("still shared"));
    cluster.stop_all().await;
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let idle = args.iter().position(|a| a == "--idle-groups").map(|at| args[at + 1].parse());
    let idle: u64 = idle.unwrap_or(Ok(1_000)).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        if !args.iter().any(|a| a == "--idle-only") {
            loaded().await;
        }
        if idle > 0 {
            let mut cluster = Cluster::start(|_| {}).await;
            let before_mb = resident_mb();
            for group in 0..idle {
                cluster.create(GroupId(16 + group)).await;
            }
            for group in 0..idle {
                cluster.leader(GroupId(16 + group)).await;
            }
            // The first checkpoints are no part of being idle.
            tokio::time::sleep(Duration::from_secs(25)).await;
            let (begun, before) = (Instant::now(), cpu());
            tokio::time::sleep(Duration::from_secs(10)).await;
            let share = (cpu() - before).as_secs_f64() / begun.elapsed().as_secs_f64();
            println!(
                "{idle} idle groups, three replicas each: {:.1} % of a core, {} MB of its own and \
                 {} MB of mapped files",
                share * 100.0,
                resident_mb().0.saturating_sub(before_mb.0),
                resident_mb().1.saturating_sub(before_mb.1),
            );
            cluster.stop_all().await;
        }
    });
}
