"""Scan: https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_Scan.html"""

import re

import pytest

from kit import NOT_FOUND, invalid, items, pages, refused, text_of_size, violation, violations

COUNT = 60


@pytest.fixture(scope="module")
def full(db, make):
    table = make({"key": {"pk": "S", "sk": "N"}})
    for n in range(COUNT):
        db.put_item(TableName=table, Item={"pk": {"S": f"k{n % 20}"}, "sk": {"N": str(n)}, "v": {"N": str(n % 5)},
                                           "w": {"S": "x"}})
    return table


def keys(found):
    return sorted(int(item["sk"]["N"]) for item in found)


def scan(table, **more):
    return {"TableName": table, "ConsistentRead": True, **more}


def test_every_item_once(db, full):
    answer = db.scan(**scan(full))
    assert keys(answer["Items"]) == list(range(COUNT))
    assert answer["Count"] == answer["ScannedCount"] == COUNT and "LastEvaluatedKey" not in answer


def test_items_of_one_partition_key_stand_together_in_order(db, full):
    found = db.scan(**scan(full))["Items"]
    partitions = [item["pk"]["S"] for item in found]
    changes = sum(1 for one, other in zip(partitions, partitions[1:]) if one != other)
    assert changes == 19, "a partition key came back after another"
    for partition in set(partitions):
        own = [int(item["sk"]["N"]) for item in found if item["pk"]["S"] == partition]
        assert own == sorted(own)


def test_an_empty_table(db, simple):
    answer = db.scan(**scan(simple))
    assert (answer["Items"], answer["Count"], answer["ScannedCount"]) == ([], 0, 0)
    assert "LastEvaluatedKey" not in answer


@pytest.mark.parametrize("limit", [1, 7, COUNT, COUNT + 1])
def test_pages_of_a_limit(db, full, limit):
    got = list(pages(db.scan, **scan(full, Limit=limit)))
    assert all(page["Count"] <= limit for page in got)
    assert keys(item for page in got for item in page["Items"]) == list(range(COUNT))
    for page in got[:-1]:
        assert page["LastEvaluatedKey"] == {name: page["Items"][-1][name] for name in ("pk", "sk")}


def test_a_page_ends_at_1_mb(db, simple):
    for n in range(6):
        db.put_item(TableName=simple, Item={"pk": {"S": f"big {n}"}, "v": text_of_size(300 << 10)})
    got = list(pages(db.scan, **scan(simple)))
    assert sum(page["Count"] for page in got) == 6
    assert all(page["Count"] in (3, 4) for page in got[:-1]), [page["Count"] for page in got]
    for n in range(6):
        db.delete_item(TableName=simple, Key={"pk": {"S": f"big {n}"}})


@pytest.mark.parametrize("total", [1, 2, 3, 8, 100])
def test_segments_share_the_table(db, full, total):
    found = []
    for segment in range(total):
        found += items(db.scan, **scan(full, Segment=segment, TotalSegments=total, Limit=5))
    assert keys(found) == list(range(COUNT))


def test_the_most_segments(db, full):
    db.scan(**scan(full, Segment=999_999, TotalSegments=1_000_000))
    violations(db.scan, [violation("1000001", "totalSegments", "have value less than or equal to 1000000")],
               **scan(full, Segment=0, TotalSegments=1_000_001))
    violations(db.scan, [violation("0", "totalSegments", "have value greater than or equal to 1")],
               **scan(full, Segment=0, TotalSegments=0))
    violations(db.scan, [violation("-1", "segment", "have value greater than or equal to 0")],
               **scan(full, Segment=-1, TotalSegments=1))
    violations(db.scan, [violation("1000000", "segment", "have value less than or equal to 999999")],
               **scan(full, Segment=1_000_000, TotalSegments=1_000_000))
    invalid(db.scan, "The Segment parameter is zero-based and must be less than parameter TotalSegments: "
            "Segment: 3 is not less than TotalSegments: 3", **scan(full, Segment=3, TotalSegments=3))
    invalid(db.scan, "The TotalSegments parameter is required but was not present in the request when Segment "
            "parameter is present", **scan(full, Segment=0))
    invalid(db.scan, "The Segment parameter is required but was not present in the request when parameter "
            "TotalSegments is present", **scan(full, TotalSegments=2))


def test_a_starting_key_of_another_segment(db, full):
    first = db.scan(**scan(full, Segment=0, TotalSegments=2, Limit=1))
    invalid(db.scan, re.compile("The provided starting key is invalid"),
            **scan(full, Segment=1, TotalSegments=2, ExclusiveStartKey=first["LastEvaluatedKey"]))


def test_starting_keys(db, full):
    whole = db.scan(**scan(full))["Items"]
    start = {name: whole[9][name] for name in ("pk", "sk")}
    assert db.scan(**scan(full, ExclusiveStartKey=start))["Items"] == whole[10:]
    # It need not exist.
    start["sk"] = {"N": start["sk"]["N"] + ".5"}
    assert db.scan(**scan(full, ExclusiveStartKey=start))["Items"] == whole[10:]
    for key in ({}, {"pk": {"S": "k"}}, {"pk": {"S": "k"}, "sk": {"S": "1"}},
                {"pk": {"S": "k"}, "sk": {"N": "1"}, "x": {"N": "1"}}):
        invalid(db.scan, re.compile("(?i)start(ing)? key"), **scan(full, ExclusiveStartKey=key))


def test_filters(db, full):
    answer = db.scan(**scan(full, FilterExpression="v = :v", ExpressionAttributeValues={":v": {"N": "3"}}))
    assert answer["Count"] == COUNT // 5 and answer["ScannedCount"] == COUNT
    # A scan has no key condition: its filter may look at the key.
    answer = db.scan(**scan(full, FilterExpression="pk = :p AND sk < :s",
                            ExpressionAttributeValues={":p": {"S": "k1"}, ":s": {"N": "30"}}))
    assert keys(answer["Items"]) == [1, 21]
    limited = db.scan(**scan(full, Limit=10, FilterExpression="attribute_exists(absent)"))
    assert (limited["Items"], limited["Count"], limited["ScannedCount"]) == ([], 0, 10)
    assert "LastEvaluatedKey" in limited
    invalid(db.scan, "Invalid FilterExpression: The expression can not be empty;", **scan(full, FilterExpression=""))
    invalid(db.scan, 'Invalid FilterExpression: Syntax error; token: "<EOF>", near: "="',
            **scan(full, FilterExpression="v ="))


def test_projections_and_selects(db, full):
    assert db.scan(**scan(full, ProjectionExpression="w", Limit=1))["Items"] == [{"w": {"S": "x"}}]
    named = scan(full, ProjectionExpression="#w", ExpressionAttributeNames={"#w": "w"}, Limit=1,
                 Select="SPECIFIC_ATTRIBUTES")
    assert db.scan(**named)["Items"] == [{"w": {"S": "x"}}]
    assert set(db.scan(**scan(full, Select="ALL_ATTRIBUTES", Limit=1))["Items"][0]) == {"pk", "sk", "v", "w"}
    counted = db.scan(**scan(full, Select="COUNT"))
    assert counted["Count"] == COUNT and "Items" not in counted
    refusals = [
        (re.compile("ALL_PROJECTED_ATTRIBUTES can be used only when (Query|Scann)ing using an IndexName"),
         {"Select": "ALL_PROJECTED_ATTRIBUTES"}),
        (re.compile("choosing to get SPECIFIC_ATTRIBUTES"), {"Select": "SPECIFIC_ATTRIBUTES"}),
        ("Cannot specify the ProjectionExpression when choosing to get only the Count",
         {"Select": "COUNT", "ProjectionExpression": "w"}),
        ("Cannot specify the ProjectionExpression when choosing to get ALL_ATTRIBUTES",
         {"Select": "ALL_ATTRIBUTES", "ProjectionExpression": "w"}),
    ]
    for message, more in refusals:
        invalid(db.scan, message, **scan(full, **more))


def test_parameters(db, full):
    violations(db.scan, [violation(None, "tableName", "not be null")])
    violations(db.scan, [
        violation("x", "select", "satisfy enum value set: [SPECIFIC_ATTRIBUTES, COUNT, ALL_ATTRIBUTES, "
                                 "ALL_PROJECTED_ATTRIBUTES]"),
        violation("x", "returnConsumedCapacity", "satisfy enum value set: [INDEXES, TOTAL, NONE]"),
        violation("0", "limit", "have value greater than or equal to 1"),
    ], **scan(full, Select="x", ReturnConsumedCapacity="x", Limit=0))
    refused(db.scan, "ResourceNotFoundException", NOT_FOUND, **scan("no-such-table"))
    invalid(db.scan, "The table does not have the specified index: absent", **scan(full, IndexName="absent"))
    invalid(db.scan, "Can not use both expression and non-expression parameters in the same request: "
            "Non-expression parameters: {ScanFilter} Expression parameters: {FilterExpression}",
            **scan(full, ScanFilter={"v": {"ComparisonOperator": "NOT_NULL"}}, FilterExpression="attribute_exists(v)"))
