//! Looking tables up costs a MemDS node the same, whether the asker's map is full or empty. Alone in
//! its process, because it counts requests.

#![allow(clippy::unwrap_used, reason = "tests")]

mod cluster;

use std::time::{Duration, Instant};

use cluster::{Cluster, Node, create, key, spec, until, write};
use tombolo_item::GroupId;
use tombolo_memds::TableStatus;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_without_a_system_replica_route_too_and_lookups_cost_the_same_cold_and_warm() {
    let cluster = Cluster::new(&["here"], 2);
    let nodes = cluster.ready().await;
    let table = create(&nodes[5], spec("music", 6, &[])).await;
    assert!(nodes[5].host.group(GroupId(1)).is_none(), "not a voter of the system group");
    until("a table seen by all", async || {
        nodes
            .iter()
            .all(|node| node.memds.table(table.id).is_some_and(|t| t.status == TableStatus::Active))
    })
    .await;
    for n in 0..12 {
        write(&nodes[n as usize % 6], &table, n, "x").await;
    }
    // Both nodes of a zone share the replicas.
    let held = |node: &Node| node.host.groups().iter().filter(|g| g.table == table.id).count();
    for zone in 0..3 {
        assert_eq!((held(&nodes[zone]), held(&nodes[zone + 3])), (3, 3));
    }

    // Warm: one node looks up for a while. Then it starts with an empty map, and does the same.
    let row_key = table.schema.row_key(&table.secret, &key(1)).unwrap();
    let asked_in = async |nodes: &[Node]| {
        let before = refreshes();
        let end = Instant::now() + Duration::from_secs(3);
        let mut found = false;
        while Instant::now() < end {
            found = nodes[5].memds.locate(table.id, &row_key).is_some();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(found);
        refreshes() - before
    };
    let mut seen = (refreshes(), Instant::now());
    until("earlier look-ups are refreshed", async || {
        if refreshes() != seen.0 {
            seen = (refreshes(), Instant::now());
        }
        seen.1.elapsed() > Duration::from_millis(500)
    })
    .await;
    let warm = asked_in(&nodes).await;
    for node in nodes {
        node.stop().await;
    }
    let nodes = cluster.start().await;
    let cold = asked_in(&nodes).await;
    // One refresh per 200 ms in both.
    assert!(warm >= 10.0 && cold >= 10.0, "warm {warm}, cold {cold}");
    assert!((warm - cold).abs() <= 2.0, "warm {warm}, cold {cold}");
    for node in nodes {
        node.stop().await;
    }
}

/// All nodes of the process together: only one of them looks tables up.
fn refreshes() -> f64 {
    let families = prometheus::gather();
    let family = families.iter().find(|f| f.name() == "tombolo_memds_requests_total").unwrap();
    let refresh = family
        .get_metric()
        .iter()
        .find(|metric| metric.get_label().iter().any(|label| label.value() == "refresh"));
    refresh.unwrap().get_counter().get_value()
}
