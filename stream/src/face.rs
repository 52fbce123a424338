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
use crate::json_text::{item, show, string};
use bytes::Bytes;
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
        let images = [new.as_ref(), old.as_ref()].into_iter().flatten();
        let estimate = 1024 + 2 * images.map(Item::size).sum::<usize>();
        let mut out = String::with_capacity(estimate);
        out.push_str("{\"eventID\":\"");
        self.event_id(&mut out, record);
        show(&mut out, format_args!("\",\"eventName\":\"{}\"", event_name(record.kind)));
        out.push_str(",\"eventVersion\":\"1.1\",\"eventSource\":\"aws:dynamodb\",\"awsRegion\":");
        string(&mut out, &self.region_name);
        let seconds = record.stamp.hlc.ms() / 1000;
        show(
            &mut out,
            format_args!(",\"dynamodb\":{{\"ApproximateCreationDateTime\":{seconds},\"Keys\":"),
        );
        item(&mut out, &keys);
        for (name, image) in [("NewImage", &new), ("OldImage", &old)] {
            if let Some(image) = image {
                show(&mut out, format_args!(",\"{name}\":"));
                item(&mut out, image);
            }
        }
        let (seq, view) = (record.seq, view.as_str());
        show(
            &mut out,
            format_args!(
                ",\"SequenceNumber\":\"{seq:021}\",\"SizeBytes\":{size},\"StreamViewType\":\"{view}\"}}"
            ),
        );
        if record.cause == Cause::Ttl && record.origin == self.region {
            out.push_str(
                ",\"userIdentity\":{\"Type\":\"Service\",\"PrincipalId\":\"dynamodb.amazonaws.com\"}",
            );
        }
        out.push_str(",\"tombolo\":");
        tag(&mut out, checked, stub);
        out.push('}');
        out
    }

    /// Unique over regions, and the same whoever shows the record.
    fn event_id(&self, out: &mut String, record: &ChangeRecord) {
        let (region, group) = (self.region.0, record.shard.group.0);
        let (epoch, seq) = (record.shard.epoch, record.seq);
        show(out, format_args!("{region:04x}{group:016x}{epoch:08x}{seq:016x}"));
    }
}

fn tag(out: &mut String, checked: &CheckedRecord, stub: bool) {
    let record = &checked.record;
    let (shard, seq) = (record.shard, record.seq);
    show(out, format_args!("{{\"shard\":\"{shard}\",\"sequence\":{seq},\"stamp\":"));
    stamp(out, &record.stamp);
    if let Some(replaced) = &record.replaced {
        out.push_str(",\"replaced\":");
        stamp(out, replaced);
    }
    let (origin, cause) = (record.origin.0, record.cause.as_str());
    show(out, format_args!(",\"origin\":{origin},\"cause\":\"{cause}\""));
    if let Some((id, size)) = &record.transaction {
        show(out, format_args!(",\"transaction\":{{\"id\":\"{id}\",\"size\":{size}}}"));
    }
    let (before, hash) = (hash_text(record.prev_hash), hash_text(checked.hash));
    show(out, format_args!(",\"prevHash\":\"{before}\",\"hash\":\"{hash}\""));
    if stub {
        show(out, format_args!(",\"stub\":true,\"bytes\":{}", checked.bytes.len()));
    }
    out.push('}');
}

fn stamp(out: &mut String, stamp: &Stamp) {
    let (time, counter) = (stamp.hlc.ms(), stamp.hlc.0 & 0xffff);
    let (region, seq) = (stamp.region.0, stamp.seq);
    show(
        out,
        format_args!(
            "{{\"time\":{time},\"counter\":{counter},\"region\":{region},\"sequence\":{seq}}}"
        ),
    );
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
