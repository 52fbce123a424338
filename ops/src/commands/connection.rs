//! How every command that talks to a cluster reaches it, and how it prints what it got.

use std::convert::Infallible;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use tombolo_client::bearer::{BearerToken, NoToken};
use tombolo_client::{Client, ClientIdentity, ClientSettings, ClientTls};

use crate::error::{Context, Failure, Result};
use crate::output::Format;

/// The flags that all of these commands share.
#[derive(clap::Args, Clone, Debug)]
pub struct Connection {
    /// Where the cluster answers; several with commas.
    #[arg(
        long,
        env = "TOMBOLO_ENDPOINT",
        default_value = "http://127.0.0.1:8001",
        value_delimiter = ',',
        value_name = "URL",
        global = true
    )]
    pub endpoint: Vec<String>,
    /// The authority that signed the cluster's certificates (PEM), for https:// endpoints.
    #[arg(long, env = "TOMBOLO_TLS_CA", value_name = "FILE", global = true)]
    pub tls_ca: Option<PathBuf>,
    /// This client's certificate (PEM); `tombolo certs client` makes one.
    #[arg(long, env = "TOMBOLO_TLS_CERT", value_name = "FILE", global = true)]
    pub tls_cert: Option<PathBuf>,
    /// The key of this client's certificate (PEM).
    #[arg(long, env = "TOMBOLO_TLS_KEY", value_name = "FILE", global = true)]
    pub tls_key: Option<PathBuf>,
    /// An access key and its secret, ACCESS_KEY.SECRET_KEY, in place of a certificate; `tombolo
    /// credentials create` makes them. On a shared machine TOMBOLO_TOKEN is safer: processes can be listed.
    #[arg(
        long,
        env = "TOMBOLO_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN",
        value_parser = token,
        global = true
    )]
    pub token: Option<GivenToken>,
    /// Patience of one request, retries included, in seconds.
    #[arg(
        long,
        env = "TOMBOLO_TIMEOUT",
        default_value_t = 10,
        value_name = "SECONDS",
        global = true
    )]
    pub timeout: u64,
    /// How data is printed: columns for people, or JSON. Default: columns on a terminal, else JSON.
    #[arg(long, env = "TOMBOLO_OUTPUT", value_name = "FORMAT", global = true)]
    pub output: Option<Format>,
}

/// A token, or none; the command line's own complaint about a value would show it.
type GivenToken = std::result::Result<BearerToken, NoToken>;

fn token(text: &str) -> std::result::Result<GivenToken, Infallible> {
    Ok(text.parse())
}

impl Connection {
    /// Connects; at least one endpoint must answer.
    pub async fn connect(&self) -> Result<Client> {
        let mut settings = ClientSettings::new(self.endpoint.iter().cloned());
        settings.tls = self.tls()?;
        let token = self.token.clone().transpose();
        settings.token = token.map_err(|error| Failure::usage(format!("--token: {error}")))?;
        settings.request_timeout = Duration::from_secs(self.timeout.clamp(1, 3_600));
        Client::with_settings(settings).await.context(|| {
            format!("connecting to {} (--endpoint, TOMBOLO_ENDPOINT)", self.endpoint.join(", "))
        })
    }

    fn tls(&self) -> Result<Option<ClientTls>> {
        let pair = self.tls_cert.as_ref().zip(self.tls_key.as_ref());
        if pair.is_none() && (self.tls_cert.is_some() || self.tls_key.is_some()) {
            return Err(Failure::usage("--tls-cert and --tls-key belong together"));
        }
        let Some(ca) = self.tls_ca.as_ref().filter(|_| pair.is_some() || self.token.is_some())
        else {
            if self.endpoint.iter().any(|e| e.starts_with("https://")) {
                return Err(Failure::usage(
                    "an https:// endpoint needs --tls-ca, and either --token (`tombolo credentials \
                     create` makes one) or --tls-cert and --tls-key (`tombolo certs client`)",
                ));
            }
            return Ok(None);
        };
        let read =
            |path: &PathBuf| std::fs::read(path).context(|| format!("reading {}", path.display()));
        let identity = match pair {
            None => None,
            Some((cert, key)) => {
                Some(ClientIdentity { cert_pem: read(cert)?, key_pem: read(key)? })
            }
        };
        Ok(Some(ClientTls { ca_pem: read(ca)?, identity, server_name: None }))
    }

    /// Columns or JSON.
    pub fn format(&self) -> Format {
        self.output.unwrap_or(match std::io::stdout().is_terminal() {
            true => Format::Table,
            false => Format::Json,
        })
    }
}
