//! Builders for Kubernetes objects that print YAML.
//!
//! Objects and manifests concatenate with `+`, and every function that takes YAML takes them by reference:
//! `TestGateway::start(&(ingress("shop").host("a.example").path("/", "a") + service("a").endpoints(&[address])))`.

use std::fmt::{self, Display, Formatter};
use std::net::SocketAddr;
use std::ops::{Add, AddAssign};

use super::Certificate;

/// Returns an Ingress without rules.
pub(crate) fn ingress(name: &str) -> Ingress {
    Ingress {
        metadata: Metadata::new(name),
        class: None,
        default_backend: None,
        rules: Vec::new(),
        tls: Vec::new(),
    }
}

/// Returns a Service. It has port 80 unless [`Service::port`] is called.
pub(crate) fn service(name: &str) -> Service {
    Service { metadata: Metadata::new(name), ports: Vec::new(), external_name: None }
}

/// Returns an EndpointSlice of a Service with the given endpoint.
pub(crate) fn endpoint_slice(name: &str, service: &str, endpoint: SocketAddr) -> EndpointSlice {
    let metadata = Metadata::new(name).label("kubernetes.io/service-name", service);
    EndpointSlice { metadata, endpoint, zone: None }
}

/// Returns a `kubernetes.io/tls` Secret with the certificate and its key.
pub(crate) fn secret(name: &str, certificate: &Certificate) -> Secret {
    Secret {
        metadata: Metadata::new(name),
        secret_type: "kubernetes.io/tls",
        certificate: certificate.pem.clone(),
        key: certificate.key.clone(),
    }
}

/// Returns an IngressClass of the gateway's own controller.
pub(crate) fn ingress_class(name: &str) -> IngressClass {
    IngressClass {
        metadata: Metadata::new(name),
        controller: "wasm-gateway.dev/ingress-controller".to_owned(),
        parameters: None,
    }
}

/// Returns an IngressClassConfig without settings.
pub(crate) fn ingress_class_config(name: &str) -> IngressClassConfig {
    IngressClassConfig { metadata: Metadata::new(name), spec: String::new() }
}

/// Returns a RoutePolicy without targets.
pub(crate) fn route_policy(name: &str) -> RoutePolicy {
    RoutePolicy { metadata: Metadata::new(name), targets: Vec::new(), spec: String::new() }
}

/// YAML documents, one after the other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Manifests(String);

impl Manifests {
    pub(crate) fn to_yaml(&self) -> String {
        self.0.clone()
    }
}

impl Display for Manifests {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<T: Display> Add<T> for Manifests {
    type Output = Self;

    fn add(mut self, next: T) -> Self {
        self += next;
        self
    }
}

impl<T: Display> AddAssign<T> for Manifests {
    fn add_assign(&mut self, next: T) {
        self.0 += &next.to_string();
    }
}

impl<T: Display> FromIterator<T> for Manifests {
    fn from_iter<I: IntoIterator<Item = T>>(objects: I) -> Self {
        objects.into_iter().fold(Self::default(), Add::add)
    }
}

/// Gives the named types setters for their metadata, `+` and `to_yaml`.
macro_rules! objects {
    ($($object:ty),*) => { $(
        impl $object {
            /// Sets the namespace. An object without one is in `default`.
            pub(crate) fn namespace(mut self, namespace: &str) -> Self {
                self.metadata.namespace = Some(namespace.to_owned());
                self
            }

            pub(crate) fn annotation(mut self, key: &str, value: &str) -> Self {
                self.metadata = self.metadata.annotation(key, value);
                self
            }

            pub(crate) fn resource_version(mut self, version: &str) -> Self {
                self.metadata.resource_version = Some(version.to_owned());
                self
            }

            pub(crate) fn to_yaml(&self) -> String {
                self.to_string()
            }
        }

        impl<T: Display> Add<T> for $object {
            type Output = Manifests;

            fn add(self, next: T) -> Manifests {
                Manifests(self.to_string()) + next
            }
        }
    )* };
}

objects!(Ingress, Service, EndpointSlice, Secret, IngressClass, IngressClassConfig, RoutePolicy);

// ===== metadata and scalars =====

#[derive(Clone, Debug)]
struct Metadata {
    name: String,
    namespace: Option<String>,
    resource_version: Option<String>,
    annotations: Vec<(String, String)>,
    labels: Vec<(String, String)>,
}

impl Metadata {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            namespace: None,
            resource_version: None,
            annotations: Vec::new(),
            labels: Vec::new(),
        }
    }

    fn annotation(mut self, key: &str, value: &str) -> Self {
        self.annotations.push((key.to_owned(), value.to_owned()));
        self
    }

    fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.push((key.to_owned(), value.to_owned()));
        self
    }
}

impl Display for Metadata {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{{name: {}", scalar(&self.name))?;
        if let Some(namespace) = &self.namespace {
            write!(f, ", namespace: {}", scalar(namespace))?;
        }
        if let Some(version) = &self.resource_version {
            write!(f, ", resourceVersion: {version:?}")?;
        }
        for (field, entries) in [("annotations", &self.annotations), ("labels", &self.labels)] {
            if !entries.is_empty() {
                let entries: Vec<_> =
                    entries.iter().map(|(key, value)| format!("{key}: {value:?}")).collect();
                write!(f, ", {field}: {{{}}}", entries.join(", "))?;
            }
        }
        f.write_str("}")
    }
}

/// Writes the first lines of an object, up to and including its metadata.
fn write_head(f: &mut Formatter<'_>, api_version: &str, kind: &str, metadata: &Metadata) -> fmt::Result {
    writeln!(f, "---\napiVersion: {api_version}\nkind: {kind}\nmetadata: {metadata}")
}

/// Returns the text as a YAML scalar, in quotes unless it reads as a string without them.
fn scalar(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-%".contains(&byte);
    let starts_plain = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '/');
    let is_word = ["true", "false", "null"].contains(&text);
    if starts_plain && text.bytes().all(is_plain) && !is_word { text.to_owned() } else { format!("{text:?}") }
}

/// Returns the lines of the text, indented by two columns.
fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

// ===== Ingress =====

/// An Ingress; see [`ingress`].
#[derive(Clone, Debug)]
pub(crate) struct Ingress {
    metadata: Metadata,
    class: Option<String>,
    default_backend: Option<Backend>,
    rules: Vec<Rule>,
    tls: Vec<Tls>,
}

#[derive(Clone, Debug)]
struct Rule {
    host: Option<String>,
    paths: Vec<Path>,
}

#[derive(Clone, Debug)]
struct Path {
    path: String,
    path_type: &'static str,
    backend: Backend,
}

#[derive(Clone, Debug)]
struct Backend {
    service: String,
    port: u16,
}

impl Backend {
    fn new(service: &str) -> Self {
        Self { service: service.to_owned(), port: 80 }
    }
}

impl Display for Backend {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{{service: {{name: {}, port: {{number: {}}}}}}}", scalar(&self.service), self.port)
    }
}

#[derive(Clone, Debug)]
struct Tls {
    hosts: Vec<String>,
    secret: Option<String>,
}

impl Ingress {
    /// Sets `spec.ingressClassName`.
    pub(crate) fn class(mut self, name: &str) -> Self {
        self.class = Some(name.to_owned());
        self
    }

    /// Starts a rule for the host. The paths that follow belong to it.
    pub(crate) fn host(mut self, host: &str) -> Self {
        self.rules.push(Rule { host: Some(host.to_owned()), paths: Vec::new() });
        self
    }

    /// Adds a path of type Prefix to the last rule. Without a rule it starts one for all hosts.
    pub(crate) fn path(self, path: &str, service: &str) -> Self {
        self.path_of_type("Prefix", path, service)
    }

    /// Adds a path of type Exact to the last rule. Without a rule it starts one for all hosts.
    pub(crate) fn exact(self, path: &str, service: &str) -> Self {
        self.path_of_type("Exact", path, service)
    }

    fn path_of_type(mut self, path_type: &'static str, path: &str, service: &str) -> Self {
        if self.rules.is_empty() {
            self.rules.push(Rule { host: None, paths: Vec::new() });
        }
        let path = Path { path: path.to_owned(), path_type, backend: Backend::new(service) };
        self.rules.last_mut().unwrap().paths.push(path);
        self
    }

    /// Sets the Service port of the last path. The default is 80.
    pub(crate) fn port(mut self, port: u16) -> Self {
        self.rules.last_mut().unwrap().paths.last_mut().unwrap().backend.port = port;
        self
    }

    /// Sets `spec.defaultBackend` to port 80 of the Service.
    pub(crate) fn default_backend(mut self, service: &str) -> Self {
        self.default_backend = Some(Backend::new(service));
        self
    }

    /// Adds a TLS entry with one host and its Secret.
    pub(crate) fn tls(self, host: &str, secret: &str) -> Self {
        self.tls_entry(&[host], Some(secret))
    }

    /// Adds a TLS entry. Without hosts or Secret, the entry lacks that field.
    pub(crate) fn tls_entry(mut self, hosts: &[&str], secret: Option<&str>) -> Self {
        let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        self.tls.push(Tls { hosts, secret: secret.map(str::to_owned) });
        self
    }
}

impl Display for Ingress {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write_head(f, "networking.k8s.io/v1", "Ingress", &self.metadata)?;
        writeln!(f, "spec:")?;
        if let Some(class) = &self.class {
            writeln!(f, "  ingressClassName: {}", scalar(class))?;
        }
        if let Some(backend) = &self.default_backend {
            writeln!(f, "  defaultBackend: {backend}")?;
        }
        if !self.rules.is_empty() {
            writeln!(f, "  rules:")?;
        }
        for rule in &self.rules {
            match &rule.host {
                Some(host) => writeln!(f, "  - host: {}\n    http:", scalar(host))?,
                None => writeln!(f, "  - http:")?,
            }
            writeln!(f, "      paths:")?;
            for Path { path, path_type, backend } in &rule.paths {
                writeln!(f, "      - {{path: {}, pathType: {path_type}, backend: {backend}}}", scalar(path))?;
            }
        }
        // Last, so that a test may append to the list.
        if !self.tls.is_empty() {
            writeln!(f, "  tls:")?;
        }
        for Tls { hosts, secret } in &self.tls {
            let hosts: Vec<_> = hosts.iter().map(|host| scalar(host)).collect();
            let hosts = (!hosts.is_empty()).then(|| format!("hosts: [{}]", hosts.join(", ")));
            let secret = secret.as_ref().map(|secret| format!("secretName: {}", scalar(secret)));
            let fields: Vec<_> = hosts.into_iter().chain(secret).collect();
            writeln!(f, "  - {{{}}}", fields.join(", "))?;
        }
        Ok(())
    }
}

// ===== the other kinds =====

/// A Service; see [`service`].
#[derive(Clone, Debug)]
pub(crate) struct Service {
    metadata: Metadata,
    ports: Vec<Port>,
    external_name: Option<String>,
}

#[derive(Clone, Debug)]
struct Port {
    number: u16,
    name: Option<String>,
}

impl Service {
    /// Sets the addresses by the annotation that a folder of files allows in place of an EndpointSlice.
    pub(crate) fn endpoints(self, endpoints: &[SocketAddr]) -> Self {
        let endpoints: Vec<_> = endpoints.iter().map(ToString::to_string).collect();
        self.annotation("wasm-gateway.dev/endpoints", &endpoints.join(","))
    }

    /// Adds a port without a name.
    pub(crate) fn port(mut self, number: u16) -> Self {
        self.ports.push(Port { number, name: None });
        self
    }

    pub(crate) fn named_port(mut self, name: &str, number: u16) -> Self {
        self.ports.push(Port { number, name: Some(name.to_owned()) });
        self
    }

    /// Makes the Service one of type ExternalName.
    pub(crate) fn external_name(mut self, name: &str) -> Self {
        self.external_name = Some(name.to_owned());
        self
    }
}

impl Display for Service {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write_head(f, "v1", "Service", &self.metadata)?;
        writeln!(f, "spec:")?;
        if let Some(name) = &self.external_name {
            writeln!(f, "  type: ExternalName\n  externalName: {}", scalar(name))?;
        }
        let default = [Port { number: 80, name: None }];
        let ports = if self.ports.is_empty() { &default[..] } else { &self.ports };
        writeln!(f, "  ports:")?;
        for Port { number, name } in ports {
            match name {
                Some(name) => writeln!(f, "  - {{port: {number}, name: {}}}", scalar(name))?,
                None => writeln!(f, "  - port: {number}")?,
            }
        }
        Ok(())
    }
}

/// An EndpointSlice with one endpoint; see [`endpoint_slice`].
#[derive(Clone, Debug)]
pub(crate) struct EndpointSlice {
    metadata: Metadata,
    endpoint: SocketAddr,
    zone: Option<String>,
}

impl EndpointSlice {
    /// Adds the hint that the endpoint is for gateways in this zone.
    pub(crate) fn for_zone(mut self, zone: &str) -> Self {
        self.zone = Some(zone.to_owned());
        self
    }
}

impl Display for EndpointSlice {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let family = if self.endpoint.is_ipv4() { "IPv4" } else { "IPv6" };
        let (address, port) = (self.endpoint.ip(), self.endpoint.port());
        write_head(f, "discovery.k8s.io/v1", "EndpointSlice", &self.metadata)?;
        writeln!(f, "addressType: {family}\nports: [{{name: '', port: {port}}}]\nendpoints:")?;
        writeln!(f, "- addresses: ['{address}']")?;
        match &self.zone {
            Some(zone) => writeln!(f, "  hints: {{forZones: [{{name: {}}}]}}", scalar(zone)),
            None => Ok(()),
        }
    }
}

/// A Secret with a certificate; see [`secret`].
#[derive(Clone, Debug)]
pub(crate) struct Secret {
    metadata: Metadata,
    secret_type: &'static str,
    certificate: String,
    key: String,
}

impl Secret {
    /// Sets type `Opaque`.
    pub(crate) fn opaque(mut self) -> Self {
        self.secret_type = "Opaque";
        self
    }
}

impl Display for Secret {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let block = |pem: &str| indented(&indented(&pem.replace('\r', "")));
        write_head(f, "v1", "Secret", &self.metadata)?;
        writeln!(f, "type: {}\nstringData:", self.secret_type)?;
        write!(f, "  tls.crt: |\n{}  tls.key: |\n{}", block(&self.certificate), block(&self.key))
    }
}

/// An IngressClass; see [`ingress_class`].
#[derive(Clone, Debug)]
pub(crate) struct IngressClass {
    metadata: Metadata,
    controller: String,
    parameters: Option<String>,
}

impl IngressClass {
    pub(crate) fn controller(mut self, controller: &str) -> Self {
        self.controller = controller.to_owned();
        self
    }

    /// Makes it the class of Ingresses that name none.
    pub(crate) fn default_class(self) -> Self {
        self.annotation("ingressclass.kubernetes.io/is-default-class", "true")
    }

    /// Refers to an IngressClassConfig.
    pub(crate) fn config(self, name: &str) -> Self {
        self.parameters("wasm-gateway.dev", "IngressClassConfig", name)
    }

    /// Refers to an object of any kind.
    pub(crate) fn parameters(mut self, group: &str, kind: &str, name: &str) -> Self {
        self.parameters = Some(format!("{{apiGroup: {group}, kind: {kind}, name: {}}}", scalar(name)));
        self
    }
}

impl Display for IngressClass {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write_head(f, "networking.k8s.io/v1", "IngressClass", &self.metadata)?;
        writeln!(f, "spec:\n  controller: {}", self.controller)?;
        self.parameters.iter().try_for_each(|parameters| writeln!(f, "  parameters: {parameters}"))
    }
}

/// An IngressClassConfig; see [`ingress_class_config`].
#[derive(Clone, Debug)]
pub(crate) struct IngressClassConfig {
    metadata: Metadata,
    spec: String,
}

impl IngressClassConfig {
    /// Adds lines of `spec`, without indentation.
    pub(crate) fn spec(mut self, yaml: &str) -> Self {
        self.spec += &indented(yaml);
        self
    }
}

impl Display for IngressClassConfig {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write_head(f, "wasm-gateway.dev/v1alpha1", "IngressClassConfig", &self.metadata)?;
        write!(f, "spec:\n{}", self.spec)
    }
}

/// A RoutePolicy; see [`route_policy`].
#[derive(Clone, Debug)]
pub(crate) struct RoutePolicy {
    metadata: Metadata,
    targets: Vec<String>,
    spec: String,
}

impl RoutePolicy {
    /// Adds an Ingress to `spec.targetRefs`.
    pub(crate) fn target_ingress(mut self, name: &str) -> Self {
        self.targets.push(format!("{{group: networking.k8s.io, kind: Ingress, name: {}}}", scalar(name)));
        self
    }

    /// Adds lines of `spec`, without indentation.
    pub(crate) fn spec(mut self, yaml: &str) -> Self {
        self.spec += &indented(yaml);
        self
    }
}

impl Display for RoutePolicy {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write_head(f, "wasm-gateway.dev/v1alpha1", "RoutePolicy", &self.metadata)?;
        writeln!(f, "spec:\n  targetRefs:")?;
        self.targets.iter().try_for_each(|target| writeln!(f, "  - {target}"))?;
        f.write_str(&self.spec)
    }
}
