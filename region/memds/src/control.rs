//! The control role: brings what was begun to its end. It runs on the leader of the system group.
//!
//! Always true: all it does is conditional writes and repeatable questions, so that two of it (for
//! the moment of a leader change) do no harm, and none of it stops nothing but changes of tables:
//! reads and writes of items do not need it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use tombolo_item::{GroupId, NodeId};

use crate::directory::TableEntry;
use crate::error::CatalogError;
use crate::memds::{ASK_LIMIT, Memds};
use crate::metrics::CONTROL_ERRORS;
use crate::model::TableStatus;
use crate::rows::{DroppedRow, NameRow, PartitionRow, Row, TableRow, group_id};
use crate::submit::now_ms;
use crate::system::Held;
use crate::wire::{Ask, GroupState, Tell};

/// Pause while something is unfinished,
const BUSY_INTERVAL: Duration = Duration::from_millis(100);
/// while there is nothing to do,
const IDLE_INTERVAL: Duration = Duration::from_secs(5);
/// while another node leads,
const FOLLOWER_INTERVAL: Duration = Duration::from_millis(500);
/// between two lines about the same table,
const TELL_INTERVAL: Duration = Duration::from_secs(10);
/// and between two looks for names without a table.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// A name this old without a table was left behind by a process that died.
const ORPHAN_AGE_MS: u64 = 60_000;

impl Memds {
    /// Run the control role until the handle stops: it acts while this node leads the system group.
    pub async fn run_control(self) {
        let mut stop = self.0.stop.subscribe();
        let mut changed = self.changed();
        let mut swept = Instant::now();
        loop {
            changed.borrow_and_update();
            let pause = if self.is_system_leader() {
                let mut unfinished = self.step().await;
                if swept.elapsed() > SWEEP_INTERVAL {
                    swept = Instant::now();
                    let sweep = self.sweep_names().await;
                    unfinished = unfinished.and_then(|left| sweep.map(|()| left));
                }
                match unfinished {
                    Ok(true) => BUSY_INTERVAL,
                    Ok(false) => IDLE_INTERVAL,
                    Err(error) => {
                        CONTROL_ERRORS.inc();
                        tracing::warn!(%error, "a step of the control role failed; trying again");
                        FOLLOWER_INTERVAL
                    }
                }
            } else {
                FOLLOWER_INTERVAL
            };
            tokio::select! {
                _ = stop.wait_for(|stopped| *stopped) => return,
                () = tokio::time::sleep(pause) => {}
                () = self.0.control_due.notified() => {}
                changed = changed.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// One round. Says whether something is unfinished.
    async fn step(&self) -> Result<bool, CatalogError> {
        let directory = self.0.directory.load_full();
        let mut unfinished = false;
        for entry in directory.tables.values() {
            let step = match entry.info.status {
                TableStatus::Creating => self.creating(entry).await,
                TableStatus::Deleting => self.deleting(entry).await,
                TableStatus::Active => self.revised(entry).await,
            };
            // One table's trouble is not another's.
            unfinished |= step.unwrap_or_else(|error| {
                CONTROL_ERRORS.inc();
                if self.worth_telling(entry) {
                    let (table, status) = (&entry.info.name, entry.info.status);
                    tracing::warn!(%table, %status, %error, "a step failed; trying again");
                }
                true
            });
        }
        if !directory.dropped.is_empty() {
            unfinished |= self.dropped(&directory.dropped).await?;
        }
        Ok(unfinished)
    }

    /// What is tried ten times a second is told every ten seconds.
    fn worth_telling(&self, entry: &TableEntry) -> bool {
        let now = Instant::now();
        let mut told = self.0.told.lock();
        told.retain(|_, at| now.duration_since(*at) < TELL_INTERVAL);
        let first = !told.contains_key(&entry.info.id);
        if first {
            told.insert(entry.info.id, now);
        }
        first
    }

    async fn creating(&self, entry: &TableEntry) -> Result<bool, CatalogError> {
        if entry.slots.len() < entry.info.partitions as usize {
            self.make_partitions(&entry.row).await?;
            return Ok(true);
        }
        let id = entry.info.id.to_string();
        let mut waiting = false;
        for region in &entry.row.pending {
            let ask = Ask::EnsureTable { info: Box::new((*entry.info).clone()) };
            match self.ask_region(*region, &ask).await {
                Ok(Tell::EnsureTable { active: true }) => {
                    self.update_row::<TableRow>(&id, |mut row| {
                        row.pending.retain(|pending| pending != region);
                        Some(row)
                    })
                    .await?;
                }
                Ok(_) => waiting = true,
                Err(error) => {
                    waiting = true;
                    if self.worth_telling(entry) {
                        tracing::warn!(
                            table = %entry.info.name, region = region.0, %error,
                            "another region does not have the table yet; trying again"
                        );
                    }
                }
            }
        }
        if waiting || !self.all_led(entry).await {
            return Ok(true);
        }
        self.update_row::<TableRow>(&id, |mut row| {
            let done = row.info.status == TableStatus::Creating && row.pending.is_empty();
            done.then(|| {
                row.info.status = TableStatus::Active;
                row
            })
        })
        .await?;
        // The map's next version shows it as active.
        Ok(true)
    }

    /// Whether every partition has a leader.
    async fn all_led(&self, entry: &TableEntry) -> bool {
        let mut unknown: BTreeSet<GroupId> = BTreeSet::new();
        let mut holders: BTreeMap<NodeId, Vec<GroupId>> = BTreeMap::new();
        for slot in &entry.slots {
            match self.0.host.group(slot.group).and_then(|status| status.leader) {
                Some(leader) => slot.set_leader(leader),
                None => {
                    unknown.insert(slot.group);
                    for node in &slot.descriptor().replicas {
                        holders.entry(*node).or_default().push(slot.group);
                    }
                }
            }
        }
        for (node, groups) in holders {
            if unknown.is_empty() {
                break;
            }
            for state in self.states(node, groups).await.unwrap_or_default() {
                if state.leader.is_some() {
                    unknown.remove(&state.group);
                }
            }
        }
        unknown.is_empty()
    }

    async fn states(&self, node: NodeId, groups: Vec<GroupId>) -> Option<Vec<GroupState>> {
        match self.ask(node, &Ask::States { groups }, ASK_LIMIT).await {
            Ok(Tell::States(states)) => Some(states),
            _ => None,
        }
    }

    async fn deleting(&self, entry: &TableEntry) -> Result<bool, CatalogError> {
        let id = entry.info.id.to_string();
        let mut waiting = false;
        for region in &entry.row.pending {
            let ask = Ask::DropTable { table: entry.info.id };
            match self.ask_region(*region, &ask).await {
                Ok(Tell::DropTable { gone: true }) => {
                    self.update_row::<TableRow>(&id, |mut row| {
                        row.pending.retain(|pending| pending != region);
                        Some(row)
                    })
                    .await?;
                }
                _ => waiting = true,
            }
        }
        for slot in &entry.slots {
            let Some(row) = &slot.row else { continue };
            let voters = row.voters.iter().map(|voter| voter.node).collect();
            let dropped = DroppedRow { group: row.group, voters };
            self.put_row(&group_id(row.group), &dropped, Held::Any).await?;
            self.delete_row::<PartitionRow>(&group_id(row.group), Held::Any).await?;
        }
        if waiting {
            return Ok(true);
        }
        self.delete_row::<TableRow>(&id, Held::Any).await?;
        let name = NameRow::KIND;
        if let Some((row, value)) = self.get_row::<NameRow>(&entry.info.name).await?
            && row.table == entry.info.id
        {
            self.write_row(name, &entry.info.name, None, Held::Value(value)).await?;
        }
        Ok(true)
    }

    /// Forget dropped replicas that are gone from their nodes.
    async fn dropped(&self, dropped: &[DroppedRow]) -> Result<bool, CatalogError> {
        let mut holders: BTreeMap<NodeId, Vec<GroupId>> = BTreeMap::new();
        for row in dropped {
            for node in &row.voters {
                holders.entry(*node).or_default().push(row.group);
            }
        }
        let mut gone: BTreeSet<(GroupId, NodeId)> = BTreeSet::new();
        for (node, groups) in holders {
            let states = self.states(node, groups).await.unwrap_or_default();
            gone.extend(states.iter().filter(|s| !s.held).map(|state| (state.group, node)));
        }
        let mut unfinished = false;
        for row in dropped {
            let left = |node: &NodeId| !gone.contains(&(row.group, *node));
            let voters: Vec<NodeId> = row.voters.iter().copied().filter(left).collect();
            let id = group_id(row.group);
            if voters.is_empty() {
                self.delete_row::<DroppedRow>(&id, Held::Any).await?;
            } else {
                unfinished = true;
                if voters.len() < row.voters.len() {
                    let row = DroppedRow { group: row.group, voters };
                    self.put_row(&id, &row, Held::Any).await?;
                }
            }
        }
        Ok(unfinished)
    }

    /// Remove names whose table was never written.
    async fn sweep_names(&self) -> Result<(), CatalogError> {
        for (name, value) in self.system_list(NameRow::KIND).await? {
            let row = NameRow::decode(&name, &value)?;
            let old = now_ms().saturating_sub(row.created_ms) > ORPHAN_AGE_MS;
            if old && self.get_row::<TableRow>(&row.table.to_string()).await?.is_none() {
                tracing::warn!(%name, "removing a name whose table was never created");
                self.write_row(NameRow::KIND, &name, None, Held::Value(value.into())).await?;
            }
        }
        Ok(())
    }
}
