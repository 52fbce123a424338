//! Promise: a leader that is killed costs a pause, and no acknowledged write. Ever.

use std::time::Duration;

use tombolo_tests::workload::{Writers, lost};
use tombolo_tests::{Cluster, Setup, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_write_is_lost_when_leaders_are_killed() {
    let cluster = Cluster::start(Setup::one_region()).await;
    cluster.table("t", 3).await;
    let client = cluster.client(0).await;

    // Phase 1: writers on all partitions; a leader dies under them, three times, and comes back.
    let writers = Writers::start(&client, "t", "w", 16, 8);
    for round in 0..3 {
        let leader = cluster.leader(0, "t", round % 3).await;
        let process = cluster.process_of(leader);
        cluster.kill(&process).await;
        eventually("another node leads", Duration::from_secs(60), || async {
            let table = client.describe_table("t").await.ok()?;
            let led = table.partitions.iter().all(|p| p.leader.is_some_and(|l| l != leader));
            led.then_some(())
        })
        .await;
        cluster.release(&process).await;
        cluster.wait_serving().await;
    }
    let written = writers.finish().await;

    // Phase 2: what was acknowledged is there, and callers saw a pause, not an error.
    println!(
        "acknowledged {}, longest pause {:?}, errors {}",
        written.ledger.acknowledged(),
        written.longest_pause,
        written.errors.len()
    );
    assert!(written.ledger.acknowledged() > 300, "the writers hardly wrote");
    let lost = lost(&client, "t", &written.ledger).await;
    assert!(lost.is_empty(), "lost: {lost:#?}");
    assert!(written.errors.is_empty(), "errors: {:#?}", written.errors);

    // Phase 3: the copies agree, the one that was away included.
    cluster.wait_agreed("t", written.ledger.0.len() as u64).await;
    cluster.stop().await;
}
