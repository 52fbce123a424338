//! Finding where to start in the broker's stream, and opening a throw-away consumer there.
//!
//! Always true: the place is found from our positions (a search over the headers of each subject).
//! A place that is too early costs duplicates, one that is too late a fetch; neither loses anything.

use super::{Start, SubscriberSettings};
use crate::chain::Position;
use crate::connect::Connection;
use crate::head::MessageHead;
use crate::jet::{self, JetError, Life};
use crate::subject::{self, shard_of};
use async_nats::datetime::DateTime;
use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::stream::{Info, Stream};
use futures::{StreamExt, TryStreamExt};
use std::collections::BTreeMap;
use std::time::Duration;
use tombolo_item::Shard;

/// Subjects searched at the same time.
const SEARCHES: usize = 16;
/// Messages the broker may send ahead of us.
const MESSAGES_AHEAD: usize = 64;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Where this subscription was in one life of the stream: everything before `next` was seen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) created: DateTime,
    pub(super) next: u64,
}

/// What is known before opening.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// `None`: still to be asked, as [`SubscriberSettings::start`] says.
    pub(super) positions: Option<BTreeMap<Shard, Position>>,
    pub(super) place: Option<Place>,
}

/// An open consumer.
pub(super) struct Opened {
    pub(super) messages: pull::Stream,
    /// The connection it belongs to.
    pub(super) epoch: u64,
    pub(super) place: Place,
    pub(super) positions: BTreeMap<Shard, Position>,
}

pub(super) fn context(connection: &Connection) -> Context {
    jet::context(connection.client.clone(), REQUEST_TIMEOUT)
}

/// Opens a consumer where the plan says.
pub(super) async fn open(
    connection: &Connection,
    settings: &SubscriberSettings,
    plan: Plan,
) -> Result<Opened, JetError> {
    let epoch = connection.up().await.epoch;
    let context = context(connection);
    let name = subject::stream_name(&settings.region_name, settings.table);
    let stream = jet::stream(&context, &name).await?;
    let life = Life::of(stream.cached_info());
    let positions = match plan.positions {
        Some(positions) => positions,
        None => begin(&stream, settings).await?,
    };
    let next = match plan.place {
        Some(place) if place.created == life.created && place.next <= life.last + 1 => place.next,
        _ => search(&stream, settings, life, &positions).await?,
    };
    let filters = match &settings.shards {
        None => {
            vec![subject::wildcard(&settings.region_name, settings.table, settings.family)]
        }
        Some(shards) => shards
            .iter()
            .map(|shard| {
                subject::subject(&settings.region_name, settings.table, *shard, settings.family)
            })
            .collect(),
    };
    let consumer = stream
        .create_consumer(pull::Config {
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: next.max(1) },
            ack_policy: AckPolicy::None,
            filter_subjects: filters,
            inactive_threshold: Duration::from_secs(30),
            memory_storage: true,
            num_replicas: 1,
            ..Default::default()
        })
        .await
        .map_err(|error| JetError::Failed(format!("creating a consumer: {error}")))?;
    let messages = consumer
        .stream()
        .max_messages_per_batch(MESSAGES_AHEAD)
        .heartbeat(settings.idle_heartbeat)
        .expires(settings.idle_heartbeat * 10)
        .messages()
        .await
        .map_err(|error| JetError::Failed(format!("reading from a consumer: {error}")))?;
    let place = Place { created: life.created, next };
    Ok(Opened { messages, epoch, place, positions })
}

/// The positions that `Oldest` and `Newest` mean now.
async fn begin(
    stream: &Stream<Info>,
    settings: &SubscriberSettings,
) -> Result<BTreeMap<Shard, Position>, JetError> {
    if let Start::Checkpoint(positions) = &settings.start {
        return Ok(positions.clone());
    }
    let mut positions = BTreeMap::new();
    for (subject, shard) in subjects(stream, settings).await? {
        let message = match settings.start {
            Start::Newest => jet::last(stream, &subject).await?,
            _ => jet::first_from(stream, &subject, 1).await?,
        };
        // Without readable headers the shard is read from its beginning, with the log's help.
        let Some(head) = message.and_then(|message| MessageHead::read(&message.headers).ok())
        else {
            continue;
        };
        let position = match settings.start {
            Start::Newest => Position { seq: head.last_seq, hash: head.hash },
            _ => Position { seq: head.first_seq - 1, hash: head.prev_hash },
        };
        positions.insert(shard, position);
    }
    Ok(positions)
}

async fn subjects(
    stream: &Stream<Info>,
    settings: &SubscriberSettings,
) -> Result<Vec<(String, Shard)>, JetError> {
    let filter = subject::wildcard(&settings.region_name, settings.table, settings.family);
    let failed = |error: &dyn std::fmt::Display| {
        JetError::Failed(format!("listing the subjects of a stream: {error}"))
    };
    let listed = stream.info_with_subjects(&filter).await.map_err(|error| failed(&error))?;
    let names: Vec<(String, usize)> = listed.try_collect().await.map_err(|error| failed(&error))?;
    let wanted = |shard: &Shard| settings.shards.as_ref().is_none_or(|only| only.contains(shard));
    Ok(names
        .into_iter()
        .filter_map(|(name, _)| shard_of(&name, settings.family).map(|shard| (name, shard)))
        .filter(|(_, shard)| wanted(shard))
        .collect())
}

/// The first sequence number of the stream that may hold something after our positions.
async fn search(
    stream: &Stream<Info>,
    settings: &SubscriberSettings,
    life: Life,
    positions: &BTreeMap<Shard, Position>,
) -> Result<u64, JetError> {
    let subjects = subjects(stream, settings).await?;
    let places: Vec<u64> = futures::stream::iter(subjects)
        .map(|(name, shard)| {
            let after = positions.get(&shard).map_or(0, |position| position.seq);
            async move { search_subject(stream, &name, life, after).await }
        })
        .buffer_unordered(SEARCHES)
        .try_collect()
        .await?;
    Ok(places.into_iter().min().unwrap_or(life.last + 1).min(life.last + 1))
}

/// Halves the stream until the first message of the subject that ends after `after` is found.
async fn search_subject(
    stream: &Stream<Info>,
    name: &str,
    life: Life,
    after: u64,
) -> Result<u64, JetError> {
    if after == 0 {
        return Ok(life.first);
    }
    let ends_after = |message: &async_nats::jetstream::message::StreamMessage| {
        MessageHead::read(&message.headers).map_or(true, |head| head.last_seq > after)
    };
    match jet::last(stream, name).await? {
        Some(message) if ends_after(&message) => {}
        _ => return Ok(life.last + 1),
    }
    // The answer is in low..=high: what is at or after `high` ends after our position.
    let (mut low, mut high) = (life.first, life.last);
    while low < high {
        let middle = low + (high - low) / 2;
        match jet::first_from(stream, name, middle).await? {
            Some(message) if !ends_after(&message) => low = message.sequence + 1,
            _ => high = middle,
        }
    }
    Ok(low)
}
