//! The merged RoutePolicies of a Route, with the origin of each value.
//!
//! Not here: merging (`compiler::policy_merge`), and defaults (the data plane's settings).

use std::num::NonZeroU32;
use std::time::Duration;

use api::Attempts;
use api::LoadBalancingType;
use api::Method;
use api::RetryOn;

use crate::object::Name;

/// The merged RoutePolicies of a Route. A field that no policy sets is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Policy {
    /// Origin of the Route's Backends, if a policy replaced those of the rule.
    pub backends: Option<PolicyOrigin>,
    /// Maximum size of a request body in bytes.
    pub body_size: Option<PolicyValue<u64>>,
    /// Timeouts of a request.
    pub timeouts: PolicyTimeouts,
    /// Retries of failed requests.
    pub retries: PolicyRetries,
    /// Algorithm that chooses an endpoint.
    pub load_balancing: Option<PolicyValue<LoadBalancingType>>,
    /// Limits on the use of a Service.
    pub limits: PolicyLimits,
}

/// Timeouts of a request ([`api::Timeouts`]). Zero disables a timeout.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PolicyTimeouts {
    /// The whole request.
    pub request: Option<PolicyValue<Duration>>,
    /// A single attempt to connect.
    pub connect: Option<PolicyValue<Duration>>,
    /// All attempts to obtain a connection.
    pub connect_total: Option<PolicyValue<Duration>>,
    /// From the last byte of the request to the head of the response.
    pub first_byte: Option<PolicyValue<Duration>>,
    /// Maximum pause within a body.
    pub stall: Option<PolicyValue<Duration>>,
    /// Maximum silence of a tunnel.
    pub tunnel_idle: Option<PolicyValue<Duration>>,
}

/// Retries of failed requests ([`api::Retries`]).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PolicyRetries {
    /// Maximum number of retries.
    pub attempts: Option<PolicyValue<Attempts>>,
    /// Failures that permit a retry.
    pub on: Option<PolicyValue<Box<[RetryOn]>>>,
    /// Methods of requests that may be sent twice.
    pub methods: Option<PolicyValue<Box<[Method]>>>,
}

/// Limits on the use of a Service ([`api::Limits`]).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PolicyLimits {
    /// Maximum number of open connections.
    pub upstream_connections: Option<PolicyValue<NonZeroU32>>,
    /// Maximum number of requests that wait for a connection.
    pub pending_requests: Option<PolicyValue<u32>>,
}

/// A value of a policy, and its origin.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PolicyValue<T> {
    /// The value.
    pub value: T,
    /// The field that sets it.
    pub origin: PolicyOrigin,
}

/// A field of a RoutePolicy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PolicyOrigin {
    /// The RoutePolicy.
    pub policy: Name,
    /// Field path: `spec.bodySize`.
    pub field: &'static str,
    /// Field path of the target that selects the Route: `spec.targetRefs[0]`.
    pub target: String,
}

/// A field that a policy sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetField<'a> {
    /// The value in the format of RoutePolicy.
    pub value: String,
    /// The field.
    pub origin: &'a PolicyOrigin,
}

// ===== impl Policy =====

impl Policy {
    /// Returns all set fields in the order of the kind's fields, with values in the format of RoutePolicy. The value of
    /// `backends` is in the Route itself.
    pub fn fields(&self) -> Vec<SetField<'_>> {
        let Self { backends, body_size, timeouts, retries, load_balancing, limits } = self;
        let by_weight = |origin| SetField { value: "by weight".to_owned(), origin };
        let mut fields: Vec<_> = backends.iter().map(by_weight).collect();
        fields.extend(set_field(body_size, |size| api::ByteSize(*size).to_string()));
        timeouts.add_fields(&mut fields);
        fields.extend(set_field(&retries.attempts, ToString::to_string));
        fields.extend(set_field(&retries.on, |failures| join(failures.iter().map(ToString::to_string))));
        fields.extend(set_field(&retries.methods, |methods| join(methods.iter().map(ToString::to_string))));
        fields.extend(set_field(load_balancing, |kind| format!("{kind:?}")));
        fields.extend(set_field(&limits.upstream_connections, ToString::to_string));
        fields.extend(set_field(&limits.pending_requests, ToString::to_string));
        fields
    }
}

impl PolicyTimeouts {
    fn add_fields<'a>(&'a self, fields: &mut Vec<SetField<'a>>) {
        let Self { request, connect, connect_total, first_byte, stall, tunnel_idle } = self;
        for limit in [request, connect, connect_total, first_byte, stall, tunnel_idle] {
            fields.extend(set_field(limit, |limit| api::Duration::from(*limit).to_string()));
        }
    }
}

fn set_field<T>(field: &Option<PolicyValue<T>>, format: impl Fn(&T) -> String) -> Option<SetField<'_>> {
    field.as_ref().map(|field| SetField { value: format(&field.value), origin: &field.origin })
}

fn join(words: impl Iterator<Item = String>) -> String {
    let words: Vec<_> = words.collect();
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

// ===== impl PolicyValue =====

impl<T: Copy> PolicyValue<T> {
    /// Returns the value of a field, or `otherwise` if no policy sets it.
    pub fn value_or(field: &Option<Self>, otherwise: T) -> T {
        field.as_ref().map_or(otherwise, |field| field.value)
    }
}
