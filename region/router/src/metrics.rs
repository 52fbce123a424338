//! Every metric of the router.
//!
//! Always true: labels come from fixed sets (kinds of requests, classes of codes, reasons), and
//! their children are looked up once, never per request.

use std::sync::LazyLock;

use prometheus::{
    Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, register_histogram_vec,
    register_int_counter_vec, register_int_gauge,
};
use tonic::Code;

use crate::operation::Kind;

/// Why a request was turned away before it was looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rejection {
    /// Too many under way.
    InFlight,
}

/// Why a connection was closed from this side.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Closed {
    /// There were as many as there may be.
    Full,
    /// It did not say its first word in time.
    Silent,
}

/// What a code says about whose fault it was.
#[derive(Debug, Clone, Copy)]
enum Class {
    Ok,
    Caller,
    Throttled,
    Server,
}

impl Class {
    const ALL: [(Class, &'static str); 4] = [
        (Class::Ok, "ok"),
        (Class::Caller, "caller"),
        (Class::Throttled, "throttled"),
        (Class::Server, "server"),
    ];

    fn of(code: Code) -> Class {
        match code {
            Code::Ok => Class::Ok,
            Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Unauthenticated
            | Code::Cancelled => Class::Caller,
            Code::ResourceExhausted => Class::Throttled,
            Code::Unknown
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss => Class::Server,
        }
    }
}

/// The children of one kind of request.
pub(crate) struct OfKind {
    requests: [IntCounter; Class::ALL.len()],
    /// Seconds from the first header to the answer.
    pub(crate) seconds: Histogram,
}

impl OfKind {
    /// Counts one answer.
    pub(crate) fn answered(&self, code: Code) {
        self.requests[Class::of(code) as usize].inc();
    }
}

static REQUESTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        "tombolo_router_requests_total",
        "Requests answered, by operation and class of the status code (ok, caller, throttled, server).",
        &["operation", "code"]
    )
    .expect("the metric is registered once")
});

static SECONDS: LazyLock<HistogramVec> = LazyLock::new(|| {
    register_histogram_vec!(
        "tombolo_router_request_seconds",
        "Seconds from a request's first header to its answer, by operation.",
        &["operation"],
        vec![
            0.000_25, 0.000_5, 0.001, 0.002, 0.003, 0.005, 0.007_5, 0.01, 0.02, 0.05, 0.1, 0.25,
            0.5, 1.0, 2.5, 5.0, 10.0
        ]
    )
    .expect("the metric is registered once")
});

static REJECTED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        "tombolo_router_rejected_total",
        "Requests turned away before they were looked at, by reason.",
        &["reason"]
    )
    .expect("the metric is registered once")
});

/// Requests under way.
pub(crate) static IN_FLIGHT: LazyLock<IntGauge> = LazyLock::new(|| {
    register_int_gauge!("tombolo_router_in_flight", "Requests under way.")
        .expect("the metric is registered once")
});

/// Connections to the gRPC listener.
pub(crate) static CONNECTIONS: LazyLock<IntGauge> = LazyLock::new(|| {
    register_int_gauge!("tombolo_router_connections", "Connections to the gRPC listener.")
        .expect("the metric is registered once")
});

static CLOSED: LazyLock<[IntCounter; 2]> = LazyLock::new(|| {
    let all = register_int_counter_vec!(
        "tombolo_router_connections_closed_total",
        "Connections that were closed from this side before they asked anything, by reason: full \
         (as many as there may be), silent (no first word in time).",
        &["reason"]
    )
    .expect("the metric is registered once");
    ["full", "silent"].map(|reason| all.with_label_values(&[reason]))
});

/// Counts a connection that was closed from this side.
pub(crate) fn closed(why: Closed) {
    CLOSED[why as usize].inc();
}

static IN_FLIGHT_REJECTIONS: LazyLock<IntCounter> =
    LazyLock::new(|| REJECTED.with_label_values(&["in_flight"]));

/// By [`Kind`], in the order of [`Kind::ALL`].
static KINDS: LazyLock<Vec<OfKind>> = LazyLock::new(|| {
    let kinds = Kind::ALL.iter().map(|kind| OfKind {
        requests: Class::ALL.map(|(_, label)| REQUESTS.with_label_values(&[kind.name(), label])),
        seconds: SECONDS.with_label_values(&[kind.name()]),
    });
    kinds.collect()
});

/// The children of this kind.
pub(crate) fn of_kind(kind: Kind) -> &'static OfKind {
    &KINDS[kind as usize]
}

/// Counts a request that was turned away.
pub(crate) fn rejected(rejection: Rejection) {
    match rejection {
        Rejection::InFlight => IN_FLIGHT_REJECTIONS.inc(),
    }
}

/// Makes every metric visible before the first request.
pub(crate) fn register() {
    LazyLock::force(&KINDS);
    LazyLock::force(&IN_FLIGHT);
    LazyLock::force(&CONNECTIONS);
    LazyLock::force(&CLOSED);
    LazyLock::force(&IN_FLIGHT_REJECTIONS);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_index_their_labels() {
        for (index, (class, _)) in Class::ALL.into_iter().enumerate() {
            assert_eq!(class as usize, index);
        }
        for (index, kind) in Kind::ALL.iter().enumerate() {
            assert_eq!(*kind as usize, index);
        }
    }
}
