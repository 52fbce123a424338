//! The broker as it is: JetStream, one stream per region and table.
//!
//! Always true: a stream is made by whoever first needs it, always with the same configuration. Each
//! stream in use is looked at on a timer; when it was replaced, went backwards or is gone, and
//! whenever the connection comes back, everyone who publishes to it is told to ask again.

use super::bus::{Ack, Bus, BusError, LastMessage, Outgoing};
use super::settings::PublisherSettings;
use crate::connect::Connection;
use crate::head::HEAD_BYTES_MAX;
use crate::jet::{self, JetError, Life};
use crate::metrics;
use crate::subject::{all_subjects, stream_name};
use async_nats::jetstream::Context;
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::watch;
use tombolo_item::TableId;

pub(crate) struct NatsBus {
    connection: Connection,
    context: Context,
    settings: Arc<PublisherSettings>,
    tables: Mutex<HashMap<TableId, Arc<TableStream>>>,
}

/// What is known of one table's stream.
struct TableStream {
    life: watch::Sender<u64>,
    /// The stream as last seen; `None`: it has to be looked at before it is used. Held while
    /// looking, so that the shards of a table ask once.
    seen: tokio::sync::Mutex<Option<Life>>,
}

impl TableStream {
    fn stir(&self) {
        self.life.send_modify(|life| *life += 1);
    }
}

impl From<JetError> for BusError {
    fn from(error: JetError) -> BusError {
        match error {
            JetError::NoStream => BusError::NoStream,
            JetError::Failed(reason) => BusError::Unknown(reason),
        }
    }
}

impl NatsBus {
    pub(crate) fn new(connection: Connection, settings: Arc<PublisherSettings>) -> NatsBus {
        NatsBus {
            context: jet::context(connection.client.clone(), settings.ack_timeout),
            connection,
            settings,
            tables: Mutex::new(HashMap::new()),
        }
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(crate) fn context(&self) -> &Context {
        &self.context
    }

    /// Looks after connection and streams; runs until dropped.
    pub(crate) async fn watch(&self) {
        let mut link = self.connection.watch();
        let mut check = tokio::time::interval(self.settings.stream_check);
        check.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut epoch = 0;
        loop {
            let now = *link.borrow_and_update();
            metrics::BROKER_CONNECTED.set(now.up.into());
            if now.up && now.epoch != epoch {
                epoch = now.epoch;
                for table in self.in_use() {
                    *table.1.seen.lock().await = None;
                    table.1.stir();
                }
            }
            tokio::select! {
                changed = link.changed() => if changed.is_err() { return },
                _ = check.tick() => if now.up { self.look().await },
            }
        }
    }

    /// Forgets tables that nobody publishes any more.
    pub(crate) fn keep_only(&self, wanted: impl Fn(TableId) -> bool) {
        self.tables.lock().retain(|table, _| wanted(*table));
    }

    fn in_use(&self) -> Vec<(TableId, Arc<TableStream>)> {
        self.tables.lock().iter().map(|(table, stream)| (*table, stream.clone())).collect()
    }

    fn table(&self, table: TableId) -> Arc<TableStream> {
        let fresh = || {
            let life = watch::Sender::new(0);
            Arc::new(TableStream { life, seen: tokio::sync::Mutex::new(None) })
        };
        self.tables.lock().entry(table).or_insert_with(fresh).clone()
    }

    fn name(&self, table: TableId) -> String {
        stream_name(&self.settings.region_name, table)
    }

    /// Compares each stream in use with what was seen of it last.
    async fn look(&self) {
        for (table, state) in self.in_use() {
            let mut seen = state.seen.lock().await;
            let Some(before) = *seen else { continue };
            *seen = match jet::stream(&self.context, &self.name(table)).await {
                Ok(stream) => {
                    let now = Life::of(stream.cached_info());
                    // Purged is noticed too. What only grew too old looks the same; asking again
                    // does no harm.
                    let held = 0 < before.first && before.first <= before.last;
                    let emptied = now.first > before.last + u64::from(!held);
                    if now.created == before.created && now.last >= before.last && !emptied {
                        Some(now)
                    } else {
                        None
                    }
                }
                Err(JetError::NoStream) => None,
                Err(JetError::Failed(_)) => continue,
            };
            if seen.is_none() {
                tracing::warn!(%table, "the table's stream was deleted, replaced or emptied");
                state.stir();
            }
        }
    }

    fn config(&self, table: TableId) -> Config {
        let settings = &self.settings;
        Config {
            name: self.name(table),
            subjects: vec![all_subjects(&settings.region_name, table)],
            description: Some("change records of one table; the log is the record".into()),
            retention: RetentionPolicy::Limits,
            discard: DiscardPolicy::Old,
            storage: StorageType::File,
            num_replicas: settings.replicas.max(1),
            max_age: settings.max_age,
            max_bytes: match settings.stream_bytes_max {
                0 => -1,
                bytes => i64::try_from(bytes).unwrap_or(i64::MAX),
            },
            max_messages: -1,
            max_messages_per_subject: -1,
            max_consumers: -1,
            max_message_size: i32::try_from(settings.message_bytes_max + HEAD_BYTES_MAX)
                .unwrap_or(i32::MAX),
            duplicate_window: settings.duplicate_window.min(settings.max_age),
            allow_direct: true,
            ..Default::default()
        }
    }

    async fn create(&self, table: TableId) -> Result<Life, BusError> {
        let failed = |error: &dyn std::fmt::Display| {
            BusError::Unknown(format!("creating a stream: {error}"))
        };
        match self.context.create_stream(self.config(table)).await {
            Ok(stream) => Ok(Life::of(stream.cached_info())),
            // Another node made it a moment ago, perhaps with other limits.
            Err(error) => match jet::stream(&self.context, &self.name(table)).await {
                Ok(stream) => Ok(Life::of(stream.cached_info())),
                Err(_) => Err(failed(&error)),
            },
        }
    }

    /// Brings an existing stream to this node's limits. Failing to is said, and is not in the way.
    async fn adjust(&self, table: TableId, current: &Config) {
        let wanted = self.config(table);
        let limits = |config: &Config| {
            (
                config.max_age,
                config.max_bytes,
                config.max_message_size,
                config.duplicate_window,
                config.num_replicas,
                config.subjects.clone(),
            )
        };
        if limits(current) != limits(&wanted)
            && let Err(error) = self.context.update_stream(wanted).await
        {
            tracing::warn!(%table, %error, "the table's stream keeps its old limits");
        }
    }
}

impl Bus for NatsBus {
    async fn up(&self) {
        self.connection.up().await;
    }

    async fn ensure(&self, table: TableId) -> Result<(), BusError> {
        let state = self.table(table);
        let mut seen = state.seen.lock().await;
        if seen.is_some() {
            return Ok(());
        }
        *seen = Some(match jet::stream(&self.context, &self.name(table)).await {
            Ok(stream) => {
                self.adjust(table, &stream.cached_info().config).await;
                Life::of(stream.cached_info())
            }
            Err(JetError::NoStream) => self.create(table).await?,
            Err(error) => return Err(error.into()),
        });
        Ok(())
    }

    fn life(&self, table: TableId) -> watch::Receiver<u64> {
        self.table(table).life.subscribe()
    }

    async fn last(&self, table: TableId, subject: &str) -> Result<Option<LastMessage>, BusError> {
        let stream = self
            .context
            .get_stream_no_info(self.name(table))
            .await
            .map_err(|error| BusError::Unknown(error.to_string()))?;
        match jet::last(&stream, subject).await {
            Ok(message) => Ok(message.map(|message| LastMessage {
                stream_seq: message.sequence,
                headers: message.headers,
            })),
            Err(error) => {
                if error == JetError::NoStream {
                    self.gone(table).await;
                }
                Err(error.into())
            }
        }
    }

    async fn publish(&self, message: Outgoing) -> Result<Ack, BusError> {
        let link = self.connection.link();
        if !link.up {
            return Err(BusError::Unknown("not connected to NATS".into()));
        }
        let table = table_of(&message.subject);
        let sending = async {
            let publish = PublishMessage::build().payload(message.body).headers(message.headers);
            self.context.send_publish(message.subject, publish).await?.await
        };
        let answer = tokio::select! {
            answer = sending => answer,
            () = self.connection.lost(link.epoch) => {
                return Err(BusError::Unknown("the connection to NATS was lost".into()));
            }
        };
        match answer {
            Ok(ack) => Ok(Ack { stream_seq: ack.sequence, duplicate: ack.duplicate }),
            Err(error) => match error.kind() {
                PublishErrorKind::WrongLastSequence => Err(BusError::Refused),
                PublishErrorKind::StreamNotFound => {
                    if let Some(table) = table {
                        self.gone(table).await;
                    }
                    Err(BusError::NoStream)
                }
                _ => Err(BusError::Unknown(format!("publishing to NATS: {error}"))),
            },
        }
    }

    async fn purge(&self, table: TableId, subject: &str) -> Result<(), BusError> {
        let failed = |error: &dyn std::fmt::Display| {
            BusError::Unknown(format!("purging a subject: {error}"))
        };
        let stream = self
            .context
            .get_stream_no_info(self.name(table))
            .await
            .map_err(|error| failed(&error))?;
        stream.purge().filter(subject).await.map_err(|error| failed(&error))?;
        Ok(())
    }

    fn payload_bytes_max(&self) -> usize {
        match self.connection.client.server_info().max_payload {
            0 => 1 << 20,
            bytes => bytes,
        }
    }
}

impl NatsBus {
    /// The stream is not there: the next `ensure` makes it.
    async fn gone(&self, table: TableId) {
        let state = self.table(table);
        let was_there = state.seen.lock().await.take().is_some();
        if was_there {
            tracing::warn!(%table, "the table's stream is gone; making it again from the log");
            state.stir();
        }
    }
}

fn table_of(subject: &str) -> Option<TableId> {
    subject.split('.').nth(2)?.parse().ok()
}
