//! The body of a message for people: change records in the JSON shape of DynamoDB Streams.
//!
//! Always true: a body is one JSON object, `{"Records":[…]}`, as a Lambda function gets it, with one
//! record per line, so that `nats sub` shows lines and a reader can split before it parses. What is
//! shown follows the table's view type. A record is a pure function of the canonical record and the
//! table's description.
//!
//! Beside DynamoDB's fields each record has an object `tombolo`:
//!
//! | field | what |
//! |---|---|
//! | `shard` | group and lineage epoch, as in the subject |
//! | `sequence` | number in the shard, from 1, without holes (touches take numbers too) |
//! | `stamp` | version of the item: `{"time":ms since 1970,"counter","region","sequence"}` |
//! | `replaced` | stamp of the version before, if there was one |
//! | `origin` | id of the region whose user wrote it |
//! | `cause` | `user`, `ttl`, `replication` or `repair` |
//! | `transaction` | `{"id","size"}`, if it was written by one |
//! | `prevHash`, `hash` | chain hashes of the canonical records before and at this one |
//! | `stub` | only when true: too large for a message; fetch it with `Streams.GetRecords` |
//! | `bytes` | only in a stub: size of the canonical record |

use crate::error::MessageError;
use bytes::Bytes;
use serde::Deserialize;
use tombolo_item::Shard;

const OPEN: &str = "{\"Records\":[";
const CLOSE: &str = "]}";
const WHAT: &str = "message for people";

/// A body being written.
#[derive(Debug, Default)]
pub struct Body {
    text: String,
}

impl Body {
    pub fn new() -> Body {
        Body { text: OPEN.into() }
    }

    /// Adds a record if the finished body stays within `bytes_max`.
    #[must_use = "a record that does not fit was not added"]
    pub fn push(&mut self, record: &str, bytes_max: usize) -> bool {
        let separator = if self.text.len() == OPEN.len() { "\n" } else { ",\n" };
        let bytes = self.text.len() + separator.len() + record.len() + 1 + CLOSE.len();
        if bytes > bytes_max {
            return false;
        }
        self.text.push_str(separator);
        self.text.push_str(record);
        true
    }

    pub fn finish(mut self) -> Bytes {
        if self.text.len() > OPEN.len() {
            self.text.push('\n');
        }
        self.text.push_str(CLOSE);
        self.text.into()
    }
}

/// What a reader needs of a record to check it; the rest stays text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub shard: Shard,
    pub seq: u64,
    pub prev_hash: u64,
    pub hash: u64,
    pub stub: bool,
    /// The record's JSON.
    pub text: Bytes,
}

#[derive(Deserialize)]
struct Outer {
    tombolo: Tag,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Tag {
    shard: String,
    sequence: u64,
    prev_hash: String,
    hash: String,
    #[serde(default)]
    stub: bool,
}

/// Splits a body into its records without copying them.
pub fn split(body: &Bytes) -> Result<Vec<Line>, MessageError> {
    let malformed = |reason: String| MessageError::Malformed { what: WHAT, reason };
    let text = std::str::from_utf8(body).map_err(|error| malformed(error.to_string()))?;
    let inner = text
        .strip_prefix(OPEN)
        .and_then(|text| text.strip_suffix(CLOSE))
        .ok_or_else(|| malformed("it is not {\"Records\":[…]}".into()))?;
    let mut records = Vec::new();
    for line in inner.lines().filter(|line| !line.is_empty()) {
        let line = line.strip_suffix(',').unwrap_or(line);
        records.push(read_line(body.slice_ref(line.as_bytes()))?);
    }
    Ok(records)
}

/// Reads one record's JSON.
pub fn read_line(text: Bytes) -> Result<Line, MessageError> {
    let malformed = |reason: String| MessageError::Malformed { what: "stream record", reason };
    let Outer { tombolo: tag } =
        serde_json::from_slice(&text).map_err(|error| malformed(error.to_string()))?;
    let hash = |text: &str| {
        u64::from_str_radix(text, 16).map_err(|_| malformed(format!("{text:?} is not a hash")))
    };
    Ok(Line {
        shard: tag
            .shard
            .parse()
            .map_err(|_| malformed(format!("{:?} is not a shard", tag.shard)))?,
        seq: tag.sequence,
        prev_hash: hash(&tag.prev_hash)?,
        hash: hash(&tag.hash)?,
        stub: tag.stub,
        text,
    })
}
