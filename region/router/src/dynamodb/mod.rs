//! The DynamoDB protocol: JSON over HTTP with signatures (AWS API reference, "Amazon DynamoDB" and
//! "Amazon DynamoDB Streams", versions 2012-08-10), for any AWS SDK.
//!
//! Always true: the same operations are carried out by the same code as through gRPC; nothing behind
//! this module knows JSON, HTTP or signatures; what a caller is told, in which words and in which order, is
//! what the service tells, as far as it is known: from the API model, from the developer guide, and from
//! the suites that other projects run against the service.
//!
//! Deliberately absent: sessions (temporary keys), resource policies, and everything that
//! `coverage.md` lists as later or not applicable.
//!
//! To read in this order: [`settings`], `listener`, `guests`, `exchange`, `sigv4`, [`credentials`], `json`,
//! `model`, `convert`, `constraints`, `fields`, `values`, `expressions`, `legacy`, `operations`, `fault`.

mod clock;
mod constraints;
mod convert;
pub mod credentials;
mod exchange;
mod expressions;
mod fault;
mod fields;
mod guests;
mod json;
mod legacy;
mod listener;
mod model;
mod operations;
pub mod settings;
mod sigv4;
mod values;
mod writer;

pub use credentials::{Credentials, RegionKey, SealError};
pub use listener::{DynamoDb, DynamoDbError};
pub use settings::{DynamoDbSettings, DynamoDbTls};

/// The target prefix of DynamoDB Streams.
const STREAMS_TARGET: &str = "DynamoDBStreams_20120810";
