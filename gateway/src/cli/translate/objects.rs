//! Answers of handlers as objects for `kubectl apply`.
//!
//! Rules have no names, which the standard channel of Gateway API does not know. Ports are numbers.

use std::collections::BTreeSet;

use api::class_handler::{AnnotationResult, EmittedPolicy, EmittedRoute};
use api::{HttpBackendRef, HttpRoute, HttpRouteRule, Port};
use routing::handler::{HandlerAnswer, HandlerOutcome};
use routing::object::Name;
use routing::{Compiler, HostName};
use serde_json::{Value, json};

/// Returns all HTTPRoutes and RoutePolicies, in the order of the answers.
pub(super) fn objects(answers: &[HandlerAnswer], compiler: &Compiler, gateway: Option<&str>) -> Vec<Value> {
    let mut names = BTreeSet::new();
    let mut objects = Vec::new();
    for HandlerAnswer { ingress, host, outcome } in answers {
        let HandlerOutcome::Translated(part) = outcome else { continue };
        let base = format!("{}-{}", ingress.name, slug(host));
        for route in part.routes.iter().filter(|route| !route.spec.rules.is_empty()) {
            let name = unique(&mut names, ("HTTPRoute", &ingress.namespace), &base);
            let spec = route_spec(route, &part.results, (ingress, host), compiler);
            objects.push(http_route(route, &name, spec, gateway));
        }
        for policy in &part.policies {
            let name = unique(&mut names, ("RoutePolicy", &ingress.namespace), &base);
            objects.push(route_policy(policy, &name, ingress, host));
        }
    }
    objects
}

/// Returns a host as a part of an object's name.
fn slug(host: &HostName) -> String {
    match host {
        HostName::Any => "any".to_owned(),
        HostName::Exact(name) => name.replace('.', "-"),
        HostName::Wildcard(name) => format!("wildcard-{}", name.replace('.', "-")),
    }
}

/// Returns a name that no object of this kind and namespace has yet.
fn unique(
    names: &mut BTreeSet<(&'static str, String, String)>,
    (kind, namespace): (&'static str, &str),
    base: &str,
) -> String {
    let candidates =
        (1..).map(|number| if number == 1 { base.to_owned() } else { format!("{base}-{number}") });
    let mut free = candidates.filter(|name| names.insert((kind, namespace.to_owned(), name.clone())));
    free.next().unwrap_or_default()
}

fn route_spec(
    route: &EmittedRoute,
    results: &[AnnotationResult],
    (ingress, host): (&Name, &HostName),
    compiler: &Compiler,
) -> HttpRoute {
    let mut hostnames = route.spec.hostnames.clone();
    if hostnames.is_empty() && *host != HostName::Any {
        hostnames.push(host.to_string());
    }
    let is_closed = |rule: &HttpRouteRule| {
        results.iter().any(|result| result.closes && (result.rule.is_none() || result.rule == rule.name))
    };
    let rules = route.spec.rules.iter().map(|rule| {
        let references = rule.backend_refs.iter().filter(|_| !is_closed(rule));
        let backend_refs = references.map(|reference| numbered(reference, &ingress.namespace, compiler));
        HttpRouteRule { name: None, backend_refs: backend_refs.collect(), ..rule.clone() }
    });
    HttpRoute { hostnames, rules: rules.collect() }
}

/// Replaces the name of a port by its number, if the Service is known.
fn numbered(reference: &HttpBackendRef, namespace: &str, compiler: &Compiler) -> HttpBackendRef {
    let mut reference = reference.clone();
    if let Port::Name(name) = &reference.port {
        let service = compiler.service(&Name::new(namespace, &reference.name));
        let port = service.and_then(|service| service.ports.iter().find(|port| port.name == *name));
        if let Some(port) = port {
            reference.port = Port::Number(port.port);
        }
    }
    reference
}

fn http_route(route: &EmittedRoute, name: &str, spec: HttpRoute, gateway: Option<&str>) -> Value {
    let mut spec = json!(spec);
    let parent = gateway.map(|gateway| match gateway.split_once('/') {
        Some((namespace, name)) => json!({"namespace": namespace, "name": name}),
        None => json!({"name": gateway}),
    });
    if let (Some(parent), Some(fields)) = (parent, spec.as_object_mut()) {
        fields.insert("parentRefs".to_owned(), json!([parent]));
    }
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": metadata(&route.metadata.annotations, &route.metadata.namespace, name),
        "spec": spec,
    })
}

fn route_policy(policy: &EmittedPolicy, name: &str, ingress: &Name, host: &HostName) -> Value {
    let mut policy = policy.clone();
    policy.set_default_target(&ingress.name);
    let mut spec = policy.spec;
    if *host != HostName::Any {
        spec.target_refs.iter_mut().for_each(|target| target.host = Some(host.to_string()));
    }
    json!({
        "apiVersion": format!("{}/{}", api::GROUP, api::VERSION),
        "kind": "RoutePolicy",
        "metadata": metadata(&policy.metadata.annotations, &policy.metadata.namespace, name),
        "spec": spec,
    })
}

fn metadata(annotations: &std::collections::BTreeMap<String, String>, namespace: &str, name: &str) -> Value {
    json!({"namespace": namespace, "name": name, "annotations": annotations})
}
