//! Which node a certificate speaks for.
//!
//! A node's certificate carries the DNS name [`node_san`]. It is used in both roles, so it has
//! either no extended key usage or both server and client authentication. A certificate without
//! that name, such as a client's, opens no stream on the node port, although the same authority
//! may have signed it.

use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use tombolo_item::NodeId;

/// The DNS name (subject alternative name) of a node's certificate:
/// `node-<id in decimal>.<cluster>.tombolo.internal`.
pub fn node_san(cluster: &str, node: NodeId) -> String {
    format!("node-{}.{cluster}.tombolo.internal", node.0)
}

/// A cluster's name is one DNS label, in lower case.
pub fn valid_cluster_name(cluster: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=40).contains(&cluster.len())
        && cluster.bytes().all(inner)
        && !cluster.starts_with('-')
        && !cluster.ends_with('-')
}

/// Whether the certificate names this node of this cluster.
pub(super) fn names_node(certificate: &CertificateDer<'_>, cluster: &str, node: NodeId) -> bool {
    let Ok(name) = ServerName::try_from(node_san(cluster, node)) else { return false };
    ParsedCertificate::try_from(certificate)
        .and_then(|parsed| verify_server_name(&parsed, &name))
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cluster_names_are_dns_labels() {
        for good in ["dev", "a", "prod-7"] {
            assert!(valid_cluster_name(good), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a.b", "ü", &"x".repeat(41)] {
            assert!(!valid_cluster_name(bad), "{bad}");
        }
    }

    #[test]
    fn a_certificate_speaks_for_its_node_only() {
        let made = rcgen::generate_simple_self_signed(vec![node_san("dev", NodeId(5))]).unwrap();
        let der = made.cert.der();
        assert!(names_node(der, "dev", NodeId(5)));
        assert!(!names_node(der, "dev", NodeId(6)));
        assert!(!names_node(der, "prod", NodeId(5)));
        assert!(!names_node(&CertificateDer::from(vec![1, 2, 3]), "dev", NodeId(5)));
    }
}
