//! What a caller of the client learns when something did not work.
//!
//! Always true: `reason` is the DynamoDB exception name (or one of ours where DynamoDB has none),
//! and `retryable` is true only when the same call may be made again without doing anything twice.

use std::collections::BTreeMap;

use prost::Message;
use tombolo_item::Item;
use tonic::{Code, Status};
use tonic_types::pb;

use crate::{codec, convert, v1};

/// The domain of our `google.rpc.ErrorInfo`.
pub const ERROR_DOMAIN: &str = "tombolo.v1";
/// `ErrorInfo.metadata` key: "yes" or "no".
pub const RETRYABLE: &str = "retryable";
/// `ErrorInfo.metadata` key and response header: the request's id in the server's log.
pub const REQUEST_ID: &str = "x-request-id";
/// Request header: the largest item, in bytes on the wire, that the caller accepts in the details of a
/// status. They travel in HTTP/2 headers, of which most clients accept only some KiB by default.
pub const STATUS_BYTES: &str = "x-tombolo-status-bytes";
/// Type URL of a `ConditionalCheckFailed` among a status' details.
pub const CONDITIONAL_CHECK_FAILED_URL: &str =
    "type.googleapis.com/tombolo.v1.ConditionalCheckFailed";
/// Type URL of a `google.rpc.ErrorInfo`.
pub const ERROR_INFO_URL: &str = "type.googleapis.com/google.rpc.ErrorInfo";

/// A call that did not work.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}: {}", .0.reason, .0.message)]
pub struct ClientError(Box<Inner>);

impl std::ops::Deref for ClientError {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// The parts of a [`ClientError`]; reached through it.
#[derive(Debug, Clone)]
pub struct Inner {
    /// gRPC status code.
    pub code: Code,
    /// DynamoDB exception name, "OutcomeUnknown", "Unreachable", ...
    pub reason: String,
    /// A sentence.
    pub message: String,
    /// The same call may be made again without doing anything twice.
    pub retryable: bool,
    /// The request's id in the server's log; empty when no server answered.
    pub request_id: String,
    /// The item as a failed condition saw it, if it was asked for and there was one.
    pub item: Option<Item>,
    /// What else the server said.
    pub metadata: BTreeMap<String, String>,
}

impl ClientError {
    /// An error that this side found itself.
    pub(crate) fn local(code: Code, reason: &str, message: String, retryable: bool) -> Self {
        Self(Box::new(Inner {
            code,
            reason: reason.into(),
            message,
            retryable,
            request_id: String::new(),
            item: None,
            metadata: BTreeMap::new(),
        }))
    }

    /// The request cannot be expressed, or the answer cannot be understood.
    pub(crate) fn invalid(message: String) -> Self {
        Self::local(Code::InvalidArgument, "ValidationException", message, false)
    }

    /// What the other side sent makes no sense.
    pub(crate) fn incomprehensible(what: &str) -> Self {
        let message = format!("The server's answer makes no sense: {what}.");
        Self::local(Code::Internal, "InternalServerError", message, false)
    }

    /// True when the item's condition did not hold.
    pub fn is_condition_failed(&self) -> bool {
        self.reason == "ConditionalCheckFailedException"
    }

    /// True when nobody knows whether the write took place.
    pub fn is_outcome_unknown(&self) -> bool {
        self.reason == "OutcomeUnknown"
    }

    /// True when there is no such table.
    pub fn is_not_found(&self) -> bool {
        self.reason == "ResourceNotFoundException"
    }

    /// From the answer to an operation of a session.
    pub(crate) fn from_session(error: v1::SessionError) -> Self {
        let item = Some(error.item).filter(|item| !item.is_empty());
        Self(Box::new(Inner {
            code: Code::from_i32(error.code),
            reason: error.reason,
            message: error.message,
            retryable: error.retryable,
            request_id: error.request_id,
            item: item.and_then(|item| convert::item(item).ok()),
            metadata: BTreeMap::new(),
        }))
    }

    /// From a status, for a call that writes or does not.
    pub fn from_status(status: Status, writes: bool) -> Self {
        let details = pb::Status::decode(status.details()).unwrap_or_default().details;
        let mut info = None;
        let mut item = None;
        for any in details {
            match any.type_url.as_str() {
                ERROR_INFO_URL => info = pb::ErrorInfo::decode(any.value.as_slice()).ok(),
                CONDITIONAL_CHECK_FAILED_URL => {
                    item = v1::ConditionalCheckFailed::decode(any.value.as_slice())
                        .ok()
                        .filter(|detail| !detail.item.is_empty())
                        .and_then(|detail| convert::item(detail.item).ok());
                }
                _ => {}
            }
        }
        if let Some(info) = info {
            let mut metadata: BTreeMap<_, _> = info.metadata.into_iter().collect();
            return Self(Box::new(Inner {
                code: status.code(),
                reason: info.reason,
                message: status.message().into(),
                retryable: metadata.remove(RETRYABLE).is_some_and(|value| value == "yes"),
                request_id: metadata.remove(REQUEST_ID).unwrap_or_default(),
                item,
                metadata,
            }));
        }
        Self::without_details(&status, writes)
    }

    /// A status that no router of ours made: the transport's, or this side's codec.
    fn without_details(status: &Status, writes: bool) -> Self {
        if status.message().starts_with(codec::UNDECODABLE) {
            return Self::incomprehensible(status.message());
        }
        let message = sentence(status);
        match status.code() {
            _ if never_sent(status) => Self::local(Code::Unavailable, "Unreachable", message, true),
            Code::Unavailable
            | Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Unknown
            | Code::Internal
                if writes =>
            {
                Self::local(status.code(), "OutcomeUnknown", message, false)
            }
            Code::DeadlineExceeded | Code::Cancelled => {
                Self::local(Code::DeadlineExceeded, "RequestTimeout", message, true)
            }
            Code::Unavailable | Code::Unknown | Code::Internal => {
                Self::local(status.code(), "Unreachable", message, true)
            }
            code => Self::local(code, "InternalServerError", message, false),
        }
    }
}

/// The status' message and the causes behind it.
fn sentence(status: &Status) -> String {
    let mut text = status.message().to_string();
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.contains(&part) {
            text = format!("{text}: {part}");
        }
        cause = error.source();
    }
    text
}

/// True when no connection could be made, so that nothing can have been done.
fn never_sent(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        if let Some(error) = error.downcast_ref::<std::io::Error>()
            && error.kind() == std::io::ErrorKind::ConnectionRefused
        {
            return true;
        }
        cause = error.source();
    }
    false
}
