//! How a RoutePolicy bounds and spreads the requests of its routes: time limits, retries, balancing, limits.
//!
//! Names are Gateway API's where it has one (HTTPRoute's `timeouts.request`, `retry.attempts`). Not here: what
//! holds where nothing is said, which is the gateway's configuration.

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

/// How long things may take. In each field `0s` means that there is no limit, as in Gateway API.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Timeouts {
    /// The whole request: from its head having arrived to the last byte of the answer, retries included (as
    /// HTTPRoute's `timeouts.request`). By default there is no such limit. A tunnel is not bound by it once it
    /// stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Duration>,
    /// One attempt to connect to an endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect: Option<Duration>,
    /// All attempts to get a connection for one request, waiting for a free one included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_total: Option<Duration>,
    /// From the request's last byte having been sent to the head of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_byte: Option<Duration>,
    /// How long a body may stand still, in either direction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stall: Option<Duration>,
    /// How long a tunnel (WebSocket) may be silent in both directions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel_idle: Option<Duration>,
}

/// When a request is sent again, to another endpoint if there is one.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Retries {
    /// How many times a request is tried again at most (as HTTPRoute's `retry.attempts`); 0 turns retries off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<Attempts>,
    /// After which failures. An empty list turns retries off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<Vec<RetryOn>>,
    /// The methods of requests that may be sent a second time. A failure to connect does not ask for it: nothing
    /// was sent then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub methods: Option<Vec<Method>>,
}

/// A number of further attempts, 10 at most.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Attempts(u8);

/// A failure after which a request may be tried again.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
pub enum RetryOn {
    /// No connection was had: nothing was sent, so the method does not matter.
    ConnectFailure,
    /// The connection had carried a request before and was lost without a byte of the answer: the endpoint had
    /// most likely closed it while it was idle.
    StaleConnection,
    /// Any connection was lost without a byte of the answer. The endpoint may have begun to serve the request.
    Reset,
}

/// A request method.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the names say it all (RFC 9110 §9.3, RFC 5789)")]
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

/// How requests are spread among the endpoints of a Service.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LoadBalancing {
    /// By which rule.
    #[serde(rename = "type")]
    pub kind: LoadBalancingType,
}

/// A rule for choosing an endpoint.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
pub enum LoadBalancingType {
    /// One after the other.
    #[default]
    RoundRobin,
    /// Of two taken at random the one with fewer requests in flight.
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
    /// Three tries in all, which is what holds by default.
    pub const DEFAULT: Self = Self(2);

    /// The most that can be said.
    pub const MAX: u8 = 10;

    /// The number.
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl TryFrom<u8> for Attempts {
    type Error = String;

    fn try_from(number: u8) -> Result<Self, String> {
        if number <= Self::MAX {
            return Ok(Self(number));
        }
        Err(format!("{number} further attempts are too many, {} are allowed", Self::MAX))
    }
}

impl FromStr for Attempts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number: u8 = text.parse().map_err(|_| format!("a number from 0 to {} is expected", Self::MAX))?;
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

// ===== impl Method =====

impl Method {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::Delete, Self::Get, Self::Head, Self::Options, Self::Patch, Self::Post, Self::Put, Self::Trace];

    /// The method as requests write it.
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
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = Self::ALL.into_iter().find(|method| method.as_str() == text);
        named.ok_or_else(|| format!("one of {} is expected", Self::ALL.map(Self::as_str).join(", ")))
    }
}

// ===== impl RetryOn =====

impl RetryOn {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::ConnectFailure, Self::StaleConnection, Self::Reset];
}

impl fmt::Display for RetryOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl FromStr for RetryOn {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = Self::ALL.into_iter().find(|failure| failure.to_string() == text);
        named.ok_or_else(|| format!("one of {} is expected", Self::ALL.map(|on| on.to_string()).join(", ")))
    }
}
