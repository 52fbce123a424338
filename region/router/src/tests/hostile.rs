//! Random bytes on the port and random bodies behind right headers crash nothing.

use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tombolo_client::{ClientError, v1};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use super::Served;
use super::items::{key, with_table};
use crate::operation::Kind;

/// Sends bodies as they are.
#[derive(Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = ();
    type Encoder = Raw;
    type Decoder = Raw;
    fn encoder(&mut self) -> Raw {
        Raw
    }
    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;
    fn encode(&mut self, body: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        bytes::BufMut::put(out, body);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = ();
    type Error = Status;
    fn decode(&mut self, body: &mut DecodeBuf<'_>) -> Result<Option<()>, Status> {
        bytes::Buf::advance(body, bytes::Buf::remaining(body));
        Ok(Some(()))
    }
}

async fn send(channel: &Channel, kind: Kind, service: &str, body: Bytes) -> Result<(), Status> {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
    let path = format!("/tombolo.v1.{service}/{}", kind.name()).parse().unwrap();
    grpc.unary(Request::new(body), path, Raw).await.map(|_| ())
}

/// The service of each rpc, from its path.
fn service_of(kind: Kind) -> &'static str {
    ["Items", "Tables", "Streams", "Operations"]
        .into_iter()
        .find(|service| Kind::of_path(&format!("/tombolo.v1.{service}/{}", kind.name())).is_some())
        .expect("every kind has a service")
}

#[tokio::test]
async fn random_bytes_on_the_port_crash_nothing() {
    let served = Served::plain();
    let client = with_table(&served).await;
    let address = served.endpoint.trim_start_matches("http://").to_string();
    let mut random = SmallRng::seed_from_u64(0x7061_6e69);
    for round in 0..60 {
        let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
        let mut bytes = vec![0; random.random_range(1..4096)];
        random.fill_bytes(&mut bytes);
        let opening: &[u8] = match round % 3 {
            0 => b"",
            1 => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            _ => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
        };
        // The other end may hang up while we still write: that is a fine answer.
        let _ = stream.write_all(opening).await;
        let _ = stream.write_all(&bytes).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let end = stream.read_to_end(&mut answer);
        let _ = tokio::time::timeout(Duration::from_secs(5), end)
            .await
            .expect("the server closes the connection");
    }
    client.put_item("music", key("a", 1)).await.unwrap();
    served.stop().await;
}

#[tokio::test]
async fn random_bodies_are_answered_and_are_never_our_fault() {
    let served = Served::plain();
    let client = with_table(&served).await;
    let channel = Endpoint::from_shared(served.endpoint.clone()).unwrap().connect().await.unwrap();
    let mut random = SmallRng::seed_from_u64(0x746f_6d62);
    // A body that means something, to be damaged.
    let sound = v1::PutItemRequest {
        table_name: "music".into(),
        item: tombolo_client::convert::item_to_wire(key("a", 1)),
        condition_expression: Some("attribute_exists(#a) AND #a < :b".into()),
        expression_attribute_names: [("#a".to_string(), "pk".to_string())].into(),
        return_values: 2,
        ..v1::PutItemRequest::default()
    }
    .encode_to_vec();
    for round in 0..1500 {
        let mut body = if round % 2 == 0 {
            let mut body = vec![0; random.random_range(0..200)];
            random.fill_bytes(&mut body);
            body
        } else {
            sound.clone()
        };
        for _ in 0..random.random_range(0..4) {
            if !body.is_empty() {
                let at = random.random_range(0..body.len());
                body[at] ^= 1 << random.random_range(0..8);
            }
        }
        let kind = Kind::ALL[round % Kind::ALL.len()];
        let Err(status) = send(&channel, kind, service_of(kind), body.into()).await else {
            continue;
        };
        let ours = matches!(status.code(), Code::Internal | Code::Unknown | Code::DataLoss);
        assert!(!ours, "{kind:?}: {status:?}");
        let error = ClientError::from_status(status, true);
        assert!(!error.request_id.is_empty(), "{kind:?}: {error:?}");
    }
    // The table may be gone by now: a damaged body can still be a sound DeleteTable.
    client.list_tables().await.unwrap();
    served.stop().await;
}
