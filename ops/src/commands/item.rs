//! `tombolo item`.

use clap::Subcommand;
use tombolo_client::{Client, ClientError, KeyQuery, Page, ReadPage};
use tombolo_item::{KeySchema, SortCondition};

use super::connection::Connection;
use super::values::{self, WriteFlags};
use crate::error::{Failure, Result};
use crate::output;

/// Puts, gets, deletes, queries and scans items.
///
/// Items are plain JSON ({"id":"a","year":1965}); --dynamodb-json takes and prints DynamoDB's form
/// ({"id":{"S":"a"},"year":{"N":"1965"}}). Keys are given as bare values in the order of the table's
/// key, or as a JSON object; binary values in base64.
///
/// Exit code 1: the item is not there, or the condition does not hold.
///
/// Examples:
///   tombolo item put music '{"artist":"Nina","title":"Sinnerman","year":1965}'
///   tombolo item put music - --condition 'attribute_not_exists(artist)' < item.json
///   tombolo item get music Nina Sinnerman --strong
///   tombolo item query music Nina --begins-with S --reverse --limit 10
///   tombolo item scan music --output json | wc -l
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
    /// Read and print DynamoDB JSON.
    #[arg(long, global = true)]
    dynamodb_json: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Stores an item, replacing the one with the same key.
    Put {
        /// The table.
        table: String,
        /// The item as JSON; `-` reads it from standard input.
        item: String,
        #[command(flatten)]
        flags: WriteFlags,
    },
    /// Prints the item with this key.
    Get {
        /// The table.
        table: String,
        /// The key.
        #[arg(required = true, num_args = 1..=2)]
        key: Vec<String>,
        /// See every write that was acknowledged before.
        #[arg(long)]
        strong: bool,
    },
    /// Removes the item with this key.
    Delete {
        /// The table.
        table: String,
        /// The key.
        #[arg(required = true, num_args = 1..=2)]
        key: Vec<String>,
        #[command(flatten)]
        flags: WriteFlags,
    },
    /// Prints the items of one partition key, in the order of the sort key.
    Query(Query),
    /// Prints all items of a table, in the order of their storage.
    Scan {
        /// The table.
        table: String,
        /// Most items to print; all without it.
        #[arg(long)]
        limit: Option<u32>,
        /// See every write that was acknowledged before.
        #[arg(long)]
        strong: bool,
    },
}

#[derive(clap::Args, Debug)]
struct Query {
    /// The table.
    table: String,
    /// The partition key's value.
    partition: String,
    #[command(flatten)]
    sort: SortFlags,
    /// Descending.
    #[arg(long)]
    reverse: bool,
    /// Most items to print; all without it.
    #[arg(long)]
    limit: Option<u32>,
    /// See every write that was acknowledged before.
    #[arg(long)]
    strong: bool,
}

#[derive(clap::Args, Debug)]
#[group(multiple = false)]
struct SortFlags {
    /// Sort key equal to this.
    #[arg(long, value_name = "VALUE")]
    eq: Option<String>,
    /// Sort key less than this.
    #[arg(long, value_name = "VALUE")]
    lt: Option<String>,
    /// Sort key at most this.
    #[arg(long, value_name = "VALUE")]
    le: Option<String>,
    /// Sort key greater than this.
    #[arg(long, value_name = "VALUE")]
    gt: Option<String>,
    /// Sort key at least this.
    #[arg(long, value_name = "VALUE")]
    ge: Option<String>,
    /// Sort key within these two, both included.
    #[arg(long, num_args = 2, value_names = ["LOW", "HIGH"])]
    between: Option<Vec<String>>,
    /// Sort key that begins with this.
    #[arg(long, value_name = "VALUE")]
    begins_with: Option<String>,
}

impl SortFlags {
    fn condition(&self, schema: &KeySchema) -> Result<Option<SortCondition>> {
        let value = |text: &String| match &schema.sort {
            Some(sort) => values::key_value(sort, text),
            None => Err(Failure::usage("this table has no sort key")),
        };
        Ok(match self {
            SortFlags { eq: Some(v), .. } => Some(SortCondition::Eq(value(v)?)),
            SortFlags { lt: Some(v), .. } => Some(SortCondition::Lt(value(v)?)),
            SortFlags { le: Some(v), .. } => Some(SortCondition::Le(value(v)?)),
            SortFlags { gt: Some(v), .. } => Some(SortCondition::Gt(value(v)?)),
            SortFlags { ge: Some(v), .. } => Some(SortCondition::Ge(value(v)?)),
            SortFlags { begins_with: Some(v), .. } => Some(SortCondition::BeginsWith(value(v)?)),
            SortFlags { between: Some(bounds), .. } => match &bounds[..] {
                [low, high] => Some(SortCondition::Between(value(low)?, value(high)?)),
                _ => return Err(Failure::usage("--between takes two values")),
            },
            _ => None,
        })
    }
}

pub(super) async fn run(args: Args) -> Result {
    let client = args.connection.connect().await?;
    let (format, dynamodb_json) = (args.connection.format(), args.dynamodb_json);
    match args.command {
        Command::Put { table, item, flags } => {
            let item = values::item(&values::text_or_stdin(&item)?, dynamodb_json)?;
            let options = flags.options(dynamodb_json)?;
            let written = client.put_item_with(&table, item, options).await;
            print_old(written.map_err(|e| refused(e, dynamodb_json))?.old, dynamodb_json);
        }
        Command::Get { table, key, strong } => {
            let schema = client.describe_table(&table).await?.schema;
            let key = values::key(&schema, &key, dynamodb_json)?;
            match client.get_item(&table, key, strong).await? {
                Some(item) => values::print(&[item], &schema, format, dynamodb_json),
                None => return Err(Failure::negative("there is no item with this key")),
            }
        }
        Command::Delete { table, key, flags } => {
            let schema = client.describe_table(&table).await?.schema;
            let key = values::key(&schema, &key, dynamodb_json)?;
            let options = flags.options(dynamodb_json)?;
            let written = client.delete_item_with(&table, key, options).await;
            print_old(written.map_err(|e| refused(e, dynamodb_json))?.old, dynamodb_json);
        }
        Command::Query(query) => {
            let schema = client.describe_table(&query.table).await?.schema;
            let what = KeyQuery {
                partition: values::key_value(&schema.partition, &query.partition)?,
                sort: query.sort.condition(&schema)?,
                reverse: query.reverse,
            };
            let source = Source::Query(&query.table, &what);
            print_pages(&client, source, query.limit, query.strong, |items| {
                values::print(items, &schema, format, dynamodb_json)
            })
            .await?;
        }
        Command::Scan { table, limit, strong } => {
            let schema = client.describe_table(&table).await?.schema;
            print_pages(&client, Source::Scan(&table), limit, strong, |items| {
                values::print(items, &schema, format, dynamodb_json)
            })
            .await?;
        }
    }
    Ok(())
}

fn print_old(old: Option<tombolo_item::Item>, dynamodb_json: bool) {
    if let Some(old) = old {
        output::data(values::to_json(&old, dynamodb_json).to_string());
    }
}

/// A failed condition is an answer: the item that made it fail is data.
fn refused(error: ClientError, dynamodb_json: bool) -> Failure {
    if !error.is_condition_failed() {
        return error.into();
    }
    match &error.item {
        Some(item) => {
            output::data(values::to_json(item, dynamodb_json).to_string());
            Failure::negative("the condition does not hold for the item above")
        }
        None => Failure::negative("the condition does not hold: there is no such item"),
    }
}

enum Source<'a> {
    Query(&'a str, &'a KeyQuery),
    Scan(&'a str),
}

/// Prints page after page until the limit or the end.
async fn print_pages(
    client: &Client,
    source: Source<'_>,
    limit: Option<u32>,
    consistent: bool,
    print: impl Fn(&[tombolo_item::Item]),
) -> Result {
    let mut left = limit;
    let mut start = None;
    loop {
        let from = ReadPage { limit: left, start, consistent };
        let page: Page = match &source {
            Source::Query(table, query) => client.query(table, (*query).clone(), from).await?,
            Source::Scan(table) => client.scan(table, from).await?,
        };
        if !page.items.is_empty() {
            print(&page.items);
        }
        left = left.map(|left| left.saturating_sub(page.items.len() as u32));
        if page.last_evaluated_key.is_none() || left == Some(0) {
            return Ok(());
        }
        start = page.last_evaluated_key;
    }
}
