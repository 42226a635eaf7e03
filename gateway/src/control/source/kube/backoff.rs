//! The delay between attempts at the API server: exponential, with jitter.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use tokio::time::Instant;

/// The delay after the first failure. Each further failure doubles it.
const INITIAL_DELAY: Duration = Duration::from_millis(500);

/// The longest delay, before jitter. A restarting API server also rejects valid requests for a moment, so two of the
/// longest delays must fit in 30 s.
pub(super) const MAX_DELAY: Duration = Duration::from_secs(10);

/// Failure-free time after which the delay restarts at [`INITIAL_DELAY`]. Must exceed the longest delay (12.5 s with
/// jitter) plus the list timeout (50 s).
pub(super) const RESET_AFTER: Duration = Duration::from_secs(90);

/// An endless sequence of delays: 0.5 s, doubling to 10 s, each with up to 25 % jitter.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
    last_failure: Option<Instant>,
}

impl Backoff {
    /// Returns the delay before the next attempt, after a failure just now.
    pub(super) fn next_delay(&mut self) -> Duration {
        let now = Instant::now();
        let previous = self.last_failure.replace(now);
        if previous.is_none_or(|previous| now.duration_since(previous) > RESET_AFTER) {
            self.next = INITIAL_DELAY;
        }
        let delay = self.next;
        self.next = (delay * 2).min(MAX_DELAY);
        with_jitter(delay)
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: INITIAL_DELAY, last_failure: None }
    }
}

/// Adds up to 25 % at random. It spreads the reconnects of gateways that lose their API server at the same moment.
fn with_jitter(delay: Duration) -> Duration {
    let random = RandomState::new().hash_one(0) % 256;
    delay + delay.mul_f64(f64::from(u32::try_from(random).unwrap_or(0)) / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn delays_double_to_ten_seconds_and_restart_after_a_pause() {
        let mut backoff = Backoff::default();
        let mut fail = async |expected: u64, pause: Duration| {
            let (delay, expected) = (backoff.next_delay(), Duration::from_millis(expected));
            assert!(delay >= expected && delay <= expected * 5 / 4, "{delay:?} instead of {expected:?}");
            tokio::time::advance(delay + pause).await;
        };
        for expected in [500, 1000, 2000, 4000, 8000, 10_000, 10_000] {
            fail(expected, Duration::ZERO).await;
        }
        fail(10_000, RESET_AFTER).await;
        fail(500, Duration::ZERO).await;
        fail(1000, Duration::ZERO).await;
    }
}
