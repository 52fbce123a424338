//! The service `Tables`.

use tombolo_client::v1::tables_server::Tables;
use tombolo_client::{convert, v1};
use tombolo_item::{KeyAttribute, KeyType, Shard};
use tombolo_memds::TableStatus;
use tonic::{Request, Response, Status};

use super::{Services, parse};
use crate::errors;
use crate::failure::Failure;
use crate::operation::{
    Answer, BillingMode, CreateTable, KeyRole, Operation, StreamSpecification, TableDescription,
};
use crate::region::Region;

/// Most partitions that a table may start with.
const MOST_PARTITIONS: u32 = 256;
/// Most names on a page of ListTables (API_ListTables).
const MOST_NAMES: u32 = 100;

/// Types of attributes.
fn definitions(wire: Vec<v1::AttributeDefinition>) -> Result<Vec<(String, KeyType)>, Failure> {
    let one = |definition: v1::AttributeDefinition| {
        let kind = match definition.attribute_type() {
            v1::ScalarAttributeType::S => KeyType::S,
            v1::ScalarAttributeType::N => KeyType::N,
            v1::ScalarAttributeType::B => KeyType::B,
            v1::ScalarAttributeType::Unspecified => {
                let parameter = "attributeDefinitions.attributeType";
                return Err(errors::unknown_enum(definition.attribute_type, parameter, "B, N, S"));
            }
        };
        Ok((definition.attribute_name, kind))
    };
    wire.into_iter().map(one).collect()
}

/// Parts of a key.
fn elements(wire: Vec<v1::KeySchemaElement>) -> Result<Vec<(String, KeyRole)>, Failure> {
    let one = |element: v1::KeySchemaElement| {
        let role = match element.key_type() {
            v1::KeyType::Hash => KeyRole::Hash,
            v1::KeyType::Range => KeyRole::Range,
            v1::KeyType::Unspecified => {
                let parameter = "keySchema.keyType";
                return Err(errors::unknown_enum(element.key_type, parameter, "HASH, RANGE"));
            }
        };
        Ok((element.attribute_name, role))
    };
    wire.into_iter().map(one).collect()
}

fn create_table(wire: v1::CreateTableRequest) -> Result<Operation, Failure> {
    let name = parse::table_name(wire.table_name)?;
    let view = v1::StreamViewType::try_from(wire.stream_view_type).map_err(|_| {
        errors::unknown_enum(
            wire.stream_view_type,
            "streamViewType",
            "KEYS_ONLY, NEW_AND_OLD_IMAGES, NEW_IMAGE, OLD_IMAGE",
        )
    })?;
    if wire.initial_partitions > MOST_PARTITIONS {
        return Err(errors::too_large(
            wire.initial_partitions,
            "initialPartitions",
            MOST_PARTITIONS.into(),
        ));
    }
    let mut regions: Vec<String> = Vec::new();
    for region in wire.replica_regions {
        if region.is_empty() {
            return Err(errors::missing_parameter("replicaRegions"));
        }
        if !regions.contains(&region) {
            regions.push(region);
        }
    }
    let view = convert::view(view);
    Ok(Operation::CreateTable(Box::new(CreateTable {
        table: name,
        attributes: definitions(wire.attribute_definitions)?,
        key_schema: elements(wire.key_schema)?,
        stream: view.map(|_| StreamSpecification { enabled: true, view }),
        // What the file says of a table without billing: it was made before there was any.
        billing: Some(BillingMode::PayPerRequest),
        partitions: wire.initial_partitions.max(1),
        regions,
        ..CreateTable::default()
    })))
}

fn list_tables(wire: v1::ListTablesRequest) -> Result<Operation, Failure> {
    let limit = parse::limit(wire.limit)?.unwrap_or(MOST_NAMES);
    if limit > MOST_NAMES {
        return Err(errors::too_large(limit, "limit", MOST_NAMES.into()));
    }
    let after = wire.exclusive_start_table_name.map(parse::table_name).transpose()?;
    Ok(Operation::ListTables { after, limit: limit as usize })
}

fn attribute(
    key: &KeyAttribute,
    part: v1::KeyType,
) -> (v1::AttributeDefinition, v1::KeySchemaElement) {
    let kind = match key.kind {
        KeyType::S => v1::ScalarAttributeType::S,
        KeyType::N => v1::ScalarAttributeType::N,
        KeyType::B => v1::ScalarAttributeType::B,
    };
    (
        v1::AttributeDefinition { attribute_name: key.name.clone(), attribute_type: kind.into() },
        v1::KeySchemaElement { attribute_name: key.name.clone(), key_type: part.into() },
    )
}

fn description(answer: Answer) -> Option<v1::TableDescription> {
    let Answer::Table(table) = answer else { return None };
    let TableDescription {
        info, regions, partitions, stream_subject, figures, origin_region, ..
    } = *table;
    let keys = std::iter::once((&info.schema.partition, v1::KeyType::Hash))
        .chain(info.schema.sort.as_ref().map(|sort| (sort, v1::KeyType::Range)));
    let (attribute_definitions, key_schema) = keys.map(|(key, part)| attribute(key, part)).unzip();
    let status = match info.status {
        TableStatus::Creating => v1::TableStatus::Creating,
        TableStatus::Active => v1::TableStatus::Active,
        TableStatus::Deleting => v1::TableStatus::Deleting,
    };
    let replicas = regions.into_iter().map(|(region_name, region_id, local)| {
        v1::ReplicaDescription { region_name, region_id: region_id.into(), local }
    });
    let partitions = partitions.into_iter().map(|one| v1::PartitionDescription {
        shard: Shard { group: one.group, epoch: one.epoch }.to_string(),
        group: one.group.0,
        epoch: one.epoch,
        start_row_key: one.range.start.0.clone(),
        end_row_key: one.range.end.as_ref().map(|end| end.0.clone()),
        replica_nodes: one.replicas.iter().map(|node| node.0).collect(),
        leader_node: one.leader.map(|node| node.0),
    });
    Some(v1::TableDescription {
        table_name: info.name.clone(),
        table_id: info.id.to_string(),
        status: status.into(),
        attribute_definitions,
        key_schema,
        creation_time_ms: info.created_ms,
        stream_view_type: convert::view_to_wire(info.view).into(),
        stream_subject,
        replicas: replicas.collect(),
        partitions: partitions.collect(),
        item_count: figures.map(|(items, _)| items),
        table_size_bytes: figures.map(|(_, bytes)| bytes),
        origin_region,
    })
}

#[tonic::async_trait]
impl<R: Region> Tables for Services<R> {
    async fn create_table(
        &self,
        request: Request<v1::CreateTableRequest>,
    ) -> Result<Response<v1::CreateTableResponse>, Status> {
        self.answer(request, create_table, |answer| {
            Some(v1::CreateTableResponse { table: Some(description(answer)?) })
        })
        .await
    }

    async fn describe_table(
        &self,
        request: Request<v1::DescribeTableRequest>,
    ) -> Result<Response<v1::DescribeTableResponse>, Status> {
        let parse = |wire: v1::DescribeTableRequest| {
            parse::table_name(wire.table_name).map(Operation::DescribeTable)
        };
        self.answer(request, parse, |answer| {
            Some(v1::DescribeTableResponse { table: Some(description(answer)?) })
        })
        .await
    }

    async fn list_tables(
        &self,
        request: Request<v1::ListTablesRequest>,
    ) -> Result<Response<v1::ListTablesResponse>, Status> {
        self.answer(request, list_tables, |answer| match answer {
            Answer::Tables { names, last } => {
                Some(v1::ListTablesResponse { table_names: names, last_evaluated_table_name: last })
            }
            _ => None,
        })
        .await
    }

    async fn delete_table(
        &self,
        request: Request<v1::DeleteTableRequest>,
    ) -> Result<Response<v1::DeleteTableResponse>, Status> {
        let parse = |wire: v1::DeleteTableRequest| {
            parse::table_name(wire.table_name).map(Operation::DeleteTable)
        };
        self.answer(request, parse, |answer| {
            Some(v1::DeleteTableResponse { table: Some(description(answer)?) })
        })
        .await
    }
}
