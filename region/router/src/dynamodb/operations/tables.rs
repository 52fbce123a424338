//! Tables: CreateTable, UpdateTable, ListTables, tags, time to live.

use tombolo_item::{KeyType, StreamView};

use super::Call;
use crate::arn;
use crate::dynamodb::fault::Fault;
use crate::dynamodb::fields::Fields;
use crate::operation::{
    BillingMode, CreateTable, GlobalIndexUpdate, IndexDefinition, KeyRole, OnDemand, Operation,
    ProjectionDefinition, ProjectionKind, ReplicaUpdate, SseSpecification, StreamSpecification,
    TableClass, Tag, Throughput, TimeToLive, UpdateTable,
};

/// Names on one page of ListTables, unless asked otherwise.
const MOST_NAMES: usize = 100;

pub(super) fn create(call: &Call<'_>) -> Result<Operation, Fault> {
    let fields = call.fields();
    for (parameter, why) in [
        ("VectorIndexes", "vector indexes are not served"),
        ("ResourcePolicy", "there are no resource policies"),
        (
            "GlobalTableSourceArn",
            "a table joins other regions through UpdateTable's ReplicaUpdates",
        ),
        ("GlobalTableSettingsReplicationMode", "settings belong to one region"),
    ] {
        not_here(fields, parameter, why)?;
    }
    let indexes = |name: &str| {
        fields.list(name).map(|list| list.iter().map(|one| index(Fields::new(one))).collect())
    };
    Ok(Operation::CreateTable(Box::new(CreateTable {
        table: fields.table(call.region)?,
        attributes: attributes(fields),
        key_schema: key_schema(fields),
        local_indexes: indexes("LocalSecondaryIndexes"),
        global_indexes: indexes("GlobalSecondaryIndexes"),
        billing: billing(fields),
        throughput: throughput(fields),
        on_demand: on_demand(fields),
        stream: stream(fields),
        sse: sse(fields),
        tags: tag_list(fields),
        class: class(fields),
        deletion_protection: fields.flag("DeletionProtectionEnabled").unwrap_or(false),
        ..CreateTable::default()
    })))
}

pub(super) fn update(call: &Call<'_>) -> Result<Operation, Fault> {
    let fields = call.fields();
    for (parameter, why) in [
        ("VectorIndexUpdates", "vector indexes are not served"),
        ("MultiRegionConsistency", "copies in other regions follow; they are never waited for"),
        ("GlobalTableWitnessUpdates", "there are no witnesses"),
        ("GlobalTableSettingsReplicationMode", "settings belong to one region"),
        ("DisassociationProtectionEnabled", "a copy leaves only when it is told to"),
    ] {
        not_here(fields, parameter, why)?;
    }
    Ok(Operation::UpdateTable(Box::new(UpdateTable {
        table: fields.table(call.region)?,
        attributes: attributes(fields),
        billing: billing(fields),
        throughput: throughput(fields),
        on_demand: on_demand(fields),
        global_indexes: global_index_updates(fields)?,
        stream: stream(fields),
        sse: sse(fields),
        replicas: replica_updates(fields)?,
        class: class(fields),
        deletion_protection: fields.flag("DeletionProtectionEnabled"),
    })))
}

fn not_here(fields: Fields<'_>, parameter: &str, why: &str) -> Result<(), Fault> {
    match fields.has(parameter) {
        false => Ok(()),
        true => Err(Fault::validation(format!(
            "One or more parameter values were invalid: {parameter} is not supported here: {why}"
        ))),
    }
}

fn attributes(fields: Fields<'_>) -> Vec<(String, KeyType)> {
    let kind = |one: Fields<'_>| match one.text("AttributeType") {
        Some("N") => KeyType::N,
        Some("B") => KeyType::B,
        _ => KeyType::S,
    };
    let all = fields.structures("AttributeDefinitions");
    all.into_iter().map(|one| (one.required("AttributeName"), kind(one))).collect()
}

fn key_schema(fields: Fields<'_>) -> Vec<(String, KeyRole)> {
    let role = |one: Fields<'_>| match one.text("KeyType") {
        Some("RANGE") => KeyRole::Range,
        _ => KeyRole::Hash,
    };
    let all = fields.structures("KeySchema");
    all.into_iter().map(|one| (one.required("AttributeName"), role(one))).collect()
}

fn index(fields: Fields<'_>) -> IndexDefinition {
    let projection = fields.structure("Projection").map(|projection| ProjectionDefinition {
        kind: match projection.text("ProjectionType") {
            Some("ALL") => Some(ProjectionKind::All),
            Some("KEYS_ONLY") => Some(ProjectionKind::KeysOnly),
            Some("INCLUDE") => Some(ProjectionKind::Include),
            _ => None,
        },
        non_key_attributes: projection.texts("NonKeyAttributes"),
    });
    IndexDefinition {
        name: fields.required("IndexName"),
        key_schema: key_schema(fields),
        projection,
        throughput: throughput(fields),
        on_demand: on_demand(fields),
    }
}

fn billing(fields: Fields<'_>) -> Option<BillingMode> {
    Some(match fields.text("BillingMode")? {
        "PAY_PER_REQUEST" => BillingMode::PayPerRequest,
        _ => BillingMode::Provisioned,
    })
}

fn throughput(fields: Fields<'_>) -> Option<Throughput> {
    let given = fields.structure("ProvisionedThroughput")?;
    let units = |name| given.number(name).unwrap_or_default();
    Some(Throughput { read: units("ReadCapacityUnits"), write: units("WriteCapacityUnits") })
}

fn on_demand(fields: Fields<'_>) -> Option<OnDemand> {
    let given = fields.structure("OnDemandThroughput")?;
    Some(OnDemand {
        read: given.number("MaxReadRequestUnits"),
        write: given.number("MaxWriteRequestUnits"),
    })
}

fn stream(fields: Fields<'_>) -> Option<StreamSpecification> {
    let given = fields.structure("StreamSpecification")?;
    Some(StreamSpecification {
        enabled: given.flag("StreamEnabled").unwrap_or(false),
        view: match given.text("StreamViewType") {
            Some("KEYS_ONLY") => Some(StreamView::KeysOnly),
            Some("NEW_IMAGE") => Some(StreamView::NewImage),
            Some("OLD_IMAGE") => Some(StreamView::OldImage),
            Some("NEW_AND_OLD_IMAGES") => Some(StreamView::NewAndOldImages),
            _ => None,
        },
    })
}

fn sse(fields: Fields<'_>) -> Option<SseSpecification> {
    let given = fields.structure("SSESpecification")?;
    Some(SseSpecification {
        enabled: given.flag("Enabled"),
        kind: given.text("SSEType").map(str::to_owned),
        key: given.text("KMSMasterKeyId").map(str::to_owned),
    })
}

fn class(fields: Fields<'_>) -> Option<TableClass> {
    Some(match fields.text("TableClass")? {
        "STANDARD_INFREQUENT_ACCESS" => TableClass::InfrequentAccess,
        _ => TableClass::Standard,
    })
}

fn global_index_updates(fields: Fields<'_>) -> Result<Vec<GlobalIndexUpdate>, Fault> {
    let mut updates = Vec::new();
    for one in fields.structures("GlobalSecondaryIndexUpdates") {
        let given = ["Update", "Create", "Delete"].map(|name| one.structure(name));
        updates.push(match given {
            [Some(update), ..] => GlobalIndexUpdate::Update {
                name: update.required("IndexName"),
                throughput: throughput(update),
                on_demand: on_demand(update),
            },
            [_, Some(create), _] => GlobalIndexUpdate::Create(index(create)),
            [_, _, Some(delete)] => GlobalIndexUpdate::Delete(delete.required("IndexName")),
            [None, None, None] => {
                return Err(Fault::validation(
                    "One or more parameter values were invalid: One of \
                     GlobalSecondaryIndexUpdate.Update, GlobalSecondaryIndexUpdate.Create, \
                     GlobalSecondaryIndexUpdate.Delete must not be null",
                ));
            }
        });
    }
    Ok(updates)
}

fn replica_updates(fields: Fields<'_>) -> Result<Vec<ReplicaUpdate>, Fault> {
    let mut updates = Vec::new();
    for one in fields.structures("ReplicaUpdates") {
        let region = |of: Fields<'_>| of.required("RegionName");
        updates.push(if let Some(create) = one.structure("Create") {
            ReplicaUpdate::Create(region(create))
        } else if let Some(update) = one.structure("Update") {
            ReplicaUpdate::Update(region(update))
        } else if let Some(delete) = one.structure("Delete") {
            ReplicaUpdate::Delete(region(delete))
        } else {
            return Err(Fault::validation(
                "One or more parameter values were invalid: One of ReplicaUpdate.Create, \
                 ReplicaUpdate.Update, ReplicaUpdate.Delete must not be null",
            ));
        });
    }
    Ok(updates)
}

pub(super) fn list(call: &Call<'_>) -> Operation {
    let fields = call.fields();
    Operation::ListTables {
        after: fields.text("ExclusiveStartTableName").map(str::to_owned),
        limit: fields.count("Limit").map_or(MOST_NAMES, |limit| limit as usize),
    }
}

pub(super) fn time_to_live(call: &Call<'_>) -> Result<Operation, Fault> {
    let fields = call.fields();
    let given = fields.structure("TimeToLiveSpecification");
    Ok(Operation::UpdateTimeToLive {
        table: fields.table(call.region)?,
        time_to_live: TimeToLive {
            enabled: given.and_then(|given| given.flag("Enabled")).unwrap_or(false),
            attribute: given.map(|given| given.required("AttributeName")).unwrap_or_default(),
        },
    })
}

fn tag_list(fields: Fields<'_>) -> Vec<Tag> {
    let all = fields.structures("Tags").into_iter();
    all.map(|one| Tag { key: one.required("Key"), value: one.required("Value") }).collect()
}

pub(super) fn tags(call: &Call<'_>) -> Result<Operation, Fault> {
    let arn = resource_arn(call)?;
    let table = tagged_table(call, arn)?;
    let next_token = call.fields().text("NextToken").map(str::to_owned);
    Ok(Operation::ListTagsOfResource { table, next_token })
}

pub(super) fn tag(call: &Call<'_>) -> Result<Operation, Fault> {
    let arn = resource_arn(call)?;
    if !call.fields().has("Tags") {
        return Err(null_member("tags"));
    }
    let table = tagged_table(call, arn)?;
    let tags = tag_list(call.fields());
    if tags.is_empty() {
        return Err(Fault::validation("Atleast one Tag needs to be provided as Input."));
    }
    Ok(Operation::TagResource { table, tags })
}

pub(super) fn untag(call: &Call<'_>) -> Result<Operation, Fault> {
    let arn = resource_arn(call)?;
    let Some(keys) = call.fields().texts("TagKeys") else { return Err(null_member("tagKeys")) };
    let table = tagged_table(call, arn)?;
    if keys.is_empty() {
        return Err(Fault::validation("Atleast one Tag Key needs to be provided as Input."));
    }
    Ok(Operation::UntagResource { table, keys })
}

fn null_member(name: &str) -> Fault {
    Fault::validation(format!(
        "1 validation error detected: Value null at '{name}' failed to satisfy constraint: Member must \
         not be null"
    ))
}

/// What the service looks at first: whether it may be an ARN at all.
fn resource_arn<'a>(call: &Call<'a>) -> Result<&'a str, Fault> {
    let Some(arn) = Fields::new(call.request).text("ResourceArn") else {
        return Err(Fault::validation("Invalid TableArn"));
    };
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let like_an_arn = matches!(parts[..], [_, _, _, _, _, resource]
        if resource.split_once('/').is_some_and(|(kind, name)| !kind.is_empty() && !name.is_empty()))
        && parts.iter().all(|part| !part.is_empty());
    match like_an_arn {
        true => Ok(arn),
        false => Err(Fault::access_denied(format!(
            "User: arn:aws:iam::000000000000:user is not authorized to perform: dynamodb:{} on \
             resource: {}",
            call.name,
            if arn.is_empty() { "*" } else { arn }
        ))),
    }
}

fn tagged_table(call: &Call<'_>, arn: &str) -> Result<String, Fault> {
    arn::tagged(arn, call.region).map_err(|_| {
        Fault::validation(format!("Invalid TableArn: Invalid ResourceArn provided as input {arn}"))
    })
}
