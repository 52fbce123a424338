//! What a development cluster is, apart from its data: `DIR/config/identity.json` and certificates.
//!
//! Always true: made once per folder and kept, so that starting again finds the same regions under
//! the same numbers, with the same passwords and certificates. A region's number is never reused.

use std::path::Path;

use serde::{Deserialize, Serialize};
use tombolo_item::NodeId;

use super::layout::{self, Layout};
use crate::certs;
use crate::credentials;
use crate::error::{Context, Failure, Result};
use crate::files::{secret, write_atomically};

const VERSION: u32 = 1;
/// Long enough that nobody's trial cluster ever expires.
const DAYS: u32 = 3650;

/// The file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    version: u32,
    /// The cluster's name: part of every node's certificate.
    pub cluster: String,
    /// Guards `/dev/…` on the admin ports.
    pub secret: String,
    pub nodes_per_zone: u8,
    /// The keys of the DynamoDB ports; made when a folder of an older version has none.
    #[serde(default)]
    pub access_key: String,
    #[serde(default)]
    pub secret_key: String,
    /// Seals secrets in the metadata of all regions.
    #[serde(default)]
    region_key: String,
    regions: Vec<RegionIdentity>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct RegionIdentity {
    name: String,
    id: u16,
    nats_password: String,
}

impl Identity {
    /// Reads the identity of `dir`, or makes it; regions and nodes may be added, not taken away.
    pub(super) fn read_or_make(
        dir: &Path,
        names: &[String],
        nodes_per_zone: u8,
        keys: (Option<&str>, Option<&str>),
    ) -> Result<Identity> {
        layout::check_names(names.iter().map(String::as_str))?;
        let path = dir.join("config").join("identity.json");
        let mut identity = if path.exists() { read(&path)? } else { Identity::new() };
        identity.grow(dir, names, nodes_per_zone)?;
        identity.take_keys(keys)?;
        let text = serde_json::to_string_pretty(&identity)?;
        write_atomically(&path, text.as_bytes(), 0o600)?;
        write_atomically(&secret_file(dir), identity.secret.as_bytes(), 0o600)?;
        write_atomically(&region_key_file(dir), identity.region_key.as_bytes(), 0o600)?;
        let keys = std::collections::BTreeMap::from([(&identity.access_key, &identity.secret_key)]);
        let keys = serde_json::to_string(&keys)?;
        write_atomically(&keys_file(dir), keys.as_bytes(), 0o600)?;
        Ok(identity)
    }

    fn new() -> Identity {
        Identity {
            version: VERSION,
            cluster: format!("dev-{}", &secret()[..8]),
            secret: secret(),
            nodes_per_zone: 0,
            access_key: String::new(),
            secret_key: String::new(),
            region_key: String::new(),
            regions: Vec::new(),
        }
    }

    fn grow(&mut self, dir: &Path, names: &[String], nodes_per_zone: u8) -> Result {
        for region in &self.regions {
            if !names.contains(&region.name) {
                let known: Vec<&str> = self.regions.iter().map(|r| r.name.as_str()).collect();
                return Err(Failure::usage(format!(
                    "{} holds the regions {}; name all of them with --regions, or choose another \
                     --dir",
                    dir.display(),
                    known.join(",")
                )));
            }
        }
        if nodes_per_zone < self.nodes_per_zone {
            return Err(Failure::usage(format!(
                "{} holds a cluster with {} nodes per zone; start it with --nodes-per-zone {} or \
                 more, or choose another --dir",
                dir.display(),
                self.nodes_per_zone,
                self.nodes_per_zone
            )));
        }
        self.nodes_per_zone = nodes_per_zone;
        for name in names {
            if !self.regions.iter().any(|r| &r.name == name) {
                let id = self.regions.iter().map(|r| r.id).max().unwrap_or(0) + 1;
                let region = RegionIdentity { name: name.clone(), id, nats_password: secret() };
                self.regions.push(region);
            }
        }
        Ok(())
    }

    /// The keys that were named, else those of the folder, else new ones.
    fn take_keys(&mut self, (access_key, secret_key): (Option<&str>, Option<&str>)) -> Result {
        let (new_access, new_secret) = credentials::new_pair();
        let keep = |named: Option<&str>, kept: &str, new: String| match (named, kept) {
            (Some(named), _) => named.to_owned(),
            (None, "") => new,
            (None, kept) => kept.to_owned(),
        };
        self.access_key = keep(access_key, &self.access_key, new_access);
        self.secret_key = keep(secret_key, &self.secret_key, new_secret);
        if self.region_key.is_empty() {
            self.region_key = credentials::new_region_key();
        }
        credentials::check(&self.access_key, &self.secret_key)
    }

    /// A region's number.
    pub(super) fn region_id(&self, name: &str) -> u16 {
        self.region(name).map_or(0, |r| r.id)
    }

    /// The password of a region's NATS.
    pub(super) fn nats_password(&self, name: &str) -> &str {
        self.region(name).map_or("", |r| &r.nats_password)
    }

    fn region(&self, name: &str) -> Option<&RegionIdentity> {
        self.regions.iter().find(|r| r.name == name)
    }
}

fn read(path: &Path) -> Result<Identity> {
    let what = || format!("reading {}", path.display());
    let text = std::fs::read_to_string(path).context(what)?;
    let identity: Identity = serde_json::from_str(&text).context(what)?;
    if identity.version != VERSION {
        return Err(Failure::usage(format!(
            "{} has version {}; this program knows version {VERSION}",
            path.display(),
            identity.version
        )));
    }
    Ok(identity)
}

/// The file with the keys of the DynamoDB ports.
pub(super) fn keys_file(dir: &Path) -> std::path::PathBuf {
    dir.join("config").join("keys.json")
}

/// The file with the region key, the same for all regions.
pub(super) fn region_key_file(dir: &Path) -> std::path::PathBuf {
    dir.join("config").join("region.key")
}

/// The file with the secret that guards `/dev/…`.
pub(super) fn secret_file(dir: &Path) -> std::path::PathBuf {
    dir.join("config").join("secret")
}

/// Makes the authority and the certificates of all nodes that have none yet.
pub(super) fn make_certificates(layout: &Layout, cluster: &str) -> Result {
    let dir = layout.config();
    let (ca_cert, ca_key) = certs::paths(&dir, "ca");
    if !ca_cert.exists() || !ca_key.exists() {
        let authority = certs::authority(DAYS)?;
        write_atomically(&ca_key, authority.key_pem.as_bytes(), 0o600)?;
        write_atomically(&ca_cert, authority.cert_pem.as_bytes(), 0o644)?;
    }
    let authority_key =
        std::fs::read_to_string(&ca_key).context(|| format!("reading {}", ca_key.display()))?;
    for region in &layout.regions {
        for node in &region.nodes {
            let (cert, key) = certs::paths(&dir, &format!("{}-{}", region.name, node.place));
            if cert.exists() && key.exists() {
                continue;
            }
            let pair = certs::node(&authority_key, cluster, NodeId(node.id), &[], DAYS)?;
            write_atomically(&key, pair.key_pem.as_bytes(), 0o600)?;
            write_atomically(&cert, pair.cert_pem.as_bytes(), 0o644)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: (Option<&str>, Option<&str>) = (None, None);

    fn names(text: &str) -> Vec<String> {
        text.split(',').map(str::to_owned).collect()
    }

    #[test]
    fn a_folder_keeps_its_regions_numbers_and_passwords() {
        let dir = tempfile::tempdir().unwrap();
        let first = Identity::read_or_make(dir.path(), &names("us-east,eu-west"), 1, KEPT).unwrap();
        assert_eq!((first.region_id("us-east"), first.region_id("eu-west")), (1, 2));
        let again = Identity::read_or_make(dir.path(), &names("eu-west,us-east"), 1, KEPT).unwrap();
        assert_eq!(again, first, "the order of --regions changes nothing");
        let grown =
            Identity::read_or_make(dir.path(), &names("ap,us-east,eu-west"), 2, KEPT).unwrap();
        assert_eq!(grown.region_id("ap"), 3);
        assert_eq!(grown.nats_password("us-east"), first.nats_password("us-east"));
        assert_eq!(grown.access_key, first.access_key);
        assert_eq!(grown.secret_key, first.secret_key);
        let named = Identity::read_or_make(
            dir.path(),
            &names("ap,us-east,eu-west"),
            2,
            (Some("local"), Some("s3cret")),
        );
        let named = named.unwrap();
        assert_eq!((&*named.access_key, &*named.secret_key), ("local", "s3cret"));
        let fewer =
            Identity::read_or_make(dir.path(), &names("us-east"), 2, KEPT).expect_err("fewer");
        assert!(fewer.message.contains("us-east,eu-west,ap"), "{}", fewer.message);
        let smaller = Identity::read_or_make(dir.path(), &names("us-east,eu-west,ap"), 1, KEPT);
        assert!(smaller.expect_err("fewer nodes").message.contains("--nodes-per-zone 2"));
    }

    #[test]
    fn certificates_are_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path(), &[("x".to_owned(), 1)], 8000, 1).unwrap();
        make_certificates(&layout, "dev").unwrap();
        let read = || std::fs::read(layout.config().join("x-c.pem")).unwrap();
        let first = read();
        make_certificates(&layout, "dev").unwrap();
        assert_eq!(read(), first);
    }
}
