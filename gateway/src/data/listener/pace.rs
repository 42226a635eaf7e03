//! Minimum rate of a request body. A slower client is assumed to occupy a connection on purpose.
//!
//! Only the time spent waiting for the client counts, since an endpoint may read the body slowly. Only bodies with a
//! Content-Length are limited: a client that declares a length has the data, while a chunked body may be a stream that
//! lasts for hours. Silence is limited by the stall timeout.

use http1::BodyLength;

use crate::data::exchange::BodyReadError;
use crate::data::wire::clock::TICK;
use crate::settings::MinBodyRate;

/// The rate of one request body.
#[derive(Debug)]
pub(super) struct BodyPace {
    /// The minimum rate.
    min_bytes_per_second: u64,
    /// Waiting time before the rate is enforced.
    grace_ms: u64,
    /// Bytes that the client still has to send.
    remaining: u64,
    received: u64,
    /// Time spent waiting for the client.
    waited_ms: u64,
    /// The start of the current wait, in milliseconds of the worker's clock.
    wait_began: Option<u64>,
}

impl BodyPace {
    /// Creates the rate of a body. Returns `None` if its rate is not limited.
    pub(super) fn new(length: BodyLength, rate: MinBodyRate) -> Option<Self> {
        let (BodyLength::Exact(remaining @ 1..), Some(minimum)) = (length, rate.bytes_per_second) else {
            return None;
        };
        // The clock may be one tick behind when a wait begins. With that tick added, the grace never ends early.
        let grace_ms = u64::try_from((rate.grace + TICK).as_millis()).unwrap_or(u64::MAX);
        Some(Self {
            min_bytes_per_second: u64::from(minimum.get()),
            grace_ms,
            remaining,
            received: 0,
            waited_ms: 0,
            wait_began: None,
        })
    }

    /// Records that a wait for the client begins or continues.
    pub(super) fn on_pending(&mut self, now: u64) {
        self.wait_began.get_or_insert(now);
    }

    /// Records that `bytes` of the body arrived.
    ///
    /// # Errors
    /// [`BodyReadError::TooSlow`] if the body is incomplete, its grace has passed, and the rate is below the minimum.
    pub(super) fn on_data(&mut self, bytes: usize, now: u64) -> Result<(), BodyReadError> {
        let bytes = bytes as u64;
        self.received = self.received.saturating_add(bytes);
        self.remaining = self.remaining.saturating_sub(bytes);
        self.waited_ms += self.wait_began.take().map_or(0, |began| now.saturating_sub(began));
        let is_slow =
            self.received.saturating_mul(1000) < self.min_bytes_per_second.saturating_mul(self.waited_ms);
        if self.remaining > 0 && self.waited_ms > self.grace_ms && is_slow {
            Err(BodyReadError::TooSlow)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use super::*;

    fn pace(length: u64) -> BodyPace {
        let rate = MinBodyRate { bytes_per_second: NonZeroU32::new(500), grace: Duration::from_secs(20) };
        BodyPace::new(BodyLength::Exact(length), rate).unwrap()
    }

    /// Adds `bytes` each second, and returns the first second in which the body is too slow.
    fn first_slow_second(pace: &mut BodyPace, bytes: usize) -> Option<u64> {
        (1..=100).find(|second| {
            pace.on_pending(second * 1000 - 1000);
            pace.on_data(bytes, second * 1000).is_err()
        })
    }

    #[test]
    fn body_below_the_rate_fails_after_its_grace() {
        assert_eq!(first_slow_second(&mut pace(1 << 20), 1), Some(21));
        assert_eq!(first_slow_second(&mut pace(1 << 20), 499), Some(21));
        assert_eq!(first_slow_second(&mut pace(1 << 20), 500), None);
    }

    #[test]
    fn early_bytes_count_towards_the_rate() {
        let mut pace = pace(1 << 20);
        pace.on_data(20_000, 0).unwrap();
        assert_eq!(first_slow_second(&mut pace, 1), Some(41), "20000 bytes cover 40 seconds");
    }

    #[test]
    fn time_without_a_wait_does_not_count() {
        let mut pace = pace(1 << 20);
        for hour in 0..10 {
            pace.on_data(1, hour * 3_600_000).unwrap();
        }
    }

    #[test]
    fn last_part_is_never_too_slow() {
        let mut pace = pace(10);
        pace.on_pending(0);
        assert!(pace.on_data(9, 59_000).is_err());
        assert!(pace.on_data(1, 118_000).is_ok());
    }

    #[test]
    fn only_bodies_of_known_length_are_limited() {
        let rate = MinBodyRate { bytes_per_second: NonZeroU32::new(500), grace: Duration::ZERO };
        for length in [BodyLength::Empty, BodyLength::Exact(0), BodyLength::Chunked, BodyLength::UntilClose] {
            assert!(BodyPace::new(length, rate).is_none(), "{length:?}");
        }
        assert!(
            BodyPace::new(BodyLength::Exact(1), MinBodyRate { bytes_per_second: None, ..rate }).is_none()
        );
    }
}
