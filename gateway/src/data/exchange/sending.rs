//! The request's body on its way to an endpoint, perhaps to a second one.
//!
//! Not here: whether the request is sent again (`forward`).

use std::task::{Context, Poll};

use http1::BodyLength;

use super::held::{Held, Replayed};
use crate::data::upstream::{Connection, Resend};
use crate::data::wire::{BodyCopy, BodyReader, CopyError};

/// How far the request's body has come.
#[derive(Debug)]
pub(super) struct Sending {
    pump: BodyCopy,
    held: Held,
}

impl Sending {
    /// Begins before the first piece. What is sent is held if the request's method bears being sent twice.
    pub(super) fn begin(is_held: bool) -> Self {
        Self { pump: BodyCopy::default(), held: Held::begin(is_held) }
    }

    /// Whether it can begin anew.
    pub(super) fn resend(&self) -> Resend {
        if self.held.is_whole() { Resend::Possible } else { Resend::Forbidden }
    }

    /// Whether it will be able to begin anew until an answer comes, whatever its body turns out to be.
    pub(super) fn prospect(&self, length: BodyLength) -> Resend {
        if self.held.will_be_whole(length) { Resend::Possible } else { Resend::Forbidden }
    }

    /// Begins anew, to another connection.
    pub(super) fn rewind(&mut self) {
        self.pump = BodyCopy::default();
        self.held.rewind();
    }

    /// An answer has begun: the request is not sent again.
    pub(super) fn release(&mut self) {
        self.held.release();
    }

    /// Whether all is sent.
    pub(super) fn is_done(&self) -> bool {
        self.pump == BodyCopy::Done
    }

    /// Whether pieces are still to come from the client.
    pub(super) fn is_moving(&self) -> bool {
        self.pump == BodyCopy::Copying
    }

    /// Moves pieces as [`BodyCopy::poll`] does.
    pub(super) fn poll<R: BodyReader>(
        &mut self,
        (from, to): (&mut R, &mut Connection),
        moved: impl Fn(),
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), CopyError>> {
        self.pump.poll((&mut Replayed { side: from, held: &mut self.held }, to), moved, cx)
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
            let sending = Sending::begin(true);
            assert_eq!(
                (sending.prospect(length), sending.resend()),
                (prospect, Resend::Possible),
                "{length:?}"
            );
            assert_eq!(Sending::begin(false).prospect(length), Resend::Forbidden);
        }
    }
}
