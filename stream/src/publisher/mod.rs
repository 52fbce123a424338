//! Publishes what this node leads.
//!
//! Always true: which shards are published follows from the host (what it leads) and the table map
//! (what the table asks for), compared anew on every event and on a timer; a task that should not
//! run is stopped at once, wherever it is, and the broker's fence makes that safe.
//!
//! In reading order: `settings`, `source` and `bus` (the two doors), `compose` (one message),
//! `shard` (one shard's loop), `pace` and `lag`, then the real doors `host` and `nats_bus`, and
//! the chores `broker_check` and `sweep`.

mod broker_check;
mod bus;
mod compose;
#[cfg(all(test, feature = "subscriber"))]
pub(crate) mod for_tests;
mod host;
mod lag;
mod nats_bus;
mod pace;
mod settings;
mod shard;
mod source;
mod sweep;
#[cfg(all(test, feature = "subscriber"))]
mod tests;

pub use broker_check::Strength;
#[cfg(all(test, feature = "subscriber"))]
pub(crate) use compose::compose;
pub use lag::{ShardLag, shard_lags};
pub use settings::PublisherSettings;

use crate::connect::Connection;
use crate::error::StreamError;
use crate::face::TableFace;
use crate::metrics;
use crate::subject::Family;
use host::HostShard;
use lag::{LagBoard, Line, Progress};
use nats_bus::NatsBus;
use pace::Pace;
use shard::ShardPublisher;
use source::LedShard;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tombolo_group::Host;
use tombolo_item::{Shard, TableId};
use tombolo_memds::{Memds, TableInfo, TableStatus};

/// How often what runs is compared with what should, should an event have been missed.
const RECONCILE: Duration = Duration::from_secs(2);
const LAG_SAMPLE: Duration = Duration::from_millis(500);

/// Publishes every group this node leads until `shutdown` is true.
pub async fn run(
    settings: PublisherSettings,
    host: Host,
    memds: Memds,
    mut shutdown: watch::Receiver<bool>,
) -> Result<(), StreamError> {
    metrics::register();
    let settings = Arc::new(settings);
    let connection = Connection::open(&settings.nats_url, "tombolo publisher").await?;
    let bus = Arc::new(NatsBus::new(connection, settings.clone()));
    let _chores = [
        guarded({
            let bus = bus.clone();
            async move { bus.watch().await }
        }),
        guarded(check_each_connection(bus.clone(), settings.clone())),
        guarded({
            let (bus, settings) = (bus.clone(), settings.clone());
            let tables = MapTables(memds.clone());
            async move { sweep::run(&bus, &tables, &settings.region_name).await }
        }),
    ];
    let mut events = host.events();
    let mut changed = memds.changed();
    let mut publisher = Publisher {
        pace: Arc::new(Pace::new(settings.catch_up_shards, settings.catch_up_bytes_per_second)),
        settings,
        host,
        memds,
        bus,
        running: BTreeMap::new(),
        board: LagBoard::default(),
    };
    let mut reconcile = tokio::time::interval(RECONCILE);
    let mut sample = tokio::time::interval(LAG_SAMPLE);
    let (mut host_lives, mut map_lives) = (true, true);
    loop {
        tokio::select! {
            _ = shutdown.wait_for(|stop| *stop) => break,
            event = events.recv(), if host_lives => {
                host_lives = !matches!(event, Err(tokio::sync::broadcast::error::RecvError::Closed));
                while events.try_recv().is_ok() {}
            }
            change = changed.changed(), if map_lives => map_lives = change.is_ok(),
            _ = reconcile.tick() => {}
            _ = sample.tick() => {
                publisher.sample();
                continue;
            }
        }
        publisher.reconcile();
    }
    Ok(())
}

/// A task that ends with its owner.
struct Guarded(JoinHandle<()>);

fn guarded(task: impl Future<Output = ()> + Send + 'static) -> Guarded {
    Guarded(tokio::spawn(task))
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn check_each_connection(bus: Arc<NatsBus>, settings: Arc<PublisherSettings>) {
    loop {
        let link = bus.connection().up().await;
        broker_check::check(bus.connection(), &settings).await;
        bus.connection().lost(link.epoch).await;
    }
}

struct MapTables(Memds);

impl sweep::Tables for MapTables {
    fn decides(&self) -> bool {
        self.0.is_system_leader() && self.0.is_ready()
    }

    fn exists(&self, table: TableId) -> bool {
        self.0.table(table).is_some_and(|info| info.status != TableStatus::Deleting)
    }
}

struct Publisher {
    settings: Arc<PublisherSettings>,
    host: Host,
    memds: Memds,
    bus: Arc<NatsBus>,
    pace: Arc<Pace>,
    running: BTreeMap<(Shard, Family), Running>,
    board: LagBoard,
}

struct Running {
    face: Arc<TableFace>,
    source: Arc<HostShard>,
    progress: Arc<Progress>,
    task: Guarded,
}

impl Publisher {
    /// Starts what should run and does not, stops what runs and should not.
    fn reconcile(&mut self) {
        let mut faces: BTreeMap<TableId, Option<Arc<TableFace>>> = BTreeMap::new();
        let mut wanted = BTreeMap::new();
        for status in self.host.groups() {
            if !status.is_leader || status.table.0.is_nil() {
                continue;
            }
            let face = faces.entry(status.table).or_insert_with(|| self.face(status.table));
            let Some(face) = face else { continue };
            for family in Family::ALL {
                if face.wants(family) {
                    wanted.insert((status.shard, family), (face.clone(), status.serving));
                }
            }
        }
        self.running.retain(|key, running| {
            !running.task.0.is_finished()
                && wanted.get(key).is_some_and(|(face, _)| *face == running.face)
        });
        for ((shard, family), (face, serving)) in wanted {
            // A leader that does not serve yet may not have applied what its predecessor published.
            if serving && !self.running.contains_key(&(shard, family)) {
                self.start(shard, family, face);
            }
        }
        self.bus.keep_only(|table| faces.get(&table).is_some_and(Option::is_some));
    }

    fn start(&mut self, shard: Shard, family: Family, face: Arc<TableFace>) {
        let Some(source) = HostShard::open(&self.host, face.table, shard) else { return };
        let source = Arc::new(source);
        let progress = Arc::new(Progress::default());
        progress.published(source.head().seq);
        let publisher = ShardPublisher {
            bus: self.bus.clone(),
            source: source.clone(),
            face: face.clone(),
            family,
            settings: self.settings.clone(),
            pace: self.pace.clone(),
            progress: progress.clone(),
        };
        let task = guarded(publisher.run());
        self.running.insert((shard, family), Running { face, source, progress, task });
    }

    /// What messages say about a table; `None` while it is unknown here or being deleted.
    fn face(&self, table: TableId) -> Option<Arc<TableFace>> {
        let info: Arc<TableInfo> = self.memds.table(table)?;
        (info.status != TableStatus::Deleting).then(|| {
            Arc::new(TableFace {
                table,
                name: info.name.clone(),
                region_name: self.settings.region_name.clone(),
                region: self.settings.region,
                schema: info.schema.clone(),
                view: info.view,
                replicated: info.regions.len() > 1,
            })
        })
    }

    fn sample(&self) {
        let lines: Vec<Line> = self
            .running
            .iter()
            .map(|((shard, family), running)| Line {
                shard: *shard,
                family: family.name(),
                head_seq: running.source.head().seq,
                progress: running.progress.clone(),
            })
            .collect();
        self.board.sample(Instant::now(), &lines);
    }
}
