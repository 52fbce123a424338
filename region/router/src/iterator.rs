//! Shard iterators: places in a shard that a client carries around as opaque text.
//!
//! Always true: an iterator names everything it needs, so that any router of the region takes up
//! what another gave out; it is authenticated with the table's secret, so that nobody makes one; it
//! is good for fifteen minutes (API_streams_GetShardIterator). Text of another form, or with a wrong
//! code, is refused in the same words.

use std::fmt;
use std::hash::Hasher;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use siphasher::sip128::{Hasher128, SipHasher24};
use tombolo_item::codec::{Decoder, Encoder};
use tombolo_item::{GroupId, HashSecret, Shard};

use crate::errors;
use crate::failure::Failure;

/// How long an iterator is good for, in milliseconds.
pub const GOOD_FOR_MS: u64 = 15 * 60 * 1000;
/// The longest text that is looked at (botocore's model: `ShardIterator`).
const LONGEST: usize = 2048;
const VERSION: u8 = 1;
const CODE_BYTES: usize = 16;
/// Keeps these codes apart from other hashes under the same secret.
const PURPOSE: &[u8] = b"shard iterator";

/// Where an iterator stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// The oldest record there is when it is used.
    TrimHorizon,
    /// This record.
    At(u64),
}

/// A place in a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardIterator {
    /// Name of the table.
    pub table: String,
    /// The stream's label.
    pub label: String,
    /// The shard.
    pub shard: Shard,
    /// Where it stands.
    pub position: Position,
    /// When it was given out, ms since 1970.
    pub issued_ms: u64,
    /// Shows that we gave it out.
    code: [u8; CODE_BYTES],
}

impl ShardIterator {
    /// A new one, under the secret of its table.
    pub(crate) fn issue(
        secret: &HashSecret,
        table: String,
        label: String,
        shard: Shard,
        position: Position,
        issued_ms: u64,
    ) -> Self {
        let mut iterator = Self { table, label, shard, position, issued_ms, code: [0; CODE_BYTES] };
        iterator.code = iterator.code_under(secret);
        iterator
    }

    fn code_under(&self, secret: &HashSecret) -> [u8; CODE_BYTES] {
        let mut hasher = SipHasher24::new_with_key(&secret.0);
        hasher.write(PURPOSE);
        hasher.write(&self.content());
        hasher.finish128().as_bytes()
    }

    fn content(&self) -> Vec<u8> {
        let mut e = Encoder::with_capacity(64 + self.table.len() + self.label.len());
        e.u8(VERSION);
        e.bytes(self.table.as_bytes());
        e.bytes(self.label.as_bytes());
        e.u64(self.shard.group.0);
        e.u32(self.shard.epoch);
        // Sequence numbers begin at 1.
        e.u64(match self.position {
            Position::TrimHorizon => 0,
            Position::At(seq) => seq,
        });
        e.u64(self.issued_ms);
        e.finish().to_vec()
    }

    /// Reads the text; whether it is one of ours, [`Self::check`] tells.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        Self::read(text).ok_or_else(errors::bad_iterator)
    }

    fn read(text: &str) -> Option<Self> {
        if text.len() > LONGEST {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (content, code) = bytes.split_last_chunk::<CODE_BYTES>()?;
        let mut d = Decoder::new(content, "shard iterator");
        d.version(VERSION).ok()?;
        let mut name = || Some(std::str::from_utf8(d.bytes().ok()?).ok()?.to_owned());
        let (table, label) = (name()?, name()?);
        let shard = Shard { group: GroupId(d.u64().ok()?), epoch: d.u32().ok()? };
        let position = match d.u64().ok()? {
            0 => Position::TrimHorizon,
            seq => Position::At(seq),
        };
        let issued_ms = d.u64().ok()?;
        d.end().ok()?;
        Some(Self { table, label, shard, position, issued_ms, code: *code })
    }

    /// Ours, and not too old.
    pub(crate) fn check(&self, secret: &HashSecret, now_ms: u64) -> Result<(), Failure> {
        // Every byte is compared whatever the others say, so that time tells nothing.
        let differs =
            self.code.iter().zip(self.code_under(secret)).fold(0, |all, (a, b)| all | (a ^ b));
        if differs != 0 {
            return Err(errors::bad_iterator());
        }
        match now_ms.saturating_sub(self.issued_ms) > GOOD_FOR_MS {
            true => Err(errors::expired_iterator()),
            false => Ok(()),
        }
    }
}

impl fmt::Display for ShardIterator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&self.content()[..], &self.code[..]].concat();
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: HashSecret = HashSecret([7; 16]);

    fn iterator(position: Position) -> ShardIterator {
        let shard = Shard { group: GroupId(16), epoch: 3 };
        ShardIterator::issue(&SECRET, "music".into(), "2026".into(), shard, position, 1_000_000)
    }

    #[test]
    fn it_comes_back_as_it_went() {
        for position in [Position::TrimHorizon, Position::At(1), Position::At(u64::MAX)] {
            let given = iterator(position);
            let back = ShardIterator::parse(&given.to_string()).unwrap();
            assert_eq!(back, given);
            back.check(&SECRET, 1_000_000 + GOOD_FOR_MS).unwrap();
            let late = back.check(&SECRET, 1_000_001 + GOOD_FOR_MS).unwrap_err();
            assert_eq!(late.reason, "ExpiredIteratorException");
        }
    }

    #[test]
    fn nobody_else_makes_one() {
        let given = iterator(Position::At(5));
        let moved = ShardIterator { position: Position::At(6), ..given.clone() };
        assert!(moved.check(&SECRET, 1_000_000).is_err());
        assert!(given.check(&HashSecret([8; 16]), 1_000_000).is_err());
        let younger = ShardIterator { issued_ms: 2_000_000, ..given.clone() };
        assert!(younger.check(&SECRET, 1_000_000).is_err());
        let text = given.to_string();
        for end in 0..text.len() {
            assert!(
                ShardIterator::parse(&text[..end])
                    .is_ok_and(|cut| cut.check(&SECRET, 0).is_ok())
                    .eq(&false)
            );
        }
        for nonsense in ["", "!", "AAAA", &"A".repeat(5000)] {
            assert_eq!(ShardIterator::parse(nonsense).unwrap_err().reason, "ValidationException");
        }
    }
}
