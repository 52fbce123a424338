"""PutItem: https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_PutItem.html"""

import re

import pytest

from kit import (
    CONDITION_FAILED,
    INVALID,
    NOT_FOUND,
    invalid,
    nested,
    refused,
    text_of_size,
    violation,
    violations,
)

ITEM_BYTES_MAX = 400 * 1024


def get(db, table, key="k"):
    return db.get_item(TableName=table, Key={"pk": {"S": key}}, ConsistentRead=True).get("Item")


def put(db, table, key="k", **attributes):
    return db.put_item(TableName=table, Item={"pk": {"S": key}, **attributes})


# What is stored comes back.

VALUES = {
    "text": {"S": "h\u00e4fen \u6e2f \U0001f6a2 \" \\ / \u0000\u0007\n"},
    "empty text": {"S": ""},
    "number": {"N": "-12.5"},
    "binary": {"B": bytes(range(256))},
    "empty binary": {"B": b""},
    "true": {"BOOL": True},
    "false": {"BOOL": False},
    "null": {"NULL": True},
    "list": {"L": [{"S": "a"}, {"N": "1"}, {"L": []}, {"M": {}}, {"NULL": True}]},
    "empty list": {"L": []},
    "map": {"M": {"a": {"S": "x"}, "a.b": {"N": "2"}, "c": {"BOOL": False}}},
    "empty map": {"M": {}},
    "texts in a list": {"L": [{"S": ""}, {"B": b""}]},
    "set of one empty text": {"SS": [""]},
}


@pytest.mark.parametrize("kind", VALUES)
def test_every_type_comes_back_as_it_was_put(db, simple, kind):
    put(db, simple, f"type {kind}", v=VALUES[kind])
    assert get(db, simple, f"type {kind}")["v"] == VALUES[kind]


@pytest.mark.parametrize("kind, members", [
    ("SS", ["b", "a", "c"]),
    ("NS", ["3", "1", "2"]),
    ("BS", [b"3", b"1", b"\xff"]),
])
def test_sets_keep_their_members(db, simple, kind, members):
    put(db, simple, f"set {kind}", v={kind: members})
    assert sorted(get(db, simple, f"set {kind}")["v"][kind]) == sorted(members)


@pytest.mark.parametrize("given, stored", [
    ("0", "0"), ("-0", "0"), ("0.0", "0"), ("00123", "123"), ("1.2300", "1.23"), ("+5", "5"),
    ("1e2", "100"), ("1E-2", "0.01"), (".5", "0.5"), ("5.", "5"), ("123E5", "12300000"),
    ("9" * 38, "9" * 38), ("-" + "9" * 38, "-" + "9" * 38),
    ("0." + "1" * 38, "0." + "1" * 38),
    # The zeros around the digits do not count.
    ("1" + "0" * 100, "1" + "0" * 100), ("0" * 100 + "1", "1"),
])
def test_numbers_are_normalized(db, simple, given, stored):
    put(db, simple, "number", v={"N": given})
    assert get(db, simple, "number")["v"] == {"N": stored}


@pytest.mark.parametrize("edge", ["1E-130", "-1E-130", "9.9999999999999999999999999999999999999E+125",
                                  "-9.9999999999999999999999999999999999999E+125", "1E+125"])
def test_numbers_at_the_edges_of_the_range(db, simple, edge):
    from decimal import Context, Decimal
    put(db, simple, "edge", v={"N": edge})
    exact = Context(prec=200)
    assert exact.create_decimal(get(db, simple, "edge")["v"]["N"]) == Decimal(edge)


OVER = "Number overflow. Attempting to store a number with magnitude larger than supported range"
UNDER = "Number underflow. Attempting to store a number with magnitude smaller than supported range"
DIGITS = "Attempting to store more than 38 significant digits in a Number"
NOT_NUMERIC = "The parameter cannot be converted to a numeric value"
MANY = ("Supplied AttributeValue has more than one datatypes set, must contain exactly one of the "
        "supported datatypes")
NONE = "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes"

BAD_VALUES = [
    ({"N": "1E126"}, OVER), ({"N": "-1E126"}, OVER), ({"N": "10E125"}, OVER),
    ({"N": "1E-131"}, UNDER), ({"N": "-1E-131"}, UNDER), ({"N": "0.1E-130"}, UNDER),
    ({"N": "1" * 39}, DIGITS), ({"N": "0." + "1" * 39}, DIGITS), ({"N": "1" + "0" * 37 + ".1"}, DIGITS),
    ({"N": ""}, NOT_NUMERIC),
    ({"N": "abc"}, f"{NOT_NUMERIC}: abc"), ({"N": "1 "}, re.compile(NOT_NUMERIC)),
    ({"N": "0x10"}, f"{NOT_NUMERIC}: 0x10"), ({"N": "NaN"}, f"{NOT_NUMERIC}: NaN"),
    ({"N": "Infinity"}, f"{NOT_NUMERIC}: Infinity"), ({"N": "1,5"}, f"{NOT_NUMERIC}: 1,5"),
    ({"N": "--1"}, f"{NOT_NUMERIC}: --1"), ({"N": "1e"}, f"{NOT_NUMERIC}: 1e"),
    ({}, NONE),
    ({"S": "a", "N": "1"}, MANY),
    ({"L": [{"S": "a", "BOOL": True}]}, MANY),
    ({"M": {"a": {}}}, NONE),
    ({"NULL": False}, INVALID + "Null attribute value types must have the value of true"),
    ({"SS": []}, INVALID + "An string set  may not be empty"),
    ({"NS": []}, INVALID + "An number set  may not be empty"),
    ({"BS": []}, INVALID + "Binary sets should not be empty"),
    ({"SS": ["a", "a"]}, re.compile(r'Input collection \["?a"?, "?a"?\] contains duplicates\.$')),
    ({"NS": ["1", "1.0"]}, "Input collection contains duplicates"),
    ({"BS": [b"b", b"b"]}, INVALID + "Input collection [Yg==, Yg==]of type BS contains duplicates."),
    ({"NS": ["1", ""]}, NOT_NUMERIC),
    ({"NS": ["1", "b"]}, f"{NOT_NUMERIC}: b"),
    ({"L": [{"N": "1E126"}]}, OVER),
    ({"M": {"a": {"L": [{"SS": ["a", "a"]}]}}}, re.compile(r'Input collection \["?a"?, "?a"?\] contains duplicates\.$')),
]


@pytest.mark.parametrize("value, message", BAD_VALUES)
def test_values_that_are_no_values(db, simple, value, message):
    invalid(db.put_item, message, TableName=simple, Item={"pk": {"S": "bad"}, "v": value})
    assert get(db, simple, "bad") is None


# Keys.

@pytest.mark.parametrize("item, message", [
    ({}, INVALID + "Missing the key pk in the item"),
    ({"other": {"S": "x"}}, INVALID + "Missing the key pk in the item"),
    ({"pk": {"N": "1"}}, INVALID + "Type mismatch for key pk expected: S actual: N"),
    ({"pk": {"SS": ["a"]}}, INVALID + "Type mismatch for key pk expected: S actual: SS"),
    ({"pk": {"NULL": True}}, INVALID + "Type mismatch for key pk expected: S actual: NULL"),
    ({"pk": {"S": ""}}, "One or more parameter values are not valid. The AttributeValue for a key attribute "
                        "cannot contain an empty string value. Key: pk"),
    ({"pk": {"S": "x" * 2049}}, INVALID + "Size of hashkey has exceeded the maximum size limit of2048 bytes"),
    ({"pk": {"S": "\u00e9" * 1025}}, INVALID + "Size of hashkey has exceeded the maximum size limit of2048 bytes"),
])
def test_partition_keys_that_do_not_fit(db, simple, item, message):
    invalid(db.put_item, message, TableName=simple, Item=item)


def test_the_longest_partition_key(db, simple):
    for key in ("x" * 2048, "\u00e9" * 1024, "x"):
        put(db, simple, key)
        assert get(db, simple, key) == {"pk": {"S": key}}


@pytest.mark.parametrize("kind, longest, too_long, empty", [
    ("S", {"S": "x" * 1024}, {"S": "x" * 1025}, {"S": ""}),
    ("B", {"B": b"x" * 1024}, {"B": b"x" * 1025}, {"B": b""}),
])
def test_limits_of_sort_keys(db, make, kind, longest, too_long, empty):
    table = make({"key": {"pk": "B", "sk": kind}})
    item = {"pk": {"B": b"y" * 2048}, "sk": longest}
    db.put_item(TableName=table, Item=item)
    assert db.get_item(TableName=table, Key=item, ConsistentRead=True)["Item"] == item
    invalid(db.put_item, INVALID + "Aggregated size of all range keys has exceeded the size limit of 1024 bytes",
            TableName=table, Item={"pk": {"B": b"y"}, "sk": too_long})
    kind_name = {"S": "string", "B": "binary"}[kind]
    invalid(db.put_item, "One or more parameter values are not valid. The AttributeValue for a key attribute "
            f"cannot contain an empty {kind_name} value. Key: sk",
            TableName=table, Item={"pk": {"B": b"y"}, "sk": empty})
    invalid(db.put_item, INVALID + "Missing the key sk in the item", TableName=table, Item={"pk": {"B": b"y"}})
    invalid(db.put_item, INVALID + f"Type mismatch for key sk expected: {kind} actual: N",
            TableName=table, Item={"pk": {"B": b"y"}, "sk": {"N": "1"}})


def test_equal_numbers_are_one_key(db, make):
    table = make({"key": {"pk": "N"}})
    db.put_item(TableName=table, Item={"pk": {"N": "1"}, "v": {"S": "first"}})
    db.put_item(TableName=table, Item={"pk": {"N": "1.00"}, "v": {"S": "second"}})
    read = db.get_item(TableName=table, Key={"pk": {"N": "10E-1"}}, ConsistentRead=True)["Item"]
    assert read == {"pk": {"N": "1"}, "v": {"S": "second"}}


# Sizes.

def test_the_largest_item(db, simple):
    rest = ITEM_BYTES_MAX - len("pk") - len("big") - len("v")
    put(db, simple, "big", v=text_of_size(rest))
    assert len(get(db, simple, "big")["v"]["S"]) == rest
    invalid(db.put_item, "Item size has exceeded the maximum allowed size",
            TableName=simple, Item={"pk": {"S": "big"}, "v": text_of_size(rest + 1)})


def test_names_count_into_the_size(db, simple):
    long = "n" * 60_000
    rest = ITEM_BYTES_MAX - len("pk") - len("big") - len(long)
    put(db, simple, "big", **{long: text_of_size(rest)})
    invalid(db.put_item, "Item size has exceeded the maximum allowed size",
            TableName=simple, Item={"pk": {"S": "big"}, long: text_of_size(rest + 1)})


def test_the_deepest_value(db, simple):
    put(db, simple, "deep", v=nested(31))
    assert get(db, simple, "deep")["v"] == nested(31)
    invalid(db.put_item, "Nesting Levels have exceeded supported limits: Attributes in the item have nested levels "
            "beyond supported limit",
            TableName=simple, Item={"pk": {"S": "deep"}, "v": nested(33)})


# What is replaced, and what comes back.

def test_an_item_is_replaced_as_a_whole(db, simple):
    put(db, simple, "whole", a={"S": "x"}, b={"S": "y"})
    put(db, simple, "whole", b={"S": "z"})
    assert get(db, simple, "whole") == {"pk": {"S": "whole"}, "b": {"S": "z"}}


def test_return_values(db, simple):
    first = {"pk": {"S": "return"}, "v": {"N": "1"}}
    second = {"pk": {"S": "return"}, "v": {"N": "2"}}
    answer = db.put_item(TableName=simple, Item=first, ReturnValues="ALL_OLD")
    assert "Attributes" not in answer
    assert db.put_item(TableName=simple, Item=second, ReturnValues="ALL_OLD")["Attributes"] == first
    assert "Attributes" not in db.put_item(TableName=simple, Item=second, ReturnValues="NONE")
    assert "Attributes" not in db.put_item(TableName=simple, Item=second)
    for other in ("ALL_NEW", "UPDATED_OLD", "UPDATED_NEW"):
        invalid(db.put_item, "ReturnValues can only be ALL_OLD or NONE",
                TableName=simple, Item=first, ReturnValues=other)


def test_a_failed_condition_changes_nothing_and_may_show_the_item(db, simple):
    item = {"pk": {"S": "condition"}, "v": {"N": "1"}}
    db.put_item(TableName=simple, Item=item, ConditionExpression="attribute_not_exists(pk)")
    again = {"TableName": simple, "Item": {**item, "v": {"N": "2"}},
             "ConditionExpression": "attribute_not_exists(pk)"}
    answer = refused(db.put_item, "ConditionalCheckFailedException", CONDITION_FAILED, **again)
    assert "Item" not in answer
    answer = refused(db.put_item, "ConditionalCheckFailedException", CONDITION_FAILED,
                     ReturnValuesOnConditionCheckFailure="ALL_OLD", **again)
    assert answer["Item"] == item
    answer = refused(db.put_item, "ConditionalCheckFailedException", CONDITION_FAILED,
                     ReturnValuesOnConditionCheckFailure="NONE", **again)
    assert "Item" not in answer
    assert get(db, simple, "condition") == item


def test_a_failed_condition_on_nothing_shows_nothing(db, simple):
    answer = refused(db.put_item, "ConditionalCheckFailedException", CONDITION_FAILED, TableName=simple,
                     Item={"pk": {"S": "absent"}}, ConditionExpression="attribute_exists(pk)",
                     ReturnValuesOnConditionCheckFailure="ALL_OLD")
    assert "Item" not in answer


# Parameters.

def test_what_must_be_there(db, simple):
    violations(db.put_item, [violation(None, "tableName", "not be null"), violation(None, "item", "not be null")])
    violations(db.put_item, [violation(None, "item", "not be null")], TableName=simple)


def test_values_outside_of_their_sets(db, simple):
    violations(db.put_item, [
        violation("x", "returnConsumedCapacity", "satisfy enum value set: [INDEXES, TOTAL, NONE]"),
        violation("x", "returnItemCollectionMetrics", "satisfy enum value set: [SIZE, NONE]"),
        violation("x", "returnValues", "satisfy enum value set: [ALL_NEW, UPDATED_OLD, ALL_OLD, NONE, UPDATED_NEW]"),
    ], TableName=simple, Item={"pk": {"S": "k"}}, ReturnConsumedCapacity="x",
        ReturnItemCollectionMetrics="x", ReturnValues="x")
    invalid(db.put_item, re.compile("returnValuesOnConditionCheckFailure.*enum value set"), TableName=simple,
            Item={"pk": {"S": "k"}}, ReturnValuesOnConditionCheckFailure="ALL_NEW")


def test_tables_that_are_not_there(db):
    item = {"pk": {"S": "k"}}
    refused(db.put_item, "ResourceNotFoundException", NOT_FOUND, TableName="no-such-table", Item=item)
    for name in ("", "a b", "x" * 256, "sl/ash", "ab"):
        invalid(db.put_item, re.compile("[Tt]able"), TableName=name, Item=item)


def test_old_and_new_parameters_do_not_mix(db, simple):
    invalid(db.put_item,
            "Can not use both expression and non-expression parameters in the same request: "
            "Non-expression parameters: {Expected} Expression parameters: {ConditionExpression}",
            TableName=simple, Item={"pk": {"S": "k"}}, Expected={"a": {"Exists": False}},
            ConditionExpression="attribute_not_exists(pk)")
