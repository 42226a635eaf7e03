//! When a file is read: at once if it arrived as a whole, else when it stood still. Pure; the clock is an input.
//!
//! Not here: reading, and what an unreadable file means.

use std::time::{Duration, Instant, SystemTime};

use super::scan::Stamp;

/// How long a file that is written in place must not change before it is read.
const STILL: Duration = Duration::from_millis(50);
/// How long an empty file keeps its last content: many programs truncate first and write later.
const EMPTY: Duration = Duration::from_secs(1);

/// How a file, or a new version of it, came to its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// Created or edited in place: there may be more to come.
    Gradual,
    /// Renamed into place, or there from the start.
    Whole,
}

/// What is known of one file.
#[derive(Debug)]
pub(super) struct Tracked {
    stamp: Stamp,
    /// When this stamp was first seen.
    since: Instant,
    /// When to read next; nothing if this version was read.
    due: Option<Instant>,
}

impl Tracked {
    /// Starts with a file that was not there before.
    pub(super) fn new(stamp: Stamp, arrival: Arrival, now: Instant) -> Self {
        // A symlink points to something that was there before it, or it is itself being looked at too early
        // and then changes again.
        let whole = arrival == Arrival::Whole || stamp.resolved.is_some();
        let due = if whole { now } else { now + STILL };
        Self { stamp, since: now, due: Some(due) }
    }

    /// Takes note of how the file looks now.
    pub(super) fn see(&mut self, stamp: Stamp, arrival: Arrival, now: Instant) {
        if stamp != self.stamp {
            let swapped = stamp.resolved.is_some() && stamp.resolved != self.stamp.resolved;
            let whole = swapped || arrival == Arrival::Whole;
            *self = Self { stamp, since: now, due: Some(if whole { now } else { now + STILL }) };
        } else if arrival == Arrival::Whole && self.due.is_some() {
            // The rename was seen in the folder before its event came.
            self.due = Some(now);
        }
    }

    /// Says when the file is to be read next.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Says which version is to be read.
    pub(super) fn stamp(&self) -> &Stamp {
        &self.stamp
    }

    /// The file was found in change: it is read when it stands still.
    pub(super) fn postpone(&mut self, now: Instant) {
        self.due = Some(now + STILL);
    }

    /// The file was found empty: says whether its last content still counts, and if so looks again later.
    pub(super) fn waits_for_content(&mut self, now: Instant) -> bool {
        let until = self.since + EMPTY;
        let waits = now < until;
        if waits {
            self.due = Some(until);
        }
        waits
    }

    /// This version was read. One that was written only just now is read once more: a later write could
    /// carry the same time, whose grain is up to 10 ms, and the same size.
    pub(super) fn was_read(&mut self, now: Instant, wall: SystemTime) {
        let age = wall.duration_since(self.stamp.modified).unwrap_or(Duration::ZERO);
        let first = now < self.since + STILL;
        self.due = (first && age < STILL).then(|| now + STILL);
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn stamp(size: u64) -> Stamp {
        Stamp { device: 1, inode: 1, size, modified: SystemTime::UNIX_EPOCH, changed: (0, 0), resolved: None }
    }

    #[test]
    fn a_file_written_in_place_is_due_when_it_stood_still() {
        let start = Instant::now();
        let mut file = Tracked::new(stamp(1), Arrival::Gradual, start);
        assert_eq!(file.due(), Some(start + STILL));
        let later = start + Duration::from_millis(40);
        file.see(stamp(2), Arrival::Gradual, later);
        assert_eq!(file.due(), Some(later + STILL));
        file.see(stamp(2), Arrival::Gradual, later + Duration::from_millis(40));
        assert_eq!(file.due(), Some(later + STILL), "the same stamp does not start over");
    }

    #[test]
    fn a_rename_into_place_is_due_at_once_even_if_its_event_comes_late() {
        let start = Instant::now();
        assert_eq!(Tracked::new(stamp(1), Arrival::Whole, start).due(), Some(start));
        let mut file = Tracked::new(stamp(1), Arrival::Gradual, start);
        let later = start + Duration::from_millis(1);
        file.see(stamp(1), Arrival::Whole, later);
        assert_eq!(file.due(), Some(later));
    }

    #[test]
    fn a_swapped_symlink_is_due_at_once() {
        let start = Instant::now();
        let at = |target: &str| Stamp { resolved: Some(PathBuf::from(target)), ..stamp(1) };
        let mut file = Tracked::new(at("/v1/a.yaml"), Arrival::Gradual, start);
        file.was_read(start, SystemTime::now());
        assert_eq!(file.due(), None);
        file.see(at("/v2/a.yaml"), Arrival::Gradual, start + STILL);
        assert_eq!(file.due(), Some(start + STILL));
    }

    #[test]
    fn an_empty_file_keeps_its_content_for_a_second() {
        let start = Instant::now();
        let mut file = Tracked::new(stamp(0), Arrival::Gradual, start);
        assert!(file.waits_for_content(start + STILL));
        assert_eq!(file.due(), Some(start + EMPTY));
        assert!(!file.waits_for_content(start + EMPTY));
    }

    #[test]
    fn a_version_written_just_now_is_read_twice() {
        let start = Instant::now();
        let wall = SystemTime::now();
        let fresh = Stamp { modified: wall, ..stamp(1) };
        let mut file = Tracked::new(fresh, Arrival::Whole, start);
        file.was_read(start, wall);
        assert_eq!(file.due(), Some(start + STILL));
        file.was_read(start + STILL, wall + STILL);
        assert_eq!(file.due(), None);
    }
}
