//! A body that is counted while it passes, against a limit if there is one.

use std::task::{Context, Poll, ready};

use crate::data::wire::{BodyReader, Piece, StreamError};

/// What has passed of a body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meter {
    /// Bytes that have passed.
    pub(super) passed: u64,
    /// Bytes that may pass in all.
    pub(super) limit: u64,
}

impl Default for Meter {
    fn default() -> Self {
        Self { passed: 0, limit: u64::MAX }
    }
}

/// A side whose body is read through a meter.
pub(super) struct Metered<'a, R> {
    /// Where the body comes from.
    pub(super) side: &'a mut R,
    /// What counts it.
    pub(super) meter: &'a mut Meter,
}

impl<R: BodyReader> BodyReader for Metered<'_, R> {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, StreamError>> {
        let piece = ready!(self.side.poll_piece(cx))?;
        if let Piece::Data(data) = &piece {
            let passed = self.meter.passed.saturating_add(data.len() as u64);
            if passed > self.meter.limit {
                return Poll::Ready(Err(StreamError::TooLarge));
            }
            self.meter.passed = passed;
        }
        Poll::Ready(Ok(piece))
    }
}
