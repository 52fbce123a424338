//! What a user tunes of the DynamoDB port.

use std::net::SocketAddr;
use std::time::Duration;

/// Certificate of the DynamoDB port.
#[derive(Debug, Clone)]
pub struct DynamoDbTls {
    /// Our certificate chain, PEM.
    pub cert_pem: Vec<u8>,
    /// Its private key, PEM.
    pub key_pem: Vec<u8>,
}

/// Settings of the DynamoDB port.
#[derive(Debug, Clone)]
pub struct DynamoDbSettings {
    /// Where to listen. Anything but loopback needs `tls`.
    pub listen: SocketAddr,
    /// Certificate. Clients are known by their signatures, not by certificates.
    pub tls: Option<DynamoDbTls>,
    /// Name of this region: part of ARNs and of stream records.
    pub region: String,
    /// Whether requests must be signed. Without, the port listens on loopback only.
    pub check_signatures: bool,
    /// Requests under way at once; the next one is turned away with ThrottlingException.
    pub max_in_flight: usize,
    /// Beside those, requests under way at once that name no valid access key: who has a key is not kept
    /// out by who has none, however many they are and however slowly they speak.
    pub max_strangers: usize,
    /// Connections at once; the next one is closed at once.
    pub max_connections: usize,
    /// Connections at once that have not sent one whole request yet; for the next one, the oldest of
    /// them is closed. So nobody keeps others out by connecting and saying nothing.
    pub max_silent_connections: usize,
    /// Requests under way at once on one HTTP/2 connection.
    pub max_streams_per_connection: u32,
    /// Largest body, in bytes, as sent and after decompression.
    pub max_body_bytes: usize,
    /// Largest body of a request that names no valid access key: it is refused whatever stands in it.
    pub max_stranger_body_bytes: usize,
    /// Bytes of all bodies under way together.
    pub max_buffered_bytes: usize,
    /// How long a request's headers may take, and how long a connection may say nothing.
    pub header_timeout: Duration,
    /// How long a request's body may take.
    pub body_timeout: Duration,
    /// How long a request may take to carry out.
    pub deadline: Duration,
}

impl DynamoDbSettings {
    /// The defaults for this address and region.
    pub fn new(listen: SocketAddr, region: impl Into<String>) -> Self {
        Self {
            listen,
            tls: None,
            region: region.into(),
            check_signatures: true,
            max_in_flight: 4096,
            max_strangers: 256,
            max_connections: 8192,
            max_silent_connections: 1024,
            max_streams_per_connection: 256,
            max_body_bytes: 16 << 20,
            max_stranger_body_bytes: 64 << 10,
            max_buffered_bytes: 256 << 20,
            header_timeout: Duration::from_secs(15),
            body_timeout: Duration::from_secs(30),
            deadline: Duration::from_secs(10),
        }
    }
}
