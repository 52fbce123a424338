//! The publisher and a real nats-server.

use super::face;
use crate::chain::{Chain, Verdict};
use crate::connect::Connection;
use crate::head::MessageHead;
use crate::people;
use crate::publisher::broker_check;
use crate::publisher::bus::Bus;
use crate::publisher::for_tests::{PublishingNode, short_settings, wait_for};
use crate::publisher::settings::PublisherSettings;
use crate::publisher::source::LedShard;
use crate::publisher::sweep;
use crate::repl::ReplMessage;
use crate::subject::{Family, stream_name, subject};
use crate::testkit::{NatsServer, REGION, TestLog, shard_id, table_id};
use crate::{Position, jet};
use bytes::Bytes;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tombolo_item::{ChangeKind, StreamView, TableId};

async fn start(server: &NatsServer, log: &Arc<TestLog>) -> PublishingNode {
    PublishingNode::start(&server.url(), face(log.table, StreamView::NewImage), log).await
}

/// What the broker holds of a subject, in its order.
async fn content(server: &NatsServer, log: &TestLog, family: Family) -> Vec<(MessageHead, Bytes)> {
    let connection = Connection::open(&server.url(), "reader").await.expect("an address");
    connection.up().await;
    let context = jet::context(connection.client.clone(), Duration::from_secs(5));
    let stream = jet::stream(&context, &stream_name(REGION, log.table)).await.expect("a stream");
    let subject = subject(REGION, log.table, log.shard, family);
    let mut messages = Vec::new();
    let mut from = 1;
    while let Some(message) = jet::first_from(&stream, &subject, from).await.expect("an answer") {
        from = message.sequence + 1;
        let head = MessageHead::read_with(&message.headers, &message.payload).expect("a head");
        messages.push((head, message.payload));
    }
    messages
}

/// Fails unless both families hold the log exactly once, from record `first` on.
async fn check(server: &NatsServer, log: &TestLog, first: u64) {
    let start = match first {
        1 => Position::default(),
        _ => Position { seq: first - 1, hash: tombolo_item::chain_hash(&log.get(first - 1)) },
    };
    let mut chain = Chain { shard: log.shard, position: start };
    for (head, body) in content(server, log, Family::Repl).await {
        let message = ReplMessage::decode(&body).expect("readable");
        match message.stub {
            Some(stub) => {
                let record = log.get(head.first_seq);
                assert_eq!(stub.hash, tombolo_item::chain_hash(&record));
                assert_eq!(chain.offer(&record), Ok(Verdict::Next));
            }
            None => {
                for record in message.records {
                    assert_eq!(chain.offer(&record), Ok(Verdict::Next));
                }
            }
        }
    }
    assert_eq!(chain.position, log.head());
    let mut position = start;
    let mut shown = BTreeSet::new();
    for (head, body) in content(server, log, Family::People).await {
        assert_eq!(
            position.judge(head.first_seq, head.last_seq, head.prev_hash),
            Verdict::Next,
            "{head:?} at {position:?}"
        );
        position = Position { seq: head.last_seq, hash: head.hash };
        for line in people::split(&body).expect("readable") {
            assert!(shown.insert(line.seq), "{} twice", line.seq);
        }
    }
    assert_eq!(position, log.head());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_families_through_restarts_of_the_publisher() {
    let server = NatsServer::start();
    let log = TestLog::new(table_id(1), shard_id(16));
    for round in 0..5 {
        let node = start(&server, &log).await;
        for _ in 0..200 {
            log.grow(3, 100);
            log.append(ChangeKind::Touch, 0);
            tokio::task::yield_now().await;
        }
        if round < 4 {
            // Killed wherever it is, with records behind it and ahead of it.
            wait_for("publishing something", || node.progress[0].seq() > 0).await;
            node.kill();
        } else {
            node.published(log.head().seq).await;
        }
    }
    check(&server, &log, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deposed_leader_is_fenced_and_stops() {
    let server = NatsServer::start();
    let log = TestLog::new(table_id(2), shard_id(16));
    let first = start(&server, &log).await;
    log.grow(100, 100);
    first.published(100).await;
    // For a while both believe they lead, then the first learns the truth.
    let second = start(&server, &log).await;
    for _ in 0..100 {
        log.grow(5, 100);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    first.leader.depose();
    log.grow(50, 100);
    second.published(650).await;
    wait_for("the deposed leader stopping", || {
        log.grow(1, 10);
        first.tasks[1..].iter().all(JoinHandle::is_finished)
    })
    .await;
    second.published(log.head().seq).await;
    check(&server, &log, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_under_load_and_down_for_longer_than_it_remembers_ids() {
    let mut server = NatsServer::start();
    let log = TestLog::new(table_id(3), shard_id(16));
    let node = start(&server, &log).await;
    for round in 0..3u64 {
        let writing = tokio::spawn({
            let log = log.clone();
            async move {
                for _ in 0..300 {
                    log.grow(4, 200);
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        });
        let start = log.head().seq;
        wait_for("publishing", || node.progress[0].seq() > start + 100).await;
        server.kill();
        writing.await.expect("writes go on while NATS is down");
        // The window in which ids are remembered is 200 ms here; it is over.
        tokio::time::sleep(Duration::from_millis(100 * round)).await;
        server.up();
        node.published(log.head().seq).await;
    }
    check(&server, &log, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_or_emptied_stream_is_refilled_from_what_the_log_has() {
    let server = NatsServer::start();
    let log = TestLog::new(table_id(4), shard_id(16));
    let node = start(&server, &log).await;
    log.grow(500, 100);
    node.published(500).await;
    let name = stream_name(REGION, log.table);
    let context = node.bus.context().clone();

    // Nobody publishes: the watch notices.
    context.delete_stream(&name).await.expect("deleted");
    refilled(&context, &name, &server, &log, 500).await;
    check(&server, &log, 1).await;

    // Emptied, with the stream itself still there.
    context.get_stream(&name).await.expect("there").purge().await.expect("purged");
    refilled(&context, &name, &server, &log, 500).await;
    check(&server, &log, 1).await;

    // Deleted under load, with a log that has forgotten its beginning.
    log.trim(301);
    context.delete_stream(&name).await.expect("deleted");
    for _ in 0..200 {
        log.grow(2, 100);
        tokio::task::yield_now().await;
    }
    refilled(&context, &name, &server, &log, 900).await;
    check(&server, &log, 301).await;

    async fn refilled(
        context: &async_nats::jetstream::Context,
        name: &str,
        server: &NatsServer,
        log: &TestLog,
        seq: u64,
    ) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if context.get_stream(name).await.is_ok() {
                let mut ends = Vec::new();
                for family in Family::ALL {
                    let messages = content(server, log, family).await;
                    ends.push(messages.last().map_or(0, |(head, _)| head.last_seq));
                }
                if ends == [seq, seq] {
                    return;
                }
            }
            assert!(Instant::now() < deadline, "the stream was not refilled");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_healthy_stream_raises_no_alarm() {
    let server = NatsServer::start();
    let log = TestLog::new(table_id(9), shard_id(16));
    let node = start(&server, &log).await;
    log.grow(1, 10);
    node.published(1).await;
    // A second stream, empty when it is first looked at.
    let table = table_id(90);
    node.bus.ensure(table).await.expect("made");
    let lives = [node.bus.life(log.table), node.bus.life(table)];
    for _ in 0..4 {
        // The watch looks in between.
        tokio::time::sleep(short_settings("").stream_check * 3 / 2).await;
        log.grow(1, 10);
        node.published(log.head().seq).await;
        let name = subject(REGION, table, log.shard, Family::People);
        let sent = node.bus.context().publish(name, "any".into()).await.expect("sent");
        sent.await.expect("stored");
    }
    for life in lives {
        assert!(!life.has_changed().expect("watched"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_history_on_the_broker_is_purged_and_replaced() {
    let server = NatsServer::start();
    let lost = TestLog::new(table_id(5), shard_id(16));
    let node = start(&server, &lost).await;
    lost.grow(60, 100);
    let ours = lost.fork(40);
    node.published(60).await;
    node.kill();
    let before = crate::metrics::TWO_HISTORIES.get();

    let node = start(&server, &ours).await;
    node.published(40).await;
    check(&server, &ours, 1).await;
    ours.grow(60, 101);
    node.published(100).await;
    check(&server, &ours, 1).await;
    assert!(crate::metrics::TWO_HISTORIES.get() >= before + 2, "one for each family");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_records_and_a_small_server_limit() {
    let server = NatsServer::with("max_payload: 65536");
    let log = TestLog::new(table_id(6), shard_id(16));
    let node = start(&server, &log).await;
    log.grow(5, 100);
    log.grow(2, 300_000);
    log.grow(100, 5_000);
    log.append(ChangeKind::Modify, 390_000);
    node.published(108).await;
    check(&server, &log, 1).await;
    for family in Family::ALL {
        for (_, body) in content(&server, &log, family).await {
            assert!(body.len() < 65536, "{}", body.len());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn catching_up_is_paced_and_complete() {
    let mut server = NatsServer::start();
    let log = TestLog::new(table_id(7), shard_id(16));
    let node = start(&server, &log).await;
    log.grow(1, 100);
    node.published(1).await;
    server.kill();
    log.grow(5_000, 500);
    server.up();
    node.published(5_001).await;
    check(&server, &log, 1).await;
    let messages = content(&server, &log, Family::Repl).await.len();
    assert!(messages < 50, "{messages} messages for a backlog of 5,000 records");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_is_asked_how_strong_it_is() {
    let server = NatsServer::start();
    let connection = Connection::open(&server.url(), "test").await.expect("an address");
    connection.up().await;
    let settings =
        PublisherSettings { monitor_url: server.monitor_url(), ..short_settings(&server.url()) };
    let strength = broker_check::check(&connection, &settings).await;
    assert_eq!(strength.sync_always, Some(false));
    assert_eq!(strength.replicas, 1);
    assert!(strength.version.starts_with("2."), "{}", strength.version);
    let weak = |reason: &str| crate::metrics::BROKER_WEAK.with_label_values(&[reason]).get();
    assert_eq!((weak("version"), weak("replicas"), weak("sync")), (0, 1, 1));
}

struct OnlyTable(TableId, bool);

impl sweep::Tables for OnlyTable {
    fn decides(&self) -> bool {
        true
    }

    fn exists(&self, table: TableId) -> bool {
        self.1 && table == self.0
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stream_of_a_deleted_table_is_removed_on_the_second_look() {
    let server = NatsServer::start();
    let log = TestLog::new(table_id(8), shard_id(16));
    let node = start(&server, &log).await;
    log.grow(1, 10);
    node.published(1).await;
    let mut suspects = BTreeSet::new();
    let sweep = async |suspects: &mut BTreeSet<TableId>, exists, region| {
        let tables = OnlyTable(log.table, exists);
        sweep::sweep(&node.bus, &tables, region, suspects).await.expect("an answer")
    };
    assert_eq!(sweep(&mut suspects, true, REGION).await, 0);
    assert_eq!(sweep(&mut suspects, false, REGION).await, 0, "missing for the first time");
    assert_eq!(sweep(&mut suspects, true, REGION).await, 0, "it was a stale map");
    assert_eq!(sweep(&mut suspects, false, "eu-west").await, 0, "another region's stream");
    assert_eq!(sweep(&mut suspects, false, "eu-west").await, 0, "another region's stream");
    node.tasks.iter().for_each(JoinHandle::abort);
    assert_eq!(sweep(&mut suspects, false, REGION).await, 0);
    assert_eq!(sweep(&mut suspects, false, REGION).await, 1);
    let name = stream_name(REGION, log.table);
    let context = node.bus.context();
    assert_eq!(jet::stream(context, &name).await.err(), Some(jet::JetError::NoStream));
    assert!(node.leader.leads());
    assert!(server.store().join("nats.log").exists());
}
