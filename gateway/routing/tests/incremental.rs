//! The effects of a change on cells, Routes, numbers and Problems.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::sync::Arc;

use routing::Backend;
use routing::Compiler;
use routing::Config;
use routing::Endpoints;
use routing::ProblemDelta;
use routing::Reason;
use routing::RoutingTable;
use routing::object::Change;
use routing::object::Kind;
use routing::object::Name;
use routing::object::Namespace;
use routing::object::Object;
use routing::object::ObjectRef;

#[path = "support/objects.rs"]
mod objects;

use objects::CLASS;
use objects::class;
use objects::class_config;
use objects::ingress;
use objects::policy;
use objects::service;
use objects::slice;

const HOST: &str = "a.example";

fn web(path: &str) -> Change {
    ingress("shop/web").host(HOST).path(path).change()
}

fn other() -> Change {
    ingress("shop/other").host("b.example").path("/").change()
}

fn delete(kind: Kind, name: &str) -> Change {
    Change::Delete(ObjectRef {
        kind,
        name: Name::new(if kind == Kind::IngressClass { "" } else { "shop" }, name),
    })
}

/// Creates a Compiler with one Ingress, whose Service has one endpoint.
fn compiler() -> (Compiler, RoutingTable) {
    let mut compiler = Compiler::new(Config::default());
    let delta = vec![
        class(CLASS).change(),
        web("/"),
        service("shop/web").change(),
        slice("shop/web").endpoint("10.0.0.1").change(),
    ];
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
fn endpoint_change_shows_in_older_tables_without_a_rebuild() {
    let (mut compiler, before) = compiler();
    let (after, problems) =
        compiler.apply(vec![slice("shop/web").endpoint("10.0.0.2").endpoint("10.0.0.1").change()]);
    assert_eq!(problems, ProblemDelta::default());
    assert!(Arc::ptr_eq(before.serving_host(HOST).unwrap(), after.serving_host(HOST).unwrap()));
    assert_eq!(addresses(&backend(&before)), ["10.0.0.1:8080", "10.0.0.2:8080"]);
}

#[test]
fn endpoint_cell_with_equal_value_is_not_replaced() {
    let (mut compiler, table) = compiler();
    let before = backend(&table).endpoints.load_full();
    compiler.apply(vec![
        slice("shop/web").endpoint("10.0.0.1").endpoint("10.0.0.1").change(),
        service("shop/web").change(),
    ]);
    assert!(Arc::ptr_eq(&before, &backend(&table).endpoints.load_full()));
}

#[test]
fn zone_set_later_applies_to_known_endpoints() {
    let (mut compiler, table) = compiler();
    let hinted = slice("shop/web").endpoint_in("10.0.0.1", &["z1"]).endpoint_in("10.0.0.2", &["z2"]);
    compiler.apply(vec![hinted.change()]);
    assert_eq!(addresses(&backend(&table)).len(), 2, "without a zone hints are ignored");
    compiler.set_zone(Some("z2".to_owned()));
    compiler.apply(Vec::new());
    assert_eq!(addresses(&backend(&table)), ["10.0.0.2:8080"]);
}

#[test]
fn backend_without_endpoints_is_a_problem_until_one_returns() {
    let (mut compiler, table) = compiler();
    let (_, lost) = compiler.apply(vec![slice("shop/web").change()]);
    assert_eq!((lost.added.len(), lost.removed.len()), (1, 0));
    assert_eq!(lost.added[0].reason, Reason::NoEndpoints);
    assert_eq!(**backend(&table).endpoints.load(), Endpoints::NoneReady);
    let (_, gone) = compiler.apply(vec![delete(Kind::Service, "web")]);
    assert_eq!(gone.removed, lost.added);
    assert_eq!(gone.added[0].reason, Reason::ServiceNotFound);
    let (_, back) =
        compiler.apply(vec![service("shop/web").change(), slice("shop/web").endpoint("10.0.0.3").change()]);
    assert_eq!((back.added, back.removed), (Vec::new(), gone.added));
}

#[test]
fn slice_with_new_service_leaves_the_old_one() {
    let (mut compiler, table) = compiler();
    compiler.apply(vec![slice("shop/web").of_service("other").endpoint("10.0.0.1").change()]);
    assert_eq!(**backend(&table).endpoints.load(), Endpoints::NoneReady);
    compiler.apply(vec![slice("shop/web").endpoint("10.0.0.1").change()]);
    assert_eq!(addresses(&backend(&table)), ["10.0.0.1:8080"]);
}

#[test]
fn backend_is_shared_and_kept_when_an_ingress_changes() {
    let (mut compiler, before) = compiler();
    let (after, _) = compiler.apply(vec![web("/moved"), ingress("shop/api").host(HOST).path("/").change()]);
    let moved = after.find(HOST, "/moved").unwrap();
    assert!(Arc::ptr_eq(&backend(&before), &moved.backends[0].backend));
    assert!(Arc::ptr_eq(&backend(&after), &moved.backends[0].backend));
    let old = before.find(HOST, "/").unwrap();
    assert!(Arc::ptr_eq(&old.origin.ingress, &moved.origin.ingress), "an Ingress keeps its number");
    assert_ne!(after.find(HOST, "/").unwrap().origin.ingress.id, old.origin.ingress.id);
}

#[test]
fn numbers_of_deleted_objects_are_not_reused() {
    let (mut compiler, before) = compiler();
    compiler.apply(vec![delete(Kind::Ingress, "web")]);
    let (after, _) = compiler.apply(vec![web("/")]);
    let ids = |table: &RoutingTable| (table.find(HOST, "/").unwrap().origin.ingress.id, backend(table).id);
    assert_ne!(ids(&before).0, ids(&after).0);
    assert_ne!(ids(&before).1, ids(&after).1);
}

#[test]
fn unchanged_hosts_are_shared_between_tables() {
    let (mut compiler, _) = compiler();
    let (before, _) = compiler.apply(vec![other()]);
    let (after, _) = compiler.apply(vec![web("/x")]);
    assert!(Arc::ptr_eq(before.serving_host("b.example").unwrap(), after.serving_host("b.example").unwrap()));
    assert!(before.find(HOST, "/").is_some(), "an older table stays as it was");
    assert!(after.find(HOST, "/").is_none());
}

#[test]
fn host_disappears_with_its_last_ingress() {
    let (mut compiler, _) = compiler();
    let (table, problems) = compiler.apply(vec![delete(Kind::Ingress, "web")]);
    assert_eq!(table.len(), 0);
    assert_eq!(problems, ProblemDelta::default());
}

#[test]
fn class_with_new_controller_withdraws_its_ingresses() {
    let (mut compiler, _) = compiler();
    let (table, problems) = compiler.apply(vec![class(CLASS).controller("example.com/other").change()]);
    assert!(table.is_empty());
    assert_eq!(problems, ProblemDelta::default());
    let (table, problems) = compiler.apply(vec![delete(Kind::IngressClass, "gateway")]);
    assert!(table.is_empty());
    assert_eq!(problems.added[0].reason, Reason::ClassNotFound);
    let (table, gone) = compiler.apply(vec![class(CLASS).change()]);
    assert!(table.find(HOST, "/").is_some());
    assert_eq!((gone.added, gone.removed), (Vec::new(), problems.added));
}

#[test]
fn class_made_anew_with_another_age_changes_the_order_of_classes() {
    let spec = |service: &str| api::IngressClassConfigSpec {
        default_backend: Some(api::ClassBackend {
            namespace: Some("shop".to_owned()),
            service: service.to_owned(),
            port: api::Port::Name("http".into()),
        }),
        ..api::IngressClassConfigSpec::default()
    };
    let one = |created| class("one").config("one").created(created).change();
    let two = class("two").config("two").created(20).change();
    let configs = [class_config("one", spec("web")), class_config("two", spec("other"))];
    let default = |table: &RoutingTable| {
        table.find("unknown.example", "/").map(|route| route.backends[0].backend.service.name.to_string())
    };
    let mut compiler = Compiler::new(Config::default());
    let (table, _) = compiler.apply([one(10), two].into_iter().chain(configs).collect());
    assert_eq!(default(&table).as_deref(), Some("web"), "the older class");
    // A class that is deleted and made again may have both changes in one delta.
    let (table, _) = compiler.apply(vec![one(30)]);
    assert_eq!(default(&table).as_deref(), Some("other"), "it is the younger one now");
    let (table, _) = compiler.apply(vec![delete(Kind::IngressClass, "one"), one(10)]);
    assert_eq!(default(&table).as_deref(), Some("web"));
}

#[test]
fn last_change_of_an_object_in_a_delta_counts() {
    let (mut compiler, _) = compiler();
    let (table, _) = compiler.apply(vec![web("/one"), web("/two")]);
    assert!(table.find(HOST, "/one").is_none() && table.find(HOST, "/two").is_some());
    let (table, _) = compiler.apply(vec![delete(Kind::Ingress, "web"), web("/three")]);
    assert!(table.find(HOST, "/three").is_some());
}

#[test]
fn view_serialises_to_json() {
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
            "plugins": [],
            "closed": false,
            "missingPlugin": null,
        }],
    }], "defaults": { "withoutRules": null, "withRules": null, "class": null, "tlsSecret": null },
    "ownerDefaults": [], "owners": []});
    assert_eq!(json, expected);
}

// ===== external names =====

fn external(host: &str) -> Change {
    service("shop/web").external_name(host).change()
}

fn class_with(external_names: api::ExternalNames) -> Vec<Change> {
    let spec = api::IngressClassConfigSpec { external_names, ..api::IngressClassConfigSpec::default() };
    vec![class(CLASS).config("ours").change(), class_config("ours", spec)]
}

/// Returns the present addresses, and the external names that changed since the last call.
fn addresses_and_changes(compiler: &mut Compiler, table: &RoutingTable) -> (Vec<String>, Vec<String>) {
    let touched = compiler.take_changed_external_names();
    (addresses(&backend(table)), touched.iter().map(ToString::to_string).collect())
}

#[test]
fn external_addresses_stay_until_the_name_changes() {
    let mut compiler = Compiler::new(Config::default());
    let mut delta = class_with(api::ExternalNames::Allow);
    delta.extend([web("/"), external("db.example")]);
    let (table, problems) = compiler.apply(delta);
    assert_eq!(problems, ProblemDelta::default());
    assert_eq!(addresses_and_changes(&mut compiler, &table), (vec![], vec!["db.example".to_owned()]));

    compiler.set_addresses("other.example", &["192.0.2.9".parse().unwrap()]);
    compiler.set_addresses("db.example", &["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()]);
    let resolved = vec!["192.0.2.1:80".to_owned(), "[2001:db8::1]:80".to_owned()];
    assert_eq!(addresses_and_changes(&mut compiler, &table), (resolved.clone(), vec![]));
    assert_eq!(
        compiler.services_with_external_name("db.example").into_iter().collect::<Vec<_>>(),
        [Name::new("shop", "web")]
    );

    // A change of the Service without a new name keeps the addresses, and so does an EndpointSlice.
    let labelled = service("shop/web").external_name("db.example").cluster_ip("10.0.0.1").change();
    let (table, _) = compiler.apply(vec![labelled, slice("shop/web").endpoint("10.0.0.1").change()]);
    assert_eq!(addresses_and_changes(&mut compiler, &table), (resolved, vec![]));

    // Another name.
    let (table, _) = compiler.apply(vec![external("other.example")]);
    let both = vec!["db.example".to_owned(), "other.example".to_owned()];
    assert_eq!(addresses_and_changes(&mut compiler, &table), (vec![], both));
    assert!(compiler.services_with_external_name("db.example").is_empty());
}

#[test]
fn external_name_is_listed_only_while_allowed_and_used() {
    let mut compiler = Compiler::new(Config::default());
    let mut delta = class_with(api::ExternalNames::Allow);
    delta.extend([web("/"), external("db.example")]);
    compiler.apply(delta);
    for (change, is_listed) in [
        (vec![delete(Kind::Ingress, "web")], false),
        (vec![web("/")], true),
        (class_with(api::ExternalNames::Refuse), false),
        (class_with(api::ExternalNames::Allow), true),
        (vec![service("shop/web").change()], false),
        (vec![external("db.example")], true),
        (vec![delete(Kind::Service, "web")], false),
    ] {
        compiler.take_changed_external_names();
        compiler.apply(change.clone());
        let touched = compiler.take_changed_external_names();
        assert_eq!(touched.iter().map(|name| &**name).collect::<Vec<_>>(), ["db.example"], "{change:?}");
        assert_eq!(!compiler.services_with_external_name("db.example").is_empty(), is_listed, "{change:?}");
    }
}

// ===== policies, classes and namespaces =====

fn body_limit(name: &str, bytes: u64) -> Change {
    policy(name).for_ingress("web").body_size(bytes).change()
}

fn body_size(table: &RoutingTable) -> Option<u64> {
    table.find(HOST, "/").unwrap().policy.spec.body_size.map(|size| size.0)
}

#[test]
fn policy_change_affects_only_its_ingress() {
    let (mut compiler, _) = compiler();
    let (before, _) = compiler.apply(vec![other()]);
    assert_eq!(body_size(&before), None);
    let (limited, problems) = compiler.apply(vec![body_limit("shop/a", 7)]);
    assert_eq!((body_size(&limited), problems), (Some(7), ProblemDelta::default()));
    let untouched = |table: &RoutingTable| Arc::clone(table.serving_host("b.example").unwrap());
    assert!(Arc::ptr_eq(&untouched(&before), &untouched(&limited)));
    assert!(Arc::ptr_eq(&backend(&before), &backend(&limited)), "the Ingress keeps its cell");
    let (changed, _) = compiler.apply(vec![body_limit("shop/a", 8)]);
    assert_eq!(body_size(&changed), Some(8));
    let (kept, conflict) = compiler.apply(vec![body_limit("shop/b", 9)]);
    assert_eq!((body_size(&kept), conflict.added[0].reason), (Some(8), Reason::Conflict));
    let (second, solved) = compiler.apply(vec![delete(Kind::RoutePolicy, "a")]);
    assert_eq!((body_size(&second), solved.removed), (Some(9), conflict.added));
    let (_, lost) = compiler.apply(vec![delete(Kind::Ingress, "web")]);
    assert_eq!(lost.added[0].reason, Reason::TargetNotFound);
    let (again, found) = compiler.apply(vec![web("/")]);
    assert_eq!((body_size(&again), found.removed), (Some(9), lost.added));
}

#[test]
fn class_policy_is_shared_by_all_ingresses_of_the_class() {
    let (mut compiler, _) = compiler();
    let of_class = policy("gateway-system/class").for_class(CLASS).body_size(7).change();
    let of = |table: &RoutingTable, host: &str| Arc::clone(&table.find(host, "/").unwrap().policy);
    compiler.apply(vec![of_class, ingress("shop/b").host("b.example").path("/").change()]);
    let (table, _) = compiler.apply(vec![ingress("shop/c").host("c.example").path("/").change()]);
    assert_eq!(body_size(&table), Some(7));
    for host in ["b.example", "c.example"] {
        assert!(Arc::ptr_eq(&of(&table, HOST), &of(&table, host)), "{host}");
    }
    let (own, _) = compiler.apply(vec![body_limit("shop/a", 8)]);
    assert_eq!(body_size(&own), Some(8));
    assert!(Arc::ptr_eq(&of(&own, "b.example"), &of(&table, HOST)), "others keep theirs");
}

#[test]
fn class_without_its_parameters_serves_nothing() {
    let (mut compiler, _) = compiler();
    let (fallen, problems) = compiler.apply(vec![class(CLASS).config("late").change()]);
    assert!(fallen.find(HOST, "/").is_none());
    let reasons: Vec<Reason> = problems.added.iter().map(|problem| problem.reason).collect();
    assert_eq!(reasons, [Reason::ClassFailed, Reason::ParametersNotFound]);
    let config = class_config("late", api::IngressClassConfigSpec::default());
    let (risen, solved) = compiler.apply(vec![config]);
    assert!(risen.find(HOST, "/").is_some());
    assert_eq!(solved.removed, problems.added);
}

#[test]
fn terminating_namespace_loses_conflicts_until_it_is_active() {
    let (mut compiler, _) = compiler();
    let (_, conflict) = compiler.apply(vec![ingress("zoo/rival").host(HOST).path("/").change()]);
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
fn ingress_unchanged_is_recompiled_with_its_changed_class() {
    let (mut compiler, _) = compiler();
    let (table, _) = compiler.apply(vec![class(CLASS).controller("example.com/other").change(), web("/")]);
    assert!(table.find(HOST, "/").is_none());
}

#[test]
fn ownership_change_affects_the_ingresses_of_all_classes() {
    let (mut compiler, before) = compiler();
    let owners = |namespaces: &[&str]| {
        let namespaces = namespaces.iter().map(|&name| name.to_owned()).collect();
        let entry = api::HostOwnership { host: HOST.to_owned(), namespaces };
        let spec = api::IngressClassConfigSpec { host_ownership: vec![entry], ..Default::default() };
        class_config("owners", spec)
    };
    let (taken, refused) = compiler.apply(vec![class("second").config("owners").change(), owners(&["bank"])]);
    assert!(taken.find(HOST, "/").is_none() && before.find(HOST, "/").is_some());
    assert_eq!(
        refused.added.iter().map(|problem| problem.reason).collect::<Vec<_>>(),
        [Reason::HostNotOwned]
    );
    let (back, solved) = compiler.apply(vec![owners(&["bank", "shop"])]);
    assert!(back.find(HOST, "/").is_some());
    assert_eq!((solved.added, solved.removed), (Vec::new(), refused.added));
    let (other, _) = compiler.apply(vec![other()]);
    assert!(Arc::ptr_eq(back.serving_host(HOST).unwrap(), other.serving_host(HOST).unwrap()));
}
