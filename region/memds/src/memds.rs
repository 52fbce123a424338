//! The handle: what this node knows of its region, and the tasks that keep it known.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tombolo_group::{Descriptor, GroupSpec, Host, Net, Peer, ServiceId};
use tombolo_item::{KeyRange, NodeId, RegionId, RowKey, Stamp, TableId};

use crate::directory::{Directory, Slot, TableEntry};
use crate::error::{CatalogError, MemdsError};
use crate::founding::{self, ASK_INTERVAL, Verdict};
use crate::identity::Identity;
use crate::lease::Leases;
use crate::model::{MemdsSettings, NodeInfo, RegionConfig, TableInfo, TableStatus};
use crate::rows::{
    NodeRow, Row, SYSTEM_EPOCH, SYSTEM_GROUP, SYSTEM_SECRET, SYSTEM_TABLE, system_schema,
};
use crate::service::MemdsService;
use crate::submit::Session;
use crate::system::Held;
use crate::wire::{self, Ask, Founding, Tell};
use crate::{drain, feed, metrics, reconcile};

/// What a system row must be for a write of it to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    Any,
    Absent,
    Stamp(Stamp),
}

/// The metadata service of this node.
#[derive(Clone)]
pub struct Memds(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) settings: MemdsSettings,
    pub(crate) host: Host,
    pub(crate) net: Net,
    pub(crate) disk: uuid::Uuid,
    pub(crate) directory: ArcSwap<Directory>,
    /// Moves with every published directory.
    pub(crate) published: watch::Sender<u64>,
    /// Serialises publishing.
    pub(crate) publishing: Mutex<()>,
    /// The system group itself, for routing to its leader.
    pub(crate) system: Slot,
    pub(crate) session: Arc<Session>,
    pub(crate) founding: founding::State,
    pub(crate) leases: Leases,
    /// Tables that were looked up and are not in the map.
    pub(crate) missed: Mutex<HashSet<TableId>>,
    /// Tables whose trouble the control role has told of.
    pub(crate) told: Mutex<HashMap<TableId, Instant>>,
    /// Told to look again at something without waiting for the next round.
    pub(crate) control_due: Notify,
    pub(crate) stop: watch::Sender<bool>,
}

/// How long a question to another node may take.
pub(crate) const ASK_LIMIT: Duration = Duration::from_secs(2);

impl Memds {
    /// Found or join the region's system group, then keep the map. Returns when the system group
    /// may be asked; its first leader may still be to come (see [`Self::wait_ready`]).
    pub async fn start(settings: MemdsSettings, host: Host, net: Net) -> Result<Memds, MemdsError> {
        check(&settings)?;
        metrics::register();
        let dir = settings.dir.clone();
        let identity = tokio::task::spawn_blocking(move || Identity::open(&dir));
        let mut identity = identity.await.map_err(|error| MemdsError::Settings {
            what: "the data folder",
            reason: error.to_string(),
        })??;
        for region in &settings.regions {
            for (node, addr, zone) in &region.nodes {
                net.learn(Peer {
                    node: *node,
                    region: region.id,
                    zone: zone.clone(),
                    addr: addr.clone(),
                });
            }
        }
        let system = Slot::new(
            None,
            Descriptor {
                group: SYSTEM_GROUP,
                table: SYSTEM_TABLE,
                range: KeyRange::full(),
                epoch: SYSTEM_EPOCH,
                conf_index: 0,
                replicas: settings.system_voters.clone(),
                leader: None,
            },
        );
        let memds = Memds(Arc::new(Inner {
            settings,
            host,
            net: net.clone(),
            disk: identity.disk(),
            directory: ArcSwap::default(),
            published: watch::Sender::new(0),
            publishing: Mutex::new(()),
            system,
            session: Session::new(),
            founding: founding::State::new(),
            leases: Leases::default(),
            missed: Mutex::default(),
            told: Mutex::default(),
            control_due: Notify::new(),
            stop: watch::Sender::new(false),
        }));
        net.serve(ServiceId::Memds, Arc::new(MemdsService(Arc::downgrade(&memds.0))));
        if memds.is_voter() {
            memds.found(&mut identity).await?;
            memds.spawn(feed::follow_replica(memds.clone()));
        } else {
            memds.spawn(feed::follow_peers(memds.clone()));
        }
        memds.spawn(feed::refresh(memds.clone()));
        memds.spawn(reconcile::run(memds.clone()));
        memds.spawn(register(memds.clone()));
        memds.spawn(drain::obey(memds.clone()));
        Ok(memds)
    }

    /// Create this voter's replica of the system group, unless it is there; see [`founding`].
    async fn found(&self, identity: &mut Identity) -> Result<(), MemdsError> {
        let inner = &self.0;
        let me = self.node().id;
        let create = inner.host.group(SYSTEM_GROUP).is_none();
        if create {
            let mut others: BTreeMap<NodeId, Option<Founding>> = inner
                .settings
                .system_voters
                .iter()
                .filter(|voter| **voter != me)
                .map(|voter| (*voter, None))
                .collect();
            let mut stop = inner.stop.subscribe();
            let mut told = Instant::now();
            loop {
                if identity.founding() {
                    inner.founding.set(Founding::Ready);
                }
                match founding::decide(identity.founding(), &others) {
                    Verdict::Create => break,
                    Verdict::BecomeReady => {
                        identity.set_founding()?;
                        continue;
                    }
                    Verdict::Refuse { peer, applied } => {
                        return Err(MemdsError::AlreadyFounded { peer: peer.0, applied });
                    }
                    Verdict::Ask => {}
                }
                let asked = others.keys().map(|voter| async move {
                    (*voter, self.ask(*voter, &Ask::Founding, ASK_LIMIT).await)
                });
                let answers = futures::future::join_all(asked).await;
                for (voter, answer) in answers {
                    if let Ok(Tell::Founding(heard)) = answer {
                        others.insert(voter, Some(heard));
                    }
                }
                if told.elapsed() > Duration::from_secs(5) {
                    told = Instant::now();
                    tracing::info!(?others, "founding the system group needs all its voters");
                }
                if !matches!(founding::decide(identity.founding(), &others), Verdict::Ask) {
                    continue;
                }
                tokio::select! {
                    () = tokio::time::sleep(ASK_INTERVAL) => {}
                    _ = stop.wait_for(|stopped| *stopped) => {
                        return Err(MemdsError::Unreachable {
                            attempt: "founding the system group".into(),
                            reason: "this node is stopping".into(),
                        });
                    }
                }
            }
            tracing::info!("creating this node's replica of the system group");
        }
        let spec = GroupSpec {
            group: SYSTEM_GROUP,
            config: tombolo_group::GroupConfig {
                group: SYSTEM_GROUP,
                table: SYSTEM_TABLE,
                schema: system_schema(),
                secret: SYSTEM_SECRET,
                range: KeyRange::full(),
                epoch: SYSTEM_EPOCH,
                view: None,
                regions: vec![self.node().region],
                parent: None,
                keep_log: false,
                indexes: Vec::new(),
            },
            voters: inner.settings.system_voters.clone(),
        };
        if create {
            inner.host.create(spec).await?;
        }
        let applied = inner.host.group(SYSTEM_GROUP).map_or(0, |status| status.applied);
        inner.founding.set(Founding::Founded { applied });
        Ok(())
    }

    /// A table by its name, as far as this node knows.
    pub fn table_by_name(&self, name: &str) -> Option<Arc<TableInfo>> {
        let directory = self.0.directory.load();
        let entry = directory.by_name(name)?;
        entry.want();
        Some(entry.info.clone())
    }

    pub fn table(&self, id: TableId) -> Option<Arc<TableInfo>> {
        Some(self.entry(id)?.info.clone())
    }

    /// All tables, by name.
    pub fn tables(&self) -> Vec<Arc<TableInfo>> {
        let directory = self.0.directory.load();
        let mut tables: Vec<_> = directory.tables.values().map(|e| e.info.clone()).collect();
        tables.sort_by(|a, b| a.name.cmp(&b.name));
        tables
    }

    /// The partition that owns a row key.
    pub fn locate(&self, table: TableId, key: &RowKey) -> Option<Arc<Descriptor>> {
        Some(self.slot(table, key)?.descriptor())
    }

    /// A table's partitions in the order of their ranges, each with its likely leader.
    pub fn partitions(&self, table: TableId) -> Vec<Arc<Descriptor>> {
        let Some(entry) = self.entry(table) else { return Vec::new() };
        let with_leader = |slot: &Arc<Slot>| {
            let descriptor = slot.descriptor();
            // A copy on this node knows; else what routing learned has to do.
            let known = self.0.host.group(slot.group).and_then(|group| group.leader);
            let leader = known.or_else(|| slot.leader());
            if descriptor.leader == leader {
                return descriptor;
            }
            Arc::new(Descriptor { leader, ..(*descriptor).clone() })
        };
        entry.slots.iter().map(with_leader).collect()
    }

    /// The nodes of this region that have announced themselves.
    pub fn nodes(&self) -> Vec<NodeInfo> {
        self.0.directory.load().nodes.values().map(|row| row.info.clone()).collect()
    }

    /// This node.
    pub fn node(&self) -> &NodeInfo {
        &self.0.settings.node
    }

    /// This node's region, by name.
    pub fn region_name(&self) -> &str {
        &self.0.settings.region_name
    }

    /// All regions of the cluster, from the configuration.
    pub fn regions(&self) -> &[RegionConfig] {
        &self.0.settings.regions
    }

    /// The applied index of the system group that the map was built from.
    pub fn version(&self) -> u64 {
        self.0.directory.load().version
    }

    /// Moves whenever the map does.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.0.published.subscribe()
    }

    /// Whether this node leads the system group, and so has the control role.
    pub fn is_system_leader(&self) -> bool {
        self.0.host.group(SYSTEM_GROUP).is_some_and(|group| group.is_leader && group.serving)
    }

    /// Whether this node is in the map as it is: routing works.
    pub fn is_ready(&self) -> bool {
        let directory = self.0.directory.load();
        let row = directory.nodes.get(&self.node().id);
        row.is_some_and(|row| row.info == *self.node() && row.disk == self.0.disk)
    }

    /// Returns once [`Self::is_ready`].
    pub async fn wait_ready(&self, deadline: Instant) -> Result<(), MemdsError> {
        let mut changed = self.changed();
        let ready = async {
            while !self.is_ready() {
                if changed.changed().await.is_err() {
                    break;
                }
            }
        };
        tokio::time::timeout_at(deadline.into(), ready).await.map_err(|_| MemdsError::Unreachable {
            attempt: "waiting for this node's row in the map".into(),
            reason: "the system group has no leader, or cannot be reached".into(),
        })
    }

    /// Wait until a table and all its copies in other regions can be used.
    pub async fn wait_active(
        &self,
        table: TableId,
        deadline: Instant,
    ) -> Result<Arc<TableInfo>, CatalogError> {
        let mut changed = self.changed();
        let active = async {
            loop {
                match self.table(table) {
                    Some(info) if info.status == TableStatus::Active => return Ok(info),
                    Some(info) if info.status == TableStatus::Deleting => {
                        return Err(CatalogError::NotFound(info.name.clone()));
                    }
                    _ => {}
                }
                if changed.changed().await.is_err() {
                    return Err(CatalogError::NotActiveInTime(table));
                }
            }
        };
        tokio::time::timeout_at(deadline.into(), active)
            .await
            .unwrap_or(Err(CatalogError::NotActiveInTime(table)))
    }

    /// End the tasks of this handle.
    pub async fn shutdown(&self) {
        self.0.stop.send_replace(true);
    }

    pub(crate) fn is_voter(&self) -> bool {
        self.0.settings.system_voters.contains(&self.node().id)
    }

    pub(crate) fn entry(&self, table: TableId) -> Option<Arc<TableEntry>> {
        let directory = self.0.directory.load();
        match directory.tables.get(&table) {
            Some(entry) => {
                entry.want();
                Some(entry.clone())
            }
            None => {
                self.0.missed.lock().insert(table);
                None
            }
        }
    }

    pub(crate) fn slot(&self, table: TableId, key: &RowKey) -> Option<Arc<Slot>> {
        let directory = self.0.directory.load();
        match directory.tables.get(&table) {
            Some(entry) => {
                entry.want();
                entry.slot(key).cloned()
            }
            None => {
                self.0.missed.lock().insert(table);
                None
            }
        }
    }

    pub(crate) fn region(&self, id: RegionId) -> Option<&RegionConfig> {
        self.0.settings.regions.iter().find(|region| region.id == id)
    }

    /// Make a directory of what is there now, and publish it; `None` = no news.
    pub(crate) fn publish(&self, make: impl FnOnce(&Directory) -> Option<Directory>) {
        let inner = &self.0;
        let _publishing = inner.publishing.lock();
        let previous = inner.directory.load();
        let Some(next) = make(&previous) else { return };
        self.learn_addresses(&previous, &next);
        metrics::MAP_VERSION.set(i64::try_from(next.version).unwrap_or(i64::MAX));
        metrics::MAP_TABLES.set(next.tables.len() as i64);
        inner.directory.store(Arc::new(next));
        inner.published.send_modify(|count| *count += 1);
    }

    /// Where nodes are: as configured; else as they announced. A configured node that announces
    /// another address while this node is up to date has moved. Rows of an earlier life, read
    /// before the group has a leader, must not replace the configuration: it is how one is found.
    fn learn_addresses(&self, previous: &Directory, next: &Directory) {
        let me = self.node();
        let up_to_date = self.is_ready();
        let configured = self.region(me.region).map(|region| region.nodes.as_slice());
        for (id, row) in &next.nodes {
            let known = configured.unwrap_or_default().iter().any(|(node, _, _)| node == id);
            let moved = previous
                .nodes
                .get(id)
                .is_some_and(|before| before.info.node_addr != row.info.node_addr);
            if *id != me.id && (!known || up_to_date && moved) {
                self.0.net.learn(Peer {
                    node: *id,
                    region: row.info.region,
                    zone: row.info.zone.clone(),
                    addr: row.info.node_addr.clone(),
                });
            }
        }
    }

    /// Ask another node's (or this node's) metadata service.
    pub(crate) async fn ask(
        &self,
        node: NodeId,
        ask: &Ask,
        limit: Duration,
    ) -> Result<Tell, tombolo_group::CallError> {
        let body = wire::encode(ask);
        let answer = self.0.net.call(node, ServiceId::Memds, body, limit).await?;
        wire::decode(&answer).map_err(tombolo_group::CallError::Refused)
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut stop = self.0.stop.subscribe();
        tokio::spawn(async move {
            tokio::select! {
                () = task => {}
                _ = stop.wait_for(|stopped| *stopped) => {}
            }
        });
    }
}

fn check(settings: &MemdsSettings) -> Result<(), MemdsError> {
    let bad = |what, reason: &str| Err(MemdsError::Settings { what, reason: reason.into() });
    if settings.system_voters.is_empty() {
        return bad("system_voters", "at least one node must found the system group");
    }
    let Some(region) = settings.regions.iter().find(|region| region.id == settings.node.region)
    else {
        return bad("regions", "this node's own region is not among them");
    };
    if region.name != settings.region_name {
        return bad("region_name", "it is not the name of this node's region");
    }
    let known = |voter: &NodeId| region.nodes.iter().any(|(node, _, _)| node == voter);
    if !settings.system_voters.iter().all(known) {
        return bad("system_voters", "each must be a node of this region");
    }
    Ok(())
}

/// Announce this node, until it is in the map as it is.
async fn register(memds: Memds) {
    let me = memds.node().clone();
    let row = NodeRow { info: me.clone(), disk: memds.0.disk };
    let id = me.id.to_string();
    loop {
        let done = async {
            match memds.get_row::<NodeRow>(&id).await? {
                Some((old, _)) if old == row => return Ok(()),
                Some((old, _)) if old.disk != row.disk => tracing::error!(
                    node = me.id.0,
                    "this node's disk is not the one it had: replicas placed on the old one are \
                     lost here and must be rebuilt"
                ),
                _ => {}
            }
            memds.put_row(&id, &row, Held::Any).await
        };
        match done.await {
            Ok(()) => return,
            Err(error) => {
                tracing::info!(%error, kind = NodeRow::KIND, "cannot announce this node yet");
                tokio::time::sleep(ASK_INTERVAL).await;
            }
        }
    }
}
