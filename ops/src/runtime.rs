//! A node: everything that runs in one `tombolo serve`, wired together, started and stopped in order.
//!
//! Always true: the admin port answers from the first moment, so that a slow start can be seen; what
//! is started later never has to be known by what was started earlier; a clean stop hands leadership
//! over before anything is closed, and ends in `shutdown_ms` whatever hangs.
//!
//! The order of a start: admin port, node port (Net), this node's replicas (Host), metadata (Memds),
//! routed submit, then side by side: client port, change streams, links, control.
//!
//! SIGHUP reads the certificates again: the node port uses them for what is opened from then on, the
//! client port is started again.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tombolo_group::{Host, HostSettings, Net, NetSettings, NodeTls, Peer};
use tombolo_memds::{Memds, MemdsSettings, NodeInfo, RegionConfig, Routed};
use tombolo_router::dynamodb::{DynamoDb, DynamoDbSettings, DynamoDbTls};
use tombolo_router::{Router, RouterSettings, RouterTls};
use tombolo_stream::PublisherSettings;

use crate::admin::{self, DevPort, Health};
use crate::config::check::readable;
use crate::config::{NodeConfig, PeerConfig, Role, node_id};
use crate::credentials::{self, NodeCredentials};
use crate::error::{Context, Failure, Result, chain};
use crate::metrics;
use crate::operations::NodeOperations;

/// A running node. Dropping it does not stop it cleanly; [`NodeRuntime::stop`] does.
pub struct NodeRuntime {
    config: NodeConfig,
    net: Net,
    host: Host,
    memds: Memds,
    routed: Routed,
    health: Arc<Health>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    /// Stops the client port alone, to start it again with other certificates.
    stop_router: watch::Sender<bool>,
    failures: mpsc::UnboundedReceiver<String>,
    fail: mpsc::UnboundedSender<String>,
}

impl NodeRuntime {
    /// Starts a node; returns when everything is wired. `/readyz` says when it serves.
    pub async fn start(config: NodeConfig) -> Result<NodeRuntime> {
        tracing::info!(
            version = crate::VERSION,
            cluster = config.cluster,
            region = config.region,
            zone = config.zone,
            node = %config.id(),
            data = %config.data_dir.display(),
            "starting"
        );
        metrics::describe(&config.region, &config.zone);
        std::fs::create_dir_all(&config.data_dir)
            .context(|| format!("making the folder {}", config.data_dir.display()))?;
        let (stop, stopped) = watch::channel(false);
        let health = Health::new();
        let net = start_net(&config).await?;
        let dev = dev_port(&config, &net)?;
        let region_key = credentials::region_key(&config)?;
        admin::serve(config.listen_admin, health.clone(), region_key, dev, stopped.clone()).await?;
        let host = start_host(&config, net.clone()).await?;
        let memds = Box::pin(Memds::start(memds_settings(&config), host.clone(), net.clone()))
            .await
            .context(|| "starting the metadata service")?;
        let routed = Routed::new(memds.clone(), host.clone());
        let (fail, failures) = mpsc::unbounded_channel();
        let mut node = NodeRuntime {
            config,
            net,
            host: host.clone(),
            memds,
            routed,
            health: health.clone(),
            stop,
            tasks: JoinSet::new(),
            stop_router: watch::channel(false).0,
            failures,
            fail,
        };
        node.start_roles(&stopped)?;
        node.watch_disk();
        health.wired(host, node.memds.clone());
        tracing::info!(grpc = %node.config.listen_grpc, admin = %node.config.listen_admin, "wired");
        Ok(node)
    }

    fn start_roles(&mut self, stopped: &watch::Receiver<bool>) -> Result {
        let (host, memds) = (self.host.clone(), self.memds.clone());
        if self.config.has(Role::Router) {
            self.start_router()?;
        }
        if self.config.has(Role::Storage) {
            let publisher = publisher_settings(&self.config);
            let streams =
                tombolo_stream::run(publisher, host.clone(), memds.clone(), stopped.clone());
            self.spawn(
                "change streams",
                async move { streams.await.map_err(|error| chain(&error)) },
            );
            let links = tombolo_link::run(
                self.config.link.clone(),
                host,
                memds.clone(),
                self.routed.clone(),
                self.net.clone(),
                stopped.clone(),
            );
            self.spawn("links", async move { links.await.map_err(|error| chain(&error)) });
        }
        if self.config.has(Role::Control) {
            let mut stopped = stopped.clone();
            self.spawn("control", async move {
                tokio::select! {
                    () = memds.run_control() => {}
                    _ = stopped.wait_for(|stop| *stop) => {}
                }
                Ok(())
            });
        }
        Ok(())
    }

    fn start_router(&mut self) -> Result {
        let router = Router::bind(router_settings(&self.config)?)
            .context(|| "starting the client port (listen_grpc)")?;
        let dynamodb = DynamoDb::bind(dynamodb_settings(&self.config)?)
            .context(|| "starting the DynamoDB port (listen_dynamodb)")?;
        let credentials = Arc::new(NodeCredentials::read(&self.config, self.memds.clone())?);
        let operations = Arc::new(NodeOperations {
            host: self.host.clone(),
            memds: self.memds.clone(),
            net: self.net.clone(),
            routed: self.routed.clone(),
            dir: self.config.data_dir.clone(),
        });
        let (stop_router, mut stopped) = watch::channel(false);
        self.stop_router = stop_router;
        let (memds, host, routed) = (self.memds.clone(), self.host.clone(), self.routed.clone());
        let mut told = self.stop_router.subscribe();
        let end = async move {
            let _ = told.wait_for(|stop| *stop).await;
        };
        let serving = dynamodb.serve(
            memds.clone(),
            host.clone(),
            routed.clone(),
            operations.clone(),
            credentials.clone(),
            end,
        );
        self.spawn("DynamoDB port", async move {
            Box::pin(serving).await;
            Ok(())
        });
        self.spawn("client port", async move {
            let end = async move {
                let _ = stopped.wait_for(|stop| *stop).await;
            };
            let serving = router.serve(memds, host, routed, operations, credentials, end);
            Box::pin(serving).await.map_err(|error| chain(&error))
        });
        Ok(())
    }

    /// Runs a part of the node. A part that fails takes the node with it.
    fn spawn(
        &mut self,
        name: &'static str,
        part: impl Future<Output = std::result::Result<(), String>> + Send + 'static,
    ) {
        let (fail, stop) = (self.fail.clone(), self.stop.subscribe());
        let part = Box::pin(part);
        self.tasks.spawn(async move {
            match part.await {
                Ok(()) => tracing::debug!(part = name, "ended"),
                // While stopping, parts lose each other.
                Err(reason) if *stop.borrow() => tracing::info!(part = name, reason, "ended"),
                Err(reason) => {
                    let _ = fail.send(format!("{name}: {reason}"));
                }
            }
        });
    }

    fn watch_disk(&mut self) {
        let mut fatal = self.host.fatal();
        let (fail, mut stopped) = (self.fail.clone(), self.stop.subscribe());
        self.tasks.spawn(async move {
            let reason = tokio::select! {
                reason = fatal.wait_for(Option::is_some) => reason.ok().and_then(|r| r.clone()),
                _ = stopped.wait_for(|stop| *stop) => None,
            };
            if let Some(reason) = reason {
                let _ = fail.send(format!("this node's disk: {reason}"));
            }
        });
    }

    /// Waits until the node cannot go on, and says why.
    pub async fn failed(&mut self) -> String {
        match self.failures.recv().await {
            Some(reason) => reason,
            None => std::future::pending().await,
        }
    }

    /// Uses the certificates that are on disk now: the node port for new streams, the client port by
    /// starting again. If they cannot be used, the old ones stay.
    pub async fn reload_certificates(&mut self) {
        let node_port = node_tls(&self.config)
            .and_then(|tls| self.net.reload(&tls).context(|| "reading the node's certificate"));
        match node_port {
            Ok(()) => tracing::info!("SIGHUP: the node port uses new certificates"),
            Err(error) => tracing::error!(
                reason = error.message,
                "SIGHUP: the node port keeps the old certificates"
            ),
        }
        // Everything is read once before anything is stopped: a file with a mistake in it must not end the
        // node.
        let read = router_settings(&self.config)
            .and_then(|_| dynamodb_settings(&self.config))
            .and_then(|_| credentials::check_files(&self.config));
        if let Err(error) = read {
            tracing::error!(reason = error.message, "SIGHUP: the old certificates and keys stay");
            return;
        }
        if self.config.grpc_tls_cert.is_none() && self.config.dynamodb_keys.is_none() {
            tracing::info!(
                "SIGHUP: the client ports have no certificates and no keys to read again"
            );
            return;
        }
        self.stop_router.send_replace(true);
        // Its port is free when its listener is gone: soon, but after requests under way.
        let mut retry = tokio::time::interval(Duration::from_millis(50));
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        loop {
            retry.tick().await;
            match self.start_router() {
                Ok(()) => {
                    tracing::info!("SIGHUP: the client port runs with new certificates");
                    return;
                }
                Err(error) if tokio::time::Instant::now() > deadline => {
                    let _ = self.fail.send(error.message);
                    return;
                }
                Err(_) => {}
            }
        }
    }

    /// Ends requests under way and closes everything; first hands leadership over, unless all other
    /// nodes stop too.
    pub async fn stop(self, hand_over: bool) {
        let patience = Duration::from_millis(self.config.shutdown_ms);
        tracing::info!(hand_over, "stopping");
        if tokio::time::timeout(patience, Box::pin(self.wind_down(hand_over))).await.is_err() {
            tracing::warn!(
                patience_ms = patience.as_millis(),
                "not everything ended in time; what is durable is durable, stopping anyway"
            );
        }
    }

    async fn wind_down(mut self, hand_over: bool) {
        self.health.stopping();
        if hand_over {
            self.host.hand_over_all().await;
        }
        self.stop_router.send_replace(true);
        self.stop.send_replace(true);
        drop(self.fail);
        while self.tasks.join_next().await.is_some() {}
        self.memds.shutdown().await;
        self.host.shutdown().await;
        self.net.shutdown().await;
        tracing::info!("stopped");
    }
}

fn node_tls(config: &NodeConfig) -> Result<NodeTls> {
    Ok(NodeTls {
        ca_pem: readable("tls_ca", &config.tls_ca)?,
        cert_pem: readable("tls_cert", &config.tls_cert)?,
        key_pem: readable("tls_key", &config.tls_key)?,
    })
}

async fn start_net(config: &NodeConfig) -> Result<Net> {
    let tls = node_tls(config)?;
    let settings = NetSettings {
        node: config.id(),
        region: config.region(),
        zone: config.zone.clone(),
        listen: config.listen_node,
        tls,
        cluster: config.cluster.clone(),
    };
    let net = Net::start(settings).await.context(|| "starting the node port (listen_node)")?;
    for peer in &config.peers {
        net.learn(peer_of(config.region_id, peer));
    }
    for region in &config.regions {
        for peer in &region.nodes {
            net.learn(peer_of(region.id, peer));
        }
    }
    Ok(net)
}

fn peer_of(region_id: u16, peer: &PeerConfig) -> Peer {
    Peer {
        node: node_id(region_id, peer.node),
        region: tombolo_item::RegionId(region_id),
        zone: peer.zone.clone(),
        addr: peer.addr.clone(),
    }
}

fn dev_port(config: &NodeConfig, net: &Net) -> Result<Option<Arc<DevPort>>> {
    let Some(file) = &config.dev_secret_file else { return Ok(None) };
    let secret = readable("dev_secret_file", file)?.trim().to_owned();
    if secret.len() < 16 {
        return Err(Failure::usage(format!(
            "dev_secret_file = {}: a secret has 16 characters or more",
            file.display()
        )));
    }
    let own = (config.region.clone(), config.region());
    let others = config.regions.iter().map(|r| (r.name.clone(), tombolo_item::RegionId(r.id)));
    let port =
        DevPort { secret, net: net.clone(), regions: std::iter::once(own).chain(others).collect() };
    port.restore(config.dev_faults_file.as_ref())?;
    if config.dev_link_delay_ms > 0 {
        for (_, region) in &port.regions {
            net.faults().set_delay_ms(*region, config.dev_link_delay_ms);
        }
    }
    Ok(Some(Arc::new(port)))
}

async fn start_host(config: &NodeConfig, net: Net) -> Result<Host> {
    let mut settings = HostSettings::new(config.id(), config.region(), &config.data_dir);
    settings.max_clock_skew = Duration::from_millis(config.max_clock_skew_ms);
    // Reading the log back blocks.
    tokio::task::spawn_blocking(move || Host::start(settings, net))
        .await
        .context(|| "starting this node's replicas")?
        .context(|| format!("starting this node's replicas in {}", config.data_dir.display()))
}

fn memds_settings(config: &NodeConfig) -> MemdsSettings {
    let url = |listen| format!("http://{}", config.advertised(listen));
    let scheme = if config.grpc_tls_cert.is_some() { "https" } else { "http" };
    let own = PeerConfig {
        node: config.node,
        zone: config.zone.clone(),
        addr: config.advertised(config.listen_node),
    };
    let nodes = |region_id: u16, peers: &mut dyn Iterator<Item = &PeerConfig>| {
        peers.map(|p| (node_id(region_id, p.node), p.addr.clone(), p.zone.clone())).collect()
    };
    let here = RegionConfig {
        id: config.region(),
        name: config.region.clone(),
        nats: config.nats_url.clone(),
        nodes: nodes(config.region_id, &mut std::iter::once(&own).chain(&config.peers)),
    };
    let others = config.regions.iter().map(|region| RegionConfig {
        id: tombolo_item::RegionId(region.id),
        name: region.name.clone(),
        nats: region.nats_url.clone(),
        nodes: nodes(region.id, &mut region.nodes.iter()),
    });
    MemdsSettings {
        node: NodeInfo {
            id: config.id(),
            region: config.region(),
            zone: config.zone.clone(),
            node_addr: own.addr.clone(),
            grpc: format!("{scheme}://{}", config.advertised(config.listen_grpc)),
            admin: url(config.listen_admin),
            dynamodb: format!("{scheme}://{}", config.advertised(config.listen_dynamodb)),
            roles: config.roles.iter().map(|role| role.name().to_owned()).collect(),
        },
        dir: config.data_dir.clone(),
        region_name: config.region.clone(),
        regions: std::iter::once(here.clone()).chain(others).collect(),
        system_voters: config.system_voters(),
    }
}

fn router_settings(config: &NodeConfig) -> Result<RouterSettings> {
    let mut settings = RouterSettings::new(config.listen_grpc);
    settings.max_in_flight = config.max_in_flight;
    settings.max_message_bytes = config.max_message_bytes;
    if let (Some(cert), Some(key)) = (&config.grpc_tls_cert, &config.grpc_tls_key) {
        let client_ca = config.grpc_tls_client_ca.as_ref().unwrap_or(&config.tls_ca);
        settings.tls = Some(RouterTls {
            cert_pem: readable("grpc_tls_cert", cert)?.into_bytes(),
            key_pem: readable("grpc_tls_key", key)?.into_bytes(),
            client_ca_pem: readable("grpc_tls_client_ca", client_ca)?.into_bytes(),
        });
    }
    Ok(settings)
}

fn dynamodb_settings(config: &NodeConfig) -> Result<DynamoDbSettings> {
    let mut settings = DynamoDbSettings::new(config.listen_dynamodb, config.region.clone());
    settings.max_in_flight = config.max_in_flight;
    settings.check_signatures = !config.insecure;
    if let (Some(cert), Some(key)) = (&config.grpc_tls_cert, &config.grpc_tls_key) {
        settings.tls = Some(DynamoDbTls {
            cert_pem: readable("grpc_tls_cert", cert)?.into_bytes(),
            key_pem: readable("grpc_tls_key", key)?.into_bytes(),
        });
    }
    Ok(settings)
}

fn publisher_settings(config: &NodeConfig) -> PublisherSettings {
    PublisherSettings {
        nats_url: config.nats_url.clone(),
        monitor_url: config.nats_monitor_url.clone(),
        region_name: config.region.clone(),
        region: config.region(),
        replicas: config.nats_replicas,
        development: config.is_dev(),
        ..PublisherSettings::default()
    }
}
