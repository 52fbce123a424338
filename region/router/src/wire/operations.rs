//! The service `Operations`.

use futures::StreamExt;
use futures::stream::BoxStream;
use tombolo_client::v1::operations_server::Operations;
use tombolo_client::{conflict, report_wire, v1};
use tombolo_item::{NodeId, RowKey};
use tonic::{Request, Response, Status};

use super::{Services, parse};
use crate::door::RequestContext;
use crate::errors;
use crate::operation::{Answer, ListConflicts, Operation};
use crate::region::Region;

/// A row key and a stamp are never longer.
const PLACE_BYTES: usize = 4 << 10;

#[tonic::async_trait]
impl<R: Region> Operations for Services<R> {
    type VerifyTableStream = BoxStream<'static, Result<v1::VerifyTableEvent, Status>>;

    async fn status(
        &self,
        request: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, Status> {
        self.answer(
            request,
            |_| Ok(Operation::Status),
            |answer| match answer {
                Answer::Status(report) => Some(report_wire::status_to_wire(*report)),
                _ => None,
            },
        )
        .await
    }

    async fn drain_node(
        &self,
        request: Request<v1::DrainNodeRequest>,
    ) -> Result<Response<v1::DrainNodeResponse>, Status> {
        self.answer(
            request,
            |wire| Ok(Operation::DrainNode { node: NodeId(wire.node), drained: wire.drained }),
            |answer| match answer {
                Answer::NodeDrained => Some(v1::DrainNodeResponse {}),
                _ => None,
            },
        )
        .await
    }

    async fn list_conflicts(
        &self,
        request: Request<v1::ListConflictsRequest>,
    ) -> Result<Response<v1::ListConflictsResponse>, Status> {
        let parse = |wire: v1::ListConflictsRequest| {
            let after = wire.exclusive_start;
            if after.len() > PLACE_BYTES {
                return Err(errors::validation("exclusive_start is no place in a conflict log"));
            }
            let limit = wire.limit.unwrap_or(100);
            if !(1..=1_000).contains(&limit) {
                return Err(errors::validation("limit must be from 1 to 1,000"));
            }
            Ok(Operation::ListConflicts(ListConflicts {
                table: parse::table_name(wire.table_name)?,
                after: (!after.is_empty()).then_some(RowKey(after)),
                limit: limit as usize,
            }))
        };
        self.answer(request, parse, |answer| match answer {
            Answer::Conflicts(page) => Some(conflict::page_to_wire(page)),
            _ => None,
        })
        .await
    }

    async fn verify_table(
        &self,
        request: Request<v1::VerifyTableRequest>,
    ) -> Result<Response<Self::VerifyTableStream>, Status> {
        let id = RequestContext::of(&request).id.to_string();
        let parse = |wire: v1::VerifyTableRequest| {
            parse::table_name(wire.table_name).map(Operation::VerifyTable)
        };
        self.answer(request, parse, |answer| match answer {
            Answer::Verification(events) => Some(
                events
                    .map(move |event| match event {
                        Ok(event) => Ok(report_wire::event_to_wire(event)),
                        Err(failure) => Err(failure.into_status(&id, 0)),
                    })
                    .boxed(),
            ),
            _ => None,
        })
        .await
    }
}
