//! The timing of forwarded bytes: events and long polls without delay, responses in order, backpressure both ways.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod support;

use std::io::Write;

use support::{
    DEADLINE, LARGE_BODY_BYTES, MAX_BUFFERED_BYTES, Origin, TestGateway, Then, ok, single_route,
    write_until_blocked,
};

/// Encodes an event as a part of the body.
type Frame = fn(&str) -> String;

/// Starts an origin that sends 20 numbered events. It waits for the returned sender after each.
fn events(head: &'static str, frame: Frame) -> (Origin, std::sync::mpsc::Sender<()>) {
    let (received, gate) = std::sync::mpsc::channel();
    let gate = std::sync::Mutex::new(gate);
    let origin = Origin::start(move |call| {
        call.respond(head)?;
        for number in 0..20 {
            call.wire.stream.write_all(frame(&format!("data: {number}\n\n")).as_bytes())?;
            gate.lock().unwrap().recv_timeout(DEADLINE).unwrap();
        }
        Ok(Then::Close)
    });
    (origin, received)
}

#[test]
fn server_sent_events_are_forwarded_one_by_one() {
    let chunked = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    let until_close = "HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
    struct Framing {
        head: &'static str,
        frame: Frame,
    }
    for Framing { head, frame } in [
        Framing { head: chunked, frame: |event| format!("{:x}\r\n{event}\r\n", event.len()) },
        Framing { head: until_close, frame: str::to_owned },
    ] {
        let (origin, received) = events(head, frame);
        let gateway = TestGateway::start(&single_route(&origin));
        let mut client = gateway.client();
        client.send("GET /events HTTP/1.1\r\nHost: a.example\r\n\r\n");
        assert_eq!(client.head().unwrap().unwrap().field("transfer-encoding"), Some("chunked"));
        for number in 0..20 {
            let event = format!("data: {number}\n\n");
            let chunk = format!("{:x}\r\n{event}\r\n", event.len());
            assert_eq!(client.take(chunk.len()).unwrap(), chunk.as_bytes());
            received.send(()).unwrap();
        }
    }
}

#[test]
fn long_poll_response_is_forwarded_when_the_endpoint_sends_it() {
    let (release, gate) = std::sync::mpsc::channel();
    let gate = std::sync::Mutex::new(gate);
    let origin = Origin::start(move |call| {
        call.read_body()?;
        gate.lock().unwrap().recv_timeout(DEADLINE).unwrap();
        call.wire.stream.write_all(ok("news").as_bytes()).map(|()| Then::Keep)
    });
    let gateway = TestGateway::start(&single_route(&origin));
    let mut client = gateway.client();
    for turn in 1..=3 {
        client.send("GET /poll HTTP/1.1\r\nHost: a.example\r\n\r\n");
        origin.wait_heads(turn);
        assert_eq!(gateway.get("b.example", "/").status(), 404, "other clients are served meanwhile");
        release.send(()).unwrap();
        assert_eq!(client.response().text(), "news");
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn pipelined_responses_arrive_in_request_order() {
    let origin = Origin::start(|call| {
        let target = call.request.target().to_owned();
        call.respond(ok(&target)).map(|()| Then::Keep)
    });
    let gateway = TestGateway::start(&single_route(&origin));
    let get = |number: usize| format!("GET /{number} HTTP/1.1\r\nHost: a.example\r\n\r\n");
    let raw: String = (0..10).map(get).collect();
    for cut in 1..raw.len() {
        let mut client = gateway.client();
        client.send(&raw[..cut]);
        client.send(&raw[cut..]);
        for number in 0..10 {
            assert_eq!(client.response().text(), format!("/{number}"), "cut at {cut}");
        }
    }
    // The requests exceed a buffer, and each third gets a local reply.
    let mut client = gateway.client();
    let many: String = (0..2000)
        .map(|number| if number % 3 == 0 { get(number).replace("a.ex", "b.ex") } else { get(number) })
        .collect();
    let mut writer = client.stream.try_clone().unwrap();
    let writing = std::thread::spawn(move || writer.write_all(many.as_bytes()));
    for number in 0..2000 {
        let response = client.response();
        let expected = if number % 3 == 0 { "404 no_rule\n".to_owned() } else { format!("/{number}") };
        assert_eq!(response.text(), expected);
    }
    writing.join().unwrap().unwrap();
}

#[test]
fn http10_responses_are_framed_by_length_or_close() {
    let origin = Origin::start(|call| match call.request.target() {
        "/chunked" => call
            .respond("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nT: 1\r\n\r\n")
            .map(|()| Then::Keep),
        "/close" => call.respond("HTTP/1.0 200 OK\r\n\r\na").map(|()| Then::Close),
        _ => call.respond(ok("a")).map(|()| Then::Keep),
    });
    let gateway = TestGateway::start(&single_route(&origin));
    struct Case {
        target: &'static str,
        fields: &'static str,
        connection: Option<&'static str>,
        length: Option<&'static str>,
    }
    for Case { target, fields, connection, length } in [
        Case { target: "/", fields: "", connection: Some("close"), length: Some("1") },
        Case {
            target: "/",
            fields: "Connection: Keep-Alive\r\n",
            connection: Some("keep-alive"),
            length: Some("1"),
        },
        Case {
            target: "/",
            fields: "Connection: keep-alive, close\r\n",
            connection: Some("close"),
            length: Some("1"),
        },
        Case {
            target: "/chunked",
            fields: "Connection: keep-alive\r\n",
            connection: Some("close"),
            length: None,
        },
        Case {
            target: "/close",
            fields: "Connection: keep-alive\r\n",
            connection: Some("close"),
            length: None,
        },
    ] {
        let mut client = gateway.client();
        client.send(format!("GET {target} HTTP/1.0\r\nHost: a.example\r\n{fields}\r\n"));
        let response = client.response();
        assert_eq!((response.line.as_str(), response.text()), ("HTTP/1.1 200 OK", "a"), "{target} {fields}");
        let field = |name| response.field(name);
        assert_eq!(
            (field("connection"), field("content-length"), field("transfer-encoding")),
            (connection, length, None),
            "{target} {fields}"
        );
        match connection {
            Some("close") => assert_eq!(client.rest(), b"", "{target} {fields}"),
            _ => assert_eq!(client.get("a.example", "/").text(), "a"),
        }
    }
}

/// RFC 9110 §10.1.1: Expect of an HTTP/1.0 client is ignored.
#[test]
fn http10_expect_is_ignored() {
    let origin = Origin::named("a");
    let gateway = TestGateway::start(&single_route(&origin));
    let mut client = gateway.client();
    client.send("POST / HTTP/1.0\r\nHost: a.example\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n");
    origin.wait_heads(1);
    client.send("x");
    assert_eq!(client.response().text(), "a");
}

#[test]
fn date_is_added_only_if_missing() {
    let origin = Origin::start(|call| {
        let date = if call.request.target() == "/own" { "Date: mine\r\n" } else { "" };
        call.respond(format!("HTTP/1.1 204 No Content\r\n{date}\r\n")).map(|()| Then::Keep)
    });
    let gateway = TestGateway::start(&single_route(&origin));
    let mut client = gateway.client();
    assert_eq!(client.get("a.example", "/own").field("date"), Some("mine"));
    for host in ["a.example", "b.example"] {
        let response = client.get(host, "/");
        let date = response.field("date").unwrap();
        assert!(date.len() == 29 && date.ends_with(" GMT"), "{date}");
    }
}

#[test]
fn slow_response_reader_throttles_the_endpoint() {
    let (report, reported) = std::sync::mpsc::channel();
    let report = std::sync::Mutex::new(report);
    let origin = Origin::start(move |call| {
        call.respond(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE_BODY_BYTES}\r\n\r\n"))?;
        let pushed = write_until_blocked(&mut call.wire.stream, LARGE_BODY_BYTES);
        report.lock().unwrap().send(pushed).unwrap();
        write_until_blocked(&mut call.wire.stream, LARGE_BODY_BYTES - pushed);
        Ok(Then::Keep)
    });
    let gateway = TestGateway::start(&single_route(&origin));
    let mut client = gateway.client();
    client.send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    let pushed = reported.recv_timeout(DEADLINE).unwrap();
    assert!(pushed < MAX_BUFFERED_BYTES, "{pushed} bytes were buffered without a reader");
    assert_eq!(client.response().body.len(), LARGE_BODY_BYTES, "the whole body arrives");
}

#[test]
fn slow_request_reader_throttles_the_client() {
    let (open, gate) = std::sync::mpsc::channel();
    let gate = std::sync::Mutex::new(gate);
    let origin = Origin::start(move |call| {
        gate.lock().unwrap().recv_timeout(DEADLINE).unwrap();
        call.respond(ok("a")).map(|()| Then::Keep)
    });
    let gateway = TestGateway::start(&single_route(&origin));
    let mut client = gateway.client();
    client.send(format!("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: {LARGE_BODY_BYTES}\r\n\r\n"));
    let pushed = write_until_blocked(&mut client.stream, LARGE_BODY_BYTES);
    assert!(pushed < MAX_BUFFERED_BYTES, "{pushed} bytes were buffered without a reader");
    open.send(()).unwrap();
    assert_eq!(write_until_blocked(&mut client.stream, LARGE_BODY_BYTES - pushed), LARGE_BODY_BYTES - pushed);
    assert_eq!((client.response().text(), origin.last().body.len()), ("a", LARGE_BODY_BYTES));
}
