//! A shard as the node's host knows it.
//!
//! Always true: only a replica that leads and serves is published from; its head is what it applied.

use super::source::LedShard;
use crate::chain::Position;
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use std::sync::Arc;
use tokio::sync::watch;
use tombolo_group::{ChangeLog, Head, Host};
use tombolo_item::{Shard, TableId};

pub(crate) struct HostShard {
    host: Host,
    table: TableId,
    shard: Shard,
    log: Arc<dyn ChangeLog>,
    heads: watch::Receiver<Head>,
}

impl HostShard {
    /// `None`: this node has no replica of the shard (any more).
    pub(crate) fn open(host: &Host, table: TableId, shard: Shard) -> Option<HostShard> {
        Some(HostShard {
            log: host.change_log(shard)?,
            heads: host.heads(shard.group)?,
            host: host.clone(),
            table,
            shard,
        })
    }
}

impl LedShard for HostShard {
    fn table(&self) -> TableId {
        self.table
    }

    fn shard(&self) -> Shard {
        self.shard
    }

    fn head(&self) -> Position {
        let head = *self.heads.borrow();
        Position { seq: head.seq, hash: head.hash }
    }

    fn past(&self, seq: u64) -> BoxFuture<'_, ()> {
        let mut heads = self.heads.clone();
        async move {
            if heads.wait_for(|head| head.seq > seq).await.is_err() {
                // The replica is gone; whoever runs this task ends it.
                std::future::pending::<()>().await;
            }
        }
        .boxed()
    }

    fn read(&self, from: u64, bytes_max: usize) -> Result<Vec<(u64, Bytes)>, String> {
        let changes = match self.log.read(from, bytes_max) {
            Ok(changes) => changes,
            Err(error) => {
                // Perhaps the log begins later. Past its end it says where it begins.
                let beyond = self.heads.borrow().seq + 1;
                let oldest = self.log.read(beyond, bytes_max).map_or(0, |empty| empty.oldest_seq);
                if oldest <= from {
                    return Err(error.to_string());
                }
                self.log.read(oldest, bytes_max).map_err(|error| error.to_string())?
            }
        };
        Ok(changes.records)
    }

    fn leads(&self) -> bool {
        self.host
            .group(self.shard.group)
            .is_some_and(|status| status.is_leader && status.shard == self.shard)
    }
}
