//! `tombolo dev`: a development cluster in the foreground, and trouble for it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Subcommand;
use tokio::signal::unix::{SignalKind, signal};

use crate::dev::{self, ClusterJson, DevCluster, DevOptions, faults};
use crate::error::{Context, Failure, Result};
use crate::output;
use crate::telemetry::LogFormat;

/// Runs a development cluster: regions of three zones, real NATS, on this machine.
///
/// It stays in the foreground; Ctrl-C stops it cleanly, and starting it again with the same --dir
/// finds all data. When everything serves, DIR/cluster.json says where everything is. Logs are in
/// DIR/logs. Processes are ordinary: kill them at will, they come back.
///
/// Region r (from 0), zone z (a, b, c = 0, 1, 2), node n of that zone (from 0) have the ports
/// base + 100 r + 10 (3 n + z) + 0 DynamoDB, 1 gRPC, 2 admin, 3 node to node; the
/// region's NATS is at base + 100 r + 90, its monitor at + 91.
///
/// Examples:
///   tombolo dev
///   tombolo dev --regions us-east,eu-west,ap-south --dir /tmp/t --base-port 9000
///   tombolo dev --access-key local --secret-key local
///   tombolo dev cut eu-west            cut a region off from the others
///   tombolo dev cut us-east/b          cut a zone off from everything else
///   tombolo dev heal
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    start: Start,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Cuts regions or zones off from everything else, without killing anything.
    ///
    /// Inside the place, and outside of it, traffic goes on. Cuts add up until `tombolo dev heal`.
    Cut {
        /// What to cut off: REGION, or REGION/ZONE.
        #[arg(required = true, value_name = "REGION|REGION/ZONE")]
        places: Vec<String>,
        #[command(flatten)]
        folder: Folder,
    },
    /// Takes all cuts away.
    Heal {
        #[command(flatten)]
        folder: Folder,
    },
}

#[derive(clap::Args, Debug)]
struct Folder {
    /// The cluster's folder. Default: that of the cluster started last.
    #[arg(long, env = "TOMBOLO_DEV_DIR", value_name = "DIR")]
    dir: Option<PathBuf>,
}

#[derive(clap::Args, Debug)]
struct Start {
    /// Names of the regions, in the order of their ports.
    #[arg(
        long,
        env = "TOMBOLO_DEV_REGIONS",
        value_delimiter = ',',
        default_value = "us-east,eu-west"
    )]
    regions: Vec<String>,
    /// The folder that holds everything.
    #[arg(long, env = "TOMBOLO_DEV_DIR", default_value = "tombolo-dev", value_name = "DIR")]
    dir: PathBuf,
    /// The first port.
    #[arg(long, env = "TOMBOLO_DEV_BASE_PORT", default_value_t = 8000)]
    base_port: u16,
    /// Nodes in each zone, 1 to 3. Healing onto a spare needs 2.
    #[arg(
        long,
        env = "TOMBOLO_DEV_NODES_PER_ZONE",
        default_value_t = 1,
        value_parser = clap::value_parser!(u8).range(1..=3)
    )]
    nodes_per_zone: u8,
    /// Leave processes down that end.
    #[arg(long, env = "TOMBOLO_DEV_NO_RESTART")]
    no_restart: bool,
    /// Delay of everything sent from one region to another, one way, in milliseconds.
    #[arg(long, env = "TOMBOLO_DEV_LINK_DELAY_MS", default_value_t = 0, value_name = "MS")]
    link_delay_ms: u64,
    /// Never download anything.
    #[arg(long, env = "TOMBOLO_OFFLINE")]
    offline: bool,
    /// The nats-server to run. Default: from PATH, else from the cache, else it is downloaded.
    #[arg(long, env = "TOMBOLO_NATS_SERVER", value_name = "FILE")]
    nats_server: Option<PathBuf>,
    /// The access key of the DynamoDB ports. Default: that of the folder, else a new one.
    #[arg(long, env = "TOMBOLO_DEV_ACCESS_KEY", value_name = "KEY")]
    access_key: Option<String>,
    /// The secret key that belongs to it.
    #[arg(long, env = "TOMBOLO_DEV_SECRET_KEY", value_name = "KEY")]
    secret_key: Option<String>,
    /// Take unsigned requests on the DynamoDB ports.
    #[arg(long, env = "TOMBOLO_DEV_INSECURE")]
    insecure: bool,
    /// How log lines look.
    #[arg(long, env = "TOMBOLO_LOG_FORMAT", default_value = "text")]
    log_format: LogFormat,
    /// What nodes log, as `tracing` filters say it.
    #[arg(long, env = "TOMBOLO_DEV_LOG", default_value = "info", value_name = "FILTER")]
    log: String,
}

impl Args {
    pub(super) fn log_format(&self) -> LogFormat {
        self.start.log_format
    }
}

pub(super) async fn run(args: Args) -> Result {
    match args.command {
        None => start(args.start).await,
        Some(Command::Cut { places, folder }) => {
            let dir = dev::folder(folder.dir.as_deref())?;
            let cluster = ClusterJson::read(&dir.join("cluster.json"))?;
            tell_silent(&faults::cut(&dir, &cluster, &places).await?);
            output::talk(format!("cut off: {}", places.join(", ")));
            Ok(())
        }
        Some(Command::Heal { folder }) => {
            let dir = dev::folder(folder.dir.as_deref())?;
            let cluster = ClusterJson::read(&dir.join("cluster.json"))?;
            tell_silent(&faults::heal(&dir, &cluster).await?);
            output::talk("healed: nothing is cut off");
            Ok(())
        }
    }
}

fn tell_silent(silent: &[String]) {
    for name in silent {
        output::talk(format!("{name} does not answer; it will read this when it starts"));
    }
}

async fn start(start: Start) -> Result {
    let program = std::env::current_exe().context(|| "finding this program's file")?;
    let options = DevOptions {
        regions: start.regions,
        base_port: start.base_port,
        nodes_per_zone: start.nodes_per_zone,
        restart: !start.no_restart,
        link_delay_ms: start.link_delay_ms,
        offline: start.offline,
        nats_server: start.nats_server,
        access_key: start.access_key,
        secret_key: start.secret_key,
        insecure: start.insecure,
        log_format: start.log_format,
        log: start.log,
        talk: Arc::new(|line| output::talk(line)),
        ..DevOptions::new(program, start.dir)
    };
    let listen = |kind| signal(kind).context(|| "listening to signals");
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    if options.nodes_per_zone == 1 {
        output::talk(
            "one node per zone: a lost node comes back with its data; healing onto a spare needs \
             --nodes-per-zone 2",
        );
    }
    let cluster = tokio::select! {
        cluster = Box::pin(DevCluster::start(options)) => cluster?,
        // Dropping the half-started cluster kills its processes.
        _ = interrupt.recv() => return Err(Failure::unavailable("interrupted while starting")),
        _ = terminate.recv() => return Err(Failure::unavailable("stopped while starting")),
    };
    dev::remember(cluster.dir());
    describe(&cluster);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    output::talk("stopping");
    cluster.stop(Duration::from_secs(15)).await
}

fn describe(cluster: &DevCluster) {
    let json = cluster.cluster_json();
    for region in &json.regions {
        let endpoints: Vec<&str> = region.nodes.iter().map(|node| node.grpc.as_str()).collect();
        output::talk(format!("{}: {}", region.name, endpoints.join(" ")));
        let dynamodb: Vec<&str> = region.nodes.iter().map(|node| node.dynamodb.as_str()).collect();
        output::talk(format!("{}: DynamoDB {}", region.name, dynamodb.join(" ")));
    }
    let keys = &json.credentials;
    output::talk(format!("access key {}, secret key {}", keys.access_key, keys.secret_key));
    output::talk(format!("everything serves; Ctrl-C stops it. {}", cluster.dir().display()));
    output::data(cluster.dir().join("cluster.json").display().to_string());
}
