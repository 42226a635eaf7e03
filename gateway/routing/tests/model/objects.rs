//! Random objects of all kinds, with few names and values, so that they collide.
//!
//! The fuzz targets include this file by path and feed its strategies with bytes. Namespaces are n1 and n2. Classes are
//! ours, second, maybe (ours or not) and taken (served by name).

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use proptest::bool::weighted;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::Just;
use proptest::prelude::Strategy;
use proptest::prelude::any;
use proptest::prelude::prop_oneof;
use proptest::sample::select;
use routing::Config;
use routing::object::Annotation;
use routing::object::BackendError;
use routing::object::Change;
use routing::object::ConfigMap;
use routing::object::Endpoint;
use routing::object::EndpointSlice;
use routing::object::Ingress;
use routing::object::IngressBackend;
use routing::object::IngressClass;
use routing::object::IngressClassConfig;
use routing::object::IngressPath;
use routing::object::IngressRule;
use routing::object::IngressTls;
use routing::object::Name;
use routing::object::Namespace;
use routing::object::Object;
use routing::object::ObjectRef;
use routing::object::ParametersRef;
use routing::object::PluginSpec;
use routing::object::PortRef;
use routing::object::RoutePolicy;
use routing::object::Secret;
use routing::object::SecretContent;
use routing::object::Service;
use routing::object::ServicePort;
use routing::object::SliceEndpoint;
use routing::object::SlicePort;
use routing::object::WasmPlugin;

pub(crate) const HOSTS: [&str; 7] =
    ["a.example", "B.example", "b.example.", "*.example", "*.a.example", "x.a.example", "bad_host"];
/// Hosts of requests. Rules name some of them, wildcards match others, and some match nothing.
pub(crate) const REQUEST_HOSTS: [&str; 7] =
    ["a.example", "b.example", "x.example", "x.a.example", "y.x.a.example", "example", ""];
const NAMESPACES: [&str; 2] = ["n1", "n2"];
const SETS_OF_NAMESPACES: [&[&str]; 4] = [&[], &["n1"], &["n2"], &["n1", "n2"]];

/// Returns the Config of the objects.
pub(crate) fn config() -> Config {
    Config { classes: vec!["taken".to_owned()], zone: Some("z1".to_owned()), ..Config::default() }
}

fn name(kind: &'static str) -> impl Strategy<Value = Name> {
    (select(&NAMESPACES[..]), 0..3_u8)
        .prop_map(move |(namespace, index)| Name::new(namespace, &format!("{kind}{index}")))
}

/// Absent or one of two times, so that age decides in some conflicts only.
fn created() -> impl Strategy<Value = Option<i64>> {
    option::of(0..2_i64)
}

// ===== Ingresses =====

/// The path of a rule. Most are valid.
pub(crate) fn path_text() -> impl Strategy<Value = String> {
    let element = select(&["a", "b", "ab", "{x}", "}", "%61", "..", ".", "", "ü", "*", "%2F", "%zz"][..]);
    let absolute = (vec(element, 0..4), any::<bool>())
        .prop_map(|(elements, slash)| format!("/{}{}", elements.join("/"), if slash { "/" } else { "" }));
    prop_oneof![20 => absolute, 1 => select(&["", "a", "/a?b", "//a", "/%00"][..]).prop_map(ToOwned::to_owned)]
}

fn number(port: u16) -> NonZeroU16 {
    NonZeroU16::MIN.saturating_add(port - 1)
}

fn port_ref() -> impl Strategy<Value = PortRef> {
    prop_oneof![
        4 => Just(PortRef::Number(number(80))),
        1 => Just(PortRef::Number(number(81))),
        2 => Just(PortRef::Name("http".into())),
        1 => Just(PortRef::Name("none".into())),
    ]
}

fn backend() -> impl Strategy<Value = IngressBackend> {
    prop_oneof![
        8 => (0..3_u8, port_ref())
            .prop_map(|(index, port)| IngressBackend::Service { name: format!("svc{index}").into(), port }),
        1 => Just(IngressBackend::Resource("Bucket".into())),
        1 => Just(IngressBackend::Invalid(BackendError::Missing)),
    ]
}

/// One entry of `paths`.
pub(crate) fn ingress_path() -> impl Strategy<Value = IngressPath> {
    let kind = select(&["Exact", "Prefix", "Prefix", "ImplementationSpecific", "Regex"][..]);
    (path_text(), option::weighted(0.95, kind), backend()).prop_map(|(path, kind, backend)| IngressPath {
        path: path.into(),
        path_type: kind.map(Into::into),
        backend,
    })
}

fn rule() -> impl Strategy<Value = IngressRule> {
    (option::weighted(0.9, select(&HOSTS[..])), vec(ingress_path(), 0..4))
        .prop_map(|(host, paths)| IngressRule { host: host.map(Into::into), paths })
}

fn tls() -> impl Strategy<Value = IngressTls> {
    (vec(select(&HOSTS[..]), 0..3), option::weighted(0.8, 0..2_u8)).prop_map(|(hosts, secret)| IngressTls {
        hosts: hosts.into_iter().map(Into::into).collect(),
        secret: secret.map(|index| format!("secret{index}").into()),
    })
}

/// Annotations of another controller: none, or one of each verdict.
fn annotations() -> impl Strategy<Value = Box<[Annotation]>> {
    let names = select(
        &[("auth-type", "basic"), ("rewrite-target", "/"), ("canary", "true"), ("auth-realm", "x")][..],
    );
    option::weighted(0.2, names).prop_map(|found| {
        let annotation = |(name, value): (&str, &str)| Annotation {
            key: format!("nginx.ingress.kubernetes.io/{name}").into(),
            value: value.into(),
        };
        found.map(annotation).into_iter().collect()
    })
}

fn ingress() -> impl Strategy<Value = Ingress> {
    let class =
        option::weighted(0.9, select(&["ours", "ours", "ours", "second", "maybe", "taken", "never"][..]));
    let annotation = option::weighted(0.3, select(&["ours", "maybe", "taken", "never"][..]));
    let default = option::weighted(0.4, backend());
    let age = (created(), weighted(0.1), 1_u8..4);
    let class = (class, annotation, annotations());
    (name("ing"), age, class, vec(rule(), 0..4), vec(tls(), 0..2), default).prop_map(
        |(
            name,
            (created, deleting, version),
            (class, annotation, annotations),
            rules,
            tls,
            default_backend,
        )| Ingress {
            name,
            version: version.to_string().parse().ok(),
            created,
            deleting,
            class: class.map(Into::into),
            class_annotation: annotation.map(Into::into),
            annotations,
            rules: rules.into(),
            tls: tls.into(),
            default_backend,
        },
    )
}

// ===== classes =====

fn parameters() -> impl Strategy<Value = ParametersRef> {
    let kind = select(&["IngressClassConfig", "IngressClassConfig", "IngressClassConfig", "Other"][..]);
    let group = select(&[api::GROUP, api::GROUP, api::GROUP, "other.example"][..]);
    let namespace = option::weighted(0.1, Just("n1".into()));
    (kind, group, select(&["cfg0", "cfg1"][..]), namespace).prop_map(|(kind, group, name, namespace)| {
        ParametersRef { group: group.into(), kind: kind.into(), name: name.into(), namespace }
    })
}

fn class() -> impl Strategy<Value = IngressClass> {
    let ours = Config::default().controller;
    let name = select(&["ours", "second", "maybe", "taken"][..]);
    (name, created(), any::<bool>(), option::weighted(0.6, parameters())).prop_map(
        move |(name, created, flip, parameters)| IngressClass {
            name: Name::new("", name),
            created,
            controller: match name {
                "maybe" if flip => "other".into(),
                "taken" => "other".into(),
                _ => ours.as_str().into(),
            },
            parameters,
            is_default: flip,
        },
    )
}

fn owners() -> impl Strategy<Value = Vec<api::HostOwnership>> {
    let host = prop_oneof![
        12 => select(&["b.example", "A.example.", "*.example", "*.a.example", "x.a.example"][..]),
        1 => Just("*"),
    ];
    let namespaces = select(&SETS_OF_NAMESPACES[..]);
    let entry = (host, namespaces).prop_map(|(host, namespaces)| api::HostOwnership {
        host: host.to_owned(),
        namespaces: namespaces.iter().map(|&name| name.to_owned()).collect(),
    });
    vec(entry, 0..3)
}

fn class_config() -> impl Strategy<Value = IngressClassConfig> {
    let namespace = || option::of(select(&NAMESPACES[..]));
    let port = prop_oneof![Just(api::Port::Name("http".into())), Just(api::Port::Number(number(80)))];
    let default_backend = (namespace(), port).prop_map(|(namespace, port)| api::ClassBackend {
        namespace: namespace.map(ToOwned::to_owned),
        service: "svc0".to_owned(),
        port,
    });
    let default_certificate = namespace().prop_map(|namespace| api::ClassSecret {
        namespace: namespace.map(ToOwned::to_owned),
        name: "secret0".to_owned(),
    });
    let allowed = option::weighted(0.2, select(&SETS_OF_NAMESPACES[..]));
    let defaults = (option::of(default_backend), option::of(default_certificate));
    (select(&["cfg0", "cfg1"][..]), owners(), allowed, defaults, any::<(bool, bool)>()).prop_map(
        |(name, host_ownership, allowed, (default_backend, default_certificate), (allow, warn))| {
            IngressClassConfig {
                folder: None,
                name: Name::new("", name),
                spec: api::IngressClassConfigSpec {
                    allowed_namespaces: allowed
                        .map(|names| names.iter().map(|&name| name.to_owned()).collect()),
                    default_backend,
                    default_certificate,
                    events: None,
                    external_names: if allow {
                        api::ExternalNames::Allow
                    } else {
                        api::ExternalNames::Refuse
                    },
                    foreign_annotations: match warn {
                        true => api::ForeignAnnotations::Warn,
                        false => api::ForeignAnnotations::Close,
                    },
                    handler: None,
                    host_ownership,
                    status: None,
                },
            }
        },
    )
}

fn namespace() -> impl Strategy<Value = Namespace> {
    (select(&NAMESPACES[..]), any::<bool>())
        .prop_map(|(name, terminating)| Namespace { name: Name::new("", name), terminating })
}

// ===== policies =====

fn target() -> impl Strategy<Value = api::TargetRef> {
    let host = option::weighted(0.4, select(&["a.example", "*.example", "b.example", "bad_host"][..]));
    let path = option::weighted(0.4, select(&["/", "/a", "/a/", "b"][..]));
    let group = select(&["networking.k8s.io", "networking.k8s.io", "networking.k8s.io", "other"][..]);
    let kind = select(
        &[
            ("ing0", true),
            ("ing1", true),
            ("n2/ing0", true),
            ("ours", false),
            ("taken", false),
            ("none", false),
        ][..],
    );
    (kind, group, host, path).prop_map(|((name, is_ingress), group, host, path)| api::TargetRef {
        group: group.to_owned(),
        kind: if is_ingress { api::TargetKind::Ingress } else { api::TargetKind::IngressClass },
        name: name.to_owned(),
        // A class has neither host nor path. Some targets give a host nevertheless.
        host: host.filter(|host| is_ingress || *host == "bad_host").map(ToOwned::to_owned),
        path: path.filter(|_| is_ingress).map(ToOwned::to_owned),
    })
}

fn policy() -> impl Strategy<Value = RoutePolicy> {
    let backend = (0..3_u8, 0..3_u32).prop_map(|(service, weight)| api::PolicyBackend {
        service: format!("svc{service}"),
        port: api::Port::Number(number(80)),
        weight,
    });
    let size = option::of((0..3_u64).prop_map(api::ByteSize));
    let plugins = vec((0..3_u8, plugin_config()), 0..2).prop_map(|plugins| {
        let plugin = |(index, config)| api::PolicyPlugin { name: format!("plugin{index}"), config };
        plugins.into_iter().map(plugin).collect()
    });
    let settings = (option::of(vec(backend, 0..3)), size, plugins);
    let name = (select(&["n1", "n2", "gateway-system"][..]), 0..2_u8)
        .prop_map(|(namespace, index)| Name::new(namespace, &format!("policy{index}")));
    (name, created(), vec(target(), 1..4), settings).prop_map(
        |(name, created, target_refs, (backends, body_size, plugins))| RoutePolicy {
            name,
            created,
            spec: Box::new(api::RoutePolicySpec {
                target_refs,
                backends,
                body_size,
                timeouts: body_size.map(|size| api::Timeouts {
                    connect: Some(api::Duration::from_millis(size.0)),
                    ..api::Timeouts::default()
                }),
                plugins,
                ..api::RoutePolicySpec::default()
            }),
        },
    )
}

// ===== plugins =====

fn plugin_config() -> impl Strategy<Value = Option<api::PluginConfig>> {
    option::of(select(&["a", "b"][..]).prop_map(|text| api::PluginConfig(text.into())))
}

fn texts(values: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    vec(select(values).prop_map(ToOwned::to_owned), 0..2)
}

fn match_rule() -> impl Strategy<Value = api::MatchRule> {
    let ingress = texts(&["ing0", "n2/ing1", "/"]);
    let host = texts(&["a.example", "*.example", "bad_host"]);
    let service = texts(&["svc0", "n1/svc1"]);
    (ingress, host, service, plugin_config(), weighted(0.2)).prop_map(
        |(ingress, host, service, config, config_disable)| api::MatchRule {
            ingress,
            host,
            service,
            config,
            config_disable,
            ..api::MatchRule::default()
        },
    )
}

fn plugin_spec() -> impl Strategy<Value = api::WasmPluginSpec> {
    use api::PluginPhase::{Authn, Stats, Unspecified};
    let url = select(&["file://a.wasm", "configmap://map0/a", "configmap://map1/a", "oci://a"][..]);
    let upstreams = texts(&["svc0:80", "n2/svc1:80", "svc0:http"]);
    let configs = (plugin_config(), plugin_config(), weighted(0.2), vec(match_rule(), 0..3));
    let order = (select(&[Authn, Unspecified, Stats][..]), 0..2_i32);
    (url, option::of(vec(target(), 0..3)), configs, order, upstreams).prop_map(
        |(
            url,
            target_refs,
            (plugin_config, default_config, disable, match_rules),
            (phase, priority),
            upstreams,
        )| {
            api::WasmPluginSpec {
                url: url.to_owned(),
                target_refs,
                plugin_config,
                default_config,
                default_config_disable: disable,
                match_rules,
                phase,
                priority,
                allowed_upstreams: upstreams,
                ..api::WasmPluginSpec::default()
            }
        },
    )
}

fn plugin() -> impl Strategy<Value = WasmPlugin> {
    let name = (select(&["n1", "n2", "gateway-system"][..]), 0..3_u8)
        .prop_map(|(namespace, index)| Name::new(namespace, &format!("plugin{index}")));
    let spec = prop_oneof![
        1 => option::of(vec(target(), 0..2)).prop_map(|target_refs| PluginSpec::Malformed { target_refs }),
        8 => plugin_spec().prop_map(|spec| PluginSpec::Valid(Box::new(spec))),
    ];
    (name, spec).prop_map(|(name, spec)| WasmPlugin { name, folder: None, spec })
}

fn config_map() -> impl Strategy<Value = ConfigMap> {
    let value = select(&["one", "two"][..]).prop_map(Into::into);
    let data = option::weighted(0.8, value).prop_map(|value| value.map(|value| ("a".into(), value)));
    (name("map"), data).prop_map(|(name, data)| ConfigMap { name, data: data.into_iter().collect() })
}

// ===== Services, slices and Secrets =====

fn service() -> impl Strategy<Value = Service> {
    let fixed = vec(9000..9003_u16, 0..3).prop_map(|ports| {
        let address = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port));
        ports.into_iter().map(|port| Endpoint { address: address(port), pod: None }).collect()
    });
    let port = |name: &'static str, number: NonZeroU16| {
        option::weighted(0.3, select(&["http", "kubernetes.io/h2c", "custom", "custom"][..])).prop_map(
            move |protocol| ServicePort {
                name: name.into(),
                port: number,
                app_protocol: protocol.map(Into::into),
                node_port: None,
            },
        )
    };
    let ports = (option::weighted(0.8, port("http", number(80))), option::of(port("", number(81))));
    let kind = select(&["ClusterIP", "ClusterIP", "ClusterIP", "ExternalName"][..]);
    let external = option::weighted(0.8, select(&["one.test", "two.test"][..]));
    (name("svc"), kind, ports, external, option::weighted(0.2, fixed)).prop_map(
        |(name, kind, (named, unnamed), external, fixed_endpoints)| Service {
            name,
            service_type: kind.into(),
            external_name: external.map(Into::into),
            ports: named.into_iter().chain(unnamed).collect(),
            fixed_endpoints,
            ..Service::default()
        },
    )
}

fn slice_endpoint() -> impl Strategy<Value = SliceEndpoint> {
    let address = prop_oneof![
        8 => (0..4_u8).prop_map(|last| vec![[10, 0, 0, last].into()]),
        1 => Just(vec![std::net::Ipv6Addr::LOCALHOST.into()]),
        1 => Just(Vec::new()),
    ];
    let conditions = (any::<bool>(), any::<bool>(), weighted(0.3));
    (address, conditions, vec(select(&["z1", "z2"][..]), 0..2), option::of(0..2_u8)).prop_map(
        |(addresses, (ready, serving, terminating), zones, pod)| SliceEndpoint {
            addresses,
            ready,
            serving,
            terminating,
            zones: zones.into_iter().map(Into::into).collect(),
            pod: pod.map(|index| format!("pod{index}").into()),
        },
    )
}

fn slice() -> impl Strategy<Value = EndpointSlice> {
    let port = (select(&["http", "http", ""][..]), option::weighted(0.8, 8080..8082_u16))
        .prop_map(|(name, port)| SlicePort { name: name.into(), port: port.and_then(NonZeroU16::new) });
    let service = option::weighted(0.9, 0..3_u8);
    (name("slice"), service, vec(slice_endpoint(), 0..4), vec(port, 0..3)).prop_map(
        |(name, service, endpoints, ports)| EndpointSlice {
            name,
            service: service.map(|index| format!("svc{index}").into()),
            ports,
            endpoints,
        },
    )
}

fn secret() -> impl Strategy<Value = Secret> {
    (name("secret"), any::<bool>()).prop_map(|(name, is_there)| {
        let content = if is_there { SecretContent::Unchecked } else { SecretContent::Missing };
        Secret { name, content }
    })
}

// ===== snapshots =====

/// An object of any kind.
pub(crate) fn object() -> impl Strategy<Value = Object> {
    prop_oneof![
        6 => ingress().prop_map(Object::Ingress),
        2 => class().prop_map(Object::IngressClass),
        2 => service().prop_map(Object::Service),
        2 => slice().prop_map(Object::EndpointSlice),
        1 => secret().prop_map(Object::Secret),
        2 => class_config().prop_map(Object::IngressClassConfig),
        1 => namespace().prop_map(Object::Namespace),
        2 => policy().prop_map(Object::RoutePolicy),
        3 => plugin().prop_map(Object::WasmPlugin),
        1 => config_map().prop_map(Object::ConfigMap),
    ]
}

/// The class that most Ingresses name, without parameters.
pub(crate) fn plain_class() -> Object {
    let controller = Config::default().controller.into();
    Object::IngressClass(IngressClass { name: Name::new("", "ours"), controller, ..IngressClass::default() })
}

/// Creates, changes or deletes an object.
pub(crate) fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => object().prop_map(Change::Apply),
        1 => object().prop_map(|object| Change::Delete(object.reference())),
    ]
}

/// A sequence of deltas. The first contains the class, which later ones may change and delete.
pub(crate) fn deltas() -> impl Strategy<Value = Vec<Vec<Change>>> {
    let first = vec(change(), 0..12);
    (first, vec(vec(change(), 0..5), 0..10)).prop_map(|(mut first, rest)| {
        first.insert(0, Change::Apply(plain_class()));
        std::iter::once(first).chain(rest).collect()
    })
}

/// Objects with distinct names, and the class that most of them name.
pub(crate) fn snapshot() -> impl Strategy<Value = Vec<Object>> {
    vec(object(), 0..24).prop_map(|objects| {
        let keyed = |object: Object| (object.reference(), object);
        let mut distinct: BTreeMap<ObjectRef, Object> = objects.into_iter().map(keyed).collect();
        let (reference, class) = keyed(plain_class());
        distinct.entry(reference).or_insert(class);
        distinct.into_values().collect()
    })
}
