//! The last step of a child's start: tie its life to its parent's, then become the program.
//!
//! Always true: when the process that runs `tombolo dev` is gone, however it went, its children are
//! killed by the kernel, so that the ports and folders are free. The tie survives `exec`, and the
//! process id is the one that the parent knows. (Linux; elsewhere children outlive a parent that was
//! killed, and the next start names the occupied ports.)

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use crate::error::{Failure, Result};

/// Runs a program that ends with the process that started it.
#[derive(clap::Args, Clone, Debug)]
pub struct ChildArgs {
    /// The process that starts this one.
    #[arg(long)]
    pub parent: i32,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub arguments: Vec<OsString>,
}

/// Becomes the program; returns only if that fails.
pub fn become_program(args: &ChildArgs) -> Result {
    tie_to_parent(args.parent)?;
    let error = Command::new(&args.program).args(&args.arguments).exec();
    Err(Failure::unavailable(format!("running {}: {error}", args.program.display())))
}

#[cfg(target_os = "linux")]
fn tie_to_parent(parent: i32) -> Result {
    use rustix::process::{Signal, getppid, set_parent_process_death_signal};
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|e| Failure::unavailable(format!("tying this process to its parent: {e}")))?;
    // The parent may have gone before the tie was made.
    let now = getppid().map(|pid| pid.as_raw_nonzero().get());
    if now != Some(parent) {
        return Err(Failure::unavailable(format!("the parent process {parent} is gone")));
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn tie_to_parent(_parent: i32) -> Result {
    Ok(())
}

/// The command line by which `tombolo` (at `tombolo`) starts `program` tied to this process.
pub(super) fn command(tombolo: &std::path::Path, program: &std::path::Path) -> Command {
    let mut command = Command::new(tombolo);
    command.arg("dev-child").arg("--parent").arg(std::process::id().to_string()).arg(program);
    command
}
