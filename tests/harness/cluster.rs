//! A development cluster under test: started as `tombolo dev` starts it, with the program this
//! workspace builds.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tombolo::dev::{ClusterJson, DevCluster, DevOptions, Signal};
use tombolo_client::report::{VerifyEvent, VerifyFinding, VerifySummary};
use tombolo_client::{Client, ClientSettings, Table, TableDefinition};
use tombolo_item::{Item, KeyAttribute, KeySchema, KeyType, NodeId, StreamView, Value};

use crate::eventually;

/// How long a state may take to come about before a test gives up. Generous: CI has two cores.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// What to start.
#[derive(Clone, Debug)]
pub struct Setup {
    pub regions: Vec<&'static str>,
    pub nodes_per_zone: u8,
}

impl Setup {
    pub fn one_region() -> Self {
        Self { regions: vec!["us-east"], nodes_per_zone: 1 }
    }
    pub fn two_regions() -> Self {
        Self { regions: vec!["us-east", "eu-west"], nodes_per_zone: 1 }
    }
}

pub struct Cluster {
    dev: Option<DevCluster>,
    // Last, so that the folder outlives the processes that write to it.
    dir: TempDir,
}

/// The program, which cargo builds beside the tests of this package.
pub fn program() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    // target/<profile>/deps/<test>
    let profile = test.ancestors().nth(2).expect("tests lie below target/<profile>/deps");
    profile.join("tombolo-under-test")
}

/// The schema the tests use: partition key `pk`, text.
pub fn schema() -> KeySchema {
    KeySchema { partition: KeyAttribute { name: "pk".into(), kind: KeyType::S }, sort: None }
}

/// The key attributes of `pk`.
pub fn key(pk: &str) -> Item {
    [("pk".to_owned(), Value::S(pk.to_owned()))].into_iter().collect()
}

impl Cluster {
    pub async fn start(setup: Setup) -> Self {
        let dir = tempfile::Builder::new().prefix("tombolo-test-").tempdir().expect("a folder");
        Self::start_in(setup, dir).await
    }

    /// In a folder that may already hold the mount points of its nodes' disks.
    pub async fn start_in(setup: Setup, dir: TempDir) -> Self {
        let mut options = DevOptions::new(program(), dir.path());
        options.regions = setup.regions.iter().map(|name| (*name).to_owned()).collect();
        options.nodes_per_zone = setup.nodes_per_zone;
        options.base_port = tombolo::dev::ports::free_base_port(setup.regions.len())
            .unwrap_or_else(|e| panic!("{e}"));
        let dev = DevCluster::start(options).await.unwrap_or_else(|e| panic!("{e}"));
        Self { dev: Some(dev), dir }
    }

    pub fn dev(&self) -> &DevCluster {
        self.dev.as_ref().expect("the cluster runs until it is stopped")
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn json(&self) -> ClusterJson {
        self.dev().cluster_json()
    }

    /// A client of all nodes of a region.
    pub async fn client(&self, region: usize) -> Client {
        let json = self.json();
        let endpoints = json.regions[region].nodes.iter().map(|node| node.grpc.clone());
        let mut settings = ClientSettings::new(endpoints);
        settings.connections_per_endpoint = 1;
        settings.request_timeout = Duration::from_secs(20);
        Client::with_settings(settings).await.expect("a running region answers")
    }

    /// A client of all nodes of a region but one.
    pub async fn client_without(&self, region: usize, node: NodeId) -> Client {
        let json = self.json();
        let others = json.regions[region].nodes.iter().filter(|other| other.id != node.0);
        let mut settings = ClientSettings::new(others.map(|node| node.grpc.clone()));
        settings.request_timeout = Duration::from_secs(20);
        Client::with_settings(settings).await.expect("a running region answers")
    }

    /// A client of one node.
    pub async fn client_of(&self, region: usize, node: usize) -> Client {
        let endpoint = self.json().regions[region].nodes[node].grpc.clone();
        Client::connect(&[endpoint]).await.expect("a running node answers")
    }

    /// Makes a table in all regions of the cluster and waits until it serves everywhere.
    pub async fn table(&self, name: &str, partitions: u32) -> Table {
        let mut definition = TableDefinition::new(name, schema());
        definition.partitions = partitions;
        definition.view = Some(StreamView::NewAndOldImages);
        definition.regions = self.json().regions.iter().map(|r| r.name.clone()).collect();
        let client = self.client(0).await;
        client.create_table(definition).await.unwrap_or_else(|e| panic!("making {name}: {e}"));
        for region in 1..self.json().regions.len() {
            let there = self.client(region).await;
            eventually(&format!("{name} is known in region {region}"), PATIENCE, || async {
                there.describe_table(name).await.ok()
            })
            .await;
            there.wait_active(name, PATIENCE).await.unwrap_or_else(|e| panic!("{name}: {e}"));
        }
        client.wait_active(name, PATIENCE).await.unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// `us-east/a` and so on of a node.
    pub fn process_of(&self, id: NodeId) -> String {
        let json = self.json();
        json.nodes()
            .find(|(_, node)| node.id == id.0)
            .map(|(region, node)| format!("{region}/{}", node.zone))
            .unwrap_or_else(|| panic!("no node {id} in cluster.json"))
    }

    /// The node that leads a partition of a table, once there is one.
    pub async fn leader(&self, region: usize, table: &str, partition: usize) -> NodeId {
        let client = self.client(region).await;
        eventually(&format!("a leader of {table}"), PATIENCE, || async {
            let table = client.describe_table(table).await.ok()?;
            table.partitions.get(partition)?.leader
        })
        .await
    }

    /// Kills a process with SIGKILL; it stays down until [`Self::release`].
    pub async fn kill(&self, process: &str) {
        self.dev().hold(process, Signal::KILL).await.unwrap_or_else(|e| panic!("{process}: {e}"));
    }

    pub async fn release(&self, process: &str) {
        self.dev().release(process).await.unwrap_or_else(|e| panic!("{process}: {e}"));
    }

    pub async fn wait_serving(&self) {
        self.dev().wait_serving(PATIENCE).await.unwrap_or_else(|e| panic!("{e}"));
    }

    /// Verifies a table from a region's view: everything that was found, and the summary.
    pub async fn verify(&self, region: usize, table: &str) -> Verification {
        use futures::StreamExt;
        let client = self.client(region).await;
        let mut events =
            client.verify_table(table).await.unwrap_or_else(|e| panic!("{table}: {e}"));
        let mut verification = Verification::default();
        while let Some(event) = events.next().await {
            match event.unwrap_or_else(|e| panic!("verifying {table}: {e}")) {
                VerifyEvent::Finding(finding) => verification.findings.push(finding),
                VerifyEvent::Summary(summary) => verification.summary = Some(summary),
                VerifyEvent::Progress { .. }
                | VerifyEvent::Replica { .. }
                | VerifyEvent::Region { .. } => {}
            }
        }
        verification
    }

    /// Waits until a verification finds that every copy agrees.
    pub async fn wait_agreed(&self, table: &str, items: u64) {
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let found = self.verify(0, table).await;
            let summary = found.summary.clone().unwrap_or_default();
            if summary.agreed && summary.items == items {
                return;
            }
            assert!(
                std::time::Instant::now() < deadline,
                "the copies of {table} do not agree on {items} items: {found:?}"
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Stops it cleanly.
    pub async fn stop(mut self) {
        if let Some(dev) = self.dev.take() {
            dev.stop(Duration::from_secs(30)).await.unwrap_or_else(|e| panic!("{e}"));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // A failed test keeps its logs in its output: the folder is about to go.
        if std::thread::panicking() {
            crate::log_watch::print_complaints(&self.dir.path().join("logs"));
        }
    }
}

/// What a verification said.
#[derive(Debug, Default)]
pub struct Verification {
    pub findings: Vec<VerifyFinding>,
    pub summary: Option<VerifySummary>,
}
