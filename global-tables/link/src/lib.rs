//! Global tables at work: changes of other regions come in here, and copies are proved equal.
//!
//! What it is for. In each region this crate runs one *link* per (table, other region): it reads the
//! other region's replication stream, submits each change to the local leader, which merges and logs
//! it, and confirms to the sender what is durable here. It purges tombstones that nobody needs any
//! more. And it *verifies*: replica against replica, region against region, down to the key.
//!
//! Always true:
//! - Nothing echoes: a link takes from a region only what that region's own users wrote.
//! - Nothing is skipped: a record that cannot be merged holds its shard and raises an alarm.
//! - The position of a link is its own replicated checkpoint, which moves only behind what a quorum
//!   of the local group holds; confirmations move only behind checkpoints. The broker's idea of a
//!   position, and its acknowledgements, move nothing.
//! - Merging is idempotent and ordered per key, so any restart at any checkpoint ends in one state.
//! - A verification without findings has read every copy from storage, and never through a Scan.
//!
//! Deliberately absent: deciding who wins (`tombolo-merge`, in the group's leader), the stream's
//! format and its checks (`tombolo-stream`), copying a whole table into a new region, repairing what
//! a verification finds.
//!
//! In reading order: [`settings`]; `prefix`, `order`, `shard`, `progress` (pure); [`checkpoint`], `wire`,
//! `world`; `link` (the loop), `inlet`, `source`, `target` (its ends); `serve` (the other side);
//! `run` (which links run where); `purge`; [`verify`].

mod board;
pub mod checkpoint;
mod error;
mod gauges;
mod inlet;
mod link;
#[cfg(test)]
mod link_tests;
mod metrics;
mod order;
mod prefix;
mod progress;
mod purge;
mod run;
mod serve;
pub mod settings;
mod shard;
mod source;
mod target;
pub mod verify;
mod wire;
mod world;

pub use board::{ShardProgress, link_progress};
pub use error::{LinkError, VerifyError};
pub use run::run;
pub use settings::LinkSettings;
