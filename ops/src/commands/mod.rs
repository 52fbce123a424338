//! The command line: what a person or a script types, and where each command lives.
//!
//! Always true: every command returns a [`crate::error::Failure`] or nothing; only [`main`] prints it
//! and turns it into an exit code.

pub mod bench;
mod certs;
mod completions;
mod conflicts;
pub mod connection;
mod credentials;
pub mod demo;
mod dev;
mod exact;
mod fetch;
mod item;
mod load;
mod node;
mod serve;
mod status;
mod stream;
mod table;
mod values;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::flags::ServeArgs;
use crate::dev::child::ChildArgs;
use crate::error::{Exit, Failure, Result};
use crate::{output, telemetry};

/// A replicated, multi-region database with change streams: one program for nodes and people.
///
/// `tombolo dev` runs whole clusters on this machine, `tombolo demo` shows one at work, `tombolo
/// serve` runs a node on a real machine; everything else talks to a running cluster through
/// --endpoint (default http://127.0.0.1:8001, the first node of a development cluster).
#[derive(Parser, Debug)]
#[command(
    name = "tombolo",
    version = crate::VERSION,
    max_term_width = 100,
    after_help = "\
Data goes to standard output, everything else to standard error.

Exit codes:
  0  done, and the answer is yes
  1  done, and the answer is no: copies differ, a condition is false, something is not there
  2  the command or the request is wrong; the same call cannot succeed
  3  it could not be done now: nothing answers, no quorum, a disk is full

Examples:
  tombolo dev --regions us-east,eu-west --dir /tmp/t     a cluster; Ctrl-C stops it
  tombolo table create music --key artist:S --sort title:S --regions us-east,eu-west
  tombolo item put music '{\"artist\":\"Nina\",\"title\":\"Sinnerman\",\"year\":1965}'
  tombolo item query music Nina
  tombolo verify music && echo every copy agrees"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
// One value of it exists per process.
#[allow(clippy::large_enum_variant)]
enum Command {
    Dev(dev::Args),
    Demo(demo::Args),
    Table(table::Args),
    Item(item::Args),
    Load(load::Args),
    Stream(stream::Args),
    Verify(verify::Args),
    Status(status::Args),
    Node(node::Args),
    Conflicts(conflicts::Args),
    Bench(bench::Args),
    Serve(ServeArgs),
    Certs(certs::Args),
    Credentials(credentials::Args),
    Completions(completions::Args),
    #[command(name = "dev-child", hide = true)]
    DevChild(ChildArgs),
}

/// Runs the program and says how it ended.
pub fn main() -> ExitCode {
    // clap ends the process itself with code 2 for a wrong command line and 0 for --help.
    let cli = Cli::parse();
    let exit = match run(cli.command) {
        Ok(()) => Exit::Ok,
        Err(failure) => {
            if !failure.message.is_empty() {
                output::talk(format!("tombolo: {}", failure.message));
            }
            failure.exit
        }
    };
    ExitCode::from(exit as u8)
}

fn run(command: Command) -> Result {
    // TLS needs one provider per process; a second call keeps the first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match command {
        Command::DevChild(args) => crate::dev::child::become_program(&args),
        Command::Serve(args) => serve::run(args),
        Command::Certs(args) => certs::run(args),
        Command::Completions(args) => completions::run::<Cli>(&args),
        other => {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .map_err(|e| Failure::unavailable(format!("starting threads: {e}")))?;
            runtime.block_on(talk_to_a_cluster(other))
        }
    }
}

async fn talk_to_a_cluster(command: Command) -> Result {
    let format = match &command {
        Command::Dev(args) => args.log_format(),
        _ => telemetry::LogFormat::Text,
    };
    let filter = std::env::var("TOMBOLO_LOG").unwrap_or_else(|_| "warn".to_owned());
    telemetry::start(format, &filter).map_err(Failure::usage)?;
    match command {
        Command::Dev(args) => Box::pin(dev::run(args)).await,
        Command::Demo(args) => Box::pin(demo::run(args)).await,
        Command::Bench(args) => Box::pin(bench::run(args)).await,
        Command::Table(args) => Box::pin(table::run(args)).await,
        Command::Item(args) => Box::pin(item::run(args)).await,
        Command::Load(args) => Box::pin(load::run(args)).await,
        Command::Stream(args) => Box::pin(stream::run(args)).await,
        Command::Verify(args) => Box::pin(verify::run(args)).await,
        Command::Credentials(args) => Box::pin(credentials::run(args)).await,
        Command::Status(args) => Box::pin(status::run(args)).await,
        Command::Node(args) => Box::pin(node::run(args)).await,
        Command::Conflicts(args) => Box::pin(conflicts::run(args)).await,
        Command::Serve(_) | Command::Certs(_) | Command::Completions(_) | Command::DevChild(_) => {
            Err(Failure::usage("this command runs by itself"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_flag_hides_another_of_the_same_name() {
        // A shared flag and a command's own flag of one name parse, and fail when they are read.
        for line in [
            "table create music --key artist:S --sort title:S --tls-key k",
            "item get music a b --strong",
            "item put music {} --condition x --output json",
            "item query music a --between 1 2 --endpoint http://h:1",
            "load music - --skip 3",
            "stream tail music --from oldest",
            "verify music",
            "status --output table",
            "node list --output json",
            "node drain 3 --undo",
            "conflicts music --limit 5",
            "dev --regions a,b --dir d --base-port 9000",
            "dev cut a b/a --dir d",
            "certs node --region-id 1 --node 2 --host h",
            "serve --config c --zone a",
            "credentials create --name x --admin http://h:1,http://h:2",
            "credentials revoke K --region-key f",
        ] {
            let words = std::iter::once("tombolo").chain(line.split(' '));
            if let Err(error) = Cli::try_parse_from(words) {
                panic!("{line}: {error}");
            }
        }
    }

    #[test]
    fn every_command_and_flag_has_help() {
        fn walk(command: &clap::Command) {
            for argument in command.get_arguments() {
                let name = format!("{} --{}", command.get_name(), argument.get_id());
                assert!(argument.get_help().is_some(), "{name} has no help");
            }
            for sub in command.get_subcommands() {
                assert!(sub.get_about().is_some(), "{} has no help", sub.get_name());
                walk(sub);
            }
        }
        walk(&Cli::command());
    }
}
