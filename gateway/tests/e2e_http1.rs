//! HTTP/1.1 clients on raw sockets: what is refused, what passes, and what the endpoint gets to see of it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod support;

use std::io::{Read, Write};
use std::time::Duration;

use gateway::settings::{ReasonHeader, Settings};
use support::{Client, DEADLINE, Follows, Message, Origin, Refusing, TestGateway, Then};
use support::{ingress, ok, one, service, until};

// ===== one table: status, and whether the connection lives on =====

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Open,
    Closed,
}

/// Bytes of a client, the statuses it gets, and how many requests the endpoint sees whole.
struct Case {
    raw: Vec<u8>,
    statuses: &'static [u16],
    whole: usize,
    after: After,
}

fn case(raw: impl AsRef<[u8]>, statuses: &'static [u16], whole: usize, after: After) -> Case {
    Case { raw: raw.as_ref().to_owned(), statuses, whole, after }
}

fn served(raw: &str) -> Case {
    case(raw, &[200], 1, After::Open)
}

/// A head that is refused before anything is sent to an endpoint.
fn refused(raw: impl AsRef<[u8]>, statuses: &'static [u16]) -> Case {
    case(raw, statuses, 0, After::Closed)
}

/// A GET whose fields are these lines, `Host` not included.
fn bad_fields(lines: &str) -> Case {
    refused(format!("GET / HTTP/1.1\r\nHost: a.example\r\n{lines}\r\n\r\n"), &[400])
}

/// A chunked POST whose body is this; the endpoint never sees its end.
fn bad_chunks(body: &str) -> Case {
    refused(format!("POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n{body}"), &[400])
}

fn valid() -> Vec<Case> {
    let chunked = "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n";
    vec![
        served("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"),
        served("\r\nGET / HTTP/1.1\r\nHost: a.example\r\n\r\n"),
        served("GET /x?y=z HTTP/1.1\r\nHOST:  A.Example:8080 \t\r\nA: \r\n\r\n"),
        served("GET / HTTP/1.1\r\nHost: a.example.\r\n\r\n"),
        served("GET http://a.example/x HTTP/1.1\r\nHost: a.example\r\n\r\n"),
        served("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello"),
        served("PUT / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\n\r\n"),
        served(&format!("{chunked}5\r\nhello\r\n0\r\n\r\n")),
        served(&format!("{chunked}5;a=b;c=\"d;e\"\r\nhello\r\n00\r\nX-T: 1\r\n\r\n")),
        served("GET / HTTP/1.0\r\nHost: a.example\r\nConnection: keep-alive\r\n\r\n"),
        case("GET / HTTP/1.0\r\nHost: a.example\r\n\r\n", &[200], 1, After::Closed),
        case("GET / HTTP/1.1\r\nHost: a.example\r\nConnection: x, Close\r\n\r\n", &[200], 1, After::Closed),
        // Two at once, the first with a body that looks like a third.
        case(
            "POST /1 HTTP/1.1\r\nHost: a.example\r\nContent-Length: 18\r\n\r\nGET / HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\nHost: a.example\r\n\r\n",
            &[200, 200],
            2,
            After::Open,
        ),
        // Nobody serves it, its body is not taken for a request, and the connection lives on.
        case(
            "POST / HTTP/1.1\r\nHost: b.example\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
            &[404, 200],
            1,
            After::Open,
        ),
        case("GET /%00 HTTP/1.1\r\nHost: a.example\r\n\r\n", &[400], 0, After::Open),
        case("GET /%zz HTTP/1.1\r\nHost: a.example\r\n\r\n", &[400], 0, After::Open),
        case("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", &[404], 0, After::Open),
    ]
}

fn malformed_heads() -> Vec<Case> {
    let mut cases = Vec::new();
    for line in ["GET /", "GET  / HTTP/1.1", "GET / HTTP/1.1 ", " GET / HTTP/1.1", "GET / http/1.1", "GET /"]
    {
        cases.push(refused(format!("{line}\r\nHost: a.example\r\n\r\n"), &[400]));
    }
    for target in ["*", "a.example/", "/#f", "/a b", "/\u{e4}", "ftp://a.example/", "http://b.example/"] {
        cases.push(refused(format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n"), &[400]));
    }
    for host in ["", "u@a.example", "a.example/x", "a.example,b", "a.example:x", "a.example:99999", "a b"] {
        cases.push(refused(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"), &[400]));
    }
    for version in ["HTTP/1.2", "HTTP/2.0", "HTTP/0.9"] {
        cases.push(refused(format!("GET / {version}\r\nHost: a.example\r\n\r\n"), &[505]));
    }
    cases.push(refused("GET / HTTP/1.1\r\n\r\n", &[400]));
    cases.push(refused("CONNECT a.example:80 HTTP/1.1\r\nHost: a.example\r\n\r\n", &[405]));
    cases.push(refused("GET / HTTP/1.1\nHost: a.example\n\n", &[400]));
    cases.push(refused("GET / HTTP/1.1\r\nHost: a.example\n\r\n", &[400]));
    cases.push(refused(b"GET / HTTP/1.1\r\nHost: a.example\r\nA: \0\r\n\r\n", &[400]));
    cases.push(refused(format!("GET /{} HTTP/1.1\r\nHost: a.example\r\n\r\n", "x".repeat(17 << 10)), &[414]));
    let long = format!("A: {}\r\n", "x".repeat(33 << 10));
    cases.push(refused(format!("GET / HTTP/1.1\r\nHost: a.example\r\n{long}\r\n"), &[431]));
    let many = "A: b\r\n".repeat(100);
    cases.push(refused(format!("GET / HTTP/1.1\r\nHost: a.example\r\n{many}\r\n"), &[431]));
    for lines in [
        "Host: a.example",
        "Host: b.example",
        "A : b",
        " A: b",
        "A: b\r\n c",
        "A: b\rc",
        "A",
        ": b",
        "A(: b",
        "A: b\u{7f}",
    ] {
        cases.push(bad_fields(lines));
    }
    cases
}

fn malformed_framing() -> Vec<Case> {
    let mut cases = Vec::new();
    for length in ["", "x", "+5", "-5", "0x5", "5_0", "5 5", "5,5", "5, 6", "5;", "99999999999999999999"] {
        cases.push(bad_fields(&format!("Content-Length: {length}")));
    }
    for encoding in
        ["", "identity", "xchunked", "chunked, chunked", "chunked, gzip", "gzip, chunked", "chunked;a"]
    {
        cases.push(bad_fields(&format!("Transfer-Encoding: {encoding}")));
    }
    cases.push(bad_fields("Content-Length: 5\r\nContent-Length: 5"));
    cases.push(bad_fields("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"));
    cases.push(bad_fields("Content-Length: 5\r\nTransfer-Encoding: chunked"));
    cases.push(refused(
        "POST / HTTP/1.0\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        &[400],
    ));
    for body in [
        " 5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "5_\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "5;\r\nhello\r\n0\r\n\r\n",
        "5;a\n\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhelloo\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nX-T\r\n\r\n",
        "1000000000000005\r\nhello\r\n0\r\n\r\n",
        "\r\nhello",
    ] {
        cases.push(bad_chunks(body));
    }
    cases
}

/// Where a case is cut in two: everywhere, or around the line ends if it is long.
fn cuts(raw: &[u8]) -> Vec<usize> {
    if raw.len() <= 256 {
        return (1..raw.len()).collect();
    }
    let ends: Vec<_> = (1..raw.len()).filter(|at| raw[*at] == b'\n' || raw[at - 1] == b'\n').collect();
    ends.iter().take(4).chain(ends.iter().rev().take(4)).copied().chain([raw.len() / 2]).collect()
}

struct Table {
    gateway: TestGateway,
    origin: Origin,
    /// A second connection of the same worker: its answer shows that the worker has read all sent before.
    witness: Client,
}

impl Table {
    fn new() -> Self {
        let origin = Origin::named("a");
        let gateway = TestGateway::start(&one(&origin));
        let witness = gateway.client();
        Self { gateway, origin, witness }
    }

    fn check(&mut self, case: &Case) {
        self.attempt(case, case.raw.len());
        for cut in cuts(&case.raw) {
            self.attempt(case, cut);
        }
    }

    fn attempt(&mut self, case: &Case, cut: usize) {
        let shown = case.raw.escape_ascii().to_string();
        let shown = format!("{:.400} cut at {cut}", shown);
        let before = self.origin.count();
        let mut client = self.gateway.client();
        client.send(&case.raw[..cut]);
        if cut < case.raw.len() {
            assert_eq!(self.witness.get("nobody.example", "/").status(), 404);
            // Once the beginning is refused, the rest may meet a closed door.
            let _ = client.stream.write_all(&case.raw[cut..]);
        }
        for status in case.statuses {
            let answer = client.message(Follows::Response);
            let answer = answer.unwrap_or_else(|error| panic!("{error}: {shown}"));
            assert_eq!(answer.map(|answer| answer.status()), Some(*status), "{shown}");
        }
        assert_eq!(self.origin.count() - before, case.whole, "seen by the endpoint: {shown}");
        match case.after {
            After::Closed => assert_eq!(client.rest(), b"", "{shown}"),
            After::Open => {
                assert_eq!(client.get("a.example", "/next").status(), 200, "{shown}");
                assert_eq!(self.origin.last().target(), "/next", "{shown}");
            }
        }
    }
}

#[test]
fn valid_requests_pass_however_they_are_cut() {
    let mut table = Table::new();
    valid().iter().for_each(|case| table.check(case));
}

#[test]
fn malformed_heads_are_refused_however_they_are_cut() {
    let mut table = Table::new();
    malformed_heads().iter().for_each(|case| table.check(case));
    assert_eq!(table.origin.connections(), 0, "no endpoint hears of any");
}

#[test]
fn malformed_framing_is_refused_however_it_is_cut() {
    let mut table = Table::new();
    malformed_framing().iter().for_each(|case| table.check(case));
    assert_eq!(table.origin.count(), 0, "no endpoint sees the end of any");
}

// ===== what the endpoint gets =====

#[test]
fn the_endpoint_gets_the_original_target_unless_it_held_dot_segments() {
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
fn what_only_the_gateway_may_say_is_said_by_the_gateway() {
    let origin = Origin::named("a");
    let gateway = TestGateway::start(&one(&origin));
    let mut client = gateway.client();
    client.send(
        "POST /x HTTP/1.1\r\nhost: A.example:81\r\nX-Forwarded-For: 6.6.6.6\r\nx-forwarded-for: 7.7.7.7\r\n\
         X-FORWARDED-PROTO: https\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Port: 1\r\nX-Forwarded-Prefix: /evil\r\n\
         X-Real-IP: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nContent-Length: 1\r\nX-Kept: 1\r\nX-Named: 2\r\n\
         Connection: keep-alive, x-named, X-Forwarded-For, Host\r\nKeep-Alive: timeout=1\r\nTE: trailers\r\n\
         Upgrade: websocket\r\nProxy-Connection: x\r\nTrailer: x\r\nAccept: */*\r\nX-Kept: 3\r\n\r\n!",
    );
    assert_eq!(client.response().status(), 200);
    let port = gateway.gateway.http.port().to_string();
    let expected = [
        ("host", "A.example:81"),
        ("x-kept", "1"),
        ("trailer", "x"),
        ("accept", "*/*"),
        ("x-kept", "3"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "A.example:81"),
        ("x-forwarded-port", &port),
        ("x-real-ip", "127.0.0.1"),
        ("content-length", "1"),
    ];
    let seen = origin.last();
    let fields: Vec<_> = seen.fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(fields, expected);
    assert_eq!(seen.line, "POST /x HTTP/1.1");
}

#[test]
fn hop_by_hop_fields_of_an_answer_stay_behind_and_server_is_added_only_if_missing() {
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
        assert_eq!(names, ["content-length", "server", "x-kept"]);
        assert_eq!(answer.field("server"), Some(server));
    }
}

// ===== bodies =====

#[test]
fn bodies_are_framed_anew_and_trailers_travel_both_ways() {
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
fn answers_without_a_body_and_bodies_that_end_with_the_connection() {
    let origin = Origin::start(|call| match call.request.target() {
        "/close" => call.answer("HTTP/1.1 200 OK\r\n\r\nuntil the end").map(|()| Then::Close),
        "/204" => call.answer("HTTP/1.1 204 No Content\r\n\r\n").map(|()| Then::Keep),
        "/304" => call.answer("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n").map(|()| Then::Keep),
        "/early" => call
            .answer(
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n".to_owned()
                    + &ok("x"),
            )
            .map(|()| Then::Keep),
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
    for (host, status, length) in [("a.example", 200, "9"), ("b.example", 404, "12")] {
        client.send(format!("HEAD / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let answer = client.message(Follows::Nothing).unwrap().unwrap();
        assert_eq!((answer.status(), answer.field("content-length")), (status, Some(length)));
    }
    assert_eq!(client.get("a.example", "/early").text(), "x", "and the connection is in step");
}

/// 10 MiB that differ from place to place.
fn big() -> Vec<u8> {
    (0u32..10 << 18).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

#[test]
fn ten_mebibytes_arrive_unchanged_both_ways_at_once() {
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
fn bodies_stream_in_both_directions_at_the_same_time() {
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
fn expect_100_continue_is_answered_by_the_gateway_and_never_forwarded() {
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
fn a_small_body_that_nobody_wants_is_read_and_a_large_one_ends_the_connection() {
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
fn the_reason_stands_in_a_header_and_the_header_can_be_switched_off() {
    let refusing = Refusing::new();
    let yaml = ingress(
        "i",
        "a.example",
        &[("/none", "missing"), ("/empty", "empty"), ("/refused", "refused"), ("/port", "port")],
    ) + &service("refused", &[refusing.address])
        + "---\n{apiVersion: v1, kind: Service, metadata: {name: empty}, spec: {ports: [{port: 80}]}}\n"
        + "---\n{apiVersion: v1, kind: Service, metadata: {name: port}, spec: {ports: [{port: 81}]}}\n";
    for shown in [ReasonHeader::Shown, ReasonHeader::Hidden] {
        let gateway = TestGateway::with(&yaml, Settings { reason_header: shown, ..Settings::default() });
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
fn deadlines_of_heads_and_bodies_answer_408_and_close() {
    let origin = Origin::named("a");
    let short = Duration::from_millis(200);
    let settings = Settings { header: short, keep_alive: short, first_byte: short, ..Settings::default() };
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
fn a_client_over_tls_is_served_like_any_other() {
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
