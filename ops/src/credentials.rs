//! Keys that this node's ports for clients know: DynamoDB's signatures and gRPC's tokens are made with them.
//!
//! Always true: a key of the file `dynamodb_keys` is valid as long as it stands there; one of the region's
//! metadata until it is revoked, if this node has the region key that its secret was sealed under. A sealed
//! secret is opened once, not for every request.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use serde::{Deserialize, Serialize};
use tombolo_memds::{Credential, Memds};
use tombolo_router::dynamodb::{Credentials, RegionKey};

use crate::config::NodeConfig;
use crate::config::check::readable;
use crate::error::{Context, Failure, Result, chain};

/// Longest access key and secret key, in characters.
const LONGEST: usize = 128;

/// What a node knows.
pub(crate) struct NodeCredentials {
    keys: HashMap<String, String>,
    region_key: Option<RegionKey>,
    opened: Opened,
    memds: Memds,
}

impl NodeCredentials {
    /// Reads the files that the configuration names.
    pub(crate) fn read(config: &NodeConfig, memds: Memds) -> Result<NodeCredentials> {
        Ok(NodeCredentials {
            keys: file_keys(config)?,
            region_key: region_key(config)?,
            opened: Opened::default(),
            memds,
        })
    }
}

/// Whether the files can be read: asked before what runs with the old ones is stopped.
pub(crate) fn check_files(config: &NodeConfig) -> Result {
    file_keys(config)?;
    region_key(config).map(|_| ())
}

/// The keys of the file, if the configuration names one.
fn file_keys(config: &NodeConfig) -> Result<HashMap<String, String>> {
    let Some(path) = &config.dynamodb_keys else { return Ok(HashMap::new()) };
    parse(&readable("dynamodb_keys", path)?)
        .context(|| format!("dynamodb_keys = {}", path.display()))
}

/// The region key, if the configuration names one.
pub(crate) fn region_key(config: &NodeConfig) -> Result<Option<RegionKey>> {
    let Some(path) = &config.region_key else { return Ok(None) };
    let key = RegionKey::parse(&readable("region_key", path)?);
    key.context(|| format!("region_key = {}", path.display())).map(Some)
}

/// What the admin port is asked about credentials (`POST /credentials`).
///
/// Who may ask is who has the region key: the request carries, in [`PROOF_HEADER`], a proof of it over the
/// body, which says when it was made. Secrets come sealed, and never leave.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ask {
    /// ms since 1970: a proof is good for a minute.
    pub(crate) at_ms: u64,
    pub(crate) what: What,
}

/// What is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum What {
    Put { access_key: String, name: String, sealed_secret: Vec<u8> },
    List,
    Revoke { access_key: String },
}

/// One of the list.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Listed {
    pub(crate) access_key: String,
    pub(crate) name: String,
    pub(crate) created_ms: u64,
    pub(crate) revoked_ms: Option<u64>,
}

/// The header with the proof.
pub(crate) const PROOF_HEADER: &str = "x-tombolo-proof";
/// How long a proof is good, in milliseconds.
const PROOF_MS: u64 = 60_000;

pub(crate) fn now_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

/// Does what is asked, for who proves to have the key; the answer's status and text.
pub(crate) async fn answer(
    key: Option<&RegionKey>,
    memds: &Memds,
    proof: &str,
    body: &str,
) -> (u16, String) {
    let Some(key) = key else {
        return (404, "this node has no region key (region_key); it keeps no credentials\n".into());
    };
    if !key.proves(body, proof) {
        return (403, "this needs a proof of the region key\n".into());
    }
    let ask: Ask = match serde_json::from_str(body) {
        Ok(ask) => ask,
        Err(error) => return (400, format!("{error}\n")),
    };
    if now_ms().abs_diff(ask.at_ms) > PROOF_MS {
        return (403, "the proof is too old, or a clock is wrong\n".into());
    }
    let failed = |error: tombolo_memds::MemdsError| (503, format!("{}\n", chain(&error)));
    match ask.what {
        What::Put { access_key, name, sealed_secret } => {
            let Some(secret) = key.open(&access_key, &sealed_secret) else {
                return (400, "the secret was sealed under another region key\n".into());
            };
            if let Err(refused) = check(&access_key, &secret) {
                return (400, format!("{}\n", refused.message));
            }
            let known = memds.credential(&access_key);
            if let Some(known) = known.filter(|known| known.revoked_ms.is_none()) {
                // The same again is no mistake: the answer of the first time may have been lost.
                let same = key.open(&access_key, &known.sealed_secret) == Some(secret);
                return match same {
                    true => (200, "[]\n".into()),
                    false => (409, format!("access key {access_key} exists with another secret\n")),
                };
            }
            let created_ms = now_ms();
            let credential =
                Credential { access_key, name, created_ms, revoked_ms: None, sealed_secret };
            match memds.put_credential(credential).await {
                Ok(()) => (200, "[]\n".into()),
                Err(tombolo_memds::MemdsError::Conflict { .. }) => {
                    (409, "this access key was given before\n".into())
                }
                Err(error) => failed(error),
            }
        }
        What::List => {
            let listed = memds.credentials().into_iter().map(|one| Listed {
                access_key: one.access_key.clone(),
                name: one.name.clone(),
                created_ms: one.created_ms,
                revoked_ms: one.revoked_ms,
            });
            let listed: Vec<Listed> = listed.collect();
            match serde_json::to_string(&listed) {
                Ok(text) => (200, text),
                Err(error) => (500, format!("{error}\n")),
            }
        }
        What::Revoke { access_key } => match memds.revoke_credential(&access_key).await {
            Ok(true) => (200, "[]\n".into()),
            Ok(false) => (404, format!("there is no access key {access_key}\n")),
            Err(error) => failed(error),
        },
    }
}

impl Credentials for NodeCredentials {
    fn secret(&self, access_key: &str) -> Option<String> {
        if let Some(secret) = self.keys.get(access_key) {
            return Some(secret.clone());
        }
        let credential = self.memds.credential(access_key)?;
        self.opened.secret(self.region_key.as_ref()?, &credential)
    }
}

/// Secrets that were opened, by access key, each with the seal that it came out of. There are never more
/// than the region has credentials.
#[derive(Default)]
struct Opened(RwLock<HashMap<String, (Vec<u8>, String)>>);

impl Opened {
    /// The secret of a credential that is valid.
    fn secret(&self, key: &RegionKey, credential: &Credential) -> Option<String> {
        let Credential { access_key, revoked_ms, sealed_secret, .. } = credential;
        if revoked_ms.is_some() {
            self.0.write().unwrap_or_else(PoisonError::into_inner).remove(access_key);
            return None;
        }
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, secret)) = known.get(access_key).filter(|(seal, _)| seal == sealed_secret) {
            return Some(secret.clone());
        }
        drop(known);
        let secret = key.open(access_key, sealed_secret)?;
        let opened = (sealed_secret.clone(), secret.clone());
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(access_key.clone(), opened);
        Some(secret)
    }
}

fn parse(text: &str) -> Result<HashMap<String, String>> {
    let keys: HashMap<String, String> = serde_json::from_str(text)?;
    for (access_key, secret) in &keys {
        check(access_key, secret)?;
    }
    Ok(keys)
}

/// Whether a pair can stand in a signature.
pub(crate) fn check(access_key: &str, secret_key: &str) -> Result {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if access_key.is_empty() || access_key.len() > LONGEST || !access_key.chars().all(legal) {
        return Err(Failure::usage("an access key has 1 to 128 of A-Z, a-z, 0-9, '_' and '-'"));
    }
    let printable = |c: char| c.is_ascii_graphic();
    if secret_key.is_empty() || secret_key.len() > LONGEST || !secret_key.chars().all(printable) {
        // It is a secret: it is not repeated here.
        return Err(Failure::usage("a secret key has 1 to 128 printable characters, no spaces"));
    }
    Ok(())
}

/// A new pair.
pub(crate) fn new_pair() -> (String, String) {
    let access = crate::files::secret().to_ascii_uppercase();
    let secret = format!("{}{}", crate::files::secret(), &crate::files::secret()[..8]);
    (format!("TOMB{}", &access[..16]), secret)
}

/// A new region key.
pub(crate) fn new_region_key() -> String {
    let half = || uuid::Uuid::new_v4().simple().to_string();
    format!("{}{}\n", half(), half())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_keys_is_read_and_checked() {
        let keys = parse(r#"{"AKID":"s3cret/+=","local":"x"}"#).expect("two keys");
        assert_eq!(keys["AKID"], "s3cret/+=");
        for bad in ["", "[]", r#"{"a/b":"x"}"#, r#"{"":"x"}"#, r#"{"a":""}"#, r#"{"a":"s3cret s"}"#]
        {
            let refused = parse(bad).expect_err(bad);
            assert!(!refused.message.contains("s3cret"), "{}", refused.message);
        }
    }

    #[test]
    fn files_that_cannot_be_used_are_noticed_before_they_are() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).expect("written");
            Some(path)
        };
        let of = |dynamodb_keys, region_key| {
            let config = NodeConfig { dynamodb_keys, region_key, ..NodeConfig::default() };
            check_files(&config).map_err(|refused| refused.message)
        };
        let (keys, key) = (file("keys", r#"{"a":"x"}"#), file("key", &new_region_key()));
        assert!(of(None, None).is_ok() && of(keys.clone(), key.clone()).is_ok());
        let torn = of(file("torn", r#"{"a":"#), key).expect_err("half a file");
        assert!(torn.contains("dynamodb_keys"), "{torn}");
        let none = of(keys, Some(dir.path().join("none"))).expect_err("no file");
        assert!(none.contains("region_key"), "{none}");
    }

    #[test]
    fn a_secret_is_kept_as_long_as_its_seal_is_the_same_and_it_is_not_revoked() {
        let (key, other) = (new_region_key(), new_region_key());
        let key = RegionKey::parse(&key).expect("a region key");
        let other = RegionKey::parse(&other).expect("a region key");
        let sealed = |key: &RegionKey, secret| Credential {
            access_key: "AKID".into(),
            name: "app".into(),
            created_ms: 1,
            revoked_ms: None,
            sealed_secret: key.seal("AKID", secret).expect("random numbers"),
        };
        let (opened, first) = (Opened::default(), sealed(&key, "first"));
        assert_eq!(opened.secret(&key, &first).as_deref(), Some("first"));
        // It is not opened again: another key would not open it.
        assert_eq!(opened.secret(&other, &first).as_deref(), Some("first"));
        assert_eq!(opened.secret(&key, &sealed(&key, "second")).as_deref(), Some("second"));
        assert_eq!(opened.secret(&key, &sealed(&other, "third")), None);
        let revoked = Credential { revoked_ms: Some(2), ..sealed(&key, "second") };
        assert_eq!(opened.secret(&key, &revoked), None);
        assert!(opened.0.read().expect("nobody panicked").is_empty());
    }

    #[test]
    fn new_pairs_and_keys_are_legal_and_never_the_same() {
        let (first, second) = (new_pair(), new_pair());
        assert_ne!(first, second);
        check(&first.0, &first.1).expect("a legal pair");
        assert_eq!((first.0.len(), first.1.len()), (20, 40));
        RegionKey::parse(&new_region_key()).expect("a legal region key");
    }
}
