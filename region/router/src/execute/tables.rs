//! Tables: create, describe, list, delete.

use std::sync::Arc;

use tombolo_memds::{TableInfo, TableSpec};

use super::Executor;
use crate::errors::{self, Failure};
use crate::operation::{Answer, TableDescription};
use crate::region::Region;
use crate::subjects;

impl<R: Region> Executor<R> {
    pub(super) async fn create_table(&self, spec: TableSpec) -> Result<Answer, Failure> {
        let name = spec.name.clone();
        for region in &spec.regions {
            if !self.region.regions().iter().any(|known| known.name == *region) {
                let known: Vec<_> =
                    self.region.regions().into_iter().map(|known| known.name).collect();
                return Err(errors::unknown_region(region, &known));
            }
        }
        let info = self
            .region
            .create(spec)
            .await
            .map_err(|error| errors::from_catalog(error, &name, true))?;
        Ok(self.described(info))
    }

    pub(super) async fn delete_table(&self, name: &str) -> Result<Answer, Failure> {
        let info = self
            .region
            .delete(name)
            .await
            .map_err(|error| errors::from_catalog(error, name, false))?;
        Ok(self.described(info))
    }

    pub(super) fn describe_table(&self, name: &str) -> Result<Answer, Failure> {
        Ok(self.described(self.table(name)?))
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

    fn described(&self, info: Arc<TableInfo>) -> Answer {
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
        Answer::Table(Box::new(TableDescription {
            regions,
            partitions: self.region.partitions(info.id),
            stream_subject,
            figures: self.region.figures(info.id),
            origin_region: name_of(info.origin),
            info,
        }))
    }
}
