//! Endpoints that refuse, break, stall or lie, and how connections to them are used again.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod support;

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use gateway::data::wire::clock::TICK;

use support::{
    ANY_PORT, Client, DEADLINE, Follows, Message, Origin, Refusing, TestGateway, Then, ingress, ok, one,
    service, settings, until,
};

/// Host `a.example` at these endpoints.
fn at(endpoints: &[SocketAddr]) -> String {
    ingress("a", "a.example", &[("/", "a")]) + &service("a", endpoints)
}

#[test]
fn refusing_endpoint_costs_no_request() {
    let (a, b, refusing) = (Origin::named("a"), Origin::named("b"), Refusing::new());
    let gateway = TestGateway::start(&at(&[a.address, refusing.address, b.address]));
    let mut client = gateway.client();
    for _ in 0..30 {
        // Nothing was sent to the one that refused, so any method may try the next one.
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
    let gateway = TestGateway::start(&at(&addresses));
    let mut answers = BTreeMap::new();
    for _ in 0..30 {
        // Clients come and go; connections to endpoints stay.
        let answer = gateway.get("a.example", "/");
        *answers.entry(answer.text().to_owned()).or_insert(0) += 1;
    }
    let expected = ["a", "b", "c"].map(|name| (name.to_owned(), 10));
    assert_eq!(answers, BTreeMap::from(expected));
    for origin in &origins {
        assert_eq!(origin.connections(), 1);
    }
}

#[test]
fn lost_get_on_a_reused_connection_is_retried_but_not_post() {
    // The second request on each connection is read and left without an answer.
    let origin = Origin::start(|call| {
        if call.turn == 2 {
            call.read_body()?;
            return Ok(Then::Close);
        }
        call.answer(ok("a")).map(|()| Then::Keep)
    });
    let gateway = TestGateway::start(&one(&origin));
    let mut client = gateway.client();
    assert_eq!(client.get("a.example", "/1").status(), 200);
    assert_eq!(client.get("a.example", "/2").status(), 200);
    assert_eq!((origin.connections(), origin.count()), (2, 3), "lost once, sent again on a new one");
    client.send("POST /3 HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello");
    let answer = client.response();
    assert_eq!((answer.status(), answer.field("gateway-reason")), (502, Some("upstream_closed")));
    assert_eq!((origin.connections(), origin.count()), (2, 4), "the endpoint saw it once");
    assert_eq!(client.get("a.example", "/4").status(), 200);
}

#[test]
fn connection_closed_while_idle_is_not_reused() {
    let origin = Origin::start(|call| call.answer(ok("a")).map(|()| Then::Close));
    let gateway = TestGateway::start(&one(&origin));
    let mut client = gateway.client();
    for turn in 1..=20 {
        // Whether the close is seen in time is a matter of luck; a GET is served either way.
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
        let origin = Origin::start(move |call| call.answer(raw).map(|()| Then::Keep));
        let gateway = TestGateway::start(&one(&origin));
        let mut client = gateway.client();
        for _ in 0..3 {
            assert_eq!(client.get("a.example", "/").text(), "a", "{raw}");
        }
        assert_eq!(origin.connections(), 3, "{raw}");
    }
}

/// Answers that come in two pieces, the second one when the gateway has read the first.
struct Pieces {
    origin: Origin,
    client: Client,
    /// A second connection of the same worker: its answer shows that the worker has read all sent before.
    witness: Client,
    first: mpsc::Receiver<()>,
    second: mpsc::Sender<()>,
    _gateway: TestGateway,
}

impl Pieces {
    fn of(answers: Vec<(&'static str, Then)>) -> Self {
        let (came, first) = mpsc::channel();
        let (second, goes) = mpsc::channel();
        let goes = Mutex::new(goes);
        let origin = Origin::start(move |call| {
            call.read_body()?;
            let target: Vec<usize> = call.request.target()[1..].split('/').flat_map(str::parse).collect();
            let &[number, cut] = &target[..] else {
                call.wire.stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")?;
                return Ok(Then::Close);
            };
            let (raw, then) = answers[number];
            call.wire.stream.write_all(&raw.as_bytes()[..cut])?;
            came.send(()).unwrap();
            goes.lock().unwrap().recv_timeout(DEADLINE).unwrap();
            // Once the beginning is refused, the rest may meet a closed door.
            let _ = call.wire.stream.write_all(&raw.as_bytes()[cut..]);
            Ok(then)
        });
        let gateway = TestGateway::start(&one(&origin));
        Self { origin, client: gateway.client(), witness: gateway.client(), first, second, _gateway: gateway }
    }

    /// Asks for an answer that is cut there: interim ones, and the last one.
    fn ask(&mut self, number: usize, cut: usize) -> Vec<Message> {
        self.client.send(format!("GET /{number}/{cut} HTTP/1.1\r\nHost: a.example\r\n\r\n"));
        self.first.recv_timeout(DEADLINE).unwrap();
        assert_eq!(self.witness.get("nobody.example", "/").status(), 404);
        self.second.send(()).unwrap();
        let mut answers = Vec::new();
        while answers.last().is_none_or(|answer: &Message| answer.status() < 200) {
            let mut answer = self.client.response();
            answer.fields.retain(|(name, _)| name != "date" && name != "x-request-id");
            answers.push(answer);
        }
        answers
    }
}

#[test]
fn valid_responses_pass_at_every_cut() {
    let cases = [
        ("HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 5\r\n\r\nhello", Then::Keep, "hello"),
        (
            "HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n02;a=\"b\"\r\nlo\r\n0\r\nX-Sum: 5\r\n\r\n",
            Then::Keep,
            "hello",
        ),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
            Then::Keep,
            "hi",
        ),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", Then::Keep, ""),
        // Its end is the connection's, so it is the last of its connection.
        ("HTTP/1.0 200 OK\r\nA: b\r\n\r\nhello", Then::Close, "hello"),
    ];
    let mut pieces = Pieces::of(cases.iter().map(|(raw, then, _)| (*raw, *then)).collect());
    for (number, (raw, then, text)) in cases.iter().enumerate() {
        let connections = pieces.origin.connections();
        let whole = pieces.ask(number, raw.len());
        assert_eq!(whole.last().unwrap().text(), *text, "{raw:?}");
        assert_eq!(whole.len(), 1 + raw.matches(" 103 ").count(), "{raw:?}");
        assert_eq!(whole.last().unwrap().trailers.len(), raw.matches("X-Sum").count(), "{raw:?}");
        for cut in 0..raw.len() {
            let answers = pieces.ask(number, cut);
            assert_eq!(format!("{answers:?}"), format!("{whole:?}"), "{raw:?} cut at {cut}");
        }
        if *then == Then::Keep {
            assert!(pieces.origin.connections() <= connections.max(1), "in step: {raw:?}");
        }
    }
}

#[test]
fn invalid_responses_are_502_at_every_cut() {
    let malformed = [
        "garbage\r\n\r\n",
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
    .map(|raw| (raw, "upstream_malformed"));
    let unasked = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n";
    let others = [
        (unasked, "upstream_unsolicited_upgrade"),
        ("HTTP/1.1 200 OK\r\nContent-Le", "upstream_closed"),
        ("", "upstream_closed"),
    ];
    let cases: Vec<_> = malformed.into_iter().chain(others).collect();
    let mut pieces = Pieces::of(cases.iter().map(|(raw, _)| (*raw, Then::Close)).collect());
    for (number, (raw, reason)) in cases.iter().enumerate() {
        for cut in 0..=raw.len() {
            let count = pieces.origin.count();
            let answer = pieces.ask(number, cut).pop().unwrap();
            let told = (answer.status(), answer.field("gateway-reason"));
            assert_eq!(told, (502, Some(*reason)), "{raw:?} cut at {cut}");
            let asked = pieces.origin.count() - count;
            assert_eq!(asked, 1, "a new connection is no reason to send again: {raw:?} cut at {cut}");
            // The client's connection lives on. And with a good answer in between the endpoint is not ejected.
            assert_eq!(pieces.client.get("a.example", "/good").status(), 204);
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
        call.answer(beginning)?;
        Ok(if call.request.target() == "/" { Then::Reset } else { Then::Close })
    });
    let gateway = TestGateway::start(&one(&origin));
    assert_eq!(gateway.get("a.example", "/").field("gateway-reason"), Some("upstream_closed"));
    for target in ["/length", "/chunked", "/bad"] {
        let mut client = gateway.client();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n"));
        assert_eq!(client.head().unwrap().unwrap().status(), 200, "{target}");
        // Whatever came of the body, it must not look whole: neither its last chunk nor all of its length.
        let rest = client.rest();
        assert!(rest.starts_with(b"hel") || rest.starts_with(b"3\r\nhel\r\n"), "{}", rest.escape_ascii());
        assert!(rest.len() < 10 && !rest.ends_with(b"0\r\n\r\n"), "{}", rest.escape_ascii());
    }
    // An orderly close would end the body for HTTP/1.0: this one is none.
    let mut client = gateway.client();
    client.send("GET /chunked HTTP/1.0\r\nHost: a.example\r\n\r\n");
    assert_eq!(client.message(Follows::Response).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn slow_endpoint_is_504_and_stalled_body_is_cut_off() {
    let origin = Origin::start(|call| {
        match call.request.target() {
            "/stall" => call.answer("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel")?,
            // It does not even read the body.
            "/deaf" => {}
            _ => call.read_body()?,
        }
        call.wire.stream.set_read_timeout(None)?;
        if call.request.target() == "/deaf" {
            // Nothing is read until the gateway gives up: only then the peek sees an end or an error.
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
    let gateway = TestGateway::with(&one(&origin), settings);
    let answer = gateway.get("a.example", "/");
    assert_eq!((answer.status(), answer.field("gateway-reason")), (504, Some("first_byte_timeout")));
    let mut client = gateway.client();
    client.send("GET /stall HTTP/1.1\r\nHost: a.example\r\n\r\n");
    let head = client.head().unwrap().unwrap();
    assert_eq!((head.status(), client.rest()), (200, b"hel".to_vec()));
    // The endpoint is at fault, not the client, if it leaves the request's body unread.
    let mut client = gateway.client();
    client.send("POST /deaf HTTP/1.1\r\nHost: a.example\r\nContent-Length: 67108864\r\n\r\n");
    let mut writer = client.stream.try_clone().unwrap();
    let pushing = std::thread::spawn(move || while writer.write_all(&[b'x'; 65536]).is_ok() {});
    let answer = client.response();
    assert_eq!((answer.status(), answer.field("gateway-reason")), (504, Some("first_byte_timeout")));
    // Its bytes would be read for as long as the gateway lingers.
    client.stream.shutdown(std::net::Shutdown::Both).unwrap();
    pushing.join().unwrap();
}

#[test]
fn endpoint_hanging_inside_a_response_times_out() {
    let origin = Origin::start(|call| {
        match call.request.target() {
            "/head" => call.answer("HTTP/1.1 200 OK\r\nContent-Le")?,
            "/interim" => call.answer("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")?,
            "/interim/head" => call.answer("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 2")?,
            "/size" => call.answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n5")?,
            "/last" => call.answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n")?,
            "/trailers" => {
                call.answer(
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n0\r\nA: b\r\n",
                )?;
            }
            _ => {
                call.answer(ok("well"))?;
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
    let gateway = TestGateway::with(&one(&origin), settings);
    for (target, interim) in [("/head", 0), ("/interim", 1), ("/interim/head", 1)] {
        let mut client = gateway.client();
        // On a connection that was used before: the wait for its first byte has a look at the machine in it.
        assert_eq!(client.get("a.example", "/").text(), "well");
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n"));
        for _ in 0..interim {
            assert_eq!(client.response().status(), 103, "{target}");
        }
        let answer = client.response();
        let expected = (504, Some("first_byte_timeout"));
        assert_eq!((answer.status(), answer.field("gateway-reason")), expected, "{target}");
        assert_eq!(client.get("a.example", "/").text(), "well", "the client's connection lives on");
    }
    for target in ["/size", "/last", "/trailers"] {
        let mut client = gateway.client();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n"));
        assert_eq!(client.head().unwrap().unwrap().status(), 200, "{target}");
        assert_eq!(client.rest(), b"3\r\nhel\r\n", "{target}: it does not look whole");
    }
    until("none of those connections is kept", || origin.open() <= 1);
}

#[test]
fn expiring_connection_carries_only_replayable_requests() {
    // It says that it keeps connections for a second: from the beginning it may be about to close them.
    let answer = "HTTP/1.1 200 OK\r\nKeep-Alive: max=100, Timeout=1\r\nContent-Length: 1\r\n\r\na";
    let origin = Origin::start(move |call| call.answer(answer).map(|()| Then::Keep));
    let gateway = TestGateway::start(&one(&origin));
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
    // Unless the machine is so busy that the second passes.
    until("a small PUT takes a kept one", || {
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
    for (framing, sent, later) in [
        ("Content-Length: 10", "hello", ""),
        ("Transfer-Encoding: chunked", "5\r\nhello\r\n", ""),
        // From here on it is not read as a body any more.
        ("Transfer-Encoding: chunked", "5\r\nhello\r\n", "no chunk\r\n"),
    ] {
        let origin = Origin::start(|call| {
            call.wire.stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel")?;
            Ok(Then::Hang)
        });
        let settings = settings(|all| all.timeouts.stall = Duration::ZERO);
        let gateway = TestGateway::with(&one(&origin), settings);
        let mut client = gateway.client();
        client.send(format!("POST / HTTP/1.1\r\nHost: a.example\r\n{framing}\r\n\r\n{sent}"));
        assert_eq!(client.head().unwrap().unwrap().status(), 200);
        assert_eq!(client.take(3).unwrap(), b"hel");
        client.send(later);
        assert_eq!(origin.open(), 1, "nothing is given up while the client waits");
        drop(client);
        until("the endpoint is let go", || origin.open() == 0);
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
    let gateway = TestGateway::with(&at(&[address]), settings.clone());
    let answer = gateway.get("a.example", "/");
    assert_eq!((answer.status(), answer.field("gateway-reason")), (504, Some("connect_timeout")));
    // With another endpoint beside it, it costs time and no request.
    let origin = Origin::named("b");
    let gateway = TestGateway::with(&at(&[address, origin.address]), settings);
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
    let gateway = TestGateway::start(&one(&origin));
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1000000000\r\n\r\nbeginning");
    let answer = client.message(Follows::Response).unwrap().unwrap();
    assert_eq!((answer.status(), answer.text()), (413, "no"));
    assert_eq!(gateway.get("a.example", "/").status(), 413);
    assert_eq!(origin.connections(), 2, "a connection with half a request on it is not used again");
}
