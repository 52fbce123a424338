"""DeleteItem: https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_DeleteItem.html"""

import re

import pytest

from kit import CONDITION_FAILED, INVALID, KEY_MISMATCH, NOT_FOUND, invalid, refused, violation, violations

KEY = {"pk": {"S": "k"}}


def item(key, **attributes):
    return {"pk": {"S": key}, **attributes}


def get(db, table, key):
    return db.get_item(TableName=table, Key=item(key), ConsistentRead=True).get("Item")


def test_an_item_is_gone_and_deleting_again_is_no_error(db, simple):
    db.put_item(TableName=simple, Item=item("gone", v={"N": "1"}))
    assert "Attributes" not in db.delete_item(TableName=simple, Key=item("gone"))
    assert get(db, simple, "gone") is None
    assert "Attributes" not in db.delete_item(TableName=simple, Key=item("gone"), ReturnValues="ALL_OLD")


def test_only_the_named_item_goes(db, ranged):
    for n in range(3):
        db.put_item(TableName=ranged, Item={"pk": {"S": "k"}, "sk": {"N": str(n)}})
    db.delete_item(TableName=ranged, Key={"pk": {"S": "k"}, "sk": {"N": "1"}})
    found = db.query(TableName=ranged, KeyConditionExpression="pk = :k", ConsistentRead=True,
                     ExpressionAttributeValues={":k": {"S": "k"}})
    assert [i["sk"]["N"] for i in found["Items"]] == ["0", "2"]


def test_return_values(db, simple):
    old = item("return", v={"N": "1"})
    db.put_item(TableName=simple, Item=old)
    assert db.delete_item(TableName=simple, Key=item("return"), ReturnValues="ALL_OLD")["Attributes"] == old
    db.put_item(TableName=simple, Item=old)
    assert "Attributes" not in db.delete_item(TableName=simple, Key=item("return"), ReturnValues="NONE")
    for other in ("ALL_NEW", "UPDATED_OLD", "UPDATED_NEW"):
        invalid(db.delete_item, "ReturnValues can only be ALL_OLD or NONE",
                TableName=simple, Key=KEY, ReturnValues=other)


def test_conditions(db, simple):
    old = item("condition", v={"N": "1"})
    db.put_item(TableName=simple, Item=old)
    unless_one = {"TableName": simple, "Key": item("condition"), "ConditionExpression": "v <> :one",
                  "ExpressionAttributeValues": {":one": {"N": "1"}}}
    answer = refused(db.delete_item, "ConditionalCheckFailedException", CONDITION_FAILED, **unless_one)
    assert "Item" not in answer
    answer = refused(db.delete_item, "ConditionalCheckFailedException", CONDITION_FAILED,
                     ReturnValuesOnConditionCheckFailure="ALL_OLD", **unless_one)
    assert answer["Item"] == old
    assert get(db, simple, "condition") == old
    db.delete_item(**{**unless_one, "ConditionExpression": "v = :one"})
    assert get(db, simple, "condition") is None
    # There is nothing that the condition could hold for, or against.
    refused(db.delete_item, "ConditionalCheckFailedException", CONDITION_FAILED, TableName=simple,
            Key=item("condition"), ConditionExpression="attribute_exists(pk)")
    db.delete_item(TableName=simple, Key=item("condition"), ConditionExpression="attribute_not_exists(pk)")


@pytest.mark.parametrize("key", [{}, {"other": {"S": "k"}}, {"pk": {"N": "1"}}, {**KEY, "v": {"N": "1"}}])
def test_keys_that_are_not_the_tables(db, simple, key):
    invalid(db.delete_item, KEY_MISMATCH, TableName=simple, Key=key)


def test_keys_that_no_item_can_have(db, simple):
    invalid(db.delete_item, INVALID + "Size of hashkey has exceeded the maximum size limit of2048 bytes",
            TableName=simple, Key={"pk": {"S": "x" * 2049}})
    invalid(db.delete_item, "One or more parameter values are not valid. The AttributeValue for a key attribute "
            "cannot contain an empty string value. Key: pk", TableName=simple, Key={"pk": {"S": ""}})


def test_parameters(db, simple):
    violations(db.delete_item, [violation(None, "tableName", "not be null"), violation(None, "key", "not be null")])
    violations(db.delete_item, [
        violation("x", "returnConsumedCapacity", "satisfy enum value set: [INDEXES, TOTAL, NONE]"),
        violation("x", "returnItemCollectionMetrics", "satisfy enum value set: [SIZE, NONE]"),
        violation("x", "returnValues", "satisfy enum value set: [ALL_NEW, UPDATED_OLD, ALL_OLD, NONE, UPDATED_NEW]"),
    ], TableName=simple, Key=KEY, ReturnConsumedCapacity="x", ReturnItemCollectionMetrics="x", ReturnValues="x")
    refused(db.delete_item, "ResourceNotFoundException", NOT_FOUND, TableName="no-such-table", Key=KEY)
    invalid(db.delete_item, "Invalid ConditionExpression: The expression can not be empty;",
            TableName=simple, Key=KEY, ConditionExpression="")
    invalid(db.delete_item,
            "Can not use both expression and non-expression parameters in the same request: "
            "Non-expression parameters: {Expected} Expression parameters: {ConditionExpression}",
            TableName=simple, Key=KEY, Expected={"a": {"Exists": False}}, ConditionExpression="attribute_exists(a)")
    invalid(db.delete_item, re.compile("ExpressionAttributeValues can only be specified when using expressions"),
            TableName=simple, Key=KEY, ExpressionAttributeValues={":a": {"S": "a"}})
