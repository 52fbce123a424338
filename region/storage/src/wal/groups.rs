//! What the log holds of each group, and in which segment: it decides what may be recycled.
//!
//! Always true: a segment that holds an entry some group may still need, or the only copy of a
//! group's hard state or base, is never offered for recycling.

use std::collections::{BTreeMap, VecDeque};

use tombolo_item::GroupId;

use super::{HardState, LogBase, WalRecord};

/// Entries `first..=last` of a group that lie in one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    segment: u64,
    first: u64,
    last: u64,
}

#[derive(Debug, Clone, Default)]
struct Group {
    base: Option<(LogBase, u64)>,
    hard_state: Option<(HardState, u64)>,
    runs: VecDeque<Run>,
}

/// The log's memory of its groups.
#[derive(Debug, Clone, Default)]
pub(super) struct Groups(BTreeMap<GroupId, Group>);

/// The index after which a group's next entry must come, before which it may also overwrite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tail {
    pub(super) base: u64,
    pub(super) generation: Option<u64>,
    pub(super) last: u64,
}

impl Tail {
    /// The tail after `record`, or the reason why the record does not fit.
    pub(super) fn after(self, record: &WalRecord) -> Result<Self, String> {
        match record {
            WalRecord::Entry { group, entry } => {
                if entry.index > self.last + 1 {
                    return Err(format!(
                        "entry {} of group {group} does not follow entry {}",
                        entry.index, self.last
                    ));
                }
                // One at or below the base is in the tree already: kept out, not refused.
                Ok(if entry.index <= self.base { self } else { Self { last: entry.index, ..self } })
            }
            WalRecord::Base { base, .. } => {
                let last =
                    if self.forgets(record) { base.index } else { self.last.max(base.index) };
                Ok(Self { base: base.index, generation: Some(base.generation), last })
            }
            WalRecord::Drop { .. } => Ok(Self::EMPTY),
            WalRecord::HardState { .. } => Ok(self),
        }
    }

    /// Whether `record` is a base of another generation: a snapshot was installed, and all older
    /// entries are void. The flag is written into the log, because the base before it may be
    /// recycled when the log is read.
    pub(super) fn forgets(self, record: &WalRecord) -> bool {
        match record {
            WalRecord::Base { base, .. } => {
                self.generation.is_some_and(|old| old != base.generation)
            }
            _ => false,
        }
    }

    const EMPTY: Self = Self { base: 0, generation: None, last: 0 };
}

impl Groups {
    pub(super) fn tail(&self, group: GroupId) -> Tail {
        let Some(known) = self.0.get(&group) else { return Tail::EMPTY };
        let (base, generation) =
            known.base.as_ref().map_or((0, None), |(b, _)| (b.index, Some(b.generation)));
        Tail { base, generation, last: known.runs.back().map_or(base, |r| r.last.max(base)) }
    }

    /// Notes a record that is durable in `segment`; `forgets`: a base before which all entries go.
    pub(super) fn note(&mut self, record: &WalRecord, segment: u64, forgets: bool) {
        if let WalRecord::Drop { group } = record {
            self.0.remove(group);
            return;
        }
        let known = self.0.entry(record.group()).or_default();
        match record {
            WalRecord::Entry { entry, .. } => {
                if known.base.as_ref().is_some_and(|(base, _)| entry.index <= base.index) {
                    return;
                }
                known.cut_from(entry.index);
                match known.runs.back_mut() {
                    Some(run) if run.segment == segment => run.last = entry.index,
                    _ => {
                        known.runs.push_back(Run { segment, first: entry.index, last: entry.index })
                    }
                }
            }
            WalRecord::HardState { state, .. } => known.hard_state = Some((*state, segment)),
            WalRecord::Base { base, .. } => {
                if forgets {
                    known.runs.clear();
                }
                while known.runs.front().is_some_and(|run| run.last <= base.index) {
                    known.runs.pop_front();
                }
                known.base = Some((base.clone(), segment));
            }
            WalRecord::Drop { .. } => {}
        }
    }

    /// Groups that still need entries in `segment` or an older one.
    pub(super) fn pinning(&self, segment: u64) -> Vec<GroupId> {
        let pins = |group: &Group| group.runs.front().is_some_and(|run| run.segment <= segment);
        self.0.iter().filter(|(_, group)| pins(group)).map(|(id, _)| *id).collect()
    }

    pub(super) fn is_pinned(&self, segment: u64) -> bool {
        self.0.values().any(|g| g.runs.front().is_some_and(|run| run.segment <= segment))
    }

    /// What `segment` (the oldest) alone holds besides entries: to be written again.
    pub(super) fn only_in(&self, segment: u64) -> Vec<WalRecord> {
        let mut records = Vec::new();
        for (id, group) in &self.0 {
            if let Some((base, _)) = group.base.as_ref().filter(|(_, s)| *s <= segment) {
                records.push(WalRecord::Base { group: *id, base: base.clone() });
            }
            if let Some((state, _)) = group.hard_state.filter(|(_, s)| *s <= segment) {
                records.push(WalRecord::HardState { group: *id, state });
            }
        }
        records
    }
}

impl Group {
    /// Forgets entries from `index` on: they were replaced.
    fn cut_from(&mut self, index: u64) {
        while self.runs.back().is_some_and(|run| run.first >= index) {
            self.runs.pop_back();
        }
        if let Some(run) = self.runs.back_mut() {
            run.last = run.last.min(index - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::wal::LogEntry;

    const G: GroupId = GroupId(16);

    fn entry(index: u64) -> WalRecord {
        let entry = LogEntry { index, term: 1, kind: 0, data: Bytes::new(), context: Bytes::new() };
        WalRecord::Entry { group: G, entry }
    }

    fn base(index: u64, generation: u64) -> WalRecord {
        let base = LogBase { index, term: 1, generation, conf: Bytes::new() };
        WalRecord::Base { group: G, base }
    }

    #[test]
    fn entries_pin_until_a_base_covers_them() {
        let mut groups = Groups::default();
        (1..=10).for_each(|i| groups.note(&entry(i), 1, false));
        (11..=20).for_each(|i| groups.note(&entry(i), 2, false));
        assert_eq!(groups.pinning(1), [G]);
        groups.note(&base(9, 0), 2, false);
        assert!(groups.is_pinned(1));
        groups.note(&base(10, 0), 2, false);
        assert!(!groups.is_pinned(1));
        assert!(groups.is_pinned(2));
        assert!(groups.only_in(1).is_empty());
        assert_eq!(groups.only_in(2).len(), 1);
    }

    #[test]
    fn replaced_entries_do_not_pin() {
        let mut groups = Groups::default();
        (1..=10).for_each(|i| groups.note(&entry(i), 1, false));
        groups.note(&entry(1), 2, false);
        assert!(!groups.is_pinned(1));
        assert_eq!(groups.tail(G).last, 1);
    }

    #[test]
    fn an_installed_snapshot_forgets_all_older_entries() {
        let mut groups = Groups::default();
        groups.note(&base(0, 1), 1, false);
        (1..=10).for_each(|i| groups.note(&entry(i), 1, false));
        groups.note(&base(5, 2), 2, true);
        assert!(!groups.is_pinned(1));
        assert_eq!(groups.tail(G), Tail { base: 5, generation: Some(2), last: 5 });
    }

    #[test]
    fn an_idle_groups_state_is_found_in_its_segment() {
        let mut groups = Groups::default();
        let state = HardState { term: 3, vote: 1, commit: 0 };
        groups.note(&WalRecord::HardState { group: G, state }, 1, false);
        groups.note(&base(0, 1), 1, false);
        assert_eq!(groups.only_in(1).len(), 2);
        groups.note(&WalRecord::Drop { group: G }, 2, false);
        assert!(groups.only_in(2).is_empty());
    }

    #[test]
    fn a_record_that_leaves_a_hole_is_refused() {
        let tail = Tail { base: 3, generation: Some(1), last: 5 };
        assert!(tail.after(&entry(7)).is_err());
        assert_eq!(tail.after(&entry(3)).unwrap(), tail);
        assert_eq!(tail.after(&entry(4)).unwrap().last, 4);
        assert_eq!(tail.after(&base(9, 1)).unwrap().last, 9);
    }
}
