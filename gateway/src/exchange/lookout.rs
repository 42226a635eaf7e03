//! Noticing in the middle of a wait that the endpoint's machine is gone, where another endpoint can be asked.
//!
//! A node that loses its power resets no connection: a request that was sent on a kept one would wait for its whole
//! first-byte limit (60 s). Not here: what becomes of the request (`forward`).

use std::time::Duration;

use crate::upstream::{Connection, Opened, Resend, Tries, has_vanished};
use crate::wire::clock::Timer;

/// After so long without a byte of the answer it is looked whether the machine still acknowledges what it is sent:
/// long enough for three retransmissions (0.2, 0.6 and 1.4 s after the first sending), short enough for a person.
const SILENCE: Duration = Duration::from_millis(2500);

/// One look at one try.
#[derive(Debug)]
pub(super) struct Lookout {
    first_byte: Duration,
    /// What is left to wait after the look; nothing: there is none, or it was made.
    rest: Option<Duration>,
}

impl Lookout {
    /// A look within the wait for the first byte. Where losing the connection brings no further try there is none: an
    /// answer that comes late is better than none.
    pub(super) fn new(first_byte: Duration, tries: &Tries, opened: &Opened) -> Self {
        let rest = first_byte.checked_sub(SILENCE).filter(|_| tries.bears_loss(opened));
        Self { first_byte, rest }
    }

    /// The request is sent: sets the timer to the look, or to the end of the wait.
    pub(super) fn begin(&self, timer: &Timer) {
        timer.set(self.rest.map_or(self.first_byte, |_| SILENCE));
    }

    /// When the time for it has come, looks and lets the timer go on.
    pub(super) fn has_vanished(&mut self, timer: &Timer, up: &mut Connection, resend: Resend) -> bool {
        if !timer.is_elapsed() {
            return false;
        }
        let Some(rest) = self.rest.take() else { return false };
        timer.set(rest);
        resend == Resend::Possible && has_vanished(up.io())
    }
}
