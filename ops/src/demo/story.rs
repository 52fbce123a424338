//! How the story is printed.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::output;

/// A numbered heading.
pub(super) fn step(title: &str) {
    static NUMBER: AtomicU32 = AtomicU32::new(1);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    output::data(format!("\n{number}. {title}"));
}

/// A line below the heading.
pub(super) fn tell(line: impl AsRef<str>) {
    output::data(format!("   {}", line.as_ref()));
}

/// Median and 99th percentile, for a sentence.
pub(super) struct Quantiles {
    p50: Duration,
    p99: Duration,
}

impl Quantiles {
    pub(super) fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |share: f64| {
            let index = (times.len() as f64 * share).ceil() as usize;
            times.get(index.saturating_sub(1)).copied().unwrap_or_default()
        };
        Self { p50: at(0.5), p99: at(0.99) }
    }
}

impl fmt::Display for Quantiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        write!(f, "p50 {:.2} ms, p99 {:.2} ms", ms(self.p50), ms(self.p99))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_the_nearest_rank() {
        let times: Vec<_> = (1..=200).rev().map(Duration::from_millis).collect();
        assert_eq!(Quantiles::of(times).to_string(), "p50 100.00 ms, p99 198.00 ms");
        assert_eq!(Quantiles::of(vec![]).to_string(), "p50 0.00 ms, p99 0.00 ms");
    }
}
