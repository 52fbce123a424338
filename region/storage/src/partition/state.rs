//! The replicated state of a partition beside its rows: configuration, position and hash of its
//! change chain, greatest stamp, kept answers, confirmations.
//!
//! Always true: it is a pure function of the log records applied so far (time in it is the time of
//! their stamps), so replicas at one index hold the same; it is saved with each checkpoint and
//! carried by each snapshot.
//!
//! Saved form: version u8 ‖ applied index u64 ‖ its term u64 ‖ postcard of [`PartitionState`] ‖
//! crc32c of all before u32. Version 2, for a group with local indexes: postcard of them follows the state.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tombolo_item::{Hlc, RegionId, Shard};
use uuid::Uuid;

use crate::record::{Confirmed, GroupConfig, TokenRecord, TokenResult};

const VERSION: u8 = 1;
const VERSION_WITH_INDEXES: u8 = 2;

/// How long an answer is kept, in milliseconds of log time.
pub const TOKEN_LIFE_MS: u64 = 10 * 60 * 1000;
/// How often expired answers are looked for.
const SWEEP_MS: u64 = 10 * 1000;

/// See the module. Clone the `Arc`, look, drop it: holding it makes the next apply copy the state.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PartitionState {
    pub config: Option<GroupConfig>,
    /// The last change record's sequence number and the hash of its canonical bytes.
    pub seq: u64,
    pub chain_hash: u64,
    /// The greatest stamp applied, of deletes and other regions' changes too.
    pub greatest: Hlc,
    pub tokens: BTreeMap<Uuid, Arc<Session>>,
    pub confirmed: BTreeMap<(RegionId, Shard), Confirmed>,
    /// When answers were last expired, in log time.
    pub swept_ms: u64,
}

/// A router's session: which of its writes were applied, with their answers.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Session {
    /// The client will not ask again about numbers below this.
    pub lowest_unfinished: u64,
    pub answers: BTreeMap<u64, KeptAnswer>,
    /// The latest of log time and issue time of its writes.
    pub last_ms: u64,
}

/// The answer to one write.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeptAnswer {
    pub result: TokenResult,
    /// The later of log time and issue time: its life counts from here.
    pub from_ms: u64,
}

/// What a partition knows about a token.
#[derive(Debug, Clone, PartialEq)]
pub enum TokenAnswer {
    /// Already applied, with this result.
    Answer(TokenResult),
    /// Not seen: evaluate it.
    New,
    /// Too old to know whether it was applied: do not apply it (`OutcomeUnknown`).
    Unknown,
}

impl PartitionState {
    /// Log time: milliseconds since 1970 of the greatest stamp.
    pub fn log_ms(&self) -> u64 {
        self.greatest.0 >> 16
    }

    /// What is known about the write `number` of `session`, which the client issued at `issued_ms`.
    pub fn token(&self, session: &Uuid, number: u64, issued_ms: u64) -> TokenAnswer {
        if let Some(known) = self.tokens.get(session) {
            if let Some(kept) = known.answers.get(&number) {
                return TokenAnswer::Answer(kept.result.clone());
            }
            if number < known.lowest_unfinished {
                return TokenAnswer::Unknown;
            }
        }
        // An answer lives at least this long after its issue; what has none was either never
        // applied or is too old to say.
        if issued_ms.saturating_add(TOKEN_LIFE_MS) <= self.log_ms() {
            return TokenAnswer::Unknown;
        }
        TokenAnswer::New
    }

    pub(crate) fn keep_token(&mut self, token: &TokenRecord) {
        let from_ms = self.log_ms().max(token.issued_ms);
        let session = Arc::make_mut(self.tokens.entry(token.session).or_default());
        session.lowest_unfinished = session.lowest_unfinished.max(token.lowest_unfinished);
        session.last_ms = session.last_ms.max(from_ms);
        if token.number >= session.lowest_unfinished {
            let kept = KeptAnswer { result: token.result.clone(), from_ms };
            session.answers.insert(token.number, kept);
        }
        let lowest = session.lowest_unfinished;
        while session.answers.first_key_value().is_some_and(|(number, _)| *number < lowest) {
            session.answers.pop_first();
        }
    }

    pub(crate) fn confirm(&mut self, confirmed: &Confirmed) {
        let known = self
            .confirmed
            .entry((confirmed.region, confirmed.shard))
            .or_insert_with(|| confirmed.clone());
        known.seq = known.seq.max(confirmed.seq);
        known.closed_applied = known.closed_applied.max(confirmed.closed_applied);
    }

    pub(crate) fn observe(&mut self, hlc: Hlc) {
        self.greatest = self.greatest.max(hlc);
    }

    /// Forgets answers that are too old, now and then, by log time alone.
    pub(crate) fn sweep(&mut self) {
        let now = self.log_ms();
        if now < self.swept_ms.saturating_add(SWEEP_MS) {
            return;
        }
        self.swept_ms = now;
        let old = |from_ms: u64| from_ms.saturating_add(TOKEN_LIFE_MS) <= now;
        self.tokens.retain(|_, session| !old(session.last_ms));
        for session in self.tokens.values_mut() {
            if session.answers.values().any(|a| old(a.from_ms)) {
                Arc::make_mut(session).answers.retain(|_, a| !old(a.from_ms));
            }
        }
    }

    /// The saved form.
    pub(crate) fn encode(&self, applied: (u64, u64)) -> Vec<u8> {
        let indexes = self.config.as_ref().map_or(&[][..], |config| &config.indexes);
        let mut out = vec![if indexes.is_empty() { VERSION } else { VERSION_WITH_INDEXES }];
        out.extend_from_slice(&applied.0.to_be_bytes());
        out.extend_from_slice(&applied.1.to_be_bytes());
        let mut out = postcard::to_extend(self, out)
            .expect("a state of maps and plain values always serializes into memory");
        if !indexes.is_empty() {
            out = postcard::to_extend(indexes, out)
                .expect("a list of plain values always serializes into memory");
        }
        let crc = crc_fast::crc32_iscsi(&out);
        out.extend_from_slice(&crc.to_be_bytes());
        out
    }

    /// Reads the saved form: state, applied index, term. The error is the reason.
    pub(crate) fn decode(bytes: &Bytes) -> Result<(Self, (u64, u64)), String> {
        let (body, crc) = bytes
            .split_last_chunk::<4>()
            .filter(|(body, _)| body.len() >= 17)
            .ok_or_else(|| format!("{} bytes are no partition state", bytes.len()))?;
        if crc_fast::crc32_iscsi(body) != u32::from_be_bytes(*crc) {
            return Err("the checksum of the partition state does not match".into());
        }
        if ![VERSION, VERSION_WITH_INDEXES].contains(&body[0]) {
            return Err(format!(
                "partition state format version {}; this program knows 1 to {VERSION_WITH_INDEXES}",
                body[0]
            ));
        }
        let word = |at: usize| {
            u64::from_be_bytes(body[at..at + 8].try_into().expect("eight bytes were sliced"))
        };
        let (mut state, rest) = postcard::take_from_bytes::<Self>(&body[17..])
            .map_err(|e| format!("the partition state cannot be read: {e}"))?;
        if body[0] == VERSION_WITH_INDEXES {
            let indexes = postcard::from_bytes(rest)
                .map_err(|e| format!("the local indexes cannot be read: {e}"))?;
            if let Some(config) = &mut state.config {
                config.indexes = indexes;
            }
        }
        Ok((state, (word(1), word(9))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(number: u64, lowest_unfinished: u64, issued_ms: u64) -> TokenRecord {
        let result = TokenResult { outcome: number as u8, stamp: None };
        TokenRecord { session: Uuid::nil(), number, lowest_unfinished, issued_ms, result }
    }

    fn at(ms: u64) -> Hlc {
        Hlc(ms << 16)
    }

    #[test]
    fn a_retry_finds_its_answer_until_it_is_finished() {
        let mut state = PartitionState::default();
        state.observe(at(1_000));
        state.keep_token(&token(1, 1, 1_000));
        state.keep_token(&token(3, 1, 1_000));
        let ask = |state: &PartitionState, n| state.token(&Uuid::nil(), n, 1_000);
        assert!(matches!(ask(&state, 1), TokenAnswer::Answer(r) if r.outcome == 1));
        assert_eq!(ask(&state, 2), TokenAnswer::New);
        state.keep_token(&token(4, 3, 1_000));
        assert_eq!(ask(&state, 1), TokenAnswer::Unknown);
        assert!(matches!(ask(&state, 3), TokenAnswer::Answer(_)));
    }

    #[test]
    fn an_expired_session_answers_unknown_and_never_new() {
        let mut state = PartitionState::default();
        state.observe(at(1_000));
        // The client's clock is ahead of the log's.
        state.keep_token(&token(1, 1, 5_000));
        state.observe(at(1_000 + TOKEN_LIFE_MS));
        state.sweep();
        assert!(matches!(state.token(&Uuid::nil(), 1, 5_000), TokenAnswer::Answer(_)));
        state.observe(at(5_000 + TOKEN_LIFE_MS + SWEEP_MS));
        state.sweep();
        assert!(state.tokens.is_empty());
        assert_eq!(state.token(&Uuid::nil(), 1, 5_000), TokenAnswer::Unknown);
    }

    #[test]
    fn the_saved_form_comes_back_and_any_flip_is_refused() {
        let mut state = PartitionState { seq: 7, chain_hash: 9, ..Default::default() };
        state.keep_token(&token(1, 1, 5_000));
        let bytes = Bytes::from(state.encode((12, 3)));
        assert_eq!(PartitionState::decode(&bytes), Ok((state, (12, 3))));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(PartitionState::decode(&flipped.into()).is_err(), "bit {bit}");
        }
    }
}
