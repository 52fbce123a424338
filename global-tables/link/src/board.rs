//! How far the links that this process runs are, for operators who ask now. Metrics add links up;
//! here each shard stands for itself.
//!
//! Always true: an entry is there while its link runs, and shows what the link last knew, about once
//! a second. Nothing decides by it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tombolo_item::{RegionId, Shard, TableId};

/// One shard of the source region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardProgress {
    pub table: TableId,
    /// The region that sends.
    pub from: RegionId,
    pub shard: Shard,
    /// Merged and committed here up to this record.
    pub applied_seq: u64,
    /// The newest record that the source has, as far as known.
    pub head_seq: u64,
    /// From its write there to its visibility here, of the link's newest record.
    pub lag_ms: Option<u64>,
    /// Why the shard is held, if it is.
    pub held: Option<String>,
}

type Key = (TableId, RegionId);

static BOARD: Mutex<BTreeMap<Key, Vec<ShardProgress>>> = Mutex::new(BTreeMap::new());

/// All shards of all links that this process runs.
pub fn link_progress() -> Vec<ShardProgress> {
    BOARD.lock().values().flatten().cloned().collect()
}

/// One link's place on the board; taken away with it.
pub(crate) struct Place {
    key: Key,
    /// Milliseconds plus one; 0 = there was no record yet.
    newest_lag: Arc<AtomicU64>,
}

impl Place {
    pub(crate) fn new(table: TableId, from: RegionId) -> Place {
        Place { key: (table, from), newest_lag: Arc::default() }
    }

    /// Where tasks that merge tell what they measured.
    pub(crate) fn newest_lag(&self) -> NewestLag {
        NewestLag(self.newest_lag.clone())
    }

    pub(crate) fn show<'a>(
        &self,
        shards: impl Iterator<Item = (Shard, u64, u64, Option<&'a str>)>,
    ) {
        let (table, from) = self.key;
        let lag_ms = self.newest_lag.load(Ordering::Relaxed).checked_sub(1);
        let lines = shards.map(|(shard, applied_seq, head_seq, held)| ShardProgress {
            table,
            from,
            shard,
            applied_seq,
            head_seq,
            lag_ms,
            held: held.map(str::to_owned),
        });
        BOARD.lock().insert(self.key, lines.collect());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        BOARD.lock().remove(&self.key);
    }
}

/// Takes the lag of each record that was merged.
#[derive(Clone)]
pub(crate) struct NewestLag(Arc<AtomicU64>);

impl NewestLag {
    pub(crate) fn tell(&self, lag_ms: u64) {
        self.0.store(lag_ms.saturating_add(1), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tombolo_item::GroupId;
    use uuid::Uuid;

    #[test]
    fn a_link_is_on_the_board_while_it_runs() {
        let table = TableId(Uuid::new_v4());
        let mine =
            || link_progress().into_iter().filter(|line| line.table == table).collect::<Vec<_>>();
        let shard = Shard { group: GroupId(16), epoch: 1 };
        let place = Place::new(table, RegionId(2));
        place.show([(shard, 3, 5, None)].into_iter());
        assert_eq!(mine()[0].lag_ms, None);
        place.newest_lag().tell(0);
        place.show([(shard, 5, 5, Some("its clock is ahead"))].into_iter());
        let line = mine().remove(0);
        assert_eq!((line.applied_seq, line.head_seq, line.lag_ms), (5, 5, Some(0)));
        assert_eq!(line.held.as_deref(), Some("its clock is ahead"));
        drop(place);
        assert!(mine().is_empty());
    }
}
