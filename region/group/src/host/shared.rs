//! What the event loop shows of one replica to all other threads.
//!
//! Always true: `serves_until_ms` is lowered before any message leaves that could make another
//! replica the leader; a reader that sees it in the future may serve a strong read from the
//! partition it loads afterwards.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;
use tombolo_item::{GroupId, KeyRange, RowKey, Shard, TableId};
use tombolo_storage::{GroupConfig, Partition, PartitionState, PinnedView};

use crate::core::View;
use crate::error::GroupError;
use crate::types::{Descriptor, GroupStatus, Head};

/// A view pinned at a marker.
pub(crate) struct Pin {
    pub(crate) index: u64,
    pub(crate) at_ms: u64,
    pub(crate) view: Arc<Mutex<PinnedView>>,
}

pub(crate) struct Shared {
    pub(crate) group: GroupId,
    pub(crate) partition: ArcSwap<Partition>,
    pub(crate) config: ArcSwapOption<GroupConfig>,
    pub(crate) view: ArcSwap<View>,
    /// The group's membership, as a snapshot carries it.
    pub(crate) conf: Mutex<Bytes>,
    pub(crate) head: watch::Sender<Head>,
    pub(crate) pins: Mutex<VecDeque<Pin>>,
    serves_until_ms: AtomicU64,
}

impl Shared {
    pub(crate) fn new(group: GroupId, partition: Partition) -> Shared {
        let state = partition.state();
        let head = head_of(&state, partition.applied().0);
        Shared {
            group,
            config: ArcSwapOption::from(state.config.clone().map(Arc::new)),
            partition: ArcSwap::from_pointee(partition),
            view: ArcSwap::from_pointee(View::default()),
            conf: Mutex::default(),
            head: watch::Sender::new(head),
            pins: Mutex::new(VecDeque::new()),
            serves_until_ms: AtomicU64::new(0),
        }
    }

    pub(crate) fn set_serves_until(&self, until_ms: u64) {
        self.serves_until_ms.store(until_ms, Ordering::SeqCst);
    }

    pub(crate) fn serves(&self, now_ms: u64) -> bool {
        now_ms < self.serves_until_ms.load(Ordering::SeqCst)
    }

    /// The machine moved.
    pub(crate) fn moved(&self) {
        let partition = self.partition.load();
        let state = partition.state();
        self.head.send_replace(head_of(&state, partition.applied().0));
    }

    pub(crate) fn reconfigured(&self) {
        let config = self.partition.load().state().config.clone();
        self.config.store(config.map(Arc::new));
    }

    pub(crate) fn descriptor(&self) -> Option<Descriptor> {
        let config = self.config.load_full()?;
        let view = self.view.load();
        Some(Descriptor {
            group: self.group,
            table: config.table,
            range: config.range.clone(),
            epoch: config.epoch,
            conf_index: view.conf_index,
            replicas: view.voters.clone(),
            leader: view.leader,
        })
    }

    pub(crate) fn not_leader(&self) -> GroupError {
        let view = self.view.load();
        let leader = view.leader.filter(|_| !view.is_leader);
        GroupError::NotLeader { leader, descriptor: self.descriptor() }
    }

    /// Whether a read of this row (or range) under `epoch` belongs here.
    pub(crate) fn check(&self, epoch: u32, wants: Wants<'_>) -> Result<(), GroupError> {
        let Some(config) = self.config.load_full() else {
            return Err(GroupError::NotServing("the group has no configuration yet".into()));
        };
        let inside = match wants {
            Wants::Row(key) => config.range.contains(key),
            Wants::Range(range) => config.range.intersect(range).as_ref() == Some(range),
        };
        if config.epoch == epoch && inside {
            return Ok(());
        }
        match self.descriptor() {
            Some(descriptor) => Err(GroupError::WrongRange { descriptor }),
            None => Err(GroupError::NotServing("the group has no configuration yet".into())),
        }
    }

    pub(crate) fn status(&self, now_ms: u64) -> GroupStatus {
        let view = self.view.load_full();
        let partition = self.partition.load();
        let state = partition.state();
        let (table, epoch, range) = match &state.config {
            Some(c) => (c.table, c.epoch, c.range.clone()),
            None => (TableId::default(), 0, KeyRange::full()),
        };
        let applied = partition.applied().0;
        GroupStatus {
            group: self.group,
            table,
            shard: Shard { group: self.group, epoch },
            range,
            conf_index: view.conf_index,
            leader: view.leader,
            term: view.term,
            is_leader: view.is_leader,
            serving: view.is_leader && self.serves(now_ms),
            applied,
            committed: view.committed.max(applied),
            last_index: view.last_index.max(applied),
            seq: state.seq,
            chain_hash: state.chain_hash,
            voters: view.voters.clone(),
            lag: view.lag.clone(),
        }
    }
}

pub(crate) enum Wants<'a> {
    Row(&'a RowKey),
    Range(&'a KeyRange),
}

fn head_of(state: &PartitionState, applied: u64) -> Head {
    Head { applied, seq: state.seq, hash: state.chain_hash, closed: state.greatest }
}
