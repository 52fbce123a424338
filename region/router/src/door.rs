//! What every request passes before and after its service: a request id, a place among those under
//! way, a deadline, a principal; a count and a duration.
//!
//! Always true: every reply carries `x-request-id`; every refusal carries an ErrorInfo, also those
//! that the gRPC library makes before a service sees the request; nothing is queued here: a
//! request gets a place at once or is turned away.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue, Request, Response};
use tombolo_client::error::{REQUEST_ID, STATUS_BYTES};
use tombolo_group::Token;
use tonic::body::Body;
use tonic::transport::server::{TcpConnectInfo, TlsConnectInfo};
use tonic::{Code, Status};
use tower::{Layer, Service};
use uuid::Uuid;

use crate::authorize::Principal;
use crate::bearer::{Bearers, Standing};
use crate::errors;
use crate::failure::{Failure, ITEM_BYTES_UNASKED, MOST_ITEM_BYTES};
use crate::metrics::{self, Rejection};
use crate::operation::Kind;
use crate::settings::RouterSettings;

/// The header in which a caller states its patience.
const GRPC_TIMEOUT: &str = "grpc-timeout";
/// Held back at most from a caller's deadline, so that our answer arrives before the caller gives up;
/// a tenth of short ones.
const ANSWER_MARGIN: Duration = Duration::from_millis(200);

/// What a service knows about the request besides its message.
#[derive(Debug, Clone)]
pub(crate) struct RequestContext {
    /// For the log and for errors.
    pub(crate) id: Uuid,
    /// Who asks.
    pub(crate) principal: Principal,
    /// When the answer must be there.
    pub(crate) deadline: Instant,
    /// The largest item that its caller accepts in a status, in bytes.
    pub(crate) most_item_bytes: usize,
    /// Under which a write is made at most once, when the caller brought one.
    pub(crate) token: Option<Token>,
}

impl RequestContext {
    /// Of this request. Without one (a service that was wired past the door) nobody asks.
    pub(crate) fn of<T>(request: &tonic::Request<T>) -> RequestContext {
        request.extensions().get::<RequestContext>().cloned().unwrap_or_else(|| RequestContext {
            id: Uuid::nil(),
            principal: Principal::Unknown,
            deadline: Instant::now(),
            most_item_bytes: 0,
            token: None,
        })
    }
}

/// Places for requests under way.
#[derive(Debug)]
struct Slots {
    taken: AtomicUsize,
    most: usize,
}

/// One place; given back when dropped.
#[derive(Debug)]
pub(crate) struct Slot(Arc<Slots>);

impl Slots {
    fn take(self: &Arc<Self>) -> Option<Slot> {
        if self.taken.fetch_add(1, Ordering::AcqRel) >= self.most {
            self.taken.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        metrics::IN_FLIGHT.inc();
        Some(Slot(Arc::clone(self)))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::AcqRel);
        metrics::IN_FLIGHT.dec();
    }
}

/// The terms on which requests are let in: so many at once, for so long.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    slots: Arc<Slots>,
    default_deadline: Duration,
    longest_deadline: Duration,
}

impl Terms {
    fn new(settings: &RouterSettings) -> Self {
        let slots = Slots { taken: AtomicUsize::new(0), most: settings.max_in_flight.max(1) };
        Self {
            slots: Arc::new(slots),
            default_deadline: settings.default_deadline,
            longest_deadline: settings.longest_deadline,
        }
    }

    /// A place among the requests under way, if one is free.
    pub(crate) fn place(&self) -> Result<Slot, Failure> {
        self.slots.take().ok_or_else(|| {
            metrics::rejected(Rejection::InFlight);
            errors::overloaded(&format!("{} under way", self.slots.most))
        })
    }

    /// When the answer must be there for a caller with this patience.
    pub(crate) fn deadline(&self, patience: Option<Duration>, now: Instant) -> Instant {
        let patience = match patience {
            None => self.default_deadline,
            Some(asked) => {
                let asked = asked.min(self.longest_deadline);
                asked - (asked / 10).min(ANSWER_MARGIN)
            }
        };
        now + patience
    }
}

/// Puts the door before the services. `items` is reached directly, without the look-up in the
/// table of services, because nearly every request goes there.
#[derive(Clone)]
pub(crate) struct DoorLayer<I> {
    items: I,
    plain: Principal,
    terms: Terms,
    bearers: Bearers,
}

impl<I> DoorLayer<I> {
    pub(crate) fn new(items: I, settings: &RouterSettings, bearers: Bearers) -> Self {
        // Plain text is only ever listened to on loopback (see `server`).
        let plain = match settings.tls {
            None => Principal::Loopback,
            Some(_) => Principal::Unknown,
        };
        Self { items, plain, terms: Terms::new(settings), bearers }
    }
}

impl<I: Clone, S> Layer<S> for DoorLayer<I> {
    type Service = Door<I, S>;

    fn layer(&self, others: S) -> Door<I, S> {
        Door { layer: self.clone(), others }
    }
}

/// The door of one connection.
#[derive(Clone)]
pub(crate) struct Door<I, S> {
    layer: DoorLayer<I>,
    others: S,
}

impl<I, S> Door<I, S> {
    /// Who is at the other end. Whoever says it with a token is taken at that word.
    fn principal<T>(&self, request: &Request<T>) -> Result<Principal, Failure> {
        if let Some(holder) = self.layer.bearers.principal(request.headers())? {
            return Ok(holder);
        }
        let tls = request.extensions().get::<TlsConnectInfo<TcpConnectInfo>>();
        let principal = match tls.and_then(|info| info.peer_certs()) {
            Some(chain) => match chain.first() {
                Some(certificate) => Principal::of_certificate(certificate.as_ref()),
                None => Principal::Unknown,
            },
            None => self.layer.plain.clone(),
        };
        match principal {
            Principal::Unknown => Err(errors::missing_token()),
            known => Ok(known),
        }
    }
}

/// The largest item that a caller accepts in a status.
fn most_item_bytes(headers: &HeaderMap) -> usize {
    let said = headers.get(STATUS_BYTES).and_then(|value| value.to_str().ok()?.parse().ok());
    said.map_or(ITEM_BYTES_UNASKED, |bytes: usize| bytes.min(MOST_ITEM_BYTES))
}

/// A `grpc-timeout`: up to eight digits and a unit. What is no such thing is not there.
fn timeout(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?;
    let unit = text.chars().last()?;
    let digits = text.strip_suffix(unit)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        'H' => Duration::from_secs(number * 3600),
        'M' => Duration::from_secs(number * 60),
        'S' => Duration::from_secs(number),
        'm' => Duration::from_millis(number),
        'u' => Duration::from_micros(number),
        'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

impl<I, S> Service<Request<Body>> for Door<I, S>
where
    I: Service<Request<Body>, Response = Response<Body>>,
    I::Future: Unpin,
    S: Service<Request<Body>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Passage<I::Future, S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        // `items` is always ready: it is generated code over a handle.
        self.others.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let (now, id) = (Instant::now(), Uuid::now_v7());
        let refused =
            |failure: Failure| failure.into_status(&id.to_string(), 0).into_http::<Body>();
        let principal = self.principal(&request);
        let Some(kind) = Kind::of_path(request.uri().path()) else {
            // Health and reflection are for whoever is known, too.
            let inner = match principal {
                Ok(_) => Inner::Others(Box::pin(self.others.call(request))),
                Err(failure) => Inner::Refused(Some(refused(failure))),
            };
            return Passage { inner, visit: None };
        };
        let mut visit = Visit { kind, began: now, id, _slot: None };
        let let_in = principal.and_then(|known| Ok((known, self.layer.terms.place()?)));
        let principal = match let_in {
            Ok((principal, slot)) => {
                visit._slot = Some(slot);
                principal
            }
            Err(failure) => {
                let mut response = refused(failure);
                visit.finish(&mut response);
                return Passage { inner: Inner::Refused(Some(response)), visit: None };
            }
        };
        let patience = request.headers().get(GRPC_TIMEOUT).and_then(timeout);
        let context = RequestContext {
            id,
            principal,
            deadline: self.layer.terms.deadline(patience, now),
            most_item_bytes: most_item_bytes(request.headers()),
            token: None,
        };
        request.extensions_mut().insert(context);
        if kind == Kind::Session {
            let standing = Standing::of(&self.layer.bearers, request.headers());
            request.extensions_mut().insert(self.layer.terms.clone());
            request.extensions_mut().insert(standing);
        }
        let inner = match kind {
            Kind::PutItem
            | Kind::GetItem
            | Kind::UpdateItem
            | Kind::DeleteItem
            | Kind::Query
            | Kind::Scan
            | Kind::Session => Inner::Items(self.layer.items.call(request)),
            _ => Inner::Others(Box::pin(self.others.call(request))),
        };
        Passage { inner, visit: Some(visit) }
    }
}

/// A request's stay.
struct Visit {
    kind: Kind,
    began: Instant,
    id: Uuid,
    _slot: Option<Slot>,
}

impl Visit {
    /// Completes and counts the reply.
    fn finish(&mut self, response: &mut Response<Body>) {
        let id = self.id.to_string();
        if let Some(status) = undetailed(response.headers()) {
            *response = status.into_status(&id, 0).into_http();
        }
        let code = match response.headers().get(Status::GRPC_STATUS) {
            None => Code::Ok,
            Some(value) => Code::from_bytes(value.as_bytes()),
        };
        if let Ok(value) = HeaderValue::from_str(&id) {
            response.headers_mut().insert(REQUEST_ID, value);
        }
        let metrics = metrics::of_kind(self.kind);
        metrics.answered(code);
        metrics.seconds.observe(self.began.elapsed().as_secs_f64());
    }
}

/// A refusal that the gRPC library made itself, because it could not read the request: the caller's
/// mistake, said with details.
fn undetailed(headers: &HeaderMap) -> Option<Failure> {
    if !headers.contains_key(Status::GRPC_STATUS)
        || headers.contains_key(Status::GRPC_STATUS_DETAILS)
    {
        return None;
    }
    let status = Status::from_header_map(headers)?;
    match status.code() {
        Code::InvalidArgument
        | Code::OutOfRange
        | Code::Internal
        | Code::Unknown
        | Code::DataLoss => Some(errors::undecodable(status.message())),
        _ => None,
    }
}

enum Inner<I, S> {
    Items(I),
    Others(Pin<Box<S>>),
    Refused(Option<Response<Body>>),
}

/// A request on its way through.
pub(crate) struct Passage<I, S> {
    inner: Inner<I, S>,
    visit: Option<Visit>,
}

impl<I, S> Drop for Passage<I, S> {
    fn drop(&mut self) {
        // The caller went away, or its deadline passed before our answer: counted all the same. What
        // a write did by then stays done; its retries inside the service have ended.
        if let Some(visit) = self.visit.take() {
            let metrics = metrics::of_kind(visit.kind);
            metrics.answered(Code::Cancelled);
            metrics.seconds.observe(visit.began.elapsed().as_secs_f64());
        }
    }
}

impl<I, S, IE, E> Future for Passage<I, S>
where
    I: Future<Output = Result<Response<Body>, IE>> + Unpin,
    S: Future<Output = Result<Response<Body>, E>>,
{
    type Output = Result<Response<Body>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let mut response = match &mut this.inner {
            Inner::Items(items) => match ready!(Pin::new(items).poll(context)) {
                Ok(response) => response,
                // Generated services are infallible; the type does not say so here.
                Err(_) => Status::internal("the service failed").into_http(),
            },
            Inner::Others(others) => ready!(others.as_mut().poll(context))?,
            Inner::Refused(response) => response.take().unwrap_or_default(),
        };
        if let Some(mut visit) = this.visit.take() {
            visit.finish(&mut response);
        }
        Poll::Ready(Ok(response))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_digits_and_a_unit() {
        let of = |text: &str| timeout(&HeaderValue::from_str(text).unwrap());
        assert_eq!(of("2S"), Some(Duration::from_secs(2)));
        assert_eq!(of("250m"), Some(Duration::from_millis(250)));
        assert_eq!(of("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        for nonsense in ["", "S", "-1S", "1", "1x", "999999999S", "1 S", "+1S"] {
            assert_eq!(of(nonsense), None, "{nonsense:?}");
        }
    }

    #[test]
    fn places_are_bounded_and_come_back() {
        let slots = Arc::new(Slots { taken: AtomicUsize::new(0), most: 2 });
        let first = slots.take();
        let second = slots.take();
        assert!(first.is_some() && second.is_some() && slots.take().is_none());
        drop(first);
        assert!(slots.take().is_some());
    }
}
