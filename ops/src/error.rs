//! How a command ends: the exit codes that scripts rely on, and the sentence that explains them.
//!
//! Always true: a failure carries the whole chain of causes in its message, and its exit code is
//! one of [`Exit`]. Nothing in this crate ends the process by itself except `main`.

use std::any::Any;
use std::fmt;

use tombolo_client::ClientError;

/// The exit codes of `tombolo`. Documented in `tombolo --help` and in the README of this folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done, and the answer is yes.
    Ok = 0,
    /// Done, and the answer is no: copies differ, a condition was false, something is not there.
    Negative = 1,
    /// The command or the request was wrong; the same call cannot succeed.
    Usage = 2,
    /// It could not be done now: nothing listens, no quorum, the disk is full, a download failed.
    Unavailable = 3,
}

/// Why a command did not succeed.
///
/// Every error type converts with `?`. A gRPC status and a client's error choose their exit code; all other
/// errors are [`Exit::Unavailable`] until [`Failure::with_exit`] says otherwise.
pub struct Failure {
    pub exit: Exit,
    pub message: String,
}

/// What commands return.
pub type Result<T = ()> = std::result::Result<T, Failure>;

impl Failure {
    /// The command line, a file's contents or a request is wrong.
    pub fn usage(message: impl Into<String>) -> Failure {
        Failure { exit: Exit::Usage, message: message.into() }
    }

    /// The command worked and the answer is no.
    pub fn negative(message: impl Into<String>) -> Failure {
        Failure { exit: Exit::Negative, message: message.into() }
    }

    /// It could not be done now.
    pub fn unavailable(message: impl Into<String>) -> Failure {
        Failure { exit: Exit::Unavailable, message: message.into() }
    }

    /// The same failure, with what it concerns before its words.
    pub fn prefixed(mut self, what: impl fmt::Display) -> Failure {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// The same failure with another exit code.
    pub fn with_exit(mut self, exit: Exit) -> Failure {
        self.exit = exit;
        self
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (exit code {})", self.message, self.exit as i32)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

// `Failure` itself is no `std::error::Error`: that is what lets every error convert into it.
impl<E: std::error::Error + 'static> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure { exit: exit_of(&error), message: chain(&error) }
    }
}

fn exit_of(error: &dyn Any) -> Exit {
    if let Some(status) = error.downcast_ref::<tonic::Status>() {
        return exit_of_code(status.code());
    }
    error.downcast_ref::<ClientError>().map_or(Exit::Unavailable, |e| exit_of_code(e.code))
}

/// The exit code that a gRPC status stands for.
pub fn exit_of_code(code: tonic::Code) -> Exit {
    use tonic::Code;
    match code {
        Code::Ok => Exit::Ok,
        Code::InvalidArgument
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::PermissionDenied
        | Code::Unauthenticated => Exit::Usage,
        Code::NotFound | Code::AlreadyExists | Code::FailedPrecondition | Code::Aborted => {
            Exit::Negative
        }
        _ => Exit::Unavailable,
    }
}

/// An error and its causes in one line; a cause that its parent already repeats is left out.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = match error.downcast_ref::<tonic::Status>() {
        Some(status) => format!("{} ({:?})", status.message(), status.code()),
        None => error.to_string(),
    };
    let mut cause = error.source();
    while let Some(next) = cause {
        let line = next.to_string();
        if !text.contains(&line) {
            text.push_str(": ");
            text.push_str(&line);
        }
        cause = next.source();
    }
    text
}

/// Says what was being attempted when an error came.
pub trait Context<T> {
    /// Puts `what()` before the error's own words.
    fn context<S: fmt::Display>(self, what: impl FnOnce() -> S) -> Result<T>;
}

impl<T, E: Into<Failure>> Context<T> for std::result::Result<T, E> {
    fn context<S: fmt::Display>(self, what: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|error| {
            let failure: Failure = error.into();
            Failure { exit: failure.exit, message: format!("{}: {}", what(), failure.message) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_chooses_the_exit_code() {
        let failure: Failure = tonic::Status::failed_precondition("the condition is false").into();
        assert_eq!(failure.exit, Exit::Negative);
        assert!(failure.message.contains("the condition is false"));
        assert_eq!(Failure::from(tonic::Status::unavailable("x")).exit, Exit::Unavailable);
        assert_eq!(Failure::from(tonic::Status::invalid_argument("x")).exit, Exit::Usage);
    }

    #[test]
    fn context_keeps_the_cause_and_the_exit_code() {
        let error: std::result::Result<(), _> = Err(Failure::negative("no"));
        let failure = error.context(|| "asking").expect_err("an error stays one");
        assert_eq!((failure.exit, failure.message.as_str()), (Exit::Negative, "asking: no"));
    }
}
