//! Skeleton.
use super::*;
pub(super) struct Worker;
#[allow(clippy::todo, unused_variables)]
impl Worker {
    pub(super) fn new(settings: SubscriberSettings, connection: Connection, fetch: Option<Arc<dyn FetchMissing>>, events: mpsc::Sender<Event>, heads: watch::Receiver<BTreeMap<Shard, Position>>) -> Worker { Worker }
    pub(super) async fn run(self) { todo!() }
}
