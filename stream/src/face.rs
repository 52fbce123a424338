//! Change records as people see them: the record shape of DynamoDB Streams.
//!
//! Always true: what is shown is a pure function of the canonical record and the table's face, so
//! that the publisher, the Streams API and a fetch of a missing record show the same bytes.
//!
//! Fields as the AWS page "StreamRecord" says: `ApproximateCreationDateTime` in whole seconds,
//! `SequenceNumber` as 21 digits (it sorts as text), `SizeBytes` counts keys and images shown,
//! `awsRegion` is the region that shows the record, `userIdentity` only for items that expired here.

use crate::chain::CheckedRecord;
use crate::error::MessageError;
use crate::head::hash_text;
use bytes::Bytes;
use serde_json::{Map, Value, json};
use tombolo_item::{
    Cause, ChangeKind, ChangeRecord, Item, KeySchema, RegionId, Stamp, StreamView, TableId,
};

/// What is shown of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct TableFace {
    pub table: TableId,
    pub name: String,
    /// The region that shows it.
    pub region_name: String,
    pub region: RegionId,
    pub schema: KeySchema,
    /// `None`: no stream for people.
    pub view: Option<StreamView>,
    /// Whether links to other regions read it.
    pub replicated: bool,
}

impl TableFace {
    pub fn wants(&self, family: crate::Family) -> bool {
        match family {
            crate::Family::People => self.view.is_some(),
            crate::Family::Repl => self.replicated,
        }
    }

    /// The record's JSON on one line; `None` for a touch, which shows nothing.
    pub fn show(&self, checked: &CheckedRecord) -> Result<Option<String>, MessageError> {
        let record = &checked.record;
        if record.kind == ChangeKind::Touch {
            return Ok(None);
        }
        let view = self.view.unwrap_or(StreamView::KeysOnly);
        let image = |bytes: &Option<Bytes>, shown: bool| match bytes {
            Some(bytes) if shown => {
                Item::decode(bytes).map(Some).map_err(|error| malformed(&error))
            }
            _ => Ok(None),
        };
        let new =
            image(&record.new, matches!(view, StreamView::NewImage | StreamView::NewAndOldImages))?;
        let old =
            image(&record.old, matches!(view, StreamView::OldImage | StreamView::NewAndOldImages))?;
        Ok(Some(self.text(checked, view, new, old, false)))
    }

    /// The same without images, for a record too large for a message.
    pub fn show_stub(&self, checked: &CheckedRecord) -> String {
        let view = self.view.unwrap_or(StreamView::KeysOnly);
        self.text(checked, view, None, None, true)
    }

    fn text(
        &self,
        checked: &CheckedRecord,
        view: StreamView,
        new: Option<Item>,
        old: Option<Item>,
        stub: bool,
    ) -> String {
        let record = &checked.record;
        let keys = record.key.to_item(&self.schema);
        let size = [Some(&keys), new.as_ref(), old.as_ref()]
            .into_iter()
            .flatten()
            .map(Item::size)
            .sum::<usize>();
        let mut shown = Map::new();
        let ms = record.stamp.hlc.ms();
        shown.insert("ApproximateCreationDateTime".into(), (ms / 1000).into());
        shown.insert("Keys".into(), item_json(&keys));
        if let Some(new) = &new {
            shown.insert("NewImage".into(), item_json(new));
        }
        if let Some(old) = &old {
            shown.insert("OldImage".into(), item_json(old));
        }
        shown.insert("SequenceNumber".into(), format!("{:021}", record.seq).into());
        shown.insert("SizeBytes".into(), size.into());
        shown.insert("StreamViewType".into(), view.as_str().into());
        let mut whole = Map::new();
        whole.insert("eventID".into(), self.event_id(record).into());
        whole.insert("eventName".into(), event_name(record.kind).into());
        whole.insert("eventVersion".into(), "1.1".into());
        whole.insert("eventSource".into(), "aws:dynamodb".into());
        whole.insert("awsRegion".into(), self.region_name.as_str().into());
        whole.insert("dynamodb".into(), shown.into());
        if record.cause == Cause::Ttl && record.origin == self.region {
            whole.insert(
                "userIdentity".into(),
                json!({"Type": "Service", "PrincipalId": "dynamodb.amazonaws.com"}),
            );
        }
        whole.insert("tombolo".into(), tag(checked, stub));
        Value::Object(whole).to_string()
    }

    /// Unique over regions, and the same whoever shows the record.
    fn event_id(&self, record: &ChangeRecord) -> String {
        format!(
            "{:04x}{:016x}{:08x}{:016x}",
            self.region.0, record.shard.group.0, record.shard.epoch, record.seq
        )
    }
}

fn tag(checked: &CheckedRecord, stub: bool) -> Value {
    let record = &checked.record;
    let mut tag = Map::new();
    tag.insert("shard".into(), record.shard.to_string().into());
    tag.insert("sequence".into(), record.seq.into());
    tag.insert("stamp".into(), stamp_json(&record.stamp));
    if let Some(replaced) = &record.replaced {
        tag.insert("replaced".into(), stamp_json(replaced));
    }
    tag.insert("origin".into(), record.origin.0.into());
    tag.insert("cause".into(), record.cause.as_str().into());
    if let Some((id, size)) = &record.transaction {
        tag.insert("transaction".into(), json!({"id": id.to_string(), "size": size}));
    }
    tag.insert("prevHash".into(), hash_text(record.prev_hash).into());
    tag.insert("hash".into(), hash_text(checked.hash).into());
    if stub {
        tag.insert("stub".into(), true.into());
        tag.insert("bytes".into(), checked.bytes.len().into());
    }
    tag.into()
}

fn stamp_json(stamp: &Stamp) -> Value {
    json!({
        "time": stamp.hlc.ms(),
        "counter": stamp.hlc.0 & 0xffff,
        "region": stamp.region.0,
        "sequence": stamp.seq,
    })
}

fn event_name(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::Insert => "INSERT",
        ChangeKind::Remove => "REMOVE",
        ChangeKind::Modify | ChangeKind::Touch => "MODIFY",
    }
}

fn malformed(error: &dyn std::fmt::Display) -> MessageError {
    MessageError::Malformed { what: "change record", reason: error.to_string() }
}

fn item_json(item: &Item) -> Value {
    tombolo_item::json::item_to_json(item)
}
