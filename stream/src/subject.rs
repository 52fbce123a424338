//! Names on the broker: JetStream streams, subjects, headers.
//!
//! Always true: a name holds a region's name, a table's id and a shard, never a table's name (which
//! may contain dots) and never a key. People's subjects have four tokens, `.repl` subjects five, so
//! a wildcard of one family never matches the other.

use tombolo_item::{Shard, TableId};

/// Which of the two renderings of a shard's changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// JSON in the record shape of DynamoDB Streams, by the table's view type.
    People,
    /// Canonical change records in binary, for the links between regions.
    Repl,
}

impl Family {
    pub const ALL: [Family; 2] = [Family::People, Family::Repl];

    pub fn name(self) -> &'static str {
        match self {
            Family::People => "people",
            Family::Repl => "repl",
        }
    }
}

/// The version of the headers and of the people's body.
pub const MESSAGE_VERSION: u8 = 1;

pub const HEADER_VERSION: &str = "Tombolo-Version";
pub const HEADER_TABLE: &str = "Tombolo-Table";
pub const HEADER_TABLE_ID: &str = "Tombolo-Table-Id";
pub const HEADER_SHARD: &str = "Tombolo-Shard";
pub const HEADER_FIRST: &str = "Tombolo-First-Sequence";
pub const HEADER_LAST: &str = "Tombolo-Last-Sequence";
pub const HEADER_PREV_HASH: &str = "Tombolo-Prev-Hash";
pub const HEADER_HASH: &str = "Tombolo-Hash";
pub const HEADER_CHECKSUM: &str = "Tombolo-Checksum";
pub const HEADER_MESSAGE_ID: &str = "Nats-Msg-Id";
pub const HEADER_EXPECTED: &str = "Nats-Expected-Last-Subject-Sequence";

/// `tombolo-<region>-<table id>`: the JetStream stream of one table in one region.
pub fn stream_name(region: &str, table: TableId) -> String {
    format!("tombolo-{region}-{table}")
}

/// The table of a stream of this region; `None` for streams that are not ours.
pub fn table_of_stream(region: &str, stream: &str) -> Option<TableId> {
    stream.strip_prefix("tombolo-")?.strip_prefix(region)?.strip_prefix('-')?.parse().ok()
}

/// `tombolo.<region>.<table id>.>`: everything a table's stream takes in.
pub fn all_subjects(region: &str, table: TableId) -> String {
    format!("tombolo.{region}.{table}.>")
}

/// Where the changes of one shard are published.
pub fn subject(region: &str, table: TableId, shard: Shard, family: Family) -> String {
    match family {
        Family::People => format!("tombolo.{region}.{table}.{shard}"),
        Family::Repl => format!("tombolo.{region}.{table}.{shard}.repl"),
    }
}

/// Matches the subjects of every shard of a table, of one family.
pub fn wildcard(region: &str, table: TableId, family: Family) -> String {
    match family {
        Family::People => format!("tombolo.{region}.{table}.*"),
        Family::Repl => format!("tombolo.{region}.{table}.*.repl"),
    }
}

/// The shard in a subject made by [`subject`].
pub fn shard_of(subject: &str, family: Family) -> Option<Shard> {
    let mut tokens = subject.split('.');
    let (_, _, _) = (tokens.next()?, tokens.next()?, tokens.next()?);
    let shard = tokens.next()?.parse().ok()?;
    match (family, tokens.next(), tokens.next()) {
        (Family::People, None, None) | (Family::Repl, Some("repl"), None) => Some(shard),
        _ => None,
    }
}

/// The same records in a row get the same id, whoever publishes them.
pub fn message_id(shard: Shard, family: Family, first_seq: u64) -> String {
    let suffix = match family {
        Family::People => "",
        Family::Repl => ":repl",
    };
    format!("{:016x}:{}:{first_seq}{suffix}", shard.group.0, shard.epoch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tombolo_item::GroupId;

    #[test]
    fn names_read_back_and_families_do_not_mix() {
        let table = TableId(uuid::Uuid::from_u128(7));
        let shard = Shard { group: GroupId(16), epoch: 2 };
        for family in Family::ALL {
            let name = subject("us-east", table, shard, family);
            assert_eq!(shard_of(&name, family), Some(shard), "{name}");
            for other in Family::ALL {
                assert_eq!(shard_of(&name, other).is_some(), other == family, "{name}");
            }
        }
        assert_eq!(
            subject("us-east", table, shard, Family::Repl),
            "tombolo.us-east.00000000-0000-0000-0000-000000000007.0000000000000010-2.repl"
        );
        let stream = stream_name("us-east", table);
        assert_eq!(table_of_stream("us-east", &stream), Some(table));
        assert_eq!(table_of_stream("us", &stream), None);
        assert_eq!(message_id(shard, Family::People, 9), "0000000000000010:2:9");
    }
}
