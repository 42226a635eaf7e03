//! The format of a case file. `conformance/README.md` explains it with an example.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;

use super::backends::PortUse;

/// A case: objects, requests, expected responses, and the sentence of the API that it tests.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct TestCase {
    /// The path of the file without its extension: `AREA/NAME`.
    #[serde(skip)]
    pub id: String,
    /// How binding the tested rule is.
    pub level: Level,
    /// Name of the tested feature. Required unless the level is `core`.
    pub feature: Option<String>,
    /// The scenario of kubernetes-sigs/ingress-controller-conformance that this case replaces.
    pub upstream: Option<String>,
    /// The tested sentence of the API, or of our documents.
    pub rule: String,
    /// The origin of the sentence.
    pub source: String,
    /// What the case needs and not every driver has.
    #[serde(default)]
    pub needs: Vec<Need>,
    /// The first step. Cases with one step need no `steps`.
    #[serde(default)]
    pub certificates: Vec<CertificateSpec>,
    /// Services with endpoints, created before the objects of `manifests`.
    #[serde(default)]
    pub apps: Vec<AppSpec>,
    /// Kubernetes objects of the first step. An Ingress without a class gets the class under test.
    #[serde(default)]
    pub manifests: Vec<Value>,
    /// Requests of the first step.
    #[serde(default)]
    pub requests: Vec<RequestSpec>,
    /// Expected status of Ingresses in the first step.
    #[serde(default)]
    pub ingress_status: Vec<StatusSpec>,
    /// Later steps, in order.
    #[serde(default)]
    pub steps: Vec<CaseStep>,
}

impl TestCase {
    /// Returns all steps. The first one has the top-level fields.
    pub fn all_steps(&self) -> Vec<CaseStep> {
        let first = CaseStep {
            name: "the first manifests".to_owned(),
            certificates: self.certificates.clone(),
            apps: self.apps.clone(),
            apply: self.manifests.clone(),
            requests: self.requests.clone(),
            ingress_status: self.ingress_status.clone(),
            ..CaseStep::default()
        };
        std::iter::once(first).chain(self.steps.iter().cloned()).collect()
    }
}

/// How binding a rule is.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The text of the API requires it.
    Core,
    /// A feature that the text permits or implies, and that users rely on.
    Extended,
    /// The text is silent. This is our answer.
    Ours,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Core => "core",
            Self::Extended => "extended",
            Self::Ours => "ours",
        })
    }
}

/// What a case needs of its driver.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Need {
    /// Addresses in the status of an Ingress.
    Status,
}

/// One step: changes, then expectations.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct CaseStep {
    /// The purpose of the step, for the report.
    pub name: String,
    /// Requests that are sent without pause during the whole step. Each must succeed.
    pub under_load: Option<LoadSpec>,
    /// Pause before the changes. `creationTimestamp` has a resolution of one second.
    #[serde(default)]
    pub pause_millis: u64,
    /// Certificates to create or to replace by new ones.
    #[serde(default)]
    pub certificates: Vec<CertificateSpec>,
    /// Services to create or to change.
    #[serde(default)]
    pub apps: Vec<AppSpec>,
    /// Objects to create or to change.
    #[serde(default)]
    pub apply: Vec<Value>,
    /// Objects to delete.
    #[serde(default)]
    pub delete: Vec<DeleteSpec>,
    /// Expected status of Ingresses. Checked before the requests.
    #[serde(default)]
    pub ingress_status: Vec<StatusSpec>,
    /// Requests, in order.
    #[serde(default)]
    pub requests: Vec<RequestSpec>,
}

/// A self-signed certificate and its Secret of type `kubernetes.io/tls`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateSpec {
    /// Name of the Secret.
    pub name: String,
    /// DNS names of the certificate.
    pub hosts: Vec<String>,
}

/// A Service and its EndpointSlices. The endpoints are the suite's echo servers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct AppSpec {
    /// Name of the Service.
    pub name: String,
    /// Namespace, if it is not the one of the case.
    pub namespace: Option<String>,
    /// Ports of the Service. Defaults to `http`, 8080.
    #[serde(default = "default_ports")]
    pub ports: Vec<AppPort>,
    /// Number of ready endpoints, if there is no `slices`.
    #[serde(default = "default_replicas")]
    pub replicas: usize,
    /// EndpointSlices in place of the default one.
    pub slices: Option<Vec<SliceSpec>>,
}

fn default_ports() -> Vec<AppPort> {
    vec![AppPort { name: Some("http".to_owned()), port: 8080, app_protocol: None }]
}

fn default_replicas() -> usize {
    1
}

/// A port of a Service.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct AppPort {
    /// Name of the port. May be absent if it is the only one.
    pub name: Option<String>,
    /// Number of the port in the Service.
    pub port: u16,
    /// `appProtocol` of the Service and of its slices.
    pub app_protocol: Option<String>,
}

/// An EndpointSlice.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SliceSpec {
    /// Its endpoints.
    #[serde(default)]
    pub endpoints: Vec<EndpointSpec>,
    /// Whether its endpoints listen on another port than those of the other slices.
    #[serde(default)]
    pub other_port: bool,
}

/// An endpoint. Absent conditions stay absent in the object.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointSpec {
    /// Number of the echo server, from 0.
    pub replica: usize,
    /// Condition `ready`.
    pub ready: Option<bool>,
    /// Condition `serving`.
    pub serving: Option<bool>,
    /// Condition `terminating`.
    pub terminating: Option<bool>,
}

/// An object to delete.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeleteSpec {
    /// Kind of the object.
    pub kind: String,
    /// Name of the object.
    pub name: String,
    /// Namespace, if it is not the one of the case.
    pub namespace: Option<String>,
}

/// Expected `status.loadBalancer` of an Ingress.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct StatusSpec {
    /// Name of the Ingress.
    pub ingress: String,
    /// Whether it has an address.
    pub has_address: bool,
    /// Time for which an absent address must stay absent.
    #[serde(default)]
    pub for_millis: u64,
}

/// Requests that are repeated while a step runs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadSpec {
    /// The URL.
    pub url: String,
    /// The expected response of each request.
    pub expect: ExpectedResponse,
}

/// A request and its expected response.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RequestSpec {
    /// `http` or `https`, host and path. The host is resolved to the address under test.
    pub url: String,
    /// The method. Defaults to GET.
    #[serde(default = "default_method")]
    pub method: String,
    /// Value of Host, if it is not the host of the URL.
    pub host: Option<String>,
    /// Name in the TLS handshake, if it is not the host of the URL. Empty: no name is sent.
    pub sni: Option<String>,
    /// Header fields.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Length of a request body.
    #[serde(default)]
    pub body_bytes: usize,
    /// The way to talk to the server.
    #[serde(default)]
    pub protocol: WireProtocol,
    /// Number of requests, each on a new connection. Each must match. Defaults to 1.
    #[serde(default = "default_replicas")]
    pub count: usize,
    /// Whether the first response must match. Otherwise the request is repeated until responses match.
    #[serde(default)]
    pub immediately: bool,
    /// The expected response.
    pub expect: ExpectedResponse,
}

fn default_method() -> String {
    "GET".to_owned()
}

/// The protocol of a request.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum WireProtocol {
    /// One HTTP/1.1 request.
    #[default]
    Http,
    /// One HTTP/2 request. The URL must be https.
    Http2,
    /// An upgrade, then one message that the server returns.
    Websocket,
    /// A stream of server-sent events. The second event must arrive before the stream ends.
    Events,
}

/// What a response must be. Absent fields are not checked.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ExpectedResponse {
    /// The status code.
    pub status: Option<u16>,
    /// The status code, if several are permitted.
    #[serde(default)]
    pub status_in: Vec<u16>,
    /// Name of the app that responded.
    pub app: Option<String>,
    /// Apps one of which responded.
    #[serde(default)]
    pub app_in: Vec<String>,
    /// Names of apps none of which responded.
    #[serde(default)]
    pub not_app: Vec<String>,
    /// The port of the app that received the request.
    pub port: Option<PortUse>,
    /// Numbers of the replicas that respond, over all requests of `count`.
    pub replicas: Option<Vec<usize>>,
    /// The path and query as the app received them.
    pub path: Option<String>,
    /// The host as the app received it.
    pub host: Option<String>,
    /// The method as the app received it.
    pub method: Option<String>,
    /// The HTTP version as the app received it.
    pub version: Option<String>,
    /// Header fields as the app received them.
    #[serde(default)]
    pub request_headers: BTreeMap<String, String>,
    /// Header fields of the response. `*` means any value.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Length of the request body as the app received it.
    pub received_bytes: Option<usize>,
    /// Length of the response body.
    pub body_bytes: Option<usize>,
    /// Name of the certificate that the server presented.
    pub certificate: Option<String>,
    /// Name of a certificate that the server did not present.
    pub not_certificate: Option<String>,
    /// Whether the TLS handshake or the connection may be refused in place of a response.
    #[serde(default)]
    pub or_refused: bool,
}
