//! How slowly a request body may arrive before the client is taken for one that only wants to hold a place.
//!
//! Only time spent waiting for the client counts: an endpoint that takes the body slowly is not its fault. Only bodies
//! with a Content-Length are judged, since whoever says how much will come has it; a chunked body may be a stream that
//! lasts for hours. Silence is the stall deadline's matter. Not here: HTTP/2, whose clients hold a stream and not a
//! connection.

use http1::BodyLength;

use crate::data::wire::StreamError;
use crate::data::wire::clock::TICK;
use crate::settings::MinBodyRate;

/// One body's pace.
#[derive(Debug)]
pub(super) struct BodyPace {
    /// Bytes a second.
    min_bytes_per_second: u64,
    /// Milliseconds of waiting before it is judged.
    grace_ms: u64,
    /// Bytes that are still to come.
    remaining: u64,
    received: u64,
    /// Milliseconds spent waiting for the client.
    waited_ms: u64,
    /// When the present waiting began, in the clock's milliseconds.
    wait_began: Option<u64>,
}

impl BodyPace {
    /// The pace of a body, if it is to be judged.
    pub(super) fn new(length: BodyLength, rate: MinBodyRate) -> Option<Self> {
        let (BodyLength::Exact(remaining @ 1..), Some(least)) = (length, rate.bytes_per_second) else {
            return None;
        };
        // The clock may have been a tick behind when the waiting began: never early.
        let grace_ms = u64::try_from((rate.grace + TICK).as_millis()).unwrap_or(u64::MAX);
        Some(Self {
            min_bytes_per_second: u64::from(least.get()),
            grace_ms,
            remaining,
            received: 0,
            waited_ms: 0,
            wait_began: None,
        })
    }

    /// Notes that there is nothing from the client now.
    pub(super) fn on_pending(&mut self, now: u64) {
        self.wait_began.get_or_insert(now);
    }

    /// Notes that a part arrived.
    ///
    /// # Errors
    /// [`StreamError::TooSlow`] if there is more to come and what came so far took too long.
    pub(super) fn on_data(&mut self, bytes: usize, now: u64) -> Result<(), StreamError> {
        let bytes = bytes as u64;
        self.received = self.received.saturating_add(bytes);
        self.remaining = self.remaining.saturating_sub(bytes);
        self.waited_ms += self.wait_began.take().map_or(0, |began| now.saturating_sub(began));
        let is_slow =
            self.received.saturating_mul(1000) < self.min_bytes_per_second.saturating_mul(self.waited_ms);
        if self.remaining > 0 && self.waited_ms > self.grace_ms && is_slow {
            Err(StreamError::TooSlow)
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

    /// Lets a part of this size arrive each second, and says after how many it was too slow.
    fn first_slow_second(pace: &mut BodyPace, bytes: usize) -> Option<u64> {
        (1..=100).find(|second| {
            pace.on_pending(second * 1000 - 1000);
            pace.on_data(bytes, second * 1000).is_err()
        })
    }

    #[test]
    fn a_body_below_the_rate_is_too_slow_once_its_grace_is_over() {
        assert_eq!(first_slow_second(&mut pace(1 << 20), 1), Some(21));
        assert_eq!(first_slow_second(&mut pace(1 << 20), 499), Some(21));
        assert_eq!(first_slow_second(&mut pace(1 << 20), 500), None);
    }

    #[test]
    fn what_came_fast_at_first_counts() {
        let mut pace = pace(1 << 20);
        pace.on_data(20_000, 0).unwrap();
        assert_eq!(first_slow_second(&mut pace, 1), Some(41), "20000 bytes are worth 40 seconds");
    }

    #[test]
    fn time_in_which_nothing_is_asked_of_the_client_does_not_count() {
        let mut pace = pace(1 << 20);
        for hour in 0..10 {
            pace.on_data(1, hour * 3_600_000).unwrap();
        }
    }

    #[test]
    fn the_last_part_is_never_too_late() {
        let mut pace = pace(10);
        pace.on_pending(0);
        assert!(pace.on_data(9, 59_000).is_err());
        assert!(pace.on_data(1, 118_000).is_ok());
    }

    #[test]
    fn only_bodies_whose_length_is_known_have_a_pace() {
        let rate = MinBodyRate { bytes_per_second: NonZeroU32::new(500), grace: Duration::ZERO };
        for length in [BodyLength::Empty, BodyLength::Exact(0), BodyLength::Chunked, BodyLength::UntilClose] {
            assert!(BodyPace::new(length, rate).is_none(), "{length:?}");
        }
        assert!(
            BodyPace::new(BodyLength::Exact(1), MinBodyRate { bytes_per_second: None, ..rate }).is_none()
        );
    }
}
