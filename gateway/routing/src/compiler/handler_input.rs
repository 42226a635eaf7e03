//! What a call of a class handler reads, from the objects of the Compiler.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use api::class_handler::ClassBackendPort;
use api::class_handler::ClassContext;
use api::class_handler::ClassIngress;
use api::class_handler::ClassIngressBackend;
use api::class_handler::ClassIngressHttp;
use api::class_handler::ClassIngressPath;
use api::class_handler::ClassIngressRule;
use api::class_handler::ClassIngressSpec;
use api::class_handler::ClassIngressTls;
use api::class_handler::ClassInput;
use api::class_handler::ClassItem;
use api::class_handler::ClassResource;
use api::class_handler::ClassService;
use api::class_handler::ClassServiceBackend;
use api::class_handler::ClassServicePort;
use api::class_handler::ClassServiceSpec;
use api::class_handler::ItemMetadata;

use crate::host::HostName;
use crate::object::Ingress;
use crate::object::IngressBackend;
use crate::object::IngressPath;
use crate::object::Name;
use crate::object::PortRef;
use crate::object::Service;

/// Returns the input of a call about one host. `ingresses` are in order of precedence.
pub(super) fn build<'a>(
    context: ClassContext,
    host: &HostName,
    ingresses: impl Iterator<Item = &'a Ingress>,
    service: impl Fn(&Name) -> Option<&'a Service>,
) -> ClassInput {
    let (mut items, mut services) = (Vec::new(), BTreeSet::new());
    for ingress in ingresses {
        let from = on_host(ingress, host);
        services.extend(service_names(ingress, host));
        items.push(ClassItem::Ingress(from));
    }
    let known = services.iter().filter_map(service);
    items.extend(known.map(|service| ClassItem::Service(class_service(service))));
    let function_config = ClassContext { host: host_text(host), ..context };
    ClassInput { function_config, items, ..ClassInput::default() }
}

/// Returns the text of a host, as in a rule.
fn host_text(host: &HostName) -> Option<String> {
    match host {
        HostName::Any => None,
        HostName::Exact(_) | HostName::Wildcard(_) => Some(host.to_string()),
    }
}

/// Returns the host of a rule. Returns `None` if it is invalid.
pub(super) fn rule_host(text: Option<&Arc<str>>) -> Option<HostName> {
    text.map_or(Some(HostName::Any), |text| HostName::parse_shared(text).ok())
}

/// Returns the hosts that an Ingress is on: those of its rules, and [`HostName::Any`] for a default backend and for an
/// Ingress without rules.
pub(super) fn hosts(ingress: &Ingress) -> BTreeSet<HostName> {
    let rules = ingress.rules.iter().filter_map(|rule| rule_host(rule.host.as_ref()));
    let mut hosts: BTreeSet<_> = rules.collect();
    if ingress.default_backend.is_some() || ingress.rules.is_empty() {
        hosts.insert(HostName::Any);
    }
    hosts
}

fn on_host(from: &Ingress, host: &HostName) -> ClassIngress {
    let rules = from.rules.iter().filter(|rule| rule_host(rule.host.as_ref()).as_ref() == Some(host));
    let rules = rules.map(|rule| ClassIngressRule {
        host: rule.host.as_deref().map(str::to_owned),
        http: ClassIngressHttp { paths: rule.paths.iter().map(class_path).collect() },
    });
    let tls = from.tls.iter().map(|tls| ClassIngressTls {
        hosts: tls.hosts.iter().map(ToString::to_string).collect(),
        secret_name: tls.secret.as_deref().map(str::to_owned),
    });
    let annotations = from.annotations.iter();
    let annotations =
        annotations.map(|annotation| (annotation.key.to_string(), annotation.value.to_string()));
    ClassIngress {
        metadata: metadata(&from.name, annotations.collect()),
        spec: ClassIngressSpec {
            default_backend: from.default_backend.as_ref().map(class_backend),
            rules: rules.collect(),
            tls: tls.collect(),
        },
    }
}

fn metadata(name: &Name, annotations: BTreeMap<String, String>) -> ItemMetadata {
    ItemMetadata { namespace: name.namespace.to_string(), name: name.name.to_string(), annotations }
}

fn class_path(from: &IngressPath) -> ClassIngressPath {
    ClassIngressPath {
        path: from.path.to_string(),
        path_type: from.path_type.as_deref().map(str::to_owned),
        backend: class_backend(&from.backend),
    }
}

fn class_backend(from: &IngressBackend) -> ClassIngressBackend {
    match from {
        IngressBackend::Invalid(_) => ClassIngressBackend::default(),
        IngressBackend::Resource(kind) => {
            let resource = Some(ClassResource { kind: kind.to_string() });
            ClassIngressBackend { resource, ..ClassIngressBackend::default() }
        }
        IngressBackend::Service { name, port } => {
            let port = match port {
                PortRef::Name(name) => ClassBackendPort { name: Some(name.to_string()), number: None },
                PortRef::Number(number) => ClassBackendPort { number: Some(*number), name: None },
            };
            let service = Some(ClassServiceBackend { name: name.to_string(), port });
            ClassIngressBackend { service, ..ClassIngressBackend::default() }
        }
    }
}

/// Returns the Services that the rules of a host name, and that of the default backend.
fn service_names(ingress: &Ingress, host: &HostName) -> Vec<Name> {
    let rules = ingress.rules.iter().filter(|rule| rule_host(rule.host.as_ref()).as_ref() == Some(host));
    let backends = rules.flat_map(|rule| &rule.paths).map(|path| &path.backend);
    named_services(ingress, backends.chain(&ingress.default_backend))
}

/// Returns true if an Ingress names a Service.
pub(super) fn names_service(ingress: &Ingress, service: &Name) -> bool {
    let backends = ingress.rules.iter().flat_map(|rule| &rule.paths).map(|path| &path.backend);
    named_services(ingress, backends.chain(&ingress.default_backend)).contains(service)
}

fn named_services<'a>(ingress: &Ingress, backends: impl Iterator<Item = &'a IngressBackend>) -> Vec<Name> {
    let named = backends.filter_map(|backend| match backend {
        IngressBackend::Service { name, .. } => {
            Some(Name { namespace: Arc::clone(&ingress.name.namespace), name: Arc::clone(name) })
        }
        IngressBackend::Invalid(_) | IngressBackend::Resource(_) => None,
    });
    named.collect()
}

fn class_service(from: &Service) -> ClassService {
    let ports = from.ports.iter().map(|port| ClassServicePort {
        name: port.name.to_string(),
        port: port.port,
        app_protocol: port.app_protocol.as_deref().map(str::to_owned),
    });
    ClassService {
        metadata: metadata(&from.name, BTreeMap::new()),
        spec: ClassServiceSpec {
            service_type: from.service_type.to_string(),
            external_name: from.external_name.as_deref().map(str::to_owned),
            ports: ports.collect(),
        },
    }
}
