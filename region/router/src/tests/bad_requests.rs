//! A table of bad requests and the exact sentence that each one gets.

use std::collections::BTreeMap;

use tombolo_client::v1::attribute_value::Value as Wire;
use tombolo_client::{ClientError, Raw, v1};
use tonic::{Code, Status};

use super::Served;
use super::items::with_table;

type Attributes = BTreeMap<String, v1::AttributeValue>;

fn wire(value: Wire) -> v1::AttributeValue {
    v1::AttributeValue { value: Some(value) }
}

fn text(text: &str) -> v1::AttributeValue {
    wire(Wire::S(text.into()))
}

fn number(text: &str) -> v1::AttributeValue {
    wire(Wire::N(text.into()))
}

fn attributes<const N: usize>(pairs: [(&str, v1::AttributeValue); N]) -> Attributes {
    pairs.into_iter().map(|(name, value)| (name.to_string(), value)).collect()
}

fn key() -> Attributes {
    attributes([("pk", text("a")), ("sk", number("1"))])
}

fn with(name: &str, value: v1::AttributeValue) -> Attributes {
    let mut item = key();
    item.insert(name.into(), value);
    item
}

fn put(item: Attributes) -> v1::PutItemRequest {
    v1::PutItemRequest { table_name: "music".into(), item, ..Default::default() }
}

fn query(partition: &str) -> v1::QueryRequest {
    let partition = Some(text(partition));
    v1::QueryRequest {
        table_name: "music".into(),
        key_condition: Some(v1::KeyCondition { partition, sort: None }),
        ..Default::default()
    }
}

/// What a request gets.
fn refused<T>(answer: Result<T, Status>) -> (Code, String) {
    let status = answer.err().expect("the request is refused");
    let error = ClientError::from_status(status, true);
    assert!(!error.request_id.is_empty(), "no request id: {error}");
    (error.code, error.message.clone())
}

async fn check_put(raw: &Raw, what: &str, request: v1::PutItemRequest, message: &str) {
    let seen = refused(raw.items.clone().put_item(request).await);
    assert_eq!(seen, (Code::InvalidArgument, message.to_string()), "{what}");
}

#[tokio::test]
async fn bad_puts() {
    let served = Served::plain();
    let raw = with_table(&served).await.raw();
    let empty =
        "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes";
    let name = "Invalid table/index name.  Table/index names must be between 3 and 255 characters \
                long, and may contain only the characters a-z, A-Z, 0-9, '_', '-', and '.'";
    let cases: Vec<(&str, v1::PutItemRequest, &str)> = vec![
        ("no table", v1::PutItemRequest { table_name: String::new(), ..put(key()) }, name),
        ("bad table", v1::PutItemRequest { table_name: "a b c".into(), ..put(key()) }, name),
        (
            "no item",
            put(Attributes::new()),
            "1 validation error detected: Value null at 'item' failed to satisfy constraint: \
             Member must not be null",
        ),
        (
            "no partition key",
            put(attributes([("sk", number("1"))])),
            "One or more parameter values were invalid: Missing the key pk in the item",
        ),
        (
            "no sort key",
            put(attributes([("pk", text("a"))])),
            "One or more parameter values were invalid: Missing the key sk in the item",
        ),
        (
            "mistyped key",
            put(attributes([("pk", number("1")), ("sk", number("1"))])),
            "One or more parameter values were invalid: Type mismatch for key pk expected: S \
             actual: N",
        ),
        (
            "empty key",
            put(attributes([("pk", text("")), ("sk", number("1"))])),
            "One or more parameter values are not valid. The AttributeValue for a key attribute \
             cannot contain an empty string value. Key: pk",
        ),
        (
            "long partition key",
            put(attributes([("pk", text(&"x".repeat(2049))), ("sk", number("1"))])),
            "One or more parameter values were invalid: Size of hashkey has exceeded the maximum \
             size limit of2048 bytes",
        ),
        (
            "large item",
            put(with("x", text(&"x".repeat(410_000)))),
            "Item size has exceeded the maximum allowed size",
        ),
        ("value of no kind", put(with("x", v1::AttributeValue { value: None })), empty),
        (
            "value of no kind inside",
            put(with(
                "x",
                wire(Wire::L(v1::ListValue { values: vec![v1::AttributeValue { value: None }] })),
            )),
            empty,
        ),
        (
            "null says false",
            put(with("x", wire(Wire::Null(false)))),
            "One or more parameter values were invalid: Null attribute value types must have the \
             value of true",
        ),
        (
            "empty set",
            put(with("x", wire(Wire::Ss(v1::StringSet { values: vec![] })))),
            "One or more parameter values were invalid: An string set  may not be empty",
        ),
        (
            "duplicates",
            put(with("x", wire(Wire::Ss(v1::StringSet { values: vec!["a".into(), "a".into()] })))),
            "One or more parameter values were invalid: Input collection [a, a] contains duplicates.",
        ),
        (
            "equal numbers in other words",
            put(with(
                "x",
                wire(Wire::Ns(v1::NumberSet { values: vec!["1".into(), "1.0".into()] })),
            )),
            "Input collection contains duplicates",
        ),
        (
            "no such return values",
            v1::PutItemRequest { return_values: 7, ..put(key()) },
            "1 validation error detected: Value '7' at 'returnValues' failed to satisfy constraint: \
             Member must satisfy enum value set: [ALL_NEW, UPDATED_OLD, ALL_OLD, NONE, UPDATED_NEW]",
        ),
        (
            "no such return values on failure",
            v1::PutItemRequest { return_values_on_condition_check_failure: -1, ..put(key()) },
            "1 validation error detected: Value '-1' at 'returnValuesOnConditionCheckFailure' failed \
             to satisfy constraint: Member must satisfy enum value set: [ALL_OLD, NONE]",
        ),
        (
            "values without an expression",
            v1::PutItemRequest {
                expression_attribute_values: attributes([(":x", text("a"))]),
                ..put(key())
            },
            "ExpressionAttributeValues can only be specified when using expressions",
        ),
        (
            "an unused value",
            v1::PutItemRequest {
                condition_expression: Some("attribute_exists(pk)".into()),
                expression_attribute_values: attributes([(":x", text("a"))]),
                ..put(key())
            },
            "Value provided in ExpressionAttributeValues unused in expressions: keys: {:x}",
        ),
        (
            "an unused name",
            v1::PutItemRequest {
                condition_expression: Some("attribute_exists(pk)".into()),
                expression_attribute_names: [("#x".to_string(), "pk".to_string())].into(),
                ..put(key())
            },
            "Value provided in ExpressionAttributeNames unused in expressions: keys: {#x}",
        ),
        (
            "an empty expression",
            v1::PutItemRequest { condition_expression: Some(String::new()), ..put(key()) },
            "Invalid ConditionExpression: The expression can not be empty;",
        ),
        (
            "a token",
            v1::PutItemRequest { client_request_token: Some("t".into()), ..put(key()) },
            "ClientRequestToken is not supported for single-item writes. Make a retry safe with a \
             condition, for example attribute_not_exists on the key",
        ),
    ];
    for (what, request, message) in cases {
        check_put(&raw, what, request, message).await;
    }
    let megabytes = "x".repeat(2_000_000);
    for bad in ["", &megabytes, "abc", "1e999", "1".repeat(40).as_str(), "NaN", " 1"] {
        let (code, message) =
            refused(raw.items.clone().put_item(put(with("x", number(bad)))).await);
        assert_eq!(code, Code::InvalidArgument, "{bad:?}");
        assert!(!message.is_empty() && message.len() < 1100);
    }
    served.stop().await;
}

#[tokio::test]
async fn bad_keys() {
    let served = Served::plain();
    let raw = with_table(&served).await.raw();
    let shape = "The provided key element does not match the schema";
    let cases = [
        (
            "no key",
            Attributes::new(),
            "1 validation error detected: Value null at 'key' failed to satisfy constraint: \
             Member must not be null",
        ),
        ("half a key", attributes([("pk", text("a"))]), shape),
        ("more than a key", with("x", text("a")), shape),
        ("a mistyped key", attributes([("pk", text("a")), ("sk", text("1"))]), shape),
    ];
    for (what, key, message) in cases {
        let get = v1::GetItemRequest {
            table_name: "music".into(),
            key: key.clone(),
            ..Default::default()
        };
        let expected = (Code::InvalidArgument, message.to_string());
        assert_eq!(refused(raw.items.clone().get_item(get).await), expected, "{what}");
        let delete =
            v1::DeleteItemRequest { table_name: "music".into(), key, ..Default::default() };
        assert_eq!(refused(raw.items.clone().delete_item(delete).await), expected, "{what}");
    }
    let get = v1::GetItemRequest { table_name: "nothing".into(), key: key(), ..Default::default() };
    let expected = "Requested resource not found".to_string();
    assert_eq!(refused(raw.items.clone().get_item(get).await), (Code::NotFound, expected));
    served.stop().await;
}

#[tokio::test]
async fn bad_queries() {
    let served = Served::plain();
    let raw = with_table(&served).await.raw();
    let sorted = |condition| v1::QueryRequest {
        key_condition: Some(v1::KeyCondition {
            partition: Some(text("a")),
            sort: Some(v1::SortCondition { condition }),
        }),
        ..query("a")
    };
    let mismatch = "One or more parameter values were invalid: Condition parameter type does not \
                    match schema type";
    use v1::sort_condition::Condition;
    let cases: Vec<(&str, v1::QueryRequest, &str)> = vec![
        (
            "no condition",
            v1::QueryRequest { key_condition: None, ..query("a") },
            "Either the KeyConditions or KeyConditionExpression parameter must be specified in the \
             request.",
        ),
        (
            "limit 0",
            v1::QueryRequest { limit: Some(0), ..query("a") },
            "1 validation error detected: Value '0' at 'limit' failed to satisfy constraint: Member \
             must have value greater than or equal to 1",
        ),
        (
            "limit -5",
            v1::QueryRequest { limit: Some(-5), ..query("a") },
            "1 validation error detected: Value '-5' at 'limit' failed to satisfy constraint: \
             Member must have value greater than or equal to 1",
        ),
        (
            "no partition",
            v1::QueryRequest {
                key_condition: Some(v1::KeyCondition { partition: None, sort: None }),
                ..query("a")
            },
            "1 validation error detected: Value null at 'keyCondition.partition' failed to \
             satisfy constraint: Member must not be null",
        ),
        (
            "a mistyped partition",
            v1::QueryRequest {
                key_condition: Some(v1::KeyCondition { partition: Some(number("1")), sort: None }),
                ..query("a")
            },
            mismatch,
        ),
        ("a mistyped sort key", sorted(Some(Condition::Gt(text("x")))), mismatch),
        (
            "a condition of no kind",
            sorted(None),
            "The sort condition is empty, must contain exactly one of eq, lt, le, gt, ge, between, \
             begins_with",
        ),
        (
            "a start key with holes",
            v1::QueryRequest { exclusive_start_key: attributes([("pk", text("a"))]), ..query("a") },
            "The provided starting key is invalid",
        ),
        (
            "somebody else's start key",
            v1::QueryRequest { exclusive_start_key: key(), ..query("b") },
            "The provided starting key is outside query boundaries based on provided conditions",
        ),
        (
            "a start key outside of the condition",
            v1::QueryRequest {
                exclusive_start_key: key(),
                ..sorted(Some(Condition::Gt(number("5"))))
            },
            "The provided starting key does not match the range key predicate",
        ),
        (
            "a textual condition without the partition key",
            v1::QueryRequest {
                key_condition: None,
                key_condition_expression: Some("sk = :x".into()),
                expression_attribute_values: attributes([(":x", number("1"))]),
                ..query("a")
            },
            "Query condition missed key schema element: pk",
        ),
    ];
    for (what, request, message) in cases {
        let seen = refused(raw.items.clone().query(request).await);
        assert_eq!(seen, (Code::InvalidArgument, message.to_string()), "{what}");
    }
    served.stop().await;
}

#[tokio::test]
async fn bad_tables() {
    let served = Served::plain();
    let raw = with_table(&served).await.raw();
    let definition = |name: &str, kind: i32| v1::AttributeDefinition {
        attribute_name: name.into(),
        attribute_type: kind,
    };
    let element = |name: &str, part: i32| v1::KeySchemaElement {
        attribute_name: name.into(),
        key_type: part,
    };
    let sound = || v1::CreateTableRequest {
        table_name: "other".into(),
        attribute_definitions: vec![definition("pk", 1), definition("sk", 2)],
        key_schema: vec![element("pk", 1), element("sk", 2)],
        ..Default::default()
    };
    let cases: Vec<(&str, v1::CreateTableRequest, &str)> = vec![
        (
            "no key",
            v1::CreateTableRequest { key_schema: vec![], ..sound() },
            "1 validation error detected: Value null at 'keySchema' failed to satisfy constraint: \
             Member must not be null",
        ),
        (
            "sort key first",
            v1::CreateTableRequest {
                key_schema: vec![element("sk", 2), element("pk", 1)],
                ..sound()
            },
            "Invalid KeySchema: The first KeySchemaElement is not a HASH key type",
        ),
        (
            "two partition keys",
            v1::CreateTableRequest {
                key_schema: vec![element("pk", 1), element("sk", 1)],
                ..sound()
            },
            "Invalid KeySchema: The second KeySchemaElement is not a RANGE key type",
        ),
        (
            "one key twice",
            v1::CreateTableRequest {
                key_schema: vec![element("pk", 1), element("pk", 2)],
                ..sound()
            },
            "Both the Hash Key and the Range Key element in the KeySchema have the same name",
        ),
        (
            "an undefined key",
            v1::CreateTableRequest {
                key_schema: vec![element("pk", 1), element("zz", 2)],
                ..sound()
            },
            "Invalid KeySchema: Some index key attribute have no definition",
        ),
        (
            "a definition without a key",
            v1::CreateTableRequest { key_schema: vec![element("pk", 1)], ..sound() },
            "One or more parameter values were invalid: Number of attributes in KeySchema does not \
             exactly match number of attributes defined in AttributeDefinitions",
        ),
        (
            "an unknown type",
            v1::CreateTableRequest {
                attribute_definitions: vec![definition("pk", 9), definition("sk", 2)],
                ..sound()
            },
            "1 validation error detected: Value '9' at 'attributeDefinitions.attributeType' failed \
             to satisfy constraint: Member must satisfy enum value set: [B, N, S]",
        ),
        (
            "an unknown view",
            v1::CreateTableRequest { stream_view_type: 12, ..sound() },
            "1 validation error detected: Value '12' at 'streamViewType' failed to satisfy \
             constraint: Member must satisfy enum value set: [KEYS_ONLY, NEW_AND_OLD_IMAGES, \
             NEW_IMAGE, OLD_IMAGE]",
        ),
        (
            "too many partitions",
            v1::CreateTableRequest { initial_partitions: 257, ..sound() },
            "1 validation error detected: Value '257' at 'initialPartitions' failed to satisfy \
             constraint: Member must have value less than or equal to 256",
        ),
    ];
    for (what, request, message) in cases {
        let seen = refused(raw.tables.clone().create_table(request).await);
        assert_eq!(seen, (Code::InvalidArgument, message.to_string()), "{what}");
    }
    served.stop().await;
}
