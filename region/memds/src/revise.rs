//! Changing a table that is there: its settings, its stream, its regions, its tags.
//!
//! Always true: a change is one conditional write of the table's row, after which the control role tells
//! the table's groups and its other regions; a table stays ACTIVE meanwhile, and requests are served. Of
//! two regions' changes the one with the greater revision stays, everywhere. A region joins only a table
//! that was never written: its groups agree to the new region before the row does, each in its own log,
//! so no write can slip in between.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tombolo_group::{GroupError, TableFacts};
use tombolo_item::{RegionId, TableId};

use crate::directory::{Slot, TableEntry};
use crate::error::{CatalogError, MemdsError, RouteError};
use crate::memds::Memds;
use crate::model::{TableInfo, TableStatus};
use crate::rows::{Founded, NameRow, TableRow};
use crate::settings::{Revision, TAGS_MAX, TableChange, regions_after};
use crate::submit::{Tries, now_ms};
use crate::system::Held;
use crate::wire::{Ask, Tell};

/// How long a group is asked to take a new configuration before the next round tries again.
const TELL_PATIENCE: Duration = Duration::from_secs(5);

impl Memds {
    /// Change a table. Returns its new definition once this region's groups follow it; other regions
    /// hear of it from the control role.
    pub async fn update_table(
        &self,
        name: &str,
        change: TableChange,
    ) -> Result<Arc<TableInfo>, CatalogError> {
        let (id, row) = self.active(name).await?;
        let region = |name: &String| {
            let region = self.regions().iter().find(|region| region.name == *name);
            region.map(|region| region.id).ok_or_else(|| {
                CatalogError::Rejected(format!(
                    "One or more parameter values were invalid: there is no region {name}"
                ))
            })
        };
        let add: Vec<RegionId> = change.add_regions.iter().map(region).collect::<Result<_, _>>()?;
        let remove: Vec<RegionId> =
            change.remove_regions.iter().map(region).collect::<Result<_, _>>()?;
        if remove.contains(&self.node().region) {
            return Err(CatalogError::Rejected(
                "One or more parameter values were invalid: a region cannot remove itself; ask \
                 another region of the table, or delete the table"
                    .into(),
            ));
        }
        // Refused before anything is begun, if it is to be refused.
        let mut wanted = row.info.clone();
        change.apply(&mut wanted, now_ms())?;
        if !add.is_empty() {
            wanted.regions = regions_after(&wanted.regions, &add, &[])?;
            self.join(&row, &wanted).await?;
        }
        let revised = self.revise(id, |info| {
            change.apply(info, now_ms())?;
            info.regions = regions_after(&info.regions, &add, &remove)?;
            info.region_names = info.regions.iter().map(|id| self.name_of(*id)).collect();
            Ok(())
        });
        match revised.await {
            Ok(info) => Ok(info),
            Err(error) => {
                if !add.is_empty() {
                    self.tell_groups(id, &facts(&row.info)).await.ok();
                }
                Err(error)
            }
        }
    }

    /// Set tags of a table.
    pub async fn tag(
        &self,
        name: &str,
        tags: BTreeMap<String, String>,
    ) -> Result<(), CatalogError> {
        let (id, _) = self.active(name).await?;
        let tagged = self.revise(id, |info| {
            info.settings.tags.extend(tags.clone());
            match info.settings.tags.len() {
                0..=TAGS_MAX => Ok(()),
                count => Err(CatalogError::Rejected(format!(
                    "One or more parameter values were invalid: Too many tags: {count}, a \
                     resource can have at most {TAGS_MAX}"
                ))),
            }
        });
        tagged.await.map(|_| ())
    }

    /// Remove tags of a table; those it does not have are no error.
    pub async fn untag(&self, name: &str, keys: &[String]) -> Result<(), CatalogError> {
        let (id, _) = self.active(name).await?;
        let untagged = self.revise(id, |info| {
            info.settings.tags.retain(|key, _| !keys.contains(key));
            Ok(())
        });
        untagged.await.map(|_| ())
    }

    async fn active(&self, name: &str) -> Result<(TableId, TableRow), CatalogError> {
        let not_found = || CatalogError::NotFound(name.to_owned());
        let (named, _) = self.get_row::<NameRow>(name).await?.ok_or_else(not_found)?;
        let id = named.table;
        let (row, _) = self.get_row::<TableRow>(&id.to_string()).await?.ok_or_else(not_found)?;
        in_use(&row.info)?;
        Ok((id, row))
    }

    /// Change a table's row until no other writer comes between, and wait until this region follows it.
    async fn revise(
        &self,
        table: TableId,
        change: impl Fn(&mut TableInfo) -> Result<(), CatalogError>,
    ) -> Result<Arc<TableInfo>, CatalogError> {
        let here = self.node().region;
        let id = table.to_string();
        let info = loop {
            let gone = || CatalogError::NotFound(id.clone());
            let (mut row, value) = self.get_row::<TableRow>(&id).await?.ok_or_else(gone)?;
            in_use(&row.info)?;
            let before = row.info.clone();
            change(&mut row.info)?;
            if row.info == before {
                break before;
            }
            let shared = before.settings.adopt(&row.info.settings) != before.settings
                || (row.info.view, &row.info.regions) != (before.view, &before.regions);
            if shared {
                let number = before.settings.revision.number + 1;
                row.info.settings.revision = Revision { number, region: here };
                let heard = before.regions.iter().chain(&row.info.regions);
                row.pending.extend(heard.filter(|region| **region != here));
                row.pending.sort();
                row.pending.dedup();
            }
            row.follow(&before);
            match self.put_row(&id, &row, Held::Value(value)).await {
                Err(MemdsError::Conflict { .. }) => {}
                done => {
                    done?;
                    break row.info;
                }
            }
        };
        self.0.control_due.notify_one();
        let followed = |entry: &Arc<TableEntry>| {
            entry.info.settings.revision > info.settings.revision
                || *entry.info == info && !entry.row.untold
        };
        self.until(|directory| directory.tables.get(&table).is_none_or(followed)).await;
        Ok(Arc::new(info))
    }

    /// Another region changed this table: take it over, unless this region knows something newer.
    pub(crate) async fn take_revision(&self, newer: TableInfo) -> Result<(), CatalogError> {
        let id = newer.id.to_string();
        self.update_row::<TableRow>(&id, |mut row| {
            let known = &row.info.settings;
            if known.revision >= newer.settings.revision || row.info.status == TableStatus::Deleting
            {
                return None;
            }
            let before = row.info.clone();
            row.info.settings = known.adopt(&newer.settings);
            row.info.view = newer.view;
            row.info.regions.clone_from(&newer.regions);
            row.info.region_names.clone_from(&newer.region_names);
            row.follow(&before);
            Some(row)
        })
        .await?;
        self.0.control_due.notify_one();
        Ok(())
    }

    /// The control role: bring the groups and the other regions to what the row says. Says whether
    /// something is unfinished.
    pub(crate) async fn revised(&self, entry: &TableEntry) -> Result<bool, CatalogError> {
        let (info, row) = (&entry.info, &entry.row);
        if !row.untold && row.pending.is_empty() {
            return Ok(false);
        }
        let id = info.id.to_string();
        if row.untold {
            self.tell_groups(info.id, &facts(info)).await?;
            self.update_row::<TableRow>(&id, |mut row| {
                let same = facts(&row.info) == facts(info);
                row.untold &= !same;
                same.then_some(row)
            })
            .await?;
        }
        for region in &row.pending {
            let stays = info.regions.contains(region);
            if self.tell_region(*region, info, stays).await {
                self.update_row::<TableRow>(&id, |mut row| {
                    let same = row.info.settings.revision == info.settings.revision;
                    row.pending.retain(|pending| !same || pending != region);
                    same.then_some(row)
                })
                .await?;
            }
        }
        Ok(true)
    }

    async fn tell_region(&self, region: RegionId, info: &TableInfo, stays: bool) -> bool {
        if !stays {
            let gone = self.ask_region(region, &Ask::DropTable { table: info.id }).await;
            return matches!(gone, Ok(Tell::DropTable { gone: true }));
        }
        let all = || Box::new(info.clone());
        // It has the table since its creation, or joins now.
        let there = self.ask_region(region, &Ask::EnsureTable { info: all() }).await;
        if !matches!(there, Ok(Tell::EnsureTable { active: true })) && region != info.origin {
            return false;
        }
        let told = self.ask_region(region, &Ask::ReviseTable { info: all() }).await;
        matches!(told, Ok(Tell::ReviseTable))
    }

    /// Every group of this region takes the regions that `wanted` has, or none keeps them.
    async fn join(&self, row: &TableRow, wanted: &TableInfo) -> Result<(), CatalogError> {
        match self.tell_groups(row.info.id, &facts(wanted)).await {
            Ok(()) => Ok(()),
            Err(error) => {
                self.tell_groups(row.info.id, &facts(&row.info)).await?;
                Err(error)
            }
        }
    }

    async fn tell_groups(&self, table: TableId, facts: &TableFacts) -> Result<(), CatalogError> {
        let Some(entry) = self.entry(table) else { return Ok(()) };
        let slots = entry.slots.clone().into_iter();
        let told = slots.map(|slot| async move { self.tell_group(&slot, facts).await });
        use futures::{StreamExt, TryStreamExt};
        futures::stream::iter(told).buffer_unordered(32).try_collect::<Vec<()>>().await?;
        Ok(())
    }

    async fn tell_group(&self, slot: &Slot, facts: &TableFacts) -> Result<(), CatalogError> {
        let attempt = || format!("changing the configuration of group {}", slot.group);
        let failed = |error: RouteError| match error {
            RouteError::Group(GroupError::Rejected(text)) => CatalogError::Rejected(text),
            other => CatalogError::Memds(MemdsError::Unreachable {
                attempt: attempt(),
                reason: other.to_string(),
            }),
        };
        let mut tries = Tries::read(Instant::now() + TELL_PATIENCE);
        loop {
            let left = tries.left().map_err(failed)?;
            let Some(target) = tries.leader(slot) else {
                tries.nowhere("the partition has no replicas").await.map_err(failed)?;
                continue;
            };
            match self.0.host.follow_on(target, slot.group, facts.clone(), left).await {
                Ok(()) => {
                    slot.set_leader(target);
                    return Ok(());
                }
                Err(error) => {
                    tries.failed(slot, target, error).await.map_err(failed)?;
                }
            }
        }
    }

    fn name_of(&self, id: RegionId) -> String {
        self.region(id).map(|region| region.name.clone()).unwrap_or_default()
    }
}

impl TableRow {
    /// What its groups were created with.
    pub(crate) fn founded(&self) -> Founded {
        let now = || Founded { view: self.info.view, regions: self.info.regions.clone() };
        self.founded.clone().unwrap_or_else(now)
    }

    /// Its info is no longer `before`: what groups have to follow is noted.
    fn follow(&mut self, before: &TableInfo) {
        if facts(&self.info) == facts(before) {
            return;
        }
        self.untold = true;
        let (view, regions) = (before.view, before.regions.clone());
        self.founded.get_or_insert(Founded { view, regions });
    }
}

/// What of a table its groups know.
pub(crate) fn facts(info: &TableInfo) -> TableFacts {
    TableFacts { view: info.view, regions: info.regions.clone() }
}

fn in_use(info: &TableInfo) -> Result<(), CatalogError> {
    if info.status == TableStatus::Active {
        return Ok(());
    }
    Err(CatalogError::InUse { name: info.name.clone(), status: info.status.to_string() })
}
