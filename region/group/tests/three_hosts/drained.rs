//! A node that is drained leads nothing, and takes leadership again when it no longer is.

use super::*;

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(90), "waited in vain until {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

fn led(cluster: &Cluster, id: u64) -> usize {
    cluster.host(id).groups().iter().filter(|group| group.is_leader).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_node_gives_everything_away_and_gets_its_share_back() {
    let mut cluster = Cluster::start(|_| {}).await;
    let groups: Vec<GroupId> = (16..22).map(GroupId).collect();
    for group in &groups {
        cluster.create(*group).await;
    }
    until("every node leads its share", || (1..=3).all(|id| led(&cluster, id) == 2)).await;

    cluster.host(2).set_drained(true);
    until("it leads nothing", || led(&cluster, 2) == 0).await;
    for group in &groups {
        cluster.write(cluster.put(*group, "a", "drained")).await;
    }
    // Another one stops: what it led does not come to the drained one.
    cluster.host(1).hand_over_all().await;
    until("the third leads all", || led(&cluster, 3) == 6).await;
    cluster.kill(1).await;
    cluster.start_node(1).await;

    cluster.host(2).set_drained(false);
    until("each has its share again", || (1..=3).all(|id| led(&cluster, id) == 2)).await;
    for group in &groups {
        let item = cluster.read(*group, "a").await;
        assert_eq!(value_of(item).as_deref(), Some("drained"));
    }
    cluster.stop().await;
}
