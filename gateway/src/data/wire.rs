//! What both sides of an exchange are made of: pieces of a body, and how they are read and written.
//!
//! HTTP/1.1 ([`h1`]) and HTTP/2 (`listener::h2`) fill these two traits, so that the exchange between
//! downstream and upstream is written once. They are poll-based since one task drives both directions at
//! the same time, and each step borrows a side only for a moment.
//! Not here: heads (each side writes its own) and what a request means.

use std::task::{Context, Poll};

use bytes::Bytes;
use http1::Head;

pub mod buffers;
pub mod clock;
pub mod h1;
mod output;

/// One piece of a body.
#[derive(Debug)]
pub enum Piece {
    /// The next bytes; never empty.
    Data(Bytes),
    /// The trailers; nothing follows.
    Trailers(Head),
    /// The end without trailers; nothing follows.
    End,
}

/// Why one side of an exchange ended early.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The peer closed or reset its side, or the network did.
    #[error("connection lost: {0}")]
    Disconnected(#[from] std::io::Error),
    /// The peer sent a body that cannot be trusted.
    #[error("malformed body: {0}")]
    Body(#[from] http1::BodyError),
    /// The peer sent a head that cannot be trusted.
    #[error("malformed head: {0}")]
    Head(#[from] http1::HeadError),
    /// The body is larger than its route allows.
    #[error("body larger than allowed")]
    TooLarge,
    /// The body arrives more slowly than allowed.
    #[error("body arrives too slowly")]
    TooSlow,
    /// The peer's framing fields cannot be trusted.
    #[error("malformed framing: {0}")]
    Framing(#[from] http1::FramingError),
    /// More or fewer bytes were written than the head promised.
    #[error("body length differs from the head's promise")]
    LengthMismatch,
    /// An HTTP/2 stream or connection error.
    #[error("HTTP/2: {0}")]
    H2(#[from] h2::Error),
    /// The upstream answered 101 though nobody asked for that protocol, or before it had the whole request.
    #[error("unasked 101 response")]
    UnsolicitedUpgrade,
}

/// A side that a body is read from.
pub trait BodyReader {
    /// Gives the next piece. After [`Piece::End`] or [`Piece::Trailers`] it is not called again.
    ///
    /// # Errors
    /// The body will not arrive whole; the side is of no more use.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, StreamError>>;
}

/// A side that a body is written to. Nothing is promised to be sent before [`BodyWriter::poll_flush`] says so.
pub trait BodyWriter {
    /// Waits until there is room for a piece: this is where a slow reader holds back the other side.
    ///
    /// # Errors
    /// The side is of no more use.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>>;

    /// Takes a piece; only called after [`BodyWriter::poll_ready`].
    ///
    /// # Errors
    /// [`StreamError::LengthMismatch`] if the head promised something else.
    fn write(&mut self, piece: Piece) -> Result<(), StreamError>;

    /// Sends what was taken.
    ///
    /// # Errors
    /// The side is of no more use.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>>;
}

/// Which side of a pump failed.
#[derive(Debug)]
pub enum CopyError {
    /// The side that was read from.
    Read(StreamError),
    /// The side that was written to.
    Write(StreamError),
}

/// How far a body has come from one side to the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyCopy {
    /// Pieces are being copied.
    #[default]
    Copying,
    /// The last piece was taken; what is left is to send it.
    Flushing,
    /// All is sent.
    Done,
}

impl BodyCopy {
    /// Moves pieces until one side has to wait or all is sent. `on_piece` is called for each piece.
    ///
    /// What was taken is sent as soon as the reader has nothing more at hand, so nothing is ever held back
    /// for the sake of larger writes.
    ///
    /// # Errors
    /// Says which side failed; what happens then is the caller's to decide.
    pub fn poll<R: BodyReader, W: BodyWriter>(
        &mut self,
        (from, to): (&mut R, &mut W),
        on_piece: impl Fn(),
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), CopyError>> {
        while *self == Self::Copying {
            if to.poll_ready(cx).map_err(CopyError::Write)?.is_pending() {
                return Poll::Pending;
            }
            match from.poll_piece(cx) {
                Poll::Ready(Err(error)) => {
                    // What came before the failure is not lost, as far as the other side takes it at once.
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
