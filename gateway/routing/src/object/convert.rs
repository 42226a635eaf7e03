//! Conversion from Kubernetes types. It never fails: an invalid value is left out and reported as a [`FieldError`].
//!
//! Not here: reading YAML or JSON (the sources), and the meaning of the values (`compiler`).

use std::net::IpAddr;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::api::networking::v1 as networking;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::kinds::Annotation;
use super::kinds::BackendError;
use super::kinds::ConfigMap;
use super::kinds::Endpoint;
use super::kinds::EndpointSlice;
use super::kinds::ExternalAddresses;
use super::kinds::Ingress;
use super::kinds::IngressBackend;
use super::kinds::IngressClass;
use super::kinds::IngressClassConfig;
use super::kinds::IngressPath;
use super::kinds::IngressRule;
use super::kinds::IngressTls;
use super::kinds::Namespace;
use super::kinds::ParametersRef;
use super::kinds::PluginSpec;
use super::kinds::PortRef;
use super::kinds::RoutePolicy;
use super::kinds::Service;
use super::kinds::ServicePort;
use super::kinds::SliceEndpoint;
use super::kinds::SlicePort;
use super::kinds::WasmPlugin;
use super::name::Name;
use super::secret::Secret;
use super::secret::SecretContent;
use crate::suggest;

/// Annotation of a Service whose endpoints replace those of its EndpointSlices.
pub const ENDPOINTS_ANNOTATION: &str = "wasm-gateway.dev/endpoints";
/// All annotations with our prefix.
const OWN_ANNOTATIONS: &[&str] = &[ENDPOINTS_ANNOTATION];
/// Annotations by which cert-manager makes the Secrets that an Ingress names.
const ISSUER_ANNOTATIONS: &[&str] =
    &["cert-manager.io/cluster-issuer", "cert-manager.io/issuer", "kubernetes.io/tls-acme"];
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
const DEFAULT_CLASS_ANNOTATION: &str = "ingressclass.kubernetes.io/is-default-class";
const KUBECTL_PREFIX: &str = "kubectl.kubernetes.io/";
const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// An invalid value, which was left out. Sources report it as a Problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// Field path.
    pub field: String,
    /// What is wrong, as a clause in lower case.
    pub message: String,
}

impl FieldError {
    fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

// ===== impl Ingress =====

impl Ingress {
    /// Converts an Ingress. The compiler reports invalid backends ([`IngressBackend::Invalid`]).
    pub fn from_kubernetes(from: &networking::Ingress) -> (Self, Vec<FieldError>) {
        let mut errors = Vec::new();
        let name = namespaced(&from.metadata, &mut errors);
        let spec = from.spec.as_ref();
        let ingress = Self {
            name,
            version: from.metadata.resource_version.as_deref().and_then(|text| text.parse().ok()),
            created: created(&from.metadata),
            deleting: from.metadata.deletion_timestamp.is_some(),
            class_annotation: text(annotation(&from.metadata, CLASS_ANNOTATION)),
            annotations: annotations(&from.metadata),
            class: spec.and_then(|spec| text(spec.ingress_class_name.as_deref())),
            rules: spec.map(|spec| list(spec.rules.as_deref(), rule).into()).unwrap_or_default(),
            tls: spec.map(|spec| list(spec.tls.as_deref(), tls).into()).unwrap_or_default(),
            default_backend: spec.and_then(|spec| spec.default_backend.as_ref()).map(backend),
        };
        (ingress, errors)
    }
}

impl Ingress {
    /// Returns true if cert-manager makes the Secrets that the Ingress names.
    pub fn has_issuer(&self) -> bool {
        self.annotations.iter().any(|annotation| ISSUER_ANNOTATIONS.contains(&&*annotation.key))
    }
}

fn rule(from: &networking::IngressRule) -> IngressRule {
    IngressRule {
        host: text(from.host.as_deref()),
        paths: list(from.http.as_ref().map(|http| http.paths.as_slice()), path),
    }
}

fn path(from: &networking::HTTPIngressPath) -> IngressPath {
    IngressPath {
        path: from.path.as_deref().unwrap_or_default().into(),
        path_type: text(Some(from.path_type.as_str())),
        backend: backend(&from.backend),
    }
}

fn backend(from: &networking::IngressBackend) -> IngressBackend {
    match (&from.service, &from.resource) {
        (Some(_), Some(_)) => IngressBackend::Invalid(BackendError::ServiceAndResource),
        (None, Some(resource)) => IngressBackend::Resource(resource.kind.as_str().into()),
        (None, None) => IngressBackend::Invalid(BackendError::Missing),
        (Some(service), None) if service.name.is_empty() => {
            IngressBackend::Invalid(BackendError::NameMissing)
        }
        (Some(service), None) => match service.port.as_ref().map(port_ref) {
            Some(Ok(port)) => IngressBackend::Service { name: service.name.as_str().into(), port },
            Some(Err(reason)) => IngressBackend::Invalid(reason),
            None => IngressBackend::Invalid(BackendError::PortMissing),
        },
    }
}

fn port_ref(from: &networking::ServiceBackendPort) -> Result<PortRef, BackendError> {
    // An unset name is absent in the API, and may be an empty string in a file.
    let name = from.name.as_deref().filter(|name| !name.is_empty());
    match (name, from.number) {
        (Some(_), Some(_)) => Err(BackendError::PortAmbiguous),
        (Some(name), None) => Ok(PortRef::Name(name.into())),
        (None, Some(number)) => port_number(number).map(PortRef::Number).ok_or(BackendError::PortOutOfRange),
        (None, None) => Err(BackendError::PortEmpty),
    }
}

fn tls(from: &networking::IngressTLS) -> IngressTls {
    IngressTls {
        hosts: list(from.hosts.as_deref(), |host| host.as_str().into()),
        secret: text(from.secret_name.as_deref()),
    }
}

// ===== impl IngressClass =====

impl IngressClass {
    /// Converts an IngressClass. An absent controller becomes empty, which matches no controller.
    pub fn from_kubernetes(from: &networking::IngressClass) -> (Self, Vec<FieldError>) {
        let mut errors = Vec::new();
        let name = Name { namespace: "".into(), name: object_name(&from.metadata, &mut errors) };
        let spec = from.spec.as_ref();
        let controller = spec.and_then(|spec| spec.controller.as_deref()).unwrap_or_default().into();
        let parameters = spec.and_then(|spec| spec.parameters.as_ref()).map(parameters);
        let is_default = annotation(&from.metadata, DEFAULT_CLASS_ANNOTATION) == Some("true");
        (Self { name, created: created(&from.metadata), controller, parameters, is_default }, errors)
    }
}

fn parameters(from: &networking::IngressClassParametersReference) -> ParametersRef {
    let is_namespaced = from.scope.as_deref() == Some("Namespace");
    ParametersRef {
        group: from.api_group.as_deref().unwrap_or_default().into(),
        kind: from.kind.as_str().into(),
        name: from.name.as_str().into(),
        namespace: is_namespaced.then(|| from.namespace.as_deref().unwrap_or_default().into()),
    }
}

// ===== our own kinds =====

impl IngressClassConfig {
    /// Converts an IngressClassConfig. `folder` is that of its YAML, if it is in a file.
    pub fn from_parts(
        metadata: &ObjectMeta,
        spec: api::IngressClassConfigSpec,
        folder: Option<Arc<Path>>,
    ) -> (Self, Vec<FieldError>) {
        let mut errors = Vec::new();
        let name = Name { namespace: "".into(), name: object_name(metadata, &mut errors) };
        (Self { name, folder, spec }, errors)
    }
}

impl RoutePolicy {
    /// Converts a RoutePolicy.
    pub fn from_parts(metadata: &ObjectMeta, spec: api::RoutePolicySpec) -> (Self, Vec<FieldError>) {
        let mut errors = Vec::new();
        let name = namespaced(metadata, &mut errors);
        (Self { name, created: created(metadata), spec: Box::new(spec) }, errors)
    }
}

impl WasmPlugin {
    /// Converts a WasmPlugin. `folder` is that of its YAML, if it is in a file.
    pub fn from_parts(
        metadata: &ObjectMeta,
        spec: PluginSpec,
        folder: Option<Arc<Path>>,
    ) -> (Self, Vec<FieldError>) {
        let mut errors = Vec::new();
        let name = namespaced(metadata, &mut errors);
        (Self { name, folder, spec }, errors)
    }
}

// ===== impl ConfigMap =====

impl ConfigMap {
    /// Converts a ConfigMap: texts and binary values.
    pub fn from_kubernetes(from: core::ConfigMap) -> (Self, Vec<FieldError>) {
        let mut errors = Vec::new();
        let name = namespaced(&from.metadata, &mut errors);
        let texts = from.data.unwrap_or_default().into_iter();
        let texts = texts.map(|(key, text)| (key.into(), Bytes::from(text)));
        let binary = from.binary_data.unwrap_or_default().into_iter();
        let binary = binary.map(|(key, value)| (key.into(), Bytes::from(value.0)));
        (Self { name, data: texts.chain(binary).collect() }, errors)
    }
}

// ===== impl Namespace =====

impl Namespace {
    /// Converts a Namespace.
    pub fn from_kubernetes(from: &core::Namespace) -> (Self, Vec<FieldError>) {
        let mut errors = Vec::new();
        let name = Name { namespace: "".into(), name: object_name(&from.metadata, &mut errors) };
        let phase = from.status.as_ref().and_then(|status| status.phase.as_deref());
        let terminating = from.metadata.deletion_timestamp.is_some() || phase == Some("Terminating");
        (Self { name, terminating }, errors)
    }
}

// ===== impl Service =====

impl Service {
    /// Converts a Service: its TCP ports, and the endpoints of [`ENDPOINTS_ANNOTATION`]. A source that does not allow the
    /// annotation clears `fixed_endpoints`.
    pub fn from_kubernetes(from: &core::Service) -> (Self, Vec<FieldError>) {
        let mut errors = Vec::new();
        let name = namespaced(&from.metadata, &mut errors);
        let spec = from.spec.as_ref();
        let mut ports = Vec::new();
        for (index, port) in
            spec.and_then(|spec| spec.ports.as_deref()).unwrap_or_default().iter().enumerate()
        {
            if !is_tcp(port.protocol.as_deref()) {
                continue;
            }
            let Some(number) = port_number(port.port) else {
                errors.push(bad_port(format!("spec.ports[{index}].port"), port.port));
                continue;
            };
            ports.push(ServicePort {
                name: port.name.as_deref().unwrap_or_default().into(),
                port: number,
                app_protocol: text(port.app_protocol.as_deref()),
                node_port: port.node_port.and_then(port_number),
            });
        }
        let service_type = spec.and_then(|spec| spec.type_.as_deref()).unwrap_or("ClusterIP").into();
        let fixed = annotation(&from.metadata, ENDPOINTS_ANNOTATION);
        let fixed_endpoints = fixed.map(|value| fixed_endpoints(value, &mut errors));
        let external_name = spec.and_then(|spec| text(spec.external_name.as_deref()));
        let cluster_ips = cluster_ips(spec, &mut errors).into();
        let external_addresses = external_addresses(from, &mut errors).map(Box::new);
        (
            Self {
                name,
                service_type,
                external_name,
                ports,
                fixed_endpoints,
                cluster_ips,
                external_addresses,
            },
            errors,
        )
    }
}

fn cluster_ips(spec: Option<&core::ServiceSpec>, errors: &mut Vec<FieldError>) -> Vec<IpAddr> {
    let Some(spec) = spec else { return Vec::new() };
    let list = spec.cluster_ips.as_deref().unwrap_or_default();
    if !list.is_empty() {
        return addresses(list.iter().enumerate(), |index| format!("spec.clusterIPs[{index}]"), errors);
    }
    addresses(spec.cluster_ip.iter().enumerate(), |_| "spec.clusterIP".to_owned(), errors)
}

fn external_addresses(from: &core::Service, errors: &mut Vec<FieldError>) -> Option<ExternalAddresses> {
    let external = from.spec.as_ref().and_then(|spec| spec.external_ips.as_deref()).unwrap_or_default();
    let field = |index| format!("spec.externalIPs[{index}]");
    let external_ips = addresses(external.iter().enumerate(), field, errors);
    let balancer = from.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let points = balancer.and_then(|balancer| balancer.ingress.as_deref()).unwrap_or_default();
    let load_balancer: Vec<_> =
        points.iter().filter_map(|point| text(point.ip.as_deref().or(point.hostname.as_deref()))).collect();
    let is_some = !(external_ips.is_empty() && load_balancer.is_empty());
    is_some.then_some(ExternalAddresses { external_ips, load_balancer })
}

/// Parses IP addresses. `None` is the value of headless Services and not an error.
fn addresses<'a>(
    from: impl Iterator<Item = (usize, &'a String)>,
    field: impl Fn(usize) -> String,
    errors: &mut Vec<FieldError>,
) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    for (index, text) in from.filter(|(_, text)| !text.is_empty() && *text != "None") {
        match text.parse() {
            Ok(address) => addresses.push(address),
            Err(_) => errors.push(not_an_address(field(index), text)),
        }
    }
    addresses
}

fn not_an_address(field: String, text: &str) -> FieldError {
    FieldError::new(field, format!("\"{}\" is not an IP address", text.escape_debug()))
}

fn fixed_endpoints(value: &str, errors: &mut Vec<FieldError>) -> Vec<Endpoint> {
    let mut endpoints = Vec::new();
    for item in value.split(',').map(str::trim) {
        match item.parse::<SocketAddr>() {
            Ok(address) if address.port() != 0 => endpoints.push(Endpoint { address, pod: None }),
            _ => errors.push(FieldError::new(
                format!("metadata.annotations[{ENDPOINTS_ANNOTATION}]"),
                format!(
                    "\"{}\" is not an IP address with a port, such as 127.0.0.1:9001",
                    item.escape_debug()
                ),
            )),
        }
    }
    endpoints
}

// ===== impl EndpointSlice =====

impl EndpointSlice {
    /// Converts an EndpointSlice: its TCP ports and IP addresses.
    pub fn from_kubernetes(from: &discovery::EndpointSlice) -> (Self, Vec<FieldError>) {
        let mut errors = Vec::new();
        let name = namespaced(&from.metadata, &mut errors);
        let labels = from.metadata.labels.as_ref();
        let service = text(labels.and_then(|labels| labels.get(SERVICE_NAME_LABEL)).map(String::as_str));
        let ports = slice_ports(from, &mut errors);
        let endpoints = if from.address_type == "FQDN" {
            errors
                .push(FieldError::new("addressType", "addressType FQDN is not supported; use IPv4 or IPv6"));
            Vec::new()
        } else {
            slice_endpoints(from, &mut errors)
        };
        (Self { name, service, ports, endpoints }, errors)
    }
}

fn slice_ports(from: &discovery::EndpointSlice, errors: &mut Vec<FieldError>) -> Vec<SlicePort> {
    let mut ports = Vec::new();
    for (index, port) in from.ports.as_deref().unwrap_or_default().iter().enumerate() {
        if !is_tcp(port.protocol.as_deref()) {
            continue;
        }
        let number = match port.port.map(|number| port_number(number).ok_or(number)).transpose() {
            Ok(number) => number,
            Err(number) => {
                errors.push(bad_port(format!("ports[{index}].port"), number));
                continue;
            }
        };
        ports.push(SlicePort { name: port.name.as_deref().unwrap_or_default().into(), port: number });
    }
    ports
}

fn slice_endpoints(from: &discovery::EndpointSlice, errors: &mut Vec<FieldError>) -> Vec<SliceEndpoint> {
    let mut endpoints = Vec::new();
    for (index, endpoint) in from.endpoints.as_deref().unwrap_or_default().iter().enumerate() {
        let mut addresses = Vec::new();
        for (position, address) in endpoint.addresses.iter().enumerate() {
            match address.parse::<IpAddr>() {
                Ok(address) => addresses.push(address),
                Err(_) => {
                    let field = format!("endpoints[{index}].addresses[{position}]");
                    errors.push(not_an_address(field, address));
                }
            }
        }
        let conditions = endpoint.conditions.as_ref();
        let ready = conditions.and_then(|conditions| conditions.ready).unwrap_or(true);
        endpoints.push(SliceEndpoint {
            addresses,
            ready,
            serving: conditions.and_then(|conditions| conditions.serving).unwrap_or(ready),
            terminating: conditions.and_then(|conditions| conditions.terminating).unwrap_or(false),
            zones: endpoint
                .hints
                .as_ref()
                .map(|hints| list(hints.for_zones.as_deref(), |zone| zone.name.as_str().into()))
                .unwrap_or_default(),
            pod: endpoint
                .target_ref
                .as_ref()
                .filter(|target| target.kind.as_deref() == Some("Pod"))
                .and_then(|target| text(target.name.as_deref())),
        });
    }
    endpoints
}

// ===== impl Secret =====

impl Secret {
    /// Converts a Secret. Checks that certificate and key are not empty, and reads no bytes of them.
    pub fn from_kubernetes(from: &core::Secret) -> (Self, Vec<FieldError>) {
        let mut errors = Vec::new();
        let name = namespaced(&from.metadata, &mut errors);
        let holds = |key: &str| {
            from.data.as_ref().and_then(|data| data.get(key)).is_some_and(|value| !value.0.is_empty())
                || from
                    .string_data
                    .as_ref()
                    .and_then(|data| data.get(key))
                    .is_some_and(|text| !text.is_empty())
        };
        let content = match holds("tls.crt") && holds("tls.key") {
            true => SecretContent::Unchecked,
            false => SecretContent::Missing,
        };
        (Self { name, content }, errors)
    }
}

// ===== shared pieces =====

/// Reads namespace and name. An absent namespace is `default`, as for `kubectl apply`.
fn namespaced(metadata: &ObjectMeta, errors: &mut Vec<FieldError>) -> Name {
    let namespace = metadata.namespace.as_deref().filter(|namespace| !namespace.is_empty());
    Name { namespace: namespace.unwrap_or("default").into(), name: object_name(metadata, errors) }
}

/// Reads the name. Every conversion calls it once, so it reports unknown annotations of ours, too.
fn object_name(metadata: &ObjectMeta, errors: &mut Vec<FieldError>) -> Arc<str> {
    errors.extend(unknown_annotations(metadata));
    let name = metadata.name.as_deref().unwrap_or_default();
    if name.is_empty() {
        errors.push(FieldError::new("metadata.name", "the name is missing"));
    }
    name.into()
}

fn created(metadata: &ObjectMeta) -> Option<i64> {
    metadata.creation_timestamp.as_ref().map(|time| time.0.as_second())
}

fn annotation<'a>(metadata: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

/// Returns the annotations. The map is sorted by key. Those of kubectl repeat the whole object.
fn annotations(metadata: &ObjectMeta) -> Box<[Annotation]> {
    let annotations = metadata.annotations.iter().flatten();
    let kept = annotations.filter(|(key, _)| !key.starts_with(KUBECTL_PREFIX) && *key != CLASS_ANNOTATION);
    kept.map(|(key, value)| Annotation { key: key.as_str().into(), value: value.as_str().into() }).collect()
}

/// Returns an error for each annotation with our prefix that does not exist.
fn unknown_annotations(metadata: &ObjectMeta) -> impl Iterator<Item = FieldError> {
    let keys = metadata.annotations.iter().flatten().map(|(key, _)| key.as_str());
    let unknown = keys.filter(|key| {
        let local = key.strip_prefix(api::GROUP).and_then(|rest| rest.strip_prefix('/'));
        local.is_some() && !OWN_ANNOTATIONS.contains(key)
    });
    unknown.map(|key| {
        let hint = suggest::did_you_mean(key, OWN_ANNOTATIONS.iter().copied());
        FieldError::new(
            format!("metadata.annotations[{}]", key.escape_debug()),
            format!("there is no such annotation, so it has no effect{hint}"),
        )
    })
}

fn text(from: Option<&str>) -> Option<Arc<str>> {
    from.filter(|text| !text.is_empty()).map(Arc::from)
}

fn list<T, U>(from: Option<&[T]>, convert: impl Fn(&T) -> U) -> Vec<U> {
    from.unwrap_or_default().iter().map(convert).collect()
}

/// Returns true for TCP, which is the default. A number may be open for TCP and UDP (HTTP/3), so UDP ports are ignored.
fn is_tcp(protocol: Option<&str>) -> bool {
    protocol.is_none_or(|protocol| protocol.is_empty() || protocol == "TCP")
}

fn port_number(from: i32) -> Option<NonZeroU16> {
    u16::try_from(from).ok().and_then(NonZeroU16::new)
}

fn bad_port(field: String, number: i32) -> FieldError {
    FieldError::new(field, format!("{number} is not a port from 1 to 65535"))
}
