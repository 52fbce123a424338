//! Operations: status, verification.

use tokio_stream::{Stream, StreamExt};
use tombolo_item::NodeId;
use tonic::Request;

use super::Client;
use crate::conflict::{self, ConflictPage};
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

    /// Asks a node of the answering region to lead nothing, or no longer to.
    pub async fn drain_node(&self, node: NodeId, drained: bool) -> Result<(), ClientError> {
        let message = v1::DrainNodeRequest { node: node.0, drained };
        let _: v1::DrainNodeResponse =
            self.call(false, "/tombolo.v1.Operations/DrainNode", message).await?;
        Ok(())
    }

    /// Writes of a table that lost a conflict, from the log of the answering region. `after` is
    /// empty or [`ConflictPage::next`] of the page before.
    pub async fn list_conflicts(
        &self,
        table: &str,
        after: &[u8],
    ) -> Result<ConflictPage, ClientError> {
        let message = v1::ListConflictsRequest {
            table_name: table.into(),
            exclusive_start: after.to_vec().into(),
            limit: None,
        };
        let answer = self.call(false, "/tombolo.v1.Operations/ListConflicts", message).await?;
        conflict::page(answer)
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
