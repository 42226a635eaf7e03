//! When a file is read: at once after an atomic write, otherwise once it was unchanged for 50 ms. Pure; the clock is an
//! input.
//!
//! Not here: reading, and the consequences of an unreadable file.

use std::time::{Duration, Instant, SystemTime};

use super::scan::FileStamp;

/// How long a file that is written in place must be unchanged before it is read.
const QUIET_PERIOD: Duration = Duration::from_millis(50);
/// How long a file that became empty keeps its last content. Many programs truncate first and write later.
const EMPTY_FILE_GRACE: Duration = Duration::from_secs(1);

/// How a version of a file was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WriteKind {
    /// Created or edited in place. More writes may follow.
    InPlace,
    /// Renamed into place, or there at the start.
    Atomic,
}

/// The state of one file, and when to read it next.
#[derive(Debug)]
pub(super) struct ReadSchedule {
    stamp: FileStamp,
    /// When the stamp was first seen.
    stamped_at: Instant,
    /// `None` if this version was read.
    read_at: Option<Instant>,
}

impl ReadSchedule {
    /// Returns the schedule of a new file.
    pub(super) fn new(stamp: FileStamp, kind: WriteKind, now: Instant) -> Self {
        // The target of a symlink usually exists before the symlink. If not, the stamp changes again.
        let is_atomic = kind == WriteKind::Atomic || stamp.resolved.is_some();
        let read_at = if is_atomic { now } else { now + QUIET_PERIOD };
        Self { stamp, stamped_at: now, read_at: Some(read_at) }
    }

    /// Handles the stamp of a scan.
    pub(super) fn on_stamp(&mut self, stamp: FileStamp, kind: WriteKind, now: Instant) {
        if stamp != self.stamp {
            let is_swapped = stamp.resolved.is_some() && stamp.resolved != self.stamp.resolved;
            let is_atomic = is_swapped || kind == WriteKind::Atomic;
            let read_at = if is_atomic { now } else { now + QUIET_PERIOD };
            *self = Self { stamp, stamped_at: now, read_at: Some(read_at) };
        } else if kind == WriteKind::Atomic && self.read_at.is_some() {
            // A scan saw the rename before its event arrived.
            self.read_at = Some(now);
        }
    }

    /// Returns when the file must be read; `None` if its present version was read.
    pub(super) fn next_read_at(&self) -> Option<Instant> {
        self.read_at
    }

    /// Returns the stamp of the version that must be read.
    pub(super) fn stamp(&self) -> &FileStamp {
        &self.stamp
    }

    /// Delays the read of a file that changed during it.
    pub(super) fn postpone(&mut self, now: Instant) {
        self.read_at = Some(now + QUIET_PERIOD);
    }

    /// Delays the read of an empty file until its grace period ends. Returns false if it has ended: the file is empty.
    pub(super) fn defer_if_recent(&mut self, now: Instant) -> bool {
        let until = self.stamped_at + EMPTY_FILE_GRACE;
        let is_recent = now < until;
        if is_recent {
            self.read_at = Some(until);
        }
        is_recent
    }

    /// Records that this version was read.
    ///
    /// A version written within the last 50 ms is read a second time. A later write can have the same size and time:
    /// the granularity of file times is up to 10 ms.
    pub(super) fn mark_read(&mut self, now: Instant, wall: SystemTime) {
        let age = wall.duration_since(self.stamp.modified).unwrap_or(Duration::ZERO);
        let is_first_read = now < self.stamped_at + QUIET_PERIOD;
        self.read_at = (is_first_read && age < QUIET_PERIOD).then(|| now + QUIET_PERIOD);
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
    fn in_place_write_is_read_after_the_quiet_period() {
        let start = Instant::now();
        let mut file = ReadSchedule::new(stamp(1), WriteKind::InPlace, start);
        assert_eq!(file.next_read_at(), Some(start + QUIET_PERIOD));
        let later = start + Duration::from_millis(40);
        file.on_stamp(stamp(2), WriteKind::InPlace, later);
        assert_eq!(file.next_read_at(), Some(later + QUIET_PERIOD));
        file.on_stamp(stamp(2), WriteKind::InPlace, later + Duration::from_millis(40));
        assert_eq!(
            file.next_read_at(),
            Some(later + QUIET_PERIOD),
            "the same stamp does not restart the period"
        );
    }

    #[test]
    fn rename_is_read_at_once_even_if_its_event_is_late() {
        let start = Instant::now();
        assert_eq!(ReadSchedule::new(stamp(1), WriteKind::Atomic, start).next_read_at(), Some(start));
        let mut file = ReadSchedule::new(stamp(1), WriteKind::InPlace, start);
        let later = start + Duration::from_millis(1);
        file.on_stamp(stamp(1), WriteKind::Atomic, later);
        assert_eq!(file.next_read_at(), Some(later));
    }

    #[test]
    fn swapped_symlink_is_read_at_once() {
        let start = Instant::now();
        let linked_to = |target: &str| FileStamp { resolved: Some(PathBuf::from(target)), ..stamp(1) };
        let mut file = ReadSchedule::new(linked_to("/v1/a.yaml"), WriteKind::InPlace, start);
        file.mark_read(start, SystemTime::now());
        assert_eq!(file.next_read_at(), None);
        file.on_stamp(linked_to("/v2/a.yaml"), WriteKind::InPlace, start + QUIET_PERIOD);
        assert_eq!(file.next_read_at(), Some(start + QUIET_PERIOD));
    }

    #[test]
    fn empty_file_keeps_its_content_for_a_second() {
        let start = Instant::now();
        let mut file = ReadSchedule::new(stamp(0), WriteKind::InPlace, start);
        assert!(file.defer_if_recent(start + QUIET_PERIOD));
        assert_eq!(file.next_read_at(), Some(start + EMPTY_FILE_GRACE));
        assert!(!file.defer_if_recent(start + EMPTY_FILE_GRACE));
    }

    #[test]
    fn version_written_just_now_is_read_twice() {
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
