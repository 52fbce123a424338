//! How strong the broker is, compared with the configuration this project ships: version, copies,
//! and whether it syncs before it acknowledges.
//!
//! Always true: weak is said, never refused. The log is the record; a weak broker costs refills.

use super::settings::PublisherSettings;
use crate::connect::{Connection, without_password};
use crate::metrics::{BROKER_WEAK, Weakness};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// The oldest version without known loss on plain process kills.
pub(crate) const VERSION_MIN: (u32, u32, u32) = (2, 12, 7);
/// Copies of each stream in the shipped configuration.
pub(crate) const REPLICAS_MIN: usize = 3;
const ANSWER_BYTES_MAX: u64 = 1 << 20;
const ANSWER_TIME_MAX: Duration = Duration::from_secs(3);
const RETRY: Duration = Duration::from_millis(100);

/// What is known of the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Strength {
    pub version: String,
    pub replicas: usize,
    /// `None`: the monitor was not asked or did not answer.
    pub sync_always: Option<bool>,
}

impl Strength {
    pub fn weaknesses(&self) -> Vec<Weakness> {
        let mut found = Vec::new();
        if version_of(&self.version).is_none_or(|version| version < VERSION_MIN) {
            found.push(Weakness::Version);
        }
        if self.replicas < REPLICAS_MIN {
            found.push(Weakness::Replicas);
        }
        if self.sync_always != Some(true) {
            found.push(Weakness::Sync);
        }
        found
    }
}

/// Asks the connected server and its monitor, sets the metric and says what was found.
pub(crate) async fn check(connection: &Connection, settings: &PublisherSettings) -> Strength {
    let sync_always = match settings.monitor_url.as_str() {
        "" => None,
        url => match patient_sync_setting(url).await {
            Ok(setting) => Some(setting),
            Err(reason) => {
                tracing::warn!(url, reason, "the NATS monitor did not tell its sync setting");
                None
            }
        },
    };
    let version = connection.client.server_info().version;
    let strength = Strength { version, replicas: settings.replicas, sync_always };
    let weak = strength.weaknesses();
    for reason in Weakness::ALL {
        BROKER_WEAK.with_label_values(&[reason.label()]).set(weak.contains(&reason).into());
    }
    let Strength { version, replicas, .. } = &strength;
    let server = without_password(&settings.nats_url);
    let sync = match sync_always {
        Some(true) => "always",
        Some(false) => "on a timer",
        None => "unknown",
    };
    let reasons: Vec<&str> = weak.iter().map(|weakness| weakness.label()).collect();
    match (weak.is_empty(), settings.development) {
        (true, _) => tracing::info!(server, version, replicas, sync, "NATS is as shipped"),
        (false, true) => tracing::info!(
            server, version, replicas, sync, weak = ?reasons,
            "NATS is weaker than the shipped configuration, as development clusters are"
        ),
        (false, false) => tracing::warn!(
            server, version, replicas, sync, weak = ?reasons,
            "NATS is weaker than the shipped configuration (3 copies, sync_interval: always, \
             2.12.7 or newer): after a power cut streams are refilled from the logs"
        ),
    }
    strength
}

fn version_of(text: &str) -> Option<(u32, u32, u32)> {
    let plain = text.trim_start_matches('v').split('-').next()?;
    let mut parts = plain.split('.').map(str::parse);
    let mut next = || parts.next()?.ok();
    Some((next()?, next()?, next()?))
}

/// A server that has just started may open its monitor after its client port.
async fn patient_sync_setting(monitor_url: &str) -> Result<bool, String> {
    let deadline = Instant::now() + ANSWER_TIME_MAX;
    loop {
        match sync_setting(monitor_url).await {
            Err(_) if Instant::now() < deadline => tokio::time::sleep(RETRY).await,
            answer => return answer,
        }
    }
}

/// Reads `sync_always` of the server behind `http://host:port`.
async fn sync_setting(monitor_url: &str) -> Result<bool, String> {
    let answer = tokio::time::timeout(ANSWER_TIME_MAX, get(monitor_url, "/jsz"))
        .await
        .map_err(|_| format!("no answer in {ANSWER_TIME_MAX:?}"))??;
    sync_always(&answer)
}

fn sync_always(answer: &str) -> Result<bool, String> {
    let answer: serde_json::Value =
        serde_json::from_str(answer).map_err(|error| format!("/jsz is not JSON: {error}"))?;
    match &answer["config"] {
        serde_json::Value::Object(config) => {
            Ok(config.get("sync_always").and_then(|value| value.as_bool()).unwrap_or(false))
        }
        _ => Err("/jsz holds no configuration: is JetStream enabled?".into()),
    }
}

/// The body of a plain HTTP GET. HTTP/1.0, so that the server ends the body by closing.
async fn get(url: &str, path: &str) -> Result<String, String> {
    let host = url
        .strip_prefix("http://")
        .ok_or("the monitor address must begin with http://")?
        .trim_end_matches('/');
    let said = |error: std::io::Error| error.to_string();
    let mut connection = TcpStream::connect(host).await.map_err(said)?;
    let request =
        format!("GET {path} HTTP/1.0\r\nHost: {host}\r\nAccept: application/json\r\n\r\n");
    connection.write_all(request.as_bytes()).await.map_err(said)?;
    let mut answer = Vec::new();
    connection.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await.map_err(said)?;
    let answer = String::from_utf8(answer).map_err(|error| error.to_string())?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("the answer is not HTTP")?;
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        return Err(format!("{path} answered {status:?}"));
    }
    Ok(body.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert_eq!(version_of("2.15.1"), Some((2, 15, 1)));
        assert_eq!(version_of("v2.12.10-RC.1"), Some((2, 12, 10)));
        assert!(version_of("2.12.10") > Some(VERSION_MIN));
        assert!(version_of("2.9.10") < Some(VERSION_MIN));
        assert_eq!(version_of("new"), None);
    }

    #[test]
    fn each_weakness_is_found() {
        let strong = Strength { version: "2.15.1".into(), replicas: 3, sync_always: Some(true) };
        assert_eq!(strong.weaknesses(), []);
        let weak = Strength { version: "2.9.10".into(), replicas: 1, sync_always: None };
        assert_eq!(weak.weaknesses(), Weakness::ALL);
        let timed = Strength { sync_always: Some(false), ..strong };
        assert_eq!(timed.weaknesses(), [Weakness::Sync]);
    }

    #[test]
    fn the_sync_setting_is_read() {
        assert_eq!(sync_always(r#"{"config":{"sync_always":true}}"#), Ok(true));
        assert_eq!(sync_always(r#"{"config":{"sync_interval":120000000000}}"#), Ok(false));
        assert!(sync_always(r#"{"memory":0}"#).unwrap_err().contains("JetStream"));
    }
}
