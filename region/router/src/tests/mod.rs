//! The router through its own port: a real gRPC server over a region in memory, and the real client.

mod bad_requests;
mod dynamodb;
mod fake;
mod half_open;
mod hostile;
mod items;
mod limits;
mod operations;
mod services;
mod session;
mod tokens;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use tokio::sync::oneshot;
use tombolo_client::Client;
use tombolo_client::conflict::ConflictPage;
use tombolo_client::report::{StatusReport, VerifyEvent, VerifySummary};
use tombolo_item::{NodeId, RowKey};
use tombolo_memds::TableInfo;

use crate::dynamodb::Credentials;
use crate::server::Router;
use crate::settings::RouterSettings;
use crate::{Operations, OperationsError};
use fake::Fake;

/// Says that all is well.
struct Content;

impl Operations for Content {
    fn status(&self) -> BoxFuture<'_, Result<StatusReport, OperationsError>> {
        async { Ok(StatusReport { region: "us-east".into(), ..StatusReport::default() }) }.boxed()
    }

    fn drain(&self, _node: NodeId, _drained: bool) -> BoxFuture<'_, Result<(), OperationsError>> {
        async { Ok(()) }.boxed()
    }

    fn conflicts(
        &self,
        _table: Arc<TableInfo>,
        _after: Option<RowKey>,
        _limit: usize,
    ) -> BoxFuture<'_, Result<ConflictPage, OperationsError>> {
        async { Ok(ConflictPage::default()) }.boxed()
    }

    fn verify(
        &self,
        _table: Arc<TableInfo>,
    ) -> BoxStream<'static, Result<VerifyEvent, OperationsError>> {
        let summary = VerifySummary { agreed: true, ..VerifySummary::default() };
        let progress = VerifyEvent::Progress { phase: "digests".into(), done: 1, total: 1 };
        Box::pin(futures::stream::iter([Ok(progress), Ok(VerifyEvent::Summary(summary))]))
    }
}

/// Access keys and their secrets.
#[derive(Clone, Default)]
struct Keys(Arc<Mutex<BTreeMap<&'static str, &'static str>>>);

impl Keys {
    fn give(&self, access_key: &'static str, secret: &'static str) {
        self.0.lock().unwrap().insert(access_key, secret);
    }

    fn revoke(&self, access_key: &str) {
        self.0.lock().unwrap().remove(access_key);
    }
}

impl Credentials for Keys {
    fn secret(&self, access_key: &str) -> Option<String> {
        self.0.lock().unwrap().get(access_key).map(|secret| (*secret).to_owned())
    }
}

/// A served region in memory.
struct Served {
    region: Fake,
    endpoint: String,
    keys: Keys,
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

impl Served {
    /// On a port of its own.
    fn start(change: impl FnOnce(&mut RouterSettings)) -> Served {
        let mut settings = RouterSettings::new(([127, 0, 0, 1], 0).into());
        change(&mut settings);
        let scheme = if settings.tls.is_some() { "https" } else { "http" };
        let router = Router::bind(settings).expect("a free port on loopback");
        let endpoint = format!("{scheme}://{}", router.local_addr());
        let region = Fake::default();
        let (stop, stopped) = oneshot::channel::<()>();
        let keys = Keys::default();
        let (content, credentials) = (Arc::new(Content), Arc::new(keys.clone()));
        let served = router.serve_region(region.clone(), content, credentials, async {
            let _ = stopped.await;
        });
        let task = tokio::spawn(async move { served.await.expect("the server ends well") });
        Served { region, endpoint, keys, stop: Some(stop), task }
    }

    fn plain() -> Served {
        Served::start(|_| {})
    }

    async fn client(&self) -> Client {
        Client::connect(std::slice::from_ref(&self.endpoint)).await.expect("it listens")
    }

    /// Stops it and waits for its end.
    async fn stop(mut self) {
        self.stop.take().expect("stopped once").send(()).expect("it runs");
        self.task.await.expect("it ends without a panic");
    }
}
