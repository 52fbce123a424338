//! Committed change records on their way out: from a group's log to NATS JetStream, and from there
//! to people and to other regions.
//!
//! What it is for: the *publisher* runs in every storage node and sends the change records of the
//! shards that node leads; the *subscriber* reads a table's stream anywhere and proves, record by
//! record, that nothing was lost, repeated, swapped or altered.
//!
//! Always true:
//! - The group's log is the record, NATS is transport. Any replica can publish any record again,
//!   and nothing in a log is trimmed because a broker acknowledged something.
//! - A shard's messages carry contiguous ranges of its sequence numbers, and the chain hash on both
//!   ends of the range. Hashes cover the canonical bytes of the log, never JSON.
//! - At most one message per shard and family is on its way, fenced by the broker's last sequence
//!   for that subject, so that a deposed leader cannot write between its successor's messages.
//! - What was published is asked of the broker; where a consumer stands is known by the consumer.
//!   Neither side remembers it for the other.
//! - NATS being down costs no memory: records are read from the log when they can be sent.
//!
//! Deliberately absent: durable JetStream consumers, acknowledgements from consumers to the broker,
//! any trimming, any conversion of records into something the log does not hold.
//!
//! In reading order: [`subject`] (names), [`head`] (headers), [`repl`], [`people`] and [`face`]
//! (bodies), [`chain`] (the check), [`connect`] (the connection), then the publisher and the subscriber;
//! [`metrics`] and [`error`] on the side.

pub mod chain;
pub mod connect;
pub mod error;
pub mod face;
pub mod head;
mod jet;
mod json_text;
pub mod metrics;
pub mod people;
pub mod repl;
pub mod subject;

#[cfg(feature = "publisher")]
pub mod publisher;
#[cfg(feature = "subscriber")]
pub mod subscriber;

#[cfg(all(test, feature = "publisher", feature = "subscriber"))]
mod testkit;

pub use chain::Position;
pub use error::{MessageError, StreamError};
pub use face::TableFace;
pub use repl::{ReplMessage, Stub};
pub use subject::Family;

#[cfg(feature = "publisher")]
pub use publisher::{PublisherSettings, ShardLag, run, shard_lags};
