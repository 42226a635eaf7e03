//! Upgrades: forwarded requests, accepted 101 responses, and the bytes of the tunnel.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

#[path = "support/program.rs"]
mod program;
mod support;

use std::io::{ErrorKind, Write};
use std::net::Shutdown;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use program::Program;
use support::fixtures::{ingress, secret, service};
use support::{
    Call, Certificate, Client, DEADLINE, Follows, LARGE_BODY_BYTES, MAX_BUFFERED_BYTES, Origin, TestGateway,
    Then,
};
use support::{ok, settings, single_route, single_route_to, tls_client, until, write_until_blocked};

const SWITCHING: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n";

const UPGRADE: &str =
    "GET /chat HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/// Echoes all bytes, and sends `bye` after their end.
fn echo(call: &mut Call<'_>) -> std::io::Result<Then> {
    loop {
        let data = call.wire.some()?;
        if data.is_empty() {
            call.wire.stream.write_all(b"bye")?;
            return Ok(Then::Close);
        }
        call.wire.stream.write_all(&data)?;
    }
}

/// Starts an origin that accepts every upgrade, then echoes. Other responses contain the target of the request.
fn upgrading_origin() -> Origin {
    Origin::start(|call| {
        if call.request.field("upgrade").is_none() {
            let target = call.request.target().to_owned();
            return call.respond(ok(&target)).map(|()| Then::Keep);
        }
        call.respond(SWITCHING)?;
        echo(call)
    })
}

/// Opens a tunnel.
fn open_tunnel(gateway: &TestGateway) -> Client {
    let mut client = gateway.client();
    client.send(UPGRADE);
    assert_eq!(client.head().unwrap().unwrap().status(), 101);
    client
}

/// Returns a gate for the script of an endpoint, and the sender that opens it.
fn gate() -> (Sender<()>, Mutex<Receiver<()>>) {
    let (open, gate) = channel();
    (open, Mutex::new(gate))
}

fn wait(gate: &Mutex<Receiver<()>>) {
    gate.lock().unwrap().recv_timeout(DEADLINE).unwrap();
}

#[test]
fn requested_upgrade_is_forwarded_and_101_opens_a_tunnel() {
    let origin = upgrading_origin();
    let gateway = TestGateway::start(&single_route(&origin));
    let mut client = gateway.client();
    client.send(
        "GET /chat HTTP/1.1\r\nHost: a.example\r\nConnection: x-named, HTTP2-Settings, Upgrade\r\n\
         X-Named: 1\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\nUpgrade: H2C, chat/2, HTTP/2.0\r\n\
         Upgrade: , websocket\r\nSec-WebSocket-Key: x\r\n\r\n",
    );
    let head = client.head().unwrap().unwrap();
    assert_eq!(head.line, "HTTP/1.1 101 Switching Protocols");
    let fields = [("upgrade", "WebSocket"), ("connection", "upgrade")];
    assert_eq!(head.fields, fields.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let forwarded = origin.last();
    let named = |name| forwarded.field(name);
    assert_eq!((named("connection"), named("upgrade")), (Some("upgrade"), Some("chat/2, websocket")));
    assert_eq!((named("http2-settings"), named("x-named")), (None, None));
    assert_eq!(named("sec-websocket-key"), Some("x"));

    for data in [&b"a"[..], b"GET / HTTP/1.1\r\n\r\n", &[0; 100_000]] {
        client.send(data);
        assert!(client.take(data.len()).unwrap() == data);
    }
    // The end of one direction leaves the other direction open.
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.rest(), b"bye");
    until("the connection to the endpoint ends", || origin.open() == 0);
}

#[test]
fn half_closed_endpoint_keeps_reading() {
    let (report, reported) = channel();
    let report = Mutex::new(report);
    let origin = Origin::start(move |call| {
        call.respond(SWITCHING.to_owned() + "hello")?;
        call.wire.stream.shutdown(Shutdown::Write)?;
        report.lock().unwrap().send(call.wire.rest()).unwrap();
        Ok(Then::Close)
    });
    let gateway = TestGateway::start(&single_route(&origin));
    let mut client = open_tunnel(&gateway);
    assert_eq!(client.rest(), b"hello");
    client.send("still here");
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(reported.recv_timeout(DEADLINE).unwrap(), b"still here");
}

#[test]
fn bytes_sent_early_reach_the_endpoint_only_after_its_101() {
    let (open, gate) = gate();
    let origin = Origin::start(move |call| {
        if call.request.field("upgrade").is_none() {
            return call.respond(ok("witness")).map(|()| Then::Keep);
        }
        wait(&gate);
        call.wire.stream.set_nonblocking(true)?;
        let early = call.wire.stream.peek(&mut [0]);
        assert_eq!(early.map_err(|error| error.kind()), Err(ErrorKind::WouldBlock), "bytes before the 101");
        call.wire.stream.set_nonblocking(false)?;
        call.respond(SWITCHING)?;
        echo(call)
    });
    let gateway = TestGateway::start(&single_route(&origin));
    let mut witness = gateway.client();
    let raw = UPGRADE.to_owned() + "GET /smuggled HTTP/1.1\r\nHost: a.example\r\n\r\n";
    let ahead = &raw[UPGRADE.len()..];
    for cut in 1..raw.len() {
        let heads = origin.heads();
        let mut client = gateway.client();
        client.send(&raw[..cut]);
        // This response proves that the worker read all bytes sent before.
        assert_eq!(witness.get("b.example", "/").status(), 404);
        client.send(&raw[cut..]);
        origin.wait_heads(heads + 1);
        assert_eq!(witness.get("a.example", "/").text(), "witness");
        open.send(()).unwrap();
        assert_eq!(client.head().unwrap().unwrap().status(), 101, "cut at {cut}");
        assert_eq!(client.take(ahead.len()).unwrap(), ahead.as_bytes(), "cut at {cut}");
        client.stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(client.rest(), b"bye", "cut at {cut}");
    }
}

#[test]
fn other_response_to_an_upgrade_is_forwarded_normally() {
    let (open, gate) = gate();
    let origin = Origin::start(move |call| {
        if call.request.target() == "/ahead" {
            wait(&gate);
        }
        call.respond("HTTP/1.1 426 No\r\nUpgrade: x\r\nConnection: upgrade\r\nContent-Length: 2\r\n\r\nno")
            .map(|()| Then::Keep)
    });
    let gateway = TestGateway::start(&single_route(&origin));
    let mut client = gateway.client();
    for _ in 0..3 {
        client.send(UPGRADE);
        let response = client.response();
        assert_eq!((response.status(), response.text(), response.field("upgrade")), (426, "no", None));
    }
    assert_eq!(origin.connections(), 1, "the connection to the endpoint is reused");
    // Bytes sent before the 101 are not parsed as a request (RFC 9931).
    client.send(UPGRADE.replace("/chat", "/ahead") + "GET /smuggled HTTP/1.1\r\nHost: a.example\r\n\r\n");
    origin.wait_heads(4);
    assert_eq!(gateway.get("b.example", "/").status(), 404);
    open.send(()).unwrap();
    let response = client.response();
    assert_eq!((response.status(), response.field("connection")), (426, Some("close")));
    assert_eq!(client.rest(), b"");
    assert_eq!(origin.count(), 4);
}

#[test]
fn invalid_upgrade_fields_never_reach_the_endpoint() {
    let origin = upgrading_origin();
    let gateway = TestGateway::start(&single_route(&origin));
    let many = "a,".repeat(9);
    for lines in [
        "Upgrade: websocket".to_owned(),
        "Upgrade: websocket\r\nConnection: keep-alive".to_owned(),
        "Upgrade: websocket\r\nConnection: upgrades".to_owned(),
        "Connection: upgrade".to_owned(),
        "Connection: upgrade\r\nUpgrade:".to_owned(),
        "Connection: upgrade\r\nUpgrade: a b".to_owned(),
        "Connection: upgrade\r\nUpgrade: websocket, a/".to_owned(),
        "Connection: upgrade\r\nUpgrade: websocket, a/b/c".to_owned(),
        format!("Connection: upgrade\r\nUpgrade: {many}"),
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAA".to_owned(),
        "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAA".to_owned(),
    ] {
        let mut client = gateway.client();
        client.send(format!("GET /x HTTP/1.1\r\nHost: a.example\r\n{lines}\r\n\r\n"));
        assert_eq!(client.response().text(), "/x", "{lines}");
        let forwarded = origin.last();
        for name in ["upgrade", "connection", "http2-settings"] {
            assert_eq!(forwarded.field(name), None, "{name} of {lines}");
        }
        assert_eq!(client.get("a.example", "/next").text(), "/next", "{lines}");
    }
    let mut client = gateway.client();
    client.send(UPGRADE.replace("HTTP/1.1", "HTTP/1.0"));
    assert_eq!(client.response().text(), "/chat");
}

#[test]
fn unsolicited_or_mismatched_101_is_502() {
    let switch = |lines: &str| format!("HTTP/1.1 101 Switching Protocols\r\n{lines}\r\n\r\nsecret");
    let (unsolicited, malformed) = ("upstream_unsolicited_upgrade", "upstream_malformed");
    struct Case {
        response: String,
        request: &'static str,
        reason: &'static str,
    }
    for Case { response, request, reason } in [
        Case {
            response: switch("Connection: upgrade\r\nUpgrade: websocket"),
            request: "GET /chat HTTP/1.1\r\nHost: a.example\r\n\r\n",
            reason: unsolicited,
        },
        Case {
            response: switch("Connection: upgrade\r\nUpgrade: h2c"),
            request: UPGRADE,
            reason: unsolicited,
        },
        Case {
            response: switch("Connection: upgrade\r\nUpgrade: websocket, chat"),
            request: UPGRADE,
            reason: unsolicited,
        },
        Case { response: switch("Connection: upgrade\r\nUpgrade:"), request: UPGRADE, reason: unsolicited },
        Case { response: switch("Connection: upgrade"), request: UPGRADE, reason: unsolicited },
        Case { response: switch("Upgrade: websocket"), request: UPGRADE, reason: unsolicited },
        Case { response: SWITCHING.replace("HTTP/1.1", "HTTP/1.0"), request: UPGRADE, reason: unsolicited },
        Case {
            response: switch("Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 6"),
            request: UPGRADE,
            reason: malformed,
        },
        Case {
            response: switch("Connection: upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked"),
            request: UPGRADE,
            reason: malformed,
        },
    ] {
        let context = response.clone();
        let origin = Origin::start(move |call| call.respond(&response).map(|()| Then::Hang));
        let gateway = TestGateway::start(&single_route(&origin));
        let mut client = gateway.client();
        client.send(request);
        let got = client.response();
        assert_eq!((got.status(), got.field("gateway-reason")), (502, Some(reason)), "{context}");
        assert_eq!(
            client.get("b.example", "/").status(),
            404,
            "the client's connection stays open: {context}"
        );
        until("the connection to the endpoint ends", || origin.open() == 0);
    }
}

#[test]
fn body_is_sent_whole_before_the_switch() {
    let origin = Origin::start(|call| {
        if call.request.target() == "/early" {
            call.wire.stream.write_all(SWITCHING.as_bytes())?;
            return Ok(Then::Hang);
        }
        call.respond(SWITCHING)?;
        echo(call)
    });
    let gateway = TestGateway::start(&single_route(&origin));
    let fields = "Host: a.example\r\nConnection: upgrade\r\nUpgrade: websocket\r\n";
    let mut client = gateway.client();
    client.send(format!("POST /attach HTTP/1.1\r\n{fields}Content-Length: 4\r\n\r\nbodyahead"));
    assert_eq!(client.head().unwrap().unwrap().status(), 101);
    assert_eq!((client.take(5).unwrap(), origin.last().text()), (b"ahead".to_vec(), "body"));
    let mut client = gateway.client();
    client.send(format!("POST /early HTTP/1.1\r\n{fields}Content-Length: 4\r\n\r\nbo"));
    let response = client.response();
    assert_eq!(
        (response.status(), response.field("gateway-reason")),
        (502, Some("upstream_unsolicited_upgrade"))
    );
}

#[test]
fn idle_tunnel_is_closed_after_its_timeout() {
    let origin = upgrading_origin();
    let idle = Duration::from_millis(300);
    // No other timeout applies to a tunnel.
    let settings = settings(|all| {
        all.timeouts.tunnel_idle = idle;
        all.timeouts.keep_alive = idle / 3;
        all.timeouts.stall = idle / 3;
        all.timeouts.first_byte = idle / 3;
    });
    let gateway = TestGateway::with(&single_route(&origin), settings);
    let mut client = open_tunnel(&gateway);
    let started = Instant::now();
    client.send("x");
    assert_eq!(client.take(1).unwrap(), b"x");
    let end = client.some();
    assert!(started.elapsed() >= idle, "{:?}", started.elapsed());
    assert!(end.is_err() || end.unwrap().is_empty());
    until("the connection to the endpoint ends", || origin.open() == 0);
}

#[test]
fn open_tunnels_are_counted_apart_from_requests() {
    let origin = upgrading_origin();
    let gateway = TestGateway::start(&single_route(&origin));
    let shows = |line: &str| gateway.admin("/metrics").1.lines().any(|metric| metric == line);
    let (first, second) = (open_tunnel(&gateway), open_tunnel(&gateway));
    until("both tunnels are counted", || shows("gateway_tunnels_open 2"));
    assert!(shows("gateway_requests_in_flight 0"));
    drop(first);
    until("one tunnel has ended", || shows("gateway_tunnels_open 1"));
    drop(second);
    until("both tunnels have ended", || shows("gateway_tunnels_open 0") && origin.open() == 0);
}

#[test]
fn slow_tunnel_reader_throttles_the_sender() {
    let ((report, reported), (open, gate)) = (channel(), gate());
    let report = Mutex::new(report);
    let origin = Origin::start(move |call| {
        call.respond(SWITCHING)?;
        report.lock().unwrap().send(write_until_blocked(&mut call.wire.stream, LARGE_BODY_BYTES)).unwrap();
        call.wire.stream.shutdown(Shutdown::Write)?;
        wait(&gate);
        report.lock().unwrap().send(call.wire.rest().len()).unwrap();
        Ok(Then::Close)
    });
    let gateway = TestGateway::start(&single_route(&origin));
    let mut client = open_tunnel(&gateway);
    let to_client = reported.recv_timeout(DEADLINE).unwrap();
    let to_endpoint = write_until_blocked(&mut client.stream, LARGE_BODY_BYTES);
    for pushed in [to_client, to_endpoint] {
        assert!(pushed < MAX_BUFFERED_BYTES, "{pushed} bytes were buffered without a reader");
    }
    client.stream.shutdown(Shutdown::Write).unwrap();
    open.send(()).unwrap();
    assert_eq!(client.rest().len(), to_client, "no byte is lost");
    assert_eq!(reported.recv_timeout(DEADLINE).unwrap(), to_endpoint, "no byte is lost");
}

#[test]
fn reset_of_one_connection_ends_the_other() {
    let origin = Origin::start(|call| {
        call.respond(SWITCHING)?;
        if call.wire.some()? == b"reset" { Ok(Then::Reset) } else { Ok(Then::Hang) }
    });
    let gateway = TestGateway::start(&single_route(&origin));
    let mut client = open_tunnel(&gateway);
    client.send("reset");
    assert_eq!(client.some().unwrap_err().kind(), ErrorKind::ConnectionReset);
    let mut client = open_tunnel(&gateway);
    client.send("hang");
    socket2::SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    until("the connection to the endpoint ends", || origin.open() == 0);
}

#[test]
fn tunnel_over_tls_ends_with_close_notify() {
    let origin = upgrading_origin();
    let certificate = Certificate::new("a.example");
    let objects = ingress("a").host("a.example").path("/", "a").tls("a.example", "s")
        + service("a").endpoints(&[origin.address])
        + secret("s", &certificate);
    let gateway = TestGateway::start(&objects);
    let mut client = tls_client(gateway.gateway.https, "a.example", &[&certificate]);
    client.send(UPGRADE.to_owned() + "ahead");
    assert_eq!(client.message(Follows::Nothing).unwrap().unwrap().status(), 101);
    assert_eq!(client.take(5).unwrap(), b"ahead");
    let data = vec![b'x'; 1 << 20];
    let half = data.len() / 2;
    for part in [&data[..half], &data[half..]] {
        // Each piece fits into the buffers of both directions.
        for piece in part.chunks(16 << 10) {
            client.send(piece);
            assert!(client.take(piece.len()).unwrap() == piece);
        }
    }
    client.stream.conn.send_close_notify();
    client.stream.flush().unwrap();
    assert_eq!(client.rest(), b"bye", "the gateway sends its close_notify after the data");
}

// ===== a WebSocket library on both sides =====

use futures::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, accept_async, client_async};

/// Runs the async part of a test, within [`DEADLINE`].
fn run<T>(test: impl Future<Output = T>) -> T {
    run_in(&runtime(), test)
}

/// Runs the async part of a test on the runtime that its sockets belong to.
fn run_in<T>(runtime: &Runtime, test: impl Future<Output = T>) -> T {
    runtime.block_on(async { tokio::time::timeout(DEADLINE, test).await.unwrap() })
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Starts a WebSocket server that echoes each message, and returns its address.
fn websocket_echo() -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind(support::ANY_PORT).unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = runtime();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut send, mut receive) = accept_async(stream).await.unwrap().split();
                    while let Some(Ok(message)) = receive.next().await {
                        if message.is_text() || message.is_binary() {
                            send.send(message).await.unwrap();
                        }
                    }
                });
            }
        });
    });
    address
}

async fn websocket(http: std::net::SocketAddr) -> WebSocketStream<TcpStream> {
    let stream = TcpStream::connect(http).await.unwrap();
    client_async("ws://a.example/chat?id=1", stream).await.unwrap().0
}

#[test]
fn websocket_library_exchanges_messages_and_closes() {
    let gateway = TestGateway::start(&single_route_to(&[websocket_echo()]));
    run(async {
        let mut socket = websocket(gateway.gateway.http).await;
        for message in [Message::text("hello"), Message::binary(vec![7; 1 << 20]), Message::text("")] {
            socket.send(message.clone()).await.unwrap();
            assert!(socket.next().await.unwrap().unwrap() == message);
        }
        socket.send(Message::Ping("p".into())).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::Pong("p".into()));
        socket.close(None).await.unwrap();
        assert!(socket.next().await.unwrap().unwrap().is_close());
        assert!(socket.next().await.is_none(), "closed gracefully");
    });
}

#[test]
fn reloads_keep_open_websockets() {
    let gateway = TestGateway::start(&single_route_to(&[websocket_echo()]));
    let runtime = runtime();
    let mut sockets = Vec::new();
    for _ in 0..100 {
        sockets.push(run_in(&runtime, websocket(gateway.gateway.http)));
    }
    // Ten edits replace another rule, and the last edit removes the rule of the sockets.
    for turn in 0..10 {
        gateway.replace("other.yaml", &ingress("b").host(&format!("b{turn}.example")).path("/", "a"));
    }
    gateway.replace("all.yaml", "");
    assert_eq!(gateway.get("a.example", "/").status(), 404);
    for socket in &mut sockets {
        runtime.block_on(async {
            socket.send(Message::text("still here")).await.unwrap();
            assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("still here"));
        });
    }
}

/// Waits on an open admin connection until the generation exceeds `last`, and returns it.
fn next_generation(admin: &mut Client, last: u64) -> u64 {
    let mut now = last;
    until("a change is served", || {
        let ready = admin.get("admin", "/readyz");
        now = ready.text().strip_prefix("ready: generation ").unwrap().trim().parse().unwrap();
        now > last
    });
    now
}

#[test]
fn thousand_reloads_keep_thousand_websockets_and_memory() {
    const SOCKETS: usize = 1000;
    const RELOADS: u64 = 1000;
    /// Reloads after which buffers, arenas and tables have their final size.
    const WARM_UP: u64 = 100;
    const MAX_GROWTH_KIB: u64 = 5 << 10;
    /// Reloads between two requests on the plain connection, within its keep-alive timeout.
    const REQUEST_INTERVAL: u64 = 100;

    let plain = Origin::named("plain");
    let objects = single_route_to(&[websocket_echo()])
        + ingress("plain").host("plain.example").path("/", "plain")
        + service("plain").endpoints(&[plain.address]);
    let program = Program::start(&objects, &[]);
    let runtime = runtime();
    let mut sockets = Vec::with_capacity(SOCKETS);
    for _ in 0..SOCKETS {
        sockets.push(run_in(&runtime, websocket(program.http)));
    }
    let (mut untouched, mut admin) = (Client::connect(program.http), Client::connect(program.admin));

    let mut generation = next_generation(&mut admin, 0);
    let mut after_warm_up = 0;
    for turn in 1..=WARM_UP + RELOADS {
        program.rename("other.yaml", &ingress("other").host(&format!("h{turn}.example")).path("/", "a"));
        let before = generation;
        generation = next_generation(&mut admin, before);
        assert_eq!(generation, before + 1, "each change is one table");
        if turn % REQUEST_INTERVAL == 0 {
            assert_eq!(untouched.get("plain.example", "/").text(), "plain");
        }
        if turn == WARM_UP {
            after_warm_up = program.rss_kib();
        }
    }
    let growth = program.rss_kib().saturating_sub(after_warm_up);
    assert!(growth < MAX_GROWTH_KIB, "{growth} KiB more than the {after_warm_up} KiB before");
    assert_eq!(plain.connections(), 1, "idle connections to endpoints stay open");

    for (number, socket) in sockets.iter_mut().enumerate() {
        run_in(&runtime, async {
            let message = Message::text(format!("still here, {number}"));
            socket.send(message.clone()).await.unwrap();
            assert_eq!(socket.next().await.unwrap().unwrap(), message);
        });
    }
}
