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
    RowKey, StreamView, TableId, Value,
};
use uuid::Uuid;

use crate::error::MemdsError;
use crate::model::{Credential, NodeInfo, TableInfo};

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
    /// Regions that have not yet confirmed what `info.status` is on the way to; of an active table:
    /// that have not yet heard of its newest settings, or that it has left them.
    pub(crate) pending: Vec<RegionId>,
    /// What its groups were founded with, once that is no longer what `info` says: a replica that is
    /// created late must begin its log like the others.
    #[serde(default)]
    pub(crate) founded: Option<Founded>,
    /// Its groups have yet to be told of the newest `info`.
    #[serde(default)]
    pub(crate) untold: bool,
}
impl Row for TableRow {
    const KIND: &'static str = "table";
}

/// What of a group's configuration a table's settings can change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Founded {
    pub(crate) view: Option<StreamView>,
    pub(crate) regions: Vec<RegionId>,
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

/// `credential / <access key>`: written by who makes it and by who revokes it, never removed: a key is
/// not given twice.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CredentialRow {
    name: String,
    created_ms: u64,
    revoked_ms: Option<u64>,
    /// In hex.
    sealed: String,
}
impl Row for CredentialRow {
    const KIND: &'static str = "credential";
}

impl From<&Credential> for CredentialRow {
    fn from(credential: &Credential) -> CredentialRow {
        CredentialRow {
            name: credential.name.clone(),
            created_ms: credential.created_ms,
            revoked_ms: credential.revoked_ms,
            sealed: hex(&credential.sealed_secret),
        }
    }
}

impl CredentialRow {
    pub(crate) fn credential(self, access_key: &str) -> Result<Credential, MemdsError> {
        let sealed_secret = unhex(&self.sealed).map_err(|reason| MemdsError::Format {
            kind: Self::KIND.into(),
            id: access_key.into(),
            reason,
        })?;
        Ok(Credential {
            access_key: access_key.to_owned(),
            name: self.name,
            created_ms: self.created_ms,
            revoked_ms: self.revoked_ms,
            sealed_secret,
        })
    }

    pub(crate) fn revoke(&mut self, now_ms: u64) -> bool {
        let first = self.revoked_ms.is_none();
        self.revoked_ms.get_or_insert(now_ms);
        first
    }
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
        RangeRow { start: hex(&range.start.0), end: range.end.as_ref().map(|end| hex(&end.0)) }
    }
}

impl RangeRow {
    pub(crate) fn range(&self) -> Result<KeyRange, String> {
        let row_key = |text: &str| unhex(text).map(|bytes| RowKey(bytes.into()));
        let end = self.end.as_deref().map(row_key).transpose()?;
        Ok(KeyRange { start: row_key(&self.start)?, end })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Result<Vec<u8>, String> {
    let digits = text.as_bytes();
    let digit = |byte: u8| (byte as char).to_digit(16).map(|value| value as u8);
    if !digits.len().is_multiple_of(2) {
        return Err(format!("{text:?} is not hex"));
    }
    digits
        .chunks(2)
        .map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?))
        .collect::<Option<Vec<u8>>>()
        .ok_or_else(|| format!("{text:?} is not hex"))
}

#[cfg(test)]
mod tests {
    use tombolo_item::table::{IndexName, IndexProjection, LocalIndex};

    use super::*;
    use crate::settings::{
        BillingMode, GlobalIndex, IndexStatus, Provisioned, Revision, TableClass, TableSettings,
        TimeToLive,
    };

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

    /// A table's row as programs wrote it that knew no settings, and as it is written now.
    #[test]
    fn golden_table_rows() {
        let old = concat!(
            r#"{"version":1,"row":{"info":{"id":"00000000-0000-0000-0000-000000000001","#,
            r#""name":"music","schema":{"partition":{"name":"kind","kind":"S"},"#,
            r#""sort":{"name":"id","kind":"S"}},"secret":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],"#,
            r#""view":null,"regions":[1],"region_names":["here"],"status":"Active","#,
            r#""partitions":1,"created_ms":0,"origin":1},"first_group":16,"pending":[]}}"#
        );
        let mut row = crate::directory::tests::table_content(1, "music", 1).row;
        assert_eq!(TableRow::decode("x", old.as_bytes()).unwrap(), row);

        let provisioned = Some(Provisioned { read: 5, write: 6 });
        let sort = KeyAttribute { name: "at".into(), kind: KeyType::N };
        let name = |text: &str| IndexName::new(text).unwrap();
        row.info.settings = TableSettings {
            billing_mode: BillingMode::Provisioned,
            provisioned,
            local_indexes: vec![LocalIndex {
                name: name("by-at"),
                sort,
                projection: IndexProjection::Include(vec!["a".into()]),
            }],
            global_indexes: vec![GlobalIndex {
                name: name("all"),
                schema: system_schema(),
                projection: IndexProjection::All,
                provisioned: None,
                status: IndexStatus::Creating,
            }],
            deletion_protection: true,
            table_class: TableClass::StandardInfrequentAccess,
            stream_label: Some("2015-05-20T20:51:10.252".into()),
            ttl: Some(TimeToLive { attribute: "till".into(), enabled: true }),
            tags: [("a".to_owned(), "b".to_owned())].into(),
            revision: Revision { number: 3, region: RegionId(1) },
            ..TableSettings::default()
        };
        row.founded = Some(Founded { view: None, regions: vec![RegionId(1)] });
        row.untold = true;
        let settings = concat!(
            r#""settings":{"billing_mode":"PROVISIONED","provisioned":{"read":5,"write":6},"#,
            r#""throughput_changes":{"increased_ms":null,"decreased_ms":null,"decreases":0},"#,
            r#""pay_per_request_since_ms":null,"local_indexes":[{"name":"by-at","#,
            r#""sort":{"name":"at","kind":"N"},"projection":{"Include":["a"]}}],"#,
            r#""global_indexes":[{"name":"all","schema":{"partition":{"name":"kind","kind":"S"},"#,
            r#""sort":{"name":"id","kind":"S"}},"projection":"All","provisioned":null,"#,
            r#""status":"Creating"}],"deletion_protection":true,"#,
            r#""table_class":"STANDARD_INFREQUENT_ACCESS","table_class_since_ms":null,"#,
            r#""stream_label":"2015-05-20T20:51:10.252","#,
            r#""ttl":{"attribute":"till","enabled":true},"ttl_since_ms":null,"#,
            r#""encryption":null,"tags":{"a":"b"},"revision":{"number":3,"region":1}}"#
        );
        let ends = r#""founded":{"view":null,"regions":[1]},"untold":true}}"#;
        let golden = old
            .replace(r#""origin":1}"#, &format!(r#""origin":1,{settings}}}"#))
            .replace(r#""pending":[]}}"#, &format!(r#""pending":[],{ends}"#));
        assert_eq!(String::from_utf8(row.encode()).unwrap(), golden);
        assert_eq!(TableRow::decode("x", golden.as_bytes()).unwrap(), row);
    }

    #[test]
    fn golden_credentials() {
        let credential = Credential {
            access_key: "AKIA".into(),
            name: "ann".into(),
            created_ms: 5,
            revoked_ms: None,
            sealed_secret: vec![0, 0xab],
        };
        let mut row = CredentialRow::from(&credential);
        let golden = r#"{"version":1,"row":{"name":"ann","created_ms":5,"revoked_ms":null,"sealed":"00ab"}}"#;
        assert_eq!(String::from_utf8(row.encode()).unwrap(), golden);
        let back = CredentialRow::decode("AKIA", golden.as_bytes()).unwrap();
        assert_eq!(back.credential("AKIA").unwrap(), credential);
        assert!(row.revoke(9) && !row.revoke(10));
        assert_eq!(row.credential("AKIA").unwrap().revoked_ms, Some(9));
        assert!(!format!("{credential:?}").contains("sealed_secret: ["), "a secret is not printed");
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
