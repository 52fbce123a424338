//! Which links run on this node. For each replicated table and each other region of it there is one
//! lease in the system group, `link/<table>/<source region>`, covering all shards of the source; its
//! holder runs the link. Every node tries, each in its own order of preference, so that links spread
//! over the nodes and find another holder when one dies.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tombolo_group::{Host, Net, Peer, ServiceId};
use tombolo_item::{NodeId, RegionId, TableId};
use tombolo_memds::{LeaseGuard, Memds, RegionConfig, Routed, TableInfo, TableStatus};

use crate::checkpoint::{CHECKPOINT_KIND, checkpoint_id};
use crate::error::LinkError;
use crate::inlet::{InletSettings, InletTask, Weather};
use crate::link::{Inlet, Link, LinkName};
use crate::serve::LinkService;
use crate::settings::LinkSettings;
use crate::source::RegionSource;
use crate::target::RegionTarget;
use crate::verify::{VerifyDeps, VerifyService};
use crate::{metrics, purge};

/// How long a node waits for each node that should have a link rather than itself.
const RANK_PAUSE: Duration = Duration::from_millis(700);
/// How often a free lease is looked for.
const LEASE_EVERY: Duration = Duration::from_secs(2);
const RESTART_PAUSE: Duration = Duration::from_millis(500);
const RELEASE_PATIENCE: Duration = Duration::from_secs(2);
const RECORDS_BETWEEN: usize = 1_024;

#[derive(Clone)]
struct Deps {
    settings: LinkSettings,
    host: Host,
    memds: Memds,
    routed: Routed,
    net: Net,
}

/// Serves links and verifications of other nodes, runs the links this node holds, and purges the
/// tombstones of the groups it leads. Every node runs it. Returns once `shutdown` says true; then
/// every lease it held is released.
pub async fn run(
    settings: LinkSettings,
    host: Host,
    memds: Memds,
    routed: Routed,
    net: Net,
    mut shutdown: watch::Receiver<bool>,
) -> Result<(), LinkError> {
    metrics::declare();
    let here = memds.node().region;
    for region in memds.regions() {
        for (node, addr, zone) in &region.nodes {
            net.learn(Peer {
                node: *node,
                region: region.id,
                zone: zone.clone(),
                addr: addr.clone(),
            });
        }
    }
    net.serve(ServiceId::Link, Arc::new(LinkService { host: host.clone(), memds: memds.clone() }));
    let verify = VerifyDeps { host: host.clone(), memds: memds.clone(), net: net.clone() };
    net.serve(ServiceId::Verify, Arc::new(VerifyService::new(verify)));

    let deps = Deps { settings, host, memds, routed, net };
    let mut purging = JoinSet::new();
    purging.spawn(purge::run(deps.settings.clone(), deps.host.clone(), deps.memds.clone(), here));
    let mut changed = deps.memds.changed();
    let mut links: JoinSet<()> = JoinSet::new();
    let mut running: BTreeMap<(TableId, RegionId), AbortHandle> = BTreeMap::new();
    while !*shutdown.borrow_and_update() {
        reconcile(&deps, here, &shutdown, &mut links, &mut running);
        tokio::select! {
            _ = shutdown.changed() => {}
            Ok(()) = changed.changed() => {}
            Some(_) = links.join_next() => {}
        }
        if shutdown.has_changed().is_err() {
            break; // whoever would tell us to stop is gone
        }
    }
    // Each link hears the same shutdown, ends, and releases its lease.
    while links.join_next().await.is_some() {}
    Ok(())
}

/// Starts a supervisor for each link there should be, and ends those of tables that went.
fn reconcile(
    deps: &Deps,
    here: RegionId,
    shutdown: &watch::Receiver<bool>,
    links: &mut JoinSet<()>,
    running: &mut BTreeMap<(TableId, RegionId), AbortHandle>,
) {
    let mut wanted = BTreeMap::new();
    for table in deps.memds.tables() {
        if table.status != TableStatus::Active || !table.regions.contains(&here) {
            continue;
        }
        for region in deps.memds.regions() {
            if region.id != here && table.regions.contains(&region.id) {
                wanted.insert((table.id, region.id), (table.clone(), region.clone()));
            }
        }
    }
    running.retain(|id, handle| {
        let wanted = wanted.contains_key(id);
        if !wanted {
            handle.abort();
            forget(deps, *id, links);
        }
        wanted && !handle.is_finished()
    });
    for (id, (table, region)) in wanted {
        running.entry(id).or_insert_with(|| {
            links.spawn(supervise(deps.clone(), here, table, region, shutdown.clone()))
        });
    }
}

/// The checkpoint of a table that was deleted goes too; ids are never reused.
fn forget(deps: &Deps, (table, from): (TableId, RegionId), links: &mut JoinSet<()>) {
    if deps.memds.table(table).is_some_and(|table| table.status != TableStatus::Deleting) {
        return;
    }
    let memds = deps.memds.clone();
    links.spawn(async move {
        let id = checkpoint_id(table, from);
        let any = tombolo_memds::Expect::Any;
        if let Err(error) = memds.system_delete(CHECKPOINT_KIND, &id, any).await {
            tracing::debug!(%table, %from, %error, "the checkpoint of a deleted table stays");
        }
    });
}

/// This node's place in the order in which nodes should take the link: 0 is first.
fn rank(name: &str, me: NodeId, nodes: impl IntoIterator<Item = NodeId>) -> u32 {
    let weight = |node: NodeId| {
        let mut hasher = DefaultHasher::new();
        (name, node.0).hash(&mut hasher);
        (hasher.finish(), node)
    };
    let mine = weight(me);
    nodes.into_iter().filter(|node| *node != me && weight(*node) > mine).count() as u32
}

/// Takes the lease when it is free and runs the link for as long as it is held.
async fn supervise(
    deps: Deps,
    here: RegionId,
    table: Arc<TableInfo>,
    region: RegionConfig,
    mut shutdown: watch::Receiver<bool>,
) {
    let name = format!("link/{}/{}", table.id, region.id);
    let me = deps.memds.node().id;
    let place = || {
        let nodes = deps.memds.nodes();
        RANK_PAUSE * rank(&name, me, nodes.iter().filter(|n| n.region == here).map(|n| n.id))
    };
    let mut pause = place();
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = until(&mut shutdown) => return,
        }
        pause = LEASE_EVERY + place();
        let lease = match deps.memds.lease(&name, deps.settings.lease()).await {
            Ok(Some(lease)) => lease,
            Ok(None) => continue,
            Err(error) => {
                tracing::debug!(%name, %error, "cannot ask for the lease of a link");
                continue;
            }
        };
        tracing::info!(table = %table.id, from = %region.name, "this node runs the link");
        while lease.held() && !*shutdown.borrow() {
            match hold(&deps, here, &table, &region, &lease, shutdown.clone()).await {
                Ok(()) => break,
                Err(error) => {
                    tracing::warn!(table = %table.id, from = %region.name, %error, "link restarts");
                    tokio::time::sleep(RESTART_PAUSE).await;
                }
            }
        }
        // A system group that is away does not keep this node from stopping: leases run out.
        if tokio::time::timeout(RELEASE_PATIENCE, lease.release()).await.is_err() {
            tracing::debug!(%name, "the lease was not released; it runs out");
        }
        if *shutdown.borrow() {
            return;
        }
    }
}

async fn until(shutdown: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone: that is a shutdown too.
    let _ = shutdown.wait_for(|stop| *stop).await;
}

/// One life of a link, under its lease.
async fn hold(
    deps: &Deps,
    here: RegionId,
    table: &Arc<TableInfo>,
    region: &RegionConfig,
    lease: &LeaseGuard,
    mut shutdown: watch::Receiver<bool>,
) -> Result<(), LinkError> {
    let nodes: Vec<NodeId> = region.nodes.iter().map(|node| node.0).collect();
    let source = RegionSource::new(deps.net.clone(), here, region.id, nodes, table.id);
    let target = RegionTarget {
        memds: deps.memds.clone(),
        routed: deps.routed.clone(),
        table: table.clone(),
        from: region.id,
        elsewhere: table
            .regions
            .iter()
            .copied()
            .filter(|other| *other != here && *other != region.id)
            .collect(),
        settings: deps.settings.clone(),
    };
    let here_name = deps
        .memds
        .regions()
        .iter()
        .find(|known| known.id == here)
        .map_or_else(|| here.to_string(), |known| known.name.clone());
    let name = LinkName {
        table: table.id,
        from: region.id,
        from_name: region.name.clone(),
        to_name: here_name,
    };
    let fetch = Arc::new(source.clone());
    let link =
        Link::resume(name, deps.settings.clone(), Arc::new(source), Arc::new(target)).await?;
    let (records, arrivals) = mpsc::channel(RECORDS_BETWEEN);
    let (asks, asked) = mpsc::unbounded_channel();
    let (weather, weather_seen) = watch::channel(weather(&deps.net, region.id));
    let reader = InletTask {
        settings: InletSettings {
            nats_url: region.nats.clone(),
            region_name: region.name.clone(),
            table: table.id,
            name: format!("tombolo link of region {here}"),
            behind: deps.settings.behind(),
        },
        fetch,
        weather: weather_seen,
        positions: link.positions(),
        asks: asked,
        out: records,
    };
    let mut reading = JoinSet::new();
    reading.spawn(reader.run());
    reading.spawn(watch_weather(deps.net.clone(), region.id, weather));
    link.run(Inlet { arrivals, asks }, async move {
        tokio::select! {
            () = lease.lost() => {}
            () = until(&mut shutdown) => {}
        }
    })
    .await
}

fn weather(net: &Net, from: RegionId) -> Weather {
    let faults = net.faults();
    // A broker is in its region and in none of its zones.
    Weather {
        cut: faults.severed(from, ""),
        delay: faults.delay_to(from).unwrap_or(Duration::ZERO),
    }
}

async fn watch_weather(net: Net, from: RegionId, out: watch::Sender<Weather>) {
    let mut changed = net.faults().changed();
    loop {
        let now = weather(&net, from);
        out.send_if_modified(|known| {
            let differs = *known != now;
            *known = now;
            differs
        });
        if changed.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_spread_over_the_nodes_and_every_node_has_its_place() {
        let nodes: Vec<NodeId> = (1..=3).map(NodeId).collect();
        let mut first = BTreeMap::<NodeId, u32>::new();
        for table in 0..300 {
            let name = format!("link/{table}/2");
            let mut ranks: Vec<u32> =
                nodes.iter().map(|me| rank(&name, *me, nodes.iter().copied())).collect();
            for (node, rank) in nodes.iter().zip(&ranks) {
                if *rank == 0 {
                    *first.entry(*node).or_default() += 1;
                }
            }
            ranks.sort_unstable();
            assert_eq!(ranks, [0, 1, 2]);
        }
        assert!(first.values().all(|links| *links > 60), "{first:?}");
    }
}
