//! The demonstration, told as a story: each step does something real, measures it, and checks it.
//!
//! Always true: nothing is printed that was not measured in this run, and a step that does not come out
//! as it should ends the demonstration with an error.

mod packages;
mod story;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use rustix::process::{Pid, Signal, kill_process};
use tombolo_client::report::{VerifyEvent, VerifyFinding, VerifySummary};
use tombolo_client::{Client, ClientSettings, TableDefinition};
use tombolo_item::{Item, StreamView, Value};
use tombolo_stream::Family;
use tombolo_stream::subscriber::{Start, SubscriberSettings, Subscription};

use crate::bench::{self, Distribution, Mix, Plan, Target};
use crate::dev::{DevCluster, DevOptions, ports, rot};
use crate::error::{Context, Failure, Result};
use crate::output;
use story::{Quantiles, step, tell};

const REGIONS: [&str; 2] = ["us-east", "eu-west"];
const TABLE: &str = "packages";
const LOAD_TABLE: &str = "load";
/// How long anything may take to come about.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Options {
    pub file: Option<PathBuf>,
    pub keep: bool,
    pub base_port: Option<u16>,
    pub offline: bool,
    pub nats_server: Option<PathBuf>,
}

pub async fn run(options: Options) -> Result {
    let started = Instant::now();
    let items = packages::read(options.file.as_deref())?;
    let folder = tempfile::Builder::new().prefix("tombolo-demo-").tempdir()?;
    let program = std::env::current_exe().context(|| "finding this program")?;
    let mut dev = DevOptions::new(program, folder.path());
    dev.regions = REGIONS.map(str::to_owned).to_vec();
    dev.base_port = match options.base_port {
        Some(port) => port,
        None => ports::free_base_port(REGIONS.len())?,
    };
    dev.offline = options.offline;
    dev.nats_server = options.nats_server.clone();
    dev.talk = Arc::new(|line| output::talk(line));

    step("Two regions, three zones each, start");
    let cluster = DevCluster::start(dev).await?;
    tell(format!(
        "{} processes serve after {:.1} s; everything is in {}",
        cluster.processes().len(),
        started.elapsed().as_secs_f64(),
        folder.path().display()
    ));

    let outcome = Box::pin(Demo::new(&cluster).await?.tell(items)).await;
    if outcome.is_ok() {
        tell(format!("\nDone in {:.0} s.", started.elapsed().as_secs_f64()));
    }
    if options.keep {
        let kept = folder.keep();
        output::talk(format!(
            "the cluster goes on ({}); Ctrl-C stops it and leaves the folder",
            kept.join("cluster.json").display()
        ));
        tokio::signal::ctrl_c().await?;
    }
    cluster.stop(Duration::from_secs(20)).await?;
    outcome
}

/// The cluster with a client for each region.
struct Demo<'a> {
    cluster: &'a DevCluster,
    east: Client,
    west: Client,
}

impl<'a> Demo<'a> {
    async fn new(cluster: &'a DevCluster) -> Result<Self> {
        let json = cluster.cluster_json();
        let connect = async |region: usize| {
            let nodes = &json.regions[region].nodes;
            let mut settings = ClientSettings::new(nodes.iter().map(|node| node.grpc.clone()));
            settings.connections_per_endpoint = 1;
            settings.request_timeout = Duration::from_secs(20);
            Client::with_settings(settings).await
        };
        Ok(Self { cluster, east: connect(0).await?, west: connect(1).await? })
    }

    async fn tell(&self, items: Vec<Item>) -> Result {
        let table = self.make_tables().await?;
        self.load(&items).await?;
        self.watch_stream(&table, items.len()).await?;
        self.measure_replication().await?;
        let left = self.change_in_both(&items).await?;
        self.kill_a_leader().await?;
        self.compare(left).await?;
        self.rot_a_bit(&items).await
    }

    async fn make_tables(&self) -> Result<tombolo_item::TableId> {
        step("A global table, in both regions");
        let begin = Instant::now();
        for (name, schema, partitions) in
            [(TABLE, packages::schema(), 3), (LOAD_TABLE, bench::schema(), 1)]
        {
            let mut definition = TableDefinition::new(name, schema);
            definition.partitions = partitions;
            definition.view = Some(StreamView::NewAndOldImages);
            definition.regions = REGIONS.map(str::to_owned).to_vec();
            self.east.create_table(definition).await?;
        }
        for name in [TABLE, LOAD_TABLE] {
            for client in [&self.east, &self.west] {
                until(&format!("{name} serves in both regions"), async || {
                    client.describe_table(name).await.is_ok_and(|table| table.is_active())
                })
                .await?;
            }
        }
        let table = self.east.describe_table(TABLE).await?;
        tell(format!(
            "{TABLE} has 3 partitions of 3 copies in each region, ready after {:.1} s; people \
             subscribe to {}",
            begin.elapsed().as_secs_f64(),
            table.stream_subject
        ));
        table.id.parse().map_err(|e: tombolo_item::ids::ParseIdError| e.into())
    }

    async fn load(&self, items: &[Item]) -> Result {
        step("Packages go in through us-east");
        let begin = Instant::now();
        let times = futures::stream::iter(items.iter().cloned())
            .map(|item| async {
                let start = Instant::now();
                self.east.put_item(TABLE, item).await.map(|_| start.elapsed())
            })
            .buffer_unordered(32)
            .collect::<Vec<_>>()
            .await;
        let times = times.into_iter().collect::<std::result::Result<Vec<_>, _>>()?;
        let rate = times.len() as f64 / begin.elapsed().as_secs_f64();
        tell(format!(
            "{} packages, each durable in two of three zones: {rate:.0} writes/s, {}",
            times.len(),
            Quantiles::of(times)
        ));
        Ok(())
    }

    async fn watch_stream(&self, table: &tombolo_item::TableId, loaded: usize) -> Result {
        step("The change stream arrives, over NATS");
        let json = self.cluster.cluster_json();
        let open = |start| {
            let nats = json.regions[0].nats.clone();
            let settings = SubscriberSettings::new(nats, REGIONS[0], *table, Family::People, start);
            Subscription::open(settings, None)
        };
        let mut all = open(Start::Checkpoint(Default::default())).await?;
        let mut last = String::new();
        for _ in 0..loaded {
            let record = patiently("a change in the stream", all.next()).await??;
            last = String::from_utf8_lossy(&record.body).into_owned();
        }
        let mut lags = Vec::new();
        for n in 0..50 {
            let mut item = probe("stream", n);
            item.insert("n", Value::N((n as u64).into()));
            self.east.put_item(TABLE, item).await?;
            let acknowledged = Instant::now();
            patiently("a change in the stream", all.next()).await??;
            lags.push(acknowledged.elapsed());
        }
        let shown: String = last.chars().take(110).collect();
        tell(format!("{loaded} changes in order, no hole, the last one {shown}..."));
        tell(format!("from acknowledgement to subscriber: {}", Quantiles::of(lags)));
        Ok(())
    }

    async fn measure_replication(&self) -> Result {
        step("What us-east writes is read in eu-west");
        let mut lags = Vec::new();
        for n in 0..50 {
            let item = probe("replication", n);
            self.east.put_item(TABLE, item.clone()).await?;
            let acknowledged = Instant::now();
            let key = key_of(&item);
            let deadline = acknowledged + PATIENCE;
            while self.west.get_item(TABLE, key.clone(), true).await?.is_none() {
                if Instant::now() > deadline {
                    return Err(Failure::negative("a write did not reach the other region"));
                }
            }
            lags.push(acknowledged.elapsed());
        }
        tell(format!("from acknowledgement to visible there: {}", Quantiles::of(lags)));
        Ok(())
    }

    /// Both regions change the same items at once; some are deleted. Gives how many must be left.
    async fn change_in_both(&self, items: &[Item]) -> Result<u64> {
        step("Both regions change and delete the same items at once");
        let changed = items.len().min(200);
        let label = |item: &Item, by: &str| {
            let mut item = item.clone();
            item.insert("reviewed_by", Value::S(by.into()));
            item
        };
        for item in &items[..changed] {
            let (a, b) = tokio::join!(
                self.east.put_item(TABLE, label(item, "us-east")),
                self.west.put_item(TABLE, label(item, "eu-west")),
            );
            a?;
            b?;
        }
        let deleted = changed / 4;
        for item in &items[..deleted] {
            let key = key_of(item);
            let (a, b) = tokio::join!(
                self.east.delete_item(TABLE, key.clone()),
                self.west.delete_item(TABLE, key),
            );
            a?;
            b?;
        }
        tell(format!("{changed} items written in both regions, {deleted} of them deleted in both"));
        // 100 probes were put by the steps before.
        Ok((items.len() - deleted + 100) as u64)
    }

    async fn kill_a_leader(&self) -> Result {
        step("A leader is killed in mid-load (kill -9)");
        let plan = Plan {
            table: LOAD_TABLE.into(),
            mix: Mix { read_percent: 0 },
            clients: 32,
            items: 2_000,
            item_bytes: 512,
            distribution: Distribution::Uniform,
            rate: 0,
            strong: true,
            warm_up: Duration::from_secs(1),
            duration: Duration::from_secs(7),
            seed: 1,
        };
        let table = self.east.describe_table(LOAD_TABLE).await?;
        let leader = table.partitions.first().and_then(|partition| partition.leader);
        let leader = leader.ok_or_else(|| Failure::unavailable("the partition has no leader"))?;
        let json = self.cluster.cluster_json();
        let (region, node) = json
            .nodes()
            .find(|(_, node)| node.id == leader.0)
            .ok_or_else(|| Failure::unavailable(format!("node {leader} is not in the cluster")))?;
        let kill = async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            let pid = Pid::from_raw(node.pid as i32);
            pid.map_or(Ok(()), |pid| kill_process(pid, Signal::KILL))
        };
        // Callers at the other nodes: a router that dies cannot tell its callers what became of a request.
        let nodes = &json.regions[0].nodes;
        let others = nodes.iter().filter(|other| other.id != leader.0).map(|n| n.grpc.clone());
        let target = Target::Tombolo(Client::with_settings(ClientSettings::new(others)).await?);
        let (outcome, killed) = tokio::join!(bench::drive(&target, &plan), kill);
        killed.context(|| format!("killing process {}", node.pid))?;
        let check = bench::read_back(&target, &plan, &outcome).await?;
        let writes = outcome.writes().map_or(0.0, |writes| writes.per_second);
        tell(format!(
            "{region}/{} led and died at {writes:.0} writes/s; the longest pause was {:.2} s; errors \
             seen by callers: {}",
            node.zone,
            outcome.longest_pause.as_secs_f64(),
            outcome.errors.values().sum::<u64>()
        ));
        tell(format!("acknowledged {}, lost {}", outcome.acknowledged_writes(), check.lost));
        if check.lost > 0 {
            return Err(Failure::negative("acknowledged writes are lost"));
        }
        if !outcome.errors.is_empty() {
            return Err(Failure::negative(format!("callers saw errors: {:?}", outcome.errors)));
        }
        Ok(())
    }

    async fn compare(&self, left: u64) -> Result {
        step("All six copies of every partition are compared by checksum");
        self.cluster.wait_serving(PATIENCE).await?;
        for (name, expected) in [(TABLE, Some(left)), (LOAD_TABLE, None)] {
            let begin = Instant::now();
            let verified = loop {
                let verified = verify(&self.east, name).await?;
                let counted = expected.is_none_or(|items| verified.summary.items == items);
                if verified.summary.agreed && counted {
                    break verified;
                }
                if begin.elapsed() > PATIENCE {
                    return Err(Failure::negative(format!(
                        "the copies of {name} do not agree on {expected:?} items: {:?}, {:?}",
                        verified.summary, verified.findings
                    )));
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            };
            tell(format!(
                "{name}: {} items, {} copies in {} regions agree, after {:.1} s; digest {}",
                verified.summary.items,
                verified.summary.replicas,
                verified.summary.regions,
                begin.elapsed().as_secs_f64(),
                verified.digest
            ));
        }
        Ok(())
    }

    async fn rot_a_bit(&self, items: &[Item]) -> Result {
        step("One bit of one copy rots on disk");
        let victim = items.last().cloned().unwrap_or_default();
        let mut item = victim.clone();
        let needle = "this sentence stands in one place of the tree only";
        item.insert("note", Value::S(needle.into()));
        self.east.put_item(TABLE, item).await?;
        let json = self.cluster.cluster_json();
        let node = &json.regions[0].nodes[1];
        let data = Path::new(&node.data).to_path_buf();
        let mut found = Vec::new();
        until("a checkpoint has written the item to the copy's tree", async || {
            found = rot::places(&data, needle.as_bytes()).unwrap_or_default();
            !found.is_empty()
        })
        .await?;
        for (file, offset) in &found {
            rot::flip_bit(file, offset + 7)?;
        }
        tell(format!(
            "{}/{} has one bit flipped in {}",
            REGIONS[0],
            node.zone,
            found[0].0.display()
        ));
        let verified = verify(&self.east, TABLE).await?;
        let key = key_of(&victim);
        let named = |f: &&VerifyFinding| {
            f.node.is_some_and(|id| id.0 == node.id) && f.key.as_ref() == Some(&key)
        };
        let Some(finding) = verified.findings.iter().find(named) else {
            return Err(Failure::negative(format!(
                "verify did not name the copy and the key: {:?}",
                verified.findings
            )));
        };
        tell(format!(
            "verify names node {} in {} and the key {}: {}",
            node.id,
            finding.region,
            tombolo_item::json::item_to_plain(&key),
            finding.reason
        ));
        Ok(())
    }
}

fn key_of(item: &Item) -> Item {
    let is_key = |name: &String| name == "name" || name == "version";
    Item(
        item.0
            .iter()
            .filter(|(name, _)| is_key(name))
            .map(|(n, v)| (n.clone(), v.clone()))
            .collect(),
    )
}

fn probe(what: &str, n: usize) -> Item {
    [("name", format!("probe-{what}")), ("version", format!("{n:04}"))]
        .into_iter()
        .map(|(name, text)| (name.to_owned(), Value::S(text)))
        .collect()
}

struct Verified {
    summary: VerifySummary,
    findings: Vec<VerifyFinding>,
    digest: String,
}

async fn verify(client: &Client, table: &str) -> Result<Verified> {
    let mut events = client.verify_table(table).await?;
    let mut findings = Vec::new();
    let mut digest = String::new();
    while let Some(event) = events.next().await {
        match event? {
            VerifyEvent::Finding(finding) => findings.push(finding),
            VerifyEvent::Region { digest: d, .. } => {
                digest = format!("{:016x}{:016x}", d.sum, d.xor)
            }
            VerifyEvent::Summary(summary) => return Ok(Verified { summary, findings, digest }),
            VerifyEvent::Progress { .. } | VerifyEvent::Replica { .. } => {}
        }
    }
    Err(Failure::unavailable(format!("the verification of {table} ended without a summary")))
}

async fn until(what: &str, mut probe: impl AsyncFnMut() -> bool) -> Result {
    let deadline = Instant::now() + PATIENCE;
    while !probe().await {
        if Instant::now() > deadline {
            return Err(Failure::negative(format!("after {PATIENCE:?} still not: {what}")));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

async fn patiently<T>(what: &str, wait: impl Future<Output = T>) -> Result<T> {
    let waited = tokio::time::timeout(PATIENCE, wait).await;
    waited.map_err(|_| Failure::negative(format!("after {PATIENCE:?} still not: {what}")))
}
