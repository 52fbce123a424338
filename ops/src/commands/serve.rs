//! `tombolo serve`: a node as a process.
//!
//! SIGTERM hands leadership over and stops; SIGINT stops without handing over, for when all nodes
//! stop at once and there is nobody to take it; SIGHUP reads the certificates again.

use tokio::signal::unix::{SignalKind, signal};

use crate::config::flags::ServeArgs;
use crate::error::{Context, Failure, Result};
use crate::runtime::NodeRuntime;
use crate::{output, telemetry};

pub(super) fn run(args: ServeArgs) -> Result {
    let only_check = args.check;
    let config = args.resolve()?;
    if only_check {
        output::data(toml::to_string(&config)?.trim_end());
        return Ok(());
    }
    telemetry::start(config.log_format, &config.log).map_err(Failure::usage)?;
    telemetry::abort_on_panic();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.threads())
        .max_blocking_threads(64)
        .thread_name("tombolo-worker")
        .enable_all()
        .build()
        .context(|| "starting threads")?;
    let ended = runtime.block_on(Box::pin(async move {
        let mut terminate = signal(SignalKind::terminate()).context(|| "listening to SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context(|| "listening to SIGINT")?;
        let mut hang_up = signal(SignalKind::hangup()).context(|| "listening to SIGHUP")?;
        let mut node = tokio::select! {
            node = Box::pin(NodeRuntime::start(config)) => node?,
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
        };
        let (hand_over, broken) = loop {
            tokio::select! {
                _ = terminate.recv() => break (true, None),
                _ = interrupt.recv() => break (false, None),
                _ = hang_up.recv() => node.reload_certificates().await,
                reason = node.failed() => break (true, Some(reason)),
            }
        };
        if let Some(reason) = &broken {
            tracing::error!(reason, "this node cannot go on");
        }
        Box::pin(node.stop(hand_over)).await;
        match broken {
            None => Ok(()),
            Some(reason) => Err(Failure::unavailable(reason)),
        }
    }));
    // What still blocks in a thread is not waited for: everything durable is durable.
    runtime.shutdown_background();
    ended
}
