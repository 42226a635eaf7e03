//! Endpoints that refuse, reset, stall or send malformed responses, and the reuse of connections to them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod support;

use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpStream;
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use gateway::data::wire::clock::TICK;

use support::{
    ANY_PORT, Client, DEADLINE, Follows, Message, Origin, Refusing, TestGateway, Then, ok, settings,
    single_route, single_route_to, until,
};

#[test]
fn refusing_endpoint_costs_no_request() {
    let (a, b, refusing) = (Origin::named("a"), Origin::named("b"), Refusing::new());
    let gateway = TestGateway::start(&single_route_to(&[a.address, refusing.address, b.address]));
    let mut client = gateway.client();
    for _ in 0..30 {
        // No byte reached the refusing endpoint, so any method may be retried at the next one.
        client.send("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello");
        assert_eq!(client.response().status(), 200);
    }
    assert_eq!(a.count() + b.count(), 30);
    assert!(a.count() >= 10 && b.count() >= 10, "{} and {}", a.count(), b.count());
}

#[test]
fn requests_rotate_and_connections_are_reused() {
    let origins: Vec<_> = ["a", "b", "c"].into_iter().map(Origin::named).collect();
    let addresses: Vec<_> = origins.iter().map(|origin| origin.address).collect();
    let gateway = TestGateway::start(&single_route_to(&addresses));
    let mut counts = BTreeMap::new();
    for _ in 0..30 {
        // Each client uses a new connection. Connections to endpoints are reused.
        let response = gateway.get("a.example", "/");
        *counts.entry(response.text().to_owned()).or_insert(0) += 1;
    }
    let expected = ["a", "b", "c"].map(|name| (name.to_owned(), 10));
    assert_eq!(counts, BTreeMap::from(expected));
    for origin in &origins {
        assert_eq!(origin.connections(), 1);
    }
}

#[test]
fn lost_get_on_a_reused_connection_is_retried_but_not_post() {
    // The endpoint reads the second request on each connection and closes without a response.
    let origin = Origin::start(|call| {
        if call.turn == 2 {
            call.read_body()?;
            return Ok(Then::Close);
        }
        call.respond(ok("a")).map(|()| Then::Keep)
    });
    let gateway = TestGateway::start(&single_route(&origin));
    let mut client = gateway.client();
    assert_eq!(client.get("a.example", "/1").status(), 200);
    assert_eq!(client.get("a.example", "/2").status(), 200);
    assert_eq!((origin.connections(), origin.count()), (2, 3), "lost once, retried on a new connection");
    client.send("POST /3 HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello");
    let response = client.response();
    assert_eq!((response.status(), response.field("gateway-reason")), (502, Some("upstream_closed")));
    assert_eq!((origin.connections(), origin.count()), (2, 4), "the endpoint receives the POST once");
    assert_eq!(client.get("a.example", "/4").status(), 200);
}

#[test]
fn connection_closed_while_idle_is_not_reused() {
    let origin = Origin::start(|call| call.respond(ok("a")).map(|()| Then::Close));
    let gateway = TestGateway::start(&single_route(&origin));
    let mut client = gateway.client();
    for turn in 1..=20 {
        // The gateway may see the close before or after it reuses the connection. A GET is served in both cases.
        assert_eq!(client.get("a.example", "/").status(), 200);
        assert_eq!(origin.count(), turn);
    }
}

#[test]
fn closing_or_out_of_step_connection_is_not_reused() {
    for raw in [
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: Close\r\n\r\na",
        "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n!",
    ] {
        let origin = Origin::start(move |call| call.respond(raw).map(|()| Then::Keep));
        let gateway = TestGateway::start(&single_route(&origin));
        let mut client = gateway.client();
        for _ in 0..3 {
            assert_eq!(client.get("a.example", "/").text(), "a", "{raw}");
        }
        assert_eq!(origin.connections(), 3, "{raw}");
    }
}

/// A scripted response of an endpoint.
struct Script {
    raw: &'static str,
    then: Then,
}

/// Scripted responses sent in two pieces. The second piece is sent after the gateway read the first.
struct CutResponses {
    origin: Origin,
    client: Client,
    /// A second connection to the same worker. Its response proves that the worker read all bytes sent before.
    witness: Client,
    first: mpsc::Receiver<()>,
    second: mpsc::Sender<()>,
    _gateway: TestGateway,
}

impl CutResponses {
    fn new(scripts: Vec<Script>) -> Self {
        let (sent, first) = mpsc::channel();
        let (second, gate) = mpsc::channel();
        let gate = Mutex::new(gate);
        let origin = Origin::start(move |call| {
            call.read_body()?;
            let target: Vec<usize> = call.request.target()[1..].split('/').flat_map(str::parse).collect();
            let &[number, cut] = &target[..] else {
                call.wire.stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")?;
                return Ok(Then::Close);
            };
            let Script { raw, then } = scripts[number];
            call.wire.stream.write_all(&raw.as_bytes()[..cut])?;
            sent.send(()).unwrap();
            gate.lock().unwrap().recv_timeout(DEADLINE).unwrap();
            // The gateway may reject the first piece and close, so this write may fail.
            let _ = call.wire.stream.write_all(&raw.as_bytes()[cut..]);
            Ok(then)
        });
        // Each request is sent once, since a script waits for the test.
        let once = settings(|all| all.retries.attempts = "0".parse().unwrap());
        let gateway = TestGateway::with(&single_route(&origin), once);
        Self { origin, client: gateway.client(), witness: gateway.client(), first, second, _gateway: gateway }
    }

    /// Requests a script cut at an offset. Returns the informational responses and the final one.
    fn request(&mut self, number: usize, cut: usize) -> Vec<Message> {
        self.client.send(format!("GET /{number}/{cut} HTTP/1.1\r\nHost: a.example\r\n\r\n"));
        self.first.recv_timeout(DEADLINE).unwrap();
        assert_eq!(self.witness.get("unknown.example", "/").status(), 404);
        self.second.send(()).unwrap();
        let mut responses = Vec::new();
        while responses.last().is_none_or(|response: &Message| response.status() < 200) {
            let mut response = self.client.response();
            response.fields.retain(|(name, _)| name != "date" && name != "x-request-id");
            responses.push(response);
        }
        responses
    }
}

#[test]
fn valid_responses_pass_at_every_cut() {
    struct Case {
        raw: &'static str,
        then: Then,
        body: &'static str,
    }
    let cases = [
        Case {
            raw: "HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 5\r\n\r\nhello",
            then: Then::Keep,
            body: "hello",
        },
        Case {
            raw: "HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n02;a=\"b\"\r\nlo\r\n0\r\nX-Sum: 5\r\n\r\n",
            then: Then::Keep,
            body: "hello",
        },
        Case {
            raw: "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
            then: Then::Keep,
            body: "hi",
        },
        Case { raw: "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", then: Then::Keep, body: "" },
        // The close of the connection ends this body.
        Case { raw: "HTTP/1.0 200 OK\r\nA: b\r\n\r\nhello", then: Then::Close, body: "hello" },
    ];
    let scripts = cases.iter().map(|&Case { raw, then, .. }| Script { raw, then });
    let mut endpoint = CutResponses::new(scripts.collect());
    for (number, &Case { raw, then, body }) in cases.iter().enumerate() {
        let connections = endpoint.origin.connections();
        let whole = endpoint.request(number, raw.len());
        assert_eq!(whole.last().unwrap().text(), body, "{raw:?}");
        assert_eq!(whole.len(), 1 + raw.matches(" 103 ").count(), "{raw:?}");
        assert_eq!(whole.last().unwrap().trailers.len(), raw.matches("X-Sum").count(), "{raw:?}");
        for cut in 0..raw.len() {
            let responses = endpoint.request(number, cut);
            assert_eq!(format!("{responses:?}"), format!("{whole:?}"), "{raw:?} cut at {cut}");
        }
        if then == Then::Keep {
            assert!(endpoint.origin.connections() <= connections.max(1), "the connection is reused: {raw:?}");
        }
    }
}

#[test]
fn invalid_responses_are_502_at_every_cut() {
    struct Case {
        raw: &'static str,
        reason: &'static str,
    }
    let malformed = [
        "HTTP/1.1 200 OK\n\n",
        "HTTP/1.1 200 OK\r\nA: b\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\r\n\n",
        "HTTP/1.1 200 O\rK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\rC: d\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\r\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
        "HTTP/1.1 200 OK\r\n A: b\r\n\r\n",
        "HTTP/1.1 200 \0OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA\0: b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: \0b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length : 1\r\n\r\na",
        "HTTP/1.1 200 OK\r\nA\r\n\r\n",
        "HTTP/1.1 999 No\r\n\r\n",
        "HTTP/1.1 20 No\r\n\r\n",
        "HTTP/1.1 2000 No\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n12",
        "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n1",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nA : b\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nContent-Length: 1\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 100 Continue\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nA : b\r\n\r\n",
    ]
    .map(|raw| Case { raw, reason: "upstream_malformed" });
    let unsolicited = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n";
    let others = [
        Case { raw: unsolicited, reason: "upstream_unsolicited_upgrade" },
        Case { raw: "garbage\r\n\r\n", reason: "upstream_not_http" },
        Case { raw: "HTTP/1.1 200 OK\r\nContent-Le", reason: "upstream_closed" },
        Case { raw: "", reason: "upstream_closed" },
    ];
    let cases: Vec<_> = malformed.into_iter().chain(others).collect();
    let scripts = cases.iter().map(|case| Script { raw: case.raw, then: Then::Close });
    let mut endpoint = CutResponses::new(scripts.collect());
    for (number, &Case { raw, reason }) in cases.iter().enumerate() {
        for cut in 0..=raw.len() {
            let count = endpoint.origin.count();
            let response = endpoint.request(number, cut).pop().unwrap();
            let local_reply = (response.status(), response.field("gateway-reason"));
            assert_eq!(local_reply, (502, Some(reason)), "{raw:?} cut at {cut}");
            assert_eq!(endpoint.origin.count() - count, 1, "{raw:?} cut at {cut}");
            // The client's connection stays open. A valid response between two cases prevents ejection.
            assert_eq!(endpoint.client.get("a.example", "/good").status(), 204);
        }
    }
}

#[test]
fn reset_before_the_response_is_502_and_later_propagates() {
    let origin = Origin::start(|call| {
        let beginning = match call.request.target() {
            "/length" => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel",
            "/chunked" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
            "/bad" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n!\r\n",
            _ => "",
        };
        call.respond(beginning)?;
        Ok(if call.request.target() == "/" { Then::Reset } else { Then::Close })
    });
    let gateway = TestGateway::start(&single_route(&origin));
    assert_eq!(gateway.get("a.example", "/").field("gateway-reason"), Some("upstream_closed"));
    for target in ["/length", "/chunked", "/bad"] {
        let mut client = gateway.client();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n"));
        assert_eq!(client.head().unwrap().unwrap().status(), 200, "{target}");
        // The truncated body must not look complete: no last chunk, and less than its Content-Length.
        let rest = client.rest();
        assert!(rest.starts_with(b"hel") || rest.starts_with(b"3\r\nhel\r\n"), "{}", rest.escape_ascii());
        assert!(rest.len() < 10 && !rest.ends_with(b"0\r\n\r\n"), "{}", rest.escape_ascii());
    }
    // A graceful close would end the body for HTTP/1.0, so the gateway resets the connection.
    let mut client = gateway.client();
    client.send("GET /chunked HTTP/1.0\r\nHost: a.example\r\n\r\n");
    assert_eq!(client.message(Follows::Response).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn slow_endpoint_is_504_and_stalled_body_is_cut_off() {
    let origin = Origin::start(|call| {
        match call.request.target() {
            "/stall" => call.respond("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel")?,
            // The endpoint does not read the body.
            "/unread" => {}
            _ => call.read_body()?,
        }
        call.wire.stream.set_read_timeout(None)?;
        if call.request.target() == "/unread" {
            // Nothing is read until the gateway closes. Only then does the peek return an end or an error.
            let mut byte = [0];
            while call.wire.stream.peek(&mut byte)? > 0 && call.wire.stream.take_error()?.is_none() {
                call.wire.stream.write_all(b"")?;
                std::thread::yield_now();
            }
            return Ok(Then::Close);
        }
        Ok(Then::Hang)
    });
    let short = Duration::from_millis(200);
    let settings = settings(|all| {
        all.timeouts.first_byte = short;
        all.timeouts.stall = short;
    });
    let gateway = TestGateway::with(&single_route(&origin), settings);
    let response = gateway.get("a.example", "/");
    assert_eq!((response.status(), response.field("gateway-reason")), (504, Some("first_byte_timeout")));
    let mut client = gateway.client();
    client.send("GET /stall HTTP/1.1\r\nHost: a.example\r\n\r\n");
    let head = client.head().unwrap().unwrap();
    assert_eq!((head.status(), client.rest()), (200, b"hel".to_vec()));
    // An unread request body is a fault of the endpoint, not of the client.
    let mut client = gateway.client();
    client.send("POST /unread HTTP/1.1\r\nHost: a.example\r\nContent-Length: 67108864\r\n\r\n");
    let mut writer = client.stream.try_clone().unwrap();
    let pushing = std::thread::spawn(move || while writer.write_all(&[b'x'; 65536]).is_ok() {});
    let response = client.response();
    assert_eq!((response.status(), response.field("gateway-reason")), (504, Some("first_byte_timeout")));
    // The gateway would read the remaining bytes until its lingering close ends.
    client.stream.shutdown(std::net::Shutdown::Both).unwrap();
    pushing.join().unwrap();
}

#[test]
fn endpoint_hanging_inside_a_response_times_out() {
    let origin = Origin::start(|call| {
        match call.request.target() {
            "/head" => call.respond("HTTP/1.1 200 OK\r\nContent-Le")?,
            "/informational" => call.respond("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")?,
            "/informational/head" => call.respond("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 2")?,
            "/size" => call.respond("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n5")?,
            "/last" => call.respond("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n")?,
            "/trailers" => {
                call.respond(
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n0\r\nA: b\r\n",
                )?;
            }
            _ => {
                call.respond(ok("complete"))?;
                return Ok(Then::Keep);
            }
        }
        Ok(Then::Hang)
    });
    let short = Duration::from_millis(200);
    let settings = settings(|all| {
        all.timeouts.first_byte = short;
        all.timeouts.stall = short;
    });
    let gateway = TestGateway::with(&single_route(&origin), settings);
    struct Case {
        target: &'static str,
        informational: usize,
    }
    for Case { target, informational } in [
        Case { target: "/head", informational: 0 },
        Case { target: "/informational", informational: 1 },
        Case { target: "/informational/head", informational: 1 },
    ] {
        let mut client = gateway.client();
        // The request goes on a reused connection, where the wait for the first byte includes the dead-peer probe.
        assert_eq!(client.get("a.example", "/").text(), "complete");
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n"));
        for _ in 0..informational {
            assert_eq!(client.response().status(), 103, "{target}");
        }
        let response = client.response();
        let expected = (504, Some("first_byte_timeout"));
        assert_eq!((response.status(), response.field("gateway-reason")), expected, "{target}");
        assert_eq!(client.get("a.example", "/").text(), "complete", "the client's connection stays open");
    }
    for target in ["/size", "/last", "/trailers"] {
        let mut client = gateway.client();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n"));
        assert_eq!(client.head().unwrap().unwrap().status(), 200, "{target}");
        assert_eq!(client.rest(), b"3\r\nhel\r\n", "{target}: the body must not look complete");
    }
    until("the unfinished connections are closed", || origin.open() <= 1);
}

#[test]
fn expiring_connection_carries_only_replayable_requests() {
    // Timeout=1 leaves nothing after the safety margin: from the start, the endpoint may be about to close.
    let response = "HTTP/1.1 200 OK\r\nKeep-Alive: max=100, Timeout=1\r\nContent-Length: 1\r\n\r\na";
    let origin = Origin::start(move |call| call.respond(response).map(|()| Then::Keep));
    let gateway = TestGateway::start(&single_route(&origin));
    let mut client = gateway.client();
    let large = 64 * 1024 + 1;
    let body = "x".repeat(large);
    for request in [
        "POST /once HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\n\r\n".to_owned(),
        format!("PUT /large HTTP/1.1\r\nHost: a.example\r\nContent-Length: {large}\r\n\r\n{body}"),
        "PUT /chunked HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
            .to_owned(),
    ] {
        assert_eq!(client.get("a.example", "/").status(), 200);
        let (idle, before) = (Instant::now(), origin.connections());
        until("two ticks of the worker's clock have passed", || idle.elapsed() > 2 * TICK);
        client.send(&request);
        assert_eq!(client.response().status(), 200);
        assert_eq!(origin.connections(), before + 1, "{:?}", request.lines().next());
    }
    // A busy machine may take longer than the second, so this repeats.
    until("a small PUT reuses a connection", || {
        assert_eq!(client.get("a.example", "/").status(), 200);
        let (idle, before) = (Instant::now(), origin.connections());
        until("two ticks of the worker's clock have passed", || idle.elapsed() > 2 * TICK);
        client.send("PUT /small HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1\r\n\r\nx");
        assert_eq!(client.response().status(), 200);
        origin.connections() == before
    });
}

#[test]
fn client_leaving_during_its_body_is_detected() {
    struct Case {
        framing: &'static str,
        sent: &'static str,
        later: &'static str,
    }
    for Case { framing, sent, later } in [
        Case { framing: "Content-Length: 10", sent: "hello", later: "" },
        Case { framing: "Transfer-Encoding: chunked", sent: "5\r\nhello\r\n", later: "" },
        // The malformed chunk ends the reading of the body.
        Case { framing: "Transfer-Encoding: chunked", sent: "5\r\nhello\r\n", later: "no chunk\r\n" },
    ] {
        let origin = Origin::start(|call| {
            call.wire.stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel")?;
            Ok(Then::Hang)
        });
        let settings = settings(|all| all.timeouts.stall = Duration::ZERO);
        let gateway = TestGateway::with(&single_route(&origin), settings);
        let mut client = gateway.client();
        client.send(format!("POST / HTTP/1.1\r\nHost: a.example\r\n{framing}\r\n\r\n{sent}"));
        assert_eq!(client.head().unwrap().unwrap().status(), 200);
        assert_eq!(client.take(3).unwrap(), b"hel");
        client.send(later);
        assert_eq!(origin.open(), 1, "the upstream request continues while the client waits");
        drop(client);
        until("the connection to the endpoint is closed", || origin.open() == 0);
    }
}

#[test]
fn connect_timeout_is_504_unless_another_endpoint_connects() {
    // One connection fills a queue of length 0; the kernel then ignores further ones.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&ANY_PORT.into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let filling: Vec<_> =
        (0..3).map(|_| TcpStream::connect_timeout(&address, Duration::from_millis(100))).collect();
    assert!(filling.iter().any(Result::is_err), "the queue is full");
    let short = Duration::from_millis(200);
    let settings = settings(|all| {
        all.timeouts.connect = short;
        all.timeouts.connect_total = 2 * short;
    });
    let gateway = TestGateway::with(&single_route_to(&[address]), settings.clone());
    let response = gateway.get("a.example", "/");
    assert_eq!((response.status(), response.field("gateway-reason")), (504, Some("connect_timeout")));
    // With a second endpoint, the timeout delays the request and does not fail it.
    let origin = Origin::named("b");
    let gateway = TestGateway::with(&single_route_to(&[address, origin.address]), settings);
    for _ in 0..4 {
        assert_eq!(gateway.get("a.example", "/").text(), "b");
    }
}

#[test]
fn early_response_to_an_unfinished_request_is_forwarded() {
    let origin = Origin::start(|call| {
        call.wire.stream.write_all(b"HTTP/1.1 413 Too Much\r\nContent-Length: 2\r\n\r\nno")?;
        Ok(Then::Hang)
    });
    let gateway = TestGateway::start(&single_route(&origin));
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1000000000\r\n\r\nbeginning");
    let response = client.message(Follows::Response).unwrap().unwrap();
    assert_eq!((response.status(), response.text()), (413, "no"));
    assert_eq!(gateway.get("a.example", "/").status(), 413);
    assert_eq!(origin.connections(), 2, "a connection with an unfinished request is not reused");
}
