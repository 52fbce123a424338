//! `tombolo.v1` over gRPC: messages to operations, answers to messages.
//!
//! Always true: a method does nothing but parse, pass the gate, execute, print.

mod batches;
mod items;
mod operations;
mod parse;
mod print;
mod session;
mod streams;
mod tables;

use tokio::sync::watch;
use tonic::{Request, Response, Status};

use crate::authorize::authorize;
use crate::door::RequestContext;
use crate::errors;
use crate::execute::Executor;
use crate::failure::Failure;
use crate::operation::{Answer, Operation};
use crate::region::Region;

/// The services of `tombolo.v1`.
#[derive(Clone)]
pub(crate) struct Services<R> {
    executor: Executor<R>,
    /// True once the server is to stop: streams of sessions end by themselves then.
    stopping: watch::Receiver<bool>,
}

impl<R: Region> Services<R> {
    pub(crate) fn new(executor: Executor<R>, stopping: watch::Receiver<bool>) -> Self {
        Self { executor, stopping }
    }

    /// The way of every method.
    async fn answer<Q, A>(
        &self,
        request: Request<Q>,
        parse: impl FnOnce(Q) -> Result<Operation, Failure> + Send,
        print: impl FnOnce(Answer) -> Option<A> + Send,
    ) -> Result<Response<A>, Status> {
        let context = RequestContext::of(&request);
        let way = async {
            let operation = parse(request.into_inner())?;
            let operation = authorize(&context.principal, operation)?;
            let answer = self.executor.execute(&context, operation).await?;
            print(answer).ok_or_else(|| {
                errors::internal("print the answer", "an operation gave another's answer")
            })
        };
        match way.await {
            Ok(message) => Ok(Response::new(message)),
            Err(failure) => {
                Err(failure.into_status(&context.id.to_string(), context.most_item_bytes))
            }
        }
    }
}
