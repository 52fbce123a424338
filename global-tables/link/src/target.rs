//! This region as a link writes to it: merges through the routed submit, checkpoints in the system
//! group.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use futures::future::BoxFuture;
use tombolo_group::{GroupError, WriteOp};
use tombolo_item::{Hlc, RegionId, Stamp};
use tombolo_memds::{Expect, Memds, MemdsError, RouteError, Routed, TableInfo};

use crate::checkpoint::{CHECKPOINT_KIND, Checkpoint, checkpoint_id};
use crate::error::LinkError;
use crate::settings::LinkSettings;
use crate::world::{Change, MergeError, Target};

#[derive(Clone)]
pub(crate) struct RegionTarget {
    pub(crate) memds: Memds,
    pub(crate) routed: Routed,
    pub(crate) table: Arc<TableInfo>,
    pub(crate) from: RegionId,
    /// The table's regions other than this one and the link's source.
    pub(crate) elsewhere: Vec<RegionId>,
    pub(crate) settings: LinkSettings,
}

impl RegionTarget {
    fn system(&self, attempt: &'static str, error: &MemdsError) -> LinkError {
        LinkError::System {
            attempt,
            table: self.table.id,
            from: self.from,
            reason: error.to_string(),
        }
    }
}

/// The checkpoint of one link, as the system group holds it.
pub(crate) async fn load_checkpoint(
    memds: &Memds,
    table: &TableInfo,
    from: RegionId,
) -> Result<Option<(Checkpoint, Stamp)>, LinkError> {
    let id = checkpoint_id(table.id, from);
    let row = memds.system_get(CHECKPOINT_KIND, &id).await.map_err(|error| LinkError::System {
        attempt: "read",
        table: table.id,
        from,
        reason: error.to_string(),
    })?;
    match row {
        Some((bytes, stamp)) => Ok(Some((Checkpoint::decode(&bytes)?, stamp))),
        None => Ok(None),
    }
}

impl Target for RegionTarget {
    fn merge(&self, change: Change) -> BoxFuture<'static, Result<(), MergeError>> {
        let this = self.clone();
        Box::pin(async move {
            let deadline = Instant::now() + this.settings.merge_deadline();
            let op = WriteOp::Merge { change: change.canonical };
            let key = change.record.key.clone();
            match this.routed.write(&this.table, key, op, deadline).await {
                Ok(_) => Ok(()),
                Err(error) => Err(judge(error)),
            }
        })
    }

    fn load(&self) -> BoxFuture<'static, Result<Option<(Checkpoint, Stamp)>, LinkError>> {
        let this = self.clone();
        Box::pin(async move { load_checkpoint(&this.memds, &this.table, this.from).await })
    }

    fn save(
        &self,
        checkpoint: Checkpoint,
        expect: Option<Stamp>,
    ) -> BoxFuture<'static, Result<Stamp, LinkError>> {
        let this = self.clone();
        Box::pin(async move {
            let id = checkpoint_id(this.table.id, this.from);
            let expect = expect.map_or(Expect::Absent, Expect::Stamp);
            match this.memds.system_put(CHECKPOINT_KIND, &id, checkpoint.encode(), expect).await {
                Ok(stamp) => Ok(stamp),
                Err(MemdsError::Conflict { .. }) => {
                    Err(LinkError::Superseded { table: this.table.id, from: this.from })
                }
                Err(error) => Err(this.system("write", &error)),
            }
        })
    }

    fn closed_elsewhere(&self) -> BoxFuture<'static, Option<Hlc>> {
        let this = self.clone();
        Box::pin(async move {
            let mut closed = Hlc(u64::MAX);
            for region in &this.elsewhere {
                let (checkpoint, _) =
                    load_checkpoint(&this.memds, &this.table, *region).await.ok()??;
                closed = closed.min(checkpoint.closed()?);
            }
            Some(closed)
        })
    }

    fn now_ms(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
    }
}

/// Which refusals pass by themselves, and which need a clock, a disk or a person.
fn judge(error: RouteError) -> MergeError {
    let text = error.to_string();
    match error {
        RouteError::Group(
            GroupError::ClockSkew(_)
            | GroupError::DiskFull(_)
            | GroupError::Corrupt(_)
            | GroupError::Invalid(_)
            | GroupError::Rejected(_),
        ) => MergeError::Hold(text),
        _ => MergeError::Retry(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_does_not_pass_by_itself_holds_a_shard() {
        for hold in [
            GroupError::ClockSkew("700 ms ahead".into()),
            GroupError::DiskFull("no room".into()),
            GroupError::Corrupt("row".into()),
            GroupError::Invalid("record".into()),
        ] {
            assert!(matches!(judge(RouteError::Group(hold)), MergeError::Hold(_)));
        }
        for retry in [
            RouteError::NoTable,
            RouteError::OutcomeUnknown("leader died".into()),
            RouteError::Group(GroupError::NotServing("no lease".into())),
            RouteError::Group(GroupError::Stopped),
            RouteError::Overloaded("queue".into()),
        ] {
            assert!(matches!(judge(retry), MergeError::Retry(_)));
        }
    }
}
