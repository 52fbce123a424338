//! How every command that talks to a cluster reaches it, and how it prints what it got.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use tombolo_client::{Client, ClientSettings, ClientTls};

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

impl Connection {
    /// Connects; at least one endpoint must answer.
    pub async fn connect(&self) -> Result<Client> {
        let mut settings = ClientSettings::new(self.endpoint.iter().cloned());
        settings.tls = self.tls()?;
        settings.request_timeout = Duration::from_secs(self.timeout.clamp(1, 3_600));
        Client::with_settings(settings).await.context(|| {
            format!("connecting to {} (--endpoint, TOMBOLO_ENDPOINT)", self.endpoint.join(", "))
        })
    }

    fn tls(&self) -> Result<Option<ClientTls>> {
        let (Some(ca), Some(cert), Some(key)) = (&self.tls_ca, &self.tls_cert, &self.tls_key)
        else {
            if self.endpoint.iter().any(|e| e.starts_with("https://")) {
                return Err(Failure::usage(
                    "an https:// endpoint needs --tls-ca, --tls-cert and --tls-key; `tombolo certs client` \
                     makes a certificate",
                ));
            }
            return Ok(None);
        };
        let read =
            |path: &PathBuf| std::fs::read(path).context(|| format!("reading {}", path.display()));
        Ok(Some(ClientTls {
            ca_pem: read(ca)?,
            cert_pem: read(cert)?,
            key_pem: read(key)?,
            server_name: None,
        }))
    }

    /// Columns or JSON.
    pub fn format(&self) -> Format {
        self.output.unwrap_or(match std::io::stdout().is_terminal() {
            true => Format::Table,
            false => Format::Json,
        })
    }
}
