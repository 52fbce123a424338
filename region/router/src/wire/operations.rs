//! The service `Operations`.

use futures::StreamExt;
use futures::stream::BoxStream;
use tombolo_client::v1::operations_server::Operations;
use tombolo_client::{report_wire, v1};
use tonic::{Request, Response, Status};

use super::{Services, parse};
use crate::door::RequestContext;
use crate::operation::{Answer, Operation};
use crate::region::Region;

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
