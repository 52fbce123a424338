//! The configuration of a development cluster's nats-server: one per region, on loopback, with
//! credentials and JetStream. Default sync: a development cluster may lose the broker's newest
//! messages in a power cut, and refills them from the log (`ops/deploy/nats-server.conf` is for
//! real machines).

use std::path::Path;

/// What differs between regions.
#[derive(Clone, Debug)]
pub struct NatsConfig<'a> {
    pub region: &'a str,
    pub port: u16,
    pub monitor_port: u16,
    pub store_dir: &'a Path,
    pub user: &'a str,
    pub password: &'a str,
}

impl NatsConfig<'_> {
    /// The address with credentials, for clients.
    pub fn url(&self) -> String {
        format!("nats://{}:{}@127.0.0.1:{}", self.user, self.password, self.port)
    }

    /// The file's text.
    pub fn text(&self) -> String {
        let quoted = |text: &str| format!("{text:?}");
        format!(
            "# Written by `tombolo dev`; changes are lost at the next start.
server_name: {name}
listen: \"127.0.0.1:{port}\"
http: \"127.0.0.1:{monitor}\"
max_payload: 1MB

jetstream {{
  store_dir: {store}
}}

authorization {{
  user: {user}
  password: {password}
}}
",
            name = quoted(&format!("tombolo-dev-{}", self.region)),
            port = self.port,
            monitor = self.monitor_port,
            store = quoted(&self.store_dir.to_string_lossy()),
            user = quoted(self.user),
            password = quoted(self.password),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_server_on_loopback_with_credentials() {
        let config = NatsConfig {
            region: "us-east",
            port: 8090,
            monitor_port: 8091,
            store_dir: Path::new("/d/us-east/nats"),
            user: "tombolo",
            password: "pw",
        };
        assert_eq!(config.url(), "nats://tombolo:pw@127.0.0.1:8090");
        let text = config.text();
        for line in [
            "listen: \"127.0.0.1:8090\"",
            "http: \"127.0.0.1:8091\"",
            "  store_dir: \"/d/us-east/nats\"",
            "  password: \"pw\"",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
    }
}
