//! `tombolo stream tail`: a table's changes as they happen.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Subcommand, ValueEnum};
use tombolo_client::Client;
use tombolo_item::RegionId;
use tombolo_stream::connect::without_password;
use tombolo_stream::subscriber::{Start, SubscriberSettings, Subscription};
use tombolo_stream::{Family, TableFace};

use super::connection::Connection;
use super::fetch::FromLog;
use crate::dev::ClusterJson;
use crate::error::{Context, Failure, Result};
use crate::{dev, output};

/// Reads the stream of changes of a table.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Prints each change as one line of JSON, until Ctrl-C.
    ///
    /// The changes come from NATS and are checked: sequence numbers without holes, and a hash chain
    /// from record to record. The subject is printed first, on standard error; any NATS client can
    /// subscribe to it.
    ///
    /// Examples:
    ///   tombolo stream tail music
    ///   tombolo stream tail music --from oldest --count 10
    ///   tombolo stream tail music --nats nats://user:password@nats.example:4222
    #[command(verbatim_doc_comment)]
    Tail(Tail),
}

#[derive(clap::Args, Debug)]
struct Tail {
    /// The table.
    table: String,
    /// The region's NATS; found by itself for a development cluster.
    #[arg(long, env = "TOMBOLO_NATS_URL", value_name = "URL", hide_env_values = true)]
    nats: Option<String>,
    /// The folder of the development cluster. Default: the one started last.
    #[arg(long, env = "TOMBOLO_DEV_DIR", value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Where to begin.
    #[arg(long, default_value = "now")]
    from: From,
    /// End after this many changes.
    #[arg(long)]
    count: Option<u64>,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    /// What the broker still has.
    Oldest,
    /// What happens from now on.
    Now,
}

pub(super) async fn run(args: Args) -> Result {
    let Command::Tail(tail) = args.command;
    let client = args.connection.connect().await?;
    let status = client.status().await?;
    let region = status.region.clone();
    let info = client.describe_stream(&tail.table).await?;
    if info.subject.is_empty() {
        return Err(Failure::negative(format!(
            "{} has no stream for people; it was created without --stream",
            tail.table
        )));
    }
    let nats_url = match &tail.nats {
        Some(url) => url.clone(),
        None => nats_of_dev_cluster(tail.dir.as_deref(), &region)?,
    };
    output::talk(format!("subject {} on {}", info.subject, without_password(&nats_url)));
    let face = TableFace {
        table: info
            .table_id
            .parse()
            .map_err(|_| Failure::unavailable(format!("{:?} is no table id", info.table_id)))?,
        name: tail.table.clone(),
        region: status.regions.iter().find(|r| r.local).map_or(RegionId(0), |r| r.id),
        region_name: region,
        schema: client.describe_table(&tail.table).await?.schema,
        view: info.view,
        replicated: !info.replication_subject.is_empty(),
    };
    follow(client, &tail, face, nats_url).await
}

fn nats_of_dev_cluster(dir: Option<&std::path::Path>, region: &str) -> Result<String> {
    let hint = "say where NATS is with --nats nats://user:password@host:port";
    let dir = dev::folder(dir).context(|| hint)?;
    let cluster = ClusterJson::read(&dir.join("cluster.json")).context(|| hint)?;
    let found = cluster.regions.into_iter().find(|r| r.name == region);
    found.map(|r| r.nats).ok_or_else(|| {
        Failure::usage(format!(
            "the development cluster in {} has no region {region}; {hint}",
            dir.display()
        ))
    })
}

async fn follow(client: Client, tail: &Tail, face: TableFace, nats_url: String) -> Result {
    let start = match tail.from {
        From::Oldest => Start::Oldest,
        From::Now => Start::Newest,
    };
    let mut settings = SubscriberSettings::new(
        nats_url,
        face.region_name.clone(),
        face.table,
        Family::People,
        start,
    );
    settings.name = "tombolo stream tail".to_owned();
    let fetch = FromLog::new(client, face);
    let opened = Subscription::open(settings, Some(Arc::new(fetch)));
    let mut subscription = tokio::select! {
        opened = opened => opened?,
        _ = tokio::signal::ctrl_c() => return Ok(()),
    };
    let mut left = tail.count.unwrap_or(u64::MAX);
    while left > 0 {
        let record = tokio::select! {
            record = subscription.next() => record?,
            _ = tokio::signal::ctrl_c() => return Ok(()),
        };
        output::data(String::from_utf8_lossy(&record.body));
        left -= 1;
    }
    Ok(())
}
