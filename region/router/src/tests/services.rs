//! Tables, streams, operations, reflection, health, certificates.

use futures::StreamExt;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tombolo_client::report::VerifyEvent;
use tombolo_client::{Client, ClientIdentity, ClientTls, TableDefinition};
use tombolo_item::{GroupId, Shard};
use tombolo_memds::TableStatus;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use super::Served;
use super::items::{key, schema, with_table};
use crate::server::{Router, RouterError};
use crate::settings::{RouterSettings, RouterTls};

#[tokio::test]
async fn tables_are_made_described_listed_and_removed() {
    let served = Served::plain();
    let client = with_table(&served).await;
    for index in 0..5 {
        let definition = TableDefinition::new(format!("table.{index}"), schema());
        client.create_table(definition).await.unwrap();
    }
    let table = client.describe_table("music").await.unwrap();
    assert!(table.is_active());
    assert_eq!(table.schema, schema());
    assert_eq!((table.region.as_str(), table.origin_region.as_str()), ("us-east", "us-east"));
    assert_eq!(table.partitions[0].shard, Shard { group: GroupId(16), epoch: 1 });
    assert_eq!(table.stream_subject, format!("tombolo.us-east.{}.*", table.id));
    assert_eq!(client.list_tables().await.unwrap().len(), 6);

    let again = client.create_table(TableDefinition::new("music", schema())).await.unwrap_err();
    assert_eq!(again.reason, "ResourceInUseException");
    assert_eq!(again.message, "Table already exists: music");
    let nowhere =
        TableDefinition { regions: vec!["mars".into()], ..TableDefinition::new("far", schema()) };
    let error = client.create_table(nowhere).await.unwrap_err();
    assert!(error.message.contains("mars") && error.message.contains("eu-west"), "{error}");

    assert_eq!(client.delete_table("music").await.unwrap().status, "DELETING");
    let error = client.describe_table("music").await.unwrap_err();
    assert!(error.is_not_found());
    assert_eq!(error.message, "Requested resource not found: Table: music not found");
    served.region.set_status("table.1", TableStatus::Creating);
    let error = client.get_item("table.1", key("a", 1), true).await.unwrap_err();
    assert!(error.message.contains("being created"), "{error}");
    served.stop().await;
}

#[tokio::test]
async fn names_come_in_pages() {
    let served = Served::plain();
    let client = served.client().await;
    for index in 0..7 {
        client.create_table(TableDefinition::new(format!("t-{index}"), schema())).await.unwrap();
    }
    let mut tables = client.raw().tables;
    let request = tombolo_client::v1::ListTablesRequest {
        exclusive_start_table_name: Some("t-1".into()),
        limit: Some(3),
    };
    let page = tables.list_tables(request).await.unwrap();
    assert!(page.metadata().contains_key("x-request-id"));
    let page = page.into_inner();
    assert_eq!(page.table_names, ["t-2", "t-3", "t-4"]);
    assert_eq!(page.last_evaluated_table_name.as_deref(), Some("t-4"));
    served.stop().await;
}

#[tokio::test]
async fn a_stream_is_described_and_what_is_trimmed_says_so() {
    let served = Served::plain();
    let client = with_table(&served).await;
    client.put_item("music", key("a", 1)).await.unwrap();
    let stream = client.describe_stream("music").await.unwrap();
    let shard = &stream.shards[0];
    assert_eq!(shard.head, Some((1, 7)));
    assert_eq!(shard.subject, format!("tombolo.us-east.{}.{}", stream.table_id, shard.shard));
    assert_eq!(stream.replication_subject, "");
    let page = client.get_records("music", shard.shard, 1, None).await.unwrap();
    assert_eq!((page.changes.len(), page.next_seq), (1, 2));
    served.region.trim(3);
    let error = client.get_records("music", shard.shard, 1, None).await.unwrap_err();
    assert_eq!(error.reason, "TrimmedDataAccessException");
    let missing = Shard { group: GroupId(99), epoch: 1 };
    let error = client.get_records("music", missing, 1, None).await.unwrap_err();
    assert!(error.is_not_found());
    served.stop().await;
}

#[tokio::test]
async fn operations_pass_through() {
    let served = Served::plain();
    let client = with_table(&served).await;
    assert_eq!(client.status().await.unwrap().region, "us-east");
    let events: Vec<_> = client.verify_table("music").await.unwrap().collect().await;
    assert_eq!(events.len(), 2);
    assert!(matches!(events.last(), Some(Ok(VerifyEvent::Summary(summary))) if summary.agreed));
    assert!(client.verify_table("nothing").await.is_err());
    served.stop().await;
}

#[tokio::test]
async fn reflection_lists_our_services_and_health_says_serving() {
    let served = Served::plain();
    let channel = Endpoint::from_shared(served.endpoint.clone()).unwrap().connect().await.unwrap();
    let ask = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = ServerReflectionClient::new(channel.clone())
        .server_reflection_info(futures::stream::iter([ask]))
        .await
        .unwrap()
        .into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response;
    let Some(MessageResponse::ListServicesResponse(list)) = answer else {
        panic!("not a list: {answer:?}")
    };
    let names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    for name in ["Items", "Tables", "Streams", "Operations"] {
        assert!(names.contains(&format!("tombolo.v1.{name}")), "{name} is not in {names:?}");
    }
    let request = HealthCheckRequest { service: "tombolo.v1.Items".into() };
    let health = HealthClient::new(channel).check(request).await.unwrap().into_inner();
    assert_eq!(health.status, 1);
    served.stop().await;
}

#[test]
fn plain_text_beyond_loopback_is_refused_with_what_to_do() {
    let refused = Router::bind(RouterSettings::new(([0, 0, 0, 0], 0).into()));
    let Err(error @ RouterError::PlainText(_)) = refused else { panic!("it was bound") };
    assert!(error.to_string().contains("tombolo certs"), "{error}");
}

/// A certificate signed by an authority: certificate and key, PEM.
pub(super) fn signed(
    issuer: &Issuer<'_, KeyPair>,
    names: &[&str],
    common_name: &str,
) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, common_name);
    let certificate = params.signed_by(&key, issuer).unwrap();
    (certificate.pem(), key.serialize_pem())
}

#[tokio::test]
async fn with_certificates_clients_may_and_nodes_and_strangers_may_not() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key_pair = KeyPair::generate().unwrap();
    let ca = params.self_signed(&key_pair).unwrap().pem();
    let issuer = Issuer::new(params, key_pair);
    let (cert, server_key) = signed(&issuer, &["localhost", "127.0.0.1"], "server");
    let served = Served::start(|settings| {
        settings.tls = Some(RouterTls {
            cert_pem: cert.into(),
            key_pem: server_key.into(),
            client_ca_pem: ca.clone().into(),
        });
    });
    let endpoints = [served.endpoint.clone()];
    let tls = |(cert, key): (String, String)| ClientTls {
        ca_pem: ca.clone().into(),
        identity: Some(ClientIdentity { cert_pem: cert.into(), key_pem: key.into() }),
        server_name: Some("localhost".into()),
    };
    let client = Client::with_tls(&endpoints, tls(signed(&issuer, &["app"], "app"))).await.unwrap();
    client.list_tables().await.unwrap();

    let node = signed(&issuer, &["node-1.dev.tombolo.internal"], "node");
    let error = Client::with_tls(&endpoints, tls(node)).await.unwrap().list_tables().await;
    assert_eq!(error.unwrap_err().reason, "AccessDeniedException");

    // Somebody else's authority: the handshake fails, at once or with the first request.
    let stranger = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let other = Issuer::new(params, stranger);
    if let Ok(client) = Client::with_tls(&endpoints, tls(signed(&other, &["app"], "app"))).await {
        let mut tables = client.raw().tables;
        let request = tombolo_client::v1::ListTablesRequest::default();
        assert!(tables.list_tables(request).await.is_err());
    }
    served.stop().await;
}
