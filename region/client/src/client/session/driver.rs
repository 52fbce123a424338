//! The task behind a session: keeps a stream open to some router and hands answers out.
//!
//! Always true: whatever waits when the transport asks goes in one frame, at once; there is no task
//! for one operation. A stream that ends is followed by another one, at the next endpoint, which
//! begins with everything that is not answered.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use prost::Message;
use tokio::sync::Notify;
use tokio_stream::Stream;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request, Status, Streaming};
use uuid::Uuid;

use super::window::{Told, Waiting, Window};
use crate::client::{Client, FIRST_PAUSE, LONGEST_PAUSE};
use crate::codec::EncodedCodec;
use crate::error::ClientError;
use crate::v1;

/// How often pauses and deadlines are looked at while something is unfinished.
const TICK: Duration = Duration::from_millis(10);
/// A router that says nothing for so long, though something waits, is left for another one.
const SILENCE: Duration = Duration::from_secs(3);

/// What the session's users and its task share.
pub(super) struct Shared {
    id: Uuid,
    state: std::sync::Mutex<State>,
    /// Something is unfinished again, or the session ends.
    roused: Notify,
}

struct State {
    window: Window,
    /// Which stream may take frames: an older one ends.
    stream: u64,
    /// The router has opened the present stream.
    open: bool,
    /// When the routers' clock showed what.
    clock: Option<(Instant, u64)>,
    waker: Option<Waker>,
    /// Nobody uses the session any more.
    closed: bool,
    /// Why there is no stream, in a sentence.
    trouble: String,
}

impl State {
    /// The routers' clock, once one was heard of.
    fn clock_ms(&self, now: Instant) -> Option<u64> {
        self.clock.map(|(at, clock_ms)| clock_ms + now.duration_since(at).as_millis() as u64)
    }
}

fn tell(told: Told) {
    for (teller, outcome) in told {
        // Whoever asked may have gone.
        let _ = teller.send(outcome);
    }
}

impl Shared {
    pub(super) fn new() -> Arc<Self> {
        let state = State {
            window: Window::new(),
            stream: 0,
            open: false,
            clock: None,
            waker: None,
            closed: false,
            trouble: String::new(),
        };
        Arc::new(Self {
            id: Uuid::new_v4(),
            state: std::sync::Mutex::new(state),
            roused: Notify::new(),
        })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // Nothing under the lock panics; if it did, the state would still be whole.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Hands an operation over.
    pub(super) fn push(&self, waiting: Waiting) {
        let (waker, first) = {
            let mut state = self.state();
            let first = state.window.is_empty();
            state.window.push(waiting);
            (state.waker.take(), first)
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        if first {
            self.roused.notify_one();
        }
    }

    pub(super) fn close(&self) {
        let waker = {
            let mut state = self.state();
            state.closed = true;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        self.roused.notify_one();
    }

    /// The sentence about what keeps the session from a router.
    pub(super) fn trouble(&self) -> String {
        self.state().trouble.clone()
    }

    /// Looks at pauses and deadlines as long as something is unfinished.
    async fn watch(&self) {
        loop {
            let (empty, closed) = {
                let state = self.state();
                (state.window.is_empty(), state.closed)
            };
            if empty && closed {
                return;
            }
            if empty {
                self.roused.notified().await;
                continue;
            }
            tokio::time::sleep(TICK).await;
            let mut told = Told::new();
            let waker = {
                let mut state = self.state();
                let State { window, trouble, .. } = &mut *state;
                match window.tick(Instant::now(), trouble, &mut told) {
                    true => state.waker.take(),
                    false => None,
                }
            };
            if let Some(waker) = waker {
                waker.wake();
            }
            tell(told);
        }
    }

    /// One stream, until it ends. True: it was opened.
    async fn stream(self: &Arc<Self>, client: &Client) -> (bool, Status) {
        let lane = client.lane();
        let generation = {
            let mut state = self.state();
            state.stream += 1;
            state.open = false;
            state.stream
        };
        let outgoing = Outgoing { shared: self.clone(), generation, begun: false };
        let opened = async {
            let most = client.max_message_bytes();
            let mut grpc = Grpc::new(lane.line.clone()).max_decoding_message_size(most);
            grpc.ready().await.map_err(|error| Status::from_error(Box::new(error)))?;
            let codec = EncodedCodec::<v1::SessionResponse>::default();
            let path = PathAndQuery::from_static("/tombolo.v1.Items/Session");
            grpc.streaming(Request::new(outgoing), path, codec).await
        };
        let ended = match tokio::time::timeout(SILENCE, opened).await {
            Ok(Ok(answers)) => self.read(answers.into_inner()).await,
            Ok(Err(status)) => status,
            Err(_) => Status::unavailable("the router does not answer"),
        };
        let was_open = {
            let mut state = self.state();
            state.stream += 1;
            state.window.lost();
            std::mem::take(&mut state.open)
        };
        // A server that stops ends its streams in good order, and is passed over for a while too.
        client.rest(lane);
        (was_open, ended)
    }

    async fn read(&self, mut answers: Streaming<v1::SessionResponse>) -> Status {
        loop {
            match tokio::time::timeout(SILENCE, answers.message()).await {
                Ok(Ok(Some(frame))) => self.take(frame),
                Ok(Ok(None)) => return Status::unavailable("the router ended the stream"),
                Ok(Err(status)) => return status,
                Err(_) if self.is_stuck() => return Status::unavailable("the router is silent"),
                Err(_) => {}
            }
        }
    }

    /// Whether an operation has waited as long as a router may be silent.
    fn is_stuck(&self) -> bool {
        let state = self.state();
        let Some(clock_ms) = state.clock_ms(Instant::now()) else { return true };
        let oldest = state.window.oldest_ms();
        oldest.is_some_and(|since| clock_ms.saturating_sub(since) >= SILENCE.as_millis() as u64)
    }

    fn take(&self, frame: v1::SessionResponse) {
        let now = Instant::now();
        let mut told = Told::with_capacity(frame.answers.len());
        let waker = {
            let mut state = self.state();
            if let Some(opened) = frame.opened {
                state.open = true;
                state.clock = Some((now, opened.now_ms));
                state.trouble.clear();
            }
            for answer in frame.answers {
                state.window.answer(answer, now, &mut told);
            }
            state.waker.take()
        };
        // What waited for numbers may go.
        if let Some(waker) = waker {
            waker.wake();
        }
        tell(told);
    }

    async fn streams(self: &Arc<Self>, client: &Client) {
        let mut pause = FIRST_PAUSE;
        while !self.state().closed {
            let (opened, status) = self.stream(client).await;
            let error = ClientError::from_status(status, false);
            let mut told = Told::new();
            {
                let mut state = self.state();
                state.trouble = format!("{}: {}", error.reason, error.message);
                // No other router will see this otherwise.
                let final_word = matches!(
                    error.code,
                    Code::PermissionDenied
                        | Code::Unauthenticated
                        | Code::Unimplemented
                        | Code::InvalidArgument
                );
                if final_word {
                    state.window.fail(&error, &mut told);
                }
            }
            tell(told);
            if opened {
                pause = FIRST_PAUSE;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// Keeps the session going until nobody uses it.
pub(super) async fn run(shared: Arc<Shared>, client: Client) {
    tokio::select! {
        () = shared.streams(&client) => {}
        () = shared.watch() => {}
    }
}

/// The frames of one stream, made when the transport asks for one.
struct Outgoing {
    shared: Arc<Shared>,
    generation: u64,
    begun: bool,
}

impl Stream for Outgoing {
    type Item = Bytes;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let this = self.get_mut();
        let mut state = this.shared.state();
        if state.stream != this.generation {
            return Poll::Ready(None);
        }
        if !this.begun {
            this.begun = true;
            let session = Bytes::copy_from_slice(this.shared.id.as_bytes());
            let open = Some(v1::SessionOpen { session });
            let frame = v1::SessionRequest { open, ..Default::default() };
            return Poll::Ready(Some(frame.encode_to_vec().into()));
        }
        let now = Instant::now();
        if state.open
            && let Some(clock_ms) = state.clock_ms(now)
            && let Some(frame) = state.window.take(now, clock_ms)
        {
            return Poll::Ready(Some(frame));
        }
        if state.closed && state.window.is_empty() {
            return Poll::Ready(None);
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}
