//! The objects that the benches compile.

use std::num::NonZeroU16;

use routing::Config;
use routing::object::Ingress;
use routing::object::IngressBackend;
use routing::object::IngressClass;
use routing::object::IngressPath;
use routing::object::IngressRule;
use routing::object::Name;
use routing::object::Object;
use routing::object::PortRef;
use routing::object::RoutePolicy;
use routing::object::Service;
use routing::object::ServicePort;
use routing::object::StringInterner;

/// Number of Services that all Ingresses share, as in DESIGN §8.
const SERVICES: usize = 100;
/// Number of Routes of an Ingress.
#[allow(dead_code, reason = "not every bench has use for it")]
pub(crate) const ROUTES: usize = 6;

fn port() -> NonZeroU16 {
    NonZeroU16::new(80).expect("80 is not 0")
}

fn path(service: usize, (kind, path): (&str, &str)) -> IngressPath {
    IngressPath {
        path: path.into(),
        path_type: Some(kind.into()),
        backend: IngressBackend::Service {
            name: format!("svc{}", service % SERVICES).into(),
            port: PortRef::Number(port()),
        },
    }
}

/// Creates an Ingress with an exact host and a wildcard, of three paths each.
pub(crate) fn ingress(index: usize) -> Object {
    let paths =
        [("Exact", "/"), ("Prefix", "/api"), ("Prefix", "/api/v1/users")].map(|from| path(index, from));
    let rule = |host: String| IngressRule { host: Some(host.into()), paths: paths.to_vec() };
    Object::Ingress(Ingress {
        name: Name::new("bench", &format!("i{index}")),
        created: i64::try_from(index).ok(),
        class: Some("gateway".into()),
        rules: [rule(format!("h{index}.example")), rule(format!("*.w{index}.example"))].into(),
        ..Ingress::default()
    })
}

/// Creates Ingresses, their class and their Services.
pub(crate) fn ingresses(count: usize) -> Vec<Object> {
    let class = IngressClass {
        name: Name::new("", "gateway"),
        controller: Config::default().controller.into(),
        ..IngressClass::default()
    };
    let service = |index: usize| {
        Object::Service(Service {
            name: Name::new("bench", &format!("svc{index}")),
            service_type: "ClusterIP".into(),
            ports: vec![ServicePort {
                name: "http".into(),
                port: port(),
                app_protocol: None,
                node_port: None,
            }],
            fixed_endpoints: Some(Vec::new()),
            ..Service::default()
        })
    };
    let services = (0..SERVICES).map(service);
    let mut interner = StringInterner::default();
    let ingresses = (0..count).map(|index| {
        let mut object = ingress(index);
        if let Object::Ingress(ingress) = &mut object {
            // As the sources do.
            interner.intern_ingress(ingress);
        }
        object
    });
    [Object::IngressClass(class)].into_iter().chain(services).chain(ingresses).collect()
}

/// Creates a policy for all Ingresses of the class.
#[allow(dead_code, reason = "not every bench has use for it")]
pub(crate) fn class_policy() -> Object {
    let target = api::TargetRef {
        group: "networking.k8s.io".to_owned(),
        kind: api::TargetKind::IngressClass,
        name: "gateway".to_owned(),
        host: None,
        path: None,
    };
    let spec = api::RoutePolicySpec {
        target_refs: vec![target],
        body_size: Some(api::ByteSize(1 << 20)),
        ..api::RoutePolicySpec::default()
    };
    let name = Name::new(&Config::default().namespace, "all");
    Object::RoutePolicy(RoutePolicy { name, created: None, spec: Box::new(spec) })
}

/// Creates an Ingress with one host and the given number of paths, and its class.
#[allow(dead_code, reason = "not every bench has use for it")]
pub(crate) fn on_one_host(routes: usize) -> Vec<Object> {
    let mut objects = ingresses(1);
    let paths = (0..routes).map(|index| path(0, ("Prefix", &format!("/api/v{index}"))));
    let rule = IngressRule { host: Some("h0.example".into()), paths: paths.collect() };
    if let Some(Object::Ingress(ingress)) = objects.last_mut() {
        ingress.rules = [rule].into();
    }
    objects
}
