//! What the promises are tested with: real clusters of real processes, and tools that judge them.
//!
//! - [`cluster`]: a development cluster in a temporary folder, on ports nobody uses
//! - [`workload`]: writers that know what was acknowledged, and readers that look for it
//! - [`linearizability`]: is a concurrent history explainable?
//! - [`stream`]: everything a table's stream holds, checked for holes and order
//! - [`log_watch`]: what the processes complained about
//! - [`tools`]: Python with packages, Prometheus: found, or installed where that needs no hands
//!
//! Always true: a test waits for a state, never for a time; a tool that is missing fails the test with a
//! sentence that says how to get it.

pub mod cluster;
pub mod linearizability;
pub mod log_watch;
pub mod stream;
pub mod tools;
pub mod workload;

pub use cluster::{Cluster, Setup};

/// Waits until `probe` gives something; panics with `what` after `patience`.
pub async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    patience: std::time::Duration,
    mut probe: impl FnMut() -> F,
) -> T {
    let deadline = std::time::Instant::now() + patience;
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(std::time::Instant::now() < deadline, "after {patience:?} still not: {what}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
