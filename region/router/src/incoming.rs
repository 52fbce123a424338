//! Connections as they come in: bounded in number, and cut off when they do not get going.
//!
//! Always true:
//! - There are never more connections than asked for; the next one is closed at once and counted.
//! - A connection that has not sent what the first word of HTTP/2 (or of a TLS handshake) is long
//!   within the time for that is closed, however slowly its bytes drip in.
//! - Once it has, nothing here costs more than one comparison per read.
//!
//! Deliberately absent: silence later on: HTTP/2's own pings end a peer that is gone.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};
use tonic::transport::server::{Connected, TcpConnectInfo, TcpIncoming};

use crate::metrics::{self, Closed};

/// Length of HTTP/2's client preface; the first message of a TLS handshake is longer.
const FIRST_WORD_BYTES: usize = 24;

/// A listener's connections.
pub(crate) struct Incoming {
    listener: TcpIncoming,
    places: Arc<Semaphore>,
    patience: Duration,
}

impl Incoming {
    /// At most `most` connections at once; each gets `patience` for its first word.
    pub(crate) fn new(listener: TcpIncoming, most: usize, patience: Duration) -> Incoming {
        let places = Arc::new(Semaphore::new(most.clamp(1, Semaphore::MAX_PERMITS)));
        Incoming { listener, places, patience }
    }
}

impl Stream for Incoming {
    type Item = io::Result<Guest>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let stream = match ready!(Pin::new(&mut self.listener).poll_next(cx)) {
                Some(Ok(stream)) => stream,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            };
            let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
                metrics::closed(Closed::Full);
                continue;
            };
            metrics::CONNECTIONS.inc();
            let late = Box::pin(tokio::time::sleep_until(Instant::now() + self.patience));
            let first = Some(First { missing: FIRST_WORD_BYTES, late });
            return Poll::Ready(Some(Ok(Guest {
                stream,
                first,
                _place: Place { _permit: place },
            })));
        }
    }
}

/// What a connection still owes, and until when.
struct First {
    missing: usize,
    late: Pin<Box<Sleep>>,
}

/// Given back when the connection ends.
struct Place {
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        metrics::CONNECTIONS.dec();
    }
}

/// One connection.
pub(crate) struct Guest {
    stream: TcpStream,
    first: Option<First>,
    _place: Place,
}

impl Connected for Guest {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Guest {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let guest = &mut *self;
        let Some(first) = &mut guest.first else {
            return Pin::new(&mut guest.stream).poll_read(cx, into);
        };
        let before = into.filled().len();
        let read = Pin::new(&mut guest.stream).poll_read(cx, into);
        let got = into.filled().len().saturating_sub(before);
        first.missing = first.missing.saturating_sub(got);
        if first.missing == 0 {
            guest.first = None;
        } else if first.late.as_mut().poll(cx).is_ready() {
            metrics::closed(Closed::Silent);
            let why = "the connection did not get going in time";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, why)));
        }
        read
    }
}

impl AsyncWrite for Guest {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
