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
use routing::object::IngressClassConfig;
use routing::object::IngressPath;
use routing::object::IngressRule;
use routing::object::Kind;
use routing::object::Name;
use routing::object::Namespace;
use routing::object::Object;
use routing::object::ObjectRef;
use routing::object::ParametersRef;
use routing::object::PortRef;
use routing::object::RoutePolicy;
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
        ..IngressClass::default()
    }))
}

fn ingress(name: &str, host: &str, path: &str) -> Change {
    Change::Apply(Object::Ingress(Ingress {
        name: Name::new("shop", name),
        created: None,
        class: Some("gateway".into()),
        rules: [IngressRule {
            host: Some(host.into()),
            paths: vec![IngressPath {
                path: path.into(),
                path_type: Some("Prefix".into()),
                backend: IngressBackend::Service { name: "web".into(), port: PortRef::Number(port(80)) },
            }],
        }]
        .into(),
        ..Ingress::default()
    }))
}

fn service() -> Change {
    Change::Apply(Object::Service(Service {
        name: Name::new("shop", "web"),
        service_type: "ClusterIP".into(),
        ports: vec![ServicePort { name: "http".into(), port: port(80), app_protocol: None, node_port: None }],
        ..Service::default()
    }))
}

fn slice(service: &str, addresses: &[&str]) -> Change {
    let endpoints = addresses.iter().map(|address| SliceEndpoint {
        addresses: vec![address.parse().unwrap()],
        ready: true,
        serving: true,
        terminating: false,
        ..SliceEndpoint::default()
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
    assert!(Arc::ptr_eq(before.serving_host(HOST).unwrap(), after.serving_host(HOST).unwrap()));
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
fn a_zone_that_is_told_later_counts_for_all_endpoints() {
    let (mut compiler, table) = compiler();
    let Change::Apply(Object::EndpointSlice(mut slice)) = slice("web", &["10.0.0.1", "10.0.0.2"]) else {
        unreachable!("it makes a slice");
    };
    for (endpoint, zone) in slice.endpoints.iter_mut().zip(["z1", "z2"]) {
        endpoint.zones = vec![zone.into()];
    }
    compiler.apply(vec![Change::Apply(Object::EndpointSlice(slice))]);
    assert_eq!(addresses(&backend(&table)).len(), 2, "without a zone hints say nothing");
    compiler.set_zone(Some("z2".to_owned()));
    compiler.apply(Vec::new());
    assert_eq!(addresses(&backend(&table)), ["10.0.0.2:8080"]);
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
    assert!(Arc::ptr_eq(before.serving_host("b.example").unwrap(), after.serving_host("b.example").unwrap()));
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
        "forOwners": [],
        "tlsSecret": null,
        "classTlsSecret": null,
        "named": true,
        "default": null,
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
                "externalName": null,
            }],
            "policy": [],
        }],
    }], "defaults": { "withoutRules": null, "withRules": null, "class": null, "tlsSecret": null },
    "ownerDefaults": [], "owners": []});
    assert_eq!(json, expected);
}

// ===== names =====

/// The Service as one that stands for a name.
fn external(host: &str, number: u16) -> Change {
    Change::Apply(Object::Service(Service {
        name: Name::new("shop", "web"),
        service_type: "ExternalName".into(),
        external_name: Some(host.into()),
        ports: vec![ServicePort {
            name: "http".into(),
            port: port(number),
            app_protocol: None,
            node_port: None,
        }],
        ..Service::default()
    }))
}

/// A class whose parameters say what becomes of ExternalName Services.
fn class_with(external_names: api::ExternalNames) -> Vec<Change> {
    let class = IngressClass {
        name: Name::new("", "gateway"),
        controller: Config::default().controller.into(),
        parameters: Some(ParametersRef {
            group: api::GROUP.into(),
            kind: "IngressClassConfig".into(),
            name: "ours".into(),
            namespace: None,
        }),
        ..IngressClass::default()
    };
    let config = IngressClassConfig {
        name: Name::new("", "ours"),
        spec: api::IngressClassConfigSpec { external_names, ..api::IngressClassConfigSpec::default() },
    };
    vec![Change::Apply(Object::IngressClass(class)), Change::Apply(Object::IngressClassConfig(config))]
}

/// What requests are sent to, and the names that were touched since.
fn dialled(compiler: &mut Compiler, table: &RoutingTable) -> (Vec<String>, Vec<String>) {
    let touched = compiler.take_changed_external_names();
    (addresses(&backend(table)), touched.iter().map(ToString::to_string).collect())
}

#[test]
fn addresses_of_a_name_stay_until_it_changes() {
    let mut compiler = Compiler::new(Config::default());
    let mut delta = class_with(api::ExternalNames::Allow);
    delta.extend([ingress("web", HOST, "/"), external("db.example", 80)]);
    let (table, problems) = compiler.apply(delta);
    assert_eq!(problems, ProblemDelta::default());
    assert_eq!(dialled(&mut compiler, &table), (vec![], vec!["db.example".to_owned()]));

    compiler.set_addresses("other.example", &["192.0.2.9".parse().unwrap()]);
    compiler.set_addresses("db.example", &["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()]);
    let resolved = vec!["192.0.2.1:80".to_owned(), "[2001:db8::1]:80".to_owned()];
    assert_eq!(dialled(&mut compiler, &table), (resolved.clone(), vec![]));
    assert_eq!(
        compiler.services_with_external_name("db.example").into_iter().collect::<Vec<_>>(),
        [Name::new("shop", "web")]
    );

    // Neither its own change without another name nor an EndpointSlice is a reason to forget them.
    let mut labelled = external("db.example", 80);
    if let Change::Apply(Object::Service(service)) = &mut labelled {
        service.cluster_ips = ["10.0.0.1".parse().unwrap()].into();
    }
    let (table, _) = compiler.apply(vec![labelled, slice("web", &["10.0.0.1"])]);
    assert_eq!(dialled(&mut compiler, &table), (resolved, vec![]));

    // Another name, and back.
    let (table, _) = compiler.apply(vec![external("other.example", 80)]);
    let both = vec!["db.example".to_owned(), "other.example".to_owned()];
    assert_eq!(dialled(&mut compiler, &table), (vec![], both));
    assert!(compiler.services_with_external_name("db.example").is_empty());
}

#[test]
fn a_name_is_wanted_only_while_an_ingress_of_a_class_that_allows_it_names_it() {
    let mut compiler = Compiler::new(Config::default());
    let mut delta = class_with(api::ExternalNames::Allow);
    delta.extend([ingress("web", HOST, "/"), external("db.example", 80)]);
    compiler.apply(delta);
    for (change, is_wanted) in [
        (vec![delete(Kind::Ingress, "web")], false),
        (vec![ingress("web", HOST, "/")], true),
        (class_with(api::ExternalNames::Refuse), false),
        (class_with(api::ExternalNames::Allow), true),
        (vec![service()], false),
        (vec![external("db.example", 80)], true),
        (vec![delete(Kind::Service, "web")], false),
    ] {
        compiler.take_changed_external_names();
        compiler.apply(change.clone());
        let touched = compiler.take_changed_external_names();
        assert_eq!(touched.iter().map(|name| &**name).collect::<Vec<_>>(), ["db.example"], "{change:?}");
        assert_eq!(!compiler.services_with_external_name("db.example").is_empty(), is_wanted, "{change:?}");
    }
}

// ===== what stands around Ingresses =====

fn policy(name: &str, size: u64) -> Change {
    let target = api::TargetRef {
        group: "networking.k8s.io".to_owned(),
        kind: api::TargetKind::Ingress,
        name: "web".to_owned(),
        host: None,
        path: None,
    };
    Change::Apply(Object::RoutePolicy(RoutePolicy {
        name: Name::new("shop", name),
        created: None,
        spec: Box::new(api::RoutePolicySpec {
            target_refs: vec![target],
            body_size: Some(api::ByteSize(size)),
            ..api::RoutePolicySpec::default()
        }),
    }))
}

fn body_size(table: &RoutingTable) -> Option<u64> {
    table.find(HOST, "/").unwrap().policy.body_size.as_ref().map(|size| size.value)
}

#[test]
fn a_policy_comes_changes_and_goes_with_its_ingress_only() {
    let (mut compiler, _) = compiler();
    let (before, _) = compiler.apply(vec![ingress("other", "b.example", "/")]);
    assert_eq!(body_size(&before), None);
    let (limited, problems) = compiler.apply(vec![policy("a", 7)]);
    assert_eq!((body_size(&limited), problems), (Some(7), ProblemDelta::default()));
    let untouched = |table: &RoutingTable| Arc::clone(table.serving_host("b.example").unwrap());
    assert!(Arc::ptr_eq(&untouched(&before), &untouched(&limited)));
    assert!(Arc::ptr_eq(&backend(&before), &backend(&limited)), "the Ingress keeps its cell");
    let (changed, _) = compiler.apply(vec![policy("a", 8)]);
    assert_eq!(body_size(&changed), Some(8));
    let (kept, conflict) = compiler.apply(vec![policy("b", 9)]);
    assert_eq!((body_size(&kept), conflict.added[0].reason), (Some(8), Reason::Conflict));
    let (second, solved) = compiler.apply(vec![delete(Kind::RoutePolicy, "a")]);
    assert_eq!((body_size(&second), solved.removed), (Some(9), conflict.added));
    let (_, lost) = compiler.apply(vec![delete(Kind::Ingress, "web")]);
    assert_eq!(lost.added[0].reason, Reason::TargetNotFound);
    let (again, found) = compiler.apply(vec![ingress("web", HOST, "/")]);
    assert_eq!((body_size(&again), found.removed), (Some(9), lost.added));
}

#[test]
fn what_a_policy_of_a_class_says_is_held_once_for_all_its_ingresses() {
    let (mut compiler, _) = compiler();
    let Change::Apply(Object::RoutePolicy(mut of_class)) = policy("class", 7) else { panic!("not a policy") };
    of_class.name = Name::new(&Config::default().namespace, "class");
    of_class.spec.target_refs[0].kind = api::TargetKind::IngressClass;
    of_class.spec.target_refs[0].name = "gateway".to_owned();
    let of = |table: &RoutingTable, host: &str| Arc::clone(&table.find(host, "/").unwrap().policy);
    compiler.apply(vec![Change::Apply(Object::RoutePolicy(of_class)), ingress("b", "b.example", "/")]);
    let (table, _) = compiler.apply(vec![ingress("c", "c.example", "/")]);
    assert_eq!(body_size(&table), Some(7));
    for host in ["b.example", "c.example"] {
        assert!(Arc::ptr_eq(&of(&table, HOST), &of(&table, host)), "{host}");
    }
    let (own, _) = compiler.apply(vec![policy("a", 8)]);
    assert_eq!(body_size(&own), Some(8));
    assert!(Arc::ptr_eq(&of(&own, "b.example"), &of(&table, HOST)), "others keep theirs");
}

#[test]
fn a_class_falls_and_rises_with_its_parameters() {
    let (mut compiler, _) = compiler();
    let with_parameters = Change::Apply(Object::IngressClass(IngressClass {
        name: Name::new("", "gateway"),
        controller: Config::default().controller.into(),
        parameters: Some(ParametersRef {
            group: api::GROUP.into(),
            kind: "IngressClassConfig".into(),
            name: "late".into(),
            namespace: None,
        }),
        ..IngressClass::default()
    }));
    let (fallen, problems) = compiler.apply(vec![with_parameters]);
    assert!(fallen.find(HOST, "/").is_none());
    let reasons: Vec<Reason> = problems.added.iter().map(|problem| problem.reason).collect();
    assert_eq!(reasons, [Reason::ClassFailed, Reason::ParametersNotFound]);
    let config = IngressClassConfig { name: Name::new("", "late"), ..IngressClassConfig::default() };
    let (risen, solved) = compiler.apply(vec![Change::Apply(Object::IngressClassConfig(config))]);
    assert!(risen.find(HOST, "/").is_some());
    assert_eq!(solved.removed, problems.added);
}

#[test]
fn a_terminating_namespace_gives_its_paths_away_and_takes_them_back() {
    let (mut compiler, _) = compiler();
    let Change::Apply(Object::Ingress(mut rival)) = ingress("rival", HOST, "/") else { unreachable!() };
    rival.name = Name::new("zoo", "rival");
    let (_, conflict) = compiler.apply(vec![Change::Apply(Object::Ingress(rival))]);
    let namespace = |terminating| {
        let name = Name::new("", "shop");
        vec![Change::Apply(Object::Namespace(Namespace { name, terminating }))]
    };
    let owner = |table: &RoutingTable| table.find(HOST, "/").unwrap().origin.ingress.name.to_string();
    let (gone, turned) = compiler.apply(namespace(true));
    assert_eq!((owner(&gone).as_str(), &turned.removed[0]), ("zoo/rival", &conflict.added[0]));
    let (back, _) = compiler.apply(namespace(false));
    assert_eq!(owner(&back), "shop/web");
}

#[test]
fn an_ingress_that_comes_again_with_its_changed_class_is_not_passed_over() {
    let (mut compiler, _) = compiler();
    let (table, _) = compiler.apply(vec![class("example.com/other"), ingress("web", HOST, "/")]);
    assert!(table.find(HOST, "/").is_none());
}

#[test]
fn ownership_comes_and_goes_for_the_ingresses_of_all_classes() {
    let (mut compiler, before) = compiler();
    let second = IngressClass {
        name: Name::new("", "second"),
        controller: Config::default().controller.into(),
        parameters: Some(ParametersRef {
            group: api::GROUP.into(),
            kind: "IngressClassConfig".into(),
            name: "owners".into(),
            namespace: None,
        }),
        ..IngressClass::default()
    };
    let owners = |namespaces: &[&str]| {
        let namespaces = namespaces.iter().map(|&name| name.to_owned()).collect();
        let entry = api::HostOwnership { host: HOST.to_owned(), namespaces };
        let spec = api::IngressClassConfigSpec { host_ownership: vec![entry], ..Default::default() };
        Change::Apply(Object::IngressClassConfig(IngressClassConfig { name: Name::new("", "owners"), spec }))
    };
    let (taken, refused) =
        compiler.apply(vec![Change::Apply(Object::IngressClass(second)), owners(&["bank"])]);
    assert!(taken.find(HOST, "/").is_none() && before.find(HOST, "/").is_some());
    assert_eq!(
        refused.added.iter().map(|problem| problem.reason).collect::<Vec<_>>(),
        [Reason::HostNotOwned]
    );
    let (back, solved) = compiler.apply(vec![owners(&["bank", "shop"])]);
    assert!(back.find(HOST, "/").is_some());
    assert_eq!((solved.added, solved.removed), (Vec::new(), refused.added));
    let (other, _) = compiler.apply(vec![ingress("other", "b.example", "/")]);
    assert!(Arc::ptr_eq(back.serving_host(HOST).unwrap(), other.serving_host(HOST).unwrap()));
}
