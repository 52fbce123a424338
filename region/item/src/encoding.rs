//! An item's stored bytes.
//!
//! Version byte (1); the number of attributes as a varint; then, in the order of their names, each
//! attribute: its name (varint length, UTF-8) and its value. A value is a type byte and its content:
//!
//! | type | content |
//! |---|---|
//! | 1 S, 3 B | varint length, bytes |
//! | 2 N | see [`Number::encode`] |
//! | 4 true, 5 false, 6 null | nothing |
//! | 7 M | varint count, attributes as above |
//! | 8 L | varint count, values |
//! | 9 SS, 10 NS, 11 BS | varint count, members without type bytes, in ascending order |
//!
//! Equal items have equal bytes, so "nothing changed" and "replicas agree" are comparisons of bytes.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::codec::{Decoder, Encoder, FormatError};
use crate::limits::NESTING_LEVELS;
use crate::number::Number;
use crate::value::{Item, Value};

pub const VERSION: u8 = 1;
const WHAT: &str = "item";

impl Item {
    /// One allocation, of the exact size.
    pub fn encode(&self) -> Bytes {
        let len = 1 + map_len(&self.0);
        let mut e = Encoder::with_capacity(len);
        e.u8(VERSION);
        write_map(&mut e, &self.0);
        debug_assert_eq!(e.0.len(), len, "encoded length is computed exactly");
        e.finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut d = Decoder::new(bytes, WHAT);
        d.version(VERSION)?;
        let map = read_map(&mut d, 0)?;
        d.end()?;
        Ok(Self(map))
    }
}

impl Value {
    /// The value alone, as it stands within an item.
    pub fn write(&self, e: &mut Encoder) {
        match self {
            Value::S(text) => {
                e.u8(1);
                write_bytes(e, text.as_bytes());
            }
            Value::N(number) => {
                e.u8(2);
                number.encode(e);
            }
            Value::B(bytes) => {
                e.u8(3);
                write_bytes(e, bytes);
            }
            Value::Bool(true) => e.u8(4),
            Value::Bool(false) => e.u8(5),
            Value::Null => e.u8(6),
            Value::M(map) => {
                e.u8(7);
                write_map(e, map);
            }
            Value::L(list) => {
                e.u8(8);
                e.varint(list.len() as u64);
                list.iter().for_each(|value| value.write(e));
            }
            Value::Ss(set) => {
                e.u8(9);
                e.varint(set.len() as u64);
                set.iter().for_each(|text| write_bytes(e, text.as_bytes()));
            }
            Value::Ns(set) => {
                e.u8(10);
                e.varint(set.len() as u64);
                set.iter().for_each(|number| number.encode(e));
            }
            Value::Bs(set) => {
                e.u8(11);
                e.varint(set.len() as u64);
                set.iter().for_each(|bytes| write_bytes(e, bytes));
            }
        }
    }

    pub fn read(d: &mut Decoder<'_>) -> Result<Self, FormatError> {
        read_value(d, 0)
    }
}

/// What [`Item::size`] says of an encoded item, without making one: writes need it of what they replace.
pub fn stored_size(bytes: &[u8]) -> Result<usize, FormatError> {
    let mut d = Decoder::new(bytes, WHAT);
    d.version(VERSION)?;
    let size = map_size(&mut d, 0, 0)?;
    d.end()?;
    Ok(size)
}

/// `each`: what every attribute of a nested map costs beside its name and value.
fn map_size(d: &mut Decoder<'_>, level: usize, each: usize) -> Result<usize, FormatError> {
    (0..read_len(d, 2)?)
        .try_fold(0, |size, _| Ok(size + each + read_bytes(d)?.len() + value_size(d, level)?))
}

fn value_size(d: &mut Decoder<'_>, level: usize) -> Result<usize, FormatError> {
    if level > NESTING_LEVELS {
        return Err(d.error(format!("values are nested deeper than {NESTING_LEVELS} levels")));
    }
    let kind = d.u8()?;
    Ok(match kind {
        1 | 3 => read_bytes(d)?.len(),
        2 => Number::decode(d)?.size(),
        4..=6 => 1,
        7 => 3 + map_size(d, level + 1, 1)?,
        8 => (0..read_len(d, 1)?)
            .try_fold(3, |size, _| Ok::<_, FormatError>(size + 1 + value_size(d, level + 1)?))?,
        9 | 11 => (0..read_len(d, 1)?)
            .try_fold(0, |size, _| Ok::<_, FormatError>(size + read_bytes(d)?.len()))?,
        10 => (0..read_len(d, 1)?)
            .try_fold(0, |size, _| Ok::<_, FormatError>(size + Number::decode(d)?.size()))?,
        other => return Err(d.error(format!("unknown type byte {other}"))),
    })
}

fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

fn bytes_len(len: usize) -> usize {
    varint_len(len as u64) + len
}

fn map_len(map: &BTreeMap<String, Value>) -> usize {
    let attributes = map.iter().map(|(name, value)| bytes_len(name.len()) + value_len(value));
    varint_len(map.len() as u64) + attributes.sum::<usize>()
}

pub(crate) fn value_len(value: &Value) -> usize {
    1 + match value {
        Value::S(text) => bytes_len(text.len()),
        Value::N(number) => number.encoded_len(),
        Value::B(bytes) => bytes_len(bytes.len()),
        Value::Bool(_) | Value::Null => 0,
        Value::M(map) => map_len(map),
        Value::L(list) => varint_len(list.len() as u64) + list.iter().map(value_len).sum::<usize>(),
        Value::Ss(set) => {
            varint_len(set.len() as u64) + set.iter().map(|t| bytes_len(t.len())).sum::<usize>()
        }
        Value::Ns(set) => {
            varint_len(set.len() as u64) + set.iter().map(Number::encoded_len).sum::<usize>()
        }
        Value::Bs(set) => {
            varint_len(set.len() as u64) + set.iter().map(|b| bytes_len(b.len())).sum::<usize>()
        }
    }
}

fn write_bytes(e: &mut Encoder, bytes: &[u8]) {
    e.varint(bytes.len() as u64);
    e.raw(bytes);
}

fn write_map(e: &mut Encoder, map: &BTreeMap<String, Value>) {
    e.varint(map.len() as u64);
    for (name, value) in map {
        write_bytes(e, name.as_bytes());
        value.write(e);
    }
}

fn read_bytes<'a>(d: &mut Decoder<'a>) -> Result<&'a [u8], FormatError> {
    let len = read_len(d, 1)?;
    d.raw(len)
}

fn read_text(d: &mut Decoder<'_>) -> Result<String, FormatError> {
    let bytes = read_bytes(d)?;
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(error) => Err(d.error(format!("text is not UTF-8: {error}"))),
    }
}

/// A count of things of at least `each` bytes: it cannot be more than what is left.
fn read_len(d: &mut Decoder<'_>, each: usize) -> Result<usize, FormatError> {
    let count = d.varint()?;
    if count > (d.remaining() / each) as u64 {
        return Err(d.error(format!("{count} elements cannot be in {} bytes", d.remaining())));
    }
    Ok(count as usize)
}

fn read_map(d: &mut Decoder<'_>, level: usize) -> Result<BTreeMap<String, Value>, FormatError> {
    let count = read_len(d, 2)?;
    let mut map = BTreeMap::new();
    for _ in 0..count {
        let name = read_text(d)?;
        if map.last_key_value().is_some_and(|(last, _)| *last >= name) {
            return Err(d.error(format!("attribute {name:?} is out of order")));
        }
        let value = read_value(d, level)?;
        map.insert(name, value);
    }
    Ok(map)
}

fn read_set<T: Ord>(
    d: &mut Decoder<'_>,
    read: impl Fn(&mut Decoder<'_>) -> Result<T, FormatError>,
) -> Result<std::collections::BTreeSet<T>, FormatError> {
    let count = read_len(d, 1)?;
    let mut set = std::collections::BTreeSet::new();
    for _ in 0..count {
        let member = read(d)?;
        if set.last().is_some_and(|last| *last >= member) {
            return Err(d.error("a set is out of order"));
        }
        set.insert(member);
    }
    Ok(set)
}

fn read_value(d: &mut Decoder<'_>, level: usize) -> Result<Value, FormatError> {
    if level > NESTING_LEVELS {
        return Err(d.error(format!("values are nested deeper than {NESTING_LEVELS} levels")));
    }
    Ok(match d.u8()? {
        1 => Value::S(read_text(d)?),
        2 => Value::N(Number::decode(d)?),
        3 => Value::B(Bytes::copy_from_slice(read_bytes(d)?)),
        4 => Value::Bool(true),
        5 => Value::Bool(false),
        6 => Value::Null,
        7 => Value::M(read_map(d, level + 1)?),
        8 => {
            let count = read_len(d, 1)?;
            let list = (0..count).map(|_| read_value(d, level + 1));
            Value::L(list.collect::<Result<_, _>>()?)
        }
        9 => Value::Ss(read_set(d, read_text)?),
        10 => Value::Ns(read_set(d, Number::decode)?),
        11 => Value::Bs(read_set(d, |d| Ok(Bytes::copy_from_slice(read_bytes(d)?)))?),
        other => return Err(d.error(format!("{other} is not a type of value"))),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn number() -> impl Strategy<Value = Number> {
        ("-?[0-9]{1,20}", -50_i32..50)
            .prop_map(|(digits, power)| format!("{digits}E{power}").parse().expect("in range"))
    }

    pub(crate) fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            ".{0,12}".prop_map(Value::S),
            number().prop_map(Value::N),
            proptest::collection::vec(any::<u8>(), 0..12).prop_map(|b| Value::B(b.into())),
            any::<bool>().prop_map(Value::Bool),
            Just(Value::Null),
            proptest::collection::btree_set(".{0,6}", 1..4).prop_map(Value::Ss),
            proptest::collection::btree_set(number(), 1..4).prop_map(Value::Ns),
            proptest::collection::btree_set(proptest::collection::vec(any::<u8>(), 0..6), 1..4)
                .prop_map(|set| Value::Bs(set.into_iter().map(Bytes::from).collect())),
        ];
        leaf.prop_recursive(4, 24, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::L),
                proptest::collection::btree_map("[a-z]{1,5}", inner, 0..5).prop_map(Value::M),
            ]
        })
    }

    pub(crate) fn item() -> impl Strategy<Value = Item> {
        proptest::collection::btree_map("[a-z]{1,8}", value(), 0..6).prop_map(Item)
    }

    /// Every type once, written by hand from the table above.
    #[test]
    fn bytes_have_the_written_form() {
        let item: Item = [
            ("b", Value::B(Bytes::from_static(&[0xff]))),
            ("f", Value::Bool(false)),
            ("l", Value::L(vec![Value::Null])),
            ("m", Value::M([("x".to_owned(), Value::Bool(true))].into())),
            ("n", Value::N("-12.5".parse().expect("a number"))),
            ("s", Value::S("hi".into())),
            ("ss", Value::Ss(["a".to_owned(), "b".to_owned()].into())),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        let expected: Vec<u8> = [
            &[1, 7][..],
            &[1, b'b', 3, 1, 0xff],
            &[1, b'f', 5],
            &[1, b'l', 8, 1, 6],
            &[1, b'm', 7, 1, 1, b'x', 4],
            // -125 x 10^-1: sign and one byte of coefficient, exponent -1.
            &[1, b'n', 2, 0x81, 0xff, 0xff, 125],
            &[1, b's', 1, 2, b'h', b'i'],
            &[2, b's', b's', 9, 2, 1, b'a', 1, b'b'],
        ]
        .concat();
        assert_eq!(item.encode(), expected);
        assert_eq!(Item::decode(&expected), Ok(item));
    }

    #[test]
    fn a_million_nested_lists_are_refused_without_recursion() {
        let mut bytes = vec![1, 1, 1, b'a'];
        bytes.extend([8, 1].repeat(1_000_000));
        bytes.push(6);
        assert!(Item::decode(&bytes).expect_err("too deep").to_string().contains("nested deeper"));
    }

    proptest! {
        #[test]
        fn items_round_trip(item in item()) {
            prop_assert_eq!(Item::decode(&item.encode()), Ok(item));
        }

        #[test]
        fn the_size_of_stored_bytes_is_the_items(item in item()) {
            prop_assert_eq!(stored_size(&item.encode()), Ok(item.size()));
        }

        #[test]
        fn any_bytes_are_an_item_or_an_error(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Item::decode(&bytes);
            let _ = stored_size(&bytes);
            if let Some(first) = bytes.first_mut() {
                *first = VERSION;
                // What is accepted is canonical: it encodes to the same bytes.
                if let Ok(item) = Item::decode(&bytes) {
                    prop_assert_eq!(item.encode(), bytes);
                }
            }
        }

        #[test]
        fn a_damaged_item_never_panics(item in item(), at in any::<prop::sample::Index>(), bit in 0..8_u8) {
            let mut bytes = item.encode().to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let _ = Item::decode(&bytes);
            let _ = stored_size(&bytes);
        }
    }
}
