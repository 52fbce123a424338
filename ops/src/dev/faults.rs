//! `tombolo dev cut` and `tombolo dev heal`: places cut off from everything else, without root and
//! without killing anything.
//!
//! Always true: a cut separates what is inside a place (a region, or one zone of it) from everything
//! outside; inside, and outside, traffic goes on. What is cut off is in `DIR/config/faults.json`,
//! which a node reads when it starts, so that a restart does not heal; starting the whole cluster
//! does. Every node is told every cut, over its admin port, guarded by the cluster's secret.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::cluster_file::ClusterJson;
use super::identity::secret_file;
use crate::error::{Context, Failure, Result};
use crate::files::write_atomically;
use crate::http;

/// The header that carries the cluster's secret.
pub const SECRET_HEADER: &str = "x-tombolo-dev-secret";

/// A region, or one zone of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Place {
    pub region: String,
    pub zone: Option<String>,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Place, String> {
        let (region, zone) = match text.split_once('/') {
            Some((region, zone)) => (region, Some(zone.to_owned())),
            None => (text, None),
        };
        if region.is_empty() || zone.as_deref().is_some_and(|z| z.is_empty() || z.contains('/')) {
            return Err(format!("{text:?} is no place; write REGION or REGION/ZONE"));
        }
        Ok(Place { region: region.to_owned(), zone })
    }
}

impl TryFrom<String> for Place {
    type Error = String;
    fn try_from(text: String) -> std::result::Result<Place, String> {
        text.parse()
    }
}

impl From<Place> for String {
    fn from(place: Place) -> String {
        place.to_string()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.zone {
            Some(zone) => write!(f, "{}/{zone}", self.region),
            None => f.write_str(&self.region),
        }
    }
}

/// What is cut off: the file's contents and the body of `POST /dev/cut`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cuts {
    pub places: Vec<Place>,
}

/// Where the state is kept.
pub fn file(dir: &Path) -> PathBuf {
    dir.join("config").join("faults.json")
}

/// Reads the state; no file means that nothing is cut off.
pub fn read(path: &Path) -> Result<Cuts> {
    let what = || format!("reading {}", path.display());
    match std::fs::read_to_string(path) {
        Ok(text) => serde_json::from_str(&text).context(what),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Cuts::default()),
        Err(error) => Err(error).context(what),
    }
}

fn write(dir: &Path, cuts: &Cuts) -> Result {
    write_atomically(&file(dir), serde_json::to_string(cuts)?.as_bytes(), 0o600)
}

/// Forgets all cuts of an earlier run.
pub(super) fn clear(dir: &Path) -> Result {
    write(dir, &Cuts::default())
}

/// Cuts places off, on top of what is cut off already. Returns the names of nodes that could not be
/// told; they will read it when they start.
pub async fn cut(dir: &Path, cluster: &ClusterJson, places: &[String]) -> Result<Vec<String>> {
    let mut cuts = read(&file(dir))?;
    for text in places {
        let place: Place = text.parse().map_err(Failure::usage)?;
        known(cluster, &place)?;
        if !cuts.places.contains(&place) {
            cuts.places.push(place);
        }
    }
    write(dir, &cuts)?;
    tell(dir, cluster, "/dev/cut", &serde_json::to_string(&cuts)?).await
}

/// Takes all cuts away.
pub async fn heal(dir: &Path, cluster: &ClusterJson) -> Result<Vec<String>> {
    write(dir, &Cuts::default())?;
    tell(dir, cluster, "/dev/heal", "{}").await
}

fn known(cluster: &ClusterJson, place: &Place) -> Result {
    let region = cluster.regions.iter().find(|r| r.name == place.region).ok_or_else(|| {
        let names: Vec<&str> = cluster.regions.iter().map(|r| r.name.as_str()).collect();
        let names = names.join(", ");
        Failure::usage(format!("there is no region {:?}; there are {names}", place.region))
    })?;
    match &place.zone {
        Some(zone) if !region.nodes.iter().any(|n| &n.zone == zone) => {
            Err(Failure::usage(format!("region {} has no zone {zone:?}", place.region)))
        }
        _ => Ok(()),
    }
}

async fn tell(dir: &Path, cluster: &ClusterJson, path: &str, body: &str) -> Result<Vec<String>> {
    let secret = std::fs::read_to_string(secret_file(dir))
        .context(|| "reading the development cluster's secret")?;
    let header = [(SECRET_HEADER, secret.as_str())];
    let told = cluster.nodes().map(|(region, node)| {
        let url = format!("{}{path}", node.admin);
        let name = format!("{region}/{} (node {})", node.zone, node.id);
        async move { (name, http::post(&url, &header, body, Duration::from_secs(5)).await) }
    });
    let mut silent = Vec::new();
    for (name, answer) in futures::future::join_all(told).await {
        match answer {
            Ok(answer) if answer.status < 300 => {}
            Ok(answer) => {
                return Err(Failure::unavailable(format!(
                    "{name} refused ({}): {}",
                    answer.status,
                    answer.body.trim()
                )));
            }
            Err(_) => silent.push(name),
        }
    }
    Ok(silent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_and_written() {
        let zone: Place = "us-east/b".parse().unwrap();
        assert_eq!((zone.region.as_str(), zone.zone.as_deref()), ("us-east", Some("b")));
        assert_eq!(zone.to_string(), "us-east/b");
        for wrong in ["", "/a", "x/", "x/a/b"] {
            assert!(wrong.parse::<Place>().is_err(), "{wrong:?}");
        }
        let cuts = Cuts { places: vec![zone, "eu-west".parse().unwrap()] };
        let text = serde_json::to_string(&cuts).unwrap();
        assert_eq!(text, r#"{"places":["us-east/b","eu-west"]}"#);
        assert_eq!(serde_json::from_str::<Cuts>(&text).unwrap(), cuts);
        assert!(serde_json::from_str::<Cuts>(r#"{"places":["x/"]}"#).is_err());
    }

    #[test]
    fn no_file_means_no_cut() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(&file(dir.path())).unwrap(), Cuts::default());
        clear(dir.path()).unwrap();
        assert_eq!(read(&file(dir.path())).unwrap(), Cuts::default());
    }
}
