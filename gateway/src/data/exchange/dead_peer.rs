//! Noticing in the middle of a wait that the endpoint's machine is gone, where another endpoint can be asked.
//!
//! A node that loses its power resets no connection: a request that was sent on a kept one would wait for its whole
//! first-byte limit (60 s). Not here: what becomes of the request (`forward`).

use std::time::Duration;

use crate::data::upstream::{Connection, PooledConnection, Resend, RetryState, is_unresponsive};
use crate::data::wire::clock::Timer;

/// After so long without a byte of the answer it is looked whether the machine still acknowledges what it is sent:
/// long enough for three retransmissions (0.2, 0.6 and 1.4 s after the first sending), short enough for a person.
const PROBE_DELAY: Duration = Duration::from_millis(2500);

/// One look at one try.
#[derive(Debug)]
pub(super) struct DeadPeerProbe {
    first_byte: Duration,
    /// What is left to wait after the look; nothing: there is none, or it was made.
    remaining: Option<Duration>,
}

impl DeadPeerProbe {
    /// A look within the wait for the first byte. Where losing the connection brings no further try there is none: an
    /// answer that comes late is better than none.
    pub(super) fn new(first_byte: Duration, retry: &RetryState, opened: &PooledConnection) -> Self {
        let remaining = first_byte.checked_sub(PROBE_DELAY).filter(|_| retry.can_retry_disconnect(opened));
        Self { first_byte, remaining }
    }

    /// The request is sent: sets the timer to the look, or to the end of the wait.
    pub(super) fn start(&self, timer: &Timer) {
        timer.set(self.remaining.map_or(self.first_byte, |_| PROBE_DELAY));
    }

    /// An informational answer has come, and gives the endpoint its time anew. There is nothing more to look for: it has
    /// said something, so the request is not sent again.
    pub(super) fn on_informational(&mut self, timer: &Timer) {
        self.remaining = None;
        timer.set(self.first_byte);
    }

    /// When the time for it has come, probes and lets the timer go on.
    pub(super) fn is_unresponsive(&mut self, timer: &Timer, up: &mut Connection, resend: Resend) -> bool {
        self.is_due(timer) && resend == Resend::Possible && !up.has_received() && is_unresponsive(up.io())
    }

    /// Whether the time for the look has come, once; the timer goes on then.
    fn is_due(&mut self, timer: &Timer) -> bool {
        if !timer.is_elapsed() {
            return false;
        }
        let Some(remaining) = self.remaining.take() else { return false };
        timer.set(remaining);
        true
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, advance};

    use super::*;
    use crate::data::wire::clock::{Clock, TICK};

    const FIRST_BYTE: Duration = Duration::from_secs(60);

    /// How long after its beginning a wait ends in which an informational answer comes after so long, if one does, and how
    /// many probes there are.
    async fn wait(informational: Option<Duration>) -> (Duration, usize) {
        let clock = Clock::default();
        let timer = clock.timer();
        let mut probe =
            DeadPeerProbe { first_byte: FIRST_BYTE, remaining: FIRST_BYTE.checked_sub(PROBE_DELAY) };
        let (began, mut probes, mut informational) = (Instant::now(), 0, informational);
        let mut ticking = std::pin::pin!(clock.run());
        probe.start(&timer);
        loop {
            assert!(futures::poll!(ticking.as_mut()).is_pending());
            if probe.is_due(&timer) {
                probes += 1;
            } else if timer.is_elapsed() {
                return (began.elapsed(), probes);
            }
            if informational.take_if(|after| *after <= began.elapsed()).is_some() {
                probe.on_informational(&timer);
            }
            advance(TICK).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_has_its_whole_time_with_a_look_and_once_more_from_an_interim_answer_on() {
        for (informational, expected, probes) in [
            (None, FIRST_BYTE, 1),
            (Some(Duration::ZERO), FIRST_BYTE, 0),
            (Some(Duration::from_secs(1)), FIRST_BYTE + Duration::from_secs(1), 0),
            (Some(Duration::from_secs(30)), FIRST_BYTE + Duration::from_secs(30), 1),
        ] {
            let (took, probed) = wait(informational).await;
            assert_eq!(probed, probes, "{informational:?}");
            assert!(took >= expected && took <= expected + 4 * TICK, "{informational:?}: {took:?}");
        }
    }
}
