//! `tombolo demo`: the whole system at work in under two minutes, with every claim checked.

use std::path::PathBuf;

use crate::demo;
use crate::error::Result;

/// Starts two regions, loads real data, breaks things, and shows that nothing is lost.
///
/// A two-region cluster starts in a temporary folder and takes the packages of a Cargo.lock. The change
/// stream is read, items are changed and deleted in both regions at once, a leader is killed in mid-load,
/// the regions are compared copy by copy, and in the end one bit of one copy is flipped on disk and found.
/// The exit code is 0 only if everything agreed that should, and the flipped bit was found.
///
/// Examples:
///   tombolo demo
///   tombolo demo ../other/Cargo.lock --keep
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The Cargo.lock to load; without one, that of this program.
    file: Option<PathBuf>,
    /// Leave the cluster running until Ctrl-C, and its folder afterwards.
    #[arg(long)]
    keep: bool,
    /// The first port; without it, free ports are found.
    #[arg(long)]
    base_port: Option<u16>,
    /// Never download a nats-server.
    #[arg(long, env = "TOMBOLO_OFFLINE")]
    offline: bool,
    /// The nats-server to run.
    #[arg(long, env = "TOMBOLO_NATS_SERVER")]
    nats_server: Option<PathBuf>,
}

pub async fn run(args: Args) -> Result {
    demo::run(demo::Options {
        file: args.file,
        keep: args.keep,
        base_port: args.base_port,
        offline: args.offline,
        nats_server: args.nats_server,
    })
    .await
}
