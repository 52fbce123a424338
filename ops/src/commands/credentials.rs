//! `tombolo credentials`: access keys, for the DynamoDB protocol and for gRPC.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use tombolo_router::dynamodb::RegionKey;

use crate::credentials::{Ask, Listed, PROOF_HEADER, What, check, new_pair, now_ms};
use crate::error::{Context, Failure, Result};
use crate::{http, output};

const PATIENCE: Duration = Duration::from_secs(10);

/// Makes, lists and revokes the access keys that requests of the DynamoDB protocol are signed with, and that
/// gRPC takes as tokens: `authorization: Bearer ACCESS_KEY.SECRET_KEY` (TOMBOLO_TOKEN).
///
/// They lie in a region's metadata, their secrets sealed under the region key. Whoever has that key may
/// manage them: a proof of it goes to the admin port of one node of each region.
///
/// Examples:
///   tombolo credentials create --name loader --region-key certs/region.key
///   tombolo credentials list --region-key certs/region.key
///   tombolo credentials revoke TOMB0123456789ABCDEF --region-key certs/region.key
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
    /// Admin ports: one node of each region.
    #[arg(
        long,
        env = "TOMBOLO_ADMIN",
        default_value = "http://127.0.0.1:8002",
        value_delimiter = ',',
        value_name = "URL",
        global = true
    )]
    admin: Vec<String>,
    /// The file with the region key. Default: that of the development cluster started last.
    #[arg(long, env = "TOMBOLO_REGION_KEY", value_name = "FILE", global = true)]
    region_key: Option<PathBuf>,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Makes a pair of keys and prints it: the secret key is shown this once.
    Create {
        /// Whose it is.
        #[arg(long, default_value = "unnamed")]
        name: String,
        /// The access key. Default: a new one.
        #[arg(long, requires = "secret_key", value_name = "KEY")]
        access_key: Option<String>,
        /// The secret key. Default: a new one.
        #[arg(long, requires = "access_key", value_name = "KEY")]
        secret_key: Option<String>,
    },
    /// Lists access keys, revoked ones too.
    List,
    /// Refuses an access key from now on, for ever.
    Revoke {
        /// The access key.
        access_key: String,
    },
}

pub(super) async fn run(args: Args) -> Result {
    let path = match args.region_key {
        Some(path) => path,
        None => crate::dev::folder(None)?.join("config").join("region.key"),
    };
    let text = std::fs::read_to_string(&path).context(|| format!("reading {}", path.display()))?;
    let key = RegionKey::parse(&text).context(|| path.display().to_string())?;
    match args.command {
        Command::Create { name, access_key, secret_key } => {
            let (access_key, secret_key) = access_key.zip(secret_key).unwrap_or_else(new_pair);
            check(&access_key, &secret_key)?;
            let sealed_secret =
                key.seal(&access_key, &secret_key).context(|| "sealing the secret")?;
            for admin in &args.admin {
                let what = What::Put {
                    access_key: access_key.clone(),
                    name: name.clone(),
                    sealed_secret: sealed_secret.clone(),
                };
                ask(admin, &key, what).await?;
            }
            output::json(&serde_json::json!({
                "access_key": access_key,
                "secret_key": secret_key,
            }))
        }
        Command::List => {
            let admin = args.admin.first().map_or("", String::as_str);
            let listed: Vec<Listed> = serde_json::from_str(&ask(admin, &key, What::List).await?)?;
            output::json(&listed)
        }
        Command::Revoke { access_key } => {
            for admin in &args.admin {
                ask(admin, &key, What::Revoke { access_key: access_key.clone() }).await?;
            }
            output::talk(format!("{access_key} is refused from now on"));
            Ok(())
        }
    }
}

async fn ask(admin: &str, key: &RegionKey, what: What) -> Result<String> {
    let body = serde_json::to_string(&Ask { at_ms: now_ms(), what })?;
    let proof = key.prove(&body);
    let url = format!("{}/credentials", admin.trim_end_matches('/'));
    let answer = http::post(&url, &[(PROOF_HEADER, &proof)], &body, PATIENCE)
        .await
        .context(|| format!("asking {admin} (--admin)"))?;
    let said = || format!("{admin}: {}", answer.body.trim());
    match answer.status {
        200 => Ok(answer.body),
        503 => Err(Failure::unavailable(said())),
        _ => Err(Failure::usage(said())),
    }
}
