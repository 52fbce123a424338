//! The flags of `tombolo serve` and their variables.
//!
//! Always true: a flag's name is the file's name with dashes, and its variable is `TOMBOLO_` and
//! the name in capitals. The test below holds it for every flag.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::{NodeConfig, Role, check};
use crate::error::Result;
use crate::telemetry::LogFormat;

/// Runs one node until it is told to stop.
///
/// Settings come from a TOML file (--config), from TOMBOLO_* variables and from flags; a flag wins
/// over a variable, a variable over the file. `ops/deploy/node.toml` in the sources is a file to
/// start from. SIGTERM hands leadership over and stops, SIGINT stops without
/// handing over; SIGHUP reads the certificates again.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct ServeArgs {
    /// The TOML file with this node's settings.
    #[arg(long, env = "TOMBOLO_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Check the settings, print them as TOML, and end.
    #[arg(long)]
    pub check: bool,
    /// Name of the cluster, equal on all nodes of all regions.
    #[arg(long, env = "TOMBOLO_CLUSTER")]
    pub cluster: Option<String>,
    /// Name of this node's region.
    #[arg(long, env = "TOMBOLO_REGION")]
    pub region: Option<String>,
    /// Number of this node's region, from 1.
    #[arg(long, env = "TOMBOLO_REGION_ID")]
    pub region_id: Option<u16>,
    /// This node's zone.
    #[arg(long, env = "TOMBOLO_ZONE")]
    pub zone: Option<String>,
    /// This node's number in its region, from 1.
    #[arg(long, env = "TOMBOLO_NODE")]
    pub node: Option<u32>,
    /// What this process does: router,storage,memds,control.
    #[arg(long, env = "TOMBOLO_ROLES", value_delimiter = ',')]
    pub roles: Option<Vec<Role>>,
    /// The folder that holds all of this node's data.
    #[arg(long, env = "TOMBOLO_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where clients connect (gRPC).
    #[arg(long, env = "TOMBOLO_LISTEN_GRPC", value_name = "ADDR:PORT")]
    pub listen_grpc: Option<SocketAddr>,
    /// Where /metrics, /livez and /readyz are.
    #[arg(long, env = "TOMBOLO_LISTEN_ADMIN", value_name = "ADDR:PORT")]
    pub listen_admin: Option<SocketAddr>,
    /// Where other nodes connect.
    #[arg(long, env = "TOMBOLO_LISTEN_NODE", value_name = "ADDR:PORT")]
    pub listen_node: Option<SocketAddr>,
    /// Where clients of the DynamoDB protocol connect.
    #[arg(long, env = "TOMBOLO_LISTEN_DYNAMODB", value_name = "ADDR:PORT")]
    pub listen_dynamodb: Option<SocketAddr>,
    /// The host name or address by which others reach this node.
    #[arg(long, env = "TOMBOLO_ADVERTISE_HOST", value_name = "HOST")]
    pub advertise_host: Option<String>,
    /// The authority of all nodes' certificates (PEM).
    #[arg(long, env = "TOMBOLO_TLS_CA", value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
    /// This node's certificate (PEM).
    #[arg(long, env = "TOMBOLO_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// The key of this node's certificate (PEM).
    #[arg(long, env = "TOMBOLO_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Certificate of the client port (PEM).
    #[arg(long, env = "TOMBOLO_GRPC_TLS_CERT", value_name = "FILE")]
    pub grpc_tls_cert: Option<PathBuf>,
    /// The key of the client port's certificate (PEM).
    #[arg(long, env = "TOMBOLO_GRPC_TLS_KEY", value_name = "FILE")]
    pub grpc_tls_key: Option<PathBuf>,
    /// The authority of clients' certificates (PEM).
    #[arg(long, env = "TOMBOLO_GRPC_TLS_CLIENT_CA", value_name = "FILE")]
    pub grpc_tls_client_ca: Option<PathBuf>,
    /// A JSON file with access keys and secret keys of the DynamoDB port.
    #[arg(long, env = "TOMBOLO_DYNAMODB_KEYS", value_name = "FILE")]
    pub dynamodb_keys: Option<PathBuf>,
    /// The file with the region key, under which secrets are sealed.
    #[arg(long, env = "TOMBOLO_REGION_KEY", value_name = "FILE")]
    pub region_key: Option<PathBuf>,
    /// Take unsigned requests on the DynamoDB port (loopback only).
    #[arg(long, env = "TOMBOLO_INSECURE", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub insecure: Option<bool>,
    /// This region's NATS: nats://user:password@host:port.
    #[arg(long, env = "TOMBOLO_NATS_URL", value_name = "URL", hide_env_values = true)]
    pub nats_url: Option<String>,
    /// The monitor of this region's NATS: http://host:port.
    #[arg(long, env = "TOMBOLO_NATS_MONITOR_URL", value_name = "URL")]
    pub nats_monitor_url: Option<String>,
    /// Copies JetStream keeps of a table's stream.
    #[arg(long, env = "TOMBOLO_NATS_REPLICAS")]
    pub nats_replicas: Option<usize>,
    /// Numbers of the nodes that keep the system group.
    #[arg(long, env = "TOMBOLO_SYSTEM_VOTERS", value_delimiter = ',')]
    pub system_voters: Option<Vec<u32>>,
    /// Requests of clients that this node works on at the same time.
    #[arg(long, env = "TOMBOLO_MAX_IN_FLIGHT")]
    pub max_in_flight: Option<usize>,
    /// Largest message a client may send, in bytes.
    #[arg(long, env = "TOMBOLO_MAX_MESSAGE_BYTES")]
    pub max_message_bytes: Option<usize>,
    /// How far a clock may be ahead, in milliseconds.
    #[arg(long, env = "TOMBOLO_MAX_CLOCK_SKEW_MS")]
    pub max_clock_skew_ms: Option<u64>,
    /// Patience of a clean stop, in milliseconds.
    #[arg(long, env = "TOMBOLO_SHUTDOWN_MS")]
    pub shutdown_ms: Option<u64>,
    /// Threads that answer requests; 0 = one per processor, at most 8.
    #[arg(long, env = "TOMBOLO_WORKER_THREADS")]
    pub worker_threads: Option<usize>,
    /// How log lines look.
    #[arg(long, env = "TOMBOLO_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,
    /// What is logged: info, or info,tombolo_group=debug.
    #[arg(long, env = "TOMBOLO_LOG", value_name = "FILTER")]
    pub log: Option<String>,
    /// Development only: file with the secret that guards /dev/ on the admin port.
    #[arg(long, env = "TOMBOLO_DEV_SECRET_FILE", value_name = "FILE", hide = true)]
    pub dev_secret_file: Option<PathBuf>,
    /// Development only: file that says what is cut off.
    #[arg(long, env = "TOMBOLO_DEV_FAULTS_FILE", value_name = "FILE", hide = true)]
    pub dev_faults_file: Option<PathBuf>,
    /// Development only: delay of everything sent to another region, in milliseconds.
    #[arg(long, env = "TOMBOLO_DEV_LINK_DELAY_MS", hide = true)]
    pub dev_link_delay_ms: Option<u64>,
}

impl ServeArgs {
    /// File, variables and flags put together, and checked.
    pub fn resolve(self) -> Result<NodeConfig> {
        let mut config = match &self.config {
            Some(path) => NodeConfig::read(path)?,
            None => NodeConfig::default(),
        };
        self.apply(&mut config);
        check::check(&config)?;
        Ok(config)
    }

    fn apply(self, config: &mut NodeConfig) {
        macro_rules! set {
            ($($name:ident),+ $(,)?) => {$(
                if let Some(value) = self.$name {
                    config.$name = value;
                }
            )+};
        }
        macro_rules! set_optional {
            ($($name:ident),+ $(,)?) => {$(
                if self.$name.is_some() {
                    config.$name = self.$name;
                }
            )+};
        }
        set!(
            cluster,
            region,
            region_id,
            zone,
            node,
            roles,
            data_dir,
            listen_grpc,
            listen_admin,
            listen_node,
            listen_dynamodb,
            tls_ca,
            tls_cert,
            tls_key,
            nats_url,
            nats_monitor_url,
            nats_replicas,
            system_voters,
            max_in_flight,
            max_message_bytes,
            max_clock_skew_ms,
            shutdown_ms,
            worker_threads,
            log_format,
            log,
            dev_link_delay_ms,
            insecure,
        );
        set_optional!(
            advertise_host,
            grpc_tls_cert,
            grpc_tls_key,
            grpc_tls_client_ca,
            dynamodb_keys,
            region_key,
            dev_secret_file,
            dev_faults_file,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Args;

    /// Flags that say where the settings come from or what to do with them, and are none themselves.
    const NOT_SETTINGS: [&str; 2] = ["config", "check"];

    /// A value for every setting that has none by default, so that the file shows its line.
    fn full() -> NodeConfig {
        let some = || Some(PathBuf::from("x"));
        NodeConfig {
            advertise_host: Some("h".into()),
            grpc_tls_cert: some(),
            grpc_tls_key: some(),
            grpc_tls_client_ca: some(),
            dynamodb_keys: some(),
            region_key: some(),
            dev_secret_file: some(),
            dev_faults_file: some(),
            ..NodeConfig::default()
        }
    }

    #[test]
    fn every_flag_has_a_variable_and_a_line_in_the_file() {
        let file = toml::Table::try_from(full()).expect("it can be written");
        let command = ServeArgs::augment_args(clap::Command::new("serve"));
        let mut flags = 0;
        for argument in command.get_arguments() {
            let name = argument.get_id().as_str();
            if NOT_SETTINGS.contains(&name) {
                continue;
            }
            flags += 1;
            assert_eq!(argument.get_long(), Some(name.replace('_', "-").as_str()), "the flag");
            let variable = format!("TOMBOLO_{}", name.to_uppercase());
            let env = argument.get_env().map(|e| e.to_string_lossy().into_owned());
            assert_eq!(env, Some(variable), "the variable of --{name}");
            assert!(file.contains_key(name), "--{name} has no line in the file");
        }
        // And the other way round: what the file has and no flag sets are lists and tables.
        let lists = ["peers", "regions", "link"];
        assert_eq!(flags + lists.len(), file.len(), "a setting without a flag");
    }

    #[test]
    fn a_flag_wins_over_the_file() {
        let mut config = NodeConfig { zone: "a".into(), node: 1, ..NodeConfig::default() };
        let flags = ServeArgs { zone: Some("b".into()), ..ServeArgs::default() };
        flags.apply(&mut config);
        assert_eq!((config.zone.as_str(), config.node), ("b", 1));
    }
}
