//! The wire of `tombolo.v1` and the Rust client that speaks it.
//!
//! Always true: the protobuf files in `proto/` are the interface and are served by reflection
//! ([`FILE_DESCRIPTOR_SET`]); a body that cannot be decoded is the sender's mistake; the client
//! repeats a call only where repeating does nothing twice.
//!
//! Deliberately absent: routing by partition (any router of a region serves any key), caching of
//! tables, DynamoDB's JSON, signatures.
//!
//! To read in this order: `proto/`, [`convert`] (messages <-> values), [`report`] and
//! [`report_wire`], [`conflict`] (what operators are told), [`error`], [`settings`], [`bearer`], [`Client`],
//! [`codec`].

/// Generated from `proto/`.
#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]
pub mod v1 {
    tonic::include_proto!("tombolo.v1");
}

/// The protobuf files in compiled form, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("tombolo_v1");

pub mod bearer;
mod client;
pub mod codec;
pub mod conflict;
pub mod convert;
pub mod error;
pub mod report;
pub mod report_wire;
pub mod settings;

pub use bearer::BearerToken;
pub use client::{
    BatchWrite, Change, ChangePage, Client, Expression, KeyQuery, Page, PartitionInfo, Raw,
    ReadPage, Session, SessionOptions, ShardInfo, StatementPage, StreamInfo, Table,
    TableDefinition, UpdateOptions, WriteOptions, Written,
};
pub use error::ClientError;
pub use settings::{ClientIdentity, ClientSettings, ClientTls};
