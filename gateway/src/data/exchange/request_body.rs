//! The request's body on its way to an endpoint, and to the next one after a retry.
//!
//! Not here: deciding on a retry (`forward`).

use std::task::{Context, Poll};

use http1::BodyLength;

use super::replay::{ReplayBuffer, ReplayReader};
use crate::data::upstream::{Resend, Stream};
use crate::data::wire::{BodyCopy, BodyReader, CopyError};

/// Progress of the request's body.
#[derive(Debug)]
pub(super) struct RequestBody {
    copy: BodyCopy,
    replay: ReplayBuffer,
}

impl RequestBody {
    /// Creates a body of which nothing was read. `is_replayable` is true if the policy retries the request's method.
    pub(super) fn new(is_replayable: bool) -> Self {
        Self { copy: BodyCopy::default(), replay: ReplayBuffer::new(is_replayable) }
    }

    /// Returns whether the body can be sent again now.
    pub(super) fn resend(&self) -> Resend {
        if self.replay.is_replayable() { Resend::Possible } else { Resend::Forbidden }
    }

    /// Returns whether the body is sure to stay replayable until the response begins.
    pub(super) fn expected_resend(&self, length: BodyLength) -> Resend {
        if self.replay.will_be_replayable(length) { Resend::Possible } else { Resend::Forbidden }
    }

    /// Starts again, for another connection.
    pub(super) fn rewind(&mut self) {
        self.copy = BodyCopy::default();
        self.replay.rewind();
    }

    /// Stops buffering, since no retry follows.
    pub(super) fn release(&mut self) {
        self.replay.release();
    }

    /// Returns true if the whole body is sent.
    pub(super) fn is_sent(&self) -> bool {
        self.copy == BodyCopy::Done
    }

    /// Returns true if the client has more to send.
    pub(super) fn is_receiving(&self) -> bool {
        self.copy == BodyCopy::Copying
    }

    /// Copies pieces as [`BodyCopy::poll`] does.
    pub(super) fn poll<R: BodyReader>(
        &mut self,
        from: &mut R,
        to: &mut Stream,
        on_piece: impl Fn(),
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), CopyError<R::Error>>> {
        let mut from = ReplayReader { source: from, buffer: &mut self.replay };
        self.copy.poll(&mut from, to, on_piece, cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resend_is_expected_only_for_bodies_known_to_be_small() {
        for (length, expected) in [
            (BodyLength::Empty, Resend::Possible),
            (BodyLength::Exact(64 << 10), Resend::Possible),
            (BodyLength::Exact((64 << 10) + 1), Resend::Forbidden),
            (BodyLength::Exact(u64::MAX), Resend::Forbidden),
            (BodyLength::Chunked, Resend::Forbidden),
        ] {
            let body = RequestBody::new(true);
            assert_eq!(
                (body.expected_resend(length), body.resend()),
                (expected, Resend::Possible),
                "{length:?}"
            );
            assert_eq!(RequestBody::new(false).expected_resend(length), Resend::Forbidden);
        }
    }
}
