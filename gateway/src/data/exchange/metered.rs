//! A body reader that counts bytes and enforces a limit, and the errors of body readers.

use std::task::{Context, Poll, ready};

use crate::data::wire::{BodyReader, Piece, StreamError};
use crate::message::LocalReply;

/// Why the rest of a body cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BodyReadError {
    /// The connection or stream failed, or the body is malformed.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The body is larger than the limit of its route.
    #[error("body larger than the limit of its route")]
    TooLarge,
    /// The body arrives below the minimum rate.
    #[error("body below the minimum rate")]
    TooSlow,
    /// A filter refused the body, and replies to the client if the response has not begun.
    #[error("body refused by a filter")]
    Refused(Box<LocalReply>),
}

impl From<h2::Error> for BodyReadError {
    fn from(error: h2::Error) -> Self {
        Self::Stream(error.into())
    }
}

/// Byte count of a body, and its limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meter {
    /// Bytes that have passed.
    pub(super) bytes: u64,
    /// Maximum bytes of the body. A larger body fails with [`BodyReadError::TooLarge`].
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

impl<R: BodyReader<Error: Into<BodyReadError>>> BodyReader for Metered<'_, R> {
    type Error = BodyReadError;

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, BodyReadError>> {
        let piece = ready!(self.source.poll_piece(cx)).map_err(Into::into)?;
        if let Piece::Data(data) = &piece {
            let bytes = self.meter.bytes.saturating_add(data.len() as u64);
            if bytes > self.meter.max_bytes {
                return Poll::Ready(Err(BodyReadError::TooLarge));
            }
            self.meter.bytes = bytes;
        }
        Poll::Ready(Ok(piece))
    }
}
