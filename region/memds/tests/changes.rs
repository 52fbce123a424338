//! Tables that change, and credentials: each test is a story of one cluster.

mod cluster;

use std::collections::BTreeMap;

use cluster::{Cluster, Node, content, create, soon, spec, until, write};
use tombolo_item::{RegionId, StreamView, TableId};
use tombolo_memds::{
    BillingMode, CatalogError, Credential, MemdsError, Provisioned, TableChange, TableStatus,
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
