//! How long changes gather before they become one Update: next to nothing when little happens, more in a storm.

use std::time::Duration;

use tokio::time::Instant;

/// For a change that comes alone: its neighbours (an Ingress and its Service) come within this.
const SHORTEST: Duration = Duration::from_millis(2);

/// In a storm: an endpoint is at most so much older than it need be.
const LONGEST: Duration = Duration::from_millis(64);

/// So many changes in one window are a storm.
const STORM: usize = 32;

/// The present window.
#[derive(Debug)]
pub(super) struct Window {
    opened: Option<Instant>,
    length: Duration,
    changes: usize,
}

impl Default for Window {
    fn default() -> Self {
        Self { opened: None, length: SHORTEST, changes: 0 }
    }
}

impl Window {
    /// Takes note of a change; the first one opens the window.
    pub(super) fn note(&mut self, now: Instant) {
        self.opened.get_or_insert(now);
        self.changes += 1;
    }

    /// When it ends; now if nothing opened it.
    pub(super) fn end(&self) -> Instant {
        self.opened.map_or_else(Instant::now, |opened| opened + self.length)
    }

    /// Closes it; the next one is longer after a storm and shorter after a calm.
    pub(super) fn close(&mut self) {
        self.length = if self.changes >= STORM { self.length * 2 } else { self.length / 2 };
        self.length = self.length.clamp(SHORTEST, LONGEST);
        self.opened = None;
        self.changes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storms_lengthen_the_window_and_calm_shortens_it() {
        let mut window = Window::default();
        let mut lengths = Vec::new();
        for changes in [1, 40, 40, 400, 4000, 4000, 4000, 1, 1, 1, 1, 1, 1] {
            let now = Instant::now();
            for _ in 0..changes {
                window.note(now);
            }
            lengths.push((window.end() - now).as_millis());
            window.close();
        }
        assert_eq!(lengths, [2, 2, 4, 8, 16, 32, 64, 64, 32, 16, 8, 4, 2]);
    }
}
