//! Makes the log entries of one group, as its leader would.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

pub mod load;

use bytes::Bytes;
use tombolo_item::{
    Cause, ChangeKind, ChangeRecord, GroupId, HashSecret, Hlc, Item, Key, KeyAttribute, KeyRange,
    KeySchema, KeyType, RegionId, RowKey, Shard, Stamp, TableId, Value, chain_hash,
};
use tombolo_storage::{GroupConfig, LogRecord};
use uuid::Uuid;

pub const GROUP: GroupId = GroupId(16);
pub const REGION: RegionId = RegionId(1);
pub const TERM: u64 = 1;

/// The leader's side of one group: where its change chain stands.
#[derive(Clone)]
pub struct Maker {
    pub config: GroupConfig,
    pub seq: u64,
    pub hash: u64,
    pub ms: u64,
}

pub fn key(name: &str) -> Key {
    Key { partition: Value::S(name.to_owned()), sort: None }
}

pub fn item(name: &str, value: &[u8]) -> Item {
    let attributes = [
        ("id".to_owned(), Value::S(name.to_owned())),
        ("v".to_owned(), Value::B(Bytes::copy_from_slice(value))),
    ];
    Item(attributes.into_iter().collect())
}

pub fn empty_record() -> LogRecord {
    LogRecord {
        table: TableId(Uuid::from_u128(7)),
        shard: Shard { group: GROUP, epoch: 1 },
        eval_term: TERM,
        token: None,
        changes: Vec::new(),
        rows: Vec::new(),
        config: None,
        confirmed: Vec::new(),
        marker: None,
        closed: None,
        ext: Bytes::new(),
    }
}

impl Maker {
    pub fn new(replicated: bool) -> Self {
        let id = KeyAttribute { name: "id".into(), kind: KeyType::S };
        let regions = if replicated { vec![REGION, RegionId(2)] } else { vec![REGION] };
        let config = GroupConfig {
            group: GROUP,
            table: TableId(Uuid::from_u128(7)),
            schema: KeySchema { partition: id, sort: None },
            secret: HashSecret([3; 16]),
            range: KeyRange::full(),
            epoch: 1,
            view: None,
            regions,
            parent: None,
            keep_log: true,
            indexes: Vec::new(),
        };
        Self { config, seq: 0, hash: 0, ms: 1_000_000 }
    }

    /// The group's first record.
    pub fn configure(&self) -> LogRecord {
        LogRecord { config: Some(self.config.clone()), ..empty_record() }
    }

    pub fn row_key(&self, name: &str) -> RowKey {
        self.config.schema.row_key(&self.config.secret, &key(name)).expect("a legal key")
    }

    pub fn put(&mut self, name: &str, value: &[u8]) -> LogRecord {
        self.change(name, Some(item(name, value).encode()), ChangeKind::Modify)
    }

    pub fn delete(&mut self, name: &str) -> LogRecord {
        self.change(name, None, ChangeKind::Remove)
    }

    pub fn change(&mut self, name: &str, new: Option<Bytes>, kind: ChangeKind) -> LogRecord {
        self.ms += 7;
        self.seq += 1;
        let hlc = Hlc(self.ms << 16);
        let change = ChangeRecord {
            table: self.config.table,
            shard: Shard { group: GROUP, epoch: 1 },
            seq: self.seq,
            stamp: Stamp { hlc, region: REGION, seq: self.seq },
            replaced: None,
            closed: hlc,
            origin: REGION,
            cause: if kind == ChangeKind::Touch { Cause::Touch } else { Cause::User },
            kind,
            transaction: None,
            key: key(name),
            row_key: self.row_key(name),
            new,
            old: None,
            eval_term: TERM,
            prev_hash: self.hash,
            merge_state: Bytes::from_static(b"merge"),
            ext: Bytes::new(),
        };
        let canonical = change.encode();
        self.hash = chain_hash(&canonical);
        LogRecord { changes: vec![canonical], ..empty_record() }
    }
}
