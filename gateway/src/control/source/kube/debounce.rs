//! Groups changes into updates: 2 ms after a single change, up to 64 ms in a burst.

use std::time::Duration;

use tokio::time::Instant;

/// The delay after a single change. Related changes (an Ingress and its Service) arrive within it.
const MIN_DELAY: Duration = Duration::from_millis(2);

/// The delay in a lasting burst. Limits the staleness that batching adds to an endpoint.
const MAX_DELAY: Duration = Duration::from_millis(64);

/// Changes within one delay that count as a burst. The next delay then doubles, otherwise it halves.
const BURST_CHANGES: usize = 32;

/// Decides when the collected changes are sent.
#[derive(Debug)]
pub(super) struct Debounce {
    first_change_at: Option<Instant>,
    delay: Duration,
    changes: usize,
}

impl Default for Debounce {
    fn default() -> Self {
        Self { first_change_at: None, delay: MIN_DELAY, changes: 0 }
    }
}

impl Debounce {
    /// Counts a change. The first one after a reset starts the delay.
    pub(super) fn record(&mut self, now: Instant) {
        self.first_change_at.get_or_insert(now);
        self.changes += 1;
    }

    /// Returns the end of the delay; the present if there was no change.
    pub(super) fn due_at(&self) -> Instant {
        self.first_change_at.map_or_else(Instant::now, |first| first + self.delay)
    }

    /// Starts over after an update was sent, and adapts the delay to the number of changes in it.
    pub(super) fn reset(&mut self) {
        self.delay = if self.changes >= BURST_CHANGES { self.delay * 2 } else { self.delay / 2 };
        self.delay = self.delay.clamp(MIN_DELAY, MAX_DELAY);
        self.first_change_at = None;
        self.changes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delay_doubles_in_a_burst_and_halves_after_it() {
        let mut debounce = Debounce::default();
        let mut delays = Vec::new();
        for changes in [1, 40, 40, 400, 4000, 4000, 4000, 1, 1, 1, 1, 1, 1] {
            let now = Instant::now();
            for _ in 0..changes {
                debounce.record(now);
            }
            delays.push((debounce.due_at() - now).as_millis());
            debounce.reset();
        }
        assert_eq!(delays, [2, 2, 4, 8, 16, 32, 64, 64, 32, 16, 8, 4, 2]);
    }
}
