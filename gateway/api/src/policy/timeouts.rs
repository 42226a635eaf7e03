//! `timeouts`: how long the steps of a request may take.
//!
//! Names are Gateway API's where it has one (HTTPRoute's `timeouts.request`). Not here: the defaults, which the
//! gateway's configuration holds.

use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;

use crate::duration::Duration;

/// Timeouts of a request. `0s` disables a timeout, as in Gateway API.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
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
