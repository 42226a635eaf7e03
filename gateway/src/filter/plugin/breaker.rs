//! A plugin that keeps failing is not called for a while.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
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

/// The breakers of a plugin.
#[derive(Debug, Default)]
pub struct Breakers {
    /// Of requests.
    pub requests: Breaker,
    /// Of ticks and queues. Without them the plugin still serves requests.
    pub background: Breaker,
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

/// That a stream may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// The breaker is closed.
    Regular,
    /// The breaker is open: the outcome of this stream decides whether it closes.
    Probe,
}

#[derive(Debug)]
struct Window {
    began_at: Instant,
    failures: u64,
    pause: Duration,
    has_probe: bool,
}

impl Default for Breaker {
    fn default() -> Self {
        let started_at = Instant::now();
        let window = Window { began_at: started_at, failures: 0, pause: FIRST_PAUSE, has_probe: false };
        Self {
            started_at,
            probe_at: AtomicU64::new(0),
            streams: AtomicU64::new(0),
            window: Mutex::new(window),
        }
    }
}

impl Breaker {
    /// Lets a stream begin. An open breaker lets one through when a probe is due, and returns `None` for the others.
    pub(super) fn acquire(&self) -> Option<Admission> {
        let probe_at = self.probe_at.load(Ordering::Relaxed);
        if probe_at == 0 {
            self.streams.fetch_add(1, Ordering::Relaxed);
            return Some(Admission::Regular);
        }
        if self.now() + 1 < probe_at {
            return None;
        }
        let mut window = self.window();
        // Another thread may have taken the probe.
        let is_due = self.now() + 1 >= self.probe_at.load(Ordering::Relaxed);
        if is_due {
            window.has_probe = true;
            // Until the probe ends, no other runs. One that never ends is followed by another.
            self.open(MAX_PAUSE);
        }
        is_due.then_some(Admission::Probe)
    }

    /// Records that a stream ended without a failure. That of a probe closes the breaker.
    pub(super) fn on_success(&self, admission: Admission) {
        if admission == Admission::Probe {
            self.close();
        }
    }

    /// Closes the breaker, as for a new version of the plugin.
    pub fn close(&self) {
        if self.probe_at.load(Ordering::Relaxed) != 0 {
            let mut window = self.window();
            window.pause = FIRST_PAUSE;
            self.begin_window(&mut window);
            self.probe_at.store(0, Ordering::Relaxed);
        }
    }

    /// Records a failure. Returns true if it opened the breaker. While it is open, only the failure of a probe counts:
    /// streams that began before may fail late.
    pub(super) fn on_failure(&self) -> bool {
        let mut window = self.window();
        if self.probe_at.load(Ordering::Relaxed) != 0 {
            if std::mem::take(&mut window.has_probe) {
                window.pause = (window.pause * 2).min(MAX_PAUSE);
                self.open(window.pause);
            }
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

    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin_window(&self, window: &mut Window) {
        window.began_at = Instant::now();
        window.failures = 0;
        window.has_probe = false;
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

    fn opened() -> Breaker {
        let breaker = Breaker::default();
        for _ in 0..3 {
            assert_eq!(breaker.acquire(), Some(Admission::Regular));
            breaker.on_failure();
        }
        assert_eq!(breaker.state(), BreakerState::Open);
        breaker
    }

    /// Makes the next probe due.
    fn elapse(breaker: &Breaker) {
        breaker.probe_at.store(1, Ordering::Relaxed);
    }

    fn pause_of(breaker: &Breaker) -> Duration {
        breaker.window().pause
    }

    #[test]
    fn breaker_opens_only_if_half_of_the_streams_fail() {
        let breaker = Breaker::default();
        for _ in 0..100 {
            assert_eq!(breaker.acquire(), Some(Admission::Regular));
        }
        for _ in 0..49 {
            assert!(!breaker.on_failure());
        }
        assert!(breaker.on_failure());
        assert_eq!(breaker.state(), BreakerState::Open);
        assert_eq!(breaker.acquire(), None, "the probe is not due");
    }

    #[test]
    fn success_of_a_probe_closes_it() {
        let breaker = opened();
        elapse(&breaker);
        assert_eq!(breaker.acquire(), Some(Admission::Probe));
        assert_eq!(breaker.acquire(), None, "one probe at a time");
        breaker.on_success(Admission::Probe);
        assert_eq!(breaker.state(), BreakerState::Closed);
        assert_eq!(breaker.acquire(), Some(Admission::Regular));
    }

    #[test]
    fn older_streams_neither_close_it_nor_prolong_its_pause() {
        let breaker = opened();
        breaker.on_success(Admission::Regular);
        assert_eq!(breaker.state(), BreakerState::Open);
        for _ in 0..10 {
            assert!(!breaker.on_failure());
        }
        assert_eq!(pause_of(&breaker), FIRST_PAUSE);
    }

    #[test]
    fn failures_of_probes_double_the_pause_to_a_maximum() {
        let breaker = opened();
        let pauses: Vec<_> = (0..8)
            .map(|_| {
                elapse(&breaker);
                assert_eq!(breaker.acquire(), Some(Admission::Probe));
                breaker.on_failure();
                pause_of(&breaker).as_secs()
            })
            .collect();
        assert_eq!(pauses, [2, 4, 8, 16, 32, 60, 60, 60]);
    }
}
