//! Capacity that requests took, counted as DynamoDB counts it (developer guide, "Read and write
//! operations" and "Local secondary indexes: provisioned throughput considerations").
//!
//! Always true: what nobody asked for is not counted. A write of a table with local indexes also costs
//! what its index rows cost: a row made or removed costs a write, a row whose key changes both, a row
//! whose projection changes one, of the larger size.

use std::collections::BTreeMap;

use tombolo_item::capacity::{read_units, write_units};
use tombolo_item::{Item, LocalIndex};
use tombolo_memds::TableInfo;

use crate::operation::{CapacityDetail, Consumed, Report};

/// Units of reading, the table's own and an index's.
pub(super) fn reading(
    report: Report,
    table: &str,
    table_units: f64,
    index: Option<(&str, f64)>,
) -> Vec<Consumed> {
    let local: BTreeMap<_, _> =
        index.into_iter().map(|(name, units)| (name.to_owned(), units)).collect();
    let units = table_units + local.values().sum::<f64>();
    let (detail, table) = (report.capacity, table.to_owned());
    match detail {
        CapacityDetail::None => Vec::new(),
        _ => vec![Consumed { table, detail, units, read: units, write: 0.0, table_units, local }],
    }
}

/// Units of one strongly consistent or other read of one item; 0 bytes for none.
pub(super) fn of_item(bytes: usize, consistent: bool) -> f64 {
    read_units(bytes, consistent)
}

/// Units of writing, the table's own and its indexes'.
pub(super) fn writing(
    report: Report,
    table: &str,
    table_units: f64,
    local: BTreeMap<String, f64>,
) -> Vec<Consumed> {
    let units = table_units + local.values().sum::<f64>();
    let (detail, table) = (report.capacity, table.to_owned());
    match detail {
        CapacityDetail::None => Vec::new(),
        _ => vec![Consumed { table, detail, units, read: 0.0, write: units, table_units, local }],
    }
}

/// Units that a write takes in each local index, from the item before and after.
pub(super) fn of_index_rows(
    table: &TableInfo,
    before: Option<&Item>,
    after: Option<&Item>,
) -> BTreeMap<String, f64> {
    let of = |index: &LocalIndex| {
        let row = |item: Option<&Item>| {
            let item = item.filter(|item| item.get(&index.sort.name).is_some())?;
            Some(index.project(&table.schema, item))
        };
        let size = Item::size;
        match (row(before), row(after)) {
            (None, None) => 0.0,
            (Some(old), None) => write_units(size(&old), 0),
            (None, Some(new)) => write_units(0, size(&new)),
            (Some(old), Some(new)) if old == new => 0.0,
            (Some(old), Some(new)) if old.get(&index.sort.name) == new.get(&index.sort.name) => {
                write_units(size(&old), size(&new))
            }
            (Some(old), Some(new)) => write_units(size(&old), 0) + write_units(0, size(&new)),
        }
    };
    let indexes = table.settings.local_indexes.iter();
    let units = indexes.map(|index| (index.name.to_string(), of(index)));
    units.filter(|(_, units)| *units > 0.0).collect()
}

/// Adds up what several requests of one batch took, by table.
pub(super) fn sum(parts: impl IntoIterator<Item = Consumed>) -> Vec<Consumed> {
    let mut tables: Vec<Consumed> = Vec::new();
    for part in parts {
        match tables.iter_mut().find(|known| known.table == part.table) {
            None => tables.push(part),
            Some(known) => {
                known.units += part.units;
                known.read += part.read;
                known.write += part.write;
                known.table_units += part.table_units;
                for (index, units) in part.local {
                    *known.local.entry(index).or_default() += units;
                }
            }
        }
    }
    tables
}
