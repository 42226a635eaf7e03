//! How long changes gather before they become one Update: next to nothing when little happens, more in a storm.

use std::time::Duration;

use tokio::time::Instant;

/// For a change that comes alone: its neighbours (an Ingress and its Service) come within this.
const MIN_DELAY: Duration = Duration::from_millis(2);

/// In a storm: an endpoint is at most so much older than it need be.
const MAX_DELAY: Duration = Duration::from_millis(64);

/// So many changes in one window are a storm.
const BURST_CHANGES: usize = 32;

/// The present window.
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
    /// Takes note of a change; the first one opens the window.
    pub(super) fn record(&mut self, now: Instant) {
        self.first_change_at.get_or_insert(now);
        self.changes += 1;
    }

    /// When it ends; now if nothing opened it.
    pub(super) fn due_at(&self) -> Instant {
        self.first_change_at.map_or_else(Instant::now, |first_change_at| first_change_at + self.delay)
    }

    /// Closes it; the next one is longer after a storm and shorter after a calm.
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
    fn storms_lengthen_the_window_and_calm_shortens_it() {
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
