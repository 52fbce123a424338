//! `tombolo table`.

use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use tombolo_client::{Client, Table, TableDefinition};
use tombolo_item::{KeyAttribute, KeySchema, KeyType, StreamView};

use super::connection::Connection;
use crate::error::Result;
use crate::output::{self, Format, columns};

/// Creates, describes, lists and deletes tables.
///
/// Examples:
///   tombolo table create music --key artist:S --sort title:S --partitions 4
///   tombolo table create music --key artist:S --regions us-east,eu-west --stream NEW_AND_OLD_IMAGES
///   tombolo table describe music
///   tombolo table list
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Creates a table, in all its regions, and waits until it serves.
    Create(Create),
    /// Shows keys, regions, partitions, stream.
    Describe {
        /// The table.
        table: String,
    },
    /// Lists the names of all tables.
    List,
    /// Deletes a table with everything in it, in all its regions.
    Delete {
        /// The table.
        table: String,
    },
}

#[derive(clap::Args, Debug)]
struct Create {
    /// The table: 3 to 255 characters of a-z, A-Z, 0-9, '_', '-' and '.'.
    table: String,
    /// The partition key: NAME:TYPE, with type S (text), N (number) or B (binary).
    #[arg(long, value_name = "NAME:TYPE", value_parser = key_attribute)]
    key: KeyAttribute,
    /// The sort key, if there is one.
    #[arg(long, value_name = "NAME:TYPE", value_parser = key_attribute)]
    sort: Option<KeyAttribute>,
    /// Partitions to start with, in each region.
    #[arg(long, default_value_t = 1)]
    partitions: u32,
    /// What the stream of changes shows to people; without it there is no such stream.
    #[arg(long, value_name = "VIEW")]
    stream: Option<View>,
    /// The regions that keep a copy; the one that is asked always does.
    #[arg(long, value_delimiter = ',', value_name = "REGIONS")]
    regions: Vec<String>,
    /// Return as soon as the creation is accepted.
    #[arg(long)]
    no_wait: bool,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
#[value(rename_all = "SCREAMING_SNAKE_CASE")]
enum View {
    KeysOnly,
    NewImage,
    OldImage,
    NewAndOldImages,
}

impl From<View> for StreamView {
    fn from(view: View) -> StreamView {
        match view {
            View::KeysOnly => StreamView::KeysOnly,
            View::NewImage => StreamView::NewImage,
            View::OldImage => StreamView::OldImage,
            View::NewAndOldImages => StreamView::NewAndOldImages,
        }
    }
}

/// Reads `artist:S`.
fn key_attribute(text: &str) -> std::result::Result<KeyAttribute, String> {
    let (name, kind) = text.rsplit_once(':').unwrap_or((text, "S"));
    let kind = match kind {
        "S" => KeyType::S,
        "N" => KeyType::N,
        "B" => KeyType::B,
        other => return Err(format!("{other:?} is no key type; use S, N or B")),
    };
    if name.is_empty() {
        return Err("the attribute's name is missing".to_owned());
    }
    Ok(KeyAttribute { name: name.to_owned(), kind })
}

pub(super) async fn run(args: Args) -> Result {
    let client = args.connection.connect().await?;
    let format = args.connection.format();
    match args.command {
        Command::Create(create) => {
            let table = create_table(&client, create, &args.connection).await?;
            show(&table, format)
        }
        Command::Describe { table } => show(&client.describe_table(&table).await?, format),
        Command::List => {
            let names = client.list_tables().await?;
            match format {
                Format::Json => output::json(&names)?,
                Format::Table => names.iter().for_each(output::data),
            }
            Ok(())
        }
        Command::Delete { table } => {
            let table = client.delete_table(&table).await?;
            output::talk(format!("{} is being deleted", table.name));
            Ok(())
        }
    }
}

async fn create_table(client: &Client, create: Create, connection: &Connection) -> Result<Table> {
    let definition = TableDefinition {
        name: create.table.clone(),
        schema: KeySchema { partition: create.key, sort: create.sort },
        view: create.stream.map(StreamView::from),
        partitions: create.partitions,
        regions: create.regions,
    };
    let table = client.create_table(definition).await?;
    if create.no_wait {
        return Ok(table);
    }
    let patience = Duration::from_secs(connection.timeout.max(30));
    Ok(client.wait_active(&create.table, patience).await?)
}

fn show(table: &Table, format: Format) -> Result {
    match format {
        Format::Json => output::json(&document(table)),
        Format::Table => {
            output::data(render(table));
            Ok(())
        }
    }
}

fn document(table: &Table) -> serde_json::Value {
    let attribute = |a: &KeyAttribute| serde_json::json!({"name": a.name, "type": a.kind.as_str()});
    serde_json::json!({
        "name": table.name,
        "id": table.id,
        "status": table.status,
        "key": attribute(&table.schema.partition),
        "sort": table.schema.sort.as_ref().map(attribute),
        "region": table.region,
        "regions": table.regions,
        "origin_region": table.origin_region,
        "created_ms": table.created_ms,
        "stream_view": table.view.map(StreamView::as_str),
        "stream_subject": table.stream_subject,
        "items": table.item_count,
        "bytes": table.size_bytes,
        "partitions": table.partitions.iter().map(|p| serde_json::json!({
            "shard": p.shard.to_string(),
            "group": p.group.0,
            "replicas": p.replicas.iter().map(|n| n.0).collect::<Vec<_>>(),
            "leader": p.leader.map(|n| n.0),
        })).collect::<Vec<_>>(),
    })
}

fn render(table: &Table) -> String {
    let attribute = |a: &KeyAttribute| format!("{}:{}", a.name, a.kind.as_str());
    let about = |count: Option<u64>| count.map_or("?".to_owned(), |n| format!("about {n}"));
    let or_none = |text: &str| if text.is_empty() { "none".into() } else { text.to_owned() };
    let facts = [
        ("table", table.name.clone()),
        ("id", table.id.clone()),
        ("status", table.status.clone()),
        ("key", attribute(&table.schema.partition)),
        ("sort", table.schema.sort.as_ref().map_or("none".into(), attribute)),
        ("regions", table.regions.join(", ")),
        ("items", format!("{}, {} bytes", about(table.item_count), about(table.size_bytes))),
        ("stream", table.view.map_or("none".into(), |view| view.as_str().to_owned())),
        ("subject", or_none(&table.stream_subject)),
    ];
    let mut text: String = facts.iter().map(|(name, fact)| format!("{name:<9}{fact}\n")).collect();
    let rows: Vec<Vec<String>> = table
        .partitions
        .iter()
        .map(|p| {
            let nodes: Vec<String> = p.replicas.iter().map(ToString::to_string).collect();
            let leader = p.leader.map_or("-".into(), |n| n.to_string());
            vec![p.shard.to_string(), p.group.to_string(), leader, nodes.join(",")]
        })
        .collect();
    text.push('\n');
    text.push_str(&columns(&["SHARD", "GROUP", "LEADER", "COPIES ON"], &rows));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_attributes_are_read() {
        let read = |text| key_attribute(text).map(|a| (a.name, a.kind));
        assert_eq!(read("artist:S"), Ok(("artist".into(), KeyType::S)));
        assert_eq!(read("a:b:N"), Ok(("a:b".into(), KeyType::N)));
        assert_eq!(read("id"), Ok(("id".into(), KeyType::S)));
        assert!(read("id:X").is_err() && read(":S").is_err());
    }
}
