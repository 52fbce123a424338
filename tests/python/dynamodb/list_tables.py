"""ListTables: https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_ListTables.html"""

import re

import pytest

from kit import HASH, invalid, violation, violations


@pytest.fixture(scope="module")
def mine(make):
    return sorted(make(HASH) for _ in range(5))


def listed(db, **parameters):
    names, start = [], parameters.pop("ExclusiveStartTableName", None)
    while True:
        more = {"ExclusiveStartTableName": start} if start else {}
        answer = db.list_tables(**parameters, **more)
        names += answer["TableNames"]
        assert len(answer["TableNames"]) <= parameters.get("Limit", 100)
        start = answer.get("LastEvaluatedTableName")
        if not start:
            return names
        assert start == answer["TableNames"][-1]


@pytest.mark.parametrize("limit", [1, 3, 100, None])
def test_all_tables_in_order(db, mine, limit):
    # Other tests make and delete tables meanwhile: ours are there, once, in order.
    names = listed(db, **({"Limit": limit} if limit else {}))
    assert names == sorted(names), "not in the order of their names"
    assert [name for name in names if name in mine] == mine


def test_a_starting_name_need_not_exist(db, mine):
    assert mine[0] not in listed(db, ExclusiveStartTableName=mine[0])
    after = listed(db, ExclusiveStartTableName=mine[0] + "-")
    assert mine[0] not in after and mine[-1] in after
    first = db.list_tables(ExclusiveStartTableName=mine[1], Limit=1)["TableNames"]
    assert first[0] > mine[1]


def test_parameters(db):
    violations(db.list_tables, [violation("0", "limit", "have value greater than or equal to 1")], Limit=0)
    violations(db.list_tables, [violation("101", "limit", "have value less than or equal to 100")], Limit=101)
    violations(db.list_tables, [
        violation("a;", "exclusiveStartTableName", "satisfy regular expression pattern: [a-zA-Z0-9_.-]+"),
        violation("a;", "exclusiveStartTableName", "have length greater than or equal to 3"),
    ], ExclusiveStartTableName="a;")
    invalid(db.list_tables, re.compile("exclusiveStartTableName.*length less than or equal to 255"),
            ExclusiveStartTableName="x" * 256)
