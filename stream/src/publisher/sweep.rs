//! Streams of deleted tables are removed.
//!
//! Always true: only the leader of the system group removes, only streams with our region's name,
//! and only when the table was missing from the map on two looks in a row: a stream that is new is
//! never younger than its table's entry, but a map may be a moment old.

use super::nats_bus::NatsBus;
use crate::subject::table_of_stream;
use futures::TryStreamExt;
use std::collections::BTreeSet;
use std::time::Duration;
use tombolo_item::TableId;

const LOOK: Duration = Duration::from_secs(10);

/// What the sweep needs to know of the tables.
pub(crate) trait Tables: Send + Sync {
    /// Whether this node decides now.
    fn decides(&self) -> bool;
    /// Whether the table is there and not being deleted.
    fn exists(&self, table: TableId) -> bool;
}

/// Looks again and again; runs until dropped.
pub(crate) async fn run(bus: &NatsBus, tables: &impl Tables, region_name: &str) {
    let mut suspects = BTreeSet::new();
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        if !tables.decides() || !bus.connection().link().up {
            suspects.clear();
            continue;
        }
        if let Err(error) = sweep(bus, tables, region_name, &mut suspects).await {
            tracing::debug!(error, "looking for streams of deleted tables");
        }
    }
}

/// One look. What is missing now and was missing on the look before is removed.
pub(crate) async fn sweep(
    bus: &NatsBus,
    tables: &impl Tables,
    region_name: &str,
    suspects: &mut BTreeSet<TableId>,
) -> Result<usize, String> {
    let names: Vec<String> =
        bus.context().stream_names().try_collect().await.map_err(|error| error.to_string())?;
    let missing: BTreeSet<TableId> = names
        .iter()
        .filter_map(|name| table_of_stream(region_name, name))
        .filter(|table| !tables.exists(*table))
        .collect();
    let mut removed = 0;
    for table in missing.intersection(suspects) {
        let name = crate::subject::stream_name(region_name, *table);
        match bus.context().delete_stream(&name).await {
            Ok(_) => {
                removed += 1;
                tracing::info!(%table, "removed the stream of a deleted table");
            }
            Err(error) => tracing::warn!(%table, %error, "removing the stream of a deleted table"),
        }
    }
    *suspects = missing;
    Ok(removed)
}
