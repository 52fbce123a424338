//! What a user of the client tunes.

use std::time::Duration;

/// Certificates of a client.
#[derive(Debug, Clone)]
pub struct ClientTls {
    /// The authority that signed the servers' certificates, PEM.
    pub ca_pem: Vec<u8>,
    /// Our certificate, PEM.
    pub cert_pem: Vec<u8>,
    /// Its private key, PEM.
    pub key_pem: Vec<u8>,
    /// The name to expect in the server's certificate, when it is not the endpoint's host.
    pub server_name: Option<String>,
}

/// Settings of a [`crate::Client`].
#[derive(Debug, Clone)]
pub struct ClientSettings {
    /// `http://host:port` or `https://host:port`, or `host:port` for plain text; calls go to them in
    /// turn.
    pub endpoints: Vec<String>,
    /// Certificates, needed for `https`.
    pub tls: Option<ClientTls>,
    /// Connections to each endpoint. One carries about 28 k small calls per second, two more.
    pub connections_per_endpoint: usize,
    /// The longest wait for a connection.
    pub connect_timeout: Duration,
    /// The longest wait for an answer, all attempts together; sent to the server as the deadline.
    pub request_timeout: Duration,
    /// The largest answer to accept, in bytes.
    pub max_message_bytes: usize,
}

impl ClientSettings {
    /// The defaults for these endpoints.
    pub fn new(endpoints: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            tls: None,
            connections_per_endpoint: 2,
            connect_timeout: Duration::from_secs(3),
            request_timeout: Duration::from_secs(10),
            max_message_bytes: 16 << 20,
        }
    }
}
