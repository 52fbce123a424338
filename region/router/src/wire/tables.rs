//! The service `Tables`.

use std::collections::BTreeMap;

use tombolo_client::v1::tables_server::Tables;
use tombolo_client::{convert, v1};
use tombolo_item::{IndexProjection, KeyAttribute, KeySchema, KeyType, Shard, StreamView};
use tombolo_memds::TableStatus;
use tonic::{Request, Response, Status};

use super::{Services, parse};
use crate::arn;
use crate::errors;
use crate::failure::Failure;
use crate::operation::{
    Answer, BillingMode, CreateTable, IndexDefinition, KeyRole, Limits, LocalIndexDescription,
    Operation, ProjectionDefinition, ProjectionKind, ReplicaUpdate, StreamSpecification,
    TableClass, TableDescription, Tag, Throughput, TimeToLive, UpdateTable,
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

fn throughput(wire: v1::ProvisionedThroughput) -> Throughput {
    Throughput { read: wire.read_capacity_units, write: wire.write_capacity_units }
}

fn billing(number: i32) -> Result<Option<BillingMode>, Failure> {
    match v1::BillingMode::try_from(number) {
        Ok(v1::BillingMode::Unspecified) => Ok(None),
        Ok(v1::BillingMode::Provisioned) => Ok(Some(BillingMode::Provisioned)),
        Ok(v1::BillingMode::PayPerRequest) => Ok(Some(BillingMode::PayPerRequest)),
        Err(_) => Err(errors::unknown_enum(number, "billingMode", "PROVISIONED, PAY_PER_REQUEST")),
    }
}

fn class(number: i32) -> Result<Option<TableClass>, Failure> {
    match v1::TableClass::try_from(number) {
        Ok(v1::TableClass::Unspecified) => Ok(None),
        Ok(v1::TableClass::Standard) => Ok(Some(TableClass::Standard)),
        Ok(v1::TableClass::StandardInfrequentAccess) => Ok(Some(TableClass::InfrequentAccess)),
        Err(_) => {
            let legal = "STANDARD, STANDARD_INFREQUENT_ACCESS";
            Err(errors::unknown_enum(number, "tableClass", legal))
        }
    }
}

fn tags(wire: BTreeMap<String, String>) -> Vec<Tag> {
    wire.into_iter().map(|(key, value)| Tag { key, value }).collect()
}

/// Indexes as they were sent; protobuf knows no difference between none and an empty list.
fn indexes(wire: Vec<v1::SecondaryIndex>) -> Result<Option<Vec<IndexDefinition>>, Failure> {
    let projection = |wire: v1::Projection| {
        let kind = match v1::ProjectionType::try_from(wire.projection_type) {
            Ok(v1::ProjectionType::Unspecified) => None,
            Ok(v1::ProjectionType::All) => Some(ProjectionKind::All),
            Ok(v1::ProjectionType::KeysOnly) => Some(ProjectionKind::KeysOnly),
            Ok(v1::ProjectionType::Include) => Some(ProjectionKind::Include),
            Err(_) => {
                let legal = "ALL, INCLUDE, KEYS_ONLY";
                let parameter = "projection.projectionType";
                return Err(errors::unknown_enum(wire.projection_type, parameter, legal));
            }
        };
        let names = wire.non_key_attributes;
        let non_key_attributes = (!names.is_empty()).then_some(names);
        Ok(ProjectionDefinition { kind, non_key_attributes })
    };
    let one = |wire: v1::SecondaryIndex| {
        Ok(IndexDefinition {
            name: wire.index_name,
            key_schema: elements(wire.key_schema)?,
            projection: wire.projection.map(projection).transpose()?,
            throughput: wire.provisioned_throughput.map(throughput),
            on_demand: None,
        })
    };
    match wire.is_empty() {
        true => Ok(None),
        false => wire.into_iter().map(one).collect::<Result<_, _>>().map(Some),
    }
}

fn view(number: i32) -> Result<Option<StreamView>, Failure> {
    let legal = "KEYS_ONLY, NEW_AND_OLD_IMAGES, NEW_IMAGE, OLD_IMAGE";
    let view = v1::StreamViewType::try_from(number);
    view.map(convert::view).map_err(|_| errors::unknown_enum(number, "streamViewType", legal))
}

fn update_table(wire: v1::UpdateTableRequest) -> Result<Operation, Failure> {
    let view = view(wire.stream_view_type)?;
    let stream = match (wire.stream_enabled, view) {
        (None, None) => None,
        (enabled, view) => {
            Some(StreamSpecification { enabled: enabled.unwrap_or(view.is_some()), view })
        }
    };
    let create = wire.create_replicas.into_iter().map(ReplicaUpdate::Create);
    let delete = wire.delete_replicas.into_iter().map(ReplicaUpdate::Delete);
    Ok(Operation::UpdateTable(Box::new(UpdateTable {
        table: parse::table_name(wire.table_name)?,
        billing: billing(wire.billing_mode)?,
        throughput: wire.provisioned_throughput.map(throughput),
        stream,
        replicas: create.chain(delete).collect(),
        class: class(wire.table_class)?,
        deletion_protection: wire.deletion_protection_enabled,
        ..UpdateTable::default()
    })))
}

fn create_table(wire: v1::CreateTableRequest) -> Result<Operation, Failure> {
    let name = parse::table_name(wire.table_name)?;
    let view = view(wire.stream_view_type)?;
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
    Ok(Operation::CreateTable(Box::new(CreateTable {
        table: name,
        attributes: definitions(wire.attribute_definitions)?,
        key_schema: elements(wire.key_schema)?,
        stream: view.map(|_| StreamSpecification { enabled: true, view }),
        billing: billing(wire.billing_mode)?.or(Some(BillingMode::PayPerRequest)),
        throughput: wire.provisioned_throughput.map(throughput),
        local_indexes: indexes(wire.local_secondary_indexes)?,
        global_indexes: indexes(wire.global_secondary_indexes)?,
        tags: tags(wire.tags),
        class: class(wire.table_class)?,
        deletion_protection: wire.deletion_protection_enabled,
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

fn key_elements(keys: &KeySchema) -> Vec<v1::KeySchemaElement> {
    let element = |key: &KeyAttribute, part: v1::KeyType| v1::KeySchemaElement {
        attribute_name: key.name.clone(),
        key_type: part.into(),
    };
    let sort = keys.sort.as_ref().map(|sort| element(sort, v1::KeyType::Range));
    std::iter::once(element(&keys.partition, v1::KeyType::Hash)).chain(sort).collect()
}

fn definition((name, kind): (String, KeyType)) -> v1::AttributeDefinition {
    let kind = match kind {
        KeyType::S => v1::ScalarAttributeType::S,
        KeyType::N => v1::ScalarAttributeType::N,
        KeyType::B => v1::ScalarAttributeType::B,
    };
    v1::AttributeDefinition { attribute_name: name, attribute_type: kind.into() }
}

fn description(answer: Answer) -> Option<v1::TableDescription> {
    let Answer::Table(table) = answer else { return None };
    let TableDescription {
        info,
        region,
        regions,
        partitions,
        stream_subject,
        figures,
        origin_region,
        attributes,
        billing,
        throughput,
        local_indexes,
        stream_label,
        deletion_protection,
        class,
        ..
    } = *table;
    let attribute_definitions = attributes.into_iter().map(definition).collect();
    let key_schema = key_elements(&info.schema);
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
        local_secondary_indexes: local_indexes.into_iter().map(local_index).collect(),
        billing_mode: match billing {
            BillingMode::Provisioned => v1::BillingMode::Provisioned,
            BillingMode::PayPerRequest => v1::BillingMode::PayPerRequest,
        }
        .into(),
        provisioned_throughput: (billing == BillingMode::Provisioned).then(|| {
            v1::ProvisionedThroughput {
                read_capacity_units: i64::try_from(throughput.read).unwrap_or(i64::MAX),
                write_capacity_units: i64::try_from(throughput.write).unwrap_or(i64::MAX),
            }
        }),
        table_class: match class.map(|(class, _)| class).unwrap_or_default() {
            TableClass::Standard => v1::TableClass::Standard,
            TableClass::InfrequentAccess => v1::TableClass::StandardInfrequentAccess,
        }
        .into(),
        deletion_protection_enabled: deletion_protection,
        table_arn: arn::of_table(&region, &info.name),
        latest_stream_arn: stream_label
            .as_ref()
            .map(|label| arn::of_stream(&region, &info.name, label))
            .unwrap_or_default(),
        latest_stream_label: stream_label.unwrap_or_default(),
    })
}

fn local_index(index: LocalIndexDescription) -> v1::SecondaryIndex {
    use v1::ProjectionType;
    let (projection_type, non_key_attributes) = match index.projection {
        IndexProjection::All => (ProjectionType::All, Vec::new()),
        IndexProjection::KeysOnly => (ProjectionType::KeysOnly, Vec::new()),
        IndexProjection::Include(names) => (ProjectionType::Include, names),
    };
    v1::SecondaryIndex {
        index_name: index.name,
        key_schema: key_elements(&index.keys),
        projection: Some(v1::Projection {
            projection_type: projection_type.into(),
            non_key_attributes,
        }),
        provisioned_throughput: None,
    }
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

    async fn update_table(
        &self,
        request: Request<v1::UpdateTableRequest>,
    ) -> Result<Response<v1::UpdateTableResponse>, Status> {
        self.answer(request, update_table, |answer| {
            Some(v1::UpdateTableResponse { table: Some(description(answer)?) })
        })
        .await
    }

    async fn tag_resource(
        &self,
        request: Request<v1::TagResourceRequest>,
    ) -> Result<Response<v1::TagResourceResponse>, Status> {
        let parse = |wire: v1::TagResourceRequest| {
            let table = parse::table_name(wire.table_name)?;
            Ok(Operation::TagResource { table, tags: tags(wire.tags) })
        };
        self.answer(request, parse, |answer| {
            matches!(answer, Answer::Done).then_some(v1::TagResourceResponse {})
        })
        .await
    }

    async fn untag_resource(
        &self,
        request: Request<v1::UntagResourceRequest>,
    ) -> Result<Response<v1::UntagResourceResponse>, Status> {
        let parse = |wire: v1::UntagResourceRequest| {
            let table = parse::table_name(wire.table_name)?;
            Ok(Operation::UntagResource { table, keys: wire.tag_keys })
        };
        self.answer(request, parse, |answer| {
            matches!(answer, Answer::Done).then_some(v1::UntagResourceResponse {})
        })
        .await
    }

    async fn list_tags_of_resource(
        &self,
        request: Request<v1::ListTagsOfResourceRequest>,
    ) -> Result<Response<v1::ListTagsOfResourceResponse>, Status> {
        let parse = |wire: v1::ListTagsOfResourceRequest| {
            let table = parse::table_name(wire.table_name)?;
            Ok(Operation::ListTagsOfResource { table, next_token: None })
        };
        self.answer(request, parse, |answer| {
            let Answer::Tags { tags, .. } = answer else { return None };
            let tags = tags.into_iter().map(|tag| (tag.key, tag.value)).collect();
            Some(v1::ListTagsOfResourceResponse { tags })
        })
        .await
    }

    async fn describe_limits(
        &self,
        request: Request<v1::DescribeLimitsRequest>,
    ) -> Result<Response<v1::DescribeLimitsResponse>, Status> {
        self.answer(
            request,
            |_| Ok(Operation::DescribeLimits),
            |answer| {
                let Answer::Limits(limits) = answer else { return None };
                let Limits { account_read, account_write, table_read, table_write } = limits;
                Some(v1::DescribeLimitsResponse {
                    account_max_read_capacity_units: account_read,
                    account_max_write_capacity_units: account_write,
                    table_max_read_capacity_units: table_read,
                    table_max_write_capacity_units: table_write,
                })
            },
        )
        .await
    }

    async fn describe_endpoints(
        &self,
        request: Request<v1::DescribeEndpointsRequest>,
    ) -> Result<Response<v1::DescribeEndpointsResponse>, Status> {
        self.answer(
            request,
            |_| Ok(Operation::DescribeEndpoints),
            |answer| {
                let Answer::Endpoints(endpoints) = answer else { return None };
                let one = |(address, cache_period_in_minutes)| v1::Endpoint {
                    address,
                    cache_period_in_minutes,
                };
                let endpoints = endpoints.into_iter().map(one).collect();
                Some(v1::DescribeEndpointsResponse { endpoints })
            },
        )
        .await
    }

    async fn describe_time_to_live(
        &self,
        request: Request<v1::DescribeTimeToLiveRequest>,
    ) -> Result<Response<v1::DescribeTimeToLiveResponse>, Status> {
        let parse = |wire: v1::DescribeTimeToLiveRequest| {
            parse::table_name(wire.table_name).map(Operation::DescribeTimeToLive)
        };
        self.answer(request, parse, |answer| {
            let Answer::TimeToLive(TimeToLive { enabled, attribute }) = answer else { return None };
            Some(v1::DescribeTimeToLiveResponse { enabled, attribute_name: attribute })
        })
        .await
    }

    async fn update_time_to_live(
        &self,
        request: Request<v1::UpdateTimeToLiveRequest>,
    ) -> Result<Response<v1::UpdateTimeToLiveResponse>, Status> {
        let parse = |wire: v1::UpdateTimeToLiveRequest| {
            let table = parse::table_name(wire.table_name)?;
            let (enabled, attribute) = (wire.enabled, wire.attribute_name);
            let time_to_live = TimeToLive { enabled, attribute };
            Ok(Operation::UpdateTimeToLive { table, time_to_live })
        };
        self.answer(request, parse, |answer| {
            let Answer::TimeToLive(TimeToLive { enabled, attribute }) = answer else { return None };
            Some(v1::UpdateTimeToLiveResponse { enabled, attribute_name: attribute })
        })
        .await
    }

    async fn describe_continuous_backups(
        &self,
        request: Request<v1::DescribeContinuousBackupsRequest>,
    ) -> Result<Response<v1::DescribeContinuousBackupsResponse>, Status> {
        let parse = |wire: v1::DescribeContinuousBackupsRequest| {
            parse::table_name(wire.table_name).map(Operation::DescribeContinuousBackups)
        };
        self.answer(request, parse, |answer| {
            let Answer::ContinuousBackups { point_in_time } = answer else { return None };
            Some(v1::DescribeContinuousBackupsResponse {
                point_in_time_recovery_enabled: point_in_time,
            })
        })
        .await
    }
}
