//! What several answers have in common: capacity and item collections.

use tombolo_client::{convert, v1};

use crate::operation::{CapacityDetail, CollectionMetrics, Consumed};

/// What a request took from one table.
pub(super) fn capacity(consumed: Consumed) -> v1::ConsumedCapacity {
    let Consumed { table, detail, units, read, write, table_units, local } = consumed;
    let indexes = detail == CapacityDetail::Indexes;
    v1::ConsumedCapacity {
        table_name: table,
        capacity_units: units,
        read_capacity_units: read,
        write_capacity_units: write,
        table_capacity_units: indexes.then_some(table_units),
        local_secondary_indexes: if indexes { local } else { Default::default() },
    }
}

/// What a request of one table took.
pub(super) fn consumed(consumed: Vec<Consumed>) -> Option<v1::ConsumedCapacity> {
    consumed.into_iter().next().map(capacity)
}

/// The size of an item collection.
pub(super) fn collection(collection: CollectionMetrics) -> v1::ItemCollectionMetrics {
    v1::ItemCollectionMetrics {
        item_collection_key: convert::item_to_wire(collection.key),
        size_estimate_low_gb: collection.size_gb.0,
        size_estimate_high_gb: collection.size_gb.1,
    }
}
