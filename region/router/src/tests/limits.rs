//! Bounded concurrency, deadlines, sizes.

use std::time::{Duration, Instant};

use tombolo_client::{Client, ClientError, ClientSettings, convert, v1};
use tonic::{Code, Request};

use super::Served;
use super::items::{key, with_table};

fn get() -> v1::GetItemRequest {
    v1::GetItemRequest {
        table_name: "music".into(),
        key: convert::item_to_wire(key("a", 1)),
        consistent_read: true,
        ..Default::default()
    }
}

#[tokio::test]
async fn one_too_many_is_turned_away_at_once() {
    let served = Served::start(|settings| settings.max_in_flight = 2);
    let client = with_table(&served).await;
    served.region.get_stuck(true);
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let mut items = client.raw().items;
        let mut request = Request::new(get());
        request.set_timeout(Duration::from_secs(3));
        waiting.push(tokio::spawn(async move { items.get_item(request).await }));
    }
    while served.region.waiting() < 2 {
        tokio::task::yield_now().await;
    }
    let status = client.raw().items.get_item(get()).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    let turned_away = ClientError::from_status(status, false);
    assert_eq!(turned_away.reason, "ThrottlingException");
    assert!(turned_away.retryable && !turned_away.request_id.is_empty());
    for task in waiting {
        assert_eq!(task.await.unwrap().unwrap_err().code(), Code::DeadlineExceeded);
    }
    // Their places are free again.
    served.region.get_stuck(false);
    client.get_item("music", key("a", 1), true).await.unwrap();
    served.stop().await;
}

#[tokio::test]
async fn a_deadline_is_answered_before_it_passes() {
    let served = Served::plain();
    let client = with_table(&served).await;
    served.region.get_stuck(true);
    let mut request = Request::new(get());
    request.set_timeout(Duration::from_secs(2));
    let began = Instant::now();
    let status = client.raw().items.get_item(request).await.unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(2));
    let error = ClientError::from_status(status, false);
    // Our own answer, not the transport's: it has an id.
    assert_eq!((error.code, error.reason.as_str()), (Code::DeadlineExceeded, "RequestTimeout"));
    assert!(!error.request_id.is_empty());
    served.stop().await;
}

#[tokio::test]
async fn a_message_beyond_the_limit_is_the_callers_mistake() {
    let served = Served::start(|settings| settings.max_message_bytes = 10_000);
    let client = with_table(&served).await;
    let mut item = key("a", 1);
    item.insert("x", tombolo_item::Value::S("x".repeat(20_000)));
    let error = client.put_item("music", item).await.unwrap_err();
    assert_eq!(
        (error.code, error.reason.as_str()),
        (Code::InvalidArgument, "SerializationException")
    );
    assert!(!error.request_id.is_empty());
    served.stop().await;
}

#[tokio::test]
async fn calls_go_on_when_one_endpoint_is_gone() {
    let staying = Served::plain();
    let going = Served::plain();
    with_table(&staying).await;
    with_table(&going).await;
    let settings = ClientSettings::new([staying.endpoint.clone(), going.endpoint.clone()]);
    let client = Client::with_settings(settings).await.unwrap();
    for _ in 0..8 {
        client.get_item("music", key("a", 1), true).await.unwrap();
    }
    going.stop().await;
    // What was surely never sent, writes too, goes to the other one.
    for sk in 0..8 {
        client.put_item("music", key("a", sk)).await.unwrap();
        client.get_item("music", key("a", sk), true).await.unwrap();
    }
    staying.stop().await;
    let mut settings = ClientSettings::new(["127.0.0.1:1"]);
    settings.connect_timeout = Duration::from_millis(300);
    assert_eq!(Client::with_settings(settings).await.unwrap_err().reason, "Unreachable");
}
