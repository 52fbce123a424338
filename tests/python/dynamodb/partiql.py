"""ExecuteStatement and BatchExecuteStatement:
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ql-reference.html"""

import re

import pytest

from kit import CONDITION_FAILED, NOT_FOUND, invalid, refused, violation, violations

N1, N2 = {"N": "1"}, {"N": "2"}


@pytest.fixture(scope="module")
def table(db, make):
    name = make({"key": {"pk": "S", "sk": "N"}})
    for n in range(6):
        db.put_item(TableName=name, Item={"pk": {"S": "k"}, "sk": {"N": str(n)}, "v": {"N": str(n % 2)},
                                          "m": {"M": {"a": {"L": [{"S": "zero"}, {"S": "one"}]}}}})
    return name


def run(db, statement, *parameters, **more):
    return db.execute_statement(Statement=statement, **({"Parameters": list(parameters)} if parameters else {}), **more)


def get(db, table, pk, sk="1"):
    return db.get_item(TableName=table, Key={"pk": {"S": pk}, "sk": {"N": sk}}, ConsistentRead=True).get("Item")


def sort_keys(answer):
    return sorted(int(item["sk"]["N"]) for item in answer["Items"])


@pytest.mark.parametrize("where, wanted", [
    ("", range(6)),
    (" WHERE pk = 'k'", range(6)),
    (" WHERE pk = 'k' AND sk = 3", [3]),
    (" WHERE pk = 'k' AND sk >= 3 AND v = 1", [3, 5]),
    (" WHERE pk = 'k' AND sk BETWEEN 1 AND 2", [1, 2]),
    (" WHERE pk IN ['k', 'other'] AND sk = 2", [2]),
    (" WHERE v = 1", [1, 3, 5]),
    (" WHERE pk = 'k' AND NOT v = 1", [0, 2, 4]),
    (" WHERE pk = 'k' AND (sk = 1 OR sk = 2)", [1, 2]),
    (" WHERE pk = 'k' AND m.a[1] = 'one' AND sk < 2", [0, 1]),
    (" WHERE begins_with(pk, 'k') AND sk <> 0", [1, 2, 3, 4, 5]),
    (" WHERE pk = 'k' AND absent IS MISSING AND sk = 1", [1]),
    (" WHERE pk = 'k' AND v IS NOT MISSING AND sk = 1", [1]),
    (" WHERE pk = 'nobody'", []),
])
def test_selects(db, table, where, wanted):
    answer = run(db, f'SELECT * FROM "{table}"{where}', ConsistentRead=True)
    assert sort_keys(answer) == list(wanted)


def test_what_of_each_item(db, table):
    answer = run(db, f"""SELECT sk, v FROM "{table}" WHERE pk = 'k' AND sk = 1""", ConsistentRead=True)
    assert answer["Items"] == [{"sk": N1, "v": N1}]
    answer = run(db, f"""SELECT m.a[1] FROM "{table}" WHERE pk = 'k' AND sk = 1""", ConsistentRead=True)
    assert len(answer["Items"]) == 1 and "one" in str(answer["Items"][0])


def test_parameters_stand_for_question_marks(db, table):
    answer = run(db, f'SELECT sk FROM "{table}" WHERE pk = ? AND sk = ?', {"S": "k"}, N2, ConsistentRead=True)
    assert answer["Items"] == [{"sk": N2}]
    invalid(db.execute_statement, re.compile("(?i)parameter"), Statement=f'SELECT * FROM "{table}" WHERE pk = ? AND sk = ?',
            Parameters=[{"S": "k"}])
    invalid(db.execute_statement, re.compile("(?i)parameter"), Statement=f'SELECT * FROM "{table}" WHERE pk = ?',
            Parameters=[{"S": "k"}, N1])
    # A value with a quote is a value.
    run(db, f"INSERT INTO \"{table}\" VALUE {{'pk': ?, 'sk': 1}}", {"S": "it's \"quoted\" ? -- "})
    assert get(db, table, "it's \"quoted\" ? -- ")
    run(db, f"DELETE FROM \"{table}\" WHERE pk = ? AND sk = 1", {"S": "it's \"quoted\" ? -- "})


def test_pages(db, table):
    found, token = [], None
    while True:
        answer = run(db, f"SELECT * FROM \"{table}\" WHERE pk = 'k'", Limit=2, ConsistentRead=True,
                     **({"NextToken": token} if token else {}))
        assert len(answer["Items"]) <= 2
        found += sort_keys(answer)
        token = answer.get("NextToken")
        if not token:
            break
    assert found == list(range(6))
    invalid(db.execute_statement, re.compile("(?i)token"), Statement=f"SELECT * FROM \"{table}\" WHERE pk = 'k'",
            NextToken="nonsense")


def test_insert(db, table):
    insert = f"""INSERT INTO "{table}" VALUE {{'pk': 'made', 'sk': 1, 'text': 'it''s', 'yes': true, 'none': null,
        'list': [1, 'two', [3]], 'map': {{'in': -1.5}}, 'set': <<1, 2>>, 'texts': <<'a'>>}}"""
    assert run(db, insert)["Items"] == []
    item = get(db, table, "made")
    item["set"] = {"NS": sorted(item["set"]["NS"])}
    assert item == {
        "pk": {"S": "made"}, "sk": N1, "text": {"S": "it's"}, "yes": {"BOOL": True}, "none": {"NULL": True},
        "list": {"L": [N1, {"S": "two"}, {"L": [{"N": "3"}]}]}, "map": {"M": {"in": {"N": "-1.5"}}},
        "set": {"NS": ["1", "2"]}, "texts": {"SS": ["a"]}}
    refused(db.execute_statement, "DuplicateItemException", "Duplicate primary key exists in table", Statement=insert)
    invalid(db.execute_statement, re.compile("key"), Statement=f"INSERT INTO \"{table}\" VALUE {{'pk': 'no sort key'}}")


def test_update(db, table):
    run(db, f"INSERT INTO \"{table}\" VALUE {{'pk': 'change', 'sk': 1, 'n': 5, 'x': 'y', 'l': [1], 's': <<1>>}}")
    update = f'UPDATE "{table}" {{}} WHERE pk = \'change\' AND sk = 1'
    run(db, update.format("SET n = n + 1 SET fresh = 'new' REMOVE x"))
    item = get(db, table, "change")
    assert item["n"] == {"N": "6"} and item["fresh"] == {"S": "new"} and "x" not in item
    answer = run(db, update.format("SET n = ?") + " RETURNING ALL NEW *", N2)
    assert answer["Items"][0]["n"] == N2 and answer["Items"][0]["fresh"] == {"S": "new"}
    answer = run(db, update.format("SET n = 3") + " RETURNING MODIFIED OLD *")
    assert answer["Items"] == [{"n": N2}]
    run(db, update.format("SET l = list_append(l, [2])"))
    assert get(db, table, "change")["l"] == {"L": [N1, N2]}
    run(db, update.format("SET s = set_add(s, <<2>>)"))
    assert sorted(get(db, table, "change")["s"]["NS"]) == ["1", "2"]
    run(db, update.format("SET s = set_delete(s, <<1>>)"))
    assert get(db, table, "change")["s"] == {"NS": ["2"]}


def test_update_makes_no_item(db, table):
    statement = f"UPDATE \"{table}\" SET n = 1 WHERE pk = 'absent' AND sk = 1"
    refused(db.execute_statement, "ConditionalCheckFailedException", CONDITION_FAILED, Statement=statement)
    assert get(db, table, "absent") is None


def test_conditions_of_updates_and_deletes(db, table):
    run(db, f"INSERT INTO \"{table}\" VALUE {{'pk': 'guard', 'sk': 1, 'n': 5}}")
    for verb in ("UPDATE \"{}\" SET n = 6 WHERE pk = 'guard' AND sk = 1 AND n = 4",
                 "DELETE FROM \"{}\" WHERE pk = 'guard' AND sk = 1 AND n = 4"):
        refused(db.execute_statement, "ConditionalCheckFailedException", CONDITION_FAILED, Statement=verb.format(table))
    answer = refused(db.execute_statement, "ConditionalCheckFailedException", CONDITION_FAILED,
                     Statement=f"UPDATE \"{table}\" SET n = 6 WHERE pk = 'guard' AND sk = 1 AND n = 4",
                     ReturnValuesOnConditionCheckFailure="ALL_OLD")
    assert answer["Item"] == get(db, table, "guard")


def test_delete(db, table):
    run(db, f"INSERT INTO \"{table}\" VALUE {{'pk': 'gone', 'sk': 1}}")
    answer = run(db, f"DELETE FROM \"{table}\" WHERE pk = 'gone' AND sk = 1 RETURNING ALL OLD *")
    assert answer["Items"] == [{"pk": {"S": "gone"}, "sk": N1}]
    assert get(db, table, "gone") is None
    assert run(db, f"DELETE FROM \"{table}\" WHERE pk = 'gone' AND sk = 1")["Items"] == []


@pytest.mark.parametrize("statement", [
    "SELEC * FROM t", "SELECT FROM t", "SELECT * FROM", "SELECT * FROM \"t\" WHERE", "nonsense", "SELECT * FROM \"t",
    "SELECT * FROM \"t\" WHERE pk = 'open", "INSERT INTO \"t\" VALUE {'pk'}", "UPDATE \"t\" WHERE pk = 'k'", "; ;",
    "(" * 5_000, "SELECT * FROM \"t\" WHERE " + "NOT " * 1_000 + "a = 1",
])
def test_statements_that_are_none(db, table, statement):
    invalid(db.execute_statement, re.compile("(?i)statement|well formed|syntax|expression|nest"),
            Statement=statement.replace('"t"', f'"{table}"'))


def test_writes_name_one_item(db, table):
    for statement in (f"UPDATE \"{table}\" SET n = 1 WHERE pk = 'k'", f"DELETE FROM \"{table}\" WHERE pk = 'k'",
                      f"UPDATE \"{table}\" SET n = 1 WHERE pk = 'k' AND sk > 1",
                      f"UPDATE \"{table}\" SET sk = 1 WHERE pk = 'k' AND sk = 1"):
        invalid(db.execute_statement, re.compile("(?i)key"), Statement=statement)


def test_parameters_of_the_call(db, table):
    violations(db.execute_statement, [violation(None, "statement", "not be null")])
    invalid(db.execute_statement, re.compile("statement.*length greater than or equal to 1"), Statement="")
    invalid(db.execute_statement, re.compile("statement.*length less than or equal to 8192"), Statement="x" * 8193)
    invalid(db.execute_statement, re.compile("limit.*value greater than or equal to 1"),
            Statement=f'SELECT * FROM "{table}"', Limit=0)
    invalid(db.execute_statement, re.compile("parameters.*length greater than or equal to 1"),
            Statement=f'SELECT * FROM "{table}"', Parameters=[])
    refused(db.execute_statement, "ResourceNotFoundException", NOT_FOUND, Statement='SELECT * FROM "no-such-table"')
    answer = run(db, f"SELECT * FROM \"{table}\" WHERE pk = 'k' AND sk = 1", ConsistentRead=True,
                 ReturnConsumedCapacity="TOTAL")
    assert answer["ConsumedCapacity"] == {"TableName": table, "CapacityUnits": 1.0}


# Batches.

def batch(db, *statements, **more):
    return db.batch_execute_statement(Statements=[
        one if isinstance(one, dict) else {"Statement": one} for one in statements], **more)["Responses"]


def test_a_batch_of_reads(db, table):
    select = f"SELECT * FROM \"{table}\" WHERE pk = 'k' AND sk = ?"
    answers = batch(db, *({"Statement": select, "Parameters": [{"N": str(n)}], "ConsistentRead": True} for n in (1, 9, 2)))
    assert [answer.get("Item", {}).get("sk") for answer in answers] == [N1, None, N2]
    assert all(answer["TableName"] == table for answer in answers)
    assert not any("Error" in answer for answer in answers)


def test_a_batch_of_writes_fails_one_by_one(db, table):
    answers = batch(db,
                    f"INSERT INTO \"{table}\" VALUE {{'pk': 'batch', 'sk': 1}}",
                    f"INSERT INTO \"{table}\" VALUE {{'pk': 'k', 'sk': 1}}",
                    f"UPDATE \"{table}\" SET n = 1 WHERE pk = 'absent' AND sk = 1")
    assert [answer.get("Error", {}).get("Code") for answer in answers] == [None, "DuplicateItem", "ConditionalCheckFailed"]
    assert get(db, table, "batch")


def test_25_statements_and_no_more(db, table):
    select = [f"SELECT * FROM \"{table}\" WHERE pk = 'k' AND sk = {n}" for n in range(26)]
    assert len(batch(db, *select[:25])) == 25
    invalid(db.batch_execute_statement, re.compile("statements.*length less than or equal to 25"),
            Statements=[{"Statement": one} for one in select])
    invalid(db.batch_execute_statement, re.compile("statements.*length greater than or equal to 1"), Statements=[])
    violations(db.batch_execute_statement, [violation(None, "statements", "not be null")])


def test_reads_and_writes_do_not_mix(db, table):
    invalid(db.batch_execute_statement, re.compile("(?i)batch"), Statements=[
        {"Statement": f"SELECT * FROM \"{table}\" WHERE pk = 'k' AND sk = 1"},
        {"Statement": f"DELETE FROM \"{table}\" WHERE pk = 'mixed' AND sk = 1"}])


def test_a_read_of_a_batch_names_one_item(db, table):
    answers = batch(db, f"SELECT * FROM \"{table}\" WHERE pk = 'k'")
    assert answers[0]["Error"]["Code"] == "ValidationError"
