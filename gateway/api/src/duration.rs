//! Durations in the format of Gateway API (GEP-2257): `800ms`, `2s500ms`, `1h`.
//!
//! Not here: the timeouts that use them (`traffic`).

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use schemars::Schema;
use schemars::SchemaGenerator;
use schemars::json_schema;
use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;
use serde::de;

/// Units and their milliseconds, greatest first.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Maximum number of parts in a duration (GEP-2257). `1h30m` has two.
const MAX_PARTS: usize = 4;

/// Maximum number of digits in a part (GEP-2257). The sum of four such parts fits 64 bits.
const MAX_DIGITS: usize = 5;

/// A duration in whole milliseconds.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Duration {
    milliseconds: u64,
}

/// The text is not a duration (GEP-2257).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct DurationError;

impl fmt::Display for DurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "expected one to four whole numbers of at most five digits, each with a unit h, m, s or ms, such as \
             800ms, 30s or 1h30m",
        )
    }
}

impl std::error::Error for DurationError {}

impl Duration {
    /// Creates a duration from milliseconds.
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self { milliseconds }
    }
}

impl Duration {
    /// Returns the milliseconds.
    pub const fn as_millis(self) -> u64 {
        self.milliseconds
    }

    /// Returns the whole seconds.
    pub const fn as_secs(self) -> u64 {
        self.milliseconds / 1000
    }
}

impl From<Duration> for std::time::Duration {
    fn from(duration: Duration) -> Self {
        Self::from_millis(duration.milliseconds)
    }
}

impl From<std::time::Duration> for Duration {
    /// Rounds down to whole milliseconds.
    fn from(duration: std::time::Duration) -> Self {
        Self::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }
}

impl FromStr for Duration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let mut milliseconds = 0;
        let mut rest = text;
        for _ in 0..MAX_PARTS {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, after) = rest.split_at(digits);
            if number.len() > MAX_DIGITS {
                return Err(DurationError);
            }
            let number: u64 = number.parse().map_err(|_| DurationError)?;
            let (unit, after) = split_unit(after).ok_or(DurationError)?;
            milliseconds += number * unit;
            rest = after;
            if rest.is_empty() {
                return Ok(Self { milliseconds });
            }
        }
        Err(DurationError)
    }
}

/// Splits the unit off the front. Returns its milliseconds and the rest of the text.
fn split_unit(text: &str) -> Option<(u64, &str)> {
    // In reverse order: `ms` comes before `m`, which is its prefix.
    UNITS.iter().rev().find_map(|(name, unit)| Some((*unit, text.strip_prefix(name)?)))
}

impl fmt::Display for Duration {
    /// Prints each unit at most once, greatest first.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.milliseconds == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.milliseconds;
        for (name, unit) in UNITS {
            if rest >= unit {
                write!(f, "{}{name}", rest / unit)?;
                rest %= unit;
            }
        }
        Ok(())
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(DurationVisitor)
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^([0-9]{1,5}(h|m|s|ms)){1,4}$" })
    }
}

struct DurationVisitor;

impl de::Visitor<'_> for DurationVisitor {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as 800ms, 30s or 1h30m")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
        text.parse().map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}
