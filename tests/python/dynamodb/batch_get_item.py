"""BatchGetItem: https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html"""

import re

import pytest

from kit import KEY_MISMATCH, NOT_FOUND, invalid, refused, text_of_size, violation, violations


def key(n):
    return {"pk": {"S": f"k{n}"}}


@pytest.fixture(scope="module")
def table(db, simple):
    for start in range(0, 100, 25):
        db.batch_write_item(RequestItems={simple: [
            {"PutRequest": {"Item": {**key(n), "v": {"N": str(n)}}}} for n in range(start, start + 25)]})
    return simple


def get(db, **tables):
    return db.batch_get_item(RequestItems={name: {"ConsistentRead": True, **what} for name, what in tables.items()})


def test_100_keys_and_no_more(db, table):
    answer = get(db, **{table: {"Keys": [key(n) for n in range(100)]}})
    assert sorted(int(item["v"]["N"]) for item in answer["Responses"][table]) == list(range(100))
    assert answer["UnprocessedKeys"] == {}
    invalid(db.batch_get_item, re.compile("Too many items requested for the BatchGetItem call|"
                                          "Member must have length less than or equal to 100"),
            RequestItems={table: {"Keys": [key(n) for n in range(101)]}})


def test_two_tables_share_the_100(db, table, ranged):
    db.put_item(TableName=ranged, Item={"pk": {"S": "k"}, "sk": {"N": "1"}})
    answer = get(db, **{table: {"Keys": [key(1), key(2)]}, ranged: {"Keys": [{"pk": {"S": "k"}, "sk": {"N": "1"}}]}})
    assert len(answer["Responses"][table]) == 2
    assert answer["Responses"][ranged] == [{"pk": {"S": "k"}, "sk": {"N": "1"}}]
    many = [{"pk": {"S": "k"}, "sk": {"N": str(n)}} for n in range(51)]
    invalid(db.batch_get_item, "Too many items requested for the BatchGetItem call",
            RequestItems={table: {"Keys": [key(n) for n in range(50)]}, ranged: {"Keys": many}})


def test_what_is_not_there_is_left_out(db, table):
    answer = get(db, **{table: {"Keys": [key(1), key("absent")]}})
    assert answer["Responses"] == {table: [{**key(1), "v": {"N": "1"}}]}
    assert get(db, **{table: {"Keys": [key("absent")]}})["Responses"] == {table: []}


def test_a_projection_per_table(db, table, ranged):
    db.put_item(TableName=ranged, Item={"pk": {"S": "k"}, "sk": {"N": "2"}, "a": {"S": "x"}, "b": {"S": "y"}})
    answer = get(db, **{
        table: {"Keys": [key(1)], "ProjectionExpression": "#v", "ExpressionAttributeNames": {"#v": "v"}},
        ranged: {"Keys": [{"pk": {"S": "k"}, "sk": {"N": "2"}}], "ProjectionExpression": "a"}})
    assert answer["Responses"] == {table: [{"v": {"N": "1"}}], ranged: [{"a": {"S": "x"}}]}
    old = get(db, **{table: {"Keys": [key(1)], "AttributesToGet": ["v"]}})
    assert old["Responses"] == {table: [{"v": {"N": "1"}}]}


def test_eventual_reads(db, table):
    answer = db.batch_get_item(RequestItems={table: {"Keys": [key(1)]}})
    assert set(answer["Responses"]) == {table}


def test_16_mb_of_answer_and_the_rest_unprocessed(db, simple):
    keys = [{"pk": {"S": f"large {n}"}} for n in range(50)]
    for one in keys:
        db.put_item(TableName=simple, Item={**one, "v": text_of_size(390 << 10)})
    asked, got, rounds = {simple: {"Keys": keys, "ConsistentRead": True}}, [], 0
    while asked:
        answer = db.batch_get_item(RequestItems=asked)
        got += [item["pk"]["S"] for item in answer["Responses"].get(simple, [])]
        asked, rounds = answer["UnprocessedKeys"], rounds + 1
        assert rounds < 20
        if asked:
            assert asked[simple]["ConsistentRead"] is True
    assert sorted(got) == sorted(one["pk"]["S"] for one in keys)
    assert rounds > 1, "19 MB came in one answer"


def test_keys_twice(db, table):
    invalid(db.batch_get_item, "Provided list of item keys contains duplicates",
            RequestItems={table: {"Keys": [key(1), key(2), key(1)]}})


@pytest.mark.parametrize("bad, message", [
    ({}, KEY_MISMATCH), ({"pk": {"N": "1"}}, KEY_MISMATCH), ({"other": {"S": "k"}}, KEY_MISMATCH),
    ({**key(1), "sk": {"N": "1"}}, KEY_MISMATCH),
    ({"pk": {}}, "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes"),
    ({"pk": {"S": ""}}, "One or more parameter values are not valid. The AttributeValue for a key attribute cannot "
                        "contain an empty string value. Key: pk"),
    ({"pk": {"S": "x" * 2049}}, "One or more parameter values were invalid: Size of hashkey has exceeded the maximum "
                                "size limit of2048 bytes"),
])
def test_keys_that_do_not_fit(db, table, bad, message):
    invalid(db.batch_get_item, message, RequestItems={table: {"Keys": [key(1), bad]}})


def test_parameters(db, wire, table):
    # The SDK itself needs this one, to know where to send it.
    wire.refused("BatchGetItem", {}, "ValidationException", re.compile("(?i)requestItems"))
    invalid(db.batch_get_item, re.compile("(?i)requestItems.* (is required for BatchGetItem|length greater than or equal to 1)"),
            RequestItems={})
    violations(db.batch_get_item, [violation(None, f"requestItems.{table}.member.keys", "not be null")],
               RequestItems={table: {}})
    violations(db.batch_get_item, [violation("[]", f"requestItems.{table}.member.keys",
                                             "have length greater than or equal to 1")],
               RequestItems={table: {"Keys": []}})
    violations(db.batch_get_item, [violation("x", "returnConsumedCapacity",
                                             "satisfy enum value set: [INDEXES, TOTAL, NONE]")],
               RequestItems={table: {"Keys": [key(1)]}}, ReturnConsumedCapacity="x")
    refused(db.batch_get_item, "ResourceNotFoundException", NOT_FOUND,
            RequestItems={"no-such-table": {"Keys": [key(1)]}, table: {"Keys": [key(1)]}})
    invalid(db.batch_get_item, "Invalid ProjectionExpression: The expression can not be empty;",
            RequestItems={table: {"Keys": [key(1)], "ProjectionExpression": ""}})
    invalid(db.batch_get_item, re.compile("Can not use both expression and non-expression parameters"),
            RequestItems={table: {"Keys": [key(1)], "ProjectionExpression": "v", "AttributesToGet": ["v"]}})


def test_a_table_may_be_named_by_its_arn(db, table):
    arn = db.describe_table(TableName=table)["Table"]["TableArn"]
    answer = db.batch_get_item(RequestItems={arn: {"Keys": [key(1)], "ConsistentRead": True}})
    assert [item for found in answer["Responses"].values() for item in found] == [{**key(1), "v": {"N": "1"}}]
