//! Promise: DynamoDB's API, as AWS's SDK for Python and bare HTTP meet it: every operation, every limit
//! on both sides, every error; and gRPC gives the same answers. One file of `tests/python/dynamodb` per
//! operation or subject, all at the same time over one cluster.

use std::path::Path;
use std::sync::OnceLock;

use tombolo_tests::cluster::program;
use tombolo_tests::tools::run_pytest;
use tombolo_tests::{Cluster, Setup};

/// The cluster, and the runtime that it lives in: tests come and go, it stays.
struct Shared {
    _runtime: tokio::runtime::Runtime,
    cluster: Cluster,
}

fn shared() -> &'static Shared {
    static SHARED: OnceLock<Shared> = OnceLock::new();
    SHARED.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let cluster = runtime.block_on(Cluster::start(Setup::one_region()));
        Shared { _runtime: runtime, cluster }
    })
}

fn ask(file: &str) {
    let cluster = shared().cluster.dir().join("cluster.json");
    let file = format!("dynamodb/{file}.py");
    run_pytest(&file, &[("TOMBOLO_CLUSTER", cluster.as_path()), ("TOMBOLO_PROGRAM", &program())]);
}

/// One test per file, and the list of them.
macro_rules! files {
    ($($file:ident)*) => {
        $(
            #[test]
            fn $file() {
                ask(stringify!($file));
            }
        )*
        const FILES: &[&str] = &[$(stringify!($file)),*];
    };
}

files! {
    batch_get_item
    batch_write_item
    conditions
    consumed_capacity
    create_table
    delete_item
    delete_table
    describe_endpoints
    describe_limits
    describe_table
    get_item
    grpc_tokens
    hostile_bodies
    legacy_parameters
    list_tables
    local_indexes
    over_grpc
    partiql
    put_item
    query
    scan
    signatures
    streams_api
    tags
    update_item
    update_table
    wire_http
}

#[test]
fn no_file_of_tests_is_forgotten() {
    const HELPERS: [&str; 3] = ["conftest", "grpc_client", "kit"];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/dynamodb");
    let mut found: Vec<String> = std::fs::read_dir(folder)
        .expect("the folder of tests")
        .flatten()
        .filter_map(|entry| {
            entry.file_name().into_string().ok()?.strip_suffix(".py").map(str::to_owned)
        })
        .filter(|name| !HELPERS.contains(&name.as_str()))
        .collect();
    found.sort();
    assert_eq!(found, FILES);
}
