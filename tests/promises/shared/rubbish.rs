//! Promise: bytes that make no sense, on any port, hurt nobody; requests that make no sense are refused
//! with a sentence.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tombolo_client::v1;
use tombolo_tests::workload::item;
use tonic::{Code, Request};

use crate::shared;

/// What a port hears: noise, the beginnings of protocols, and noise after such a beginning.
fn noises() -> Vec<Vec<u8>> {
    let mut random = SmallRng::seed_from_u64(11);
    let mut noise = |len: usize| {
        let mut bytes = vec![0; len];
        random.fill(&mut bytes[..]);
        bytes
    };
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    vec![
        vec![0],
        noise(17),
        noise(4_096),
        noise(1 << 20),
        preface.clone(),
        [preface.clone(), noise(64)].concat(),
        // A frame header that promises 16 MB.
        [preface, vec![0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]].concat(),
        // The start of a TLS handshake, then noise.
        [vec![0x16, 3, 1, 0xff, 0xff], noise(512)].concat(),
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n"
            .to_vec(),
        [b"POST /dev/cut HTTP/1.1\r\n".to_vec(), b"x: y\r\n".repeat(5_000)].concat(),
    ]
}

#[test]
fn random_bytes_on_every_port_crash_nothing() {
    let shared = shared();
    let before = shared.cluster.json();
    shared.runtime.block_on(async {
        let mut ports = Vec::new();
        for node in before.regions.iter().flat_map(|region| &region.nodes) {
            let port: u16 =
                node.grpc.rsplit(':').next().and_then(|p| p.parse().ok()).expect("a port");
            // gRPC, admin, node to node.
            ports.extend([port, port + 1, port + 2]);
        }
        for port in ports {
            for noise in noises() {
                let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port))
                    .await
                    .unwrap_or_else(|e| panic!("port {port} does not listen: {e}"));
                // The other side may hang up in the middle of it; that is an answer too.
                let _ = stream.write_all(&noise).await;
                let mut answer = vec![0; 1 << 16];
                let read = stream.read(&mut answer);
                let _ = tokio::time::timeout(Duration::from_millis(50), read).await;
            }
        }
        let table = shared.cluster.table("after-noise", 1).await;
        let client = shared.cluster.client(0).await;
        client.put_item(&table.name, item("k", 1)).await.expect("the cluster serves as before");
    });
    assert_eq!(shared.cluster.json(), before, "a process ended and was started again");
}

#[test]
fn senseless_requests_are_refused_with_a_sentence() {
    let shared = shared();
    shared.runtime.block_on(async {
        shared.cluster.table("rubbish", 1).await;
        let client = shared.cluster.client(0).await;
        let value = |value| v1::AttributeValue { value: Some(value) };
        let text = |s: &str| value(v1::attribute_value::Value::S(s.into()));
        let number = |s: &str| value(v1::attribute_value::Value::N(s.into()));
        let put = |table: &str, attributes: Vec<(&str, v1::AttributeValue)>| v1::PutItemRequest {
            table_name: table.into(),
            item: attributes.into_iter().map(|(name, v)| (name.to_owned(), v)).collect(),
            ..Default::default()
        };
        let good = || ("pk", text("k"));
        let deep = (0..40).fold(text("x"), |inner, _| {
            value(v1::attribute_value::Value::L(v1::ListValue { values: vec![inner] }))
        });
        let conditional = |condition: &str| v1::PutItemRequest {
            condition_expression: Some(condition.into()),
            ..put("rubbish", vec![good()])
        };
        let cases = [
            (put("", vec![good()]), "Invalid table/index name"),
            (put("a b c", vec![good()]), "Invalid table/index name"),
            (put("rubbish", vec![]), "Member must not be null"),
            (put("rubbish", vec![("other", text("x"))]), "Missing the key pk"),
            (put("rubbish", vec![("pk", number("1"))]), "Type mismatch for key pk"),
            (put("rubbish", vec![("pk", text(""))]), "empty string"),
            (put("rubbish", vec![("pk", text(&"x".repeat(2_049)))]), "2048"),
            (
                put("rubbish", vec![good(), ("n", number("abc"))]),
                "cannot be converted to a numeric",
            ),
            (
                put("rubbish", vec![good(), ("n", number(&"9".repeat(10_000)))]),
                "38 significant digits",
            ),
            (
                put("rubbish", vec![good(), ("v", v1::AttributeValue { value: None })]),
                "Supplied AttributeValue is empty",
            ),
            (put("rubbish", vec![good(), ("v", text(&"x".repeat(400 * 1024)))]), "Item size"),
            (put("rubbish", vec![good(), ("v", deep)]), "esting"),
            (conditional("attribute_exists("), "Syntax error"),
            (conditional("a = :missing"), ":missing"),
            (conditional(""), "can not be empty"),
        ];
        let mut wrong = Vec::new();
        for (request, said) in cases {
            let mut items = client.raw().items;
            match items.put_item(Request::new(request)).await {
                Err(refused)
                    if refused.code() == Code::InvalidArgument
                        && refused.message().contains(said) => {}
                other => wrong.push(format!("{said}: {other:?}")),
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
        let mut items = client.raw().items;
        let absent = put("no-such-table", vec![good()]);
        let refused = items.put_item(Request::new(absent)).await.expect_err("no such table");
        assert_eq!(refused.code(), Code::NotFound, "{}", refused.message());
    });
}
