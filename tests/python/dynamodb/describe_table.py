"""DescribeTable: https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_DescribeTable.html
and the descriptions of single settings: DescribeTimeToLive, DescribeContinuousBackups."""

import re

import pytest

from kit import HASH, eventually, invalid, refused, text_of_size

ABSENT = "Requested resource not found: Table: no-such-table not found"


def test_every_router_describes_the_same_table(cluster, simple):
    described = [cluster.client("dynamodb", node).describe_table(TableName=simple)["Table"] for node in cluster.nodes]
    for other in described:
        assert other["TableId"] == described[0]["TableId"] and other["TableStatus"] == "ACTIVE"


def test_a_table_by_its_arn(db, simple):
    described = db.describe_table(TableName=simple)["Table"]
    assert db.describe_table(TableName=described["TableArn"])["Table"] == described


def test_counts_come_after_a_while(db, make):
    # AWS: updated about every six hours; whatever is said must be no invention.
    table = make(HASH)
    for n in range(3):
        db.put_item(TableName=table, Item={"pk": {"S": f"k{n}"}, "v": text_of_size(1000)})
    described = db.describe_table(TableName=table)["Table"]
    assert 0 <= described["ItemCount"] <= 3 and 0 <= described["TableSizeBytes"] <= 4000


@pytest.mark.parametrize("operation", ["describe_table", "describe_time_to_live", "describe_continuous_backups"])
def test_names(db, operation):
    call = getattr(db, operation)
    code = "TableNotFoundException" if operation == "describe_continuous_backups" else "ResourceNotFoundException"
    message = ABSENT if code == "ResourceNotFoundException" else re.compile("no-such-table")
    refused(call, code, message, TableName="no-such-table")
    invalid(call, re.compile("(?i)tableName"))
    invalid(call, re.compile("(?i)tableName"), TableName="a b c")
    invalid(call, re.compile("(?i)tableName"), TableName="ab")


def test_short_and_missing_names(db):
    invalid(db.describe_table, re.compile("^The parameter 'TableName' is required|Value null at 'tableName' failed"))
    invalid(db.describe_table, re.compile("TableName must be at least 3 characters long|'tableName' .* length greater than or equal to 3"),
            TableName="ab")


def test_continuous_backups(db, simple):
    described = db.describe_continuous_backups(TableName=simple)["ContinuousBackupsDescription"]
    assert described["ContinuousBackupsStatus"] in ("ENABLED", "DISABLED")
    assert described["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"] == "DISABLED"


def test_time_to_live(db, make):
    table = make(HASH)
    describe = lambda: db.describe_time_to_live(TableName=table)["TimeToLiveDescription"]
    assert describe() == {"TimeToLiveStatus": "DISABLED"}
    on = {"Enabled": True, "AttributeName": "expires"}
    assert db.update_time_to_live(TableName=table, TimeToLiveSpecification=on)["TimeToLiveSpecification"] == on
    eventually("TTL is on", lambda: describe()["TimeToLiveStatus"] in ("ENABLING", "ENABLED"))
    assert describe()["AttributeName"] == "expires"
    # One change per table and hour, and none that changes nothing.
    invalid(db.update_time_to_live, re.compile("TimeToLive"), TableName=table, TimeToLiveSpecification=on)


def test_time_to_live_that_is_none(db, simple):
    call = db.update_time_to_live
    invalid(call, "TimeToLive is already disabled", TableName=simple,
            TimeToLiveSpecification={"Enabled": False, "AttributeName": "expires"})
    for specification in ({"Enabled": True, "AttributeName": ""}, {"Enabled": True, "AttributeName": "x" * 256},
                          {"Enabled": True}, {"AttributeName": "x"}, {}):
        invalid(call, re.compile("(?i)timeToLiveSpecification"), TableName=simple, TimeToLiveSpecification=specification)
    invalid(call, re.compile("timeToLiveSpecification.*Member must not be null"), TableName=simple)
    refused(call, "ResourceNotFoundException", ABSENT, TableName="no-such-table",
            TimeToLiveSpecification={"Enabled": True, "AttributeName": "x"})
