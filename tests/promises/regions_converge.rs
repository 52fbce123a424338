//! Promise: two regions that write the same keys at once, also while cut off from each other, end
//! with the same items, and the winner is the later write.

use tombolo_tests::cluster::{PATIENCE, key};
use tombolo_tests::workload::{Writers, item};
use tombolo_tests::{Cluster, Setup, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn regions_that_write_the_same_keys_converge() {
    let cluster = Cluster::start(Setup::two_regions()).await;
    cluster.table("items", 2).await;
    let (east, west) = (cluster.client(0).await, cluster.client(1).await);

    // Phase 1: connected. The same keys from both sides; a delete travels too.
    let writers =
        [Writers::start(&east, "items", "k", 4, 10), Writers::start(&west, "items", "k", 4, 10)];
    eventually("both regions have written", PATIENCE, || async {
        let (a, b) = (east.status().await.ok()?, west.status().await.ok()?);
        let seq = |s: &tombolo_client::report::StatusReport| {
            s.groups.iter().filter(|g| g.table == "items").map(|g| g.seq).sum::<u64>()
        };
        (seq(&a) > 300 && seq(&b) > 300).then_some(())
    })
    .await;
    for writers in writers {
        let written = writers.finish().await;
        assert!(written.errors.is_empty(), "{:?}", written.errors);
    }
    east.put_item("items", item("gone", 1)).await.expect("a put");
    eventually("a put is seen in the other region", PATIENCE, || async {
        west.get_item("items", key("gone"), true).await.ok().flatten()
    })
    .await;
    west.delete_item("items", key("gone")).await.expect("a delete");
    eventually("a delete is seen in the other region", PATIENCE, || async {
        let read = east.get_item("items", key("gone"), true).await.ok()?;
        read.is_none().then_some(())
    })
    .await;
    cluster.wait_agreed("items", 40).await;

    // Phase 2: cut off. Both sides go on, and differ.
    cluster.dev().cut(&["eu-west".to_owned()]).await.unwrap_or_else(|e| panic!("{e}"));
    for n in 0..20 {
        east.put_item("items", item(&format!("k-0-{}", n % 10), 1_000 + n)).await.expect("a put");
        west.put_item("items", item(&format!("k-0-{}", n % 10), 2_000 + n)).await.expect("a put");
    }
    east.put_item("items", item("both", 1)).await.expect("a put");
    // The later write of the two.
    west.put_item("items", item("both", 2)).await.expect("a put");
    let there = west.get_item("items", key("both"), true).await.expect("a get");
    assert_eq!(there, Some(item("both", 2)));
    let here = east.get_item("items", key("both"), true).await.expect("a get");
    assert_eq!(here, Some(item("both", 1)), "the cut does not cut");

    // Phase 3: healed. The later stamp wins on both sides, and every copy agrees.
    cluster.dev().heal().await.unwrap_or_else(|e| panic!("{e}"));
    eventually("the later write has won in both regions", PATIENCE, || async {
        let here = east.get_item("items", key("both"), true).await.ok()?;
        (here == Some(item("both", 2))).then_some(())
    })
    .await;
    cluster.wait_agreed("items", 41).await;
    for n in 10..20 {
        let pk = format!("k-0-{}", n % 10);
        let (a, b) = (
            east.get_item("items", key(&pk), true).await.expect("a get"),
            west.get_item("items", key(&pk), true).await.expect("a get"),
        );
        assert_eq!(a, b, "{pk}");
        assert_eq!(a, Some(item(&pk, 2_000 + n)), "the later write of {pk} did not win");
    }
    cluster.stop().await;
}
