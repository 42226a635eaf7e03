//! The connection limit of a Service: who gets a connection when there is none left.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod support;

use std::num::NonZeroU32;
use std::sync::{Barrier, Mutex, mpsc};
use std::time::{Duration, Instant};

use support::fixtures::{ingress, route_policy, service};
use support::{DEADLINE, Origin, TestGateway, Then, ok, settings, single_route, until};

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

/// Starts an origin that responds to `/blocked` when the returned sender is dropped, and to other targets at once.
fn blocking_origin() -> (Origin, mpsc::Sender<()>) {
    let (release, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let origin = Origin::start(move |call| {
        call.read_body()?;
        if call.request.target() == "/blocked" {
            let _ = gate.lock().unwrap().recv_timeout(DEADLINE);
        }
        call.wire.send(ok("a"));
        Ok(Then::Keep)
    });
    (origin, release)
}

/// Returns a request that a trusted proxy forwards for this address.
fn request_of(address: &str, target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-For: {address}\r\n\r\n")
}

#[test]
fn one_client_address_leaves_connections_to_others() {
    let (origin, release) = blocking_origin();
    let settings = settings(|all| {
        all.limits.upstream_connections = NonZeroU32::new(64).unwrap();
        all.limits.pending_requests = 64;
        all.requests.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
        all.timeouts.connect_total = DEADLINE;
    });
    let gateway = TestGateway::with(&single_route(&origin), settings);
    let blocked: Vec<_> = (0..200)
        .map(|_| {
            let mut client = gateway.client();
            client.send(request_of("10.0.0.1", "/blocked"));
            client
        })
        .collect();
    // Three quarters of the connections, and half of the last one.
    origin.wait_heads(56);
    let began = Instant::now();
    for _ in 0..20 {
        let mut client = gateway.client();
        client.send(request_of("10.0.0.2", "/"));
        assert_eq!(client.response().status(), 200);
    }
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(origin.heads(), 56 + 20, "the first address holds no more");
    drop((release, blocked));
}

#[test]
fn tunnels_have_a_limit_of_their_own() {
    let switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: test\r\n\r\n";
    let origin = Origin::start(move |call| {
        if call.request.field("upgrade").is_some() {
            return call.respond(switching).map(|()| Then::Hang);
        }
        call.respond(ok("a")).map(|()| Then::Keep)
    });
    let settings = settings(|all| {
        all.limits.upstream_connections = NonZeroU32::new(1).unwrap();
        all.limits.tunnels = 3;
    });
    let gateway = TestGateway::with(&single_route(&origin), settings);
    let open = || {
        let mut client = gateway.client();
        client.send("GET / HTTP/1.1\r\nHost: a.example\r\nConnection: upgrade\r\nUpgrade: test\r\n\r\n");
        let status = client.head().unwrap().unwrap().status();
        (status, client)
    };
    let tunnels: Vec<_> = (0..3).map(|_| open()).collect();
    assert!(tunnels.iter().all(|(status, _)| *status == 101));
    assert_eq!(gateway.get("a.example", "/").status(), 200, "tunnels take no connection of the limit");
    assert_eq!(open().0, 503);
    drop(tunnels);
    until("a tunnel is free", || open().0 == 101);
}

#[test]
fn burst_of_small_requests_is_queued() {
    let origin = Origin::named("a");
    let settings = settings(|all| {
        all.limits.upstream_connections = NonZeroU32::new(15).unwrap();
        all.timeouts.connect_total = DEADLINE;
    });
    let gateway = TestGateway::with(&single_route(&origin), settings);
    let mut clients: Vec<_> = (0..1200).map(|_| gateway.client()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    }
    for client in &mut clients {
        assert_eq!(client.response().status(), 200);
    }
}
