"""GetItem: https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_GetItem.html"""

import re

import pytest

from kit import ENVELOPE, INVALID, KEY_MISMATCH, NOT_FOUND, invalid, refused, violation, violations

ITEM = {
    "pk": {"S": "k"},
    "a": {"S": "x"},
    "b": {"L": [{"S": "zero"}, {"S": "one"}, {"M": {"red": {"N": "2"}, "blue": {"N": "3"}}}]},
    "c": {"M": {"d": {"M": {"e": {"S": "deep"}, "f": {"BOOL": True}}}, "dotted.name": {"S": "y"}}},
}
KEY = {"pk": {"S": "k"}}


@pytest.fixture(scope="module")
def table(db, simple):
    db.put_item(TableName=simple, Item=ITEM)
    return simple


def project(db, table, text, names=None):
    parameters = {"ExpressionAttributeNames": names} if names else {}
    answer = db.get_item(TableName=table, Key=KEY, ConsistentRead=True, ProjectionExpression=text, **parameters)
    return answer.get("Item")


def test_strong_and_eventual_reads(db, table):
    assert db.get_item(TableName=table, Key=KEY, ConsistentRead=True)["Item"] == ITEM
    for parameters in ({}, {"ConsistentRead": False}):
        found = db.get_item(TableName=table, Key=KEY, **parameters)
        assert found.get("Item") in (ITEM, None)


def test_an_item_that_is_not_there(db, table):
    answer = db.get_item(TableName=table, Key={"pk": {"S": "absent"}}, ConsistentRead=True)
    assert set(answer) == {"ResponseMetadata"}


def test_every_router_sees_what_another_wrote(db, cluster, simple):
    for n, node in enumerate(cluster.nodes):
        item = {"pk": {"S": f"router {n}"}, "v": {"N": str(n)}}
        db.put_item(TableName=simple, Item=item)
        other = cluster.client("dynamodb", node)
        assert other.get_item(TableName=simple, Key={"pk": item["pk"]}, ConsistentRead=True)["Item"] == item


def test_projections(db, table):
    assert project(db, table, "a") == {"a": ITEM["a"]}
    assert project(db, table, "pk, a") == {"pk": ITEM["pk"], "a": ITEM["a"]}
    assert project(db, table, "b[1]") == {"b": {"L": [{"S": "one"}]}}
    # Elements keep their order, and not their numbers.
    assert project(db, table, "b[2].blue, b[0]") == {"b": {"L": [{"S": "zero"}, {"M": {"blue": {"N": "3"}}}]}}
    assert project(db, table, "c.d.e, c.d.f") == {"c": {"M": {"d": ITEM["c"]["M"]["d"]}}}
    assert project(db, table, "c.#n", {"#n": "dotted.name"}) == {"c": {"M": {"dotted.name": {"S": "y"}}}}
    assert project(db, table, "#a", {"#a": "a"}) == {"a": ITEM["a"]}


def test_projections_of_nothing_give_an_empty_item(db, table):
    assert project(db, table, "absent, b[7], a.inside, c[0]") == {}


@pytest.mark.parametrize("text, message", [
    ("", "The expression can not be empty;"),
    ("a,", 'Syntax error; token: "<EOF>", near: ","'),
    (",a", re.compile(r'Syntax error; token: ",", near: ')),
    ("a b", 'Syntax error; token: "b", near: "a b"'),
    ("a.", re.compile("Syntax error")),
    ("b[x]", re.compile("Syntax error")),
    ("a, a", "Two document paths overlap with each other; must remove or rewrite one of these paths; "
             "path one: [a], path two: [a]"),
    ("c, c.d", "Two document paths overlap with each other; must remove or rewrite one of these paths; "
               "path one: [c], path two: [c, d]"),
    ("c.d, c[0]", "Two document paths conflict with each other; must remove or rewrite one of these paths; "
                  "path one: [c, d], path two: [c, [0]]"),
    ("#undefined", "An expression attribute name used in the document path is not defined; "
                   "attribute name: #undefined"),
    ("name", "Attribute name is a reserved keyword; reserved keyword: name"),
    ("size(a)", re.compile("Syntax error")),
    ("." .join("a" * 33), re.compile("nesting|path|depth", re.I)),
    ("a" * 4097, "Expression size has exceeded the maximum allowed size; expression size: 4097"),
])
def test_projections_that_are_none(db, table, text, message):
    prefix = "Invalid ProjectionExpression: "
    if isinstance(message, str):
        message = prefix + message
    answer = invalid(db.get_item, message, TableName=table, Key=KEY, ProjectionExpression=text)
    assert answer["Error"]["Message"].removeprefix(ENVELOPE).startswith(prefix)


def test_names_of_projections(db, table):
    def bad(message, **parameters):
        invalid(db.get_item, message, TableName=table, Key=KEY, **parameters)

    bad("ExpressionAttributeNames can only be specified when using expressions", ExpressionAttributeNames={"#a": "a"})
    bad("Value provided in ExpressionAttributeNames unused in expressions: keys: {#a}",
        ProjectionExpression="a", ExpressionAttributeNames={"#a": "a"})
    bad("ExpressionAttributeNames must not be empty", ProjectionExpression="a", ExpressionAttributeNames={})
    bad("Can not use both expression and non-expression parameters in the same request: "
        "Non-expression parameters: {AttributesToGet} Expression parameters: {ProjectionExpression}",
        ProjectionExpression="a", AttributesToGet=["a"])


@pytest.mark.parametrize("key", [
    {}, {"other": {"S": "k"}}, {"pk": {"N": "1"}}, {"pk": {"S": "k"}, "sk": {"S": "k"}}, {"pk": {"NULL": True}},
    {"PK": {"S": "k"}},
])
def test_keys_that_are_not_the_tables(db, table, key):
    invalid(db.get_item, KEY_MISMATCH, TableName=table, Key=key)


def test_keys_that_no_item_can_have(db, table, ranged):
    invalid(db.get_item, INVALID + "Size of hashkey has exceeded the maximum size limit of2048 bytes",
            TableName=table, Key={"pk": {"S": "x" * 2049}})
    invalid(db.get_item, "One or more parameter values are not valid. The AttributeValue for a key attribute "
            "cannot contain an empty string value. Key: pk", TableName=table, Key={"pk": {"S": ""}})
    invalid(db.get_item, KEY_MISMATCH, TableName=ranged, Key={"pk": {"S": "k"}})
    invalid(db.get_item, KEY_MISMATCH, TableName=ranged, Key={"pk": {"S": "k"}, "sk": {"S": "1"}})
    invalid(db.get_item, "The parameter cannot be converted to a numeric value: x",
            TableName=ranged, Key={"pk": {"S": "k"}, "sk": {"N": "x"}})
    invalid(db.get_item, "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes",
            TableName=table, Key={"pk": {}})


def test_parameters(db, table):
    violations(db.get_item, [violation(None, "tableName", "not be null"), violation(None, "key", "not be null")])
    violations(db.get_item, [violation("x", "returnConsumedCapacity",
                                       "satisfy enum value set: [INDEXES, TOTAL, NONE]")],
               TableName=table, Key=KEY, ReturnConsumedCapacity="x")
    violations(db.get_item, [violation("[]", "attributesToGet", "have length greater than or equal to 1")],
               TableName=table, Key=KEY, AttributesToGet=[])
    refused(db.get_item, "ResourceNotFoundException", NOT_FOUND, TableName="no-such-table", Key=KEY)


def test_a_table_may_be_named_by_its_arn(db, table):
    arn = db.describe_table(TableName=table)["Table"]["TableArn"]
    assert db.get_item(TableName=arn, Key=KEY, ConsistentRead=True)["Item"] == ITEM
    elsewhere = arn.rsplit("/", 1)[0] + "/no-such-table"
    refused(db.get_item, "ResourceNotFoundException", NOT_FOUND, TableName=elsewhere, Key=KEY)
