//! `tombolo demo`.

use crate::error::{Failure, Result};

/// Not in this build yet.
#[derive(clap::Args, Debug)]
pub struct Args {}

pub async fn run(_args: Args) -> Result {
    Err(Failure::unavailable("this build does not hold this command"))
}
