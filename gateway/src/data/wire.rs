//! Bodies as pieces, and the traits that read and write them.
//!
//! HTTP/1.1 ([`h1`]) and HTTP/2 (`listener::h2`) implement the traits, so that the exchange between downstream and
//! upstream exists once. The traits are poll-based: one task drives both directions, and borrows a side for one step.
//! Not here: heads, which each protocol writes itself, and policy: limits, timeouts and the meaning of a request.

use std::task::{Context, Poll};

use bytes::Bytes;
use http1::Head;

pub mod buffers;
pub mod clock;
pub mod h1;
mod output;
pub mod pending;
pub mod send_budget;

/// One piece of a body.
#[derive(Debug)]
pub enum Piece {
    /// The next bytes, at least one.
    Data(Bytes),
    /// The trailer section. No piece follows.
    Trailers(Head),
    /// The end without a trailer section. No piece follows.
    End,
}

/// Why a connection or stream failed.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The peer or the network closed or reset the connection.
    #[error("connection lost: {0}")]
    Disconnected(#[from] std::io::Error),
    /// The peer sent a malformed body.
    #[error("malformed body: {0}")]
    Body(#[from] http1::BodyError),
    /// The peer sent a malformed head.
    #[error("malformed head: {0}")]
    Head(#[from] http1::HeadError),
    /// The peer sent contradictory or malformed framing fields.
    #[error("malformed framing: {0}")]
    Framing(#[from] http1::FramingError),
    /// The written body is longer or shorter than the length in its head.
    #[error("body length differs from the length in its head")]
    LengthMismatch,
    /// An HTTP/2 stream or connection error.
    #[error("HTTP/2: {0}")]
    H2(#[from] h2::Error),
}

/// The source of a body.
pub trait BodyReader {
    /// Why the body cannot be read. Readers that enforce a policy have more variants than [`StreamError`].
    type Error;

    /// Returns the next piece. Not called after [`Piece::End`], [`Piece::Trailers`] or an error.
    ///
    /// # Errors
    /// The rest of the body cannot be read.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, Self::Error>>;
}

/// The destination of a body. Written pieces are buffered until [`BodyWriter::poll_flush`] is ready.
pub trait BodyWriter {
    /// Waits until a piece can be written. This is the backpressure of a slow peer.
    ///
    /// # Errors
    /// The connection or stream failed.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>>;

    /// Writes a piece. Called only after [`BodyWriter::poll_ready`] was ready.
    ///
    /// # Errors
    /// [`StreamError::LengthMismatch`] if the piece contradicts the length in the head.
    fn write(&mut self, piece: Piece) -> Result<(), StreamError>;

    /// Sends all buffered bytes.
    ///
    /// # Errors
    /// The connection or stream failed.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>>;
}

/// The side of a copy that failed. `R` is the error of the source.
#[derive(Debug)]
pub enum CopyError<R> {
    /// Reading from the source failed.
    Read(R),
    /// Writing to the destination failed.
    Write(StreamError),
}

/// The progress of copying one body from a source to a destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyCopy {
    /// Pieces are being copied.
    #[default]
    Copying,
    /// The last piece is written but not sent.
    Flushing,
    /// The whole body is sent.
    Done,
}

impl BodyCopy {
    /// Copies pieces until one side is pending or the whole body is sent. Calls `on_piece` for each piece.
    ///
    /// Written pieces are sent as soon as the source is pending. No piece waits for a larger write.
    ///
    /// # Errors
    /// The side that failed.
    pub fn poll<R: BodyReader, W: BodyWriter>(
        &mut self,
        from: &mut R,
        to: &mut W,
        on_piece: impl Fn(),
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), CopyError<R::Error>>> {
        while *self == Self::Copying {
            if to.poll_ready(cx).map_err(CopyError::Write)?.is_pending() {
                return Poll::Pending;
            }
            match from.poll_piece(cx) {
                Poll::Ready(Err(error)) => {
                    // Sends the pieces before the failure, as far as the destination accepts them at once.
                    let _ = to.poll_flush(cx);
                    return Poll::Ready(Err(CopyError::Read(error)));
                }
                Poll::Pending => {
                    let _ = to.poll_flush(cx).map_err(CopyError::Write)?;
                    return Poll::Pending;
                }
                Poll::Ready(Ok(piece)) => {
                    on_piece();
                    if !matches!(piece, Piece::Data(_)) {
                        *self = Self::Flushing;
                    }
                    to.write(piece).map_err(CopyError::Write)?;
                }
            }
        }
        if *self == Self::Flushing {
            if to.poll_flush(cx).map_err(CopyError::Write)?.is_pending() {
                return Poll::Pending;
            }
            *self = Self::Done;
        }
        Poll::Ready(Ok(()))
    }
}
