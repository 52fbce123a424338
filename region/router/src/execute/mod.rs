//! Carries out operations.
//!
//! Always true: only an [`Authorized`] operation gets here, whatever protocol it came by; nothing
//! here knows a protocol.

mod batch;
mod capacity;
mod definition;
mod items;
mod page;
mod records;
mod select;
mod statements;
mod streams;
mod tables;
mod tags;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::StreamExt;
use tombolo_memds::{TableInfo, TableStatus};

use crate::authorize::Authorized;
use crate::door::RequestContext;
use crate::errors;
use crate::failure::Failure;
use crate::operation::{Answer, ListConflicts, Operation};
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
            Operation::PutItem(put) => self.put_item(context, put).await.map(Answer::Written),
            Operation::GetItem(get) => self.get_item(context, get).await.map(Answer::Got),
            Operation::UpdateItem(update) => {
                Box::pin(self.update_item(context, update)).await.map(Answer::Written)
            }
            Operation::DeleteItem(delete) => {
                self.delete_item(context, delete).await.map(Answer::Written)
            }
            Operation::Query(query) => Box::pin(self.query(context, query)).await.map(Answer::Page),
            Operation::Scan(scan) => Box::pin(self.scan(context, scan)).await.map(Answer::Page),
            Operation::BatchGetItem(batch) => {
                Box::pin(self.batch_get(context, batch)).await.map(Answer::BatchGot)
            }
            Operation::BatchWriteItem(batch) => {
                Box::pin(self.batch_write(context, batch)).await.map(Answer::BatchWritten)
            }
            Operation::ExecuteStatement(execute) => {
                Box::pin(self.execute_statement(context, execute)).await.map(Answer::Statement)
            }
            Operation::BatchExecuteStatement(batch) => {
                let answer = Box::pin(self.batch_execute_statement(context, batch)).await;
                answer.map(Answer::Statements)
            }
            Operation::Session => Ok(Answer::Opened),
            other => Box::pin(self.execute_seldom(other)).await,
        }
    }

    /// What is not asked for all the time: kept apart, so that the others stay small.
    async fn execute_seldom(&self, operation: Operation) -> Result<Answer, Failure> {
        match operation {
            Operation::CreateTable(create) => self.create_table(*create).await,
            Operation::UpdateTable(update) => self.update_table(*update).await,
            Operation::DescribeTable(table) => self.describe_table(&table).await,
            Operation::ListTables { after, limit } => Ok(self.list_tables(after, limit)),
            Operation::DeleteTable(table) => self.delete_table(&table).await,
            Operation::TagResource { table, tags } => self.tag(&table, &tags).await,
            Operation::UntagResource { table, keys } => self.untag(&table, &keys).await,
            Operation::ListTagsOfResource { table, next_token } => {
                self.list_tags(&table, next_token)
            }
            Operation::DescribeLimits => Ok(self.limits()),
            Operation::DescribeEndpoints => Ok(self.endpoints()),
            Operation::DescribeTimeToLive(table) => self.time_to_live(&table),
            Operation::UpdateTimeToLive { table, time_to_live } => {
                self.update_time_to_live(&table, time_to_live).await
            }
            Operation::DescribeContinuousBackups(table) => self.continuous_backups(&table),
            Operation::ListStreams(list) => self.list_streams(list),
            Operation::DescribeStream(describe) => self.describe_stream(describe).await,
            Operation::GetShardIterator(get) => self.get_shard_iterator(get).await,
            Operation::GetRecords(get) => self.get_records(get).await,
            Operation::Status => {
                let report = self.operations.status().await.map_err(from_operations)?;
                Ok(Answer::Status(Box::new(report)))
            }
            Operation::DrainNode { node, drained } => {
                self.operations.drain(node, drained).await.map_err(from_operations)?;
                Ok(Answer::NodeDrained)
            }
            Operation::ListConflicts(list) => {
                let ListConflicts { table, after, limit } = list;
                let table = self.serving(&table).await?;
                let page = self.operations.conflicts(table, after, limit);
                Ok(Answer::Conflicts(page.await.map_err(from_operations)?))
            }
            Operation::VerifyTable(table) => {
                let table = self.managed(&table).await?;
                let events = self.operations.verify(table);
                Ok(Answer::Verification(events.map(|event| event.map_err(from_operations)).boxed()))
            }
            other => Err(errors::internal(
                "carry it out",
                format!("{:?} is carried out elsewhere", other.kind()),
            )),
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

    /// The table, if it serves, for who manages tables: one that is not there is named.
    async fn managed(&self, name: &str) -> Result<Arc<TableInfo>, Failure> {
        self.table(name)?;
        self.serving(name).await
    }

    /// The table, if it serves. A table is made known to all nodes of a region within milliseconds,
    /// but not to all at once: who was just told ACTIVE by one router is not refused by the next, whose
    /// map is a moment behind.
    async fn serving(&self, name: &str) -> Result<Arc<TableInfo>, Failure> {
        let deadline = Instant::now() + MAP_LAG;
        loop {
            let table = self.table(name).map_err(|_| errors::no_table_of_items())?;
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

/// Milliseconds since 1970.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
