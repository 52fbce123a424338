//! Names on the broker, for DescribeTable and DescribeStream: the same as `tombolo-stream` publishes
//! under (`tombolo.<region>.<table id>.<shard>`, and `….repl` for replication).

use tombolo_item::{Shard, TableId};

/// People's subject of a shard, or of all.
pub(crate) fn people(region: &str, table: TableId, shard: Option<Shard>) -> String {
    match shard {
        Some(shard) => format!("tombolo.{region}.{table}.{shard}"),
        None => format!("tombolo.{region}.{table}.*"),
    }
}

/// Replication's subject of a shard, or of all.
pub(crate) fn replication(region: &str, table: TableId, shard: Option<Shard>) -> String {
    format!("{}.repl", people(region, table, shard))
}

/// The JetStream stream of a table.
pub(crate) fn stream(region: &str, table: TableId) -> String {
    format!("tombolo-{region}-{table}")
}
