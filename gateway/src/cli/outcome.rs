//! The result of a request for its client: a Service's response, or a local reply of the gateway.
//!
//! Shared by `explain` and `check --against`. Not here: failures of endpoints.

use std::fmt;
use std::sync::Arc;

use http1::BodyLength;
use routing::table::{Backend, Endpoints, RequestParts, Route, RoutingTable};
use serde::Serialize;

use crate::data::exchange;
use crate::data::exchange::reply_reason::ReplyReason;
use crate::data::upstream::ConnectError;
use crate::filter::plugin::PluginReply;
use crate::message::LocalReply;

/// The field of a RoutePolicy that [`Outcome::backends`] already contains.
const BACKENDS: &str = "spec.backends";

/// The result of a request. Prints as one line of text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// The status of the local reply. `None`: a Service responds.
    pub status: Option<u16>,
    /// The reason of the local reply, as in the header `gateway-reason`.
    pub reason: Option<&'static str>,
    /// The value of `Location` in the local reply, if it is a redirect.
    pub location: Option<String>,
    /// The object whose rule or default backend matches: `Ingress shop/web`.
    pub object: Option<String>,
    /// The field path in that object.
    pub field: Option<String>,
    /// The Services and their weights.
    pub backends: Vec<BackendShare>,
    /// Maximum request body bytes. `None`: no policy sets a limit.
    pub body_size: Option<u64>,
    /// The fields of RoutePolicies that apply, `spec.backends` aside.
    pub policy: Vec<PolicySetting>,
    /// The plugins that apply, in the order of requests.
    pub plugins: Vec<PluginSetting>,
}

/// A plugin and its configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PluginSetting {
    /// The WasmPlugin, as namespace/name.
    pub plugin: String,
    /// Its configuration. It is compared, but not shown: it may hold secrets.
    #[serde(skip)]
    pub config: Arc<str>,
}

/// A field of a RoutePolicy and its value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicySetting {
    /// The field path: `spec.bodySize`.
    pub field: &'static str,
    /// The value as text.
    pub value: String,
}

/// A Service port and its share of the requests.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendShare {
    /// As namespace/name:port.
    pub service: String,
    /// The weight, relative to the sum over the Route.
    pub weight: u32,
    /// Why it gets no request, as in the header `gateway-reason`.
    pub reason: Option<&'static str>,
}

impl Outcome {
    /// Returns a local reply that does not depend on a rule.
    pub fn local_reply(refusal: ReplyReason) -> Self {
        Self {
            status: Some(refusal.status()),
            reason: Some(refusal.as_str()),
            location: None,
            object: None,
            field: None,
            backends: Vec::new(),
            body_size: None,
            policy: Vec::new(),
            plugins: Vec::new(),
        }
    }

    /// Returns the outcome for a host and a canonical path, with the endpoints that are ready now.
    pub fn for_destination(table: &RoutingTable, host: &str, path: &str, request: &dyn RequestParts) -> Self {
        exchange::find_route(table, host, path, request)
            .map_or_else(Self::local_reply, |route| Self::for_route(Some(route)))
    }

    /// Returns the outcome for a Route, with the endpoints that are ready now. `None`: no rule matches.
    pub fn for_route(route: Option<&Route>) -> Self {
        let Some(route) = route else { return Self::local_reply(ReplyReason::NoRule) };
        let backends = route.backends.iter().map(|weighted| BackendShare {
            service: format!("{}:{}", weighted.backend.service, weighted.backend.port),
            weight: weighted.weight,
            reason: backend_error(&weighted.backend).map(|error| ReplyReason::Open(error).as_str()),
        });
        let origin = &route.origin;
        let fields = route.policy.fields().into_iter().filter(|field| field.origin.field != BACKENDS);
        let policy =
            fields.map(|field| PolicySetting { field: field.origin.field, value: field.value }).collect();
        let plugins = route.policy.plugins.iter().map(|plugin| PluginSetting {
            plugin: plugin.plugin.to_string(),
            config: Arc::clone(&plugin.config),
        });
        let outcome = Self {
            object: Some(format!("{} {}", origin.ingress.kind, origin.ingress.name)),
            field: Some(origin.field.to_string()),
            backends: backends.collect(),
            body_size: route.policy.spec.body_size.map(|limit| limit.0),
            policy,
            plugins: plugins.collect(),
            ..local_reply_reason(route).map_or_else(Self::forwarded, Self::local_reply)
        };
        match &route.policy.missing_plugin {
            Some(_) if !route.is_closed => {
                let reason = PluginReply::Missing;
                Self { status: reason.status(), reason: Some(reason.as_str()), ..outcome }
            }
            Some(_) | None => outcome,
        }
    }

    /// Returns the outcome for a request with this body. A policy may allow only a smaller one.
    #[must_use]
    pub(super) fn with_body(self, length: BodyLength) -> Self {
        match (length, self.body_size) {
            (BodyLength::Exact(length), Some(limit)) if length > limit => {
                let refusal = ReplyReason::BodyTooLarge;
                Self { status: Some(refusal.status()), reason: Some(refusal.as_str()), ..self }
            }
            _ => self,
        }
    }

    /// Returns the outcome with the reply of a filter, which no Service sees.
    #[must_use]
    pub(super) fn with_reply(self, reply: &LocalReply) -> Self {
        let location = reply.fields().find(|(name, _)| *name == b"location");
        let location = location.map(|(_, value)| String::from_utf8_lossy(value).into_owned());
        Self { status: Some(reply.status()), reason: Some(reply.reason), location, ..self }
    }

    fn forwarded() -> Self {
        Self { status: None, reason: None, ..Self::local_reply(ReplyReason::NoRule) }
    }

    /// Returns the parts that a client can notice. The object and its field are not among them.
    pub fn client_visible(&self) -> impl PartialEq + '_ {
        (self.status, self.reason, self.traffic_split(), &self.policy, &self.plugins)
    }

    /// Returns the Services that get requests, sorted, with their weights in lowest terms: 50 to 50 is 1 to 1.
    fn traffic_split(&self) -> Vec<(&str, u32, Option<&str>)> {
        let taking = || self.backends.iter().filter(|share| share.weight > 0);
        let divisor = taking().map(|share| share.weight).fold(0, common_divisor);
        let part = |share: &'_ BackendShare| share.weight.checked_div(divisor).unwrap_or(share.weight);
        let mut parts: Vec<_> =
            taking().map(|share| (share.service.as_str(), part(share), share.reason)).collect();
        parts.sort_unstable();
        parts
    }
}

/// Returns why the gateway itself replies to all requests of a Route, as `upstream` does: no Backend has a weight, or no
/// Backend with a weight has an endpoint.
fn local_reply_reason(route: &Route) -> Option<ReplyReason> {
    if route.is_closed {
        return Some(ReplyReason::AnnotationNotHonoured);
    }
    let mut errors =
        route.backends.iter().filter(|share| share.weight > 0).map(|share| backend_error(&share.backend));
    let Some(first) = errors.next() else { return Some(ReplyReason::NoBackend) };
    first.filter(|_| errors.all(|error| error.is_some())).map(ReplyReason::Open)
}

/// Returns the greatest common divisor, by Euclid's algorithm.
fn common_divisor(one: u32, other: u32) -> u32 {
    match one.checked_rem(other) {
        Some(remainder) => common_divisor(other, remainder),
        None => one,
    }
}

fn backend_error(backend: &Backend) -> Option<ConnectError> {
    match &**backend.endpoints.load() {
        Endpoints::Ready(_) => None,
        Endpoints::NoneReady => Some(ConnectError::NoReadyEndpoint),
        Endpoints::PortMissing => Some(ConnectError::PortMissing),
        Endpoints::ProtocolUnsupported => Some(ConnectError::ProtocolUnsupported),
        Endpoints::ServiceMissing => Some(ConnectError::ServiceMissing),
        Endpoints::SlicePortMissing => Some(ConnectError::EndpointPortMissing),
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.status, self.reason) {
            (Some(status), Some(reason)) => write!(f, "{status} {reason}")?,
            _ => f.write_str("forwarded")?,
        }
        if let (Some(object), Some(field)) = (&self.object, &self.field) {
            write!(f, " by {object} {field}")?;
        }
        for (number, share) in self.backends.iter().enumerate() {
            f.write_str(if number == 0 { " → " } else { ", " })?;
            write!(f, "Service {}", share.service)?;
            if self.backends.len() > 1 {
                write!(f, " (weight {})", share.weight)?;
            }
            if let Some(reason) = share.reason.filter(|_| self.status.is_none()) {
                write!(f, " ({reason})")?;
            }
        }
        for PolicySetting { field, value } in &self.policy {
            write!(f, ", {} {value}", field.strip_prefix("spec.").unwrap_or(field))?;
        }
        for PluginSetting { plugin, .. } in &self.plugins {
            write!(f, ", plugin {plugin}")?;
        }
        Ok(())
    }
}
