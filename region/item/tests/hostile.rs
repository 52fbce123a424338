//! Every decoder of this crate, fed what an attacker or a broken disk would feed it: random bytes, good
//! bytes damaged, and damaged bytes whose checksum was made right again, so that what is behind the
//! checksum is reached too.
//!
//! The long form is the same with more cases: `PROPTEST_CASES=1000000 cargo test -p tombolo-item --test
//! hostile`.
//!
//! Always true: each answers with a value or an error; none panics, and what they accept is canonical
//! (it encodes to the bytes that were read), so two different byte strings never mean one thing.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use tombolo_item::codec::crc32c;
use tombolo_item::condition::{
    ExpressionKind, Substitutions, parse, parse_key_condition, parse_key_expression, parse_with,
};
use tombolo_item::json::{item_from_json, item_from_plain};
use tombolo_item::partiql::{Statement, parse_statement};
use tombolo_item::projection::parse_projection;
use tombolo_item::update::parse_update;
use tombolo_item::{
    Cause, ChangeKind, ChangeRecord, Condition, Decoder, GroupId, Hlc, Item, Key, KeyAttribute,
    KeySchema, KeyType, LocalIndex, Number, Projection, RegionId, RowKey, Shard, SliceDecoder,
    Stamp, TableId, TableName, Update, Value,
};

fn bytes(len: usize) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..len)
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        ".{1,12}".prop_map(Value::S),
        (any::<i64>(), -40_i32..40).prop_map(|(digits, power)| {
            Value::N(format!("{digits}E{power}").parse().expect("in range"))
        }),
        bytes(12).prop_map(|b| Value::B(b.into())),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        scalar(),
        any::<bool>().prop_map(Value::Bool),
        Just(Value::Null),
        proptest::collection::btree_set(".{0,6}", 1..4).prop_map(Value::Ss),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::L),
            proptest::collection::btree_map("[a-z]{1,4}", inner, 0..4).prop_map(Value::M),
        ]
    })
}

fn item() -> impl Strategy<Value = Item> {
    proptest::collection::btree_map("[a-z]{1,6}", value(), 0..5).prop_map(Item)
}

fn stamp() -> impl Strategy<Value = Stamp> {
    (any::<u64>(), any::<u16>(), any::<u64>()).prop_map(|(hlc, region, seq)| Stamp {
        hlc: Hlc(hlc),
        region: RegionId(region),
        seq,
    })
}

fn record() -> impl Strategy<Value = ChangeRecord> {
    let versions = (stamp(), proptest::option::of(stamp()), any::<u64>(), any::<u64>());
    let key = (scalar(), proptest::option::of(scalar()));
    let images = (proptest::option::of(item()), proptest::option::of(item()));
    let rest = (any::<u128>(), any::<u32>(), any::<bool>(), bytes(20), bytes(20), bytes(20));
    (versions, key, images, rest).prop_map(|(versions, key, images, rest)| {
        let (stamp, replaced, closed, seq) = versions;
        let (id, epoch, in_transaction, row_key, merge_state, ext) = rest;
        ChangeRecord {
            table: TableId(uuid::Uuid::from_u128(id)),
            shard: Shard { group: GroupId(seq), epoch },
            seq,
            stamp,
            replaced,
            closed: Hlc(closed),
            origin: RegionId(epoch as u16),
            cause: Cause::Replication,
            kind: ChangeKind::Insert,
            transaction: in_transaction.then(|| (uuid::Uuid::from_u128(!id), epoch)),
            key: Key { partition: key.0, sort: key.1 },
            row_key: RowKey(row_key.into()),
            new: images.0.map(|item| item.encode()),
            old: images.1.map(|item| item.encode()),
            eval_term: closed,
            prev_hash: seq,
            merge_state: merge_state.into(),
            ext: ext.into(),
        }
    })
}

/// One place to damage, and how.
#[derive(Debug, Clone)]
enum Damage {
    Set(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Insert(prop::sample::Index, Vec<u8>),
    /// Four bytes, as a length would be.
    Length(prop::sample::Index, u32),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        at().prop_map(Damage::Cut),
        (at(), bytes(8)).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        (at(), prop_oneof![Just(u32::MAX), Just(1 << 31), 0..100_u32])
            .prop_map(|(at, length)| Damage::Length(at, length)),
    ]
}

fn damaged(good: &[u8], damages: &[Damage]) -> Vec<u8> {
    let mut bad = good.to_vec();
    for damage in damages {
        if bad.is_empty() {
            break;
        }
        match damage {
            Damage::Set(at, byte) => {
                let at = at.index(bad.len());
                bad[at] = *byte;
            }
            Damage::Cut(at) => bad.truncate(at.index(bad.len())),
            Damage::Insert(at, bytes) => {
                let at = at.index(bad.len());
                bad.splice(at..at, bytes.iter().copied());
            }
            Damage::Length(at, length) => {
                let at = at.index(bad.len());
                let end = (at + 4).min(bad.len());
                bad[at..end].copy_from_slice(&length.to_be_bytes()[..end - at]);
            }
        }
    }
    bad
}

fn schema() -> KeySchema {
    KeySchema {
        partition: KeyAttribute { name: "pk".into(), kind: KeyType::S },
        sort: Some(KeyAttribute { name: "sk".into(), kind: KeyType::N }),
    }
}

/// Text that looks like an expression often enough to get far into the parser.
fn expression() -> impl Strategy<Value = String> {
    let words = [
        "a",
        "pk",
        "sk",
        "b.c",
        "[1]",
        "[",
        "]",
        "(",
        ")",
        "((",
        "))",
        "AND",
        "or",
        "NOT",
        "=",
        "<>",
        "<=",
        ">",
        ",",
        ".",
        ":v",
        ":n",
        "#n",
        "size(",
        "contains(",
        "begins_with(",
        "attribute_type(",
        "attribute_exists(",
        "BETWEEN",
        "IN",
        "SET",
        "remove",
        "ADD",
        "DELETE",
        "+",
        "-",
        "list_append(",
        "if_not_exists(",
        "a[0]",
        "a[7]",
        ":set",
        ":list",
        "status",
        "99999999999",
        "\u{e9}",
        "#",
        ":",
    ];
    proptest::collection::vec(prop::sample::select(words.to_vec()), 0..60)
        .prop_map(|words| words.join(" "))
}

fn placeholders() -> (BTreeMap<String, String>, BTreeMap<String, Value>) {
    let names = [("#n".to_owned(), "n".to_owned())].into();
    let five = "5".parse().expect("a number");
    let values = [
        (":v", Value::S("x".into())),
        (":n", Value::N(five)),
        (":set", Value::Ss(["x".to_owned()].into())),
        (":list", Value::L(vec![Value::Null])),
    ];
    (names, values.map(|(key, value)| (key.to_owned(), value)).into())
}

/// Text that looks like a statement often enough to get far into the parser.
fn statement() -> impl Strategy<Value = String> {
    let words = [
        "SELECT * FROM t",
        "SELECT a, b.c[0] FROM \"t\".\"i\"",
        "WHERE",
        "pk = 'p'",
        "AND",
        "OR",
        "NOT",
        "sk = 5",
        "pk IN ['a', 'b']",
        "ORDER BY",
        "pk",
        "sk",
        "DESC",
        "INSERT INTO t VALUE",
        "{",
        "}",
        "'a':",
        "?",
        ",",
        "[",
        "]",
        "<<",
        ">>",
        "'x'",
        "1.5e3",
        "-",
        "null",
        "true",
        "UPDATE t",
        "SET",
        "REMOVE",
        "a = ",
        "a[1]",
        "FROM t",
        "list_append(",
        "set_add(a,",
        "if_not_exists(",
        "(",
        ")",
        "DELETE FROM t",
        "RETURNING ALL OLD *",
        "IS",
        "MISSING",
        "EXISTS(SELECT * FROM t",
        "begins_with(",
        "size(",
        "-- c\n",
        "/* c */",
        ";",
        "\"",
        "'",
        "#",
        "\u{e9}",
        "1e99999999999",
        "=",
        "<>",
        "BETWEEN",
    ];
    proptest::collection::vec(prop::sample::select(words.to_vec()), 0..24)
        .prop_map(|words| words.join(" "))
}

/// An update from text, if it is one.
fn update(text: &str) -> Option<Update> {
    let (names, values) = placeholders();
    parse_update(text, &mut Substitutions::new(&names, &values)).ok()
}

fn attributes() -> impl Strategy<Value = Item> {
    let list = proptest::collection::vec(value(), 0..4).prop_map(Value::L);
    (item(), proptest::option::of(prop_oneof![value(), list])).prop_map(|(mut item, a)| {
        if let Some(a) = a {
            item.insert("a", a);
        }
        item
    })
}

proptest! {
    #[test]
    fn change_records_round_trip(record in record()) {
        prop_assert_eq!(ChangeRecord::decode(&record.encode()), Ok(record));
    }

    #[test]
    fn a_decoded_change_record_is_views_of_what_was_read(record in record()) {
        let canonical = record.encode();
        let whole = canonical.as_ptr_range();
        let decoded = ChangeRecord::decode(&canonical).expect("good bytes");
        for field in [Some(decoded.row_key.0), decoded.new, decoded.old].into_iter().flatten() {
            prop_assert!(field.is_empty() || whole.contains(&field.as_ptr()));
        }
    }

    #[test]
    fn a_damaged_change_record_is_an_error(
        record in record(), damages in proptest::collection::vec(damage(), 1..4)
    ) {
        let good = record.encode();
        let bad = damaged(&good, &damages);
        if bad != good {
            prop_assert!(ChangeRecord::decode(&bad.into()).is_err());
        }
    }

    #[test]
    fn a_change_record_forged_with_a_right_checksum_is_canonical_or_an_error(
        record in record(), damages in proptest::collection::vec(damage(), 1..4)
    ) {
        let good = record.encode();
        let mut forged = damaged(&good[..good.len() - 4], &damages);
        forged.extend(crc32c(&forged).to_be_bytes());
        let forged = Bytes::from(forged);
        if let Ok(read) = ChangeRecord::decode(&forged) {
            prop_assert_eq!(read.encode(), forged);
        }
    }

    #[test]
    fn a_damaged_item_is_canonical_or_an_error(
        item in item(), damages in proptest::collection::vec(damage(), 1..4)
    ) {
        let bad = damaged(&item.encode(), &damages);
        if let Ok(read) = Item::decode(&bad) {
            prop_assert_eq!(read.encode(), bad);
        }
    }

    #[test]
    fn a_damaged_key_is_canonical_or_an_error(
        partition in scalar(), sort in proptest::option::of(scalar()),
        damages in proptest::collection::vec(damage(), 1..4),
    ) {
        let key = Key { partition, sort };
        prop_assert_eq!(Key::decode(&key.encode()), Ok(key.clone()));
        let bad = damaged(&key.encode(), &damages);
        if let Ok(read) = Key::decode(&bad) {
            prop_assert_eq!(read.encode(), bad);
        }
    }

    #[test]
    fn any_bytes_are_something_or_an_error(bytes in bytes(300)) {
        let shared = Bytes::from(bytes.clone());
        let _ = ChangeRecord::decode(&shared);
        let _ = Item::decode(&bytes);
        let _ = Key::decode(&bytes);
        let _ = Stamp::decode(&bytes);
        let _ = Value::read(&mut Decoder::new(&bytes, "value"));
        let (mut slices, mut borrowed) =
            (SliceDecoder::new(shared, "bytes"), Decoder::new(&bytes, "bytes"));
        while let Ok(field) = borrowed.bytes() {
            let shared = slices.bytes().expect("what the other reads");
            prop_assert_eq!(shared, field);
        }
        prop_assert!(slices.bytes().is_err());
        // As they travel between nodes.
        let _ = postcard::from_bytes::<Condition>(&bytes);
        let _ = postcard::from_bytes::<Item>(&bytes);
        let _ = postcard::from_bytes::<Key>(&bytes);
        let _ = postcard::from_bytes::<KeySchema>(&bytes);
        let _ = postcard::from_bytes::<LocalIndex>(&bytes);
        if let Ok(update) = postcard::from_bytes::<Update>(&bytes) {
            let _ = update.apply(&Item::default());
        }
        if let Ok(projection) = postcard::from_bytes::<Projection>(&bytes) {
            let _ = projection.apply(&Item::default());
        }
    }

    #[test]
    fn any_text_is_something_or_an_error(text in ".{0,80}") {
        let _ = text.parse::<Number>();
        let _ = text.parse::<Shard>();
        let _ = text.parse::<TableId>();
        let _ = text.parse::<RegionId>();
        let _ = TableName::new(text.as_str());
        if let Ok(json) = serde_json::from_str(&text) {
            let _ = item_from_json(&json);
            let _ = item_from_plain(&json);
        }
    }

    #[test]
    fn any_expression_is_a_condition_or_an_error(text in expression(), item in item()) {
        let (names, values) = placeholders();
        let _ = parse_key_condition(&text, &mut Substitutions::new(&names, &values), &schema());
        if let Ok(condition) = parse(&text, &names, &values) {
            prop_assert!(condition.matches(Some(&item)).is_ok());
            let sent = postcard::to_stdvec(&condition).expect("written");
            prop_assert_eq!(postcard::from_bytes(&sent), Ok(condition));
        }
    }

    #[test]
    fn any_expression_is_a_projection_or_an_error(text in expression(), item in attributes()) {
        let (names, values) = placeholders();
        let mut substitutions = Substitutions::new(&names, &values);
        let _ = parse_with(ExpressionKind::Filter, &text, &mut substitutions);
        if let Ok(key) = parse_key_expression(&text, &mut substitutions) {
            let _ = key.resolve(&schema());
        }
        if let Ok(projection) = parse_projection(&text, &mut substitutions) {
            let shown = projection.apply(&item);
            prop_assert!(shown.size() <= item.size());
            prop_assert!(shown.0.keys().all(|name| item.0.contains_key(name)));
            let sent = postcard::to_stdvec(&projection).expect("written");
            prop_assert_eq!(postcard::from_bytes(&sent), Ok(projection));
        }
    }

    #[test]
    fn any_expression_is_an_update_or_an_error(
        words in expression(), section in prop::sample::select(vec!["SET", "REMOVE", "ADD", "DELETE"]),
        item in attributes(),
    ) {
        for text in [words.clone(), format!("{section} {words}"), format!("SET a[0] = {words}")] {
            let Some(update) = update(&text) else { continue };
            if let Ok(after) = update.apply(&item) {
                prop_assert_eq!(after.validate(), Ok(()));
                let _ = update.touched(&item, &after);
            }
            let sent = postcard::to_stdvec(&update).expect("written");
            prop_assert_eq!(postcard::from_bytes(&sent), Ok(update));
        }
    }

    #[test]
    fn a_damaged_update_is_applied_or_an_error(
        item in attributes(), damages in proptest::collection::vec(damage(), 1..4),
        text in prop::sample::select(vec![
            "SET a[0] = list_append(if_not_exists(b, :list), :list), b.c = a + :n REMOVE d, e[1].f",
            "ADD a :set, b.c :n DELETE d :set SET e = :v",
        ]),
    ) {
        let good = postcard::to_stdvec(&update(text).expect("legal")).expect("written");
        if let Ok(update) = postcard::from_bytes::<Update>(&damaged(&good, &damages))
            && let Ok(after) = update.apply(&item)
        {
            prop_assert_eq!(after.validate(), Ok(()));
            let _ = update.touched(&item, &after);
        }
    }

    #[test]
    fn any_text_is_a_statement_or_an_error(text in ".{0,120}") {
        let _ = parse_statement(&text, &[]);
    }

    #[test]
    fn any_words_are_a_statement_or_an_error(text in statement(), item in attributes()) {
        let parameters = vec![Value::S("x".into()); text.matches('?').count()];
        let Ok(statement) = parse_statement(&text, &parameters) else { return Ok(()) };
        let _ = statement.written_key(&schema());
        match &statement {
            Statement::Select(select) | Statement::Exists(select) => {
                let _ = select.read(&schema());
                let _ = select.key(&schema());
                if let Some(columns) = &select.columns {
                    let _ = columns.apply(&item);
                }
                // What travels must be readable where it arrives.
                let sent = postcard::to_stdvec(&select.condition).expect("written");
                prop_assert_eq!(postcard::from_bytes(&sent), Ok(select.condition.clone()));
            }
            Statement::Update { update, .. } => {
                let sent = postcard::to_stdvec(update).expect("written");
                prop_assert_eq!(postcard::from_bytes(&sent), Ok(update.clone()));
                let _ = update.apply(&item);
            }
            Statement::Insert { item, .. } => {
                let sent = postcard::to_stdvec(item).expect("written");
                prop_assert_eq!(postcard::from_bytes(&sent), Ok(item.clone()));
            }
            Statement::Delete { .. } => {}
        }
    }
}

/// What nests without end is refused, whatever it is.
#[test]
fn deep_statements_do_not_fill_the_stack() {
    let deep = |open: &str, close: &str| {
        format!("SELECT * FROM t WHERE {}a = 1{}", open.repeat(900), close.repeat(900))
    };
    for text in [
        deep("(", ")"),
        deep("NOT ", ""),
        deep("size(", ")"),
        format!("INSERT INTO t VALUE {{'a': {}1}}", "[".repeat(4_000)),
        format!("INSERT INTO t VALUE {{'a': {}1}}", "{'a': ".repeat(1_000)),
        format!("INSERT INTO t VALUE {{'a': {}1{}}}", "[".repeat(40), "]".repeat(40)),
        format!("UPDATE t SET a = {}1", "(".repeat(4_000)),
        format!("UPDATE t SET a = {}1", "if_not_exists(a, ".repeat(400)),
        format!("SELECT * FROM t WHERE a = {}1", "- ".repeat(4_000).trim_end()),
        format!("SELECT a{} FROM t", "[0]".repeat(2_000)),
    ] {
        let refused = parse_statement(&text, &[]);
        assert!(refused.is_err() || text.contains("- -"), "{}", &text[..60]);
    }
}
