"""Query: https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_Query.html"""

import re

import pytest

from kit import INVALID, NOT_FOUND, invalid, items, pages, refused, text_of_size, violation, violations

NUMBERS = ["-1E+125", "-20", "-3.5", "-1E-130", "0", "1E-130", "0.5", "2", "10", "9.9E+125"]
TEXTS = ["", "A", "B", "a", "aa", "ab", "b", "\u00e9", "\u6e2f", "\U0001f6a2"]


@pytest.fixture(scope="module")
def numbered(db, ranged):
    for n, number in enumerate(reversed(NUMBERS)):
        db.put_item(TableName=ranged, Item={"pk": {"S": "k"}, "sk": {"N": number}, "n": {"N": str(n % 3)},
                                            "extra": {"S": "x"}})
        db.put_item(TableName=ranged, Item={"pk": {"S": "k2"}, "sk": {"N": number}})
    return ranged


@pytest.fixture(scope="module")
def texts(db, make):
    table = make({"key": {"pk": "S", "sk": "S"}})
    for text in TEXTS[1:]:
        db.put_item(TableName=table, Item={"pk": {"S": "k"}, "sk": {"S": text}})
    return table


def ask(db, table, condition="pk = :k", values=None, **more):
    values = {":k": {"S": "k"}, **(values or {})}
    return {"TableName": table, "KeyConditionExpression": condition, "ExpressionAttributeValues": values,
            "ConsistentRead": True, **more}


def sort_keys(found):
    return [next(iter(item["sk"].values())) for item in found]


def decimals(keys):
    from decimal import Decimal
    return [Decimal(key) for key in keys]


# Order and ranges.

def test_numbers_come_in_their_order(db, numbered):
    found = sort_keys(db.query(**ask(db, numbered))["Items"])
    assert decimals(found) == decimals(NUMBERS)
    backwards = sort_keys(db.query(**ask(db, numbered, ScanIndexForward=False))["Items"])
    assert backwards == found[::-1]
    assert sort_keys(db.query(**ask(db, numbered, ScanIndexForward=True))["Items"]) == found


def test_texts_come_in_the_order_of_their_bytes(db, texts):
    assert sort_keys(db.query(**ask(db, texts))["Items"]) == TEXTS[1:]


def test_binaries_come_in_the_order_of_their_bytes(db, make):
    table = make({"key": {"pk": "S", "sk": "B"}})
    keys = [b"\x00", b"\x00\x00", b"\x00\x01", b"\x01", b"\x7f", b"\x80", b"\xff", b"\xff\x00", b"\xff\xff"]
    for key in keys[::-1]:
        db.put_item(TableName=table, Item={"pk": {"S": "k"}, "sk": {"B": key}})
    assert sort_keys(db.query(**ask(db, table))["Items"]) == keys
    prefix = ask(db, table, "pk = :k AND begins_with(sk, :p)", {":p": {"B": b"\xff"}})
    assert sort_keys(db.query(**prefix)["Items"]) == keys[-3:]


@pytest.mark.parametrize("condition, first, last", [
    ("sk = :a", 4, 5), ("sk < :a", 0, 4), ("sk <= :a", 0, 5), ("sk > :a", 5, 10), ("sk >= :a", 4, 10),
    ("sk BETWEEN :a AND :b", 4, 8), (":a = sk", 4, 5),
])
def test_ranges_of_numbers(db, numbered, condition, first, last):
    values = {":a": {"N": "0"}, ":b": {"N": "2"}}
    used = {name: value for name, value in values.items() if name in condition}
    found = sort_keys(db.query(**ask(db, numbered, f"pk = :k AND {condition}", used))["Items"])
    assert decimals(found) == decimals(NUMBERS[first:last])


def test_prefixes(db, texts):
    def starting(prefix):
        return sort_keys(db.query(**ask(db, texts, "pk = :k AND begins_with(sk, :p)", {":p": {"S": prefix}}))["Items"])
    assert starting("a") == ["a", "aa", "ab"]
    assert starting("ab") == ["ab"]
    assert starting("\u00e9") == ["\u00e9"]
    assert starting("z") == []


def test_spelling_of_conditions(db, numbered):
    for condition in ("sk=:a and pk=:k", "(pk = :k) AND (sk = :a)", "#p = :k AND #s = :a", ":k = pk AND sk = :a"):
        names = {"ExpressionAttributeNames": {"#p": "pk", "#s": "sk"}} if "#" in condition else {}
        found = db.query(**ask(db, numbered, condition, {":a": {"N": "2.0"}}, **names))
        assert sort_keys(found["Items"]) == ["2"], condition


def test_one_partition_key_only(db, numbered):
    assert all(item["pk"] == {"S": "k"} for item in db.query(**ask(db, numbered))["Items"])
    nothing = db.query(**ask(db, numbered, values={":k": {"S": "absent"}}))
    assert (nothing["Items"], nothing["Count"], nothing["ScannedCount"]) == ([], 0, 0)
    assert "LastEvaluatedKey" not in nothing


def test_a_table_without_sort_key(db, simple):
    db.put_item(TableName=simple, Item={"pk": {"S": "k"}})
    assert db.query(**ask(db, simple))["Count"] == 1


# Pages.

@pytest.mark.parametrize("forward", [True, False])
@pytest.mark.parametrize("limit", [1, 3, 10, 11])
def test_pages_of_a_limit(db, numbered, limit, forward):
    request = ask(db, numbered, Limit=limit, ScanIndexForward=forward)
    got = list(pages(db.query, **request))
    assert all(page["Count"] == page["ScannedCount"] == len(page["Items"]) <= limit for page in got)
    found = [item for page in got for item in page["Items"]]
    assert decimals(sort_keys(found)) == decimals(NUMBERS if forward else NUMBERS[::-1])
    for page in got[:-1]:
        assert page["LastEvaluatedKey"] == {name: page["Items"][-1][name] for name in ("pk", "sk")}


def test_a_page_ends_at_1_mb(db, ranged):
    for n in range(8):
        db.put_item(TableName=ranged, Item={"pk": {"S": "big"}, "sk": {"N": str(n)}, "v": text_of_size(300 << 10)})
    request = ask(db, ranged, values={":k": {"S": "big"}})
    got = list(pages(db.query, **request))
    assert [key for page in got for key in sort_keys(page["Items"])] == [str(n) for n in range(8)]
    assert all(page["Count"] in (3, 4) for page in got[:-1]), [page["Count"] for page in got]
    # The megabyte is of what was read: a filter and a projection let no more through.
    filtered = db.query(**ask(db, ranged, values={":k": {"S": "big"}, ":n": {"S": "no"}}, FilterExpression="v = :n"))
    assert filtered["Count"] == 0 and filtered["ScannedCount"] == got[0]["Count"] and "LastEvaluatedKey" in filtered
    counted = db.query(**ask(db, ranged, values={":k": {"S": "big"}}, Select="COUNT"))
    assert "Items" not in counted and counted["Count"] == got[0]["Count"]


def test_a_filter_applies_after_the_limit(db, numbered):
    page = db.query(**ask(db, numbered, values={":n": {"N": "0"}}, FilterExpression="n = :n", Limit=4))
    assert page["ScannedCount"] == 4 and page["Count"] == len(page["Items"]) < 4
    assert "LastEvaluatedKey" in page
    found = items(db.query, **ask(db, numbered, values={":n": {"N": "0"}}, FilterExpression="n = :n", Limit=4))
    assert len(found) == 4 and all(item["n"] == {"N": "0"} for item in found)


KEY_ERROR = re.compile("The provided starting key is invalid(: The provided key element does not match the schema)?$")


def test_starting_keys(db, numbered):
    def start(key, **more):
        return ask(db, numbered, ExclusiveStartKey=key, **more)
    after = db.query(**start({"pk": {"S": "k"}, "sk": {"N": "2"}}))
    assert sort_keys(after["Items"])[0] == "10"
    # It need not exist.
    after = db.query(**start({"pk": {"S": "k"}, "sk": {"N": "3"}}))
    assert sort_keys(after["Items"])[0] == "10"
    before = db.query(**start({"pk": {"S": "k"}, "sk": {"N": "3"}}, ScanIndexForward=False))
    assert sort_keys(before["Items"])[0] == "2"
    starting = re.compile("(?i)start(ing)? key")
    for key in ({}, {"pk": {"S": "k"}}, {"pk": {"S": "k"}, "sk": {"N": "1"}, "x": {"N": "1"}}):
        invalid(db.query, starting, **start(key))
    for key in ({"pk": {"S": "k"}, "sk": {"S": "1"}}, {"pk": {"N": "1"}, "sk": {"N": "1"}}):
        invalid(db.query, KEY_ERROR, **start(key))
    invalid(db.query, "The provided starting key is outside query boundaries based on provided conditions",
            **start({"pk": {"S": "k2"}, "sk": {"N": "2"}}))
    outside = ask(db, numbered, "pk = :k AND sk > :a", {":a": {"N": "2"}},
                  ExclusiveStartKey={"pk": {"S": "k"}, "sk": {"N": "1"}})
    invalid(db.query, re.compile("The provided starting key "), **outside)
    invalid(db.query, "The provided starting key is invalid: One or more parameter values were invalid: "
            "Null attribute value types must have the value of true",
            **start({"pk": {"NULL": False}, "sk": {"N": "1"}}))


# What of each item.

def test_projections_and_selects(db, numbered):
    one = {"condition": "pk = :k AND sk = :a", "values": {":a": {"N": "2"}}}
    assert db.query(**ask(db, numbered, **one, ProjectionExpression="extra, sk"))["Items"] == [
        {"extra": {"S": "x"}, "sk": {"N": "2"}}]
    chosen = ask(db, numbered, **one, ProjectionExpression="extra", Select="SPECIFIC_ATTRIBUTES")
    assert db.query(**chosen)["Items"] == [{"extra": {"S": "x"}}]
    assert set(db.query(**ask(db, numbered, **one, Select="ALL_ATTRIBUTES"))["Items"][0]) == {"pk", "sk", "n", "extra"}
    counted = db.query(**ask(db, numbered, **one, Select="COUNT"))
    assert counted["Count"] == 1 and "Items" not in counted
    refusals = [
        ("ALL_PROJECTED_ATTRIBUTES can be used only when Querying using an IndexName",
         {"Select": "ALL_PROJECTED_ATTRIBUTES"}),
        (re.compile("choosing to get SPECIFIC_ATTRIBUTES"), {"Select": "SPECIFIC_ATTRIBUTES"}),
        ("Cannot specify the ProjectionExpression when choosing to get only the Count",
         {"Select": "COUNT", "ProjectionExpression": "extra"}),
        ("Cannot specify the ProjectionExpression when choosing to get ALL_ATTRIBUTES",
         {"Select": "ALL_ATTRIBUTES", "ProjectionExpression": "extra"}),
    ]
    for message, more in refusals:
        invalid(db.query, message, **ask(db, numbered, **one, **more))


def test_filters(db, numbered):
    found = db.query(**ask(db, numbered, values={":n": {"N": "1"}}, FilterExpression="n = :n AND attribute_exists(extra)"))
    assert found["Count"] == 3 and found["ScannedCount"] == len(NUMBERS)
    for name in ("pk", "sk"):
        invalid(db.query, f"Filter Expression can only contain non-primary key attributes: Primary key attribute: {name}",
                **ask(db, numbered, FilterExpression=f"attribute_exists({name})"))
    invalid(db.query, "Invalid FilterExpression: The expression can not be empty;",
            **ask(db, numbered, FilterExpression=""))
    invalid(db.query, "Invalid FilterExpression: An expression attribute value used in expression is not defined; "
            "attribute value: :undefined", **ask(db, numbered, FilterExpression="n = :undefined"))


# Conditions that are none.

KEY_PREFIX = "Invalid KeyConditionExpression: "
MISSED = "Query condition missed key schema element: "


@pytest.mark.parametrize("condition, message", [
    ("", "Invalid KeyConditionExpression: The expression can not be empty;"),
    ("pk =", re.compile('Invalid KeyConditionExpression: Syntax error; token: "<EOF>", near: "="')),
    ("pk = :undefined", "Invalid KeyConditionExpression: An expression attribute value used in expression is not "
                        "defined; attribute value: :undefined"),
    ("#u = :k", "Invalid KeyConditionExpression: An expression attribute name used in the document path is not "
                "defined; attribute name: #u"),
    ("extra = :k", MISSED + "pk"),
    ("sk = :n", MISSED + "pk"),
    ("pk = :k AND extra = :n", MISSED + "sk"),
    ("pk > :k", "Query key condition not supported"),
    ("begins_with(pk, :k)", "Query key condition not supported"),
    ("pk BETWEEN :k AND :k", "Query key condition not supported"),
    ("pk = :k OR sk = :n", KEY_PREFIX + "Invalid operator used in KeyConditionExpression: OR"),
    ("pk = :k AND NOT sk = :n", KEY_PREFIX + "Invalid operator used in KeyConditionExpression: NOT"),
    ("pk = :k AND sk <> :n", KEY_PREFIX + "Invalid operator used in KeyConditionExpression: <>"),
    ("pk = :k AND sk IN (:n)", KEY_PREFIX + "Invalid operator used in KeyConditionExpression: IN"),
    ("pk = :k AND attribute_exists(sk)", KEY_PREFIX + "Invalid operator used in KeyConditionExpression: attribute_exists"),
    ("pk = :k AND contains(sk, :n)", KEY_PREFIX + "Invalid operator used in KeyConditionExpression: contains"),
    ("pk = :k AND sk > :n AND sk < :n", KEY_PREFIX + "KeyConditionExpressions must only contain one condition per key"),
    ("pk = :k AND pk = :k", KEY_PREFIX + "KeyConditionExpressions must only contain one condition per key"),
    ("pk = :k AND sk = pk", re.compile("KeyConditionExpression")),
    ("pk = :k AND sk[0] = :n", KEY_PREFIX + "KeyConditionExpressions cannot have conditions on nested attributes"),
    ("pk = :k AND size(sk) = :n", re.compile("KeyConditionExpression")),
    ("pk = :k AND sk = :text", INVALID + "Condition parameter type does not match schema type"),
    ("pk = :n", INVALID + "Condition parameter type does not match schema type"),
    ("pk = :k AND sk BETWEEN :two AND :n", re.compile("BETWEEN operator requires upper bound to be greater than or "
                                                      "equal to lower bound")),
    ("pk = :empty", "One or more parameter values are not valid. The AttributeValue for a key attribute cannot "
                    "contain an empty string value. Key: pk"),
    ("pk = :long", re.compile("Size of hashkey has exceeded the maximum size limit of ?2048 bytes")),
])
def test_conditions_that_are_none(db, ranged, condition, message):
    values = {":k": {"S": "k"}, ":n": {"N": "1"}, ":two": {"N": "2"}, ":text": {"S": "x"}, ":empty": {"S": ""},
              ":long": {"S": "x" * 2049}}
    used = {name: value for name, value in values.items() if re.search(name + r"\b", condition)}
    invalid(db.query, message, TableName=ranged, KeyConditionExpression=condition,
            **({"ExpressionAttributeValues": used} if used else {}))


def test_a_sort_key_condition_of_a_table_without_one(db, simple):
    invalid(db.query, re.compile("Query condition missed key schema element|Query key condition not supported"),
            **ask(db, simple, "pk = :k AND sk = :n", {":n": {"N": "1"}}))


# Parameters.

def test_parameters(db, ranged):
    violations(db.query, [violation(None, "tableName", "not be null")])
    violations(db.query, [
        violation("x", "select", "satisfy enum value set: [SPECIFIC_ATTRIBUTES, COUNT, ALL_ATTRIBUTES, "
                                 "ALL_PROJECTED_ATTRIBUTES]"),
        violation("x", "returnConsumedCapacity", "satisfy enum value set: [INDEXES, TOTAL, NONE]"),
        violation("0", "limit", "have value greater than or equal to 1"),
    ], **ask(db, ranged, Select="x", ReturnConsumedCapacity="x", Limit=0))
    violations(db.query, [violation("-1", "limit", "have value greater than or equal to 1")],
               **ask(db, ranged, Limit=-1))
    invalid(db.query, "Either the KeyConditions or KeyConditionExpression parameter must be specified in the request.",
            TableName=ranged)
    refused(db.query, "ResourceNotFoundException", NOT_FOUND, **ask(db, "no-such-table"))
    invalid(db.query, "The table does not have the specified index: absent", **ask(db, ranged, IndexName="absent"))
    invalid(db.query, re.compile("indexName.*length greater than or equal to 3|at least 3 characters"),
            **ask(db, ranged, IndexName="ab"))
    invalid(db.query, "Value provided in ExpressionAttributeValues unused in expressions: keys: {:unused}",
            **ask(db, ranged, values={":unused": {"N": "1"}}))
    invalid(db.query, "Can not use both expression and non-expression parameters in the same request: "
            "Non-expression parameters: {KeyConditions} Expression parameters: {KeyConditionExpression}",
            **ask(db, ranged, KeyConditions={"pk": {"ComparisonOperator": "EQ", "AttributeValueList": [{"S": "k"}]}}))
