//! Limits the rate of writes: a burst, and then a steady rate. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// A token bucket.
#[derive(Debug)]
pub(super) struct RateLimit {
    interval: Duration,
    burst: u32,
    /// When the bucket is full again, if no token is taken.
    full_at: Option<Instant>,
}

impl RateLimit {
    /// Returns a full bucket of `burst` writes, which gets `per_second` new ones.
    pub(super) fn new((per_second, burst): (u32, u32)) -> Self {
        Self { interval: Duration::from_secs(1) / per_second, burst, full_at: None }
    }

    /// Returns when the next token is available; a past moment if one is.
    pub(super) fn ready_at(&self, now: Instant) -> Instant {
        let spare = self.interval * self.burst.saturating_sub(1);
        self.full_at.map_or(now, |full_at| full_at.checked_sub(spare).unwrap_or(now))
    }

    /// Takes a token. The caller has waited for [`Self::ready_at`].
    pub(super) fn acquire(&mut self, now: Instant) {
        let from = self.full_at.map_or(now, |full_at| full_at.max(now));
        self.full_at = Some(from + self.interval);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burst_is_free_and_then_the_rate_holds() {
        let (start, mut limit) = (Instant::now(), RateLimit::new((10, 3)));
        let mut now = start;
        let mut times = Vec::new();
        for _ in 0..6 {
            now = now.max(limit.ready_at(now));
            limit.acquire(now);
            times.push((now - start).as_millis());
        }
        assert_eq!(times, [0, 0, 0, 100, 200, 300]);
        let later = now + Duration::from_secs(5);
        for _ in 0..3 {
            assert!(limit.ready_at(later) <= later, "the bucket is full again");
            limit.acquire(later);
        }
        assert!(limit.ready_at(later) > later);
    }
}
