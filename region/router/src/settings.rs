//! What a user tunes.

use std::net::SocketAddr;
use std::time::Duration;

/// Certificates of the gRPC listener.
#[derive(Debug, Clone)]
pub struct RouterTls {
    /// Our certificate chain, PEM.
    pub cert_pem: Vec<u8>,
    /// Its private key, PEM.
    pub key_pem: Vec<u8>,
    /// The authority whose client certificates are accepted, PEM.
    pub client_ca_pem: Vec<u8>,
}

/// Settings of the gRPC front door.
#[derive(Debug, Clone)]
pub struct RouterSettings {
    /// Where to listen. Anything but loopback needs `tls`.
    pub listen: SocketAddr,
    /// Certificates. With them, every client must present one, or a token.
    pub tls: Option<RouterTls>,
    /// Connections at once; the next one is closed.
    pub max_connections: usize,
    /// How long a connection may take for its TLS handshake, and for its first bytes.
    pub handshake_limit: Duration,
    /// Requests under way at once; the next one is turned away with ThrottlingException.
    pub max_in_flight: usize,
    /// Requests under way at once on one connection; the next ones wait in HTTP/2.
    pub max_streams_per_connection: u32,
    /// Largest message that is decoded, in bytes.
    pub max_message_bytes: usize,
    /// Deadline of a request that brings none.
    pub default_deadline: Duration,
    /// Longest deadline that is honoured.
    pub longest_deadline: Duration,
}

impl RouterSettings {
    /// The defaults for this address.
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            tls: None,
            max_connections: 4096,
            handshake_limit: Duration::from_secs(10),
            max_in_flight: 4096,
            max_streams_per_connection: 1024,
            max_message_bytes: 16 << 20,
            default_deadline: Duration::from_secs(10),
            longest_deadline: Duration::from_secs(60),
        }
    }
}
