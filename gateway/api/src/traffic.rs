//! Traffic settings of a RoutePolicy: timeouts, retries, load balancing, limits.
//!
//! Names are Gateway API's where it has one (HTTPRoute's `timeouts.request`, `retry.attempts`). Not here: the
//! defaults, which the gateway's configuration holds.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use schemars::JsonSchema;
use schemars::Schema;
use schemars::SchemaGenerator;
use schemars::json_schema;
use serde::Deserialize;
use serde::Serialize;

use crate::duration::Duration;

/// Timeouts of a request. `0s` disables a timeout, as in Gateway API.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Timeouts {
    /// The whole request, from its complete head to the last byte of the response, retries included (HTTPRoute's
    /// `timeouts.request`). Disabled by default. Established tunnels are exempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Duration>,
    /// A single attempt to connect to an endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect: Option<Duration>,
    /// All attempts to obtain a connection for a request, including the wait for a free one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_total: Option<Duration>,
    /// From the last byte of the sent request to the head of the response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_byte: Option<Duration>,
    /// Maximum pause within a body, in either direction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stall: Option<Duration>,
    /// Maximum silence of a tunnel (WebSocket) in both directions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel_idle: Option<Duration>,
}

/// Retries of a failed request. A retry goes to another endpoint if there is one.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
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
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
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

/// A request method.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the names are those of RFC 9110 §9.3 and RFC 5789")]
pub enum Method {
    Delete,
    Get,
    Head,
    Options,
    Patch,
    Post,
    Put,
    Trace,
}

/// The text is not the name of a [`Method`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UnknownMethod;

/// The text is not the name of a [`RetryOn`] failure.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UnknownRetryOn;

/// Balancing of requests over the endpoints of a Service.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LoadBalancing {
    /// Balancing algorithm.
    #[serde(rename = "type")]
    pub kind: LoadBalancingType,
}

/// An algorithm that chooses an endpoint.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
pub enum LoadBalancingType {
    /// Each endpoint in turn.
    #[default]
    RoundRobin,
    /// The endpoint with fewer requests in flight, out of two random ones.
    LeastRequest,
}

/// Limits on the use of one Service port. The counts cover the whole gateway process; each route applies its own
/// limits to them.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// Maximum number of open connections to the Service, idle ones included. At the limit, requests wait for a free
    /// connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream_connections: Option<NonZeroU32>,
    /// Maximum number of requests that wait for a connection. Further requests get a 503.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_requests: Option<u32>,
}

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

// ===== impl Method =====

impl Method {
    /// All methods, in alphabetical order.
    pub const ALL: [Self; 8] =
        [Self::Delete, Self::Get, Self::Head, Self::Options, Self::Patch, Self::Post, Self::Put, Self::Trace];

    /// Parses the method of a request line. Returns `None` if it is not one of [`Method::ALL`]. Case matters.
    pub const fn from_bytes(token: &[u8]) -> Option<Self> {
        Some(match token {
            b"DELETE" => Self::Delete,
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"OPTIONS" => Self::Options,
            b"PATCH" => Self::Patch,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"TRACE" => Self::Trace,
            _ => return None,
        })
    }

    /// Returns the method as in a request line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delete => "DELETE",
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Options => "OPTIONS",
            Self::Patch => "PATCH",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Trace => "TRACE",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Method {
    type Err = UnknownMethod;

    fn from_str(text: &str) -> Result<Self, UnknownMethod> {
        Self::from_bytes(text.as_bytes()).ok_or(UnknownMethod)
    }
}

// ===== impl UnknownMethod =====

impl fmt::Display for UnknownMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected one of {}", Method::ALL.map(Method::as_str).join(", "))
    }
}

impl std::error::Error for UnknownMethod {}

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
