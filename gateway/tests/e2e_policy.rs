//! RoutePolicies: each setting takes effect in the data plane.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use support::fixtures::{RoutePolicy, ingress, route_policy, service};
use support::{ANY_PORT, Origin, Refusing, TestGateway, Then, ok, single_route, single_route_to, until};

/// Returns RoutePolicy `p` for Ingress `a`, with these lines of its spec.
fn policy(spec: &str) -> RoutePolicy {
    route_policy("p").target_ingress("a").spec(spec)
}

#[test]
fn backend_weights_divide_the_requests() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let weights = "backends:\n- {service: a, port: 80, weight: 75}\n- {service: b, port: 80, weight: 25}";
    let objects = single_route(&a) + service("b").endpoints(&[b.address]) + policy(weights);
    let gateway = TestGateway::start(&objects);
    for _ in 0..200 {
        assert_eq!(gateway.get("a.example", "/").status(), 200);
    }
    assert!(a.count().abs_diff(150) <= 4, "{} and {}", a.count(), b.count());
    assert_eq!(a.count() + b.count(), 200);
}

#[test]
fn body_beyond_the_route_limit_is_413_in_either_framing() {
    let origin = Origin::named("a");
    let gateway = TestGateway::start(&(single_route(&origin) + policy("bodySize: 1Ki")));
    let body = "x".repeat(1024);

    let mut client = gateway.client();
    client.send(format!("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1024\r\n\r\n{body}"));
    assert_eq!(client.response().status(), 200);
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n{body}\r\n0\r\n\r\n"
    ));
    assert_eq!(client.response().status(), 200);

    client.send("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1025\r\n\r\n");
    let reply = client.response();
    assert_eq!((reply.status(), reply.field("gateway-reason")), (413, Some("body_too_large")));
    assert_eq!(reply.field("connection"), Some("close"));
    assert_eq!(origin.count(), 2, "a request with too large a Content-Length reaches no endpoint");

    let mut client = gateway.client();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n{body}\r\n1\r\nx\r\n0\r\n\r\n"
    ));
    assert_eq!(client.response().status(), 413);
    assert_eq!(
        origin.count(),
        2,
        "the endpoint gets no complete request if the body is cut off at the limit"
    );
}

#[test]
fn client_sending_10_mib_first_still_reads_the_local_reply() {
    let origin = Origin::named("a");
    let gateway = TestGateway::start(&(single_route(&origin) + policy("bodySize: 1Ki")));
    struct Framing {
        field: &'static str,
        chunk_head: &'static str,
    }
    for (host, status) in [("a.example", 413), ("unknown.example", 404)] {
        for Framing { field: framing, chunk_head } in [
            Framing { field: "Content-Length: 10485760", chunk_head: "" },
            Framing { field: "Transfer-Encoding: chunked", chunk_head: "a00000\r\n" },
            Framing { field: "Connection: close\r\nContent-Length: 10485760", chunk_head: "" },
        ] {
            let mut client = gateway.client();
            client.send(format!("POST / HTTP/1.1\r\nHost: {host}\r\n{framing}\r\n\r\n{chunk_head}"));
            client.send(vec![b'x'; 10 << 20]);
            let response = client.response();
            assert_eq!(response.status(), status, "{host}, {framing}");
            assert_eq!(client.rest(), b"", "closed gracefully: {host}, {framing}");
        }
    }
}

#[test]
fn request_without_host_uses_rules_without_host() {
    let (named, any) = (Origin::named("named"), Origin::named("any"));
    let objects = single_route(&named) + ingress("b").path("/", "b") + service("b").endpoints(&[any.address]);
    let gateway = TestGateway::start(&objects);
    assert_eq!(gateway.get("a.example", "/").text(), "named");
    assert_eq!(gateway.get("elsewhere.example", "/").text(), "any");
    let mut client = gateway.client();
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(client.response().text(), "any");
    let (forwarded, address) = (any.last(), any.address.to_string());
    assert_eq!((forwarded.line.as_str(), forwarded.field("host")), ("GET / HTTP/1.1", Some(&*address)));
    assert_eq!(forwarded.field("x-forwarded-host"), None, "the client sent no Host");
}

/// Returns the status and `gateway-reason` of one GET.
fn get_reason(gateway: &TestGateway, target: &str) -> (u16, Option<String>) {
    let response = gateway.get("a.example", target);
    (response.status(), response.field("gateway-reason").map(ToOwned::to_owned))
}

#[test]
fn request_timeout_ends_the_request_in_any_phase() {
    let origin = Origin::start(|call| {
        call.read_body()?;
        if call.request.target() == "/drip" {
            call.wire.stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            // The body never stalls and never ends: one chunk each 20 ms until the gateway closes.
            call.wire.stream.set_read_timeout(Some(Duration::from_millis(20)))?;
            let mut byte = [0];
            while call.wire.stream.read(&mut byte).is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
                call.wire.stream.write_all(b"1\r\nx\r\n")?;
            }
        }
        Ok(Then::Hang)
    });
    let gateway = TestGateway::start(&(single_route(&origin) + policy("timeouts: {request: 300ms}")));
    assert_eq!(get_reason(&gateway, "/"), (504, Some("request_timeout".to_owned())));
    let mut client = gateway.client();
    client.send("GET /drip HTTP/1.1\r\nHost: a.example\r\n\r\n");
    assert_eq!(client.head().unwrap().unwrap().status(), 200);
    let rest = client.rest();
    assert!(!rest.is_empty() && !rest.ends_with(b"0\r\n\r\n"), "{}", rest.escape_ascii());
    // A request within the timeout succeeds, and a timeout of 0 s is off.
    let gateway = TestGateway::start(
        &(single_route(&Origin::named("a")) + policy("timeouts: {request: 300ms, stall: 0s, firstByte: 0s}")),
    );
    assert_eq!(gateway.get("a.example", "/").status(), 200);
}

#[test]
fn policy_sets_first_byte_stall_and_tunnel_timeouts() {
    const SWITCH: &str = "HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let origin = Origin::start(|call| {
        match call.request.target() {
            "/stall" => call.respond("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel")?,
            "/tunnel" => call.respond(SWITCH)?,
            _ => call.read_body()?,
        }
        Ok(Then::Hang)
    });
    let short = policy("timeouts: {firstByte: 100ms, stall: 100ms, tunnelIdle: 100ms}");
    let gateway = TestGateway::start(&(single_route(&origin) + short));
    assert_eq!(get_reason(&gateway, "/"), (504, Some("first_byte_timeout".to_owned())));
    let mut client = gateway.client();
    client.send("GET /stall HTTP/1.1\r\nHost: a.example\r\n\r\n");
    assert_eq!(client.head().unwrap().unwrap().status(), 200);
    assert_eq!(client.rest(), b"hel");
    let mut client = gateway.client();
    client
        .send("GET /tunnel HTTP/1.1\r\nHost: a.example\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(client.head().unwrap().unwrap().status(), 101);
    let mut byte = [0];
    assert!(!matches!(client.stream.read(&mut byte), Ok(1)), "the tunnel ends");
}

#[test]
fn policy_sets_retry_conditions() {
    // The endpoint responds to the first request of each connection and closes upon the second.
    let losing_origin = || {
        Origin::start(|call| {
            call.read_body()?;
            if call.turn == 2 || call.request.target() == "/lost" {
                return Ok(Then::Close);
            }
            call.wire.stream.write_all(ok("a").as_bytes())?;
            Ok(Then::Keep)
        })
    };
    let get = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
    let post = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\n\r\nhi";
    struct Case {
        spec: &'static str,
        request: &'static str,
        status: u16,
        received: usize,
    }
    for Case { spec, request, status, received } in [
        Case { spec: "retries: {attempts: 1}", request: get, status: 200, received: 3 },
        Case { spec: "retries: {attempts: 0}", request: get, status: 502, received: 2 },
        Case { spec: "retries: {on: [ConnectFailure]}", request: get, status: 502, received: 2 },
        Case { spec: "retries: {on: [Reset]}", request: get, status: 200, received: 3 },
        Case { spec: "retries: {attempts: 2}", request: post, status: 502, received: 2 },
        Case { spec: "retries: {methods: [POST]}", request: post, status: 200, received: 3 },
        Case { spec: "retries: {methods: [POST]}", request: get, status: 502, received: 2 },
    ] {
        let origin = losing_origin();
        let gateway = TestGateway::start(&(single_route(&origin) + policy(spec)));
        let mut client = gateway.client();
        assert_eq!(client.get("a.example", "/").status(), 200);
        client.send(request);
        assert_eq!((client.response().status(), origin.count()), (status, received), "{spec}: {request}");
    }

    // A request lost on a new connection is retried with Reset, and at another endpoint.
    let (bad, good) = (losing_origin(), Origin::named("good"));
    let route = single_route_to(&[bad.address, good.address]);
    let gateway = TestGateway::start(&(route + policy("retries: {on: [Reset]}")));
    for _ in 0..6 {
        assert_eq!(gateway.get("a.example", "/lost").text(), "good");
    }
    assert_eq!((bad.count(), good.count()), (3, 6));
    // A refused connection fails the request unless ConnectFailure is a retry condition.
    let refusing = Refusing::new();
    let route = single_route_to(&[refusing.address, good.address]);
    let gateway = TestGateway::start(&(route + policy("retries: {on: []}")));
    let statuses = [(); 2].map(|()| gateway.get("a.example", "/").status());
    assert!(statuses.contains(&200) && statuses.contains(&502), "{statuses:?}");
}

#[test]
fn policy_sets_connect_timeouts() {
    // One connection fills a queue of length 0; the kernel then ignores further ones.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&ANY_PORT.into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let fill = |_| TcpStream::connect_timeout(&address, Duration::from_millis(100));
    let _filling: Vec<_> = (0..3).map(fill).collect();
    for spec in ["timeouts: {connect: 100ms}", "timeouts: {connectTotal: 100ms}"] {
        let gateway = TestGateway::start(&(single_route_to(&[address]) + policy(spec)));
        let began = Instant::now();
        assert_eq!(get_reason(&gateway, "/"), (504, Some("connect_timeout".to_owned())));
        assert!(began.elapsed() < Duration::from_millis(700), "{spec}: {:?}", began.elapsed());
    }
}

#[test]
fn policy_limits_apply_to_its_route() {
    let origin = Origin::start(|_| Ok(Then::Hang));
    let gateway = TestGateway::start(
        &(single_route(&origin) + policy("limits: {upstreamConnections: 1, pendingRequests: 0}")),
    );
    let mut busy = gateway.client();
    busy.send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    origin.wait_heads(1);
    assert_eq!(get_reason(&gateway, "/"), (503, Some("upstream_overloaded".to_owned())));
}

#[test]
fn least_request_avoids_a_busy_endpoint() {
    let (busy, idle) = (Origin::start(|_| Ok(Then::Hang)), Origin::named("idle"));
    let route = single_route_to(&[busy.address, idle.address]);
    let gateway = TestGateway::start(&(route + policy("loadBalancing: {type: LeastRequest}")));
    // The client sends requests until the busy endpoint has one, to which it never responds.
    let mut client = gateway.client();
    for sent in 1.. {
        client.send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
        until("the request has arrived", || idle.count() + busy.heads() == sent);
        if busy.heads() == 1 {
            break;
        }
        assert_eq!(client.response().text(), "idle");
    }
    for _ in 0..20 {
        assert_eq!(gateway.get("a.example", "/").text(), "idle");
    }
    assert_eq!(busy.heads(), 1);
}
