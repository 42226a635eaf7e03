//! From SIGTERM to the end, through the built program with real signals.

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
use support::{Client, DEADLINE, Origin, Then, ok, one, until};

/// An exit may take a second once nobody is connected, and here another one because the machine may be busy.
const AT_ONCE: Duration = Duration::from_secs(2);

/// An origin that answers `/slow` only when it is released, each time with so many bytes.
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

fn begin_slow(http: SocketAddr, origin: &Origin) -> Client {
    let (mut client, heads) = (Client::connect(http), origin.heads());
    client.send("GET /slow HTTP/1.1\r\nHost: a.example\r\n\r\n");
    origin.wait_heads(heads + 1);
    client
}

#[test]
fn readiness_fails_first_and_clients_are_served_during_the_delay() {
    let origin = Origin::named("a");
    let mut program = Program::start(&one(&origin), &["drain.delay=2s"]);
    let (mut used, mut idle) = (Client::connect(program.http), Client::connect(program.http));
    for client in [&mut used, &mut idle] {
        assert_eq!(client.get("a.example", "/").field("connection"), None);
    }
    let told = Instant::now();
    program.signal(Signal::TERM);
    until("it is not ready", || program.ready().status() == 503);
    assert_eq!(program.ready().text(), "not ready: draining\n");
    let answer = Client::connect(program.http).get("a.example", "/");
    assert_eq!((answer.status(), answer.field("connection")), (200, Some("close")), "a new connection");
    let answer = used.get("a.example", "/");
    assert_eq!((answer.status(), answer.field("connection")), (200, Some("close")), "an old one");
    assert_eq!(used.rest(), b"");
    assert_eq!(Client::connect(program.admin).get("admin", "/metrics").status(), 200);
    assert!(told.elapsed() < Duration::from_secs(2), "too slow to tell anything");
    assert_eq!(idle.rest(), b"", "closed in order");
    assert!(told.elapsed() >= Duration::from_secs(2), "an idle connection has the whole delay to be used");
    let (status, took) = program.wait();
    assert!(status.success() && took < AT_ONCE, "{status} after {took:?}: {}", program.log());
}

#[test]
fn a_request_in_flight_ends_and_then_the_program_at_once() {
    let (origin, release) = gated(1);
    let mut program = Program::start(&one(&origin), &["drain.delay=0s"]);
    let mut busy = begin_slow(program.http, &origin);
    program.signal(Signal::TERM);
    until("it does not listen any more", || TcpStream::connect(program.http).is_err());
    assert_eq!(program.ready().status(), 503);
    // Twice is not faster than once.
    program.signal(Signal::TERM);
    assert_eq!(program.ready().status(), 503);
    release.send(()).unwrap();
    let answer = busy.response();
    assert_eq!((answer.status(), answer.field("connection")), (200, Some("close")));
    assert_eq!(busy.rest(), b"");
    let (status, took) = program.wait();
    assert!(status.success() && took < AT_ONCE, "{status} after {took:?}");
    assert!(program.log().contains("drained"), "{}", program.log());
}

#[test]
fn at_the_limit_whoever_is_connected_is_cut_off() {
    let (origin, _release) = gated(1);
    let mut program = Program::start(&one(&origin), &["drain.delay=100ms", "drain.limit=1s"]);
    let mut busy = begin_slow(program.http, &origin);
    let told = Instant::now();
    program.signal(Signal::TERM);
    let mut rest = Vec::new();
    let read = busy.stream.read_to_end(&mut rest);
    assert!(rest.is_empty(), "{read:?}");
    assert!(told.elapsed() >= Duration::from_secs(1), "{:?}", told.elapsed());
    let (status, took) = program.wait();
    assert!(status.success() && took < AT_ONCE, "{status} after {took:?}");
    assert!(program.log().contains("the time to drain is over"), "{}", program.log());
}

#[test]
fn sigint_ends_everything_at_once_also_while_draining() {
    for signals in [&[Signal::INT][..], &[Signal::TERM, Signal::INT]] {
        let (origin, _release) = gated(1);
        let mut program = Program::start(&one(&origin), &[]);
        let _busy = begin_slow(program.http, &origin);
        let (last, first) = signals.split_last().unwrap();
        for signal in first {
            program.signal(*signal);
            until("it drains", || program.ready().status() == 503);
        }
        program.signal(*last);
        let (status, took) = program.wait();
        assert!(status.success() && took < AT_ONCE, "{signals:?}: {status} after {took:?}");
    }
}

#[test]
fn what_the_kernel_has_queued_when_accepting_ends_is_served() {
    let origin = Origin::named("a");
    let mut program = Program::start(&one(&origin), &["drain.delay=0s"]);
    // It stands still while clients connect: the kernel does that alone. They are more than a task of the runtime
    // accepts in one go (128), and some of them have said something by then. The others have a second to speak.
    program.signal(Signal::STOP);
    let mut clients: Vec<_> = (0..300).map(|_| Client::connect(program.http)).collect();
    let (speaking, silent) = clients.split_at_mut(20);
    let request = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
    speaking.iter_mut().for_each(|client| client.send(request));
    program.signal(Signal::TERM);
    program.signal(Signal::CONT);
    until("it does not listen any more", || TcpStream::connect(program.http).is_err());
    silent.iter_mut().for_each(|client| client.send(request));
    for client in &mut clients {
        let answer = client.response();
        assert_eq!((answer.status(), answer.field("connection")), (200, Some("close")));
    }
    let (status, took) = program.wait();
    assert!(status.success() && took < AT_ONCE, "{status} after {took:?}");
}

#[test]
fn a_client_that_connects_and_says_nothing_delays_the_end_by_a_second_at_most() {
    let mut program = Program::start("", &["drain.delay=0s"]);
    let mut silent: Vec<_> =
        [program.http, program.https].into_iter().map(TcpStream::connect).collect::<Result<_, _>>().unwrap();
    silent.push({
        let mut beginning = TcpStream::connect(program.http).unwrap();
        beginning.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        beginning
    });
    let metrics = || Client::connect(program.admin).get("admin", "/metrics").text().to_owned();
    until("all are accepted", || metrics().contains("gateway_client_connections_open 3\n"));
    let told = Instant::now();
    program.signal(Signal::TERM);
    let (status, _) = program.wait();
    assert!(status.success() && told.elapsed() < Duration::from_secs(1) + AT_ONCE, "{:?}", told.elapsed());
    drop(silent);
}

#[test]
fn http2_clients_get_goaway_and_their_streams_end() {
    let (origin, release) = gated(1);
    let mut program = Program::start(&one(&origin), &["drain.delay=1s"]);
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
        // Told to go at once, and not at the end of the delay; what was begun goes on.
        let told = Instant::now();
        while send.clone().ready().await.is_ok() {
            assert!(told.elapsed() < Duration::from_secs(1), "no GOAWAY");
            tokio::task::yield_now().await;
        }
        // Who comes while the gateway is leaving gets an answer before it is sent away.
        let (late, late_end) = open().await;
        let (answer, _) = late.ready().await.unwrap().send_request(get("/"), true).unwrap();
        assert_eq!(answer.await.unwrap().status(), 200);
        late_end.await.unwrap().unwrap();
        release.send(()).unwrap();
        let mut answer = slow.await.unwrap().into_body();
        assert_eq!(answer.data().await.unwrap().unwrap(), "a");
        assert!(answer.data().await.is_none());
        drop(answer);
        drop(send);
        end.await.unwrap().unwrap();
    });
    let (status, took) = program.wait();
    assert!(status.success() && took < Duration::from_secs(1) + AT_ONCE, "{status} after {took:?}");
}

/// What `Deaf` gets.
const LENGTH: usize = 600_000;

/// An HTTP/2 client that has asked for much, and looks at its socket no more; the gateway drains.
struct Deaf {
    send: h2::client::SendRequest<&'static [u8]>,
    connection: h2::client::Connection<tokio::net::TcpStream, &'static [u8]>,
    answer: h2::client::ResponseFuture,
}

impl Deaf {
    async fn begin(program: &Program, origin: &Origin, release: mpsc::Sender<()>) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        // Most of the answer has to wait on the gateway's side.
        socket.set_recv_buffer_size(64 << 10).unwrap();
        let stream = socket.connect(program.http).await.unwrap();
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(1 << 20).initial_connection_window_size(1 << 20);
        let (mut send, mut connection) = builder.handshake(stream).await.unwrap();
        let request = http::Request::get("http://a.example/slow").body(()).unwrap();
        let (answer, _) = send.send_request(request, true).unwrap();
        while origin.heads() < 1 {
            assert!(futures::poll!(&mut connection).is_pending());
            tokio::task::yield_now().await;
        }
        program.signal(Signal::TERM);
        until("it does not listen any more", || TcpStream::connect(program.http).is_err());
        release.send(()).unwrap();
        Self { send, connection, answer }
    }
}

/// The gateway is done with a stream when the kernel has its last bytes, which may be long before the client reads them.
/// If the connection is closed by then, what the client says while it reads is answered by a reset.
#[tokio::test]
async fn a_slow_http2_reader_gets_all_of_its_answer() {
    let (origin, release) = gated(LENGTH);
    let mut program = Program::start(&one(&origin), &["drain.delay=0s"]);
    let deaf = Deaf::begin(&program, &origin, release).await;
    // Longer than anybody has who is owed nothing.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let end = tokio::spawn(deaf.connection);
    let mut body = deaf.answer.await.unwrap().into_body();
    let mut length = 0;
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        length += data.len();
    }
    assert_eq!(length, LENGTH);
    drop((deaf.send, body));
    end.await.unwrap().unwrap();
    let (status, took) = program.wait();
    assert!(status.success() && took < AT_ONCE, "{status} after {took:?}: {}", program.log());
}

#[tokio::test]
async fn an_http2_reader_that_stands_still_is_cut_off_at_the_stall_deadline() {
    let (origin, release) = gated(LENGTH);
    let mut program = Program::start(&one(&origin), &["drain.delay=0s", "timeouts.stall=2s"]);
    let deaf = Deaf::begin(&program, &origin, release).await;
    let began = Instant::now();
    let (status, _) = program.wait();
    assert!(status.success() && program.log().contains("drained"), "{}", program.log());
    let took = began.elapsed();
    // The deadline begins anew with each byte that the kernel takes. Nothing else ends it before the limit of 25 s.
    assert!(took >= Duration::from_millis(1800) && took < Duration::from_secs(10), "{took:?}");
    drop(deaf);
}

/// Clients of each kind that ask until the gateway has been unready for a while, as behind a load balancer.
struct Load {
    has_left: AtomicBool,
    sent: AtomicUsize,
}

impl Load {
    fn goes_on(&self) -> bool {
        self.sent.fetch_add(1, Ordering::Relaxed);
        !self.has_left.load(Ordering::Relaxed)
    }

    /// Keeps a connection until it is told to close it.
    fn keep_alive(&self, http: SocketAddr) {
        let mut client = Client::connect(http);
        while self.goes_on() {
            let answer = client.get("a.example", "/");
            assert_eq!(answer.status(), 200);
            if answer.field("connection") == Some("close") {
                client = Client::connect(http);
            }
        }
    }

    /// Connects anew for each request.
    fn connect(&self, http: SocketAddr) {
        while self.goes_on() {
            let mut client = Client::connect(http);
            client.send("GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n");
            assert_eq!(client.response().status(), 200);
            assert_eq!(client.rest(), b"");
        }
    }

    /// Has several streams at a time over a connection that it keeps until it is told to go.
    async fn http2(&self, http: SocketAddr) {
        while !self.has_left.load(Ordering::Relaxed) {
            let stream = tokio::net::TcpStream::connect(http).await.unwrap();
            let (send, connection) = h2::client::handshake(stream).await.unwrap();
            let end = tokio::spawn(connection);
            while let Ok(mut ready) = send.clone().ready().await {
                if !self.goes_on() {
                    break;
                }
                let request = || http::Request::get("http://a.example/").body(()).unwrap();
                let Ok((first, _)) = ready.send_request(request(), true) else { break };
                let second = ready.ready().await.ok().and_then(|mut ready| {
                    let (second, _) = ready.send_request(request(), true).ok()?;
                    Some(second)
                });
                for answer in [Some(first), second].into_iter().flatten() {
                    match answer.await {
                        Ok(answer) => assert_eq!(answer.status(), 200),
                        Err(error) => assert!(is_unprocessed(&error), "{error}"),
                    }
                }
            }
            drop(send);
            end.await.unwrap().unwrap();
        }
    }
}

/// Whether a request came after the last one that a GOAWAY promises to answer: it is sure not to have been processed, and
/// clients ask again (RFC 9113 §6.8). The client's `h2` lets it happen where the machine is busy: it answers the PING
/// that comes with the first GOAWAY before it sends a request that was begun earlier.
fn is_unprocessed(error: &h2::Error) -> bool {
    error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR)
}

#[test]
fn no_request_fails_while_a_loaded_gateway_drains() {
    let origin = Origin::named("a");
    let mut program = Program::start(&one(&origin), &["drain.delay=3s"]);
    let http = program.http;
    let load = Arc::new(Load { has_left: AtomicBool::new(false), sent: AtomicUsize::new(0) });
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
    until("the load is there", || sent() > 500);
    let told = Instant::now();
    program.signal(Signal::TERM);
    until("it is not ready", || program.ready().status() == 503);
    let before = sent();
    until("more is asked while it is leaving", || sent() > before + 500 || told.elapsed().as_secs() >= 2);
    load.has_left.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().unwrap();
    }
    assert!(told.elapsed() < Duration::from_secs(3), "the load outlasted the delay: {:?}", told.elapsed());
    assert!(sent() > before, "nothing was asked while it was leaving");
    let (status, _) = program.wait();
    assert!(status.success() && program.log().contains("drained"), "{}", program.log());
}
