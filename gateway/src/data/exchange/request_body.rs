//! The request's body on its way to an endpoint, perhaps to a second one.
//!
//! Not here: whether the request is sent again (`forward`).

use std::task::{Context, Poll};

use http1::BodyLength;

use super::replay::{ReplayBuffer, ReplayReader};
use crate::data::upstream::{Connection, Resend};
use crate::data::wire::{BodyCopy, BodyReader, CopyError};

/// How far the request's body has come.
#[derive(Debug)]
pub(super) struct RequestBody {
    pump: BodyCopy,
    replay: ReplayBuffer,
}

impl RequestBody {
    /// Begins before the first piece. What is sent is held if the request's method bears being sent twice.
    pub(super) fn new(is_replayable: bool) -> Self {
        Self { pump: BodyCopy::default(), replay: ReplayBuffer::new(is_replayable) }
    }

    /// Whether it can begin anew.
    pub(super) fn resend(&self) -> Resend {
        if self.replay.is_replayable() { Resend::Possible } else { Resend::Forbidden }
    }

    /// Whether it will be able to begin anew until an answer comes, whatever its body turns out to be.
    pub(super) fn expected_resend(&self, length: BodyLength) -> Resend {
        if self.replay.will_be_replayable(length) { Resend::Possible } else { Resend::Forbidden }
    }

    /// Begins anew, to another connection.
    pub(super) fn rewind(&mut self) {
        self.pump = BodyCopy::default();
        self.replay.rewind();
    }

    /// An answer has begun: the request is not sent again.
    pub(super) fn release(&mut self) {
        self.replay.release();
    }

    /// Whether all is sent.
    pub(super) fn is_sent(&self) -> bool {
        self.pump == BodyCopy::Done
    }

    /// Whether pieces are still to come from the client.
    pub(super) fn is_receiving(&self) -> bool {
        self.pump == BodyCopy::Copying
    }

    /// Moves pieces as [`BodyCopy::poll`] does.
    pub(super) fn poll<R: BodyReader>(
        &mut self,
        (from, to): (&mut R, &mut Connection),
        moved: impl Fn(),
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), CopyError>> {
        self.pump.poll((&mut ReplayReader { source: from, buffer: &mut self.replay }, to), moved, cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_body_that_is_known_to_be_small_will_surely_bear_being_sent_again() {
        for (length, prospect) in [
            (BodyLength::Empty, Resend::Possible),
            (BodyLength::Exact(64 << 10), Resend::Possible),
            (BodyLength::Exact((64 << 10) + 1), Resend::Forbidden),
            (BodyLength::Exact(u64::MAX), Resend::Forbidden),
            (BodyLength::Chunked, Resend::Forbidden),
        ] {
            let body = RequestBody::new(true);
            assert_eq!(
                (body.expected_resend(length), body.resend()),
                (prospect, Resend::Possible),
                "{length:?}"
            );
            assert_eq!(RequestBody::new(false).expected_resend(length), Resend::Forbidden);
        }
    }
}
