//! How many items and bytes a table holds, approximately, for DescribeTable.
//!
//! Always true: counting walks this node's copies in the background, at most one count of a table at
//! a time, and rests a hundred times as long as the last count took; who asks waits a moment at
//! most and is otherwise told what was counted last. Copies that this node does not keep are
//! assumed to be like those that it keeps.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tombolo_group::Host;
use tombolo_item::{GroupId, KeyRange, TableId};

/// How long who asks waits for a count under way.
const PATIENCE: Duration = Duration::from_millis(100);
/// The shortest rest between two counts of a table.
const REST: Duration = Duration::from_secs(1);
/// Rest after a count, in multiples of its duration.
const REST_FACTOR: u32 = 100;
/// Tables that are remembered; beyond them everything is forgotten and counted anew.
const MOST_TABLES: usize = 4096;
/// The space of items in a partition's tree.
const ITEMS: u8 = 0;

type Counted = Option<(u64, u64)>;

struct Count {
    result: watch::Receiver<Counted>,
    /// When the next count may begin; nothing while one is under way.
    next: Option<Instant>,
}

/// The counts of this node.
#[derive(Clone, Default)]
pub(crate) struct Figures(Arc<Mutex<HashMap<TableId, Count>>>);

impl Figures {
    /// Items and bytes of a table with these groups, as last counted.
    pub(crate) async fn of(&self, host: &Host, table: TableId, groups: Vec<GroupId>) -> Counted {
        let mut result = self.begin_if_due(host, table, groups);
        if result.borrow().is_none() {
            // Whoever comes first sees the first count, when it is a quick one.
            let _ = tokio::time::timeout(PATIENCE, result.changed()).await;
        }
        *result.borrow()
    }

    fn begin_if_due(
        &self,
        host: &Host,
        table: TableId,
        groups: Vec<GroupId>,
    ) -> watch::Receiver<Counted> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = match counts.get(&table) {
            Some(count) if count.next.is_none_or(|next| Instant::now() < next) => {
                return count.result.clone();
            }
            Some(count) => *count.result.borrow(),
            None => None,
        };
        if counts.len() >= MOST_TABLES {
            counts.clear();
        }
        let (sender, result) = watch::channel(last);
        counts.insert(table, Count { result: result.clone(), next: None });
        let (figures, host) = (self.clone(), host.clone());
        tokio::task::spawn_blocking(move || {
            let began = Instant::now();
            let counted = count(&host, &groups);
            let rest = (began.elapsed() * REST_FACTOR).max(REST);
            let _ = sender.send(counted.or(last));
            let mut counts = figures.0.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(count) = counts.get_mut(&table) {
                count.next = Some(Instant::now() + rest);
            }
        });
        result
    }
}

/// Walks this node's copies. Nothing when it keeps none, or one cannot be read.
fn count(host: &Host, groups: &[GroupId]) -> Counted {
    let (mut items, mut bytes, mut copies) = (0u64, 0u64, 0u64);
    for partition in groups.iter().filter_map(|group| host.partition(*group)) {
        copies += 1;
        let view = partition.view().ok()?;
        view.range(ITEMS, &KeyRange::full(), false, &mut |_, row| {
            if !row.tombstone {
                items += 1;
                bytes += row.item.len() as u64;
            }
            ControlFlow::Continue(())
        })
        .ok()?;
    }
    let all = groups.len() as u64;
    if copies == 0 {
        return None;
    }
    Some((items * all / copies, bytes * all / copies))
}
