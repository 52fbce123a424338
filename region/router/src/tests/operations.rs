//! Updates, indexes, filters, batches, statements, streams, settings through the port. Expected values
//! follow the AWS pages that are named.

use std::collections::BTreeMap;

use tombolo_client::{BatchWrite, Client, Expression, UpdateOptions, convert, v1};
use tombolo_item::{Item, Value};

use super::Served;
use super::fake::LABEL;
use super::items::{item, key, n, s, with_table};

/// A table with a local index by `x` that holds keys and `y`.
async fn with_index(served: &Served) -> Client {
    let client = served.client().await;
    let element = |name: &str, part: v1::KeyType| v1::KeySchemaElement {
        attribute_name: name.into(),
        key_type: part.into(),
    };
    let definition = |name: &str, kind: v1::ScalarAttributeType| v1::AttributeDefinition {
        attribute_name: name.into(),
        attribute_type: kind.into(),
    };
    let table = v1::CreateTableRequest {
        table_name: "indexed".into(),
        attribute_definitions: vec![
            definition("pk", v1::ScalarAttributeType::S),
            definition("sk", v1::ScalarAttributeType::N),
            definition("x", v1::ScalarAttributeType::N),
        ],
        key_schema: vec![element("pk", v1::KeyType::Hash), element("sk", v1::KeyType::Range)],
        local_secondary_indexes: vec![v1::SecondaryIndex {
            index_name: "by-x".into(),
            key_schema: vec![element("pk", v1::KeyType::Hash), element("x", v1::KeyType::Range)],
            projection: Some(v1::Projection {
                projection_type: v1::ProjectionType::Include.into(),
                non_key_attributes: vec!["y".into()],
            }),
            provisioned_throughput: None,
        }],
        ..Default::default()
    };
    client.raw().tables.create_table(table).await.unwrap();
    for sk in 0..6 {
        // Descending in the index; every second item is not in it.
        let mut one = item([("pk", s("a")), ("sk", n(sk)), ("y", n(sk * 10)), ("z", s("zz"))]);
        if sk % 2 == 0 {
            one.insert("x", n(100 - sk));
        }
        client.put_item("indexed", one).await.unwrap();
    }
    client
}

fn by_index() -> v1::QueryRequest {
    v1::QueryRequest {
        table_name: "indexed".into(),
        index_name: Some("by-x".into()),
        key_condition_expression: Some("pk = :p".into()),
        expression_attribute_values: convert::attributes_to_wire(
            [(":p".to_string(), s("a"))].into(),
        ),
        ..Default::default()
    }
}

/// API_UpdateItem, `ReturnValues`.
#[tokio::test]
async fn an_update_changes_and_shows_what_was_asked() {
    let served = Served::plain();
    let client = with_table(&served).await;
    let add = || Expression::new("ADD c :one SET d = :d").value(":one", n(1)).value(":d", s("d"));
    let with = |returns| UpdateOptions { returns, ..UpdateOptions::default() };
    let of = |returns| client.update_item_with("music", key("a", 1), add(), with(returns));
    assert_eq!(of(v1::ReturnValues::AllOld).await.unwrap().old, None);
    let shown = |count| Some(item([("c", n(count)), ("d", s("d"))]));
    assert_eq!(of(v1::ReturnValues::UpdatedNew).await.unwrap().old, shown(2));
    assert_eq!(of(v1::ReturnValues::UpdatedOld).await.unwrap().old, shown(2));
    let all = of(v1::ReturnValues::AllNew).await.unwrap().old.unwrap();
    assert_eq!((all.get("c"), all.get("pk")), (Some(&n(4)), Some(&s("a"))));
    let of_key = Expression::new("SET sk = :v").value(":v", n(2));
    let error = client.update_item("music", key("a", 1), of_key).await.unwrap_err();
    assert_eq!(
        error.message,
        "One or more parameter values were invalid: Cannot update attribute sk. This attribute is \
         part of the key"
    );
    let wrong = Expression::new("SET c = c + d");
    let error = client.update_item("music", key("a", 1), wrong).await.unwrap_err();
    assert!(error.message.contains("incorrect data type"), "{error}");
    served.stop().await;
}

/// Developer guide, "Local secondary indexes": order by the index's key, key attributes of table and
/// index in LastEvaluatedKey, attributes that are not projected are fetched and cost more.
#[tokio::test]
async fn a_local_index_is_walked_in_its_own_order() {
    let served = Served::plain();
    let client = with_index(&served).await;
    let page = client.query_any(by_index()).await.unwrap();
    let xs: Vec<_> = page.items.iter().map(|item| item.get("x").unwrap().clone()).collect();
    assert_eq!(xs, [n(96), n(98), n(100)]);
    assert!(page.items.iter().all(|item| item.get("y").is_some() && item.get("z").is_none()));

    let first = v1::QueryRequest { limit: Some(1), ..by_index() };
    let page = client.query_any(first).await.unwrap();
    let last = page.last_evaluated_key.unwrap();
    assert_eq!(last, item([("pk", s("a")), ("sk", n(4)), ("x", n(96))]));
    let start = convert::item_to_wire(last);
    let rest = v1::QueryRequest { exclusive_start_key: start, ..by_index() };
    assert_eq!(client.query_any(rest).await.unwrap().items.len(), 2);

    let units = async |request: v1::QueryRequest| {
        let request = v1::QueryRequest {
            return_consumed_capacity: v1::ReturnConsumedCapacity::Indexes.into(),
            ..request
        };
        let answer = client.raw().items.query(request).await.unwrap().into_inner();
        let consumed = answer.consumed_capacity.unwrap();
        (consumed.table_capacity_units, consumed.local_secondary_indexes["by-x"])
    };
    assert_eq!(units(by_index()).await, (Some(0.0), 0.5));
    let whole = v1::QueryRequest { select: v1::Select::AllAttributes.into(), ..by_index() };
    assert_eq!(units(whole.clone()).await, (Some(1.5), 0.5));
    assert!(client.query_any(whole).await.unwrap().items[0].get("z").is_some());
    served.stop().await;
}

/// API_Query, `FilterExpression`, `Select`; API_Scan, `Segment`.
#[tokio::test]
async fn filters_count_what_they_hold_back_and_segments_share_the_work() {
    let served = Served::plain();
    let client = with_index(&served).await;
    let values = [(":p".to_string(), s("a")), (":y".to_string(), n(20))];
    let filtered = v1::QueryRequest {
        index_name: None,
        filter_expression: Some("y > :y".into()),
        select: v1::Select::Count.into(),
        limit: Some(5),
        expression_attribute_values: convert::attributes_to_wire(values.into()),
        ..by_index()
    };
    let answer = client.raw().items.query(filtered.clone()).await.unwrap().into_inner();
    assert_eq!((answer.count, answer.scanned_count, answer.items.len()), (2, 5, 0));
    assert_eq!(convert::item(answer.last_evaluated_key).unwrap(), key("a", 4));
    let on_key = v1::QueryRequest { filter_expression: Some("sk > :y".into()), ..filtered };
    let error = client.query_any(on_key).await.unwrap_err();
    assert_eq!(
        error.message,
        "Filter Expression can only contain non-primary key attributes: Primary key attribute: sk"
    );
    for pk in 0..40 {
        client.put_item("indexed", key(&format!("k{pk}"), 1)).await.unwrap();
    }
    let mut seen = 0;
    for segment in 0..4 {
        let scan = v1::ScanRequest {
            table_name: "indexed".into(),
            segment: Some(segment),
            total_segments: Some(4),
            ..Default::default()
        };
        seen += client.scan_any(scan).await.unwrap().items.len();
    }
    assert_eq!(seen, 46);
    let beyond = v1::ScanRequest {
        table_name: "indexed".into(),
        segment: Some(4),
        total_segments: Some(4),
        ..Default::default()
    };
    let error = client.scan_any(beyond).await.unwrap_err();
    assert!(error.message.contains("Segment: 4 is not less than TotalSegments: 4"), "{error}");
    served.stop().await;
}

/// API_BatchWriteItem, API_BatchGetItem.
#[tokio::test]
async fn batches_do_each_for_itself_and_give_back_the_rest() {
    let served = Served::plain();
    let client = with_table(&served).await;
    let puts: Vec<_> = (0..25).map(|sk| BatchWrite::Put(key("a", sk))).collect();
    assert_eq!(client.batch_write_items("music", puts).await.unwrap(), []);
    served.region.refuse(tombolo_memds::RouteError::Overloaded("busy".into()));
    let deletes: Vec<_> = (0..3).map(|sk| BatchWrite::Delete(key("a", sk))).collect();
    assert_eq!(client.batch_write_items("music", deletes).await.unwrap().len(), 1);
    let keys: Vec<Item> = (0..30).map(|sk| key("a", sk)).collect();
    let (found, left) = client.batch_get_items("music", keys, true).await.unwrap();
    assert_eq!((found.len(), left.len()), (23, 0));

    let twice = vec![BatchWrite::Put(key("b", 1)), BatchWrite::Delete(key("b", 1))];
    let error = client.batch_write_items("music", twice).await.unwrap_err();
    assert_eq!(error.message, "Provided list of item keys contains duplicates");
    let many = (0..26).map(|sk| BatchWrite::Put(key("b", sk))).collect();
    let error = client.batch_write_items("music", many).await.unwrap_err();
    assert_eq!(error.message, "Too many items requested for the BatchWriteItem call");
    served.stop().await;
}

/// Developer guide, "PartiQL for DynamoDB": INSERT never replaces, UPDATE never makes.
#[tokio::test]
async fn statements_are_carried_out() {
    let served = Served::plain();
    let client = with_table(&served).await;
    let run = |text: &'static str, values: Vec<Value>| client.execute_statement(text, values, None);
    let insert = "INSERT INTO music VALUE {'pk': ?, 'sk': ?, 'x': 1}";
    for sk in 0..3 {
        run(insert, vec![s("a"), n(sk)]).await.unwrap();
    }
    let error = run(insert, vec![s("a"), n(0)]).await.unwrap_err();
    assert_eq!(error.reason, "DuplicateItemException");
    let update = "UPDATE music SET x = x + 1 WHERE pk = ? AND sk = ? RETURNING ALL NEW *";
    let page = run(update, vec![s("a"), n(0)]).await.unwrap();
    assert_eq!(page.items[0].get("x"), Some(&n(2)));
    let error = run(update, vec![s("nobody"), n(0)]).await.unwrap_err();
    assert!(error.is_condition_failed(), "{error}");
    let select = "SELECT sk FROM music WHERE pk = ? AND sk >= ?";
    let page = run(select, vec![s("a"), n(1)]).await.unwrap();
    assert_eq!(page.items, [item([("sk", n(1))]), item([("sk", n(2))])]);
    let delete = "DELETE FROM music WHERE pk = ? AND sk = ?";
    run(delete, vec![s("a"), n(1)]).await.unwrap();
    run(delete, vec![s("a"), n(1)]).await.unwrap();
    assert_eq!(run(select, vec![s("a"), n(1)]).await.unwrap().items.len(), 1);

    let mut request = v1::ExecuteStatementRequest {
        statement: "SELECT * FROM music".into(),
        limit: Some(1),
        ..Default::default()
    };
    let mut pages = 0;
    loop {
        let answer = client.raw().items.execute_statement(request.clone()).await.unwrap();
        let answer = answer.into_inner();
        pages += answer.items.len();
        match answer.next_token {
            None => break,
            next => request.next_token = next,
        }
    }
    assert_eq!(pages, 2);
    served.stop().await;
}

/// API_streams_GetShardIterator, API_streams_GetRecords.
#[tokio::test]
async fn people_read_a_stream_by_iterators() {
    let served = Served::plain();
    let client = with_table(&served).await;
    assert_eq!(client.list_streams().await.unwrap(), [("music".to_string(), LABEL.to_string())]);
    for sk in 1..=4 {
        client.put_item("music", key("a", sk)).await.unwrap();
    }
    let shard = client.describe_stream("music").await.unwrap().shards[0].shard.to_string();
    let at = |kind: v1::ShardIteratorType, sequence, timestamp_ms| {
        client.shard_iterator(v1::GetShardIteratorRequest {
            table_name: "music".into(),
            stream_label: None,
            shard: shard.clone(),
            shard_iterator_type: kind.into(),
            sequence,
            timestamp_ms,
        })
    };
    use v1::ShardIteratorType as Kind;
    for (kind, sequence, time, expected) in [
        (Kind::TrimHorizon, 0, 0, vec![1, 2, 3, 4]),
        (Kind::AtSequenceNumber, 3, 0, vec![3, 4]),
        (Kind::AfterSequenceNumber, 3, 0, vec![4]),
        (Kind::AtTimestamp, 0, super::fake::NOW_MS + 2, vec![2, 3, 4]),
        (Kind::Latest, 0, 0, vec![]),
    ] {
        let iterator = at(kind, sequence, time).await.unwrap();
        let (records, next) = client.records(iterator, None).await.unwrap();
        let numbers: Vec<_> = records.iter().map(|record| record.sequence).collect();
        assert_eq!(numbers, expected, "{kind:?}");
        assert!(next.is_some());
    }
    let latest = at(Kind::Latest, 0, 0).await.unwrap();
    client.delete_item("music", key("a", 1)).await.unwrap();
    let (records, next) = client.records(latest, Some(1)).await.unwrap();
    assert_eq!(records[0].kind(), v1::ChangeKind::Remove);
    assert_eq!(convert::item(records[0].old_image.clone()).unwrap(), key("a", 1));
    assert!(client.records(next.unwrap(), None).await.unwrap().0.is_empty());

    served.region.trim(4);
    let iterator = at(Kind::TrimHorizon, 0, 0).await.unwrap();
    assert_eq!(client.records(iterator, None).await.unwrap().0[0].sequence, 4);
    let error = at(Kind::AtSequenceNumber, 3, 0).await.unwrap_err();
    assert_eq!(error.reason, "TrimmedDataAccessException");
    assert!(client.records("nonsense".into(), None).await.is_err());
    served.stop().await;
}

/// API_UpdateTable, API_TagResource, API_UpdateTimeToLive.
#[tokio::test]
async fn tables_are_changed_tagged_and_protected() {
    let served = Served::plain();
    let client = with_index(&served).await;
    let described = v1::DescribeTableRequest { table_name: "indexed".into() };
    let table = client.raw().tables.describe_table(described).await.unwrap().into_inner();
    let table = table.table.unwrap();
    assert_eq!(table.table_arn, "arn:aws:dynamodb:us-east:000000000000:table/indexed");
    assert_eq!(table.attribute_definitions.len(), 3);
    assert_eq!(table.local_secondary_indexes[0].index_name, "by-x");
    assert_eq!(table.billing_mode(), v1::BillingMode::PayPerRequest);

    let update = v1::UpdateTableRequest { table_name: "indexed".into(), ..Default::default() };
    let error = client.update_table(update.clone()).await.unwrap_err();
    assert!(error.message.starts_with("At least one of ProvisionedThroughput"), "{error}");
    let protect = v1::UpdateTableRequest { deletion_protection_enabled: Some(true), ..update };
    client.update_table(protect).await.unwrap();
    assert_eq!(client.delete_table("indexed").await.unwrap_err().reason, "ValidationException");

    let tags = BTreeMap::from([("team".to_string(), "blue".to_string())]);
    client.tag_table("indexed", tags.clone()).await.unwrap();
    assert_eq!(client.tags("indexed").await.unwrap(), tags);
    client.untag_table("indexed", vec!["team".into()]).await.unwrap();
    assert!(client.tags("indexed").await.unwrap().is_empty());

    client.update_time_to_live("indexed", "ends", true).await.unwrap();
    assert_eq!(client.time_to_live("indexed").await.unwrap(), Some("ends".into()));
    let error = client.update_time_to_live("indexed", "ends", true).await.unwrap_err();
    assert_eq!(error.message, "TimeToLive is already enabled");
    served.stop().await;
}
