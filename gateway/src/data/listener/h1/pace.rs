//! How slowly a request body may arrive before the client is taken for one that only wants to hold a place.
//!
//! Only time spent waiting for the client counts: an endpoint that takes the body slowly is not its fault. Only bodies
//! with a Content-Length are judged, since whoever says how much will come has it; a chunked body may be a stream that
//! lasts for hours. Silence is the stall deadline's matter. Not here: HTTP/2, whose clients hold a stream and not a
//! connection.

use http1::BodyLength;

use crate::data::wire::StreamError;
use crate::data::wire::clock::TICK;
use crate::settings::BodyRate;

/// One body's pace.
#[derive(Debug)]
pub(super) struct Pace {
    /// Bytes a second.
    least: u64,
    /// Milliseconds of waiting before it is judged.
    grace: u64,
    /// Bytes that are still to come.
    left: u64,
    passed: u64,
    /// Milliseconds spent waiting for the client.
    waited: u64,
    /// When the present waiting began, in the clock's milliseconds.
    since: Option<u64>,
}

impl Pace {
    /// The pace of a body, if it is to be judged.
    pub(super) fn of(length: BodyLength, rate: BodyRate) -> Option<Self> {
        let (BodyLength::Exact(left @ 1..), Some(least)) = (length, rate.least) else { return None };
        // The clock may have been a tick behind when the waiting began: never early.
        let grace = u64::try_from((rate.grace + TICK).as_millis()).unwrap_or(u64::MAX);
        Some(Self { least: u64::from(least.get()), grace, left, passed: 0, waited: 0, since: None })
    }

    /// Notes that there is nothing from the client now.
    pub(super) fn waits(&mut self, now: u64) {
        self.since.get_or_insert(now);
    }

    /// Notes that a part arrived.
    ///
    /// # Errors
    /// [`StreamError::TooSlow`] if there is more to come and what came so far took too long.
    pub(super) fn passes(&mut self, bytes: usize, now: u64) -> Result<(), StreamError> {
        let bytes = bytes as u64;
        self.passed = self.passed.saturating_add(bytes);
        self.left = self.left.saturating_sub(bytes);
        self.waited += self.since.take().map_or(0, |since| now.saturating_sub(since));
        let is_slow = self.passed.saturating_mul(1000) < self.least.saturating_mul(self.waited);
        if self.left > 0 && self.waited > self.grace && is_slow { Err(StreamError::TooSlow) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use super::*;

    fn pace(length: u64) -> Pace {
        let rate = BodyRate { least: NonZeroU32::new(500), grace: Duration::from_secs(20) };
        Pace::of(BodyLength::Exact(length), rate).unwrap()
    }

    /// Lets a part of this size arrive each second, and says after how many it was too slow.
    fn judged(pace: &mut Pace, bytes: usize) -> Option<u64> {
        (1..=100).find(|second| {
            pace.waits(second * 1000 - 1000);
            pace.passes(bytes, second * 1000).is_err()
        })
    }

    #[test]
    fn a_body_below_the_rate_is_too_slow_once_its_grace_is_over() {
        assert_eq!(judged(&mut pace(1 << 20), 1), Some(21));
        assert_eq!(judged(&mut pace(1 << 20), 499), Some(21));
        assert_eq!(judged(&mut pace(1 << 20), 500), None);
    }

    #[test]
    fn what_came_fast_at_first_counts() {
        let mut pace = pace(1 << 20);
        pace.passes(20_000, 0).unwrap();
        assert_eq!(judged(&mut pace, 1), Some(41), "20000 bytes are worth 40 seconds");
    }

    #[test]
    fn time_in_which_nothing_is_asked_of_the_client_does_not_count() {
        let mut pace = pace(1 << 20);
        for hour in 0..10 {
            pace.passes(1, hour * 3_600_000).unwrap();
        }
    }

    #[test]
    fn the_last_part_is_never_too_late() {
        let mut pace = pace(10);
        pace.waits(0);
        assert!(pace.passes(9, 59_000).is_err());
        assert!(pace.passes(1, 118_000).is_ok());
    }

    #[test]
    fn only_bodies_whose_length_is_known_have_a_pace() {
        let rate = BodyRate { least: NonZeroU32::new(500), grace: Duration::ZERO };
        for length in [BodyLength::Empty, BodyLength::Exact(0), BodyLength::Chunked, BodyLength::UntilClose] {
            assert!(Pace::of(length, rate).is_none(), "{length:?}");
        }
        assert!(Pace::of(BodyLength::Exact(1), BodyRate { least: None, ..rate }).is_none());
    }
}
