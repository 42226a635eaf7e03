//! `limits`: how much of a Service the requests of a route may use.

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;

/// Limits on the use of one Service port. The counts cover the whole gateway process; each route applies its own
/// limits to them.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
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
