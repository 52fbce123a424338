//! What a user of the client tunes.

use std::time::Duration;

use crate::bearer::BearerToken;

/// Certificates of a client.
#[derive(Debug, Clone)]
pub struct ClientTls {
    /// The authority that signed the servers' certificates, PEM.
    pub ca_pem: Vec<u8>,
    /// What we show ourselves; nothing when a token says who we are.
    pub identity: Option<ClientIdentity>,
    /// The name to expect in the server's certificate, when it is not the endpoint's host.
    pub server_name: Option<String>,
}

/// A client's certificate.
#[derive(Clone)]
pub struct ClientIdentity {
    /// The certificate, PEM.
    pub cert_pem: Vec<u8>,
    /// Its private key, PEM.
    pub key_pem: Vec<u8>,
}

impl std::fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClientIdentity(..)")
    }
}

/// Settings of a [`crate::Client`].
#[derive(Debug, Clone)]
pub struct ClientSettings {
    /// `http://host:port` or `https://host:port`, or `host:port` for plain text; calls go to them in
    /// turn.
    pub endpoints: Vec<String>,
    /// Certificates, needed for `https`.
    pub tls: Option<ClientTls>,
    /// The access key that every request is made with, over TLS or on this machine. A router that wants
    /// a client certificate takes this instead.
    pub token: Option<BearerToken>,
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
            token: None,
            connections_per_endpoint: 2,
            connect_timeout: Duration::from_secs(3),
            request_timeout: Duration::from_secs(10),
            max_message_bytes: 16 << 20,
        }
    }
}
