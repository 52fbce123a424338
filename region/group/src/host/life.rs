//! The life of a replica in the loop: created, dropped, rebuilt, checkpointed, replaced by a
//! snapshot, and what follows once its records are durable.
//!
//! Always true: a replica takes part only after its first records are durable, and its folder goes
//! only after the record that says so is.

use std::sync::Arc;

use tombolo_item::GroupId;
use tombolo_storage::{Checkpoint, Partition, StorageError, WalRecord};

use super::GroupSpec;
use super::checkpoint::Job;
use super::inbox::Pulled;
use super::journal::{Ack, Progress};
use super::run::{Created, Loop, first_records, records_of};
use crate::core::{Event, GroupCore, Now};
use crate::error::{GroupError, HostError};
use crate::metrics;
use crate::types::HostEvent;

impl Loop {
    pub(super) fn on_create(
        &mut self,
        spec: GroupSpec,
        partition: Partition,
        reply: tokio::sync::oneshot::Sender<Result<(), HostError>>,
    ) {
        let group = spec.group;
        if self.replicas.contains_key(&group) {
            let _ = reply.send(Ok(()));
            return;
        }
        if let Some(created) = self.creating.get_mut(&group) {
            created.replies.push(reply);
            return;
        }
        let restored = first_records(&spec);
        let records = records_of(group, &restored);
        self.creating.insert(group, Created { partition, restored, replies: vec![reply] });
        self.journal.append(records, vec![Ack::Created { group }]);
    }

    pub(super) fn on_created(&mut self, now: Now, group: GroupId) {
        let Some(created) = self.creating.remove(&group) else { return };
        let result = self.admit(group, created.restored, created.partition, now);
        if let Err(error) = &result {
            tracing::error!(%group, %error, "a new replica cannot run");
        }
        let mut result = Some(result);
        for reply in created.replies {
            let again = Ok(());
            let _ = reply.send(result.take().unwrap_or(again));
        }
    }

    pub(super) fn on_drop(&mut self, group: GroupId) {
        let Some(mut replica) = self.replicas.remove(&group) else { return };
        let waiting = replica.submits.drain(..).map(|(t, _)| (t, Err(GroupError::NoSuchGroup)));
        self.out.answers.extend(waiting);
        replica.core.fail("the group was dropped".into(), &mut self.out);
        replica.shared.set_serves_until(0);
        self.inner.groups.write().remove(&group);
        self.dropping.insert(group, replica.shared);
        self.journal.append(vec![WalRecord::Drop { group }], vec![Ack::Dropped { group }]);
        let _ = self.inner.events.send(HostEvent::Dropped { group });
    }

    /// The replica stops, forgets its rows and its log, and is filled by the leader again.
    pub(super) fn on_rebuild(
        &mut self,
        group: GroupId,
        partition: Partition,
        reply: tokio::sync::oneshot::Sender<Result<(), HostError>>,
    ) {
        let refusal = match self.replicas.get(&group) {
            None => Some("there is no replica of it here"),
            Some(replica) => {
                let view = replica.core.view();
                if view.voters.len() < 2 {
                    Some("no other replica could fill it again")
                } else if view.is_leader {
                    Some("it leads; hand over first")
                } else if replica.core.is_installing() {
                    Some("its leader fills it already")
                } else if replica.generation >= partition.generation() {
                    Some("its generation moved meanwhile; try again")
                } else {
                    None
                }
            }
        };
        if let Some(reason) = refusal {
            self.inner.pool.submit(Job::Discard { partition });
            let _ = reply.send(Err(HostError::Spec { group, reason: reason.into() }));
            return;
        }
        let Some(mut replica) = self.replicas.remove(&group) else { return };
        replica.shared.set_serves_until(0);
        replica.core.fail("the replica is rebuilt".into(), &mut self.out);
        let (conf, written) = (replica.core.conf(), replica.core.written());
        let restored = GroupCore::<Partition>::start_over(conf, written, partition.generation());
        let records = records_of(group, &restored);
        let old = Partition::clone(&replica.shared.partition.load());
        self.inner.pool.submit(Job::Discard { partition: old });
        let created = Created { partition, restored, replies: vec![reply] };
        self.creating.insert(group, created);
        self.journal.append(records, vec![Ack::Created { group }]);
    }

    pub(super) fn on_durable(
        &mut self,
        now: Now,
        batch: u64,
        attempt: u64,
        result: Result<(), StorageError>,
    ) -> bool {
        match self.journal.completed(now.mono_ms, batch, attempt, result) {
            Progress::Nothing => {}
            Progress::DiskFull => {
                self.set_disk_full(now, true);
                // What waits is refused now instead of when there is room again.
                self.release();
            }
            Progress::Fatal(reason) => {
                tracing::error!(reason, "the node's log failed; this node stops serving");
                self.inner.fatal.send_replace(Some(reason));
                return false;
            }
            Progress::Durable(acks) => {
                self.set_disk_full(now, false);
                if self.proposing.is_some_and(|proposed| proposed <= batch) {
                    self.release();
                }
                for ack in acks {
                    self.on_ack(now, ack);
                }
            }
        }
        true
    }

    pub(super) fn on_ack(&mut self, now: Now, ack: Ack) {
        match ack {
            Ack::Ready { group, number } => self.step(now, group, Event::Persisted { number }),
            Ack::Created { group } => self.on_created(now, group),
            Ack::Installed { group } => self.on_installed(now, group),
            Ack::Dropped { group } => {
                if let Some(shared) = self.dropping.remove(&group) {
                    self.inner.pool.submit(Job::Destroy { shared });
                }
            }
        }
    }

    pub(super) fn set_disk_full(&mut self, now: Now, full: bool) {
        if self.disk_full == full {
            return;
        }
        self.disk_full = full;
        self.fitness.set_disk_full(full);
        metrics::DISK_FULL.set(i64::from(full));
        if full {
            tracing::error!("the disk has no room for the log: writes are refused until it has");
        } else {
            tracing::info!("the disk has room for the log again");
        }
        let groups: Vec<GroupId> = self.replicas.keys().copied().collect();
        for group in groups {
            self.step(now, group, Event::DiskFull(full));
        }
    }

    pub(super) fn on_checkpointed(
        &mut self,
        now: Now,
        group: GroupId,
        generation: u64,
        result: Result<Checkpoint, StorageError>,
    ) {
        let Some(replica) = self.replicas.get_mut(&group) else { return };
        replica.checkpointing = false;
        if replica.generation != generation {
            return;
        }
        match result {
            Ok(Checkpoint { index, term }) => {
                metrics::CHECKPOINTS.inc();
                let behind = replica.core.machine().applied().0 > index;
                replica.unchecked_since_ms = behind.then_some(now.mono_ms);
                let with_entries = std::mem::take(&mut replica.repin);
                let records = replica.core.rebase((index, term), generation, with_entries);
                self.journal.append(records, Vec::new());
                self.step(now, group, Event::Checkpointed { index });
            }
            Err(error) => {
                metrics::CHECKPOINT_FAILURES.inc();
                // Tried again after the usual age; the log keeps what the tree lacks.
                replica.unchecked_since_ms = Some(now.mono_ms);
                tracing::error!(%group, %error, "a checkpoint failed; it is tried again");
            }
        }
    }

    // ---- snapshots ------------------------------------------------------------------------

    pub(super) fn on_pulled(
        &mut self,
        now: Now,
        group: GroupId,
        result: Result<Box<Pulled>, String>,
    ) {
        let Some(replica) = self.replicas.get_mut(&group) else { return };
        match result {
            Err(reason) => {
                tracing::warn!(%group, reason, "a snapshot could not be pulled; it is tried again");
                self.step(now, group, Event::SnapshotFailed);
            }
            Ok(pulled) if !replica.core.accepts_snapshot(pulled.index) => {
                self.inner.pool.submit(Job::Discard { partition: pulled.partition });
                self.step(now, group, Event::SnapshotFailed);
            }
            Ok(pulled) => {
                let at = (pulled.index, pulled.entry_term);
                let continues = replica.core.term_at(at.0) == Some(at.1);
                let records = replica.core.rebase(at, pulled.generation, continues);
                replica.pulled = Some(pulled);
                self.journal.append(records, vec![Ack::Installed { group }]);
            }
        }
    }

    /// The new generation is durable: from here on it is the replica.
    pub(super) fn on_installed(&mut self, now: Now, group: GroupId) {
        let Some(replica) = self.replicas.get_mut(&group) else { return };
        let Some(pulled) = replica.pulled.take() else { return };
        let Pulled { partition, generation, index, entry_term, conf, leader, leader_term } =
            *pulled;
        replica.core.replace_machine(partition.clone());
        replica.generation = generation;
        replica.unchecked_since_ms = None;
        let old = replica.shared.partition.swap(Arc::new(partition));
        replica.shared.reconfigured();
        self.inner.pool.submit(Job::Discard { partition: Partition::clone(&old) });
        metrics::SNAPSHOTS_INSTALLED.inc();
        tracing::info!(%group, index, from = %leader, "a snapshot was installed");
        let event = Event::SnapshotInstalled { leader, term: leader_term, index, entry_term, conf };
        self.step(now, group, event);
    }
}
