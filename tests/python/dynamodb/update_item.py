"""UpdateItem: https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_UpdateItem.html"""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from kit import CONDITION_FAILED, ENVELOPE, INVALID, KEY_MISMATCH, NOT_FOUND, invalid, nested, refused, text_of_size
from kit import violation, violations

KEY = {"pk": {"S": "k"}}
BEFORE = {
    "n": {"N": "10"}, "s": {"S": "x"}, "l": {"L": [{"N": "0"}, {"N": "1"}, {"N": "2"}]},
    "m": {"M": {"a": {"N": "1"}, "b": {"M": {"c": {"S": "y"}}}}},
    "ss": {"SS": ["a", "b"]}, "ns": {"NS": ["1", "2"]}, "bs": {"BS": [b"a"]}, "t": {"BOOL": True},
}
VALUES = {
    ":one": {"N": "1"}, ":two": {"N": "2"}, ":text": {"S": "new"}, ":list": {"L": [{"S": "p"}]}, ":empty": {"L": []},
    ":ss": {"SS": ["b", "c"]}, ":ab": {"SS": ["a", "b"]}, ":ns": {"NS": ["2", "3"]}, ":bs": {"BS": [b"b"]},
    ":map": {"M": {"z": {"N": "9"}}}, ":true": {"BOOL": True}, ":big": {"N": "9E125"}, ":null": {"NULL": True},
}


def sorted_sets(attributes):
    """Sets have no order: for comparing, the order of their members."""
    return {
        name: {kind: sorted(inner) if kind in ("SS", "NS", "BS") else inner for kind, inner in value.items()}
        for name, value in attributes.items()
    }


def expression(text, names=None, **more):
    used = {name: value for name, value in VALUES.items() if re.search(name + r"\b", text)}
    return {
        "UpdateExpression": text,
        **({"ExpressionAttributeValues": used} if used else {}),
        **({"ExpressionAttributeNames": names} if names else {}),
        **more,
    }


def get(db, table, key="k"):
    return db.get_item(TableName=table, Key={"pk": {"S": key}}, ConsistentRead=True).get("Item")


@pytest.fixture
def table(db, simple):
    db.put_item(TableName=simple, Item={**KEY, **BEFORE})
    return simple


CHANGES = [
    ("SET n = :two", {"n": {"N": "2"}}),
    ("SET fresh = :map", {"fresh": VALUES[":map"]}),
    ("SET n = n + :one, s = :text", {"n": {"N": "11"}, "s": {"S": "new"}}),
    ("SET n = n - :two", {"n": {"N": "8"}}),
    ("SET n = :one - n", {"n": {"N": "-9"}}),
    ("SET fresh = n + m.a", {"fresh": {"N": "11"}}),
    ("SET n = if_not_exists(n, :one)", {"n": {"N": "10"}}),
    ("SET fresh = if_not_exists(fresh, :one)", {"fresh": {"N": "1"}}),
    ("SET fresh = if_not_exists(fresh, :one) + :two", {"fresh": {"N": "3"}}),
    ("SET l = list_append(l, :list)", {"l": {"L": BEFORE["l"]["L"] + [{"S": "p"}]}}),
    ("SET l = list_append(:list, l)", {"l": {"L": [{"S": "p"}] + BEFORE["l"]["L"]}}),
    ("SET fresh = list_append(if_not_exists(fresh, :empty), :list)", {"fresh": VALUES[":list"]}),
    ("SET l[1] = :text", {"l": {"L": [{"N": "0"}, {"S": "new"}, {"N": "2"}]}}),
    # Beyond the end: appended.
    ("SET l[9] = :text", {"l": {"L": BEFORE["l"]["L"] + [{"S": "new"}]}}),
    ("SET m.a = :two, m.fresh = :text",
     {"m": {"M": {"a": {"N": "2"}, "fresh": {"S": "new"}, "b": BEFORE["m"]["M"]["b"]}}}),
    ("SET m.b.c = :one", {"m": {"M": {"a": {"N": "1"}, "b": {"M": {"c": {"N": "1"}}}}}}),
    # Every right-hand side sees the item as it was.
    ("SET n = s, s = n", {"n": {"S": "x"}, "s": {"N": "10"}}),
    ("SET s = l[0], fresh = m.b", {"s": {"N": "0"}, "fresh": BEFORE["m"]["M"]["b"]}),
    ("REMOVE n, absent", {"n": None}),
    ("REMOVE l[0], l[2]", {"l": {"L": [{"N": "1"}]}}),
    ("REMOVE l[7]", {}),
    ("REMOVE m.b.c, m.a", {"m": {"M": {"b": {"M": {}}}}}),
    ("ADD n :two", {"n": {"N": "12"}}),
    ("ADD fresh :two", {"fresh": {"N": "2"}}),
    ("ADD fresh :ss", {"fresh": VALUES[":ss"]}),
    ("ADD ss :ss, ns :ns, bs :bs",
     {"ss": {"SS": ["a", "b", "c"]}, "ns": {"NS": ["1", "2", "3"]}, "bs": {"BS": [b"a", b"b"]}}),
    ("ADD m.a :two", {"m": {"M": {"a": {"N": "3"}, "b": BEFORE["m"]["M"]["b"]}}}),
    ("DELETE ss :ss", {"ss": {"SS": ["a"]}}),
    ("DELETE absent :ss", {}),
    # An empty set cannot be: the attribute goes.
    ("DELETE ss :ab", {"ss": None}),
    ("SET n = :one REMOVE s ADD fresh :two DELETE ss :ss",
     {"n": {"N": "1"}, "s": None, "fresh": {"N": "2"}, "ss": {"SS": ["a"]}}),
    ("set n=:one remove s", {"n": {"N": "1"}, "s": None}),
]


@pytest.mark.parametrize("text, changes", CHANGES)
def test_what_an_expression_does(db, table, text, changes):
    after = {**KEY, **BEFORE, **changes}
    wanted = {name: value for name, value in after.items() if value is not None}
    answer = db.update_item(TableName=table, Key=KEY, ReturnValues="ALL_NEW", **expression(text))
    assert sorted_sets(answer["Attributes"]) == sorted_sets(wanted)
    assert sorted_sets(get(db, table)) == sorted_sets(wanted)


def test_names_stand_for_anything(db, table):
    db.update_item(TableName=table, Key=KEY, **expression("SET #a.#b = :one, #c = :two",
                                                          {"#a": "m", "#b": "a.b", "#c": "size"}))
    assert get(db, table)["m"]["M"]["a.b"] == {"N": "1"}
    assert get(db, table)["size"] == {"N": "2"}


WRONG = [
    ("", "The expression can not be empty;"),
    ("SET", 'Syntax error; token: "<EOF>", near: "SET"'),
    ("SET n", re.compile(r'Syntax error; token: "<EOF>", near: "n"')),
    ("SET n =", re.compile(r'Syntax error; token: "<EOF>", near: "="')),
    ("n = :one", re.compile(r'Syntax error; token: "n", near: "n ="')),
    ("SET n == :one", re.compile(r'Syntax error; token: "=", near: ')),
    ("SET n = :one,", re.compile(r'Syntax error; token: "<EOF>", near: ","')),
    ("SET n = 5", re.compile(r'Syntax error; token: "5", near: "= 5"')),
    ("REMOVE n = :one", re.compile(r'Syntax error; token: "=", near: "n = :one"')),
    ("ADD n + :one", re.compile(r'Syntax error; token: "\+"')),
    ("ADD n n", re.compile("Syntax error")),
    ("SET n = :one + :two + :one", re.compile(r'Syntax error; token: "\+"')),
    ("SET n = :one SET s = :two", 'The "SET" section can only be used once in an update expression;'),
    ("REMOVE n REMOVE s", 'The "REMOVE" section can only be used once in an update expression;'),
    ("SET n = :one, n = :two", "Two document paths overlap with each other; must remove or rewrite one of these "
                               "paths; path one: [n], path two: [n]"),
    ("SET m = :map, m.a = :two", "Two document paths overlap with each other; must remove or rewrite one of these "
                                 "paths; path one: [m], path two: [m, a]"),
    ("SET m.a = :one REMOVE m[0]", "Two document paths conflict with each other; must remove or rewrite one of "
                                   "these paths; path one: [m, a], path two: [m, [0]]"),
    ("SET n = :undefined", "An expression attribute value used in expression is not defined; "
                           "attribute value: :undefined"),
    ("SET #u = :one", "An expression attribute name used in the document path is not defined; attribute name: #u"),
    ("SET name = :one", "Attribute name is a reserved keyword; reserved keyword: name"),
    ("SET n = foo(:one)", "Invalid function name; function: foo"),
    ("SET n = size(s)", "The function is not allowed in an update expression; function: size"),
    ("SET n = attribute_exists(s)", "The function is not allowed in an update expression; "
                                    "function: attribute_exists"),
    ("SET n = if_not_exists(n)", "Incorrect number of operands for operator or function; "
                                 "operator or function: if_not_exists, number of operands: 1"),
    ("SET n = list_append(l, l, l)", "Incorrect number of operands for operator or function; "
                                     "operator or function: list_append, number of operands: 3"),
    ("SET n = list_append(l, :one)", "Incorrect operand type for operator or function; "
                                     "operator or function: list_append, operand type: N"),
    ("SET n = n + :text", "Incorrect operand type for operator or function; operator or function: +, "
                          "operand type: S"),
    ("SET n = :text - n", "Incorrect operand type for operator or function; operator or function: -, "
                          "operand type: S"),
    ("SET n = if_not_exists(:one, :two)", re.compile("if_not_exists")),
    ("ADD n :text", "Incorrect operand type for operator or function; operator: ADD, operand type: STRING"),
    ("ADD n :list", "Incorrect operand type for operator or function; operator: ADD, operand type: LIST"),
    ("ADD n :map", "Incorrect operand type for operator or function; operator: ADD, operand type: MAP"),
    ("ADD n :true", "Incorrect operand type for operator or function; operator: ADD, operand type: BOOLEAN"),
    ("ADD n :null", "Incorrect operand type for operator or function; operator: ADD, operand type: NULL"),
    ("DELETE ss :one", "Incorrect operand type for operator or function; operator: DELETE, operand type: NUMBER"),
    ("DELETE ss :text", "Incorrect operand type for operator or function; operator: DELETE, operand type: STRING"),
    ("SET s = :text" + " " * 4096, re.compile("Expression size has exceeded the maximum allowed size; "
                                              "expression size: 4109")),
]


@pytest.mark.parametrize("text, message", WRONG, ids=lambda value: str(value)[:40])
def test_expressions_that_are_none(db, table, text, message):
    prefix = "Invalid UpdateExpression: "
    if isinstance(message, str):
        message = prefix + message
    answer = invalid(db.update_item, message, TableName=table, Key=KEY, **expression(text))
    assert answer["Error"]["Message"].removeprefix(ENVELOPE).startswith(prefix)


NO_ATTRIBUTE = "The provided expression refers to an attribute that does not exist in the item"
BAD_TYPE = "An operand in the update expression has an incorrect data type"
BAD_PATH = "The document path provided in the update expression is invalid for update"


@pytest.mark.parametrize("text, message", [
    ("SET n = absent", NO_ATTRIBUTE), ("SET n = absent + :one", NO_ATTRIBUTE), ("SET n = l[9]", NO_ATTRIBUTE),
    ("SET n = list_append(absent, :list)", NO_ATTRIBUTE), ("SET n = s.inside", NO_ATTRIBUTE),
    ("SET n = s + :one", BAD_TYPE), ("SET n = list_append(s, :list)", BAD_TYPE), ("ADD s :one", BAD_TYPE),
    ("ADD ss :one", BAD_TYPE), ("ADD ss :ns", BAD_TYPE), ("DELETE ns :ss", BAD_TYPE), ("DELETE s :ss", BAD_TYPE),
    ("SET absent.a = :one", BAD_PATH), ("SET s.a = :one", BAD_PATH), ("SET l.a = :one", BAD_PATH),
    ("SET m[0] = :one", BAD_PATH), ("SET absent[0] = :one", BAD_PATH), ("REMOVE absent.a", BAD_PATH),
    ("REMOVE s[0]", BAD_PATH), ("ADD absent.a :one", BAD_PATH),
    ("SET n = :big + :big", re.compile("Number overflow")),
])
def test_expressions_that_do_not_fit_the_item(db, table, text, message):
    invalid(db.update_item, message, TableName=table, Key=KEY, **expression(text))
    assert sorted_sets(get(db, table)) == sorted_sets({**KEY, **BEFORE})


def test_the_key_cannot_be_changed(db, table, ranged):
    message = INVALID + "Cannot update attribute {}. This attribute is part of the key"
    for text in ("SET pk = :text", "REMOVE pk", "ADD pk :one", "DELETE pk :ss"):
        invalid(db.update_item, message.format("pk"), TableName=table, Key=KEY, **expression(text))
    invalid(db.update_item, message.format("sk"), TableName=ranged, Key={**KEY, "sk": {"N": "1"}},
            **expression("SET sk = :one"))


# What an update makes of nothing.

def test_an_update_makes_the_item(db, simple):
    for parameters in ({}, expression("SET a = :one")):
        key = {"pk": {"S": f"upsert {len(str(parameters))}"}}
        db.update_item(TableName=simple, Key=key, **parameters)
        wanted = {**key, **({"a": {"N": "1"}} if "SET" in str(parameters) else {})}
        assert get(db, simple, key["pk"]["S"]) == wanted


def test_an_update_of_nothing_needs_what_it_names(db, simple):
    key = {"pk": {"S": "nothing"}}
    invalid(db.update_item, NO_ATTRIBUTE, TableName=simple, Key=key, **expression("SET a = b"))
    invalid(db.update_item, BAD_PATH, TableName=simple, Key=key, **expression("SET a.b = :one"))
    assert get(db, simple, "nothing") is None


def test_counting_at_the_same_time_loses_nothing(db, simple):
    key = {"pk": {"S": "counter"}}

    def count(n):
        text = "ADD n :one" if n % 2 else "SET n = if_not_exists(n, :zero) + :one"
        values = {":one": {"N": "1"}, **({} if n % 2 else {":zero": {"N": "0"}})}
        db.update_item(TableName=simple, Key=key, UpdateExpression=text, ExpressionAttributeValues=values)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(count, range(200)))
    assert get(db, simple, "counter")["n"] == {"N": "200"}


# What comes back.

def test_return_values(db, table):
    def update(text, returns):
        db.put_item(TableName=table, Item={**KEY, **BEFORE})
        answer = db.update_item(TableName=table, Key=KEY, ReturnValues=returns, **expression(text))
        return sorted_sets(answer["Attributes"]) if "Attributes" in answer else None

    text = "SET n = :two, m.a = :two, fresh = :one REMOVE s"
    assert update(text, "NONE") is None
    assert update(text, "ALL_OLD") == sorted_sets({**KEY, **BEFORE})
    inner = {"a": {"N": "2"}, "b": BEFORE["m"]["M"]["b"]}
    after = {**KEY, **BEFORE, "n": {"N": "2"}, "m": {"M": inner}, "fresh": {"N": "1"}}
    del after["s"]
    assert update(text, "ALL_NEW") == sorted_sets(after)
    # Only what the expression names, as far as it names it.
    assert update(text, "UPDATED_OLD") == {"n": {"N": "10"}, "m": {"M": {"a": {"N": "1"}}}, "s": {"S": "x"}}
    assert update(text, "UPDATED_NEW") == {"n": {"N": "2"}, "m": {"M": {"a": {"N": "2"}}}, "fresh": {"N": "1"}}
    assert update("REMOVE s", "UPDATED_NEW") is None
    assert update("SET fresh = :one", "UPDATED_OLD") is None
    assert update("SET l[1] = :two", "UPDATED_NEW") == {"l": {"L": [{"N": "2"}]}}


def test_return_values_of_an_item_that_was_not_there(db, simple):
    for n, (returns, wanted) in enumerate([("ALL_OLD", None), ("UPDATED_OLD", None), ("UPDATED_NEW", {"a": {"N": "1"}}),
                                           ("ALL_NEW", "item"), ("NONE", None)]):
        key = {"pk": {"S": f"made {n}"}}
        answer = db.update_item(TableName=simple, Key=key, ReturnValues=returns, **expression("SET a = :one"))
        assert answer.get("Attributes") == ({**key, "a": {"N": "1"}} if wanted == "item" else wanted)


def test_conditions(db, table):
    request = {"TableName": table, "Key": KEY, "UpdateExpression": "SET n = :two",
               "ConditionExpression": "n = :one",
               "ExpressionAttributeValues": {":one": {"N": "1"}, ":two": {"N": "2"}}}
    assert "Item" not in refused(db.update_item, "ConditionalCheckFailedException", CONDITION_FAILED, **request)
    answer = refused(db.update_item, "ConditionalCheckFailedException", CONDITION_FAILED,
                     ReturnValuesOnConditionCheckFailure="ALL_OLD", **request)
    assert sorted_sets(answer["Item"]) == sorted_sets({**KEY, **BEFORE})
    db.update_item(**{**request, "ConditionExpression": "n <> :one"})
    assert get(db, table)["n"] == {"N": "2"}
    refused(db.update_item, "ConditionalCheckFailedException", CONDITION_FAILED, TableName=table,
            Key={"pk": {"S": "not there"}}, ConditionExpression="attribute_exists(pk)", UpdateExpression="REMOVE a")
    assert get(db, table, "not there") is None


# Sizes.

def test_an_item_cannot_grow_over_its_limit(db, simple):
    rest = 400 * 1024 - len("pk") - len("grow") - len("v")
    key = {"pk": {"S": "grow"}}

    def grow(size):
        return {"TableName": simple, "Key": key, "UpdateExpression": "SET v = :v",
                "ExpressionAttributeValues": {":v": text_of_size(size)}}
    db.update_item(**grow(rest))
    invalid(db.update_item, "Item size to update has exceeded the maximum allowed size", **grow(rest + 1))
    small = {"TableName": simple, "Key": key, "UpdateExpression": "ADD w :one",
             "ExpressionAttributeValues": {":one": {"N": "1"}}}
    invalid(db.update_item, "Item size to update has exceeded the maximum allowed size", **small)


def test_a_value_cannot_grow_too_deep(db, simple):
    key = {"pk": {"S": "deep"}}
    db.put_item(TableName=simple, Item={**key, "m": {"M": {"n": {"M": {}}}}})
    put = {"TableName": simple, "Key": key, "UpdateExpression": "SET m.n.x = :v"}
    db.update_item(**put, ExpressionAttributeValues={":v": nested(28)})
    invalid(db.update_item, re.compile("[Nn]esting"), **put, ExpressionAttributeValues={":v": nested(31)})


# Parameters.

def test_parameters(db, simple):
    violations(db.update_item, [violation(None, "tableName", "not be null"), violation(None, "key", "not be null")])
    violations(db.update_item, [
        violation("x", "returnConsumedCapacity", "satisfy enum value set: [INDEXES, TOTAL, NONE]"),
        violation("x", "returnItemCollectionMetrics", "satisfy enum value set: [SIZE, NONE]"),
        violation("x", "returnValues", "satisfy enum value set: [ALL_NEW, UPDATED_OLD, ALL_OLD, NONE, UPDATED_NEW]"),
    ], TableName=simple, Key=KEY, ReturnConsumedCapacity="x", ReturnItemCollectionMetrics="x", ReturnValues="x")
    refused(db.update_item, "ResourceNotFoundException", NOT_FOUND, TableName="no-such-table", Key=KEY)
    for key in ({}, {"other": {"S": "k"}}, {"pk": {"N": "1"}}, {**KEY, "v": {"N": "1"}}):
        invalid(db.update_item, KEY_MISMATCH, TableName=simple, Key=key, **expression("SET a = :one"))
    invalid(db.update_item, INVALID + "Size of hashkey has exceeded the maximum size limit of2048 bytes",
            TableName=simple, Key={"pk": {"S": "x" * 2049}}, **expression("SET a = :one"))
    invalid(db.update_item, re.compile("cannot contain an empty string value. Key: pk"),
            TableName=simple, Key={"pk": {"S": ""}}, **expression("SET a = :one"))
    invalid(db.update_item,
            "Can not use both expression and non-expression parameters in the same request: "
            "Non-expression parameters: {AttributeUpdates} Expression parameters: {UpdateExpression}",
            TableName=simple, Key=KEY, AttributeUpdates={"a": {"Value": {"N": "1"}}}, **expression("SET a = :one"))
    unused = expression("SET a = :one")
    unused["ExpressionAttributeValues"][":two"] = {"N": "2"}
    invalid(db.update_item, "Value provided in ExpressionAttributeValues unused in expressions: keys: {:two}",
            TableName=simple, Key=KEY, **unused)
    invalid(db.update_item, re.compile("ExpressionAttributeValues can only be specified when using expressions"),
            TableName=simple, Key=KEY, ExpressionAttributeValues={":a": {"S": "a"}})
