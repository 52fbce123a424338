//! A voter votes at most once in a term, restarts included (Ongaro 2014, §3.6: election safety).

use std::collections::BTreeMap;

use raft::eraftpb::MessageType;

use super::{Observation, Property, World};
use crate::core::frame::PeerBody;
use crate::core::planted::Planted;

#[derive(Default)]
pub(super) struct OneVotePerTerm {
    /// (voter, term) -> candidate
    votes: BTreeMap<(u64, u64), u64>,
}

impl Property for OneVotePerTerm {
    fn observe(&mut self, at_ms: u64, what: &Observation<'_>) -> Result<(), String> {
        let Observation::Sent { node, to, message } = what else { return Ok(()) };
        let PeerBody::Raft { message: m, .. } = &message.body else { return Ok(()) };
        let candidate = match m.msg_type {
            MessageType::MsgRequestVote => *node,
            MessageType::MsgRequestVoteResponse if !m.reject => *to,
            _ => return Ok(()),
        };
        let first = *self.votes.entry((*node, m.term)).or_insert(candidate);
        if first != candidate {
            return Err(format!(
                "at {at_ms} ms node {node} voted for {candidate} in term {}, before for {first}",
                m.term
            ));
        }
        Ok(())
    }

    fn finish(&mut self, _world: &World) -> Result<(), String> {
        if self.votes.is_empty() { Err("nobody ever voted".into()) } else { Ok(()) }
    }
}

#[test]
fn holds() {
    super::holds(0..6, OneVotePerTerm::default);
}

#[test]
fn a_forgotten_vote_is_caught() {
    super::catches(Planted::ForgetVote, true, 0..300, OneVotePerTerm::default);
}
