//! What RoutePolicies say about a Route, each value with its origin.
//!
//! Not here: which policy wins (`compiler::merger`), and what holds where none says anything (the data plane's
//! settings).

use std::num::NonZeroU32;
use std::time::Duration;

use api::Attempts;
use api::LoadBalancingType;
use api::Method;
use api::RetryOn;

use crate::object::Name;

/// What RoutePolicies say about a Route: for each field the value that won, and where it comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Policy {
    /// Who set the Route's Backends in place of the rule's own one.
    pub backends: Option<PolicyOrigin>,
    /// The most bytes that a request's body may have; absent: no limit by policy.
    pub body_size: Option<PolicyValue<u64>>,
    /// How long things may take.
    pub timeouts: PolicyTimeouts,
    /// When a request is sent again.
    pub retries: PolicyRetries,
    /// How endpoints are chosen.
    pub load_balancing: Option<PolicyValue<LoadBalancingType>>,
    /// How much of a Service may be taken up.
    pub limits: PolicyLimits,
}

/// Time limits; what each means stands with [`api::Timeouts`]. Zero: there is no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PolicyTimeouts {
    /// The whole request.
    pub request: Option<PolicyValue<Duration>>,
    /// One attempt to connect.
    pub connect: Option<PolicyValue<Duration>>,
    /// All attempts to get a connection.
    pub connect_total: Option<PolicyValue<Duration>>,
    /// From the request's last byte to the head of the answer.
    pub first_byte: Option<PolicyValue<Duration>>,
    /// A body that stands still.
    pub stall: Option<PolicyValue<Duration>>,
    /// A silent tunnel.
    pub tunnel_idle: Option<PolicyValue<Duration>>,
}

/// When a request is sent again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PolicyRetries {
    /// How many times at most.
    pub attempts: Option<PolicyValue<Attempts>>,
    /// After which failures.
    pub on: Option<PolicyValue<Box<[RetryOn]>>>,
    /// The methods of requests that may be sent a second time.
    pub methods: Option<PolicyValue<Box<[Method]>>>,
}

/// How much of a Service may be taken up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PolicyLimits {
    /// Maximum number of open connections.
    pub upstream_connections: Option<PolicyValue<NonZeroU32>>,
    /// Maximum number of requests that wait for a connection.
    pub pending_requests: Option<PolicyValue<u32>>,
}

/// A value and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PolicyValue<T> {
    /// The value.
    pub value: T,
    /// Who says so.
    pub origin: PolicyOrigin,
}

/// A field of a RoutePolicy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PolicyOrigin {
    /// The RoutePolicy.
    pub policy: Name,
    /// The field: `spec.bodySize`.
    pub field: &'static str,
    /// What the policy is about, as a field path: `spec.targetRefs[0]`.
    pub target: String,
}

// ===== impl Policy =====

impl Policy {
    /// Every field that is set, as a RoutePolicy would write its value, in the order of the kind's fields. For
    /// `backends` the values stand in the Route itself.
    pub fn fields(&self) -> Vec<(String, &PolicyOrigin)> {
        let Self { backends, body_size, timeouts, retries, load_balancing, limits } = self;
        let mut fields: Vec<_> = backends.iter().map(|origin| ("by weight".to_owned(), origin)).collect();
        fields.extend(shown(body_size, |size| api::ByteSize(*size).to_string()));
        timeouts.list(&mut fields);
        fields.extend(shown(&retries.attempts, ToString::to_string));
        fields.extend(shown(&retries.on, |failures| join(failures.iter().map(ToString::to_string))));
        fields.extend(shown(&retries.methods, |methods| join(methods.iter().map(ToString::to_string))));
        fields.extend(shown(load_balancing, |kind| format!("{kind:?}")));
        fields.extend(shown(&limits.upstream_connections, ToString::to_string));
        fields.extend(shown(&limits.pending_requests, ToString::to_string));
        fields
    }
}

impl PolicyTimeouts {
    fn list<'a>(&'a self, fields: &mut Vec<(String, &'a PolicyOrigin)>) {
        let Self { request, connect, connect_total, first_byte, stall, tunnel_idle } = self;
        for limit in [request, connect, connect_total, first_byte, stall, tunnel_idle] {
            fields.extend(shown(limit, |limit| api::Duration::from(*limit).to_string()));
        }
    }
}

fn shown<T>(field: &Option<PolicyValue<T>>, text: impl Fn(&T) -> String) -> Option<(String, &PolicyOrigin)> {
    field.as_ref().map(|field| (text(&field.value), &field.origin))
}

fn join(words: impl Iterator<Item = String>) -> String {
    let words: Vec<_> = words.collect();
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

// ===== impl PolicyValue =====

impl<T: Copy> PolicyValue<T> {
    /// The value of a field that policies may set, or else the given one.
    pub fn value_or(field: &Option<Self>, otherwise: T) -> T {
        field.as_ref().map_or(otherwise, |field| field.value)
    }
}
