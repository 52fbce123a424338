//! Row keys of local indexes.
//!
//! An index row's key is the hash of the partition key, the index's number (one byte), the index's sort
//! key in groups, and a 16-byte keyed hash of the base item's key, which tells items of one sort key
//! apart. So the rows of one item collection stand together, per index in the order of its sort keys.
//!
//! A group is 8 bytes, filled up with zeros, and a marker: 9 when another group follows, else how many of
//! the 8 count. It ends itself and keeps the order, as escaping would, but never doubles: the longest
//! sort key of 1,024 bytes takes 1,152, the longest row key 1,185, and the tree's keys may have 1,982.

use super::*;

/// Bytes of a group, its marker left out.
const GROUP: usize = 8;
/// The marker of a group that another one follows.
const CONTINUED: u8 = GROUP as u8 + 1;

/// Where the row of an item stands in a local index. `index` is the index's number in the table, `sort` its
/// sort key, `value` the item's value of it.
pub fn index_row_key(
    schema: &KeySchema,
    secret: &HashSecret,
    index: u8,
    sort: &KeyAttribute,
    value: &Value,
    key: &Key,
) -> Result<RowKey, ItemError> {
    schema.check_key(key)?;
    let mut bytes = prefix(secret, &key.partition, index);
    write_groups(&sort_bytes(sort, value)?, &mut bytes);
    let mut hasher = SipHasher24::new_with_key(&secret.0);
    hasher.write(&key.encode());
    bytes.extend(hasher.finish128().as_bytes());
    Ok(RowKey(bytes.into()))
}

/// The number of the index that a row key of the index space belongs to.
pub fn index_of_row(row: &RowKey) -> Option<u8> {
    row.0.get(HASH_BYTES).copied()
}

/// The run of index rows that a Query of a local index asks for.
pub fn index_sort_range(
    schema: &KeySchema,
    secret: &HashSecret,
    index: u8,
    sort: &KeyAttribute,
    partition: &Value,
    condition: Option<&SortCondition>,
) -> Result<KeyRange, ItemError> {
    schema.partition.check(partition)?;
    if key_len(partition) > PARTITION_KEY_BYTES {
        return Err(ItemError::PartitionKeyTooLong);
    }
    let prefix = prefix(secret, partition, index);
    let all = KeyRange::of_prefix(&prefix);
    let Some(condition) = condition else { return Ok(all) };
    // All rows of one sort key.
    let of = |value: &Value| -> Result<KeyRange, ItemError> {
        let mut bytes = prefix.clone();
        write_groups(&sort_bytes(sort, value)?, &mut bytes);
        Ok(KeyRange::of_prefix(&bytes))
    };
    let after = |value: &Value| Ok::<_, ItemError>(of(value)?.end.unwrap_or_default());
    Ok(match condition {
        SortCondition::Eq(value) => of(value)?,
        SortCondition::Lt(value) => KeyRange { end: Some(of(value)?.start), ..all },
        SortCondition::Le(value) => KeyRange { end: of(value)?.end, ..all },
        SortCondition::Gt(value) => KeyRange { start: after(value)?, ..all },
        SortCondition::Ge(value) => KeyRange { start: of(value)?.start, ..all },
        SortCondition::Between(low, high) => {
            let (low, high) = (of(low)?, of(high)?);
            if low.start > high.start {
                return Err(ItemError::BetweenOrder);
            }
            KeyRange { start: low.start, end: high.end }
        }
        SortCondition::BeginsWith(value) => {
            if !matches!(value, Value::S(_) | Value::B(_)) {
                return Err(ItemError::BeginsWithType);
            }
            // The least sort key that begins with it is itself; what only looks like it, because zeros
            // fill it up, is less.
            let start = of(value)?.start;
            let mut bytes = prefix;
            write_prefix(&sort_bytes(sort, value)?, &mut bytes);
            KeyRange { start, end: KeyRange::of_prefix(&bytes).end }
        }
    })
}

fn prefix(secret: &HashSecret, partition: &Value, index: u8) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HASH_BYTES + 64);
    bytes.extend(hash(secret, partition));
    bytes.push(index);
    bytes
}

fn sort_bytes(sort: &KeyAttribute, value: &Value) -> Result<Vec<u8>, ItemError> {
    sort.check(value)?;
    if key_len(value) > SORT_KEY_BYTES {
        return Err(ItemError::SortKeyTooLong);
    }
    let mut bytes = Vec::with_capacity(key_len(value));
    write_key_bytes(value, &mut bytes);
    Ok(bytes)
}

fn write_groups(bytes: &[u8], out: &mut Vec<u8>) {
    let mut rest = bytes;
    while rest.len() > GROUP {
        out.extend_from_slice(&rest[..GROUP]);
        out.push(CONTINUED);
        rest = &rest[GROUP..];
    }
    out.extend_from_slice(rest);
    out.resize(out.len() + GROUP - rest.len(), 0);
    out.push(rest.len() as u8);
}

/// What the groups of everything that begins with `bytes` begin with.
fn write_prefix(bytes: &[u8], out: &mut Vec<u8>) {
    let mut rest = bytes;
    while rest.len() > GROUP {
        out.extend_from_slice(&rest[..GROUP]);
        out.push(CONTINUED);
        rest = &rest[GROUP..];
    }
    out.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECRET: HashSecret = HashSecret(*b"0123456789abcdef");

    fn schema() -> KeySchema {
        KeySchema {
            partition: KeyAttribute { name: "pk".into(), kind: KeyType::S },
            sort: Some(KeyAttribute { name: "sk".into(), kind: KeyType::S }),
        }
    }

    fn row(value: &Value, base: &str) -> RowKey {
        let sort =
            KeyAttribute { name: "other".into(), kind: KeyType::of(value).expect("a key type") };
        let key = Key { partition: Value::S("p".into()), sort: Some(Value::S(base.into())) };
        index_row_key(&schema(), &SECRET, 3, &sort, value, &key).expect("a legal key")
    }

    fn binary(bytes: &[u8]) -> Value {
        Value::B(Bytes::copy_from_slice(bytes))
    }

    #[test]
    fn index_rows_have_the_written_form() {
        let row = row(&Value::S("abcdefghi".into()), "base").0;
        let base = schema()
            .row_key(
                &SECRET,
                &Key { partition: Value::S("p".into()), sort: Some(Value::S("base".into())) },
            )
            .expect("a legal key");
        assert_eq!(row[..16], base.0[..16], "an item's rows are where the item is");
        assert_eq!(row[16..35], *b"\x03abcdefgh\x09i\0\0\0\0\0\0\0\x01");
        assert_eq!(row.len(), 16 + 1 + 18 + 16);
        assert_eq!(index_of_row(&RowKey(row)), Some(3));
    }

    #[test]
    fn the_longest_legal_keys_fit_the_tree() {
        let longest = Value::S("x".repeat(SORT_KEY_BYTES));
        let sort = KeyAttribute { name: "other".into(), kind: KeyType::S };
        let key = Key {
            partition: Value::S("p".repeat(PARTITION_KEY_BYTES)),
            sort: Some(longest.clone()),
        };
        let row = index_row_key(&schema(), &SECRET, 255, &sort, &longest, &key).expect("legal");
        assert_eq!(row.0.len(), 1_185);
        let over = Value::S("x".repeat(SORT_KEY_BYTES + 1));
        let refused = index_row_key(&schema(), &SECRET, 0, &sort, &over, &key);
        assert_eq!(refused, Err(ItemError::SortKeyTooLong));
    }

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(prop_oneof![Just(0), Just(1), Just(255)], 1..20)
    }

    proptest! {
        #[test]
        fn index_rows_sort_like_sort_keys(a in bytes(), b in bytes(), x in "[a-c]{1,3}", y in "[a-c]{1,3}") {
            let order = row(&binary(&a), &x).cmp(&row(&binary(&b), &y));
            if a != b {
                prop_assert_eq!(order, a.cmp(&b));
            } else {
                prop_assert_eq!(order.is_eq(), x == y, "base keys tell them apart");
            }
        }

        #[test]
        fn numbers_in_index_rows_sort_like_numbers(
            a in crate::encoding::tests::number(), b in crate::encoding::tests::number()
        ) {
            prop_assert_eq!(row(&Value::N(a), "x").cmp(&row(&Value::N(b), "x")), a.cmp(&b));
        }

        #[test]
        fn index_ranges_hold_exactly_what_matches(
            value in bytes(), low in bytes(), high in bytes(), which in 0..7, base in "[a-c]{1,3}"
        ) {
            let (low, high) = (low.clone().min(high.clone()), low.max(high));
            let (v, w) = (binary(&low), binary(&high));
            let (condition, matches) = match which {
                0 => (SortCondition::Eq(v), value == low),
                1 => (SortCondition::Lt(v), value < low),
                2 => (SortCondition::Le(v), value <= low),
                3 => (SortCondition::Gt(v), value > low),
                4 => (SortCondition::Ge(v), value >= low),
                5 => (SortCondition::Between(v, w), value >= low && value <= high),
                _ => (SortCondition::BeginsWith(v), value.starts_with(&low)),
            };
            let sort = KeyAttribute { name: "other".into(), kind: KeyType::B };
            let partition = Value::S("p".into());
            let range = index_sort_range(&schema(), &SECRET, 3, &sort, &partition, Some(&condition))
                .expect("a legal condition");
            prop_assert_eq!(range.contains(&row(&binary(&value), &base)), matches);
            let other = index_sort_range(&schema(), &SECRET, 4, &sort, &partition, None).expect("legal");
            prop_assert!(!other.contains(&row(&binary(&value), &base)), "another index's row");
        }
    }
}
