//! What `explain` says, as plain values: JSON for tools is this, and text for people is made from it.
//!
//! Not here: how it is found out.

use routing::table::MatchReport;
use serde::Serialize;

use crate::cli::outcome::Outcome;
use crate::control::reload::ProblemView;

/// One request's way.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// What was asked about.
    pub request: RequestView,
    /// Where it comes in.
    pub listener: ListenerView,
    /// The Ingresses that name the host, and the one that serves, with their classes.
    pub ingresses: Vec<IngressView>,
    /// Hosts, paths, default backends and policy, by the table itself; nothing if the request is refused before.
    pub trace: Option<MatchReport>,
    /// The Services of the chosen Route, in its order.
    pub services: Vec<ServiceView>,
    /// What the client gets.
    pub outcome: Outcome,
    /// How the outside reaches the gateway.
    pub exposure: ExposureView,
    /// The Problems of all objects on the way, and of files that cannot be read.
    pub problems: Vec<ProblemView>,
}

/// The request.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestView {
    /// The method.
    pub method: String,
    /// As it was asked.
    pub url: String,
    /// What Host says; nothing if the head is refused.
    pub host: Option<String>,
    /// Path and query, as sent.
    pub target: String,
}

/// The listener.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerView {
    /// `http` or `https`, by the scheme of the URL.
    pub scheme: &'static str,
    /// The Secret that `spec.tls` of an Ingress names for the host; only with `https`.
    pub secret: Option<String>,
    /// The Secret whose certificate is shown; nothing: the gateway's own default. Only `https` uses it.
    pub certificate: Option<String>,
}

/// An Ingress and its class.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IngressView {
    /// As namespace/name.
    pub ingress: String,
    /// The class that it names.
    pub class: Option<String>,
    /// By what it names it.
    pub class_source: &'static str,
    /// Whether this gateway serves it.
    pub served: bool,
    /// Why not, for people.
    pub rejection: Option<String>,
}

/// A Service behind a Route.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceView {
    /// As namespace/name.
    pub service: String,
    /// The port as the rule names it.
    pub port: String,
    /// `spec.type`; nothing: there is no such Service.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// All its ports.
    pub ports: Vec<PortView>,
    /// Its EndpointSlices, sorted by name.
    pub slices: Vec<SliceView>,
    /// Addresses that stand in for EndpointSlices, if the Service has the annotation for that.
    pub fixed_endpoints: Option<Vec<String>>,
    /// What it stands for, as host:port, if it is of type ExternalName and its class allows that.
    pub external_name: Option<String>,
    /// Where requests are dialled now.
    pub ready_endpoints: Vec<String>,
}

/// A port of a Service or an EndpointSlice.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PortView {
    /// Its name; may be empty.
    pub name: String,
    /// Its number, if it has one.
    pub port: Option<u16>,
    /// Its number on every node, if it has one; only of Services.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_port: Option<u16>,
}

/// An EndpointSlice.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SliceView {
    /// As namespace/name.
    pub slice: String,
    /// Its ports.
    pub ports: Vec<PortView>,
    /// Its endpoints, in order.
    pub endpoints: Vec<EndpointView>,
}

/// One endpoint of an EndpointSlice.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointView {
    /// The address that would be dialled: the first one. Nothing: it has none that can be.
    pub address: Option<String>,
    /// `conditions.ready`.
    pub ready: bool,
    /// `conditions.serving`.
    pub serving: bool,
    /// `conditions.terminating`.
    pub terminating: bool,
    /// The zones that its hints name.
    pub zones: Vec<String>,
    /// The Pod behind it, if known.
    pub pod: Option<String>,
    /// Whether requests are sent to it.
    pub used: bool,
}

/// How the outside reaches the gateway.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExposureView {
    /// The Service that `--status-service` names; nothing: none is named.
    pub service: Option<String>,
    /// Its type; nothing: there is no such Service.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Addresses and names of its load balancer.
    pub load_balancer: Vec<String>,
    /// Further addresses, which somebody leads to the nodes.
    pub external_ips: Vec<String>,
    /// Its addresses inside the cluster.
    pub cluster_ips: Vec<String>,
    /// Its ports.
    pub ports: Vec<PortView>,
}
