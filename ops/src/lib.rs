//! The one program: everything that turns the crates below into processes, and talks to them.
//!
//! What it is for: `tombolo serve` runs a node; `tombolo dev` runs whole clusters on one machine;
//! the other commands are what a person or a script says to a running cluster.
//!
//! Always true:
//! - A node is configured in one place ([`config`]) and wired in one place ([`runtime`]); no other
//!   crate reads files, variables or flags.
//! - Data goes to stdout, talk to stderr, and the exit code says what came out ([`error::Exit`]).
//! - Nothing listens beyond loopback without TLS; NATS is never used without credentials.
//! - Only development clusters ever download anything, say so, and can be forbidden to.
//! - A panic stops the process: its replicas elsewhere take over.
//!
//! Deliberately absent: any decision about data. Placement, consensus, merging, verification and the
//! wire formats are in the crates that own them; `unsafe` is in none of these files.
//!
//! In reading order: [`config`], [`runtime`] (a node), `operations` and `admin` (what it tells),
//! [`certs`], [`nats`], [`dev`] (development clusters), [`commands`]; on the side [`error`],
//! [`output`], [`telemetry`], [`metrics`], [`http`].

pub mod admin;
pub mod bench;
pub mod certs;
pub mod commands;
pub mod config;
mod conflicts;
mod credentials;
pub mod demo;
pub mod dev;
pub mod error;
mod files;
pub mod http;
pub mod metrics;
pub mod nats;
mod operations;
pub mod output;
pub mod runtime;
pub mod telemetry;

/// The program's version with the commit it was built from.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("TOMBOLO_COMMIT"), ")");
