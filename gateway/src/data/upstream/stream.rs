//! One request and its response at an endpoint, whatever the protocol.
//!
//! HTTP/1.1 is the only variant so far: the stream is the whole connection. Not here: which endpoint it goes to.

use std::task::{Context, Poll};

use bytes::BytesMut;
use http1::{BodyLength, Head};
use pingora::protocols::Stream as Io;

use crate::data::wire::buffers::BufferPool;
use crate::data::wire::{BodyReader, BodyWriter, Piece, StreamError, h1};

/// A stream to an endpoint. Between requests it holds no buffers.
#[derive(Debug)]
pub enum Stream {
    /// An HTTP/1.1 connection.
    H1(h1::Connection<Io>),
}

impl Stream {
    /// Acquires the buffers for a request.
    pub fn acquire_buffers(&mut self, buffers: &BufferPool) {
        match self {
            Self::H1(connection) => connection.acquire_buffers(buffers),
        }
    }

    /// Releases the buffers.
    pub fn release_buffers(&mut self, buffers: &BufferPool) {
        match self {
            Self::H1(connection) => connection.release_buffers(buffers),
        }
    }

    /// Writes a request's head by `write`, which appends its text, and prepares for a body of this length.
    pub fn send_head(&mut self, length: BodyLength, write: impl FnOnce(&mut BytesMut)) {
        match self {
            Self::H1(connection) => {
                write(connection.output());
                connection.start_sending_body(length);
            }
        }
    }

    /// Reads the next head of a response, informational ones included. `None`: the endpoint closed the connection
    /// before one.
    ///
    /// # Errors
    /// [`StreamError::Disconnected`] or [`StreamError::Head`].
    pub fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Head>, StreamError>> {
        match self {
            Self::H1(connection) => connection.poll_head(http1::parse::response, cx),
        }
    }

    /// Prepares for the response's body.
    pub fn start_receiving_body(&mut self, length: BodyLength) {
        match self {
            Self::H1(connection) => connection.start_receiving_body(length),
        }
    }

    /// Has a byte of the response arrived?
    pub fn has_received(&self) -> bool {
        match self {
            Self::H1(connection) => connection.has_received(),
        }
    }

    /// Has the endpoint sent more than the response?
    pub fn has_input(&self) -> bool {
        match self {
            Self::H1(connection) => connection.has_input(),
        }
    }

    /// Has the kernel taken everything that was written?
    pub fn is_flushed(&self) -> bool {
        match self {
            Self::H1(connection) => connection.is_flushed(),
        }
    }

    /// Is the connection idle and open, as far as the runtime knows without a system call?
    pub fn is_reusable(&mut self) -> bool {
        match self {
            Self::H1(connection) => connection.is_reusable(),
        }
    }

    /// Does the kernel say that both directions of the connection are open? Costs one system call.
    pub fn is_established(&mut self) -> bool {
        match self {
            Self::H1(connection) => super::connect::is_established(connection.io()),
        }
    }

    /// Does TCP_INFO say that the endpoint's machine acknowledges nothing any more?
    pub fn is_unresponsive(&mut self) -> bool {
        match self {
            Self::H1(connection) => super::connect::is_unresponsive(connection.io()),
        }
    }
}

impl BodyReader for Stream {
    type Error = StreamError;

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, StreamError>> {
        match self {
            Self::H1(connection) => connection.poll_piece(cx),
        }
    }
}

impl BodyWriter for Stream {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        match self {
            Self::H1(connection) => connection.poll_ready(cx),
        }
    }

    fn write(&mut self, piece: Piece) -> Result<(), StreamError> {
        match self {
            Self::H1(connection) => connection.write(piece),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        match self {
            Self::H1(connection) => connection.poll_flush(cx),
        }
    }
}
