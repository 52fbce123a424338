"""BatchWriteItem: https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html"""

import re

import pytest

from kit import INVALID, KEY_MISMATCH, NOT_FOUND, invalid, items, refused, text_of_size, violation, violations


def put(n, **attributes):
    return {"PutRequest": {"Item": {"pk": {"S": f"k{n}"}, **attributes}}}


def delete(n):
    return {"DeleteRequest": {"Key": {"pk": {"S": f"k{n}"}}}}


def stored(db, table):
    return {item["pk"]["S"]: item for item in items(db.scan, TableName=table, ConsistentRead=True)}


def test_25_requests_and_no_more(db, make):
    table = make({"key": {"pk": "S"}})
    answer = db.batch_write_item(RequestItems={table: [put(n) for n in range(25)]})
    assert answer["UnprocessedItems"] == {}
    assert len(stored(db, table)) == 25
    invalid(db.batch_write_item, re.compile(
        r"Map value must satisfy constraint: \[Member must have length less than or equal to 25, "
        r"Member must have length greater than or equal to 1\]|Too many items requested"),
        RequestItems={table: [put(n) for n in range(26)]})
    db.batch_write_item(RequestItems={table: [delete(n) for n in range(24)] + [put(24, v={"N": "1"})]})
    assert stored(db, table) == {"k24": {"pk": {"S": "k24"}, "v": {"N": "1"}}}


def test_two_tables_share_the_25(db, simple, make):
    other = make({"key": {"pk": "S"}})
    db.batch_write_item(RequestItems={simple: [put("a")], other: [put("b"), delete("absent")]})
    assert "ka" in stored(db, simple) and "kb" in stored(db, other)
    invalid(db.batch_write_item, "Too many items requested for the BatchWriteItem call",
            RequestItems={simple: [put(n) for n in range(13)], other: [put(n) for n in range(13)]})


def test_large_items(db, make):
    table = make({"key": {"pk": "S"}})
    wanted = {table: [put(n, v=text_of_size(390 << 10)) for n in range(25)]}
    rounds = 0
    while wanted:
        wanted = db.batch_write_item(RequestItems=wanted)["UnprocessedItems"]
        rounds += 1
        assert rounds < 20
    assert len(stored(db, table)) == 25


def test_one_item_twice(db, simple):
    for requests in ([put(1), put(1)], [put(1), delete(1)], [delete(1), delete(1)]):
        invalid(db.batch_write_item, "Provided list of item keys contains duplicates", RequestItems={simple: requests})


@pytest.mark.parametrize("request_, message", [
    ({"PutRequest": {"Item": {}}}, KEY_MISMATCH),
    ({"PutRequest": {"Item": {"pk": {"N": "1"}}}}, KEY_MISMATCH),
    (put("bad", v={"NULL": False}), INVALID + "Null attribute value types must have the value of true"),
    (put("bad", v={"N": "x"}), "The parameter cannot be converted to a numeric value: x"),
    (put("bad", v={"SS": []}), INVALID + "An string set  may not be empty"),
    (put("bad", v=text_of_size(400 << 10)), "Item size has exceeded the maximum allowed size"),
    ({"PutRequest": {"Item": {"pk": {"S": ""}}}}, re.compile("cannot contain an empty string value. Key: pk")),
    ({"PutRequest": {"Item": {"pk": {"S": "x" * 2049}}}}, re.compile("Size of hashkey has exceeded")),
    ({"DeleteRequest": {"Key": {}}}, KEY_MISMATCH),
    ({"DeleteRequest": {"Key": {"pk": {"N": "1"}}}}, KEY_MISMATCH),
    ({"DeleteRequest": {"Key": {"pk": {"S": "k"}, "sk": {"S": "k"}}}}, KEY_MISMATCH),
    ({"DeleteRequest": {"Key": {"pk": {"S": ""}}}}, re.compile("cannot contain an empty string value. Key: pk")),
])
def test_a_bad_request_refuses_all_of_them(db, simple, request_, message):
    invalid(db.batch_write_item, message, RequestItems={simple: [put("good of bad"), request_]})
    assert "kgood of bad" not in stored(db, simple)


def test_requests_that_are_none(db, simple):
    for request in ({}, {"PutRequest": {"Item": {"pk": {"S": "a"}}}, "DeleteRequest": {"Key": {"pk": {"S": "b"}}}}):
        invalid(db.batch_write_item, re.compile("."), RequestItems={simple: [request]})
    invalid(db.batch_write_item, re.compile("member.1.member.putRequest.item.* Member must not be null"),
            RequestItems={simple: [{"PutRequest": {}}]})
    invalid(db.batch_write_item, re.compile("member.1.member.deleteRequest.key.* Member must not be null"),
            RequestItems={simple: [{"DeleteRequest": {}}]})


def test_parameters(db, wire, simple):
    # The SDK itself needs this one, to know where to send it.
    wire.refused("BatchWriteItem", {}, "ValidationException", re.compile("(?i)requestItems"))
    invalid(db.batch_write_item, re.compile("(?i)requestItems.* (is required for BatchWriteItem|length greater than or equal to 1)"),
            RequestItems={})
    invalid(db.batch_write_item, re.compile("Member must have length greater than or equal to 1"),
            RequestItems={simple: []})
    violations(db.batch_write_item, [
        violation("x", "returnConsumedCapacity", "satisfy enum value set: [INDEXES, TOTAL, NONE]"),
        violation("x", "returnItemCollectionMetrics", "satisfy enum value set: [SIZE, NONE]"),
    ], RequestItems={simple: [put(1)]}, ReturnConsumedCapacity="x", ReturnItemCollectionMetrics="x")
    refused(db.batch_write_item, "ResourceNotFoundException", NOT_FOUND,
            RequestItems={simple: [put("not written")], "no-such-table": [put(1)]})
    assert "knot written" not in stored(db, simple)
