//! Tables: create, describe, list, delete, wait.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tombolo_item::{GroupId, KeyAttribute, KeySchema, KeyType, NodeId, Shard, StreamView};
use tonic::Code;

use super::Client;
use crate::convert;
use crate::error::ClientError;
use crate::v1;

/// A table to make.
#[derive(Debug, Clone)]
pub struct TableDefinition {
    /// 3 to 255 characters of a-z, A-Z, 0-9, '_', '-' and '.'.
    pub name: String,
    /// Its keys.
    pub schema: KeySchema,
    /// What the stream for people shows.
    pub view: Option<StreamView>,
    /// Partitions to start with, at least 1.
    pub partitions: u32,
    /// Names of the regions that keep a copy; the region that is asked belongs to them always.
    pub regions: Vec<String>,
}

impl TableDefinition {
    /// One partition, no stream, one region.
    pub fn new(name: impl Into<String>, schema: KeySchema) -> Self {
        Self { name: name.into(), schema, view: None, partitions: 1, regions: Vec::new() }
    }
}

/// A table as one region describes it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Its id, never reused, the same in all regions.
    pub id: String,
    /// "CREATING", "ACTIVE" or "DELETING".
    pub status: String,
    /// Its keys.
    pub schema: KeySchema,
    /// Milliseconds since 1970.
    pub created_ms: u64,
    /// What the stream for people shows.
    pub view: Option<StreamView>,
    /// Subjects of the stream for people; empty when there is none.
    pub stream_subject: String,
    /// Names of the regions that keep a copy.
    pub regions: Vec<String>,
    /// Name of the region that answered.
    pub region: String,
    /// Its partitions there.
    pub partitions: Vec<PartitionInfo>,
    /// Items, approximately.
    pub item_count: Option<u64>,
    /// Bytes, approximately.
    pub size_bytes: Option<u64>,
    /// Name of the region in which it was created.
    pub origin_region: String,
}

impl Table {
    /// True when it serves.
    pub fn is_active(&self) -> bool {
        self.status == "ACTIVE"
    }
}

/// A partition.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PartitionInfo {
    /// Its shard.
    pub shard: Shard,
    /// Its group.
    pub group: GroupId,
    /// The nodes that keep a copy.
    pub replicas: Vec<NodeId>,
    /// The node that leads.
    pub leader: Option<NodeId>,
}

fn key_type(kind: KeyType) -> i32 {
    match kind {
        KeyType::S => v1::ScalarAttributeType::S,
        KeyType::N => v1::ScalarAttributeType::N,
        KeyType::B => v1::ScalarAttributeType::B,
    }
    .into()
}

/// A key schema from a description.
fn schema(
    definitions: &[v1::AttributeDefinition],
    elements: &[v1::KeySchemaElement],
) -> Option<KeySchema> {
    let attribute = |part: v1::KeyType| {
        let element = elements.iter().find(|element| element.key_type() == part)?;
        let definition =
            definitions.iter().find(|one| one.attribute_name == element.attribute_name)?;
        let kind = match definition.attribute_type() {
            v1::ScalarAttributeType::S => KeyType::S,
            v1::ScalarAttributeType::N => KeyType::N,
            v1::ScalarAttributeType::B => KeyType::B,
            v1::ScalarAttributeType::Unspecified => return None,
        };
        Some(KeyAttribute { name: element.attribute_name.clone(), kind })
    };
    Some(KeySchema {
        partition: attribute(v1::KeyType::Hash)?,
        sort: attribute(v1::KeyType::Range),
    })
}

fn table(wire: Option<v1::TableDescription>) -> Result<Table, ClientError> {
    let bad = ClientError::incomprehensible;
    let wire = wire.ok_or_else(|| bad("no table in it"))?;
    let status = match wire.status() {
        v1::TableStatus::Creating => "CREATING",
        v1::TableStatus::Active => "ACTIVE",
        v1::TableStatus::Deleting => "DELETING",
        v1::TableStatus::Unspecified => "UNKNOWN",
    };
    let view = convert::view(wire.stream_view_type());
    let schema = schema(&wire.attribute_definitions, &wire.key_schema)
        .ok_or_else(|| bad("the table's key is incomplete"))?;
    let mut partitions = Vec::with_capacity(wire.partitions.len());
    for one in wire.partitions {
        partitions.push(PartitionInfo {
            shard: one.shard.parse().map_err(|_| bad("a shard's name has another form"))?,
            group: GroupId(one.group),
            replicas: one.replica_nodes.into_iter().map(NodeId).collect(),
            leader: one.leader_node.map(NodeId),
        });
    }
    let local = wire.replicas.iter().find(|one| one.local);
    Ok(Table {
        status: status.into(),
        schema,
        view,
        region: local.map(|one| one.region_name.clone()).unwrap_or_default(),
        regions: wire.replicas.into_iter().map(|one| one.region_name).collect(),
        partitions,
        name: wire.table_name,
        id: wire.table_id,
        created_ms: wire.creation_time_ms,
        stream_subject: wire.stream_subject,
        item_count: wire.item_count,
        size_bytes: wire.table_size_bytes,
        origin_region: wire.origin_region,
    })
}

impl Client {
    /// Starts to make a table.
    pub async fn create_table(&self, definition: TableDefinition) -> Result<Table, ClientError> {
        let attributes = std::iter::once((&definition.schema.partition, v1::KeyType::Hash))
            .chain(definition.schema.sort.as_ref().map(|sort| (sort, v1::KeyType::Range)));
        let mut message = v1::CreateTableRequest {
            table_name: definition.name.clone(),
            initial_partitions: definition.partitions,
            stream_view_type: convert::view_to_wire(definition.view).into(),
            replica_regions: definition.regions.clone(),
            ..v1::CreateTableRequest::default()
        };
        for (attribute, part) in attributes {
            message.attribute_definitions.push(v1::AttributeDefinition {
                attribute_name: attribute.name.clone(),
                attribute_type: key_type(attribute.kind),
            });
            message.key_schema.push(v1::KeySchemaElement {
                attribute_name: attribute.name.clone(),
                key_type: part.into(),
            });
        }
        let answer: v1::CreateTableResponse =
            self.call(true, "/tombolo.v1.Tables/CreateTable", message).await?;
        table(answer.table)
    }

    /// A table as it is now.
    pub async fn describe_table(&self, name: &str) -> Result<Table, ClientError> {
        let message = v1::DescribeTableRequest { table_name: name.into() };
        let answer: v1::DescribeTableResponse =
            self.call(false, "/tombolo.v1.Tables/DescribeTable", message).await?;
        table(answer.table)
    }

    /// Changes capacity, stream, deletion protection, regions.
    pub async fn update_table(
        &self,
        message: v1::UpdateTableRequest,
    ) -> Result<Table, ClientError> {
        let answer: v1::UpdateTableResponse =
            self.call(true, "/tombolo.v1.Tables/UpdateTable", message).await?;
        table(answer.table)
    }

    /// Ties tags to a table; one with a known key replaces it.
    pub async fn tag_table(
        &self,
        name: &str,
        tags: BTreeMap<String, String>,
    ) -> Result<(), ClientError> {
        let message = v1::TagResourceRequest { table_name: name.into(), tags };
        let _: v1::TagResourceResponse =
            self.call(true, "/tombolo.v1.Tables/TagResource", message).await?;
        Ok(())
    }

    /// Takes tags from a table.
    pub async fn untag_table(&self, name: &str, keys: Vec<String>) -> Result<(), ClientError> {
        let message = v1::UntagResourceRequest { table_name: name.into(), tag_keys: keys };
        let _: v1::UntagResourceResponse =
            self.call(true, "/tombolo.v1.Tables/UntagResource", message).await?;
        Ok(())
    }

    /// The tags of a table.
    pub async fn tags(&self, name: &str) -> Result<BTreeMap<String, String>, ClientError> {
        let message = v1::ListTagsOfResourceRequest { table_name: name.into() };
        let answer: v1::ListTagsOfResourceResponse =
            self.call(false, "/tombolo.v1.Tables/ListTagsOfResource", message).await?;
        Ok(answer.tags)
    }

    /// Sets which attribute says when an item ends, or unsets it.
    pub async fn update_time_to_live(
        &self,
        name: &str,
        attribute: &str,
        enabled: bool,
    ) -> Result<(), ClientError> {
        let (table_name, attribute_name) = (name.into(), attribute.into());
        let message = v1::UpdateTimeToLiveRequest { table_name, enabled, attribute_name };
        let _: v1::UpdateTimeToLiveResponse =
            self.call(true, "/tombolo.v1.Tables/UpdateTimeToLive", message).await?;
        Ok(())
    }

    /// Which attribute says when an item ends, if any does.
    pub async fn time_to_live(&self, name: &str) -> Result<Option<String>, ClientError> {
        let message = v1::DescribeTimeToLiveRequest { table_name: name.into() };
        let answer: v1::DescribeTimeToLiveResponse =
            self.call(false, "/tombolo.v1.Tables/DescribeTimeToLive", message).await?;
        Ok(answer.enabled.then_some(answer.attribute_name))
    }

    /// The names of all tables, in order.
    pub async fn list_tables(&self) -> Result<Vec<String>, ClientError> {
        let mut names = Vec::new();
        let mut message = v1::ListTablesRequest::default();
        loop {
            let answer: v1::ListTablesResponse =
                self.call(false, "/tombolo.v1.Tables/ListTables", message.clone()).await?;
            names.extend(answer.table_names);
            match answer.last_evaluated_table_name {
                None => return Ok(names),
                last => message.exclusive_start_table_name = last,
            }
        }
    }

    /// Starts to remove a table, in all its regions.
    pub async fn delete_table(&self, name: &str) -> Result<Table, ClientError> {
        let message = v1::DeleteTableRequest { table_name: name.into() };
        let answer: v1::DeleteTableResponse =
            self.call(true, "/tombolo.v1.Tables/DeleteTable", message).await?;
        table(answer.table)
    }

    /// Waits until a table serves (it may also appear only now, in a replica region).
    pub async fn wait_active(&self, name: &str, patience: Duration) -> Result<Table, ClientError> {
        let deadline = Instant::now() + patience;
        loop {
            let seen = match self.describe_table(name).await {
                Ok(table) if table.is_active() => return Ok(table),
                Ok(table) => format!("it is {}", table.status),
                Err(error) if error.is_not_found() || error.retryable => error.to_string(),
                Err(error) => return Err(error),
            };
            if Instant::now() >= deadline {
                let message =
                    format!("The table {name} did not become active in {patience:?}: {seen}");
                return Err(ClientError::local(
                    Code::DeadlineExceeded,
                    "RequestTimeout",
                    message,
                    true,
                ));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
