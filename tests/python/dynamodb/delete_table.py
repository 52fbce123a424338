"""DeleteTable: https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_DeleteTable.html"""

import re

from kit import HASH, NOT_FOUND, invalid, items, refused, table, wait_active, wait_gone

ABSENT = "Requested resource not found: Table: {} not found"


def test_a_deleted_table_is_gone(db, make, cluster):
    name = make(HASH)
    db.put_item(TableName=name, Item={"pk": {"S": "k"}})
    before = db.describe_table(TableName=name)["Table"]
    deleted = db.delete_table(TableName=name)["TableDescription"]
    assert deleted["TableName"] == name and deleted["TableStatus"] == "DELETING"
    assert deleted["TableId"] == before["TableId"] and deleted["TableArn"] == before["TableArn"]
    wait_gone(db, name)
    for node in cluster.nodes:
        other = cluster.client("dynamodb", node)
        wait_gone(other, name)
        assert name not in [n for page in other.get_paginator("list_tables").paginate() for n in page["TableNames"]]
    refused(db.describe_table, "ResourceNotFoundException", ABSENT.format(name), TableName=name)
    refused(db.put_item, "ResourceNotFoundException", NOT_FOUND, TableName=name, Item={"pk": {"S": "k"}})
    refused(db.delete_table, "ResourceNotFoundException", ABSENT.format(name), TableName=name)


def test_a_table_of_the_same_name_is_another_one(db, make):
    name = make(HASH)
    first = db.describe_table(TableName=name)["Table"]["TableId"]
    db.put_item(TableName=name, Item={"pk": {"S": "old"}})
    db.delete_table(TableName=name)
    wait_gone(db, name)
    db.create_table(**table(name, {"pk": "S"}))
    assert wait_active(db, name)["TableId"] != first
    assert items(db.scan, TableName=name, ConsistentRead=True) == []


def test_a_table_by_its_arn(db, make):
    name = make(HASH)
    db.delete_table(TableName=db.describe_table(TableName=name)["Table"]["TableArn"])
    wait_gone(db, name)


def test_parameters(db):
    refused(db.delete_table, "ResourceNotFoundException", ABSENT.format("no-such-table"), TableName="no-such-table")
    invalid(db.delete_table, re.compile("^The parameter 'TableName' is required|Value null at 'tableName' failed"))
    invalid(db.delete_table, re.compile("TableName must be at least 3 characters long|'tableName' .* length greater than or equal to 3"),
            TableName="ab")
    invalid(db.delete_table, re.compile(r"tableName.*regular expression pattern: \[a-zA-Z0-9_.-\]\+"),
            TableName="a b c")
