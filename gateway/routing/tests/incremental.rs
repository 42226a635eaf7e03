//! What a change touches, and what it leaves alone: cells, Routes, numbers, Problems.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::num::NonZeroU16;
use std::sync::Arc;

use routing::Backend;
use routing::Compiler;
use routing::Config;
use routing::Endpoints;
use routing::ProblemDelta;
use routing::Reason;
use routing::RoutingTable;
use routing::object::Change;
use routing::object::EndpointSlice;
use routing::object::Ingress;
use routing::object::IngressBackend;
use routing::object::IngressClass;
use routing::object::IngressPath;
use routing::object::IngressRule;
use routing::object::Kind;
use routing::object::Name;
use routing::object::Object;
use routing::object::ObjectRef;
use routing::object::PortRef;
use routing::object::Service;
use routing::object::ServicePort;
use routing::object::SliceEndpoint;
use routing::object::SlicePort;

const HOST: &str = "a.example";

fn port(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).unwrap()
}

fn class(controller: &str) -> Change {
    let name = Name::new("", "gateway");
    Change::Apply(Object::IngressClass(IngressClass {
        name,
        controller: controller.into(),
        is_default: false,
    }))
}

fn ingress(name: &str, host: &str, path: &str) -> Change {
    Change::Apply(Object::Ingress(Ingress {
        name: Name::new("shop", name),
        created: None,
        class: Some("gateway".into()),
        rules: vec![IngressRule {
            host: Some(host.into()),
            paths: vec![IngressPath {
                path: path.into(),
                path_type: Some("Prefix".into()),
                backend: IngressBackend::Service { name: "web".into(), port: PortRef::Number(port(80)) },
            }],
        }],
        tls: Vec::new(),
        has_default_backend: false,
    }))
}

fn service() -> Change {
    Change::Apply(Object::Service(Service {
        name: Name::new("shop", "web"),
        service_type: "ClusterIP".into(),
        ports: vec![ServicePort { name: "http".into(), port: port(80), app_protocol: None }],
        fixed_endpoints: None,
    }))
}

fn slice(service: &str, addresses: &[&str]) -> Change {
    let endpoints = addresses.iter().map(|address| SliceEndpoint {
        addresses: vec![address.parse().unwrap()],
        ready: true,
        serving: true,
        terminating: false,
        pod: None,
    });
    Change::Apply(Object::EndpointSlice(EndpointSlice {
        name: Name::new("shop", "web-1"),
        service: Some(service.into()),
        ports: vec![SlicePort { name: "http".into(), port: Some(port(8080)) }],
        endpoints: endpoints.collect(),
    }))
}

fn delete(kind: Kind, name: &str) -> Change {
    Change::Delete(ObjectRef {
        kind,
        name: Name::new(if kind == Kind::IngressClass { "" } else { "shop" }, name),
    })
}

fn ours() -> Change {
    class(&Config::default().controller)
}

/// A Compiler with one Ingress whose Service has one endpoint.
fn compiler() -> (Compiler, RoutingTable) {
    let mut compiler = Compiler::new(Config::default());
    let delta = vec![ours(), ingress("web", HOST, "/"), service(), slice("web", &["10.0.0.1"])];
    let (table, problems) = compiler.apply(delta);
    assert_eq!(problems, ProblemDelta::default());
    (compiler, table)
}

fn backend(table: &RoutingTable) -> Arc<Backend> {
    Arc::clone(&table.find(HOST, "/").unwrap().backends[0].backend)
}

fn addresses(backend: &Backend) -> Vec<String> {
    backend.endpoints.load().ready().iter().map(|endpoint| endpoint.address.to_string()).collect()
}

#[test]
fn an_endpoint_change_rebuilds_no_route_and_shows_in_older_tables() {
    let (mut compiler, before) = compiler();
    let (after, problems) = compiler.apply(vec![slice("web", &["10.0.0.2", "10.0.0.1"])]);
    assert_eq!(problems, ProblemDelta::default());
    assert!(Arc::ptr_eq(before.host(HOST).unwrap(), after.host(HOST).unwrap()));
    assert_eq!(addresses(&backend(&before)), ["10.0.0.1:8080", "10.0.0.2:8080"]);
}

#[test]
fn a_cell_that_would_hold_the_same_is_left_alone() {
    let (mut compiler, table) = compiler();
    let before = backend(&table).endpoints.load_full();
    compiler.apply(vec![slice("web", &["10.0.0.1", "10.0.0.1"]), service()]);
    assert!(Arc::ptr_eq(&before, &backend(&table).endpoints.load_full()));
}

#[test]
fn losing_all_endpoints_is_a_problem_until_one_is_back() {
    let (mut compiler, table) = compiler();
    let (_, lost) = compiler.apply(vec![slice("web", &[])]);
    assert_eq!((lost.added.len(), lost.removed.len()), (1, 0));
    assert_eq!(lost.added[0].reason, Reason::NoEndpoints);
    assert_eq!(**backend(&table).endpoints.load(), Endpoints::NoneReady);
    let (_, gone) = compiler.apply(vec![delete(Kind::Service, "web")]);
    assert_eq!(gone.removed, lost.added);
    assert_eq!(gone.added[0].reason, Reason::ServiceNotFound);
    let (_, back) = compiler.apply(vec![service(), slice("web", &["10.0.0.3"])]);
    assert_eq!((back.added, back.removed), (Vec::new(), gone.added));
}

#[test]
fn a_slice_that_changes_its_service_leaves_the_old_one() {
    let (mut compiler, table) = compiler();
    compiler.apply(vec![slice("other", &["10.0.0.1"])]);
    assert_eq!(**backend(&table).endpoints.load(), Endpoints::NoneReady);
    compiler.apply(vec![slice("web", &["10.0.0.1"])]);
    assert_eq!(addresses(&backend(&table)), ["10.0.0.1:8080"]);
}

#[test]
fn ingresses_share_the_backend_of_a_service_port_and_keep_it_when_they_change() {
    let (mut compiler, before) = compiler();
    let (after, _) = compiler.apply(vec![ingress("web", HOST, "/moved"), ingress("api", HOST, "/")]);
    let moved = after.find(HOST, "/moved").unwrap();
    assert!(Arc::ptr_eq(&backend(&before), &moved.backends[0].backend));
    assert!(Arc::ptr_eq(&backend(&after), &moved.backends[0].backend));
    let old = before.find(HOST, "/").unwrap();
    assert!(Arc::ptr_eq(&old.origin.ingress, &moved.origin.ingress), "an Ingress keeps its number");
    assert_ne!(after.find(HOST, "/").unwrap().origin.ingress.id, old.origin.ingress.id);
}

#[test]
fn a_number_is_never_used_again() {
    let (mut compiler, before) = compiler();
    compiler.apply(vec![delete(Kind::Ingress, "web")]);
    let (after, _) = compiler.apply(vec![ingress("web", HOST, "/")]);
    let ids = |table: &RoutingTable| (table.find(HOST, "/").unwrap().origin.ingress.id, backend(table).id);
    assert_ne!(ids(&before).0, ids(&after).0);
    assert_ne!(ids(&before).1, ids(&after).1);
}

#[test]
fn other_hosts_are_shared_between_tables() {
    let (mut compiler, _) = compiler();
    let (before, _) = compiler.apply(vec![ingress("other", "b.example", "/")]);
    let (after, _) = compiler.apply(vec![ingress("web", HOST, "/x")]);
    assert!(Arc::ptr_eq(before.host("b.example").unwrap(), after.host("b.example").unwrap()));
    assert!(before.find(HOST, "/").is_some(), "an older table stays as it was");
    assert!(after.find(HOST, "/").is_none());
}

#[test]
fn a_host_goes_with_its_last_ingress() {
    let (mut compiler, _) = compiler();
    let (table, problems) = compiler.apply(vec![delete(Kind::Ingress, "web")]);
    assert_eq!(table.len(), 0);
    assert_eq!(problems, ProblemDelta::default());
}

#[test]
fn a_class_that_changes_hands_takes_its_ingresses_along() {
    let (mut compiler, _) = compiler();
    let (table, problems) = compiler.apply(vec![class("example.com/other")]);
    assert!(table.is_empty());
    assert_eq!(problems, ProblemDelta::default());
    let (table, problems) = compiler.apply(vec![delete(Kind::IngressClass, "gateway")]);
    assert!(table.is_empty());
    assert_eq!(problems.added[0].reason, Reason::ClassNotFound);
    let (table, gone) = compiler.apply(vec![ours()]);
    assert!(table.find(HOST, "/").is_some());
    assert_eq!((gone.added, gone.removed), (Vec::new(), problems.added));
}

#[test]
fn the_last_change_of_an_object_in_a_delta_counts() {
    let (mut compiler, _) = compiler();
    let (table, _) = compiler.apply(vec![ingress("web", HOST, "/one"), ingress("web", HOST, "/two")]);
    assert!(table.find(HOST, "/one").is_none() && table.find(HOST, "/two").is_some());
    let (table, _) = compiler.apply(vec![delete(Kind::Ingress, "web"), ingress("web", HOST, "/three")]);
    assert!(table.find(HOST, "/three").is_some());
}

#[test]
fn the_view_serialises_for_the_admin() {
    let (_, table) = compiler();
    let json = serde_json::to_value(table.view()).unwrap();
    let expected = serde_json::json!({ "hosts": [{
        "host": HOST,
        "tlsSecret": null,
        "routes": [{
            "path": "/",
            "type": "Prefix",
            "ingress": "shop/web",
            "field": "spec.rules[0].http.paths[0]",
            "backends": [{
                "service": "shop/web",
                "port": "80",
                "weight": 1,
                "appProtocol": null,
                "state": "ready",
                "endpoints": [{ "address": "10.0.0.1:8080", "pod": null }],
            }],
        }],
    }]});
    assert_eq!(json, expected);
}
