//! A span of time, written as Gateway API does (GEP-2257): `800ms`, `2s500ms`, `1h`.
//!
//! Not here: what takes that long.

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

/// The units, and how many milliseconds each stands for; greatest first. `ms` is looked for before `m` and `s`.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// GEP-2257 allows so many parts such as `1h30m`.
const MAX_PARTS: usize = 4;

/// GEP-2257 allows so many digits in each part, so that the sum always fits.
const MAX_DIGITS: usize = 5;

/// A span of time in whole milliseconds, at most 99999h59m59s999ms when printed.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Duration {
    milliseconds: u64,
}

/// Why a text is no span of time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DurationError;

impl fmt::Display for DurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "one to four whole numbers of at most five digits are expected, each with its unit h, m, s or ms, \
             such as 800ms, 30s or 1h30m",
        )
    }
}

impl std::error::Error for DurationError {}

impl Duration {
    /// Makes a span of so many milliseconds.
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self { milliseconds }
    }
}

impl From<Duration> for std::time::Duration {
    fn from(span: Duration) -> Self {
        Self::from_millis(span.milliseconds)
    }
}

impl From<std::time::Duration> for Duration {
    /// Leaves out what is less than a millisecond.
    fn from(span: std::time::Duration) -> Self {
        Self::from_millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
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
            let (unit, after) = unit(after).ok_or(DurationError)?;
            milliseconds += number * unit;
            rest = after;
            if rest.is_empty() {
                return Ok(Self { milliseconds });
            }
        }
        Err(DurationError)
    }
}

/// Takes a unit off the front: how many milliseconds it stands for, and what follows.
fn unit(text: &str) -> Option<(u64, &str)> {
    // The last one is `ms`, which must not be taken for minutes.
    UNITS.iter().rev().find_map(|(name, unit)| Some((*unit, text.strip_prefix(name)?)))
}

impl fmt::Display for Duration {
    /// Prints each unit that is needed once, the greatest first.
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
        f.write_str("a span of time such as 800ms, 30s or 1h30m")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
        text.parse().map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}
