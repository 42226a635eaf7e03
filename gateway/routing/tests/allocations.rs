//! A lookup allocates nothing. A separate test binary, because the counter covers the whole process.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::alloc::System;

use routing::Config;
use routing::RoutingTable;
use routing::host;
use routing::path;
use stats_alloc::INSTRUMENTED_SYSTEM;
use stats_alloc::Region;
use stats_alloc::StatsAlloc;

#[path = "support/objects.rs"]
mod objects;

use objects::CLASS;
use objects::class;
use objects::ingress;

#[global_allocator]
static COUNTING: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn table() -> RoutingTable {
    let mut web = ingress("shop/web");
    for host in [Some("a.example"), Some("*.wild.example"), None] {
        web = match host {
            Some(host) => web.host(host),
            None => web.any_host(),
        };
        web = web.exact("/").path("/api").path("/api/v1/(id)").exact("/api/v1/users");
    }
    routing::compile(Config::default(), [class(CLASS).object(), web.object()]).0
}

/// The only test of this binary: concurrent tests would count each other's allocations.
#[test]
fn lookup_allocates_nothing() {
    let table = table();
    let requests = [
        ("a.example", "/", true),
        ("a.example:8080", "/api/v1/(id)/orders/17", true),
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

    // Checks the counter: a path that is not canonical allocates.
    let region = Region::new(COUNTING);
    assert_eq!(path::canonical(b"/a/../api").unwrap(), "/api");
    assert!(region.change().allocations > 0);
}
