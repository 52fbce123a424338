//! What a subscriber needs of a shard's log: the records the broker does not have.
//!
//! Always true: the log is right. Its records are compared with the chain like any others, and what
//! does not fit them is two histories, which no fetch can mend.

use crate::chain::CheckedRecord;
use crate::error::MessageError;
use bytes::Bytes;
use futures::future::BoxFuture;
use tombolo_item::Shard;

/// One record of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    pub seq: u64,
    pub prev_hash: u64,
    pub hash: u64,
    /// `.repl`: the canonical record. People: the record as JSON text; empty for a touch.
    pub body: Bytes,
}

impl Fetched {
    /// For `.repl`: reads number and hashes from the canonical record, which is checked.
    pub fn canonical(bytes: &Bytes) -> Result<Fetched, MessageError> {
        let checked = CheckedRecord::read(bytes)?;
        Ok(Fetched {
            seq: checked.record.seq,
            prev_hash: checked.record.prev_hash,
            hash: checked.hash,
            body: checked.bytes,
        })
    }
}

/// Why the log gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchFailure {
    /// The log begins later: these records are gone.
    #[error("the log begins at {oldest}")]
    Trimmed { oldest: u64 },
    /// Not now. It is tried again.
    #[error("{0}")]
    Failed(String),
}

/// Reads a shard's log, wherever it is.
pub trait FetchMissing: Send + Sync + 'static {
    /// Records `from..=to`, in order, beginning with `from`; it may stop early after at least one,
    /// and is then called again.
    fn fetch(
        &self,
        shard: Shard,
        from: u64,
        to: u64,
    ) -> BoxFuture<'static, Result<Vec<Fetched>, FetchFailure>>;
}

impl<F> FetchMissing for F
where
    F: Fn(Shard, u64, u64) -> BoxFuture<'static, Result<Vec<Fetched>, FetchFailure>>
        + Send
        + Sync
        + 'static,
{
    fn fetch(
        &self,
        shard: Shard,
        from: u64,
        to: u64,
    ) -> BoxFuture<'static, Result<Vec<Fetched>, FetchFailure>> {
        self(shard, from, to)
    }
}
