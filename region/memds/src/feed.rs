//! How the map is kept: from this node's replica of the system group, or from a node that has one;
//! and the refresh that every lookup causes, warm or cold.
//!
//! Always true: the work of a refresh does not depend on what the asker knew. A node that looks
//! tables up sends one request per interval with the tables it looked up, gets all their rows, and
//! compares; whether its map was empty or complete changes neither the requests nor the answers.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tombolo_group::{PinnedView, Space};
use tombolo_item::{TableId, Value};

use crate::directory::{Content, Directory, TableContent};
use crate::drain::DrainRow;
use crate::error::MemdsError;
use crate::memds::{ASK_LIMIT, Memds};
use crate::rows::{
    CredentialRow, DroppedRow, NodeRow, PartitionRow, Row, SYSTEM_GROUP, SYSTEM_SECRET, TableRow,
    parts_of, system_schema,
};
use crate::wire::{Ask, Tell};

/// At most so often is the map rebuilt,
const REBUILD_INTERVAL: Duration = Duration::from_millis(20);
/// and at most this share of the time goes into it.
const REBUILD_SHARE: u32 = 40;
/// One refresh per this time, however many lookups there were.
pub(crate) const REFRESH_INTERVAL: Duration = Duration::from_millis(200);
/// How long a node with a replica holds a question for the next version.
pub(crate) const WATCH_HOLD: Duration = Duration::from_secs(5);

/// Rebuild the map whenever the local replica of the system group has moved.
pub(crate) async fn follow_replica(memds: Memds) {
    let mut heads = loop {
        match memds.0.host.heads(SYSTEM_GROUP) {
            Some(heads) => break heads,
            None => tokio::time::sleep(REBUILD_INTERVAL).await,
        }
    };
    let mut shown = None;
    loop {
        heads.borrow_and_update();
        let begun = Instant::now();
        let reader = memds.clone();
        match tokio::task::spawn_blocking(move || read_content(&reader, shown)).await {
            Ok(Ok(Some((content, marks)))) => {
                shown = Some(marks);
                memds.publish(|directory| Some(Directory::build(content, directory)));
            }
            Ok(Ok(None)) => {}
            Ok(Err(error)) => tracing::error!(%error, "cannot read the system group's rows"),
            Err(error) => tracing::error!(%error, "reading the system group's rows ended"),
        }
        let pause = (begun.elapsed() * REBUILD_SHARE).max(REBUILD_INTERVAL);
        tokio::time::sleep(pause).await;
        if heads.changed().await.is_err() {
            return;
        }
    }
}

/// The rows of the map, decoded, unless their versions are those that `shown` is the mark of: other
/// kinds of rows (leases, checkpoints) change much more often.
fn read_content(memds: &Memds, shown: Option<u64>) -> Result<Option<(Content, u64)>, MemdsError> {
    let attempt = || "reading the system group's replica".to_owned();
    let partition = memds.0.host.partition(SYSTEM_GROUP).ok_or_else(|| {
        MemdsError::Unreachable { attempt: attempt(), reason: "there is none here".into() }
    })?;
    // One view: all kinds of rows are as of one index.
    let view = partition.view().map_err(|error| MemdsError::Unreachable {
        attempt: attempt(),
        reason: error.to_string(),
    })?;
    let mut marks = DefaultHasher::new();
    let nodes = stored::<NodeRow>(&view, &mut marks)?;
    let dropped = stored::<DroppedRow>(&view, &mut marks)?;
    let drained = stored::<DrainRow>(&view, &mut marks)?;
    let tables = stored::<TableRow>(&view, &mut marks)?;
    let partitions = stored::<PartitionRow>(&view, &mut marks)?;
    let credentials = stored::<CredentialRow>(&view, &mut marks)?;
    let marks = marks.finish();
    if shown == Some(marks) {
        return Ok(None);
    }
    let mut nodes: Vec<NodeRow> = decoded(&nodes)?;
    nodes.sort_by_key(|row| row.info.id);
    let mut tables: Vec<TableContent> = decoded::<TableRow>(&tables)?
        .into_iter()
        .map(|row| TableContent { row, partitions: Vec::new() })
        .collect();
    tables.sort_by_key(|table| table.row.info.id);
    for partition in decoded::<PartitionRow>(&partitions)? {
        let owner = tables.binary_search_by_key(&partition.table, |table| table.row.info.id);
        if let Ok(owner) = owner {
            tables[owner].partitions.push(partition);
        }
    }
    let mut credentials = named::<CredentialRow>(&credentials)?
        .into_iter()
        .map(|(access_key, row)| row.credential(&access_key))
        .collect::<Result<Vec<_>, _>>()?;
    credentials.sort_by(|a, b| a.access_key.cmp(&b.access_key));
    let (dropped, drained) = (decoded(&dropped)?, decoded(&drained)?);
    let version = view.index();
    let content = Content { version, nodes, tables, dropped, drained, credentials };
    Ok(Some((content, marks)))
}

/// The stored rows of a kind; their versions go into `marks`.
fn stored<T: Row>(view: &PinnedView, marks: &mut DefaultHasher) -> Result<Vec<Bytes>, MemdsError> {
    let failed =
        |reason: String| MemdsError::Format { kind: T::KIND.into(), id: "*".into(), reason };
    let range = system_schema()
        .sort_range(&SYSTEM_SECRET, &Value::S(T::KIND.into()), None)
        .map_err(|error| failed(error.to_string()))?;
    let mut rows = Vec::new();
    view.range(Space::ITEMS, &range, false, &mut |row_key, stored| {
        if !stored.tombstone {
            (row_key, stored.stamp).hash(marks);
            rows.push(stored.item);
        }
        ControlFlow::Continue(())
    })
    .map_err(|error| failed(error.to_string()))?;
    rows.len().hash(marks);
    Ok(rows)
}

fn decoded<T: Row>(stored: &[Bytes]) -> Result<Vec<T>, MemdsError> {
    Ok(named(stored)?.into_iter().map(|(_, row)| row).collect())
}

/// With their ids.
fn named<T: Row>(stored: &[Bytes]) -> Result<Vec<(String, T)>, MemdsError> {
    let decode = |item: &Bytes| {
        let (id, value) = parts_of(item).map_err(|reason| MemdsError::Format {
            kind: T::KIND.into(),
            id: "?".into(),
            reason,
        })?;
        let row = T::decode(&id, &value)?;
        Ok((id, row))
    };
    stored.iter().map(decode).collect()
}

/// Take the map from the nodes that have a replica of the system group.
pub(crate) async fn follow_peers(memds: Memds) {
    let voters = memds.0.settings.system_voters.clone();
    for voter in voters.iter().cycle() {
        let known = memds.version();
        let answer = memds.ask(*voter, &Ask::Watch { known }, WATCH_HOLD + ASK_LIMIT).await;
        match answer {
            Ok(Tell::Watch(content)) => {
                memds.publish(|directory| {
                    (content.version > directory.version)
                        .then(|| Directory::build(content, directory))
                });
            }
            Ok(_) => tracing::warn!(voter = voter.0, "not an answer to a watch"),
            Err(error) => {
                tracing::debug!(voter = voter.0, %error, "cannot watch the map there");
                tokio::time::sleep(REFRESH_INTERVAL).await;
            }
        }
    }
}

/// Send the tables that were looked up to a MemDS node, once per interval.
pub(crate) async fn refresh(memds: Memds) {
    let voters = memds.0.settings.system_voters.clone();
    let mut ticks = tokio::time::interval(REFRESH_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for voter in voters.iter().cycle() {
        let tables = loop {
            ticks.tick().await;
            let tables = due(&memds);
            if !tables.is_empty() {
                break tables;
            }
        };
        match memds.ask(*voter, &Ask::Refresh { tables: tables.clone() }, ASK_LIMIT).await {
            Ok(Tell::Refresh { version, tables }) => {
                memds.publish(|directory| directory.with_tables(version, tables));
            }
            Ok(_) => tracing::warn!(voter = voter.0, "not an answer to a refresh"),
            Err(error) => {
                tracing::debug!(voter = voter.0, %error, "cannot refresh the map there");
                // Asked again of the next one.
                memds.0.missed.lock().extend(tables);
            }
        }
    }
}

fn due(memds: &Memds) -> Vec<TableId> {
    let mut tables: BTreeSet<TableId> =
        std::mem::take(&mut *memds.0.missed.lock()).into_iter().collect();
    let directory = memds.0.directory.load();
    tables.extend(directory.tables.iter().filter(|(_, e)| e.take_wanted()).map(|(id, _)| *id));
    tables.into_iter().collect()
}
