//! A refusal: what a caller is told, as a gRPC status with machine-readable details, and what the
//! log is told.
//!
//! Always true: the status carries a `google.rpc.ErrorInfo` with reason, request id and "retryable"
//! ("yes" when the same call may be repeated without doing anything twice); a failed condition that
//! was asked to show the item carries a `tombolo.v1.ConditionalCheckFailed`; what was turned away for
//! load carries a `google.rpc.RetryInfo`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tombolo_client::error::{
    CONDITIONAL_CHECK_FAILED_URL, ERROR_DOMAIN, ERROR_INFO_URL, REQUEST_ID, RETRYABLE,
};
use tombolo_client::{convert, v1};
use tombolo_item::Item;
use tonic::{Code, Status};
use tonic_types::pb;

/// Type URL of a `google.rpc.RetryInfo`.
const RETRY_INFO_URL: &str = "type.googleapis.com/google.rpc.RetryInfo";
/// A refusal.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// gRPC's code.
    pub code: Code,
    /// DynamoDB's exception name.
    pub reason: &'static str,
    /// A sentence.
    pub message: Cow<'static, str>,
    /// The same call may be repeated without doing anything twice.
    pub retryable: bool,
    /// How long to wait before.
    pub retry_after: Option<Duration>,
    /// The item, for a failed condition that was asked to show it.
    pub item: Option<Box<Item>>,
    /// What was behind it, for the log only.
    pub cause: Option<String>,
}

impl Failure {
    pub(crate) fn new(
        code: Code,
        reason: &'static str,
        message: impl Into<Cow<'static, str>>,
        retryable: bool,
    ) -> Self {
        let message = message.into();
        Self { code, reason, message, retryable, retry_after: None, item: None, cause: None }
    }

    /// With what was behind it.
    pub(crate) fn because(mut self, cause: String) -> Self {
        self.cause = Some(cause);
        self
    }

    /// Writes it down where a person looks who was given the request's id. ERROR means that somebody
    /// must look; what a retry or the caller mends is for the curious.
    fn log(&self, request_id: &str) {
        let (reason, message) = (self.reason, &*self.message);
        let cause = self.cause.as_deref().unwrap_or_default();
        match self.reason {
            "InternalServerError" | "CorruptData" => {
                tracing::error!(request_id, reason, message, cause, "a request failed");
            }
            "DiskFull" => {
                tracing::warn!(request_id, reason, message, cause, "a request failed");
            }
            "OutcomeUnknown" => {
                tracing::info!(request_id, reason, message, cause, "a request failed");
            }
            _ => tracing::debug!(request_id, reason, message, cause, "a request was refused"),
        }
    }

    /// As a gRPC status for this request; also writes it to the log.
    pub fn into_status(self, request_id: &str) -> Status {
        self.log(request_id);
        let metadata = HashMap::from([
            (REQUEST_ID.to_string(), request_id.to_string()),
            (RETRYABLE.to_string(), if self.retryable { "yes" } else { "no" }.to_string()),
        ]);
        let info =
            pb::ErrorInfo { reason: self.reason.into(), domain: ERROR_DOMAIN.into(), metadata };
        let mut details = vec![any(ERROR_INFO_URL, &info)];
        if let Some(pause) = self.retry_after {
            let retry_delay = prost_types::Duration::try_from(pause).ok();
            details.push(any(RETRY_INFO_URL, &pb::RetryInfo { retry_delay }));
        }
        if let Some(item) = self.item {
            let item = convert::item_to_wire(*item);
            details.push(any(CONDITIONAL_CHECK_FAILED_URL, &v1::ConditionalCheckFailed { item }));
        }
        let message = self.message.into_owned();
        let status = pb::Status { code: self.code as i32, message: message.clone(), details };
        Status::with_details(self.code, message, Bytes::from(status.encode_to_vec()))
    }
}

fn any(url: &str, message: &impl Message) -> prost_types::Any {
    prost_types::Any { type_url: url.into(), value: message.encode_to_vec() }
}
