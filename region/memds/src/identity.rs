//! Which disk this is: `memds.json` in the node's data folder.
//!
//! Format, version 1: `{"version":1,"disk":"<uuid>","founding":<bool>}`. `disk` is drawn when the
//! folder is first used and never changes: a node that comes back with another one has lost what
//! was placed on the old. `founding` is set, durably, when a founding voter has seen that every
//! founding voter's disk is empty, and from then on it may create its replica of the system group.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::MemdsError;

const VERSION: u32 = 1;
const FILE: &str = "memds.json";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u32,
    disk: Uuid,
    founding: bool,
}

/// The identity of a data folder.
#[derive(Debug)]
pub(crate) struct Identity {
    path: PathBuf,
    stored: Stored,
}

impl Identity {
    /// Read it, or draw a new one.
    pub(crate) fn open(dir: &Path) -> Result<Identity, MemdsError> {
        let path = dir.join(FILE);
        let refuse = |reason: String| MemdsError::Settings { what: "the data folder", reason };
        match std::fs::read(&path) {
            Ok(bytes) => {
                let unreadable =
                    |error: serde_json::Error| refuse(format!("{}: {error}", path.display()));
                let value: serde_json::Value =
                    serde_json::from_slice(&bytes).map_err(unreadable)?;
                if value["version"] != VERSION {
                    return Err(refuse(format!(
                        "{} has version {}, this program knows {VERSION}",
                        path.display(),
                        value["version"]
                    )));
                }
                let stored = serde_json::from_value(value).map_err(unreadable)?;
                Ok(Identity { path, stored })
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let stored = Stored { version: VERSION, disk: Uuid::new_v4(), founding: false };
                let identity = Identity { path, stored };
                identity.write()?;
                Ok(identity)
            }
            Err(error) => Err(refuse(format!("cannot read {}: {error}", path.display()))),
        }
    }

    pub(crate) fn disk(&self) -> Uuid {
        self.stored.disk
    }

    pub(crate) fn founding(&self) -> bool {
        self.stored.founding
    }

    /// Durable before it returns.
    pub(crate) fn set_founding(&mut self) -> Result<(), MemdsError> {
        self.stored.founding = true;
        self.write()
    }

    fn write(&self) -> Result<(), MemdsError> {
        self.try_write().map_err(|error| MemdsError::Settings {
            what: "the data folder",
            reason: format!("cannot write {}: {error}", self.path.display()),
        })
    }

    fn try_write(&self) -> std::io::Result<()> {
        let dir = self.path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(dir)?;
        let next = self.path.with_extension("json.new");
        let mut file = std::fs::File::create(&next)?;
        file.write_all(&serde_json::to_vec(&self.stored)?)?;
        file.sync_all()?;
        std::fs::rename(&next, &self.path)?;
        std::fs::File::open(dir)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_keeps_its_identity() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = Identity::open(dir.path()).unwrap();
        assert!(!first.founding());
        first.set_founding().unwrap();
        let again = Identity::open(dir.path()).unwrap();
        assert_eq!(again.disk(), first.disk());
        assert!(again.founding());
        let other = Identity::open(&dir.path().join("other")).unwrap();
        assert_ne!(other.disk(), first.disk());
    }

    #[test]
    fn the_format_is_fixed_and_others_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let golden =
            r#"{"version":1,"disk":"00000000-0000-0000-0000-000000000007","founding":true}"#;
        std::fs::write(&path, golden).unwrap();
        let identity = Identity::open(dir.path()).unwrap();
        assert_eq!(identity.disk(), Uuid::from_u128(7));
        identity.write().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), golden);
        for (bad, says) in [
            (r#"{"version":2}"#, "version 2"),
            ("{", "memds.json"),
            (r#"{"version":1,"disk":"x","founding":true}"#, "memds.json"),
        ] {
            std::fs::write(&path, bad).unwrap();
            let error = Identity::open(dir.path()).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
