//! One request and its response: what HTTP carries, before and after an operation.
//!
//! Always true: every response has `x-amzn-RequestId`, which is the id in our log, and `x-amz-crc32` of
//! its body as sent; a body is read only as far as its limit and the limit of all bodies together; who
//! names no access key of ours has few places and little room; without signatures no web page of another
//! machine is answered; checks come in the service's order: method and content type, JSON, target, signature, types,
//! constraints, the operation's own.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use crc_fast::CrcAlgorithm;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use http::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ORIGIN,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use super::credentials::Credentials;
use super::fault::Fault;
use super::guests::Marker;
use super::json::{self, Json};
use super::model::model;
use super::operations::Call;
use super::settings::DynamoDbSettings;
use super::sigv4::{self, Signed};
use super::{constraints, convert};
use crate::authorize::Principal;
use crate::door::RequestContext;
use crate::execute::Executor;
use crate::failure::MOST_ITEM_BYTES;
use crate::region::Region;

type Reply = Response<Full<Bytes>>;

/// What the service answers to what is no request of its protocol.
const NO_OPERATION: &[u8] = b"<UnknownOperationException/>\n";
/// Ends every request id of the service.
const REQUEST_ID_END: &str = "VV4KQNSO5AEMVJF66Q9ASUAAJG";
/// Seconds that a browser may keep an answer about other origins, as the service says.
const CORS_SECONDS: &str = "172800";

/// Answers requests.
pub(super) struct Exchange<R> {
    shared: Arc<Shared<R>>,
}

struct Shared<R> {
    executor: Executor<R>,
    credentials: Arc<dyn Credentials>,
    settings: Arc<DynamoDbSettings>,
    slots: Arc<Semaphore>,
    /// The places of those who name no access key of ours.
    strangers: Arc<Semaphore>,
    /// Bytes of bodies that may still be read.
    budget: Arc<Semaphore>,
}

impl<R> Clone for Exchange<R> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

/// A body that is not read, and the response.
enum Unread {
    TooLarge,
    TooSlow,
    NoRoom,
    Broken,
}

impl<R: Region> Exchange<R> {
    pub(super) fn new(
        executor: Executor<R>,
        credentials: Arc<dyn Credentials>,
        settings: Arc<DynamoDbSettings>,
    ) -> Self {
        let slots = Arc::new(Semaphore::new(settings.max_in_flight.max(1)));
        let most = settings.max_buffered_bytes.min(Semaphore::MAX_PERMITS);
        let budget = Arc::new(Semaphore::new(most));
        let strangers = Arc::new(Semaphore::new(settings.max_strangers.max(1)));
        let shared = Shared { executor, credentials, settings, slots, strangers, budget };
        Self { shared: Arc::new(shared) }
    }

    /// Answers one request of a connection.
    pub(super) async fn answer(self, request: Request<Incoming>, marker: Marker) -> Reply {
        let _busy = marker.begins();
        let (parts, body) = request.into_parts();
        let id = Uuid::now_v7();
        let mut reply = Box::pin(self.reply(&parts, body, id, &marker)).await;
        let headers = reply.headers_mut();
        if let Ok(value) = HeaderValue::from_str(&request_id(id)) {
            headers.insert("x-amzn-requestid", value);
        }
        if self.shared.answers_origin(&parts.headers) {
            headers.insert("access-control-allow-origin", HeaderValue::from_static("*"));
        }
        reply
    }

    async fn reply(&self, parts: &Parts, body: Incoming, id: Uuid, marker: &Marker) -> Reply {
        let shared = &self.shared;
        if parts.method == Method::OPTIONS && shared.answers_origin(&parts.headers) {
            marker.spoke();
            return other_origins(&parts.headers);
        }
        if parts.method == Method::GET {
            marker.spoke();
            let text = format!("healthy: dynamodb.{}.amazonaws.com ", shared.settings.region);
            return with_body(StatusCode::OK, None, text.into(), parts);
        }
        let stranger = shared.stranger(parts);
        let (slots, most) = match stranger {
            None => (&shared.slots, shared.settings.max_body_bytes),
            Some(_) => (&shared.strangers, shared.settings.max_stranger_body_bytes),
        };
        let Ok(_slot) = Arc::clone(slots).try_acquire_owned() else {
            let fault = Fault::throttled("Rate of requests exceeds the allowed throughput.");
            return closing(refused(&fault, parts));
        };
        let (body, _room) = match (shared.read(body, most).await, &stranger) {
            (Ok(read), _) => read,
            (Err(Unread::TooLarge), Some(fault)) => return closing(refused(fault, parts)),
            (Err(unread), _) => return closing(shared.unread(unread, parts)),
        };
        marker.spoke();
        let spoken = content_type(&parts.headers).is_some_and(|kind| JSON_TYPES.contains(&kind));
        if parts.method != Method::POST || (!body.is_empty() && !spoken) {
            return with_body(StatusCode::NOT_FOUND, None, NO_OPERATION.into(), parts);
        }
        match Box::pin(shared.carry_out(parts, &body, most, id)).await {
            Ok(answer) => with_body(StatusCode::OK, Some(json_type(parts)), answer.into(), parts),
            Err(fault) => refused(&fault, parts),
        }
    }
}

impl<R: Region> Shared<R> {
    /// What a request is told that names no access key of ours, whatever its body is.
    fn stranger(&self, parts: &Parts) -> Option<Fault> {
        if !self.settings.check_signatures {
            return None;
        }
        match sigv4::access_key(&parts.uri, &parts.headers) {
            None => Some(Fault::missing_token()),
            Some(key) => self.credentials.secret(&key).is_none().then(Fault::unrecognized_client),
        }
    }

    /// Whether the page of a browser that asks may see the answer. What is signed shows who asks; without
    /// signatures any page that a user of this machine opens could do everything.
    fn answers_origin(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(ORIGIN) else { return false };
        let origin = origin.to_str().ok().and_then(|text| text.parse::<http::Uri>().ok());
        let loopback = || {
            let host = origin.as_ref().and_then(http::Uri::host).unwrap_or_default();
            let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
            host == "localhost" || address.is_ok_and(|address| address.is_loopback())
        };
        self.settings.check_signatures || loopback()
    }

    fn unread(&self, unread: Unread, parts: &Parts) -> Reply {
        match unread {
            Unread::TooLarge => bare(StatusCode::PAYLOAD_TOO_LARGE),
            Unread::TooSlow => bare(StatusCode::REQUEST_TIMEOUT),
            Unread::NoRoom => {
                let fault = Fault::throttled("Rate of requests exceeds the allowed throughput.");
                refused(&fault, parts)
            }
            Unread::Broken => bare(StatusCode::BAD_REQUEST),
        }
    }

    /// The whole body, and the room that it takes.
    async fn read(
        &self,
        body: Incoming,
        most: usize,
    ) -> Result<(Bytes, Option<OwnedSemaphorePermit>), Unread> {
        if body.size_hint().lower() > most as u64 {
            return Err(Unread::TooLarge);
        }
        let reading = self.frames(body, most);
        match tokio::time::timeout(self.settings.body_timeout, reading).await {
            Ok(read) => read,
            Err(_) => Err(Unread::TooSlow),
        }
    }

    async fn frames(
        &self,
        mut body: Incoming,
        most: usize,
    ) -> Result<(Bytes, Option<OwnedSemaphorePermit>), Unread> {
        let mut room: Option<OwnedSemaphorePermit> = None;
        let (mut first, mut all) = (Bytes::new(), BytesMut::new());
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| Unread::Broken)?.into_data() else { continue };
            if first.len() + all.len() + data.len() > most {
                return Err(Unread::TooLarge);
            }
            let bytes = u32::try_from(data.len()).unwrap_or(u32::MAX);
            let permit = Arc::clone(&self.budget).try_acquire_many_owned(bytes);
            let permit = permit.map_err(|_| Unread::NoRoom)?;
            // One for all frames, however small they are.
            match &mut room {
                None => room = Some(permit),
                Some(room) => room.merge(permit),
            }
            // Nearly every body comes in one piece.
            match (first.is_empty(), all.is_empty()) {
                (true, true) => first = data,
                (false, true) => {
                    all.extend_from_slice(&first);
                    all.extend_from_slice(&data);
                    first = Bytes::new();
                }
                _ => all.extend_from_slice(&data),
            }
        }
        let body = if all.is_empty() { first } else { all.freeze() };
        Ok((body, room))
    }

    /// From the body of a request to the body of its response.
    async fn carry_out(
        &self,
        parts: &Parts,
        sent: &Bytes,
        most: usize,
        id: Uuid,
    ) -> Result<Vec<u8>, Fault> {
        let (body, _room) = self.decoded(&parts.headers, sent, most)?;
        let json = match body.is_empty() {
            true => None,
            false => Some(json::parse(&body).map_err(|json::Malformed| Fault::no_json())?),
        };
        let target = parts.headers.get("x-amz-target").and_then(|value| value.to_str().ok());
        let model = model();
        let (name, input) = target
            .and_then(|target| model.operation(target))
            .ok_or_else(Fault::unknown_operation)?;
        let principal = self.principal(parts, sent)?;
        let json: Json<'_> = json.ok_or_else(Fault::no_json)?;
        let request = convert::request(model, input, json)
            .map_err(|convert::NotThat(text)| Fault::serialization(text))?;
        if let Some(text) = constraints::violated(model, input, &request) {
            return Err(Fault::validation(text));
        }
        let context = RequestContext {
            id,
            principal,
            deadline: Instant::now() + self.settings.deadline,
            most_item_bytes: MOST_ITEM_BYTES,
            token: None,
        };
        let target = target.and_then(|target| target.split_once('.')).map_or("", |(api, _)| api);
        let call = Call { name, target, request: &request, region: &self.settings.region };
        call.run(&self.executor, &context).await
    }

    /// The body without its encoding, and the room that it takes.
    fn decoded(
        &self,
        headers: &HeaderMap,
        sent: &Bytes,
        most: usize,
    ) -> Result<(Bytes, Option<OwnedSemaphorePermit>), Fault> {
        let encoding = headers.get(CONTENT_ENCODING).map(HeaderValue::as_bytes);
        if !encoding.is_some_and(|encoding| encoding.eq_ignore_ascii_case(b"gzip")) {
            return Ok((sent.clone(), None));
        }
        let mut body = Vec::new();
        let mut decoder = GzDecoder::new(&sent[..]).take(most as u64 + 1);
        decoder.read_to_end(&mut body).map_err(|_| Fault::no_json())?;
        if body.len() > most {
            return Err(Fault::serialization(
                "Request body is larger than allowed when decompressed",
            ));
        }
        let bytes = u32::try_from(body.len()).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.budget).try_acquire_many_owned(bytes);
        let room =
            room.map_err(|_| Fault::throttled("Rate of requests exceeds the allowed throughput."))?;
        Ok((body.into(), Some(room)))
    }

    /// Who asks. The signature is over the body as it was sent.
    fn principal(&self, parts: &Parts, sent: &Bytes) -> Result<Principal, Fault> {
        if !self.settings.check_signatures {
            // Listened to on loopback only (see `listener`).
            return Ok(Principal::Loopback);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let signed = Signed {
            method: parts.method.as_str(),
            uri: &parts.uri,
            headers: &parts.headers,
            body: sent,
        };
        let key = sigv4::verify(&signed, now, |key| self.credentials.secret(key))?;
        Ok(Principal::AccessKey(key))
    }
}

/// What requests may call JSON; 1.1 is what the streams' older clients say.
const JSON_TYPES: [&str; 3] =
    ["application/x-amz-json-1.0", "application/x-amz-json-1.1", "application/json"];

fn content_type(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    text.split(';').next().map(str::trim)
}

/// The type of a JSON response: the request's.
fn json_type(parts: &Parts) -> &'static str {
    let asked = content_type(&parts.headers);
    JSON_TYPES.into_iter().find(|known| Some(*known) == asked).unwrap_or(JSON_TYPES[2])
}

fn bare(status: StatusCode) -> Reply {
    let mut reply = Reply::default();
    *reply.status_mut() = status;
    reply
}

/// The connection ends with this response: the rest of the request is not read.
fn closing(mut reply: Reply) -> Reply {
    if reply.version() == Version::HTTP_11 {
        reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    reply
}

fn refused(fault: &Fault, parts: &Parts) -> Reply {
    with_body(fault.status, Some(json_type(parts)), fault.body().into(), parts)
}

fn with_body(status: StatusCode, kind: Option<&'static str>, body: Bytes, parts: &Parts) -> Reply {
    let mut reply = bare(status);
    let headers = reply.headers_mut();
    if let Some(kind) = kind {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    let compressed =
        (kind.is_some() && accepts_gzip(&parts.headers)).then(|| gzip(&body)).flatten();
    let body = match compressed {
        None => body,
        Some(compressed) => {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            compressed.into()
        }
    };
    let sum = crc_fast::checksum(CrcAlgorithm::Crc32IsoHdlc, &body);
    headers.insert("x-amz-crc32", HeaderValue::from(sum));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    *reply.body_mut() = Full::new(body);
    reply
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|one| {
        let (name, weight) = one.split_once(';').unwrap_or((one, ""));
        let refused = weight.trim().strip_prefix("q=").and_then(|q| q.trim().parse().ok());
        name.trim().eq_ignore_ascii_case("gzip") && refused != Some(0.0)
    })
}

fn gzip(body: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 2), Compression::fast());
    encoder.write_all(body).ok()?;
    encoder.finish().ok()
}

/// The answer to a browser that asks on behalf of another origin.
fn other_origins(asked: &HeaderMap) -> Reply {
    let mut reply = bare(StatusCode::OK);
    let headers = reply.headers_mut();
    for (question, answer) in [
        ("access-control-request-headers", "access-control-allow-headers"),
        ("access-control-request-method", "access-control-allow-methods"),
    ] {
        if let Some(value) = asked.get(question) {
            headers.insert(answer, value.clone());
        }
    }
    headers.insert("access-control-max-age", HeaderValue::from_static(CORS_SECONDS));
    headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    reply
}

/// Our request id in the form of the service's: 52 capital letters and digits.
pub(super) fn request_id(id: Uuid) -> String {
    let (mut out, mut bits) = (String::with_capacity(52), id.as_u128());
    for _ in 0..26 {
        out.push(char::from(b"0123456789ABCDEFGHIJKLMNOPQRSTUV"[(bits >> 123) as usize]));
        bits <<= 5;
    }
    out.push_str(REQUEST_ID_END);
    out
}
