//! One source shard as its link sees it: what was taken in, where the complete prefix ends, what
//! waits because the shard is held, and why it is held. Pure decisions; `link.rs` carries them out.
//!
//! Always true: records are taken in sequence, each once; nothing is taken while the shard is held;
//! what waits is bounded, and what did not fit is asked for again from the place it is missing.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use tombolo_item::{ChangeRecord, Hlc, RegionId};
use tombolo_stream::{Position as StreamPosition, subscriber::StreamRecord};

use crate::prefix::{Position, Prefix};
use crate::wire::ShardHead;

/// Records of a held shard that wait in memory.
const INBOX_BYTES: usize = 1 << 20;

/// A record to be merged; it counts as under way.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) record: ChangeRecord,
    pub(crate) canonical: Bytes,
}

#[derive(Debug)]
pub(crate) enum Offer {
    Merge(Box<Taken>),
    /// Nothing to merge: known already, of no concern here, or waiting.
    Nothing,
}

pub(crate) struct ShardState {
    source: RegionId,
    taken: StreamPosition,
    prefix: Prefix,
    inbox: VecDeque<StreamRecord>,
    inbox_bytes: usize,
    /// Records were let go: they must be read again, from `taken` on.
    missed: bool,
    /// Records that the local group refuses for now: seq -> why.
    refused: BTreeMap<u64, String>,
    /// Why the stream of this shard cannot be read.
    trouble: Option<String>,
    pub(crate) head: Option<ShardHead>,
    /// The newest stamp the shard has sent: closed stamps matter until they are past it.
    pub(crate) newest: Hlc,
}

impl ShardState {
    pub(crate) fn new(source: RegionId, at: Position, newest: Hlc) -> Self {
        ShardState {
            source,
            taken: StreamPosition { seq: at.seq, hash: at.hash },
            prefix: Prefix::new(at),
            inbox: VecDeque::new(),
            inbox_bytes: 0,
            missed: false,
            refused: BTreeMap::new(),
            trouble: None,
            head: None,
            newest,
        }
    }

    /// Where a checkpoint may stand.
    pub(crate) fn done(&self) -> Position {
        self.prefix.done()
    }

    /// Where reading of the stream goes on.
    pub(crate) fn taken(&self) -> StreamPosition {
        self.taken
    }

    pub(crate) fn held_because(&self) -> Option<&str> {
        self.trouble.as_deref().or_else(|| self.refused.values().next().map(String::as_str))
    }

    pub(crate) fn is_held(&self) -> bool {
        self.held_because().is_some()
    }

    /// A checked record of the stream.
    pub(crate) fn offer(&mut self, record: StreamRecord) -> Offer {
        if record.seq <= self.taken.seq {
            return Offer::Nothing;
        }
        // The stream of this shard goes on after all.
        self.trouble = None;
        let behind = self.inbox.back().map_or(self.taken.seq, |last| last.seq);
        if record.seq <= behind {
            return Offer::Nothing;
        }
        if record.seq != behind + 1 {
            self.missed = true;
            return Offer::Nothing;
        }
        if self.is_held() || !self.inbox.is_empty() {
            if self.inbox_bytes + record.body.len() > INBOX_BYTES {
                self.missed = true;
            } else {
                self.inbox_bytes += record.body.len();
                self.inbox.push_back(record);
            }
            return Offer::Nothing;
        }
        self.take(record)
    }

    /// The next record that waited, when the shard is no longer held.
    pub(crate) fn next_waiting(&mut self) -> Option<Offer> {
        if self.is_held() {
            return None;
        }
        let record = self.inbox.pop_front()?;
        self.inbox_bytes -= record.body.len();
        Some(self.take(record))
    }

    /// Records wait that may be taken.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.inbox.is_empty() && !self.is_held()
    }

    /// Once: the shard can go on, and something it needs was let go. Read again after [`Self::taken`].
    pub(crate) fn read_again(&mut self) -> bool {
        if self.missed && !self.is_held() && self.inbox.is_empty() {
            self.missed = false;
            return true;
        }
        false
    }

    fn take(&mut self, stream: StreamRecord) -> Offer {
        let record = match stream.change() {
            Ok(record) => record,
            Err(error) => {
                // The stream checked it; only another format version can fail here.
                self.trouble = Some(error.to_string());
                return Offer::Nothing;
            }
        };
        self.taken = stream.position();
        self.newest = self.newest.max(record.stamp.hlc);
        self.prefix.begin(record.seq, stream.hash, record.closed);
        if record.origin != self.source {
            // It came to the source from elsewhere: whoever wrote it sends it to us.
            self.prefix.complete(record.seq);
            return Offer::Nothing;
        }
        Offer::Merge(Box::new(Taken { record, canonical: stream.body }))
    }

    /// The record is durable here.
    pub(crate) fn complete(&mut self, seq: u64) {
        self.refused.remove(&seq);
        self.prefix.complete(seq);
    }

    /// The local group will not take the record before something changes.
    pub(crate) fn refuse(&mut self, seq: u64, why: String) {
        if seq > self.prefix.done().seq {
            self.refused.insert(seq, why);
        }
    }

    pub(crate) fn stream_failed(&mut self, why: String) {
        self.trouble = Some(why);
    }

    pub(crate) fn has_trouble(&self) -> bool {
        self.trouble.is_some()
    }

    /// The source's leader said where the shard ends.
    pub(crate) fn learn_head(&mut self, head: ShardHead) {
        if head.seq == self.taken.seq && head.seq > 0 && head.hash != self.taken.hash {
            self.trouble = Some(format!(
                "at sequence {} the source's chain hash is {:016x} and ours {:016x}: two histories \
                 of one shard; compare the regions with `tombolo verify`",
                head.seq, head.hash, self.taken.hash
            ));
        } else {
            if head.seq == self.taken.seq {
                // Nothing is missing, and the histories are one.
                self.trouble = None;
            }
            self.prefix.announce(head.seq, head.closed);
        }
        self.head = Some(head);
    }

    /// Records the source has and this region has not applied.
    pub(crate) fn backlog(&self) -> u64 {
        self.head.map_or(0, |head| head.seq).max(self.taken.seq) - self.prefix.done().seq
    }
}
