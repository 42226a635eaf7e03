//! The time of an entry as RFC 3339 with milliseconds in UTC: `2026-11-24T09:30:00.123Z`.

use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

/// Bytes of the text for years up to 9999.
const LENGTH: usize = 24;

/// The current time as text. The part up to the second is formatted once a second.
#[derive(Debug)]
pub(super) struct Stamp {
    second: u64,
    text: [u8; LENGTH],
}

impl Default for Stamp {
    fn default() -> Self {
        Self { second: u64::MAX, text: [b'0'; LENGTH] }
    }
}

impl Stamp {
    /// Returns the text for a time.
    pub(super) fn at(&mut self, now: SystemTime) -> &str {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let second = since.as_secs();
        if second != self.second {
            self.second = second;
            let timestamp = i64::try_from(second).ok().and_then(|second| Timestamp::from_second(second).ok());
            // The text has a fixed length, so it fits.
            let _ = write!(self.text.as_mut_slice(), "{:.3}", timestamp.unwrap_or_default());
        }
        if let Some(millis) = self.text.get_mut(20..23) {
            millis.copy_from_slice(&three_digits(since.subsec_millis()));
        }
        str::from_utf8(&self.text).unwrap_or_default()
    }
}

/// Returns the last three decimal digits of a number.
pub(super) fn three_digits(number: u32) -> [u8; 3] {
    [100, 10, 1].map(|place| b'0' + u8::try_from(number / place % 10).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn time_is_rfc_3339_with_milliseconds() {
        let mut stamp = Stamp::default();
        for (millis, text) in [
            (784_111_777_999, "1994-11-06T08:49:37.999Z"),
            (784_111_777_007, "1994-11-06T08:49:37.007Z"),
            (784_111_778_000, "1994-11-06T08:49:38.000Z"),
            (0, "1970-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(stamp.at(UNIX_EPOCH + Duration::from_millis(millis)), text);
        }
    }
}
