//! Two regions, one table: changes travel both ways, same keys written on both sides converge, a cut
//! heals, tombstones go when nobody needs them, and verification tells equal from divergent.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use support::{Cluster, item, key, put, schema};
use tombolo_group::{Space, WriteOp};
use tombolo_item::{Cause, ChangeKind, ChangeRecord, GroupId, Hlc, RegionId, Shard, Stamp};
use tombolo_link::verify::FindingKind;

const EAST: usize = 0;
const WEST: usize = 1;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_global_table_from_its_first_write_to_its_proof() {
    let cluster = Cluster::start().await;
    let tables = cluster.table("orders", 3).await;
    let (east, west) = (&tables[EAST], &tables[WEST]);
    assert_eq!(east.id, west.id, "a global table has one id");

    // Both ways, updates and deletes included.
    for i in 0..60 {
        cluster.write(EAST, east, &format!("e{i}"), put("from the east")).await;
        cluster.write(WEST, west, &format!("w{i}"), put("from the west")).await;
    }
    for i in 0..60 {
        cluster.until_reads(WEST, west, &format!("e{i}"), Some("from the east")).await;
        cluster.until_reads(EAST, east, &format!("w{i}"), Some("from the west")).await;
    }
    cluster.write(WEST, west, "e0", put("changed in the west")).await;
    cluster.until_reads(EAST, east, "e0", Some("changed in the west")).await;
    cluster.write(EAST, east, "w1", support::Op::Delete).await;
    cluster.until_reads(WEST, west, "w1", None).await;

    // How long from the answer here to the read there, one at a time.
    let mut visible = Vec::new();
    for i in 0..100 {
        cluster.write(EAST, east, "ping", put(format!("{i}"))).await;
        let answered = Instant::now();
        cluster.until_reads(WEST, west, "ping", Some(&format!("{i}"))).await;
        visible.push(answered.elapsed());
    }
    visible.sort();
    println!("answer to visible elsewhere: p50 {:?}, p99 {:?}", visible[50], visible[98]);

    let report = cluster.verify(east).await;
    assert!(report.agreed(), "{:#?}", report.findings);
    assert_eq!(report.regions[0].digest, report.regions[1].digest);
    assert_eq!(report.replicas.len(), 18);
    assert_eq!(report.items, 120, "120 written, one deleted, one pinged");

    // Cut off from each other, both sides go on and write the same keys.
    cluster.cut();
    for i in 0..20 {
        cluster.write(EAST, east, &format!("both{i}"), put("east")).await;
        cluster.write(WEST, west, &format!("both{i}"), put("west, later")).await;
        cluster.write(WEST, west, &format!("late{i}"), put("west")).await;
        // Within one millisecond the region's number decides, and west's is the greater.
        let written = wall_ms();
        while wall_ms() <= written {
            tokio::task::yield_now().await;
        }
        cluster.write(EAST, east, &format!("late{i}"), support::Op::Delete).await;
    }
    assert_eq!(cluster.read(EAST, east, "both7").await.as_deref(), Some("east"));
    cluster.heal();
    for region in [EAST, WEST] {
        for i in 0..20 {
            cluster
                .until_reads(region, &tables[region], &format!("both{i}"), Some("west, later"))
                .await;
            cluster.until_reads(region, &tables[region], &format!("late{i}"), None).await;
        }
    }

    // Verification while writes go on reports no change on its way.
    let busy = async {
        for i in 0..200 {
            cluster.write(EAST, east, &format!("e{}", i % 50), put(format!("busy {i}"))).await;
            cluster.write(WEST, west, &format!("e{}", i % 50), put(format!("busier {i}"))).await;
        }
    };
    let (report, ()) = tokio::join!(cluster.verify(east), busy);
    assert!(report.agreed(), "{:#?}", report.findings);

    // Tombstones go, on every replica, once nobody needs them.
    let graves = || -> usize {
        let mut graves = 0;
        for node in cluster.regions.iter().flatten() {
            for partition in node.memds.partitions(east.id) {
                let Some(replica) = node.host.partition(partition.group) else { continue };
                let mut count = |_, row: tombolo_group::StoredRow| {
                    graves += usize::from(row.tombstone);
                    std::ops::ControlFlow::Continue(())
                };
                replica.range(Space::ITEMS, &partition.range, false, &mut count).unwrap();
            }
        }
        graves
    };
    let until = Instant::now() + Duration::from_secs(90);
    while graves() > 0 {
        assert!(Instant::now() < until, "{} tombstones stay", graves());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    // A row that one region has and the other never will.
    plant(&cluster, west).await;
    let report = cluster.verify(east).await;
    let kinds: Vec<(FindingKind, &str)> =
        report.findings.iter().map(|f| (f.kind, f.region_name.as_str())).collect();
    assert_eq!(kinds, [(FindingKind::Missing, "us-east")], "{:#?}", report.findings);
    assert_eq!(report.findings[0].key, Some(serde_json::json!({"id": {"S": "planted"}})));
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_broker_that_dies_or_forgets_loses_nothing() {
    let mut cluster = Cluster::start().await;
    let tables = cluster.table("orders", 2).await;
    let (east, west) = (&tables[EAST], &tables[WEST]);
    cluster.write(EAST, east, "before", put("1")).await;
    cluster.until_reads(WEST, west, "before", Some("1")).await;

    // Without a broker the heads tell that something is missing, and the log has it.
    cluster.nats[EAST].kill();
    for i in 0..30 {
        cluster.write(EAST, east, &format!("down{i}"), put("2")).await;
    }
    cluster.write(EAST, east, "before", support::Op::Delete).await;
    for i in 0..30 {
        cluster.until_reads(WEST, west, &format!("down{i}"), Some("2")).await;
    }
    cluster.until_reads(WEST, west, "before", None).await;

    // It comes back without a memory, and changes flow through it again.
    cluster.nats[EAST].forget();
    cluster.nats[EAST].up();
    for i in 0..30 {
        cluster.write(EAST, east, &format!("after{i}"), put("3")).await;
        cluster.write(WEST, west, &format!("down{i}"), put("4")).await;
    }
    for i in 0..30 {
        cluster.until_reads(WEST, west, &format!("after{i}"), Some("3")).await;
        cluster.until_reads(EAST, east, &format!("down{i}"), Some("4")).await;
    }
    let report = cluster.verify(east).await;
    assert!(report.agreed(), "{:#?}", report.findings);
    assert_eq!(report.items, 60);
    cluster.end().await;
}

/// Merges into the west a change that the east never made.
async fn plant(cluster: &Cluster, table: &tombolo_memds::TableInfo) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let stamp =
        Stamp { hlc: Hlc::from_ms(now.as_millis() as u64), region: RegionId(1), seq: 1 << 40 };
    let change = ChangeRecord {
        table: table.id,
        shard: Shard { group: GroupId(16), epoch: 1 },
        seq: 1 << 40,
        stamp,
        replaced: None,
        closed: Hlc(0),
        origin: RegionId(1),
        cause: Cause::User,
        kind: ChangeKind::Insert,
        transaction: None,
        key: key("planted"),
        row_key: schema().row_key(&table.secret, &key("planted")).unwrap(),
        new: Some(item("planted", "nobody wrote this").encode()),
        old: None,
        eval_term: 1,
        prev_hash: 0,
        merge_state: bytes::Bytes::new(),
        ext: bytes::Bytes::new(),
    };
    let op = WriteOp::Merge { change: change.encode() };
    let deadline = Instant::now() + Duration::from_secs(30);
    let routed = &cluster.regions[WEST][0].routed;
    routed.write(table, key("planted"), op, deadline).await.unwrap();
}

fn wall_ms() -> u128 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.expect("the clock is past 1970").as_millis()
}
