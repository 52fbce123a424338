//! Makes this node's replicas be what the map says.
//!
//! Always true: a replica is created only on the disk it was placed on, and removed only when the
//! map names it as dropped, or the system group's leader knows nothing of it: an old, empty or damaged
//! map removes nothing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tombolo_group::{GroupConfig, GroupSpec, HostError};
use tombolo_item::GroupId;

use crate::directory::{Directory, TableEntry};
use crate::memds::Memds;
use crate::metrics::LOST_REPLICAS;
use crate::model::TableStatus;
use crate::rows::{FIRST_TABLE_GROUP, PartitionRow, group_id};

/// Replicas created at the same time.
const CREATING_MAX: usize = 16;
/// Pause before what failed is tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Runs until the handle stops.
pub(crate) async fn run(memds: Memds) {
    let mut changed = memds.changed();
    loop {
        changed.borrow_and_update();
        let directory = memds.0.directory.load_full();
        let complete = reconcile(&memds, &directory).await;
        let next = changed.changed();
        if complete {
            if next.await.is_err() {
                return;
            }
        } else {
            // What failed is due again even if the map does not move.
            let _ = tokio::time::timeout(RETRY_INTERVAL, next).await;
        }
    }
}

async fn reconcile(memds: &Memds, directory: &Directory) -> bool {
    let me = memds.node().id;
    let host = &memds.0.host;
    for dropped in &directory.dropped {
        if dropped.voters.contains(&me) && host.group(dropped.group).is_some() {
            host.drop_group(dropped.group);
        }
    }
    let mut lost = 0;
    let mut missing = Vec::new();
    for entry in directory.tables.values() {
        if entry.info.status == TableStatus::Deleting {
            continue;
        }
        for slot in &entry.slots {
            let Some(row) = &slot.row else { continue };
            let Some(voter) = row.voters.iter().find(|voter| voter.node == me) else { continue };
            if host.group(row.group).is_some() {
                continue;
            }
            if voter.disk == memds.0.disk {
                missing.push((entry.clone(), row.clone()));
            } else {
                lost += 1;
            }
        }
    }
    LOST_REPLICAS.set(lost);
    let created = futures::stream::iter(missing)
        .map(|(entry, row)| create(memds.clone(), entry, row))
        .buffer_unordered(CREATING_MAX)
        .fold(true, |all, one| async move { all && one })
        .await;
    if created {
        memds.0.control_due.notify_one();
    }
    remove_strays(memds, directory).await && created
}

/// Remove replicas that the map does not name at all. A strong read proves that the partition is
/// gone for good: ids are never used twice, and a replica is created after its partition's row.
async fn remove_strays(memds: &Memds, directory: &Directory) -> bool {
    let named: BTreeSet<GroupId> = directory
        .tables
        .values()
        .flat_map(|entry| entry.slots.iter().map(|slot| slot.group))
        .chain(directory.dropped.iter().map(|row| row.group))
        .collect();
    let mut complete = true;
    for status in memds.0.host.groups() {
        if status.group.0 < FIRST_TABLE_GROUP || named.contains(&status.group) {
            continue;
        }
        match memds.get_row::<PartitionRow>(&group_id(status.group)).await {
            Ok(None) => {
                tracing::warn!(group = status.group.0, "removing a replica of a deleted table");
                memds.0.host.drop_group(status.group);
            }
            Ok(Some(_)) => {}
            Err(_) => complete = false,
        }
    }
    complete
}

async fn create(memds: Memds, entry: Arc<TableEntry>, row: PartitionRow) -> bool {
    let created = async {
        let info = &entry.info;
        // Late or not, its log begins with what the others' began with.
        let founded = entry.row.founded();
        let range = row.range.range().map_err(|reason| format!("its range: {reason}"))?;
        let config = GroupConfig {
            group: row.group,
            table: info.id,
            schema: info.schema.clone(),
            secret: info.secret,
            range,
            epoch: row.epoch,
            view: founded.view,
            regions: founded.regions.clone(),
            parent: None,
            keep_log: founded.view.is_some() || founded.regions.len() > 1,
            indexes: info.settings.local_indexes.clone(),
        };
        let voters = row.voters.iter().map(|voter| voter.node).collect();
        let spec = GroupSpec { group: row.group, config, voters };
        memds.0.host.create(spec).await.map_err(|error: HostError| error.to_string())
    };
    match created.await {
        Ok(()) => true,
        Err(reason) => {
            tracing::error!(group = row.group.0, %reason, "cannot create a replica; trying again");
            false
        }
    }
}
