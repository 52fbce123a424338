//! Keys: what a table is keyed by, and the row keys its partitions are ordered by.
//!
//! A row key is the 16-byte keyed hash of the partition key, then the sort key's order-preserving bytes:
//! text and binary as they are, numbers as [`Number::write_key`] says. So all items of one partition key
//! stand together, in the order of their sort keys. The hash is SipHash-2-4 with 128 bits over the
//! type byte (`S`, `N`, `B`) and the value's key bytes; its secret belongs to the table and is equal in all
//! regions. The full partition key is kept in the row and compared, so a collision is noticed.

mod index;

use std::hash::Hasher;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use siphasher::sip128::{Hasher128, SipHasher24};

use crate::codec::{Decoder, Encoder, FormatError};
use crate::encoding::value_len;
use crate::limits::{PARTITION_KEY_BYTES, SORT_KEY_BYTES};
use crate::value::{Item, ItemError, Value};

pub use index::{index_of_row, index_row_key, index_sort_range};

/// Bytes of a row key that are the hash of the partition key.
pub const HASH_BYTES: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum KeyType {
    S,
    N,
    B,
}

impl KeyType {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::S => "S",
            Self::N => "N",
            Self::B => "B",
        }
    }
    pub fn of(value: &Value) -> Option<Self> {
        match value {
            Value::S(_) => Some(Self::S),
            Value::N(_) => Some(Self::N),
            Value::B(_) => Some(Self::B),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeyAttribute {
    pub name: String,
    pub kind: KeyType,
}

impl KeyAttribute {
    fn check(&self, value: &Value) -> Result<(), ItemError> {
        if KeyType::of(value) != Some(self.kind) {
            return Err(ItemError::KeyType {
                name: self.name.clone(),
                expected: self.kind.as_str(),
                actual: value.type_name(),
            });
        }
        let what = match value {
            Value::S(text) if text.is_empty() => "string",
            Value::B(bytes) if bytes.is_empty() => "binary",
            _ => return Ok(()),
        };
        Err(ItemError::EmptyKey { name: self.name.clone(), what })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeySchema {
    pub partition: KeyAttribute,
    pub sort: Option<KeyAttribute>,
}

/// The table's secret for hashing partition keys.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HashSecret(pub [u8; 16]);

impl std::fmt::Debug for HashSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HashSecret(..)")
    }
}

/// The values of an item's key attributes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key {
    pub partition: Value,
    pub sort: Option<Value>,
}

impl Key {
    /// Version byte (1), then whether there is a sort key (0 or 1), then the values as in an item.
    pub fn encode(&self) -> Bytes {
        let mut e = Encoder::with_capacity(self.encoded_len());
        self.write(&mut e);
        e.finish()
    }

    pub(crate) fn encoded_len(&self) -> usize {
        2 + value_len(&self.partition) + self.sort.as_ref().map_or(0, value_len)
    }

    pub(crate) fn write(&self, e: &mut Encoder) {
        e.u8(1);
        e.u8(u8::from(self.sort.is_some()));
        self.partition.write(e);
        if let Some(sort) = &self.sort {
            sort.write(e);
        }
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut d = Decoder::new(bytes, "key");
        d.version(1)?;
        let has_sort = match d.u8()? {
            0 => false,
            1 => true,
            other => {
                return Err(d.error(format!("{other} does not say whether a sort key follows")));
            }
        };
        let mut part = || {
            let value = Value::read(&mut d)?;
            match KeyType::of(&value) {
                Some(_) => Ok(value),
                None => Err(d.error(format!("a key cannot be of type {}", value.type_name()))),
            }
        };
        let partition = part()?;
        let sort = if has_sort { Some(part()?) } else { None };
        d.end()?;
        Ok(Self { partition, sort })
    }

    /// The key attributes as an item of their own.
    pub fn to_item(&self, schema: &KeySchema) -> Item {
        let mut item = Item::default();
        item.insert(&schema.partition.name, self.partition.clone());
        if let (Some(attribute), Some(value)) = (&schema.sort, &self.sort) {
            item.insert(&attribute.name, value.clone());
        }
        item
    }
}

/// Where a row stands in its table: compared byte by byte.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RowKey(pub Bytes);

impl RowKey {
    /// The least row key above this one.
    pub fn successor(&self) -> RowKey {
        RowKey([&self.0[..], &[0]].concat().into())
    }
}

/// A run of row keys: from `start` (included; empty is the lowest) to `end` (left out; `None` is the
/// highest).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeyRange {
    pub start: RowKey,
    pub end: Option<RowKey>,
}

impl KeyRange {
    pub fn full() -> Self {
        Self { start: RowKey::default(), end: None }
    }

    pub fn contains(&self, key: &RowKey) -> bool {
        *key >= self.start && self.end.as_ref().is_none_or(|end| key < end)
    }

    pub fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }

    /// What both hold; empty ranges come back as `None`.
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        let start = self.start.clone().max(other.start.clone());
        let end = match (&self.end, &other.end) {
            (Some(a), Some(b)) => Some(a.min(b).clone()),
            (a, b) => a.clone().or_else(|| b.clone()),
        };
        let range = Self { start, end };
        (!range.is_empty()).then_some(range)
    }

    /// `count` ranges that hold equal shares of the hash space, together everything.
    pub fn split_evenly(count: u32) -> Vec<Self> {
        let count = count.max(1);
        let bound = |i: u32| {
            let at = (u128::from(i) << 64) / u128::from(count);
            let mut bytes = [0; HASH_BYTES];
            bytes[..8].copy_from_slice(&(at as u64).to_be_bytes());
            RowKey(Bytes::copy_from_slice(&bytes))
        };
        (0..count)
            .map(|i| Self {
                start: if i == 0 { RowKey::default() } else { bound(i) },
                end: (i + 1 < count).then(|| bound(i + 1)),
            })
            .collect()
    }

    /// All keys that begin with `prefix`.
    pub fn of_prefix(prefix: &[u8]) -> Self {
        Self { start: RowKey(Bytes::copy_from_slice(prefix)), end: after_prefix(prefix) }
    }
}

/// The least key above everything that begins with `prefix`.
fn after_prefix(prefix: &[u8]) -> Option<RowKey> {
    let last = prefix.iter().rposition(|&byte| byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(RowKey(end.into()))
}

/// What a Query asks of the sort key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SortCondition {
    Eq(Value),
    Lt(Value),
    Le(Value),
    Gt(Value),
    Ge(Value),
    Between(Value, Value),
    BeginsWith(Value),
}

impl KeySchema {
    /// Takes the key out of an item, checked.
    pub fn key_of(&self, item: &Item) -> Result<Key, ItemError> {
        let part = |attribute: &KeyAttribute| {
            let missing = || ItemError::MissingKey(attribute.name.clone());
            item.get(&attribute.name).cloned().ok_or_else(missing)
        };
        let key = Key {
            partition: part(&self.partition)?,
            sort: self.sort.as_ref().map(part).transpose()?,
        };
        self.check_key(&key)?;
        Ok(key)
    }

    /// Reads a key given as attributes: exactly the key attributes, nothing else.
    pub fn key_from(&self, attributes: &Item) -> Result<Key, ItemError> {
        let expected = 1 + usize::from(self.sort.is_some());
        let named = |attribute: &KeyAttribute| attributes.0.contains_key(&attribute.name);
        if attributes.0.len() != expected
            || !named(&self.partition)
            || !self.sort.as_ref().is_none_or(named)
        {
            return Err(ItemError::KeyShape);
        }
        self.key_of(attributes).map_err(|error| match error {
            ItemError::KeyType { .. } => ItemError::KeyShape,
            other => other,
        })
    }

    /// Types, emptiness and lengths.
    pub fn check_key(&self, key: &Key) -> Result<(), ItemError> {
        self.partition.check(&key.partition)?;
        if key_len(&key.partition) > PARTITION_KEY_BYTES {
            return Err(ItemError::PartitionKeyTooLong);
        }
        match (&self.sort, &key.sort) {
            (None, None) => Ok(()),
            (Some(attribute), Some(value)) => {
                attribute.check(value)?;
                if key_len(value) > SORT_KEY_BYTES {
                    return Err(ItemError::SortKeyTooLong);
                }
                Ok(())
            }
            _ => Err(ItemError::KeyShape),
        }
    }

    /// Where the item of this key stands.
    pub fn row_key(&self, secret: &HashSecret, key: &Key) -> Result<RowKey, ItemError> {
        self.check_key(key)?;
        let mut bytes = Vec::with_capacity(HASH_BYTES + key.sort.as_ref().map_or(0, key_len) + 8);
        bytes.extend_from_slice(&hash(secret, &key.partition));
        if let Some(sort) = &key.sort {
            write_key_bytes(sort, &mut bytes);
        }
        Ok(RowKey(bytes.into()))
    }

    /// The run of row keys that a Query asks for.
    pub fn sort_range(
        &self,
        secret: &HashSecret,
        partition: &Value,
        condition: Option<&SortCondition>,
    ) -> Result<KeyRange, ItemError> {
        self.partition.check(partition)?;
        if key_len(partition) > PARTITION_KEY_BYTES {
            return Err(ItemError::PartitionKeyTooLong);
        }
        let prefix = hash(secret, partition);
        let all = KeyRange::of_prefix(&prefix);
        let Some(condition) = condition else { return Ok(all) };
        let attribute = self.sort.as_ref().ok_or(ItemError::KeyShape)?;
        let at = |value: &Value| -> Result<RowKey, ItemError> {
            attribute.check(value)?;
            if key_len(value) > SORT_KEY_BYTES {
                return Err(ItemError::SortKeyTooLong);
            }
            let mut bytes = prefix.to_vec();
            write_key_bytes(value, &mut bytes);
            Ok(RowKey(bytes.into()))
        };
        Ok(match condition {
            SortCondition::Eq(value) => {
                let start = at(value)?;
                KeyRange { end: Some(start.successor()), start }
            }
            SortCondition::Lt(value) => KeyRange { end: Some(at(value)?), ..all },
            SortCondition::Le(value) => KeyRange { end: Some(at(value)?.successor()), ..all },
            SortCondition::Gt(value) => KeyRange { start: at(value)?.successor(), ..all },
            SortCondition::Ge(value) => KeyRange { start: at(value)?, ..all },
            SortCondition::Between(low, high) => {
                let (low, high) = (at(low)?, at(high)?);
                if low > high {
                    return Err(ItemError::BetweenOrder);
                }
                KeyRange { start: low, end: Some(high.successor()) }
            }
            SortCondition::BeginsWith(value) => {
                if !matches!(value, Value::S(_) | Value::B(_)) {
                    return Err(ItemError::BeginsWithType);
                }
                KeyRange::of_prefix(&at(value)?.0)
            }
        })
    }
}

/// Bytes a key value counts against its limit.
fn key_len(value: &Value) -> usize {
    match value {
        Value::S(text) => text.len(),
        Value::B(bytes) => bytes.len(),
        // The longest number takes 24 bytes of key.
        _ => 24,
    }
}

fn write_key_bytes(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::S(text) => out.extend_from_slice(text.as_bytes()),
        Value::B(bytes) => out.extend_from_slice(bytes),
        Value::N(number) => number.write_key(out),
        _ => unreachable!("keys are checked to be S, N or B before"),
    }
}

fn hash(secret: &HashSecret, partition: &Value) -> [u8; HASH_BYTES] {
    let mut hasher = SipHasher24::new_with_key(&secret.0);
    match partition {
        Value::S(text) => {
            hasher.write_u8(b'S');
            hasher.write(text.as_bytes());
        }
        Value::B(bytes) => {
            hasher.write_u8(b'B');
            hasher.write(bytes);
        }
        other => {
            hasher.write_u8(b'N');
            let mut bytes = Vec::with_capacity(24);
            write_key_bytes(other, &mut bytes);
            hasher.write(&bytes);
        }
    }
    hasher.finish128().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECRET: HashSecret = HashSecret(*b"0123456789abcdef");

    fn schema(sort: Option<KeyType>) -> KeySchema {
        KeySchema {
            partition: KeyAttribute { name: "pk".into(), kind: KeyType::S },
            sort: sort.map(|kind| KeyAttribute { name: "sk".into(), kind }),
        }
    }

    fn row(sort: Value) -> RowKey {
        let kind = KeyType::of(&sort).expect("a key type");
        let key = Key { partition: Value::S("p".into()), sort: Some(sort) };
        schema(Some(kind)).row_key(&SECRET, &key).expect("a legal key")
    }

    #[test]
    fn encoded_keys_have_the_written_form() {
        let key =
            Key { partition: Value::S("ab".into()), sort: Some(Value::N("5".parse().unwrap())) };
        let expected = [1, 1, 1, 2, b'a', b'b', 2, 1, 0, 0, 5];
        assert_eq!(key.encode(), expected[..]);
        assert_eq!(Key::decode(&expected), Ok(key));
        assert!(Key::decode(&[1, 0, 6]).is_err(), "null is no key");
    }

    /// The first two vectors of the reference implementation (`vectors_sip128`), key 00 01 .. 0f: they
    /// pin the variant and the order of its bytes.
    #[test]
    fn the_hash_is_the_reference_siphash() {
        let key: [u8; 16] = std::array::from_fn(|i| i as u8);
        let hash = |input: &[u8]| {
            let mut hasher = SipHasher24::new_with_key(&key);
            hasher.write(input);
            u128::from_be_bytes(hasher.finish128().as_bytes())
        };
        assert_eq!(hash(&[]), 0xa381_7f04_ba25_a8e6_6df6_7214_c755_0293);
        assert_eq!(hash(&[0]), 0xda87_c1d8_6b99_af44_3476_5911_9b22_fc45);
    }

    /// Worked out by another implementation of SipHash-2-4-128, written from its paper and agreeing with the
    /// reference vectors, over the inputs shown.
    #[test]
    fn row_keys_have_the_written_form() {
        let secret = HashSecret(std::array::from_fn(|i| i as u8));
        let of = |partition: Value, sort: Value| {
            let attribute = |name: &str, value: &Value| KeyAttribute {
                name: name.into(),
                kind: KeyType::of(value).expect("a key type"),
            };
            let schema = KeySchema {
                partition: attribute("pk", &partition),
                sort: Some(attribute("sk", &sort)),
            };
            schema.row_key(&secret, &Key { partition, sort: Some(sort) }).expect("a legal key").0
        };
        let expected = |hash: u128, sort: &[u8]| [&hash.to_be_bytes()[..], sort].concat();
        let n = |text: &str| Value::N(text.parse().expect("a number"));
        let b = |bytes: &'static [u8]| Value::B(Bytes::from_static(bytes));
        // "Ssong"
        let song = 0xbe3f_6043_e908_2fbe_235d_7007_d5a5_9b86;
        assert_eq!(
            of(Value::S("song".into()), Value::S("é".into())),
            expected(song, &[0xc3, 0xa9])
        );
        // "B", 1, 2, 3
        let binary = 0x0579_a2cc_c039_563f_5b0a_be52_fbe5_2551;
        assert_eq!(of(b(&[1, 2, 3]), b(&[0, 0xff])), expected(binary, &[0, 0xff]));
        // "N", c0 8001, 13, 51, 0: 12.5 = 1.25 x 10^1
        let number = 0x8e23_07c3_6787_2ded_4368_ba65_4eae_93c7;
        assert_eq!(of(n("12.50"), n("0")), expected(number, &[0x80]));
    }

    #[test]
    fn limits_hold_on_both_sides() {
        let s = |len| Value::S("x".repeat(len));
        let schema = schema(Some(KeyType::S));
        let check = |p, s| schema.check_key(&Key { partition: p, sort: Some(s) });
        assert_eq!(check(s(2048), s(1024)), Ok(()));
        assert_eq!(check(s(2049), s(1)), Err(ItemError::PartitionKeyTooLong));
        assert_eq!(check(s(1), s(1025)), Err(ItemError::SortKeyTooLong));
        assert!(matches!(check(s(0), s(1)), Err(ItemError::EmptyKey { .. })));
        assert!(matches!(check(s(1), Value::Null), Err(ItemError::KeyType { .. })));
    }

    #[test]
    fn ranges_split_evenly_and_cover_everything() {
        for count in [1, 2, 3, 7, 16, 1000] {
            let ranges = KeyRange::split_evenly(count);
            assert_eq!(ranges.len(), count as usize);
            assert_eq!(ranges[0].start, RowKey::default());
            assert_eq!(ranges.last().map(|r| r.end.clone()), Some(None));
            assert!(ranges.windows(2).all(|w| w[0].end.as_ref() == Some(&w[1].start)));
            assert!(ranges.iter().all(|r| !r.is_empty()));
        }
    }

    #[test]
    fn prefixes_end_where_they_should() {
        let range = KeyRange::of_prefix(&[1, 0xff, 0xff]);
        assert_eq!(range.end, Some(RowKey(Bytes::from_static(&[2]))));
        assert_eq!(KeyRange::of_prefix(&[0xff, 0xff]).end, None);
    }

    fn matches(condition: &SortCondition, value: &Value) -> bool {
        match condition {
            SortCondition::Eq(v) => value == v,
            SortCondition::Lt(v) => value < v,
            SortCondition::Le(v) => value <= v,
            SortCondition::Gt(v) => value > v,
            SortCondition::Ge(v) => value >= v,
            SortCondition::Between(a, b) => value >= a && value <= b,
            SortCondition::BeginsWith(Value::S(p)) => {
                matches!(value, Value::S(text) if text.starts_with(p.as_str()))
            }
            SortCondition::BeginsWith(_) => false,
        }
    }

    proptest! {
        #[test]
        fn row_keys_sort_like_sort_keys(a in "[a-c\\u{80}\\u{10ffff}]{1,4}", b in "[a-c\\u{80}\\u{10ffff}]{1,4}") {
            prop_assert_eq!(row(Value::S(a.clone())).cmp(&row(Value::S(b.clone()))), a.cmp(&b));
        }

        #[test]
        fn number_row_keys_sort_like_numbers(
            a in crate::encoding::tests::number(), b in crate::encoding::tests::number()
        ) {
            prop_assert_eq!(row(Value::N(a)).cmp(&row(Value::N(b))), a.cmp(&b));
        }

        #[test]
        fn sort_ranges_hold_exactly_what_matches(
            text in "[ab]{1,4}", low in "[ab]{1,3}", high in "[ab]{1,3}", which in 0..7
        ) {
            let (v, w) = (Value::S(low.clone().min(high.clone())), Value::S(low.max(high)));
            let condition = match which {
                0 => SortCondition::Eq(v),
                1 => SortCondition::Lt(v),
                2 => SortCondition::Le(v),
                3 => SortCondition::Gt(v),
                4 => SortCondition::Ge(v),
                5 => SortCondition::Between(v, w),
                _ => SortCondition::BeginsWith(v),
            };
            let partition = Value::S("p".into());
            let range = schema(Some(KeyType::S))
                .sort_range(&SECRET, &partition, Some(&condition))
                .expect("a legal condition");
            let value = Value::S(text);
            prop_assert_eq!(range.contains(&row(value.clone())), matches(&condition, &value));
        }

        #[test]
        fn any_bytes_are_a_key_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = Key::decode(&bytes);
        }
    }
}
