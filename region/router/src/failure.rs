//! A refusal: what a caller is told, as a gRPC status with machine-readable details, and what the
//! log is told.
//!
//! Always true: the status carries a `google.rpc.ErrorInfo` with reason, request id and "retryable"
//! ("yes" when the same call may be repeated without doing anything twice); a failed condition that
//! was asked to show the item carries a `tombolo.v1.ConditionalCheckFailed`; what was turned away for
//! load carries a `google.rpc.RetryInfo`. A status travels in HTTP/2 headers, of which peers accept
//! only so much (8 KiB in gRPC's own libraries): texts are cut, and an item that does not fit is left
//! out and its absence said, unless the caller told that it accepts more
//! ([`tombolo_client::error::STATUS_BYTES`]).

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
/// Longest text of a status, in bytes; percent encoding may triple it.
const MOST_TEXT_BYTES: usize = 1024;
/// Largest item in a status for a caller that did not say what it accepts, in bytes on the wire.
pub(crate) const ITEM_BYTES_UNASKED: usize = 4096;
/// Largest item in a status for any caller: every legal item with room to spare.
pub(crate) const MOST_ITEM_BYTES: usize = 1 << 20;

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
    /// It may be repeated under the same token (of a session), if it has one.
    pub repeatable: bool,
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
        Self {
            code,
            reason,
            message,
            retryable,
            repeatable: retryable,
            retry_after: None,
            item: None,
            cause: None,
        }
    }

    /// With what was behind it.
    pub(crate) fn because(mut self, cause: String) -> Self {
        self.cause = Some(cause);
        self
    }

    /// Writes it down where a person looks who was given the request's id. ERROR means that somebody
    /// must look; what a retry or the caller mends is for the curious.
    pub(crate) fn log(&self, request_id: &str) {
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

    /// As a gRPC status for this request, whose caller accepts an item of so many bytes in it; also
    /// writes it to the log.
    pub fn into_status(mut self, request_id: &str, most_item_bytes: usize) -> Status {
        self.log(request_id);
        let mut metadata = HashMap::from([
            (REQUEST_ID.to_string(), request_id.to_string()),
            (RETRYABLE.to_string(), if self.retryable { "yes" } else { "no" }.to_string()),
        ]);
        let item = self
            .item
            .take()
            .map(|item| v1::ConditionalCheckFailed { item: convert::item_to_wire(*item) });
        let item_bytes = item.as_ref().map_or(0, v1::ConditionalCheckFailed::encoded_len);
        if item_bytes > most_item_bytes {
            metadata.insert(
                "item".to_string(),
                format!("left out: its {item_bytes} bytes do not fit into a status; read it"),
            );
        }
        let info =
            pb::ErrorInfo { reason: self.reason.into(), domain: ERROR_DOMAIN.into(), metadata };
        let mut details = vec![any(ERROR_INFO_URL, &info)];
        if let Some(pause) = self.retry_after {
            let retry_delay = prost_types::Duration::try_from(pause).ok();
            details.push(any(RETRY_INFO_URL, &pb::RetryInfo { retry_delay }));
        }
        if let Some(item) = item.filter(|_| item_bytes <= most_item_bytes) {
            details.push(any(CONDITIONAL_CHECK_FAILED_URL, &item));
        }
        let message = cut(self.message.into_owned());
        let status = pb::Status { code: self.code as i32, message: message.clone(), details };
        Status::with_details(self.code, message, Bytes::from(status.encode_to_vec()))
    }

    /// As the answer to an operation of a session; also writes it to the log. A frame has room for
    /// every item.
    pub(crate) fn into_session_error(mut self, request_id: String) -> v1::SessionError {
        self.log(&request_id);
        let item = self.item.take().map(|item| convert::item_to_wire(*item));
        let pause = self.retry_after.unwrap_or_default().as_millis();
        v1::SessionError {
            code: self.code as i32,
            reason: self.reason.into(),
            message: cut(self.message.into_owned()),
            retryable: self.retryable,
            repeatable: self.repeatable,
            retry_after_ms: u32::try_from(pause).unwrap_or(u32::MAX),
            request_id,
            item: item.unwrap_or_default(),
        }
    }
}

/// A text that fits: texts may quote what the caller sent, whatever its length.
fn cut(mut text: String) -> String {
    if text.len() > MOST_TEXT_BYTES {
        let end = (0..=MOST_TEXT_BYTES).rev().find(|&at| text.is_char_boundary(at));
        text.truncate(end.unwrap_or_default());
        text.push_str("...");
    }
    text
}

fn any(url: &str, message: &impl Message) -> prost_types::Any {
    prost_types::Any { type_url: url.into(), value: message.encode_to_vec() }
}
