//! Put, get, delete, query and scan through the port.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tombolo_client::{Client, Expression, KeyQuery, ReadPage, TableDefinition, WriteOptions};
use tombolo_group::Token;
use tombolo_item::{Item, KeyAttribute, KeySchema, KeyType, SortCondition, StreamView, Value};
use tombolo_memds::{RouteError, Uncertain};
use uuid::Uuid;

use super::fake::Fake;
use super::{Content, Served};
use crate::authorize::{Principal, authorize};
use crate::door::RequestContext;
use crate::execute::Executor;
use crate::operation::{
    Answer, CapacityDetail, CreateTable, IndexDefinition, KeyRole, Operation, ProjectionDefinition,
    ProjectionKind, Report, ReturnValues, UpdateItem,
};

pub(super) fn schema() -> KeySchema {
    KeySchema {
        partition: KeyAttribute { name: "pk".into(), kind: KeyType::S },
        sort: Some(KeyAttribute { name: "sk".into(), kind: KeyType::N }),
    }
}

pub(super) fn s(text: &str) -> Value {
    Value::S(text.into())
}

pub(super) fn n(number: i64) -> Value {
    Value::N(number.to_string().parse().unwrap())
}

pub(super) fn item<const N: usize>(attributes: [(&str, Value); N]) -> Item {
    Item(attributes.into_iter().map(|(name, value)| (name.to_string(), value)).collect())
}

pub(super) fn key(pk: &str, sk: i64) -> Item {
    item([("pk", s(pk)), ("sk", n(sk))])
}

pub(super) async fn with_table(served: &Served) -> Client {
    let client = served.client().await;
    make_table(&client).await;
    client
}

pub(super) async fn make_table(client: &Client) {
    let definition = TableDefinition {
        view: Some(StreamView::NewAndOldImages),
        ..TableDefinition::new("music", schema())
    };
    let table = client.create_table(definition).await.unwrap();
    assert_eq!(table.status, "CREATING");
    client.wait_active("music", std::time::Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn an_item_is_put_read_replaced_and_removed() {
    let served = Served::plain();
    let client = with_table(&served).await;
    let first = item([("pk", s("a")), ("sk", n(1)), ("x", s("one"))]);
    let second = item([("pk", s("a")), ("sk", n(1)), ("x", s("two"))]);
    let written = client.put_item("music", first.clone()).await.unwrap();
    assert_eq!((written.old, written.seq), (None, 1));

    let (read, stamp) =
        client.get_item_with_stamp("music", key("a", 1), true).await.unwrap().unwrap();
    assert_eq!((&read, stamp), (&first, written.stamp));
    assert_eq!(client.get_item("music", key("a", 2), false).await.unwrap(), None);

    let options = WriteOptions { return_old: true, ..WriteOptions::default() };
    let written = client.put_item_with("music", second.clone(), options.clone()).await.unwrap();
    assert_eq!(written.old, Some(first));
    let removed = client.delete_item_with("music", key("a", 1), options.clone()).await.unwrap();
    assert_eq!(removed.old, Some(second));
    let again = client.delete_item_with("music", key("a", 1), options).await.unwrap();
    assert_eq!(again.old, None);
    served.stop().await;
}

#[tokio::test]
async fn a_failed_condition_says_so_and_shows_the_item_when_asked() {
    let served = Served::plain();
    let client = with_table(&served).await;
    let stored = item([("pk", s("a")), ("sk", n(1)), ("version", n(3))]);
    client.put_item("music", stored.clone()).await.unwrap();

    let absent = WriteOptions::when(Expression::new("attribute_not_exists(pk)"));
    let error = client.put_item_with("music", stored.clone(), absent).await.unwrap_err();
    assert!(error.is_condition_failed() && error.item.is_none());
    assert_eq!(error.message, "The conditional request failed");
    assert_eq!(error.code, tonic::Code::FailedPrecondition);

    let condition = Expression::new("#v = :two").name("#v", "version").value(":two", n(2));
    let shown = WriteOptions { return_on_failure: true, ..WriteOptions::when(condition) };
    let error = client.delete_item_with("music", key("a", 1), shown).await.unwrap_err();
    assert_eq!(error.item.as_ref(), Some(&stored));

    let condition = Expression::new("#v = :three").name("#v", "version").value(":three", n(3));
    client.delete_item_with("music", key("a", 1), WriteOptions::when(condition)).await.unwrap();
    served.stop().await;
}

#[tokio::test]
async fn a_failed_condition_shows_the_largest_item_to_who_accepts_it() {
    let served = Served::plain();
    let client = with_table(&served).await;
    let stored = item([("pk", s("a")), ("sk", n(1)), ("x", s(&"y".repeat(409_000)))]);
    client.put_item("music", stored.clone()).await.unwrap();
    let absent = WriteOptions {
        return_on_failure: true,
        ..WriteOptions::when(Expression::new("attribute_not_exists(pk)"))
    };
    let error = client.put_item_with("music", key("a", 1), absent).await.unwrap_err();
    assert!(error.is_condition_failed(), "{error}");
    assert_eq!(error.item.as_ref(), Some(&stored));

    // A caller that says nothing gets a status that fits everywhere.
    let request = tombolo_client::v1::DeleteItemRequest {
        table_name: "music".into(),
        key: tombolo_client::convert::item_to_wire(key("a", 1)),
        condition_expression: Some("attribute_not_exists(pk)".into()),
        return_values_on_condition_check_failure: 2,
        ..Default::default()
    };
    let status = client.raw().items.delete_item(request).await.unwrap_err();
    let error = tombolo_client::ClientError::from_status(status, true);
    assert!(error.is_condition_failed() && error.item.is_none());
    assert!(error.metadata.contains_key("item"));
    served.stop().await;
}

/// All pages of a query, as sort keys; also how many pages there were.
async fn walk(client: &Client, query: KeyQuery, limit: u32) -> (Vec<Value>, usize) {
    let (mut keys, mut pages, mut start) = (Vec::new(), 0, None);
    loop {
        let from = ReadPage { limit: Some(limit), start, consistent: true };
        let page = client.query("music", query.clone(), from).await.unwrap();
        assert!(page.items.len() <= limit as usize);
        pages += 1;
        keys.extend(page.items.iter().map(|item| item.0["sk"].clone()));
        match page.last_evaluated_key {
            None => return (keys, pages),
            last => start = last,
        }
    }
}

#[tokio::test]
async fn queries_page_in_both_directions() {
    let served = Served::plain();
    let client = with_table(&served).await;
    for sk in -5..=5 {
        client.put_item("music", item([("pk", s("a")), ("sk", n(sk))])).await.unwrap();
        client.put_item("music", item([("pk", s("b")), ("sk", n(sk))])).await.unwrap();
    }
    let forward: Vec<_> = (-5..=5).map(n).collect();
    let backward: Vec<_> = (-5..=5).rev().map(n).collect();
    for limit in [1, 3, 11, 100] {
        let (keys, pages) = walk(&client, KeyQuery::all(s("a")), limit).await;
        assert_eq!(keys, forward, "limit {limit}");
        // A page that ends at the limit does not know that nothing follows (API_Query).
        assert_eq!(pages, 11 / limit as usize + 1);
        let query = KeyQuery { reverse: true, ..KeyQuery::all(s("a")) };
        assert_eq!(walk(&client, query, limit).await.0, backward, "limit {limit}");
    }
    let between = Some(SortCondition::Between(n(-1), n(2)));
    let query = KeyQuery { sort: between, reverse: true, partition: s("b") };
    assert_eq!(walk(&client, query, 3).await.0, [n(2), n(1), n(0), n(-1)]);
    assert!(walk(&client, KeyQuery::all(s("nobody")), 3).await.0.is_empty());

    let text = Expression::new("pk = :p AND sk > :x").value(":p", s("a")).value(":x", n(3));
    let page = client.query_text("music", text, false, ReadPage::default()).await.unwrap();
    assert_eq!(page.items, [key("a", 4), key("a", 5)]);
    served.stop().await;
}

#[tokio::test]
async fn a_page_ends_at_one_megabyte() {
    let served = Served::plain();
    let client = with_table(&served).await;
    for sk in 0..5 {
        let large = Value::B(vec![7; 300_000].into());
        client
            .put_item("music", item([("pk", s("a")), ("sk", n(sk)), ("x", large)]))
            .await
            .unwrap();
    }
    let page = client.query("music", KeyQuery::all(s("a")), ReadPage::default()).await.unwrap();
    assert_eq!(page.items.len(), 4);
    assert_eq!(page.last_evaluated_key, Some(key("a", 3)));
    let rest = ReadPage { start: page.last_evaluated_key, ..ReadPage::default() };
    let page = client.query("music", KeyQuery::all(s("a")), rest).await.unwrap();
    assert_eq!((page.items.len(), page.last_evaluated_key), (1, None));
    served.stop().await;
}

#[tokio::test]
async fn a_scan_walks_over_everything_once() {
    let served = Served::plain();
    let client = with_table(&served).await;
    for pk in 0..20 {
        for sk in 0..3 {
            client.put_item("music", key(&format!("k{pk}"), sk)).await.unwrap();
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    let mut start = None;
    loop {
        let from = ReadPage { limit: Some(7), start, consistent: false };
        let page = client.scan("music", from).await.unwrap();
        for item in page.items {
            assert!(seen.insert(format!("{item:?}")), "an item came twice");
        }
        match page.last_evaluated_key {
            None => break,
            last => start = last,
        }
    }
    assert_eq!(seen.len(), 60);
    served.stop().await;
}

#[tokio::test]
async fn an_item_nested_to_the_limit_passes_and_one_deeper_does_not() {
    let served = Served::plain();
    let client = with_table(&served).await;
    let nested = |levels: usize, wrap: fn(Value) -> Value| {
        let mut value = s("innermost");
        for _ in 0..levels {
            value = wrap(value);
        }
        item([("pk", s("deep")), ("sk", n(levels as i64)), ("x", value)])
    };
    for wrap in [|value| Value::L(vec![value]), |value| Value::M([("a".to_string(), value)].into())]
        as [fn(Value) -> Value; 2]
    {
        let levels = tombolo_item::limits::NESTING_LEVELS;
        let deepest = nested(levels, wrap);
        client.put_item("music", deepest.clone()).await.unwrap();
        let read = client.get_item("music", key("deep", levels as i64), true).await.unwrap();
        assert_eq!(read, Some(deepest));
        for levels in [levels + 1, levels + 30] {
            let error = client.put_item("music", nested(levels, wrap)).await.unwrap_err();
            assert_eq!(error.code, tonic::Code::InvalidArgument, "{error}");
        }
    }
    served.stop().await;
}

#[tokio::test]
async fn what_was_surely_not_done_is_tried_again_and_nothing_else() {
    let served = Served::plain();
    let client = with_table(&served).await;
    for _ in 0..3 {
        served.region.refuse(RouteError::Overloaded("busy".into()));
    }
    client.put_item("music", key("a", 1)).await.unwrap();

    let unknown = || RouteError::Timeout { applied: Uncertain::Unknown, last: "?".into() };
    served.region.refuse(unknown());
    let error = client.put_item("music", key("a", 2)).await.unwrap_err();
    assert!(error.is_outcome_unknown() && !error.retryable);
    assert!(!error.request_id.is_empty());
    // A read may be repeated whatever became of it.
    served.region.refuse(unknown());
    client.get_item("music", key("a", 1), true).await.unwrap();
    served.stop().await;
}

/// A retry that finds its update done has no images. With local indexes the router works out the new one
/// from the old one: not from nothing.
#[tokio::test]
async fn a_retried_update_of_an_indexed_table_makes_nothing_up() {
    let executor = Executor::new(Fake::default(), Arc::new(Content));
    let run = async |token, operation| {
        let context = RequestContext {
            id: Uuid::nil(),
            principal: Principal::Loopback,
            deadline: Instant::now() + Duration::from_secs(5),
            most_item_bytes: 0,
            token,
        };
        let operation = authorize(&context.principal, operation).expect("everybody may");
        executor.execute(&context, operation).await.expect("it is carried out")
    };
    let key = |name: &str, role| (name.to_string(), role);
    let index = IndexDefinition {
        name: "by-n".into(),
        key_schema: vec![key("pk", KeyRole::Hash), key("n", KeyRole::Range)],
        projection: Some(ProjectionDefinition {
            kind: Some(ProjectionKind::KeysOnly),
            non_key_attributes: None,
        }),
        throughput: None,
        on_demand: None,
    };
    let create = CreateTable {
        table: "music".into(),
        attributes: [("pk", KeyType::S), ("sk", KeyType::N), ("n", KeyType::N)]
            .map(|(name, kind)| (name.to_string(), kind))
            .into(),
        key_schema: vec![key("pk", KeyRole::Hash), key("sk", KeyRole::Range)],
        local_indexes: Some(vec![index]),
        billing: Some(crate::operation::BillingMode::PayPerRequest),
        ..CreateTable::default()
    };
    run(None, Operation::CreateTable(Box::new(create))).await;
    let values = [(":one".to_string(), n(1))].into();
    let names = Default::default();
    let mut substitutions = tombolo_item::condition::Substitutions::new(&names, &values);
    let update =
        tombolo_item::update::parse_update("ADD n :one", &mut substitutions).expect("an update");
    let add = || {
        Operation::UpdateItem(UpdateItem {
            table: "music".into(),
            key: super::items::key("a", 1),
            update: update.clone(),
            condition: None,
            returns: ReturnValues::AllNew,
            return_on_failure: false,
            report: Report { capacity: CapacityDetail::Total, collections: false },
        })
    };
    let shown = async |token| match run(token, add()).await {
        Answer::Written(written) => written.attributes,
        _ => panic!("not a write's answer"),
    };
    let counted = |count| Some(item([("pk", s("a")), ("sk", n(1)), ("n", n(count))]));
    let token = |number| {
        let issued_ms = super::fake::NOW_MS;
        Some(Token { session: Uuid::max(), number, lowest_unfinished: 1, issued_ms })
    };
    assert_eq!(shown(token(1)).await, counted(1));
    assert_eq!(shown(token(2)).await, counted(2));
    assert_eq!(shown(token(2)).await, None);
    assert_eq!(shown(token(3)).await, counted(3), "each counted once");
}
