//! Promise: gRPC with reflection and NATS are enough; no code of ours is needed on the other side.

use tombolo_tests::tools::run_python;
use tombolo_tests::workload::item;

use crate::shared;

#[test]
fn python_with_grpcio_and_reflection_creates_puts_and_gets() {
    let grpc = shared().cluster.json().regions[0].nodes[0].grpc.clone();
    let address = grpc.trim_start_matches("http://");
    assert_eq!(run_python("items_over_reflection.py", &[address, "from-python"]).trim(), "ok");
}

#[test]
fn python_with_nats_py_subscribes_and_decodes() {
    let shared = shared();
    let (url, subject) = shared.runtime.block_on(async {
        let table = shared.cluster.table("to-python", 2).await;
        let client = shared.cluster.client(0).await;
        for n in 0..10 {
            client.put_item("to-python", item(&format!("k{n}"), n)).await.expect("a put");
        }
        (shared.cluster.json().regions[0].nats.clone(), table.stream_subject)
    });
    let printed = run_python("changes_over_nats.py", &[&url, &subject, "10"]);
    let mut seen: Vec<String> = printed
        .lines()
        .map(|line| {
            let change: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
            assert_eq!(change["event"], "INSERT");
            assert_eq!(change["NewImage"]["pk"], change["Keys"]["pk"]);
            change["Keys"]["pk"]["S"].as_str().expect("a key").to_owned()
        })
        .collect();
    seen.sort();
    assert_eq!(seen, (0..10).map(|n| format!("k{n}")).collect::<Vec<_>>());
}
