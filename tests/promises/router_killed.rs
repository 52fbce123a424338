//! Promise: a router that is killed under a session costs a pause: what it was asked is answered, once.
//!
//! Several tasks add one to each counter, without a condition. So an update that was lost, or applied
//! twice, shows in the sum.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tombolo_client::{ClientError, Expression, Session, SessionOptions};
use tombolo_item::{Number, Value};
use tombolo_tests::cluster::{PATIENCE, key};
use tombolo_tests::workload::version_of;
use tombolo_tests::{Cluster, Setup, eventually};

const COUNTERS: usize = 16;
/// Tasks that add to one counter.
const TASKS: usize = 4;
/// Updates after which the counters count.
const ENOUGH: u64 = 640;

/// Adds until told to stop; how often that was acknowledged.
async fn count(
    session: Session,
    pk: String,
    stop: Arc<AtomicBool>,
    total: Arc<AtomicU64>,
) -> Result<u64, ClientError> {
    let mut counted = 0;
    while !stop.load(Ordering::Relaxed) {
        let add = Expression::new("ADD v :one").value(":one", Value::N(Number::from(1_u64)));
        session.update_item("counters", key(&pk), add).await?;
        counted += 1;
        total.fetch_add(1, Ordering::Relaxed);
    }
    Ok(counted)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_outlives_its_router_and_nothing_is_applied_twice() {
    let cluster = Cluster::start(Setup::one_region()).await;
    cluster.table("counters", 3).await;
    // Its first lane is the first node's, and so is the session's first stream.
    let client = cluster.client(0).await;
    let session = client.session(SessionOptions::default());
    let (stop, total) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let counting = |n: usize| {
        let pk = format!("c{}", n % COUNTERS);
        tokio::spawn(count(session.clone(), pk, stop.clone(), total.clone()))
    };
    let tasks: Vec<_> = (0..COUNTERS * TASKS).map(counting).collect();
    let flow = |what: &'static str| {
        let (total, before) = (total.clone(), total.load(Ordering::Relaxed));
        async move {
            eventually(what, PATIENCE, || async {
                (total.load(Ordering::Relaxed) > before + ENOUGH).then_some(())
            })
            .await;
        }
    };

    // Phase 1: each node dies in mid-load, so each stream is lost once; the next router goes on.
    for process in ["us-east/a", "us-east/b", "us-east/c"] {
        flow("the counters count").await;
        cluster.kill(process).await;
        flow("they count on, by way of another router").await;
        cluster.release(process).await;
        cluster.wait_serving().await;
    }

    // Phase 2: nobody saw an error, and every counter holds exactly what was acknowledged.
    stop.store(true, Ordering::Relaxed);
    let mut acknowledged = [0; COUNTERS];
    for (n, task) in tasks.into_iter().enumerate() {
        let counted = task.await.expect("a counter ends");
        acknowledged[n % COUNTERS] +=
            counted.unwrap_or_else(|error| panic!("counter {}: {error}", n % COUNTERS));
    }
    for (n, counted) in acknowledged.into_iter().enumerate() {
        let read = session.get_item("counters", key(&format!("c{n}")), true).await;
        let held = read.unwrap_or_else(|error| panic!("reading counter {n}: {error}"));
        assert_eq!(held.as_ref().map_or(0, version_of), counted, "counter {n}");
    }
    println!("counted {}", total.load(Ordering::Relaxed));
    cluster.stop().await;
}
