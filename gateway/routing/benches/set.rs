//! The objects that the benches compile. Not here: measuring.

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
use routing::object::Service;
use routing::object::ServicePort;

/// So many Services are shared by all Ingresses, as DESIGN's measure has it.
const SERVICES: usize = 100;

fn port() -> NonZeroU16 {
    NonZeroU16::new(80).expect("80 is not 0")
}

/// One Ingress with one exact host, and a wildcard beside it, of three paths each.
pub(crate) fn ingress(index: usize) -> Object {
    let path = |kind: &str, path: &str| IngressPath {
        path: path.into(),
        path_type: Some(kind.into()),
        backend: IngressBackend::Service {
            name: format!("svc{}", index % SERVICES).into(),
            port: PortRef::Number(port()),
        },
    };
    let paths = [path("Exact", "/"), path("Prefix", "/api"), path("Prefix", "/api/v1/users")];
    let rule = |host: String| IngressRule { host: Some(host.into()), paths: paths.to_vec() };
    Object::Ingress(Ingress {
        name: Name::new("bench", &format!("i{index}")),
        created: i64::try_from(index).ok(),
        class: Some("gateway".into()),
        rules: vec![rule(format!("h{index}.example")), rule(format!("*.w{index}.example"))],
        ..Ingress::default()
    })
}

/// So many Ingresses, their class and their Services.
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
    [Object::IngressClass(class)].into_iter().chain(services).chain((0..count).map(ingress)).collect()
}
