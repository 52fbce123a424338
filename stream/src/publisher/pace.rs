//! Catch-up after an outage, held back so that it does not take the foreground's processor and
//! disk. Records that just happened never wait here.
//!
//! Always true: at most `shards` shards hold the bodies of a catch-up in memory at a time.

use std::time::Duration;
use tokio::sync::{Mutex, Semaphore, SemaphorePermit};
use tokio::time::Instant;

pub(crate) struct Pace {
    shards: Semaphore,
    bytes_per_second: u64,
    /// When the bytes let through so far are paid for.
    paid_until: Mutex<Instant>,
}

/// One shard's turn.
pub(crate) struct Turn<'a> {
    pace: &'a Pace,
    _permit: Option<SemaphorePermit<'a>>,
}

impl Pace {
    pub(crate) fn new(shards: usize, bytes_per_second: u64) -> Pace {
        Pace {
            shards: Semaphore::new(shards.max(1)),
            bytes_per_second: bytes_per_second.max(1),
            paid_until: Mutex::new(Instant::now()),
        }
    }

    /// Waits for a place among the shards that catch up.
    pub(crate) async fn turn(&self) -> Turn<'_> {
        // The semaphore is never closed; without a permit the rate still holds.
        Turn { pace: self, _permit: self.shards.acquire().await.ok() }
    }
}

impl Turn<'_> {
    /// Waits until `bytes` more may be sent.
    pub(crate) async fn pay(&self, bytes: usize) {
        let until = {
            let mut paid_until = self.pace.paid_until.lock().await;
            let start = (*paid_until).max(Instant::now());
            let cost = bytes as f64 / self.pace.bytes_per_second as f64;
            *paid_until = start + Duration::from_secs_f64(cost);
            start
        };
        tokio::time::sleep_until(until).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn bytes_take_their_time() {
        let pace = Pace::new(1, 1000);
        let start = Instant::now();
        let turn = pace.turn().await;
        for _ in 0..5 {
            turn.pay(500).await;
        }
        assert_eq!(start.elapsed().as_millis(), 2000, "the first is free, four wait 500 ms each");
    }
}
