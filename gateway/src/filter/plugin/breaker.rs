//! A plugin that keeps failing is not called for a while.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Failures are counted within this time.
const WINDOW: Duration = Duration::from_secs(10);

/// Failures within [`WINDOW`] that open a breaker, if they are at least half of the calls.
const MIN_FAILURES: u64 = 3;

/// Time until the first probe.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Maximum time between two probes.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// State of a breaker, as the admin pages name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// The plugin is called.
    Closed,
    /// The plugin is not called, but for one probe at a time.
    Open,
}

/// Counts failures of a plugin over all workers. A closed breaker costs two atomic operations a stream.
#[derive(Debug)]
pub struct Breaker {
    started_at: Instant,
    /// Milliseconds since the start at which the next probe may run, plus one. 0: closed.
    probe_at: AtomicU64,
    /// Streams that began in the present window.
    streams: AtomicU64,
    window: Mutex<Window>,
}

#[derive(Debug)]
struct Window {
    began_at: Instant,
    failures: u64,
    pause: Duration,
}

impl Default for Breaker {
    fn default() -> Self {
        let started_at = Instant::now();
        Self {
            started_at,
            probe_at: AtomicU64::new(0),
            streams: AtomicU64::new(0),
            window: Mutex::new(Window { began_at: started_at, failures: 0, pause: FIRST_PAUSE }),
        }
    }
}

impl Breaker {
    /// May a stream begin? An open breaker lets one through when a probe is due.
    pub(super) fn allows(&self) -> bool {
        let probe_at = self.probe_at.load(Ordering::Relaxed);
        if probe_at == 0 {
            self.streams.fetch_add(1, Ordering::Relaxed);
            return true;
        }
        let now = self.now();
        // Until the probe ends, no other runs: a probe that never ends is followed by one after the longest pause.
        let next = now + as_millis(MAX_PAUSE) + 1;
        now + 1 >= probe_at
            && self.probe_at.compare_exchange(probe_at, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Records that a stream ended without a failure. Closes an open breaker.
    pub fn on_success(&self) {
        if self.probe_at.load(Ordering::Relaxed) != 0 {
            let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
            window.pause = FIRST_PAUSE;
            self.begin_window(&mut window);
            self.probe_at.store(0, Ordering::Relaxed);
        }
    }

    /// Records a failure. Returns true if it opened the breaker.
    pub(super) fn on_failure(&self) -> bool {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if self.probe_at.load(Ordering::Relaxed) != 0 {
            window.pause = (window.pause * 2).min(MAX_PAUSE);
            self.open(window.pause);
            return false;
        }
        if window.began_at.elapsed() > WINDOW {
            self.begin_window(&mut window);
        }
        window.failures += 1;
        let opens =
            window.failures >= MIN_FAILURES && window.failures * 2 >= self.streams.load(Ordering::Relaxed);
        if opens {
            self.open(window.pause);
        }
        opens
    }

    /// Returns the state.
    pub fn state(&self) -> BreakerState {
        if self.probe_at.load(Ordering::Relaxed) == 0 { BreakerState::Closed } else { BreakerState::Open }
    }

    fn begin_window(&self, window: &mut Window) {
        window.began_at = Instant::now();
        window.failures = 0;
        self.streams.store(0, Ordering::Relaxed);
    }

    fn open(&self, pause: Duration) {
        self.probe_at.store(self.now() + as_millis(pause) + 1, Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        as_millis(self.started_at.elapsed())
    }
}

fn as_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn breaker_opens_only_if_half_of_the_streams_fail() {
        let breaker = Breaker::default();
        for _ in 0..100 {
            assert!(breaker.allows());
        }
        for _ in 0..49 {
            assert!(!breaker.on_failure());
        }
        assert!(breaker.on_failure());
        assert_eq!(breaker.state(), BreakerState::Open);
        assert!(!breaker.allows(), "the probe is not due");
    }

    #[test]
    fn success_of_a_probe_closes_it() {
        let breaker = Breaker::default();
        for _ in 0..3 {
            breaker.allows();
            breaker.on_failure();
        }
        assert_eq!(breaker.state(), BreakerState::Open);
        breaker.on_success();
        assert_eq!(breaker.state(), BreakerState::Closed);
        assert!(breaker.allows());
    }
}
