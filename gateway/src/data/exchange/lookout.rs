//! Noticing in the middle of a wait that the endpoint's machine is gone, where another endpoint can be asked.
//!
//! A node that loses its power resets no connection: a request that was sent on a kept one would wait for its whole
//! first-byte limit (60 s). Not here: what becomes of the request (`forward`).

use std::time::Duration;

use crate::data::upstream::{Connection, PooledConnection, Resend, RetryState, is_unresponsive};
use crate::data::wire::clock::Timer;

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
    pub(super) fn new(first_byte: Duration, retry: &RetryState, opened: &PooledConnection) -> Self {
        let rest = first_byte.checked_sub(SILENCE).filter(|_| retry.can_retry_disconnect(opened));
        Self { first_byte, rest }
    }

    /// The request is sent: sets the timer to the look, or to the end of the wait.
    pub(super) fn begin(&self, timer: &Timer) {
        timer.set(self.rest.map_or(self.first_byte, |_| SILENCE));
    }

    /// An interim answer has come, and gives the endpoint its time anew. There is nothing more to look for: it has
    /// said something, so the request is not sent again.
    pub(super) fn interim(&mut self, timer: &Timer) {
        self.rest = None;
        timer.set(self.first_byte);
    }

    /// When the time for it has come, looks and lets the timer go on.
    pub(super) fn has_vanished(&mut self, timer: &Timer, up: &mut Connection, resend: Resend) -> bool {
        self.is_due(timer) && resend == Resend::Possible && !up.has_received() && is_unresponsive(up.io())
    }

    /// Whether the time for the look has come, once; the timer goes on then.
    fn is_due(&mut self, timer: &Timer) -> bool {
        if !timer.is_elapsed() {
            return false;
        }
        let Some(rest) = self.rest.take() else { return false };
        timer.set(rest);
        true
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, advance};

    use super::*;
    use crate::data::wire::clock::{Clock, TICK};

    const FIRST_BYTE: Duration = Duration::from_secs(60);

    /// How long after its beginning a wait ends in which an interim answer comes after so long, if one does, and how
    /// many looks there are.
    async fn wait(interim: Option<Duration>) -> (Duration, usize) {
        let clock = Clock::default();
        let timer = clock.timer();
        let mut lookout = Lookout { first_byte: FIRST_BYTE, rest: FIRST_BYTE.checked_sub(SILENCE) };
        let (began, mut looks, mut interim) = (Instant::now(), 0, interim);
        let mut ticking = std::pin::pin!(clock.run());
        lookout.begin(&timer);
        loop {
            assert!(futures::poll!(ticking.as_mut()).is_pending());
            if lookout.is_due(&timer) {
                looks += 1;
            } else if timer.is_elapsed() {
                return (began.elapsed(), looks);
            }
            if interim.take_if(|after| *after <= began.elapsed()).is_some() {
                lookout.interim(&timer);
            }
            advance(TICK).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_has_its_whole_time_with_a_look_and_once_more_from_an_interim_answer_on() {
        for (interim, expected, looks) in [
            (None, FIRST_BYTE, 1),
            (Some(Duration::ZERO), FIRST_BYTE, 0),
            (Some(Duration::from_secs(1)), FIRST_BYTE + Duration::from_secs(1), 0),
            (Some(Duration::from_secs(30)), FIRST_BYTE + Duration::from_secs(30), 1),
        ] {
            let (took, looked) = wait(interim).await;
            assert_eq!(looked, looks, "{interim:?}");
            assert!(took >= expected && took <= expected + 4 * TICK, "{interim:?}: {took:?}");
        }
    }
}
