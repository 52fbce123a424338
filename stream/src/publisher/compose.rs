//! From records of the log to one message.
//!
//! Always true: a message is a pure function of the records, the table's description and the size
//! limit. It covers consecutive records beginning with the one asked for; a record that does not
//! fit an empty message goes alone, as a stub. Touches are in the range of a people's message and
//! not in its body, which may therefore be empty: nothing is shown, and no gap is seen either.

use crate::chain::CheckedRecord;
use crate::error::MessageError;
use crate::face::TableFace;
use crate::head::MessageHead;
use crate::people::Body;
use crate::repl::{FRAME_BYTES, ReplMessage, Stub};
use crate::subject::Family;
use bytes::Bytes;
use tombolo_item::Shard;

/// A message, but for the broker's part of the headers.
#[derive(Debug, Clone)]
pub(crate) struct Composed {
    pub(crate) head: MessageHead,
    pub(crate) body: Bytes,
    pub(crate) stub: bool,
}

impl Composed {
    pub(crate) fn records(&self) -> u64 {
        self.head.last_seq - self.head.first_seq + 1
    }
}

/// Puts the first of these records, and as many more as fit, into one message.
pub(crate) fn compose(
    face: &TableFace,
    shard: Shard,
    family: Family,
    records: &[(u64, Bytes)],
    bytes_max: usize,
) -> Result<Option<Composed>, MessageError> {
    let mut message = match family {
        Family::Repl => Content::Repl { records: Vec::new(), bytes: FRAME_BYTES },
        Family::People => Content::People(Body::new()),
    };
    let mut ends: Option<MessageHead> = None;
    let mut stub = None;
    for (seq, bytes) in records {
        let checked = CheckedRecord::read(bytes)?;
        let record = &checked.record;
        let expected = ends.as_ref().map_or(*seq, |head| head.last_seq + 1);
        if (record.table, record.shard, record.seq, *seq) != (face.table, shard, expected, *seq) {
            return Err(MessageError::Malformed {
                what: "change log",
                reason: format!(
                    "at record {expected} of table {}, shard {shard} it holds record {} of table \
                     {}, shard {}",
                    face.table, record.seq, record.table, record.shard
                ),
            });
        }
        let fits = match &mut message {
            Content::Repl { records, bytes } => {
                let size = 4 + checked.bytes.len();
                let fits = *bytes + size <= bytes_max;
                if fits {
                    *bytes += size;
                    records.push(checked.bytes.clone());
                }
                fits
            }
            Content::People(body) => match face.show(&checked)? {
                None => true,
                Some(text) => body.push(&text, bytes_max),
            },
        };
        if !fits && ends.is_some() {
            break;
        }
        let head = ends.get_or_insert_with(|| MessageHead {
            table_name: face.name.clone(),
            table: face.table,
            shard,
            first_seq: *seq,
            last_seq: *seq,
            prev_hash: record.prev_hash,
            hash: checked.hash,
        });
        head.last_seq = *seq;
        head.hash = checked.hash;
        if !fits {
            stub = Some(checked);
            break;
        }
    }
    let Some(head) = ends else { return Ok(None) };
    let is_stub = stub.is_some();
    let body = match (message, stub) {
        (Content::Repl { records, .. }, stub) => ReplMessage {
            table: face.table,
            shard,
            first_seq: head.first_seq,
            records,
            stub: stub.map(|checked| Stub {
                record_bytes: checked.bytes.len() as u32,
                prev_hash: checked.record.prev_hash,
                hash: checked.hash,
                key: checked.record.key.encode(),
            }),
        }
        .encode(),
        (Content::People(body), None) => body.finish(),
        (Content::People(mut body), Some(checked)) => {
            // Keys are small: a stub is within any limit that lets a message through at all.
            let _ = body.push(&face.show_stub(&checked), usize::MAX);
            body.finish()
        }
    };
    Ok(Some(Composed { head, body, stub: is_stub }))
}

enum Content {
    Repl { records: Vec<Bytes>, bytes: usize },
    People(Body),
}
