//! Tables: create, describe, list, delete.

use std::sync::Arc;

use tombolo_memds::{TableInfo, TableSettings, TableSpec, TableStatus};

use super::Executor;
use super::definition::{self, Definition};
use crate::errors;
use crate::failure::Failure;
use crate::operation::{Answer, BillingMode, CreateTable, TableDescription, ThroughputDescription};
use crate::region::Region;
use crate::subjects;

impl<R: Region> Executor<R> {
    pub(super) async fn create_table(&self, create: CreateTable) -> Result<Answer, Failure> {
        let Definition { schema, local, global, .. } = definition::check(&create)?;
        if !global.is_empty() {
            return Err(errors::global_indexes_later());
        }
        if !local.is_empty() {
            return Err(errors::internal("create a local index", "not yet served"));
        }
        let CreateTable { table: name, stream, partitions, regions, .. } = create;
        for region in &regions {
            if !self.region.regions().iter().any(|known| known.name == *region) {
                let known: Vec<_> =
                    self.region.regions().into_iter().map(|known| known.name).collect();
                return Err(errors::unknown_region(region, &known));
            }
        }
        let view = stream.filter(|stream| stream.enabled).and_then(|stream| stream.view);
        let settings = TableSettings::default();
        let partitions = partitions.max(1);
        let spec = TableSpec { name, schema, view, partitions, regions, settings };
        let name = spec.name.clone();
        let info = self
            .region
            .create(spec)
            .await
            .map_err(|error| errors::from_catalog(error, &name, true))?;
        Ok(self.described(info).await)
    }

    pub(super) async fn delete_table(&self, name: &str) -> Result<Answer, Failure> {
        let info = self
            .region
            .delete(name)
            .await
            .map_err(|error| errors::from_catalog(error, name, false))?;
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
        let attributes = std::iter::once(&info.schema.partition).chain(&info.schema.sort);
        Answer::Table(Box::new(TableDescription {
            regions,
            partitions: self.region.partitions(info.id),
            stream_subject,
            figures,
            origin_region: name_of(info.origin),
            region: name_of(own),
            attributes: attributes.map(|key| (key.name.clone(), key.kind)).collect(),
            billing: BillingMode::PayPerRequest,
            billing_changed_ms: None,
            throughput: ThroughputDescription::default(),
            on_demand: None,
            local_indexes: Vec::new(),
            global_indexes: Vec::new(),
            stream_label: None,
            deletion_protection: false,
            class: None,
            sse: None,
            info,
        }))
    }
}
