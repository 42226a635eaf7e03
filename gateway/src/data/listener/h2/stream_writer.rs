//! The response body of one HTTP/2 stream: collects small pieces, and hands them to `h2` as its windows and queue permit.
//!
//! A stream requests window only for bytes that are pending, so a stream that is silent holds none.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http::HeaderMap;

use super::send_queue::{QueuedData, SendQueue};
use crate::data::wire::StreamError;
use crate::data::wire::pending::{MAX_COPIED_BYTES, PendingData};

/// The sending half of a stream whose response has a body.
pub(super) struct StreamWriter {
    stream: SendStream<QueuedData>,
    queue: Rc<SendQueue>,
    /// Bytes that `h2` does not have. The latest piece waits until it is known whether it ends the stream, which saves a
    /// frame.
    pending: PendingData,
    end: StreamEnd,
}

/// What follows the pending bytes.
enum StreamEnd {
    /// More bytes.
    Open,
    /// The end of the stream.
    Plain,
    /// The trailer section.
    Trailers(Box<HeaderMap>),
    /// Nothing: `h2` has the end.
    Sent,
}

impl StreamWriter {
    pub(super) fn new(stream: SendStream<QueuedData>, queue: Rc<SendQueue>) -> Self {
        Self { stream, queue, pending: PendingData::default(), end: StreamEnd::Open }
    }

    /// Waits until a piece can be written: little is pending, or `h2` accepts all of it at once.
    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        loop {
            if self.pending.len() <= MAX_COPIED_BYTES {
                return Poll::Ready(Ok(()));
            }
            if self.capacity() >= self.pending.len() {
                return Poll::Ready(Ok(()));
            }
            self.send_pending()?;
            if self.pending.len() > MAX_COPIED_BYTES {
                ready!(self.poll_capacity(cx))?;
            }
        }
    }

    /// Adds a piece.
    pub(super) fn write(&mut self, data: Bytes) -> Result<(), StreamError> {
        if !self.pending.is_empty() && data.len() > MAX_COPIED_BYTES {
            self.send_pending()?;
        }
        self.pending.push(data);
        Ok(())
    }

    /// Ends the body, with this trailer section if there is one.
    pub(super) fn finish(&mut self, trailers: Option<HeaderMap>) {
        self.end = trailers.map_or(StreamEnd::Plain, |trailers| StreamEnd::Trailers(Box::new(trailers)));
    }

    /// Waits until `h2` has all that was written. The connection's future writes it to the socket.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        loop {
            self.send_pending()?;
            if self.pending.is_empty() {
                break;
            }
            ready!(self.poll_capacity(cx))?;
        }
        match std::mem::replace(&mut self.end, StreamEnd::Sent) {
            StreamEnd::Open => self.end = StreamEnd::Open,
            // An empty frame needs no window.
            StreamEnd::Plain => self.stream.send_data(self.queue.charge(Bytes::new()), true)?,
            StreamEnd::Trailers(trailers) => self.stream.send_trailers(*trailers)?,
            StreamEnd::Sent => {}
        }
        Poll::Ready(Ok(()))
    }

    pub(super) fn reset(&mut self, reason: Reason) {
        self.stream.send_reset(reason);
    }

    /// Waits until the client resets the stream.
    pub(super) fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reason, h2::Error>> {
        self.stream.poll_reset(cx)
    }

    /// Hands pending bytes to `h2`, as far as it accepts them now.
    fn send_pending(&mut self) -> Result<(), StreamError> {
        while !self.pending.is_empty() {
            let capacity = self.capacity();
            if capacity == 0 {
                break;
            }
            let data = self.pending.take(capacity);
            let ends_stream = self.pending.is_empty() && matches!(self.end, StreamEnd::Plain);
            self.stream.send_data(self.queue.charge(data), ends_stream)?;
            if ends_stream {
                self.end = StreamEnd::Sent;
            }
        }
        Ok(())
    }

    /// Requests window for the pending bytes, and returns how many of them `h2` accepts now.
    fn capacity(&mut self) -> usize {
        let space = self.queue.space();
        if space == 0 {
            return 0;
        }
        self.stream.reserve_capacity(self.pending.len());
        self.stream.capacity().min(space)
    }

    /// Waits until [`StreamWriter::capacity`] may have grown.
    fn poll_capacity(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        ready!(self.queue.poll_space(cx));
        match ready!(self.stream.poll_capacity(cx)).transpose()? {
            Some(_) => Poll::Ready(Ok(())),
            None => Poll::Ready(Err(io::Error::from(io::ErrorKind::BrokenPipe).into())),
        }
    }
}
