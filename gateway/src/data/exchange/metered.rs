//! A body reader that counts bytes and enforces a limit.

use std::task::{Context, Poll, ready};

use crate::data::wire::{BodyReader, Piece, StreamError};

/// Byte count of a body, and its limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meter {
    /// Bytes that have passed.
    pub(super) bytes: u64,
    /// Maximum bytes of the body. A larger body fails with [`StreamError::TooLarge`].
    pub(super) max_bytes: u64,
}

impl Default for Meter {
    /// Creates a meter without a limit.
    fn default() -> Self {
        Self { bytes: 0, max_bytes: u64::MAX }
    }
}

/// Reads a body through a [`Meter`].
pub(super) struct Metered<'a, R> {
    /// Source of the body.
    pub(super) source: &'a mut R,
    /// Count and limit.
    pub(super) meter: &'a mut Meter,
}

impl<R: BodyReader> BodyReader for Metered<'_, R> {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, StreamError>> {
        let piece = ready!(self.source.poll_piece(cx))?;
        if let Piece::Data(data) = &piece {
            let bytes = self.meter.bytes.saturating_add(data.len() as u64);
            if bytes > self.meter.max_bytes {
                return Poll::Ready(Err(StreamError::TooLarge));
            }
            self.meter.bytes = bytes;
        }
        Poll::Ready(Ok(piece))
    }
}
