//! Builders of objects for tests: `ingress("shop/web").host("a.example").path("/")`.
//!
//! Tests of other crates include this file by `#[path]`. Not here: random objects (`model/objects.rs`).
#![allow(dead_code, reason = "each test binary uses a part of the builders")]
#![allow(clippy::expect_used, reason = "tests fail by panicking")]

use std::num::NonZeroU16;

use routing::object::BackendError;
use routing::object::Change;
use routing::object::ConfigMap;
use routing::object::EndpointSlice;
use routing::object::Ingress;
use routing::object::IngressBackend;
use routing::object::IngressClass;
use routing::object::IngressClassConfig;
use routing::object::IngressPath;
use routing::object::IngressRule;
use routing::object::IngressTls;
use routing::object::Name;
use routing::object::Object;
use routing::object::ParametersRef;
use routing::object::PluginSpec;
use routing::object::PortRef;
use routing::object::RoutePolicy;
use routing::object::Service;
use routing::object::ServicePort;
use routing::object::SliceEndpoint;
use routing::object::SlicePort;
use routing::object::WasmPlugin;

/// Class of all Ingresses that name no other.
pub(crate) const CLASS: &str = "gateway";

/// Parses `namespace/name`. Without a slash the namespace is `default`.
pub(crate) fn name(text: &str) -> Name {
    let (namespace, name) = text.split_once('/').unwrap_or(("default", text));
    Name::new(namespace, name)
}

pub(crate) fn port(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).expect("a port is not 0")
}

// ===== Ingress =====

/// Builds an Ingress of class [`CLASS`].
#[derive(Clone, Debug)]
pub(crate) struct IngressBuilder {
    ingress: Ingress,
    rules: Vec<IngressRule>,
    tls: Vec<IngressTls>,
}

pub(crate) fn ingress(text: &str) -> IngressBuilder {
    let ingress = Ingress { name: name(text), class: Some(CLASS.into()), ..Ingress::default() };
    IngressBuilder { ingress, rules: Vec::new(), tls: Vec::new() }
}

impl IngressBuilder {
    pub(crate) fn class(mut self, class: &str) -> Self {
        self.ingress.class = Some(class.into());
        self
    }

    /// Sets the creation time in seconds since 1970.
    pub(crate) fn created(mut self, seconds: i64) -> Self {
        self.ingress.created = Some(seconds);
        self
    }

    /// Adds a rule. The following paths belong to it.
    pub(crate) fn host(mut self, host: &str) -> Self {
        self.rules.push(IngressRule { host: Some(host.into()), paths: Vec::new() });
        self
    }

    /// Adds a rule without a host.
    pub(crate) fn any_host(mut self) -> Self {
        self.rules.push(IngressRule::default());
        self
    }

    /// Adds a Prefix path with Service `web`, port 80.
    pub(crate) fn path(self, path: &str) -> Self {
        self.add_path("Prefix", path)
    }

    /// Adds an Exact path with Service `web`, port 80.
    pub(crate) fn exact(self, path: &str) -> Self {
        self.add_path("Exact", path)
    }

    fn add_path(mut self, path_type: &str, path: &str) -> Self {
        let path = IngressPath {
            path: path.into(),
            path_type: Some(path_type.into()),
            backend: service_backend("web", 80),
        };
        self.rules.last_mut().expect("a host precedes the path").paths.push(path);
        self
    }

    /// Sets the Service of the last path.
    pub(crate) fn service(self, service: &str, port: u16) -> Self {
        self.backend(service_backend(service, port))
    }

    /// Leaves the last path without a backend, for tests that only match.
    pub(crate) fn no_backend(self) -> Self {
        self.backend(IngressBackend::Invalid(BackendError::Missing))
    }

    fn backend(mut self, backend: IngressBackend) -> Self {
        let rule = self.rules.last_mut().expect("a host precedes the backend");
        rule.paths.last_mut().expect("a path precedes the backend").backend = backend;
        self
    }

    /// Adds a default backend that is invalid, for tests that only match.
    pub(crate) fn default_without_backend(mut self) -> Self {
        self.ingress.default_backend = Some(IngressBackend::Invalid(BackendError::Missing));
        self
    }

    pub(crate) fn tls(mut self, hosts: &[&str], secret: &str) -> Self {
        let hosts = hosts.iter().map(|&host| host.into()).collect();
        self.tls.push(IngressTls { hosts, secret: Some(secret.into()) });
        self
    }

    pub(crate) fn build(self) -> Ingress {
        Ingress { rules: self.rules.into(), tls: self.tls.into(), ..self.ingress }
    }

    pub(crate) fn object(self) -> Object {
        Object::Ingress(self.build())
    }

    pub(crate) fn change(self) -> Change {
        Change::Apply(self.object())
    }
}

fn service_backend(service: &str, number: u16) -> IngressBackend {
    IngressBackend::Service { name: service.into(), port: PortRef::Number(port(number)) }
}

// ===== IngressClass =====

/// Builds an IngressClass with the gateway's controller.
#[derive(Clone, Debug)]
pub(crate) struct ClassBuilder(IngressClass);

pub(crate) fn class(name: &str) -> ClassBuilder {
    let (name, controller) = (Name::new("", name), api::CONTROLLER.into());
    ClassBuilder(IngressClass { name, controller, ..IngressClass::default() })
}

impl ClassBuilder {
    /// Sets the creation time, in seconds since 1970.
    pub(crate) fn created(mut self, seconds: i64) -> Self {
        self.0.created = Some(seconds);
        self
    }

    pub(crate) fn controller(mut self, controller: &str) -> Self {
        self.0.controller = controller.into();
        self
    }

    /// Refers to an IngressClassConfig.
    pub(crate) fn config(mut self, name: &str) -> Self {
        self.0.parameters = Some(ParametersRef {
            group: api::GROUP.into(),
            kind: "IngressClassConfig".into(),
            name: name.into(),
            namespace: None,
        });
        self
    }

    pub(crate) fn object(self) -> Object {
        Object::IngressClass(self.0)
    }

    pub(crate) fn change(self) -> Change {
        Change::Apply(self.object())
    }
}

pub(crate) fn class_config(name: &str, spec: api::IngressClassConfigSpec) -> Change {
    Change::Apply(Object::IngressClassConfig(IngressClassConfig {
        name: Name::new("", name),
        folder: None,
        spec,
    }))
}

// ===== Service and EndpointSlice =====

/// Builds a Service of type ClusterIP with port 80, named `http`.
#[derive(Clone, Debug)]
pub(crate) struct ServiceBuilder(Service);

pub(crate) fn service(text: &str) -> ServiceBuilder {
    let port = ServicePort { name: "http".into(), port: port(80), app_protocol: None, node_port: None };
    ServiceBuilder(Service {
        name: name(text),
        service_type: "ClusterIP".into(),
        ports: vec![port],
        ..Service::default()
    })
}

impl ServiceBuilder {
    /// Makes the Service one of type ExternalName.
    pub(crate) fn external_name(mut self, host: &str) -> Self {
        self.0.service_type = "ExternalName".into();
        self.0.external_name = Some(host.into());
        self
    }

    pub(crate) fn cluster_ip(mut self, address: &str) -> Self {
        self.0.cluster_ips = [address.parse().expect("an IP address")].into();
        self
    }

    pub(crate) fn change(self) -> Change {
        Change::Apply(Object::Service(self.0))
    }
}

/// Builds an EndpointSlice `NAME-1` of a Service, with ready endpoints on port 8080, named `http`.
#[derive(Clone, Debug)]
pub(crate) struct SliceBuilder(EndpointSlice);

pub(crate) fn slice(service: &str) -> SliceBuilder {
    let Name { namespace, name } = name(service);
    SliceBuilder(EndpointSlice {
        name: Name::new(&namespace, &format!("{name}-1")),
        service: Some(name),
        ports: vec![SlicePort { name: "http".into(), port: Some(port(8080)) }],
        endpoints: Vec::new(),
    })
}

impl SliceBuilder {
    /// Sets the label of the Service, apart from the name of the slice.
    pub(crate) fn of_service(mut self, service: &str) -> Self {
        self.0.service = Some(service.into());
        self
    }

    pub(crate) fn endpoint(self, address: &str) -> Self {
        self.endpoint_in(address, &[])
    }

    /// Adds an endpoint with hints for zones.
    pub(crate) fn endpoint_in(mut self, address: &str, zones: &[&str]) -> Self {
        self.0.endpoints.push(SliceEndpoint {
            addresses: vec![address.parse().expect("an IP address")],
            ready: true,
            serving: true,
            zones: zones.iter().map(|&zone| zone.into()).collect(),
            ..SliceEndpoint::default()
        });
        self
    }

    pub(crate) fn change(self) -> Change {
        Change::Apply(Object::EndpointSlice(self.0))
    }
}

// ===== RoutePolicy =====

/// Builds a RoutePolicy without targets.
#[derive(Clone, Debug)]
pub(crate) struct PolicyBuilder(RoutePolicy);

pub(crate) fn policy(text: &str) -> PolicyBuilder {
    PolicyBuilder(RoutePolicy { name: name(text), ..RoutePolicy::default() })
}

impl PolicyBuilder {
    pub(crate) fn for_ingress(self, name: &str) -> Self {
        self.target(api::TargetKind::Ingress, name)
    }

    pub(crate) fn for_class(self, name: &str) -> Self {
        self.target(api::TargetKind::IngressClass, name)
    }

    fn target(mut self, kind: api::TargetKind, name: &str) -> Self {
        self.0.spec.target_refs.push(api::TargetRef {
            group: "networking.k8s.io".to_owned(),
            kind,
            name: name.to_owned(),
            host: None,
            path: None,
        });
        self
    }

    /// Names a plugin. Without a configuration it has its own.
    pub(crate) fn plugin(mut self, name: &str, config: Option<&str>) -> Self {
        let config = config.map(|text| api::PluginConfig(text.into()));
        self.0.spec.plugins.push(api::PolicyPlugin { name: name.to_owned(), config });
        self
    }

    pub(crate) fn body_size(mut self, bytes: u64) -> Self {
        self.0.spec.body_size = Some(api::ByteSize(bytes));
        self
    }

    pub(crate) fn change(self) -> Change {
        Change::Apply(Object::RoutePolicy(self.0))
    }
}

// ===== WasmPlugin and ConfigMap =====

/// Builds a WasmPlugin of all Ingresses in its namespace, with a module in file `/yaml/a.wasm`.
#[derive(Clone, Debug)]
pub(crate) struct PluginBuilder(WasmPlugin, api::WasmPluginSpec);

pub(crate) fn plugin(text: &str) -> PluginBuilder {
    let spec = api::WasmPluginSpec { url: "file://a.wasm".to_owned(), ..api::WasmPluginSpec::default() };
    let folder = Some(std::path::Path::new("/yaml").into());
    PluginBuilder(WasmPlugin { name: name(text), folder, ..WasmPlugin::default() }, spec)
}

impl PluginBuilder {
    pub(crate) fn url(mut self, url: &str) -> Self {
        self.1.url = url.to_owned();
        self
    }

    pub(crate) fn config(mut self, text: &str) -> Self {
        self.1.plugin_config = Some(api::PluginConfig(text.into()));
        self
    }

    pub(crate) fn calls(mut self, upstream: &str) -> Self {
        self.1.allowed_upstreams.push(upstream.to_owned());
        self
    }

    /// Applies the plugin only where a RoutePolicy names it.
    pub(crate) fn only_named(mut self) -> Self {
        self.1.target_refs = Some(Vec::new());
        self
    }

    pub(crate) fn change(self) -> Change {
        Change::Apply(Object::WasmPlugin(WasmPlugin { spec: PluginSpec::Valid(Box::new(self.1)), ..self.0 }))
    }

    /// Replaces the spec by one that does not parse.
    pub(crate) fn malformed(self) -> Change {
        Change::Apply(Object::WasmPlugin(WasmPlugin {
            spec: PluginSpec::Malformed { target_refs: None },
            ..self.0
        }))
    }
}

pub(crate) fn config_map(text: &str, key: &'static str, value: &'static str) -> Change {
    let data = [(key.into(), value.into())].into();
    Change::Apply(Object::ConfigMap(ConfigMap { name: name(text), data }))
}
