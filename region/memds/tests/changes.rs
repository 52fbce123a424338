//! Tables that change, and credentials: each test is a story of one cluster.

mod cluster;

use std::collections::BTreeMap;

use cluster::{Cluster, Node, content, create, key, soon, spec, until, write};
use tombolo_group::{ConflictRow, Loser, WriteOp};
use tombolo_item::table::{IndexName, IndexProjection, LocalIndex};
use tombolo_item::{KeyAttribute, KeyRange, KeyType, RegionId, RowKey, StreamView, TableId};
use tombolo_memds::{
    BillingMode, CatalogError, Credential, MemdsError, Provisioned, TableChange, TableSettings,
    TableSpec, TableStatus, Walk,
};

fn rejected<T: std::fmt::Debug>(result: Result<T, CatalogError>) -> String {
    match result {
        Err(CatalogError::Rejected(text)) => text,
        other => panic!("{other:?}"),
    }
}

/// What the groups of a table know, as far as this node has copies.
fn configs(node: &Node, table: TableId) -> Vec<(Option<StreamView>, Vec<RegionId>, bool)> {
    let groups = node.host.groups().into_iter().filter(|group| group.table == table);
    let partitions = groups.filter_map(|group| node.host.partition(group.group));
    let configs = partitions.filter_map(|partition| partition.state().config.clone());
    configs.map(|config| (config.view, config.regions, config.keep_log)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_changes_while_it_is_served() {
    let cluster = Cluster::new(&["here"], 2);
    let nodes = cluster.ready().await;
    let (first, last) = (&nodes[0], &nodes[5]);
    let table = create(first, spec("music", 3, &[])).await;
    write(last, &table, 1, "before").await;

    // The stream comes on: every group logs for it, on every copy, and the table stays ACTIVE.
    let view = Some(StreamView::NewAndOldImages);
    let on = TableChange { stream: Some(view), ..Default::default() };
    let changed = last.memds.update_table("music", on.clone()).await.unwrap();
    assert_eq!((changed.view, changed.status), (view, TableStatus::Active));
    let label = changed.stream_label().unwrap();
    until("all copies follow", async || {
        let mut all = nodes.iter().flat_map(|node| configs(node, table.id));
        all.all(|config| config == (view, vec![RegionId(1)], true))
    })
    .await;
    write(first, &changed, 2, "during").await;
    let twice = first.memds.update_table("music", on).await;
    assert!(rejected(twice).starts_with("Table already has an enabled stream"));
    let off = TableChange { stream: Some(None), ..Default::default() };
    let changed = first.memds.update_table("music", off).await.unwrap();
    assert_eq!((changed.view, changed.stream_label()), (None, Some(label)));
    until("all copies follow", async || {
        let mut all = nodes.iter().flat_map(|node| configs(node, table.id));
        all.all(|config| config == (None, vec![RegionId(1)], false))
    })
    .await;
    assert_eq!(content(last, &changed, 1, true).await.as_deref(), Some("before"));
    assert_eq!(content(last, &changed, 2, true).await.as_deref(), Some("during"));

    // Capacity, tags, protection: every node knows them.
    let change = TableChange {
        billing_mode: Some(BillingMode::Provisioned),
        provisioned: Some(Provisioned { read: 5, write: 6 }),
        deletion_protection: Some(true),
        ..Default::default()
    };
    first.memds.update_table("music", change).await.unwrap();
    let tags = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    };
    last.memds.tag("music", tags(&[("a", "1"), ("b", "2")])).await.unwrap();
    first.memds.untag("music", &["b".to_owned(), "c".to_owned()]).await.unwrap();
    until("every node knows", async || {
        nodes.iter().all(|node| {
            let settings = &node.memds.table(table.id).unwrap().settings;
            settings.tags == tags(&[("a", "1")])
                && settings.provisioned == Some(Provisioned { read: 5, write: 6 })
        })
    })
    .await;
    let many = (0..50).map(|n| (format!("tag {n}"), String::new())).collect();
    assert!(rejected(first.memds.tag("music", many).await).contains("at most 50"));
    let refused = rejected(last.memds.delete_table("music").await);
    assert!(refused.contains("protected against deletion"), "{refused}");
    let open = TableChange { deletion_protection: Some(false), ..Default::default() };
    last.memds.update_table("music", open.clone()).await.unwrap();
    last.memds.delete_table("music").await.unwrap();
    let gone = first.memds.update_table("music", open).await;
    assert!(matches!(gone, Err(CatalogError::NotFound(_) | CatalogError::InUse { .. })));
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_is_read_by_its_index_and_lists_its_lost_writes() {
    let cluster = Cluster::new(&["here"], 1);
    let nodes = cluster.ready().await;
    let index = |name: &str| LocalIndex {
        name: IndexName::new(name).unwrap(),
        sort: KeyAttribute { name: "content".into(), kind: KeyType::S },
        projection: IndexProjection::All,
    };
    let with = |indexes: Vec<LocalIndex>| {
        let settings = TableSettings { local_indexes: indexes, ..Default::default() };
        TableSpec { settings, ..spec("music", 3, &[]) }
    };
    let six = ["one", "two", "three", "four", "five", "six"].map(index).to_vec();
    for bad in [with(vec![index("one"), index("one")]), with(six)] {
        let refused = nodes[0].memds.create_table(bad).await;
        assert!(matches!(refused, Err(CatalogError::Invalid(_))), "{refused:?}");
    }
    let table = create(&nodes[0], with(vec![index("by-content")])).await;
    for n in 0..20 {
        write(&nodes[n as usize % 3], &table, n, &format!("content {}", 99 - n)).await;
    }
    // All of the index, over all partitions, in both directions and in small pages.
    for reverse in [false, true] {
        let (mut found, mut range) = (Vec::new(), KeyRange::full());
        loop {
            let (index, limit, strong) = (Some(0), 3, true);
            let walk = Walk { range: range.clone(), index, reverse, limit, max_bytes: 0, strong };
            let page = nodes[1].routed.walk(&table, walk, soon()).await.unwrap();
            found.extend(page.items.iter().map(|(key, _)| key.clone()));
            match page.items.last() {
                Some((last, _)) if page.more && reverse => range.end = Some(last.clone()),
                Some((last, _)) if page.more => range.start = last.successor(),
                _ => break,
            }
        }
        assert_eq!(found.len(), 20);
        let ordered = |pair: &[RowKey]| if reverse { pair[0] > pair[1] } else { pair[0] < pair[1] };
        assert!(found.windows(2).all(ordered));
    }

    // A change of another region loses against what is here: it is in the list.
    let old = tombolo_item::ChangeRecord {
        table: table.id,
        shard: tombolo_item::Shard { group: tombolo_item::GroupId(99), epoch: 1 },
        seq: 1,
        stamp: tombolo_item::Stamp { hlc: tombolo_item::Hlc(5), region: RegionId(2), seq: 1 },
        replaced: None,
        closed: tombolo_item::Hlc(5),
        origin: RegionId(2),
        cause: tombolo_item::Cause::User,
        kind: tombolo_item::ChangeKind::Remove,
        transaction: None,
        key: key(7),
        row_key: table.schema.row_key(&table.secret, &key(7)).unwrap(),
        new: None,
        old: None,
        eval_term: 1,
        prev_hash: 0,
        merge_state: Default::default(),
        ext: Default::default(),
    };
    let merge = WriteOp::Merge { change: old.encode() };
    nodes[0].routed.write(&table, key(7), merge, soon()).await.unwrap();
    let lost = nodes[2].routed.conflicts(&table, KeyRange::full(), 0, soon()).await.unwrap();
    let rows: Vec<ConflictRow> =
        lost.rows.iter().map(|(_, row)| ConflictRow::decode(row).unwrap()).collect();
    assert_eq!(
        (rows.len(), lost.rows[0].0.clone()),
        (1, ConflictRow::key(&old.row_key, &old.stamp))
    );
    assert_eq!((rows[0].loser.stamp, rows[0].loser_is), (old.stamp, Loser::Remote));
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_are_known_everywhere_and_stay_revoked() {
    let cluster = Cluster::new(&["here"], 2);
    let nodes = cluster.ready().await;
    let credential = |key: &str, name: &str| Credential {
        access_key: key.into(),
        name: name.into(),
        created_ms: 5,
        revoked_ms: None,
        sealed_secret: vec![1, 2, 3],
    };
    nodes[0].memds.put_credential(credential("AKIA1", "ann")).await.unwrap();
    nodes[5].memds.put_credential(credential("AKIA2", "ben")).await.unwrap();
    let taken = nodes[1].memds.put_credential(credential("AKIA1", "eve")).await;
    assert!(matches!(taken, Err(MemdsError::Conflict { .. })));
    until("every node knows both", async || {
        let known = |node: &Node| node.memds.credentials().len() == 2;
        nodes.iter().all(known)
    })
    .await;
    for node in &nodes {
        assert_eq!(*node.memds.credential("AKIA1").unwrap(), credential("AKIA1", "ann"));
    }

    assert!(nodes[4].memds.revoke_credential("AKIA1").await.unwrap());
    assert!(!nodes[4].memds.revoke_credential("AKIA3").await.unwrap());
    let revoked = |node: &Node| node.memds.credential("AKIA1").unwrap().revoked_ms;
    assert!(revoked(&nodes[4]).is_some(), "who revoked it refuses it at once");
    until("every node refuses it", async || nodes.iter().all(|n| revoked(n).is_some())).await;
    let first = revoked(&nodes[0]);
    assert!(nodes[0].memds.revoke_credential("AKIA1").await.unwrap());
    let again = nodes[0].memds.put_credential(credential("AKIA1", "eve")).await;
    assert!(matches!(again, Err(MemdsError::Conflict { .. })), "a key is not given twice");
    assert_eq!(revoked(&nodes[0]), first);

    for node in nodes {
        node.stop().await;
    }
    let nodes = cluster.ready().await;
    until("known after a restart", async || nodes.iter().all(|n| n.memds.credentials().len() == 2))
        .await;
    assert_eq!(revoked(&nodes[3]), first);
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn regions_join_what_was_never_written_and_leave() {
    let cluster = Cluster::new(&["east", "west"], 1);
    let nodes = cluster.ready().await;
    let (east, west) = nodes.split_at(3);
    let join = TableChange { add_regions: vec!["west".into()], ..Default::default() };

    // What was written stays where it is, and goes on being written.
    let table = create(&east[0], spec("full", 2, &[])).await;
    write(&east[0], &table, 1, "one").await;
    let refused = rejected(east[1].memds.update_table("full", join.clone()).await);
    assert!(refused.contains("not supported yet"), "{refused}");
    until("its groups are as before", async || {
        let mut all = east.iter().flat_map(|node| configs(node, table.id));
        all.all(|config| config == (None, vec![RegionId(1)], false))
    })
    .await;
    write(&east[2], &table, 2, "two").await;

    // What was never written becomes a global table.
    let table = create(&east[0], spec("music", 2, &[])).await;
    let joined = east[1].memds.update_table("music", join.clone()).await.unwrap();
    assert_eq!(
        (joined.status, &joined.region_names[..]),
        (TableStatus::Active, &["east".to_owned(), "west".to_owned()][..])
    );
    until("the other region has it", async || {
        let there = west[2].memds.table(table.id);
        there.is_some_and(|there| there.status == TableStatus::Active && there.regions.len() == 2)
    })
    .await;
    let both = vec![RegionId(1), RegionId(2)];
    until("all groups know both", async || {
        let mut all = nodes.iter().flat_map(|node| configs(node, table.id));
        all.all(|config| config == (None, both.clone(), true))
    })
    .await;
    let copy = west[0].memds.table(table.id).unwrap();
    assert_eq!((copy.secret, copy.created_ms), (table.secret, table.created_ms));
    write(&west[1], &copy, 1, "western").await;
    assert!(rejected(east[0].memds.update_table("music", join).await).contains("already exists"));

    // A change in one is a change in both; the newest stays, also after the regions were apart.
    let view = |view| TableChange { stream: Some(view), ..Default::default() };
    west[0].memds.update_table("music", view(Some(StreamView::KeysOnly))).await.unwrap();
    until("the east follows", async || {
        let mut all = nodes.iter().flat_map(|node| configs(node, table.id));
        all.all(|config| config == (Some(StreamView::KeysOnly), both.clone(), true))
    })
    .await;
    for node in &nodes {
        node.net.faults().cut(RegionId(2), None);
    }
    let off = east[0].memds.update_table("music", view(None)).await.unwrap();
    assert_eq!(off.view, None);
    for node in &nodes {
        node.net.faults().heal();
    }
    until("the west hears of it later", async || {
        let mut all = west.iter().flat_map(|node| configs(node, table.id));
        all.all(|config| config.0.is_none())
    })
    .await;

    // A region leaves: its copy goes, the other one stays.
    let own = TableChange { remove_regions: vec!["west".into()], ..Default::default() };
    let itself = west[0].memds.update_table("music", own.clone()).await;
    assert!(rejected(itself).contains("cannot remove itself"));
    let left = east[2].memds.update_table("music", own).await.unwrap();
    assert_eq!(left.regions, [RegionId(1)]);
    until("the copy is gone", async || west.iter().all(|n| n.memds.table(table.id).is_none()))
        .await;
    write(&east[0], &left, 5, "alone").await;
    assert_eq!(content(&east[1], &left, 5, true).await.as_deref(), Some("alone"));
    let deadline = soon();
    east[1].memds.wait_active(table.id, deadline).await.unwrap();
    for node in nodes {
        node.stop().await;
    }
}
