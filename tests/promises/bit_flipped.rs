//! Promise: one bit that rots in one replica's stored item is found, by name of the replica and the
//! key, and is never returned as the item's value.

use std::path::Path;

use tombolo::dev::rot;
use tombolo_item::Value;
use tombolo_tests::cluster::{PATIENCE, key};
use tombolo_tests::workload::item;
use tombolo_tests::{Cluster, Setup, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verify_names_the_replica_and_the_key_of_a_flipped_bit() {
    let cluster = Cluster::start(Setup::one_region()).await;
    cluster.table("items", 1).await;
    let client = cluster.client(0).await;
    let needle = "a text that stands in one place of the tree only";
    for n in 0..50 {
        client.put_item("items", item(&format!("k{n}"), n)).await.expect("a put");
    }
    let mut rotten = item("rotten", 1);
    rotten.insert("text", Value::S(needle.into()));
    client.put_item("items", rotten.clone()).await.expect("a put");
    cluster.wait_agreed("items", 51).await;

    // The copy on node b, once a checkpoint has written the item to its tree.
    let node = cluster.json().regions[0].nodes[1].clone();
    let place = eventually("a checkpoint holds the item", PATIENCE, || async {
        let found = rot::places(Path::new(&node.data), needle.as_bytes()).ok()?;
        (!found.is_empty()).then_some(found)
    })
    .await;
    for (file, offset) in &place {
        rot::flip_bit(file, offset + 3).expect("the tree can be written");
    }

    let found = cluster.verify(0, "items").await;
    assert!(!found.summary.as_ref().expect("a summary").agreed, "{found:?}");
    let named = found.findings.iter().any(|finding| {
        finding.node.is_some_and(|id| id.0 == node.id) && finding.key == Some(key("rotten"))
    });
    assert!(named, "no finding names node {} and the key: {found:#?}", node.id);
    let strangers: Vec<_> =
        found.findings.iter().filter(|f| f.node.is_some_and(|id| id.0 != node.id)).collect();
    assert!(strangers.is_empty(), "healthy copies are blamed: {strangers:#?}");

    // Reads of the rotten copy give the right value (from elsewhere) or an error, never the wrong one.
    for n in 0..3 {
        let reader = cluster.client_of(0, n).await;
        for strong in [false, true] {
            if let Ok(read) = reader.get_item("items", key("rotten"), strong).await {
                assert_eq!(read.as_ref(), Some(&rotten), "node {n}, strong {strong}");
            }
        }
    }
    cluster.stop().await;
}
