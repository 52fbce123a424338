//! `DIR/cluster.json`: how scripts find the processes of a development cluster.
//!
//! Always true: it exists only while the cluster runs and after everything served once; it is
//! replaced as a whole, also after each restart of a process. Version 1 has exactly these fields.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Context, Failure, Result};
use crate::files::write_atomically;

/// The only version there is.
pub const VERSION: u32 = 1;

/// The whole file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterJson {
    pub version: u32,
    pub regions: Vec<RegionJson>,
    /// Keys of the DynamoDB ports, the same in all regions.
    pub credentials: CredentialsJson,
}

/// A pair of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialsJson {
    pub access_key: String,
    pub secret_key: String,
}

/// One region. The NATS address has its credentials in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionJson {
    pub name: String,
    pub nats: String,
    pub nats_pid: u32,
    pub nodes: Vec<NodeJson>,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeJson {
    pub id: u64,
    pub zone: String,
    pub pid: u32,
    pub data: String,
    pub dynamodb: String,
    pub grpc: String,
    pub admin: String,
}

impl ClusterJson {
    /// Reads a file; another version is refused by its number.
    pub fn read(path: &Path) -> Result<ClusterJson> {
        let text = std::fs::read_to_string(path)
            .context(|| format!("reading {} (does `tombolo dev` run there?)", path.display()))?;
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let what = || format!("reading {}", path.display());
        let Versioned { version } = serde_json::from_str(&text).context(what)?;
        if version != VERSION {
            return Err(Failure::usage(format!(
                "{} has version {version}; this program knows version {VERSION}",
                path.display()
            )));
        }
        serde_json::from_str(&text).context(what)
    }

    /// Replaces the file. It holds passwords of development: its owner alone may read it.
    pub fn write(&self, path: &Path) -> Result {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        write_atomically(path, text.as_bytes(), 0o600)
    }

    /// All nodes with the name of their region.
    pub fn nodes(&self) -> impl Iterator<Item = (&str, &NodeJson)> {
        self.regions.iter().flat_map(|r| r.nodes.iter().map(|node| (r.name.as_str(), node)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shape that scripts rely on, byte for byte.
    const GOLDEN: &str = r#"{"version":1,"regions":[{"name":"us-east","nats":"nats://u:p@127.0.0.1:8090","nats_pid":11,"nodes":[{"id":4294967297,"zone":"a","pid":12,"data":"/d/us-east/a","dynamodb":"http://127.0.0.1:8000","grpc":"http://127.0.0.1:8001","admin":"http://127.0.0.1:8002"}]}],"credentials":{"access_key":"TOMB","secret_key":"s"}}"#;

    fn example() -> ClusterJson {
        ClusterJson {
            version: VERSION,
            regions: vec![RegionJson {
                name: "us-east".into(),
                nats: "nats://u:p@127.0.0.1:8090".into(),
                nats_pid: 11,
                nodes: vec![NodeJson {
                    id: 4_294_967_297,
                    zone: "a".into(),
                    pid: 12,
                    data: "/d/us-east/a".into(),
                    dynamodb: "http://127.0.0.1:8000".into(),
                    grpc: "http://127.0.0.1:8001".into(),
                    admin: "http://127.0.0.1:8002".into(),
                }],
            }],
            credentials: CredentialsJson { access_key: "TOMB".into(), secret_key: "s".into() },
        }
    }

    #[test]
    fn the_shape_is_golden() {
        assert_eq!(serde_json::to_string(&example()).unwrap(), GOLDEN);
        assert_eq!(serde_json::from_str::<ClusterJson>(GOLDEN).unwrap(), example());
    }

    #[test]
    fn it_is_written_and_read_and_other_versions_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cluster.json");
        example().write(&path).unwrap();
        assert_eq!(ClusterJson::read(&path).unwrap(), example());
        std::fs::write(&path, r#"{"version":2,"places":[]}"#).unwrap();
        let refused = ClusterJson::read(&path).expect_err("another version");
        assert!(refused.message.contains("version 2"), "{}", refused.message);
        let absent = ClusterJson::read(&dir.path().join("no")).expect_err("absent");
        assert!(absent.message.contains("tombolo dev"), "{}", absent.message);
    }
}
