//! Promise: with NATS down writes go on, and afterwards the stream is complete: no gap, no duplicate
//! after (shard, epoch, sequence), also when the broker has lost the stream altogether.
//!
//! The outage is longer than the stream's deduplication window, which the test makes short instead of
//! waiting two minutes: what is published twice then really stands in the stream twice.

use std::collections::BTreeMap;
use std::time::Duration;

use tombolo_item::TableId;
use tombolo_tests::cluster::PATIENCE;
use tombolo_tests::workload::Writers;
use tombolo_tests::{Cluster, Setup, eventually, stream};

/// The shortest window that nats-server allows is 100 ms.
const WINDOW: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stream_is_complete_after_an_outage_and_after_a_deleted_stream() {
    let cluster = Cluster::start(Setup::one_region()).await;
    let table = cluster.table("items", 2).await;
    let id: TableId = table.id.parse().expect("a table id");
    let client = cluster.client(0).await;
    let total = || async {
        let status = client.status().await.ok()?;
        let of_table = status.groups.iter().filter(|g| g.table == "items");
        Some(of_table.map(|g| (g.shard, g.seq)).collect::<BTreeMap<_, _>>())
    };

    // Phase 1: writes flow, NATS goes away under them, writes go on.
    shorten_window(&cluster, id).await;
    let writers = Writers::start(&client, "items", "w", 4, 20);
    let reached = |n: u64| {
        let total = &total;
        eventually("more is written", PATIENCE, move || async move {
            let seq: u64 = total().await?.values().sum();
            (seq > n).then_some(seq)
        })
    };
    let before = reached(100).await;
    cluster.kill("us-east/nats").await;
    let down = std::time::Instant::now();
    reached(before + 200).await;
    eventually("the outage is longer than the window", PATIENCE, || async {
        (down.elapsed() > 2 * WINDOW).then_some(())
    })
    .await;
    cluster.release("us-east/nats").await;
    let written = writers.finish().await;
    assert!(written.errors.is_empty(), "with NATS down writes failed: {:?}", written.errors);

    // Phase 2: the broker alone has every sequence number of every shard.
    let heads = total().await.expect("the region answers");
    check(&cluster, id, &heads).await;

    // Phase 3: somebody deletes the stream; it is made again and refilled from the log.
    let context = jetstream(&cluster).await;
    context.delete_stream(format!("tombolo-us-east-{id}")).await.expect("the stream is there");
    let more = Writers::start(&client, "items", "x", 1, 5);
    reached(heads.values().sum::<u64>() + 20).await;
    more.finish().await;
    let heads = total().await.expect("the region answers");
    check(&cluster, id, &heads).await;
    cluster.stop().await;
}

async fn check(cluster: &Cluster, table: TableId, heads: &BTreeMap<tombolo_item::Shard, u64>) {
    let records = stream::read_until(&cluster.json(), 0, table, PATIENCE, |records| {
        heads.iter().all(|(shard, head)| {
            *head == 0
                || records
                    .get(shard)
                    .and_then(|r| r.last())
                    .map(sequence)
                    .is_some_and(|s| s >= *head)
        })
    })
    .await;
    for (shard, records) in &records {
        // Nothing here is a touch, so people see every sequence number exactly once.
        let seen: Vec<u64> = records.iter().map(sequence).collect();
        let expected: Vec<u64> = (1..=seen.len() as u64).collect();
        assert_eq!(seen, expected, "shard {shard}");
    }
}

fn sequence(record: &serde_json::Value) -> u64 {
    let text = record["dynamodb"]["SequenceNumber"].as_str().expect("a sequence number");
    text.parse().expect("a number")
}

async fn jetstream(cluster: &Cluster) -> async_nats::jetstream::Context {
    // async-nats itself ignores the user and password of a URL.
    let url = cluster.json().regions[0].nats.clone();
    let connection = tombolo_stream::connect::Connection::open(&url, "test").await;
    let connection = connection.unwrap_or_else(|e| panic!("NATS: {e}"));
    connection.up().await;
    async_nats::jetstream::new(connection.client)
}

async fn shorten_window(cluster: &Cluster, table: TableId) {
    let context = jetstream(cluster).await;
    let name = format!("tombolo-us-east-{table}");
    let mut config = eventually("the stream is made", PATIENCE, || async {
        Some(context.get_stream(&name).await.ok()?.cached_info().config.clone())
    })
    .await;
    config.duplicate_window = WINDOW;
    context.update_stream(config).await.expect("the window can be changed");
}
