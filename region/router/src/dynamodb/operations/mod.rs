//! From a request's members to a typed operation, and from its answer to JSON.
//!
//! Always true: nothing here looks at a table: what can be told from the request alone is told here, in
//! the service's order; the rest is told by `execute`, the same for every protocol.
//!
//! In reading order: [`items`], [`queries`], [`batches`], [`tables`], [`streams`],
//! [`elsewhere`] (what is not served), and in `print` the answers.

mod batches;
#[cfg(test)]
mod coverage;
mod elsewhere;
mod items;
mod print;
mod queries;
mod statements;
mod streams;
mod tables;

use tonic::Code;

use super::fault::Fault;
use super::fields::Fields;
use super::json::Json;
use crate::authorize::authorize;
use crate::door::RequestContext;
use crate::errors;
use crate::execute::Executor;
use crate::metrics;
use crate::operation::Operation;
use crate::region::Region;

/// A request for one operation.
pub(super) struct Call<'a> {
    /// As in the API model.
    pub(super) name: &'a str,
    /// Which API: the streams' has a target of its own.
    pub(super) target: &'a str,
    pub(super) request: &'a Json<'a>,
    /// Name of this region.
    pub(super) region: &'a str,
}

impl Call<'_> {
    /// Carries it out: the body of the response.
    pub(super) async fn run<R: Region>(
        &self,
        executor: &Executor<R>,
        context: &RequestContext,
    ) -> Result<Vec<u8>, Fault> {
        let operation = self.operation()?;
        let kind = operation.kind();
        let began = std::time::Instant::now();
        let executed = match authorize(&context.principal, operation) {
            Ok(operation) => executor.execute(context, operation).await,
            Err(failure) => Err(failure),
        };
        let metrics = metrics::of_kind(kind);
        metrics.seconds.observe(began.elapsed().as_secs_f64());
        match executed {
            Ok(answer) => {
                metrics.answered(Code::Ok);
                print::answer(self, kind, answer).ok_or_else(|| {
                    errors::internal("print the answer", "an operation gave another's answer")
                        .into()
                })
            }
            Err(failure) => {
                metrics.answered(failure.code);
                failure.log(&super::exchange::request_id(context.id));
                Err(failure.into())
            }
        }
    }

    fn fields(&self) -> Fields<'_> {
        Fields::new(self.request)
    }

    /// What is asked.
    fn operation(&self) -> Result<Operation, Fault> {
        match (self.target, self.name) {
            (super::STREAMS_TARGET, "ListStreams") => streams::list(self),
            (super::STREAMS_TARGET, "DescribeStream") => streams::describe(self),
            (super::STREAMS_TARGET, "GetShardIterator") => streams::iterator(self),
            (super::STREAMS_TARGET, "GetRecords") => streams::records(self),
            (_, "PutItem") => items::put(self),
            (_, "GetItem") => items::get(self),
            (_, "UpdateItem") => items::update(self),
            (_, "DeleteItem") => items::delete(self),
            (_, "Query") => queries::query(self),
            (_, "Scan") => queries::scan(self),
            (_, "BatchGetItem") => batches::get(self),
            (_, "BatchWriteItem") => batches::write(self),
            (_, "ExecuteStatement") => statements::one(self),
            (_, "BatchExecuteStatement") => statements::several(self),
            (_, "CreateTable") => tables::create(self),
            (_, "UpdateTable") => tables::update(self),
            (_, "DescribeTable") => Ok(Operation::DescribeTable(self.fields().table(self.region)?)),
            (_, "DeleteTable") => Ok(Operation::DeleteTable(self.fields().table(self.region)?)),
            (_, "ListTables") => Ok(tables::list(self)),
            (_, "TagResource") => tables::tag(self),
            (_, "UntagResource") => tables::untag(self),
            (_, "ListTagsOfResource") => tables::tags(self),
            (_, "DescribeLimits") => Ok(Operation::DescribeLimits),
            (_, "DescribeEndpoints") => Ok(Operation::DescribeEndpoints),
            (_, "DescribeTimeToLive") => {
                Ok(Operation::DescribeTimeToLive(self.fields().table(self.region)?))
            }
            (_, "UpdateTimeToLive") => tables::time_to_live(self),
            (_, "DescribeContinuousBackups") => {
                Ok(Operation::DescribeContinuousBackups(self.fields().table(self.region)?))
            }
            (_, name) => Err(elsewhere::refusal(self, name)),
        }
    }
}
