//! What a start makes of what the disk holds.
//!
//! Always true: a replica whose tree is damaged (or crashed the process when it was read) is not
//! served: it starts over with its vote and an empty next generation, and the leader fills it. Only
//! where there is nobody to fill it does the node refuse to start, and says so.

use std::sync::mpsc;

use tombolo_item::GroupId;
use tombolo_storage::{Disk, Partition, RecoveredGroup, StorageError, WalRecord};

use super::failed;
use super::run::{Loop, records_of};
use crate::core::{GroupCore, Now, Restored, voters_of};
use crate::error::HostError;

impl Loop {
    pub(super) fn recover(
        &mut self,
        disk: &Disk,
        group: GroupId,
        found: RecoveredGroup,
        now: Now,
    ) -> Result<(), HostError> {
        let generation = found.base.generation;
        let dir = disk.replica_dir(group);
        let quarantined = disk.quarantined().contains(&(group, generation));
        let opened = if quarantined {
            Err("reading its tree ended this process before".to_owned())
        } else {
            match Partition::open(&dir, generation, group) {
                Ok(partition) => Ok(partition),
                Err(error) if error.is_corrupt() => Err(error.to_string()),
                Err(error) => {
                    return Err(failed(format!("opening the replica of group {group}"))(error));
                }
            }
        };
        let RecoveredGroup { base, hard_state, entries } = found;
        match opened {
            Ok(partition) => {
                let restored = Restored { base, hard_state, entries };
                self.admit(group, restored, partition, now)
            }
            Err(reason) => {
                tracing::error!(
                    %group, reason,
                    "this copy cannot be used: it starts over and is filled by its leader"
                );
                if voters_of(&base.conf).len() < 2 {
                    return Err(HostError::Spec {
                        group,
                        reason: format!("{reason}; there is no other copy: restore a backup"),
                    });
                }
                let attempt = || failed(format!("creating the replica of group {group} anew"));
                let next = generation + 1;
                let partition = Partition::create(&dir, next, group).map_err(attempt())?;
                let restored = GroupCore::<Partition>::start_over(base.conf, hard_state, next);
                self.write_now(records_of(group, &restored)).map_err(attempt())?;
                disk.clear_quarantine(group).map_err(attempt())?;
                self.admit(group, restored, partition, now)
            }
        }
    }

    /// Before the loop runs: appends and waits.
    fn write_now(&self, records: Vec<WalRecord>) -> Result<(), StorageError> {
        let (done, durable) = mpsc::channel();
        let tell = move |result| {
            let _ = done.send(result);
        };
        self.journal.wal().append(records, Box::new(tell));
        let stopped = |_| StorageError::Stopped { reason: "it closed without an answer".into() };
        durable.recv().map_err(stopped)?
    }
}
