"""DynamoDB Streams: https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_Operations_Amazon_DynamoDB_Streams.html"""

import datetime
import re
import time
from collections import defaultdict

import pytest

from kit import HASH, PATIENCE_SECONDS, eventually, invalid, refused, violation, violations

VIEWS = ("KEYS_ONLY", "NEW_IMAGE", "OLD_IMAGE", "NEW_AND_OLD_IMAGES")


def streaming(make, view="NEW_AND_OLD_IMAGES", **more):
    return make({**HASH, **more}, StreamSpecification={"StreamEnabled": True, "StreamViewType": view})


def arn_of(db, table):
    return db.describe_table(TableName=table)["Table"]["LatestStreamArn"]


def shards(streams, arn):
    found, start = [], {}
    while True:
        described = streams.describe_stream(StreamArn=arn, **start)["StreamDescription"]
        found += described["Shards"]
        if "LastEvaluatedShardId" not in described:
            return found
        start = {"ExclusiveStartShardId": described["LastEvaluatedShardId"]}


def iterator(streams, arn, shard, kind="TRIM_HORIZON", **more):
    return streams.get_shard_iterator(StreamArn=arn, ShardId=shard["ShardId"], ShardIteratorType=kind,
                                      **more)["ShardIterator"]


def records(streams, arn, count):
    """So many records of all shards, parents before children, and no more after them."""
    found = defaultdict(list)
    iterators = {shard["ShardId"]: iterator(streams, arn, shard) for shard in shards(streams, arn)}
    deadline = time.monotonic() + PATIENCE_SECONDS
    while sum(map(len, found.values())) < count:
        assert time.monotonic() < deadline, f"{count} records did not come: {found}"
        for shard, where in list(iterators.items()):
            if where:
                answer = streams.get_records(ShardIterator=where)
                found[shard] += answer["Records"]
                iterators[shard] = answer.get("NextShardIterator")
    assert sum(map(len, found.values())) == count
    return found


def write(db, table, key="k"):
    """One item made, changed twice, left as it is, and deleted: four records."""
    name = {"pk": {"S": key}}
    db.put_item(TableName=table, Item={**name, "v": {"N": "1"}})
    db.update_item(TableName=table, Key=name, UpdateExpression="SET v = :v", ExpressionAttributeValues={":v": {"N": "2"}})
    db.put_item(TableName=table, Item={**name, "v": {"N": "2"}})
    db.put_item(TableName=table, Item={**name, "w": {"S": "x"}})
    db.delete_item(TableName=table, Key=name)


@pytest.mark.parametrize("view", VIEWS)
def test_what_a_record_shows(db, streams, make, cluster, view):
    table = streaming(make, view)
    arn = arn_of(db, table)
    before = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=5)
    write(db, table)
    # The put of what was there already changed nothing, and shows nothing.
    got = [record for found in records(streams, arn, 4).values() for record in found]
    assert [record["eventName"] for record in got] == ["INSERT", "MODIFY", "MODIFY", "REMOVE"]
    key = {"pk": {"S": "k"}}
    images = [None, {**key, "v": {"N": "1"}}, {**key, "v": {"N": "2"}}, {**key, "w": {"S": "x"}}, None]
    for n, record in enumerate(got):
        assert record["eventSource"] == "aws:dynamodb" and record["awsRegion"] == cluster.region
        assert record["eventVersion"] == "1.1" and record["eventID"]
        assert "userIdentity" not in record
        change = record["dynamodb"]
        assert change["Keys"] == key and change["StreamViewType"] == view and change["SizeBytes"] > 0
        assert before < change["ApproximateCreationDateTime"] < before + datetime.timedelta(minutes=5)
        assert change["ApproximateCreationDateTime"].microsecond == 0
        assert change.get("OldImage") == (images[n] if "OLD" in view else None)
        assert change.get("NewImage") == (images[n + 1] if "NEW" in view else None)
    numbers = [int(record["dynamodb"]["SequenceNumber"]) for record in got]
    assert numbers == sorted(set(numbers))
    assert len({record["eventID"] for record in got}) == 4


def test_every_item_in_its_order(db, streams, make):
    table = streaming(make)
    for n in range(5):
        for key in range(20):
            db.put_item(TableName=table, Item={"pk": {"S": f"k{key}"}, "v": {"N": str(n)}})
    orders = defaultdict(list)
    for found in records(streams, arn_of(db, table), 100).values():
        for record in found:
            image = record["dynamodb"]["NewImage"]
            orders[image["pk"]["S"]].append(image["v"]["N"])
    assert dict(orders) == {f"k{key}": [str(n) for n in range(5)] for key in range(20)}


def test_batches_and_statements_stream_too(db, streams, make):
    table = streaming(make, "KEYS_ONLY")
    db.batch_write_item(RequestItems={table: [{"PutRequest": {"Item": {"pk": {"S": f"b{n}"}}}} for n in range(3)]})
    found = records(streams, arn_of(db, table), 3)
    keys = {record["dynamodb"]["Keys"]["pk"]["S"] for shard in found.values() for record in shard}
    assert keys == {"b0", "b1", "b2"}


@pytest.fixture(scope="module")
def written(db, streams, make):
    """A stream of one shard at least, with ten records of one key."""
    table = streaming(make)
    for n in range(10):
        db.put_item(TableName=table, Item={"pk": {"S": "k"}, "v": {"N": str(n)}})
    arn = arn_of(db, table)
    found = records(streams, arn, 10)
    shard = next(name for name, list_ in found.items() if list_)
    return table, arn, {"ShardId": shard}, found[shard]


def numbers(answer):
    return [record["dynamodb"]["SequenceNumber"] for record in answer["Records"]]


def test_where_an_iterator_starts(db, streams, written):
    table, arn, shard, got = written
    sequence = [record["dynamodb"]["SequenceNumber"] for record in got]

    def start(kind, **more):
        return numbers(streams.get_records(ShardIterator=iterator(streams, arn, shard, kind, **more)))
    assert start("TRIM_HORIZON") == sequence
    assert start("AT_SEQUENCE_NUMBER", SequenceNumber=sequence[4]) == sequence[4:]
    assert start("AFTER_SEQUENCE_NUMBER", SequenceNumber=sequence[4]) == sequence[5:]
    latest = iterator(streams, arn, shard, "LATEST")
    assert streams.get_records(ShardIterator=latest)["Records"] == []
    # An iterator is a place: it can be read from again, and what comes later is behind it.
    db.put_item(TableName=table, Item={"pk": {"S": "k"}, "v": {"N": "99"}})
    late = eventually("the late record", lambda: streams.get_records(ShardIterator=latest)["Records"])
    assert late[0]["dynamodb"]["NewImage"]["v"] == {"N": "99"}


def test_limits_of_get_records(streams, written):
    _, arn, shard, got = written
    where, found = iterator(streams, arn, shard), []
    for _ in range(4):
        answer = streams.get_records(ShardIterator=where, Limit=3)
        assert len(answer["Records"]) <= 3
        found += numbers(answer)
        where = answer["NextShardIterator"]
    assert found[:10] == [record["dynamodb"]["SequenceNumber"] for record in got]
    where = iterator(streams, arn, shard)
    violations(streams.get_records, [violation("0", "limit", "have value greater than or equal to 1")],
               ShardIterator=where, Limit=0)
    streams.get_records(ShardIterator=where, Limit=1000)
    violations(streams.get_records, [violation("1001", "limit", "have value less than or equal to 1000")],
               ShardIterator=where, Limit=1001)
    violations(streams.get_records, [violation(None, "shardIterator", "not be null")])
    for nonsense in ("nonsense", where[:-8], where + "AAAA"):
        invalid(streams.get_records, re.compile("(?i)iterator"), ShardIterator=nonsense)


def test_iterators_that_are_none(streams, written):
    _, arn, shard, got = written
    call, good = streams.get_shard_iterator, {"StreamArn": arn, "ShardId": shard["ShardId"]}
    violations(call, [violation(None, "streamArn", "not be null"), violation(None, "shardId", "not be null"),
                      violation(None, "shardIteratorType", "not be null")])
    invalid(call, re.compile("shardIteratorType.*enum value set"), **good, ShardIteratorType="x")
    for kind in ("AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER"):
        invalid(call, re.compile("(?i)sequence ?number"), **good, ShardIteratorType=kind)
        invalid(call, re.compile("(?i)sequence ?number"), **good, ShardIteratorType=kind, SequenceNumber="x" * 30)
    invalid(call, re.compile("(?i)sequence ?number"), **good, ShardIteratorType="LATEST",
            SequenceNumber=got[0]["dynamodb"]["SequenceNumber"])
    refused(call, "ResourceNotFoundException", re.compile("(?i)shard|stream|resource"), StreamArn=arn,
            ShardId="shardId-00000000000000000000-00000000", ShardIteratorType="LATEST")
    refused(call, "ResourceNotFoundException", re.compile("(?i)not found"),
            StreamArn=re.sub("table/[^/]*", "table/no-such-table", arn), ShardId=shard["ShardId"],
            ShardIteratorType="LATEST")


def test_describe_stream(db, streams, written):
    table, arn, _, got = written
    described = streams.describe_stream(StreamArn=arn)["StreamDescription"]
    assert described["StreamArn"] == arn and described["TableName"] == table
    assert described["StreamStatus"] == "ENABLED" and described["StreamViewType"] == "NEW_AND_OLD_IMAGES"
    assert described["StreamLabel"] == arn.rsplit("/", 1)[1]
    assert described["KeySchema"] == [{"AttributeName": "pk", "KeyType": "HASH"}]
    assert described["Shards"]
    known = {shard["ShardId"] for shard in described["Shards"]}
    for shard in described["Shards"]:
        assert 28 <= len(shard["ShardId"]) <= 65
        assert shard["SequenceNumberRange"]["StartingSequenceNumber"]
        assert "EndingSequenceNumber" not in shard["SequenceNumberRange"], "a shard of a quiet table ended"
        assert shard.get("ParentShardId") not in known
    first = streams.describe_stream(StreamArn=arn, Limit=1)["StreamDescription"]
    assert len(first["Shards"]) == 1
    for limit, rule in ((0, "have value greater than or equal to 1"), (101, "have value less than or equal to 100")):
        violations(streams.describe_stream, [violation(str(limit), "limit", rule)], StreamArn=arn, Limit=limit)
    violations(streams.describe_stream, [violation(None, "streamArn", "not be null")])
    invalid(streams.describe_stream, re.compile("(?i)arn"), StreamArn="x" * 40)
    refused(streams.describe_stream, "ResourceNotFoundException", re.compile("(?i)not found"),
            StreamArn=re.sub("table/[^/]*", "table/no-such-table", arn))
    refused(streams.describe_stream, "ResourceNotFoundException", re.compile("(?i)not found"),
            StreamArn=arn.rsplit("/", 1)[0] + "/2001-01-01T00:00:00.000")


def test_list_streams(db, streams, written):
    table, arn, _, _ = written
    mine = streams.list_streams(TableName=table)["Streams"]
    assert mine == [{"StreamArn": arn, "TableName": table, "StreamLabel": arn.rsplit("/", 1)[1]}]
    everything, start = [], {}
    while True:
        answer = streams.list_streams(Limit=2, **start)
        everything += [stream["StreamArn"] for stream in answer["Streams"]]
        assert len(answer["Streams"]) <= 2
        if "LastEvaluatedStreamArn" not in answer:
            break
        start = {"ExclusiveStartStreamArn": answer["LastEvaluatedStreamArn"]}
    assert everything.count(arn) == 1
    for limit, rule in ((0, "have value greater than or equal to 1"), (101, "have value less than or equal to 100")):
        violations(streams.list_streams, [violation(str(limit), "limit", rule)], Limit=limit)
    refused(streams.list_streams, "ResourceNotFoundException", re.compile("(?i)not found"), TableName="no-such-table")
