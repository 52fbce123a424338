//! What a caller of the DynamoDB protocol is told when a request is refused.
//!
//! Always true: `__type`, status and the capitalisation of the message are those of the service: its
//! framework's own refusals (`com.amazon.coral.…`) are told apart from the service's exceptions.

use http::StatusCode;
use tombolo_item::Item;

use super::json::write_string;
use super::values::write_item;
use crate::failure::Failure;

const CORAL_SERVICE: &str = "com.amazon.coral.service#";
const CORAL_VALIDATE: &str = "com.amazon.coral.validate#";
const CORAL_AVAILABILITY: &str = "com.amazon.coral.availability#";
const DYNAMODB: &str = "com.amazonaws.dynamodb.v20120810#";

/// A refusal.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fault {
    pub(crate) status: StatusCode,
    prefix: &'static str,
    name: &'static str,
    message: Option<String>,
    /// `Message`, not `message`.
    capital: bool,
    /// The item, for a failed condition that was asked to show it.
    item: Option<Box<Item>>,
}

impl Fault {
    fn new(prefix: &'static str, name: &'static str, message: Option<String>) -> Fault {
        Fault { status: StatusCode::BAD_REQUEST, prefix, name, message, capital: false, item: None }
    }

    /// The request breaks a rule.
    pub(crate) fn validation(message: impl Into<String>) -> Fault {
        Fault::new(CORAL_VALIDATE, "ValidationException", Some(message.into()))
    }

    /// The body is no JSON, or there is none.
    pub(crate) fn no_json() -> Fault {
        Fault::new(CORAL_SERVICE, "SerializationException", None)
    }

    /// The body is JSON, but not of the model's types.
    pub(crate) fn serialization(message: impl Into<String>) -> Fault {
        let fault = Fault::new(CORAL_SERVICE, "SerializationException", Some(message.into()));
        Fault { capital: true, ..fault }
    }

    /// There is no such operation.
    pub(crate) fn unknown_operation() -> Fault {
        Fault::new(CORAL_SERVICE, "UnknownOperationException", None)
    }

    /// No signature.
    pub(crate) fn missing_token() -> Fault {
        let message = "Request is missing Authentication Token";
        Fault::new(CORAL_SERVICE, "MissingAuthenticationTokenException", Some(message.into()))
    }

    /// Parts of a signature.
    pub(crate) fn incomplete_signature(message: impl Into<String>) -> Fault {
        Fault::new(CORAL_SERVICE, "IncompleteSignatureException", Some(message.into()))
    }

    /// Another signature than ours.
    pub(crate) fn invalid_signature(message: impl Into<String>) -> Fault {
        Fault::new(CORAL_SERVICE, "InvalidSignatureException", Some(message.into()))
    }

    /// A key that nobody has.
    pub(crate) fn unrecognized_client() -> Fault {
        let message = "The security token included in the request is invalid.";
        Fault::new(CORAL_SERVICE, "UnrecognizedClientException", Some(message.into()))
    }

    /// An ARN of something else.
    pub(crate) fn access_denied(message: impl Into<String>) -> Fault {
        let fault = Fault::new(CORAL_SERVICE, "AccessDeniedException", Some(message.into()));
        Fault { capital: true, ..fault }
    }

    /// Too much at once.
    pub(crate) fn throttled(message: impl Into<String>) -> Fault {
        Fault::new(CORAL_AVAILABILITY, "ThrottlingException", Some(message.into()))
    }

    /// The exception's name.
    #[cfg(test)]
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// What it says.
    pub(crate) fn message(&self) -> Option<&str> {
        self.message.as_deref()
    }

    /// The item that a failed condition shows.
    pub(crate) fn item(&self) -> Option<&Item> {
        self.item.as_deref()
    }

    /// As the body of a response.
    pub(crate) fn body(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        out.extend_from_slice(b"{\"__type\":\"");
        out.extend_from_slice(self.prefix.as_bytes());
        out.extend_from_slice(self.name.as_bytes());
        out.push(b'"');
        if let Some(item) = &self.item {
            out.extend_from_slice(b",\"Item\":");
            write_item(&mut out, item);
        }
        if let Some(message) = &self.message {
            out.extend_from_slice(if self.capital { b",\"Message\":" } else { b",\"message\":" });
            write_string(&mut out, message);
        }
        out.push(b'}');
        out
    }
}

impl From<Failure> for Fault {
    /// Reasons that the protocol does not know become those of which its clients know what to do:
    /// `InternalServerError` (the write may have taken place; retry) and `ServiceUnavailable` (it has
    /// not; retry).
    fn from(failure: Failure) -> Fault {
        let message = failure.message.into_owned();
        let server = |status, name| {
            let fault = Fault::new(DYNAMODB, name, Some(message.clone()));
            Fault { status, ..fault }
        };
        let mut fault = match failure.reason {
            "ValidationException" => Fault::validation(message),
            "SerializationException" => Fault::serialization(message),
            "AccessDeniedException" => Fault::access_denied(message),
            "ThrottlingException" => Fault::throttled(message),
            "InternalServerError" | "OutcomeUnknown" | "CorruptData" => {
                server(StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError")
            }
            "ServiceUnavailable" | "RequestTimeout" | "DiskFull" => {
                server(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable")
            }
            reason => Fault::new(DYNAMODB, reason, Some(message)),
        };
        fault.item = failure.item;
        fault
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errors;
    use tombolo_item::Value;

    fn body(fault: &Fault) -> String {
        String::from_utf8(fault.body()).unwrap()
    }

    /// Bodies as the service gives them (seen in dynalite's tests, which run against the service).
    #[test]
    fn bodies_have_the_services_shape() {
        assert_eq!(
            body(&Fault::no_json()),
            r#"{"__type":"com.amazon.coral.service#SerializationException"}"#
        );
        assert_eq!(
            body(&Fault::unknown_operation()),
            r#"{"__type":"com.amazon.coral.service#UnknownOperationException"}"#
        );
        assert_eq!(
            body(&Fault::missing_token()),
            r#"{"__type":"com.amazon.coral.service#MissingAuthenticationTokenException","message":"Request is missing Authentication Token"}"#
        );
        assert_eq!(
            body(&Fault::serialization("x")),
            r#"{"__type":"com.amazon.coral.service#SerializationException","Message":"x"}"#
        );
        assert_eq!(
            body(&Fault::validation("x")),
            r#"{"__type":"com.amazon.coral.validate#ValidationException","message":"x"}"#
        );
        assert_eq!(
            body(&errors::table_not_found("music").into()),
            r#"{"__type":"com.amazonaws.dynamodb.v20120810#ResourceNotFoundException","message":"Requested resource not found: Table: music not found"}"#
        );
    }

    #[test]
    fn a_failed_condition_shows_the_item_when_asked() {
        let item = Item([("pk".to_string(), Value::S("a".into()))].into());
        let fault = Fault::from(errors::condition_failed(Some(item)));
        assert_eq!(
            body(&fault),
            r#"{"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException","Item":{"pk":{"S":"a"}},"message":"The conditional request failed"}"#
        );
    }

    #[test]
    fn the_callers_faults_are_400_and_ours_are_not() {
        let status = |failure| Fault::from(failure).status.as_u16();
        assert_eq!(status(errors::table_not_found("music")), 400);
        assert_eq!(status(errors::overloaded("x")), 400);
        assert_eq!(status(errors::internal("x", "y")), 500);
        assert_eq!(status(errors::operation_unavailable("x".into())), 503);
    }
}
