//! Promises about the tree itself: who may depend on whom, that figures named in Grafana exist, that
//! every alert has a runbook, and that links lead somewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the workspace")
}

/// The arrows: what each crate may depend on, of this workspace. Nothing else.
const ARROWS: &[(&str, &[&str])] = &[
    ("item", &[]),
    ("merge", &["item"]),
    ("storage", &["item"]),
    ("client", &["item"]),
    ("group", &["item", "merge", "storage"]),
    ("memds", &["item", "group"]),
    ("router", &["item", "group", "memds", "client"]),
    ("stream", &["item", "group", "memds"]),
    ("link", &["merge", "item", "group", "memds", "stream"]),
];

#[test]
fn crates_depend_on_each_other_as_decided() {
    let metadata = cargo_metadata::MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .exec()
        .expect("cargo metadata");
    let allowed: BTreeMap<String, BTreeSet<String>> = ARROWS
        .iter()
        .map(|(name, on)| {
            (format!("tombolo-{name}"), on.iter().map(|on| format!("tombolo-{on}")).collect())
        })
        .collect();
    for package in &metadata.packages {
        let name = package.name.to_string();
        if name == "tombolo" || name == "tombolo-tests" {
            continue;
        }
        let allowed = allowed.get(&name).unwrap_or_else(|| panic!("{name} has no arrows"));
        // Tests of a crate may use more than the crate.
        let used: BTreeSet<String> = package
            .dependencies
            .iter()
            .filter(|d| d.kind == cargo_metadata::DependencyKind::Normal)
            .map(|d| d.name.clone())
            .filter(|name| name == "tombolo" || name.starts_with("tombolo-"))
            .collect();
        let extra: Vec<_> = used.difference(allowed).collect();
        assert!(extra.is_empty(), "{name} must not depend on {extra:?}");
    }
}

fn files(below: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(below).expect("a folder").flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') || name == "target" {
            continue;
        }
        if path.is_dir() {
            files(&path, ending, found);
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
}

fn all(below: &str, ending: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    files(&root().join(below), ending, &mut found);
    found.into_iter().map(|p| (p.clone(), std::fs::read_to_string(p).expect("text"))).collect()
}

/// Names like `tombolo_area_noun_unit` in a text.
fn metric_names(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("tombolo_") && word.matches('_').count() >= 2)
        .map(|word| {
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end));
            base.unwrap_or(word).to_owned()
        })
        .collect()
}

#[test]
fn every_metric_in_grafana_is_declared() {
    let declared: BTreeSet<String> =
        all("", "metrics.rs").iter().flat_map(|(_, text)| metric_names(text)).collect();
    for (path, text) in all("grafana", ".json").into_iter().chain(all("grafana", ".yml")) {
        for name in metric_names(&text) {
            assert!(declared.contains(&name), "{}: {name} is in no metrics.rs", path.display());
        }
    }
}

#[test]
fn every_alert_has_a_runbook() {
    let alerts =
        std::fs::read_to_string(root().join("grafana/prometheus/alerts.yml")).expect("alerts");
    let names: Vec<_> = alerts.lines().filter_map(|l| l.trim().strip_prefix("- alert: ")).collect();
    assert!(!names.is_empty(), "there are no alerts");
    for name in names {
        let runbook = root().join(format!("ops/runbooks/{name}.md"));
        assert!(runbook.exists(), "the alert {name} has no {}", runbook.display());
        assert!(
            alerts.contains(&format!("ops/runbooks/{name}.md")),
            "{name} does not name its runbook"
        );
    }
}

#[test]
fn links_in_markdown_lead_somewhere() {
    for (path, text) in all("", ".md") {
        for part in text.split("](").skip(1) {
            let link = part.split([')', '#', ' ']).next().unwrap_or_default();
            if link.is_empty() || link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let target = path.parent().expect("a folder").join(link);
            assert!(target.exists(), "{}: {link} leads nowhere", path.display());
        }
    }
}

#[test]
fn the_top_level_is_as_decided() {
    let allowed = [
        "Cargo.toml",
        "Cargo.lock",
        "LICENSE",
        "README.md",
        "region",
        "stream",
        "global-tables",
        "ops",
        "grafana",
        "tests",
        "target",
    ];
    for entry in std::fs::read_dir(root()).expect("the workspace").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        assert!(
            name.starts_with('.') || allowed.contains(&name.as_str()),
            "{name} at the top level"
        );
    }
}

/// `unsafe` is for the crate that talks to LMDB and the disk.
#[test]
fn only_storage_has_unsafe_code() {
    for (path, text) in all("", ".rs") {
        let inside = path.starts_with(root().join("region/storage"));
        let found = text.lines().any(|line| {
            let code = line.split("//").next().unwrap_or_default();
            code.contains("unsafe {") || code.contains("unsafe fn") || code.contains("unsafe impl")
        });
        assert!(inside || !found || path.ends_with("promises/layout.rs"), "{}", path.display());
    }
}
