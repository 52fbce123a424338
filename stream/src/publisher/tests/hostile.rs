//! The promise: whatever a broker may do (lose requests, lose answers, deliver late, lose its tail,
//! lose the stream), and however often leadership moves, once it behaves again its stream holds
//! every record of the log exactly once, in order.
//!
//! Every choice comes from a seed. The broker checks ids and fences as JetStream does.

use super::{TestLeader, face};
use crate::chain::{Chain, Verdict};
use crate::head::MessageHead;
use crate::publisher::bus::{Ack, Bus, BusError, LastMessage, Outgoing};
use crate::publisher::lag::Progress;
use crate::publisher::pace::Pace;
use crate::publisher::settings::PublisherSettings;
use crate::publisher::shard::ShardPublisher;
use crate::repl::ReplMessage;
use crate::subject::{Family, HEADER_EXPECTED, HEADER_MESSAGE_ID};
use crate::testkit::{TestLog, shard_id, table_id};
use parking_lot::Mutex;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tombolo_item::{StreamView, TableId};

struct Broker {
    exists: bool,
    messages: Vec<(u64, Outgoing)>,
    last_seq: u64,
    ids: HashMap<String, u64>,
    /// Sent, not arrived: may arrive at any later moment.
    late: Vec<Outgoing>,
    random: ChaCha8Rng,
    hostile: bool,
    refused: u64,
}

impl Broker {
    fn chance(&mut self, probability: f64) -> bool {
        self.hostile && self.random.random_bool(probability)
    }

    fn last(&self, subject: &str) -> Option<&(u64, Outgoing)> {
        self.messages.iter().rev().find(|(_, message)| message.subject == subject)
    }

    fn store(&mut self, message: Outgoing) -> Result<Ack, BusError> {
        if !self.exists {
            return Err(BusError::NoStream);
        }
        let header = |name: &str| {
            message.headers.get(name).map(|value| value.as_str().to_owned()).expect("is set")
        };
        if let Some(seq) = self.ids.get(&header(HEADER_MESSAGE_ID)) {
            return Ok(Ack { stream_seq: *seq, duplicate: true });
        }
        let newest = self.last(&message.subject).map_or(0, |(seq, _)| *seq);
        if header(HEADER_EXPECTED) != newest.to_string() {
            self.refused += 1;
            return Err(BusError::Refused);
        }
        self.last_seq += 1;
        self.ids.insert(header(HEADER_MESSAGE_ID), self.last_seq);
        self.messages.push((self.last_seq, message));
        Ok(Ack { stream_seq: self.last_seq, duplicate: false })
    }

    fn some_late_arrive(&mut self) {
        while !self.late.is_empty() && self.random.random_bool(0.5) {
            let index = self.random.random_range(0..self.late.len());
            let message = self.late.swap_remove(index);
            // Nobody waits for the answer any more.
            let _ = self.store(message);
        }
    }
}

struct HostileBus {
    broker: Mutex<Broker>,
    life: watch::Sender<u64>,
}

impl HostileBus {
    fn new(seed: u64) -> Arc<HostileBus> {
        Arc::new(HostileBus {
            broker: Mutex::new(Broker {
                exists: false,
                messages: Vec::new(),
                last_seq: 0,
                ids: HashMap::new(),
                late: Vec::new(),
                random: ChaCha8Rng::seed_from_u64(seed),
                hostile: true,
                refused: 0,
            }),
            life: watch::Sender::new(0),
        })
    }

    /// What happens to a broker while nobody looks.
    fn accident(&self) {
        let mut broker = self.broker.lock();
        if broker.chance(0.05) {
            broker.exists = false;
            broker.messages.clear();
            broker.ids.clear();
            broker.last_seq = 0;
        } else if broker.chance(0.1) {
            let most = broker.messages.len().min(3);
            let lost = broker.random.random_range(0..=most);
            for _ in 0..lost {
                broker.messages.pop();
            }
            broker.last_seq = broker.messages.last().map_or(0, |(seq, _)| *seq);
            let last_seq = broker.last_seq;
            broker.ids.retain(|_, seq| *seq <= last_seq);
        } else {
            return;
        }
        drop(broker);
        self.life.send_modify(|life| *life += 1);
    }
}

impl Bus for HostileBus {
    async fn up(&self) {}

    async fn ensure(&self, _: TableId) -> Result<(), BusError> {
        tokio::task::yield_now().await;
        self.broker.lock().exists = true;
        Ok(())
    }

    fn life(&self, _: TableId) -> watch::Receiver<u64> {
        self.life.subscribe()
    }

    async fn last(&self, _: TableId, subject: &str) -> Result<Option<LastMessage>, BusError> {
        tokio::task::yield_now().await;
        let mut broker = self.broker.lock();
        broker.some_late_arrive();
        if broker.chance(0.1) {
            return Err(BusError::Unknown("the answer was lost".into()));
        }
        if !broker.exists {
            return Err(BusError::NoStream);
        }
        Ok(broker.last(subject).map(|(seq, message)| LastMessage {
            stream_seq: *seq,
            headers: message.headers.clone(),
        }))
    }

    async fn publish(&self, message: Outgoing) -> Result<Ack, BusError> {
        self.accident();
        tokio::task::yield_now().await;
        let mut broker = self.broker.lock();
        broker.some_late_arrive();
        if broker.chance(0.1) {
            return Err(BusError::Unknown("the message was lost".into()));
        }
        if broker.chance(0.1) {
            broker.late.push(message);
            return Err(BusError::Unknown("the message is late".into()));
        }
        let answer = broker.store(message);
        if broker.chance(0.1) {
            return Err(BusError::Unknown("the answer was lost".into()));
        }
        answer
    }

    async fn purge(&self, _: TableId, subject: &str) -> Result<(), BusError> {
        // As JetStream does: the ids of what was purged are remembered.
        self.broker.lock().messages.retain(|(_, message)| message.subject != subject);
        Ok(())
    }

    fn payload_bytes_max(&self) -> usize {
        4096
    }
}

fn publisher(
    bus: &Arc<HostileBus>,
    leader: &Arc<TestLeader>,
    progress: &Arc<Progress>,
) -> ShardPublisher<HostileBus, TestLeader> {
    ShardPublisher {
        bus: bus.clone(),
        source: leader.clone(),
        face: Arc::new(face(leader.log.table, StreamView::NewAndOldImages)),
        family: Family::Repl,
        settings: Arc::new(PublisherSettings {
            ahead_patience: Duration::from_millis(50),
            ..PublisherSettings::default()
        }),
        pace: Arc::new(Pace::new(2, 1 << 30)),
        progress: progress.clone(),
    }
}

/// Fails unless the broker holds the log exactly: everything once, in order, unaltered.
fn check_content(bus: &HostileBus, log: &TestLog, seed: u64) {
    let broker = bus.broker.lock();
    let mut chain = Chain { shard: log.shard, position: crate::Position::default() };
    for (_, message) in &broker.messages {
        MessageHead::read_with(&message.headers, &message.body).expect("readable headers");
        for record in ReplMessage::decode(&message.body).expect("readable body").records {
            assert_eq!(chain.offer(&record), Ok(Verdict::Next), "seed {seed}");
        }
    }
    assert_eq!(chain.position, log.head(), "seed {seed}");
}

async fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..100_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("{what} did not happen");
}

#[tokio::test(start_paused = true)]
async fn the_stream_is_complete_whatever_the_broker_did() {
    let mut refused = 0;
    for seed in 0..60 {
        let bus = HostileBus::new(seed);
        let log = TestLog::new(table_id(1), shard_id(16));
        let mut random = ChaCha8Rng::seed_from_u64(seed + 1000);
        let mut leaders = Vec::new();
        let mut tasks = tokio::task::JoinSet::new();
        let mut progress = Arc::new(Progress::default());
        for step in 0..60 {
            if step == 0 || random.random_bool(0.1) {
                // A new leader; the old one learns of it sooner or later, or was killed.
                let leader = TestLeader::of(&log);
                progress = Arc::new(Progress::default());
                tasks.spawn(publisher(&bus, &leader, &progress).run());
                leaders.push(leader);
            }
            if leaders.len() > 1 && random.random_bool(0.3) {
                let index = random.random_range(0..leaders.len() - 1);
                leaders[index].depose();
            }
            log.grow(random.random_range(0..20), random.random_range(0..1500));
            tokio::time::sleep(Duration::from_millis(random.random_range(0..20))).await;
        }
        let newest = leaders.len() - 1;
        leaders[..newest].iter().for_each(|leader| leader.depose());
        bus.broker.lock().hostile = false;
        bus.broker.lock().late.clear();
        bus.life.send_modify(|life| *life += 1);
        log.grow(1, 10);
        let head = log.head().seq;
        wait_for("publishing everything", || {
            let broker = bus.broker.lock();
            broker.messages.last().is_some_and(|(_, message)| {
                MessageHead::read(&message.headers).expect("readable").last_seq == head
            })
        })
        .await;
        check_content(&bus, &log, seed);
        refused += bus.broker.lock().refused;
        let _ = progress;
    }
    assert!(refused > 0, "no publish was ever refused: the fence was not tried");
}

#[tokio::test(start_paused = true)]
async fn the_check_finds_what_is_planted() {
    let bus = HostileBus::new(1);
    bus.broker.lock().hostile = false;
    let log = TestLog::new(table_id(1), shard_id(16));
    log.grow(40, 1000);
    let leader = TestLeader::of(&log);
    let progress = Arc::new(Progress::default());
    let task = tokio::spawn(publisher(&bus, &leader, &progress).run());
    wait_for("publishing", || progress.seq() == 40).await;
    task.abort();
    check_content(&bus, &log, 1);
    let good = bus.broker.lock().messages.clone();
    let fails = |messages: Vec<(u64, Outgoing)>| {
        bus.broker.lock().messages = messages;
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check_content(&bus, &log, 1)))
            .is_err()
    };
    let without = |index: usize| {
        let mut messages = good.clone();
        messages.remove(index);
        messages
    };
    assert!(fails(without(3)), "a lost message");
    assert!(fails(without(good.len() - 1)), "a lost tail");
    let mut swapped = good.clone();
    swapped.swap(2, 3);
    assert!(fails(swapped), "two messages swapped");
    let mut twice = good.clone();
    twice.insert(4, good[3].clone());
    assert!(fails(twice), "a message twice");
    let mut altered = good.clone();
    let mut body = altered[2].1.body.to_vec();
    body[60] ^= 1;
    altered[2].1.body = body.into();
    assert!(fails(altered), "an altered message");
    assert!(!fails(good.clone()), "and nothing else");
}

#[tokio::test(start_paused = true)]
async fn a_history_that_is_not_ours_is_replaced_although_its_ids_are_remembered() {
    let bus = HostileBus::new(2);
    bus.broker.lock().hostile = false;
    let lost = TestLog::new(table_id(1), shard_id(16));
    lost.grow(10, 10);
    let ours = lost.fork(6);
    lost.grow(5, 10);
    let progress = Arc::new(Progress::default());
    let task = tokio::spawn(publisher(&bus, &TestLeader::of(&lost), &progress).run());
    wait_for("publishing what will be lost", || progress.seq() == 15).await;
    task.abort();

    // The broker is ahead of our log; then our log grows past it with other records.
    for grown in [0, 20] {
        ours.grow(grown, 11);
        let progress = Arc::new(Progress::default());
        let task = tokio::spawn(publisher(&bus, &TestLeader::of(&ours), &progress).run());
        let head = ours.head().seq;
        wait_for("publishing our history", || progress.seq() == head).await;
        task.abort();
        check_content(&bus, &ours, 2);
    }
}
