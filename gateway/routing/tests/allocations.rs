//! A lookup allocates nothing, whatever it finds. A test binary of its own: the counter sees the whole process.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::alloc::System;

use routing::Config;
use routing::host;
use routing::object::BackendError;
use routing::object::Ingress;
use routing::object::IngressBackend;
use routing::object::IngressClass;
use routing::object::IngressPath;
use routing::object::IngressRule;
use routing::object::Name;
use routing::object::Object;
use routing::path;
use stats_alloc::INSTRUMENTED_SYSTEM;
use stats_alloc::Region;
use stats_alloc::StatsAlloc;

#[global_allocator]
static COUNTING: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn objects() -> Vec<Object> {
    let controller = Config::default().controller.into();
    let class = IngressClass { name: Name::new("", "gateway"), controller, ..IngressClass::default() };
    let rules = [("Exact", "/"), ("Prefix", "/api"), ("Prefix", "/api/v1/{id}"), ("Exact", "/api/v1/users")];
    let paths = rules.map(|(kind, path)| IngressPath {
        path: path.into(),
        path_type: Some(kind.into()),
        backend: IngressBackend::Invalid(BackendError::Missing),
    });
    let ingress = Ingress {
        name: Name::new("shop", "web"),
        created: None,
        class: Some("gateway".into()),
        rules: [Some("a.example"), Some("*.wild.example"), None]
            .map(|host| IngressRule { host: host.map(Into::into), paths: paths.to_vec() })
            .into(),
        ..Ingress::default()
    };
    vec![Object::IngressClass(class), Object::Ingress(ingress)]
}

/// The only test of this binary, because tests of one binary run side by side and would count each other.
#[test]
fn a_lookup_allocates_nothing() {
    let (table, _) = routing::compile(Config::default(), objects());
    let requests = [
        ("a.example", "/", true),
        ("a.example:8080", "/api/v1/{id}/orders/17", true),
        ("a.example.", "/api/v1/users", true),
        ("a.example", "/api/%2F/deep/er/and/deeper", true),
        ("a.example", "/none", false),
        ("b.wild.example", "/api", true),
        ("b.wild.example", "/none", false),
        ("b.example", "/", true),
        ("c.b.wild.example", "/api/x", true),
        ("[::1]", "/none", false),
    ];
    let region = Region::new(COUNTING);
    let mut found = [false; 10];
    for (found, (host, path, _)) in found.iter_mut().zip(&requests) {
        let host = host::normalise(host.as_bytes()).unwrap();
        let path = path::canonical(path.as_bytes()).unwrap();
        *found = table.find(&host, &path).is_some();
    }
    let counted = region.change();
    assert_eq!((counted.allocations, counted.reallocations), (0, 0));
    assert_eq!(found, requests.map(|(_, _, expected)| expected));

    // The counter counts: a path that has to be rewritten allocates.
    let region = Region::new(COUNTING);
    assert_eq!(path::canonical(b"/a/../api").unwrap(), "/api");
    assert!(region.change().allocations > 0);
}
