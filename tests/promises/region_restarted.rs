//! Promise: a whole region killed at once, and started again, has everything it acknowledged.

use tombolo_tests::workload::{Writers, lost};
use tombolo_tests::{Cluster, Setup, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_killed_under_load_finds_everything() {
    let cluster = Cluster::start(Setup::one_region()).await;
    cluster.table("items", 4).await;
    let client = cluster.client(0).await;

    // Phase 1: write until there is enough to lose, then kill every process in mid-load.
    let writers = Writers::start(&client, "items", "w", 8, 50);
    eventually("400 changes are committed", tombolo_tests::cluster::PATIENCE, || async {
        let status = client.status().await.ok()?;
        let seq: u64 = status.groups.iter().filter(|g| g.table == "items").map(|g| g.seq).sum();
        (seq > 400).then_some(())
    })
    .await;
    let processes = ["us-east/a", "us-east/b", "us-east/c", "us-east/nats"];
    for process in processes {
        cluster.kill(process).await;
    }
    let written = writers.finish().await;

    // Phase 2: start again; everything acknowledged is there, on every copy, and it takes writes.
    for process in processes {
        cluster.release(process).await;
    }
    cluster.wait_serving().await;
    let client = cluster.client(0).await;
    let lost = lost(&client, "items", &written.ledger).await;
    assert!(lost.is_empty(), "lost: {lost:#?}");
    let again = Writers::start(&client, "items", "again", 2, 5);
    eventually("new writes are taken", tombolo_tests::cluster::PATIENCE, || async {
        let item = client.get_item("items", tombolo_tests::cluster::key("again-0-0"), true).await;
        item.ok().flatten()
    })
    .await;
    let again = again.finish().await;
    let found = cluster.verify(0, "items").await;
    assert!(found.summary.as_ref().is_some_and(|s| s.agreed), "{found:?}");
    assert!(tombolo_tests::workload::lost(&client, "items", &again.ledger).await.is_empty());
    cluster.stop().await;
}
