//! What waits to go out on one stream, and who waits for answers to it.
//!
//! Always true: whatever is queued when the stream asks goes out in one frame (up to
//! [`FRAME_BYTES`] and [`FRAME_ITEMS`]), at once: a lone item never waits for company. There is no
//! task per item; the transport polls [`Outgoing`] when it has room. A call is answered exactly
//! once, and is told apart by whether its item had left the queue. The lock is never held across
//! an await.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, Sleep};

use super::CallError;
use super::metrics::{self, Directions};
use super::wire::{self, FRAME_BYTES, FRAME_ITEMS, Frame, Hello, ITEM_OVERHEAD, Item};

/// Answers to a call go here.
pub(super) type Answer = oneshot::Sender<Result<Bytes, CallError>>;

/// Where the stream is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// No stream, nobody dials; the next item is a reason to.
    Idle,
    /// Being dialled: items wait.
    Dialling,
    /// Items flow.
    Up,
    /// The last dial failed: items are refused until the next attempt.
    Backoff,
    /// For good.
    Closed,
}

struct Waiting {
    answer: Answer,
    deadline: Instant,
    sent: bool,
}

struct State {
    phase: Phase,
    /// Which [`Outgoing`] may take items: an older one ends.
    generation: u64,
    queue: VecDeque<(Item, Option<Instant>)>,
    queued_bytes: usize,
    waiting: HashMap<u64, Waiting>,
    waiting_bytes: usize,
    next_id: u64,
    waker: Option<Waker>,
    last_error: String,
}

/// Bounds of an outbox.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) items: usize,
    pub(super) bytes: usize,
}

/// The queue of one stream.
pub(super) struct Outbox {
    state: Mutex<State>,
    bounds: Bounds,
    consensus: bool,
    /// Told when a queue over its bounds has been taken by the transport.
    pub(super) drained: Notify,
}

/// What [`Outbox::push`] and [`Outbox::submit`] ask of the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pushed {
    Queued,
    /// Queued, and somebody should dial.
    Dial,
    /// Not queued.
    Dropped,
}

impl Outbox {
    pub(super) fn new(phase: Phase, consensus: bool, bounds: Bounds) -> Arc<Outbox> {
        Arc::new(Outbox {
            state: Mutex::new(State {
                phase,
                generation: 0,
                queue: VecDeque::new(),
                queued_bytes: 0,
                waiting: HashMap::new(),
                waiting_bytes: 0,
                next_id: 1,
                waker: None,
                last_error: String::new(),
            }),
            bounds,
            consensus,
            drained: Notify::new(),
        })
    }

    /// Queue an item that nobody waits for: a consensus message or an answer.
    pub(super) fn push(&self, item: Item, delay: Option<Duration>) -> Pushed {
        let size = item.body.len() + ITEM_OVERHEAD;
        let waker;
        let pushed;
        {
            let mut state = self.state.lock();
            let full = self.consensus
                && (state.queue.len() >= self.bounds.items
                    || state.queued_bytes + size > self.bounds.bytes);
            if full || matches!(state.phase, Phase::Backoff | Phase::Closed) {
                return Pushed::Dropped;
            }
            state.queue.push_back((item, delay.map(|delay| Instant::now() + delay)));
            state.queued_bytes += size;
            pushed = if state.phase == Phase::Idle { Pushed::Dial } else { Pushed::Queued };
            waker = state.waker.take();
        }
        if let Some(waker) = waker {
            waker.wake();
        }
        pushed
    }

    /// Queue answers, in order; `items` is empty afterwards.
    pub(super) fn push_all(&self, items: &mut Vec<Item>, delay: Option<Duration>) {
        if items.is_empty() {
            return;
        }
        let waker = {
            let mut state = self.state.lock();
            if state.phase == Phase::Closed {
                items.clear();
                return;
            }
            let ready_at = delay.map(|delay| Instant::now() + delay);
            for item in items.drain(..) {
                state.queued_bytes += item.body.len() + ITEM_OVERHEAD;
                state.queue.push_back((item, ready_at));
            }
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Queue a call. On an error it is surely not sent.
    pub(super) fn submit(
        &self,
        service: u32,
        body: Bytes,
        timeout: Duration,
        delay: Option<Duration>,
        answer: Answer,
    ) -> Result<Pushed, CallError> {
        let size = body.len() + ITEM_OVERHEAD;
        let timeout_ms = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX).max(1);
        let now = Instant::now();
        let waker;
        let pushed;
        {
            let mut state = self.state.lock();
            match state.phase {
                Phase::Backoff => return Err(CallError::Unreachable(state.last_error.clone())),
                Phase::Closed => {
                    return Err(CallError::Unreachable("the node port is closed".into()));
                }
                Phase::Idle | Phase::Dialling | Phase::Up => {}
            }
            if state.waiting.len() >= self.bounds.items
                || state.waiting_bytes + size > self.bounds.bytes
            {
                return Err(CallError::Overloaded(format!(
                    "{} calls of {} bytes are in flight to this node",
                    state.waiting.len(),
                    state.waiting_bytes
                )));
            }
            let id = state.next_id;
            state.next_id += 1;
            state.waiting.insert(id, Waiting { answer, deadline: now + timeout, sent: false });
            state.queue.push_back((
                wire::request_item(id, service, timeout_ms, body),
                delay.map(|delay| now + delay),
            ));
            state.queued_bytes += size;
            state.waiting_bytes += size;
            pushed = if state.phase == Phase::Idle { Pushed::Dial } else { Pushed::Queued };
            waker = state.waker.take();
        }
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(pushed)
    }

    /// Hand out the answers of a frame.
    pub(super) fn complete(&self, items: Vec<Item>, scratch: &mut Vec<(Item, Answer)>) {
        {
            let mut state = self.state.lock();
            for item in items {
                if let Some(waiting) = state.waiting.remove(&item.id) {
                    scratch.push((item, waiting.answer));
                }
            }
            if state.waiting.is_empty() {
                state.waiting_bytes = 0;
            }
        }
        for (item, answer) in scratch.drain(..) {
            // The caller may have gone: its answer has nowhere to go.
            let _ = answer.send(wire::answer_of(item));
        }
    }

    /// End calls whose deadline has passed. Returns whether calls are still waiting.
    pub(super) fn expire(&self) -> bool {
        let now = Instant::now();
        let mut expired = Vec::new();
        let more = {
            let mut state = self.state.lock();
            let ids: Vec<u64> = state
                .waiting
                .iter()
                .filter(|(_, waiting)| waiting.deadline <= now || waiting.answer.is_closed())
                .map(|(id, _)| *id)
                .collect();
            for id in ids {
                expired.extend(state.waiting.remove(&id));
            }
            if state.waiting.is_empty() {
                state.waiting_bytes = 0;
            }
            !state.waiting.is_empty()
        };
        for waiting in expired {
            let _ = waiting.answer.send(Err(if waiting.sent {
                CallError::Timeout
            } else {
                CallError::Unreachable("the deadline passed before it could be sent".into())
            }));
        }
        more
    }

    /// Start a new stream; the one before ends.
    pub(super) fn dialling(&self) -> u64 {
        let mut state = self.state.lock();
        if state.phase != Phase::Closed {
            state.phase = Phase::Dialling;
        }
        state.generation += 1;
        state.generation
    }

    /// The Hello was accepted: items may flow.
    pub(super) fn up(&self) {
        let waker = {
            let mut state = self.state.lock();
            if state.phase == Phase::Closed {
                return;
            }
            state.phase = Phase::Up;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The stream is gone: drop what is queued, answer who waits.
    pub(super) fn down(&self, phase: Phase, reason: &str) {
        let (waker, waiting, dropped) = {
            let mut state = self.state.lock();
            if state.phase != Phase::Closed {
                state.phase = phase;
            }
            state.generation += 1;
            state.last_error = reason.to_owned();
            let dropped = if self.consensus { state.queue.len() } else { 0 };
            state.queue.clear();
            state.queued_bytes = 0;
            state.waiting_bytes = 0;
            (state.waker.take(), std::mem::take(&mut state.waiting), dropped)
        };
        metrics::DROPPED.inc_by(dropped as u64);
        if let Some(waker) = waker {
            waker.wake();
        }
        self.drained.notify_waiters();
        for waiting in waiting.into_values() {
            let _ = waiting.answer.send(Err(if waiting.sent {
                CallError::Lost(reason.to_owned())
            } else {
                CallError::Unreachable(reason.to_owned())
            }));
        }
    }

    /// Whether more is queued than the bounds allow: a sign to stop reading requests.
    pub(super) fn over_bounds(&self) -> bool {
        let state = self.state.lock();
        state.phase != Phase::Closed
            && (state.queue.len() > self.bounds.items || state.queued_bytes > self.bounds.bytes)
    }

    /// After a failed dial the pause is over, or a stream ended: the next item dials again.
    /// Returns whether there already is one.
    pub(super) fn idle(&self) -> bool {
        let mut state = self.state.lock();
        if state.phase == Phase::Backoff {
            state.phase = Phase::Idle;
        }
        state.phase == Phase::Idle && !state.queue.is_empty()
    }

    fn take(&self, state: &mut State) -> Vec<Item> {
        let mut items = Vec::with_capacity(state.queue.len().min(FRAME_ITEMS));
        let mut bytes = 0;
        let mut now = None;
        while items.len() < FRAME_ITEMS && bytes < FRAME_BYTES {
            let Some((front, ready_at)) = state.queue.front() else { break };
            let size = front.body.len() + ITEM_OVERHEAD;
            if !items.is_empty() && bytes + size > FRAME_BYTES {
                break;
            }
            if let Some(ready_at) = ready_at
                && *ready_at > *now.get_or_insert_with(Instant::now)
            {
                break;
            }
            let Some((item, _)) = state.queue.pop_front() else { break };
            state.queued_bytes -= size;
            if item.service != 0 {
                // A request whose caller has given up is not sent at all.
                let Some(waiting) = state.waiting.get_mut(&item.id) else { continue };
                waiting.sent = true;
            }
            bytes += size;
            items.push(item);
        }
        let directions: &Directions =
            if self.consensus { &metrics::ITEMS.consensus } else { &metrics::ITEMS.data };
        if !items.is_empty() {
            directions.sent.inc_by(items.len() as u64);
            let (frames, sizes) = if self.consensus {
                (&metrics::FRAMES.consensus, &metrics::BYTES.consensus)
            } else {
                (&metrics::FRAMES.data, &metrics::BYTES.data)
            };
            frames.sent.inc();
            sizes.sent.inc_by((bytes - items.len() * ITEM_OVERHEAD) as u64);
        }
        items
    }
}

/// The frames of one stream, made when the transport asks for one.
pub(super) struct Outgoing {
    outbox: Arc<Outbox>,
    generation: u64,
    hello: Option<Hello>,
    /// The outbox serves this one stream only: it closes with it.
    only: bool,
    until_ready: Option<Pin<Box<Sleep>>>,
}

impl Outgoing {
    pub(super) fn new(outbox: Arc<Outbox>, generation: u64, hello: Hello) -> Outgoing {
        Outgoing { outbox, generation, hello: Some(hello), only: false, until_ready: None }
    }

    /// The outbox closes when the transport drops this.
    pub(super) fn only(mut self) -> Outgoing {
        self.only = true;
        self
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        if self.only {
            self.outbox.down(Phase::Closed, "the stream ended");
        }
    }
}

impl Stream for Outgoing {
    type Item = Frame;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Frame>> {
        let this = self.get_mut();
        if let Some(hello) = this.hello.take() {
            return Poll::Ready(Some(Frame { hello: Some(hello), items: Vec::new() }));
        }
        loop {
            let ready_at;
            {
                let mut state = this.outbox.state.lock();
                if state.generation != this.generation || state.phase == Phase::Closed {
                    return Poll::Ready(None);
                }
                if state.phase == Phase::Up {
                    let was_over = state.queued_bytes > this.outbox.bounds.bytes
                        || state.queue.len() > this.outbox.bounds.items;
                    let items = this.outbox.take(&mut state);
                    if was_over {
                        this.outbox.drained.notify_waiters();
                    }
                    if !items.is_empty() {
                        return Poll::Ready(Some(Frame { hello: None, items }));
                    }
                }
                ready_at = state.queue.front().and_then(|(_, ready_at)| *ready_at);
                match &mut state.waker {
                    Some(waker) => waker.clone_from(cx.waker()),
                    none => *none = Some(cx.waker().clone()),
                }
            }
            let Some(ready_at) = ready_at else { return Poll::Pending };
            let sleep = this
                .until_ready
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(ready_at)));
            if sleep.deadline() != ready_at {
                sleep.as_mut().reset(ready_at);
            }
            if std::future::Future::poll(sleep.as_mut(), cx).is_pending() {
                return Poll::Pending;
            }
            this.until_ready = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, StreamExt};

    use super::*;

    const BOUNDS: Bounds = Bounds { items: 1000, bytes: 8 << 20 };

    fn hello() -> Hello {
        Hello { version: 1, cluster: "t".into(), region: 1, node: 1, zone: "a".into() }
    }

    fn open(consensus: bool) -> (Arc<Outbox>, Outgoing) {
        let outbox = Outbox::new(Phase::Idle, consensus, BOUNDS);
        let generation = outbox.dialling();
        let outgoing = Outgoing::new(outbox.clone(), generation, hello());
        (outbox, outgoing)
    }

    #[tokio::test]
    async fn nothing_flows_before_the_hello_is_accepted() {
        let (outbox, mut outgoing) = open(true);
        outbox.push(wire::consensus_item(Bytes::from_static(b"x")), None);
        assert!(outgoing.next().await.unwrap().hello.is_some());
        assert!(outgoing.next().now_or_never().is_none());
        outbox.up();
        assert_eq!(outgoing.next().await.unwrap().items.len(), 1);
    }

    #[tokio::test]
    async fn frames_are_bounded_and_in_order() {
        let (outbox, mut outgoing) = open(true);
        outbox.up();
        outgoing.next().await.unwrap();
        for n in 0..1000u32 {
            outbox.push(wire::consensus_item(Bytes::from(n.to_be_bytes().to_vec())), None);
        }
        assert_eq!(
            outbox.push(wire::consensus_item(Bytes::new()), None),
            Pushed::Dropped,
            "a full queue drops"
        );
        let mut got = Vec::new();
        while got.len() < 1000 {
            let frame = outgoing.next().await.unwrap();
            assert!(frame.items.len() <= FRAME_ITEMS);
            got.extend(
                frame.items.iter().map(|i| u32::from_be_bytes(i.body[..].try_into().unwrap())),
            );
        }
        assert!(got.iter().copied().eq(0..1000));
        for _ in 0..3 {
            outbox.push(wire::consensus_item(Bytes::from(vec![0; 700_000])), None);
        }
        for _ in 0..3 {
            assert_eq!(outgoing.next().await.unwrap().items.len(), 1, "bounded by bytes");
        }
    }

    #[tokio::test]
    async fn a_teardown_tells_sent_from_unsent() {
        let (outbox, mut outgoing) = open(false);
        outbox.up();
        outgoing.next().await.unwrap();
        let (sent, sent_answer) = oneshot::channel();
        let (unsent, unsent_answer) = oneshot::channel();
        let second = Duration::from_secs(1);
        outbox.submit(1, Bytes::new(), second, None, sent).unwrap();
        outgoing.next().await.unwrap();
        outbox.submit(1, Bytes::new(), second, None, unsent).unwrap();
        outbox.down(Phase::Backoff, "gone");
        assert_eq!(sent_answer.await.unwrap(), Err(CallError::Lost("gone".into())));
        assert_eq!(unsent_answer.await.unwrap(), Err(CallError::Unreachable("gone".into())));
        assert!(outgoing.next().await.is_none(), "the old stream ends");
        let (late, _answer) = oneshot::channel();
        let refused = outbox.submit(1, Bytes::new(), second, None, late);
        assert_eq!(refused, Err(CallError::Unreachable("gone".into())));
    }

    #[tokio::test(start_paused = true)]
    async fn deadlines_end_calls_and_delays_hold_items_back() {
        let (outbox, mut outgoing) = open(false);
        outbox.up();
        outgoing.next().await.unwrap();
        let (answer, answered) = oneshot::channel();
        let delay = Some(Duration::from_millis(50));
        outbox.submit(1, Bytes::new(), Duration::from_millis(20), delay, answer).unwrap();
        tokio::time::advance(Duration::from_millis(30)).await;
        assert!(!outbox.expire());
        assert!(matches!(answered.await.unwrap(), Err(CallError::Unreachable(_))));
        let (answer, answered) = oneshot::channel();
        let start = Instant::now();
        outbox.submit(1, Bytes::new(), Duration::from_secs(1), delay, answer).unwrap();
        let frame = outgoing.next().await.unwrap();
        assert_eq!(frame.items.len(), 1, "the expired call is not sent");
        assert!(start.elapsed() >= Duration::from_millis(50));
        tokio::time::advance(Duration::from_secs(2)).await;
        outbox.expire();
        assert_eq!(answered.await.unwrap(), Err(CallError::Timeout));
    }
}
