//! An explanation as plain values. They are the JSON output, and the text is rendered from them.
//!
//! Not here: finding them out.

use routing::table::MatchReport;
use serde::Serialize;

use crate::cli::outcome::Outcome;
use crate::control::plugin::PluginStatus;
use crate::control::reload::ProblemView;

/// The explanation of one request.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The request.
    pub request: RequestView,
    /// The listener that accepts it.
    pub listener: ListenerView,
    /// The Ingresses that name a candidate host, and the chosen one, with their classes.
    pub ingresses: Vec<IngressView>,
    /// All candidates, by the routing table. `None`: the gateway rejects the request before it looks for a rule.
    pub match_report: Option<MatchReport>,
    /// Wildcard hosts of the table that end like the host and do not cover it: a wildcard covers one label.
    pub shorter_wildcards: Vec<String>,
    /// What each reading of the path reaches, if the request is rejected because they differ.
    pub readings: Vec<ReadingView>,
    /// The Services of the chosen Route, in its order.
    pub services: Vec<ServiceView>,
    /// The states of its plugins in the order of requests, with the counts of all their routes. Empty without a running
    /// gateway.
    pub plugins: Vec<PluginStatus>,
    /// The result for the client.
    pub outcome: Outcome,
    /// How clients outside the cluster reach the gateway.
    pub exposure: ExposureView,
    /// The Problems of all objects named here, and of files that cannot be read.
    pub problems: Vec<ProblemView>,
}

/// The request.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestView {
    /// The method.
    pub method: String,
    /// The URL as given.
    pub url: String,
    /// The value of Host. `None`: the head is malformed.
    pub host: Option<String>,
    /// Path and query, as sent.
    pub target: String,
}

/// A reading of a path with an encoded slash.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadingView {
    /// The path.
    pub path: String,
    /// What it reaches.
    pub outcome: Outcome,
}

/// The listener.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerView {
    /// `http` or `https`, by the scheme of the URL.
    pub scheme: &'static str,
    /// The Secrets that `spec.tls` of Ingresses name for the host, in the order in which they are tried. Only for
    /// `https`.
    pub secrets: Vec<String>,
    /// The Secret whose certificate the client gets. `None`: the gateway's own default. Only for `https`.
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
    /// The field that names the class.
    pub class_source: &'static str,
    /// Whether this gateway serves it.
    pub served: bool,
    /// Why the gateway does not serve it.
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
    /// `spec.type`. `None`: the Service does not exist.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// All its ports.
    pub ports: Vec<PortView>,
    /// Its EndpointSlices, sorted by name.
    pub slices: Vec<SliceView>,
    /// Addresses from the annotation that replaces EndpointSlices. `None`: no annotation.
    pub fixed_endpoints: Option<Vec<String>>,
    /// The target of a Service of type ExternalName, as host:port, if its class allows the type.
    pub external_name: Option<String>,
    /// The endpoints that get requests now.
    pub ready_endpoints: Vec<String>,
    /// Ready endpoints that get none because of their failures.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ejected_endpoints: Vec<EjectedView>,
}

/// A ready endpoint that is ejected.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EjectedView {
    /// Address and port.
    pub address: String,
    /// Its last failure, and when it is probed.
    pub reason: String,
}

/// A port of a Service or an EndpointSlice.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PortView {
    /// Its name. Can be empty.
    pub name: String,
    /// Its number, if it has one.
    pub port: Option<u16>,
    /// Its number on every node, if it has one. Only for Services.
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
    /// The first address, which the gateway connects to. `None`: it has no valid address.
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
    /// Whether it gets requests.
    pub used: bool,
    /// Why it gets none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unused_because: Option<&'static str>,
}

/// How clients outside the cluster reach the gateway.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExposureView {
    /// The Service that `--status-service` names. `None`: no flag.
    pub service: Option<String>,
    /// Its type. `None`: the Service does not exist.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Addresses and names of its load balancer.
    pub load_balancer: Vec<String>,
    /// `spec.externalIPs`: addresses that the network routes to the nodes.
    pub external_ips: Vec<String>,
    /// Its addresses inside the cluster.
    pub cluster_ips: Vec<String>,
    /// Its ports.
    pub ports: Vec<PortView>,
}
