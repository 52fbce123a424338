//! What nodes ask each other about metadata: the bodies of `ServiceId::Memds` calls.
//!
//! Always true: a version byte first, then postcard; another version is refused by name. The order
//! of variants and fields is wire format.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tombolo_group::Descriptor;
use tombolo_item::{GroupId, NodeId, TableId};

use crate::directory::{Content, TableContent};
use crate::model::TableInfo;

const VERSION: u8 = 2;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// How far is the founding of the system group, as you see it?
    Founding,
    /// The whole map, once it is newer than this; the answer may take a few seconds.
    Watch { known: u64 },
    /// These tables, as they are now.
    Refresh { tables: Vec<TableId> },
    /// What your replicas of these groups know.
    States { groups: Vec<GroupId> },
    /// Another region created a table: have it too.
    EnsureTable { info: Box<TableInfo> },
    /// Another region deleted a table.
    DropTable { table: TableId },
    /// The shards of a table in your region.
    ListShards { table: TableId },
    /// Another region changed the settings of a table.
    ReviseTable { info: Box<TableInfo> },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Tell {
    Founding(Founding),
    Watch(Content),
    Refresh { version: u64, tables: Vec<(TableId, Option<TableContent>)> },
    States(Vec<GroupState>),
    EnsureTable { active: bool },
    DropTable { gone: bool },
    ListShards(Vec<Descriptor>),
    ReviseTable,
}

/// Where a founding voter of the system group is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Founding {
    /// Empty disk, still asking.
    Empty,
    /// Empty disk, and has heard from every other voter that its disk is empty too.
    Ready,
    /// It holds a replica of the system group, applied up to here.
    Founded { applied: u64 },
}

/// A group, as one node sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GroupState {
    pub(crate) group: GroupId,
    /// The node holds a replica.
    pub(crate) held: bool,
    pub(crate) leader: Option<NodeId>,
}

pub(crate) fn encode<T: Serialize>(message: &T) -> Bytes {
    postcard::to_extend(message, vec![VERSION]).expect("plain data always serializes").into()
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => postcard::from_bytes(rest)
            .map_err(|error| format!("a metadata call cannot be read: {error}")),
        Some((other, _)) => {
            Err(format!("unknown version {other} of a metadata call (known: {VERSION})"))
        }
        None => Err("an empty metadata call".into()),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn golden_bytes() {
        let check = |bytes: Bytes, golden: &[u8]| assert_eq!(&bytes[..], golden);
        check(encode(&Ask::Founding), &[2, 0]);
        check(encode(&Ask::Watch { known: 300 }), &[2, 1, 0xac, 2]);
        let tables = vec![TableId(Uuid::from_u128(5))];
        let mut golden = vec![2, 2, 1, 16];
        golden.extend([0; 15]);
        golden.push(5);
        check(encode(&Ask::Refresh { tables }), &golden);
        check(encode(&Tell::Founding(Founding::Founded { applied: 7 })), &[2, 0, 2, 7]);
        let state = GroupState { group: GroupId(16), held: true, leader: Some(NodeId(2)) };
        check(encode(&Tell::States(vec![state])), &[2, 3, 1, 16, 1, 1, 2]);
        check(encode(&Tell::EnsureTable { active: true }), &[2, 4, 1]);
    }

    #[test]
    fn what_is_not_ours_is_refused() {
        assert!(decode::<Ask>(&[1, 0]).unwrap_err().contains("version 1"));
        assert!(decode::<Ask>(&[]).is_err());
        assert!(decode::<Ask>(&[2, 99]).is_err());
        let content = Content {
            version: 3,
            tables: vec![crate::directory::tests::table_content(1, "t", 3)],
            ..Content::default()
        };
        let sent = Tell::Watch(content);
        assert_eq!(decode::<Tell>(&encode(&sent)).unwrap(), sent);
    }
}
