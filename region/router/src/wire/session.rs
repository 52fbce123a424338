//! The rpc `Session`: many operations on one stream.
//!
//! Always true: one task carries a stream, the one that writes its answers: it takes in frames,
//! drives the operations under way, and puts every answer that is ready into one frame. So when
//! the client does not read, nothing more is read, begun or kept. An operation passes the same gate
//! as a single call, has a deadline and a place of its own, and is answered exactly once on this
//! stream; a write goes to its partition under the client's token, so that it can be sent again on
//! another stream. A token that the stream was opened with is looked at again with every frame.
//!
//! Deliberately absent: memory of a session between its streams. What makes a write happen once is
//! the token in the partition's log.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{Stream, StreamExt};
use prost::Message;
use tombolo_client::v1;
use tombolo_client::v1::session_answer::Answer as Wire;
use tombolo_client::v1::session_operation::Operation as Asked;
use tombolo_group::Token;
use tonic::{Request, Status, Streaming};
use uuid::Uuid;

use super::{Services, items};
use crate::authorize::{Authorized, authorize};
use crate::bearer::Standing;
use crate::door::{RequestContext, Slot, Terms};
use crate::errors;
use crate::failure::Failure;
use crate::metrics;
use crate::operation::{Answer, Kind, Operation};
use crate::region::Region;

/// Operations of a stream that are carried out at once.
const IN_FLIGHT: usize = 1024;
/// What they may weigh together; one is always let in.
const IN_FLIGHT_BYTES: usize = 16 << 20;
/// What an answer may bring, for the weight of what has not been read yet: an item, or a page.
const ITEM_WEIGHT: usize = 8 << 10;
const PAGE_WEIGHT: usize = 1 << 20;
/// Operations in a frame at most.
const FRAME_OPERATIONS: usize = 4096;
/// Answers in a frame at most, and the bytes after which it is sent.
const FRAME_ANSWERS: usize = 512;
const FRAME_BYTES: usize = 512 << 10;
/// Operations begun in one go, before others get the processor.
const BEGUN_AT_ONCE: usize = 256;
/// How far the numbers of a session may run ahead of its oldest unanswered operation: what a
/// partition remembers of a session is bounded by it.
const NUMBERS: u64 = 1 << 16;
/// How far a client's time may be ahead of this router's, in milliseconds: routers' clocks differ.
const AHEAD_MS: u64 = 60_000;

/// One operation's answer, and what it weighed.
struct Done {
    answer: v1::SessionAnswer,
    weight: usize,
}

/// A stream of a session: the answers.
pub(crate) struct Session<R> {
    services: Services<R>,
    /// Nothing once the client has said all.
    inbound: Option<Streaming<v1::SessionRequest>>,
    context: RequestContext,
    terms: Terms,
    standing: Standing,
    /// Why operations of the present frame are refused, if they are.
    refused: Option<Failure>,
    /// Who sends; nothing before the first frame.
    session: Option<Uuid>,
    lowest_unfinished: u64,
    queue: std::vec::IntoIter<v1::SessionOperation>,
    running: FuturesUnordered<BoxFuture<'static, Done>>,
    weight: usize,
    answers: Vec<v1::SessionAnswer>,
    answers_bytes: usize,
    opened: bool,
    ended: bool,
    stopping: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// Wall clock, ms since 1970.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl<R: Region> Session<R> {
    /// After the gate.
    pub(super) fn open(
        services: &Services<R>,
        request: Request<Streaming<v1::SessionRequest>>,
    ) -> Result<Self, Status> {
        let context = RequestContext::of(&request);
        let terms = request.extensions().get::<Terms>().cloned();
        let standing = request.extensions().get::<Standing>().cloned();
        let admitted = authorize(&context.principal, Operation::Session).and_then(|_| {
            terms
                .zip(standing)
                .ok_or_else(|| errors::internal("open the session", "it came past the door"))
        });
        let (terms, standing) =
            admitted.map_err(|failure| failure.into_status(&context.id.to_string(), 0))?;
        let mut stopping = services.stopping.clone();
        let stopping = Box::pin(async move {
            // An error means that the server is gone altogether.
            let _ = stopping.wait_for(|stopping| *stopping).await;
        });
        Ok(Self {
            services: services.clone(),
            inbound: Some(request.into_inner()),
            context,
            terms,
            standing,
            refused: None,
            session: None,
            lowest_unfinished: 0,
            queue: Vec::new().into_iter(),
            running: FuturesUnordered::new(),
            weight: 0,
            answers: Vec::new(),
            answers_bytes: 0,
            opened: false,
            ended: false,
            stopping,
        })
    }

    /// Takes a frame in; its operations wait in the queue.
    fn take(&mut self, frame: v1::SessionRequest) -> Result<(), Failure> {
        match (frame.open, self.session) {
            (Some(open), None) => {
                let id = Uuid::from_slice(&open.session).unwrap_or_default();
                if id.is_nil() {
                    return Err(errors::bad_session());
                }
                self.session = Some(id);
            }
            (None, Some(_)) => {}
            (None, None) => return Err(errors::missing_parameter("open")),
            (Some(_), Some(_)) => return Err(errors::session_open_twice()),
        }
        if frame.operations.len() > FRAME_OPERATIONS {
            let most = FRAME_OPERATIONS as u64;
            return Err(errors::too_large(frame.operations.len(), "operations", most));
        }
        // What is under way when a token is revoked still ends, and is answered.
        self.refused = self.standing.holds().err();
        self.lowest_unfinished = self.lowest_unfinished.max(frame.lowest_unfinished);
        self.queue = frame.operations.into_iter();
        Ok(())
    }

    /// Begins one operation, or answers it.
    fn begin(&mut self, operation: v1::SessionOperation) {
        let number = operation.number;
        let weight = operation.encoded_len();
        match self.admit(operation) {
            Err((kind, failure)) => {
                let began = Instant::now();
                self.weight += weight;
                let error = refused(kind, failure, &self.context, number, began);
                self.answered(Done { answer: answer(number, error), weight });
            }
            Ok(admitted) => {
                let Admitted { kind, context, operation, slot, began, brings } = admitted;
                let weight = weight + brings;
                self.weight += weight;
                let services = self.services.clone();
                self.running.push(Box::pin(async move {
                    let done = services.executor.execute(&context, operation).await;
                    drop(slot);
                    let printed = done.and_then(|done| {
                        print(kind, done).ok_or_else(|| {
                            errors::internal("print the answer", "an operation gave another's")
                        })
                    });
                    let wire = match printed {
                        Ok(wire) => {
                            let metrics = metrics::of_kind(kind);
                            metrics.answered(tonic::Code::Ok);
                            metrics.seconds.observe(began.elapsed().as_secs_f64());
                            wire
                        }
                        Err(failure) => refused(Some(kind), failure, &context, number, began),
                    };
                    Done { answer: answer(number, wire), weight }
                }));
            }
        }
    }

    /// Everything that comes before carrying an operation out.
    fn admit(&self, operation: v1::SessionOperation) -> Result<Admitted, (Option<Kind>, Failure)> {
        let v1::SessionOperation { number, issued_ms, timeout_ms, operation } = operation;
        let asked = operation.ok_or_else(|| (None, errors::missing_parameter("operation")))?;
        let (kind, brings) = match &asked {
            Asked::PutItem(_) => (Kind::PutItem, 0),
            Asked::GetItem(_) => (Kind::GetItem, ITEM_WEIGHT),
            Asked::UpdateItem(_) => (Kind::UpdateItem, 0),
            Asked::DeleteItem(_) => (Kind::DeleteItem, 0),
            Asked::Query(_) => (Kind::Query, PAGE_WEIGHT),
        };
        let refuse = |failure| (Some(kind), failure);
        if let Some(failure) = &self.refused {
            return Err(refuse(failure.clone()));
        }
        let token = match kind {
            Kind::GetItem | Kind::Query => None,
            _ => Some(self.token(number, issued_ms).map_err(refuse)?),
        };
        let parsed = match asked {
            Asked::PutItem(put) => items::put_item(*put),
            Asked::GetItem(get) => items::get_item(*get),
            Asked::UpdateItem(update) => items::update_item(*update),
            Asked::DeleteItem(delete) => items::delete_item(*delete),
            Asked::Query(query) => items::query(*query),
        };
        let operation = parsed
            .and_then(|operation| authorize(&self.context.principal, operation))
            .map_err(refuse)?;
        let slot = self.terms.place().map_err(refuse)?;
        let began = Instant::now();
        let patience = (timeout_ms > 0).then(|| Duration::from_millis(timeout_ms.into()));
        let deadline = self.terms.deadline(patience, began);
        let context = RequestContext { deadline, token, ..self.context.clone() };
        Ok(Admitted { kind, context, operation, slot, began, brings })
    }

    /// The token of a write.
    fn token(&self, number: u64, issued_ms: u64) -> Result<Token, Failure> {
        let lowest_unfinished = self.lowest_unfinished;
        if number < lowest_unfinished.max(1) {
            return Err(errors::too_small(number, "number", lowest_unfinished.max(1)));
        }
        if number - lowest_unfinished >= NUMBERS {
            let most = lowest_unfinished.saturating_add(NUMBERS - 1);
            return Err(errors::too_large(number, "number", most));
        }
        if issued_ms == 0 {
            return Err(errors::missing_parameter("issuedMs"));
        }
        let latest = now_ms().saturating_add(AHEAD_MS);
        if issued_ms > latest {
            return Err(errors::too_large(issued_ms, "issuedMs", latest));
        }
        let session = self.session.ok_or_else(errors::bad_session)?;
        Ok(Token { session, number, lowest_unfinished, issued_ms })
    }

    fn answered(&mut self, done: Done) {
        self.weight -= done.weight;
        self.answers_bytes += done.answer.encoded_len();
        self.answers.push(done.answer);
    }

    fn has_room(&self) -> bool {
        let running = self.running.len();
        running == 0 || running < IN_FLIGHT && self.weight < IN_FLIGHT_BYTES
    }

    fn frame_is_full(&self) -> bool {
        self.answers.len() >= FRAME_ANSWERS || self.answers_bytes >= FRAME_BYTES
    }

    /// Takes in what there is room for and collects what is ready. True: there is more to do at once.
    fn work(&mut self, cx: &mut Context<'_>) -> Result<bool, Status> {
        let mut begun = 0;
        loop {
            while begun < BEGUN_AT_ONCE
                && self.has_room()
                && let Some(operation) = self.queue.next()
            {
                begun += 1;
                self.begin(operation);
            }
            while !self.frame_is_full()
                && let Poll::Ready(Some(done)) = self.running.poll_next_unpin(cx)
            {
                self.answered(done);
            }
            if self.frame_is_full() || begun >= BEGUN_AT_ONCE {
                return Ok(true);
            }
            if self.queue.len() > 0 {
                match self.has_room() {
                    true => continue,
                    false => return Ok(false),
                }
            }
            let Some(inbound) = self.inbound.as_mut().filter(|_| self.running.len() < IN_FLIGHT)
            else {
                return Ok(false);
            };
            match inbound.poll_next_unpin(cx) {
                Poll::Pending => return Ok(false),
                Poll::Ready(None) => self.inbound = None,
                Poll::Ready(Some(Ok(frame))) => {
                    self.take(frame).map_err(|failure| self.status(failure))?;
                }
                Poll::Ready(Some(Err(status))) => return Err(self.broken(status)),
            }
        }
    }

    /// The status of a stream that this failure ends.
    fn status(&self, failure: Failure) -> Status {
        failure.into_status(&self.context.id.to_string(), 0)
    }

    /// The client's side of the stream failed: a body that is no frame, or a lost connection.
    fn broken(&self, status: Status) -> Status {
        match status.code() {
            tonic::Code::Cancelled | tonic::Code::Unavailable => status,
            _ => self.status(errors::undecodable(status.message())),
        }
    }
}

/// An operation that may begin.
struct Admitted {
    kind: Kind,
    context: RequestContext,
    operation: Authorized,
    slot: Slot,
    began: Instant,
    /// What its answer may weigh.
    brings: usize,
}

fn answer(number: u64, wire: Wire) -> v1::SessionAnswer {
    v1::SessionAnswer { number, answer: Some(wire) }
}

/// The answer to an operation that failed, counted.
fn refused(
    kind: Option<Kind>,
    failure: Failure,
    context: &RequestContext,
    number: u64,
    began: Instant,
) -> Wire {
    if let Some(kind) = kind {
        let metrics = metrics::of_kind(kind);
        metrics.answered(failure.code);
        metrics.seconds.observe(began.elapsed().as_secs_f64());
    }
    Wire::Error(failure.into_session_error(format!("{}/{number}", context.id)))
}

/// An answer in the form that belongs to the operation.
fn print(kind: Kind, answer: Answer) -> Option<Wire> {
    match kind {
        Kind::PutItem => items::written(answer).map(Wire::PutItem),
        Kind::GetItem => items::found(answer).map(Wire::GetItem),
        Kind::UpdateItem => items::updated(answer).map(Wire::UpdateItem),
        Kind::DeleteItem => items::removed(answer).map(Wire::DeleteItem),
        Kind::Query => items::query_page(answer).map(Wire::Query),
        _ => None,
    }
}

impl<R: Region> Stream for Session<R> {
    type Item = Result<v1::SessionResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        if !this.opened {
            this.opened = true;
            let opened = v1::SessionOpened { now_ms: now_ms(), in_flight: IN_FLIGHT as u32 };
            let frame = v1::SessionResponse { opened: Some(opened), answers: Vec::new() };
            return Poll::Ready(Some(Ok(frame)));
        }
        // What is under way is answered; what comes after goes to another router.
        if this.inbound.is_some() && this.stopping.as_mut().poll(cx).is_ready() {
            this.inbound = None;
        }
        let more = match this.work(cx) {
            Ok(more) => more,
            Err(status) => {
                this.ended = true;
                return Poll::Ready(Some(Err(status)));
            }
        };
        if !this.answers.is_empty() {
            this.answers_bytes = 0;
            let answers = std::mem::take(&mut this.answers);
            return Poll::Ready(Some(Ok(v1::SessionResponse { opened: None, answers })));
        }
        if more {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if this.inbound.is_none() && this.running.is_empty() && this.queue.len() == 0 {
            this.ended = true;
            return Poll::Ready(None);
        }
        Poll::Pending
    }
}
