"""UpdateTable: https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_UpdateTable.html"""

import re

from kit import HASH, eventually, invalid, refused, violation, violations, wait_active

ONE = {"ReadCapacityUnits": 1, "WriteCapacityUnits": 1}


def update(db, name, **change):
    made = db.update_table(TableName=name, **change)["TableDescription"]
    assert made["TableStatus"] in ("UPDATING", "ACTIVE")
    return wait_active(db, name)


def units(described):
    throughput = described["ProvisionedThroughput"]
    return throughput["ReadCapacityUnits"], throughput["WriteCapacityUnits"]


def test_modes_of_billing(db, make):
    name = make(HASH)
    described = update(db, name, BillingMode="PROVISIONED",
                       ProvisionedThroughput={"ReadCapacityUnits": 3, "WriteCapacityUnits": 4})
    assert units(described) == (3, 4)
    assert described.get("BillingModeSummary", {"BillingMode": "PROVISIONED"})["BillingMode"] == "PROVISIONED"
    described = update(db, name, BillingMode="PAY_PER_REQUEST")
    assert described["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST" and units(described) == (0, 0)
    invalid(db.update_table, re.compile("ReadCapacityUnits"), TableName=name, BillingMode="PAY_PER_REQUEST",
            ProvisionedThroughput=ONE)
    invalid(db.update_table, re.compile("(?i)throughput|ReadCapacityUnits"), TableName=name, BillingMode="PROVISIONED")
    invalid(db.update_table, re.compile("(?i)throughput|ReadCapacityUnits"), TableName=name, ProvisionedThroughput=ONE)


def test_throughput_up_and_down(db, make):
    name = make(HASH, ProvisionedThroughput={"ReadCapacityUnits": 2, "WriteCapacityUnits": 2})
    described = update(db, name, ProvisionedThroughput={"ReadCapacityUnits": 5, "WriteCapacityUnits": 5})
    assert units(described) == (5, 5)
    assert "LastIncreaseDateTime" in described["ProvisionedThroughput"]
    described = update(db, name, ProvisionedThroughput={"ReadCapacityUnits": 1, "WriteCapacityUnits": 5})
    assert units(described) == (1, 5)
    assert "LastDecreaseDateTime" in described["ProvisionedThroughput"]
    assert described["ProvisionedThroughput"]["NumberOfDecreasesToday"] == 1
    invalid(db.update_table, f"The provisioned throughput for the table will not change. The requested value equals "
            f"the current value. Current ReadCapacityUnits provisioned for the table: 1. Requested "
            f"ReadCapacityUnits: 1. Current WriteCapacityUnits provisioned for the table: 5. Requested "
            f"WriteCapacityUnits: 5. Refer to the Amazon DynamoDB Developer Guide for current limits and how to "
            f"request higher limits.", TableName=name,
            ProvisionedThroughput={"ReadCapacityUnits": 1, "WriteCapacityUnits": 5})


def test_streams_on_and_off(db, make, streams):
    name = make(HASH)
    assert "StreamSpecification" not in db.describe_table(TableName=name)["Table"]
    on = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
    described = update(db, name, StreamSpecification=on)
    assert described["StreamSpecification"] == on
    first = described["LatestStreamArn"]
    refusal = re.compile("Table already has an enabled stream")
    invalid(db.update_table, refusal, TableName=name, StreamSpecification=on)
    described = update(db, name, StreamSpecification={"StreamEnabled": False})
    assert not described.get("StreamSpecification", {}).get("StreamEnabled")
    invalid(db.update_table, re.compile("(?i)stream"), TableName=name, StreamSpecification={"StreamEnabled": False})
    # A stream that is switched on again is another one.
    described = update(db, name, StreamSpecification={"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"})
    assert described["LatestStreamArn"] != first
    known = {stream["StreamArn"] for stream in streams.list_streams(TableName=name)["Streams"]}
    assert described["LatestStreamArn"] in known


def test_protection_and_class(db, make):
    name = make(HASH)
    assert update(db, name, DeletionProtectionEnabled=True)["DeletionProtectionEnabled"] is True
    invalid(db.delete_table, "Resource cannot be deleted as it is currently protected against deletion. Disable "
            "deletion protection first.", TableName=name)
    assert update(db, name, DeletionProtectionEnabled=False)["DeletionProtectionEnabled"] is False
    described = update(db, name, TableClass="STANDARD_INFREQUENT_ACCESS")
    assert described["TableClassSummary"]["TableClass"] == "STANDARD_INFREQUENT_ACCESS"
    described = update(db, name, TableClass="STANDARD")
    assert described.get("TableClassSummary", {"TableClass": "STANDARD"})["TableClass"] == "STANDARD"


def test_items_stay_and_are_served_during_an_update(db, make):
    name = make(HASH)
    db.put_item(TableName=name, Item={"pk": {"S": "k"}})
    db.update_table(TableName=name, DeletionProtectionEnabled=True)
    assert db.get_item(TableName=name, Key={"pk": {"S": "k"}}, ConsistentRead=True)["Item"]
    eventually("active again", lambda: db.describe_table(TableName=name)["Table"]["TableStatus"] == "ACTIVE")
    update(db, name, DeletionProtectionEnabled=False)


def test_parameters(db, simple):
    invalid(db.update_table, re.compile("^The parameter 'TableName' is required|Value null at 'tableName' failed"))
    invalid(db.update_table, re.compile("At least one of .* is required"), TableName=simple)
    refused(db.update_table, "ResourceNotFoundException", "Requested resource not found: Table: no-such-table not found",
            TableName="no-such-table", DeletionProtectionEnabled=True)
    violations(db.update_table, [violation("x", "billingMode", "satisfy enum value set: [PROVISIONED, PAY_PER_REQUEST]")],
               TableName=simple, BillingMode="x")
    violations(db.update_table, [
        violation("0", "provisionedThroughput.writeCapacityUnits", "have value greater than or equal to 1"),
        violation("0", "provisionedThroughput.readCapacityUnits", "have value greater than or equal to 1"),
    ], TableName=simple, ProvisionedThroughput={"ReadCapacityUnits": 0, "WriteCapacityUnits": 0})
    invalid(db.update_table, re.compile("tableClass.*enum value set"), TableName=simple, TableClass="x")
    invalid(db.update_table, re.compile("streamEnabled.*Member must not be null"), TableName=simple, StreamSpecification={})
    invalid(db.update_table, re.compile("StreamViewType"), TableName=simple, StreamSpecification={"StreamEnabled": True})
