//! What can go wrong, said with what was attempted and what to do about it.

use tombolo_item::Shard;

/// A message that cannot be read. The record is in the shard's log: fetch it from there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    #[error(
        "reading a {what}: format version {found} is not known here (newest known: {newest}); \
         upgrade this reader before the writer"
    )]
    Version { what: &'static str, found: u8, newest: u8 },
    #[error("reading a {what}: it ends after {have} bytes, {need} are needed at offset {offset}")]
    Truncated { what: &'static str, offset: usize, need: usize, have: usize },
    #[error("reading a {what}: {reason}")]
    Malformed { what: &'static str, reason: String },
    #[error(
        "reading a {what}: its checksum says {stated:016x}, its content {computed:016x}: it was \
         damaged on the way; fetch the records from the shard's log"
    )]
    Checksum { what: &'static str, stated: u64, computed: u64 },
    #[error("reading a message: header {0} is missing")]
    HeaderMissing(&'static str),
}

/// A stream that cannot go on by itself.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StreamError {
    #[error("NATS address {url:?} is not usable: {reason}")]
    Address { url: String, reason: String },
    #[error("connecting to NATS at {url}: {reason}")]
    Connect { url: String, reason: String },
    #[error("{attempt}: {reason}; it is tried again")]
    Broker { attempt: String, reason: String },
    #[error(
        "shard {shard}: records after {after} are missing from the stream and this subscription \
         was given no way to fetch them; give it one, or start again from the newest record"
    )]
    Gap { shard: Shard, after: u64 },
    #[error(
        "shard {shard}: records after {after} are wanted, the log now begins at {oldest}; what is \
         in between is gone: copy the table's state, then start again from its position"
    )]
    Trimmed { shard: Shard, after: u64, oldest: u64 },
    #[error(
        "shard {shard}: record {seq} in the log follows hash {log:016x}, what was read before it \
         has {ours:016x}: two histories; stop and compare the regions with `tombolo verify`"
    )]
    TwoHistories { shard: Shard, seq: u64, log: u64, ours: u64 },
    #[error("the subscription was closed")]
    Closed,
}
