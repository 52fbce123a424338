"""The parameters that expressions replaced: Expected, ConditionalOperator, AttributeUpdates, KeyConditions,
QueryFilter, ScanFilter, AttributesToGet.
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/LegacyConditionalParameters.html"""

import re

import pytest

from kit import CONDITION_FAILED, INVALID, invalid, refused

ITEM = {"pk": {"S": "k"}, "n": {"N": "5"}, "s": {"S": "harbour"}, "ss": {"SS": ["a", "b"]}, "l": {"L": [{"N": "1"}]},
        "t": {"BOOL": True}, "b": {"B": b"abc"}, "z": {"NULL": True}}
N5, N4, N6 = {"N": "5"}, {"N": "4"}, {"N": "6"}


def compare(operator, *values):
    return {"ComparisonOperator": operator, **({"AttributeValueList": list(values)} if values else {})}


HOLDS = [
    ("n", compare("EQ", N5)), ("n", compare("EQ", {"N": "5.0"})), ("n", compare("NE", N4)), ("n", compare("LE", N5)),
    ("n", compare("LT", N6)), ("n", compare("GE", N5)), ("n", compare("GT", N4)), ("n", compare("NOT_NULL")),
    ("absent", compare("NULL")), ("z", compare("NOT_NULL")), ("absent", compare("NE", N5)), ("n", compare("NE", {"S": "5"})),
    ("s", compare("CONTAINS", {"S": "arb"})), ("ss", compare("CONTAINS", {"S": "a"})), ("l", compare("CONTAINS", {"N": "1"})),
    ("s", compare("NOT_CONTAINS", {"S": "x"})), ("ss", compare("NOT_CONTAINS", {"S": "x"})),
    ("s", compare("BEGINS_WITH", {"S": "har"})), ("b", compare("BEGINS_WITH", {"B": b"a"})),
    ("n", compare("IN", N4, N5)), ("n", compare("BETWEEN", N4, N6)), ("ss", compare("EQ", {"SS": ["b", "a"]})),
    ("l", compare("EQ", {"L": [{"N": "1"}]})), ("t", compare("EQ", {"BOOL": True})),
]
FAILS = [
    ("n", compare("EQ", N4)), ("n", compare("EQ", {"S": "5"})), ("n", compare("NE", N5)), ("n", compare("LT", N5)),
    ("n", compare("NULL")), ("absent", compare("NOT_NULL")), ("absent", compare("EQ", N5)), ("n", compare("GT", {"S": "1"})),
    ("s", compare("CONTAINS", {"S": "x"})), ("s", compare("BEGINS_WITH", {"S": "x"})), ("n", compare("IN", N4, N6)),
    ("n", compare("BETWEEN", N6, {"N": "7"})), ("absent", compare("LT", N5)),
]


@pytest.fixture(scope="module")
def table(db, make):
    name = make({"key": {"pk": "S"}})
    db.put_item(TableName=name, Item=ITEM)
    return name


@pytest.mark.parametrize("attribute, condition", HOLDS)
def test_expectations_and_filters_that_hold(db, table, attribute, condition):
    db.put_item(TableName=table, Item=ITEM, Expected={attribute: condition})
    assert db.scan(TableName=table, ConsistentRead=True, ScanFilter={attribute: condition})["Count"] == 1


@pytest.mark.parametrize("attribute, condition", FAILS)
def test_expectations_and_filters_that_do_not(db, table, attribute, condition):
    refused(db.put_item, "ConditionalCheckFailedException", CONDITION_FAILED, TableName=table, Item=ITEM,
            Expected={attribute: condition})
    answer = db.scan(TableName=table, ConsistentRead=True, ScanFilter={attribute: condition})
    assert (answer["Count"], answer["ScannedCount"]) == (0, 1)


def test_value_and_exists(db, table):
    put = {"TableName": table, "Item": ITEM}
    db.put_item(**put, Expected={"n": {"Value": N5}})
    db.put_item(**put, Expected={"n": {"Value": N5, "Exists": True}, "absent": {"Exists": False}})
    refused(db.put_item, "ConditionalCheckFailedException", CONDITION_FAILED, **put, Expected={"n": {"Exists": False}})
    refused(db.put_item, "ConditionalCheckFailedException", CONDITION_FAILED, **put, Expected={"n": {"Value": N4}})
    db.delete_item(TableName=table, Key={"pk": {"S": "absent"}}, Expected={"pk": {"Exists": False}})
    db.put_item(**put, Expected={"n": {"Value": N5, "ComparisonOperator": "GE"}})


def test_and_and_or(db, table):
    put = {"TableName": table, "Item": ITEM}
    both = {"n": compare("EQ", N5), "s": compare("EQ", {"S": "other"})}
    db.put_item(**put, Expected=both, ConditionalOperator="OR")
    for operator in ({"ConditionalOperator": "AND"}, {}):
        refused(db.put_item, "ConditionalCheckFailedException", CONDITION_FAILED, **put, Expected=both, **operator)
    assert db.scan(TableName=table, ConsistentRead=True, ScanFilter=both, ConditionalOperator="OR")["Count"] == 1
    assert db.scan(TableName=table, ConsistentRead=True, ScanFilter=both)["Count"] == 0


COUNT = INVALID + "Invalid number of argument(s) for the {} ComparisonOperator"


@pytest.mark.parametrize("condition, message", [
    (compare("EQ"), INVALID + "Value or AttributeValueList must be used with ComparisonOperator: EQ for Attribute: a"),
    (compare("EQ", N4, N5), COUNT.format("EQ")),
    (compare("NULL", N4), COUNT.format("NULL")),
    (compare("BETWEEN", N4), COUNT.format("BETWEEN")),
    ({"ComparisonOperator": "IN", "AttributeValueList": []}, COUNT.format("IN")),
    ({**compare("EQ", N4), "Value": N4}, INVALID + "Value and AttributeValueList cannot be used together for Attribute: a"),
    ({**compare("NOT_NULL"), "Exists": True}, INVALID + "Exists and ComparisonOperator cannot be used together for "
                                              "Attribute: a"),
    ({"AttributeValueList": [N4]}, INVALID + "AttributeValueList can only be used with a ComparisonOperator for "
                                   "Attribute: a"),
    ({}, INVALID + "Value must be provided when Exists is null for Attribute: a"),
    ({"Exists": True}, INVALID + "Value must be provided when Exists is true for Attribute: a"),
    ({"Exists": False, "Value": N4}, INVALID + "Value cannot be used when Exists is false for Attribute: a"),
    (compare("LT", {"SS": ["a"]}), INVALID + "ComparisonOperator LT is not valid for SS AttributeValue type"),
    (compare("BEGINS_WITH", N4), INVALID + "ComparisonOperator BEGINS_WITH is not valid for N AttributeValue type"),
    (compare("CONTAINS", {"SS": ["a"]}), INVALID + "ComparisonOperator CONTAINS is not valid for SS AttributeValue type"),
    (compare("BETWEEN", N4, {"S": "a"}), INVALID + "AttributeValues inside AttributeValueList must be of same type"),
    (compare("IN", N4, {"S": "a"}), INVALID + "AttributeValues inside AttributeValueList must be of same type"),
    (compare("BETWEEN", N5, N4), re.compile("BETWEEN condition was provided a range where the lower bound is greater "
                                            "than the upper bound")),
    (compare("x", N4), re.compile("expected.a.member.comparisonOperator' failed to satisfy constraint: Member must "
                                  "satisfy enum value set")),
])
def test_expectations_that_are_none(db, table, condition, message):
    invalid(db.put_item, message, TableName=table, Item=ITEM, Expected={"a": condition})


def test_conditional_operators_that_are_none(db, table):
    put = {"TableName": table, "Item": ITEM}
    invalid(db.put_item, re.compile("(?i)conditional ?operator cannot be used without|ConditionalOperator"),
            **put, ConditionalOperator="AND")
    invalid(db.put_item, re.compile("conditionalOperator.*enum value set: \\[OR, AND\\]"), **put,
            ConditionalOperator="XOR", Expected={"a": {"Exists": False}})
    invalid(db.put_item, re.compile("Can not use both expression and non-expression"), **put,
            ConditionExpression="attribute_exists(pk)", ConditionalOperator="AND", Expected={"a": {"Exists": False}})


# AttributeUpdates.

@pytest.mark.parametrize("updates, changes", [
    ({"n": {"Value": N6}}, {"n": N6}),
    ({"n": {"Value": N6, "Action": "PUT"}, "fresh": {"Value": {"S": "x"}}}, {"n": N6, "fresh": {"S": "x"}}),
    ({"n": {"Value": N6, "Action": "ADD"}}, {"n": {"N": "11"}}),
    ({"fresh": {"Value": N6, "Action": "ADD"}}, {"fresh": N6}),
    ({"ss": {"Value": {"SS": ["b", "c"]}, "Action": "ADD"}}, {"ss": {"SS": ["a", "b", "c"]}}),
    # Of old, ADD puts a list's elements behind those of the attribute.
    ({"l": {"Value": {"L": [{"S": "x"}]}, "Action": "ADD"}}, {"l": {"L": [{"N": "1"}, {"S": "x"}]}}),
    ({"ss": {"Value": {"SS": ["b", "c"]}, "Action": "DELETE"}}, {"ss": {"SS": ["a"]}}),
    ({"ss": {"Value": {"SS": ["a", "b"]}, "Action": "DELETE"}}, {"ss": None}),
    ({"n": {"Action": "DELETE"}, "absent": {"Action": "DELETE"}}, {"n": None}),
    ({}, {}),
])
def test_attribute_updates(db, table, updates, changes):
    db.put_item(TableName=table, Item=ITEM)
    answer = db.update_item(TableName=table, Key={"pk": ITEM["pk"]}, AttributeUpdates=updates, ReturnValues="ALL_NEW")
    wanted = {name: value for name, value in {**ITEM, **changes}.items() if value is not None}
    for item in (answer["Attributes"], wanted):
        if "ss" in item:
            item["ss"] = {"SS": sorted(item["ss"]["SS"])}
    assert answer["Attributes"] == wanted
    db.put_item(TableName=table, Item=ITEM)


@pytest.mark.parametrize("updates, message", [
    ({"n": {}}, re.compile("Only DELETE action is allowed when no attribute value is specified")),
    ({"n": {"Action": "PUT"}}, re.compile("Only DELETE action is allowed when no attribute value is specified")),
    ({"n": {"Action": "ADD", "Value": {"S": "x"}}}, re.compile("ADD action is not supported for the type S")),
    ({"n": {"Action": "DELETE", "Value": N6}}, re.compile("DELETE action with value is not supported for the type N")),
    ({"pk": {"Value": {"S": "x"}}}, re.compile("Cannot update attribute pk. This attribute is part of the key")),
    ({"n": {"Action": "x", "Value": N6}}, re.compile(r"action.*enum value set: \[ADD, ")),
    ({"s": {"Action": "ADD", "Value": N6}}, re.compile("Type mismatch for attribute to update")),
    ({"n": {"Value": {"NULL": False}}}, re.compile("Null attribute value types must have the value of true")),
])
def test_attribute_updates_that_are_none(db, table, updates, message):
    invalid(db.update_item, message, TableName=table, Key={"pk": ITEM["pk"]}, AttributeUpdates=updates)


def test_attribute_updates_with_expectations(db, table):
    update = {"TableName": table, "Key": {"pk": {"S": "expected"}}, "AttributeUpdates": {"a": {"Value": N5}}}
    db.update_item(**update, Expected={"pk": {"Exists": False}})
    refused(db.update_item, "ConditionalCheckFailedException", CONDITION_FAILED, **update,
            Expected={"pk": {"Exists": False}})
    db.delete_item(TableName=table, Key={"pk": {"S": "expected"}}, Expected={"a": {"Value": N5}})


# KeyConditions and filters.

@pytest.fixture(scope="module")
def rows(db, ranged):
    for n in range(10):
        db.put_item(TableName=ranged, Item={"pk": {"S": "k"}, "sk": {"N": str(n)}, "v": {"N": str(n % 2)}})
    return ranged


PK = compare("EQ", {"S": "k"})


@pytest.mark.parametrize("condition, wanted", [
    (None, range(10)), (compare("EQ", N5), [5]), (compare("LT", N5), range(5)), (compare("LE", N5), range(6)),
    (compare("GT", N5), range(6, 10)), (compare("GE", N5), range(5, 10)), (compare("BETWEEN", N4, N6), [4, 5, 6]),
])
def test_key_conditions(db, rows, condition, wanted):
    conditions = {"pk": PK, **({"sk": condition} if condition else {})}
    found = db.query(TableName=rows, KeyConditions=conditions, ConsistentRead=True)["Items"]
    assert [int(item["sk"]["N"]) for item in found] == list(wanted)


@pytest.mark.parametrize("conditions, message", [
    ({}, re.compile("Conditions can be of length 1 or 2 only|Either the KeyConditions")),
    ({"pk": PK, "sk": compare("EQ", N5), "x": PK}, "Conditions can be of length 1 or 2 only"),
    ({"sk": compare("EQ", N5)}, "Query condition missed key schema element: pk"),
    ({"pk": PK, "v": compare("EQ", N5)}, "Query condition missed key schema element: sk"),
    ({"pk": compare("GT", {"S": "k"})}, "Query key condition not supported"),
    ({"pk": PK, "sk": compare("NE", N5)}, "Attempted conditional constraint is not an indexable operation"),
    ({"pk": PK, "sk": compare("IN", N5)}, "Attempted conditional constraint is not an indexable operation"),
    ({"pk": PK, "sk": compare("EQ", {"S": "5"})}, INVALID + "Condition parameter type does not match schema type"),
    ({"pk": PK, "sk": compare("BETWEEN", N5)}, COUNT.format("BETWEEN")),
    ({"pk": compare("EQ")}, COUNT.format("EQ")),
])
def test_key_conditions_that_are_none(db, rows, conditions, message):
    invalid(db.query, message, TableName=rows, KeyConditions=conditions)


def test_query_filters(db, rows):
    query = {"TableName": rows, "KeyConditions": {"pk": PK}, "ConsistentRead": True}
    answer = db.query(**query, QueryFilter={"v": compare("EQ", {"N": "1"})})
    assert (answer["Count"], answer["ScannedCount"]) == (5, 10)
    either = {"v": compare("EQ", {"N": "1"}), "absent": compare("NULL")}
    assert db.query(**query, QueryFilter=either, ConditionalOperator="OR")["Count"] == 10
    assert db.query(**query, QueryFilter=either, ConditionalOperator="AND")["Count"] == 5
    invalid(db.query, re.compile("QueryFilter can only contain non-primary key attributes|"
                                 "Filter Expression can only contain non-primary key attributes"),
            **query, QueryFilter={"sk": compare("EQ", N5)})
    # A legacy key condition goes with a filter expression: only two conditions on the key do not go together.
    assert db.query(**query, FilterExpression="attribute_exists(v)")["Count"] == 10
    invalid(db.query, re.compile("Can not use both expression and non-expression"), **query,
            FilterExpression="attribute_exists(v)", QueryFilter={"v": compare("EQ", {"N": "1"})})


def test_attributes_to_get(db, table, rows):
    key = {"pk": ITEM["pk"]}
    get = {"TableName": table, "Key": key, "ConsistentRead": True}
    assert db.get_item(**get, AttributesToGet=["n", "absent"])["Item"] == {"n": N5}
    assert db.get_item(**get, AttributesToGet=["absent"])["Item"] == {}
    # A name is a name: nothing in it is a path.
    assert db.get_item(**get, AttributesToGet=["l[0]"])["Item"] == {}
    invalid(db.get_item, INVALID + "Duplicate value in attribute name: n", **get, AttributesToGet=["n", "n"])
    found = db.query(TableName=rows, KeyConditions={"pk": PK, "sk": compare("EQ", N5)}, AttributesToGet=["v"],
                     ConsistentRead=True)["Items"]
    assert found == [{"v": {"N": "1"}}]
    assert db.scan(TableName=table, AttributesToGet=["s"], ConsistentRead=True,
                   ScanFilter={"n": compare("EQ", N5)})["Items"] == [{"s": ITEM["s"]}]
    invalid(db.query, "Cannot specify the AttributesToGet when choosing to get only the Count", TableName=rows,
            KeyConditions={"pk": PK}, AttributesToGet=["v"], Select="COUNT")
