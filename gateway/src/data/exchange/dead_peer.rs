//! Detects during the wait for a response that the endpoint's machine is dead, so that a retry can use another one.
//!
//! A node that loses its power resets no connection. Without the probe, a request on a reused connection waits for the
//! whole first-byte timeout (60 s). Not here: the retry (`forward`).

use std::time::Duration;

use crate::data::upstream::{PooledConnection, Resend, RetryState, Stream};
use crate::data::wire::clock::Timer;

/// Silence after which TCP_INFO is read to detect a dead peer. 2.5 s covers three retransmissions (after 0.2, 0.6 and
/// 1.4 s), and is short for a waiting person.
const PROBE_DELAY: Duration = Duration::from_millis(2500);

/// The probe of one attempt.
#[derive(Debug)]
pub(super) struct DeadPeerProbe {
    first_byte: Duration,
    /// Time to wait after the probe; `None` if there is no probe, or after it.
    remaining: Option<Duration>,
}

impl DeadPeerProbe {
    /// Creates the probe of an attempt. There is none if no retry could follow: a late response is better than none.
    pub(super) fn new(first_byte: Duration, retry: &RetryState, opened: &PooledConnection) -> Self {
        let remaining = first_byte.checked_sub(PROBE_DELAY).filter(|_| retry.can_retry_disconnect(opened));
        Self { first_byte, remaining }
    }

    /// Starts the wait when the request is sent: sets the timer to the probe, or to the end of the wait.
    pub(super) fn start(&self, timer: &Timer) {
        timer.set(self.remaining.map_or(self.first_byte, |_| PROBE_DELAY));
    }

    /// Restarts the wait after an informational response, without a probe: no retry follows a received byte.
    pub(super) fn on_informational(&mut self, timer: &Timer) {
        self.remaining = None;
        timer.set(self.first_byte);
    }

    /// Probes once the time for it has come, and sets the timer to the end of the wait. Returns true if the peer is
    /// dead and the request can be sent again.
    pub(super) fn is_unresponsive(&mut self, timer: &Timer, up: &mut Stream, resend: Resend) -> bool {
        self.is_due(timer) && resend == Resend::Possible && !up.has_received() && up.is_unresponsive()
    }

    /// Returns true once, when the time for the probe has come. Then sets the timer to the end of the wait.
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

    /// Waits for a response that does not come, with an informational response after this time. Returns the length of
    /// the wait and the number of probes.
    async fn wait(informational: Option<Duration>) -> (Duration, usize) {
        let clock = Clock::default();
        let timer = clock.timer();
        let mut probe =
            DeadPeerProbe { first_byte: FIRST_BYTE, remaining: FIRST_BYTE.checked_sub(PROBE_DELAY) };
        let (started_at, mut probes, mut informational) = (Instant::now(), 0, informational);
        let mut ticking = std::pin::pin!(clock.run());
        probe.start(&timer);
        loop {
            assert!(futures::poll!(ticking.as_mut()).is_pending());
            if probe.is_due(&timer) {
                probes += 1;
            } else if timer.is_elapsed() {
                return (started_at.elapsed(), probes);
            }
            if informational.take_if(|after| *after <= started_at.elapsed()).is_some() {
                probe.on_informational(&timer);
            }
            advance(TICK).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn wait_is_whole_despite_probe_and_restarts_at_informational() {
        for (informational, expected, probes) in [
            (None, FIRST_BYTE, 1),
            (Some(Duration::ZERO), FIRST_BYTE, 0),
            (Some(Duration::from_secs(1)), FIRST_BYTE + Duration::from_secs(1), 0),
            (Some(Duration::from_secs(30)), FIRST_BYTE + Duration::from_secs(30), 1),
        ] {
            let (waited, probed) = wait(informational).await;
            assert_eq!(probed, probes, "{informational:?}");
            assert!(waited >= expected && waited <= expected + 4 * TICK, "{informational:?}: {waited:?}");
        }
    }
}
