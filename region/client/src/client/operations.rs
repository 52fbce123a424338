//! Operations: status, verification.

use tokio_stream::{Stream, StreamExt};
use tonic::Request;

use super::Client;
use crate::error::ClientError;
use crate::report::{StatusReport, VerifyEvent};
use crate::{report_wire, v1};

impl Client {
    /// The region as the answering node sees it.
    pub async fn status(&self) -> Result<StatusReport, ClientError> {
        let answer: v1::StatusResponse =
            self.call(false, "/tombolo.v1.Operations/Status", v1::StatusRequest {}).await?;
        report_wire::status(answer)
    }

    /// Compares every copy of a table; the last event is the summary. It takes as long as it takes:
    /// drop the stream to give up.
    pub async fn verify_table(
        &self,
        table: &str,
    ) -> Result<
        impl Stream<Item = Result<VerifyEvent, ClientError>> + Send + Unpin + use<>,
        ClientError,
    > {
        let message = v1::VerifyTableRequest { table_name: table.into() };
        let mut operations = self.raw().operations;
        let events = operations
            .verify_table(Request::new(message))
            .await
            .map_err(|status| ClientError::from_status(status, false))?
            .into_inner();
        Ok(events.map(|event| match event {
            Ok(event) => report_wire::event(event),
            Err(status) => Err(ClientError::from_status(status, false)),
        }))
    }
}
