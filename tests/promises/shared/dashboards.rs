//! Promise: behind every panel of the dashboard there is data. A real Prometheus scrapes the running
//! cluster with the configuration we ship, and every query of every panel is asked.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tombolo_tests::cluster::PATIENCE;
use tombolo_tests::workload::item;
use tombolo_tests::{eventually, tools};

use crate::shared;

struct Prometheus {
    child: Child,
    address: String,
    _folder: tempfile::TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn grafana(file: &str) -> String {
    let path = format!("{}/../grafana/{file}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Starts Prometheus with the shipped configuration, its targets replaced by those of this cluster.
fn start() -> Prometheus {
    let folder = tempfile::tempdir().expect("a folder");
    let targets: Vec<_> = shared()
        .cluster
        .json()
        .regions
        .iter()
        .map(|region| {
            let nodes: Vec<_> = region
                .nodes
                .iter()
                .map(|n| n.admin.trim_start_matches("http://").to_owned())
                .collect();
            serde_json::json!({"targets": nodes, "labels": {"region": region.name}})
        })
        .collect();
    let write = |name: &str, text: String| {
        std::fs::write(folder.path().join(name), text).expect("the folder can be written");
    };
    write("prometheus.yml", grafana("prometheus/prometheus.yml"));
    write("alerts.yml", grafana("prometheus/alerts.yml"));
    write("targets.json", serde_json::to_string(&targets).expect("targets are JSON"));
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port();
    let address = format!("127.0.0.1:{port}");
    let child = Command::new(tools::prometheus())
        .arg("--config.file=prometheus.yml")
        .arg("--storage.tsdb.path=data")
        .arg(format!("--web.listen-address={address}"))
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("Prometheus starts");
    Prometheus { child, address, _folder: folder }
}

async fn ask(address: &str, path: &str) -> Option<serde_json::Value> {
    let url = format!("http://{address}{path}");
    let answer = tombolo::http::get(&url, Duration::from_secs(5)).await.ok()?;
    serde_json::from_str(&answer.body).ok()
}

fn encode(query: &str) -> String {
    query
        .bytes()
        .map(|b| {
            if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") }
        })
        .collect()
}

#[test]
fn every_query_of_the_dashboard_finds_data() {
    let shared = shared();
    let dashboard: serde_json::Value =
        serde_json::from_str(&grafana("dashboards/tombolo.json")).expect("the dashboard is JSON");
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let title = panel["title"].as_str().unwrap_or_default().to_owned();
            queries.push((title, target["expr"].as_str().expect("a query").to_owned()));
        }
    }
    assert!(queries.len() >= 8, "a dashboard of {} queries", queries.len());
    let prometheus = start();
    shared.runtime.block_on(async {
        // Something to see: writes, reads, replication, a verification.
        shared.cluster.table("watched", 2).await;
        let client = shared.cluster.client(0).await;
        let traffic = async || {
            for n in 0..20 {
                client.put_item("watched", item(&format!("k{n}"), n)).await.expect("a put");
                let key = tombolo_tests::cluster::key(&format!("k{n}"));
                client.get_item("watched", key, true).await.expect("a get");
            }
        };
        traffic().await;
        shared.cluster.wait_agreed("watched", 20).await;
        for (title, query) in queries {
            // Grafana fills its variables in before it asks.
            let query = query.replace("$__rate_interval", "1m").replace("$region", ".*");
            let path = format!("/api/v1/query?query={}", encode(&query));
            eventually(&format!("data behind {title}: {query}"), PATIENCE, || async {
                traffic().await;
                let answer = ask(&prometheus.address, &path).await?;
                assert_ne!(answer["status"], "error", "{title}: {answer}");
                (!answer["data"]["result"].as_array()?.is_empty()).then_some(())
            })
            .await;
        }
        let rules = ask(&prometheus.address, "/api/v1/rules").await.expect("the rules are loaded");
        let groups = rules["data"]["groups"].as_array().expect("groups of rules");
        assert!(!groups.is_empty(), "no alert rule is loaded: {rules}");
    });
}
