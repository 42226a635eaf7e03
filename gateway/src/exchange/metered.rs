//! A request body that is counted against its route's limit while it passes.

use std::task::{Context, Poll, ready};

use crate::wire::{Piece, Reader, StreamError};

/// The client's side, read up to a limit.
pub(super) struct Metered<'a, D> {
    /// Where the body comes from.
    pub(super) side: &'a mut D,
    /// Bytes that may still come.
    pub(super) left: &'a mut u64,
}

impl<D: Reader> Reader for Metered<'_, D> {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, StreamError>> {
        let piece = ready!(self.side.poll_piece(cx))?;
        if let Piece::Data(data) = &piece {
            *self.left = self.left.checked_sub(data.len() as u64).ok_or(StreamError::TooLarge)?;
        }
        Poll::Ready(Ok(piece))
    }
}
