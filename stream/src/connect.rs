//! The connection to a region's NATS: credentials from the address, reconnecting for as long as it
//! takes, and a watch that says whether it stands.
//!
//! Always true: [`Connection::open`] does not wait for a server. Each time the connection comes up
//! `epoch` grows, so whoever remembered something of the broker knows that it may have changed.
//! async-nats 0.51 does not use the user and password of an address by itself.

use crate::error::StreamError;
use async_nats::{Client, ConnectOptions, Event, ServerAddr};
use std::time::Duration;
use tokio::sync::watch;

const RECONNECT_DELAY_MAX: Duration = Duration::from_secs(2);

/// Whether the connection stands, and how often it came up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Link {
    pub up: bool,
    pub epoch: u64,
}

#[derive(Clone)]
pub struct Connection {
    pub client: Client,
    state: watch::Receiver<Link>,
}

impl Connection {
    /// Starts connecting to `url` (`nats://user:password@host:port`, or several with commas).
    pub async fn open(url: &str, name: &str) -> Result<Connection, StreamError> {
        let bad = |reason: String| StreamError::Address { url: without_password(url), reason };
        let mut servers = Vec::new();
        for part in url.split(',') {
            servers.push(part.trim().parse::<ServerAddr>().map_err(|e| bad(e.to_string()))?);
        }
        let first = servers.first().ok_or_else(|| bad("it is empty".into()))?;
        let mut options = ConnectOptions::new();
        if let (Some(user), Some(password)) = (first.username(), first.password()) {
            options = options.user_and_password(user.to_owned(), password.to_owned());
        }
        let (sender, state) = watch::channel(Link::default());
        let client = options
            .name(name)
            .retry_on_initial_connect()
            .max_reconnects(None)
            .connection_timeout(Duration::from_secs(5))
            .ping_interval(Duration::from_secs(5))
            .reconnect_delay_callback(reconnect_delay)
            .event_callback(move |event| {
                match &event {
                    Event::Connected => {
                        sender.send_modify(|link| *link = Link { up: true, epoch: link.epoch + 1 })
                    }
                    Event::Disconnected | Event::Closed => {
                        sender.send_modify(|link| link.up = false)
                    }
                    _ => {}
                }
                async move { tracing::debug!(%event, "nats connection") }
            })
            .connect(servers)
            .await
            .map_err(|error| StreamError::Connect {
                url: without_password(url),
                reason: error.to_string(),
            })?;
        Ok(Connection { client, state })
    }

    pub fn link(&self) -> Link {
        *self.state.borrow()
    }

    pub fn watch(&self) -> watch::Receiver<Link> {
        self.state.clone()
    }

    /// Waits until the connection stands.
    pub async fn up(&self) -> Link {
        let mut state = self.state.clone();
        let up = state.wait_for(|link| link.up).await.map(|link| *link);
        match up {
            Ok(link) => link,
            // The client is gone with its callback; nothing will ever come up.
            Err(_) => std::future::pending().await,
        }
    }

    /// Waits until the connection of `epoch` is lost (or was replaced by another).
    pub async fn lost(&self, epoch: u64) {
        let mut state = self.state.clone();
        let gone = state.wait_for(|link| !link.up || link.epoch != epoch).await.is_err();
        if gone {
            std::future::pending::<()>().await;
        }
    }
}

/// Doubles from 20 ms to two seconds.
fn reconnect_delay(attempts: usize) -> Duration {
    let exponent = attempts.saturating_sub(1).min(16) as u32;
    Duration::from_millis(20).saturating_mul(1 << exponent).min(RECONNECT_DELAY_MAX)
}

/// An address that may be logged.
pub fn without_password(url: &str) -> String {
    url.split(',')
        .map(|part| match (part.find("://"), part.rfind('@')) {
            (Some(scheme), Some(at)) if scheme < at => {
                format!("{}://{}", &part[..scheme], &part[at + 1..])
            }
            (None, Some(at)) => part[at + 1..].to_owned(),
            _ => part.to_owned(),
        })
        .collect::<Vec<_>>()
        .join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_in_a_log_line() {
        assert_eq!(without_password("nats://u:p@h:4222"), "nats://h:4222");
        assert_eq!(without_password("nats://u:p@a:1,nats://u:p@b:2"), "nats://a:1,nats://b:2");
        assert_eq!(without_password("h:4222"), "h:4222");
    }

    #[test]
    fn the_delay_grows_and_stops_growing() {
        assert_eq!(reconnect_delay(1), Duration::from_millis(20));
        assert_eq!(reconnect_delay(2), Duration::from_millis(40));
        assert_eq!(reconnect_delay(1000), RECONNECT_DELAY_MAX);
    }
}
