//! Reads a table's stream and hands on every record exactly once, in the order of its shard.
//!
//! Always true:
//! - A record is handed on only after the one before it; what is missing, damaged or in doubt is
//!   fetched from the shard's log, and the log decides.
//! - The consumer's own positions decide where reading starts, now and after every interruption.
//!   The consumer on the broker is throw-away: nothing is acknowledged to it, and its idea of a
//!   position is never used.
//! - A shard that waits for a fetch holds up nobody else, and keeps a bounded number of messages.
//!
//! In reading order: [`fetch`] (what the log must offer), `shard` (one shard's decisions),
//! `broker` (finding the place to start, opening the consumer), `worker` (the loop).

mod broker;
pub mod fetch;
mod shard;
#[cfg(all(test, feature = "publisher", feature = "subscriber"))]
mod tests;
mod worker;

use crate::chain::Position;
use crate::connect::{Connection, without_password};
use crate::error::{MessageError, StreamError};
use crate::subject::Family;
use bytes::Bytes;
pub use fetch::{FetchFailure, FetchMissing, Fetched};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tombolo_item::{ChangeRecord, Shard, TableId};

/// Where reading begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// The oldest message the broker has of each shard.
    Oldest,
    /// What comes after the newest message the broker has now.
    Newest,
    /// After these positions; a shard that is not named, from its first record. An empty map
    /// therefore means everything that ever was.
    Checkpoint(BTreeMap<Shard, Position>),
}

/// What to read, and from where.
#[derive(Clone)]
pub struct SubscriberSettings {
    /// `nats://user:password@host:port`.
    pub nats_url: String,
    /// The region whose stream it is (not necessarily ours).
    pub region_name: String,
    pub table: TableId,
    pub family: Family,
    pub start: Start,
    /// Only these shards; `None`: all there are and will be.
    pub shards: Option<BTreeSet<Shard>>,
    /// How the broker's operator sees this connection.
    pub name: String,
    /// The broker says this often that it is alive.
    pub idle_heartbeat: Duration,
    /// How long a position may be behind a head learned by another path before the log is asked.
    pub head_patience: Duration,
    /// Records read ahead of the caller at most.
    pub records_ahead: usize,
}

impl SubscriberSettings {
    pub fn new(
        nats_url: impl Into<String>,
        region_name: impl Into<String>,
        table: TableId,
        family: Family,
        start: Start,
    ) -> SubscriberSettings {
        SubscriberSettings {
            nats_url: nats_url.into(),
            region_name: region_name.into(),
            table,
            family,
            start,
            shards: None,
            name: "tombolo subscriber".into(),
            idle_heartbeat: Duration::from_secs(1),
            head_patience: Duration::from_secs(3),
            records_ahead: 1024,
        }
    }
}

/// The address without its password.
impl fmt::Debug for SubscriberSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubscriberSettings")
            .field("nats_url", &without_password(&self.nats_url))
            .field("region_name", &self.region_name)
            .field("table", &self.table)
            .field("family", &self.family)
            .field("start", &self.start)
            .field("shards", &self.shards)
            .finish_non_exhaustive()
    }
}

/// One change, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamRecord {
    pub shard: Shard,
    pub seq: u64,
    /// Chain hash of the canonical record: with `seq`, the position after this record.
    pub hash: u64,
    /// `.repl`: the canonical record. People: the record as JSON text.
    pub body: Bytes,
    /// It came from the shard's log, not from the broker.
    pub fetched: bool,
}

impl StreamRecord {
    /// The record of a `.repl` stream, decoded.
    pub fn change(&self) -> Result<ChangeRecord, MessageError> {
        ChangeRecord::decode(&self.body).map_err(|error| MessageError::Malformed {
            what: "change record",
            reason: error.to_string(),
        })
    }

    pub fn position(&self) -> Position {
        Position { seq: self.seq, hash: self.hash }
    }
}

/// What the worker tells the subscription.
#[derive(Debug)]
enum Event {
    /// Reading begins at these positions.
    Started(BTreeMap<Shard, Position>),
    Record(StreamRecord),
    /// The shard moved on without anything to show.
    Covered(Shard, Position),
    /// The shard is held; the others go on.
    Failed(StreamError),
}

/// A table's stream, from a position on. Dropping it ends it.
pub struct Subscription {
    events: mpsc::Receiver<Event>,
    /// Met in the middle of a batch; the next call says it.
    failed: Option<StreamError>,
    positions: BTreeMap<Shard, Position>,
    heads: watch::Sender<BTreeMap<Shard, Position>>,
    worker: tokio::task::JoinHandle<()>,
}

impl Subscription {
    /// Starts reading. With [`Start::Oldest`] and [`Start::Newest`] it returns once the broker has
    /// said where that is, so that everything written after the return is seen; with a checkpoint
    /// at once. `fetch` gives what the broker does not have; without it a hole is an error.
    pub async fn open(
        settings: SubscriberSettings,
        fetch: Option<Arc<dyn FetchMissing>>,
    ) -> Result<Subscription, StreamError> {
        crate::metrics::register();
        let connection = Connection::open(&settings.nats_url, &settings.name).await?;
        let (sender, events) = mpsc::channel(settings.records_ahead.max(1));
        let (heads, heads_seen) = watch::channel(BTreeMap::new());
        let positions = match &settings.start {
            Start::Checkpoint(positions) => Some(positions.clone()),
            Start::Oldest | Start::Newest => None,
        };
        let wait = positions.is_none();
        let worker = worker::Worker::new(settings, connection, fetch, sender, heads_seen);
        let mut subscription = Subscription {
            events,
            failed: None,
            positions: positions.unwrap_or_default(),
            heads,
            worker: tokio::spawn(worker.run()),
        };
        if wait {
            // The first event is always where reading starts.
            let event = subscription.events.recv().await.ok_or(StreamError::Closed)?;
            subscription.take(event)?;
        }
        Ok(subscription)
    }

    /// The next record of any shard. Safe to cancel. An error names the shard that cannot go on;
    /// the others do, so calling again is meaningful unless it says `Closed`.
    pub async fn next(&mut self) -> Result<StreamRecord, StreamError> {
        loop {
            if let Some(error) = self.failed.take() {
                return Err(error);
            }
            let event = self.events.recv().await.ok_or(StreamError::Closed)?;
            if let Some(record) = self.take(event)? {
                return Ok(record);
            }
        }
    }

    /// What is there now, at most `most`; waits for the first. Safe to cancel.
    pub async fn next_batch(&mut self, most: usize) -> Result<Vec<StreamRecord>, StreamError> {
        let mut records = vec![self.next().await?];
        while records.len() < most {
            match self.events.try_recv() {
                Ok(Event::Failed(error)) => {
                    // What was read before it comes first.
                    self.failed = Some(error);
                    break;
                }
                Ok(event) => records.extend(self.take(event)?),
                Err(_) => break,
            }
        }
        Ok(records)
    }

    /// Where each shard stands after what was handed on: what to keep as the next checkpoint.
    pub fn positions(&self) -> &BTreeMap<Shard, Position> {
        &self.positions
    }

    /// Tells a shard's newest position, learned by another path than the broker. A subscription
    /// that stays behind it fetches from the log: that is how a lost tail is found.
    pub fn observe_head(&self, shard: Shard, head: Position) {
        self.heads.send_if_modified(|heads| match heads.get(&shard) {
            Some(known) if known.seq >= head.seq => false,
            _ => heads.insert(shard, head) != Some(head),
        });
    }

    fn take(&mut self, event: Event) -> Result<Option<StreamRecord>, StreamError> {
        match event {
            Event::Started(positions) => {
                self.positions = positions;
                Ok(None)
            }
            Event::Record(record) => {
                self.positions.insert(record.shard, record.position());
                Ok(Some(record))
            }
            Event::Covered(shard, position) => {
                self.positions.insert(shard, position);
                Ok(None)
            }
            Event::Failed(error) => Err(error),
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.worker.abort();
    }
}
