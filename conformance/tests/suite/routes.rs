//! Routing of the fake controller: host, path, backend and certificate of a request, from the stored objects.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use crate::fake::CLASS;
use crate::fake::CONTROLLER;
use crate::fake::Fault;
use crate::fake::Store;

/// Delay of routes behind the status in a fake with [`Fault::EarlyStatus`].
const ROUTE_DELAY: Duration = Duration::from_millis(400);

/// The destination of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// The endpoints of a Service, and the namespace.
    Endpoints(Vec<SocketAddr>, String),
    /// A response of the controller itself.
    Status(u16),
}

/// A path of a rule, with what decides between paths.
#[derive(Debug)]
struct Candidate<'a> {
    host: &'a str,
    path: &'a str,
    is_exact: bool,
    age: usize,
    namespace: &'a str,
    backend: &'a Value,
}

/// Returns true if an Ingress belongs to this controller.
pub(crate) fn is_ours(store: &Store, ingress: &Value) -> bool {
    if store.has_fault(Fault::AnyClass) {
        return true;
    }
    let annotation = text(ingress, "/metadata/annotations/kubernetes.io~1ingress.class");
    if !annotation.is_empty() && !store.has_fault(Fault::NoAnnotation) {
        return annotation == CLASS;
    }
    let class = text(ingress, "/spec/ingressClassName");
    let mut classes = store.of_kind("IngressClass").into_iter();
    class == CLASS
        || classes
            .any(|(key, object)| key.name == class && text(&object.value, "/spec/controller") == CONTROLLER)
}

/// Returns the destination of a request. `path` is the target without its query.
pub(crate) fn route(store: &Store, host: &str, path: &str) -> Destination {
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host).to_ascii_lowercase();
    let path = normalize(path);
    let candidates = candidates(store);
    let is_named =
        candidates.iter().any(|candidate| covers(store, candidate.host, &host) && !candidate.host.is_empty());
    let mut hosts = vec![best_host(store, &candidates, &host)];
    if store.has_fault(Fault::FallThrough) {
        hosts.extend(["*", ""].iter().filter_map(|_| wildcard_of(&host)));
    }
    for chosen in hosts {
        let mut matching: Vec<&Candidate<'_>> = candidates
            .iter()
            .filter(|candidate| candidate.host == chosen && matches(store, candidate, &path))
            .collect();
        if !store.has_fault(Fault::FirstPath) {
            matching.sort_by_key(|candidate| precedence(store, candidate));
        }
        if let Some(candidate) = matching.first() {
            return endpoints(store, candidate.namespace, candidate.backend);
        }
    }
    default_backend(store, &host, is_named)
}

fn wildcard_of(host: &str) -> Option<String> {
    host.split_once('.').map(|(_, rest)| format!("*.{rest}"))
}

fn candidates(store: &Store) -> Vec<Candidate<'_>> {
    let mut found = Vec::new();
    for (key, object) in store.of_kind("Ingress") {
        let is_late = store.has_fault(Fault::EarlyStatus) && object.created_at.elapsed() < ROUTE_DELAY;
        if !is_ours(store, &object.value) || is_late {
            continue;
        }
        for rule in list(&object.value, "/spec/rules") {
            let host = text(rule, "/host");
            if host.is_empty() && store.has_fault(Fault::NoHostlessRules) {
                continue;
            }
            for path in list(rule, "/http/paths") {
                found.push(Candidate {
                    host,
                    path: text(path, "/path"),
                    is_exact: text(path, "/pathType") == "Exact",
                    age: object.age,
                    namespace: &key.namespace,
                    backend: &path["backend"],
                });
            }
        }
    }
    found
}

/// Returns the most specific host of the rules that covers a host. Empty: rules without host.
fn best_host(store: &Store, candidates: &[Candidate<'_>], host: &str) -> String {
    let mut hosts: Vec<&str> =
        candidates.iter().map(|candidate| candidate.host).filter(|rule| covers(store, rule, host)).collect();
    hosts.sort_by_key(|rule| (rule.is_empty(), rule.starts_with("*."), std::cmp::Reverse(rule.len())));
    hosts.first().copied().unwrap_or_default().to_owned()
}

fn covers(store: &Store, rule: &str, host: &str) -> bool {
    match rule.strip_prefix('*') {
        Some(suffix) => host.strip_suffix(suffix).is_some_and(|label| {
            !label.is_empty() && (!label.contains('.') || store.has_fault(Fault::DeepWildcard))
        }),
        None => rule.is_empty() || rule == host,
    }
}

fn matches(store: &Store, candidate: &Candidate<'_>, path: &str) -> bool {
    let (mut rule, mut path) = (candidate.path.to_owned(), path.to_owned());
    if store.has_fault(Fault::CaselessPaths) {
        (rule, path) = (rule.to_ascii_lowercase(), path.to_ascii_lowercase());
    }
    if store.has_fault(Fault::DroppedSlash) && path.len() > 1 {
        path = path.trim_end_matches('/').to_owned();
    }
    if candidate.is_exact {
        return rule == path;
    }
    if store.has_fault(Fault::StringPrefix) {
        return path.starts_with(&rule);
    }
    let rule = rule.trim_end_matches('/');
    path.strip_prefix(rule).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Sorts the used path first: exact before all others, then the longest, then the oldest.
fn precedence(store: &Store, candidate: &Candidate<'_>) -> (bool, std::cmp::Reverse<usize>, usize) {
    let is_later = candidate.is_exact == store.has_fault(Fault::PrefixBeforeExact);
    let length = candidate.path.trim_end_matches('/').len();
    let age = if store.has_fault(Fault::YoungestWins) { usize::MAX - candidate.age } else { candidate.age };
    (is_later, std::cmp::Reverse(length), age)
}

fn default_backend(store: &Store, host: &str, is_named: bool) -> Destination {
    let ours: Vec<_> =
        store.of_kind("Ingress").into_iter().filter(|(_, object)| is_ours(store, &object.value)).collect();
    let names_host = |ingress: &Value| {
        list(ingress, "/spec/rules").any(|rule| {
            let rule = text(rule, "/host");
            !rule.is_empty() && covers(store, rule, host)
        })
    };
    let namespaces: Vec<&str> = ours
        .iter()
        .filter(|(_, object)| names_host(&object.value))
        .map(|(key, _)| key.namespace.as_str())
        .collect();
    let may_serve = |namespace: &str| {
        !is_named || store.has_fault(Fault::DefaultForAllTenants) || namespaces.contains(&namespace)
    };
    let has_rules = |ingress: &Value| list(ingress, "/spec/rules").next().is_some();
    let mut defaults: Vec<_> = ours
        .iter()
        .filter(|(key, object)| {
            object.value.pointer("/spec/defaultBackend").is_some() && may_serve(&key.namespace)
        })
        .filter(|(_, object)| !(has_rules(&object.value) && store.has_fault(Fault::NoDefaultBesideRules)))
        .collect();
    defaults.sort_by_key(|(_, object)| (!names_host(&object.value), has_rules(&object.value), object.age));
    match defaults.first() {
        Some((key, object)) => endpoints(store, &key.namespace, &object.value["spec"]["defaultBackend"]),
        None => Destination::Status(404),
    }
}

/// Returns the endpoints of a backend: ready ones, else those that terminate and serve.
fn endpoints(store: &Store, namespace: &str, backend: &Value) -> Destination {
    let service = text(backend, "/service/name");
    let mut services = store.of_kind("Service").into_iter();
    let Some((_, found)) = services.find(|(key, _)| key.namespace == namespace && key.name == service) else {
        return Destination::Status(503);
    };
    let wanted = &backend["service"]["port"];
    let ports = list(&found.value, "/spec/ports");
    let is_wanted = |port: &&Value| {
        store.has_fault(Fault::FirstPort)
            || port["port"] == wanted["number"]
            || (wanted["name"].is_string() && port["name"] == wanted["name"])
    };
    let Some(port) = ports.into_iter().find(is_wanted) else { return Destination::Status(503) };
    let port_name = text(port, "/name");
    let (mut ready, mut terminating) = (Vec::new(), Vec::new());
    for slice in slices(store, namespace, service) {
        let Some(port) = list(slice, "/ports").find(|port| text(port, "/name") == port_name) else {
            continue;
        };
        let port = u16::try_from(port["port"].as_u64().unwrap()).unwrap();
        for endpoint in list(slice, "/endpoints") {
            let ip = endpoint["addresses"][0].as_str().unwrap().parse().unwrap();
            let condition = |name: &str, default| endpoint["conditions"][name].as_bool().unwrap_or(default);
            let is_ready = condition("ready", !store.has_fault(Fault::NilReadyIsUnready));
            if is_ready || store.has_fault(Fault::UnreadyEndpoints) {
                ready.push(SocketAddr::new(ip, port));
            } else if condition("terminating", false) && condition("serving", is_ready) {
                terminating.push(SocketAddr::new(ip, port));
            }
        }
    }
    let mut usable = if ready.is_empty() { terminating } else { ready };
    usable.sort();
    usable.dedup();
    if usable.is_empty() {
        Destination::Status(503)
    } else {
        Destination::Endpoints(usable, namespace.to_owned())
    }
}

fn slices<'a>(store: &'a Store, namespace: &str, service: &str) -> Vec<&'a Value> {
    let all = store.of_kind("EndpointSlice").into_iter().filter(|(key, object)| {
        key.namespace == namespace
            && text(&object.value, "/metadata/labels/kubernetes.io~1service-name") == service
    });
    let count = if store.has_fault(Fault::FirstSlice) { 1 } else { usize::MAX };
    all.map(|(_, object)| &object.value).take(count).collect()
}

/// Returns the Secret with the certificate for a server name.
pub(crate) fn secret<'a>(store: &'a Store, server_name: &str) -> Option<&'a Value> {
    let ours: Vec<_> =
        store.of_kind("Ingress").into_iter().filter(|(_, object)| is_ours(store, &object.value)).collect();
    let entries: Vec<_> = ours
        .iter()
        .flat_map(|(key, object)| list(&object.value, "/spec/tls").map(move |tls| (*key, tls)))
        .collect();
    let is_covering =
        |tls| list(tls, "/hosts").any(|host| covers(store, host.as_str().unwrap(), server_name));
    let (key, tls) = entries.iter().find(|(_, tls)| is_covering(tls))?;
    let (key, tls) = if store.has_fault(Fault::WrongCertificate) {
        *entries.iter().find(|(other, _)| are_of_one_case(&other.namespace, &key.namespace))?
    } else {
        (*key, *tls)
    };
    let name = text(tls, "/secretName");
    let secrets = store.of_kind("Secret");
    let found = secrets.iter().find(|(secret, _)| {
        let is_foreign =
            store.has_fault(Fault::ForeignSecret) && are_of_one_case(&secret.namespace, &key.namespace);
        secret.name == name && (secret.namespace == key.namespace || is_foreign)
    });
    found.map(|(_, object)| &object.value)
}

/// Returns true if one namespace is the other one, or an additional one of its case.
fn are_of_one_case(a: &str, b: &str) -> bool {
    a.trim_end_matches("-other") == b.trim_end_matches("-other")
}

/// Resolves dot segments and encoded letters.
fn normalize(path: &str) -> String {
    let path = path.replace("%6F", "o");
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/').skip(1) {
        match segment {
            "." => {}
            ".." => drop(segments.pop()),
            other => segments.push(other),
        }
    }
    format!("/{}", segments.join("/"))
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}
