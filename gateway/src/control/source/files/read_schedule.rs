//! When a file is read: at once if it arrived as a whole, else when it stood still. Pure; the clock is an input.
//!
//! Not here: reading, and what an unreadable file means.

use std::time::{Duration, Instant, SystemTime};

use super::scan::FileStamp;

/// How long a file that is written in place must not change before it is read.
const QUIET_PERIOD: Duration = Duration::from_millis(50);
/// How long an empty file keeps its last content: many programs truncate first and write later.
const EMPTY_FILE_GRACE: Duration = Duration::from_secs(1);

/// How a file, or a new version of it, came to its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WriteKind {
    /// Created or edited in place: there may be more to come.
    InPlace,
    /// Renamed into place, or there from the start.
    Atomic,
}

/// What is known of one file.
#[derive(Debug)]
pub(super) struct ReadSchedule {
    stamp: FileStamp,
    /// When this stamp was first seen.
    stamped_at: Instant,
    /// When to read next; nothing if this version was read.
    read_at: Option<Instant>,
}

impl ReadSchedule {
    /// Starts with a file that was not there before.
    pub(super) fn new(stamp: FileStamp, kind: WriteKind, now: Instant) -> Self {
        // A symlink points to something that was there before it, or it is itself being looked at too early
        // and then changes again.
        let is_atomic = kind == WriteKind::Atomic || stamp.resolved.is_some();
        let read_at = if is_atomic { now } else { now + QUIET_PERIOD };
        Self { stamp, stamped_at: now, read_at: Some(read_at) }
    }

    /// Takes note of how the file looks now.
    pub(super) fn on_stamp(&mut self, stamp: FileStamp, kind: WriteKind, now: Instant) {
        if stamp != self.stamp {
            let is_swapped = stamp.resolved.is_some() && stamp.resolved != self.stamp.resolved;
            let is_atomic = is_swapped || kind == WriteKind::Atomic;
            *self = Self {
                stamp,
                stamped_at: now,
                read_at: Some(if is_atomic { now } else { now + QUIET_PERIOD }),
            };
        } else if kind == WriteKind::Atomic && self.read_at.is_some() {
            // The rename was seen in the folder before its event came.
            self.read_at = Some(now);
        }
    }

    /// Says when the file is to be read next.
    pub(super) fn next_read_at(&self) -> Option<Instant> {
        self.read_at
    }

    /// Says which version is to be read.
    pub(super) fn stamp(&self) -> &FileStamp {
        &self.stamp
    }

    /// The file was found in change: it is read when it stands still.
    pub(super) fn postpone(&mut self, now: Instant) {
        self.read_at = Some(now + QUIET_PERIOD);
    }

    /// The file was found empty: says whether its last content still counts, and if so looks again later.
    pub(super) fn defer_if_recent(&mut self, now: Instant) -> bool {
        let until = self.stamped_at + EMPTY_FILE_GRACE;
        let waits = now < until;
        if waits {
            self.read_at = Some(until);
        }
        waits
    }

    /// This version was read. One that was written only just now is read once more: a later write could
    /// carry the same time, whose grain is up to 10 ms, and the same size.
    pub(super) fn mark_read(&mut self, now: Instant, wall: SystemTime) {
        let age = wall.duration_since(self.stamp.modified).unwrap_or(Duration::ZERO);
        let first = now < self.stamped_at + QUIET_PERIOD;
        self.read_at = (first && age < QUIET_PERIOD).then(|| now + QUIET_PERIOD);
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn stamp(size: u64) -> FileStamp {
        FileStamp {
            device: 1,
            inode: 1,
            size,
            modified: SystemTime::UNIX_EPOCH,
            changed: (0, 0),
            resolved: None,
        }
    }

    #[test]
    fn a_file_written_in_place_is_due_when_it_stood_still() {
        let start = Instant::now();
        let mut file = ReadSchedule::new(stamp(1), WriteKind::InPlace, start);
        assert_eq!(file.next_read_at(), Some(start + QUIET_PERIOD));
        let later = start + Duration::from_millis(40);
        file.on_stamp(stamp(2), WriteKind::InPlace, later);
        assert_eq!(file.next_read_at(), Some(later + QUIET_PERIOD));
        file.on_stamp(stamp(2), WriteKind::InPlace, later + Duration::from_millis(40));
        assert_eq!(file.next_read_at(), Some(later + QUIET_PERIOD), "the same stamp does not start over");
    }

    #[test]
    fn a_rename_into_place_is_due_at_once_even_if_its_event_comes_late() {
        let start = Instant::now();
        assert_eq!(ReadSchedule::new(stamp(1), WriteKind::Atomic, start).next_read_at(), Some(start));
        let mut file = ReadSchedule::new(stamp(1), WriteKind::InPlace, start);
        let later = start + Duration::from_millis(1);
        file.on_stamp(stamp(1), WriteKind::Atomic, later);
        assert_eq!(file.next_read_at(), Some(later));
    }

    #[test]
    fn a_swapped_symlink_is_due_at_once() {
        let start = Instant::now();
        let at = |target: &str| FileStamp { resolved: Some(PathBuf::from(target)), ..stamp(1) };
        let mut file = ReadSchedule::new(at("/v1/a.yaml"), WriteKind::InPlace, start);
        file.mark_read(start, SystemTime::now());
        assert_eq!(file.next_read_at(), None);
        file.on_stamp(at("/v2/a.yaml"), WriteKind::InPlace, start + QUIET_PERIOD);
        assert_eq!(file.next_read_at(), Some(start + QUIET_PERIOD));
    }

    #[test]
    fn an_empty_file_keeps_its_content_for_a_second() {
        let start = Instant::now();
        let mut file = ReadSchedule::new(stamp(0), WriteKind::InPlace, start);
        assert!(file.defer_if_recent(start + QUIET_PERIOD));
        assert_eq!(file.next_read_at(), Some(start + EMPTY_FILE_GRACE));
        assert!(!file.defer_if_recent(start + EMPTY_FILE_GRACE));
    }

    #[test]
    fn a_version_written_just_now_is_read_twice() {
        let start = Instant::now();
        let wall = SystemTime::now();
        let fresh = FileStamp { modified: wall, ..stamp(1) };
        let mut file = ReadSchedule::new(fresh, WriteKind::Atomic, start);
        file.mark_read(start, wall);
        assert_eq!(file.next_read_at(), Some(start + QUIET_PERIOD));
        file.mark_read(start + QUIET_PERIOD, wall + QUIET_PERIOD);
        assert_eq!(file.next_read_at(), None);
    }
}
