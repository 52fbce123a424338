//! Publishes what this node leads.
mod settings;
pub use settings::PublisherSettings;
use crate::StreamError;
use tombolo_group::Host;
use tombolo_memds::Memds;
use tokio::sync::watch;

/// Publishes every group this node leads until `shutdown` is true.
#[allow(clippy::todo)]
pub async fn run(
    _settings: PublisherSettings,
    _host: Host,
    _memds: Memds,
    _shutdown: watch::Receiver<bool>,
) -> Result<(), StreamError> {
    todo!()
}
