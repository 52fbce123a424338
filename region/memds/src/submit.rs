//! Trying again: which replica next, after which pause, and what is known at the end.
//!
//! Always true: a write is tried again only under its token, so it cannot apply twice. Once an
//! attempt's outcome is unknown, the end cannot be "surely not applied". Every pause has jitter,
//! and none outlasts the deadline.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tombolo_group::{GroupError, Token};
use tombolo_item::NodeId;
use uuid::Uuid;

use crate::directory::Slot;
use crate::error::{RouteError, Uncertain};
use crate::metrics::RETRIES;

/// One attempt waits at most this long, so that a silent node does not eat the whole deadline.
const ATTEMPT_MAX: Duration = Duration::from_secs(3);
const PAUSE_FIRST: Duration = Duration::from_millis(4);
const PAUSE_MAX: Duration = Duration::from_millis(100);
/// Hints followed in a row without a pause: two replicas could point at each other.
const FOLLOW_MAX: u32 = 2;
/// An overloaded group is tried this often before the caller is told.
const OVERLOADED_MAX: u32 = 6;

/// A process' writes: one session, numbered, so that groups can forget finished ones.
#[derive(Debug)]
pub(crate) struct Session {
    id: Uuid,
    window: Mutex<Window>,
}

#[derive(Debug)]
struct Window {
    lowest: u64,
    finished: VecDeque<bool>,
}

/// A write of a session that is not finished yet; dropping it finishes it.
#[derive(Debug)]
pub(crate) struct Unfinished {
    session: Arc<Session>,
    token: Token,
}

impl Session {
    pub(crate) fn new() -> Arc<Session> {
        let window = Mutex::new(Window { lowest: 1, finished: VecDeque::new() });
        Arc::new(Session { id: Uuid::new_v4(), window })
    }

    pub(crate) fn begin(self: &Arc<Self>) -> Unfinished {
        let (number, lowest_unfinished) = {
            let mut window = self.window.lock();
            window.finished.push_back(false);
            (window.lowest + window.finished.len() as u64 - 1, window.lowest)
        };
        let token = Token { session: self.id, number, lowest_unfinished, issued_ms: now_ms() };
        Unfinished { session: self.clone(), token }
    }

    fn finish(&self, number: u64) {
        let mut window = self.window.lock();
        if let Some(at) = number.checked_sub(window.lowest)
            && let Some(finished) = window.finished.get_mut(at as usize)
        {
            *finished = true;
        }
        while window.finished.front() == Some(&true) {
            window.finished.pop_front();
            window.lowest += 1;
        }
    }
}

impl Unfinished {
    pub(crate) fn token(&self) -> Token {
        self.token
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        self.session.finish(self.token.number);
    }
}

/// Wall clock, ms since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// What the caller should do before the next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// The same slot will do.
    Same,
    /// The map may be out of date.
    Relocate,
}

/// The attempts of one request.
#[derive(Debug)]
pub(crate) struct Tries {
    pub(crate) begun: Instant,
    deadline: Instant,
    attempts: u32,
    followed: u32,
    overloaded: u32,
    rotation: usize,
    write: bool,
    maybe_applied: bool,
    last: String,
}

impl Tries {
    pub(crate) fn write(deadline: Instant) -> Tries {
        Tries { write: true, ..Tries::read(deadline) }
    }

    /// A read has no outcome that could be unknown.
    pub(crate) fn read(deadline: Instant) -> Tries {
        Tries {
            begun: Instant::now(),
            deadline,
            attempts: 0,
            followed: 0,
            overloaded: 0,
            rotation: 0,
            write: false,
            maybe_applied: false,
            last: String::new(),
        }
    }

    /// Time for the next attempt.
    pub(crate) fn left(&self) -> Result<Duration, RouteError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(self.timeout()) } else { Ok(left.min(ATTEMPT_MAX)) }
    }

    fn timeout(&self) -> RouteError {
        let applied = if self.maybe_applied { Uncertain::Unknown } else { Uncertain::No };
        let last = if self.last.is_empty() { "no attempt was made" } else { &self.last };
        RouteError::Timeout { applied, last: last.to_owned() }
    }

    /// Who to ask when only the leader will do.
    pub(crate) fn leader(&mut self, slot: &Slot) -> Option<NodeId> {
        if let Some(leader) = slot.leader() {
            return Some(leader);
        }
        let descriptor = slot.descriptor();
        let count = descriptor.replicas.len();
        let at = self.rotation.checked_rem(count)?;
        self.rotation += 1;
        descriptor.replicas.get(at).copied()
    }

    /// Who to ask when any replica will do, `near` first.
    pub(crate) fn nearest(&mut self, slot: &Slot, near: impl Fn(NodeId) -> u8) -> Option<NodeId> {
        let descriptor = slot.descriptor();
        let replicas = &descriptor.replicas;
        if self.rotation == 0 {
            self.rotation = 1;
            return replicas.iter().copied().min_by_key(|node| near(*node));
        }
        let at = self.rotation.checked_rem(replicas.len())?;
        self.rotation += 1;
        replicas.get(at).copied()
    }

    /// An attempt failed: learn from it, pause; or give up.
    pub(crate) async fn failed(
        &mut self,
        slot: &Slot,
        target: NodeId,
        error: GroupError,
    ) -> Result<Again, RouteError> {
        self.attempts += 1;
        let mut follow = false;
        let again = match &error {
            GroupError::NotLeader { leader, descriptor } => {
                RETRIES.not_leader.inc();
                if let Some(descriptor) = descriptor {
                    slot.learn(descriptor.clone());
                }
                slot.not_leader(target);
                if let Some(leader) = leader.filter(|leader| *leader != target) {
                    slot.set_leader(leader);
                    self.followed += 1;
                    follow = self.followed <= FOLLOW_MAX;
                }
                Again::Same
            }
            GroupError::NoSuchGroup => {
                RETRIES.no_such_group.inc();
                slot.not_leader(target);
                Again::Relocate
            }
            GroupError::WrongRange { descriptor } => {
                RETRIES.wrong_range.inc();
                slot.learn(descriptor.clone());
                Again::Relocate
            }
            GroupError::NotServing(_) | GroupError::Stopped => {
                RETRIES.not_serving.inc();
                // A new leader needs a moment, an old one sends us on: every other time elsewhere.
                if self.attempts.is_multiple_of(2) || matches!(error, GroupError::Stopped) {
                    slot.not_leader(target);
                }
                Again::Same
            }
            GroupError::Overloaded(reason) => {
                RETRIES.overloaded.inc();
                self.overloaded += 1;
                if self.overloaded >= OVERLOADED_MAX && !self.maybe_applied {
                    return Err(RouteError::Overloaded(reason.clone()));
                }
                Again::Same
            }
            GroupError::OutcomeUnknown(_) => {
                RETRIES.outcome_unknown.inc();
                self.maybe_applied |= self.write;
                slot.not_leader(target);
                Again::Same
            }
            _ if self.maybe_applied => return Err(RouteError::OutcomeUnknown(error.to_string())),
            _ => return Err(RouteError::Group(error)),
        };
        self.last = format!("node {target}: {error}");
        if !follow {
            self.followed = 0;
            self.pause().await?;
        }
        Ok(again)
    }

    /// The map does not know (yet) where to go.
    pub(crate) async fn nowhere(&mut self, reason: &str) -> Result<(), RouteError> {
        RETRIES.no_map.inc();
        self.attempts += 1;
        self.last = reason.to_owned();
        self.pause().await
    }

    async fn pause(&self) -> Result<(), RouteError> {
        let doubled = PAUSE_FIRST * 2u32.pow(self.attempts.min(5));
        let pause = doubled.min(PAUSE_MAX).mul_f64(0.5 + unit_random() / 2.0);
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left <= pause {
            tokio::time::sleep(left).await;
            return Err(self.timeout());
        }
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

/// A random number from 0 to 1, for jitter.
fn unit_random() -> f64 {
    let (bits, _) = Uuid::new_v4().as_u64_pair();
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use tombolo_group::Descriptor;
    use tombolo_item::{GroupId, KeyRange, TableId};

    use super::*;

    fn slot() -> Slot {
        let descriptor = Descriptor {
            group: GroupId(16),
            table: TableId::default(),
            range: KeyRange::full(),
            epoch: 1,
            conf_index: 0,
            replicas: vec![NodeId(1), NodeId(2), NodeId(3)],
            leader: None,
        };
        Slot::new(None, descriptor)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    #[test]
    fn numbers_finish_in_any_order() {
        let session = Session::new();
        let first = session.begin();
        let second = session.begin();
        assert_eq!((first.token().number, first.token().lowest_unfinished), (1, 1));
        assert_eq!((second.token().number, second.token().lowest_unfinished), (2, 1));
        drop(second);
        assert_eq!(session.begin().token().lowest_unfinished, 1);
        drop(first);
        let fourth = session.begin().token();
        assert_eq!((fourth.number, fourth.lowest_unfinished), (4, 4));
    }

    #[tokio::test]
    async fn hints_are_followed_at_once_and_others_are_tried_without() {
        let slot = slot();
        let mut tries = Tries::write(soon());
        assert_eq!(tries.leader(&slot), Some(NodeId(2)), "16 modulo 3");
        let hint = GroupError::NotLeader { leader: Some(NodeId(3)), descriptor: None };
        assert_eq!(tries.failed(&slot, NodeId(2), hint).await.unwrap(), Again::Same);
        assert_eq!(tries.leader(&slot), Some(NodeId(3)));
        let mut asked = std::collections::BTreeSet::new();
        for _ in 0..6 {
            let target = tries.leader(&slot).unwrap();
            asked.insert(target);
            let nobody = GroupError::NotLeader { leader: None, descriptor: None };
            tries.failed(&slot, target, nobody).await.unwrap();
        }
        assert_eq!(asked.len(), 3, "every replica was asked");
    }

    #[tokio::test]
    async fn what_may_be_applied_never_ends_as_surely_not() {
        let slot = slot();
        let mut tries = Tries::write(Instant::now() + Duration::from_millis(30));
        let unknown = GroupError::OutcomeUnknown("broke".into());
        tries.failed(&slot, NodeId(1), unknown).await.unwrap();
        let error = loop {
            let full = GroupError::Overloaded("full".into());
            if let Err(error) = tries.failed(&slot, NodeId(1), full).await {
                break error;
            }
        };
        assert!(matches!(error, RouteError::Timeout { applied: Uncertain::Unknown, .. }));
        let invalid = tries.failed(&slot, NodeId(1), GroupError::Invalid("x".into())).await;
        assert!(matches!(invalid, Err(RouteError::OutcomeUnknown(_))));
    }

    #[tokio::test]
    async fn overload_is_told_and_deadlines_end_it() {
        let slot = slot();
        let mut tries = Tries::write(soon());
        let error = loop {
            let full = GroupError::Overloaded("full".into());
            if let Err(error) = tries.failed(&slot, NodeId(1), full).await {
                break error;
            }
        };
        assert!(matches!(error, RouteError::Overloaded(_)));
        let mut tries = Tries::write(Instant::now());
        assert!(matches!(tries.left(), Err(RouteError::Timeout { applied: Uncertain::No, .. })));
        assert!(tries.nowhere("no table").await.is_err());
        let near = |node: NodeId| u8::from(node != NodeId(2));
        assert_eq!(tries.nearest(&slot, near), Some(NodeId(2)));
    }
}
