//! One shard, one family: from the log to the broker, one message at a time.
//!
//! Always true:
//! - Where to go on is asked of the broker, at the start and after anything that is not a clean
//!   acknowledgement. Our log decides whether that answer is history.
//! - Every publish names the message it expects to be the newest of the subject.
//! - Nothing is kept between messages but a number: records are read when they can be sent.
//! - No timer delays a record that can be sent; batches are what accumulated during one flight.

use super::bus::{Ack, Bus, BusError, LastMessage, Outgoing};
use super::compose::{Composed, compose};
use super::lag::Progress;
use super::pace::Pace;
use super::settings::PublisherSettings;
use super::source::LedShard;
use crate::chain::Position;
use crate::face::TableFace;
use crate::head::{HEAD_BYTES_MAX, MessageHead, hash_text};
use crate::metrics;
use crate::subject::{Family, message_id, subject};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tombolo_item::chain_hash;

/// With more records than this waiting, a shard is catching up, and is paced.
const CATCH_UP_RECORDS: u64 = 512;
/// Enough to read at least one record.
const ONE_RECORD: usize = 1;
const RETRY_MIN: Duration = Duration::from_millis(10);
const RETRY_MAX: Duration = Duration::from_secs(2);

pub(crate) struct ShardPublisher<B, S> {
    pub(crate) bus: Arc<B>,
    pub(crate) source: Arc<S>,
    pub(crate) face: Arc<TableFace>,
    pub(crate) family: Family,
    pub(crate) settings: Arc<PublisherSettings>,
    pub(crate) pace: Arc<Pace>,
    pub(crate) progress: Arc<Progress>,
}

/// What the broker has of this shard, as far as we know.
#[derive(Debug, Clone, Copy)]
struct Sent {
    /// The last record in it; 0: none.
    seq: u64,
    /// The broker's number of the message that holds it; 0: it has no message of this subject.
    stream_seq: u64,
    at: Instant,
}

/// What outlives an interruption.
#[derive(Debug, Default)]
struct Known {
    sent: Option<Sent>,
    /// The first record of a message whose id the broker knew, and how often. If it does not have
    /// the record all the same (its subject was purged, ids are remembered for two minutes), the
    /// next attempt needs another id.
    known_id: Option<(u64, u32)>,
}

/// Why the broker has to be asked again.
enum Pause {
    /// Something moved; ask at once.
    Now,
    /// Something failed; ask after a while.
    Later(String),
    /// This node does not lead the shard.
    Deposed,
}

impl From<BusError> for Pause {
    fn from(error: BusError) -> Pause {
        match error {
            BusError::Refused => Pause::Now,
            BusError::NoStream | BusError::Unknown(_) => Pause::Later(error.to_string()),
        }
    }
}

impl<B: Bus, S: LedShard> ShardPublisher<B, S> {
    /// Publishes for as long as this node leads the shard. May be dropped at any point.
    pub(crate) async fn run(self) {
        let mut known = Known::default();
        let mut delay = RETRY_MIN;
        loop {
            self.bus.up().await;
            let started = Instant::now();
            let before = known.sent.map(|sent| sent.seq);
            let pause = self.publish(&mut known).await;
            let moved = known.sent.map(|sent| sent.seq) != before;
            if moved || started.elapsed() > RETRY_MAX {
                delay = RETRY_MIN;
            }
            match pause {
                Pause::Deposed => return,
                Pause::Now if moved => {}
                // Twice in a row at the same place: do not turn in circles.
                Pause::Now => self.wait(&mut delay).await,
                Pause::Later(reason) => {
                    tracing::debug!(
                        shard = %self.source.shard(), family = self.family.name(), reason,
                        "publishing is interrupted"
                    );
                    self.wait(&mut delay).await;
                }
            }
            if !self.source.leads() {
                return;
            }
        }
    }

    async fn wait(&self, delay: &mut Duration) {
        tokio::time::sleep(*delay).await;
        *delay = (*delay * 2).min(RETRY_MAX);
    }

    /// Asks the broker, then publishes until something interrupts.
    async fn publish(&self, known: &mut Known) -> Pause {
        let table = self.source.table();
        let mut life = self.bus.life(table);
        if let Err(error) = self.bus.ensure(table).await {
            return error.into();
        }
        // What happened until here is seen by asking.
        life.mark_unchanged();
        let mut sent = match self.resume(known.sent).await {
            Ok(sent) => sent,
            Err(pause) => return pause,
        };
        loop {
            known.sent = Some(sent);
            self.progress.published(sent.seq);
            if self.source.head().seq <= sent.seq {
                tokio::select! {
                    () = self.source.past(sent.seq) => {}
                    changed = life.changed() => {
                        return if changed.is_ok() { Pause::Now } else { Pause::Deposed };
                    }
                }
            }
            if life.has_changed().unwrap_or(true) {
                return Pause::Now;
            }
            match self.next_message(sent, &mut known.known_id).await {
                Ok(next) => sent = next,
                Err(pause) => return pause,
            }
        }
    }

    /// Composes and sends one message.
    async fn next_message(
        &self,
        sent: Sent,
        known_id: &mut Option<(u64, u32)>,
    ) -> Result<Sent, Pause> {
        let behind = self.source.head().seq.saturating_sub(sent.seq);
        if behind <= CATCH_UP_RECORDS {
            let message = self.compose(sent.seq + 1, false).await?;
            return self.send(sent, message, known_id).await;
        }
        let turn = self.pace.turn().await;
        let message = self.compose(sent.seq + 1, true).await?;
        turn.pay(message.body.len()).await;
        self.send(sent, message, known_id).await
    }

    async fn compose(&self, from: u64, may_block: bool) -> Result<Composed, Pause> {
        let bytes_max = self
            .settings
            .message_bytes_max
            .min(self.bus.payload_bytes_max().saturating_sub(HEAD_BYTES_MAX));
        let records = self.read(from, bytes_max, may_block).await?;
        if let Some((first, _)) = records.first()
            && *first > from
        {
            tracing::warn!(
                shard = %self.source.shard(), family = self.family.name(), from, oldest = first,
                "the log no longer has records that were not published; going on after them"
            );
        }
        compose(&self.face, self.source.shard(), self.family, &records, bytes_max)
            .map_err(|error| Pause::Later(format!("reading the change log: {error}")))?
            .ok_or_else(|| Pause::Later(format!("the change log gave nothing at {from}")))
    }

    async fn read(
        &self,
        from: u64,
        bytes_max: usize,
        may_block: bool,
    ) -> Result<Vec<(u64, Bytes)>, Pause> {
        let read = if may_block {
            let source = self.source.clone();
            tokio::task::spawn_blocking(move || source.read(from, bytes_max))
                .await
                .map_err(|error| Pause::Later(format!("reading the change log: {error}")))?
        } else {
            self.source.read(from, bytes_max)
        };
        read.map_err(|error| Pause::Later(format!("reading the change log from {from}: {error}")))
    }

    async fn send(
        &self,
        sent: Sent,
        message: Composed,
        known_id: &mut Option<(u64, u32)>,
    ) -> Result<Sent, Pause> {
        let first = message.head.first_seq;
        let mut id = message_id(self.source.shard(), self.family, first);
        let times = known_id.filter(|(seq, _)| *seq == first).map_or(0, |(_, times)| times);
        if times > 0 {
            id = format!("{id}:again-{times}");
        }
        let outgoing = Outgoing {
            subject: self.subject(),
            headers: message.head.headers(&message.body, &id, sent.stream_seq),
            body: message.body.clone(),
        };
        let started = Instant::now();
        match self.bus.publish(outgoing).await {
            Ok(Ack { stream_seq, duplicate: false }) => {
                metrics::PUBLISH_SECONDS.observe(started.elapsed().as_secs_f64());
                let family = self.family.name();
                metrics::PUBLISHED_RECORDS.with_label_values(&[family]).inc_by(message.records());
                metrics::PUBLISHED_BYTES
                    .with_label_values(&[family])
                    .inc_by(message.body.len() as u64);
                if message.stub {
                    metrics::STUBS.inc();
                }
                Ok(Sent { seq: message.head.last_seq, stream_seq, at: Instant::now() })
            }
            // A message with this first record was stored before; it may end earlier than ours.
            Ok(Ack { duplicate: true, .. }) => {
                *known_id = Some((first, times + 1));
                Err(self.refused())
            }
            Err(BusError::Refused) => Err(self.refused()),
            Err(error) => Err(error.into()),
        }
    }

    fn refused(&self) -> Pause {
        metrics::REFUSED.inc();
        if self.source.leads() { Pause::Now } else { Pause::Deposed }
    }

    fn subject(&self) -> String {
        subject(&self.face.region_name, self.face.table, self.source.shard(), self.family)
    }

    /// Where to go on: what the broker has, if it agrees with our log.
    async fn resume(&self, known: Option<Sent>) -> Result<Sent, Pause> {
        let last = self.bus.last(self.source.table(), &self.subject()).await?;
        let Some(last) = last else { return self.nothing_there(known).await };
        let head = match MessageHead::read(&last.headers) {
            Ok(head) if head.shard == self.source.shard() => head,
            Ok(head) => {
                return self.refill(format!("its newest message is of shard {}", head.shard)).await;
            }
            Err(error) => {
                return self.refill(format!("its newest message is not ours: {error}")).await;
            }
        };
        if head.last_seq > self.source.head().seq {
            let patience = self.settings.ahead_patience;
            let reached = self.source.past(head.last_seq - 1);
            if tokio::time::timeout(patience, reached).await.is_err() {
                if !self.source.leads() {
                    return Err(Pause::Deposed);
                }
                let ours = self.source.head().seq;
                return self
                    .two_histories(format!(
                        "it has record {}, our log ends at {ours}",
                        head.last_seq
                    ))
                    .await;
            }
        }
        match self.hash_at(head.last_seq).await? {
            Some(hash) if hash != head.hash => {
                self.two_histories(format!(
                    "record {} has hash {} there and {} in our log",
                    head.last_seq,
                    hash_text(head.hash),
                    hash_text(hash)
                ))
                .await
            }
            _ => Ok(self.after(&last, head.last_seq, known)),
        }
    }

    fn after(&self, last: &LastMessage, seq: u64, known: Option<Sent>) -> Sent {
        if known.is_some_and(|known| known.seq > seq) {
            metrics::REFILLS.inc();
            tracing::warn!(
                shard = %self.source.shard(), family = self.family.name(), seq,
                "the broker lost messages it had acknowledged; publishing them again from the log"
            );
        }
        Sent { seq, stream_seq: last.stream_seq, at: Instant::now() }
    }

    /// The broker has no message of this subject.
    async fn nothing_there(&self, known: Option<Sent>) -> Result<Sent, Pause> {
        if let Some(known) = known
            && (known.seq == 0 || known.at.elapsed() >= self.settings.max_age)
        {
            // Nothing was sent yet, or what was has grown too old: that is no loss.
            return Ok(Sent { stream_seq: 0, ..known });
        }
        let from = self.oldest().await?;
        if known.is_some() {
            metrics::REFILLS.inc();
            tracing::warn!(
                shard = %self.source.shard(), family = self.family.name(), from,
                "the stream was emptied or deleted; publishing again what the log has"
            );
        }
        Ok(Sent { seq: from - 1, stream_seq: 0, at: Instant::now() })
    }

    async fn two_histories(&self, reason: String) -> Result<Sent, Pause> {
        metrics::TWO_HISTORIES.inc();
        self.refill(reason).await
    }

    /// What the broker has is not our history: replaced by what our log has.
    async fn refill(&self, reason: String) -> Result<Sent, Pause> {
        metrics::REFILLS.inc();
        tracing::error!(
            shard = %self.source.shard(), family = self.family.name(), reason,
            "the broker's copy of a shard differs from its log; purging it and publishing again"
        );
        self.bus.purge(self.source.table(), &self.subject()).await?;
        let from = self.oldest().await?;
        Ok(Sent { seq: from - 1, stream_seq: 0, at: Instant::now() })
    }

    /// The first record our log has, or the one that comes next if it has none.
    async fn oldest(&self) -> Result<u64, Pause> {
        let Position { seq, .. } = self.source.head();
        if seq == 0 {
            return Ok(1);
        }
        let records = self.read(1, ONE_RECORD, true).await?;
        Ok(records.first().map_or(seq + 1, |(first, _)| *first))
    }

    /// The chain hash of record `seq` in our log, if the log still can tell.
    async fn hash_at(&self, seq: u64) -> Result<Option<u64>, Pause> {
        let head = self.source.head();
        if head.seq == seq {
            return Ok(Some(head.hash));
        }
        let records = self.read(seq, ONE_RECORD, true).await?;
        Ok(records.first().filter(|(found, _)| *found == seq).map(|(_, bytes)| chain_hash(bytes)))
    }
}
