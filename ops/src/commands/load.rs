//! `tombolo load`: a file of items into a table, many at a time.
//!
//! Always true: the count it reports when it stops is a prefix of the file: every line before it is
//! stored. Storing an item twice changes nothing, so going on from that count is always safe. The
//! items travel on a session, which outlives the router it began at.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinSet;
use tombolo_client::{ClientError, SessionOptions};

use super::connection::Connection;
use super::values;
use crate::error::{Context, Exit, Failure, Result, exit_of_code};
use crate::output::{self, Format};

/// Loads items from a file with one JSON object per line.
///
/// When it stops early it says how many lines are stored and how to go on; storing a line twice
/// does no harm. Exit code 2: a line is no item; 3: the cluster did not take it in time.
///
/// Examples:
///   tombolo load music songs.jsonl
///   zcat songs.jsonl.gz | tombolo load music - --concurrency 128
///   tombolo load music songs.jsonl --skip 120000
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// The table.
    table: String,
    /// The file; `-` reads standard input.
    file: PathBuf,
    /// Items on their way at the same time.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4096))]
    concurrency: u32,
    /// Lines at the start that are stored already.
    #[arg(long, default_value_t = 0)]
    skip: u64,
    /// How long a line is tried again while the cluster cannot take it, in seconds.
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    patience: u64,
    /// Lines are DynamoDB JSON.
    #[arg(long)]
    dynamodb_json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Which lines are stored, as the length of the prefix without holes.
#[derive(Default)]
struct Prefix {
    /// All lines before this number are stored.
    complete: u64,
    beyond: BTreeSet<u64>,
}

impl Prefix {
    fn done(&mut self, line: u64) {
        self.beyond.insert(line);
        while self.beyond.remove(&self.complete) {
            self.complete += 1;
        }
    }
}

pub(super) async fn run(args: Args) -> Result {
    let client = args.connection.connect().await?;
    // A wrong name fails here, before the first line.
    client.describe_table(&args.table).await?;
    let (mut lines, bar) = open(&args)?;
    let started = Instant::now();
    let session = client.session(SessionOptions {
        in_flight: args.concurrency as usize,
        request_timeout: Some(Duration::from_secs(args.patience.max(1))),
    });
    let mut prefix = Prefix { complete: args.skip, ..Prefix::default() };
    let mut on_their_way: JoinSet<(u64, std::result::Result<(), ClientError>)> = JoinSet::new();
    let mut number = 0_u64;
    let mut failure: Option<Failure> = None;
    let mut more = true;
    while failure.is_none() && (more || !on_their_way.is_empty()) {
        while more && on_their_way.len() < args.concurrency as usize {
            let mut line = String::new();
            let read = lines.read_line(&mut line).context(|| "reading the file")?;
            if read == 0 {
                more = false;
                break;
            }
            let at = number;
            number += 1;
            bar.inc(read as u64);
            if at < args.skip {
                continue;
            }
            if line.trim().is_empty() {
                prefix.done(at);
                continue;
            }
            match values::item(&line, args.dynamodb_json) {
                Ok(item) => {
                    let (session, table) = (session.clone(), args.table.clone());
                    on_their_way.spawn(async move {
                        (at, session.put_item(&table, item).await.map(|_| ()))
                    });
                }
                Err(wrong) => {
                    failure = Some(wrong.prefixed(format!("line {}", at + 1)));
                    more = false;
                    break;
                }
            }
        }
        if let Some(ended) = on_their_way.join_next().await {
            take(ended, &mut prefix, &mut failure)?;
        }
        bar.set_message(format!("{} lines", prefix.complete));
    }
    while let Some(ended) = on_their_way.join_next().await {
        take(ended, &mut prefix, &mut failure)?;
    }
    bar.finish_and_clear();
    finish(&args, prefix.complete, started.elapsed(), failure)
}

fn open(args: &Args) -> Result<(Box<dyn BufRead + Send>, ProgressBar)> {
    if args.file.as_os_str() == "-" {
        let bar = ProgressBar::no_length();
        return Ok((Box::new(BufReader::new(std::io::stdin())), bar));
    }
    let what = || format!("opening {}", args.file.display());
    let file = std::fs::File::open(&args.file)
        .context(what)
        .map_err(|failure| failure.with_exit(Exit::Usage))?;
    let bar = ProgressBar::new(file.metadata().context(what)?.len());
    let template = "[{bar:30}] {bytes}/{total_bytes} {msg} {elapsed}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    Ok((Box::new(BufReader::with_capacity(1 << 18, file)), bar))
}

type Ended =
    std::result::Result<(u64, std::result::Result<(), ClientError>), tokio::task::JoinError>;

fn take(ended: Ended, prefix: &mut Prefix, failure: &mut Option<Failure>) -> Result {
    match ended? {
        (line, Ok(())) => prefix.done(line),
        (line, Err(error)) => {
            if failure.is_none() {
                let exit = exit_of_code(error.code);
                let told = format!("line {}: {error}", line + 1);
                *failure = Some(Failure { exit, message: told });
            }
        }
    }
    Ok(())
}

fn finish(args: &Args, complete: u64, took: Duration, failure: Option<Failure>) -> Result {
    let loaded = complete.saturating_sub(args.skip);
    let rate = loaded as f64 / took.as_secs_f64().max(1e-9);
    if args.connection.format() == Format::Json {
        output::json(&serde_json::json!({
            "table": args.table, "lines_stored": complete, "loaded_now": loaded,
            "seconds": took.as_secs_f64(), "items_per_second": rate, "complete": failure.is_none(),
        }))?;
    } else {
        let seconds = took.as_secs_f64();
        output::data(format!("{loaded} items in {seconds:.1} s ({rate:.0}/s)"));
    }
    let Some(failure) = failure else { return Ok(()) };
    let file = args.file.display();
    let exit = failure.exit;
    let advice = format!(
        "{}\nthe first {complete} lines are stored; go on with: tombolo load {} {file} --skip {complete}",
        failure.message, args.table
    );
    Err(Failure { exit, message: advice })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_a_prefix_without_holes() {
        let mut prefix = Prefix::default();
        for line in [1, 2, 5] {
            prefix.done(line);
        }
        assert_eq!(prefix.complete, 0);
        prefix.done(0);
        assert_eq!(prefix.complete, 3);
        prefix.done(4);
        prefix.done(3);
        assert_eq!(prefix.complete, 6);
    }
}
