//! The service `Tables`.

use tombolo_client::v1::tables_server::Tables;
use tombolo_client::{convert, v1};
use tombolo_item::{KeyAttribute, KeySchema, KeyType, Shard};
use tombolo_memds::{TableSpec, TableStatus};
use tonic::{Request, Response, Status};

use super::{Services, parse};
use crate::errors;
use crate::failure::Failure;
use crate::operation::{Answer, Operation, TableDescription};
use crate::region::Region;

/// Most partitions that a table may start with.
const MOST_PARTITIONS: u32 = 256;
/// Most names on a page of ListTables (API_ListTables).
const MOST_NAMES: u32 = 100;
/// Longest name of a key attribute, in bytes (API_AttributeDefinition).
const LONGEST_ATTRIBUTE: usize = 255;

/// The key's attributes with their types.
fn key_schema(
    definitions: Vec<v1::AttributeDefinition>,
    elements: Vec<v1::KeySchemaElement>,
) -> Result<KeySchema, Failure> {
    if elements.is_empty() {
        return Err(errors::missing_parameter("keySchema"));
    }
    if elements.len() > 2 {
        return Err(errors::too_many_keys(elements.len()));
    }
    let mut types: Vec<(String, KeyType)> = Vec::with_capacity(definitions.len());
    for definition in definitions {
        let kind = match definition.attribute_type() {
            v1::ScalarAttributeType::S => KeyType::S,
            v1::ScalarAttributeType::N => KeyType::N,
            v1::ScalarAttributeType::B => KeyType::B,
            v1::ScalarAttributeType::Unspecified => {
                return Err(errors::unknown_enum(
                    definition.attribute_type,
                    "attributeDefinitions.attributeType",
                    "B, N, S",
                ));
            }
        };
        let name = definition.attribute_name;
        if name.is_empty() {
            return Err(errors::missing_parameter("attributeDefinitions.attributeName"));
        }
        if name.len() > LONGEST_ATTRIBUTE {
            return Err(errors::too_long(
                "attributeDefinitions.attributeName",
                name.len(),
                LONGEST_ATTRIBUTE,
            ));
        }
        if types.iter().any(|(known, _)| *known == name) {
            return Err(errors::duplicate_definition(&name));
        }
        types.push((name, kind));
    }
    let mut attributes = Vec::with_capacity(elements.len());
    for (index, element) in elements.into_iter().enumerate() {
        let expected = [v1::KeyType::Hash, v1::KeyType::Range][index];
        match element.key_type() {
            v1::KeyType::Unspecified => {
                return Err(errors::unknown_enum(
                    element.key_type,
                    "keySchema.keyType",
                    "HASH, RANGE",
                ));
            }
            part if part != expected => return Err(errors::key_order(index)),
            _ => {}
        }
        let name = element.attribute_name;
        let Some(&(_, kind)) = types.iter().find(|(known, _)| *known == name) else {
            let known: Vec<&str> = types.iter().map(|(name, _)| name.as_str()).collect();
            return Err(errors::undefined_key(&name, &known));
        };
        if attributes.iter().any(|known: &KeyAttribute| known.name == name) {
            return Err(errors::same_key_twice());
        }
        attributes.push(KeyAttribute { name, kind });
    }
    if attributes.len() != types.len() {
        return Err(errors::definitions_without_key());
    }
    let mut attributes = attributes.into_iter();
    let Some(partition) = attributes.next() else {
        return Err(errors::missing_parameter("keySchema"));
    };
    Ok(KeySchema { partition, sort: attributes.next() })
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
    Ok(Operation::CreateTable(TableSpec {
        name,
        schema: key_schema(wire.attribute_definitions, wire.key_schema)?,
        view: convert::view(view),
        partitions: wire.initial_partitions.max(1),
        regions,
    }))
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
    let TableDescription { info, regions, partitions, stream_subject, figures, origin_region } =
        *table;
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
