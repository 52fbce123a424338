//! Promise: a leader that is killed costs a pause, and no acknowledged write. Ever.

use tombolo_tests::cluster::{PATIENCE, key};
use tombolo_tests::workload::{Ledger, Writers, item, lost};
use tombolo_tests::{Cluster, Setup, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_write_is_lost_when_leaders_are_killed() {
    let cluster = Cluster::start(Setup::one_region()).await;
    cluster.table("items", 3).await;
    let client = cluster.client(0).await;

    // Phase 1: three times, a leader dies under writers that talk to the other two nodes, and comes back.
    // (What is under way at a router that dies itself is told its callers as unknown.)
    let mut ledger = Ledger::default();
    for round in 0..3 {
        let leader = cluster.leader(0, "items", round).await;
        let process = cluster.process_of(leader);
        let others = cluster.client_without(0, leader).await;
        let writers = Writers::start(&others, "items", &format!("w{round}"), 12, 8);
        eventually("writes flow", PATIENCE, || async {
            let item = others.get_item("items", key(&format!("w{round}-0-7")), true).await;
            item.ok().flatten()
        })
        .await;
        cluster.kill(&process).await;
        eventually("another node leads, and takes writes", PATIENCE, || async {
            let table = others.describe_table("items").await.ok()?;
            let led = table.partitions.iter().all(|p| p.leader.is_some_and(|l| l != leader));
            led.then_some(())
        })
        .await;
        others.put_item("items", item("after", round as u64)).await.expect("a put");
        let written = writers.finish().await;
        println!(
            "round {round}: acknowledged {}, longest pause {:?}",
            written.ledger.acknowledged(),
            written.longest_pause
        );
        assert!(written.errors.is_empty(), "callers saw errors: {:#?}", written.errors);
        assert!(written.ledger.acknowledged() > 100, "the writers hardly wrote");
        ledger.0.extend(written.ledger.0);
        cluster.release(&process).await;
        cluster.wait_serving().await;
    }

    // Phase 2: what was acknowledged is there.
    let lost = lost(&client, "items", &ledger).await;
    assert!(lost.is_empty(), "lost: {lost:#?}");

    // Phase 3: the copies agree, the one that was away included.
    cluster.wait_agreed("items", ledger.0.len() as u64 + 1).await;
    cluster.stop().await;
}
