//! A publishing node for tests: the real publisher and the real bus over a log in memory.

use super::lag::Progress;
use super::nats_bus::NatsBus;
use super::pace::Pace;
use super::settings::PublisherSettings;
use super::shard::ShardPublisher;
use super::source::LedShard;
use crate::chain::Position;
use crate::connect::Connection;
use crate::face::TableFace;
use crate::subject::Family;
use crate::testkit::{REGION, TestLog};
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tombolo_item::{RegionId, Shard, TableId};

/// One node's view of a shard: it may believe that it leads.
pub(crate) struct TestLeader {
    pub(crate) log: Arc<TestLog>,
    leads: AtomicBool,
}

impl TestLeader {
    pub(crate) fn of(log: &Arc<TestLog>) -> Arc<TestLeader> {
        Arc::new(TestLeader { log: log.clone(), leads: AtomicBool::new(true) })
    }

    pub(crate) fn depose(&self) {
        self.leads.store(false, Ordering::SeqCst);
    }
}

impl LedShard for TestLeader {
    fn table(&self) -> TableId {
        self.log.table
    }

    fn shard(&self) -> Shard {
        self.log.shard
    }

    fn head(&self) -> Position {
        self.log.head()
    }

    fn past(&self, seq: u64) -> BoxFuture<'_, ()> {
        let mut heads = self.log.heads();
        async move {
            heads
                .wait_for(|head| head.seq > seq)
                .await
                .expect("the log lives as long as its leader");
        }
        .boxed()
    }

    fn read(&self, from: u64, bytes_max: usize) -> Result<Vec<(u64, Bytes)>, String> {
        Ok(self.log.read(from, bytes_max))
    }

    fn leads(&self) -> bool {
        self.leads.load(Ordering::SeqCst)
    }
}

/// One publishing node.
pub(crate) struct PublishingNode {
    pub(crate) bus: Arc<NatsBus>,
    pub(crate) leader: Arc<TestLeader>,
    pub(crate) progress: Vec<Arc<Progress>>,
    pub(crate) tasks: Vec<JoinHandle<()>>,
}

impl PublishingNode {
    pub(crate) async fn start(
        nats_url: &str,
        face: TableFace,
        log: &Arc<TestLog>,
    ) -> PublishingNode {
        PublishingNode::with(short_settings(nats_url), face, log).await
    }

    pub(crate) async fn with(
        settings: PublisherSettings,
        face: TableFace,
        log: &Arc<TestLog>,
    ) -> PublishingNode {
        let (settings, face) = (Arc::new(settings), Arc::new(face));
        let connection = Connection::open(&settings.nats_url, "test").await.expect("an address");
        let bus = Arc::new(NatsBus::new(connection, settings.clone()));
        let watch = tokio::spawn({
            let bus = bus.clone();
            async move { bus.watch().await }
        });
        let leader = TestLeader::of(log);
        let pace = Arc::new(Pace::new(4, 1 << 30));
        let mut node = PublishingNode { bus, leader, progress: Vec::new(), tasks: vec![watch] };
        for family in Family::ALL {
            let progress = Arc::new(Progress::default());
            let publisher = ShardPublisher {
                bus: node.bus.clone(),
                source: node.leader.clone(),
                face: face.clone(),
                family,
                settings: settings.clone(),
                pace: pace.clone(),
                progress: progress.clone(),
            };
            node.progress.push(progress);
            node.tasks.push(tokio::spawn(publisher.run()));
        }
        node
    }

    pub(crate) async fn published(&self, seq: u64) {
        wait_for("publishing", || self.progress.iter().all(|progress| progress.seq() >= seq)).await;
    }

    /// As a killed process: in the middle of whatever it does.
    pub(crate) fn kill(self) {}
}

impl Drop for PublishingNode {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

pub(crate) async fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Settings with everything that takes long made short.
pub(crate) fn short_settings(nats_url: &str) -> PublisherSettings {
    PublisherSettings {
        nats_url: nats_url.into(),
        region_name: REGION.into(),
        region: RegionId(1),
        development: true,
        duplicate_window: Duration::from_millis(200),
        ack_timeout: Duration::from_secs(1),
        stream_check: Duration::from_millis(200),
        ahead_patience: Duration::from_millis(200),
        ..PublisherSettings::default()
    }
}
