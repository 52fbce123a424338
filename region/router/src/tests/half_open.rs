//! Connections that never get going: bounded in number, cut off in time, and in nobody's way.

use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tombolo_client::{Client, ClientIdentity, ClientTls};

use super::Served;
use super::services::signed;
use crate::settings::{RouterSettings, RouterTls};

const MOST: usize = 200;

fn small(settings: &mut RouterSettings) {
    settings.max_connections = MOST;
    settings.handshake_limit = Duration::from_millis(1_500);
}

/// Opens this many connections, each of which sends `first` and then nothing.
async fn idle(address: &str, count: usize, first: &[u8]) -> Vec<TcpStream> {
    let mut all = Vec::new();
    for _ in 0..count {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // One that was turned away may not take it.
        let _ = stream.write_all(first).await;
        all.push(stream);
    }
    all
}

/// Whether the other side closed it within the time.
async fn closed(stream: &mut TcpStream, within: Duration) -> bool {
    let mut bytes = [0; 1_024];
    let end = async { while matches!(stream.read(&mut bytes).await, Ok(n) if n > 0) {} };
    tokio::time::timeout(within, end).await.is_ok()
}

#[tokio::test]
async fn hundreds_of_silent_connections_are_bounded_and_cut_off() {
    let served = Served::start(small);
    let address = served.endpoint.trim_start_matches("http://").to_owned();
    let mut streams = idle(&address, MOST + 100, b"").await;
    let (kept, over) = streams.split_at_mut(MOST);
    for stream in over {
        assert!(closed(stream, Duration::from_secs(5)).await, "one too many is closed");
    }
    for stream in kept {
        assert!(closed(stream, Duration::from_secs(10)).await, "silence is cut off");
    }
    served.client().await.list_tables().await.unwrap();
    served.stop().await;
}

#[tokio::test]
async fn bytes_that_drip_are_no_beginning() {
    let served = Served::start(small);
    let address = served.endpoint.trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let begun = Instant::now();
    let mut preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n".iter();
    let mut bytes = [0; 64];
    loop {
        let byte = preface.next().expect("it is cut off before it has said its word");
        if stream.write_all(&[*byte]).await.is_err() {
            break;
        }
        let read = stream.read(&mut bytes);
        if let Ok(Ok(0) | Err(_)) = tokio::time::timeout(Duration::from_millis(150), read).await {
            break;
        }
    }
    assert!(begun.elapsed() >= Duration::from_millis(1_400), "it had its time");
    served.stop().await;
}

#[tokio::test]
async fn handshakes_that_never_end_are_cut_off() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let ca = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let (cert, key) = signed(&issuer, &["localhost", "127.0.0.1"], "server");
    let served = Served::start(|settings| {
        small(settings);
        let (cert_pem, key_pem) = (cert.into(), key.into());
        settings.tls = Some(RouterTls { cert_pem, key_pem, client_ca_pem: ca.clone().into() });
    });
    let address = served.endpoint.trim_start_matches("https://").to_owned();
    // The head of a handshake record of 512 bytes (RFC 8446, 5.1), and far fewer bytes than that.
    let mut begun = vec![22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];
    begun.resize(64, 7);
    let mut streams = idle(&address, MOST, &begun).await;
    for stream in &mut streams {
        assert!(closed(stream, Duration::from_secs(10)).await, "half a handshake is cut off");
    }
    let (cert, key) = signed(&issuer, &["app"], "app");
    let tls = ClientTls {
        ca_pem: ca.into(),
        identity: Some(ClientIdentity { cert_pem: cert.into(), key_pem: key.into() }),
        server_name: Some("localhost".into()),
    };
    let client = Client::with_tls(std::slice::from_ref(&served.endpoint), tls).await.unwrap();
    client.list_tables().await.unwrap();
    served.stop().await;
}
