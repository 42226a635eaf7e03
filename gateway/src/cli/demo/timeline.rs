//! Events in the order of their times, although the access log reports requests late.
//!
//! Not here: what an event is.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use crate::observe::access_log::FLUSH_INTERVAL;

/// Time that an event waits for earlier ones: workers report within [`FLUSH_INTERVAL`], and threads take up to 50 ms more.
const DELAY: Duration = FLUSH_INTERVAL.saturating_add(Duration::from_millis(50));

/// Events that wait for earlier ones.
#[derive(Debug)]
pub(super) struct Timeline<T> {
    /// By time, and by arrival where times are equal.
    events: BTreeMap<(SystemTime, u64), T>,
    arrivals: u64,
}

impl<T> Default for Timeline<T> {
    fn default() -> Self {
        Self { events: BTreeMap::new(), arrivals: 0 }
    }
}

impl<T> Timeline<T> {
    /// Adds an event.
    pub(super) fn insert(&mut self, time: SystemTime, event: T) {
        self.events.insert((time, self.arrivals), event);
        self.arrivals += 1;
    }

    /// Returns how long the first event has to wait. `None`: there is no event.
    pub(super) fn wait_time(&self, now: SystemTime) -> Option<Duration> {
        let ((time, _), _) = self.events.first_key_value()?;
        // A clock that was set back must not hold an event longer than any other.
        Some((*time + DELAY).duration_since(now).unwrap_or_default().min(DELAY))
    }

    /// Removes the first event if it has waited long enough.
    pub(super) fn pop(&mut self, now: SystemTime) -> Option<T> {
        if self.wait_time(now)? > Duration::ZERO {
            return None;
        }
        self.events.pop_first().map(|(_, event)| event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_event_is_returned_before_younger_ones() {
        let (start, mut timeline) = (SystemTime::now(), Timeline::default());
        let at = |millis| start + Duration::from_millis(millis);
        timeline.insert(at(20), "live");
        timeline.insert(at(10), "request");
        assert_eq!(timeline.wait_time(at(30)), Some(DELAY - Duration::from_millis(20)));
        assert_eq!(timeline.pop(at(30)), None);
        let late = at(20) + DELAY;
        assert_eq!([(); 3].map(|()| timeline.pop(late)), [Some("request"), Some("live"), None]);
        assert_eq!(timeline.wait_time(late), None);
    }
}
