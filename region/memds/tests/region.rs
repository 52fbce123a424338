//! Each test is a story of one cluster.

mod cluster;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use cluster::{Cluster, content, create, key, soon, spec, until, walk, write};
use tombolo_item::{NodeId, RegionId};
use tombolo_memds::{CatalogError, Expect, MemdsError, RouteError, TableStatus};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_is_founded_serves_restarts_and_forgets_a_table() {
    let cluster = Cluster::new(&["here"], 1);
    let nodes = cluster.ready().await;
    let [a, b, c] = &nodes[..] else { panic!() };

    // A table comes to be; its name is taken; each zone holds a replica of each partition.
    let table = create(a, spec("music", 4, &[])).await;
    assert!(matches!(
        b.memds.create_table(spec("music", 1, &[])).await,
        Err(CatalogError::Exists(_))
    ));
    for bad in [spec("no", 1, &[]), spec("fine", 0, &[]), spec("fine", 1, &["nowhere"])] {
        assert!(matches!(a.memds.create_table(bad).await, Err(CatalogError::Invalid(_))));
    }
    assert_eq!(table.partitions, 4);
    for node in [a, b, c] {
        node.memds.wait_active(table.id, soon()).await.unwrap();
        assert_eq!(node.memds.table_by_name("music").unwrap().id, table.id);
        let partitions = node.memds.partitions(table.id);
        assert_eq!(partitions.len(), 4);
        for partition in partitions {
            let zones: BTreeSet<NodeId> = partition.replicas.iter().copied().collect();
            assert_eq!(zones.len(), 3);
            assert!(node.host.group(partition.group).is_some());
        }
    }

    // Whoever asks, the leader answers.
    for n in 0..60 {
        write([a, b, c][n as usize % 3], &table, n, "first").await;
    }
    for n in 0..60 {
        let asked = [b, c, a][n as usize % 3];
        assert_eq!(content(asked, &table, n, true).await.as_deref(), Some("first"));
    }
    until("eventual reads see it everywhere", async || {
        let mut all = true;
        for node in [a, b, c] {
            all &= content(node, &table, 7, false).await.as_deref() == Some("first");
        }
        all
    })
    .await;
    assert_eq!(content(a, &table, 99, true).await, None);

    // Walks cross partitions in both directions, in pages of any size.
    let all = walk(a, &table, false, 0).await;
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 60);
    let mut backwards = walk(b, &table, true, 7).await;
    backwards.reverse();
    assert_eq!(all, backwards);
    assert_eq!(all, walk(c, &table, false, 1).await);

    // Everything stops, everything starts: it is all there.
    let other = create(c, spec("other", 2, &[])).await;
    for node in nodes {
        node.stop().await;
    }
    let nodes = cluster.ready().await;
    let [a, b, c] = &nodes[..] else { panic!() };
    for n in 0..60 {
        assert_eq!(content(b, &table, n, true).await.as_deref(), Some("first"));
    }

    // A deleted table leaves no row, no replica, and its name free.
    c.memds.delete_table("music").await.unwrap();
    assert!(matches!(a.memds.delete_table("nothing").await, Err(CatalogError::NotFound(_))));
    until("every trace of the table is gone", async || {
        let groups = nodes.iter().flat_map(|node| node.host.groups());
        groups.filter(|group| group.table == table.id).count() == 0
            && nodes.iter().all(|node| node.memds.table(table.id).is_none())
            && a.memds.system_list("dropped").await.unwrap().is_empty()
            && a.memds.system_list("name").await.unwrap().len() == 1
    })
    .await;
    let gone = a.routed.read(&table, &key(1), true, soon()).await;
    assert!(matches!(gone, Err(RouteError::NoTable)));
    let again = create(b, spec("music", 1, &[])).await;
    assert_ne!(again.id, table.id);
    assert_eq!(content(b, &again, 1, true).await, None);
    assert_eq!(a.memds.table(other.id).unwrap().status, TableStatus::Active);
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_less_is_a_pause_and_an_emptied_disk_is_refused() {
    let cluster = Cluster::new(&["here"], 1);
    let mut nodes = cluster.ready().await;
    let table = create(&nodes[0], spec("music", 3, &[])).await;
    for n in 0..20 {
        write(&nodes[0], &table, n, "before").await;
    }

    // The system group's leader goes, without a word.
    let leader = nodes.iter().position(|node| node.memds.is_system_leader()).unwrap();
    let lost = nodes.remove(leader);
    lost.net.shutdown().await;
    for n in 0..20 {
        write(&nodes[(n % 2) as usize], &table, n, "during").await;
    }
    let more = create(&nodes[0], spec("more", 1, &[])).await;
    write(&nodes[1], &more, 1, "new").await;

    // Its disk is emptied: it must not come back as the voter it was.
    let (id, zone) = (lost.id, lost.zone);
    lost.stop().await;
    std::fs::remove_dir_all(cluster.folder(id)).unwrap();
    let net = cluster.net(RegionId(1), id, zone).await;
    let mut addresses: Vec<_> =
        nodes.iter().map(|node| (node.id, node.net.local_addr().to_string())).collect();
    addresses.push((id, net.local_addr().to_string()));
    let refused = cluster.node(RegionId(1), id, zone, net, &addresses).await;
    match refused {
        Err(MemdsError::AlreadyFounded { applied, .. }) => assert!(applied > 0),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("an emptied founding voter was let in"),
    }
    for n in 0..20 {
        let read = content(&nodes[0], &table, n, true).await;
        assert_eq!(read.as_deref(), Some("during"));
    }
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_and_leases_have_one_winner() {
    let cluster = Cluster::new(&["here"], 1);
    let nodes = cluster.ready().await;
    let [a, b, c] = &nodes[..] else { panic!() };

    // Rows: of two writers with the same expectation one wins.
    let stamp = a.memds.system_put("checkpoint", "x", b"1".to_vec(), Expect::Absent).await.unwrap();
    let taken = b.memds.system_put("checkpoint", "x", b"2".to_vec(), Expect::Absent).await;
    assert!(matches!(taken, Err(MemdsError::Conflict { .. })));
    let (value, seen) = b.memds.system_get("checkpoint", "x").await.unwrap().unwrap();
    assert_eq!((&value[..], seen), (&b"1"[..], stamp));
    let next =
        b.memds.system_put("checkpoint", "x", b"3".to_vec(), Expect::Stamp(seen)).await.unwrap();
    assert!(next > stamp);
    let late = a.memds.system_put("checkpoint", "x", b"4".to_vec(), Expect::Stamp(seen)).await;
    assert!(matches!(late, Err(MemdsError::Conflict { .. })));
    c.memds.system_put("checkpoint", "y", b"5".to_vec(), Expect::Any).await.unwrap();
    let listed = c.memds.system_list("checkpoint").await.unwrap();
    assert_eq!(listed, [("x".into(), b"3".to_vec()), ("y".into(), b"5".to_vec())]);
    a.memds.system_delete("checkpoint", "x", Expect::Stamp(next)).await.unwrap();
    assert!(a.memds.system_get("checkpoint", "x").await.unwrap().is_none());

    // Leases: one holder; another takes over when it is released, or when the holder is silent.
    let ttl = Duration::from_millis(1500);
    let first = a.memds.lease("link", ttl).await.unwrap().unwrap();
    assert!(a.memds.lease("link", ttl).await.unwrap().is_none());
    assert!(b.memds.lease("link", ttl).await.unwrap().is_none());
    let renewed = Instant::now() + ttl * 2;
    while Instant::now() < renewed {
        assert!(first.held());
        assert!(b.memds.lease("link", ttl).await.unwrap().is_none());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let fence = first.fence();
    first.release().await;
    let second = b.memds.lease("link", ttl).await.unwrap().unwrap();
    assert!(second.fence() > fence);
    b.net.faults().cut(RegionId(1), Some("b".into()));
    let mut third = None;
    until("a silent holder's lease is taken over", async || {
        third = c.memds.lease("link", ttl).await.unwrap();
        assert!(third.is_none() || !second.held(), "two holders at once");
        third.is_some()
    })
    .await;
    second.lost().await;
    assert!(third.unwrap().fence() > second.fence());
    b.net.faults().heal();
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_global_table_is_there_in_all_its_regions_or_on_its_way() {
    let cluster = Cluster::new(&["east", "west"], 1);
    let nodes = cluster.ready().await;
    let (east, west) = nodes.split_at(3);
    let created = create(&east[1], spec("music", 2, &["west"])).await;
    assert_eq!(created.region_names, ["east", "west"]);
    until("the other region has it", async || {
        west[2].memds.table(created.id).is_some_and(|t| t.status == TableStatus::Active)
    })
    .await;
    let copy = west[2].memds.table_by_name("music").unwrap();
    assert_eq!(
        (copy.secret, copy.origin, &copy.regions),
        (created.secret, RegionId(1), &created.regions)
    );
    write(&west[0], &copy, 1, "western").await;

    // A name the other region uses is refused, and nothing is left of the attempt.
    create(&west[0], spec("mine", 1, &[])).await;
    let refused = east[0].memds.create_table(spec("mine", 1, &["west"])).await;
    assert!(matches!(refused, Err(CatalogError::Invalid(_))), "{refused:?}");
    until("the refused table is gone", async || east[0].memds.table_by_name("mine").is_none())
        .await;

    // Out of reach: the table is created when the regions meet again.
    for node in &nodes {
        node.net.faults().cut(RegionId(2), None);
    }
    let pending = east[0].memds.create_table(spec("later", 1, &["west"])).await.unwrap();
    assert_eq!(pending.status, TableStatus::Creating);
    let waited =
        east[0].memds.wait_active(pending.id, Instant::now() + Duration::from_secs(1)).await;
    assert!(matches!(waited, Err(CatalogError::NotActiveInTime(_))));
    for node in &nodes {
        node.net.faults().heal();
    }
    east[0].memds.wait_active(pending.id, soon()).await.unwrap();
    until("the west has it", async || west[1].memds.table_by_name("later").is_some()).await;

    // Deleted in one, gone in both.
    west[0].memds.delete_table("music").await.unwrap();
    until("gone in both", async || nodes.iter().all(|node| node.memds.table(created.id).is_none()))
        .await;
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_node_leads_nothing_also_after_a_restart() {
    let cluster = Cluster::new(&["here"], 1);
    let nodes = cluster.ready().await;
    let table = create(&nodes[0], spec("music", 6, &[])).await;
    let drained = nodes[1].memds.node().id;
    nodes[0].memds.drain(drained, true).await.unwrap();
    let leads = |node: &cluster::Node| node.host.groups().iter().any(|group| group.is_leader);
    until("it leads nothing", async || !leads(&nodes[1])).await;
    for n in 0..12 {
        write(&nodes[1], &table, n, "while drained").await;
    }
    for node in nodes {
        node.stop().await;
    }
    let nodes = cluster.ready().await;
    until("it is told again and leads nothing", async || {
        nodes[1].memds.drained().contains(&drained) && !leads(&nodes[1])
    })
    .await;
    for n in 0..12 {
        assert!(content(&nodes[1], &table, n, true).await.is_some());
    }
    nodes[2].memds.drain(drained, false).await.unwrap();
    until("everybody knows", async || nodes.iter().all(|n| n.memds.drained().is_empty())).await;
    for node in nodes {
        node.stop().await;
    }
}
