//! NATS for development clusters: finding a server, getting one, configuring it.
//!
//! Always true: a server older than [`OLDEST`] is never used. Only `tombolo dev` and `tombolo demo`
//! call [`find::find_or_install`], so nothing else ever downloads anything.

pub mod config;
pub mod find;
pub mod install;

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use crate::error::{Context, Failure, Result};

/// What `nats-server --version` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    pub major: u32,
    pub minor: u32,
    pub patch: u32,
}

/// Debian's 2.9.10 has no `sync_interval`; 2.12.7 is the oldest that was tried.
pub const OLDEST: Version = Version { major: 2, minor: 12, patch: 7 };

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl FromStr for Version {
    type Err = String;

    /// Reads `nats-server: v2.15.1`, `v2.12.7-RC.1`, `2.15.1`.
    fn from_str(text: &str) -> std::result::Result<Version, String> {
        let unreadable = || format!("{:?} is no version of a nats-server", text.trim());
        let number = text.trim().rsplit([' ', ':']).next().unwrap_or_default();
        let number = number.trim_start_matches('v');
        let plain = number.split(['-', '+']).next().unwrap_or_default();
        let mut parts = plain.split('.').map(|part| part.parse::<u32>());
        let mut next = || parts.next().and_then(std::result::Result::ok).ok_or_else(unreadable);
        let version = Version { major: next()?, minor: next()?, patch: next()? };
        if parts.next().is_some() {
            return Err(unreadable());
        }
        Ok(version)
    }
}

/// Asks a server for its version.
pub fn version_of(program: &Path) -> Result<Version> {
    let output = std::process::Command::new(program)
        .arg("--version")
        .stdin(std::process::Stdio::null())
        .output()
        .context(|| format!("running {} --version", program.display()))?;
    String::from_utf8_lossy(&output.stdout)
        .parse()
        .map_err(|why| Failure::unavailable(format!("{}: {why}", program.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_compared() {
        let read = |text: &str| text.parse::<Version>();
        assert_eq!(read("nats-server: v2.15.1\n").unwrap().to_string(), "2.15.1");
        assert!(read("nats-server: v2.9.10").unwrap() < OLDEST);
        assert!(read("nats-server: v2.12.7").unwrap() >= OLDEST);
        assert!(read("v2.13.0-RC.2").unwrap() > OLDEST);
        assert!(read("nats-server: v10.0.0").unwrap() > OLDEST);
        for wrong in ["", "nats-server", "2.1", "v2.x.1", "1.2.3.4"] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }
}
