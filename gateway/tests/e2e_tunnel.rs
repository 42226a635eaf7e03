//! Upgrades: which are asked, which are answered, and the bytes after the switch.

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
use support::{
    Call, Client, DEADLINE, Follows, MOST_ON_THE_WAY, Origin, PLENTY, TestGateway, Then, settings,
};
use support::{ingress, ok, one, push, service, tls, until};

const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n";

const ASK: &str =
    "GET /chat HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/// Sends back what comes, and `bye` at its end.
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

/// Switches whatever it is asked, then echoes; other requests get their target.
fn switching() -> Origin {
    Origin::start(|call| {
        if call.request.field("upgrade").is_none() {
            let target = call.request.target().to_owned();
            return call.answer(ok(&target)).map(|()| Then::Keep);
        }
        call.answer(SWITCH)?;
        echo(call)
    })
}

/// Asks, and expects to be switched.
fn switched(gateway: &TestGateway) -> Client {
    let mut client = gateway.client();
    client.send(ASK);
    assert_eq!(client.head().unwrap().unwrap().status(), 101);
    client
}

/// A gate that a test opens for an endpoint's script.
fn gate() -> (Sender<()>, Mutex<Receiver<()>>) {
    let (open, gate) = channel();
    (open, Mutex::new(gate))
}

fn wait(gate: &Mutex<Receiver<()>>) {
    gate.lock().unwrap().recv_timeout(DEADLINE).unwrap();
}

#[test]
fn requested_upgrade_is_forwarded_and_101_opens_a_tunnel() {
    let origin = switching();
    let gateway = TestGateway::start(&one(&origin));
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
    let seen = origin.last();
    let named = |name| seen.field(name);
    assert_eq!((named("connection"), named("upgrade")), (Some("upgrade"), Some("chat/2, websocket")));
    assert_eq!((named("http2-settings"), named("x-named")), (None, None));
    assert_eq!(named("sec-websocket-key"), Some("x"));

    for data in [&b"a"[..], b"GET / HTTP/1.1\r\n\r\n", &[0; 100_000]] {
        client.send(data);
        assert!(client.take(data.len()).unwrap() == data);
    }
    // The end of one direction is the end of that direction only.
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.rest(), b"bye");
    until("the endpoint's connection ends too", || origin.open() == 0);
}

#[test]
fn half_closed_endpoint_keeps_reading() {
    let (report, reported) = channel();
    let report = Mutex::new(report);
    let origin = Origin::start(move |call| {
        call.answer(SWITCH.to_owned() + "hello")?;
        call.wire.stream.shutdown(Shutdown::Write)?;
        report.lock().unwrap().send(call.wire.rest()).unwrap();
        Ok(Then::Close)
    });
    let gateway = TestGateway::start(&one(&origin));
    let mut client = switched(&gateway);
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
            return call.answer(ok("witness")).map(|()| Then::Keep);
        }
        wait(&gate);
        call.wire.stream.set_nonblocking(true)?;
        let early = call.wire.stream.peek(&mut [0]);
        assert_eq!(early.map_err(|error| error.kind()), Err(ErrorKind::WouldBlock), "bytes before the 101");
        call.wire.stream.set_nonblocking(false)?;
        call.answer(SWITCH)?;
        echo(call)
    });
    let gateway = TestGateway::start(&one(&origin));
    let mut witness = gateway.client();
    let raw = ASK.to_owned() + "GET /smuggled HTTP/1.1\r\nHost: a.example\r\n\r\n";
    let ahead = &raw[ASK.len()..];
    for cut in 1..raw.len() {
        let heads = origin.heads();
        let mut client = gateway.client();
        client.send(&raw[..cut]);
        // Its answer shows that the worker has read what was sent before.
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
        call.answer("HTTP/1.1 426 No\r\nUpgrade: x\r\nConnection: upgrade\r\nContent-Length: 2\r\n\r\nno")
            .map(|()| Then::Keep)
    });
    let gateway = TestGateway::start(&one(&origin));
    let mut client = gateway.client();
    for _ in 0..3 {
        client.send(ASK);
        let answer = client.response();
        assert_eq!((answer.status(), answer.text(), answer.field("upgrade")), (426, "no", None));
    }
    assert_eq!(origin.connections(), 1, "and leaves the connection as it was");
    // What was sent in the hope of a switch is not taken for a request (RFC 9931).
    client.send(ASK.replace("/chat", "/ahead") + "GET /smuggled HTTP/1.1\r\nHost: a.example\r\n\r\n");
    origin.wait_heads(4);
    assert_eq!(gateway.get("b.example", "/").status(), 404);
    open.send(()).unwrap();
    let answer = client.response();
    assert_eq!((answer.status(), answer.field("connection")), (426, Some("close")));
    assert_eq!(client.rest(), b"");
    assert_eq!(origin.count(), 4);
}

#[test]
fn invalid_upgrade_fields_never_reach_the_endpoint() {
    let origin = switching();
    let gateway = TestGateway::start(&one(&origin));
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
        let seen = origin.last();
        for name in ["upgrade", "connection", "http2-settings"] {
            assert_eq!(seen.field(name), None, "{name} of {lines}");
        }
        assert_eq!(client.get("a.example", "/next").text(), "/next", "{lines}");
    }
    let mut client = gateway.client();
    client.send(ASK.replace("HTTP/1.1", "HTTP/1.0"));
    assert_eq!(client.response().text(), "/chat");
}

#[test]
fn unsolicited_or_mismatched_101_is_502() {
    let switch = |lines: &str| format!("HTTP/1.1 101 Switching Protocols\r\n{lines}\r\n\r\nsecret");
    let (unasked, malformed) = ("upstream_unsolicited_upgrade", "upstream_malformed");
    for (answer, ask, reason) in [
        (
            switch("Connection: upgrade\r\nUpgrade: websocket"),
            "GET /chat HTTP/1.1\r\nHost: a.example\r\n\r\n",
            unasked,
        ),
        (switch("Connection: upgrade\r\nUpgrade: h2c"), ASK, unasked),
        (switch("Connection: upgrade\r\nUpgrade: websocket, chat"), ASK, unasked),
        (switch("Connection: upgrade\r\nUpgrade:"), ASK, unasked),
        (switch("Connection: upgrade"), ASK, unasked),
        (switch("Upgrade: websocket"), ASK, unasked),
        (SWITCH.replace("HTTP/1.1", "HTTP/1.0"), ASK, unasked),
        (switch("Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 6"), ASK, malformed),
        (switch("Connection: upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked"), ASK, malformed),
    ] {
        let shown = answer.clone();
        let origin = Origin::start(move |call| call.answer(&answer).map(|()| Then::Hang));
        let gateway = TestGateway::start(&one(&origin));
        let mut client = gateway.client();
        client.send(ask);
        let got = client.response();
        assert_eq!((got.status(), got.field("gateway-reason")), (502, Some(reason)), "{shown}");
        assert_eq!(client.get("b.example", "/").status(), 404, "the client's connection lives on: {shown}");
        until("the endpoint's connection ends", || origin.open() == 0);
    }
}

#[test]
fn body_is_sent_whole_before_the_switch() {
    let origin = Origin::start(|call| {
        if call.request.target() == "/hasty" {
            call.wire.stream.write_all(SWITCH.as_bytes())?;
            return Ok(Then::Hang);
        }
        call.answer(SWITCH)?;
        echo(call)
    });
    let gateway = TestGateway::start(&one(&origin));
    let fields = "Host: a.example\r\nConnection: upgrade\r\nUpgrade: websocket\r\n";
    let mut client = gateway.client();
    client.send(format!("POST /attach HTTP/1.1\r\n{fields}Content-Length: 4\r\n\r\nbodyahead"));
    assert_eq!(client.head().unwrap().unwrap().status(), 101);
    assert_eq!((client.take(5).unwrap(), origin.last().text()), (b"ahead".to_vec(), "body"));
    let mut client = gateway.client();
    client.send(format!("POST /hasty HTTP/1.1\r\n{fields}Content-Length: 4\r\n\r\nbo"));
    let answer = client.response();
    assert_eq!(
        (answer.status(), answer.field("gateway-reason")),
        (502, Some("upstream_unsolicited_upgrade"))
    );
}

#[test]
fn idle_tunnel_is_closed_after_its_timeout() {
    let origin = switching();
    let idle = Duration::from_millis(300);
    // No other deadline applies to it.
    let settings = settings(|all| {
        all.timeouts.tunnel_idle = idle;
        all.timeouts.keep_alive = idle / 3;
        all.timeouts.stall = idle / 3;
        all.timeouts.first_byte = idle / 3;
    });
    let gateway = TestGateway::with(&one(&origin), settings);
    let mut client = switched(&gateway);
    let started = Instant::now();
    client.send("x");
    assert_eq!(client.take(1).unwrap(), b"x");
    let end = client.some();
    assert!(started.elapsed() >= idle, "{:?}", started.elapsed());
    assert!(end.is_err() || end.unwrap().is_empty());
    until("the endpoint's connection ends", || origin.open() == 0);
}

#[test]
fn open_tunnels_are_counted_apart_from_requests() {
    let origin = switching();
    let gateway = TestGateway::start(&one(&origin));
    let shows = |line: &str| gateway.admin("/metrics").1.lines().any(|given| given == line);
    let (first, second) = (switched(&gateway), switched(&gateway));
    until("both are counted", || shows("gateway_tunnels_open 2"));
    assert!(shows("gateway_requests_in_flight 0"));
    drop(first);
    until("one has gone", || shows("gateway_tunnels_open 1"));
    drop(second);
    until("both have gone", || shows("gateway_tunnels_open 0") && origin.open() == 0);
}

#[test]
fn slow_tunnel_reader_throttles_the_sender() {
    let ((tell, told), (open, gate)) = (channel(), gate());
    let tell = Mutex::new(tell);
    let origin = Origin::start(move |call| {
        call.answer(SWITCH)?;
        tell.lock().unwrap().send(push(&mut call.wire.stream, PLENTY)).unwrap();
        call.wire.stream.shutdown(Shutdown::Write)?;
        wait(&gate);
        tell.lock().unwrap().send(call.wire.rest().len()).unwrap();
        Ok(Then::Close)
    });
    let gateway = TestGateway::start(&one(&origin));
    let mut client = switched(&gateway);
    let there = told.recv_timeout(DEADLINE).unwrap();
    let back = push(&mut client.stream, PLENTY);
    for pushed in [there, back] {
        assert!(pushed < MOST_ON_THE_WAY, "{pushed} bytes went nowhere");
    }
    client.stream.shutdown(Shutdown::Write).unwrap();
    open.send(()).unwrap();
    assert_eq!(client.rest().len(), there, "nothing is lost");
    assert_eq!(told.recv_timeout(DEADLINE).unwrap(), back, "nothing is lost");
}

#[test]
fn reset_of_one_connection_ends_the_other() {
    let origin = Origin::start(|call| {
        call.answer(SWITCH)?;
        if call.wire.some()? == b"reset" { Ok(Then::Reset) } else { Ok(Then::Hang) }
    });
    let gateway = TestGateway::start(&one(&origin));
    let mut client = switched(&gateway);
    client.send("reset");
    assert_eq!(client.some().unwrap_err().kind(), ErrorKind::ConnectionReset);
    let mut client = switched(&gateway);
    client.send("hang");
    socket2::SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    until("the endpoint's connection ends", || origin.open() == 0);
}

#[test]
fn tunnel_over_tls_ends_with_close_notify() {
    let origin = switching();
    let certificate = support::Certificate::new("a.example");
    let yaml = ingress("a", "a.example", &[("/", "a")])
        + &tls("a.example", "s")
        + &service("a", &[origin.address])
        + &certificate.secret("s");
    let gateway = TestGateway::start(&yaml);
    let mut client = support::tls_client(gateway.gateway.https, "a.example", &[&certificate]);
    client.send(ASK.to_owned() + "ahead");
    assert_eq!(client.message(Follows::Nothing).unwrap().unwrap().status(), 101);
    assert_eq!(client.take(5).unwrap(), b"ahead");
    let data = vec![b'x'; 1 << 20];
    let half = data.len() / 2;
    for part in [&data[..half], &data[half..]] {
        // Little enough to fit into the buffers of both ways.
        for piece in part.chunks(16 << 10) {
            client.send(piece);
            assert!(client.take(piece.len()).unwrap() == piece);
        }
    }
    client.stream.conn.send_close_notify();
    client.stream.flush().unwrap();
    assert_eq!(client.rest(), b"bye", "and the gateway's own close_notify behind it");
}

// ===== a WebSocket library on both sides =====

use futures::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, accept_async, client_async};

/// Runs a test's async part, within the deadline.
fn run<T>(test: impl Future<Output = T>) -> T {
    run_in(&runtime(), test)
}

/// The same on a runtime that sockets belong to.
fn run_in<T>(runtime: &Runtime, test: impl Future<Output = T>) -> T {
    runtime.block_on(async { tokio::time::timeout(DEADLINE, test).await.unwrap() })
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Starts a WebSocket server that sends back each message; its address.
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
    client_async("ws://a.example/chat?room=1", stream).await.unwrap().0
}

fn at(address: std::net::SocketAddr) -> String {
    ingress("a", "a.example", &[("/", "a")]) + &service("a", &[address])
}

#[test]
fn websocket_library_exchanges_messages_and_closes() {
    let gateway = TestGateway::start(&at(websocket_echo()));
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
        assert!(socket.next().await.is_none(), "closed in order");
    });
}

#[test]
fn reloads_keep_open_websockets() {
    let gateway = TestGateway::start(&at(websocket_echo()));
    let runtime = runtime();
    let mut sockets = Vec::new();
    for _ in 0..100 {
        sockets.push(run_in(&runtime, websocket(gateway.gateway.http)));
    }
    // Others come and go, and in the end their own rule goes.
    for turn in 0..10 {
        gateway.replace("other.yaml", &ingress("b", &format!("b{turn}.example"), &[("/", "a")]));
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

/// Waits for the table behind this one, on a connection to the admin pages that stays; its number.
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
    /// Until buffers, arenas and tables have their size.
    const WARM_UP: u64 = 100;
    const MOST_GROWTH_KIB: u64 = 5 << 10;
    /// A plain connection says something so often, to be within the time that it may be idle.
    const ASKS_EVERY: u64 = 100;

    let plain = Origin::named("plain");
    let yaml = at(websocket_echo())
        + &ingress("plain", "plain.example", &[("/", "plain")])
        + &service("plain", &[plain.address]);
    let program = Program::start(&yaml, &[]);
    let runtime = runtime();
    let mut sockets = Vec::with_capacity(SOCKETS);
    for _ in 0..SOCKETS {
        sockets.push(run_in(&runtime, websocket(program.http)));
    }
    let (mut untouched, mut admin) = (Client::connect(program.http), Client::connect(program.admin));

    let mut generation = next_generation(&mut admin, 0);
    let mut after_warm_up = 0;
    for turn in 1..=WARM_UP + RELOADS {
        program.rename("other.yaml", &ingress("other", &format!("h{turn}.example"), &[("/", "a")]));
        let before = generation;
        generation = next_generation(&mut admin, before);
        assert_eq!(generation, before + 1, "each change is one table");
        if turn % ASKS_EVERY == 0 {
            assert_eq!(untouched.get("plain.example", "/").text(), "plain");
        }
        if turn == WARM_UP {
            after_warm_up = program.rss_kib();
        }
    }
    let growth = program.rss_kib().saturating_sub(after_warm_up);
    assert!(growth < MOST_GROWTH_KIB, "{growth} KiB more than the {after_warm_up} KiB before");
    assert_eq!(plain.connections(), 1, "nor is an idle connection to an endpoint closed");

    for (number, socket) in sockets.iter_mut().enumerate() {
        run_in(&runtime, async {
            let message = Message::text(format!("still here, {number}"));
            socket.send(message.clone()).await.unwrap();
            assert_eq!(socket.next().await.unwrap().unwrap(), message);
        });
    }
}
