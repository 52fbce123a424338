//! The few questions both sides ask of JetStream, with "there is no such stream" and "there is no
//! such message" told apart from failures.

use async_nats::Client;
use async_nats::datetime::DateTime;
use async_nats::jetstream::context::{self, GetStreamErrorKind};
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{Info, LastRawMessageErrorKind, RawMessageError, Stream};
use async_nats::jetstream::{Context, ErrorCode};
use std::time::Duration;

/// Why the broker did not answer as hoped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JetError {
    #[error("the stream does not exist")]
    NoStream,
    #[error("{0}")]
    Failed(String),
}

/// What tells one life of a stream from another, and how far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) created: DateTime,
    pub(crate) first: u64,
    pub(crate) last: u64,
}

impl Life {
    pub(crate) fn of(info: &Info) -> Life {
        Life {
            created: info.created,
            first: info.state.first_sequence,
            last: info.state.last_sequence,
        }
    }
}

/// One context for all requests: acknowledgements in bounded time, waiting instead of an error when
/// too many are outstanding.
pub(crate) fn context(client: Client, timeout: Duration) -> Context {
    context::ContextBuilder::new()
        .timeout(timeout)
        .ack_timeout(timeout)
        .backpressure_on_inflight(true)
        .build(client)
}

pub(crate) async fn stream(context: &Context, name: &str) -> Result<Stream<Info>, JetError> {
    context.get_stream(name).await.map_err(|error| match error.kind() {
        GetStreamErrorKind::JetStream(error)
            if error.error_code() == ErrorCode::STREAM_NOT_FOUND =>
        {
            JetError::NoStream
        }
        _ => JetError::Failed(error.to_string()),
    })
}

/// The newest message of a subject, from the stream's leader.
pub(crate) async fn last<I>(
    stream: &Stream<I>,
    subject: &str,
) -> Result<Option<StreamMessage>, JetError> {
    found(stream.get_last_raw_message_by_subject(subject).await)
}

/// The first message of a subject at or after a sequence number of the stream.
#[cfg(feature = "subscriber")]
pub(crate) async fn first_from<I>(
    stream: &Stream<I>,
    subject: &str,
    from: u64,
) -> Result<Option<StreamMessage>, JetError> {
    found(stream.get_first_raw_message_by_subject(subject, from.max(1)).await)
}

fn found(
    answer: Result<StreamMessage, RawMessageError>,
) -> Result<Option<StreamMessage>, JetError> {
    match answer {
        Ok(message) => Ok(Some(message)),
        Err(error) => match error.kind() {
            LastRawMessageErrorKind::NoMessageFound => Ok(None),
            LastRawMessageErrorKind::JetStream(error)
                if error.error_code() == ErrorCode::STREAM_NOT_FOUND =>
            {
                Err(JetError::NoStream)
            }
            _ => Err(JetError::Failed(error.to_string())),
        },
    }
}
