//! `loadBalancing`: how an endpoint is chosen.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;

/// Balancing of requests over the endpoints of a Service.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LoadBalancing {
    /// Balancing algorithm.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<LoadBalancingType>,
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

impl fmt::Display for LoadBalancingType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
