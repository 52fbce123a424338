//! Connections that may stay, and those that must go.
//!
//! Always true: a connection is silent until its first request has arrived whole; there are never more
//! silent ones than allowed, because for a new one the oldest silent one is told to leave. A
//! connection that says nothing for the idle time is told to leave too.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// All connections of a listener.
pub(super) struct Guests {
    most: usize,
    most_silent: usize,
    here: AtomicUsize,
    silent: Mutex<Silent>,
}

#[derive(Default)]
struct Silent {
    next: u64,
    by_age: BTreeMap<u64, Arc<Guest>>,
}

/// One connection.
pub(super) struct Guest {
    began: Instant,
    /// Requests under way.
    busy: AtomicUsize,
    /// When it last did something, in milliseconds after `began`.
    last_ms: AtomicU64,
    leave: Notify,
}

/// A connection's place; given back when dropped.
pub(super) struct Seat {
    guests: Arc<Guests>,
    number: u64,
    pub(super) guest: Arc<Guest>,
}

impl Guests {
    pub(super) fn new(most: usize, most_silent: usize) -> Arc<Guests> {
        Arc::new(Guests {
            most,
            most_silent: most_silent.max(1),
            here: AtomicUsize::new(0),
            silent: Mutex::default(),
        })
    }

    /// A place for a new connection, if there is one.
    pub(super) fn seat(self: &Arc<Self>) -> Option<Seat> {
        if self.here.fetch_add(1, Ordering::AcqRel) >= self.most {
            self.here.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        let guest = Arc::new(Guest {
            began: Instant::now(),
            busy: AtomicUsize::new(0),
            last_ms: AtomicU64::new(0),
            leave: Notify::new(),
        });
        let mut silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        while silent.by_age.len() >= self.most_silent {
            if let Some((_, oldest)) = silent.by_age.pop_first() {
                oldest.leave.notify_one();
            }
        }
        let number = silent.next;
        silent.next += 1;
        silent.by_age.insert(number, Arc::clone(&guest));
        Some(Seat { guests: Arc::clone(self), number, guest })
    }

    fn speaks(&self, number: u64) {
        let mut silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        silent.by_age.remove(&number);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.guests.speaks(self.number);
        self.guests.here.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A request under way on a connection.
pub(super) struct Busy(Arc<Guest>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.touch();
        self.0.busy.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Seat {
    /// What marks requests of this connection.
    pub(super) fn marker(&self) -> Marker {
        Marker {
            guests: Arc::clone(&self.guests),
            number: self.number,
            guest: Arc::clone(&self.guest),
        }
    }
}

/// Marks the requests of one connection.
#[derive(Clone)]
pub(super) struct Marker {
    guests: Arc<Guests>,
    number: u64,
    guest: Arc<Guest>,
}

impl Marker {
    /// A request's headers are here.
    pub(super) fn begins(&self) -> Busy {
        self.guest.busy.fetch_add(1, Ordering::AcqRel);
        Busy(Arc::clone(&self.guest))
    }

    /// A whole request is here: its connection is silent no more.
    pub(super) fn spoke(&self) {
        self.guests.speaks(self.number);
    }
}

impl Guest {
    fn touch(&self) {
        let ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(ms, Ordering::Release);
    }

    /// Completes when the connection has to go.
    pub(super) async fn must_leave(&self, idle: Duration) {
        loop {
            let quiet_since =
                self.began + Duration::from_millis(self.last_ms.load(Ordering::Acquire));
            let busy = self.busy.load(Ordering::Acquire) > 0;
            let at = if busy { Instant::now() } else { quiet_since } + idle;
            if !busy && at <= Instant::now() {
                return;
            }
            tokio::select! {
                () = self.leave.notified() => return,
                () = tokio::time::sleep_until(at.into()) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_silent_one_leaves_and_speakers_stay() {
        let guests = Guests::new(10, 2);
        let idle = Duration::from_secs(60);
        let speaker = guests.seat().unwrap();
        speaker.marker().spoke();
        let oldest = guests.seat().unwrap();
        let other = guests.seat().unwrap();
        let newest = guests.seat().unwrap();
        oldest.guest.must_leave(idle).await;
        for stays in [&speaker, &other, &newest] {
            let leaves = stays.guest.must_leave(idle);
            assert!(tokio::time::timeout(Duration::ZERO, leaves).await.is_err());
        }
    }

    #[tokio::test]
    async fn places_are_bounded_and_come_back() {
        let guests = Guests::new(2, 100);
        let (first, _second) = (guests.seat().unwrap(), guests.seat().unwrap());
        assert!(guests.seat().is_none());
        drop(first);
        assert!(guests.seat().is_some());
        assert_eq!(guests.silent.lock().unwrap().by_age.len(), 1);
    }

    #[tokio::test]
    async fn who_says_nothing_leaves_and_who_is_busy_stays() {
        let guests = Guests::new(2, 100);
        let seat = guests.seat().unwrap();
        let busy = seat.marker().begins();
        let idle = Duration::from_millis(20);
        let leaves = seat.guest.must_leave(idle);
        assert!(tokio::time::timeout(idle * 3, leaves).await.is_err());
        drop(busy);
        seat.guest.must_leave(idle).await;
    }
}
