"""Local secondary indexes: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/LSI.html"""

import re

import pytest

from kit import INVALID, invalid, items, local_index, pages, text_of_size

PARTITION = {":k": {"S": "k"}}


@pytest.fixture(scope="module")
def table(db, make):
    name = make({"key": {"pk": "S", "sk": "N"}, "others": {"word": "S", "amount": "N", "blob": "B"},
                 "LocalSecondaryIndexes": [
                     local_index("by-word", "word"),
                     local_index("by-amount", "amount", "KEYS_ONLY"),
                     local_index("by-blob", "blob", "INCLUDE", NonKeyAttributes=["kept"]),
                 ]})
    # Equal index keys, missing index keys, another partition key with the same values.
    for pk in ("k", "other"):
        for n in range(12):
            item = {"pk": {"S": pk}, "sk": {"N": str(n)}, "kept": {"S": f"kept {n}"}, "lost": {"S": f"lost {n}"}}
            if n % 4 != 3:
                item |= {"word": {"S": "abc"[n % 3]}, "amount": {"N": str(-n)}, "blob": {"B": bytes([n % 2])}}
            db.put_item(TableName=name, Item=item)
    return name


def ask(table, index, condition="pk = :k", values=None, **more):
    return {"TableName": table, "IndexName": index, "KeyConditionExpression": condition, "ConsistentRead": True,
            "ExpressionAttributeValues": {**PARTITION, **(values or {})}, **more}


def sort_keys(found):
    return [int(item["sk"]["N"]) for item in found]


IN_ORDER_OF_WORD = sorted((n for n in range(12) if n % 4 != 3), key=lambda n: "abc"[n % 3])


def test_items_in_the_order_of_the_index(db, table):
    found = items(db.query, **ask(table, "by-word"))
    assert [item["word"]["S"] for item in found] == sorted(item["word"]["S"] for item in found)
    assert sorted(sort_keys(found)) == sorted(IN_ORDER_OF_WORD)
    assert all(item["pk"] == {"S": "k"} for item in found)
    amounts = sort_keys(items(db.query, **ask(table, "by-amount")))
    assert amounts == [n for n in range(11, -1, -1) if n % 4 != 3]
    assert sort_keys(items(db.query, **ask(table, "by-amount", ScanIndexForward=False))) == amounts[::-1]


def test_ranges_of_the_index(db, table):
    def found(condition, **values):
        return sorted(sort_keys(items(db.query, **ask(table, "by-amount", f"pk = :k AND {condition}",
                                                      {f":{name}": {"N": value} for name, value in values.items()}))))
    assert found("amount = :a", a="-5") == [5]
    assert found("amount < :a", a="-8") == [9, 10]
    assert found("amount BETWEEN :a AND :b", a="-5", b="-1") == [1, 2, 4, 5]
    words = ask(table, "by-word", "pk = :k AND begins_with(word, :a)", {":a": {"S": "b"}})
    assert sorted(sort_keys(items(db.query, **words))) == [n for n in range(12) if n % 4 != 3 and n % 3 == 1]
    invalid(db.query, "Query condition missed key schema element: word",
            **ask(table, "by-word", "pk = :k AND sk = :a", {":a": {"N": "1"}}))


@pytest.mark.parametrize("index", ["by-word", "by-blob", "by-amount"])
@pytest.mark.parametrize("limit", [1, 2, 100])
@pytest.mark.parametrize("forward", [True, False])
def test_pages_pass_no_item_twice(db, table, index, limit, forward):
    got = list(pages(db.query, **ask(table, index, Limit=limit, ScanIndexForward=forward)))
    found = sort_keys(item for page in got for item in page["Items"])
    assert sorted(found) == sorted(IN_ORDER_OF_WORD), "equal index keys got lost between pages"
    attribute = index.removeprefix("by-")
    for page in got[:-1]:
        assert set(page["LastEvaluatedKey"]) == {"pk", "sk", attribute}


def test_starting_keys_name_the_index_too(db, table):
    for key in ({"pk": {"S": "k"}, "sk": {"N": "1"}}, {"pk": {"S": "k"}, "word": {"S": "a"}},
                {"pk": {"S": "k"}, "sk": {"N": "1"}, "word": {"N": "1"}}):
        invalid(db.query, re.compile("(?i)start(ing)? key"), **ask(table, "by-word", ExclusiveStartKey=key))


def test_projections_of_the_index(db, table):
    def names(index, **more):
        return {frozenset(item) for item in items(db.query, **ask(table, index, **more))}
    everything = frozenset({"pk", "sk", "word", "amount", "blob", "kept", "lost"})
    assert names("by-word") == {everything}
    assert names("by-amount") == {frozenset({"pk", "sk", "amount"})}
    assert names("by-blob") == {frozenset({"pk", "sk", "blob", "kept"})}
    assert names("by-amount", Select="ALL_PROJECTED_ATTRIBUTES") == {frozenset({"pk", "sk", "amount"})}
    # What a local index does not hold is fetched from the table.
    assert names("by-amount", Select="ALL_ATTRIBUTES") == {everything}
    assert names("by-amount", ProjectionExpression="lost, sk") == {frozenset({"lost", "sk"})}
    assert db.query(**ask(table, "by-amount", Select="COUNT"))["Count"] == 9


def test_filters_see_what_the_index_holds(db, table):
    found = items(db.query, **ask(table, "by-word", FilterExpression="lost = :l", values={":l": {"S": "lost 4"}}))
    assert sort_keys(found) == [4]
    # The index's key is no primary key for a filter over the table; over the index it is.
    invalid(db.query, "Filter Expression can only contain non-primary key attributes: Primary key attribute: word",
            **ask(table, "by-word", FilterExpression="word = :l", values={":l": {"S": "a"}}))


@pytest.mark.parametrize("index", ["by-word", "by-amount"])
def test_scans_of_the_index(db, table, index):
    found = items(db.scan, TableName=table, IndexName=index, ConsistentRead=True, Limit=5)
    assert len(found) == 18 and {item["pk"]["S"] for item in found} == {"k", "other"}
    shared = []
    for segment in range(3):
        shared += items(db.scan, TableName=table, IndexName=index, ConsistentRead=True, Segment=segment, TotalSegments=3)
    key = lambda item: (item["pk"]["S"], int(item["sk"]["N"]))
    assert sorted(map(key, shared)) == sorted(map(key, found))


def test_the_index_follows_every_kind_of_write(db, table):
    def indexed():
        return {item["sk"]["N"]: item["word"]["S"]
                for item in items(db.query, **ask(table, "by-word", values={":k": {"S": "follow"}}))}

    key = {"pk": {"S": "follow"}, "sk": {"N": "1"}}
    db.put_item(TableName=table, Item=key)
    assert indexed() == {}, "an item without the attribute is in the index"
    db.update_item(TableName=table, Key=key, UpdateExpression="SET word = :w", ExpressionAttributeValues={":w": {"S": "a"}})
    assert indexed() == {"1": "a"}
    db.update_item(TableName=table, Key=key, UpdateExpression="SET word = :w", ExpressionAttributeValues={":w": {"S": "z"}})
    assert indexed() == {"1": "z"}
    db.put_item(TableName=table, Item={**key, "word": {"S": "m"}})
    assert indexed() == {"1": "m"}
    db.update_item(TableName=table, Key=key, UpdateExpression="REMOVE word")
    assert indexed() == {}
    db.batch_write_item(RequestItems={table: [{"PutRequest": {"Item": {**key, "word": {"S": "b"}}}}]})
    assert indexed() == {"1": "b"}
    db.delete_item(TableName=table, Key=key)
    assert indexed() == {}


def test_projected_attributes_follow_too(db, table):
    key = {"pk": {"S": "projected"}, "sk": {"N": "1"}}
    db.put_item(TableName=table, Item={**key, "blob": {"B": b"x"}, "kept": {"S": "old"}})
    db.update_item(TableName=table, Key=key, UpdateExpression="SET kept = :n", ExpressionAttributeValues={":n": {"S": "new"}})
    found = items(db.query, **ask(table, "by-blob", values={":k": {"S": "projected"}}))
    assert [item["kept"] for item in found] == [{"S": "new"}]


def test_index_keys_have_their_type_and_size(db, table):
    key = {"pk": {"S": "typed"}, "sk": {"N": "1"}}
    mismatch = INVALID + "Type mismatch for Index Key word Expected: S Actual: N IndexName: by-word"
    invalid(db.put_item, mismatch, TableName=table, Item={**key, "word": {"N": "1"}})
    invalid(db.batch_write_item, mismatch,
            RequestItems={table: [{"PutRequest": {"Item": {**key, "word": {"N": "1"}}}}]})
    for text, value in (("SET word = :v", {"N": "1"}), ("SET word = :v", {"NULL": True}), ("ADD word :v", {"N": "1"})):
        invalid(db.update_item, re.compile("(?i)type mismatch|attempted to update the secondary index key to unsupported type"), TableName=table, Key=key, UpdateExpression=text,
                ExpressionAttributeValues={":v": value})
    longest = {**key, "word": {"S": "x" * 1024}}
    db.put_item(TableName=table, Item=longest)
    found = items(db.query, **ask(table, "by-word", values={":k": {"S": "typed"}}))
    assert found == [longest]
    invalid(db.put_item, re.compile("(?i)size.*1024"), TableName=table, Item={**key, "word": {"S": "x" * 1025}})
    invalid(db.put_item, re.compile("(?i)empty string value.*word"), TableName=table, Item={**key, "word": {"S": ""}})
    assert db.get_item(TableName=table, Key=key, ConsistentRead=True)["Item"] == longest


def test_a_page_of_an_index_ends_at_1_mb(db, table):
    for n in range(5):
        db.put_item(TableName=table, Item={"pk": {"S": "big"}, "sk": {"N": str(n)}, "word": {"S": "w"},
                                           "v": text_of_size(300 << 10)})
    got = list(pages(db.query, **ask(table, "by-word", values={":k": {"S": "big"}})))
    assert sorted(sort_keys(item for page in got for item in page["Items"])) == list(range(5))
    assert len(got) > 1
    for n in range(5):
        db.delete_item(TableName=table, Key={"pk": {"S": "big"}, "sk": {"N": str(n)}})


def test_selects_that_an_index_cannot_answer(db, table):
    invalid(db.query, "The table does not have the specified index: absent", **ask(table, "absent"))
    invalid(db.scan, "The table does not have the specified index: absent", TableName=table, IndexName="absent")
    invalid(db.query, re.compile("choosing to get ALL_PROJECTED_ATTRIBUTES"),
            **ask(table, "by-word", Select="ALL_PROJECTED_ATTRIBUTES", ProjectionExpression="word"))
