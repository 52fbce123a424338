//! Finding ports that nobody uses, for clusters that nobody named ports for.

use std::net::TcpListener;

use rand::Rng;

use crate::error::{Failure, Result};

/// A base port with a hundred free ports for each region above it, below the range from which the
/// kernel serves outgoing connections.
pub fn free_base_port(regions: usize) -> Result<u16> {
    for _ in 0..1_000 {
        let base: u16 = rand::rng().random_range(100..300) * 100;
        let end = base + regions as u16 * 100;
        if (base..end).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return Ok(base);
        }
    }
    Err(Failure::unavailable(format!(
        "no {regions} hundred free ports in a row between 10000 and 30000; name some with --base-port"
    )))
}
