//! Durations in configurations.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::Deserializer;
use serde::de::Error;
use serde::de::Visitor;

use crate::config::Config;
use crate::schema_text::SchemaText;

/// Maximum number of parts. `1h30m` has two.
const MAX_PARTS: usize = 4;

/// Maximum number of digits of a part. The sum of four parts fits 64 bits.
const MAX_DIGITS: usize = 5;

/// Units and their milliseconds. A unit is behind those that begin with it.
const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];

/// A duration of a configuration, as the gateway writes them: `800ms`, `30s`, `1h30m`.
///
/// ```
/// use plugin_sdk::prelude::*;
///
/// #[derive(Deserialize, Config)]
/// struct Settings {
///     #[serde(default = "default_timeout")]
///     timeout: TimeSpan,
/// }
///
/// fn default_timeout() -> TimeSpan {
///     Duration::from_millis(500).into()
/// }
///
/// fn call(settings: &Settings) -> callout::HttpCall {
///     callout::http("shop/authz:8080").timeout(settings.timeout.into())
/// }
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TimeSpan(Duration);

impl TimeSpan {
    /// Parses a text. Returns `None` if it is not a duration.
    pub fn parse(text: &str) -> Option<Self> {
        let mut milliseconds = 0;
        let mut rest = text;
        for _ in 0..MAX_PARTS {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, after) = rest.split_at_checked(digits)?;
            if number.len() > MAX_DIGITS {
                return None;
            }
            let (unit, after) =
                UNITS.iter().find_map(|(name, unit)| Some((*unit, after.strip_prefix(name)?)))?;
            milliseconds += number.parse::<u64>().ok()? * unit;
            rest = after;
            if rest.is_empty() {
                return Some(Self(Duration::from_millis(milliseconds)));
            }
        }
        None
    }
}

impl From<Duration> for TimeSpan {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

impl From<TimeSpan> for Duration {
    fn from(span: TimeSpan) -> Self {
        span.0
    }
}

impl Config for TimeSpan {
    const SCHEMA: &'static SchemaText =
        &SchemaText::literal(r#"{"type":"string","pattern":"^([0-9]{1,5}(h|m|s|ms)){1,4}$"}"#);
}

impl<'de> Deserialize<'de> for TimeSpan {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TimeSpanVisitor)
    }
}

struct TimeSpanVisitor;

impl Visitor<'_> for TimeSpanVisitor {
    type Value = TimeSpan;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as 800ms, 30s or 1h30m")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<TimeSpan, E> {
        TimeSpan::parse(text).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_the_gateway() {
        for text in [
            "0s",
            "800ms",
            "30s",
            "1h30m",
            "1m1m",
            "1h2m3s4ms",
            "99999h",
            "5m",
            "5ms",
            "",
            "s",
            "5",
            "1.5s",
            "-1s",
            "100000s",
            "1h1h1h1h1h",
            "1d",
            " 1s",
            "1s ",
            "1 s",
            "é",
        ] {
            let expected: Option<api::Duration> = text.parse().ok();
            assert_eq!(TimeSpan::parse(text).map(|span| span.0), expected.map(Duration::from), "{text}");
        }
    }

    #[test]
    fn text_that_is_no_duration_is_refused_with_examples() {
        let error = crate::json::from_slice::<TimeSpan>(b"\"5 seconds\"").unwrap_err();
        let expected = "expected a duration such as 800ms, 30s or 1h30m, found string `5 seconds`";
        assert_eq!(error.to_string(), expected);
    }
}
