//! The headers of a message: which records of which shard it covers, between which hashes.
//!
//! Always true: both families carry the same headers. `Tombolo-Checksum` covers the body as sent;
//! `Tombolo-Prev-Hash` and `Tombolo-Hash` are chain hashes of canonical records, so they agree
//! between the families, with the log, and with what another replica would have sent. For people the
//! range may be wider than the records shown: touches are in the range and not in the body.

use crate::error::MessageError;
use crate::subject::{
    HEADER_CHECKSUM, HEADER_EXPECTED, HEADER_FIRST, HEADER_HASH, HEADER_LAST, HEADER_MESSAGE_ID,
    HEADER_PREV_HASH, HEADER_SHARD, HEADER_TABLE, HEADER_TABLE_ID, HEADER_VERSION, MESSAGE_VERSION,
};
use async_nats::HeaderMap;
use tombolo_item::{Shard, TableId, chain_hash};

const WHAT: &str = "message header";

/// Bytes that the headers of one message take at most: names, hashes, and a table name of 255.
pub const HEAD_BYTES_MAX: usize = 1024;

/// What a message says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageHead {
    pub table_name: String,
    pub table: TableId,
    pub shard: Shard,
    pub first_seq: u64,
    pub last_seq: u64,
    /// Chain hash of the record before `first_seq`.
    pub prev_hash: u64,
    /// Chain hash of record `last_seq`.
    pub hash: u64,
}

impl MessageHead {
    /// Headers for sending `body` under `id`, if `expected` still is the last sequence number the
    /// broker has for the subject (0: it has none).
    pub fn headers(&self, body: &[u8], id: &str, expected: u64) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER_VERSION, MESSAGE_VERSION.to_string());
        headers.insert(HEADER_TABLE, self.table_name.as_str());
        headers.insert(HEADER_TABLE_ID, self.table.to_string());
        headers.insert(HEADER_SHARD, self.shard.to_string());
        headers.insert(HEADER_FIRST, self.first_seq.to_string());
        headers.insert(HEADER_LAST, self.last_seq.to_string());
        headers.insert(HEADER_PREV_HASH, hash_text(self.prev_hash));
        headers.insert(HEADER_HASH, hash_text(self.hash));
        headers.insert(HEADER_CHECKSUM, hash_text(chain_hash(body)));
        headers.insert(HEADER_MESSAGE_ID, id);
        headers.insert(HEADER_EXPECTED, expected.to_string());
        headers
    }

    /// Reads the headers alone.
    pub fn read(headers: &HeaderMap) -> Result<MessageHead, MessageError> {
        let version: u8 = parse(headers, HEADER_VERSION)?;
        if version != MESSAGE_VERSION {
            return Err(MessageError::Version {
                what: WHAT,
                found: version,
                newest: MESSAGE_VERSION,
            });
        }
        let head = MessageHead {
            table_name: get(headers, HEADER_TABLE)?.to_owned(),
            table: parse(headers, HEADER_TABLE_ID)?,
            shard: parse(headers, HEADER_SHARD)?,
            first_seq: parse(headers, HEADER_FIRST)?,
            last_seq: parse(headers, HEADER_LAST)?,
            prev_hash: hash(headers, HEADER_PREV_HASH)?,
            hash: hash(headers, HEADER_HASH)?,
        };
        if head.first_seq == 0 || head.last_seq < head.first_seq || head.last_seq == u64::MAX {
            return Err(MessageError::Malformed {
                what: WHAT,
                reason: format!("the range {}..={} is none", head.first_seq, head.last_seq),
            });
        }
        Ok(head)
    }

    /// Reads the headers and compares the checksum with the body.
    pub fn read_with(headers: &HeaderMap, body: &[u8]) -> Result<MessageHead, MessageError> {
        let head = MessageHead::read(headers)?;
        let stated = hash(headers, HEADER_CHECKSUM)?;
        let computed = chain_hash(body);
        if stated != computed {
            return Err(MessageError::Checksum { what: "message body", stated, computed });
        }
        Ok(head)
    }
}

/// A hash as it is written in headers and JSON: 16 hexadecimal digits.
pub fn hash_text(hash: u64) -> String {
    format!("{hash:016x}")
}

fn get<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<&'a str, MessageError> {
    headers.get(name).map(|value| value.as_str()).ok_or(MessageError::HeaderMissing(name))
}

fn parse<T: std::str::FromStr>(headers: &HeaderMap, name: &'static str) -> Result<T, MessageError> {
    let text = get(headers, name)?;
    text.parse().map_err(|_| malformed(name, text))
}

fn hash(headers: &HeaderMap, name: &'static str) -> Result<u64, MessageError> {
    let text = get(headers, name)?;
    match text.len() {
        16 => u64::from_str_radix(text, 16).map_err(|_| malformed(name, text)),
        _ => Err(malformed(name, text)),
    }
}

fn malformed(name: &'static str, text: &str) -> MessageError {
    MessageError::Malformed { what: WHAT, reason: format!("{name} holds {text:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tombolo_item::GroupId;

    fn head() -> MessageHead {
        MessageHead {
            table_name: "my.table".into(),
            table: TableId(uuid::Uuid::from_u128(7)),
            shard: Shard { group: GroupId(16), epoch: 2 },
            first_seq: 5,
            last_seq: 9,
            prev_hash: 0xab,
            hash: u64::MAX,
        }
    }

    #[test]
    fn headers_read_back() {
        let headers = head().headers(b"body", "id", 3);
        assert_eq!(MessageHead::read_with(&headers, b"body"), Ok(head()));
        assert_eq!(get(&headers, HEADER_PREV_HASH), Ok("00000000000000ab"));
        assert_eq!(get(&headers, HEADER_EXPECTED), Ok("3"));
    }

    #[test]
    fn the_golden_headers() {
        let headers = head().headers(b"body", "0000000000000010:2:5", 3);
        let mut lines: Vec<String> = headers
            .iter()
            .flat_map(|(name, values)| values.iter().map(move |value| format!("{name}: {value}")))
            .collect();
        lines.sort();
        assert_eq!(
            lines,
            [
                "Nats-Expected-Last-Subject-Sequence: 3",
                "Nats-Msg-Id: 0000000000000010:2:5",
                "Tombolo-Checksum: 988f898b53473fcd",
                "Tombolo-First-Sequence: 5",
                "Tombolo-Hash: ffffffffffffffff",
                "Tombolo-Last-Sequence: 9",
                "Tombolo-Prev-Hash: 00000000000000ab",
                "Tombolo-Shard: 0000000000000010-2",
                "Tombolo-Table-Id: 00000000-0000-0000-0000-000000000007",
                "Tombolo-Table: my.table",
                "Tombolo-Version: 1",
            ]
        );
    }

    #[test]
    fn the_size_of_the_headers_is_bounded() {
        let long = MessageHead { table_name: "t".repeat(255), last_seq: u64::MAX - 1, ..head() };
        let headers = long.headers(b"", &"i".repeat(64), u64::MAX);
        let size: usize = headers
            .iter()
            .map(|(name, values)| {
                values
                    .iter()
                    .map(|value| name.to_string().len() + value.as_str().len() + 4)
                    .sum::<usize>()
            })
            .sum();
        assert!(size + 12 < HEAD_BYTES_MAX, "{size}");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let headers = head().headers(b"body", "id", 3);
        let error = MessageHead::read_with(&headers, b"bodY").unwrap_err();
        assert!(error.to_string().contains("damaged"), "{error}");

        let mut headers = head().headers(b"", "id", 3);
        headers.insert(HEADER_VERSION, "2");
        let error = MessageHead::read(&headers).unwrap_err();
        assert_eq!(error, MessageError::Version { what: WHAT, found: 2, newest: 1 });

        let mut headers = head().headers(b"", "id", 3);
        headers.insert(HEADER_HASH, "12");
        assert!(MessageHead::read(&headers).unwrap_err().to_string().contains(HEADER_HASH));

        let mut headers = head().headers(b"", "id", 3);
        headers.insert(HEADER_LAST, "4");
        assert!(MessageHead::read(&headers).unwrap_err().to_string().contains("5..=4"));
        assert_eq!(
            MessageHead::read(&HeaderMap::new()),
            Err(MessageError::HeaderMissing(HEADER_VERSION))
        );
    }
}
