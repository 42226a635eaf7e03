//! `retries`: which failed requests are sent again.
//!
//! Names are Gateway API's where it has one (HTTPRoute's `retry.attempts`).

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use schemars::Schema;
use schemars::SchemaGenerator;
use schemars::json_schema;
use serde::Deserialize;
use serde::Serialize;

use crate::method::Method;

/// Retries of a failed request. A retry goes to another endpoint if there is one.
#[derive(Clone, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Retries {
    /// Maximum number of retries after the first attempt (HTTPRoute's `retry.attempts`). 0 disables retries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<Attempts>,
    /// Failures that permit a retry. An empty list disables retries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<Vec<RetryOn>>,
    /// Methods of requests that may be sent twice. A connect failure permits a retry of any method, because nothing
    /// was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub methods: Option<Vec<Method>>,
}

/// Number of retries after the first attempt, from 0 to 10.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Attempts(u8);

/// Why a number of retries is invalid.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum AttemptsError {
    /// The text is not a number from 0 to 255.
    NotANumber,
    /// The number is larger than [`Attempts::MAX`].
    TooMany(u8),
}

/// A failure that permits a retry.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
pub enum RetryOn {
    /// No connection was established. Nothing was sent, so the method does not matter.
    ConnectFailure,
    /// A reused connection was lost before the first byte of the response. Most likely the endpoint closed it while
    /// it was idle.
    StaleConnection,
    /// A connection was lost before the first byte of the response. The endpoint may have processed the request.
    Reset,
}

/// The text is not the name of a [`RetryOn`] failure.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct UnknownRetryOn;

// ===== impl Attempts =====

impl Attempts {
    /// Default number of retries: three attempts in all.
    pub const DEFAULT: Self = Self(2);

    /// Maximum number of retries.
    pub const MAX: u8 = 10;

    /// Returns the number of retries.
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl TryFrom<u8> for Attempts {
    type Error = AttemptsError;

    fn try_from(number: u8) -> Result<Self, AttemptsError> {
        if number <= Self::MAX { Ok(Self(number)) } else { Err(AttemptsError::TooMany(number)) }
    }
}

impl FromStr for Attempts {
    type Err = AttemptsError;

    fn from_str(text: &str) -> Result<Self, AttemptsError> {
        let number: u8 = text.parse().map_err(|_| AttemptsError::NotANumber)?;
        number.try_into()
    }
}

impl fmt::Display for Attempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<Attempts> for u8 {
    fn from(attempts: Attempts) -> Self {
        attempts.0
    }
}

impl JsonSchema for Attempts {
    fn schema_name() -> Cow<'static, str> {
        "Attempts".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 0, "maximum": Self::MAX })
    }
}

// ===== impl AttemptsError =====

impl fmt::Display for AttemptsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotANumber => write!(f, "expected a number from 0 to {}", Attempts::MAX),
            Self::TooMany(number) => write!(f, "{number} is not a number from 0 to {}", Attempts::MAX),
        }
    }
}

impl std::error::Error for AttemptsError {}

// ===== impl RetryOn =====

impl RetryOn {
    /// All failures.
    pub const ALL: [Self; 3] = [Self::ConnectFailure, Self::StaleConnection, Self::Reset];
}

impl fmt::Display for RetryOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl FromStr for RetryOn {
    type Err = UnknownRetryOn;

    fn from_str(text: &str) -> Result<Self, UnknownRetryOn> {
        Self::ALL.into_iter().find(|failure| failure.to_string() == text).ok_or(UnknownRetryOn)
    }
}

// ===== impl UnknownRetryOn =====

impl fmt::Display for UnknownRetryOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected one of {}", RetryOn::ALL.map(|failure| failure.to_string()).join(", "))
    }
}

impl std::error::Error for UnknownRetryOn {}
