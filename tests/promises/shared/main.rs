//! Promises that are tested without breaking anything, over one cluster of two regions.

mod dashboards;
mod histories;
mod languages;
mod rubbish;

use std::sync::OnceLock;

use tombolo_tests::{Cluster, Setup};

/// The cluster, and the runtime that it lives in: tests come and go, it stays.
pub(crate) struct Shared {
    pub(crate) runtime: tokio::runtime::Runtime,
    pub(crate) cluster: Cluster,
}

pub(crate) fn shared() -> &'static Shared {
    static SHARED: OnceLock<Shared> = OnceLock::new();
    SHARED.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let cluster = runtime.block_on(Cluster::start(Setup::two_regions()));
        Shared { runtime, cluster }
    })
}
