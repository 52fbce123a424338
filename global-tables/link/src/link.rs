//! One link: one table from one other region into this one. Takes in what the broker and the
//! source's log bring, keeps many merges in flight across row keys, moves its checkpoint behind what
//! is durable here, and reports it to the source.
//!
//! Always true:
//! - Records of one row key are merged one at a time, in the order of their shard.
//! - A checkpoint never passes a record that is not durable here; a confirmation never passes the
//!   checkpoint that the system group holds.
//! - Memory is bounded: by records and bytes in flight, and by each shard's inbox.
//! - No record is skipped. What cannot be merged holds its shard, and no other, and shows in
//!   `tombolo_link_held_shards`.
//!
//! On the path from the broker to the local leader nothing waits for a timer: timers only find what
//! the broker lost, and batch checkpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::MissedTickBehavior;
use tombolo_item::{Hlc, RegionId, RowKey, Shard, Stamp, TableId};
use tombolo_stream::Position as StreamPosition;
use tombolo_stream::subscriber::StreamRecord;

use crate::board::Place;
use crate::checkpoint::Checkpoint;
use crate::error::LinkError;
use crate::gauges::Gauges;
use crate::inlet::{Arrival, InletAsk};
use crate::order::KeyOrder;
use crate::prefix::Position;
use crate::progress::Progress;
use crate::settings::LinkSettings;
use crate::shard::{Offer, ShardState, Taken};
use crate::wire::{Confirmation, Survey};
use crate::world::{Change, MergeError, Source, Target};

/// Longest pause between two attempts to merge a record.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Before the first record of a shard.
const START: Position = Position { seq: 0, hash: 0, closed: Hlc(0) };
/// How long a shard whose stream cannot be read is left alone before it is read again.
const TROUBLE_PATIENCE: Duration = Duration::from_secs(15);

/// What identifies a link, with the names that metrics and logs show.
#[derive(Clone, Debug)]
pub(crate) struct LinkName {
    pub(crate) table: TableId,
    pub(crate) from: RegionId,
    pub(crate) from_name: String,
    pub(crate) to_name: String,
}

/// The two ends of the stream's reader.
pub(crate) struct Inlet {
    pub(crate) arrivals: mpsc::Receiver<Arrival>,
    pub(crate) asks: mpsc::UnboundedSender<InletAsk>,
}

enum Event {
    Merged {
        shard: Shard,
        seq: u64,
        row_key: RowKey,
        bytes: usize,
    },
    Surveyed(Result<Survey, LinkError>),
    Saved {
        result: Result<Stamp, LinkError>,
        checkpoint: Checkpoint,
        closed_elsewhere: Option<Hlc>,
    },
    Confirmed {
        sent: Vec<Confirmation>,
        accepted: Vec<Shard>,
    },
}

struct Work {
    shard: Shard,
    seq: u64,
    row_key: RowKey,
    change: Change,
}

pub(crate) struct Link<S, T> {
    name: LinkName,
    settings: LinkSettings,
    source: Arc<S>,
    target: Arc<T>,
    shards: BTreeMap<Shard, ShardState>,
    progress: Progress,
    /// Shards with records that wait for room.
    waiting: BTreeSet<Shard>,
    order: KeyOrder<RowKey, Work>,
    in_flight: usize,
    in_flight_bytes: usize,
    tasks: JoinSet<Event>,
    refusals: mpsc::UnboundedSender<(Shard, u64, String)>,
    refused: mpsc::UnboundedReceiver<(Shard, u64, String)>,
    surveying: bool,
    troubled_at: BTreeMap<Shard, Instant>,
    gauges: Gauges,
    place: Place,
}

impl<S: Source, T: Target> Link<S, T> {
    /// Reads the checkpoint: where it stands is where [`Link::positions`] says the stream goes on.
    pub(crate) async fn resume(
        name: LinkName,
        settings: LinkSettings,
        source: Arc<S>,
        target: Arc<T>,
    ) -> Result<Link<S, T>, LinkError> {
        let (checkpoint, stamp) = match target.load().await? {
            Some((checkpoint, stamp)) => (checkpoint, Some(stamp)),
            None => (Checkpoint::default(), None),
        };
        let (refusals, refused) = mpsc::unbounded_channel();
        let gauges = Gauges::new(&name.from_name, &name.to_name);
        let place = Place::new(name.table, name.from);
        let mut link = Link {
            name,
            settings,
            source,
            target,
            shards: BTreeMap::new(),
            progress: Progress::new(stamp, checkpoint.complete, Instant::now()),
            waiting: BTreeSet::new(),
            order: KeyOrder::new(),
            in_flight: 0,
            in_flight_bytes: 0,
            tasks: JoinSet::new(),
            refusals,
            refused,
            surveying: false,
            troubled_at: BTreeMap::new(),
            gauges,
            place,
        };
        for shard in &checkpoint.shards {
            link.add_shard(shard.shard, shard.position());
        }
        Ok(link)
    }

    /// The last record of each shard that is durable here.
    pub(crate) fn positions(&self) -> BTreeMap<Shard, StreamPosition> {
        self.shards.iter().map(|(shard, state)| (*shard, state.taken())).collect()
    }

    /// Runs until told to stop, or until it must not go on.
    pub(crate) async fn run(
        mut self,
        mut inlet: Inlet,
        stop: impl Future<Output = ()>,
    ) -> Result<(), LinkError> {
        let mut heads = tokio::time::interval(self.settings.heads());
        let mut checkpoints = tokio::time::interval(self.settings.checkpoint());
        heads.set_missed_tick_behavior(MissedTickBehavior::Delay);
        checkpoints.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => return Ok(()),
                Some(finished) = self.tasks.join_next() => {
                    let mut next = Some(finished);
                    while let Some(finished) = next {
                        self.on_event(finished, &inlet)?;
                        next = self.tasks.try_join_next();
                    }
                    self.go_on(&inlet);
                }
                arrival = inlet.arrivals.recv(), if self.wants_records() => match arrival {
                    Some(Arrival::Record(record)) => self.on_record(record, &inlet),
                    Some(Arrival::Trouble { shard, why }) => self.on_trouble(shard, why),
                    None => return Err(LinkError::Local {
                        attempt: "reading the stream".into(),
                        reason: "its reader ended".into(),
                    }),
                },
                Some((shard, seq, why)) = self.refused.recv() => self.on_refusal(shard, seq, why),
                _ = heads.tick() => self.survey(),
                _ = checkpoints.tick() => self.save(),
            }
        }
    }

    fn add_shard(&mut self, shard: Shard, at: Position) {
        // How new the records before the checkpoint were is not in it; nothing is newer than now.
        let newest = Hlc(self.target.now_ms() << 16);
        let source = self.name.from;
        self.shards.entry(shard).or_insert_with(|| ShardState::new(source, at, newest));
        self.progress.add(shard, at);
    }

    fn has_room(&self) -> bool {
        self.in_flight < self.settings.in_flight_records
            && self.in_flight_bytes < self.settings.in_flight_bytes
    }

    fn wants_records(&self) -> bool {
        self.waiting.is_empty() && self.has_room()
    }

    fn on_record(&mut self, record: StreamRecord, inlet: &Inlet) {
        let shard = record.shard;
        if !self.shards.contains_key(&shard) {
            self.add_shard(shard, START);
        }
        let Some(state) = self.shards.get_mut(&shard) else { return };
        let offer = state.offer(record);
        if state.read_again() {
            // Nobody reads the asks only when the reader is gone, and then the link ends too.
            let _ = inlet.asks.send(InletAsk::ReadAgain(shard, state.taken()));
        }
        let waiting = state.is_waiting();
        if let Offer::Merge(taken) = offer {
            self.begin(shard, *taken);
        }
        if waiting {
            self.waiting.insert(shard);
            self.go_on(inlet);
        }
    }

    /// Goes on with every shard that waited for room or was held.
    fn go_on(&mut self, inlet: &Inlet) {
        for shard in std::mem::take(&mut self.waiting) {
            loop {
                let room = self.has_room();
                let Some(state) = self.shards.get_mut(&shard) else { break };
                if !room && state.is_waiting() {
                    self.waiting.insert(shard);
                    break;
                }
                match state.next_waiting() {
                    Some(Offer::Merge(taken)) => self.begin(shard, *taken),
                    Some(Offer::Nothing) => {}
                    None => {
                        if state.read_again() {
                            let _ = inlet.asks.send(InletAsk::ReadAgain(shard, state.taken()));
                        }
                        break;
                    }
                }
            }
        }
    }

    fn begin(&mut self, shard: Shard, taken: Taken) {
        let row_key = taken.record.row_key.clone();
        let seq = taken.record.seq;
        self.in_flight += 1;
        self.in_flight_bytes += taken.canonical.len();
        let change = Change { record: Arc::new(taken.record), canonical: taken.canonical };
        let work = Work { shard, seq, row_key: row_key.clone(), change };
        if let Some(work) = self.order.offer(&row_key, work) {
            self.merge(work);
        }
    }

    fn merge(&mut self, work: Work) {
        let target = self.target.clone();
        let refusals = self.refusals.clone();
        let lag = self.gauges.lag.clone();
        let newest_lag = self.place.newest_lag();
        let applied = self.gauges.applied.clone();
        self.tasks.spawn(async move {
            let mut pause = Duration::from_millis(10);
            let mut told = false;
            loop {
                match target.merge(work.change.clone()).await {
                    Ok(()) => break,
                    Err(MergeError::Retry(why)) => {
                        tracing::debug!(shard = %work.shard, seq = work.seq, %why, "merge again");
                    }
                    Err(MergeError::Hold(why)) => {
                        if !told {
                            told = true;
                            // Nobody listens only when the link is stopping.
                            let _ = refusals.send((work.shard, work.seq, why));
                        }
                        pause = PAUSE_MAX;
                    }
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
            let stamp_ms = work.change.record.stamp.hlc.0 >> 16;
            let lag_ms = target.now_ms().saturating_sub(stamp_ms);
            lag.observe(lag_ms as f64 / 1_000.0);
            newest_lag.tell(lag_ms);
            applied.inc();
            let bytes = work.change.canonical.len();
            Event::Merged { shard: work.shard, seq: work.seq, row_key: work.row_key, bytes }
        });
    }

    fn on_event(
        &mut self,
        finished: Result<Event, JoinError>,
        inlet: &Inlet,
    ) -> Result<(), LinkError> {
        let event = finished.map_err(|error| LinkError::Local {
            attempt: "a task of the link".into(),
            reason: error.to_string(),
        })?;
        match event {
            Event::Merged { shard, seq, row_key, bytes } => {
                self.in_flight -= 1;
                self.in_flight_bytes -= bytes;
                if let Some(state) = self.shards.get_mut(&shard) {
                    let held = state.is_held();
                    state.complete(seq);
                    if held && !state.is_held() {
                        tracing::info!(%shard, "the shard is no longer held");
                        self.waiting.insert(shard);
                        self.show();
                    }
                }
                if let Some(next) = self.order.finish(&row_key) {
                    self.merge(next);
                }
            }
            Event::Surveyed(Ok(survey)) => self.on_survey(survey, inlet),
            Event::Surveyed(Err(error)) => {
                self.surveying = false;
                tracing::debug!(from = %self.name.from_name, %error, "no heads from the source");
            }
            Event::Saved { result, checkpoint, closed_elsewhere } => match result {
                Ok(row) => {
                    let now = Instant::now();
                    self.progress.saved(row, &checkpoint, closed_elsewhere, now);
                    self.confirm();
                }
                Err(error @ LinkError::Superseded { .. }) => return Err(error),
                Err(error) => {
                    self.progress.not_saved();
                    tracing::debug!(%error, "the checkpoint is not saved; trying again");
                }
            },
            Event::Confirmed { sent, accepted } => {
                for confirmation in &sent {
                    let taken = accepted.contains(&confirmation.shard);
                    self.progress.confirmed(confirmation, taken);
                    if taken {
                        self.gauges.confirmations.inc();
                    }
                }
            }
        }
        Ok(())
    }

    fn on_refusal(&mut self, shard: Shard, seq: u64, why: String) {
        if self.shards.get(&shard).is_some_and(|state| !state.is_held()) {
            self.report_held(shard, &why);
        }
        if let Some(state) = self.shards.get_mut(&shard) {
            state.refuse(seq, why);
        }
        self.show();
    }

    fn on_trouble(&mut self, shard: Shard, why: String) {
        self.report_held(shard, &why);
        self.add_shard(shard, START);
        if let Some(state) = self.shards.get_mut(&shard) {
            state.stream_failed(why);
            self.troubled_at.insert(shard, Instant::now());
        }
        self.show();
    }

    fn report_held(&self, shard: Shard, why: &str) {
        tracing::error!(
            from = %self.name.from_name, table = %self.name.table, %shard, %why,
            "replication of this shard stands still until this is mended"
        );
    }

    /// Asks the source where its shards end: finds what the broker lost at the tail.
    fn survey(&mut self) {
        self.show();
        if self.surveying {
            return;
        }
        self.surveying = true;
        let survey = self.source.survey();
        self.tasks.spawn(async move { Event::Surveyed(survey.await) });
    }

    fn on_survey(&mut self, survey: Survey, inlet: &Inlet) {
        self.surveying = false;
        self.progress.learn_complete(survey.complete);
        for place in survey.shards {
            self.add_shard(place.shard, START);
        }
        for head in survey.heads {
            self.add_shard(head.shard, START);
            let Some(state) = self.shards.get_mut(&head.shard) else { continue };
            let held = state.is_held();
            state.learn_head(head);
            let position = StreamPosition { seq: head.seq, hash: head.hash };
            let _ = inlet.asks.send(InletAsk::Head(head.shard, position));
            if !held && let Some(why) = state.held_because().map(str::to_owned) {
                self.troubled_at.insert(head.shard, Instant::now());
                self.report_held(head.shard, &why);
            }
        }
        // A stream that could not be read may be readable by now.
        self.troubled_at.retain(|shard, at| {
            let Some(state) = self.shards.get(shard).filter(|state| state.has_trouble()) else {
                return false;
            };
            if at.elapsed() >= TROUBLE_PATIENCE {
                let _ = inlet.asks.send(InletAsk::ReadAgain(*shard, state.taken()));
                *at = Instant::now();
            }
            true
        });
        self.show();
    }

    /// Makes the checkpoint durable when it moved.
    fn save(&mut self) {
        let (closed_every, now) = (self.settings.closed(), Instant::now());
        let due = self.progress.due_checkpoint(&self.shards, closed_every, now);
        let Some((checkpoint, expect)) = due else {
            self.confirm();
            return;
        };
        let target = self.target.clone();
        self.tasks.spawn(async move {
            let result = target.save(checkpoint.clone(), expect).await;
            let closed_elsewhere = match result {
                Ok(_) => target.closed_elsewhere().await,
                Err(_) => None,
            };
            Event::Saved { result, checkpoint, closed_elsewhere }
        });
    }

    /// Tells the source what the system group holds, where that says something new.
    fn confirm(&mut self) {
        let by_leader = self.progress.due_confirmations(&self.shards, Instant::now());
        for (leader, sent) in by_leader {
            let answer = self.source.confirm(leader, sent.clone());
            self.tasks.spawn(async move {
                let accepted = match answer.await {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        tracing::debug!(%error, "the source did not take a confirmation");
                        Vec::new()
                    }
                };
                Event::Confirmed { sent, accepted }
            });
        }
    }

    fn show(&mut self) {
        let held = self.shards.values().filter(|state| state.is_held()).count();
        let backlog = self.shards.values().map(ShardState::backlog).sum::<u64>();
        self.gauges.set(held as i64, backlog as i64);
        self.place.show(self.shards.iter().map(|(shard, state)| {
            let done = state.done().seq;
            (*shard, done, done + state.backlog(), state.held_because())
        }));
    }
}
