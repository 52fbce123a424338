//! Certificates for nodes and clients, from an authority of one's own.
//!
//! Always true: a node's certificate carries the name that the node port asks for
//! ([`tombolo_group::net::node_san`]), besides the host names it is reached by; it works as server and as
//! client. A client's certificate works as client only and names its holder. Keys are written with
//! mode 0600. Existing files are never overwritten here.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use tombolo_group::net::node_san;
use tombolo_item::NodeId;

use crate::error::{Context, Failure, Result};
use crate::files::write_atomically;

/// The authority's name, which is in every certificate as the issuer.
const AUTHORITY: &str = "Tombolo authority";
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A certificate and its key, both PEM.
pub struct Pair {
    pub cert_pem: String,
    pub key_pem: String,
}

/// Where a pair is kept: `NAME.pem` and `NAME.key` in a folder.
pub fn paths(dir: &Path, name: &str) -> (PathBuf, PathBuf) {
    (dir.join(format!("{name}.pem")), dir.join(format!("{name}.key")))
}

/// Writes a pair; refuses to replace files.
pub fn write(dir: &Path, name: &str, pair: &Pair) -> Result<(PathBuf, PathBuf)> {
    let (cert, key) = paths(dir, name);
    for path in [&cert, &key] {
        if path.exists() {
            return Err(Failure::usage(format!(
                "{} exists and is not overwritten; move it away first",
                path.display()
            )));
        }
    }
    write_atomically(&key, pair.key_pem.as_bytes(), 0o600)?;
    write_atomically(&cert, pair.cert_pem.as_bytes(), 0o644)?;
    Ok((cert, key))
}

/// Makes a region key; refuses to replace one, because what was sealed under it would be lost.
pub fn write_region_key(dir: &Path) -> Result<PathBuf> {
    let path = dir.join("region.key");
    if path.exists() {
        return Err(Failure::usage(format!(
            "{} exists and is not overwritten; move it away first",
            path.display()
        )));
    }
    write_atomically(&path, crate::credentials::new_region_key().as_bytes(), 0o600)?;
    Ok(path)
}

/// Makes a new authority.
pub fn authority(days: u32) -> Result<Pair> {
    let key = KeyPair::generate().context(|| "making the authority's key")?;
    let certificate = authority_params(days)
        .self_signed(&key)
        .context(|| "signing the authority's certificate")?;
    Ok(Pair { cert_pem: certificate.pem(), key_pem: key.serialize_pem() })
}

/// Makes a node's certificate. `hosts` are the names and addresses it is reached by; localhost and
/// 127.0.0.1 are always among them.
pub fn node(
    authority_key_pem: &str,
    cluster: &str,
    node: NodeId,
    hosts: &[String],
    days: u32,
) -> Result<Pair> {
    let own = node_san(cluster, node);
    let mut params = leaf(&own, days)?;
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let always = [own.as_str(), "localhost", "127.0.0.1", "::1"];
    for host in always.into_iter().chain(hosts.iter().map(String::as_str)) {
        let name = alternative_name(host)?;
        if !params.subject_alt_names.contains(&name) {
            params.subject_alt_names.push(name);
        }
    }
    sign(params, authority_key_pem)
}

/// Makes a client's certificate for the client port. `name` is who the client is.
pub fn client(authority_key_pem: &str, name: &str, days: u32) -> Result<Pair> {
    let mut params = leaf(name, days)?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    // A name that can never be taken for a node's: those end in `.tombolo.internal`.
    params.subject_alt_names = vec![alternative_name(&format!("{name}.tombolo.client"))?];
    sign(params, authority_key_pem)
}

fn alternative_name(host: &str) -> Result<SanType> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(ip));
    }
    let name = host.to_owned().try_into().map_err(|_| {
        Failure::usage(format!("{host:?} can stand in no certificate; give a host name or address"))
    })?;
    Ok(SanType::DnsName(name))
}

fn validity(params: &mut CertificateParams, days: u32) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    // A day earlier: clocks of other machines may be behind.
    params.not_before = epoch + now.saturating_sub(DAY);
    params.not_after = epoch + now + DAY * days;
}

fn authority_params(days: u32) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, AUTHORITY);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    validity(&mut params, days);
    params
}

fn leaf(name: &str, days: u32) -> Result<CertificateParams> {
    if name.is_empty() || name.len() > 200 {
        return Err(Failure::usage("a certificate's name has 1 to 200 characters"));
    }
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    validity(&mut params, days);
    Ok(params)
}

fn sign(params: CertificateParams, authority_key_pem: &str) -> Result<Pair> {
    let authority_key =
        KeyPair::from_pem(authority_key_pem).context(|| "reading the authority's key (PEM)")?;
    // Every authority made here has the same name and this key: its certificate is not needed.
    let issuer = Issuer::new(authority_params(1), authority_key);
    let key = KeyPair::generate().context(|| "making a key")?;
    let certificate = params.signed_by(&key, &issuer).context(|| "signing a certificate")?;
    Ok(Pair { cert_pem: certificate.pem(), key_pem: key.serialize_pem() })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::RootCertStore;
    use rustls::client::danger::ServerCertVerifier;
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

    use super::*;

    /// Whether a client that trusts `authority` accepts `pair` as the server `name`.
    fn accepted(authority: &Pair, pair: &Pair, name: &str) -> bool {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.cert_pem.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            rustls::client::WebPkiServerVerifier::builder_with_provider(roots.into(), provider)
                .build()
                .unwrap();
        let leaf = CertificateDer::from_pem_slice(pair.cert_pem.as_bytes()).unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        verifier.verify_server_cert(&leaf, &[], &name, &[], UnixTime::now()).is_ok()
    }

    #[test]
    fn a_node_is_known_by_its_number_and_its_hosts() {
        let ca = authority(10).unwrap();
        let id = NodeId((1 << 32) | 7);
        let pair = node(&ca.key_pem, "dev", id, &["db1.example".into()], 10).unwrap();
        assert!(accepted(&ca, &pair, &node_san("dev", id)));
        for host in ["localhost", "127.0.0.1", "db1.example"] {
            assert!(accepted(&ca, &pair, host), "{host}");
        }
        assert!(!accepted(&ca, &pair, &node_san("dev", NodeId(8))));
        assert!(!accepted(&ca, &pair, &node_san("prod", id)));
        assert!(!accepted(&authority(10).unwrap(), &pair, "localhost"), "another authority");
    }

    #[test]
    fn a_client_is_no_server() {
        let ca = authority(10).unwrap();
        let pair = client(&ca.key_pem, "loader", 10).unwrap();
        assert!(!accepted(&ca, &pair, "loader.tombolo.client"));
        assert!(client(&ca.key_pem, "", 10).is_err());
    }

    #[test]
    fn files_are_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let ca = authority(1).unwrap();
        write(dir.path(), "ca", &ca).unwrap();
        let refused = write(dir.path(), "ca", &ca).expect_err("it exists");
        assert!(refused.message.contains("not overwritten"));
    }
}
