//! `tombolo completions`.

use clap_complete::Shell;

use crate::error::Result;
use crate::output;

/// Prints completions for a shell.
///
/// Example: tombolo completions bash > ~/.local/share/bash-completion/completions/tombolo
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// The shell.
    shell: Shell,
}

pub(super) fn run<C: clap::CommandFactory>(args: &Args) -> Result {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut C::command(), "tombolo", &mut script);
    output::data(String::from_utf8_lossy(&script).trim_end());
    Ok(())
}
