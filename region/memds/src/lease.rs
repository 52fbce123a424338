//! Leases: at most one node of the region does a named piece of work.
//!
//! A lease is a row. Its holder renews it every third of its time to live; who wants it watches the
//! row and takes it over once it has seen it unchanged for the whole time to live, by its own
//! monotonic clock. The holder counts from *before* it sent the renewal, and stops at four fifths:
//! so no two guards are held at once, however the nodes' wall clocks stand, as long as their
//! monotonic clocks run at rates within a fifth of each other. The fence grows with every new
//! holder: what must never see an old holder's write after a new one's compares it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::error::MemdsError;
use crate::memds::Memds;
use crate::metrics::LEASES;
use crate::rows::{LeaseRow, Row};
use crate::system::Held;

/// What this node has seen of other holders' leases, and which it holds.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    seen: Mutex<HashMap<String, (Bytes, Instant)>>,
    held: Mutex<HashSet<String>>,
}

/// A name this process holds, or is about to: it asks for nothing twice at once.
struct Reserved {
    memds: Memds,
    name: String,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.memds.0.leases.held.lock().remove(&self.name);
    }
}

/// A lease this node holds; it ends when dropped, at the latest.
#[derive(Debug)]
pub struct LeaseGuard {
    name: String,
    fence: u64,
    until: watch::Receiver<Instant>,
    shared: Arc<Shared>,
}

struct Shared {
    memds: Memds,
    row: tokio::sync::Mutex<Option<LeaseRow>>,
    dropped: watch::Sender<bool>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared(..)")
    }
}

/// How long a holder may rely on a renewal sent at `sent`.
fn safe_until(sent: Instant, ttl: Duration) -> Instant {
    sent + ttl * 4 / 5
}

impl Memds {
    /// Take the lease if it is free (or was, for its whole time to live), renewed from then on.
    /// `None`: another node holds it, or this one already does. Ask again from time to time: taking
    /// over a dead node's lease needs two calls at least a time to live apart.
    pub async fn lease(&self, name: &str, ttl: Duration) -> Result<Option<LeaseGuard>, MemdsError> {
        if !self.0.leases.held.lock().insert(name.to_owned()) {
            return Ok(None);
        }
        let reserved = Reserved { memds: self.clone(), name: name.to_owned() };
        let me = self.node().id;
        let (fence, held) = match self.get_row::<LeaseRow>(name).await? {
            None => (1, Held::Absent),
            // A row that names us is of an earlier life of this node, which has ended.
            Some((row, value)) if row.released || row.holder == me => {
                (row.fence + 1, Held::Value(value))
            }
            Some((row, value)) => {
                let mut seen = self.0.leases.seen.lock();
                let now = Instant::now();
                let since = match seen.get(name) {
                    Some((before, since)) if *before == value => *since,
                    _ => {
                        seen.insert(name.to_owned(), (value.clone(), now));
                        now
                    }
                };
                if now.duration_since(since) < Duration::from_millis(row.ttl_ms) {
                    return Ok(None);
                }
                (row.fence + 1, Held::Value(value))
            }
        };
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        let row = LeaseRow { holder: me, fence, beat: 0, ttl_ms, released: false };
        let sent = Instant::now();
        match self.put_row(name, &row, held).await {
            Ok(()) => {}
            Err(MemdsError::Conflict { .. }) => return Ok(None),
            Err(error) => return Err(error),
        }
        self.0.leases.seen.lock().remove(name);
        LEASES.with_label_values(&["taken"]).inc();
        let (until_sender, until) = watch::channel(safe_until(sent, ttl));
        let shared = Arc::new(Shared {
            memds: self.clone(),
            row: tokio::sync::Mutex::new(Some(row)),
            dropped: watch::Sender::new(false),
        });
        tokio::spawn(renew(reserved, ttl, shared.clone(), until_sender));
        Ok(Some(LeaseGuard { name: name.to_owned(), fence, until, shared }))
    }
}

/// Renews until the guard goes, or the row is somebody else's.
async fn renew(
    reserved: Reserved,
    ttl: Duration,
    shared: Arc<Shared>,
    until: watch::Sender<Instant>,
) {
    let name = &reserved.name;
    let mut dropped = shared.dropped.subscribe();
    let mut stopped = shared.memds.0.stop.subscribe();
    loop {
        tokio::select! {
            () = tokio::time::sleep(ttl / 3) => {}
            _ = dropped.wait_for(|dropped| *dropped) => break,
            _ = stopped.wait_for(|stopped| *stopped) => break,
        }
        let mut row = shared.row.lock().await;
        let Some(old) = row.clone() else { break };
        let new = LeaseRow { beat: old.beat + 1, ..old.clone() };
        let sent = Instant::now();
        let held = Held::Value(old.encode().into());
        match shared.memds.put_row(name, &new, held).await {
            Ok(()) => {
                *row = Some(new);
                until.send_replace(safe_until(sent, ttl));
            }
            Err(MemdsError::Conflict { .. }) => {
                *row = None;
                until.send_replace(sent);
                tracing::warn!(lease = %name, "lost a lease to another node");
                break;
            }
            Err(error) => tracing::warn!(lease = %name, %error, "could not renew a lease"),
        }
    }
    let row = shared.row.lock().await.take();
    if let Some(row) = row {
        let held = Held::Value(row.encode().into());
        let released = LeaseRow { released: true, ..row };
        // If this fails the lease runs out by itself.
        if shared.memds.put_row(name, &released, held).await.is_ok() {
            LEASES.with_label_values(&["released"]).inc();
        }
    } else {
        LEASES.with_label_values(&["lost"]).inc();
    }
    drop(reserved);
}

impl LeaseGuard {
    /// What the lease is on.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the lease surely is still ours.
    pub fn held(&self) -> bool {
        Instant::now() < *self.until.borrow()
    }

    /// Returns once the lease is no longer surely ours.
    pub async fn lost(&self) {
        let mut until = self.until.clone();
        loop {
            let end = *until.borrow_and_update();
            tokio::select! {
                () = tokio::time::sleep_until(end.into()) => {
                    if !self.held() {
                        return;
                    }
                }
                changed = until.changed() => {
                    if changed.is_err() {
                        let end = *until.borrow();
                        tokio::time::sleep_until(end.into()).await;
                        return;
                    }
                }
            }
        }
    }

    /// Grows with every new holder.
    pub fn fence(&self) -> u64 {
        self.fence
    }

    /// Give it up now, so that another node need not wait.
    pub async fn release(self) {
        self.shared.dropped.send_replace(true);
        let mut until = self.until.clone();
        // The renewing task drops its end when it is done.
        while until.changed().await.is_ok() {}
    }
}

impl Drop for LeaseGuard {
    fn drop(&mut self) {
        self.shared.dropped.send_replace(true);
    }
}
