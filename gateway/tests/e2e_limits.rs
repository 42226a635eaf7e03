//! Clients that occupy resources: slow heads, slow bodies, slow readers, too many connections.
//!
//! Each is cut off at its timeout or limit, and other clients are served meanwhile.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

#[path = "support/program.rs"]
mod program;
mod support;

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gateway::settings::{MinBodyRate, Settings};
use program::Program;
use support::{Client, DEADLINE, Message, Origin, TestGateway, Then, ok, settings, single_route, until};

/// Maximum delay of a timeout: two ticks of the worker's clock, plus the delay of a busy machine.
const MAX_DELAY: Duration = Duration::from_secs(2);

/// A client that is served continuously while other clients misbehave.
struct Witness {
    stop: Arc<AtomicBool>,
    client: JoinHandle<usize>,
}

impl Witness {
    fn start(http: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let client = std::thread::spawn(move || {
            let mut client = Client::connect(http);
            let mut count = 0;
            while !stopped.load(Ordering::Relaxed) || count == 0 {
                assert_eq!(client.get("a.example", "/").status(), 200);
                count += 1;
            }
            count
        });
        Self { stop, client }
    }

    /// Stops the client and asserts that all its requests were served.
    fn assert_served(self) {
        self.stop.store(true, Ordering::Relaxed);
        assert!(self.client.join().unwrap() > 0);
    }
}

/// Waits: the passage of time is what these tests are about.
fn wait_for(time: Duration) {
    let began = Instant::now();
    while let Some(left) = time.checked_sub(began.elapsed()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
}

/// Sends one byte each `interval` until the gateway responds.
fn trickle(client: &mut Client, interval: Duration) -> Message {
    client.stream.set_read_timeout(Some(interval)).unwrap();
    let began = Instant::now();
    let mut response = Vec::new();
    loop {
        assert!(began.elapsed() < DEADLINE, "the gateway does not end the request");
        // The gateway closes after its response, so this write may fail.
        let _ = client.stream.write_all(b"x");
        let mut buffer = [0; 4096];
        match client.stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => response.extend_from_slice(&buffer[..read]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_reset) => break,
        }
    }
    let text = String::from_utf8(response).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    Message { line: head.lines().next().unwrap().to_owned(), body: body.into(), ..Message::default() }
}

#[test]
fn trickled_head_is_408_at_the_header_timeout() {
    let origin = Origin::named("a");
    let limit = Duration::from_millis(500);
    let gateway =
        TestGateway::with(&single_route(&origin), settings(|all| all.timeouts.request_header = limit));
    let witness = Witness::start(gateway.gateway.http);
    let began = Instant::now();
    let mut client = gateway.client();
    client.send("GET / HTTP/1.1\r\nHost: a.example\r\nX-Slow: ");
    let response = trickle(&mut client, Duration::from_millis(20));
    assert_eq!((response.status(), response.text()), (408, "408 head_timeout\n"));
    assert!(began.elapsed() >= limit && began.elapsed() < limit + MAX_DELAY, "{:?}", began.elapsed());
    witness.assert_served();
}

#[test]
fn heads_are_limited_as_configured_in_both_protocols() {
    let origin = Origin::start(|call| {
        let long = format!("HTTP/1.1 200 OK\r\nX-Long: {}\r\nContent-Length: 0\r\n\r\n", "x".repeat(5000));
        let response = if call.request.target() == "/long" { long } else { ok("a") };
        call.respond(response).map(|()| Then::Keep)
    });
    let limits = http1::HeadLimits { head_bytes: 4 << 10, fields: 20, target_bytes: 512 };
    let gateway = TestGateway::with(&single_route(&origin), settings(|all| all.limits.head = limits));
    let target = format!("/{}", "x".repeat(512));
    let fields: Vec<_> = (0..21).map(|n| (format!("x-{n}"), "x".to_owned())).collect();
    let long = vec![("x-long".to_owned(), "x".repeat(4 << 10))];
    #[derive(Clone, Copy)]
    struct Case<'a> {
        target: &'a str,
        fields: &'a [(String, String)],
        status: u16,
    }
    let cases = [
        Case { target: "/", fields: &[], status: 200 },
        Case { target: &target[..512], fields: &[], status: 200 },
        Case { target: &target, fields: &[], status: 414 },
        Case { target: "/", fields: &fields, status: 431 },
        Case { target: "/", fields: &long, status: 431 },
        Case { target: "/long", fields: &[], status: 502 },
    ];
    for Case { target, fields, status } in cases {
        let lines: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let mut client = gateway.client();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n{lines}\r\n"));
        assert_eq!(client.response().status(), status, "{} bytes of target", target.len());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(gateway.gateway.http).await.unwrap();
        let (send, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        for Case { target, fields, status } in cases {
            let mut request = http::Request::get(format!("http://a.example{target}"));
            for (name, value) in fields {
                request = request.header(name, value);
            }
            let mut send = send.clone().ready().await.unwrap();
            let (response, _) = send.send_request(request.body(()).unwrap(), true).unwrap();
            assert_eq!(response.await.unwrap().status(), status, "{} bytes of target, HTTP/2", target.len());
        }
    });
}

/// Starts a gateway with a minimum body rate of 10 kB/s after a grace period of 500 ms.
fn gateway_with_min_rate(origin: &Origin) -> TestGateway {
    let rate = MinBodyRate { bytes_per_second: NonZeroU32::new(10_000), grace: Duration::from_millis(500) };
    TestGateway::with(&single_route(origin), settings(|all| all.limits.min_body_rate = rate))
}

#[test]
fn trickled_body_is_408_after_the_grace_period() {
    let origin = Origin::named("a");
    let gateway = gateway_with_min_rate(&origin);
    let witness = Witness::start(gateway.gateway.http);
    let began = Instant::now();
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1000000\r\n\r\n");
    let response = trickle(&mut client, Duration::from_millis(20));
    assert_eq!((response.status(), response.text()), (408, "408 body_timeout\n"));
    let (grace, elapsed) = (Duration::from_millis(500), began.elapsed());
    assert!(elapsed >= grace && elapsed < grace + MAX_DELAY, "{elapsed:?}");
    witness.assert_served();
}

#[test]
fn min_body_rate_ignores_chunked_bodies_and_slow_endpoints() {
    let origin = Origin::start(|call| {
        if call.request.field("content-length").is_some() {
            // Longer than the grace period. The body fills all buffers up to this endpoint.
            wait_for(Duration::from_millis(1500));
        }
        call.respond(ok("a")).map(|()| Then::Keep)
    });
    let gateway = gateway_with_min_rate(&origin);
    let mut large = gateway.client();
    let length = 16 << 20;
    large.send(format!("PUT / HTTP/1.1\r\nHost: a.example\r\nContent-Length: {length}\r\n\r\n"));
    large.send(vec![b'x'; length]);
    assert_eq!(large.response().status(), 200);
    assert_eq!(origin.last().body.len(), length);
    let mut chunked = gateway.client();
    chunked.send("PUT / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n");
    let began = Instant::now();
    let mut chunks = 0;
    while began.elapsed() < Duration::from_secs(1) {
        chunked.send("1\r\nx\r\n");
        chunks += 1;
        wait_for(Duration::from_millis(20));
    }
    chunked.send("0\r\n\r\n");
    assert_eq!(chunked.response().status(), 200);
    assert_eq!(origin.last().body.len(), chunks);
}

#[test]
fn stalled_reader_is_cut_off_after_the_stall_timeout() {
    let origin = Origin::start(|call| {
        let large = call.request.target() == "/large";
        let body = if large { "x".repeat(32 << 20) } else { "a".to_owned() };
        call.respond(ok(&body)).map(|()| Then::Keep)
    });
    let stall = Duration::from_millis(500);
    let gateway = TestGateway::with(&single_route(&origin), settings(|all| all.timeouts.stall = stall));
    let witness = Witness::start(gateway.gateway.http);
    let mut client = gateway.client();
    let began = Instant::now();
    client.send("GET /large HTTP/1.1\r\nHost: a.example\r\n\r\n");
    let stalled = "gateway_aborts_total{reason=\"client_stalled\"} 1";
    until("the reader is cut off", || gateway.admin("/metrics").1.contains(stalled));
    assert!(began.elapsed() >= stall && began.elapsed() < stall + MAX_DELAY, "{:?}", began.elapsed());
    let mut rest = Vec::new();
    let read = client.stream.read_to_end(&mut rest);
    assert!(rest.len() < 32 << 20, "{read:?}");
    witness.assert_served();
}

/// Sends one GET on a new connection. Any failure of the client is an error.
fn try_get(http: SocketAddr, host: &str) -> io::Result<u16> {
    let mut stream = TcpStream::connect(http)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let head = support::Wire::new(stream).head()?;
    Ok(head.ok_or(ErrorKind::UnexpectedEof)?.status())
}

fn is_served(http: SocketAddr) -> bool {
    try_get(http, "a.example").is_ok_and(|status| status == 200)
}

#[test]
fn clients_beyond_the_limit_are_reset_and_others_served() {
    let blocking = BlockingOrigin::start();
    let settings = settings(|all| all.limits.client_connections = NonZeroU32::new(3));
    let gateway = TestGateway::with(&single_route(&blocking.origin), settings);
    let http = gateway.gateway.http;
    // Each waits for its response, so none gives way.
    let mut clients: Vec<_> = (0..3).map(|_| support::Wire::new(send_blocked(http).unwrap())).collect();
    blocking.origin.wait_heads(3);
    for _ in 0..20 {
        let error = try_get(http, "a.example").unwrap_err();
        // The kind depends on which arrives first, the reset or the request.
        assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}");
    }
    assert!(gateway.admin("/metrics").1.contains("gateway_client_connections_rejected_total 20\n"));
    blocking.release();
    for client in &mut clients {
        assert_eq!(client.response().status(), 200);
    }
    clients.pop();
    until("its permit is released", || is_served(http));
}

#[test]
fn idle_connections_of_one_address_give_way_to_new_clients() {
    let origin = Origin::named("a");
    let settings = settings(|all| all.limits.client_connections = NonZeroU32::new(20));
    let gateway = TestGateway::with(&single_route(&origin), settings);
    let mut idle: Vec<_> = (0..20).map(|_| gateway.client()).collect();
    for client in &mut idle {
        assert_eq!(client.get("a.example", "/").status(), 200);
    }
    for _ in 0..30 {
        assert!(is_served(gateway.gateway.http));
    }
    // The connection that was used last is open, and the one that was idle for the longest time is closed.
    assert_eq!(idle.last_mut().unwrap().get("a.example", "/").status(), 200);
    assert!(idle[0].rest().is_empty());
    assert!(gateway.admin("/metrics").1.contains("gateway_client_connections_rejected_total 0\n"));
}

/// An origin that responds to `/blocked` only after `release`, and to other targets at once.
struct BlockingOrigin {
    origin: Origin,
    gate: Arc<(Mutex<bool>, Condvar)>,
}

impl BlockingOrigin {
    fn start() -> Self {
        let gate: Arc<(Mutex<bool>, Condvar)> = Arc::default();
        let script_gate = Arc::clone(&gate);
        let origin = Origin::start(move |call| {
            call.read_body()?;
            if call.request.target() == "/blocked" {
                let (is_open, changed) = &*script_gate;
                drop(changed.wait_timeout_while(is_open.lock().unwrap(), DEADLINE, |is_open| !*is_open));
            }
            call.wire.stream.write_all(ok("a").as_bytes()).map(|()| Then::Close)
        });
        Self { origin, gate }
    }

    fn release(&self) {
        *self.gate.0.lock().unwrap() = true;
        self.gate.1.notify_all();
    }
}

/// Sends a request that blocks at the endpoint.
fn send_blocked(http: SocketAddr) -> io::Result<TcpStream> {
    let mut client = TcpStream::connect(http)?;
    client.write_all(b"GET /blocked HTTP/1.1\r\nHost: a.example\r\n\r\n")?;
    Ok(client)
}

#[test]
fn few_descriptors_still_leave_one_for_each_endpoint() {
    let blocking = BlockingOrigin::start();
    // A quarter of 128 is reserved for the gateway itself. Half of the rest is 48.
    let program = Program::limited(&single_route(&blocking.origin), &[], Some(128));
    let clients: Vec<_> = (0..48).map(|_| send_blocked(program.http).unwrap()).collect();
    // Each client has a connection to the endpoint at the same time.
    blocking.origin.wait_heads(48);
    assert!(try_get(program.http, "a.example").is_err());
    assert_eq!(program.ready().status(), 200, "the admin pages have reserved descriptors");
    blocking.release();
    drop(clients);
    let began = Instant::now();
    until("the gateway recovers", || is_served(program.http));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[test]
fn descriptor_exhaustion_neither_spins_nor_persists() {
    let blocking = BlockingOrigin::start();
    // The client limit exceeds the descriptors, so clients and their endpoints use all of them.
    let program =
        Program::limited(&single_route(&blocking.origin), &["limits.clientConnections=1000"], Some(128));
    assert!(program.log().contains("more than the file descriptors allow"), "{}", program.log());
    let accept_errors = || program.log().matches("accepting failed").count() as u64;
    let mut clients = Vec::new();
    until("the descriptors are used up", || {
        // 200 exceed the descriptors. At 4096, the length of the kernel's queue, a connect would block.
        if clients.len() < 200 {
            clients.extend(send_blocked(program.http));
        }
        accept_errors() > 0
    });
    let (began, ticks, errors) = (Instant::now(), program.processor_ticks(), accept_errors());
    wait_for(Duration::from_secs(1));
    let (ticks, errors) = (program.processor_ticks() - ticks, accept_errors() - errors);
    assert!(ticks < 30, "{ticks} ticks of 10 ms in {:?} without work", began.elapsed());
    assert!(errors <= 1 + began.elapsed().as_secs(), "{errors} accept errors in {:?}", began.elapsed());
    blocking.release();
    drop(clients);
    let began = Instant::now();
    until("the gateway recovers", || is_served(program.http));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

/// The kernel selects the worker that accepts a connection. The gateway rebalances an uneven choice.
#[test]
fn clients_are_balanced_across_workers() {
    let origin = Origin::named("a");
    let settings = Settings { workers: Some(16), ..Settings::default() };
    let gateway = TestGateway::with(&single_route(&origin), settings);
    let mut clients: Vec<_> = (0..16).map(|_| gateway.client()).collect();
    for client in &mut clients {
        assert_eq!(client.get("a.example", "/").status(), 200);
    }
    let by_worker = || {
        let page = gateway.admin("/metrics").1;
        let gauges = page.lines().filter(|line| line.starts_with("gateway_worker_client_connections{"));
        gauges.map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap()).collect::<Vec<u64>>()
    };
    let counts = by_worker();
    assert_eq!((counts.len(), counts.iter().sum()), (16, 16_u64), "{counts:?}");
    // Without balancing, one worker would have three clients with a probability of 96 %.
    assert!(counts.iter().all(|count| *count <= 2), "{counts:?}");
    drop(clients);
    until("all clients are disconnected", || by_worker().iter().all(|count| *count == 0));
}
