//! What the publisher needs of a broker.
//!
//! Always true: a publish that was answered with [`BusError::Refused`] did not happen; one that was
//! answered with [`BusError::Unknown`] may have happened, or may yet.

use async_nats::HeaderMap;
use bytes::Bytes;
use std::future::Future;
use tokio::sync::watch;
use tombolo_item::TableId;

/// The newest message of a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LastMessage {
    /// The broker's own number for it: what the next publish expects.
    pub(crate) stream_seq: u64,
    /// Its headers.
    pub(crate) headers: HeaderMap,
}

/// The broker took it in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ack {
    pub(crate) stream_seq: u64,
    /// A message with this id was there already: nothing was stored.
    pub(crate) duplicate: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BusError {
    #[error("the table's stream does not exist")]
    NoStream,
    #[error("another message was there first")]
    Refused,
    #[error("{0}")]
    Unknown(String),
}

/// A message to send.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub(crate) subject: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// A broker with one stream per table.
pub(crate) trait Bus: Send + Sync + 'static {
    /// Waits for the connection.
    fn up(&self) -> impl Future<Output = ()> + Send;
    /// Makes the table's stream be there.
    fn ensure(&self, table: TableId) -> impl Future<Output = Result<(), BusError>> + Send;
    /// Moves whenever the table's stream may have lost something: reconnected, recreated, gone.
    fn life(&self, table: TableId) -> watch::Receiver<u64>;
    fn last(
        &self,
        table: TableId,
        subject: &str,
    ) -> impl Future<Output = Result<Option<LastMessage>, BusError>> + Send;
    fn publish(&self, message: Outgoing) -> impl Future<Output = Result<Ack, BusError>> + Send;
    /// Removes every message of a subject.
    fn purge(
        &self,
        table: TableId,
        subject: &str,
    ) -> impl Future<Output = Result<(), BusError>> + Send;
    /// Largest message the broker takes, headers included.
    fn payload_bytes_max(&self) -> usize;
}
