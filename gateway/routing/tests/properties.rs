//! Properties: order does not matter, deltas equal a cold compile, lookup equals a scan.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::Just;
use proptest::prelude::ProptestConfig;
use proptest::prelude::Strategy;
use proptest::prelude::any;
use proptest::prelude::prop_oneof;
use proptest::prop_assert;
use proptest::prop_assert_eq;
use proptest::proptest;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use routing::CertificateChoice;
use routing::Compiler;
use routing::Config;
use routing::PathMatch;
use routing::PluginDefinition;
use routing::Problem;
use routing::RoutingTable;
use routing::host;
use routing::object::BackendError;
use routing::object::Change;
use routing::object::Ingress;
use routing::object::IngressBackend;
use routing::object::IngressPath;
use routing::object::IngressRule;
use routing::object::Kind;
use routing::object::Name;
use routing::object::Object;
use routing::object::ObjectRef;
use routing::path;
use routing::table::DefaultVerdict;
use routing::table::HostVerdict;
use routing::table::PlainRequest;
use routing::table::RouteVerdict;

#[path = "model/naive.rs"]
mod naive;
#[path = "model/objects.rs"]
mod objects;
#[path = "model/steps.rs"]
mod steps;

use naive::FoundRoute;
use naive::Model;
use objects::HOSTS;
use objects::REQUEST_HOSTS;
use objects::config;
use objects::deltas;
use objects::ingress_path;
use objects::path_text;
use objects::snapshot;
use steps::field_step;
use steps::with_field_steps;

fn compile(objects: Vec<Object>) -> (String, Vec<Problem>) {
    let (table, problems) = routing::compile(config(), objects);
    (table.to_string(), problems)
}

/// Describes the definitions of plugins, with the endpoints that they may call, and their configurations.
fn plugins(compiler: &Compiler) -> Vec<String> {
    let describe = |plugin: &Arc<PluginDefinition>| {
        let upstreams = plugin.upstreams.iter().map(|upstream| {
            let endpoints = upstream.backend.endpoints.load();
            format!("{}/{}:{} {endpoints:?}", upstream.namespace, upstream.name, upstream.port)
        });
        let upstreams: Vec<_> = upstreams.collect();
        let PluginDefinition { name, source, phase, priority, default_config, .. } = &**plugin;
        let configs = compiler.plugin_configs(name);
        format!("{name} {source:?} {phase:?} {priority} {default_config} {upstreams:?} {configs:?}")
    };
    compiler.plugins().map(describe).collect()
}

fn find(table: &RoutingTable, host: &str, path: &str) -> Option<FoundRoute> {
    let route = table.find(host, path)?;
    Some((route.path.clone(), route.origin.ingress.name.clone(), route.origin.field.to_string()))
}

/// Creates an Ingress with the lowest precedence and 20 paths on every host.
fn padding() -> Ingress {
    let path = |index: usize| IngressPath {
        path: format!("/a/padding/{index}").into(),
        path_type: Some(if index.is_multiple_of(2) { "Exact" } else { "Prefix" }.into()),
        backend: IngressBackend::Invalid(BackendError::Missing),
    };
    let hosts = HOSTS.iter().map(|host| Some((*host).into())).chain([None]);
    let rules = hosts.map(|host| IngressRule { host, paths: (0..20).map(path).collect() });
    Ingress {
        name: Name::new("zz", "padding"),
        class: Some("ours".into()),
        rules: rules.collect(),
        ..Ingress::default()
    }
}

/// Returns request paths that are similar to the paths of the rules.
fn requests(objects: &[Object]) -> BTreeSet<String> {
    let mut requests = BTreeSet::from(["/".to_owned(), "/none".to_owned()]);
    for object in objects {
        let Object::Ingress(ingress) = object else { continue };
        for written in ingress.rules.iter().flat_map(|rule| &rule.paths) {
            for suffix in ["", "/", "/a", "a", "/..", "/../b"] {
                let path =
                    path::rule_path(&format!("{}{suffix}", written.path)).map(|path| path.into_owned());
                requests.extend(path);
            }
        }
    }
    requests
}

// ===== properties =====

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn shuffled_input_gives_the_same_table((objects, shuffled) in snapshot().prop_flat_map(|objects| {
        (Just(objects.clone()), Just(objects).prop_shuffle())
    })) {
        prop_assert_eq!(compile(objects), compile(shuffled));
    }

    #[test]
    fn sequence_of_deltas_equals_a_cold_compile(deltas in (deltas(), vec(field_step(), 0..8)).prop_map(
        |(deltas, steps)| with_field_steps(deltas, &steps)
    )) {
        let mut compiler = Compiler::new(config());
        let mut known = BTreeMap::new();
        let mut account = BTreeSet::new();
        for delta in deltas {
            for change in &delta {
                match change {
                    Change::Apply(object) => known.insert(object.reference(), object.clone()),
                    Change::Delete(reference) => known.remove(reference),
                };
            }
            let (table, problems) = compiler.apply(delta);
            for problem in problems.removed {
                prop_assert!(account.remove(&problem), "removed, but never added: {}", problem);
            }
            for problem in problems.added {
                prop_assert!(account.insert(problem.clone()), "added twice: {}", problem);
            }
            let mut cold = Compiler::new(config());
            let (cold_table, cold_problems) = cold.apply(known.values().cloned().map(Change::Apply).collect());
            let cold_problems = cold_problems.added;
            prop_assert_eq!(table.to_string(), cold_table.to_string());
            prop_assert_eq!(plugins(&compiler), plugins(&cold));
            prop_assert_eq!(account.iter().cloned().collect::<Vec<_>>(), cold_problems);
        }
    }

    #[test]
    fn table_finds_the_same_as_a_scan(objects in snapshot(), has_many_routes in any::<bool>()) {
        let (mut objects, mut asked) = (objects.clone(), requests(&objects));
        if has_many_routes {
            // Enough for an index on each host.
            objects.push(Object::Ingress(padding()));
            asked.extend(["/a/padding/0", "/a/padding/1/x", "/a/padding/2/x", "/a/padding"].map(str::to_owned));
        }
        let (table, _) = routing::compile(config(), objects.clone());
        let config = config();
        let model = Model::new(&config, &objects);
        for host in REQUEST_HOSTS {
            let named = table.certificates(Some(host)).filter_map(|choice| match choice {
                CertificateChoice::Named(secret) => Some(secret.clone()),
                CertificateChoice::Default(_) => None,
            });
            prop_assert_eq!(named.collect::<Vec<_>>(), model.certificates(host), "{}", host);
        }
        for request in asked {
            for host in REQUEST_HOSTS {
                prop_assert_eq!(find(&table, host, &request), model.find(host, &request), "{} {}", host, request);
            }
        }
    }

    #[test]
    fn match_report_agrees_with_find(objects in snapshot()) {
        let (table, _) = routing::compile(config(), objects.clone());
        for request in requests(&objects) {
            for host in REQUEST_HOSTS {
                let report = table.match_report(host, &request, &PlainRequest, &[]);
                let found = find(&table, host, &request);
                let chosen = report.chosen.as_ref();
                let reported = chosen.map(|route| (route.path.as_str(), route.ingress.clone(), route.field.as_str()));
                let expected = found.as_ref().map(|(path, name, field)| (path.path(), name.to_string(), field.as_str()));
                prop_assert_eq!(reported, expected, "{} {}", host, request);
                let by_rule: Vec<_> = report.routes.iter().filter(|route| route.verdict == RouteVerdict::Chosen).collect();
                let by_default: Vec<_> =
                    report.defaults.iter().filter(|route| route.verdict == DefaultVerdict::Chosen).collect();
                prop_assert_eq!(by_rule.len() + by_default.len(), usize::from(found.is_some()));
                let verdicts = by_rule.iter().map(|one| &one.route).chain(by_default.iter().map(|one| &one.route));
                prop_assert_eq!(verdicts.last(), chosen);
                let chosen_hosts = report.hosts.iter().filter(|host| host.verdict == HostVerdict::Chosen).count();
                prop_assert_eq!(chosen_hosts, usize::from(table.serving_host(host).is_some()));
            }
        }
    }

    #[test]
    fn unrelated_ingress_changes_no_other_route(objects in snapshot(), paths in vec(ingress_path(), 0..4)) {
        let (before, _) = routing::compile(config(), objects.clone());
        let mut more = objects.clone();
        more.push(Object::Ingress(Ingress {
            name: Name::new("n0", "unrelated"),
            created: Some(0),
            class: Some("ours".into()),
            rules: [IngressRule { host: Some("unrelated.example".into()), paths }].into(),
            ..Ingress::default()
        }));
        let (after, _) = routing::compile(config(), more);
        for request in requests(&objects) {
            for host in REQUEST_HOSTS {
                prop_assert_eq!(find(&before, host, &request), find(&after, host, &request));
            }
        }
    }

    #[test]
    fn canonical_is_idempotent_and_total(raw in prop_oneof![
        path_text().prop_map(String::into_bytes),
        vec(select(&b"/./.%2eEfF5cC0az~ \x00\xff?"[..]), 0..24).prop_map(|mut tail| { tail.insert(0, b'/'); tail }),
        vec(any::<u8>(), 0..24),
    ]) {
        if let Ok(once) = path::canonical(&raw) {
            let twice = path::canonical(once.as_bytes());
            prop_assert!(matches!(&twice, Ok(std::borrow::Cow::Borrowed(twice)) if *twice == once), "{:?}", twice);
        }
        if let Some(once) = host::normalise(&raw) {
            prop_assert_eq!(host::normalise(once.as_bytes()), Some(once.clone()));
        }
    }

    #[test]
    fn precedence_is_a_total_order(texts in vec((path_text(), any::<bool>()), 3)) {
        let conditions: Vec<PathMatch> = texts.iter().filter_map(|(text, exact)| {
            let path = path::rule_path(text).ok()?;
            Some(if *exact { PathMatch::exact(&path) } else { PathMatch::prefix(&path) })
        }).collect();
        for a in &conditions {
            for b in &conditions {
                prop_assert_eq!(a.cmp(b), b.cmp(a).reverse());
                prop_assert_eq!(a == b, a.cmp(b).is_eq());
                for c in &conditions {
                    prop_assert!(!(a < b && b < c) || a < c);
                }
            }
        }
    }
}

#[test]
fn deleting_unknown_objects_changes_nothing() {
    let kinds = [
        Kind::EndpointSlice,
        Kind::File,
        Kind::Ingress,
        Kind::IngressClass,
        Kind::IngressClassConfig,
        Kind::Namespace,
        Kind::RoutePolicy,
        Kind::Secret,
        Kind::Service,
    ];
    let delta = kinds.map(|kind| Change::Delete(ObjectRef { kind, name: Name::new("n1", "none") }));
    let (table, problems) = Compiler::new(Config::default()).apply(delta.to_vec());
    assert!(table.is_empty());
    assert!(problems.added.is_empty() && problems.removed.is_empty());
}

/// Checks that the strategies produce all cases. The properties above test nothing else.
#[test]
fn random_objects_cover_all_reasons_and_verdicts() {
    let mut runner = TestRunner::deterministic();
    let mut seen = BTreeMap::<String, usize>::new();
    for _ in 0..1500 {
        let objects = snapshot().new_tree(&mut runner).unwrap().current();
        let (table, problems) = routing::compile(config(), objects.clone());
        let mut note = |what: String| *seen.entry(what).or_default() += 1;
        objects.iter().for_each(|object| note(object.reference().kind.to_string()));
        problems.iter().for_each(|problem| note(problem.reason.to_string()));
        for report in REQUEST_HOSTS.map(|host| table.match_report(host, "/a", &PlainRequest, &[])) {
            report.hosts.iter().for_each(|host| note(format!("{:?} {:?}", host.kind, host.verdict)));
            report.routes.iter().for_each(|route| note(format!("Route {:?}", route.verdict)));
            report.defaults.iter().for_each(|route| note(format!("{} {:?}", route.because, route.verdict)));
        }
        for route in table.hosts().flat_map(|host| host.routes()) {
            note(format!("backends by policy {}", route.policy.backends.is_some()));
            note(format!("body size by policy {}", route.policy.spec.body_size.is_some()));
        }
    }
    let expected = [
        // Kinds, and the reasons that the compiler has.
        "EndpointSlice, Ingress, IngressClass, IngressClassConfig, Namespace, RoutePolicy, Secret, Service, \
         AnnotationIgnored, AnnotationNotHonoured, ClassFailed, ClassNotFound, ClassUnclear, Conflict, DefaultLimited, \
         ProtocolAssumed, ProtocolUnsupported, WildcardHidden, HostNotOwned, InvalidBackend, InvalidHost, InvalidParameters, \
         InvalidPath, InvalidPathType, NamespaceNotAllowed, NoEndpoints, NotPermitted, ParametersNotFound, \
         PortNotFound, SecretMalformed, SecretNotFound, ServiceNotFound, TargetNotFound, TargetNotServed, \
         Unsupported",
        "Exact Chosen, Exact NotNamed, Wildcard Chosen, Wildcard Hidden, Wildcard HostNotOwned, Wildcard NotNamed, \
         HostLess Chosen, HostLess Hidden, HostLess HostNotOwned, HostLess NotNamed",
        "Route Chosen, Route LostToExact, Route LostToLonger, Route NoMatch",
        "the oldest Ingress naming this host Chosen, the oldest Ingress without rules Chosen, \
         the oldest Ingress without rules HostNotOwned, the oldest other Ingress Chosen, the oldest other Ingress HostNotOwned, \
         the class Chosen, the class LostToEarlier, the class NotNeeded, the class naming this host Chosen, \
         the oldest Ingress without rules in the namespaces naming this host Chosen, \
         the oldest Ingress without rules in the namespaces naming this host HostNamedElsewhere, \
         the oldest other Ingress in the namespaces naming this host Chosen",
        "backends by policy true, backends by policy false, body size by policy true",
    ];
    let expected = expected.iter().flat_map(|line| line.split(", ")).map(str::trim);
    let missing: Vec<&str> = expected.filter(|what| seen.get(*what).is_none_or(|count| *count < 3)).collect();
    assert!(missing.is_empty(), "rare or missing: {missing:?} among {seen:#?}");
}
