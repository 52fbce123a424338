//! `tombolo conflicts`: the writes of a global table that lost.

use serde_json::json;
use tombolo_client::Table;
use tombolo_client::conflict::{Conflict, ConflictSide};
use tombolo_item::json::item_to_plain;
use tombolo_item::{Item, RegionId};

use super::connection::Connection;
use crate::error::Result;
use crate::output::{self, Format, columns};

/// Shows writes that lost a conflict between regions, and what they lost against.
///
/// Each line is one lost write: the key, both versions with their stamps and regions, and the rule
/// that decided. What is shown is the log of the region that --endpoint belongs to.
///
/// Examples:
///   tombolo conflicts music
///   tombolo conflicts music --output json | jq .loser.item
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// The table.
    table: String,
    /// End after this many.
    #[arg(long, default_value_t = 1_000)]
    limit: usize,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(args: Args) -> Result {
    let client = args.connection.connect().await?;
    let status = client.status().await?;
    let table = client.describe_table(&args.table).await?;
    let (mut all, mut place) = (Vec::new(), Vec::new());
    while all.len() < args.limit {
        let page = client.list_conflicts(&args.table, &place).await?;
        all.extend(page.conflicts);
        place = page.next;
        if place.is_empty() {
            break;
        }
    }
    all.truncate(args.limit);
    let name = |id: RegionId| {
        let known = status.regions.iter().find(|region| region.id == id);
        known.map_or_else(|| id.0.to_string(), |region| region.name.clone())
    };
    match args.connection.format() {
        Format::Json => {
            all.iter().for_each(|one| output::data(line(one, &name).to_string()));
        }
        Format::Table => {
            let rows: Vec<Vec<String>> = all.iter().map(|one| row(one, &table, &name)).collect();
            let heading = ["KEY", "LOST", "BY", "AT", "STAYED", "BY", "AT", "RULE"];
            output::data(columns(&heading, &rows));
        }
    }
    Ok(())
}

fn side(side: &ConflictSide, name: &impl Fn(RegionId) -> String) -> serde_json::Value {
    json!({
        "stamp": side.stamp.to_string(),
        "region": name(side.origin),
        "deleted": side.item.is_none(),
        "item": side.item.as_ref().map(item_to_plain),
    })
}

fn line(one: &Conflict, name: &impl Fn(RegionId) -> String) -> serde_json::Value {
    json!({
        "key": item_to_plain(&one.key),
        "winner": side(&one.winner, name),
        "loser": side(&one.loser, name),
        "loser_was_local": one.loser_was_local,
        "rule": one.rule,
    })
}

fn row(one: &Conflict, table: &Table, name: &impl Fn(RegionId) -> String) -> Vec<String> {
    let rest = |item: &Option<Item>| match item {
        None => "(deleted)".to_owned(),
        Some(item) => {
            let mut item = item.clone();
            let sort = table.schema.sort.as_ref().map(|sort| &sort.name);
            item.0.retain(|name, _| *name != table.schema.partition.name && Some(name) != sort);
            item_to_plain(&item).to_string()
        }
    };
    vec![
        item_to_plain(&one.key).to_string(),
        rest(&one.loser.item),
        name(one.loser.origin),
        one.loser.stamp.to_string(),
        rest(&one.winner.item),
        name(one.winner.origin),
        one.winner.stamp.to_string(),
        one.rule.clone(),
    ]
}
