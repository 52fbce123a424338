//! Request units as DynamoDB counts them (developer guide, "Read and write operations"): reads in
//! steps of 4 KB, writes in steps of 1 KB, half for eventually consistent reads. A missing item costs
//! what the smallest item costs. A Query or Scan rounds the sum of what it read; GetItem rounds one item,
//! BatchGetItem each of its items. What a projection or filter leaves out is read all the same.
//!
//! Writes to local indexes come on top (developer guide, "Local secondary indexes", provisioned
//! throughput): a row that appears, changes or goes is one write, one that moves is two.

use crate::key::KeySchema;
use crate::limits::{READ_UNIT_BYTES, WRITE_UNIT_BYTES};
use crate::table::LocalIndex;
use crate::value::Item;

/// Units of reading `bytes`: one a strongly consistent step of 4 KB, half of that otherwise.
pub fn read_units(bytes: usize, strong: bool) -> f64 {
    let steps = bytes.div_ceil(READ_UNIT_BYTES).max(1) as f64;
    if strong { steps } else { steps / 2.0 }
}

/// Units of BatchGetItem: each item is rounded for itself. A missing item has 0 bytes.
pub fn batch_read_units(bytes: impl IntoIterator<Item = usize>, strong: bool) -> f64 {
    bytes.into_iter().map(|bytes| read_units(bytes, strong)).sum()
}

/// Units of reading a local index: of the index, and of the table. `index_bytes` is the sum of what
/// the index shows of the items; `fetched` are the sizes of whole items, where attributes are wanted that
/// the index does not show.
pub fn index_read_units(
    index_bytes: usize,
    fetched: impl IntoIterator<Item = usize>,
    strong: bool,
) -> (f64, f64) {
    (read_units(index_bytes, strong), batch_read_units(fetched, strong))
}

/// Units of a write: the larger of the item before and after, one a step of 1 KB. So does UpdateItem,
/// however little it changes, and a write whose condition failed (both are the item that is there).
pub fn write_units(before: usize, after: usize) -> f64 {
    before.max(after).div_ceil(WRITE_UNIT_BYTES).max(1) as f64
}

/// Units of what a write does to a local index. `before` and `after` are the item, if it is there.
pub fn index_write_units(
    schema: &KeySchema,
    index: &LocalIndex,
    before: Option<&Item>,
    after: Option<&Item>,
) -> f64 {
    let row = |item: &Item| {
        item.get(&index.sort.name)?;
        Some(index.project(schema, item))
    };
    let (before, after) = (before.and_then(row), after.and_then(row));
    match (&before, &after) {
        (None, None) => 0.0,
        (Some(row), None) | (None, Some(row)) => write_units(row.size(), 0),
        (Some(before), Some(after)) if before == after => 0.0,
        (Some(before), Some(after)) => {
            let same_place = before.get(&index.sort.name) == after.get(&index.sort.name);
            match same_place {
                true => write_units(before.size(), after.size()),
                false => write_units(before.size(), 0) + write_units(0, after.size()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{KeyAttribute, KeyType};
    use crate::table::{IndexName, IndexProjection};
    use crate::value::Value;

    /// The examples of the AWS page "Read and write operations".
    #[test]
    fn units_are_those_of_the_guide() {
        assert_eq!(read_units(3 * 1024, true), 1.0);
        assert_eq!(read_units(3 * 1024, false), 0.5);
        assert_eq!(read_units(8 * 1024, true), 2.0);
        assert_eq!(read_units(4 * 1024 + 1, true), 2.0);
        assert_eq!(read_units(0, false), 0.5);
        assert_eq!(write_units(0, 512), 1.0);
        assert_eq!(write_units(0, 1024 + 512), 2.0);
        assert_eq!(write_units(3 * 1024, 10), 3.0);
        // "If your batch read contained two items of 1.5 KB and 6.5 KB": 4 KB and 8 KB.
        assert_eq!(batch_read_units([1536, 6656], true), 3.0);
        assert_eq!(batch_read_units([1536, 6656], false), 1.5);
    }

    /// The rules of the AWS page "Local secondary indexes", "Provisioned throughput considerations".
    #[test]
    fn index_writes_are_those_of_the_guide() {
        let attribute = |name: &str| KeyAttribute { name: name.into(), kind: KeyType::S };
        let schema = KeySchema { partition: attribute("p"), sort: Some(attribute("c")) };
        let index = LocalIndex {
            name: IndexName::new("by-x").expect("a name"),
            sort: attribute("x"),
            projection: IndexProjection::Include(vec!["shown".into()]),
        };
        let item = |x: Option<&str>, shown: &str, other: &str| {
            let attributes = [("p", Some("p")), ("c", Some("c")), ("x", x), ("shown", Some(shown))];
            let attributes = attributes.into_iter().chain([("other", Some(other))]);
            let given = attributes
                .filter_map(|(name, value)| Some((name.to_owned(), Value::S(value?.to_owned()))));
            given.collect::<Item>()
        };
        let units = |before: Option<Item>, after: Option<Item>| {
            index_write_units(&schema, &index, before.as_ref(), after.as_ref())
        };
        let (none, a, b) =
            (item(None, "s", "o"), item(Some("a"), "s", "o"), item(Some("b"), "s", "o"));
        let big = "s".repeat(1024);
        for (what, before, after, expected) in [
            ("a new item defines the attribute", None, Some(a.clone()), 1.0),
            ("an update defines it", Some(none.clone()), Some(a.clone()), 1.0),
            ("an update changes it", Some(a.clone()), Some(b), 2.0),
            ("an update takes it away", Some(a.clone()), Some(none.clone()), 1.0),
            ("the item goes", Some(a.clone()), None, 1.0),
            ("it was not there and is not", Some(none), Some(item(None, "t", "u")), 0.0),
            (
                "a projected attribute changes",
                Some(a.clone()),
                Some(item(Some("a"), "t", "o")),
                1.0,
            ),
            ("another one changes", Some(a.clone()), Some(item(Some("a"), "s", "u")), 0.0),
            ("larger rows", Some(a), Some(item(Some("b"), &big, "o")), 3.0),
        ] {
            assert_eq!(units(before, after), expected, "{what}");
        }
    }

    /// The index's part is rounded as a whole, fetched items each for itself.
    #[test]
    fn index_reads_are_those_of_the_guide() {
        assert_eq!(index_read_units(3 * 1024, [], true), (1.0, 0.0));
        assert_eq!(index_read_units(3 * 1024, [100, 5000], true), (1.0, 3.0));
        assert_eq!(index_read_units(600, [100, 100, 100], false), (0.5, 1.5));
    }
}
