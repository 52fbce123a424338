//! The DynamoDB port through real HTTP: what the service's framework answers, limits, signatures.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials as Keys;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::Content;
use super::fake::Fake;
use crate::dynamodb::{Credentials, DynamoDb, DynamoDbSettings};

struct OneKey;

impl Credentials for OneKey {
    fn secret(&self, access_key: &str) -> Option<String> {
        (access_key == "AKID").then(|| "secret".to_owned())
    }
}

struct Port {
    address: std::net::SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

impl Port {
    fn start(change: impl FnOnce(&mut DynamoDbSettings)) -> Port {
        let mut settings = DynamoDbSettings::new(([127, 0, 0, 1], 0).into(), "us-east");
        change(&mut settings);
        let port = DynamoDb::bind(settings).expect("a free port on loopback");
        let address = port.local_addr();
        let (stop, stopped) = oneshot::channel::<()>();
        let served =
            port.serve_region(Fake::default(), Arc::new(Content), Arc::new(OneKey), async {
                let _ = stopped.await;
            });
        Port { address, stop: Some(stop), task: tokio::spawn(served) }
    }

    fn unsigned() -> Port {
        Port::start(|settings| settings.check_signatures = false)
    }

    async fn stop(mut self) {
        self.stop.take().expect("stopped once").send(()).expect("it runs");
        self.task.await.expect("it ends without a panic");
    }

    async fn send(&self, request: http::Request<Bytes>) -> Reply {
        let stream = TcpStream::connect(self.address).await.expect("it listens");
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP/1.1");
        tokio::spawn(connection);
        let reply = sender.send_request(request.map(Full::new)).await.expect("an answer");
        Reply::of(reply).await
    }

    /// A request for the tables' names, signed.
    fn signed(&self, key: &str, secret: &str) -> http::Request<Bytes> {
        let mut request = operation_request("ListTables", "{}");
        let uri = format!("http://{}/", self.address);
        request.headers_mut().insert("host", self.address.to_string().parse().unwrap());
        let identity = Keys::new(key, secret, None, None, "test").into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region("us-east-1")
            .name("dynamodb")
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .unwrap()
            .into();
        let (instructions, _) = {
            let headers = request.headers().iter().map(|(n, v)| (n.as_str(), v.to_str().unwrap()));
            let body = SignableBody::Bytes(b"{}");
            sign(SignableRequest::new("POST", &uri, headers, body).unwrap(), &params)
                .unwrap()
                .into_parts()
        };
        instructions.apply_to_request_http1x(&mut request);
        request
    }

    /// A request for an operation, not signed.
    async fn ask(&self, operation: &str, body: &str) -> Reply {
        self.send(operation_request(operation, body)).await
    }
}

fn operation_request(operation: &str, body: &str) -> http::Request<Bytes> {
    http::Request::post("/")
        .header("host", "localhost")
        .header("content-type", "application/x-amz-json-1.0")
        .header("x-amz-target", format!("DynamoDB_20120810.{operation}"))
        .body(Bytes::from(body.to_owned()))
        .unwrap()
}

struct Reply {
    status: u16,
    headers: HashMap<String, String>,
    body: Bytes,
}

impl Reply {
    async fn of(reply: http::Response<hyper::body::Incoming>) -> Reply {
        let (parts, body) = reply.into_parts();
        let headers = parts.headers.iter();
        let headers =
            headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().into()));
        let body = body.collect().await.expect("the whole body").to_bytes();
        let reply = Reply { status: parts.status.as_u16(), headers: headers.collect(), body };
        let id = &reply.headers["x-amzn-requestid"];
        assert!(id.len() == 52 && id.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase()));
        reply
    }

    fn text(&self) -> String {
        let mut body = self.body.to_vec();
        if self.headers.get("content-encoding").is_some_and(|encoding| encoding == "gzip") {
            body.clear();
            flate2::read::GzDecoder::new(&self.body[..]).read_to_end(&mut body).unwrap();
        }
        String::from_utf8(body).unwrap()
    }

    /// Status, type of the exception without its name space, and message.
    fn fault(&self) -> (u16, String, String) {
        let json: serde_json::Value = serde_json::from_str(&self.text()).unwrap();
        let kind = json["__type"].as_str().unwrap().split('#').nth(1).unwrap().to_owned();
        let message = json.get("message").or_else(|| json.get("Message"));
        (self.status, kind, message.map_or("", |m| m.as_str().unwrap()).to_owned())
    }
}

/// Answers as the service gives them, with their checksums (seen in dynalite's tests, which run
/// against the service).
#[tokio::test]
async fn what_is_no_request_of_the_protocol_is_answered_as_the_service_answers_it() {
    let port = Port::start(|_| ());
    let bare =
        |method: &str| http::Request::builder().method(method).uri("/").header("host", "localhost");
    let healthy = port.send(bare("GET").body(Bytes::new()).unwrap()).await;
    assert_eq!(
        (healthy.status, healthy.text()),
        (200, "healthy: dynamodb.us-east.amazonaws.com ".into())
    );
    for request in [
        bare("OPTIONS").body(Bytes::new()).unwrap(),
        bare("PUT").body(Bytes::new()).unwrap(),
        bare("DELETE").body(Bytes::new()).unwrap(),
        bare("POST").body(Bytes::from("hi")).unwrap(),
        bare("POST").header("content-type", "whatever").body(Bytes::from("hi")).unwrap(),
    ] {
        let reply = port.send(request).await;
        assert_eq!((reply.status, reply.text()), (404, "<UnknownOperationException/>\n".into()));
        assert_eq!(reply.headers["x-amz-crc32"], "3552371480");
        assert_eq!(reply.headers["content-length"], "29");
    }
    let json = "application/json";
    let amz = "application/x-amz-json-1.0";
    for (kind, target, body, crc, text) in [
        (json, "", "hi", "3948637019", "SerializationException"),
        (amz, "", "hi", "3948637019", "SerializationException"),
        (json, "", "", "1368724161", "UnknownOperationException"),
        (amz, "DynamoDB_20120810.ListTable", "{}", "1368724161", "UnknownOperationException"),
        (
            amz,
            "DynamoDB_20120810.ListTables",
            "{}",
            "2088342776",
            "MissingAuthenticationTokenException",
        ),
    ] {
        let request = bare("POST").header("content-type", kind).header("x-amz-target", target);
        let reply = port.send(request.body(Bytes::from(body)).unwrap()).await;
        assert_eq!(reply.fault().1, text);
        assert_eq!((reply.status, &*reply.headers["content-type"]), (400, kind));
        assert_eq!(reply.headers["x-amz-crc32"], crc, "{}", reply.text());
    }
    let cors = bare("OPTIONS")
        .header("origin", "whatever")
        .header("access-control-request-headers", "a, b, c")
        .header("access-control-request-method", "d");
    let reply = port.send(cors.body(Bytes::new()).unwrap()).await;
    assert_eq!((reply.status, reply.body.len()), (200, 0));
    for (name, value) in [
        ("access-control-allow-origin", "*"),
        ("access-control-allow-headers", "a, b, c"),
        ("access-control-allow-methods", "d"),
        ("access-control-max-age", "172800"),
        ("content-length", "0"),
    ] {
        assert_eq!(reply.headers[name], value);
    }
    port.stop().await;
}

#[tokio::test]
async fn only_signed_requests_are_carried_out() {
    let port = Port::start(|_| ());
    let good = port.send(port.signed("AKID", "secret")).await;
    assert_eq!((good.status, good.text()), (200, r#"{"TableNames":[]}"#.into()));
    let wrong = port.send(port.signed("AKID", "other")).await;
    assert_eq!(wrong.fault().1, "InvalidSignatureException");
    let unknown = port.send(port.signed("NOBODY", "secret")).await;
    assert_eq!(
        unknown.fault(),
        (
            400,
            "UnrecognizedClientException".into(),
            "The security token included in the request is invalid.".into()
        )
    );
    port.stop().await;
}

#[tokio::test]
async fn bodies_are_compressed_both_ways_and_summed_as_sent() {
    let port = Port::unsigned();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(b"{\"Limit\":101}").unwrap();
    let mut request = operation_request("ListTables", "");
    request.headers_mut().insert("content-encoding", "gzip".parse().unwrap());
    request.headers_mut().insert("accept-encoding", "deflate, gzip;q=0.5".parse().unwrap());
    *request.body_mut() = encoder.finish().unwrap().into();
    let reply = port.send(request).await;
    assert!(reply.fault().2.contains("Value '101' at 'limit'"), "{}", reply.text());
    assert_eq!(reply.headers["content-encoding"], "gzip");
    let sum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, &reply.body);
    assert_eq!(reply.headers["x-amz-crc32"], sum.to_string());
    let plain = port.ask("ListTables", "{}").await;
    assert!(!plain.headers.contains_key("content-encoding"));
    port.stop().await;
}

#[tokio::test]
async fn a_body_too_large_is_refused_and_not_kept() {
    let port = Port::start(|settings| {
        settings.check_signatures = false;
        settings.max_body_bytes = 1 << 20;
    });
    let large = " ".repeat((1 << 20) + 1);
    let mut stream = TcpStream::connect(port.address).await.unwrap();
    let head = format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", large.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 413");
    // A small one that is large when it is decompressed.
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(large.as_bytes()).unwrap();
    let mut request = operation_request("ListTables", "");
    request.headers_mut().insert("content-encoding", "gzip".parse().unwrap());
    *request.body_mut() = encoder.finish().unwrap().into();
    assert_eq!(port.send(request).await.fault().1, "SerializationException");
    port.stop().await;
}

#[tokio::test]
async fn who_says_nothing_or_little_is_cut_off_and_others_get_in() {
    let port = Port::start(|settings| {
        settings.check_signatures = false;
        settings.header_timeout = Duration::from_millis(300);
        settings.body_timeout = Duration::from_millis(300);
        settings.max_connections = 8;
        settings.max_silent_connections = 4;
    });
    // More silent connections than there is room for.
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(port.address).await.unwrap());
    }
    assert_eq!(port.ask("ListTables", "{}").await.status, 200);
    for mut stream in silent {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        assert!(rest.is_empty());
    }
    for slow in [
        "P",
        "POST / HTTP/1.1\r\nhost: x\r\n",
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n{",
    ] {
        let mut stream = TcpStream::connect(port.address).await.unwrap();
        stream.write_all(slow.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        let rest = String::from_utf8_lossy(&rest);
        assert!(rest.is_empty() || rest.starts_with("HTTP/1.1 408"), "{rest}");
    }
    port.stop().await;
}

/// A request of somebody without a key, which never ends.
async fn lingering(port: &Port) -> TcpStream {
    let mut stream = TcpStream::connect(port.address).await.unwrap();
    let head = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn who_has_no_key_keeps_nobody_out_who_has_one() {
    let port = Port::start(|settings| {
        settings.max_in_flight = 1;
        settings.max_strangers = 1;
        settings.max_stranger_body_bytes = 1 << 10;
    });
    let mut strangers = Vec::new();
    // Until one of them has the place: the next one is turned away.
    while strangers.is_empty()
        || port.ask("ListTables", "{}").await.fault().1 != "ThrottlingException"
    {
        strangers.push(lingering(&port).await);
    }
    let good = port.send(port.signed("AKID", "secret")).await;
    assert_eq!((good.status, good.text()), (200, r#"{"TableNames":[]}"#.into()));
    port.stop().await;
}

#[tokio::test]
async fn who_has_no_key_is_told_so_before_a_large_body_is_read() {
    let port = Port::start(|settings| settings.max_stranger_body_bytes = 1 << 10);
    for (authorization, told) in [
        ("", "MissingAuthenticationTokenException"),
        ("AWS4-HMAC-SHA256 Credential=NOBODY/a/b/c/d", "UnrecognizedClientException"),
    ] {
        let mut stream = TcpStream::connect(port.address).await.unwrap();
        let head = format!(
            "POST / HTTP/1.1\r\nhost: x\r\nauthorization: {authorization}\r\ncontent-length: 9999\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains(told), "{answer}");
    }
    port.stop().await;
}

#[tokio::test]
async fn without_signatures_only_pages_of_this_machine_are_answered() {
    let (open, signed) = (Port::unsigned(), Port::start(|_| ()));
    for (origin, local) in [
        ("http://localhost:3000", true),
        ("https://127.0.0.1", true),
        ("http://[::1]:8080", true),
        ("https://evil.example", false),
        ("http://localhost.evil.example", false),
        ("null", false),
    ] {
        let allowed = async |port: &Port, method: &str| {
            let request = http::Request::builder()
                .method(method)
                .uri("/")
                .header("host", "localhost")
                .header("origin", origin)
                .header("access-control-request-method", "POST");
            let reply = port.send(request.body(Bytes::new()).unwrap()).await;
            reply.headers.contains_key("access-control-allow-origin")
                && (method != "OPTIONS" || reply.status == 200)
        };
        for method in ["OPTIONS", "POST"] {
            assert_eq!(allowed(&open, method).await, local, "{method} {origin}");
            assert!(allowed(&signed, method).await, "{method} {origin}");
        }
    }
    open.stop().await;
    signed.stop().await;
}

#[tokio::test]
async fn connections_are_kept_and_http2_is_spoken() {
    let port = Port::unsigned();
    let stream = TcpStream::connect(port.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    for _ in 0..3 {
        sender.ready().await.expect("the connection is kept");
        let request = operation_request("ListTables", "{}").map(Full::new);
        assert_eq!(Reply::of(sender.send_request(request).await.unwrap()).await.status, 200);
    }
    let stream = TcpStream::connect(port.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let mut request = operation_request("ListTables", "{}").map(Full::new);
    *request.uri_mut() = format!("http://{}/", port.address).parse().unwrap();
    let reply = Reply::of(sender.send_request(request).await.unwrap()).await;
    assert_eq!((reply.status, reply.text()), (200, r#"{"TableNames":[]}"#.into()));
    drop(sender);
    port.stop().await;
}

#[tokio::test]
async fn plain_text_and_unsigned_requests_stay_on_loopback() {
    let refused = |change: fn(&mut DynamoDbSettings)| {
        let mut settings = DynamoDbSettings::new(([0, 0, 0, 0], 0).into(), "us-east");
        change(&mut settings);
        DynamoDb::bind(settings).err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert!(refused(|_| ()).contains("has no certificate"));
    assert!(
        refused(|settings| {
            settings.check_signatures = false;
            settings.tls =
                Some(crate::dynamodb::DynamoDbTls { cert_pem: Vec::new(), key_pem: Vec::new() });
        })
        .contains("must check signatures")
    );
}

/// Texts as the service gives them (seen in dynalite's tests, which run against the service).
#[tokio::test]
async fn parameters_are_refused_in_the_services_words_and_order() {
    let port = Port::unsigned();
    let cases = [
        (
            "PutItem",
            r#"{"TableName":"abc","Item":{"a":{}},"ReturnValues":"ALL_NEW","Expected":{},"ConditionExpression":""}"#,
            "Can not use both expression and non-expression parameters in the same request: Non-expression parameters: {Expected} Expression parameters: {ConditionExpression}",
        ),
        (
            "PutItem",
            r#"{"TableName":"abc","Item":{"a":{}},"ExpressionAttributeNames":{}}"#,
            "ExpressionAttributeNames can only be specified when using expressions",
        ),
        (
            "PutItem",
            r#"{"TableName":"abc","Item":{"a":{}},"ExpressionAttributeValues":{}}"#,
            "ExpressionAttributeValues can only be specified when using expressions: ConditionExpression is null",
        ),
        (
            "UpdateItem",
            r#"{"TableName":"abc","Key":{"a":{}},"ExpressionAttributeValues":{}}"#,
            "ExpressionAttributeValues can only be specified when using expressions: UpdateExpression and ConditionExpression are null",
        ),
        (
            "PutItem",
            r#"{"TableName":"abc","Item":{"a":{}},"ReturnValues":"ALL_NEW"}"#,
            "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes",
        ),
        (
            "PutItem",
            r#"{"TableName":"abc","Item":{"a":{"S":"a"}},"ReturnValues":"ALL_NEW"}"#,
            "ReturnValues can only be ALL_OLD or NONE",
        ),
        (
            "PutItem",
            r##"{"TableName":"abc","Item":{},"ConditionExpression":"","ExpressionAttributeNames":{}}"##,
            "ExpressionAttributeNames must not be empty",
        ),
        (
            "PutItem",
            r##"{"TableName":"abc","Item":{},"ConditionExpression":"","ExpressionAttributeNames":{"a":"b"}}"##,
            "ExpressionAttributeNames contains invalid key: Syntax error; key: \"a\"",
        ),
        (
            "PutItem",
            r##"{"TableName":"abc","Item":{},"ConditionExpression":"","ExpressionAttributeNames":{"#a":"b"},"ExpressionAttributeValues":{":b":{"N":"x"}}}"##,
            "ExpressionAttributeValues contains invalid value: The parameter cannot be converted to a numeric value: x for key :b",
        ),
        (
            "PutItem",
            r##"{"TableName":"abc","Item":{},"ConditionExpression":"","ExpressionAttributeNames":{"#a":"b"},"ExpressionAttributeValues":{":b":{"N":"1"}}}"##,
            "Invalid ConditionExpression: The expression can not be empty;",
        ),
        (
            "UpdateItem",
            r#"{"TableName":"abc","Key":{},"AttributeUpdates":{"a":{}}}"#,
            "One or more parameter values were invalid: Only DELETE action is allowed when no attribute value is specified",
        ),
        (
            "UpdateItem",
            r#"{"TableName":"abc","Key":{},"Expected":{"a":{"Exists":true}}}"#,
            "One or more parameter values were invalid: Value must be provided when Exists is true for Attribute: a",
        ),
        (
            "GetItem",
            r#"{"TableName":"abc","Key":{},"AttributesToGet":["a","a"]}"#,
            "One or more parameter values were invalid: Duplicate value in attribute name: a",
        ),
        (
            "Query",
            r#"{"TableName":"abc"}"#,
            "Either the KeyConditions or KeyConditionExpression parameter must be specified in the request.",
        ),
        (
            "Query",
            r#"{"TableName":"abc","ExclusiveStartKey":{"a":{}},"KeyConditions":{}}"#,
            "The provided starting key is invalid: Supplied AttributeValue is empty, must contain exactly one of the supported datatypes",
        ),
        (
            "Query",
            r#"{"TableName":"abc","KeyConditions":{}}"#,
            "Conditions can be of length 1 or 2 only",
        ),
        (
            "Scan",
            r#"{"TableName":"abc","TotalSegments":4,"Segment":4}"#,
            "The Segment parameter is zero-based and must be less than parameter TotalSegments: Segment: 4 is not less than TotalSegments: 4",
        ),
        (
            "BatchGetItem",
            r#"{"RequestItems":{"abc":{"Keys":[{"a":{"S":"a"}},{"a":{"S":"a"}}]}}}"#,
            "Provided list of item keys contains duplicates",
        ),
        (
            "BatchWriteItem",
            r#"{"RequestItems":{"abc":[{}]}}"#,
            "Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported datatypes",
        ),
        ("TagResource", r#"{}"#, "Invalid TableArn"),
        (
            "TagResource",
            r#"{"ResourceArn":"a:a:a:a:a:a/a"}"#,
            "1 validation error detected: Value null at 'tags' failed to satisfy constraint: Member must not be null",
        ),
        (
            "UntagResource",
            r#"{"ResourceArn":"a:a:a:a:a:a/a","TagKeys":[]}"#,
            "Invalid TableArn: Invalid ResourceArn provided as input a:a:a:a:a:a/a",
        ),
    ];
    for (operation, body, text) in cases {
        let (status, kind, message) = port.ask(operation, body).await.fault();
        assert_eq!((status, &*kind), (400, "ValidationException"), "{operation} {body}: {message}");
        assert_eq!(message, text, "{operation} {body}");
    }
    let denied = port.ask("TagResource", r#"{"ResourceArn":"abcd"}"#).await.fault();
    assert_eq!(denied.1, "AccessDeniedException");
    let missing = port.ask("GetItem", r#"{"TableName":"abc","Key":{"a":{"S":"a"}}}"#).await.fault();
    assert_eq!(missing.1, "ResourceNotFoundException");
    port.stop().await;
}

#[tokio::test]
async fn items_are_written_read_and_deleted() {
    let port = Port::unsigned();
    let create = r#"{"TableName":"music","BillingMode":"PAY_PER_REQUEST",
        "AttributeDefinitions":[{"AttributeName":"artist","AttributeType":"S"}],
        "KeySchema":[{"AttributeName":"artist","KeyType":"HASH"}]}"#;
    let created = port.ask("CreateTable", create).await;
    assert_eq!(created.status, 200, "{}", created.text());
    let json: serde_json::Value = serde_json::from_str(&created.text()).unwrap();
    assert_eq!(json["TableDescription"]["TableName"], "music");
    let item = r#"{"artist":{"S":"x"},"list":{"L":[{"N":"1"},{"B":"AA=="}]}}"#;
    let put = format!(r#"{{"TableName":"music","Item":{item}}}"#);
    assert_eq!(port.ask("PutItem", &put).await.text(), "{}");
    let key = r#"{"TableName":"music","Key":{"artist":{"S":"x"}},"ConsistentRead":true}"#;
    assert_eq!(port.ask("GetItem", key).await.text(), format!(r#"{{"Item":{item}}}"#));
    let guarded = format!(
        r#"{{"TableName":"music","Item":{item},"ConditionExpression":"attribute_not_exists(artist)"}}"#
    );
    let (status, kind, message) = port.ask("PutItem", &guarded).await.fault();
    assert_eq!((status, &*kind), (400, "ConditionalCheckFailedException"));
    assert_eq!(message, "The conditional request failed");
    let delete = r#"{"TableName":"music","Key":{"artist":{"S":"x"}},"ReturnValues":"ALL_OLD"}"#;
    assert_eq!(port.ask("DeleteItem", delete).await.text(), format!(r#"{{"Attributes":{item}}}"#));
    assert_eq!(port.ask("GetItem", key).await.text(), "{}");
    let later = port
        .ask("TransactGetItems", r#"{"TransactItems":[{"Get":{"TableName":"music","Key":{}}}]}"#);
    let (_, kind, message) = later.await.fault();
    assert_eq!(kind, "ValidationException");
    assert!(message.starts_with("TransactGetItems is not supported: "), "{message}");
    port.stop().await;
}
