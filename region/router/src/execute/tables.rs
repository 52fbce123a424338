//! Tables: create, describe, list, change, delete; and what is asked of the region as a whole.

use std::sync::Arc;

use tombolo_item::LocalIndex;
use tombolo_memds::{
    BillingMode as KeptBilling, GlobalIndex, IndexStatus, Provisioned, TableChange,
    TableClass as KeptClass, TableInfo, TableSettings, TableSpec, TableStatus,
};

use super::definition::{self, Definition, Index};
use super::{Executor, now_ms, tags};
use crate::errors;
use crate::failure::Failure;
use crate::operation::{
    Answer, BillingMode, CreateTable, GlobalIndexDescription, GlobalIndexUpdate, Limits,
    LocalIndexDescription, ReplicaUpdate, SseSpecification, StreamSpecification, TableClass,
    TableDescription, Throughput, ThroughputDescription, UpdateTable,
};
use crate::region::Region;
use crate::subjects;

/// What an account may provision without asking (quotas page, default of most regions).
const LIMITS: Limits =
    Limits { account_read: 80_000, account_write: 80_000, table_read: 40_000, table_write: 40_000 };
/// How long an endpoint is good (what DynamoDB answers).
const ENDPOINT_MINUTES: u64 = 1440;

fn billing_kept(billing: BillingMode) -> KeptBilling {
    match billing {
        BillingMode::Provisioned => KeptBilling::Provisioned,
        BillingMode::PayPerRequest => KeptBilling::PayPerRequest,
    }
}

fn class_kept(class: TableClass) -> KeptClass {
    match class {
        TableClass::Standard => KeptClass::Standard,
        TableClass::InfrequentAccess => KeptClass::StandardInfrequentAccess,
    }
}

fn provisioned(throughput: Throughput) -> Provisioned {
    // Checked to be 1 at least.
    Provisioned { read: throughput.read.unsigned_abs(), write: throughput.write.unsigned_abs() }
}

fn local_index(index: Index) -> Result<LocalIndex, Failure> {
    let Index { name, keys, projection, .. } = index;
    let name = name.try_into().map_err(errors::from_item)?;
    let sort = keys.sort.ok_or_else(|| errors::index_without_sort_key(""))?;
    Ok(LocalIndex { name, sort, projection })
}

/// Which view a stream shows, or none.
fn view(stream: StreamSpecification) -> Result<Option<tombolo_item::StreamView>, Failure> {
    match (stream.enabled, stream.view) {
        (true, None) => Err(errors::stream_without_view()),
        (false, Some(_)) => Err(errors::view_without_stream()),
        (_, view) => Ok(view),
    }
}

/// What is on the disks is not encrypted by us: who asks for it must know.
fn check_encryption(sse: Option<&SseSpecification>) -> Result<(), Failure> {
    match sse.is_some_and(|sse| sse.enabled == Some(true)) {
        true => Err(errors::encryption_not_served()),
        false => Ok(()),
    }
}

impl<R: Region> Executor<R> {
    pub(super) async fn create_table(&self, create: CreateTable) -> Result<Answer, Failure> {
        let definition = definition::check(&create)?;
        let view = create.stream.map(view).transpose()?.flatten();
        let tags = tags::check(&create.tags)?;
        check_encryption(create.sse.as_ref())?;
        if create.on_demand.is_some() {
            return Err(errors::on_demand_bounds_not_served());
        }
        let Definition { schema, billing, throughput, local, global } = definition;
        if !global.is_empty() {
            return Err(errors::global_indexes_later());
        }
        self.check_regions(&create.regions)?;
        let provisioned = (billing == BillingMode::Provisioned).then(|| provisioned(throughput));
        let settings = TableSettings {
            billing_mode: billing_kept(billing),
            provisioned,
            local_indexes: local.into_iter().map(local_index).collect::<Result<_, _>>()?,
            deletion_protection: create.deletion_protection,
            table_class: class_kept(create.class.unwrap_or_default()),
            tags,
            ..TableSettings::default()
        };
        let CreateTable { table: name, partitions, regions, .. } = create;
        let partitions = partitions.max(1);
        let spec = TableSpec { name: name.clone(), schema, view, partitions, regions, settings };
        let created = self.region.create(spec).await;
        let info = created.map_err(|error| errors::from_catalog(error, &name, "create"))?;
        Ok(self.described(info).await)
    }

    fn check_regions(&self, regions: &[String]) -> Result<(), Failure> {
        let known: Vec<_> = self.region.regions().into_iter().map(|known| known.name).collect();
        match regions.iter().find(|region| !known.contains(region)) {
            Some(region) => Err(errors::unknown_region(region, &known)),
            None => Ok(()),
        }
    }

    pub(super) async fn update_table(&self, update: UpdateTable) -> Result<Answer, Failure> {
        let UpdateTable { table: name, billing, throughput, stream, replicas, class, .. } = &update;
        definition::check_throughput_shape(*throughput, "provisionedThroughput")?;
        throughput.map_or(Ok(()), definition::check_bounds)?;
        let nothing = billing.is_none()
            && throughput.is_none()
            && update.on_demand.is_none()
            && update.global_indexes.is_empty()
            && stream.is_none()
            && update.sse.is_none()
            && replicas.is_empty()
            && class.is_none()
            && update.deletion_protection.is_none();
        if nothing {
            return Err(errors::nothing_to_update());
        }
        if *billing == Some(BillingMode::PayPerRequest) && throughput.is_some() {
            return Err(errors::units_of_on_demand());
        }
        check_encryption(update.sse.as_ref())?;
        if update.on_demand.is_some() {
            return Err(errors::on_demand_bounds_not_served());
        }
        let stream = stream.map(view).transpose()?;
        let (mut add_regions, mut remove_regions) = (Vec::new(), Vec::new());
        for replica in replicas {
            match replica {
                ReplicaUpdate::Create(region) => add_regions.push(region.clone()),
                ReplicaUpdate::Delete(region) => remove_regions.push(region.clone()),
                ReplicaUpdate::Update(region) => {
                    return Err(errors::replica_settings_not_served(region));
                }
            }
        }
        self.check_regions(&add_regions)?;
        let info = self.managed(name).await?;
        self.check_index_updates(&update, &info)?;
        let change = TableChange {
            billing_mode: billing.map(billing_kept),
            provisioned: throughput.map(provisioned),
            deletion_protection: update.deletion_protection,
            table_class: class.map(class_kept),
            stream,
            add_regions,
            remove_regions,
            ..TableChange::default()
        };
        let updated = self.region.update(name, change).await;
        let info = updated.map_err(|error| errors::from_catalog(error, name, "update"))?;
        Ok(self.described(info).await)
    }

    /// Global indexes are checked as if they were served, so that what is wrong is said first.
    fn check_index_updates(&self, update: &UpdateTable, info: &TableInfo) -> Result<(), Failure> {
        for (position, change) in update.global_indexes.iter().enumerate() {
            match change {
                GlobalIndexUpdate::Create(index) => {
                    let at = format!("globalSecondaryIndexUpdates.{}.member.create", position + 1);
                    definition::check_index_shape(index, &at)?;
                    let billing = update.billing.unwrap_or(billing_of(info));
                    definition::global_index(index, &update.attributes, billing)?;
                    let settings = &info.settings;
                    if settings.local_index(&index.name).is_some()
                        || settings.global_index(&index.name).is_some()
                    {
                        return Err(errors::duplicate_index(&index.name));
                    }
                }
                GlobalIndexUpdate::Update { name, .. } | GlobalIndexUpdate::Delete(name) => {
                    if info.settings.global_index(name).is_none() {
                        return Err(errors::global_index_not_found());
                    }
                }
            }
        }
        match update.global_indexes.is_empty() {
            true => Ok(()),
            false => Err(errors::global_indexes_later()),
        }
    }

    pub(super) async fn delete_table(&self, name: &str) -> Result<Answer, Failure> {
        let deleted = self.region.delete(name).await;
        let info = deleted.map_err(|error| errors::from_catalog(error, name, "delete"))?;
        Ok(self.described(info).await)
    }

    pub(super) async fn describe_table(&self, name: &str) -> Result<Answer, Failure> {
        Ok(self.described(self.table(name)?).await)
    }

    pub(super) fn list_tables(&self, after: Option<String>, limit: usize) -> Answer {
        let mut names: Vec<String> = self
            .region
            .tables()
            .iter()
            .map(|table| table.name.clone())
            .filter(|name| after.as_ref().is_none_or(|after| name > after))
            .collect();
        names.sort_unstable();
        names.dedup();
        let more = names.len() > limit;
        names.truncate(limit);
        let last = if more { names.last().cloned() } else { None };
        Answer::Tables { names, last }
    }

    pub(super) fn limits(&self) -> Answer {
        Answer::Limits(LIMITS)
    }

    /// Host and port of every node of this region that speaks DynamoDB's protocol.
    pub(super) fn endpoints(&self) -> Answer {
        let own = self.region.own_region();
        let nodes = self.region.nodes().into_iter();
        let nodes = nodes.filter(|node| node.region == own && !node.dynamodb.is_empty());
        let address = |url: String| match url.split_once("://") {
            Some((_, address)) => address.trim_end_matches('/').to_owned(),
            None => url,
        };
        Answer::Endpoints(nodes.map(|node| (address(node.dynamodb), ENDPOINT_MINUTES)).collect())
    }

    /// Nothing can be restored to a point in time: the archive does not exist yet.
    pub(super) fn continuous_backups(&self, table: &str) -> Result<Answer, Failure> {
        self.table(table).map_err(|_| errors::table_of_backups_not_found(table))?;
        Ok(Answer::ContinuousBackups { point_in_time: false })
    }

    async fn described(&self, info: Arc<TableInfo>) -> Answer {
        let own = self.region.own_region();
        let known = self.region.regions();
        let name_of = |id| {
            let region = known.iter().find(|region| region.id == id);
            region.map(|region| region.name.clone()).unwrap_or_default()
        };
        let stream_subject = match info.view {
            None => String::new(),
            Some(_) => subjects::people(&name_of(own), info.id, None),
        };
        let regions = info.regions.iter().map(|id| (name_of(*id), id.0, *id == own)).collect();
        let figures = match info.status {
            TableStatus::Active => self.region.figures(info.id).await,
            TableStatus::Creating | TableStatus::Deleting => None,
        };
        let settings = &info.settings;
        let class = (settings.table_class, settings.table_class_since_ms);
        Answer::Table(Box::new(TableDescription {
            region: name_of(own),
            regions,
            partitions: self.region.partitions(info.id),
            stream_subject,
            figures,
            origin_region: name_of(info.origin),
            attributes: attributes(&info),
            billing: billing_of(&info),
            billing_changed_ms: (settings.billing_mode == KeptBilling::PayPerRequest)
                .then(|| settings.pay_per_request_since_ms.unwrap_or(info.created_ms)),
            throughput: throughput(&info),
            on_demand: None,
            local_indexes: local_indexes(&info),
            global_indexes: settings.global_indexes.iter().map(global_index).collect(),
            stream_label: info.stream_label(),
            deletion_protection: settings.deletion_protection,
            class: match class {
                (KeptClass::Standard, None) => None,
                (KeptClass::Standard, since) => Some((TableClass::Standard, since)),
                (KeptClass::StandardInfrequentAccess, since) => {
                    Some((TableClass::InfrequentAccess, since))
                }
            },
            sse: None,
            info,
        }))
    }
}

/// Types of all key attributes, by name.
fn attributes(info: &TableInfo) -> Vec<(String, tombolo_item::KeyType)> {
    let local = info.settings.local_indexes.iter().map(|index| &index.sort);
    let global = info
        .settings
        .global_indexes
        .iter()
        .flat_map(|index| std::iter::once(&index.schema.partition).chain(&index.schema.sort));
    let keys = std::iter::once(&info.schema.partition).chain(&info.schema.sort);
    let mut attributes: Vec<_> =
        keys.chain(local).chain(global).map(|key| (key.name.clone(), key.kind)).collect();
    attributes.sort();
    attributes.dedup();
    attributes
}

fn billing_of(info: &TableInfo) -> BillingMode {
    match info.settings.billing_mode {
        KeptBilling::Provisioned => BillingMode::Provisioned,
        KeptBilling::PayPerRequest => BillingMode::PayPerRequest,
    }
}

fn throughput(info: &TableInfo) -> ThroughputDescription {
    let changes = &info.settings.throughput_changes;
    let provisioned = info.settings.provisioned;
    ThroughputDescription {
        read: provisioned.map_or(0, |units| units.read),
        write: provisioned.map_or(0, |units| units.write),
        last_increase_ms: changes.increased_ms,
        last_decrease_ms: changes.decreased_ms,
        decreases_today: changes.decreases_today(now_ms()),
    }
}

fn local_indexes(info: &TableInfo) -> Vec<LocalIndexDescription> {
    let described = |index: &LocalIndex| LocalIndexDescription {
        name: index.name.to_string(),
        keys: index.schema(&info.schema),
        projection: index.projection.clone(),
        figures: None,
    };
    info.settings.local_indexes.iter().map(described).collect()
}

fn global_index(index: &GlobalIndex) -> GlobalIndexDescription {
    GlobalIndexDescription {
        name: index.name.to_string(),
        keys: index.schema.clone(),
        projection: index.projection.clone(),
        status: match index.status {
            IndexStatus::Creating => "CREATING",
            IndexStatus::Active => "ACTIVE",
            IndexStatus::Deleting => "DELETING",
        }
        .into(),
        throughput: ThroughputDescription {
            read: index.provisioned.map_or(0, |units| units.read),
            write: index.provisioned.map_or(0, |units| units.write),
            ..ThroughputDescription::default()
        },
        figures: None,
    }
}
