//! The value of the `Date` field, formatted once a second and copied into each response that lacks one.
//!
//! Not here: adding the field (`headers`).

use std::cell::Cell;
use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use httpdate::HttpDate;

use crate::data::wire::clock::Clock;

/// Date in the IMF-fixdate form of RFC 9110 §5.6.7: `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(super) type Text = [u8; 29];

/// Formatted date of one worker.
#[derive(Debug)]
pub struct DateCache {
    /// Time of the worker's clock when the wall clock was last read.
    tick: Cell<u64>,
    /// Second that `text` shows, since 1970.
    second: Cell<u64>,
    text: Cell<Text>,
}

impl Default for DateCache {
    fn default() -> Self {
        Self { tick: Cell::new(u64::MAX), second: Cell::new(u64::MAX), text: Cell::new([b' '; 29]) }
    }
}

impl DateCache {
    /// Returns the date. It lags by up to one tick of `clock`, since the wall clock is read once a tick.
    pub fn now(&self, clock: &Clock) -> Text {
        let tick = clock.now_ms();
        if self.tick.replace(tick) != tick {
            self.refresh(SystemTime::now());
        }
        self.text.get()
    }

    fn refresh(&self, now: SystemTime) {
        let second = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if self.second.replace(second) == second {
            return;
        }
        let mut text = self.text.get();
        // The form has 29 bytes for all years up to 9999, so it fits.
        let _ = write!(text.as_mut_slice(), "{}", HttpDate::from(now));
        self.text.set(text);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn date_is_imf_fixdate_and_follows_clock() {
        let date = DateCache::default();
        date.refresh(UNIX_EPOCH + Duration::from_millis(784_111_777_999));
        assert_eq!(&date.text.get(), b"Sun, 06 Nov 1994 08:49:37 GMT");
        date.refresh(UNIX_EPOCH + Duration::from_secs(784_111_778));
        assert_eq!(&date.text.get(), b"Sun, 06 Nov 1994 08:49:38 GMT");
        assert!(date.now(&Clock::default()).ends_with(b" GMT"));
    }
}
