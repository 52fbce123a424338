//! Everything that a table's people's stream holds, in order, checked for holes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tombolo::dev::ClusterJson;
use tombolo_item::{Shard, TableId};
use tombolo_stream::Family;
use tombolo_stream::subscriber::{Start, SubscriberSettings, Subscription};

/// Records of each shard, contiguous from 1 as the subscriber guarantees.
pub type Records = BTreeMap<Shard, Vec<serde_json::Value>>;

/// Reads from the oldest message until `enough`, with nothing fetched from elsewhere: what is missing
/// in the broker is an error.
pub async fn read_until(
    json: &ClusterJson,
    region: usize,
    table: TableId,
    patience: Duration,
    enough: impl Fn(&Records) -> bool,
) -> Records {
    let region = &json.regions[region];
    let settings = SubscriberSettings::new(
        region.nats.clone(),
        region.name.clone(),
        table,
        Family::People,
        Start::Checkpoint(BTreeMap::new()),
    );
    let mut subscription =
        Subscription::open(settings, None).await.unwrap_or_else(|e| panic!("subscribing: {e}"));
    let deadline = Instant::now() + patience;
    let mut records = Records::new();
    while !enough(&records) {
        let left = deadline.saturating_duration_since(Instant::now());
        let next = tokio::time::timeout(left, subscription.next()).await;
        let seen = records.values().map(Vec::len).sum::<usize>();
        let next = next.unwrap_or_else(|_| panic!("after {seen} records the stream went quiet"));
        let record = next.unwrap_or_else(|e| panic!("after {seen} records: {e}"));
        let body = serde_json::from_slice(&record.body).expect("people's records are JSON");
        records.entry(record.shard).or_default().push(body);
    }
    records
}
