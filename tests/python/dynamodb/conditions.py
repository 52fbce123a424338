"""Condition expressions, as every conditional write and every filter reads them:
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.OperatorsAndFunctions.html"""

import re

import pytest

from kit import CONDITION_FAILED, ENVELOPE, invalid, refused

ITEM = {
    "pk": {"S": "k"},
    "txt": {"S": "harbour"},
    "num": {"N": "10"},
    "bin": {"B": b"\x00\x80"},
    "flag": {"BOOL": True},
    "nil": {"NULL": True},
    "txts": {"SS": ["a", "b"]},
    "nums": {"NS": ["1", "2"]},
    "lst": {"L": [{"S": "zero"}, {"M": {"deep": {"N": "1"}}}]},
    "mp": {"M": {"in": {"S": "side"}, "a.b": {"N": "3"}}},
}

VALUES = {
    ":harbour": {"S": "harbour"}, ":har": {"S": "har"}, ":z": {"S": "z"}, ":a": {"S": "a"}, ":ab": {"SS": ["b", "a"]},
    ":nine": {"N": "9"}, ":ten": {"N": "10.0"}, ":eleven": {"N": "11"}, ":one": {"N": "1"}, ":two": {"N": "2"},
    ":seven": {"N": "7"}, ":b": {"B": b"\x00\x80"}, ":b0": {"B": b"\x00"}, ":true": {"BOOL": True},
    ":null": {"NULL": True}, ":S": {"S": "S"}, ":N": {"S": "N"}, ":zero": {"S": "zero"}, ":side": {"S": "side"},
    ":arbo": {"S": "arbo"}, ":list": ITEM["lst"], ":map": ITEM["mp"], ":zeroth": {"N": "0"},
}
NAMES = {"#n": "num", "#ab": "a.b", "#in": "in"}

TRUE = [
    "txt = :harbour", "#n = :ten", "num <> :nine", "num < :eleven", "num <= :ten", "num > :nine",
    "num >= :ten", "txt < :z", "txt > :a", "bin = :b", "bin > :b0", "flag = :true", "nil = :null",
    # Sets have no order; lists and maps are compared as a whole.
    "txts = :ab", "lst = :list", "mp = :map",
    # Different types are never equal, and always not equal.
    "txt <> :ten", "NOT txt = :ten", "NOT absent = :ten", "absent <> :ten",
    "num BETWEEN :nine AND :eleven", "num BETWEEN :ten AND :ten", "NOT num BETWEEN :one AND :nine",
    "txt IN (:a, :harbour)", "NOT txt IN (:a)",
    "attribute_exists(txt)", "attribute_not_exists(absent)", "attribute_exists(lst[1].deep)",
    "attribute_not_exists(lst[2])", "attribute_not_exists(txt.inside)", "attribute_exists(mp.#ab)",
    "attribute_type(txt, :S)", "NOT attribute_type(txt, :N)",
    "begins_with(txt, :har)", "begins_with(bin, :b0)", "contains(txt, :arbo)", "contains(txts, :a)",
    "contains(nums, :one)", "contains(lst, :zero)", "NOT contains(txts, :z)", "NOT begins_with(num, :har)",
    "size(txt) = :seven", "size(bin) = :two", "size(txts) = :two", "size(lst) = :two", "size(mp) = :two",
    # What is not there has no size: the comparison is false, its negation true.
    "NOT size(absent) = :one",
    "lst[0] = :zero", "lst[1].deep = :one", "mp.#ab > :two", "mp.#in = :side",
    "txt = :harbour AND num = :ten", "txt = :a OR num = :ten", "NOT txt = :a AND num = :ten",
    # NOT before AND before OR.
    "txt = :harbour OR txt = :a AND txt = :z", "NOT (txt = :a OR txt = :z)",
    "(txt = :a OR num = :ten) AND flag = :true",
    "txt=:harbour and NOT(num<:nine)", "\tattribute_exists ( txt )\n",
]
FALSE = [
    "txt = :ten", "absent = :ten", "num > txt", "txt > :ten", "num BETWEEN :one AND :nine",
    "attribute_exists(absent)", "attribute_not_exists(txt)", "begins_with(txt, :z)", "contains(txt, :z)",
    "size(txt) > :seven", "NOT txt = :harbour", "lst[7] = :zero", "txt = :a AND num = :ten",
    "attribute_type(absent, :S)", "(txt = :harbour OR txt = :a) AND txt = :z",
    "contains(num, :one)", "size(num) = :two",
]


def expression(text):
    """The expression with the substitutions that it uses."""
    parameters = {"ConditionExpression": text}
    names = {name: value for name, value in NAMES.items() if re.search(name + r"\b", text)}
    values = {name: value for name, value in VALUES.items() if re.search(name + r"\b", text)}
    if names:
        parameters["ExpressionAttributeNames"] = names
    if values:
        parameters["ExpressionAttributeValues"] = values
    return parameters


@pytest.fixture(scope="module")
def table(db, simple):
    db.put_item(TableName=simple, Item=ITEM)
    return simple


@pytest.mark.parametrize("text", TRUE)
def test_what_holds(db, table, text):
    db.put_item(TableName=table, Item=ITEM, **expression(text))


@pytest.mark.parametrize("text", FALSE)
def test_what_does_not_hold(db, table, text):
    refused(db.put_item, "ConditionalCheckFailedException", CONDITION_FAILED,
            TableName=table, Item=ITEM, **expression(text))


WRONG = [
    ("", "The expression can not be empty;"),
    ("   ", "The expression can not be empty;"),
    ("attribute_exists(", 'Syntax error; token: "<EOF>", near: "("'),
    ("a =", 'Syntax error; token: "<EOF>", near: "="'),
    ("a", re.compile(r'Syntax error; token: "<EOF>", near: "a"')),
    ("a b", 'Syntax error; token: "b", near: "a b"'),
    ("a == :a", re.compile(r'Syntax error; token: "=", near: ')),
    ("a = :a)", re.compile(r'Syntax error; token: "\)", near: ')),
    ("a = :a AND", 'Syntax error; token: "<EOF>", near: "AND"'),
    ("a ! :a", re.compile(r'Syntax error; token: "!", near: ')),
    ("a = 5", re.compile(r'Syntax error; token: "5", near: ')),
    ("a[b] = :a", re.compile("Syntax error")),
    ("a[-1] = :a", re.compile("Syntax error")),
    ("a..b = :a", re.compile("Syntax error")),
    ("((a = :a))", "The expression has redundant parentheses;"),
    ("a = :missing", "An expression attribute value used in expression is not defined; attribute value: :missing"),
    ("#missing = :a", "An expression attribute name used in the document path is not defined; "
                      "attribute name: #missing"),
    ("size = :a", "Attribute name is a reserved keyword; reserved keyword: size"),
    ("Status = :a", "Attribute name is a reserved keyword; reserved keyword: Status"),
    ("mp.name = :a", "Attribute name is a reserved keyword; reserved keyword: name"),
    ("unheard_of(a)", "Invalid function name; function: unheard_of"),
    ("ATTRIBUTE_EXISTS(a)", "Invalid function name; function: ATTRIBUTE_EXISTS"),
    ("attribute_exists(a, b)", "Incorrect number of operands for operator or function; "
                               "operator or function: attribute_exists, number of operands: 2"),
    ("begins_with(a)", "Incorrect number of operands for operator or function; "
                       "operator or function: begins_with, number of operands: 1"),
    ("begins_with(a, :nine)", "Incorrect operand type for operator or function; "
                              "operator or function: begins_with, operand type: N"),
    ("size(:nine) = :nine", "Incorrect operand type for operator or function; "
                            "operator or function: size, operand type: N"),
    ("a < :true", "Incorrect operand type for operator or function; operator or function: <, operand type: BOOL"),
    ("attribute_exists(:a)", re.compile("attribute_exists")),
    ("attribute_type(a, :z)", re.compile(r"Invalid attribute type name found; type: z, valid types: \{")),
    ("attribute_type(a, :nine)", re.compile("attribute_type, operand type: N")),
    ("a = a", "The first operand must be distinct from the remaining operands for this operator or function; "
              "operator: =, first operand: [a]"),
    ("size(a)", re.compile("The function is not allowed to be used this way in an expression; function: size")),
    ("attribute_exists(a) = :a", re.compile(
        "The function is not allowed to be used this way in an expression; function: attribute_exists")),
    ("if_not_exists(a, :a) = :a", re.compile("if_not_exists")),
    ("a BETWEEN :ten AND :nine", "The BETWEEN operator requires upper bound to be greater than or equal to lower "
     "bound; lower bound operand: AttributeValue: {N:10}, upper bound operand: AttributeValue: {N:9}"),
    ("a BETWEEN :nine AND :z", "The BETWEEN operator requires same data type for lower and upper bounds; "
     "lower bound operand: AttributeValue: {N:9}, upper bound operand: AttributeValue: {S:z}"),
]


@pytest.mark.parametrize("text, message", WRONG)
def test_expressions_that_are_none(db, table, text, message):
    prefix = "Invalid ConditionExpression: "
    if isinstance(message, str):
        message = prefix + message
    answer = invalid(db.put_item, message, TableName=table, Item=ITEM, **expression(text))
    assert answer["Error"]["Message"].removeprefix(ENVELOPE).startswith(prefix)


def test_100_operands_of_in_and_no_more(db, table):
    values = {f":v{n}": {"N": str(n)} for n in range(101)}
    allowed = [name for name in values if name != ":v100"]
    db.put_item(TableName=table, Item=ITEM, ConditionExpression=f"num IN ({', '.join(allowed)})",
                ExpressionAttributeValues={name: values[name] for name in allowed})
    invalid(db.put_item, re.compile("Invalid ConditionExpression: .*IN"), TableName=table, Item=ITEM,
            ConditionExpression=f"num IN ({', '.join(values)})", ExpressionAttributeValues=values)


def test_4_kib_of_expression_and_no_more(db, table):
    text = "attribute_exists(pk)"
    fits = text + " " * (4096 - len(text))
    db.put_item(TableName=table, Item=ITEM, ConditionExpression=fits)
    invalid(db.put_item, "Invalid ConditionExpression: Expression size has exceeded the maximum allowed size; "
            "expression size: 4097", TableName=table, Item=ITEM, ConditionExpression=fits + " ")


def test_300_operators_and_no_more(db, table):
    def terms(count):
        return " OR ".join(["a=:a"] * count)
    db.put_item(TableName=table, Item=ITEM, ConditionExpression="attribute_exists(pk) OR " + terms(100),
                ExpressionAttributeValues={":a": {"S": "a"}})
    invalid(db.put_item, re.compile("Invalid ConditionExpression: The expression contains too many operators"),
            TableName=table, Item=ITEM, ConditionExpression=terms(200), ExpressionAttributeValues={":a": {"S": "a"}})


UNUSED = "Value provided in ExpressionAttribute"


def test_substitutions(db, table):
    def bad(message, **parameters):
        invalid(db.put_item, message, TableName=table, Item=ITEM, **parameters)

    use = {"ConditionExpression": "attribute_exists(pk)"}
    bad(UNUSED + "Values unused in expressions: keys: {:a}", **use, ExpressionAttributeValues={":a": {"S": "a"}})
    bad(UNUSED + "Names unused in expressions: keys: {#a}", **use, ExpressionAttributeNames={"#a": "a"})
    bad("ExpressionAttributeValues must not be empty", **use, ExpressionAttributeValues={})
    bad("ExpressionAttributeNames must not be empty", **use, ExpressionAttributeNames={})
    bad('ExpressionAttributeValues contains invalid key: Syntax error; key: "a"', **use,
        ExpressionAttributeValues={"a": {"S": "a"}})
    bad('ExpressionAttributeNames contains invalid key: Syntax error; key: "a"', **use,
        ExpressionAttributeNames={"a": "a"})
    bad('ExpressionAttributeValues contains invalid key: Syntax error; key: ":"', **use,
        ExpressionAttributeValues={":": {"S": "a"}})
    bad("ExpressionAttributeValues contains invalid value: Supplied AttributeValue is empty, must contain exactly "
        "one of the supported datatypes for key :a", **use, ExpressionAttributeValues={":a": {}})
    bad(re.compile("ExpressionAttributeValues can only be specified when using expressions"),
        ExpressionAttributeValues={":a": {"S": "a"}})
    bad(re.compile("ExpressionAttributeNames can only be specified when using expressions"),
        ExpressionAttributeNames={"#a": "a"})


def test_2_mb_of_substitutions_and_no_more(db, table):
    # AWS: the total length of all substitution variables is 2 MB at most; an expression names those it uses.
    text, values = [], {}
    for n in range(8):
        values[f":v{n}"] = {"S": "x" * (300 << 10)}
        text.append(f"a = :v{n}")
    invalid(db.put_item, re.compile("[Ss]ize"), TableName=table, Item=ITEM,
            ConditionExpression="attribute_exists(pk) OR " + " OR ".join(text), ExpressionAttributeValues=values)
