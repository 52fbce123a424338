//! Where a link stands: one row of the destination's system group for each (table, source region),
//! kind `checkpoint`, id `<table id>/<source region>`, holding JSON with a version field.
//!
//! Always true: everything of a shard up to `seq` is durable in this region; nothing the shard sends
//! after it is stamped at or below `closed`; a shard that was ever seen stays listed, so that the
//! smallest `closed` of the row holds for the whole source region. Written only against the stamp it
//! was read with, so that a link that lost its lease cannot overwrite its successor's.
//!
//! The broker's own sequence numbers are not kept: where to start reading is found from these
//! positions, so a stream that was reset or recreated misleads nobody.

use serde::{Deserialize, Serialize};
use tombolo_item::{Hlc, RegionId, Shard, TableId};

use crate::error::LinkError;
use crate::prefix::Position;

/// The kind of these rows in the system group.
pub const CHECKPOINT_KIND: &str = "checkpoint";
const VERSION: u32 = 1;

/// The id of the row for one link.
pub fn checkpoint_id(table: TableId, from: RegionId) -> String {
    format!("{table}/{from}")
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// The source named its shards, and all of them are listed. Until then the row closes no time.
    pub complete: bool,
    pub shards: Vec<ShardCheckpoint>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardCheckpoint {
    pub shard: Shard,
    pub seq: u64,
    pub hash: u64,
    pub closed: Hlc,
}

impl ShardCheckpoint {
    pub(crate) fn position(&self) -> Position {
        Position { seq: self.seq, hash: self.hash, closed: self.closed }
    }
}

#[derive(Serialize, Deserialize)]
struct Row {
    version: u32,
    complete: bool,
    shards: Vec<ShardRow>,
}

/// The hash is hexadecimal text: JSON readers of other languages round numbers of 64 bits.
#[derive(Serialize, Deserialize)]
struct ShardRow {
    shard: String,
    seq: u64,
    hash: String,
    closed: u64,
}

impl Checkpoint {
    pub fn encode(&self) -> Vec<u8> {
        let shards = self
            .shards
            .iter()
            .map(|s| ShardRow {
                shard: s.shard.to_string(),
                seq: s.seq,
                hash: format!("{:016x}", s.hash),
                closed: s.closed.0,
            })
            .collect();
        serde_json::to_vec(&Row { version: VERSION, complete: self.complete, shards })
            .expect("plain strings and numbers are always JSON")
    }

    pub fn decode(bytes: &[u8]) -> Result<Checkpoint, LinkError> {
        let unreadable = |reason: String| LinkError::Checkpoint { reason };
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let Versioned { version } =
            serde_json::from_slice(bytes).map_err(|e| unreadable(e.to_string()))?;
        if version != VERSION {
            return Err(unreadable(format!(
                "format version {version} is unknown to this build, which reads version {VERSION}"
            )));
        }
        let row: Row = serde_json::from_slice(bytes).map_err(|e| unreadable(e.to_string()))?;
        let mut shards = Vec::with_capacity(row.shards.len());
        for s in row.shards {
            shards.push(ShardCheckpoint {
                shard: s.shard.parse().map_err(|_| unreadable(format!("shard {:?}", s.shard)))?,
                seq: s.seq,
                hash: u64::from_str_radix(&s.hash, 16)
                    .map_err(|_| unreadable(format!("hash {:?}", s.hash)))?,
                closed: Hlc(s.closed),
            });
        }
        Ok(Checkpoint { complete: row.complete, shards })
    }

    /// Nothing that the source still sends is stamped at or below this. `None` when not all of its
    /// shards are known.
    pub fn closed(&self) -> Option<Hlc> {
        self.shards.iter().filter(|_| self.complete).map(|s| s.closed).min()
    }

    pub fn shard(&self, shard: Shard) -> Option<&ShardCheckpoint> {
        self.shards.iter().find(|s| s.shard == shard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tombolo_item::GroupId;

    fn sample() -> Checkpoint {
        Checkpoint {
            complete: true,
            shards: vec![
                ShardCheckpoint {
                    shard: Shard { group: GroupId(16), epoch: 1 },
                    seq: 9,
                    hash: u64::MAX,
                    closed: Hlc(1 << 40),
                },
                ShardCheckpoint {
                    shard: Shard { group: GroupId(17), epoch: 1 },
                    seq: 0,
                    hash: 0,
                    closed: Hlc(5),
                },
            ],
        }
    }

    #[test]
    fn golden_bytes() {
        let golden = r#"{"version":1,"complete":true,"shards":[{"shard":"0000000000000010-1","seq":9,"hash":"ffffffffffffffff","closed":1099511627776},{"shard":"0000000000000011-1","seq":0,"hash":"0000000000000000","closed":5}]}"#;
        assert_eq!(String::from_utf8(sample().encode()).unwrap(), golden);
        assert_eq!(Checkpoint::decode(golden.as_bytes()).unwrap(), sample());
    }

    #[test]
    fn an_unknown_version_is_refused_by_name() {
        let error = Checkpoint::decode(br#"{"version":2,"places":[]}"#).unwrap_err().to_string();
        assert!(error.contains("version 2"), "{error}");
        for bad in
            [&b""[..], b"{}", b"[1]", br#"{"version":1,"complete":true,"shards":[{"shard":"x"}]}"#]
        {
            assert!(Checkpoint::decode(bad).is_err());
        }
    }

    #[test]
    fn the_region_is_closed_where_its_last_shard_is() {
        assert_eq!(sample().closed(), Some(Hlc(5)));
        assert_eq!(Checkpoint { complete: false, ..sample() }.closed(), None);
        assert_eq!(Checkpoint::default().closed(), None);
    }
}
