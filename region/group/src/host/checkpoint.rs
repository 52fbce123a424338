//! The small pool of threads that write checkpoints and remove replicas from the disk.
//!
//! Always true: neither ever runs on the event loop or on an async worker.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use tombolo_item::{GroupId, RegionId, Shard};
use tombolo_storage::Partition;
use tombolo_storage::partition::Retention;

use super::clock::Clock;
use super::inbox::{Cmd, Inbox};
use super::shared::Shared;
use crate::error::HostError;

/// How long sealed logs are kept whatever the other regions have confirmed.
const RETENTION_MS: u64 = 24 * 3_600 * 1_000;
/// How much one replica's sealed logs may hold for regions that do not confirm.
const RETENTION_BYTES: u64 = 4 << 30;

pub(super) enum Job {
    Checkpoint {
        group: GroupId,
        generation: u64,
        partition: Partition,
    },
    /// A generation that is no longer (or never was) in use.
    Discard {
        partition: Partition,
    },
    /// A dropped group.
    Destroy {
        shared: Arc<Shared>,
    },
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    stopped: bool,
}

#[derive(Default)]
pub(super) struct Pool {
    queue: Mutex<Queue>,
    wake: Condvar,
    threads: Mutex<Vec<std::thread::JoinHandle<()>>>,
}

impl Pool {
    pub(super) fn start(
        threads: usize,
        region: RegionId,
        inbox: &Arc<Inbox>,
    ) -> Result<Arc<Pool>, HostError> {
        let pool = Arc::new(Pool::default());
        for _ in 0..threads.max(1) {
            let (mine, inbox) = (pool.clone(), inbox.clone());
            let thread = std::thread::Builder::new()
                .name("checkpoint".into())
                .spawn(move || mine.work(region, &inbox))
                .map_err(|source| HostError::Thread { name: "checkpoint", source })?;
            pool.threads.lock().push(thread);
        }
        Ok(pool)
    }

    pub(super) fn submit(&self, job: Job) {
        self.queue.lock().jobs.push_back(job);
        self.wake.notify_one();
    }

    pub(super) fn stop(&self) {
        let mut queue = self.queue.lock();
        queue.stopped = true;
        queue.jobs.clear();
        self.wake.notify_all();
    }

    /// Waits for the jobs that were running when [`Pool::stop`] was called.
    pub(super) fn join(&self) {
        let threads = std::mem::take(&mut *self.threads.lock());
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a checkpoint thread panicked");
            }
        }
    }

    fn work(&self, region: RegionId, inbox: &Inbox) {
        loop {
            let job = {
                let mut queue = self.queue.lock();
                loop {
                    if let Some(job) = queue.jobs.pop_front() {
                        break job;
                    }
                    if queue.stopped {
                        return;
                    }
                    self.wake.wait(&mut queue);
                }
            };
            match job {
                Job::Checkpoint { group, generation, partition } => {
                    let result = partition.checkpoint();
                    if result.is_ok() {
                        trim(&partition, region);
                    }
                    inbox.push(Cmd::Checkpointed { group, generation, result });
                }
                Job::Discard { partition } => destroy(partition),
                Job::Destroy { shared } => destroy(Partition::clone(&shared.partition.load())),
            }
        }
    }
}

fn destroy(partition: Partition) {
    let group = partition.group();
    if let Err(error) = partition.destroy() {
        tracing::warn!(%group, %error, "an unused copy could not be removed; the next start does it");
    }
}

/// Lets go of sealed logs that are old and that every other region has confirmed.
fn trim(partition: &Partition, region: RegionId) {
    let state = partition.state();
    let Some(config) = &state.config else { return };
    if !config.keep_log {
        return;
    }
    let own = Shard { group: config.group, epoch: config.epoch };
    let confirmed = |r: &RegionId| state.confirmed.get(&(*r, own)).map_or(0, |c| c.seq);
    let others = config.regions.iter().filter(|r| **r != region);
    let keep_from = others.map(confirmed).min().unwrap_or(state.seq) + 1;
    let retention = Retention {
        keep_from_seq: keep_from,
        written_before_ms: Clock::wall_ms().saturating_sub(RETENTION_MS),
        max_bytes: RETENTION_BYTES,
    };
    let group = config.group;
    match partition.trim_sealed(retention) {
        Ok(trimmed) => {
            if let Some(seq) = trimmed.dropped_wanted {
                tracing::error!(
                    %group, seq,
                    "change records that another region has not confirmed were dropped for lack \
                     of room: regions behind this sequence number need a backfill"
                );
            }
        }
        Err(error) => {
            tracing::warn!(%group, %error, "old sealed logs could not be removed");
        }
    }
}
