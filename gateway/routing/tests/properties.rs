//! What holds for all inputs: order does not matter, increments equal a cold compile, the tree equals a scan.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::num::NonZeroU16;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::Just;
use proptest::prelude::ProptestConfig;
use proptest::prelude::Strategy;
use proptest::prelude::any;
use proptest::prelude::prop_oneof;
use proptest::prop_assert;
use proptest::prop_assert_eq;
use proptest::proptest;
use proptest::sample::select;
use routing::Compiler;
use routing::Config;
use routing::PathMatch;
use routing::Problem;
use routing::RoutingTable;
use routing::host;
use routing::object::Change;
use routing::object::Endpoint;
use routing::object::EndpointSlice;
use routing::object::Ingress;
use routing::object::IngressBackend;
use routing::object::IngressClass;
use routing::object::IngressClassConfig;
use routing::object::IngressPath;
use routing::object::IngressRule;
use routing::object::IngressTls;
use routing::object::Kind;
use routing::object::Name;
use routing::object::Namespace;
use routing::object::Object;
use routing::object::ObjectRef;
use routing::object::ParametersRef;
use routing::object::PortRef;
use routing::object::RoutePolicy;
use routing::object::Secret;
use routing::object::Service;
use routing::object::ServicePort;
use routing::object::SliceEndpoint;
use routing::object::SlicePort;
use routing::path;
use routing::table::DefaultVerdict;
use routing::table::HostVerdict;
use routing::table::Verdict;

#[path = "model/naive.rs"]
mod naive;

use naive::Answer;
use naive::Model;

const HOSTS: [&str; 6] = ["a.example", "B.example", "b.example.", "*.example", "*.a.example", "bad_host"];
const REQUEST_HOSTS: [&str; 6] = ["a.example", "b.example", "x.example", "x.a.example", "y.x.a.example", ""];

// ===== strategies: few names, so that things collide =====

fn name(kind: &'static str) -> impl Strategy<Value = Name> {
    (select(&["n1", "n2"][..]), 0..3_u8)
        .prop_map(move |(namespace, index)| Name::new(namespace, &format!("{kind}{index}")))
}

fn path_text() -> impl Strategy<Value = String> {
    let element = select(&["a", "b", "ab", "{x}", "}", "%61", "..", ".", "", "ü", "*", "%2F", "%zz"][..]);
    (vec(element, 0..4), any::<bool>())
        .prop_map(|(elements, slash)| format!("/{}{}", elements.join("/"), if slash { "/" } else { "" }))
}

fn port_ref() -> impl Strategy<Value = PortRef> {
    prop_oneof![
        Just(PortRef::Number(NonZeroU16::new(80).unwrap())),
        Just(PortRef::Number(NonZeroU16::new(81).unwrap())),
        Just(PortRef::Name("http".into())),
    ]
}

fn backend() -> impl Strategy<Value = IngressBackend> {
    prop_oneof![
        8 => (0..3_u8, port_ref())
            .prop_map(|(index, port)| IngressBackend::Service { name: format!("svc{index}").into(), port }),
        1 => Just(IngressBackend::Resource("Bucket".into())),
        1 => Just(IngressBackend::Invalid("for a test")),
    ]
}

fn ingress_path() -> impl Strategy<Value = IngressPath> {
    let kind = select(&["Exact", "Prefix", "Prefix", "ImplementationSpecific", "Regex"][..]);
    (path_text(), option::weighted(0.95, kind), backend()).prop_map(|(path, kind, backend)| IngressPath {
        path: path.into(),
        path_type: kind.map(Into::into),
        backend,
    })
}

fn rule() -> impl Strategy<Value = IngressRule> {
    (option::weighted(0.95, select(&HOSTS[..])), vec(ingress_path(), 0..4))
        .prop_map(|(host, paths)| IngressRule { host: host.map(Into::into), paths })
}

fn tls() -> impl Strategy<Value = IngressTls> {
    (vec(select(&HOSTS[..]), 0..3), option::weighted(0.8, 0..2_u8)).prop_map(|(hosts, secret)| IngressTls {
        hosts: hosts.into_iter().map(Into::into).collect(),
        secret: secret.map(|index| format!("secret{index}").into()),
    })
}

fn ingress() -> impl Strategy<Value = Ingress> {
    let class = option::weighted(0.9, select(&["ours", "ours", "ours", "maybe", "taken", "never"][..]));
    let annotation = option::weighted(0.3, select(&["ours", "maybe", "never"][..]));
    let default = option::weighted(0.4, backend());
    let leaving = proptest::bool::weighted(0.1);
    let age = (option::of(0..2_i64), leaving);
    (name("ing"), age, (class, annotation), vec(rule(), 0..4), vec(tls(), 0..2), default).prop_map(
        |(name, (created, deleting), (class, annotation), rules, tls, default_backend)| Ingress {
            name,
            created,
            deleting,
            class: class.map(Into::into),
            class_annotation: annotation.map(Into::into),
            rules,
            tls,
            default_backend,
        },
    )
}

fn class() -> impl Strategy<Value = IngressClass> {
    let ours = Config::default().controller;
    let parameters = option::weighted(0.5, select(&["cfg0", "cfg1"][..]));
    (select(&["ours", "maybe"][..]), any::<bool>(), parameters).prop_map(move |(name, flip, parameters)| {
        IngressClass {
            name: Name::new("", name),
            created: flip.then_some(1),
            controller: if name == "maybe" && flip { "other".into() } else { ours.as_str().into() },
            parameters: parameters.map(|name| ParametersRef {
                group: api::GROUP.into(),
                kind: "IngressClassConfig".into(),
                name: name.into(),
                namespace: None,
            }),
            is_default: flip,
        }
    })
}

fn class_config() -> impl Strategy<Value = IngressClassConfig> {
    let owned = option::of(select(&["b.example", "*.example"][..]));
    let yes = any::<bool>;
    (select(&["cfg0", "cfg1"][..]), owned, yes(), yes(), yes()).prop_map(
        |(name, owned, allow, has_default, is_closed)| IngressClassConfig {
            name: Name::new("", name),
            spec: api::IngressClassConfigSpec {
                allowed_namespaces: is_closed.then(|| vec!["n1".to_owned()]),
                default_backend: has_default.then(|| api::ClassBackend {
                    namespace: Some("n1".to_owned()),
                    service: "svc0".to_owned(),
                    port: api::Port::Name("http".to_owned()),
                }),
                default_certificate: has_default.then(|| api::ClassSecret {
                    namespace: Some("n1".to_owned()),
                    name: "secret0".to_owned(),
                }),
                external_names: if allow { api::ExternalNames::Allow } else { api::ExternalNames::Refuse },
                host_ownership: owned
                    .map(|host| api::HostOwnership {
                        host: host.to_owned(),
                        namespaces: vec!["n1".to_owned()],
                    })
                    .into_iter()
                    .collect(),
            },
        },
    )
}

fn namespace() -> impl Strategy<Value = Namespace> {
    (select(&["n1", "n2"][..]), any::<bool>())
        .prop_map(|(name, terminating)| Namespace { name: Name::new("", name), terminating })
}

fn target() -> impl Strategy<Value = api::TargetRef> {
    let host = option::weighted(0.4, select(&["a.example", "*.example", "bad_host"][..]));
    let path = option::weighted(0.4, select(&["/", "/a", "/a/", "b"][..]));
    let group = select(&["networking.k8s.io", "networking.k8s.io", "networking.k8s.io", "other"][..]);
    let kind =
        select(&[("ing0", true), ("ing1", true), ("n2/ing0", true), ("ours", false), ("none", false)][..]);
    (kind, group, host, path).prop_map(|((name, is_ingress), group, host, path)| api::TargetRef {
        group: group.to_owned(),
        kind: if is_ingress { api::TargetKind::Ingress } else { api::TargetKind::IngressClass },
        name: name.to_owned(),
        host: host.filter(|_| is_ingress).map(ToOwned::to_owned),
        path: path.filter(|_| is_ingress).map(ToOwned::to_owned),
    })
}

fn policy() -> impl Strategy<Value = RoutePolicy> {
    let backend = (0..2_u8, 0..3_u32).prop_map(|(service, weight)| api::PolicyBackend {
        service: format!("svc{service}"),
        port: api::Port::Number(NonZeroU16::new(80).unwrap()),
        weight,
    });
    let size = option::of((0..3_u64).prop_map(api::ByteSize));
    let name = (select(&["n1", "n2", "gateway-system"][..]), 0..2_u8)
        .prop_map(|(namespace, index)| Name::new(namespace, &format!("policy{index}")));
    (name, option::of(0..2_i64), vec(target(), 1..4), option::of(vec(backend, 0..3)), size).prop_map(
        |(name, created, target_refs, backends, body_size)| RoutePolicy {
            name,
            created,
            spec: api::RoutePolicySpec { target_refs, backends, body_size },
        },
    )
}

fn service() -> impl Strategy<Value = Service> {
    let fixed = vec(0..3_u8, 0..3).prop_map(|ports| {
        let address = |port: u8| format!("127.0.0.1:{}", 9000 + u16::from(port)).parse().unwrap();
        ports.into_iter().map(|port| Endpoint { address: address(port), pod: None }).collect()
    });
    (name("svc"), select(&["ClusterIP", "ExternalName"][..]), any::<bool>(), option::weighted(0.2, fixed))
        .prop_map(|(name, kind, has_port, fixed_endpoints)| {
            let port = ServicePort {
                name: "http".into(),
                port: NonZeroU16::new(80).unwrap(),
                app_protocol: has_port.then(|| "http".into()),
            };
            let ports = if has_port { vec![port] } else { Vec::new() };
            Service { name, service_type: kind.into(), ports, fixed_endpoints, ..Service::default() }
        })
}

fn slice() -> impl Strategy<Value = EndpointSlice> {
    let endpoint = (0..4_u8, any::<bool>(), any::<bool>(), option::of(0..2_u8)).prop_map(
        |(address, ready, terminating, pod)| SliceEndpoint {
            addresses: vec![[10, 0, 0, address].into()],
            ready,
            serving: ready,
            terminating,
            pod: pod.map(|index| format!("pod{index}").into()),
            ..SliceEndpoint::default()
        },
    );
    (name("slice"), option::weighted(0.9, 0..3_u8), vec(endpoint, 0..4), any::<bool>()).prop_map(
        |(name, service, endpoints, has_port)| EndpointSlice {
            name,
            service: service.map(|index| format!("svc{index}").into()),
            ports: vec![SlicePort {
                name: "http".into(),
                port: has_port.then(|| NonZeroU16::new(8080).unwrap()),
            }],
            endpoints,
        },
    )
}

fn secret() -> impl Strategy<Value = Secret> {
    (name("secret"), any::<bool>()).prop_map(|(name, has_certificate)| Secret { name, has_certificate })
}

fn object() -> impl Strategy<Value = Object> {
    prop_oneof![
        5 => ingress().prop_map(Object::Ingress),
        2 => class().prop_map(Object::IngressClass),
        2 => service().prop_map(Object::Service),
        2 => slice().prop_map(Object::EndpointSlice),
        1 => secret().prop_map(Object::Secret),
        1 => class_config().prop_map(Object::IngressClassConfig),
        1 => namespace().prop_map(Object::Namespace),
        2 => policy().prop_map(Object::RoutePolicy),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => object().prop_map(Change::Apply),
        1 => object().prop_map(|object| Change::Delete(object.reference())),
    ]
}

/// Objects with distinct names, beside the class that most of them name.
fn snapshot() -> impl Strategy<Value = Vec<Object>> {
    vec(object(), 0..24).prop_map(|objects| {
        let controller = Config::default().controller.into();
        let class = IngressClass { name: Name::new("", "ours"), controller, ..IngressClass::default() };
        let mut distinct: BTreeMap<ObjectRef, Object> = objects.into_iter().map(keyed).collect();
        let (reference, class) = keyed(Object::IngressClass(class));
        distinct.entry(reference).or_insert(class);
        distinct.into_values().collect()
    })
}

fn keyed(object: Object) -> (ObjectRef, Object) {
    (object.reference(), object)
}

// ===== the other way to say it =====

fn config() -> Config {
    Config { classes: vec!["taken".to_owned()], ..Config::default() }
}

fn compile(objects: Vec<Object>) -> (String, Vec<Problem>) {
    let (table, problems) = routing::compile(config(), objects);
    (table.to_string(), problems)
}

fn answer(table: &RoutingTable, host: &str, path: &str) -> Option<Answer> {
    let route = table.find(host, path)?;
    Some((route.path.clone(), route.origin.ingress.name.clone(), route.origin.field.clone()))
}

/// Paths worth asking for: near the rules' own.
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
    fn a_sequence_of_deltas_equals_a_cold_compile(deltas in vec(vec(change(), 0..6), 0..12)) {
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
            let (cold, cold_problems) = compile(known.values().cloned().collect());
            prop_assert_eq!(table.to_string(), cold);
            prop_assert_eq!(account.iter().cloned().collect::<Vec<_>>(), cold_problems);
        }
    }

    #[test]
    fn the_tree_finds_what_a_scan_finds(objects in snapshot()) {
        let (table, _) = routing::compile(config(), objects.clone());
        let config = config();
        let model = Model::new(&config, &objects);
        for host in REQUEST_HOSTS {
            prop_assert_eq!(table.tls(host).cloned(), model.certificate(host), "{}", host);
        }
        for request in requests(&objects) {
            for host in REQUEST_HOSTS {
                prop_assert_eq!(answer(&table, host, &request), model.answer(host, &request), "{} {}", host, request);
            }
        }
    }

    #[test]
    fn a_trace_agrees_with_find(objects in snapshot()) {
        let (table, _) = routing::compile(config(), objects.clone());
        for request in requests(&objects) {
            for host in REQUEST_HOSTS {
                let trace = table.trace(host, &request);
                let found = answer(&table, host, &request);
                let chosen = trace.chosen.as_ref();
                let told = chosen.map(|route| (route.path.as_str(), route.ingress.clone(), route.field.as_str()));
                let wanted = found.as_ref().map(|(path, name, field)| (path.path(), name.to_string(), field.as_str()));
                prop_assert_eq!(told, wanted, "{} {}", host, request);
                let by_rule: Vec<_> = trace.routes.iter().filter(|route| route.verdict == Verdict::Chosen).collect();
                let by_default: Vec<_> =
                    trace.defaults.iter().filter(|route| route.verdict == DefaultVerdict::Chosen).collect();
                prop_assert_eq!(by_rule.len() + by_default.len(), usize::from(found.is_some()));
                let verdicts = by_rule.iter().map(|one| &one.route).chain(by_default.iter().map(|one| &one.route));
                prop_assert_eq!(verdicts.last(), chosen);
                let chosen_hosts = trace.hosts.iter().filter(|host| host.verdict == HostVerdict::Chosen).count();
                prop_assert_eq!(chosen_hosts, usize::from(table.serving_host(host).is_some()));
            }
        }
    }

    #[test]
    fn an_unrelated_ingress_changes_no_other_answer(objects in snapshot(), paths in vec(ingress_path(), 0..4)) {
        let (before, _) = routing::compile(config(), objects.clone());
        let mut more = objects.clone();
        more.push(Object::Ingress(Ingress {
            name: Name::new("n0", "unrelated"),
            created: Some(0),
            class: Some("ours".into()),
            rules: vec![IngressRule { host: Some("unrelated.example".into()), paths }],
            tls: Vec::new(),
            ..Ingress::default()
        }));
        let (after, _) = routing::compile(config(), more);
        for request in requests(&objects) {
            for host in REQUEST_HOSTS {
                prop_assert_eq!(answer(&before, host, &request), answer(&after, host, &request));
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
fn deleting_what_is_not_there_changes_nothing() {
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
