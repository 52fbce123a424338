//! Expectations from the developer guide's PartiQL pages and from what others observed of DynamoDB (the
//! dynamodb-conformance suite and Floci's captures, both from 2026).

use super::*;
use crate::condition::{Comparator, Operand};
use crate::json::item_from_json;
use crate::key::{Key, KeyAttribute, KeySchema, KeyType, SortCondition};

fn s(text: &str) -> Value {
    Value::S(text.into())
}

fn n(text: &str) -> Value {
    Value::N(text.parse().expect("a number"))
}

fn parse(text: &str) -> Result<Statement, String> {
    parse_with(text, &[])
}

fn parse_with(text: &str, parameters: &[Value]) -> Result<Statement, String> {
    parse_statement(text, parameters).map_err(|error| error.to_string())
}

fn select(text: &str) -> Select {
    match parse(text) {
        Ok(Statement::Select(select)) => select,
        other => panic!("{text}: {other:?}"),
    }
}

fn item() -> Item {
    item_from_json(&serde_json::json!({
        "pk": {"S": "p"}, "sk": {"N": "5"}, "ss": {"SS": ["a", "b", "c"]}, "ns": {"NS": ["1", "2"]},
        "s": {"S": "str"}, "m": {"M": {"sub": {"S": "x"}}}, "nul": {"NULL": true}, "flag": {"BOOL": true},
        "l": {"L": [{"S": "a"}, {"S": "b"}]},
    }))
    .expect("a legal item")
}

#[test]
fn conditions_hold_as_dynamodb_answers() {
    for (text, holds) in [
        ("attribute_exists(ss)", true),
        ("attribute_exists(nope)", false),
        ("attribute_not_exists(nope)", true),
        ("NOT attribute_exists(nope)", true),
        ("ATTRIBUTE_EXISTS(ss)", true),
        ("(attribute_exists(nope) OR attribute_exists(ss))", true),
        ("attribute_exists(ss) = true", true),
        ("attribute_exists(\"ss\")", true),
        ("attribute_exists(m.sub)", true),
        ("attribute_exists(m.nope)", false),
        ("size(s) = 3", true),
        ("size(s) = 4", false),
        ("attribute_type(ss, 'SS')", true),
        ("attribute_type(ss, 'S')", false),
        ("nul IS NULL", true),
        ("s IS NULL", false),
        ("s IS NOT NULL", true),
        ("nul IS NOT NULL", false),
        ("flag IS BOOL", true),
        ("s IS STRING", true),
        ("s IS BOOL", false),
        ("nope IS MISSING", true),
        ("s IS NOT MISSING", true),
        ("begins_with(s, 'st')", true),
        ("contains(ss, 'a')", true),
        ("sk BETWEEN - 2 AND +5 AND sk IN [- 1, 5]", true),
        ("sk IN (1, 2)", false),
        ("NOT sk IN ['1', '3']", true),
        ("sk > - - 4", true),
        ("sk = .5e1", true),
        ("sk = 50E-1", true),
        ("s <> 'it''s'", true),
        ("s != 'str'", false),
        ("ss = <<'c', 'b', 'a'>>", true),
        ("ns = <<1, 2>>", true),
        ("l = ['a', 'b']", true),
        ("m = {'sub': 'x'}", true),
        ("l[1] = 'b'", true),
        ("s = 'a' OR s = 'str' AND sk = 5", true),
        ("s = 'str' -- a note\n AND /* two */ sk = 5;", true),
    ] {
        let condition = select(&format!("SELECT * FROM \"T\" WHERE {text}")).condition;
        let held = condition.expect("a condition").matches(Some(&item()));
        assert_eq!(held, Ok(holds), "{text}");
    }
}

#[test]
fn statements_are_what_they_say() {
    let found =
        select("SELECT pk, m.sub, l[0], \"s\" FROM \"T\".\"by-s\" WHERE pk = 'p' ORDER BY sk DESC");
    assert_eq!((found.table.as_str(), found.index.as_deref()), ("T", Some("by-s")));
    let columns = found.columns.expect("named").apply(&item());
    assert_eq!(columns.0.keys().collect::<Vec<_>>(), ["l[0]", "pk", "s", "sub"]);
    assert_eq!(found.order, [OrderBy { attribute: "sk".into(), descending: true }]);

    let text = "INSERT INTO Music VALUE {'Artist': ?, 'Awards': [1, {'a': <<'x'>>}], 'n': -.5}";
    let expected = item_from_json(&serde_json::json!({
        "Artist": {"S": "Acme"}, "Awards": {"L": [{"N": "1"}, {"M": {"a": {"SS": ["x"]}}}]}, "n": {"N": "-0.5"},
    }));
    assert_eq!(
        parse_with(text, &[s("Acme")]),
        Ok(Statement::Insert { table: "Music".into(), item: expected.expect("legal") })
    );

    // The guide's examples, in both orders.
    let after = |text: &str, parameters: &[Value]| match parse_with(text, parameters) {
        Ok(Statement::Update { update, .. }) => update.apply(&item()).expect("applies"),
        other => panic!("{text}: {other:?}"),
    };
    let text =
        "UPDATE \"T\" SET n=sk-1 SET l = list_append(l, ['c']) REMOVE s WHERE pk='p' AND sk=5";
    let changed = after(text, &[]);
    assert_eq!(changed.get("n"), Some(&n("4")));
    assert_eq!(changed.get("l"), Some(&Value::L(vec![s("a"), s("b"), s("c")])));
    assert_eq!(changed.get("s"), None);
    let changed = after("FROM \"T\" WHERE pk = ? AND sk = 5 SET c = ?", &[s("p"), n("7")]);
    assert_eq!(changed.get("c"), Some(&n("7")));
    let changed = after(
        "UPDATE T SET ss = SET_ADD(ss, <<'0'>>) SET ns = set_delete(ns, <<1>>) WHERE pk = 'p'",
        &[],
    );
    assert_eq!(changed.get("ss"), Some(&Value::Ss(["0", "a", "b", "c"].map(String::from).into())));
    assert_eq!(changed.get("ns"), Some(&Value::Ns([2_u64.into()].into())));

    for (text, expected) in [
        ("RETURNING ALL NEW *", Returning::AllNew),
        ("RETURNING ALL OLD *", Returning::AllOld),
        ("returning modified new *", Returning::ModifiedNew),
        ("RETURNING MODIFIED OLD *", Returning::ModifiedOld),
    ] {
        let parsed = parse(&format!("UPDATE T SET a = 1 WHERE pk = 'p' {text}"));
        assert!(
            matches!(parsed, Ok(Statement::Update { returning: Some(found), .. }) if found == expected)
        );
    }
    let parsed = parse("DELETE FROM T WHERE pk = 'p' RETURNING ALL OLD *");
    assert!(matches!(parsed, Ok(Statement::Delete { returning: true, .. })));
    let parsed = parse("EXISTS(SELECT * FROM T WHERE pk = 'p' AND a IS MISSING)");
    assert!(matches!(parsed, Ok(Statement::Exists(_))));
}

#[test]
fn refusals_have_dynamodbs_words() {
    const ENVELOPE: &str = "Statement wasn't well formed, can't be processed: ";
    let leftover = format!("{ENVELOPE}Unexpected token after expression");
    let aliasing = "Aliasing is not supported";
    let overflow =
        "Number overflow. Attempting to store a number with magnitude larger than supported range";
    let digits = "Attempting to store more than 38 significant digits in a Number";
    for (text, said) in [
        ("SELECT * FROM \"T\" WHERE pk = 1 foo", leftover.as_str()),
        ("SELECT * FROM \"T\" WHERE pk = 1 e5", &leftover),
        ("INSERT INTO \"T\" VALUE {'pk': 970001} foo", &leftover),
        ("UPDATE \"T\" SET a = 9 WHERE pk = 970002 foo", &leftover),
        ("DELETE FROM \"T\" WHERE pk = 970003 foo", &leftover),
        ("SELECT * FROM \"T\" WHERE pk = 1)", &leftover),
        ("DELETE FROM \"T\" WHERE pk = 970004 ORDER BY pk", &leftover),
        ("SELECT * FROM \"T\" ORDER BY pk WHERE pk = 1", &leftover),
        ("INSERT INTO \"T\" t VALUE {'pk': 'x'}", &leftover),
        ("SELECT * FROM \"T\" WHERE pk = 1e2147483648", ENVELOPE),
        ("SELECT * FROM \"T\" WHERE pk = 1e99999999999", ENVELOPE),
        ("SELECT * FROM \"T\" WHERE pk = 1.5e-2147483647", ENVELOPE),
        ("SELECT * FROM \"T\" WHERE pk = 1 # note", ENVELOPE),
        ("SELECT * FROM \"T\" WHERE pk = 1 /* note", ENVELOPE),
        ("SELECT * FROM \"", ENVELOPE),
        ("SELECT * FROM \"T\" WHERE pk = 'oops", ENVELOPE),
        ("SELECT * FROM \"T\" t WHERE pk = 'x'", aliasing),
        ("SELECT * FROM \"T\" AS t WHERE pk = 'x'", aliasing),
        ("UPDATE \"T\" t SET a = 3 WHERE pk = 'x'", aliasing),
        ("DELETE FROM \"T\" t WHERE pk = 'x'", aliasing),
        ("HELLO", &format!("{ENVELOPE}Expected data manipulation")),
        ("SELECT * FROM \"T\" WHERE pk = 1e126", &format!("{overflow} under root")),
        (
            "SELECT * FROM \"T\" WHERE pk = 123456789012345678901234567890123456789",
            &format!("{digits} under root"),
        ),
        ("INSERT INTO \"T\" VALUE {'pk': 1e126}", &format!("{overflow} under root")),
        (
            "INSERT INTO \"T\" VALUE {'pk': 7, 'm': {'x': 1e126}}",
            &format!("{overflow} under root.x"),
        ),
        (
            "INSERT INTO \"T\" VALUE {'pk': 7, 'l': [1, 1e126]}",
            &format!("{overflow} under root[1]"),
        ),
        (
            "SELECT * FROM T WHERE pk='p' AND attribute_exists('ss')",
            "Operator or function requires a document path; operator or function: attribute_exists",
        ),
        (
            "SELECT * FROM T WHERE pk='p' AND attribute_exists()",
            "Incorrect number of operands for operator or function; operator or function: attribute_exists, number of operands: 0",
        ),
        ("SELECT attribute_exists(ss) FROM T", "Unexpected path component at 1:8:16"),
        ("SELECT * FROM T WHERE EXISTS(ss)", "Unrecognized function: exists at 1:23:6"),
        (
            "SELECT * FROM T WHERE set_add(ss, <<'x'>>) = ss",
            "Unrecognized function: set_add at 1:23:7",
        ),
        (
            "UPDATE T SET t = set_add(ss, <<'x'>>) WHERE pk='p'",
            "The first argument to SET_ADD must equal the assignment value at 1:18:7",
        ),
        (
            "UPDATE T SET ss = set_add(ss, 'x') WHERE pk='p'",
            "The second argument to SET_ADD must be a value with type SET at 1:27:2",
        ),
        (
            "UPDATE T\nSET ss = set_delete(\"ss\", ['x']) WHERE pk='p'",
            "The second argument to SET_DELETE must be a value with type SET at 2:21:4",
        ),
        (
            "UPDATE T SET ss = set_add(ss) WHERE pk='p'",
            "SET_ADD must have exactly two arguments at 1:19:7",
        ),
        (
            "UPDATE T SET ss = set_add(ss, <<'x', 'x'>>) WHERE pk='p'",
            "One or more parameter values were invalid: Input collection [x, x] contains duplicates.",
        ),
        (
            "UPDATE T SET n = set_add(n, <<2, 2.0>>) WHERE pk='p'",
            "One or more parameter values were invalid: Input collection [2, 2.0] contains duplicates! under root",
        ),
        ("UPDATE T SET ss = set_add(ss, <<>>) WHERE pk='p'", "Empty bags are not supported"),
        (
            "INSERT INTO T VALUE {'pk': 'p', 'ss': set_add(<<'a'>>, <<'b'>>)}",
            "Unsupported data type: set_add under key root at 1:39:7",
        ),
        (
            "SELECT l[-1] FROM T",
            "List index is not within the allowable range; index: [-1] at 1:11:1",
        ),
        (
            "SELECT l[2147483648] FROM T",
            "List index is not within the allowable range; index: [2147483648] at 1:10:10",
        ),
        (
            "SELECT sk FROM T WHERE attribute_type(l, 1)",
            "Incorrect operand type for operator or function; operator or function: attribute_type, operand type: N",
        ),
        (
            "SELECT sk FROM T WHERE val < true",
            "Incorrect operand type for operator or function; operator or function: <, operand type: BOOL",
        ),
        ("SELECT * FROM \"\"", "Path component cannot be an empty string"),
        (
            "SELECT * FROM \"T\".\"i\".\"more\"",
            "A path may contain at most 2 components in the FROM clause",
        ),
        (
            "INSERT INTO \"T\".\"i\" VALUE {'pk':'w'}",
            "FROM clause may only contain a single table name in data manipulation statements",
        ),
        (
            "UPDATE \"T\".\"i\" SET a = 1 WHERE pk='p'",
            "This operation is not supported on an index",
        ),
        ("SELECT * FROM T WHERE a = MISSING", "MISSING must be compared using IS operator"),
        ("SELECT a, m.a FROM T", "Duplicate identifiers in select clause: a"),
        (
            "SELECT *, a FROM T",
            "Other attributes should not be present in the projection when '*' is used.",
        ),
        (
            "INSERT INTO T VALUE {'pk': 'p'} RETURNING ALL OLD *",
            "RETURNING is not supported in INSERT",
        ),
        (
            "DELETE FROM T WHERE pk = 'p' RETURNING ALL NEW *",
            "Invalid returning clause: RETURNING ALL NEW *. Only RETURNING ALL OLD * is allowed in DELETE statements.",
        ),
        (
            "SELECT * FROM T WHERE flag",
            "WHERE clause must contain an expression that resolves to a boolean",
        ),
        (
            "SELECT * FROM T WHERE a = ?",
            "Number of parameters in request and statement don't match.",
        ),
    ] {
        assert_eq!(parse(text).expect_err(text), said, "{text}");
    }
    let prefix = "UPDATE T SET x = [?] WHERE pk = 'p'";
    assert_eq!(
        parse_with(prefix, &[s("v")]).expect_err("inside"),
        "Unsupported data type: Parameter under key root[0] at 1:19:1"
    );
    assert_eq!(
        parse_with("SELECT * FROM T", &[s("v")]).expect_err("one too many"),
        "Number of parameters in request and statement don't match."
    );
    assert_eq!(
        parse_with("UPDATE T SET WHERE", &[Value::Ss([].into())]).expect_err("parameters first"),
        "One or more parameter values were invalid: An string set  may not be empty"
    );
}

fn schema() -> KeySchema {
    KeySchema {
        partition: KeyAttribute { name: "pk".into(), kind: KeyType::S },
        sort: Some(KeyAttribute { name: "sk".into(), kind: KeyType::N }),
    }
}

fn part(partition: &str, sort: Option<SortCondition>) -> KeyPart {
    KeyPart { partition: s(partition), sort }
}

#[test]
fn what_is_read_follows_from_the_key() {
    let read = |text: &str| {
        let select = select(&format!("SELECT * FROM T {text}"));
        select.read(&schema()).map_err(|error| error.to_string())
    };
    let query = |parts: Vec<KeyPart>| Ok(Read::Query { parts, forward: true });
    let five = Some(SortCondition::Eq(n("5")));
    for (text, expected) in [
        ("", Ok(Read::Scan)),
        ("WHERE sk = 5", Ok(Read::Scan)),
        ("WHERE pk > 'a'", Ok(Read::Scan)),
        ("WHERE NOT pk = 'a'", Ok(Read::Scan)),
        ("WHERE pk = 'a' OR s = 'x'", Ok(Read::Scan)),
        ("WHERE pk = 'a'", query(vec![part("a", None)])),
        ("WHERE 'a' = pk AND s = 'x'", query(vec![part("a", None)])),
        ("WHERE (sk = 5 AND s = 'x') AND pk = 'a'", query(vec![part("a", five.clone())])),
        ("WHERE pk = 'a' AND NOT sk = 5", query(vec![part("a", None)])),
        (
            "WHERE pk = 'a' AND sk BETWEEN 1 AND 2",
            query(vec![part("a", Some(SortCondition::Between(n("1"), n("2"))))]),
        ),
        ("WHERE pk IN ['a', 'b'] AND 5 > sk", {
            let below = Some(SortCondition::Lt(n("5")));
            query(vec![part("a", below.clone()), part("b", below)])
        }),
        ("WHERE pk = 'b' AND sk = 5 OR pk = 'a'", query(vec![part("b", five), part("a", None)])),
        // No item is read twice.
        ("WHERE pk = 'a' AND sk < 5 OR pk = 'a' AND sk > 3", query(vec![part("a", None)])),
        (
            "WHERE pk = 'a' ORDER BY sk DESC",
            Ok(Read::Query { parts: vec![part("a", None)], forward: false }),
        ),
        (
            "WHERE pk IN ['a', 'b'] ORDER BY pk DESC",
            query(vec![part("b", None), part("a", None)]),
        ),
        (
            "ORDER BY sk",
            Err("Must have WHERE clause in the statement when using ORDER BY clause.".into()),
        ),
        (
            "WHERE s = 'x' ORDER BY sk",
            Err("Must have at least one non-optional hash key condition in WHERE clause when using \
                 ORDER BY clause."
                .into()),
        ),
        (
            "WHERE pk = 'a' ORDER BY s",
            Err("Variable reference s in ORDER BY clause must be part of the primary key".into()),
        ),
        (
            "WHERE pk IN ['a', 'b'] ORDER BY sk",
            Err("Must have hash key in ORDER BY clause when more than one hash key condition \
                 specified in WHERE clause."
                .into()),
        ),
        (
            "WHERE pk = 5",
            Err("Key attribute's data type should match its data type in table's schema: Key pk"
                .into()),
        ),
    ] {
        assert_eq!(read(text), expected, "{text}");
    }
}

#[test]
fn what_is_written_is_named_by_all_of_its_key() {
    let key = |text: &str| {
        let statement = parse(&format!("UPDATE T SET a = 2 WHERE {text}")).expect(text);
        statement.written_key(&schema()).map_err(|error| error.to_string())
    };
    let expected = Key { partition: s("p"), sort: Some(n("5")) };
    assert_eq!(key("pk='p' AND sk=5"), Ok(Some((expected.clone(), None))));
    let flag = Operand::Path(Path::attribute("flag"));
    let rest = Condition::Compare(flag, Comparator::Eq, Operand::Value(s("x")));
    assert_eq!(key("(pk='p' AND sk=5) AND flag='x'"), Ok(Some((expected.clone(), Some(rest)))));
    assert_eq!(key("(sk=5) AND pk='p' AND pk='p'"), Ok(Some((expected, None))));
    let incomplete = "Where clause does not contain a mandatory equality on all key attributes";
    for text in ["pk='p'", "sk=5", "pk='p' AND sk>5", "pk='p' OR sk=5", "NOT pk='p' AND sk=5"] {
        assert_eq!(key(text), Err(incomplete.into()), "{text}");
    }
    assert_eq!(parse("DELETE FROM T"), Err(incomplete.into()));
}
