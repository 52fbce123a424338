"""ReturnConsumedCapacity and ReturnItemCollectionMetrics:
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html"""

import pytest

from kit import HASH, local_index, refused, text_of_size

KB = 1024


def units(answer):
    return answer["ConsumedCapacity"]["CapacityUnits"]


@pytest.fixture(scope="module")
def indexed(make):
    return make({"key": {"pk": "S", "sk": "N"}, "others": {"word": "S", "mark": "S"}, "LocalSecondaryIndexes": [
        local_index("by-word", "word"), local_index("by-mark", "mark", "KEYS_ONLY")]})


def sized(key, size):
    """An item of exactly so many bytes."""
    item = {"pk": {"S": key}, "v": text_of_size(size - len("pk") - len(key) - len("v"))}
    return item


def put(db, table, item, **more):
    return db.put_item(TableName=table, Item=item, ReturnConsumedCapacity="TOTAL", **more)


@pytest.mark.parametrize("size, wanted", [(10, 1), (KB, 1), (KB + 1, 2), (3 * KB, 3), (3 * KB + 1, 4), (400 * KB, 400)])
def test_a_write_takes_a_unit_per_kb(db, simple, size, wanted):
    assert units(put(db, simple, sized("write", size))) == wanted
    assert units(db.delete_item(TableName=simple, Key={"pk": {"S": "write"}}, ReturnConsumedCapacity="TOTAL")) == wanted


@pytest.mark.parametrize("size, wanted", [(10, 1), (4 * KB, 1), (4 * KB + 1, 2), (12 * KB, 3), (400 * KB, 100)])
def test_a_read_takes_a_unit_per_4_kb_and_half_if_eventual(db, simple, size, wanted):
    key = f"read {size}"
    db.put_item(TableName=simple, Item=sized(key, size))
    key = {"TableName": simple, "Key": {"pk": {"S": key}}, "ReturnConsumedCapacity": "TOTAL"}
    assert units(db.get_item(**key, ConsistentRead=True)) == wanted
    assert units(db.get_item(**key, ConsistentRead=True, ProjectionExpression="pk")) == wanted
    half = units(db.get_item(**key))
    assert half == wanted / 2 or half == 0.5  # a copy behind may not have it yet


def test_what_is_not_there_costs_too(db, simple):
    absent = {"TableName": simple, "Key": {"pk": {"S": "absent"}}, "ReturnConsumedCapacity": "TOTAL"}
    assert units(db.get_item(**absent, ConsistentRead=True)) == 1
    assert units(db.get_item(**absent)) == 0.5
    assert units(db.delete_item(**absent)) == 1


def test_the_larger_of_before_and_after(db, simple):
    assert units(put(db, simple, sized("larger", 5 * KB))) == 5
    assert units(put(db, simple, sized("larger", 10))) == 5
    assert units(put(db, simple, sized("larger", 3 * KB))) == 3
    update = {"TableName": simple, "Key": {"pk": {"S": "larger"}}, "ReturnConsumedCapacity": "TOTAL"}
    assert units(db.update_item(**update, UpdateExpression="ADD n :one",
                                ExpressionAttributeValues={":one": {"N": "1"}})) == 4
    assert units(db.update_item(**update, UpdateExpression="REMOVE v")) == 4
    assert units(db.update_item(**update, UpdateExpression="REMOVE v")) == 1


def test_a_failed_condition_costs_too(db, simple, wire):
    db.put_item(TableName=simple, Item=sized("failed", 10))
    # The answer of a refusal has no place for it: it is seen in what follows only.
    answer = refused(db.put_item, "ConditionalCheckFailedException", TableName=simple, Item=sized("failed", 10),
                     ConditionExpression="attribute_not_exists(pk)", ReturnConsumedCapacity="TOTAL")
    assert "Attributes" not in answer


def test_queries_and_scans_round_the_sum(db, make):
    table = make({"key": {"pk": "S", "sk": "N"}})
    for n in range(10):
        db.put_item(TableName=table, Item={"pk": {"S": "k"}, "sk": {"N": str(n)}, "v": text_of_size(1000)})
    # 10 items of a bit over 1,000 bytes: three times 4 KB, not ten.
    query = {"TableName": table, "KeyConditionExpression": "pk = :k", "ExpressionAttributeValues": {":k": {"S": "k"}},
             "ReturnConsumedCapacity": "TOTAL"}
    assert units(db.query(**query, ConsistentRead=True)) == 3
    assert units(db.query(**query)) in (1.5, 1.0, 0.5)
    assert units(db.query(**query, ConsistentRead=True, Select="COUNT", FilterExpression="attribute_exists(absent)")) == 3
    assert units(db.query(**query, ConsistentRead=True, Limit=4)) == 1 + (4 * 1010 > 4 * KB)
    scan = {"TableName": table, "ReturnConsumedCapacity": "TOTAL"}
    assert units(db.scan(**scan, ConsistentRead=True)) == 3
    nothing = {**query, "ExpressionAttributeValues": {":k": {"S": "absent"}}}
    assert units(db.query(**nothing, ConsistentRead=True)) == 1
    assert units(db.query(**nothing)) == 0.5


def test_batches_round_each_item(db, simple):
    requests = [{"PutRequest": {"Item": sized(f"b{n}", 100 + 1024 * (n % 2))}} for n in range(4)]
    answer = db.batch_write_item(RequestItems={simple: requests}, ReturnConsumedCapacity="TOTAL")
    assert answer["ConsumedCapacity"] == [{"TableName": simple, "CapacityUnits": 6.0}]
    keys = [{"pk": {"S": f"b{n}"}} for n in range(5)]
    answer = db.batch_get_item(RequestItems={simple: {"Keys": keys, "ConsistentRead": True}},
                               ReturnConsumedCapacity="TOTAL")
    # Five items of less than 4 KB, one of which is not there.
    assert answer["ConsumedCapacity"] == [{"TableName": simple, "CapacityUnits": 5.0}]


def test_levels_of_detail(db, simple, indexed):
    item = {"pk": {"S": "k"}, "sk": {"N": "1"}}
    answer = db.put_item(TableName=indexed, Item=item)
    assert "ConsumedCapacity" not in answer
    assert "ConsumedCapacity" not in db.put_item(TableName=indexed, Item=item, ReturnConsumedCapacity="NONE")
    total = db.put_item(TableName=indexed, Item=item, ReturnConsumedCapacity="TOTAL")["ConsumedCapacity"]
    assert total == {"TableName": indexed, "CapacityUnits": 1.0}
    detail = db.put_item(TableName=simple, Item={"pk": {"S": "k"}}, ReturnConsumedCapacity="INDEXES")["ConsumedCapacity"]
    assert detail == {"TableName": simple, "CapacityUnits": 1.0, "Table": {"CapacityUnits": 1.0}}


def test_a_write_pays_for_each_index_that_it_changes(db, indexed):
    def cost(call, **parameters):
        answer = call(TableName=indexed, ReturnConsumedCapacity="INDEXES", **parameters)["ConsumedCapacity"]
        local = {name: index["CapacityUnits"] for name, index in answer.get("LocalSecondaryIndexes", {}).items()}
        assert answer["CapacityUnits"] == answer["Table"]["CapacityUnits"] + sum(local.values())
        return answer["Table"]["CapacityUnits"], local

    key = {"pk": {"S": "pays"}, "sk": {"N": "1"}}
    assert cost(db.put_item, Item=key) == (1, {})
    # A new row in one index, in the other nothing.
    assert cost(db.put_item, Item={**key, "word": {"S": "a"}}) == (1, {"by-word": 1})
    # The old row goes, a new one comes.
    assert cost(db.put_item, Item={**key, "word": {"S": "b"}}) == (1, {"by-word": 2})
    # A projected attribute changes: one write.
    assert cost(db.put_item, Item={**key, "word": {"S": "b"}, "x": {"S": "y"}}) == (1, {"by-word": 1})
    assert cost(db.put_item, Item={**key, "word": {"S": "b"}, "x": {"S": "y"}, "mark": {"S": "m"}}) == (
        1, {"by-word": 1, "by-mark": 1})
    # KEYS_ONLY: what is not projected costs nothing there.
    assert cost(db.update_item, Key=key, UpdateExpression="SET x = :x",
                ExpressionAttributeValues={":x": {"S": "z"}}) == (1, {"by-word": 1})
    assert cost(db.delete_item, Key=key) == (1, {"by-word": 1, "by-mark": 1})


def test_a_read_of_an_index_pays_there(db, indexed):
    for n in range(3):
        db.put_item(TableName=indexed, Item={"pk": {"S": "reads"}, "sk": {"N": str(n)}, "mark": {"S": "m"},
                                             "v": text_of_size(5000)})
    query = {"TableName": indexed, "KeyConditionExpression": "pk = :k", "ConsistentRead": True, "IndexName": "by-mark",
             "ExpressionAttributeValues": {":k": {"S": "reads"}}, "ReturnConsumedCapacity": "INDEXES"}
    consumed = db.query(**query)["ConsumedCapacity"]
    assert consumed["LocalSecondaryIndexes"] == {"by-mark": {"CapacityUnits": 1.0}}
    assert consumed["CapacityUnits"] == 1.0 and consumed["Table"] == {"CapacityUnits": 0.0}
    # Three items of 5,000 bytes fetched from the table: two units each.
    consumed = db.query(**query, Select="ALL_ATTRIBUTES")["ConsumedCapacity"]
    assert consumed["LocalSecondaryIndexes"] == {"by-mark": {"CapacityUnits": 1.0}}
    assert consumed["Table"] == {"CapacityUnits": 6.0} and consumed["CapacityUnits"] == 7.0


def test_item_collections(db, indexed, simple):
    item = {"pk": {"S": "collection"}, "sk": {"N": "1"}}
    metrics = db.put_item(TableName=indexed, Item=item, ReturnItemCollectionMetrics="SIZE")["ItemCollectionMetrics"]
    assert metrics["ItemCollectionKey"] == {"pk": {"S": "collection"}}
    low, high = metrics["SizeEstimateRangeGB"]
    assert 0 <= low <= high <= 10
    for call, parameters in ((db.update_item, {"Key": item}), (db.delete_item, {"Key": item})):
        assert "ItemCollectionMetrics" in call(TableName=indexed, ReturnItemCollectionMetrics="SIZE", **parameters)
    batch = db.batch_write_item(RequestItems={indexed: [{"PutRequest": {"Item": item}}]},
                                ReturnItemCollectionMetrics="SIZE")["ItemCollectionMetrics"]
    assert [one["ItemCollectionKey"] for one in batch[indexed]] == [{"pk": {"S": "collection"}}]
    # A table without local indexes has no item collections.
    answer = db.put_item(TableName=simple, Item={"pk": {"S": "k"}}, ReturnItemCollectionMetrics="SIZE")
    assert "ItemCollectionMetrics" not in answer
    answer = db.put_item(TableName=indexed, Item=item, ReturnItemCollectionMetrics="NONE")
    assert "ItemCollectionMetrics" not in answer


def test_sizes_of_every_type(db, make):
    # AWS: names and values; numbers one byte per two digits and one more; lists and maps three bytes and one per
    # element; null and Boolean one byte.
    table = make(HASH)
    fixed = {"pk": {"S": "k"}, "t": {"BOOL": True}, "z": {"NULL": True}, "b": {"B": b"12345"}, "s": {"SS": ["ab", "c"]}}
    size = (2 + 1) + (1 + 1) + (1 + 1) + (1 + 5) + (1 + 3)
    for fill, wanted in ((KB - size - 1, 1), (KB - size, 2)):
        assert units(put(db, table, {**fixed, "f": text_of_size(fill)})) == wanted
