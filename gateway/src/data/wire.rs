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

/// Bytes that one poll of a [`BodyCopy`] copies. Then other connections of the worker run. At 1 GB/s of TLS, 256 KiB take a
/// quarter of a millisecond, and a turn costs less than a thousandth of that.
const MAX_TURN_BYTES: usize = 256 << 10;

/// Bytes that a piece counts for in a turn, at least. A piece of one byte costs as much time as one of 1 KiB.
const MIN_PIECE_COST: usize = 1 << 10;

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
    /// Written pieces are sent as soon as the source is pending. No piece waits for a larger write. After 256 KiB it wakes
    /// the task and is pending, so that a source and a destination that keep up do not keep the worker.
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
        let mut turn_bytes = 0;
        while *self == Self::Copying {
            if turn_bytes >= MAX_TURN_BYTES {
                let _ = to.poll_flush(cx).map_err(CopyError::Write)?;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
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
                    match &piece {
                        Piece::Data(data) => turn_bytes += data.len().max(MIN_PIECE_COST),
                        Piece::Trailers(_) | Piece::End => *self = Self::Flushing,
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

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    /// A source that always has a piece of this length, and a destination that always accepts one.
    #[derive(Default)]
    struct Unlimited {
        piece: usize,
        written: usize,
        flushed: usize,
    }

    impl BodyReader for Unlimited {
        type Error = Infallible;

        fn poll_piece(&mut self, _: &mut Context<'_>) -> Poll<Result<Piece, Infallible>> {
            Poll::Ready(Ok(Piece::Data(vec![0; self.piece].into())))
        }
    }

    impl BodyWriter for Unlimited {
        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
            Poll::Ready(Ok(()))
        }

        fn write(&mut self, piece: Piece) -> Result<(), StreamError> {
            if let Piece::Data(data) = piece {
                self.written += data.len();
            }
            Ok(())
        }

        fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
            self.flushed = self.written;
            Poll::Ready(Ok(()))
        }
    }

    #[derive(Default)]
    struct CountingWaker(AtomicUsize);

    impl Wake for CountingWaker {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn copy_between_unlimited_sides_takes_turns() {
        for (piece, pieces) in [(1, 256), (10_000, 27), (1 << 20, 1)] {
            let (mut from, mut to) = (Unlimited { piece, ..Unlimited::default() }, Unlimited::default());
            let mut copy = BodyCopy::default();
            let wakes = Arc::<CountingWaker>::default();
            for turn in 1..=3 {
                let waker = Arc::clone(&wakes).into();
                let polled = copy.poll(&mut from, &mut to, || {}, &mut Context::from_waker(&waker));
                assert!(polled.is_pending());
                assert_eq!(wakes.0.load(Ordering::Relaxed), turn, "the task runs again");
                assert_eq!(to.written, turn * pieces * piece, "pieces of {piece} bytes");
                assert_eq!(to.flushed, to.written, "what is copied is sent");
            }
        }
    }
}
