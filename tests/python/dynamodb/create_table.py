"""CreateTable: https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_CreateTable.html"""

import datetime
import re

import pytest

from kit import INVALID, invalid, local_index, refused, table, violation, violations, wait_active

UNDEFINED = INVALID + ("Some index key attributes are not defined in AttributeDefinitions. "
                       "Keys: [{}], AttributeDefinitions: [{}]")
SHORT = re.compile("^TableName must be at least 3 characters long and at most 255 characters long$|"
                   "'?[Tt]ableName'? failed to satisfy constraint: Member must have length (greater|less) than or equal to")


NAMELESS = re.compile("^The parameter 'TableName' is required but was not present in the request$|"
                      "^1 validation error detected: Value null at 'tableName' failed to satisfy constraint: Member must not be null$")


def schema(**roles):
    return [{"AttributeName": name, "KeyType": role} for name, role in roles.items()]


def test_what_create_and_describe_say(db, make):
    name = make.name()
    before = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=5)
    made = db.create_table(**table(name, {"pk": "S", "sk": "N"}))["TableDescription"]
    assert made["TableStatus"] in ("CREATING", "ACTIVE")
    ready = wait_active(db, name)
    for described in (made, ready):
        assert described["TableName"] == name
        assert described["KeySchema"] == schema(pk="HASH", sk="RANGE")
        assert sorted(described["AttributeDefinitions"], key=str) == sorted(
            table(name, {"pk": "S", "sk": "N"})["AttributeDefinitions"], key=str)
        assert re.fullmatch(rf"arn:aws[\w-]*:dynamodb:[\w-]+:\d{{12}}:table/{name}", described["TableArn"])
        assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", described["TableId"])
        assert described["ItemCount"] == 0 and described["TableSizeBytes"] == 0
        assert described["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
        throughput = described["ProvisionedThroughput"]
        assert (throughput["ReadCapacityUnits"], throughput["WriteCapacityUnits"]) == (0, 0)
        assert throughput["NumberOfDecreasesToday"] == 0
        assert described["DeletionProtectionEnabled"] is False
        assert before < described["CreationDateTime"] < before + datetime.timedelta(minutes=5)
    assert made["TableId"] == ready["TableId"]


def test_provisioned_throughput(db, make):
    name = make.name()
    db.create_table(**table(name, {"pk": "S"}, BillingMode="PROVISIONED",
                            ProvisionedThroughput={"ReadCapacityUnits": 5, "WriteCapacityUnits": 7}))
    described = wait_active(db, name)
    throughput = described["ProvisionedThroughput"]
    assert (throughput["ReadCapacityUnits"], throughput["WriteCapacityUnits"]) == (5, 7)
    # A mode that was never switched has no summary.
    assert described.get("BillingModeSummary", {"BillingMode": "PROVISIONED"})["BillingMode"] == "PROVISIONED"
    other = make.name()
    # Provisioned is the mode of old.
    db.create_table(**table(other, {"pk": "S"}, ProvisionedThroughput={"ReadCapacityUnits": 1, "WriteCapacityUnits": 1}))
    assert wait_active(db, other)["ProvisionedThroughput"]["ReadCapacityUnits"] == 1


@pytest.mark.parametrize("kind", ["S", "N", "B"])
def test_every_type_of_key(db, make, kind):
    value = {"S": {"S": "a"}, "N": {"N": "1"}, "B": {"B": b"a"}}[kind]
    name = make({"key": {"pk": kind, "sk": kind}})
    db.put_item(TableName=name, Item={"pk": value, "sk": value})
    assert db.get_item(TableName=name, Key={"pk": value, "sk": value}, ConsistentRead=True)["Item"]["pk"] == value


def test_a_table_that_is_there(db, simple):
    refused(db.create_table, "ResourceInUseException", f"Table already exists: {simple}",
            **table(simple, {"pk": "S"}))


def test_settings_that_come_with_the_table(db, make):
    name = make.name()
    db.create_table(**table(name, {"pk": "S"}, Tags=[{"Key": "team", "Value": "harbour"}],
                            TableClass="STANDARD_INFREQUENT_ACCESS", DeletionProtectionEnabled=True,
                            StreamSpecification={"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"}))
    described = wait_active(db, name)
    assert described["TableClassSummary"]["TableClass"] == "STANDARD_INFREQUENT_ACCESS"
    assert described["DeletionProtectionEnabled"] is True
    assert described["StreamSpecification"] == {"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"}
    assert described["LatestStreamArn"] == f"{described['TableArn']}/stream/{described['LatestStreamLabel']}"
    tags = db.list_tags_of_resource(ResourceArn=described["TableArn"])["Tags"]
    assert tags == [{"Key": "team", "Value": "harbour"}]
    db.update_table(TableName=name, DeletionProtectionEnabled=False)


# Names.

def test_names_of_3_and_of_255_characters(db, make):
    short, long = make.name()[-3:], (make.name() + "." + "x" * 255)[:255]
    for name in (short, long, f"_{make.name()}.-_A9"):
        make._made.append(name)
        db.create_table(**table(name, {"pk": "S"}))
        wait_active(db, name)
        db.put_item(TableName=name, Item={"pk": {"S": "k"}})


@pytest.mark.parametrize("name, message", [
    ("", SHORT), ("ab", SHORT), ("x" * 256, SHORT),
    ("a b c", re.compile(r"Value 'a b c' at 'tableName' failed to satisfy constraint: Member must satisfy regular "
                         r"expression pattern: \[a-zA-Z0-9_.-\]\+")),
    ("sl/ash", re.compile("regular expression pattern")), ("\u00e9\u00e9\u00e9", re.compile("regular expression")),
    (None, NAMELESS),
])
def test_names_that_are_none(db, name, message):
    parameters = table(name, {"pk": "S"})
    if name is None:
        del parameters["TableName"]
    invalid(db.create_table, message, **parameters)


# Keys.

DEFINED = [{"AttributeName": "pk", "AttributeType": "S"}]
BOTH = DEFINED + [{"AttributeName": "sk", "AttributeType": "N"}]


@pytest.mark.parametrize("definitions, keys, message", [
    (DEFINED, schema(other="HASH"), UNDEFINED.format("other", "pk")),
    (DEFINED, schema(pk="HASH", sk="RANGE"), re.compile("Some index key attribute")),
    (BOTH, schema(pk="HASH"), INVALID + "Number of attributes in KeySchema does not exactly match number of "
                              "attributes defined in AttributeDefinitions"),
    (BOTH, schema(pk="RANGE", sk="HASH"), "Invalid KeySchema: The first KeySchemaElement is not a HASH key type"),
    (BOTH, schema(pk="HASH", sk="HASH"), "Invalid KeySchema: The second KeySchemaElement is not a RANGE key type"),
    (BOTH, schema(pk="HASH") * 2, "Both the Hash Key and the Range Key element in the KeySchema have the same name"),
    (DEFINED, schema(pk="RANGE"), "Invalid KeySchema: The first KeySchemaElement is not a HASH key type"),
    (DEFINED * 2, schema(pk="HASH"), re.compile("(?i)attribute")),
])
def test_keys_that_are_none(db, make, definitions, keys, message):
    invalid(db.create_table, message, TableName=make.name(), AttributeDefinitions=definitions, KeySchema=keys,
            BillingMode="PAY_PER_REQUEST")


def test_constraints_of_keys(db, make):
    name = make.name()
    violations(db.create_table, [
        violation(None, "attributeDefinitions", "not be null"), violation(None, "keySchema", "not be null"),
    ], TableName=name)
    violations(db.create_table, [violation("[]", "keySchema", "have length greater than or equal to 1")],
               TableName=name, AttributeDefinitions=DEFINED, KeySchema=[], BillingMode="PAY_PER_REQUEST")
    violations(db.create_table, [
        violation("X", "attributeDefinitions.1.member.attributeType", "satisfy enum value set: [B, N, S]"),
        violation("Y", "keySchema.1.member.keyType", "satisfy enum value set: [HASH, RANGE]"),
    ], TableName=name, AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "X"}],
        KeySchema=schema(pk="Y"), BillingMode="PAY_PER_REQUEST")
    invalid(db.create_table, re.compile("keySchema.*Member must have length less than or equal to 2"),
            TableName=name, AttributeDefinitions=BOTH, KeySchema=schema(pk="HASH", sk="RANGE", x="RANGE"),
            BillingMode="PAY_PER_REQUEST")
    invalid(db.create_table, re.compile("attributeName"), **table(name, {"x" * 256: "S"}))
    long = make.name()
    db.create_table(**table(long, {"x" * 255: "S"}))
    wait_active(db, long)


# Throughput.

def test_throughput_that_is_none(db, make):
    def made(**more):
        return {"TableName": make.name(), "AttributeDefinitions": DEFINED, "KeySchema": schema(pk="HASH"), **more}
    both = INVALID + "ReadCapacityUnits and WriteCapacityUnits must both be specified when BillingMode is PROVISIONED"
    invalid(db.create_table, both, **made())
    invalid(db.create_table, both, **made(BillingMode="PROVISIONED"))
    units = {"ReadCapacityUnits": 1, "WriteCapacityUnits": 1}
    invalid(db.create_table, INVALID + "Neither ReadCapacityUnits nor WriteCapacityUnits can be specified when "
            "BillingMode is PAY_PER_REQUEST", **made(BillingMode="PAY_PER_REQUEST", ProvisionedThroughput=units))
    violations(db.create_table, [
        violation("0", "provisionedThroughput.writeCapacityUnits", "have value greater than or equal to 1"),
        violation("-1", "provisionedThroughput.readCapacityUnits", "have value greater than or equal to 1"),
    ], **made(ProvisionedThroughput={"ReadCapacityUnits": -1, "WriteCapacityUnits": 0}))
    violations(db.create_table, [
        violation(None, "provisionedThroughput.writeCapacityUnits", "not be null"),
        violation(None, "provisionedThroughput.readCapacityUnits", "not be null"),
    ], **made(ProvisionedThroughput={}))
    violations(db.create_table, [violation("x", "billingMode", "satisfy enum value set: [PROVISIONED, PAY_PER_REQUEST]")],
               **made(BillingMode="x"))
    invalid(db.create_table, "Given value 1000000000001 for ReadCapacityUnits is out of bounds",
            **made(ProvisionedThroughput={**units, "ReadCapacityUnits": 1_000_000_000_001}))


# Streams, tags, class.

def test_other_settings_that_are_none(db, make):
    def bad(message, **more):
        invalid(db.create_table, message, **table(make.name(), {"pk": "S"}, **more))
    bad(re.compile("StreamViewType"), StreamSpecification={"StreamEnabled": True})
    bad(re.compile("(?i)stream"), StreamSpecification={"StreamEnabled": False, "StreamViewType": "NEW_IMAGE"})
    bad(re.compile("streamSpecification.streamEnabled.*Member must not be null"), StreamSpecification={})
    bad(re.compile(r"streamSpecification.streamViewType.*enum value set"),
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "x"})
    bad(re.compile("tableClass.*enum value set"), TableClass="x")
    bad(re.compile("tags.*[Mm]ember|[Tt]ag"), Tags=[{"Key": "", "Value": "v"}])
    bad(re.compile("[Tt]ag"), Tags=[{"Key": "same", "Value": "a"}, {"Key": "same", "Value": "b"}])
    bad(re.compile("[Tt]ag"), Tags=[{"Key": f"k{n}", "Value": "v"} for n in range(51)])


# Local indexes; what they do is in local_indexes.py.

def indexed(make, key=None, others=None, indexes=(), **more):
    return table(make.name(), key or {"pk": "S", "sk": "N"}, {"a": "S"} if others is None else others,
                 LocalSecondaryIndexes=list(indexes), **more)


def test_a_table_with_five_local_indexes(db, make):
    others = {f"a{n}": "S" for n in range(5)}
    parameters = indexed(make, None, others, [local_index(f"by-a{n}", f"a{n}") for n in range(5)])
    db.create_table(**parameters)
    described = wait_active(db, parameters["TableName"])["LocalSecondaryIndexes"]
    assert sorted(index["IndexName"] for index in described) == [f"by-a{n}" for n in range(5)]
    for index in described:
        assert index["IndexArn"].endswith(f"table/{parameters['TableName']}/index/{index['IndexName']}")
        assert index["KeySchema"] == schema(pk="HASH", **{index["IndexName"][3:]: "RANGE"})
        assert index["Projection"] == {"ProjectionType": "ALL"}
        assert index["ItemCount"] == 0 and index["IndexSizeBytes"] == 0
    six = {f"a{n}": "S" for n in range(6)}
    invalid(db.create_table, INVALID + "Number of LocalSecondaryIndexes exceeds per-table limit of 5",
            **indexed(make, None, six, [local_index(f"by-a{n}", f"a{n}") for n in range(6)]))


def test_local_indexes_that_are_none(db, make):
    def bad(message, *indexes, **more):
        invalid(db.create_table, message, **indexed(make, indexes=indexes, **more))
    bad(INVALID + "List of LocalSecondaryIndexes is empty", others={})
    bad(INVALID + "Table KeySchema does not have a range key, which is required when specifying a LocalSecondaryIndex",
        local_index("by-a", "a"), key={"pk": "S"})
    bad(INVALID + "Duplicate index name: by-a", local_index("by-a", "a"), local_index("by-a", "a"))
    bad(re.compile("Some index key attribute"), local_index("by-b", "b"))
    bad(INVALID + "Index KeySchema does not have the same leading hash key as table KeySchema for index: by-a. "
        "index hash key: sk, table hash key: pk", local_index("by-a", "a", partition="sk"))
    bad(INVALID + "Index KeySchema does not have a range key for index: by-a",
        {**local_index("by-a", "a"), "KeySchema": schema(pk="HASH")})
    bad(INVALID + "Unknown ProjectionType: null", {**local_index("by-a", "a"), "Projection": {}})
    bad(INVALID + "ProjectionType is ALL, but NonKeyAttributes is specified",
        local_index("by-a", "a", "ALL", NonKeyAttributes=["x"]))
    bad(INVALID + "ProjectionType is KEYS_ONLY, but NonKeyAttributes is specified",
        local_index("by-a", "a", "KEYS_ONLY", NonKeyAttributes=["x"]))
    bad(INVALID + "ProjectionType is INCLUDE, but NonKeyAttributes is not specified",
        local_index("by-a", "a", "INCLUDE"))
    bad(re.compile("localSecondaryIndexes.1.member.indexName.*length greater than or equal to 3"),
        local_index("ab", "a"))
    bad(re.compile("localSecondaryIndexes.1.member.indexName.*regular expression"), local_index("a b c", "a"))
    bad(re.compile("localSecondaryIndexes.1.member.projection.projectionType.*enum value set"),
        local_index("by-a", "a", "x"))
    bad(re.compile("nonKeyAttributes.*length"), local_index("by-a", "a", "INCLUDE", NonKeyAttributes=[]))
    bad(re.compile("Some AttributeDefinitions are not used. AttributeDefinitions: "), local_index("by-a", "a"), others={"a": "S", "unused": "S"})


def test_20_projected_attributes_of_an_index_and_100_of_all(db, make):
    def including(count, indexes):
        others = {f"a{n}": "S" for n in range(indexes)}
        return indexed(make, None, others, [
            local_index(f"by-{other}", other, "INCLUDE", NonKeyAttributes=[f"{other}-{n}" for n in range(count)])
            for other in others])
    invalid(db.create_table, re.compile("nonKeyAttributes.*Member must have length less than or equal to 20"),
            **including(21, 1))
    parameters = including(20, 5)
    db.create_table(**parameters)
    wait_active(db, parameters["TableName"])
