//! `tombolo certs`: an authority, nodes' certificates, clients' certificates.

use std::path::{Path, PathBuf};

use clap::Subcommand;

use crate::certs;
use crate::config::{check::is_plain_name, node_id};
use crate::error::{Context, Failure, Result};
use crate::output;

/// Makes certificates for nodes and clients, signed by an authority of your own.
///
/// Examples:
///   tombolo certs ca --dir certs
///   tombolo certs node --dir certs --cluster prod --region-id 1 --node 1 --host db1.example
///   tombolo certs client --dir certs --name loader
///   tombolo certs region-key --dir certs
///
/// The authority's key (ca.key) is needed only to sign: keep it off the nodes.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Makes the authority: ca.pem and ca.key.
    Ca(Place),
    /// Makes a node's certificate: node-REGION-NODE.pem and .key.
    Node {
        #[command(flatten)]
        place: Place,
        /// Name of the cluster, as in the node's settings.
        #[arg(long, env = "TOMBOLO_CLUSTER", default_value = "tombolo")]
        cluster: String,
        /// Number of the node's region.
        #[arg(long, env = "TOMBOLO_REGION_ID")]
        region_id: u16,
        /// The node's number in its region.
        #[arg(long, env = "TOMBOLO_NODE")]
        node: u32,
        /// A host name or address by which the node is reached; may be repeated.
        #[arg(long)]
        host: Vec<String>,
    },
    /// Makes a region key: region.key. All nodes of a region get the same one (region_key): the secrets of
    /// access keys lie in the region's metadata sealed under it.
    RegionKey {
        /// The folder.
        #[arg(long, default_value = "certs", value_name = "DIR")]
        dir: PathBuf,
    },
    /// Makes a client's certificate: NAME.pem and NAME.key.
    Client {
        #[command(flatten)]
        place: Place,
        /// Who the client is.
        #[arg(long)]
        name: String,
    },
}

#[derive(clap::Args, Debug)]
struct Place {
    /// The folder of the certificates; ca.key is read from here.
    #[arg(long, default_value = "certs", value_name = "DIR")]
    dir: PathBuf,
    /// How long the certificate is valid.
    #[arg(long, default_value_t = 825, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,
}

pub(super) fn run(args: Args) -> Result {
    let (cert, key) = match args.command {
        Command::Ca(place) => certs::write(&place.dir, "ca", &certs::authority(place.days)?)?,
        Command::Node { place, cluster, region_id, node, host } => {
            if !is_plain_name(&cluster) || region_id == 0 || node == 0 {
                return Err(Failure::usage(
                    "--cluster is 1 to 40 of a-z, 0-9 and '-'; --region-id and --node count from 1",
                ));
            }
            let id = node_id(region_id, node);
            let pair = certs::node(&ca_key(&place.dir)?, &cluster, id, &host, place.days)?;
            certs::write(&place.dir, &format!("node-{region_id}-{node}"), &pair)?
        }
        Command::RegionKey { dir } => {
            let path = certs::write_region_key(&dir)?;
            output::data(path.display().to_string());
            return Ok(());
        }
        Command::Client { place, name } => {
            if !is_plain_name(&name) {
                return Err(Failure::usage("--name is 1 to 40 of a-z, 0-9 and '-'"));
            }
            let pair = certs::client(&ca_key(&place.dir)?, &name, place.days)?;
            certs::write(&place.dir, &name, &pair)?
        }
    };
    output::data(cert.display().to_string());
    output::data(key.display().to_string());
    Ok(())
}

fn ca_key(dir: &Path) -> Result<String> {
    let (_, key) = certs::paths(dir, "ca");
    std::fs::read_to_string(&key)
        .context(|| format!("reading {} (`tombolo certs ca` makes it)", key.display()))
}
