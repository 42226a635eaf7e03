//! The connection limit of a Service: who gets a connection when there is none left.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod support;

use std::num::NonZeroU32;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use support::fixtures::{ingress, route_policy, service};
use support::{Origin, TestGateway, Then, ok, settings, single_route};

/// Idle time after which a connection carries no request that must not be sent twice.
const SAFE_IDLE: Duration = Duration::from_secs(4);

#[test]
fn idle_connections_give_way_to_a_request_they_cannot_carry() {
    std::thread::scope(|scope| {
        for workers in [1, 2] {
            scope.spawn(move || check_idle_connections_give_way(workers));
        }
    });
}

fn check_idle_connections_give_way(workers: u16) {
    let limit = 5;
    let barrier = Barrier::new(limit);
    let origin = Origin::start(move |call| {
        call.read_body()?;
        if call.request.line.starts_with("GET") {
            // All GETs are in flight at once, each on its own connection.
            barrier.wait();
        }
        call.wire.send(ok("a"));
        Ok(Then::Keep)
    });
    let settings = settings(|all| {
        all.limits.upstream_connections = NonZeroU32::new(5).unwrap();
        all.workers = Some(workers);
    });
    let gateway = TestGateway::with(&single_route(&origin), settings);
    std::thread::scope(|scope| {
        for _ in 0..limit {
            scope.spawn(|| assert_eq!(gateway.get("a.example", "/").status(), 200));
        }
    });
    // The passage of time is what the test is about.
    std::thread::park_timeout(SAFE_IDLE + Duration::from_millis(300));
    let began = Instant::now();
    for _ in 0..limit {
        let mut client = gateway.client();
        client.send("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\n\r\nhi");
        assert_eq!(client.response().status(), 200, "{workers} workers");
    }
    assert!(began.elapsed() < Duration::from_secs(2), "{workers} workers: {:?}", began.elapsed());
}

/// Two namespaces have a Service with the same endpoints. One has a policy with a timeout that the endpoints do not meet.
#[test]
fn policy_of_one_service_ejects_for_no_other() {
    let origins = ["a", "b"].map(|name| {
        Origin::start(move |call| {
            if call.request.field("host") == Some("impatient.example") {
                return call.read_body().map(|()| Then::Hang);
            }
            call.respond(ok(name)).map(|()| Then::Keep)
        })
    });
    let (first, all) = (origins[0].address, origins.each_ref().map(|origin| origin.address));
    let objects = ingress("patient").namespace("one").host("a.example").path("/", "s")
        + service("s").namespace("one").endpoints(&all)
        + ingress("impatient").namespace("two").host("impatient.example").path("/", "s")
        + service("s").namespace("two").endpoints(&[first])
        + route_policy("p").namespace("two").target_ingress("impatient").spec("timeouts: {firstByte: 50ms}");
    let gateway = TestGateway::start(&objects);
    for _ in 0..10 {
        assert_eq!(gateway.get("impatient.example", "/").status(), 504);
    }
    let responses: Vec<_> = (0..10).map(|_| gateway.get("a.example", "/").text().to_owned()).collect();
    assert_eq!(responses.iter().filter(|name| *name == "a").count(), 5, "{responses:?}");
}
