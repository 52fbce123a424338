//! The direct channel between a link and the region it reads from (`ServiceId::Link` on the node
//! port): questions and answers in postcard behind one version byte.
//!
//! The link asks, the source answers; the source keeps no address of any link. So a link that moved
//! to another node needs no announcement, and a source that does not answer is noticed by the one
//! whom it concerns.

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tombolo_item::{Hlc, NodeId, RegionId, Shard, TableId};

use crate::error::LinkError;

pub(crate) const VERSION: u8 = 1;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// Which shards the table has, and the heads of those the asked node leads.
    Survey { table: TableId },
    /// Canonical change records from `from` on, from any replica. At most about `max_bytes`.
    ReadLog { shard: Shard, from: u64, max_bytes: u32 },
    /// The asking region holds these durably. Answered by the leaders of the shards.
    Confirm { region: RegionId, confirmations: Vec<Confirmation> },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    Survey(Survey),
    Log(LogSlice),
    /// The shards whose confirmation was committed.
    Confirmed(Vec<Shard>),
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Survey {
    /// The list of shards is whole: the table is active there.
    pub(crate) complete: bool,
    pub(crate) shards: Vec<ShardPlace>,
    pub(crate) heads: Vec<ShardHead>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ShardPlace {
    pub(crate) shard: Shard,
    pub(crate) replicas: Vec<NodeId>,
}

/// Where a shard ends, by its leader: nothing after `seq` is stamped at or below `closed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ShardHead {
    pub(crate) shard: Shard,
    pub(crate) leader: NodeId,
    pub(crate) seq: u64,
    pub(crate) hash: u64,
    pub(crate) closed: Hlc,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogSlice {
    pub(crate) records: Vec<(u64, Bytes)>,
    /// The oldest record the asked replica still has.
    pub(crate) oldest: u64,
    pub(crate) head: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Confirmation {
    pub(crate) shard: Shard,
    pub(crate) seq: u64,
    /// The asking region has applied everything of the table, from every other region, stamped at
    /// or below this.
    pub(crate) closed_applied: Hlc,
}

pub(crate) fn encode<T: Serialize>(message: &T) -> Bytes {
    let buffer = vec![VERSION];
    postcard::to_extend(message, buffer).expect("plain data always fits a growing buffer").into()
}

pub(crate) fn decode<T: DeserializeOwned>(
    attempt: &'static str,
    bytes: &[u8],
) -> Result<T, LinkError> {
    let wire = |reason: String| LinkError::Wire { attempt, reason };
    match bytes.split_first() {
        None => Err(wire("the message is empty".into())),
        Some((&VERSION, body)) => postcard::from_bytes(body).map_err(|e| wire(e.to_string())),
        Some((version, _)) => Err(wire(format!(
            "message version {version} is unknown to this build, which reads version {VERSION}; \
             run the same release in all regions"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tombolo_item::GroupId;

    fn shard() -> Shard {
        Shard { group: GroupId(16), epoch: 1 }
    }

    #[test]
    fn golden_bytes() {
        let ask = Ask::ReadLog { shard: shard(), from: 300, max_bytes: 1 };
        assert_eq!(&encode(&ask)[..], [1, 1, 16, 1, 0xac, 2, 1]);
        let ask = Ask::Confirm {
            region: RegionId(2),
            confirmations: vec![Confirmation { shard: shard(), seq: 5, closed_applied: Hlc(6) }],
        };
        assert_eq!(&encode(&ask)[..], [1, 2, 2, 1, 16, 1, 5, 6]);
        let answer = Answer::Log(LogSlice {
            records: vec![(5, Bytes::from_static(b"ab"))],
            oldest: 1,
            head: 9,
        });
        assert_eq!(&encode(&answer)[..], [1, 1, 1, 5, 2, b'a', b'b', 1, 9]);
        assert_eq!(decode::<Answer>("test", &encode(&answer)).unwrap(), answer);
        let answer = Answer::Survey(Survey {
            complete: true,
            shards: vec![ShardPlace { shard: shard(), replicas: vec![NodeId(3)] }],
            heads: vec![ShardHead {
                shard: shard(),
                leader: NodeId(3),
                seq: 7,
                hash: 8,
                closed: Hlc(9),
            }],
        });
        assert_eq!(&encode(&answer)[..], [1, 0, 1, 1, 16, 1, 1, 3, 1, 16, 1, 3, 7, 8, 9]);
    }

    #[test]
    fn unknown_versions_and_noise_are_refused() {
        let error = decode::<Ask>("read a question", &[9, 0]).unwrap_err().to_string();
        assert!(error.contains("version 9"), "{error}");
        for noise in [&[][..], &[1], &[1, 99], &[1, 1, 255, 255, 255, 255, 255]] {
            assert!(decode::<Ask>("read a question", noise).is_err());
        }
    }
}
