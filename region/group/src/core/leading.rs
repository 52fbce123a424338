//! What a leader holds in memory about its own term: proposals, their waiters, what they will make
//! of the rows.
//!
//! Always true:
//! - Nothing is evaluated before the empty entry of the term is applied and the clock has observed
//!   the group's greatest stamp: until then `tip` is `None`.
//! - The tip (sequence, chain hash, newest rows) moves only with a proposal that was accepted.
//! - An answer leaves when its entry is applied; an answer without an entry of its own leaves when
//!   the newest entry it looked at is applied *and* the lease holds.
//! - When leadership ends everything here is dropped: those whose write is in a log hear
//!   `OutcomeUnknown`, the others `NotLeader`.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use tombolo_item::{HybridClock, RowKey};
use tombolo_storage::{GroupConfig, StoredRow, TokenResult};
use uuid::Uuid;

use super::Machine;
use super::event::{Answer, Note, Now, Output, Ticket};
use super::replica::GroupCore;
use crate::error::GroupError;

/// How long a caller waits for the lease.
const BARRIER_MS: u64 = 1_500;

/// A row as it will be once everything proposed is applied.
#[derive(Debug, Clone)]
pub(super) enum NewRow {
    Item(Option<StoredRow>),
    Raw(Option<Bytes>),
}

pub(super) type RowName = (u8, RowKey);

/// One accepted proposal.
#[derive(Debug, Default)]
pub(super) struct Proposal {
    pub(super) index: u64,
    pub(super) at_ms: u64,
    pub(super) records: usize,
    pub(super) rows: Vec<RowName>,
    pub(super) tokens: Vec<(Uuid, u64)>,
    /// Answered once applied.
    pub(super) waiters: Vec<(Ticket, Answer)>,
    /// Looked at this entry but have none of their own: answered once applied and the lease holds.
    pub(super) onlookers: Vec<(Ticket, Answer)>,
}

/// The end of the log as the leader's evaluation sees it.
#[derive(Debug)]
pub(super) struct Tip {
    pub(super) clock: HybridClock,
    pub(super) seq: u64,
    pub(super) hash: u64,
    pub(super) config: Option<Arc<GroupConfig>>,
    /// Newest proposed value of each row in flight, and the entry that makes it.
    pub(super) rows: HashMap<RowName, (u64, NewRow)>,
    pub(super) tokens: BTreeMap<(Uuid, u64), (u64, TokenResult)>,
}

/// A leader's memory of its term.
#[derive(Debug)]
pub(crate) struct Leading {
    pub(super) term: u64,
    pub(super) since_ms: u64,
    /// A hand-over is under way since.
    pub(super) hand_over_ms: Option<u64>,
    /// TimeoutNow left at: never serve again in this term.
    pub(super) handed_over_ms: Option<u64>,
    pub(super) tip: Option<Tip>,
    pub(super) proposals: VecDeque<Proposal>,
    /// Waiting for the lease, oldest first: (deadline, ticket, answer).
    barriers: VecDeque<(u64, Ticket, Answer)>,
}

impl Leading {
    pub(super) fn new(term: u64, now_ms: u64) -> Leading {
        Leading {
            term,
            since_ms: now_ms,
            hand_over_ms: None,
            handed_over_ms: None,
            tip: None,
            proposals: VecDeque::new(),
            barriers: VecDeque::new(),
        }
    }

    pub(super) fn ready(&self) -> bool {
        self.tip.is_some()
    }

    pub(super) fn deadline_ms(&self, other: u64) -> u64 {
        let barrier = self.barriers.front().map_or(u64::MAX, |(at, _, _)| *at);
        let started = self.hand_over_ms.into_iter().chain(self.handed_over_ms).min();
        let hand_over = started.map_or(u64::MAX, |at| at + 2_000);
        other.min(barrier).min(hand_over)
    }

    /// Waits for entry `index` (0 = none), then for the lease.
    pub(super) fn look_on(&mut self, now_ms: u64, index: u64, ticket: Ticket, answer: Answer) {
        match self.proposals.iter_mut().rev().find(|p| p.index == index) {
            Some(proposal) => proposal.onlookers.push((ticket, answer)),
            None => self.barriers.push_back((now_ms + BARRIER_MS, ticket, answer)),
        }
    }

    pub(super) fn expire_barriers(&mut self, now_ms: u64, out: &mut Output) {
        while self.barriers.front().is_some_and(|(at, _, _)| now_ms >= *at) {
            if let Some((_, ticket, _)) = self.barriers.pop_front() {
                let why = "the leader could not prove that it still leads".to_owned();
                out.answers.push((ticket, Err(GroupError::NotServing(why))));
            }
        }
    }

    /// Leadership is over.
    pub(super) fn dissolve(self, not_leader: &GroupError, out: &mut Output) {
        for proposal in self.proposals {
            for (ticket, _) in proposal.waiters {
                let why = "leadership moved while the write was being replicated".to_owned();
                out.answers.push((ticket, Err(GroupError::OutcomeUnknown(why))));
            }
            let lost = proposal.onlookers.into_iter();
            out.answers.extend(lost.map(|(ticket, _)| (ticket, Err(not_leader.clone()))));
        }
        let lost = self.barriers.into_iter();
        out.answers.extend(lost.map(|(_, ticket, _)| (ticket, Err(not_leader.clone()))));
    }
}

impl<M: Machine> GroupCore<M> {
    /// An entry was applied: the leader's waiters for it are answered, its rows are settled.
    pub(super) fn applied_one(&mut self, now: Now, index: u64, term: u64, out: &mut Output) {
        let (machine, region) = (&self.machine, self.settings.region);
        let Some(leading) = &mut self.leading else { return };
        if leading.tip.is_none() {
            if term == leading.term {
                let state = machine.state();
                let mut clock = HybridClock::new(region);
                clock.observe(state.greatest);
                leading.tip = Some(Tip {
                    clock,
                    seq: state.seq,
                    hash: state.chain_hash,
                    config: state.config.clone().map(Arc::new),
                    rows: HashMap::new(),
                    tokens: BTreeMap::new(),
                });
                out.notes.push((self.group, Note::Role));
            }
            return;
        }
        while leading.proposals.front().is_some_and(|p| p.index <= index) {
            let Some(proposal) = leading.proposals.pop_front() else { break };
            out.answers.extend(proposal.waiters.into_iter().map(|(t, answer)| {
                let answer = match answer {
                    Answer::Logged { .. } => Answer::Logged { index: proposal.index },
                    other => other,
                };
                (t, Ok(answer))
            }));
            for (ticket, answer) in proposal.onlookers {
                leading.barriers.push_back((now.mono_ms + BARRIER_MS, ticket, answer));
            }
            if let Some(tip) = &mut leading.tip {
                for name in proposal.rows {
                    if tip.rows.get(&name).is_some_and(|(at, _)| *at <= index) {
                        tip.rows.remove(&name);
                    }
                }
                for token in proposal.tokens {
                    tip.tokens.remove(&token);
                }
            }
            if proposal.records > 0 {
                let took_ms = now.mono_ms.saturating_sub(proposal.at_ms);
                let note = Note::Committed { took_ms, records: proposal.records };
                out.notes.push((self.group, note));
            }
        }
    }

    /// Answers those who only wait for the proof of leadership, if there is one; else asks for it.
    pub(super) fn pass_barriers(&mut self, now: Now, out: &mut Output) {
        #[cfg(test)]
        let unproved = self.settings.planted == Some(super::planted::Planted::ServeAtOnce);
        #[cfg(not(test))]
        let unproved = false;
        let Some(leading) = &mut self.leading else { return };
        if leading.barriers.is_empty() {
            return;
        }
        let proved =
            leading.ready() && leading.handed_over_ms.is_none() && self.lease.holds(now.mono_ms);
        if proved || unproved {
            let answered = leading.barriers.drain(..);
            out.answers.extend(answered.map(|(_, ticket, answer)| (ticket, Ok(answer))));
        } else {
            self.ping_soon(now);
        }
    }
}
