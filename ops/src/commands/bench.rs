//! `tombolo bench`: how fast the cluster answers, and whether it kept what it acknowledged.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tombolo_client::{Client, TableDefinition};
use tombolo_item::StreamView;

use super::connection::Connection;
use crate::bench::{self, Credentials, Distribution, DynamoDb, Latencies, Mix, Plan, Target};
use crate::dev::ClusterJson;
use crate::error::{Context, Failure, Result};
use crate::output::{self, Format};

/// Measures rate and latency with a fixed number of callers, each waiting for its answer.
///
/// Workloads: `write` is puts only; `a`, `b`, `c` are YCSB's (half, 5 %, no updates). Reads are strongly
/// consistent unless --eventual. After a run that writes, every key written is read back: a key that holds
/// less than was acknowledged is counted as lost, and the exit code is 1.
///
/// Examples:
///   tombolo bench --workload write --clients 64 --duration 10
///   tombolo bench --workload c --items 100000 --distribution zipfian
///   tombolo bench --workload write --rate 5000      latency at a given load
///   tombolo bench --protocol session --clients 512   pipelined: many callers on few streams
///   tombolo bench --protocol dynamodb --cluster DIR/cluster.json
///   tombolo bench --floors --workload write          with bare echoes and a bare fsync loop beside it
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// What the callers do.
    #[arg(long, value_enum, default_value_t = Workload::Write)]
    workload: Workload,
    /// Callers at once.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4096))]
    clients: u32,
    /// Seconds that count; a second before them does not.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    duration: u64,
    /// Different keys; the loading before workloads that read puts each of them.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    items: u64,
    /// Size of an item, names included.
    #[arg(long, default_value_t = 1_024, value_parser = clap::value_parser!(u32).range(64..=400_000))]
    item_bytes: u32,
    /// How keys are drawn.
    #[arg(long, value_enum, default_value_t = Distribution::Uniform)]
    distribution: Distribution,
    /// Requests per second over all callers; 0 is as fast as they can.
    #[arg(long, default_value_t = 0)]
    rate: u64,
    /// Read eventually consistently.
    #[arg(long)]
    eventual: bool,
    /// The table; made if it is not there.
    #[arg(long, default_value = "bench")]
    table: String,
    /// Partitions of a table that is made.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=256))]
    partitions: u32,
    /// Regions of a table that is made, with commas; the region asked belongs to them always.
    #[arg(long, value_delimiter = ',')]
    regions: Vec<String>,
    /// Make the table without a change stream.
    #[arg(long)]
    no_stream: bool,
    /// How the callers ask.
    #[arg(long, value_enum, default_value_t = Protocol::Grpc)]
    protocol: Protocol,
    /// Sessions that the callers share, with --protocol session.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    sessions: u32,
    /// Where the DynamoDB wire is spoken, with --protocol dynamodb; several with commas. Signed with
    /// AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION, or with what --cluster tells.
    #[arg(long, env = "AWS_ENDPOINT_URL_DYNAMODB", value_delimiter = ',', value_name = "URL")]
    dynamodb_endpoint: Vec<String>,
    /// The cluster.json of a development cluster: endpoints and keys of --protocol dynamodb.
    #[arg(long, value_name = "FILE")]
    cluster: Option<PathBuf>,
    /// Also measure the floors: bare echoes of the same payload over each protocol, and a bare
    /// fdatasync loop.
    #[arg(long)]
    floors: bool,
    /// Drive these members of an etcd cluster instead, to compare.
    #[arg(long, value_delimiter = ',', value_name = "URL")]
    etcd: Vec<String>,
    /// Seed of the key draws.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Protocol {
    /// A unary gRPC call for each request.
    Grpc,
    /// gRPC sessions: requests of many callers in one frame.
    Session,
    /// Signed JSON over HTTP/1.1.
    Dynamodb,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Workload {
    /// Puts only.
    Write,
    /// YCSB A: half reads, half updates.
    A,
    /// YCSB B: 95 % reads.
    B,
    /// YCSB C: reads only.
    C,
}

impl Workload {
    fn mix(self) -> Mix {
        let read_percent = match self {
            Self::Write => 0,
            Self::A => 50,
            Self::B => 95,
            Self::C => 100,
        };
        Mix { read_percent }
    }
}

#[derive(Serialize)]
struct Report {
    workload: String,
    clients: u32,
    items: u64,
    item_bytes: u32,
    seconds: f64,
    operations: u64,
    per_second: f64,
    reads: Option<Latencies>,
    writes: Option<Latencies>,
    errors: std::collections::BTreeMap<String, u64>,
    /// Keys read back after a run that wrote.
    checked: u64,
    /// Keys that held less than was acknowledged.
    lost: u64,
    floors: Option<bench::Floors>,
}

pub async fn run(args: Args) -> Result {
    let target = match args.etcd.is_empty() {
        true => {
            let client = args.connection.connect().await?;
            make_table(&client, &args).await?;
            match args.protocol {
                Protocol::Grpc => Target::Tombolo(client),
                Protocol::Session => Target::sessions(&client, args.sessions, args.clients),
                Protocol::Dynamodb => Target::DynamoDb(Arc::new(dynamodb(&args)?)),
            }
        }
        false => Target::etcd(&args.etcd).await?,
    };
    let plan = Plan {
        table: args.table.clone(),
        mix: args.workload.mix(),
        clients: args.clients,
        items: args.items,
        item_bytes: args.item_bytes as usize,
        distribution: args.distribution,
        rate: args.rate,
        strong: !args.eventual,
        warm_up: Duration::from_secs(1),
        duration: Duration::from_secs(args.duration),
        seed: args.seed,
    };
    if plan.mix.read_percent > 0 {
        output::talk(format!("loading {} items", plan.items));
        bench::load(&target, &plan).await.context(|| "loading the items to read")?;
    }
    output::talk(format!(
        "{:?}: {} callers, {} s, items of {} bytes",
        args.workload, args.clients, args.duration, args.item_bytes
    ));
    let outcome = bench::drive(&target, &plan).await;
    output::talk(format!("reading {} written keys back", outcome.acknowledged.len()));
    let check = bench::read_back(&target, &plan, &outcome).await?;
    let floors = match args.floors {
        true => Some(bench::floors(&plan).await?),
        false => None,
    };
    let report = Report {
        workload: format!("{:?}", args.workload).to_lowercase(),
        clients: args.clients,
        items: args.items,
        item_bytes: args.item_bytes,
        seconds: outcome.elapsed.as_secs_f64(),
        operations: outcome.operations(),
        per_second: outcome.operations() as f64 / outcome.elapsed.as_secs_f64(),
        reads: outcome.reads(),
        writes: outcome.writes(),
        errors: outcome.errors.clone(),
        checked: check.checked,
        lost: check.lost,
        floors,
    };
    print(&report, args.connection.format())?;
    match report.lost {
        0 => Ok(()),
        lost => Err(Failure::negative(format!("{lost} acknowledged writes are lost"))),
    }
}

/// The DynamoDB wire of the cluster, with keys from the environment or from its cluster.json.
fn dynamodb(args: &Args) -> Result<DynamoDb> {
    let known = args.cluster.as_deref().map(ClusterJson::read).transpose()?;
    let region = known.as_ref().and_then(|known| known.regions.first());
    let endpoints = match (args.dynamodb_endpoint.is_empty(), region) {
        (true, Some(region)) => region.nodes.iter().map(|node| node.dynamodb.clone()).collect(),
        _ => args.dynamodb_endpoint.clone(),
    };
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let name = region.map(|region| region.name.clone()).or_else(|| variable("AWS_REGION"));
    let given = variable("AWS_ACCESS_KEY_ID").zip(variable("AWS_SECRET_ACCESS_KEY"));
    let credentials = match (given, args.cluster.as_deref()) {
        (Some((access_key, secret_key)), _) => Credentials { access_key, secret_key },
        (None, Some(file)) => keys_in(file)?,
        (None, None) => {
            return Err(Failure::usage(
                "--protocol dynamodb signs its requests: set AWS_ACCESS_KEY_ID and \
                 AWS_SECRET_ACCESS_KEY, or name a cluster.json with --cluster",
            ));
        }
    };
    DynamoDb::new(&endpoints, &name.unwrap_or_else(|| "us-east-1".into()), &credentials)
}

/// The keys that a development cluster made for itself.
fn keys_in(file: &Path) -> Result<Credentials> {
    #[derive(Deserialize)]
    struct WithKeys {
        credentials: Keys,
    }
    #[derive(Deserialize)]
    struct Keys {
        access_key: String,
        secret_key: String,
    }
    let what = || format!("reading the credentials in {}", file.display());
    let text = std::fs::read_to_string(file).context(what)?;
    let WithKeys { credentials } = serde_json::from_str(&text).context(what)?;
    Ok(Credentials { access_key: credentials.access_key, secret_key: credentials.secret_key })
}

async fn make_table(client: &Client, args: &Args) -> Result {
    match client.describe_table(&args.table).await {
        Ok(_) => {}
        Err(error) if error.is_not_found() => {
            let mut table = TableDefinition::new(&args.table, bench::schema());
            table.partitions = args.partitions;
            table.regions = args.regions.clone();
            table.view = (!args.no_stream).then_some(StreamView::NewImage);
            client.create_table(table).await?;
        }
        Err(error) => return Err(error.into()),
    }
    client.wait_active(&args.table, Duration::from_secs(60)).await?;
    Ok(())
}

fn print(report: &Report, format: Format) -> Result {
    if format == Format::Json {
        return output::json(report);
    }
    let row = |name: &str, l: &Latencies| {
        vec![
            name.to_owned(),
            l.count.to_string(),
            format!("{:.0}", l.per_second),
            format!("{:.2}", l.p50_ms),
            format!("{:.2}", l.p99_ms),
            format!("{:.2}", l.p999_ms),
            format!("{:.2}", l.max_ms),
        ]
    };
    let mut rows = Vec::new();
    rows.extend(report.reads.as_ref().map(|l| row("reads", l)));
    rows.extend(report.writes.as_ref().map(|l| row("writes", l)));
    if let Some(floors) = &report.floors {
        rows.push(row("floor: gRPC echo", &floors.echo));
        rows.push(row("floor: session echo", &floors.session_echo));
        rows.push(row("floor: HTTP JSON echo", &floors.http_echo));
        rows.push(row("floor: fdatasync", &floors.fdatasync));
    }
    let heading = ["WHAT", "COUNT", "PER SECOND", "P50 MS", "P99 MS", "P99.9 MS", "MAX MS"];
    output::data(output::columns(&heading, &rows));
    let errors: u64 = report.errors.values().sum();
    let reasons: Vec<_> = report.errors.iter().map(|(why, n)| format!("{n} {why}")).collect();
    output::data(format!("errors: {errors} {}", reasons.join(", ")).trim_end());
    if report.checked > 0 {
        output::data(format!("read back: {} keys, lost {}", report.checked, report.lost));
    }
    Ok(())
}
