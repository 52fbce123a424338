//! The operations of a session that are not finished: which waits, which was sent, which must be
//! sent again.
//!
//! Always true: an operation gets its number when it is first sent and keeps it; frames are of
//! bounded size; whoever waits is told exactly once; a write of which some attempt may have been carried
//! out never ends as surely not. Nothing here sends, sleeps or reads a clock.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tonic::Code;

use crate::client::{FIRST_PAUSE, LONGEST_PAUSE};
use crate::error::ClientError;
use crate::v1;

/// Operations in a frame at most, and the bytes after which it is sent.
const FRAME_OPERATIONS: usize = 1024;
const FRAME_BYTES: usize = 512 << 10;
/// How far numbers may run ahead of the oldest unfinished operation (`SessionOperation.number`).
const NUMBERS: usize = 1 << 16;
/// Field 3 of a SessionRequest, length-delimited: one operation.
const OPERATION_TAG: u8 = 3 << 3 | 2;

/// What became of an operation.
pub(super) type Outcome = Result<v1::session_answer::Answer, ClientError>;
/// Where it is told.
pub(super) type Teller = oneshot::Sender<Outcome>;
/// Who is to be told what, once the window's lock is free.
pub(super) type Told = Vec<(Teller, Outcome)>;

/// An operation and who waits for it.
pub(super) struct Waiting {
    /// A `SessionOperation` without number and times.
    pub(super) body: Bytes,
    pub(super) writes: bool,
    pub(super) deadline: Instant,
    pub(super) teller: Teller,
    /// Its place among those of the session, given back when it ends.
    pub(super) _place: Option<OwnedSemaphorePermit>,
}

struct Numbered {
    waiting: Waiting,
    issued_ms: u64,
    /// The next pause before it is sent again, and when the present one ends.
    pause: Duration,
    paused_until: Option<Instant>,
    /// The last refusal, in case there is no time for another attempt.
    refusal: Option<ClientError>,
    /// An attempt is on the present stream, not answered.
    under_way: bool,
    /// An attempt was carried out or not, nobody knows: its stream was lost, or a router said so.
    doubtful: bool,
}

impl Numbered {
    /// What is told instead of `error`, which speaks of one attempt only.
    fn ends_as(&self, error: ClientError) -> ClientError {
        // The token is looked up before the condition: it failed after all attempts there were.
        let open = self.waiting.writes && (self.under_way || self.doubtful);
        let says_enough = error.is_condition_failed() || error.is_outcome_unknown();
        if open && !says_enough { late(true) } else { error }
    }
}

/// All of them.
pub(super) struct Window {
    fresh: VecDeque<Waiting>,
    lowest: u64,
    numbered: VecDeque<Option<Numbered>>,
    /// Numbers to send again, in the order in which they go.
    again: VecDeque<u64>,
}

impl Window {
    pub(super) fn new() -> Self {
        Self {
            fresh: VecDeque::new(),
            lowest: 1,
            numbered: VecDeque::new(),
            again: VecDeque::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        // The front is never a finished one.
        self.numbered.is_empty() && self.fresh.is_empty()
    }

    /// When the oldest unfinished operation was sent first.
    pub(super) fn oldest_ms(&self) -> Option<u64> {
        self.numbered.front()?.as_ref().map(|numbered| numbered.issued_ms)
    }

    pub(super) fn push(&mut self, waiting: Waiting) {
        self.fresh.push_back(waiting);
    }

    /// The next frame, of everything that may go now; nothing when nothing may.
    pub(super) fn take(&mut self, now: Instant, clock_ms: u64) -> Option<Bytes> {
        let mut frame = BytesMut::new();
        let lowest = v1::SessionRequest { lowest_unfinished: self.lowest, ..Default::default() };
        lowest.encode(&mut frame).ok()?;
        let mut count = 0;
        while count < FRAME_OPERATIONS && frame.len() < FRAME_BYTES {
            let Some(number) = self.next(clock_ms) else { break };
            let Some(numbered) = self.numbered(number) else { continue };
            numbered.under_way = true;
            let left = numbered.waiting.deadline.saturating_duration_since(now).as_millis();
            let head = v1::SessionOperation {
                number,
                issued_ms: numbered.issued_ms,
                timeout_ms: u32::try_from(left).unwrap_or(u32::MAX).max(1),
                operation: None,
            };
            // The fields of a message may stand in any order, so the two parts are one message.
            let body = &numbered.waiting.body;
            frame.put_u8(OPERATION_TAG);
            prost::encode_length_delimiter(head.encoded_len() + body.len(), &mut frame).ok()?;
            head.encode(&mut frame).ok()?;
            frame.extend_from_slice(body);
            count += 1;
        }
        (count > 0).then(|| frame.freeze())
    }

    /// The number that goes next.
    fn next(&mut self, clock_ms: u64) -> Option<u64> {
        if let Some(number) = self.again.pop_front() {
            return Some(number);
        }
        while self.numbered.len() < NUMBERS {
            let waiting = self.fresh.pop_front()?;
            // Whoever asked has gone before anything was sent.
            if waiting.teller.is_closed() {
                continue;
            }
            self.numbered.push_back(Some(Numbered {
                waiting,
                issued_ms: clock_ms,
                pause: FIRST_PAUSE,
                paused_until: None,
                refusal: None,
                under_way: false,
                doubtful: false,
            }));
            return Some(self.lowest + self.numbered.len() as u64 - 1);
        }
        None
    }

    fn numbered(&mut self, number: u64) -> Option<&mut Numbered> {
        let at = usize::try_from(number.checked_sub(self.lowest)?).ok()?;
        self.numbered.get_mut(at)?.as_mut()
    }

    fn finish(&mut self, number: u64) -> Option<Numbered> {
        let at = usize::try_from(number.checked_sub(self.lowest)?).ok()?;
        let numbered = self.numbered.get_mut(at)?.take()?;
        while let Some(None) = self.numbered.front() {
            self.numbered.pop_front();
            self.lowest += 1;
        }
        Some(numbered)
    }

    /// An answer came. One that another attempt may better is waited for again.
    pub(super) fn answer(&mut self, answer: v1::SessionAnswer, now: Instant, told: &mut Told) {
        let v1::SessionAnswer { number, answer } = answer;
        let Some(numbered) = self.numbered(number) else { return };
        numbered.under_way = false;
        let outcome = match answer {
            None => Err(ClientError::incomprehensible("an answer of no kind")),
            Some(v1::session_answer::Answer::Error(error)) => {
                let again = error.repeatable || error.retryable;
                let after = Duration::from_millis(error.retry_after_ms.into());
                let error = ClientError::from_session(error);
                numbered.doubtful |= error.is_outcome_unknown();
                if again && self.put_off(number, now, after, &error) {
                    return;
                }
                Err(error)
            }
            Some(answer) => Ok(answer),
        };
        if let Some(numbered) = self.finish(number) {
            let outcome = outcome.map_err(|error| numbered.ends_as(error));
            told.push((numbered.waiting.teller, outcome));
        }
    }

    /// Whether there is time to send it again after a pause.
    fn put_off(&mut self, number: u64, now: Instant, after: Duration, why: &ClientError) -> bool {
        let Some(numbered) = self.numbered(number) else { return false };
        let until = now + numbered.pause.max(after);
        if until >= numbered.waiting.deadline {
            return false;
        }
        numbered.pause = (numbered.pause * 2).min(LONGEST_PAUSE);
        numbered.paused_until = Some(until);
        numbered.refusal = Some(why.clone());
        true
    }

    /// The stream is gone: everything that was sent on it goes again, oldest first.
    pub(super) fn lost(&mut self) {
        self.again.clear();
        for (number, numbered) in (self.lowest..).zip(&mut self.numbered) {
            let Some(numbered) = numbered else { continue };
            numbered.doubtful |= std::mem::take(&mut numbered.under_way);
            if numbered.paused_until.is_none() {
                self.again.push_back(number);
            }
        }
    }

    /// Ends what has had its time, and lets those go whose pause is over. True: something may go.
    pub(super) fn tick(&mut self, now: Instant, trouble: &str, told: &mut Told) -> bool {
        let mut over = Vec::new();
        for (number, numbered) in (self.lowest..).zip(&mut self.numbered) {
            let Some(numbered) = numbered else { continue };
            if numbered.waiting.deadline <= now {
                over.push(number);
            } else if numbered.paused_until.is_some_and(|until| until <= now) {
                numbered.paused_until = None;
                self.again.push_back(number);
            }
        }
        for number in over {
            if let Some(mut numbered) = self.finish(number) {
                let refusal = numbered.refusal.take();
                let error = refusal.unwrap_or_else(|| late(numbered.waiting.writes));
                let error = numbered.ends_as(error);
                told.push((numbered.waiting.teller, Err(error)));
            }
        }
        while self.fresh.front().is_some_and(|waiting| waiting.deadline <= now)
            && let Some(waiting) = self.fresh.pop_front()
        {
            told.push((waiting.teller, Err(unreachable(trouble))));
        }
        !self.again.is_empty()
    }

    /// Ends everything: no stream will ever carry it.
    pub(super) fn fail(&mut self, error: &ClientError, told: &mut Told) {
        self.lowest += self.numbered.len() as u64;
        self.again.clear();
        for numbered in self.numbered.drain(..).flatten() {
            let error = numbered.ends_as(error.clone());
            told.push((numbered.waiting.teller, Err(error)));
        }
        told.extend(self.fresh.drain(..).map(|fresh| (fresh.teller, Err(error.clone()))));
    }
}

/// An operation that was sent, and whose answer did not come.
pub(super) fn late(writes: bool) -> ClientError {
    let reason = if writes { "OutcomeUnknown" } else { "RequestTimeout" };
    let message = "No answer came before the deadline".to_string();
    ClientError::local(Code::DeadlineExceeded, reason, message, !writes)
}

/// An operation that was never sent.
pub(super) fn unreachable(trouble: &str) -> ClientError {
    let message = format!("No router took the operation before its deadline. {trouble}");
    ClientError::local(Code::Unavailable, "Unreachable", message.trim_end().into(), true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(window: &mut Window, patience_ms: u64, now: Instant) -> oneshot::Receiver<Outcome> {
        let (teller, told) = oneshot::channel();
        let get = v1::session_operation::Operation::GetItem(Box::default());
        let body = v1::SessionOperation { operation: Some(get), ..Default::default() };
        window.push(Waiting {
            body: body.encode_to_vec().into(),
            writes: true,
            deadline: now + Duration::from_millis(patience_ms),
            teller,
            _place: None,
        });
        told
    }

    /// The numbers in the next frame, after its lowest unfinished one.
    fn sent(window: &mut Window, now: Instant, clock_ms: u64) -> (u64, Vec<(u64, u64)>) {
        let Some(frame) = window.take(now, clock_ms) else { return (0, Vec::new()) };
        let frame = v1::SessionRequest::decode(frame).unwrap();
        assert!(frame.operations.iter().all(|operation| operation.operation.is_some()));
        let numbers = frame.operations.iter().map(|one| (one.number, one.issued_ms)).collect();
        (frame.lowest_unfinished, numbers)
    }

    fn answered(number: u64) -> v1::SessionAnswer {
        let answer = v1::session_answer::Answer::GetItem(v1::GetItemResponse::default());
        v1::SessionAnswer { number, answer: Some(answer) }
    }

    #[test]
    fn what_was_not_answered_goes_again_under_its_first_number_and_time() {
        let (mut window, now, mut told) = (Window::new(), Instant::now(), Told::new());
        let waiting: Vec<_> = (0..4).map(|_| push(&mut window, 1_000, now)).collect();
        assert_eq!(sent(&mut window, now, 7), (1, vec![(1, 7), (2, 7), (3, 7), (4, 7)]));
        assert_eq!(sent(&mut window, now, 8), (0, vec![]));
        window.answer(answered(1), now, &mut told);
        window.answer(answered(3), now, &mut told);
        window.answer(answered(3), now, &mut told);
        assert_eq!(told.len(), 2, "each is told once");
        window.lost();
        let last = push(&mut window, 1_000, now);
        assert_eq!(sent(&mut window, now, 9), (2, vec![(2, 7), (4, 7), (5, 9)]));
        for number in [2, 4, 5] {
            window.answer(answered(number), now, &mut told);
        }
        told.into_iter().for_each(|(teller, outcome)| teller.send(outcome).unwrap());
        for mut waiting in waiting.into_iter().chain([last]) {
            assert!(waiting.try_recv().unwrap().is_ok());
        }
        assert!(window.is_empty());
    }

    #[test]
    fn a_refusal_that_may_pass_is_waited_out_and_told_at_the_deadline() {
        let (mut window, now, mut told) = (Window::new(), Instant::now(), Told::new());
        let _waiting = push(&mut window, 100, now);
        sent(&mut window, now, 1);
        let busy = |number| {
            let reason = "ThrottlingException".to_string();
            let busy = v1::SessionError { reason, retryable: true, ..Default::default() };
            let answer = Some(v1::session_answer::Answer::Error(busy));
            v1::SessionAnswer { number, answer }
        };
        window.answer(busy(1), now, &mut told);
        assert!(told.is_empty() && !window.tick(now, "", &mut told));
        let later = now + FIRST_PAUSE;
        assert!(window.tick(later, "", &mut told));
        assert_eq!(sent(&mut window, later, 2), (1, vec![(1, 1)]));
        let end = now + Duration::from_millis(95);
        window.answer(busy(1), end, &mut told);
        assert_eq!(told.pop().unwrap().1.unwrap_err().reason, "ThrottlingException");
        assert!(window.is_empty());
    }

    /// A refusal is of one attempt: of another one, lost or still under way, it says nothing.
    #[test]
    fn a_refusal_does_not_hide_an_attempt_that_may_have_been_carried_out() {
        let (now, mut told) = (Instant::now(), Told::new());
        let refused = |reason: &str| {
            let reason = reason.to_string();
            let error = v1::SessionError { reason, retryable: true, ..Default::default() };
            v1::SessionAnswer { number: 1, answer: Some(v1::session_answer::Answer::Error(error)) }
        };
        let end = now + Duration::from_millis(100);
        let reason = |told: &mut Told| told.pop().unwrap().1.unwrap_err().reason.clone();

        // Turned away, sent again, not answered.
        let mut window = Window::new();
        let _waiting = push(&mut window, 100, now);
        sent(&mut window, now, 1);
        window.answer(refused("ThrottlingException"), now, &mut told);
        assert!(window.tick(now + FIRST_PAUSE, "", &mut told));
        sent(&mut window, now + FIRST_PAUSE, 2);
        window.tick(end, "", &mut told);
        assert_eq!(reason(&mut told), "OutcomeUnknown");

        // Lost with its stream, then turned away; a failed condition is a verdict all the same.
        for (said, told_as) in [
            ("ThrottlingException", "OutcomeUnknown"),
            ("ConditionalCheckFailedException", "ConditionalCheckFailedException"),
        ] {
            let mut window = Window::new();
            let _waiting = push(&mut window, 100, now);
            sent(&mut window, now, 1);
            window.lost();
            sent(&mut window, now, 2);
            window.answer(refused(said), end, &mut told);
            assert_eq!(reason(&mut told), told_as);
        }

        // No stream will carry it any more: who was never sent is told why, the other what is known.
        let mut window = Window::new();
        let _sent = push(&mut window, 100, now);
        sent(&mut window, now, 1);
        let _fresh = push(&mut window, 100, now);
        window.lost();
        let denied = ClientError::local(Code::PermissionDenied, "Denied", "no".into(), false);
        window.fail(&denied, &mut told);
        assert_eq!(
            (reason(&mut told), reason(&mut told)),
            ("Denied".into(), "OutcomeUnknown".into())
        );
    }

    #[test]
    fn the_end_of_patience_says_what_is_known() {
        let (mut window, now, mut told) = (Window::new(), Instant::now(), Told::new());
        let _sent = push(&mut window, 10, now);
        sent(&mut window, now, 1);
        let _unsent = push(&mut window, 10, now);
        window.tick(now + Duration::from_millis(10), "All are down.", &mut told);
        let reasons: Vec<_> =
            told.iter().map(|(_, outcome)| outcome.as_ref().unwrap_err().reason.clone()).collect();
        assert_eq!(reasons, ["OutcomeUnknown", "Unreachable"]);
        assert!(window.is_empty());
    }

    #[test]
    fn numbers_run_ahead_only_so_far_and_the_unwanted_is_not_sent() {
        let (mut window, now, mut told) = (Window::new(), Instant::now(), Told::new());
        drop(push(&mut window, 1_000, now));
        let waiting: Vec<_> = (0..NUMBERS + 1).map(|_| push(&mut window, 1_000, now)).collect();
        let mut numbers = Vec::new();
        while let (1, more) = sent(&mut window, now, 1) {
            assert!(more.len() <= FRAME_OPERATIONS);
            numbers.extend(more);
        }
        assert_eq!(numbers.len(), NUMBERS);
        window.answer(answered(NUMBERS as u64), now, &mut told);
        assert_eq!(sent(&mut window, now, 1), (0, vec![]), "the first is not answered");
        window.answer(answered(1), now, &mut told);
        assert_eq!(sent(&mut window, now, 1), (2, vec![(NUMBERS as u64 + 1, 1)]));
        drop(waiting);
    }
}
