//! Answers about change streams (API reference, DynamoDB Streams).

use tombolo_item::{Cause, ChangeKind, KeySchema};

use crate::arn;
use crate::dynamodb::values::write_item;
use crate::dynamodb::writer::{Object, object};
use crate::operation::{
    ShardDescription, StreamDescription, StreamName, StreamNames, StreamPage, StreamRecord,
};

fn stream_arn(region: &str, of: &StreamName) -> String {
    arn::of_stream(region, &of.table, of.label.as_deref().unwrap_or_default())
}

pub(super) fn names(out: &mut Vec<u8>, region: &str, of: &StreamNames) {
    object(out, |o| {
        o.list("Streams", &of.streams, |out, one| {
            object(out, |o| {
                o.text("StreamArn", &stream_arn(region, one));
                o.text("TableName", &one.table);
                o.text("StreamLabel", one.label.as_deref().unwrap_or_default());
            });
        });
        if let Some(last) = &of.last {
            o.text("LastEvaluatedStreamArn", &stream_arn(region, last));
        }
    });
}

fn shard(out: &mut Vec<u8>, of: &ShardDescription) {
    object(out, |o| {
        o.text("ShardId", &arn::shard_id(of.shard));
        o.object("SequenceNumberRange", |o| {
            o.text("StartingSequenceNumber", &arn::sequence(of.oldest_seq));
            if let Some(last) = of.ending_seq {
                o.text("EndingSequenceNumber", &arn::sequence(last));
            }
        });
        if let Some((parent, _)) = of.parent {
            o.text("ParentShardId", &arn::shard_id(parent));
        }
    });
}

fn key_schema(o: &mut Object<'_>, keys: &KeySchema) {
    let sort = keys.sort.as_ref().map(|sort| (sort, "RANGE"));
    let all = std::iter::once((&keys.partition, "HASH")).chain(sort);
    o.list("KeySchema", all, |out, (attribute, role)| {
        object(out, |o| {
            o.text("AttributeName", &attribute.name);
            o.text("KeyType", role);
        });
    });
}

pub(super) fn description(out: &mut Vec<u8>, of: &StreamDescription) {
    object(out, |o| {
        o.object("StreamDescription", |o| {
            o.text("StreamArn", &arn::of_stream(&of.region, &of.info.name, &of.label));
            o.text("StreamLabel", &of.label);
            o.text("StreamStatus", if of.enabled { "ENABLED" } else { "DISABLED" });
            if let Some(view) = of.info.view {
                o.text("StreamViewType", view.as_str());
            }
            o.time("CreationRequestDateTime", of.created_ms);
            o.text("TableName", &of.info.name);
            key_schema(o, &of.info.schema);
            o.list("Shards", &of.shards, shard);
            if let Some(last) = of.last {
                o.text("LastEvaluatedShardId", &arn::shard_id(last));
            }
        });
    });
}

pub(super) fn records(out: &mut Vec<u8>, of: &StreamPage) {
    object(out, |o| {
        o.list("Records", &of.records, |out, one| record(out, of, one));
        if let Some(next) = &of.next {
            o.text("NextShardIterator", &next.to_string());
        }
    });
}

fn record(out: &mut Vec<u8>, page: &StreamPage, of: &StreamRecord) {
    object(out, |o| {
        o.text("eventID", &event_id(of));
        o.text(
            "eventName",
            match of.kind {
                ChangeKind::Insert => "INSERT",
                ChangeKind::Remove => "REMOVE",
                ChangeKind::Modify | ChangeKind::Touch => "MODIFY",
            },
        );
        o.text("eventVersion", "1.1");
        o.text("eventSource", "aws:dynamodb");
        o.text("awsRegion", &page.region);
        o.object("dynamodb", |o| {
            // The service gives whole seconds.
            o.plain("ApproximateCreationDateTime", of.created_ms / 1000);
            o.put("Keys", |out| write_item(out, &of.keys));
            if let Some(item) = &of.new {
                o.put("NewImage", |out| write_item(out, item));
            }
            if let Some(item) = &of.old {
                o.put("OldImage", |out| write_item(out, item));
            }
            o.text("SequenceNumber", &arn::sequence(of.seq));
            o.plain("SizeBytes", of.size_bytes);
            o.text("StreamViewType", page.view.as_str());
        });
        if of.cause == Cause::Ttl {
            o.object("userIdentity", |o| {
                o.text("PrincipalId", "dynamodb.amazonaws.com");
                o.text("Type", "Service");
            });
        }
    });
}

/// 32 hexadecimal digits, equal on every node and never given twice.
fn event_id(of: &StreamRecord) -> String {
    let epoch = of.shard.epoch & 0xffff;
    format!("{:016x}{epoch:04x}{:012x}", of.shard.group.0, of.seq & 0xffff_ffff_ffff)
}
