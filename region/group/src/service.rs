//! What nodes ask each other about groups: the bodies of `ServiceId::Group` calls.
//!
//! Always true: version byte first, then postcard; another version is refused by name. The answer
//! is the group's own, so that a router treats a distant leader like one in its own process.

use bytes::Bytes;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tombolo_item::{GroupId, Hlc, Shard};

use crate::error::GroupError;
use crate::host::Host;
use crate::net::{CallError, Peer, Service};
use crate::types::{
    ConflictsRequest, ConflictsResponse, DigestRequest, DigestResponse, GroupStatus, RangeRequest,
    RangeResponse, ReadRequest, ReadResponse, TableFacts, WriteRequest, WriteResponse,
};

const VERSION: u8 = 2;
/// An answer must fit a frame between nodes.
const CHANGES_BYTES_MAX: usize = 4 << 20;

/// The order of the variants is wire format.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Ask {
    Write(Box<WriteRequest>),
    Read(ReadRequest),
    Range(RangeRequest),
    Confirm(GroupId, tombolo_storage::Confirmed),
    Marker(GroupId),
    Digest(GroupId, u64, DigestRequest),
    Closed(GroupId),
    Status(GroupId),
    Changes(Shard, u64, u32),
    SnapshotOpen(GroupId),
    SnapshotRead(u64, u32),
    Conflicts(ConflictsRequest),
    Follow(GroupId, TableFacts),
}

/// The order of the variants is wire format.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Tell {
    Write(WriteResponse),
    Read(ReadResponse),
    Range(RangeResponse),
    Done,
    Marker(u64),
    Digest(DigestResponse),
    Closed(Hlc),
    Status(Box<GroupStatus>),
    Changes {
        records: Vec<(u64, Bytes)>,
        oldest_seq: u64,
        head_seq: u64,
    },
    SnapshotOpened {
        id: u64,
        index: u64,
        term: u64,
        conf: Bytes,
    },
    /// Empty: the end.
    SnapshotChunk(Bytes),
    Conflicts(ConflictsResponse),
}

pub(crate) fn encode<T: Serialize>(value: &T) -> Bytes {
    let start = vec![VERSION];
    postcard::to_extend(value, start).expect("plain data always serializes").into()
}

pub(crate) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, String> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => {
            postcard::from_bytes(rest).map_err(|e| format!("a group call cannot be read: {e}"))
        }
        Some((other, _)) => Err(format!("unknown version {other} of a group call")),
        None => Err("an empty group call".into()),
    }
}

/// Answers other nodes.
pub(crate) struct GroupService(pub(crate) Host);

impl Service for GroupService {
    fn call(&self, _from: Peer, body: Bytes) -> BoxFuture<'static, Result<Bytes, CallError>> {
        let host = self.0.clone();
        Box::pin(async move {
            let ask: Ask = decode(&body).map_err(CallError::Refused)?;
            Ok(encode(&answer(host, ask).await))
        })
    }
}

async fn answer(host: Host, ask: Ask) -> Result<Tell, GroupError> {
    Ok(match ask {
        Ask::Write(request) => Tell::Write(host.write(*request).await?),
        Ask::Read(request) => Tell::Read(host.read(request).await?),
        Ask::Range(request) => Tell::Range(host.range(request).await?),
        Ask::Confirm(group, confirmed) => {
            host.confirm(group, confirmed).await?;
            Tell::Done
        }
        Ask::Marker(group) => Tell::Marker(host.marker(group).await?),
        Ask::Digest(group, index, request) => {
            Tell::Digest(host.digest(group, index, request).await?)
        }
        Ask::Closed(group) => Tell::Closed(host.closed_stamp(group).await?),
        Ask::Status(group) => {
            Tell::Status(Box::new(host.group(group).ok_or(GroupError::NoSuchGroup)?))
        }
        Ask::Changes(shard, from_seq, max_bytes) => {
            let log = host.change_log(shard).ok_or(GroupError::NoSuchGroup)?;
            let read = move || log.read(from_seq, (max_bytes as usize).min(CHANGES_BYTES_MAX));
            let changes = host.blocking(read).await??;
            Tell::Changes {
                records: changes.records,
                oldest_seq: changes.oldest_seq,
                head_seq: changes.head_seq,
            }
        }
        Ask::Conflicts(request) => Tell::Conflicts(host.conflicts(request).await?),
        Ask::Follow(group, facts) => {
            host.follow(group, facts).await?;
            Tell::Done
        }
        Ask::SnapshotOpen(group) => host.open_snapshot(group).await?,
        Ask::SnapshotRead(id, at) => Tell::SnapshotChunk(host.read_snapshot(id, at).await?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_the_written_form() {
        let ask = Ask::SnapshotRead(300, 1);
        assert_eq!(encode(&ask), [2, 10, 0xac, 0x02, 1][..]);
        let tell: Result<Tell, GroupError> = Err(GroupError::NoSuchGroup);
        assert_eq!(encode(&tell), [2, 1, 1][..]);
        let back: Result<Tell, GroupError> = decode(&encode(&tell)).unwrap();
        assert_eq!(back.unwrap_err(), GroupError::NoSuchGroup);
    }

    #[test]
    fn another_version_is_refused_by_name() {
        let error = decode::<Ask>(&[1, 0]).unwrap_err();
        assert!(error.contains("version 1"), "{error}");
        assert!(decode::<Ask>(&[]).is_err());
        assert!(decode::<Ask>(&[2, 200]).is_err());
    }
}
