//! Answers other nodes' questions about metadata, and other regions' about tables.

use std::sync::Weak;

use bytes::Bytes;
use futures::future::BoxFuture;
use tombolo_group::{CallError, Peer, Service};
use tombolo_item::TableId;

use crate::error::CatalogError;
use crate::feed::WATCH_HOLD;
use crate::memds::{Inner, Memds};
use crate::metrics::REQUESTS;
use crate::rows::SYSTEM_GROUP;
use crate::wire::{self, Ask, Founding, GroupState, Tell};

/// The handler; it does not keep the service alive.
pub(crate) struct MemdsService(pub(crate) Weak<Inner>);

impl Service for MemdsService {
    fn call(&self, from: Peer, body: Bytes) -> BoxFuture<'static, Result<Bytes, CallError>> {
        let inner = self.0.upgrade();
        Box::pin(async move {
            let inner = inner
                .ok_or_else(|| CallError::Unreachable("the metadata service has ended".into()))?;
            let memds = Memds(inner);
            let ask = wire::decode(&body).map_err(CallError::Refused)?;
            Ok(wire::encode(&answer(&memds, &from, ask).await?))
        })
    }
}

async fn answer(memds: &Memds, from: &Peer, ask: Ask) -> Result<Tell, CallError> {
    let requests = &*REQUESTS;
    Ok(match ask {
        Ask::Founding => {
            requests.founding.inc();
            Tell::Founding(founding(memds))
        }
        Ask::Watch { known } => {
            requests.watch.inc();
            replica(memds)?;
            let mut changed = memds.changed();
            let newer = async {
                while memds.version() <= known {
                    if changed.changed().await.is_err() {
                        break;
                    }
                }
            };
            // Without news the asker gets what it knows, and asks again.
            let _ = tokio::time::timeout(WATCH_HOLD, newer).await;
            Tell::Watch(memds.0.directory.load().content())
        }
        Ask::Refresh { tables } => {
            requests.refresh.inc();
            replica(memds)?;
            let directory = memds.0.directory.load_full();
            let content =
                |id: TableId| (id, directory.tables.get(&id).map(|entry| entry.content()));
            Tell::Refresh {
                version: directory.version,
                tables: tables.into_iter().map(content).collect(),
            }
        }
        Ask::States { groups } => {
            requests.states.inc();
            let state = |group| {
                let status = memds.0.host.group(group);
                let leader = status.as_ref().and_then(|status| status.leader);
                GroupState { group, held: status.is_some(), leader }
            };
            Tell::States(groups.into_iter().map(state).collect())
        }
        Ask::EnsureTable { info } => {
            requests.table.inc();
            tracing::info!(table = %info.name, region = from.region.0, "table from a region");
            let active = memds.ensure_table(*info).await.map_err(refused)?;
            Tell::EnsureTable { active }
        }
        Ask::DropTable { table } => {
            requests.table.inc();
            Tell::DropTable { gone: memds.drop_table(table).await.map_err(refused)? }
        }
        Ask::ReviseTable { info } => {
            requests.table.inc();
            memds.take_revision(*info).await.map_err(refused)?;
            Tell::ReviseTable
        }
        Ask::ListShards { table } => {
            requests.table.inc();
            let partitions = memds.partitions(table);
            Tell::ListShards(partitions.iter().map(|descriptor| (**descriptor).clone()).collect())
        }
    })
}

fn founding(memds: &Memds) -> Founding {
    match memds.0.host.group(SYSTEM_GROUP) {
        Some(status) => Founding::Founded { applied: status.applied },
        None => memds.0.founding.get(),
    }
}

/// Only a node with a replica of the system group may say what is and what is not.
fn replica(memds: &Memds) -> Result<(), CallError> {
    if memds.is_voter() && memds.version() > 0 {
        return Ok(());
    }
    Err(CallError::Unreachable("this node has no map of its own (yet)".into()))
}

fn refused(error: CatalogError) -> CallError {
    match error {
        CatalogError::Memds(error) => CallError::Unreachable(error.to_string()),
        other => CallError::Refused(other.to_string()),
    }
}
