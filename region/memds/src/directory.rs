//! The map in memory: tables, partitions, nodes, and which partition owns a row key.
//!
//! Always true: a published [`Directory`] never changes, but for what is learned about a partition
//! ([`Slot`]: newest descriptor, likely leader), which survives to the next one. Of two descriptors
//! of a group the higher (epoch, configuration index) wins, wherever it came from.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use tombolo_group::Descriptor;
use tombolo_item::{GroupId, NodeId, RowKey, TableId};

use crate::drain::DrainRow;
use crate::model::{Credential, TableInfo};
use crate::rows::{DroppedRow, NodeRow, PartitionRow, TableRow};

/// The rows that a directory is made of, as of one applied index of the system group.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Content {
    pub(crate) version: u64,
    pub(crate) nodes: Vec<NodeRow>,
    pub(crate) tables: Vec<TableContent>,
    pub(crate) dropped: Vec<DroppedRow>,
    pub(crate) credentials: Vec<Credential>,
    pub(crate) drained: Vec<DrainRow>,
}

/// One table and its partitions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct TableContent {
    pub(crate) row: TableRow,
    pub(crate) partitions: Vec<PartitionRow>,
}

/// No node has this id.
const NOBODY: u64 = u64::MAX;

/// One partition, and what is known of where it is.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) row: Option<PartitionRow>,
    pub(crate) group: GroupId,
    descriptor: ArcSwap<Descriptor>,
    leader: AtomicU64,
}

impl Slot {
    pub(crate) fn new(row: Option<PartitionRow>, descriptor: Descriptor) -> Slot {
        // Until something better is known: the leader that the group itself prefers.
        let replicas = &descriptor.replicas;
        let preferred = (descriptor.group.0 as usize).checked_rem(replicas.len());
        let preferred = preferred.and_then(|at| replicas.get(at).copied());
        let leader = descriptor.leader.or(preferred);
        Slot {
            row,
            group: descriptor.group,
            leader: AtomicU64::new(leader.map_or(NOBODY, |node| node.0)),
            descriptor: ArcSwap::from_pointee(descriptor),
        }
    }

    pub(crate) fn descriptor(&self) -> Arc<Descriptor> {
        self.descriptor.load_full()
    }

    /// The range epoch that requests name.
    pub(crate) fn epoch(&self) -> u32 {
        self.descriptor.load().epoch
    }

    /// Learn a descriptor; the newest wins.
    pub(crate) fn learn(&self, descriptor: Descriptor) {
        if descriptor.group == self.group && descriptor.newer_than(&self.descriptor.load()) {
            self.descriptor.store(Arc::new(descriptor));
        }
    }

    pub(crate) fn leader(&self) -> Option<NodeId> {
        let node = self.leader.load(Ordering::Relaxed);
        (node != NOBODY).then_some(NodeId(node))
    }

    pub(crate) fn set_leader(&self, node: NodeId) {
        if self.leader.load(Ordering::Relaxed) != node.0 {
            self.leader.store(node.0, Ordering::Relaxed);
        }
    }

    /// `node` does not lead it (any more).
    pub(crate) fn not_leader(&self, node: NodeId) {
        let nobody = NOBODY;
        // Somebody else may have learned better meanwhile: then that stays.
        let _ = self.leader.compare_exchange(node.0, nobody, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// One table.
#[derive(Debug)]
pub(crate) struct TableEntry {
    pub(crate) info: Arc<TableInfo>,
    pub(crate) row: TableRow,
    /// By start of their range.
    pub(crate) slots: Vec<Arc<Slot>>,
    starts: Vec<RowKey>,
    /// The applied index its rows were read at.
    as_of: u64,
    /// It was looked up since the last refresh.
    wanted: AtomicBool,
}

impl TableEntry {
    fn new(content: &TableContent, as_of: u64, previous: Option<&TableEntry>) -> TableEntry {
        let mut slots: Vec<(RowKey, Arc<Slot>)> = Vec::with_capacity(content.partitions.len());
        for row in &content.partitions {
            let range = match row.range.range() {
                Ok(range) => range,
                Err(reason) => {
                    tracing::error!(group = row.group.0, %reason, "a partition row is unusable");
                    continue;
                }
            };
            let kept = previous.and_then(|entry| {
                entry.slots.iter().find(|slot| slot.row.as_ref() == Some(row)).cloned()
            });
            let start = range.start.clone();
            let slot = kept.unwrap_or_else(|| {
                let descriptor = Descriptor {
                    group: row.group,
                    table: row.table,
                    range,
                    epoch: row.epoch,
                    conf_index: 0,
                    replicas: row.voters.iter().map(|voter| voter.node).collect(),
                    leader: None,
                };
                Arc::new(Slot::new(Some(row.clone()), descriptor))
            });
            slots.push((start, slot));
        }
        slots.sort_by(|a, b| a.0.cmp(&b.0));
        let (starts, slots) = slots.into_iter().unzip();
        TableEntry {
            info: Arc::new(content.row.info.clone()),
            row: content.row.clone(),
            slots,
            starts,
            as_of,
            wanted: AtomicBool::new(false),
        }
    }

    /// Floor search: the partition that owns the row key.
    pub(crate) fn slot(&self, key: &RowKey) -> Option<&Arc<Slot>> {
        let above = self.starts.partition_point(|start| start <= key);
        let slot = self.slots.get(above.checked_sub(1)?)?;
        slot.descriptor.load().range.contains(key).then_some(slot)
    }

    /// It was looked up: its refresh is due.
    pub(crate) fn want(&self) {
        if !self.wanted.load(Ordering::Relaxed) {
            self.wanted.store(true, Ordering::Relaxed);
        }
    }

    pub(crate) fn take_wanted(&self) -> bool {
        self.wanted.swap(false, Ordering::Relaxed)
    }
}

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    pub(crate) version: u64,
    pub(crate) nodes: BTreeMap<NodeId, NodeRow>,
    pub(crate) tables: HashMap<TableId, Arc<TableEntry>>,
    by_name: HashMap<String, TableId>,
    pub(crate) dropped: Vec<DroppedRow>,
    /// By access key.
    pub(crate) credentials: HashMap<String, Arc<Credential>>,
    pub(crate) drained: Vec<DrainRow>,
}

impl Directory {
    /// The directory of this content; what `previous` had learned is kept.
    pub(crate) fn build(content: Content, previous: &Directory) -> Directory {
        let mut tables = HashMap::with_capacity(content.tables.len());
        for table in &content.tables {
            let id = table.row.info.id;
            let old = previous.tables.get(&id);
            let entry = match old {
                Some(old) if old.as_of > content.version => old.clone(),
                old => {
                    let old = old.map(|entry| &**entry);
                    let entry = TableEntry::new(table, content.version, old);
                    if old.is_some_and(|old| old.wanted.load(Ordering::Relaxed)) {
                        entry.want();
                    }
                    Arc::new(entry)
                }
            };
            tables.insert(id, entry);
        }
        let nodes = content.nodes.into_iter().map(|row| (row.info.id, row)).collect();
        let by_name = names(&tables);
        let listed = content.credentials.into_iter();
        let credentials = listed.map(|c| (c.access_key.clone(), Arc::new(c))).collect();
        let Content { version, dropped, drained, .. } = content;
        Directory { version, nodes, tables, by_name, dropped, credentials, drained }
    }

    /// This directory with some tables as of `version` (a table that is gone comes as `None`).
    /// `None` if nothing in it is news.
    pub(crate) fn with_tables(
        &self,
        version: u64,
        news: Vec<(TableId, Option<TableContent>)>,
    ) -> Option<Directory> {
        if version <= self.version {
            return None;
        }
        let mut tables = self.tables.clone();
        let mut changed = false;
        for (id, content) in news {
            let old = self.tables.get(&id);
            match content {
                Some(content) if old.is_none_or(|old| old.differs(&content)) => {
                    let entry = TableEntry::new(&content, version, old.map(|entry| &**entry));
                    tables.insert(id, Arc::new(entry));
                    changed = true;
                }
                Some(_) => {}
                None => changed |= tables.remove(&id).is_some(),
            }
        }
        changed.then(|| Directory {
            version: self.version,
            nodes: self.nodes.clone(),
            by_name: names(&tables),
            tables,
            dropped: self.dropped.clone(),
            credentials: self.credentials.clone(),
            drained: self.drained.clone(),
        })
    }

    /// The rows it was made of.
    pub(crate) fn content(&self) -> Content {
        let mut tables: Vec<TableContent> =
            self.tables.values().map(|entry| entry.content()).collect();
        tables.sort_by_key(|table| table.row.info.id);
        let mut credentials: Vec<Credential> =
            self.credentials.values().map(|c| (**c).clone()).collect();
        credentials.sort_by(|a, b| a.access_key.cmp(&b.access_key));
        Content {
            version: self.version,
            nodes: self.nodes.values().cloned().collect(),
            tables,
            dropped: self.dropped.clone(),
            credentials,
            drained: self.drained.clone(),
        }
    }

    pub(crate) fn by_name(&self, name: &str) -> Option<&Arc<TableEntry>> {
        self.tables.get(self.by_name.get(name)?)
    }
}

impl TableEntry {
    pub(crate) fn content(&self) -> TableContent {
        let partitions = self.slots.iter().filter_map(|slot| slot.row.clone()).collect();
        TableContent { row: self.row.clone(), partitions }
    }

    fn differs(&self, content: &TableContent) -> bool {
        self.content() != *content
    }
}

fn names(tables: &HashMap<TableId, Arc<TableEntry>>) -> HashMap<String, TableId> {
    tables.iter().map(|(id, entry)| (entry.info.name.clone(), *id)).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use tombolo_item::{HashSecret, KeyRange, RegionId};
    use uuid::Uuid;

    use super::*;
    use crate::model::TableStatus;
    use crate::rows::{RangeRow, VoterRow, system_schema};
    use crate::settings::TableSettings;

    pub(crate) fn table_content(id: u128, name: &str, partitions: u32) -> TableContent {
        let info = TableInfo {
            id: TableId(Uuid::from_u128(id)),
            name: name.into(),
            schema: system_schema(),
            secret: HashSecret([1; 16]),
            view: None,
            regions: vec![RegionId(1)],
            region_names: vec!["here".into()],
            status: TableStatus::Active,
            partitions,
            created_ms: 0,
            origin: RegionId(1),
            settings: TableSettings::default(),
        };
        let partitions = KeyRange::split_evenly(partitions)
            .iter()
            .zip(16u64..)
            .map(|(range, group)| PartitionRow {
                group: GroupId(group),
                table: info.id,
                epoch: 1,
                range: RangeRow::from(range),
                voters: (1..=3).map(|n| VoterRow { node: NodeId(n), disk: Uuid::nil() }).collect(),
            })
            .collect();
        TableContent {
            row: TableRow {
                info,
                first_group: GroupId(16),
                pending: vec![],
                founded: None,
                untold: false,
            },
            partitions,
        }
    }

    fn content(version: u64, tables: Vec<TableContent>) -> Content {
        Content { version, tables, ..Content::default() }
    }

    #[test]
    fn every_row_key_has_one_owner() {
        let directory =
            Directory::build(content(1, vec![table_content(1, "t", 7)]), &Directory::default());
        let entry = directory.by_name("t").unwrap();
        for byte in 0..=255u8 {
            for tail in [&[][..], &[0], &[255; 20]] {
                let key = RowKey([&[byte][..], tail].concat().into());
                let slot = entry.slot(&key).unwrap();
                let owners = entry.slots.iter().filter(|s| s.descriptor().range.contains(&key));
                assert_eq!(owners.count(), 1);
                assert!(slot.descriptor().range.contains(&key));
            }
        }
        assert_eq!(entry.slot(&RowKey::default()).unwrap().group, GroupId(16));
        assert_eq!(directory.content(), content(1, vec![table_content(1, "t", 7)]));
    }

    #[test]
    fn what_was_learned_survives_and_the_newest_descriptor_wins() {
        let first =
            Directory::build(content(1, vec![table_content(1, "t", 2)]), &Directory::default());
        let slot = first.by_name("t").unwrap().slots[0].clone();
        assert_eq!(slot.leader(), Some(NodeId(2)), "16 modulo 3");
        slot.set_leader(NodeId(3));
        let newer = Descriptor { conf_index: 9, ..(*slot.descriptor()).clone() };
        slot.learn(newer.clone());
        slot.learn(Descriptor { conf_index: 4, ..newer });
        let second = Directory::build(
            content(2, vec![table_content(1, "t", 2), table_content(2, "u", 1)]),
            &first,
        );
        let slot = second.by_name("t").unwrap().slots[0].clone();
        assert_eq!(slot.leader(), Some(NodeId(3)));
        assert_eq!(slot.descriptor().conf_index, 9);
        slot.not_leader(NodeId(2));
        assert_eq!(slot.leader(), Some(NodeId(3)));
        slot.not_leader(NodeId(3));
        assert_eq!(slot.leader(), None);
    }

    #[test]
    fn news_about_tables_is_taken_and_older_rows_do_not_undo_it() {
        let first =
            Directory::build(content(5, vec![table_content(1, "t", 2)]), &Directory::default());
        let id = TableId(Uuid::from_u128(1));
        assert!(first.with_tables(5, vec![(id, None)]).is_none(), "not newer");
        let same = vec![(id, Some(table_content(1, "t", 2)))];
        assert!(first.with_tables(6, same).is_none(), "nothing new");
        let news = vec![(id, Some(table_content(1, "t", 4)))];
        let second = first.with_tables(7, news).unwrap();
        assert_eq!(second.by_name("t").unwrap().slots.len(), 4);
        let lagging = Directory::build(content(6, vec![table_content(1, "t", 2)]), &second);
        assert_eq!(lagging.by_name("t").unwrap().slots.len(), 4);
        let level = Directory::build(content(8, vec![]), &lagging);
        assert!(level.by_name("t").is_none());
    }
}
