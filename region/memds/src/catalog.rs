//! Creating and deleting tables, here and in the table's other regions.
//!
//! Always true: every step is one conditional write of one row, in an order that leaves something
//! the control role can finish or sweep whenever the process dies in between: name, table (with the
//! group numbers it may use), partitions. Numbers of groups and ids of tables are never used twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tombolo_group::CallError;
use tombolo_item::limits::KEY_NAME_BYTES;
use tombolo_item::{GroupId, HashSecret, KeyRange, NodeId, RegionId, TableId, TableName};
use uuid::Uuid;

use crate::directory::Directory;
use crate::error::{CatalogError, MemdsError};
use crate::memds::{ASK_LIMIT, Memds};
use crate::model::{TableInfo, TableSpec, TableStatus};
use crate::placement::{Candidate, place};
use crate::rows::{
    CounterRow, FIRST_TABLE_GROUP, NameRow, PartitionRow, RangeRow, TableRow, VoterRow, group_id,
};
use crate::settings::stream_label;
use crate::submit::now_ms;
use crate::system::Held;
use crate::wire::{Ask, Tell};

/// More initial partitions than this are a mistake.
pub const PARTITIONS_MAX: u32 = 4096;
/// Local indexes of a table (quotas page, "Secondary indexes per table").
const LOCAL_INDEXES_MAX: usize = 5;
/// The range epoch of a partition that was never split.
const FIRST_EPOCH: u32 = 1;
/// How long the caller's own map is waited for.
const MAP_PATIENCE: Duration = Duration::from_secs(5);

impl Memds {
    /// Create a table here and in its other regions. Returns while it is being created; see
    /// [`Memds::wait_active`].
    pub async fn create_table(&self, spec: TableSpec) -> Result<Arc<TableInfo>, CatalogError> {
        let info = self.info_of(spec)?;
        // A region that has just come up: its last nodes announce themselves in a moment.
        self.until(|directory| self.candidates(directory).is_ok()).await;
        self.placeable()?;
        let here = self.node().region;
        let others: Vec<RegionId> =
            info.regions.iter().copied().filter(|region| *region != here).collect();
        let row = self.install(info.clone(), others.clone()).await?;
        for region in others {
            let ask = Ask::EnsureTable { info: Box::new(info.clone()) };
            // A region out of reach is told later, by the control role.
            let asked = tokio::time::timeout(ASK_LIMIT, self.ask_region(region, &ask)).await;
            if let Ok(Err(CallError::Refused(reason))) = asked {
                self.mark_deleting(row.info.id).await?;
                let name = self.region(region).map_or("?", |region| &region.name);
                return Err(CatalogError::Invalid(format!("region {name} refuses it: {reason}")));
            }
        }
        self.0.control_due.notify_one();
        self.until(|directory| directory.tables.contains_key(&row.info.id)).await;
        Ok(Arc::new(row.info))
    }

    /// Delete a table in all its regions. Returns once that is certain to happen.
    pub async fn delete_table(&self, name: &str) -> Result<Arc<TableInfo>, CatalogError> {
        let not_found = || CatalogError::NotFound(name.to_owned());
        let (named, _) = self.get_row::<NameRow>(name).await?.ok_or_else(not_found)?;
        let id = named.table.to_string();
        let (row, _) = self.get_row::<TableRow>(&id).await?.ok_or_else(not_found)?;
        if row.info.status != TableStatus::Active {
            return Err(CatalogError::InUse {
                name: name.to_owned(),
                status: row.info.status.to_string(),
            });
        }
        if row.info.settings.deletion_protection {
            return Err(CatalogError::Rejected(
                "Resource cannot be deleted as it is currently protected against deletion. \
                 Disable deletion protection first."
                    .into(),
            ));
        }
        self.mark_deleting(row.info.id).await?;
        let deleting = |directory: &Directory| {
            let entry = directory.tables.get(&row.info.id);
            entry.is_none_or(|entry| entry.info.status == TableStatus::Deleting)
        };
        self.until(deleting).await;
        Ok(Arc::new(TableInfo { status: TableStatus::Deleting, ..row.info }))
    }

    /// Another region created this table: have it too. Says whether it can be used here.
    pub(crate) async fn ensure_table(&self, info: TableInfo) -> Result<bool, CatalogError> {
        let here = self.node().region;
        if !info.regions.contains(&here) || info.origin == here {
            return Err(CatalogError::Invalid("it is not a table of this region".into()));
        }
        let unknown = info.regions.iter().find(|region| self.region(**region).is_none());
        if let Some(unknown) = unknown {
            return Err(CatalogError::Invalid(format!("region {unknown} is not configured here")));
        }
        self.candidates(&self.0.directory.load())?;
        let row = self.install(info, Vec::new()).await?;
        self.0.control_due.notify_one();
        Ok(row.info.status == TableStatus::Active)
    }

    /// Another region deleted this table. Says whether it surely will be (or is) gone here.
    pub(crate) async fn drop_table(&self, table: TableId) -> Result<bool, CatalogError> {
        self.change_to_deleting(table, |_| Vec::new()).await?;
        self.0.control_due.notify_one();
        Ok(true)
    }

    async fn mark_deleting(&self, table: TableId) -> Result<(), MemdsError> {
        let here = self.node().region;
        self.change_to_deleting(table, |info| {
            info.regions.iter().copied().filter(|region| *region != here).collect()
        })
        .await?;
        self.0.control_due.notify_one();
        Ok(())
    }

    async fn change_to_deleting(
        &self,
        table: TableId,
        pending: impl Fn(&TableInfo) -> Vec<RegionId>,
    ) -> Result<(), MemdsError> {
        self.update_row::<TableRow>(&table.to_string(), |mut row| {
            if row.info.status == TableStatus::Deleting {
                return None;
            }
            row.info.status = TableStatus::Deleting;
            row.pending = pending(&row.info);
            Some(row)
        })
        .await
    }

    /// Write the rows of a table, as far as they are not there.
    async fn install(
        &self,
        info: TableInfo,
        pending: Vec<RegionId>,
    ) -> Result<TableRow, CatalogError> {
        let name = NameRow { table: info.id, created_ms: now_ms() };
        match self.put_row(&info.name, &name, Held::Absent).await {
            Ok(()) => {}
            Err(MemdsError::Conflict { .. }) => {
                let owner = self.get_row::<NameRow>(&info.name).await?;
                if owner.is_none_or(|(owner, _)| owner.table != info.id) {
                    return Err(CatalogError::Exists(info.name));
                }
            }
            Err(error) => return Err(error.into()),
        }
        let id = info.id.to_string();
        if let Some((row, _)) = self.get_row::<TableRow>(&id).await? {
            return Ok(row);
        }
        let first_group = self.allocate_groups(info.partitions).await?;
        let info = TableInfo { status: TableStatus::Creating, ..info };
        let row = TableRow { info, first_group, pending, founded: None, untold: false };
        match self.put_row(&id, &row, Held::Absent).await {
            Ok(()) => {}
            Err(MemdsError::Conflict { .. }) => {
                let (row, _) = self
                    .get_row::<TableRow>(&id)
                    .await?
                    .ok_or_else(|| CatalogError::NotFound(row.info.name.clone()))?;
                return Ok(row);
            }
            Err(error) => return Err(error.into()),
        }
        self.make_partitions(&row).await?;
        Ok(row)
    }

    async fn allocate_groups(&self, count: u32) -> Result<GroupId, MemdsError> {
        loop {
            let (next, held) = match self.get_row::<CounterRow>("group").await? {
                Some((row, value)) => (row.next, Held::Value(value)),
                None => (FIRST_TABLE_GROUP, Held::Absent),
            };
            let row = CounterRow { next: next + u64::from(count) };
            match self.put_row("group", &row, held).await {
                Ok(()) => return Ok(GroupId(next)),
                Err(MemdsError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Write the partition rows of a table, as far as they are not there.
    pub(crate) async fn make_partitions(&self, row: &TableRow) -> Result<(), CatalogError> {
        let directory = self.0.directory.load_full();
        let candidates = self.candidates(&directory)?;
        let disk = |node: NodeId| {
            let disk = directory.nodes.get(&node).map(|row| row.disk).unwrap_or_default();
            VoterRow { node, disk }
        };
        let count = row.info.partitions;
        let placed = place(&candidates, count);
        let there = directory.tables.get(&row.info.id);
        let rows = KeyRange::split_evenly(count).into_iter().zip(placed).zip(row.first_group.0..);
        let rows = rows.map(|((range, voters), group)| PartitionRow {
            group: GroupId(group),
            table: row.info.id,
            epoch: FIRST_EPOCH,
            range: RangeRow::from(&range),
            voters: voters.into_iter().map(disk).collect(),
        });
        let missing = rows.filter(|row| {
            there.is_none_or(|entry| entry.slots.iter().all(|slot| slot.group != row.group))
        });
        let written = missing.map(|row| async move {
            match self.put_row(&group_id(row.group), &row, Held::Absent).await {
                Err(MemdsError::Conflict { .. }) => Ok(()),
                done => done,
            }
        });
        use futures::{StreamExt, TryStreamExt};
        let written = futures::stream::iter(written).buffer_unordered(32);
        written.try_collect::<Vec<()>>().await?;
        Ok(())
    }

    /// Whether a table could be made now: every zone has a node that takes replicas.
    pub fn placeable(&self) -> Result<(), CatalogError> {
        self.candidates(&self.0.directory.load()).map(|_| ())
    }

    /// Nodes that can take replicas; an error while a zone has none.
    fn candidates(&self, directory: &Directory) -> Result<Vec<Candidate>, CatalogError> {
        let mut replicas: BTreeMap<NodeId, usize> = BTreeMap::new();
        for slot in directory.tables.values().flat_map(|entry| &entry.slots) {
            for voter in slot.row.iter().flat_map(|row| &row.voters) {
                *replicas.entry(voter.node).or_default() += 1;
            }
        }
        let stores = |roles: &[String]| roles.is_empty() || roles.iter().any(|r| r == "storage");
        let candidates: Vec<Candidate> = directory
            .nodes
            .values()
            .filter(|row| stores(&row.info.roles))
            .map(|row| Candidate {
                node: row.info.id,
                zone: row.info.zone.clone(),
                replicas: replicas.get(&row.info.id).copied().unwrap_or(0),
            })
            .collect();
        let configured = self.region(self.node().region);
        let zones: BTreeSet<&str> = configured
            .iter()
            .flat_map(|region| region.nodes.iter().map(|(_, _, zone)| zone.as_str()))
            .collect();
        let empty = zones.iter().find(|zone| candidates.iter().all(|c| c.zone != **zone));
        match empty {
            Some(zone) => Err(CatalogError::Memds(MemdsError::Unreachable {
                attempt: "placing replicas".into(),
                reason: format!("no node of zone {zone} has announced itself yet"),
            })),
            None => Ok(candidates),
        }
    }

    fn info_of(&self, spec: TableSpec) -> Result<TableInfo, CatalogError> {
        let invalid = CatalogError::Invalid;
        TableName::new(&spec.name).map_err(|error| invalid(error.to_string()))?;
        let attributes = [Some(&spec.schema.partition), spec.schema.sort.as_ref()];
        for attribute in attributes.into_iter().flatten() {
            if !(1..=KEY_NAME_BYTES).contains(&attribute.name.len()) {
                return Err(invalid(format!("a key name must have 1 to {KEY_NAME_BYTES} bytes")));
            }
        }
        if spec.schema.sort.as_ref().is_some_and(|sort| sort.name == spec.schema.partition.name) {
            return Err(invalid("the partition key and the sort key have the same name".into()));
        }
        if !(1..=PARTITIONS_MAX).contains(&spec.partitions) {
            return Err(invalid(format!("partitions must be from 1 to {PARTITIONS_MAX}")));
        }
        check_indexes(&spec)?;
        let here = self.node().region;
        let mut regions = vec![here];
        for name in &spec.regions {
            let region = self.regions().iter().find(|region| region.name == *name);
            let region = region.ok_or_else(|| invalid(format!("there is no region {name}")))?;
            regions.push(region.id);
        }
        regions.sort();
        regions.dedup();
        let created_ms = now_ms();
        let mut settings = spec.settings;
        settings.stream_label = spec.view.map(|_| stream_label(created_ms));
        let name_of = |id: &RegionId| self.region(*id).map(|r| r.name.clone()).unwrap_or_default();
        Ok(TableInfo {
            id: TableId(Uuid::new_v4()),
            name: spec.name,
            schema: spec.schema,
            secret: HashSecret(*Uuid::new_v4().as_bytes()),
            view: spec.view,
            region_names: regions.iter().map(name_of).collect(),
            regions,
            status: TableStatus::Creating,
            partitions: spec.partitions,
            created_ms,
            origin: here,
            settings,
        })
    }

    /// Ask the nodes of a region in turn, until one answers or refuses.
    pub(crate) async fn ask_region(&self, id: RegionId, ask: &Ask) -> Result<Tell, CallError> {
        let mut last = CallError::Unreachable(format!("region {id} is not configured"));
        let nodes = self.region(id).map(|region| region.nodes.as_slice()).unwrap_or_default();
        for (node, _, _) in nodes {
            match self.ask(*node, ask, ASK_LIMIT * 2).await {
                Err(error @ CallError::Refused(_)) => return Err(error),
                Err(error) => last = error,
                Ok(answer) => return Ok(answer),
            }
        }
        Err(last)
    }

    /// Wait a little for this node's own map, so that callers read their own writes here.
    pub(crate) async fn until(&self, there: impl Fn(&Directory) -> bool) {
        let mut changed = self.changed();
        let deadline = Instant::now() + MAP_PATIENCE;
        while !there(&self.0.directory.load()) {
            let change = tokio::time::timeout_at(deadline.into(), changed.changed());
            if !matches!(change.await, Ok(Ok(()))) {
                return;
            }
        }
    }
}

/// What the groups rely on; who asks has been told more, and in DynamoDB's words, before.
fn check_indexes(spec: &TableSpec) -> Result<(), CatalogError> {
    let invalid = |why: String| Err(CatalogError::Invalid(why));
    let indexes = &spec.settings.local_indexes;
    if indexes.is_empty() {
        return Ok(());
    }
    if spec.schema.sort.is_none() {
        return invalid(
            "Table KeySchema does not have a range key, which is required when specifying a \
             LocalSecondaryIndex"
                .into(),
        );
    }
    if indexes.len() > LOCAL_INDEXES_MAX {
        return invalid(format!(
            "Number of LocalSecondaryIndexes exceeds per-table limit of {LOCAL_INDEXES_MAX}"
        ));
    }
    for (at, index) in indexes.iter().enumerate() {
        if !(1..=KEY_NAME_BYTES).contains(&index.sort.name.len()) {
            return invalid(format!("a key name must have 1 to {KEY_NAME_BYTES} bytes"));
        }
        if indexes[..at].iter().any(|other| other.name == index.name) {
            return invalid(format!("Duplicate index name: {}", index.name));
        }
    }
    Ok(())
}
