//! The age and health of each watch, for the metrics.

use std::sync::{Mutex, MutexGuard, PoisonError};

use routing::object::Kind;
use tokio::time::Instant;

use crate::observe::control_metrics::WatchSample;

/// The state of all watches of a source.
#[derive(Debug, Default)]
pub struct WatchBoard(Mutex<Vec<WatchState>>);

#[derive(Clone, Debug)]
struct WatchState {
    kind: Kind,
    namespace: String,
    last_event_at: Instant,
    is_healthy: bool,
}

impl WatchBoard {
    fn watches(&self) -> MutexGuard<'_, Vec<WatchState>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces all watches.
    pub(super) fn define<'a>(&self, watches: impl Iterator<Item = (Kind, &'a str)>, now: Instant) {
        let state = |(kind, namespace): (Kind, &str)| WatchState {
            kind,
            namespace: namespace.to_owned(),
            last_event_at: now,
            is_healthy: false,
        };
        *self.watches() = watches.map(state).collect();
    }

    /// Records an object, or the end of a list, of the watch with this index.
    pub(super) fn record(&self, index: usize, now: Instant) {
        if let Some(watch) = self.watches().get_mut(index) {
            watch.last_event_at = now;
        }
    }

    /// Sets which watches succeed, in their order.
    pub(super) fn set_health(&self, healthy: impl Iterator<Item = bool>) {
        for (watch, is_healthy) in self.watches().iter_mut().zip(healthy) {
            watch.is_healthy = is_healthy;
        }
    }

    /// Returns the present values.
    pub fn samples(&self) -> Vec<WatchSample> {
        let now = Instant::now();
        let sample = |watch: &WatchState| WatchSample {
            kind: watch.kind.to_string(),
            namespace: watch.namespace.clone(),
            age: now.duration_since(watch.last_event_at),
            is_healthy: watch.is_healthy,
        };
        self.watches().iter().map(sample).collect()
    }
}
