//! Sessions: many operations on one stream, which may be lost at any moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tombolo_client::v1::session_answer::Answer;
use tombolo_client::v1::session_operation::Operation;
use tombolo_client::{
    Client, ClientError, Expression, KeyQuery, ReadPage, Session, SessionOptions, UpdateOptions,
    WriteOptions, convert, v1,
};
use tombolo_item::Value;
use tonic::{Code, Status, Streaming};

use super::Served;
use super::items::{item, key, n, s, with_table};

/// No condition of these tests takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until this holds.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "{what} never came true");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Connections to a server that can be cut.
struct Cable {
    endpoint: String,
    connections: Arc<std::sync::Mutex<JoinSet<()>>>,
}

impl Cable {
    async fn to(served: &Served) -> Cable {
        let target = served.endpoint.trim_start_matches("http://").to_string();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let connections = Arc::new(std::sync::Mutex::new(JoinSet::new()));
        let all = connections.clone();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let Ok(mut far) = TcpStream::connect(&target).await else { continue };
                all.lock().unwrap().spawn(async move {
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                });
            }
        });
        Cable { endpoint, connections }
    }

    async fn cut(&self) {
        let mut connections = std::mem::take(&mut *self.connections.lock().unwrap());
        connections.shutdown().await;
    }

    async fn session(&self) -> Session {
        let client = Client::connect(std::slice::from_ref(&self.endpoint)).await.unwrap();
        client.session(SessionOptions::default())
    }
}

/// A stream that the test itself writes and reads.
struct Stream {
    frames: mpsc::Sender<v1::SessionRequest>,
    answers: Streaming<v1::SessionResponse>,
}

impl Stream {
    /// Opened, with the session's first frame said.
    async fn open(client: &Client) -> Stream {
        let (frames, queue) = mpsc::channel(1);
        let queue = futures::stream::unfold(queue, |mut queue| async {
            Some((queue.recv().await?, queue))
        });
        let answers = client.raw().items.session(queue).await.unwrap().into_inner();
        let mut stream = Stream { frames, answers };
        let opened = stream.answers.message().await.unwrap().unwrap().opened.unwrap();
        assert!(opened.now_ms.abs_diff(now_ms()) < 60_000 && opened.in_flight > 0);
        stream
    }

    async fn opened(client: &Client) -> Stream {
        let stream = Stream::open(client).await;
        let open = Some(v1::SessionOpen { session: vec![7; 16].into() });
        stream.send(v1::SessionRequest { open, lowest_unfinished: 1, operations: vec![] }).await;
        stream
    }

    async fn send(&self, frame: v1::SessionRequest) {
        self.frames.send(frame).await.expect("the stream is read");
    }

    async fn answer(&mut self) -> Result<Vec<v1::SessionAnswer>, Status> {
        Ok(self.answers.message().await?.map(|frame| frame.answers).unwrap_or_default())
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

fn get(number: u64, pk: &str) -> v1::SessionOperation {
    let get = v1::GetItemRequest {
        table_name: "music".into(),
        key: convert::item_to_wire(key(pk, 1)),
        consistent_read: true,
        ..Default::default()
    };
    let operation = Some(Operation::GetItem(Box::new(get)));
    v1::SessionOperation { number, operation, ..Default::default() }
}

fn put(number: u64, issued_ms: u64) -> v1::SessionOperation {
    let put = v1::PutItemRequest {
        table_name: "music".into(),
        item: convert::item_to_wire(key("a", 1)),
        ..Default::default()
    };
    let operation = Some(Operation::PutItem(Box::new(put)));
    v1::SessionOperation { number, issued_ms, operation, ..Default::default() }
}

fn operations(operations: Vec<v1::SessionOperation>) -> v1::SessionRequest {
    v1::SessionRequest { open: None, lowest_unfinished: 1, operations }
}

#[tokio::test]
async fn many_tasks_put_read_and_remove_on_one_stream() {
    let served = Served::plain();
    let session = with_table(&served).await.session(SessionOptions::default());
    let mut tasks = JoinSet::new();
    for one in 0..500 {
        let session = session.clone();
        tasks.spawn(async move {
            let pk = format!("k{one}");
            let stored = item([("pk", s(&pk)), ("sk", n(1)), ("x", n(one))]);
            let written = session.put_item("music", stored.clone()).await.unwrap();
            let read = session.get_item_with_stamp("music", key(&pk, 1), true).await.unwrap();
            assert_eq!(read, Some((stored.clone(), written.stamp)));
            let all = KeyQuery::all(s(&pk));
            let page = session.query("music", all, ReadPage::default()).await.unwrap();
            assert_eq!(page.items, std::slice::from_ref(&stored));
            let options = WriteOptions { return_old: true, ..WriteOptions::default() };
            let gone = session.delete_item_with("music", key(&pk, 1), options).await.unwrap();
            assert_eq!(gone.old, Some(stored));
            assert_eq!(session.get_item("music", key(&pk, 1), false).await.unwrap(), None);
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    assert_eq!(served.region.writes(), 1000);
    served.stop().await;
}

#[tokio::test]
async fn a_refusal_says_as_much_as_a_single_call() {
    let served = Served::plain();
    let client = with_table(&served).await;
    let session = client.session(SessionOptions::default());
    let large = item([("pk", s("a")), ("sk", n(1)), ("x", s(&"y".repeat(300_000)))]);
    session.put_item("music", large.clone()).await.unwrap();
    let absent = WriteOptions {
        return_on_failure: true,
        ..WriteOptions::when(Expression::new("attribute_not_exists(pk)"))
    };
    let error = session.put_item_with("music", key("a", 1), absent).await.unwrap_err();
    assert_eq!((error.code, error.item.as_ref()), (Code::FailedPrecondition, Some(&large)));
    assert_eq!(error.message, "The conditional request failed");
    assert!(error.is_condition_failed() && error.request_id.contains('/'));
    for (table, bad) in [("nothing", key("a", 1)), ("no", key("a", 1)), ("music", item([]))] {
        let told = |error: ClientError| (error.code, error.reason.clone(), error.message.clone());
        let alone = client.put_item(table, bad.clone()).await.unwrap_err();
        let among = session.put_item(table, bad).await.unwrap_err();
        assert_eq!(told(among), told(alone));
    }
    served.stop().await;
}

#[tokio::test]
async fn an_operation_that_waits_holds_nobody_up_and_ends_at_its_own_deadline() {
    let served = Served::plain();
    let client = with_table(&served).await;
    let mut stream = Stream::opened(&client).await;
    served.region.get_stuck(true);
    let slow = v1::SessionOperation { timeout_ms: 1_000, ..get(1, "a") };
    let slower = v1::SessionOperation { timeout_ms: 9_000, ..get(2, "a") };
    stream.send(operations(vec![slower, slow])).await;
    until("both wait", || served.region.waiting() == 2).await;
    served.region.get_stuck(false);
    stream.send(operations(vec![put(3, now_ms())])).await;
    assert_eq!(stream.answer().await.unwrap()[0].number, 3);
    let begun = Instant::now();
    let answers = stream.answer().await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5), "the short deadline is its own");
    let [v1::SessionAnswer { number: 1, answer: Some(Answer::Error(error)) }] = &answers[..] else {
        panic!("{answers:?}")
    };
    assert_eq!((error.code, error.reason.as_str()), (4, "RequestTimeout"));
    served.stop().await;
}

#[tokio::test]
async fn what_a_lost_stream_left_open_is_sent_again_and_applied_once() {
    let served = Served::plain();
    with_table(&served).await;
    let cable = Cable::to(&served).await;
    let session = cable.session().await;
    for round in 1..=3 {
        // The writes take place, and their answers are lost with the stream.
        served.region.mute(true);
        let mut tasks = JoinSet::new();
        for sk in 0..50 {
            let session = session.clone();
            // On its own, a second application would fail.
            let condition = match round {
                1 => Expression::new("attribute_not_exists(pk)"),
                _ => Expression::new("v = :v").value(":v", n(round - 1)),
            };
            let next = item([("pk", s("a")), ("sk", n(sk)), ("v", n(round))]);
            tasks.spawn(async move {
                session.put_item_with("music", next, WriteOptions::when(condition)).await
            });
        }
        until("all took place", || served.region.writes() == 50 * round as usize).await;
        served.region.mute(false);
        cable.cut().await;
        while let Some(done) = tasks.join_next().await {
            assert!(done.unwrap().unwrap().stamp.is_some());
        }
    }
    assert_eq!(served.region.writes(), 150, "nothing was applied twice");
    for sk in 0..50 {
        let read = session.get_item("music", key("a", sk), true).await.unwrap().unwrap();
        assert_eq!(read.0["v"], n(3));
    }
    served.stop().await;
}

#[tokio::test]
async fn an_update_whose_answer_was_lost_counts_once() {
    let served = Served::plain();
    with_table(&served).await;
    let cable = Cable::to(&served).await;
    let session = cable.session().await;
    let add = || Expression::new("ADD v :one").value(":one", n(1));
    for round in 1..=3 {
        served.region.mute(true);
        let mut tasks = JoinSet::new();
        for _ in 0..50 {
            let session = session.clone();
            tasks.spawn(async move { session.update_item("music", key("a", 1), add()).await });
        }
        until("all took place", || served.region.writes() == 50 * round).await;
        served.region.mute(false);
        cable.cut().await;
        while let Some(done) = tasks.join_next().await {
            assert!(done.unwrap().unwrap().stamp.is_some());
        }
    }
    let read = session.get_item("music", key("a", 1), true).await.unwrap().unwrap();
    assert_eq!(read.0["v"], n(150));

    // What an update asks besides is asked of a session too.
    let shown = UpdateOptions {
        condition: Some(Expression::new("v = :v").value(":v", n(150))),
        returns: v1::ReturnValues::UpdatedNew,
        return_on_failure: true,
    };
    let new = session.update_item_with("music", key("a", 1), add(), shown.clone()).await.unwrap();
    assert_eq!(new.old, Some(item([("v", n(151))])));
    let error = session.update_item_with("music", key("a", 1), add(), shown).await.unwrap_err();
    assert!(error.is_condition_failed());
    assert_eq!(error.item.as_ref().unwrap().0["v"], n(151));
    let wrong = Expression::new("SET sk = :one").value(":one", n(1));
    let error = session.update_item("music", key("a", 1), wrong).await.unwrap_err();
    assert_eq!((error.code, error.reason.as_str()), (Code::InvalidArgument, "ValidationException"));
    served.stop().await;
}

#[tokio::test]
async fn what_may_pass_is_tried_again_and_what_has_expired_is_not() {
    let served = Served::plain();
    let session = with_table(&served).await.session(SessionOptions::default());
    let unknown = || tombolo_memds::RouteError::OutcomeUnknown("the answer was lost".into());
    served.region.refuse(unknown());
    served.region.refuse(tombolo_memds::RouteError::Overloaded("busy".into()));
    session.put_item("music", key("a", 1)).await.unwrap();
    served.region.refuse(tombolo_memds::RouteError::Group(tombolo_group::GroupError::Expired));
    let error = session.put_item("music", key("a", 1)).await.unwrap_err();
    assert!(error.is_outcome_unknown() && error.code == Code::Unavailable);
    assert_eq!(served.region.writes(), 1);
    served.stop().await;
}

#[tokio::test]
async fn operations_under_way_are_bounded_on_both_sides() {
    let served = Served::plain();
    let client = with_table(&served).await;
    served.region.get_stuck(true);
    let mut stream = Stream::opened(&client).await;
    let patient = |number| v1::SessionOperation { timeout_ms: 2_000, ..get(number, "a") };
    stream.send(operations((1..=1500).map(patient).collect())).await;
    until("as many wait as are let in", || served.region.waiting() >= 1024).await;
    assert_eq!(served.region.waiting(), 1024);
    served.region.get_stuck(false);
    let mut answered = 0;
    while answered < 1500 {
        answered += stream.answer().await.unwrap().len();
        assert!(served.region.waiting() <= 1024);
    }

    served.region.get_stuck(true);
    let options = SessionOptions { in_flight: 3, ..SessionOptions::default() };
    let session = client.session(options);
    let begun = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..10 {
        let (session, begun) = (session.clone(), begun.clone());
        tasks.spawn(async move {
            begun.fetch_add(1, Ordering::SeqCst);
            session.get_item("music", key("a", 1), true).await
        });
    }
    until("all ask", || begun.load(Ordering::SeqCst) == 10).await;
    until("three wait", || served.region.waiting() == 3).await;
    tokio::task::yield_now().await;
    assert_eq!(served.region.waiting(), 3);
    tasks.shutdown().await;
    served.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_not_read_from() {
    let served = Served::plain();
    let client = with_table(&served).await;
    let stored = item([("pk", s("a")), ("sk", n(1)), ("x", Value::B(vec![7; 20_000].into()))]);
    client.put_item("music", stored).await.unwrap();
    let mut stream = Stream::opened(&client).await;
    // Everything in between is full when a frame is not taken for a whole second.
    let mut sent = 0;
    loop {
        let frame = operations((sent + 1..=sent + 1000).map(|number| get(number, "a")).collect());
        let taken = stream.frames.send_timeout(frame, Duration::from_secs(1)).await;
        if taken.is_err() {
            break;
        }
        sent += 1000;
        assert!(sent < 1_000_000, "the server reads on and on");
    }
    let read = served.region.reads();
    assert!(read < 3_000, "{read} answers of 20 KB were made for nobody");
    // Nothing of it is lost.
    let mut seen = vec![false; sent as usize];
    let mut missing = sent;
    while missing > 0 {
        for answer in stream.answer().await.unwrap() {
            assert!(matches!(answer.answer, Some(Answer::GetItem(_))), "{answer:?}");
            assert!(!std::mem::replace(&mut seen[answer.number as usize - 1], true));
            missing -= 1;
        }
    }
    served.stop().await;
}

#[tokio::test]
async fn a_hostile_frame_ends_its_stream_and_a_hostile_operation_only_itself() {
    let served = Served::plain();
    let client = with_table(&served).await;
    let open = |session: &[u8]| v1::SessionRequest {
        open: Some(v1::SessionOpen { session: session.to_vec().into() }),
        ..Default::default()
    };
    let ends = [
        vec![v1::SessionRequest::default()],
        vec![open(&[])],
        vec![open(&[0; 16])],
        vec![open(&[1; 17])],
        vec![open(&[1; 16]), open(&[1; 16])],
        vec![open(&[1; 16]), operations(vec![v1::SessionOperation::default(); 4097])],
    ];
    for frames in ends {
        let mut stream = Stream::open(&client).await;
        for frame in frames.clone() {
            stream.send(frame).await;
        }
        let error = ClientError::from_status(stream.answer().await.unwrap_err(), true);
        assert_eq!(error.code, Code::InvalidArgument, "{frames:?}");
        assert_eq!(error.reason, "ValidationException");
        assert!(!error.request_id.is_empty());
    }

    let mut stream = Stream::opened(&client).await;
    let now = now_ms();
    let bad = vec![
        v1::SessionOperation { number: 5, ..Default::default() },
        put(0, now),
        put(1 << 16 | 1, now),
        put(u64::MAX, now),
        put(6, 0),
        put(7, u64::MAX),
        v1::SessionOperation { operation: Some(Operation::PutItem(Box::default())), ..put(8, now) },
    ];
    let count = bad.len();
    stream.send(operations(bad)).await;
    let answers = stream.answer().await.unwrap();
    assert_eq!(answers.len(), count);
    for v1::SessionAnswer { answer, number } in answers {
        let Some(Answer::Error(error)) = answer else { panic!("{number}: {answer:?}") };
        assert_eq!((error.code, error.reason.as_str()), (3, "ValidationException"), "{number}");
        assert!(!error.repeatable && !error.retryable);
    }
    stream.send(operations(vec![put(9, now), put(9, now)])).await;
    let mut written = Vec::new();
    while written.len() < 2 {
        written.extend(stream.answer().await.unwrap());
    }
    assert_eq!(served.region.writes(), 1, "one number is one write");
    served.stop().await;
}

#[tokio::test]
async fn a_server_that_stops_ends_its_streams_in_good_order() {
    let going = Served::plain();
    let client = with_table(&going).await;
    let session = client.session(SessionOptions::default());
    session.put_item("music", key("a", 1)).await.unwrap();
    let begun = Instant::now();
    going.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(4), "the grace is for what is under way");
    let options = SessionOptions {
        request_timeout: Some(Duration::from_millis(300)),
        ..SessionOptions::default()
    };
    let error = client.session(options).put_item("music", key("a", 1)).await.unwrap_err();
    assert_eq!((error.reason.as_str(), error.retryable), ("Unreachable", true));
}
