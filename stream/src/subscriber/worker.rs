//! The loop of a subscription: messages in, fetches out, records on.
//!
//! Always true: whatever interrupts the consumer (the server restarts, the stream is deleted or
//! recreated, the consumer is forgotten, a message between broker and us is lost), it is opened
//! again from our own positions.

use super::broker::{self, Opened, Place, Plan};
use super::fetch::{FetchFailure, FetchMissing, Fetched};
use super::shard::{Arrived, Outcome, ShardReader};
use super::{Event, SubscriberSettings};
use crate::chain::Position;
use crate::connect::Connection;
use crate::head::MessageHead;
use crate::jet::{self, JetError};
use crate::subject::{self, shard_of};
use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::pull;
use futures::StreamExt;
use futures::future::{BoxFuture, FutureExt};
use futures::stream::FuturesUnordered;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tombolo_item::Shard;

/// How often a stream that is there is asked whether it is still the same.
const LIFE_CHECK: Duration = Duration::from_secs(5);
const RETRY_MIN: Duration = Duration::from_millis(20);
/// A stream that is not there yet is looked for this often; a log that does not answer, asked.
const RETRY_MAX: Duration = Duration::from_millis(500);
/// Records asked of a log at once.
const FETCH_MAX: u64 = 10_000;

type Answer = (Shard, Result<Vec<Fetched>, FetchFailure>);

pub(super) struct Worker {
    settings: Arc<SubscriberSettings>,
    connection: Connection,
    fetch: Option<Arc<dyn FetchMissing>>,
    events: mpsc::Sender<Event>,
    heads: watch::Receiver<BTreeMap<Shard, Position>>,
    started: bool,
    shards: BTreeMap<Shard, ShardReader>,
    fetching: BTreeSet<Shard>,
    fetches: FuturesUnordered<BoxFuture<'static, Answer>>,
    fetch_delay: BTreeMap<Shard, Duration>,
    /// Since when a shard's head, learned by another path, is not reached.
    behind_since: BTreeMap<Shard, (u64, Instant)>,
    place: Option<Place>,
}

/// The consumer: being opened, or open.
enum Consumer {
    Opening(BoxFuture<'static, Result<Opened, JetError>>),
    Open { messages: Box<pull::Stream>, epoch: u64, next_consumer_seq: u64 },
}

/// Why the worker ends: nobody listens any more.
struct Ended;

impl Worker {
    pub(super) fn new(
        settings: SubscriberSettings,
        connection: Connection,
        fetch: Option<Arc<dyn FetchMissing>>,
        events: mpsc::Sender<Event>,
        heads: watch::Receiver<BTreeMap<Shard, Position>>,
    ) -> Worker {
        let mut worker = Worker {
            settings: Arc::new(settings),
            connection,
            fetch,
            events,
            heads,
            started: false,
            shards: BTreeMap::new(),
            fetching: BTreeSet::new(),
            fetches: FuturesUnordered::new(),
            fetch_delay: BTreeMap::new(),
            behind_since: BTreeMap::new(),
            place: None,
        };
        if let super::Start::Checkpoint(positions) = worker.settings.start.clone() {
            worker.begin(positions);
        }
        worker
    }

    pub(super) async fn run(mut self) {
        // The only way out is that the subscription was dropped.
        let _: Result<(), Ended> = self.work().await;
    }

    async fn work(&mut self) -> Result<(), Ended> {
        let mut consumer = self.open(Duration::ZERO);
        let mut delay = RETRY_MIN;
        let mut tick = tokio::time::interval(Duration::from_millis(250));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut life = self.watch_life();
        loop {
            let again = match &mut consumer {
                Consumer::Opening(opening) => tokio::select! {
                    opened = opening => match opened {
                        Ok(opened) => {
                            delay = RETRY_MIN;
                            self.place = Some(opened.place);
                            if !self.started {
                                self.send(Event::Started(opened.positions.clone())).await?;
                                self.begin(opened.positions);
                            }
                            consumer = Consumer::Open {
                                messages: Box::new(opened.messages),
                                epoch: opened.epoch,
                                next_consumer_seq: 1,
                            };
                            life = self.watch_life();
                            None
                        }
                        Err(error) => {
                            tracing::debug!(%error, table = %self.settings.table, "no consumer yet");
                            delay = (delay * 2).min(RETRY_MAX);
                            Some(delay)
                        }
                    },
                    Some(answer) = self.fetches.next() => { self.answered(answer).await?; None }
                    _ = tick.tick() => { self.look_at_heads().await?; None }
                    () = self.events.closed() => return Err(Ended),
                },
                Consumer::Open { messages, epoch, next_consumer_seq } => tokio::select! {
                    message = messages.next() => match message {
                        Some(Ok(message)) => {
                            if self.message(message, next_consumer_seq).await? {
                                None
                            } else {
                                Some(Duration::ZERO)
                            }
                        }
                        Some(Err(error)) => {
                            tracing::debug!(%error, table = %self.settings.table, "consumer lost");
                            Some(RETRY_MIN)
                        }
                        None => Some(RETRY_MIN),
                    },
                    () = self.connection.lost(*epoch) => Some(Duration::ZERO),
                    changed = &mut life => {
                        life = self.watch_life();
                        changed.then_some(Duration::ZERO)
                    }
                    Some(answer) = self.fetches.next() => { self.answered(answer).await?; None }
                    _ = tick.tick() => { self.look_at_heads().await?; None }
                    () = self.events.closed() => return Err(Ended),
                },
            };
            if let Some(delay) = again {
                consumer = self.open(delay);
            }
        }
    }

    /// Opens a consumer after a while, from where we are.
    fn open(&self, delay: Duration) -> Consumer {
        let (connection, settings) = (self.connection.clone(), self.settings.clone());
        let positions = self.started.then(|| {
            self.shards.iter().map(|(shard, reader)| (*shard, reader.position())).collect()
        });
        let plan = Plan { positions, place: self.place };
        Consumer::Opening(
            async move {
                tokio::time::sleep(delay).await;
                broker::open(&connection, &settings, plan).await
            }
            .boxed(),
        )
    }

    /// Completes after a while: with true if the stream is not the one we read from.
    fn watch_life(&self) -> BoxFuture<'static, bool> {
        let (connection, settings, place) =
            (self.connection.clone(), self.settings.clone(), self.place);
        async move {
            tokio::time::sleep(LIFE_CHECK).await;
            let Some(place) = place else { return false };
            let name = subject::stream_name(&settings.region_name, settings.table);
            match jet::stream(&broker::context(&connection), &name).await {
                Ok(stream) => stream.cached_info().created != place.created,
                Err(JetError::NoStream) => true,
                Err(JetError::Failed(_)) => false,
            }
        }
        .boxed()
    }

    fn begin(&mut self, positions: BTreeMap<Shard, Position>) {
        self.started = true;
        for (shard, position) in positions {
            self.reader(shard, position);
        }
    }

    fn reader(&mut self, shard: Shard, position: Position) -> &mut ShardReader {
        let (table, family) = (self.settings.table, self.settings.family);
        let can_fetch = self.fetch.is_some();
        self.shards
            .entry(shard)
            .or_insert_with(|| ShardReader::new(table, shard, family, position, can_fetch))
    }

    /// Takes in one message. False: a message before it was lost between the broker and us.
    async fn message(&mut self, message: Message, next: &mut u64) -> Result<bool, Ended> {
        let Ok((consumer_seq, stream_seq)) =
            message.info().map(|info| (info.consumer_sequence, info.stream_sequence))
        else {
            return Ok(false);
        };
        if consumer_seq != *next {
            return Ok(false);
        }
        *next += 1;
        if let Some(place) = &mut self.place {
            place.next = stream_seq + 1;
        }
        let Some(shard) = shard_of(&message.subject, self.settings.family) else {
            return Ok(true);
        };
        let mut out = Vec::new();
        let headers = message.headers.clone().unwrap_or_default();
        let table = self.settings.table;
        let reader = self.reader(shard, Position::default());
        match MessageHead::read_with(&headers, &message.payload) {
            Ok(head) if head.shard == shard && head.table == table => {
                reader.arrived(Arrived { head, body: message.payload.clone() }, &mut out);
            }
            Ok(_) => {
                let error = crate::MessageError::Malformed {
                    what: "message",
                    reason: "its headers name another shard than its subject".into(),
                };
                reader.damaged(None, &error, &mut out);
            }
            Err(error) => {
                let head = MessageHead::read(&headers).ok().filter(|head| head.shard == shard);
                reader.damaged(head.as_ref(), &error, &mut out);
            }
        }
        self.deliver(shard, out).await?;
        Ok(true)
    }

    /// Hands on what came of something, and asks the log for what is missing.
    async fn deliver(&mut self, shard: Shard, out: Vec<Outcome>) -> Result<(), Ended> {
        for outcome in out {
            self.send(match outcome {
                Outcome::Record(record) => Event::Record(record),
                Outcome::Covered(shard, position) => Event::Covered(shard, position),
                Outcome::Failed(error) => Event::Failed(error),
            })
            .await?;
        }
        let wanted = self.shards.get(&shard).and_then(ShardReader::wanted);
        if let (Some((from, to)), Some(fetch)) = (wanted, self.fetch.clone())
            && self.fetching.insert(shard)
        {
            let to = to.min(from.saturating_add(FETCH_MAX - 1));
            let delay = self.fetch_delay.get(&shard).copied().unwrap_or_default();
            self.fetches.push(
                async move {
                    tokio::time::sleep(delay).await;
                    (shard, fetch.fetch(shard, from, to).await)
                }
                .boxed(),
            );
        }
        Ok(())
    }

    async fn answered(&mut self, (shard, answer): Answer) -> Result<(), Ended> {
        self.fetching.remove(&shard);
        let mut out = Vec::new();
        let helped = self.reader(shard, Position::default()).fetched(answer, &mut out);
        if helped {
            self.fetch_delay.remove(&shard);
        } else {
            let delay = self.fetch_delay.entry(shard).or_insert(RETRY_MIN / 2);
            *delay = (*delay * 2).min(RETRY_MAX);
        }
        self.deliver(shard, out).await
    }

    /// Fetches what the broker still does not have some time after another path told us of it.
    async fn look_at_heads(&mut self) -> Result<(), Ended> {
        if !self.started {
            return Ok(());
        }
        let heads = self.heads.borrow_and_update().clone();
        let now = Instant::now();
        for (shard, head) in heads {
            let patience = self.settings.head_patience;
            let seq = self.reader(shard, Position::default()).position().seq;
            if seq >= head.seq {
                self.behind_since.remove(&shard);
                continue;
            }
            // The clock starts again whenever the shard moves: late is not lost.
            let since = self.behind_since.entry(shard).or_insert((seq, now));
            if since.0 != seq {
                *since = (seq, now);
            }
            if now.duration_since(since.1) >= patience {
                self.behind_since.remove(&shard);
                let mut out = Vec::new();
                self.reader(shard, Position::default()).behind(head.seq, &mut out);
                self.deliver(shard, out).await?;
            }
        }
        Ok(())
    }

    async fn send(&mut self, event: Event) -> Result<(), Ended> {
        self.events.send(event).await.map_err(|_| Ended)
    }
}
