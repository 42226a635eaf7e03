//! HTTP/1.1 clients on raw sockets: forwarded requests and responses, and the local replies of the gateway.
//!
//! Not here: malformed requests (`e2e_strict`) and the timing of forwarded bytes (`e2e_streaming`).

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod support;

use std::io::{Read, Write};
use std::time::Duration;

use gateway::settings::{ReasonHeader, Settings, TraceRequests};
use support::fixtures::{ingress, secret, service};
use support::{
    Certificate, DEADLINE, Follows, Message, Origin, Refusing, TestGateway, Then, ok, settings, single_route,
    tls_client, until,
};

// ===== heads =====

#[test]
fn target_is_forwarded_unchanged_unless_it_has_dot_segments() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let objects = ingress("i").host("a.example").path("/", "a").path("/admin", "b")
        + service("a").endpoints(&[a.address])
        + service("b").endpoints(&[b.address]);
    let gateway = TestGateway::start(&objects);
    let mut client = gateway.client();
    struct Case<'a> {
        target: &'a str,
        origin: &'a Origin,
        forwarded: &'a str,
    }
    for Case { target, origin, forwarded } in [
        Case { target: "/adminx", origin: &a, forwarded: "/adminx" },
        Case { target: "/admin?x=/../..", origin: &b, forwarded: "/admin?x=/../.." },
        Case { target: "/%61dmin/%7e", origin: &b, forwarded: "/%61dmin/%7e" },
        Case { target: "//admin", origin: &b, forwarded: "//admin" },
        Case { target: "/x/../admin", origin: &b, forwarded: "/admin" },
        Case { target: "/x/%2E%2e/admin?q=1", origin: &b, forwarded: "/admin?q=1" },
        Case { target: "/admin/../x", origin: &a, forwarded: "/x" },
        Case { target: "/x/./y?q", origin: &a, forwarded: "/x/y?q" },
        Case { target: "/x/.hidden/y..z", origin: &a, forwarded: "/x/.hidden/y..z" },
        Case { target: "/..", origin: &a, forwarded: "/" },
        Case { target: "/a%2Fb%5c", origin: &a, forwarded: "/a%2Fb%5c" },
        Case { target: "http://a.example", origin: &a, forwarded: "/" },
    ] {
        let before = origin.count();
        assert_eq!(client.get("a.example", target).status(), 200, "{target}");
        assert_eq!(origin.count(), before + 1, "{target}");
        assert_eq!(origin.last().target(), forwarded, "{target}");
    }
}

#[test]
fn response_loses_hop_by_hop_fields_and_gains_missing_server() {
    let origin = Origin::start(|call| {
        let server = if call.request.target() == "/own" { "Server: mine\r\n" } else { "" };
        let head = "HTTP/1.1 201 Made Up\r\nConnection: x-named\r\nX-Named: 1\r\nKeep-Alive: timeout=9\r\n";
        call.respond(format!("{head}{server}X-Kept: 1\r\nContent-Length: 2\r\n\r\nhi")).map(|()| Then::Keep)
    });
    let gateway = TestGateway::start(&single_route(&origin));
    let mut client = gateway.client();
    for (target, server) in [("/own", "mine"), ("/", "wasm-gateway")] {
        let response = client.get("a.example", target);
        assert_eq!((response.line.as_str(), response.text()), ("HTTP/1.1 201 Made Up", "hi"));
        let mut names: Vec<_> = response.fields.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["content-length", "date", "server", "x-kept"]);
        assert_eq!(response.field("server"), Some(server));
    }
}

// ===== bodies =====

#[test]
fn chunked_bodies_and_trailers_are_reframed_both_ways() {
    let origin = Origin::start(|call| {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        call.respond(format!(
            "{head}3;x=y\r\nabc\r\n0003\r\ndef\r\n0\r\nX-Sum: 6\r\nContent-Length: 9\r\n\r\n"
        ))
        .map(|()| Then::Keep)
    });
    let gateway = TestGateway::start(&single_route(&origin));
    let mut client = gateway.client();
    let head = "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: Chunked\r\n\r\n";
    client.send(format!("{head}2;e\r\nab\r\n1\r\nc\r\n0\r\nX-Tail: 1\r\nHost: evil\r\n\r\n"));
    let response = client.response();
    let sum = [("x-sum".to_owned(), "6".to_owned())];
    assert_eq!((response.text(), &response.trailers[..]), ("abcdef", &sum[..]));
    let forwarded = origin.last();
    let tail = [("x-tail".to_owned(), "1".to_owned())];
    assert_eq!((forwarded.text(), &forwarded.trailers[..]), ("abc", &tail[..]));
    // HTTP/1.0 has no chunked coding, so the gateway ends the body by closing the connection.
    client.send("GET / HTTP/1.0\r\nHost: a.example\r\nConnection: keep-alive\r\n\r\n");
    let response = client.response();
    assert_eq!(response.field("transfer-encoding"), None);
    assert_eq!((response.field("connection"), response.text()), (Some("close"), "abcdef"));
}

#[test]
fn bodyless_and_close_delimited_responses_are_forwarded() {
    let origin = Origin::start(|call| match call.request.target() {
        "/close" => call.respond("HTTP/1.1 200 OK\r\n\r\nuntil the end").map(|()| Then::Close),
        "/204" => call.respond("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n").map(|()| Then::Keep),
        "/304" => call.respond("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n").map(|()| Then::Keep),
        "/early" => call.respond("HTTP/1.1 100 Continue\r\n\r\n".to_owned() + &ok("x")).map(|()| Then::Keep),
        _ => call.respond("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n").map(|()| Then::Keep),
    });
    let gateway = TestGateway::start(&single_route(&origin));
    let mut client = gateway.client();
    assert_eq!(client.get("a.example", "/close").text(), "until the end");
    assert_eq!(client.get("a.example", "/204").field("content-length"), None);
    let response = client.get("a.example", "/304");
    assert_eq!((response.status(), response.field("content-length")), (304, Some("9")));
    let response = client.get("a.example", "/early");
    assert_eq!((response.status(), response.field("link"), response.text()), (200, None, "x"));
    struct HeadCase {
        host: &'static str,
        target: &'static str,
        status: u16,
        length: Option<&'static str>,
    }
    for HeadCase { host, target, status, length } in [
        HeadCase { host: "a.example", target: "/", status: 200, length: Some("9") },
        HeadCase { host: "a.example", target: "/204", status: 204, length: None },
        HeadCase { host: "a.example", target: "/304", status: 304, length: Some("9") },
        HeadCase { host: "b.example", target: "/", status: 404, length: Some("12") },
    ] {
        client.send(format!("HEAD {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let response = client.message(Follows::Nothing).unwrap().unwrap();
        assert_eq!((response.status(), response.field("content-length")), (status, length), "{target}");
    }
    assert_eq!(client.get("a.example", "/early").text(), "x", "the connection is still in step");
}

#[test]
fn informational_responses_except_100_reach_http11_only() {
    let informational = "HTTP/1.1 100 Continue\r\nX-No: 1\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\
                   Connection: x-named\r\nX-Named: 1\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n";
    let (open, gate) = std::sync::mpsc::channel();
    let gate = std::sync::Mutex::new(gate);
    let origin = Origin::start(move |call| {
        call.respond(informational)?;
        gate.lock().unwrap().recv_timeout(DEADLINE).unwrap();
        call.wire.stream.write_all(ok("x").as_bytes()).map(|()| Then::Keep)
    });
    let gateway = TestGateway::start(&single_route(&origin));
    let mut client = gateway.client();
    for _ in 0..2 {
        client.send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
        let hints = client.response();
        assert_eq!(hints.line, "HTTP/1.1 103 Early Hints");
        assert_eq!(hints.fields, [("link".to_owned(), "</a>".to_owned())]);
        let processing = client.response();
        assert_eq!((processing.line.as_str(), processing.fields.len()), ("HTTP/1.1 102 Processing", 0));
        // Both arrived before the endpoint sent its final response.
        open.send(()).unwrap();
        assert_eq!(client.response().text(), "x");
    }
    client.send("GET / HTTP/1.0\r\nHost: a.example\r\n\r\n");
    open.send(()).unwrap();
    assert_eq!((client.response().text(), origin.connections()), ("x", 1));
}

#[test]
fn too_many_informational_responses_are_502() {
    let origin = Origin::start(|call| {
        let count = call.request.target()[1..].parse().unwrap();
        call.respond("HTTP/1.1 102 Processing\r\n\r\n".repeat(count) + &ok("x")).map(|()| Then::Keep)
    });
    let gateway = TestGateway::start(&single_route(&origin));
    struct Case {
        informational: usize,
        last_status: u16,
    }
    for Case { informational, last_status } in
        [Case { informational: 16, last_status: 200 }, Case { informational: 17, last_status: 502 }]
    {
        let mut client = gateway.client();
        client.send(format!("GET /{informational} HTTP/1.1\r\nHost: a.example\r\n\r\n"));
        for _ in 0..16 {
            assert_eq!(client.response().status(), 102);
        }
        assert_eq!(client.response().status(), last_status);
    }
}

/// A way for a client to leave: close, reset or half-close.
type Leave = fn(std::net::TcpStream);

#[test]
fn client_leaving_a_silent_endpoint_cancels_the_request() {
    let origin = Origin::start(|call| {
        call.read_body()?;
        if call.request.target() == "/begun" {
            call.wire
                .stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbeginning"[..46].as_ref())?;
        }
        Ok(Then::Hang)
    });
    let gateway = TestGateway::start(&single_route(&origin));
    let leave: [Leave; 3] = [
        drop,
        |stream| socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap(),
        |stream| stream.shutdown(std::net::Shutdown::Write).unwrap(),
    ];
    let mut heads = 0;
    for target in ["/silent", "/begun"] {
        for leave in leave {
            let mut client = gateway.client();
            client.send(format!("POST {target} HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\n\r\nhi"));
            heads += 1;
            origin.wait_heads(heads);
            if target == "/begun" {
                assert_eq!(client.head().unwrap().unwrap().status(), 200);
            }
            leave(client.stream.try_clone().unwrap());
            drop(client);
            until("the connection to the endpoint is closed", || origin.open() == 0);
        }
    }
    let metric = "gateway_aborts_total{reason=\"client_closed\"} 6";
    until("all six aborts are counted", || gateway.admin("/metrics").1.lines().any(|line| line == metric));
}

#[test]
fn half_closed_client_receives_all_responses() {
    let origin = Origin::named("a");
    let gateway = TestGateway::start(&single_route(&origin));
    let mut client = gateway.client();
    // The endpoint responds to the first request while the second waits. The second gets a local reply.
    client.send("GET /1 HTTP/1.1\r\nHost: a.example\r\n\r\nGET / HTTP/1.1\r\nHost: b.example\r\n\r\n");
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!((client.response().status(), client.response().status()), (200, 404));
    assert_eq!(client.rest(), b"");
}

/// Returns 10 MiB in which all 4-byte words differ.
fn ten_mebibytes() -> Vec<u8> {
    (0u32..10 << 18).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

#[test]
fn large_bodies_in_both_directions_are_unchanged() {
    let origin = Origin::start(|call| {
        call.read_body()?;
        let body = call.request.body.clone();
        let stream = &mut call.wire.stream;
        match call.request.target() {
            "/exact" => write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len())?,
            _ => write!(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n", body.len())?,
        }
        stream.write_all(&body)?;
        if call.request.target() != "/exact" {
            stream.write_all(b"\r\n0\r\n\r\n")?;
        }
        Ok(Then::Keep)
    });
    let gateway = TestGateway::start(&single_route(&origin));
    let mut client = gateway.client();
    let body = ten_mebibytes();
    for target in ["/exact", "/chunked"] {
        client.send(format!(
            "POST {target} HTTP/1.1\r\nHost: a.example\r\nContent-Length: {}\r\n\r\n",
            body.len()
        ));
        client.send(&body);
        assert!(client.response().body == body, "{target}");
        assert!(origin.last().body == body, "{target}");
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn bodies_stream_in_both_directions_at_once() {
    // The endpoint echoes each chunk. The client waits for the echo before it sends the next chunk.
    let origin = Origin::start(|call| {
        call.wire.stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        let mut buffer = [0; 64];
        loop {
            let read = call.wire.stream.read(&mut buffer)?;
            if buffer[..read].starts_with(b"0") || read == 0 {
                call.wire.stream.write_all(b"0\r\n\r\n")?;
                return Ok(Then::Close);
            }
            call.wire.stream.write_all(&buffer[..read])?;
        }
    });
    let gateway = TestGateway::start(&single_route(&origin));
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n");
    let head = client.head().unwrap().unwrap();
    assert_eq!(head.status(), 200);
    for _ in 0..20 {
        client.send("4\r\nping\r\n");
        let mut echo = [0; 9];
        client.stream.read_exact(&mut echo).unwrap();
        assert_eq!(&echo, b"4\r\nping\r\n");
    }
    client.send("0\r\n\r\n");
    let mut message = Message { fields: head.fields, ..Message::default() };
    client.body(&mut message, Follows::Response).unwrap();
    assert_eq!(message.text(), "");
}

#[test]
fn expect_100_continue_is_handled_by_the_gateway() {
    let origin = Origin::named("a");
    let gateway = TestGateway::start(&single_route(&origin));
    let mut client = gateway.client();
    let head = |host: &str| {
        format!("POST / HTTP/1.1\r\nHost: {host}\r\nExpect: 100-Continue\r\nContent-Length: 5\r\n\r\n")
    };
    client.send(head("a.example"));
    assert_eq!(client.message(Follows::Nothing).unwrap().unwrap().line, "HTTP/1.1 100 Continue");
    client.send("hello");
    assert_eq!((client.response().text(), origin.last().text()), ("a", "hello"));
    assert_eq!(origin.last().field("expect"), None);
    // The gateway sends no 100 if the body arrives with the head.
    client.send(head("a.example") + "hello");
    assert_eq!(client.response().status(), 200);
    // No endpoint reads the body, so the local reply is sent at once and the connection closes.
    client.send(head("b.example"));
    let response = client.response();
    assert_eq!((response.status(), response.field("connection")), (404, Some("close")));
    assert_eq!(client.rest(), b"");
    assert_eq!(origin.count(), 2);
}

#[test]
fn unread_body_is_drained_if_small_else_connection_closes() {
    let gateway = TestGateway::start("");
    let mut client = gateway.client();
    client.send(format!("POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 60000\r\n\r\n{}", "x".repeat(60_000)));
    assert_eq!(client.response().status(), 404);
    assert_eq!(client.get("b", "/").status(), 404, "the connection stays open");
    client.send("POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 900000000\r\n\r\n");
    let _ = client.stream.write_all(&vec![b'x'; 100_000]);
    assert_eq!(client.response().status(), 404);
    until("the connection ends", || !matches!(client.message(Follows::Response), Ok(Some(_))));
}

// ===== local replies =====

#[test]
fn reason_header_is_present_unless_hidden_by_settings() {
    let refusing = Refusing::new();
    let objects = ingress("i")
        .host("a.example")
        .path("/none", "missing")
        .path("/empty", "empty")
        .path("/refused", "refused")
        .path("/port", "port")
        + service("refused").endpoints(&[refusing.address])
        + service("empty")
        + service("port").port(81);
    struct Case {
        target: &'static str,
        status: u16,
        reason: &'static str,
    }
    for setting in [ReasonHeader::Shown, ReasonHeader::Hidden] {
        let gateway = TestGateway::with(&objects, settings(|all| all.responses.reason_header = setting));
        let mut client = gateway.client();
        for Case { target, status, reason } in [
            Case { target: "/", status: 404, reason: "no_rule" },
            Case { target: "/none", status: 503, reason: "service_missing" },
            Case { target: "/port", status: 503, reason: "port_missing" },
            Case { target: "/empty", status: 503, reason: "no_ready_endpoint" },
            Case { target: "/refused", status: 502, reason: "upstream_refused" },
            Case { target: "/%", status: 400, reason: "malformed_path" },
        ] {
            let response = client.get("a.example", target);
            assert_eq!(response.status(), status, "{target}");
            assert_eq!(response.field("server"), Some("wasm-gateway"));
            let header = (setting == ReasonHeader::Shown).then_some(reason);
            assert_eq!(response.field("gateway-reason"), header, "{target}");
        }
    }
}

#[test]
fn expired_timeouts_send_408_or_close_the_connection() {
    let origin = Origin::named("a");
    let short = Duration::from_millis(200);
    let settings = settings(|all| {
        all.timeouts.request_header = short;
        all.timeouts.keep_alive = short;
        all.timeouts.stall = short;
    });
    let gateway = TestGateway::with(&single_route(&origin), settings);
    let started = std::time::Instant::now();
    struct Case {
        unfinished: &'static str,
        reason: &'static str,
    }
    for Case { unfinished, reason } in [
        Case { unfinished: "GET / HTTP/1.1\r\nHost: a.exam", reason: "head_timeout" },
        Case {
            unfinished: "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhel",
            reason: "body_timeout",
        },
    ] {
        let mut client = gateway.client();
        client.send(unfinished);
        let response = client.response();
        assert_eq!((response.status(), response.field("gateway-reason")), (408, Some(reason)));
        assert_eq!(response.field("connection"), Some("close"));
        assert_eq!(client.rest(), b"");
    }
    // An idle connection, new or after a request, is closed without a response.
    assert_eq!(gateway.client().rest(), b"");
    let mut client = gateway.client();
    assert_eq!(client.get("a.example", "/").status(), 200);
    assert_eq!(client.rest(), b"");
    assert!(started.elapsed() >= 4 * short && started.elapsed() < DEADLINE);
    assert_eq!(origin.count(), 1);
}

#[test]
fn tls_client_is_served_like_a_plain_one() {
    let origin = Origin::named("a");
    let gateway = TestGateway::start(&single_route(&origin));
    let certificate = Certificate::new("a.example");
    gateway.replace("secret.yaml", &secret("s", &certificate));
    gateway.replace(
        "all.yaml",
        &(ingress("a").host("a.example").path("/", "a").tls("a.example", "s")
            + service("a").endpoints(&[origin.address])),
    );
    let mut client = tls_client(gateway.gateway.https, "a.example", &[&certificate]);
    for _ in 0..3 {
        assert_eq!(client.get("a.example", "/").text(), "a");
    }
    // Two requests share one TLS record. The second must not stay in the TLS buffer.
    client.send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\nGET /2 HTTP/1.1\r\nHost: a.example\r\n\r\n");
    assert_eq!((client.response().text(), client.response().text()), ("a", "a"));
    let forwarded = origin.last();
    assert_eq!((forwarded.field("x-forwarded-proto"), forwarded.target()), (Some("https"), "/2"));
}

#[test]
fn trace_is_refused_and_max_forwards_ends_options_here() {
    let origin = Origin::named("a");
    struct Case {
        head: &'static str,
        expected: (u16, Option<&'static str>),
        /// `Max-Forwards` of the forwarded request.
        forwarded: Option<&'static str>,
    }
    let (here, refused) = ((204, Some("server_options")), (405, Some("trace_refused")));
    let passed = (200, None);
    let cases = [
        Case { head: "OPTIONS / HTTP/1.1\r\nMax-Forwards: 0\r\n", expected: here, forwarded: None },
        Case { head: "OPTIONS / HTTP/1.1\r\nMax-Forwards: 1\r\n", expected: passed, forwarded: Some("0") },
        Case { head: "OPTIONS / HTTP/1.1\r\nMax-Forwards: x\r\n", expected: passed, forwarded: Some("x") },
        Case { head: "OPTIONS / HTTP/1.1\r\n", expected: passed, forwarded: None },
        // For other methods the field has no meaning (RFC 9110 §7.6.2).
        Case { head: "GET / HTTP/1.1\r\nMax-Forwards: 0\r\n", expected: passed, forwarded: Some("0") },
        Case { head: "TRACE / HTTP/1.1\r\n", expected: refused, forwarded: None },
    ];
    let gateway = TestGateway::start(&single_route(&origin));
    for Case { head, expected, forwarded } in cases {
        let mut client = gateway.client();
        client.send(format!("{head}Host: a.example\r\n\r\n"));
        let response = client.response();
        assert_eq!((response.status(), response.field("gateway-reason")), expected, "{head:?}");
        if response.status() == 200 {
            assert_eq!(origin.last().field("max-forwards"), forwarded, "{head:?}");
        } else {
            assert!(!response.field("allow").unwrap().contains("TRACE"), "{head:?}");
        }
    }
    let forward = |all: &mut Settings| all.requests.trace = TraceRequests::Forwarded;
    let gateway = TestGateway::with(&single_route(&origin), settings(forward));
    for (value, expected) in [("1", (200, None)), ("0", (501, Some("last_forward")))] {
        let mut client = gateway.client();
        client.send(format!("TRACE / HTTP/1.1\r\nMax-Forwards: {value}\r\nHost: a.example\r\n\r\n"));
        let response = client.response();
        assert_eq!((response.status(), response.field("gateway-reason")), expected, "{value}");
    }
    assert_eq!(origin.last().field("max-forwards"), Some("0"));
}
