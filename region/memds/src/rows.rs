//! The rows of the system group: what is replicated of a region's metadata.
//!
//! A row is an item with the key (`kind`, `id`) and one attribute `v` that holds JSON with a
//! `version` in it. One struct per kind; each lists its key and who changes it.
//!
//! Always true: a row of an unknown version is refused by name, never half understood. Decoding
//! accepts no unknown field.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tombolo_item::{
    GroupId, HashSecret, Item, Key, KeyAttribute, KeyRange, KeySchema, KeyType, NodeId, RegionId,
    RowKey, TableId, Value,
};
use uuid::Uuid;

use crate::error::MemdsError;
use crate::model::{NodeInfo, TableInfo};

/// The system group of every region.
pub(crate) const SYSTEM_GROUP: GroupId = GroupId(1);
/// The system group's table.
pub(crate) const SYSTEM_TABLE: TableId = TableId(Uuid::nil());
/// The system group's range epoch: it is never split.
pub(crate) const SYSTEM_EPOCH: u32 = 1;
/// Row keys of system rows are ours, not users': a fixed secret gives nothing away.
pub(crate) const SYSTEM_SECRET: HashSecret = HashSecret(*b"tombolo system 1");
/// Groups of tables start here.
pub(crate) const FIRST_TABLE_GROUP: u64 = 16;

const KIND: &str = "kind";
const ID: &str = "id";
pub(crate) const VALUE: &str = "v";

/// Key schema of the system table.
pub(crate) fn system_schema() -> KeySchema {
    KeySchema {
        partition: KeyAttribute { name: KIND.into(), kind: KeyType::S },
        sort: Some(KeyAttribute { name: ID.into(), kind: KeyType::S }),
    }
}

pub(crate) fn system_key(kind: &str, id: &str) -> Key {
    Key { partition: Value::S(kind.into()), sort: Some(Value::S(id.into())) }
}

/// The row's item, as stored.
pub(crate) fn system_item(kind: &str, id: &str, value: Vec<u8>) -> Item {
    let mut item = system_key(kind, id).to_item(&system_schema());
    item.insert(VALUE, Value::B(value.into()));
    item
}

/// `v` and `id` of a stored row.
pub(crate) fn parts_of(stored: &[u8]) -> Result<(String, Bytes), String> {
    let mut item = Item::decode(stored).map_err(|error| error.to_string())?;
    match (item.0.remove(ID), item.0.remove(VALUE)) {
        (Some(Value::S(id)), Some(Value::B(value))) => Ok((id, value)),
        _ => Err("it has no string id and binary v".into()),
    }
}

/// One kind of row.
pub(crate) trait Row: Serialize + DeserializeOwned {
    const KIND: &'static str;
    const VERSION: u32 = 1;

    fn encode(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Versioned<'a, T> {
            version: u32,
            row: &'a T,
        }
        serde_json::to_vec(&Versioned { version: Self::VERSION, row: self })
            .expect("rows hold only strings, numbers and lists")
    }

    fn decode(id: &str, bytes: &[u8]) -> Result<Self, MemdsError> {
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Versioned<T> {
            #[serde(rename = "version")]
            _version: u32,
            row: T,
        }
        let error =
            |reason: String| MemdsError::Format { kind: Self::KIND.into(), id: id.into(), reason };
        let head: Head = serde_json::from_slice(bytes).map_err(|e| error(e.to_string()))?;
        if head.version != Self::VERSION {
            return Err(error(format!(
                "it has version {}, this program knows {}",
                head.version,
                Self::VERSION
            )));
        }
        let versioned: Versioned<Self> =
            serde_json::from_slice(bytes).map_err(|e| error(e.to_string()))?;
        Ok(versioned.row)
    }
}

/// `node / <node id>`: written by the node itself when it starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NodeRow {
    pub(crate) info: NodeInfo,
    /// Identity of its disk: another one means that the replicas placed on it are gone.
    pub(crate) disk: Uuid,
}
impl Row for NodeRow {
    const KIND: &'static str = "node";
}

/// `name / <table name>`: makes names unique. Written before the table's row, removed after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NameRow {
    pub(crate) table: TableId,
    pub(crate) created_ms: u64,
}
impl Row for NameRow {
    const KIND: &'static str = "name";
}

/// `table / <table id>`: written by who creates or deletes it, then by the control role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TableRow {
    pub(crate) info: TableInfo,
    /// Its partitions are the groups from here on, `info.partitions` of them.
    pub(crate) first_group: GroupId,
    /// Regions that have not yet confirmed what `info.status` is on the way to.
    pub(crate) pending: Vec<RegionId>,
}
impl Row for TableRow {
    const KIND: &'static str = "table";
}

/// `partition / <group, 16 hex digits>`: written once, removed when its table is deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PartitionRow {
    pub(crate) group: GroupId,
    pub(crate) table: TableId,
    pub(crate) epoch: u32,
    pub(crate) range: RangeRow,
    /// The group's number modulo their count is the preferred leader.
    pub(crate) voters: Vec<VoterRow>,
}
impl Row for PartitionRow {
    const KIND: &'static str = "partition";
}

/// A replica's place: a disk of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct VoterRow {
    pub(crate) node: NodeId,
    pub(crate) disk: Uuid,
}

/// A range of row keys, in hex; no end = the highest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RangeRow {
    start: String,
    end: Option<String>,
}

/// `dropped / <group>`: replicas that are still to be removed from disks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DroppedRow {
    pub(crate) group: GroupId,
    pub(crate) voters: Vec<NodeId>,
}
impl Row for DroppedRow {
    const KIND: &'static str = "dropped";
}

/// `counter / group`: the next group id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CounterRow {
    pub(crate) next: u64,
}
impl Row for CounterRow {
    const KIND: &'static str = "counter";
}

/// `lease / <name>`: written by its holder, and by who takes it over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LeaseRow {
    pub(crate) holder: NodeId,
    /// Grows with every new holder.
    pub(crate) fence: u64,
    /// Grows with every renewal.
    pub(crate) beat: u64,
    pub(crate) ttl_ms: u64,
    pub(crate) released: bool,
}
impl Row for LeaseRow {
    const KIND: &'static str = "lease";
}

/// The id of a row of a group.
pub(crate) fn group_id(group: GroupId) -> String {
    format!("{:016x}", group.0)
}

impl From<&KeyRange> for RangeRow {
    fn from(range: &KeyRange) -> RangeRow {
        RangeRow { start: hex(&range.start), end: range.end.as_ref().map(hex) }
    }
}

impl RangeRow {
    pub(crate) fn range(&self) -> Result<KeyRange, String> {
        let end = self.end.as_deref().map(unhex).transpose()?;
        Ok(KeyRange { start: unhex(&self.start)?, end })
    }
}

fn hex(key: &RowKey) -> String {
    key.0.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Result<RowKey, String> {
    let digits = text.as_bytes();
    let digit = |byte: u8| (byte as char).to_digit(16).map(|value| value as u8);
    if !digits.len().is_multiple_of(2) {
        return Err(format!("{text:?} is not a row key in hex"));
    }
    digits
        .chunks(2)
        .map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?))
        .collect::<Option<Vec<u8>>>()
        .map(|bytes| RowKey(bytes.into()))
        .ok_or_else(|| format!("{text:?} is not a row key in hex"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of older programs stay readable: raise the kind's VERSION to change these.
    #[test]
    fn golden_rows() {
        let voter = VoterRow { node: NodeId(7), disk: Uuid::from_u128(9) };
        let range = KeyRange { start: RowKey::default(), end: Some(RowKey(vec![0x80, 0].into())) };
        let partition = PartitionRow {
            group: GroupId(16),
            table: TableId(Uuid::from_u128(3)),
            epoch: 1,
            range: RangeRow::from(&range),
            voters: vec![voter],
        };
        let golden = concat!(
            r#"{"version":1,"row":{"group":16,"table":"00000000-0000-0000-0000-000000000003","#,
            r#""epoch":1,"range":{"start":"","end":"8000"},"#,
            r#""voters":[{"node":7,"disk":"00000000-0000-0000-0000-000000000009"}]}}"#
        );
        assert_eq!(String::from_utf8(partition.encode()).unwrap(), golden);
        assert_eq!(PartitionRow::decode("x", golden.as_bytes()).unwrap(), partition);
        assert_eq!(partition.range.range().unwrap(), range);
        let lease = LeaseRow { holder: NodeId(1), fence: 2, beat: 3, ttl_ms: 4, released: false };
        assert_eq!(
            String::from_utf8(lease.encode()).unwrap(),
            r#"{"version":1,"row":{"holder":1,"fence":2,"beat":3,"ttl_ms":4,"released":false}}"#
        );
    }

    #[test]
    fn unknown_versions_and_fields_are_refused() {
        let refusal =
            |text: &str| CounterRow::decode("group", text.as_bytes()).unwrap_err().to_string();
        assert!(refusal(r#"{"version":2,"row":{"next":1}}"#).contains("version 2"));
        assert!(refusal(r#"{"version":1,"row":{"next":1,"more":1}}"#).contains("more"));
        assert!(refusal(r#"{"version":1,"row":{"next":1},"more":1}"#).contains("more"));
        assert!(refusal("garbage").contains("counter/group"));
        for bad in ["0", "zz", "ü"] {
            assert!(unhex(bad).is_err(), "{bad}");
        }
    }
}
