//! Carries out operations.
//!
//! Always true: only an [`Authorized`] operation gets here, whatever protocol it came by; nothing
//! here knows a protocol.

mod definition;
mod items;
mod page;
mod streams;
mod tables;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use tombolo_memds::{TableInfo, TableStatus};

use crate::authorize::Authorized;
use crate::door::RequestContext;
use crate::errors;
use crate::failure::Failure;
use crate::operation::{Answer, Operation};
use crate::operations::{Operations, OperationsError};
use crate::region::Region;

/// Carries out operations against a region.
#[derive(Clone)]
pub(crate) struct Executor<R> {
    region: R,
    operations: Arc<dyn Operations>,
}

impl<R: Region> Executor<R> {
    pub(crate) fn new(region: R, operations: Arc<dyn Operations>) -> Self {
        Self { region, operations }
    }

    /// Carries out one operation.
    pub(crate) async fn execute(
        &self,
        context: &RequestContext,
        operation: Authorized,
    ) -> Result<Answer, Failure> {
        match operation.into_operation() {
            Operation::PutItem(put) => self.put_item(context, put).await,
            Operation::GetItem(get) => self.get_item(context, get).await,
            Operation::DeleteItem(delete) => self.delete_item(context, delete).await,
            Operation::Query(query) => Box::pin(self.query(context, query)).await,
            Operation::Scan(scan) => Box::pin(self.scan(context, scan)).await,
            Operation::Session => Ok(Answer::Opened),
            Operation::CreateTable(create) => Box::pin(self.create_table(*create)).await,
            Operation::DescribeTable(table) => Box::pin(self.describe_table(&table)).await,
            Operation::ListTables { after, limit } => Ok(self.list_tables(after, limit)),
            Operation::DeleteTable(table) => Box::pin(self.delete_table(&table)).await,
            Operation::DescribeStream(describe) => Box::pin(self.describe_stream(describe)).await,
            Operation::GetRecords(get) => Box::pin(self.get_records(get)).await,
            Operation::UpdateItem(_)
            | Operation::BatchGetItem(_)
            | Operation::BatchWriteItem(_)
            | Operation::ExecuteStatement(_)
            | Operation::BatchExecuteStatement(_)
            | Operation::UpdateTable(_)
            | Operation::TagResource { .. }
            | Operation::UntagResource { .. }
            | Operation::ListTagsOfResource { .. }
            | Operation::DescribeLimits
            | Operation::DescribeEndpoints
            | Operation::DescribeTimeToLive(_)
            | Operation::UpdateTimeToLive { .. }
            | Operation::DescribeContinuousBackups(_)
            | Operation::ListStreams(_)
            | Operation::GetShardIterator(_) => {
                Err(errors::internal("carry it out", "not yet served"))
            }
            Operation::Status => {
                let report = self.operations.status().await.map_err(from_operations)?;
                Ok(Answer::Status(Box::new(report)))
            }
            Operation::VerifyTable(table) => {
                let table = self.serving(&table).await?;
                let events = self.operations.verify(table);
                Ok(Answer::Verification(events.map(|event| event.map_err(from_operations)).boxed()))
            }
        }
    }

    /// Name of the region that answers.
    pub(crate) fn region_name(&self) -> String {
        let own = self.region.own_region();
        let known = self.region.regions();
        let region = known.into_iter().find(|region| region.id == own);
        region.map(|region| region.name).unwrap_or_default()
    }

    /// The table, whatever its state.
    fn table(&self, name: &str) -> Result<Arc<TableInfo>, Failure> {
        self.region.table(name).ok_or_else(|| errors::table_not_found(name))
    }

    /// The table, if it serves. A table is made known to all nodes of a region within milliseconds,
    /// but not to all at once: who was just told ACTIVE by one router is not refused by the next, whose
    /// map is a moment behind.
    async fn serving(&self, name: &str) -> Result<Arc<TableInfo>, Failure> {
        let deadline = Instant::now() + MAP_LAG;
        loop {
            let table = self.table(name)?;
            match table.status {
                TableStatus::Active => return Ok(table),
                TableStatus::Creating if Instant::now() < deadline => {
                    tokio::time::sleep(MAP_LOOK).await;
                }
                TableStatus::Creating => {
                    return Err(errors::table_not_active(name, "being created"));
                }
                TableStatus::Deleting => {
                    return Err(errors::table_not_active(name, "being deleted"));
                }
            }
        }
    }
}

/// How far behind another node's map of tables may be.
const MAP_LAG: Duration = Duration::from_secs(1);
const MAP_LOOK: Duration = Duration::from_millis(5);

fn from_operations(error: OperationsError) -> Failure {
    match error {
        OperationsError::Unavailable(why) => errors::operation_unavailable(why),
        OperationsError::Invalid(why) => errors::validation(why),
        OperationsError::Internal(why) => errors::internal("carry out the operation", why),
    }
}
