//! Answers about tables.

use tombolo_item::{IndexProjection, KeySchema};

use crate::arn;
use crate::dynamodb::json::write_string;
use crate::dynamodb::writer::{Object, object};
use crate::operation::{
    BillingMode, GlobalIndexDescription, Kind, Limits, LocalIndexDescription, OnDemand,
    TableDescription, Tag, ThroughputDescription, TimeToLive,
};

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

fn projection(o: &mut Object<'_>, of: &IndexProjection) {
    o.object("Projection", |o| match of {
        IndexProjection::All => o.text("ProjectionType", "ALL"),
        IndexProjection::KeysOnly => o.text("ProjectionType", "KEYS_ONLY"),
        IndexProjection::Include(names) => {
            o.text("ProjectionType", "INCLUDE");
            o.list("NonKeyAttributes", names, |out, name| write_string(out, name));
        }
    });
}

fn throughput(o: &mut Object<'_>, of: &ThroughputDescription) {
    o.object("ProvisionedThroughput", |o| {
        if let Some(ms) = of.last_increase_ms {
            o.time("LastIncreaseDateTime", ms);
        }
        if let Some(ms) = of.last_decrease_ms {
            o.time("LastDecreaseDateTime", ms);
        }
        o.plain("NumberOfDecreasesToday", of.decreases_today);
        o.plain("ReadCapacityUnits", of.read);
        o.plain("WriteCapacityUnits", of.write);
    });
}

fn on_demand(o: &mut Object<'_>, of: Option<OnDemand>) {
    let Some(of) = of else { return };
    o.object("OnDemandThroughput", |o| {
        o.plain("MaxReadRequestUnits", of.read.unwrap_or(-1));
        o.plain("MaxWriteRequestUnits", of.write.unwrap_or(-1));
    });
}

fn local_index(out: &mut Vec<u8>, table_arn: &str, of: &LocalIndexDescription) {
    object(out, |o| {
        o.text("IndexName", &of.name);
        key_schema(o, &of.keys);
        projection(o, &of.projection);
        let (items, bytes) = of.figures.unwrap_or_default();
        o.plain("IndexSizeBytes", bytes);
        o.plain("ItemCount", items);
        o.text("IndexArn", &format!("{table_arn}/index/{}", of.name));
    });
}

fn global_index(out: &mut Vec<u8>, table_arn: &str, of: &GlobalIndexDescription) {
    object(out, |o| {
        o.text("IndexName", &of.name);
        key_schema(o, &of.keys);
        projection(o, &of.projection);
        o.text("IndexStatus", &of.status);
        throughput(o, &of.throughput);
        let (items, bytes) = of.figures.unwrap_or_default();
        o.plain("IndexSizeBytes", bytes);
        o.plain("ItemCount", items);
        o.text("IndexArn", &format!("{table_arn}/index/{}", of.name));
    });
}

/// A TableDescription (API_TableDescription).
pub(super) fn description(o: &mut Object<'_>, of: &TableDescription) {
    let info = &of.info;
    let arn = arn::of_table(&of.region, &info.name);
    o.list("AttributeDefinitions", &of.attributes, |out, (name, kind)| {
        object(out, |o| {
            o.text("AttributeName", name);
            o.text("AttributeType", kind.as_str());
        });
    });
    o.text("TableName", &info.name);
    key_schema(o, &info.schema);
    o.text("TableStatus", &info.status.to_string());
    o.time("CreationDateTime", info.created_ms);
    throughput(o, &of.throughput);
    let (items, bytes) = of.figures.unwrap_or_default();
    o.plain("TableSizeBytes", bytes);
    o.plain("ItemCount", items);
    o.text("TableArn", &arn);
    o.text("TableId", &info.id.0.to_string());
    if of.billing == BillingMode::PayPerRequest {
        o.object("BillingModeSummary", |o| {
            o.text("BillingMode", of.billing.as_str());
            let since = of.billing_changed_ms.unwrap_or(info.created_ms);
            o.time("LastUpdateToPayPerRequestDateTime", since);
        });
    }
    on_demand(o, of.on_demand);
    if !of.local_indexes.is_empty() {
        o.list("LocalSecondaryIndexes", &of.local_indexes, |out, one| local_index(out, &arn, one));
    }
    if !of.global_indexes.is_empty() {
        o.list("GlobalSecondaryIndexes", &of.global_indexes, |out, one| {
            global_index(out, &arn, one);
        });
    }
    if let Some(view) = info.view {
        o.object("StreamSpecification", |o| {
            o.plain("StreamEnabled", true);
            o.text("StreamViewType", view.as_str());
        });
    }
    if let Some(label) = &of.stream_label {
        o.text("LatestStreamLabel", label);
        o.text("LatestStreamArn", &arn::of_stream(&of.region, &info.name, label));
    }
    let others: Vec<_> = of.regions.iter().filter(|(_, _, own)| !own).collect();
    if !others.is_empty() {
        o.text("GlobalTableVersion", "2019.11.21");
        o.list("Replicas", &of.regions, |out, (name, ..)| {
            object(out, |o| {
                o.text("RegionName", name);
                o.text("ReplicaStatus", "ACTIVE");
            });
        });
    }
    if let Some((class, since)) = of.class {
        o.object("TableClassSummary", |o| {
            o.text("TableClass", class.as_str());
            if let Some(ms) = since {
                o.time("LastUpdateDateTime", ms);
            }
        });
    }
    if of.sse.as_ref().is_some_and(|sse| sse.enabled == Some(true)) {
        o.object("SSEDescription", |o| {
            o.text("Status", "ENABLED");
            o.text("SSEType", "KMS");
            if let Some(key) = of.sse.as_ref().and_then(|sse| sse.key.as_ref()) {
                o.text("KMSMasterKeyArn", key);
            }
        });
    }
    o.plain("DeletionProtectionEnabled", of.deletion_protection);
}

pub(super) fn names(out: &mut Vec<u8>, names: &[String], last: Option<&str>) {
    object(out, |o| {
        o.list("TableNames", names, |out, name| write_string(out, name));
        if let Some(last) = last {
            o.text("LastEvaluatedTableName", last);
        }
    });
}

pub(super) fn tags(out: &mut Vec<u8>, tags: &[Tag], next_token: Option<&str>) {
    object(out, |o| {
        o.list("Tags", tags, |out, tag| {
            object(out, |o| {
                o.text("Key", &tag.key);
                o.text("Value", &tag.value);
            });
        });
        if let Some(token) = next_token {
            o.text("NextToken", token);
        }
    });
}

pub(super) fn limits(out: &mut Vec<u8>, of: Limits) {
    object(out, |o| {
        o.plain("AccountMaxReadCapacityUnits", of.account_read);
        o.plain("AccountMaxWriteCapacityUnits", of.account_write);
        o.plain("TableMaxReadCapacityUnits", of.table_read);
        o.plain("TableMaxWriteCapacityUnits", of.table_write);
    });
}

pub(super) fn endpoints(out: &mut Vec<u8>, all: &[(String, u64)]) {
    object(out, |o| {
        o.list("Endpoints", all, |out, (address, minutes)| {
            object(out, |o| {
                o.text("Address", address);
                o.plain("CachePeriodInMinutes", minutes);
            });
        });
    });
}

pub(super) fn time_to_live(out: &mut Vec<u8>, kind: Kind, of: &TimeToLive) {
    object(out, |o| match kind {
        Kind::UpdateTimeToLive => o.object("TimeToLiveSpecification", |o| {
            o.plain("Enabled", of.enabled);
            o.text("AttributeName", &of.attribute);
        }),
        _ => o.object("TimeToLiveDescription", |o| {
            o.text("TimeToLiveStatus", if of.enabled { "ENABLED" } else { "DISABLED" });
            if of.enabled {
                o.text("AttributeName", &of.attribute);
            }
        }),
    });
}

pub(super) fn continuous_backups(out: &mut Vec<u8>, point_in_time: bool) {
    object(out, |o| {
        o.object("ContinuousBackupsDescription", |o| {
            let status = |on| if on { "ENABLED" } else { "DISABLED" };
            // The service keeps backups of its own of every table and says so; we do not.
            o.text("ContinuousBackupsStatus", status(point_in_time));
            o.object("PointInTimeRecoveryDescription", |o| {
                o.text("PointInTimeRecoveryStatus", status(point_in_time));
            });
        });
    });
}
