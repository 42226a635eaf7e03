//! What RoutePolicies say about routes, obeyed by the data plane.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use support::{ANY_PORT, Origin, Refusing, TestGateway, Then, ingress, ok, one, service};

/// A RoutePolicy of the default namespace about Ingress `a`, with these further lines of its spec.
fn policy(spec: &str) -> String {
    format!(
        "---\napiVersion: wasm-gateway.dev/v1alpha1\nkind: RoutePolicy\nmetadata: {{name: p}}\nspec:\n  targetRefs:\n  - {{group: networking.k8s.io, kind: Ingress, name: a}}\n{spec}"
    )
}

#[test]
fn backend_weights_divide_the_requests() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let shares =
        "  backends:\n  - {service: a, port: 80, weight: 75}\n  - {service: b, port: 80, weight: 25}\n";
    let yaml = ingress("a", "a.example", &[("/", "a")])
        + &service("a", &[a.address])
        + &service("b", &[b.address])
        + &policy(shares);
    let gateway = TestGateway::start(&yaml);
    for _ in 0..200 {
        assert_eq!(gateway.get("a.example", "/").status(), 200);
    }
    assert!(a.count().abs_diff(150) <= 4, "{} and {}", a.count(), b.count());
    assert_eq!(a.count() + b.count(), 200);
}

#[test]
fn body_beyond_the_route_limit_is_413_in_either_framing() {
    let origin = Origin::named("a");
    let gateway = TestGateway::start(&(one(&origin) + &policy("  bodySize: 1Ki\n")));
    let body = "x".repeat(1024);

    let mut client = gateway.client();
    client.send(format!("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1024\r\n\r\n{body}"));
    assert_eq!(client.response().status(), 200);
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n{body}\r\n0\r\n\r\n"
    ));
    assert_eq!(client.response().status(), 200);

    client.send("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1025\r\n\r\n");
    let refused = client.response();
    assert_eq!((refused.status(), refused.field("gateway-reason")), (413, Some("body_too_large")));
    assert_eq!(refused.field("connection"), Some("close"));
    assert_eq!(origin.count(), 2, "a length that says too much reaches nobody");

    let mut client = gateway.client();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n{body}\r\n1\r\nx\r\n0\r\n\r\n"
    ));
    assert_eq!(client.response().status(), 413);
    assert_eq!(origin.count(), 2, "a body cut off at the limit is no whole request for the endpoint");
}

#[test]
fn client_sending_10_mib_first_still_reads_the_local_reply() {
    let origin = Origin::named("a");
    let gateway = TestGateway::start(&(one(&origin) + &policy("  bodySize: 1Ki\n")));
    for (host, status) in [("a.example", 413), ("nobody.example", 404)] {
        for (framing, first) in
            [("Content-Length: 10485760", ""), ("Transfer-Encoding: chunked", "a00000\r\n")]
        {
            let mut client = gateway.client();
            client.send(format!("POST / HTTP/1.1\r\nHost: {host}\r\n{framing}\r\n\r\n{first}"));
            client.send(vec![b'x'; 10 << 20]);
            let answer = client.response();
            assert_eq!(answer.status(), status, "{host}, {framing}");
            assert_eq!(client.rest(), b"", "closed in order: {host}, {framing}");
        }
    }
}

#[test]
fn request_without_host_uses_rules_without_host() {
    let (named, any) = (Origin::named("named"), Origin::named("any"));
    let host_less = ingress("b", "b.example", &[("/", "b")]).replace("host: b.example\n    http", "http");
    let yaml = one(&named) + &host_less + &service("b", &[any.address]);
    let gateway = TestGateway::start(&yaml);
    assert_eq!(gateway.get("a.example", "/").text(), "named");
    assert_eq!(gateway.get("elsewhere.example", "/").text(), "any");
    let mut client = gateway.client();
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(client.response().text(), "any");
    let (seen, address) = (any.last(), any.address.to_string());
    assert_eq!((seen.line.as_str(), seen.field("host")), ("GET / HTTP/1.1", Some(&*address)));
    assert_eq!(seen.field("x-forwarded-host"), None, "the client has named none");
}

/// The status and reason of one GET.
fn asked(gateway: &TestGateway, target: &str) -> (u16, Option<String>) {
    let answer = gateway.get("a.example", target);
    (answer.status(), answer.field("gateway-reason").map(ToOwned::to_owned))
}

#[test]
fn request_timeout_ends_the_request_in_any_phase() {
    let origin = Origin::start(|call| {
        call.read_body()?;
        if call.request.target() == "/drip" {
            call.wire.stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            // Never still for long, and never at its end: a byte whenever the gateway has not closed for 20 ms.
            call.wire.stream.set_read_timeout(Some(Duration::from_millis(20)))?;
            let mut byte = [0];
            while call.wire.stream.read(&mut byte).is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
                call.wire.stream.write_all(b"1\r\nx\r\n")?;
            }
        }
        Ok(Then::Hang)
    });
    let gateway = TestGateway::start(&(one(&origin) + &policy("  timeouts: {request: 300ms}\n")));
    assert_eq!(asked(&gateway, "/"), (504, Some("request_timeout".to_owned())));
    let mut client = gateway.client();
    client.send("GET /drip HTTP/1.1\r\nHost: a.example\r\n\r\n");
    assert_eq!(client.head().unwrap().unwrap().status(), 200);
    let rest = client.rest();
    assert!(!rest.is_empty() && !rest.ends_with(b"0\r\n\r\n"), "{}", rest.escape_ascii());
    // The connection's next request has its own time.
    let gateway = TestGateway::start(
        &(one(&Origin::named("a")) + &policy("  timeouts: {request: 300ms, stall: 0s, firstByte: 0s}\n")),
    );
    assert_eq!(gateway.get("a.example", "/").status(), 200);
}

#[test]
fn policy_sets_first_byte_stall_and_tunnel_timeouts() {
    const SWITCH: &str = "HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let origin = Origin::start(|call| {
        match call.request.target() {
            "/stall" => call.answer("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel")?,
            "/tunnel" => call.answer(SWITCH)?,
            _ => call.read_body()?,
        }
        Ok(Then::Hang)
    });
    let short = policy("  timeouts: {firstByte: 100ms, stall: 100ms, tunnelIdle: 100ms}\n");
    let gateway = TestGateway::start(&(one(&origin) + &short));
    assert_eq!(asked(&gateway, "/"), (504, Some("first_byte_timeout".to_owned())));
    let mut client = gateway.client();
    client.send("GET /stall HTTP/1.1\r\nHost: a.example\r\n\r\n");
    assert_eq!(client.head().unwrap().unwrap().status(), 200);
    assert_eq!(client.rest(), b"hel");
    let mut client = gateway.client();
    client
        .send("GET /tunnel HTTP/1.1\r\nHost: a.example\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(client.head().unwrap().unwrap().status(), 101);
    let mut byte = [0];
    assert!(!matches!(client.stream.read(&mut byte), Ok(1)), "it ends");
}

#[test]
fn policy_sets_retry_conditions() {
    // Each connection's first request is answered, and its second one lost.
    let lost = || {
        Origin::start(|call| {
            call.read_body()?;
            if call.turn == 2 || call.request.target() == "/lost" {
                return Ok(Then::Close);
            }
            call.wire.stream.write_all(ok("a").as_bytes())?;
            Ok(Then::Keep)
        })
    };
    let twice = |spec: &str, request: &str| {
        let origin = lost();
        let gateway = TestGateway::start(&(one(&origin) + &policy(spec)));
        let mut client = gateway.client();
        assert_eq!(client.get("a.example", "/").status(), 200);
        client.send(request);
        (client.response().status(), origin.count())
    };
    let get = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
    let post = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\n\r\nhi";
    assert_eq!(twice("  retries: {attempts: 1}\n", get), (200, 3));
    assert_eq!(twice("  retries: {attempts: 0}\n", get), (502, 2));
    assert_eq!(twice("  retries: {on: [ConnectFailure]}\n", get), (502, 2));
    assert_eq!(twice("  retries: {on: [Reset]}\n", get), (200, 3));
    assert_eq!(twice("  retries: {attempts: 2}\n", post), (502, 2));
    assert_eq!(twice("  retries: {methods: [POST]}\n", post), (200, 3));
    assert_eq!(twice("  retries: {methods: [POST]}\n", get), (502, 2));

    // A new connection that is lost: only with Reset, and to another endpoint.
    let (bad, good) = (lost(), Origin::named("good"));
    let yaml = ingress("a", "a.example", &[("/", "a")]) + &service("a", &[bad.address, good.address]);
    let gateway = TestGateway::start(&(yaml.clone() + &policy("  retries: {on: [Reset]}\n")));
    for _ in 0..6 {
        assert_eq!(gateway.get("a.example", "/lost").text(), "good");
    }
    assert_eq!((bad.count(), good.count()), (3, 6));
    // A refused connection costs nothing by default, and the request if that is not a reason to try again.
    let refusing = Refusing::new();
    let yaml = ingress("a", "a.example", &[("/", "a")]) + &service("a", &[refusing.address, good.address]);
    let gateway = TestGateway::start(&(yaml.clone() + &policy("  retries: {on: []}\n")));
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
    for limits in ["connect: 100ms", "connectTotal: 100ms"] {
        let yaml = ingress("a", "a.example", &[("/", "a")]) + &service("a", &[address]);
        let gateway = TestGateway::start(&(yaml + &policy(&format!("  timeouts: {{{limits}}}\n"))));
        let began = Instant::now();
        assert_eq!(asked(&gateway, "/"), (504, Some("connect_timeout".to_owned())));
        assert!(began.elapsed() < Duration::from_millis(700), "{limits}: {:?}", began.elapsed());
    }
}

#[test]
fn policy_limits_apply_to_its_route() {
    let origin = Origin::start(|_| Ok(Then::Hang));
    let gateway = TestGateway::start(
        &(one(&origin) + &policy("  limits: {upstreamConnections: 1, pendingRequests: 0}\n")),
    );
    let mut busy = gateway.client();
    busy.send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    origin.wait_heads(1);
    assert_eq!(asked(&gateway, "/"), (503, Some("upstream_overloaded".to_owned())));
}

#[test]
fn least_request_avoids_a_busy_endpoint() {
    let (busy, idle) = (Origin::start(|_| Ok(Then::Hang)), Origin::named("idle"));
    let yaml = ingress("a", "a.example", &[("/", "a")]) + &service("a", &[busy.address, idle.address]);
    let gateway = TestGateway::start(&(yaml + &policy("  loadBalancing: {type: LeastRequest}\n")));
    // Requests are sent until the busy one has got one, which it never answers.
    let mut client = gateway.client();
    for sent in 1.. {
        client.send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
        support::until("it has come", || idle.count() + busy.heads() == sent);
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
