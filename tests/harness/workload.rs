//! Writers that know what was acknowledged, and a reader that looks for all of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tombolo_client::Client;
use tombolo_item::{Item, Number, Value};

use crate::cluster::key;

/// What each key must hold: the last acknowledged version, and the last one that was tried.
#[derive(Clone, Debug, Default)]
pub struct Ledger(pub BTreeMap<String, Entry>);

#[derive(Clone, Copy, Debug, Default)]
pub struct Entry {
    pub acknowledged: u64,
    pub attempted: u64,
}

impl Ledger {
    pub fn acknowledged(&self) -> u64 {
        self.0.values().map(|entry| entry.acknowledged).sum()
    }

    fn absorb(&mut self, other: Ledger) {
        self.0.extend(other.0);
    }
}

/// Writers in the background, each with keys of its own.
pub struct Writers {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<Seen>>,
}

/// What one writer saw.
#[derive(Default)]
struct Seen {
    ledger: Ledger,
    /// When each acknowledgement came.
    acknowledged: Vec<Instant>,
    errors: Vec<String>,
}

/// What the writers did.
pub struct Written {
    pub ledger: Ledger,
    /// The longest time in which nobody got an acknowledgement.
    pub longest_pause: Duration,
    /// Errors that a client saw.
    pub errors: Vec<String>,
}

pub fn item(pk: &str, version: u64) -> Item {
    let mut item = key(pk);
    item.insert("v", Value::N(Number::from(version)));
    item.insert("text", Value::S(format!("{pk} version {version}")));
    item
}

pub fn version_of(item: &Item) -> u64 {
    match item.get("v") {
        Some(Value::N(number)) => number.to_string().parse().expect("versions are whole"),
        other => panic!("the item has no version: {other:?}"),
    }
}

impl Writers {
    /// Starts `count` writers over `keys` keys each; one write at a time per writer.
    pub fn start(client: &Client, table: &str, prefix: &str, count: usize, keys: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let tasks = (0..count)
            .map(|writer| {
                let (client, table, stop) = (client.clone(), table.to_owned(), stop.clone());
                let prefix = format!("{prefix}-{writer}");
                tokio::spawn(async move {
                    let mut seen = Seen::default();
                    let mut turn = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let pk = format!("{prefix}-{}", turn % keys);
                        turn += 1;
                        let entry = seen.ledger.0.entry(pk.clone()).or_default();
                        entry.attempted += 1;
                        match client.put_item(&table, item(&pk, entry.attempted)).await {
                            Ok(_) => {
                                entry.acknowledged = entry.attempted;
                                seen.acknowledged.push(Instant::now());
                            }
                            Err(error) => seen.errors.push(error.to_string()),
                        }
                    }
                    seen
                })
            })
            .collect();
        Self { stop, tasks }
    }

    pub async fn finish(self) -> Written {
        self.stop.store(true, Ordering::Relaxed);
        let (mut ledger, mut acks, mut errors) = (Ledger::default(), vec![], vec![]);
        for task in self.tasks {
            let seen = task.await.expect("a writer ends");
            ledger.absorb(seen.ledger);
            acks.extend(seen.acknowledged);
            errors.extend(seen.errors);
        }
        acks.sort_unstable();
        let longest_pause = acks.windows(2).map(|w| w[1] - w[0]).max().unwrap_or_default();
        Written { ledger, longest_pause, errors }
    }
}

/// Reads every key back; names those that hold less than was acknowledged or more than was tried.
pub async fn lost(client: &Client, table: &str, ledger: &Ledger) -> Vec<String> {
    let mut lost = Vec::new();
    for (pk, entry) in &ledger.0 {
        let read = client.get_item(table, key(pk), true).await;
        let item = read.unwrap_or_else(|e| panic!("reading {pk} back: {e}"));
        let held = item.as_ref().map_or(0, version_of);
        if held < entry.acknowledged || held > entry.attempted {
            lost.push(format!("{pk}: holds {held}, {entry:?}"));
        }
    }
    lost
}
