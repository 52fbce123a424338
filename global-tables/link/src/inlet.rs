//! Reads the source's `.repl` stream for a link: opens the subscription at the link's positions,
//! opens it again when it must, and stays away while the pair of regions is cut.
//!
//! Always true: what it hands on is in the order of each shard and goes on exactly where it stopped;
//! a development delay holds records back without letting one overtake another; while the regions
//! are cut there is no connection to the source's broker.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tombolo_item::{Shard, TableId};
use tombolo_stream::subscriber::{
    FetchMissing, Start, StreamRecord, SubscriberSettings, Subscription,
};
use tombolo_stream::{Family, Position, StreamError};

/// Records read ahead of the link.
const AHEAD_RECORDS: usize = 1_024;
const REOPEN_PAUSE: Duration = Duration::from_millis(500);

pub(crate) enum Arrival {
    Record(StreamRecord),
    /// The shard's stream cannot be read; the others go on.
    Trouble {
        shard: Shard,
        why: String,
    },
}

pub(crate) enum InletAsk {
    /// The source's leader says the shard has come to here.
    Head(Shard, Position),
    /// Read the shard again after this position.
    ReadAgain(Shard, Position),
}

/// What development faults say about the pair of regions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Weather {
    pub(crate) cut: bool,
    pub(crate) delay: Duration,
}

pub(crate) struct InletSettings {
    pub(crate) nats_url: String,
    pub(crate) region_name: String,
    pub(crate) table: TableId,
    pub(crate) name: String,
    /// How long to stand behind a head before the source's log is read.
    pub(crate) behind: Duration,
}

pub(crate) struct InletTask {
    pub(crate) settings: InletSettings,
    pub(crate) fetch: Arc<dyn FetchMissing>,
    pub(crate) weather: watch::Receiver<Weather>,
    pub(crate) positions: BTreeMap<Shard, Position>,
    pub(crate) asks: mpsc::UnboundedReceiver<InletAsk>,
    pub(crate) out: mpsc::Sender<Arrival>,
}

impl InletTask {
    /// Runs until the link is gone.
    pub(crate) async fn run(mut self) {
        let mut held_back: VecDeque<(Instant, Arrival)> = VecDeque::new();
        while !self.out.is_closed() {
            if self.weather.borrow_and_update().cut {
                self.until_heal().await;
                continue;
            }
            match self.open().await {
                Ok(subscription) => {
                    if let Err(error) = self.read(subscription, &mut held_back).await {
                        tracing::debug!(region = %self.settings.region_name, %error, "reopening");
                        self.pause(REOPEN_PAUSE).await;
                    }
                }
                Err(error) => {
                    tracing::warn!(region = %self.settings.region_name, %error, "cannot subscribe");
                    self.pause(REOPEN_PAUSE).await;
                }
            }
        }
    }

    async fn open(&self) -> Result<Subscription, StreamError> {
        let mut settings = SubscriberSettings::new(
            self.settings.nats_url.clone(),
            self.settings.region_name.clone(),
            self.settings.table,
            Family::Repl,
            Start::Checkpoint(self.positions.clone()),
        );
        settings.name = self.settings.name.clone();
        settings.head_patience = self.settings.behind;
        settings.records_ahead = AHEAD_RECORDS;
        Subscription::open(settings, Some(self.fetch.clone())).await
    }

    /// Hands on until the subscription has to be opened again.
    async fn read(
        &mut self,
        mut subscription: Subscription,
        held_back: &mut VecDeque<(Instant, Arrival)>,
    ) -> Result<(), StreamError> {
        let mut delay = self.weather.borrow().delay;
        loop {
            let due = held_back.front().map(|(at, _)| *at);
            let is_due = due.is_some_and(|at| at <= Instant::now());
            tokio::select! {
                batch = subscription.next_batch(AHEAD_RECORDS), if held_back.len() < AHEAD_RECORDS => {
                    let ready = Instant::now() + delay;
                    match batch {
                        Ok(records) => {
                            for record in records {
                                self.positions.insert(record.shard, record.position());
                                held_back.push_back((ready, Arrival::Record(record)));
                            }
                        }
                        Err(error) => match shard_of(&error) {
                            Some(shard) => {
                                let why = error.to_string();
                                held_back.push_back((ready, Arrival::Trouble { shard, why }));
                            }
                            None => return Err(error),
                        },
                    }
                }
                permit = self.out.reserve(), if is_due => {
                    let Ok(permit) = permit else { return Ok(()) };
                    if let Some((_, arrival)) = held_back.pop_front() {
                        permit.send(arrival);
                    }
                }
                () = sleep_until(due), if !is_due && due.is_some() => {}
                ask = self.asks.recv() => match ask {
                    Some(InletAsk::Head(shard, head)) => subscription.observe_head(shard, head),
                    Some(InletAsk::ReadAgain(shard, position)) => {
                        self.positions.insert(shard, position);
                        return Ok(());
                    }
                    None => return Ok(()),
                },
                Ok(()) = self.weather.changed() => {
                    let weather = *self.weather.borrow_and_update();
                    delay = weather.delay;
                    if weather.cut {
                        tracing::info!(region = %self.settings.region_name, "cut: leaving its broker");
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Returns when the weather changed, or the link is gone.
    async fn until_heal(&mut self) {
        loop {
            tokio::select! {
                _ = self.weather.changed() => return,
                ask = self.asks.recv() => match ask {
                    Some(ask) => self.remember(ask),
                    None => return,
                },
            }
        }
    }

    fn remember(&mut self, ask: InletAsk) {
        if let InletAsk::ReadAgain(shard, position) = ask {
            self.positions.insert(shard, position);
        }
    }

    /// Waits, and learns meanwhile what must be read again.
    async fn pause(&mut self, pause: Duration) {
        let until = Instant::now() + pause;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(until) => return,
                ask = self.asks.recv() => match ask {
                    Some(ask) => self.remember(ask),
                    None => return,
                },
            }
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    if let Some(at) = at {
        tokio::time::sleep_until(at).await;
    }
}

fn shard_of(error: &StreamError) -> Option<Shard> {
    match error {
        StreamError::Gap { shard, .. }
        | StreamError::Trimmed { shard, .. }
        | StreamError::TwoHistories { shard, .. } => Some(*shard),
        _ => None,
    }
}
