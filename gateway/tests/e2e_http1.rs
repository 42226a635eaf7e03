//! HTTP/1.1 clients on raw sockets: what passes, and what the endpoint gets to see of it.
//!
//! Not here: what is refused as malformed (`e2e_strict`), and what depends on when bytes come (`e2e_streaming`).

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod support;

use std::io::{Read, Write};
use std::time::Duration;

use gateway::settings::ReasonHeader;
use support::{DEADLINE, Follows, Message, Origin, Refusing, TestGateway, Then, settings};
use support::{ingress, ok, one, service, until};

// ===== what the endpoint gets =====

#[test]
fn target_is_forwarded_unchanged_unless_it_has_dot_segments() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let yaml = ingress("i", "a.example", &[("/", "a"), ("/admin", "b")])
        + &service("a", &[a.address])
        + &service("b", &[b.address]);
    let gateway = TestGateway::start(&yaml);
    let mut client = gateway.client();
    for (target, to, expected) in [
        ("/adminx", &a, "/adminx"),
        ("/admin?x=/../..", &b, "/admin?x=/../.."),
        ("/%61dmin/%7e", &b, "/%61dmin/%7e"),
        ("//admin", &b, "//admin"),
        ("/x/../admin", &b, "/admin"),
        ("/x/%2E%2e/admin?q=1", &b, "/admin?q=1"),
        ("/admin/../x", &a, "/x"),
        ("/x/./y?q", &a, "/x/y?q"),
        ("/x/.hidden/y..z", &a, "/x/.hidden/y..z"),
        ("/..", &a, "/"),
        ("/a%2Fb%5c", &a, "/a%2Fb%5c"),
        ("http://a.example", &a, "/"),
    ] {
        let before = to.count();
        assert_eq!(client.get("a.example", target).status(), 200, "{target}");
        assert_eq!(to.count(), before + 1, "{target}");
        assert_eq!(to.last().target(), expected, "{target}");
    }
}

#[test]
fn response_loses_hop_by_hop_fields_and_gains_missing_server() {
    let origin = Origin::start(|call| {
        let server = if call.request.target() == "/own" { "Server: mine\r\n" } else { "" };
        let head = "HTTP/1.1 201 Made Up\r\nConnection: x-named\r\nX-Named: 1\r\nKeep-Alive: timeout=9\r\n";
        call.answer(format!("{head}{server}X-Kept: 1\r\nContent-Length: 2\r\n\r\nhi")).map(|()| Then::Keep)
    });
    let gateway = TestGateway::start(&one(&origin));
    let mut client = gateway.client();
    for (target, server) in [("/own", "mine"), ("/", "wasm-gateway")] {
        let answer = client.get("a.example", target);
        assert_eq!((answer.line.as_str(), answer.text()), ("HTTP/1.1 201 Made Up", "hi"));
        let mut names: Vec<_> = answer.fields.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["content-length", "date", "server", "x-kept"]);
        assert_eq!(answer.field("server"), Some(server));
    }
}

// ===== bodies =====

#[test]
fn chunked_bodies_and_trailers_are_reframed_both_ways() {
    let origin = Origin::start(|call| {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        call.answer(format!(
            "{head}3;x=y\r\nabc\r\n0003\r\ndef\r\n0\r\nX-Sum: 6\r\nContent-Length: 9\r\n\r\n"
        ))
        .map(|()| Then::Keep)
    });
    let gateway = TestGateway::start(&one(&origin));
    let mut client = gateway.client();
    let head = "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: Chunked\r\n\r\n";
    client.send(format!("{head}2;e\r\nab\r\n1\r\nc\r\n0\r\nX-Tail: 1\r\nHost: evil\r\n\r\n"));
    let answer = client.response();
    let sum = [("x-sum".to_owned(), "6".to_owned())];
    assert_eq!((answer.text(), &answer.trailers[..]), ("abcdef", &sum[..]));
    let seen = origin.last();
    let tail = [("x-tail".to_owned(), "1".to_owned())];
    assert_eq!((seen.text(), &seen.trailers[..]), ("abc", &tail[..]));
    // HTTP/1.0 knows no chunks: the close ends the body.
    client.send("GET / HTTP/1.0\r\nHost: a.example\r\nConnection: keep-alive\r\n\r\n");
    let answer = client.response();
    assert_eq!(answer.field("transfer-encoding"), None);
    assert_eq!((answer.field("connection"), answer.text()), (Some("close"), "abcdef"));
}

#[test]
fn bodyless_and_close_delimited_responses_are_forwarded() {
    let origin = Origin::start(|call| match call.request.target() {
        "/close" => call.answer("HTTP/1.1 200 OK\r\n\r\nuntil the end").map(|()| Then::Close),
        "/204" => call.answer("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n").map(|()| Then::Keep),
        "/304" => call.answer("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n").map(|()| Then::Keep),
        "/early" => call.answer("HTTP/1.1 100 Continue\r\n\r\n".to_owned() + &ok("x")).map(|()| Then::Keep),
        _ => call.answer("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n").map(|()| Then::Keep),
    });
    let gateway = TestGateway::start(&one(&origin));
    let mut client = gateway.client();
    assert_eq!(client.get("a.example", "/close").text(), "until the end");
    assert_eq!(client.get("a.example", "/204").field("content-length"), None);
    let answer = client.get("a.example", "/304");
    assert_eq!((answer.status(), answer.field("content-length")), (304, Some("9")));
    let answer = client.get("a.example", "/early");
    assert_eq!((answer.status(), answer.field("link"), answer.text()), (200, None, "x"));
    for (host, target, status, length) in [
        ("a.example", "/", 200, Some("9")),
        ("a.example", "/204", 204, None),
        ("a.example", "/304", 304, Some("9")),
        ("b.example", "/", 404, Some("12")),
    ] {
        client.send(format!("HEAD {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let answer = client.message(Follows::Nothing).unwrap().unwrap();
        assert_eq!((answer.status(), answer.field("content-length")), (status, length), "{target}");
    }
    assert_eq!(client.get("a.example", "/early").text(), "x", "and the connection is in step");
}

#[test]
fn informational_responses_except_100_reach_http11_only() {
    let interim = "HTTP/1.1 100 Continue\r\nX-No: 1\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\
                   Connection: x-named\r\nX-Named: 1\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n";
    let (open, gate) = std::sync::mpsc::channel();
    let gate = std::sync::Mutex::new(gate);
    let origin = Origin::start(move |call| {
        call.answer(interim)?;
        gate.lock().unwrap().recv_timeout(DEADLINE).unwrap();
        call.wire.stream.write_all(ok("x").as_bytes()).map(|()| Then::Keep)
    });
    let gateway = TestGateway::start(&one(&origin));
    let mut client = gateway.client();
    for _ in 0..2 {
        client.send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
        let hints = client.response();
        assert_eq!(hints.line, "HTTP/1.1 103 Early Hints");
        assert_eq!(hints.fields, [("link".to_owned(), "</a>".to_owned())]);
        let processing = client.response();
        assert_eq!((processing.line.as_str(), processing.fields.len()), ("HTTP/1.1 102 Processing", 0));
        // They came while the answer was still to be given.
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
        call.answer("HTTP/1.1 102 Processing\r\n\r\n".repeat(count) + &ok("x")).map(|()| Then::Keep)
    });
    let gateway = TestGateway::start(&one(&origin));
    for (count, last) in [(16, 200), (17, 502)] {
        let mut client = gateway.client();
        client.send(format!("GET /{count} HTTP/1.1\r\nHost: a.example\r\n\r\n"));
        for _ in 0..16 {
            assert_eq!(client.response().status(), 102);
        }
        assert_eq!(client.response().status(), last);
    }
}

/// What a client does to be gone.
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
    let gateway = TestGateway::start(&one(&origin));
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
            until("the endpoint is left alone", || origin.open() == 0);
        }
    }
    let counted = "gateway_aborts_total{reason=\"client_closed\"} 6";
    until("all six are counted", || gateway.admin("/metrics").1.lines().any(|line| line == counted));
}

#[test]
fn half_closed_client_receives_all_responses() {
    let origin = Origin::named("a");
    let gateway = TestGateway::start(&one(&origin));
    let mut client = gateway.client();
    // The one in the middle is answered while more is waiting behind it; the gateway answers the last itself.
    client.send("GET /1 HTTP/1.1\r\nHost: a.example\r\n\r\nGET / HTTP/1.1\r\nHost: b.example\r\n\r\n");
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!((client.response().status(), client.response().status()), (200, 404));
    assert_eq!(client.rest(), b"");
}

/// 10 MiB that differ from place to place.
fn big() -> Vec<u8> {
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
    let gateway = TestGateway::start(&one(&origin));
    let mut client = gateway.client();
    let body = big();
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
    // Echoes each chunk as it comes; the client sends the next one only when it has the last one back.
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
    let gateway = TestGateway::start(&one(&origin));
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
    let gateway = TestGateway::start(&one(&origin));
    let mut client = gateway.client();
    let head = |host: &str| {
        format!("POST / HTTP/1.1\r\nHost: {host}\r\nExpect: 100-Continue\r\nContent-Length: 5\r\n\r\n")
    };
    client.send(head("a.example"));
    assert_eq!(client.message(Follows::Nothing).unwrap().unwrap().line, "HTTP/1.1 100 Continue");
    client.send("hello");
    assert_eq!((client.response().text(), origin.last().text()), ("a", "hello"));
    assert_eq!(origin.last().field("expect"), None);
    // A body that comes without waiting needs no 100.
    client.send(head("a.example") + "hello");
    assert_eq!(client.response().status(), 200);
    // Nobody will read the body: the final answer comes at once, and the connection cannot go on.
    client.send(head("b.example"));
    let answer = client.response();
    assert_eq!((answer.status(), answer.field("connection")), (404, Some("close")));
    assert_eq!(client.rest(), b"");
    assert_eq!(origin.count(), 2);
}

#[test]
fn unread_body_is_drained_if_small_else_connection_closes() {
    let gateway = TestGateway::start("");
    let mut client = gateway.client();
    client.send(format!("POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 60000\r\n\r\n{}", "x".repeat(60_000)));
    assert_eq!(client.response().status(), 404);
    assert_eq!(client.get("b", "/").status(), 404, "the connection lives on");
    client.send("POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 900000000\r\n\r\n");
    let _ = client.stream.write_all(&vec![b'x'; 100_000]);
    assert_eq!(client.response().status(), 404);
    until("the connection ends", || !matches!(client.message(Follows::Response), Ok(Some(_))));
}

// ===== the gateway's own answers =====

#[test]
fn reason_header_is_present_unless_hidden_by_settings() {
    let refusing = Refusing::new();
    let yaml = ingress(
        "i",
        "a.example",
        &[("/none", "missing"), ("/empty", "empty"), ("/refused", "refused"), ("/port", "port")],
    ) + &service("refused", &[refusing.address])
        + "---\n{apiVersion: v1, kind: Service, metadata: {name: empty}, spec: {ports: [{port: 80}]}}\n"
        + "---\n{apiVersion: v1, kind: Service, metadata: {name: port}, spec: {ports: [{port: 81}]}}\n";
    for shown in [ReasonHeader::Shown, ReasonHeader::Hidden] {
        let gateway = TestGateway::with(&yaml, settings(|all| all.responses.reason_header = shown));
        let mut client = gateway.client();
        for (target, status, reason) in [
            ("/", 404, "no_rule"),
            ("/none", 503, "service_missing"),
            ("/port", 503, "port_missing"),
            ("/empty", 503, "no_ready_endpoint"),
            ("/refused", 502, "upstream_refused"),
            ("/%", 400, "malformed_path"),
        ] {
            let answer = client.get("a.example", target);
            assert_eq!(answer.status(), status, "{target}");
            assert_eq!(answer.field("server"), Some("wasm-gateway"));
            let header = (shown == ReasonHeader::Shown).then_some(reason);
            assert_eq!(answer.field("gateway-reason"), header, "{target}");
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
    let gateway = TestGateway::with(&one(&origin), settings);
    let started = std::time::Instant::now();
    for (raw, reason) in [
        ("GET / HTTP/1.1\r\nHost: a.exam", "head_timeout"),
        ("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhel", "body_timeout"),
    ] {
        let mut client = gateway.client();
        client.send(raw);
        let answer = client.response();
        assert_eq!((answer.status(), answer.field("gateway-reason")), (408, Some(reason)));
        assert_eq!(answer.field("connection"), Some("close"));
        assert_eq!(client.rest(), b"");
    }
    // A connection that says nothing, at first or after a request, is closed without a word.
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
    let gateway = TestGateway::start(&one(&origin));
    let certificate = support::Certificate::new("a.example");
    gateway.replace("secret.yaml", &certificate.secret("s"));
    gateway.replace(
        "all.yaml",
        &(ingress("a", "a.example", &[("/", "a")])
            + &support::tls("a.example", "s")
            + &service("a", &[origin.address])),
    );
    let mut client = support::tls_client(gateway.gateway.https, "a.example", &[&certificate]);
    for _ in 0..3 {
        assert_eq!(client.get("a.example", "/").text(), "a");
    }
    // Two in one record: the second is not left waiting inside TLS.
    client.send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\nGET /2 HTTP/1.1\r\nHost: a.example\r\n\r\n");
    assert_eq!((client.response().text(), client.response().text()), ("a", "a"));
    let seen = origin.last();
    assert_eq!((seen.field("x-forwarded-proto"), seen.target()), (Some("https"), "/2"));
}
