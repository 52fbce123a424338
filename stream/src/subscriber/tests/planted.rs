//! The promise: whatever happens to messages on the way, what is handed on is the log: every record
//! once, in order, unaltered. Every choice comes from a seed.

use super::{LogFetch, expected, face};
use crate::chain::Position;
use crate::error::StreamError;
use crate::head::MessageHead;
use crate::publisher::compose;
use crate::subject::Family;
use crate::subscriber::fetch::FetchFailure;
use crate::subscriber::shard::{Arrived, Outcome, ShardReader, WAITING_BYTES_MAX};
use crate::testkit::{TestLog, shard_id, table_id};
use async_nats::HeaderMap;
use bytes::Bytes;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;
use tombolo_item::ChangeKind;

#[derive(Clone)]
struct Sent {
    headers: HeaderMap,
    body: Bytes,
}

/// The messages a publisher would send, cut where chance says.
fn messages(log: &TestLog, family: Family, random: &mut ChaCha8Rng) -> Vec<Sent> {
    let face = face(log.table);
    let mut next = 1;
    let mut sent = Vec::new();
    while next <= log.head().seq {
        let limit = random.random_range(1500..6000);
        let message = compose(&face, log.shard, family, &log.read(next, usize::MAX), limit)
            .expect("composed")
            .expect("some");
        next = message.head.last_seq + 1;
        sent.push(Sent {
            headers: message.head.headers(&message.body, "id", 0),
            body: message.body,
        });
    }
    sent
}

fn a_log(random: &mut ChaCha8Rng) -> Arc<TestLog> {
    let log = TestLog::new(table_id(1), shard_id(16));
    for _ in 0..random.random_range(20..80) {
        let kinds = [ChangeKind::Insert, ChangeKind::Modify, ChangeKind::Remove, ChangeKind::Touch];
        let size = if random.random_bool(0.05) { 8000 } else { random.random_range(0..500) };
        log.append(kinds[random.random_range(0..4)], size);
    }
    log
}

/// Feeds one message as the worker does.
fn feed(reader: &mut ShardReader, message: &Sent, out: &mut Vec<Outcome>) {
    match MessageHead::read_with(&message.headers, &message.body) {
        Ok(head) => reader.arrived(Arrived { head, body: message.body.clone() }, out),
        Err(error) => {
            reader.damaged(MessageHead::read(&message.headers).ok().as_ref(), &error, out);
        }
    }
}

fn records(out: &[Outcome]) -> Vec<(u64, Bytes)> {
    out.iter()
        .filter_map(|outcome| match outcome {
            Outcome::Record(record) => Some((record.seq, record.body.clone())),
            Outcome::Covered(..) => None,
            Outcome::Failed(error) => panic!("{error}"),
        })
        .collect()
}

fn reader(log: &TestLog, family: Family, position: Position, can_fetch: bool) -> ShardReader {
    ShardReader::new(log.table, log.shard, family, position, can_fetch)
}

#[test]
fn what_is_handed_on_is_the_log() {
    for seed in 0..300 {
        let random = &mut ChaCha8Rng::seed_from_u64(seed);
        for family in Family::ALL {
            let log = a_log(random);
            let mut way = messages(&log, family, random);
            // The same records again, cut elsewhere: a refill.
            if random.random_bool(0.3) {
                let again = messages(&log, family, random);
                way.extend(again);
            }
            for _ in 0..random.random_range(0..6) {
                let (a, b) = (random.random_range(0..way.len()), random.random_range(0..way.len()));
                match random.random_range(0..4) {
                    0 if way.len() > 1 => drop(way.remove(a)),
                    1 => way.insert(b, way[a].clone()),
                    2 => way.swap(a, b),
                    _ => {
                        let mut body = way[a].body.to_vec();
                        let at = random.random_range(0..body.len());
                        body[at] ^= 1 << random.random_range(0..8);
                        way[a].body = body.into();
                    }
                }
            }
            let fetch = LogFetch::of(&log, family);
            let mut reader = reader(&log, family, Position::default(), true);
            let mut out = Vec::new();
            for message in &way {
                feed(&mut reader, message, &mut out);
                // The log answers now or later, or not at all.
                while let Some((from, to)) = reader.wanted()
                    && random.random_bool(0.5)
                {
                    let answer = match random.random_bool(0.2) {
                        true => Err(FetchFailure::Failed("not now".into())),
                        false => fetch.answer(log.shard, from, to),
                    };
                    reader.fetched(answer, &mut out);
                }
            }
            // The tail may be lost; the head comes by another path.
            loop {
                reader.behind(log.head().seq, &mut out);
                let Some((from, to)) = reader.wanted() else { break };
                reader.fetched(fetch.answer(log.shard, from, to), &mut out);
            }
            assert_eq!(records(&out), expected(&log, family, 0), "seed {seed}, {family:?}");
            assert_eq!(reader.position(), log.head(), "seed {seed}, {family:?}");
        }
    }
}

#[test]
fn reading_goes_on_after_any_position() {
    let random = &mut ChaCha8Rng::seed_from_u64(7);
    for family in Family::ALL {
        let log = a_log(random);
        let way = messages(&log, family, random);
        for after in 1..=log.head().seq {
            let hash = tombolo_item::chain_hash(&log.get(after));
            let mut reader = reader(&log, family, Position { seq: after, hash }, true);
            let fetch = LogFetch::of(&log, family);
            let mut out = Vec::new();
            for message in &way {
                feed(&mut reader, message, &mut out);
                while let Some((from, to)) = reader.wanted() {
                    reader.fetched(fetch.answer(log.shard, from, to), &mut out);
                }
            }
            assert_eq!(records(&out), expected(&log, family, after), "after {after}, {family:?}");
        }
    }
}

#[test]
fn another_history_is_never_handed_on() {
    let random = &mut ChaCha8Rng::seed_from_u64(3);
    for family in Family::ALL {
        let theirs = TestLog::new(table_id(1), shard_id(16));
        theirs.grow(10, 10);
        let ours = theirs.fork(5);
        ours.grow(5, 11);
        theirs.grow(10, 10);
        // We took in records 1 to 7 of our history; broker and log have another one.
        let hash = tombolo_item::chain_hash(&ours.get(7));
        let mut reader = reader(&ours, family, Position { seq: 7, hash }, true);
        let fetch = LogFetch::of(&theirs, family);
        let mut out = Vec::new();
        for message in messages(&theirs, family, random) {
            feed(&mut reader, &message, &mut out);
            while let Some((from, to)) = reader.wanted() {
                reader.fetched(fetch.answer(theirs.shard, from, to), &mut out);
            }
        }
        assert_eq!(out.len(), 1, "{out:?}");
        assert!(
            matches!(out[0], Outcome::Failed(StreamError::TwoHistories { seq: 8, .. })),
            "{out:?}"
        );
        assert_eq!(reader.position().seq, 7);
    }
}

#[test]
fn a_hole_without_a_way_to_fetch_is_an_error_and_so_is_a_trimmed_log() {
    let random = &mut ChaCha8Rng::seed_from_u64(4);
    let log = TestLog::new(table_id(1), shard_id(16));
    log.grow(60, 200);
    let mut way = messages(&log, Family::Repl, random);
    way.remove(1);
    let mut lone = reader(&log, Family::Repl, Position::default(), false);
    let mut out = Vec::new();
    way.iter().for_each(|message| feed(&mut lone, message, &mut out));
    let after = lone.position().seq;
    assert!(
        matches!(out.last(), Some(Outcome::Failed(StreamError::Gap { after: at, .. })) if *at == after),
        "{:?}",
        out.last()
    );

    log.trim(after + 2);
    let mut late = reader(&log, Family::Repl, Position::default(), true);
    let mut out = Vec::new();
    way.iter().for_each(|message| feed(&mut late, message, &mut out));
    let (from, to) = late.wanted().expect("a hole");
    late.fetched(LogFetch::of(&log, Family::Repl).answer(log.shard, from, to), &mut out);
    assert!(
        matches!(
            out.last(),
            Some(Outcome::Failed(StreamError::Trimmed { after: at, oldest, .. }))
                if *at == after && *oldest == after + 2
        ),
        "{:?}",
        out.last()
    );
}

#[test]
fn what_waits_for_a_fetch_is_bounded_and_nothing_is_lost() {
    let random = &mut ChaCha8Rng::seed_from_u64(5);
    let log = TestLog::new(table_id(1), shard_id(16));
    log.grow(3 * WAITING_BYTES_MAX / 1000, 1000);
    let mut way = messages(&log, Family::Repl, random);
    way.remove(0);
    let mut reader = reader(&log, Family::Repl, Position::default(), true);
    let fetch = LogFetch::of(&log, Family::Repl);
    let mut out = Vec::new();
    way.iter().for_each(|message| feed(&mut reader, message, &mut out));
    assert!(out.is_empty());
    while let Some((from, to)) = reader.wanted() {
        reader.fetched(fetch.answer(log.shard, from, to), &mut out);
    }
    assert!(records(&out) == expected(&log, Family::Repl, 0), "the log, whole");
}
