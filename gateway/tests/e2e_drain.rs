//! Draining, from SIGTERM to the exit, of the built program with real signals.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

#[path = "support/program.rs"]
mod program;
mod support;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use program::Program;
use rustix::process::Signal;
use support::{Client, DEADLINE, Origin, Then, ok, single_route, until};

/// Maximum time of an exit without clients: 1 s in the gateway, and 1 s for a busy machine.
const PROMPT_EXIT: Duration = Duration::from_secs(2);

/// Starts an origin that delays its response to `/slow` until the sender releases it. Bodies have `length` bytes.
fn gated(length: usize) -> (Origin, mpsc::Sender<()>) {
    let (release, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let origin = Origin::start(move |call| {
        call.read_body()?;
        if call.request.target() == "/slow" {
            let _ = gate.lock().unwrap().recv_timeout(DEADLINE);
        }
        call.wire.stream.write_all(ok(&"a".repeat(length)).as_bytes()).map(|()| Then::Keep)
    });
    (origin, release)
}

/// Sends a request for `/slow`, and waits until the origin has it.
fn begin_slow(http: SocketAddr, origin: &Origin) -> Client {
    let (mut client, heads) = (Client::connect(http), origin.heads());
    client.send("GET /slow HTTP/1.1\r\nHost: a.example\r\n\r\n");
    origin.wait_heads(heads + 1);
    client
}

#[test]
fn clients_are_served_unready_during_the_drain_delay() {
    let origin = Origin::named("a");
    let mut program = Program::start(&single_route(&origin), &["drain.delay=2s"]);
    let (mut used, mut idle) = (Client::connect(program.http), Client::connect(program.http));
    for client in [&mut used, &mut idle] {
        assert_eq!(client.get("a.example", "/").field("connection"), None);
    }
    let signalled = Instant::now();
    program.signal(Signal::TERM);
    until("the program is not ready", || program.ready().status() == 503);
    assert_eq!(program.ready().text(), "not ready: draining\n");
    let response = Client::connect(program.http).get("a.example", "/");
    assert_eq!((response.status(), response.field("connection")), (200, Some("close")), "new connection");
    let response = used.get("a.example", "/");
    assert_eq!((response.status(), response.field("connection")), (200, Some("close")), "old connection");
    assert_eq!(used.rest(), b"");
    assert_eq!(Client::connect(program.admin).get("admin", "/metrics").status(), 200);
    assert!(signalled.elapsed() < Duration::from_secs(2), "the machine is too slow for this test");
    assert_eq!(idle.rest(), b"", "the idle connection ends with a FIN");
    assert!(signalled.elapsed() >= Duration::from_secs(2), "the idle connection ended before the delay");
    let (status, took) = program.wait();
    assert!(status.success() && took < PROMPT_EXIT, "{status} after {took:?}: {}", program.log());
}

#[test]
fn health_path_fails_while_the_program_drains() {
    let origin = Origin::named("a");
    let settings = ["drain.delay=2s", "requests.healthPath=/health"];
    let mut program = Program::start(&single_route(&origin), &settings);
    let get = |host: &str, path: &str| Client::connect(program.http).get(host, path);
    for (host, path, status) in [
        ("a.example", "/health", 200),
        ("10.0.0.1", "/health?from=lb", 200),
        ("a.example", "/health/", 200),
        ("b.example", "/health/", 404),
    ] {
        let response = get(host, path);
        let is_own = response.field("gateway-reason") == Some("health_check");
        assert_eq!((response.status(), is_own), (status, !path.ends_with('/')), "{host}{path}");
    }
    let mut client = Client::connect(program.http);
    client.send("POST /health HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.response().field("gateway-reason"), None, "other methods are routed");
    program.signal(Signal::TERM);
    until("the path fails", || Client::connect(program.http).get("x", "/health").status() == 503);
    assert_eq!(Client::connect(program.http).get("a.example", "/").status(), 200);
    assert!(program.wait().0.success());
}

#[test]
fn program_exits_promptly_after_the_last_request() {
    let (origin, release) = gated(1);
    let mut program = Program::start(&single_route(&origin), &["drain.delay=0s"]);
    let mut busy = begin_slow(program.http, &origin);
    program.signal(Signal::TERM);
    until("the program has stopped listening", || TcpStream::connect(program.http).is_err());
    assert_eq!(program.ready().status(), 503);
    // A second SIGTERM changes nothing.
    program.signal(Signal::TERM);
    assert_eq!(program.ready().status(), 503);
    release.send(()).unwrap();
    let response = busy.response();
    assert_eq!((response.status(), response.field("connection")), (200, Some("close")));
    assert_eq!(busy.rest(), b"");
    let (status, took) = program.wait();
    assert!(status.success() && took < PROMPT_EXIT, "{status} after {took:?}");
    assert!(program.log().contains("drained"), "{}", program.log());
}

#[test]
fn drain_limit_closes_the_remaining_connections() {
    let (origin, _release) = gated(1);
    let mut program = Program::start(&single_route(&origin), &["drain.delay=100ms", "drain.limit=1s"]);
    let mut busy = begin_slow(program.http, &origin);
    let signalled = Instant::now();
    program.signal(Signal::TERM);
    let mut rest = Vec::new();
    let read = busy.stream.read_to_end(&mut rest);
    assert!(rest.is_empty(), "{read:?}");
    assert!(signalled.elapsed() >= Duration::from_secs(1), "{:?}", signalled.elapsed());
    let (status, took) = program.wait();
    assert!(status.success() && took < PROMPT_EXIT, "{status} after {took:?}");
    assert!(program.log().contains("the time to drain is over"), "{}", program.log());
}

#[test]
fn sigint_ends_the_program_promptly_even_while_draining() {
    for signals in [&[Signal::INT][..], &[Signal::TERM, Signal::INT]] {
        let (origin, _release) = gated(1);
        let mut program = Program::start(&single_route(&origin), &[]);
        let _busy = begin_slow(program.http, &origin);
        let (last, first) = signals.split_last().unwrap();
        for signal in first {
            program.signal(*signal);
            until("the program drains", || program.ready().status() == 503);
        }
        program.signal(*last);
        let (status, took) = program.wait();
        assert!(status.success() && took < PROMPT_EXIT, "{signals:?}: {status} after {took:?}");
    }
}

#[test]
fn log_rotation_signals_do_not_end_the_program() {
    let origin = Origin::named("a");
    let program = Program::start(&single_route(&origin), &[]);
    for signal in [Signal::HUP, Signal::USR1] {
        for _ in 0..3 {
            program.signal(signal);
            assert_eq!(Client::connect(program.http).get("a.example", "/").status(), 200, "{signal:?}");
        }
    }
    // A signal of the same kind is pending once only, so this one is handled.
    assert_eq!(program.ready().status(), 200);
}

#[test]
fn connections_queued_in_the_kernel_are_served() {
    let origin = Origin::named("a");
    let mut program = Program::start(&single_route(&origin), &["drain.delay=0s"]);
    // The program is stopped while clients connect, so that the kernel queues them. There are more than the 128 that a
    // task of the runtime accepts in one poll. 20 clients have sent a request by then; the other 280 have 1 s for it.
    program.signal(Signal::STOP);
    let mut clients: Vec<_> = (0..300).map(|_| Client::connect(program.http)).collect();
    let (early, late) = clients.split_at_mut(20);
    let request = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
    early.iter_mut().for_each(|client| client.send(request));
    program.signal(Signal::TERM);
    program.signal(Signal::CONT);
    until("the program has stopped listening", || TcpStream::connect(program.http).is_err());
    late.iter_mut().for_each(|client| client.send(request));
    for client in &mut clients {
        let response = client.response();
        assert_eq!((response.status(), response.field("connection")), (200, Some("close")));
    }
    let (status, took) = program.wait();
    assert!(status.success() && took < PROMPT_EXIT, "{status} after {took:?}");
}

#[test]
fn silent_client_delays_the_exit_by_at_most_a_second() {
    let mut program = Program::start("", &["drain.delay=0s"]);
    let mut silent: Vec<_> =
        [program.http, program.https].into_iter().map(TcpStream::connect).collect::<Result<_, _>>().unwrap();
    silent.push({
        let mut preface = TcpStream::connect(program.http).unwrap();
        preface.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        preface
    });
    let metrics = || Client::connect(program.admin).get("admin", "/metrics").text().to_owned();
    until("all connections are accepted", || metrics().contains("gateway_client_connections_open 3\n"));
    let signalled = Instant::now();
    program.signal(Signal::TERM);
    let (status, _) = program.wait();
    assert!(
        status.success() && signalled.elapsed() < Duration::from_secs(1) + PROMPT_EXIT,
        "{:?}",
        signalled.elapsed()
    );
    drop(silent);
}

#[test]
fn http2_client_gets_goaway_and_its_streams_complete() {
    let (origin, release) = gated(1);
    let mut program = Program::start(&single_route(&origin), &["drain.delay=1s"]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let open = async || {
            let stream = tokio::net::TcpStream::connect(program.http).await.unwrap();
            let (send, connection) = h2::client::handshake(stream).await.unwrap();
            (send, tokio::spawn(connection))
        };
        let get = |path: &str| http::Request::get(format!("http://a.example{path}")).body(()).unwrap();
        let (send, end) = open().await;
        let mut send = send.ready().await.unwrap();
        let (slow, _) = send.send_request(get("/slow"), true).unwrap();
        while origin.heads() < 1 {
            tokio::task::yield_now().await;
        }
        program.signal(Signal::TERM);
        // The GOAWAY arrives at once, not after the delay. The open stream continues.
        let signalled = Instant::now();
        while send.clone().ready().await.is_ok() {
            assert!(signalled.elapsed() < Duration::from_secs(1), "no GOAWAY");
            tokio::task::yield_now().await;
        }
        // A client that connects during the delay is served before its GOAWAY.
        let (late, late_end) = open().await;
        let (response, _) = late.ready().await.unwrap().send_request(get("/"), true).unwrap();
        assert_eq!(response.await.unwrap().status(), 200);
        late_end.await.unwrap().unwrap();
        release.send(()).unwrap();
        let mut body = slow.await.unwrap().into_body();
        assert_eq!(body.data().await.unwrap().unwrap(), "a");
        assert!(body.data().await.is_none());
        drop(body);
        drop(send);
        end.await.unwrap().unwrap();
    });
    let (status, took) = program.wait();
    assert!(status.success() && took < Duration::from_secs(1) + PROMPT_EXIT, "{status} after {took:?}");
}

/// Length of the response that a `StalledReader` requests.
const BODY_BYTES: usize = 600_000;

/// An HTTP/2 client that has requested a large response and does not read its socket, while the gateway drains.
struct StalledReader {
    send: h2::client::SendRequest<&'static [u8]>,
    connection: h2::client::Connection<tokio::net::TcpStream, &'static [u8]>,
    response: h2::client::ResponseFuture,
}

impl StalledReader {
    async fn begin(program: &Program, origin: &Origin, release: mpsc::Sender<()>) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        // The small receive buffer keeps most of the response in the gateway.
        socket.set_recv_buffer_size(64 << 10).unwrap();
        let stream = socket.connect(program.http).await.unwrap();
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(1 << 20).initial_connection_window_size(1 << 20);
        let (mut send, mut connection) = builder.handshake(stream).await.unwrap();
        let request = http::Request::get("http://a.example/slow").body(()).unwrap();
        let (response, _) = send.send_request(request, true).unwrap();
        while origin.heads() < 1 {
            assert!(futures::poll!(&mut connection).is_pending());
            tokio::task::yield_now().await;
        }
        program.signal(Signal::TERM);
        until("the program has stopped listening", || TcpStream::connect(program.http).is_err());
        release.send(()).unwrap();
        Self { send, connection, response }
    }
}

/// The gateway finishes a stream when the kernel has its last bytes, which may be long before the client reads them. If the
/// gateway then closed the connection, the kernel would reset it at the client's next frame.
#[tokio::test]
async fn slow_http2_reader_gets_its_whole_response() {
    let (origin, release) = gated(BODY_BYTES);
    let mut program = Program::start(&single_route(&origin), &["drain.delay=0s"]);
    let stalled = StalledReader::begin(&program, &origin, release).await;
    // Longer than the gateway keeps a connection that has nothing left to send.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let end = tokio::spawn(stalled.connection);
    let mut body = stalled.response.await.unwrap().into_body();
    let mut length = 0;
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        length += data.len();
    }
    assert_eq!(length, BODY_BYTES);
    drop((stalled.send, body));
    end.await.unwrap().unwrap();
    let (status, took) = program.wait();
    assert!(status.success() && took < PROMPT_EXIT, "{status} after {took:?}: {}", program.log());
}

#[tokio::test]
async fn stalled_http2_reader_is_closed_at_the_stall_timeout() {
    let (origin, release) = gated(BODY_BYTES);
    let mut program = Program::start(&single_route(&origin), &["drain.delay=0s", "timeouts.stall=2s"]);
    let stalled = StalledReader::begin(&program, &origin, release).await;
    let began = Instant::now();
    let (status, _) = program.wait();
    assert!(status.success() && program.log().contains("drained"), "{}", program.log());
    let took = began.elapsed();
    // Each byte that the kernel takes restarts the timeout. The next limit is `drain.limit`, 25 s.
    assert!(took >= Duration::from_millis(1800) && took < Duration::from_secs(10), "{took:?}");
    drop(stalled);
}

/// Clients of each kind that send requests until they stop, as a load balancer does after an unready probe.
struct Load {
    stopped: AtomicBool,
    sent: AtomicUsize,
}

impl Load {
    /// Counts one more request. Returns false once the clients have to stop.
    fn next_request(&self) -> bool {
        self.sent.fetch_add(1, Ordering::Relaxed);
        !self.stopped.load(Ordering::Relaxed)
    }

    /// Keeps a connection until a response has `Connection: close`.
    fn keep_alive(&self, http: SocketAddr) {
        let mut client = Client::connect(http);
        while self.next_request() {
            let response = client.get("a.example", "/");
            assert_eq!(response.status(), 200);
            if response.field("connection") == Some("close") {
                client = Client::connect(http);
            }
        }
    }

    /// Opens a connection for each request.
    fn connect(&self, http: SocketAddr) {
        while self.next_request() {
            let mut client = Client::connect(http);
            client.send("GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n");
            assert_eq!(client.response().status(), 200);
            assert_eq!(client.rest(), b"");
        }
    }

    /// Sends two requests at a time on a connection that it keeps until a GOAWAY.
    async fn http2(&self, http: SocketAddr) {
        while !self.stopped.load(Ordering::Relaxed) {
            let stream = tokio::net::TcpStream::connect(http).await.unwrap();
            let (send, connection) = h2::client::handshake(stream).await.unwrap();
            let end = tokio::spawn(connection);
            while let Ok(mut ready) = send.clone().ready().await {
                if !self.next_request() {
                    break;
                }
                let request = || http::Request::get("http://a.example/").body(()).unwrap();
                let Ok((first, _)) = ready.send_request(request(), true) else { break };
                let second = ready.ready().await.ok().and_then(|mut ready| {
                    let (second, _) = ready.send_request(request(), true).ok()?;
                    Some(second)
                });
                for response in [Some(first), second].into_iter().flatten() {
                    match response.await {
                        Ok(response) => assert_eq!(response.status(), 200),
                        Err(error) => assert!(is_unprocessed(&error), "{error}"),
                    }
                }
            }
            drop(send);
            end.await.unwrap().unwrap();
        }
    }
}

/// Returns true if the stream is above the last one of a GOAWAY. The gateway did not process it, and clients may retry it
/// (RFC 9113 §6.8). This occurs on a busy machine: the client's `h2` acknowledges the PING that follows the first GOAWAY
/// before it sends a request that was begun earlier.
fn is_unprocessed(error: &h2::Error) -> bool {
    error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR)
}

#[test]
fn loaded_gateway_drains_without_a_failed_request() {
    let origin = Origin::named("a");
    let mut program = Program::start(&single_route(&origin), &["drain.delay=3s"]);
    let http = program.http;
    let load = Arc::new(Load { stopped: AtomicBool::new(false), sent: AtomicUsize::new(0) });
    let mut clients = Vec::new();
    for kind in 0..6 {
        let load = Arc::clone(&load);
        clients.push(std::thread::spawn(move || match kind {
            0..=2 => load.keep_alive(http),
            3 | 4 => load.connect(http),
            _ => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(load.http2(http));
            }
        }));
    }
    let sent = || load.sent.load(Ordering::Relaxed);
    until("the load has started", || sent() > 500);
    let signalled = Instant::now();
    program.signal(Signal::TERM);
    until("the program is not ready", || program.ready().status() == 503);
    let before = sent();
    until("requests arrive during the delay", || sent() > before + 500 || signalled.elapsed().as_secs() >= 2);
    load.stopped.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().unwrap();
    }
    assert!(
        signalled.elapsed() < Duration::from_secs(3),
        "the load outlasted the delay: {:?}",
        signalled.elapsed()
    );
    assert!(sent() > before, "no request arrived during the delay");
    let (status, _) = program.wait();
    assert!(status.success() && program.log().contains("drained"), "{}", program.log());
}
