//! The bytes on the node port: generated types, the checksum of an item, the status numbers.
//!
//! Always true: an item whose checksum does not fit is never handed to anybody. The generated types
//! do not leave `net`.

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};

use super::CallError;

#[allow(unreachable_pub, clippy::all, missing_docs)]
mod generated {
    tonic::include_proto!("tombolo.node.v1");
}
pub(super) use generated::node_port_client::NodePortClient;
pub(super) use generated::node_port_server::{NodePort, NodePortServer};
pub(super) use generated::{Frame, Hello, Item};

/// Version of the protocol in `proto/node.proto`.
pub(super) const PROTOCOL_VERSION: u32 = 1;
/// Largest body of one item.
pub(super) const BODY_BYTES_MAX: usize = 8 << 20;
/// A frame is closed once it holds this many bytes or items.
pub(super) const FRAME_BYTES: usize = 1 << 20;
pub(super) const FRAME_ITEMS: usize = 512;
/// Largest frame that is accepted: a full frame plus one largest item.
pub(super) const MESSAGE_BYTES_MAX: usize = BODY_BYTES_MAX + 2 * FRAME_BYTES;
/// What an item costs in queues beyond its body.
pub(super) const ITEM_OVERHEAD: usize = 32;

const STATUS_OK: u32 = 0;
const STATUS_NOT_EXECUTED: u32 = 1;
const STATUS_REFUSED: u32 = 2;
const STATUS_OVERLOADED: u32 = 3;
const STATUS_TIMEOUT: u32 = 4;
const STATUS_UNKNOWN: u32 = 5;

fn checksum(id: u64, service: u32, status: u32, body: &[u8]) -> u32 {
    let mut head = [0u8; 16];
    head[..8].copy_from_slice(&id.to_be_bytes());
    head[8..12].copy_from_slice(&service.to_be_bytes());
    head[12..].copy_from_slice(&status.to_be_bytes());
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    digest.update(&head);
    digest.update(body);
    digest.finalize() as u32
}

/// Whether the item arrived as it was sent.
pub(super) fn intact(item: &Item) -> bool {
    item.crc32c == checksum(item.id, item.service, item.status, &item.body)
}

pub(super) fn consensus_item(body: Bytes) -> Item {
    let crc32c = checksum(0, 0, 0, &body);
    Item { id: 0, service: 0, status: 0, deadline_ms: 0, crc32c, body }
}

pub(super) fn request_item(id: u64, service: u32, deadline_ms: u32, body: Bytes) -> Item {
    let crc32c = checksum(id, service, 0, &body);
    Item { id, service, status: 0, deadline_ms, crc32c, body }
}

pub(super) fn answer_item(id: u64, answer: Result<Bytes, CallError>) -> Item {
    let (status, body) = match answer {
        Ok(body) if body.len() > BODY_BYTES_MAX => (
            STATUS_UNKNOWN,
            Bytes::from(format!("the answer of {} bytes is over {BODY_BYTES_MAX}", body.len())),
        ),
        Ok(body) => (STATUS_OK, body),
        Err(CallError::Unreachable(why)) => (STATUS_NOT_EXECUTED, why.into()),
        Err(CallError::Refused(why)) => (STATUS_REFUSED, why.into()),
        Err(CallError::Overloaded(why)) => (STATUS_OVERLOADED, why.into()),
        Err(CallError::Timeout) => (STATUS_TIMEOUT, Bytes::new()),
        Err(CallError::Lost(why)) => (STATUS_UNKNOWN, why.into()),
    };
    let crc32c = checksum(id, 0, status, &body);
    Item { id, service: 0, status, deadline_ms: 0, crc32c, body }
}

/// The answer that an item carries.
pub(super) fn answer_of(item: Item) -> Result<Bytes, CallError> {
    if !intact(&item) {
        return Err(CallError::Lost("the answer was damaged on its way".into()));
    }
    let words = || String::from_utf8_lossy(&item.body).into_owned();
    match item.status {
        STATUS_OK => Ok(item.body),
        STATUS_NOT_EXECUTED => Err(CallError::Unreachable(words())),
        STATUS_REFUSED => Err(CallError::Refused(words())),
        STATUS_OVERLOADED => Err(CallError::Overloaded(words())),
        STATUS_TIMEOUT => Err(CallError::Timeout),
        STATUS_UNKNOWN => Err(CallError::Lost(words())),
        other => Err(CallError::Lost(format!("unknown answer status {other}: {}", words()))),
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    /// Changing these bytes breaks talks between nodes of two versions: raise PROTOCOL_VERSION.
    #[test]
    fn golden_bytes() {
        let hello =
            Hello { version: 1, cluster: "dev".into(), region: 2, node: 3, zone: "a".into() };
        let frame = Frame {
            hello: Some(hello),
            items: vec![request_item(7, 1, 1500, Bytes::from_static(b"body"))],
        };
        let hex: String = frame.encode_to_vec().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, GOLDEN);
    }
    const GOLDEN: &str = "0a0e08011203646576180220032a016112120807100120dc0b2ddaab9db43204626f6479";

    #[test]
    fn answers_keep_their_meaning() {
        let answers = [
            Ok(Bytes::from_static(b"yes")),
            Err(CallError::Unreachable("u".into())),
            Err(CallError::Refused("r".into())),
            Err(CallError::Overloaded("o".into())),
            Err(CallError::Timeout),
            Err(CallError::Lost("l".into())),
        ];
        for answer in answers {
            let item = answer_item(9, answer.clone());
            assert_eq!(answer_of(item.clone()), answer);
            let mut damaged = item;
            damaged.id ^= 1;
            assert!(matches!(answer_of(damaged), Err(CallError::Lost(_))));
        }
    }

    #[test]
    fn an_unknown_status_is_an_unknown_outcome() {
        let mut item = answer_item(1, Ok(Bytes::new()));
        item.status = 99;
        item.crc32c = checksum(1, 0, 99, &item.body);
        assert!(matches!(answer_of(item), Err(CallError::Lost(_))));
    }
}
