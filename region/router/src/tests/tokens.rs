//! Access keys as bearer tokens, over real TLS and on loopback.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tombolo_client::v1::ListTablesRequest;
use tombolo_client::v1::tables_client::TablesClient;
use tombolo_client::{
    BearerToken, Client, ClientError, ClientIdentity, ClientSettings, ClientTls, SessionOptions,
};
use tonic::metadata::MetadataValue;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::Served;
use super::items::{key, make_table};
use super::services::signed;
use crate::settings::RouterTls;

/// What is known to be good, until it is revoked.
const GOOD: &str = "AKID.s3cret.with/dots";

/// A region behind TLS, and the authority of its certificates.
struct Guarded {
    served: Served,
    ca: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Guarded {
    fn start() -> Guarded {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let ca = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        let (cert, key) = signed(&issuer, &["localhost", "127.0.0.1"], "server");
        let served = Served::start(|settings| {
            let (cert_pem, key_pem) = (cert.into(), key.into());
            settings.tls = Some(RouterTls { cert_pem, key_pem, client_ca_pem: ca.clone().into() });
        });
        served.keys.give("AKID", "s3cret.with/dots");
        Guarded { served, ca, issuer }
    }

    /// A certificate with this name.
    fn certificate(&self, name: &str) -> Option<ClientIdentity> {
        let (cert, key) = signed(&self.issuer, &[name], name);
        Some(ClientIdentity { cert_pem: cert.into(), key_pem: key.into() })
    }

    async fn client(&self, identity: Option<ClientIdentity>, token: Option<&str>) -> Client {
        let mut settings = ClientSettings::new([self.served.endpoint.clone()]);
        let (ca_pem, server_name) = (self.ca.clone().into(), Some("localhost".into()));
        settings.tls = Some(ClientTls { ca_pem, identity, server_name });
        settings.token = token.map(|token| token.parse().unwrap());
        Client::with_settings(settings).await.expect("a handshake needs no certificate")
    }

    async fn refusal(&self, identity: Option<ClientIdentity>, token: Option<&str>) -> ClientError {
        self.client(identity, token).await.list_tables().await.unwrap_err()
    }

    async fn channel(&self) -> Channel {
        let authority = Certificate::from_pem(&self.ca);
        let tls = ClientTlsConfig::new().ca_certificate(authority).domain_name("localhost");
        let endpoint = Endpoint::from_shared(self.served.endpoint.clone()).unwrap();
        endpoint.tls_config(tls).unwrap().connect().await.unwrap()
    }
}

fn is_nobody(error: &ClientError) {
    assert_eq!((error.code, error.retryable), (Code::Unauthenticated, false), "{error:?}");
    assert_eq!(error.reason, "UnrecognizedClientException");
    assert!(error.message.starts_with("The security token included in the request is invalid"));
    assert!(!error.request_id.is_empty());
}

#[tokio::test]
async fn over_tls_a_token_or_a_certificate_is_needed_and_either_is_enough() {
    let guarded = Guarded::start();
    let by_token = guarded.client(None, Some(GOOD)).await;
    by_token.list_tables().await.unwrap();
    guarded.client(guarded.certificate("app"), None).await.list_tables().await.unwrap();
    guarded.client(guarded.certificate("app"), Some(GOOD)).await.list_tables().await.unwrap();

    let neither = guarded.refusal(None, None).await;
    assert_eq!((neither.code, neither.retryable), (Code::Unauthenticated, false));
    assert_eq!(neither.reason, "MissingAuthenticationTokenException");
    assert!(neither.message.starts_with("Request is missing Authentication Token"));
    assert!(neither.message.contains("Bearer") && !neither.request_id.is_empty());
    for wrong in ["AKID.s3cret.with/dot", "AKID.s3cret.with/dots1", "OTHER.s3cret.with/dots"] {
        is_nobody(&guarded.refusal(None, Some(wrong)).await);
        // A certificate does not mend it.
        is_nobody(&guarded.refusal(guarded.certificate("app"), Some(wrong)).await);
    }
    // A node's certificate is good for nothing here.
    let node = guarded.certificate("node-1.dev.tombolo.internal");
    assert_eq!(guarded.refusal(node, None).await.reason, "AccessDeniedException");

    // On connections that are already open, too.
    guarded.served.keys.revoke("AKID");
    is_nobody(&by_token.list_tables().await.unwrap_err());
    guarded.served.stop().await;
}

#[tokio::test]
async fn health_is_not_for_strangers() {
    let guarded = Guarded::start();
    let mut health = HealthClient::new(guarded.channel().await);
    let ask = || Request::new(HealthCheckRequest { service: "tombolo.v1.Items".into() });
    let refused = health.check(ask()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let mut asked = ask();
    let token = MetadataValue::try_from(format!("Bearer {GOOD}")).unwrap();
    asked.metadata_mut().insert("authorization", token);
    assert_eq!(health.check(asked).await.unwrap().into_inner().status, 1);
    guarded.served.stop().await;
}

#[tokio::test]
async fn on_loopback_a_token_is_not_needed_but_a_wrong_one_is_refused() {
    let served = Served::plain();
    served.keys.give("AKID", "secret");
    served.client().await.list_tables().await.unwrap();
    let with = |secret: &str| {
        let mut settings = ClientSettings::new([served.endpoint.clone()]);
        settings.token = BearerToken::new("AKID", secret).ok();
        Client::with_settings(settings)
    };
    with("secret").await.unwrap().list_tables().await.unwrap();
    is_nobody(&with("wrong").await.unwrap().list_tables().await.unwrap_err());

    let channel = Endpoint::from_shared(served.endpoint.clone()).unwrap().connect().await.unwrap();
    for odd in ["", "Bearer", "Basic QUtJRDpzZWNyZXQ=", "AWS4-HMAC-SHA256 Credential=AKID/x"] {
        let mut request = Request::new(ListTablesRequest::default());
        request.metadata_mut().insert("authorization", MetadataValue::try_from(odd).unwrap());
        let status = TablesClient::new(channel.clone()).list_tables(request).await.unwrap_err();
        let error = ClientError::from_status(status, false);
        assert_eq!(error.code, Code::Unauthenticated, "{odd:?}");
        assert!(error.message.contains("'Bearer <access key>.<secret>'"), "{odd:?}: {error}");
    }
    served.stop().await;
}

#[tokio::test]
async fn a_session_may_do_no_more_once_its_key_is_revoked() {
    let guarded = Guarded::start();
    let client = guarded.client(None, Some(GOOD)).await;
    make_table(&client).await;
    let session = client.session(SessionOptions::default());
    session.put_item("music", key("a", 1)).await.unwrap();
    guarded.served.keys.revoke("AKID");
    // On the stream that was opened before, and on a new one.
    is_nobody(&session.put_item("music", key("a", 2)).await.unwrap_err());
    let other = client.session(SessionOptions::default());
    is_nobody(&other.put_item("music", key("a", 2)).await.unwrap_err());
    guarded.served.keys.give("AKID", "s3cret.with/dots");
    session.put_item("music", key("a", 2)).await.unwrap();
    assert_eq!(guarded.served.region.writes(), 2);
    guarded.served.stop().await;
}
