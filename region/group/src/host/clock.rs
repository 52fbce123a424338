//! The node's two clocks, read in one place.
//!
//! Always true: the monotonic one starts near zero with the process, never goes back, and is the
//! only one that promises and leases are measured with.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::core::Now;

/// Milliseconds since this was made, and since 1970.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn start() -> Clock {
        Clock { start: Instant::now() }
    }

    /// Starts at 1, so that 0 can mean "never".
    pub(crate) fn mono_ms(&self) -> u64 {
        self.start.elapsed().as_millis() as u64 + 1
    }

    pub(crate) fn wall_ms() -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
    }

    pub(crate) fn now(&self) -> Now {
        Now { mono_ms: self.mono_ms(), wall_ms: Clock::wall_ms() }
    }
}
