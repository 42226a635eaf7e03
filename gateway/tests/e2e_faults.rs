//! Endpoints that exit, hang, send garbage, or refuse or ignore connections, and the limits of upstream connections.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use support::{
    ANY_PORT, DEADLINE, Follows, Message, Origin, TestGateway, Then, ok, settings, single_route,
    single_route_to, until,
};

/// Returns the value of a counter on the metrics page.
fn counter(gateway: &TestGateway, name: &str) -> u64 {
    let (_, page) = gateway.admin("/metrics");
    let line = page.lines().find_map(|line| line.strip_prefix(&format!("gateway_{name}_total ")));
    line.unwrap_or_else(|| panic!("no {name}: {page}")).parse().unwrap()
}

// ===== an endpoint that stops and restarts =====

/// An endpoint that can stop and restart on the same address.
struct RestartableEndpoint {
    address: SocketAddr,
    served: Arc<AtomicUsize>,
    running: Option<Running>,
}

struct Running {
    listener: TcpListener,
    streams: Arc<Mutex<Vec<TcpStream>>>,
    accepting: JoinHandle<()>,
}

impl RestartableEndpoint {
    fn new() -> Self {
        let listener = TcpListener::bind(ANY_PORT).unwrap();
        let address = listener.local_addr().unwrap();
        let mut endpoint = Self { address, served: Arc::default(), running: None };
        endpoint.accept_from(listener);
        endpoint
    }

    fn accept_from(&mut self, listener: TcpListener) {
        let streams = Arc::<Mutex<Vec<TcpStream>>>::default();
        let (incoming, open, served) =
            (listener.try_clone().unwrap(), Arc::clone(&streams), Arc::clone(&self.served));
        let accepting = std::thread::spawn(move || {
            while let Ok((stream, _)) = incoming.accept() {
                open.lock().unwrap().push(stream.try_clone().unwrap());
                let served = Arc::clone(&served);
                std::thread::spawn(move || serve(stream, &served));
            }
        });
        self.running = Some(Running { listener, streams, accepting });
    }

    /// Closes the listener and all connections, as the kernel does for a killed process.
    fn stop(&mut self) {
        let running = self.running.take().unwrap();
        socket2::SockRef::from(&running.listener).shutdown(Shutdown::Both).unwrap();
        running.accepting.join().unwrap();
        drop(running.listener);
        for stream in running.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Listens on the same address again.
    fn restart(&mut self) {
        self.accept_from(TcpListener::bind(self.address).unwrap());
    }

    /// Returns the number of responses sent.
    fn served(&self) -> usize {
        self.served.load(Relaxed)
    }
}

fn serve(mut stream: TcpStream, served: &AtomicUsize) {
    let (mut buffer, mut read) = ([0; 4096], 0);
    while let Ok(more @ 1..) = stream.read(&mut buffer[read..]) {
        read += more;
        if buffer[..read].ends_with(b"\r\n\r\n") {
            read = 0;
            if stream.write_all(ok("served").as_bytes()).is_err() {
                return;
            }
            served.fetch_add(1, Relaxed);
        }
    }
}

/// Clients that send one request after the other until they are stopped.
struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Outcome>>,
}

/// The responses that clients received.
#[derive(Default)]
struct Outcome {
    /// Number of 200 responses.
    served: usize,
    /// Bodies of the other responses.
    failed: Vec<String>,
}

impl Load {
    fn start(gateway: &TestGateway, clients: usize) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let client = |_| {
            let (mut client, stop) = (gateway.client(), Arc::clone(&stop));
            std::thread::spawn(move || {
                let mut outcome = Outcome::default();
                while !stop.load(Relaxed) {
                    let response = client.get("a.example", "/");
                    if response.status() == 200 {
                        outcome.served += 1;
                    } else {
                        outcome.failed.push(response.text().to_owned());
                    }
                }
                outcome
            })
        };
        let clients = (0..clients).map(client).collect();
        Self { stop, clients }
    }

    /// Stops the clients, and returns the sum of their outcomes.
    fn stop(self) -> Outcome {
        self.stop.store(true, Relaxed);
        let mut total = Outcome::default();
        for client in self.clients {
            let outcome = client.join().unwrap();
            total.served += outcome.served;
            total.failed.extend(outcome.failed);
        }
        total
    }
}

// ===== an address that ignores connection attempts =====

/// An address whose kernel drops each SYN.
struct Blackhole {
    address: SocketAddr,
    _socket: socket2::Socket,
    _filling: Vec<std::io::Result<TcpStream>>,
}

impl Blackhole {
    /// Fills an accept queue of length 0. The kernel then drops further SYNs.
    fn new() -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&ANY_PORT.into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let fill = |_| TcpStream::connect_timeout(&address, Duration::from_millis(100));
        let filling: Vec<_> = (0..3).map(fill).collect();
        assert!(filling.iter().any(Result::is_err), "the accept queue is not full");
        Self { address, _socket: socket, _filling: filling }
    }
}

/// Returns a channel by which a test releases an endpoint's script.
fn gate() -> (Sender<()>, Mutex<Receiver<()>>) {
    let (open, gate) = channel();
    (open, Mutex::new(gate))
}

// ===== failures =====

#[test]
fn stopped_endpoint_fails_no_get_and_returns_within_10s() {
    let mut endpoints = [(); 3].map(|()| RestartableEndpoint::new());
    let gateway =
        TestGateway::start(&single_route_to(&endpoints.each_ref().map(|endpoint| endpoint.address)));
    let load = Load::start(&gateway, 4);
    until("all endpoints serve", || endpoints.iter().all(|endpoint| endpoint.served() > 100));
    endpoints[1].stop();
    until("the gateway fails to connect", || counter(&gateway, "upstream_connect_failures") > 0);
    let noticed = Instant::now();
    until("a second has passed", || noticed.elapsed() > Duration::from_secs(1));
    // Four clients may have connected at the same time. Then the endpoint is ejected, and gets one attempt a second.
    let failures = counter(&gateway, "upstream_connect_failures");
    assert!(failures <= 4 + 2, "{failures} attempts to connect to the stopped endpoint");
    let before = endpoints[1].served();
    endpoints[1].restart();
    let restarted = Instant::now();
    until("the endpoint serves again", || endpoints[1].served() > before);
    assert!(restarted.elapsed() < Duration::from_secs(10), "{:?}", restarted.elapsed());
    let Outcome { served, failed } = load.stop();
    assert!(failed.is_empty() && served > 300, "{served} served, failed: {failed:?}");
}

#[test]
fn blackholed_endpoint_delays_one_request_and_fails_none() {
    let (a, b, hole) = (Origin::named("a"), Origin::named("b"), Blackhole::new());
    let gateway = TestGateway::start(&single_route_to(&[a.address, hole.address, b.address]));
    let mut client = gateway.client();
    let (began, mut slow) = (Instant::now(), 0);
    // Long enough for the first ejection of 1 s and for the attempt after it.
    while began.elapsed() < Duration::from_secs(3) {
        let sent = Instant::now();
        client.send("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\n\r\nhi");
        assert_eq!(client.response().status(), 200);
        slow += usize::from(sent.elapsed() > Duration::from_millis(700));
    }
    assert_eq!(slow, 1, "requests that waited for the endpoint");
    assert!(
        counter(&gateway, "upstream_connect_failures") >= 2,
        "the gateway has not probed the endpoint again"
    );
}

#[test]
fn hanging_or_malformed_endpoint_is_ejected_after_5_failures() {
    for garbage in ["", "garbage\r\n\r\n"] {
        let bad = Origin::start(move |call| {
            call.respond(garbage)?;
            Ok(if garbage.is_empty() { Then::Hang } else { Then::Close })
        });
        let good = Origin::named("good");
        let settings = settings(|all| all.timeouts.first_byte = Duration::from_millis(20));
        let gateway = TestGateway::with(&single_route_to(&[bad.address, good.address]), settings);
        let statuses: Vec<_> = (0..40).map(|_| gateway.get("a.example", "/").status()).collect();
        let failed = statuses.iter().filter(|status| **status != 200).count();
        // One more failure if the ejection of 1 s ends during the test.
        assert!((5..=6).contains(&failed), "{garbage:?}: {statuses:?}");
        assert!(statuses[..10].iter().filter(|status| **status == 200).count() >= 5, "{statuses:?}");
    }
}

#[test]
fn put_lost_on_a_reused_connection_is_retried_but_no_post() {
    // The origin reads the second request of each connection, and closes without a response.
    let origin = Origin::start(|call| {
        if call.turn == 2 {
            call.read_body()?;
            return Ok(Then::Close);
        }
        call.respond(ok("a")).map(|()| Then::Keep)
    });
    let gateway = TestGateway::start(&single_route(&origin));
    let mut client = gateway.client();
    let body = "x".repeat(20_000);
    let send = |method: &str| {
        format!("{method} /{method} HTTP/1.1\r\nHost: a.example\r\nContent-Length: 20000\r\n\r\n{body}")
    };
    assert_eq!(client.get("a.example", "/").status(), 200);
    client.send(send("PUT"));
    assert_eq!(client.response().status(), 200);
    let received = |target: &str| -> Vec<Message> {
        origin.requests().into_iter().filter(|request| request.target() == target).collect()
    };
    let puts = received("/PUT");
    assert_eq!(puts.len(), 2, "one attempt and one retry");
    assert!(puts.iter().all(|put| put.body == body.as_bytes()), "an attempt has an incomplete body");
    client.send(send("POST"));
    assert_eq!(client.response().status(), 502);
    assert_eq!(received("/POST").len(), 1);
    // A body larger than the replay buffer is sent once.
    assert_eq!(client.get("a.example", "/").status(), 200);
    let large = "PUT /large HTTP/1.1\r\nHost: a.example\r\nContent-Length: 200000\r\n\r\n".to_owned()
        + &"y".repeat(200_000);
    client.send(large);
    assert_eq!(client.response().status(), 502);
    assert_eq!(received("/large").len(), 1);
}

#[test]
fn response_reset_after_its_head_is_not_retried() {
    let origin = Origin::start(|call| {
        call.respond("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe")?;
        Ok(Then::Reset)
    });
    let gateway = TestGateway::start(&single_route_to(&[origin.address]));
    let mut client = gateway.client();
    client.send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    assert!(client.message(Follows::Response).is_err(), "the response looks complete");
    assert_eq!(origin.count(), 1);
}

#[test]
fn removed_endpoint_completes_its_request_and_is_disconnected() {
    let (open, closed) = gate();
    let origin = Origin::start(move |call| {
        if call.request.target() == "/slow" {
            let _ = closed.lock().unwrap().recv();
        }
        call.respond(ok("old")).map(|()| Then::Keep)
    });
    let gateway = TestGateway::start(&single_route(&origin));
    let mut client = gateway.client();
    assert_eq!(client.get("a.example", "/").text(), "old");
    client.send("GET /slow HTTP/1.1\r\nHost: a.example\r\n\r\n");
    origin.wait_heads(2);
    let new = Origin::named("new");
    gateway.replace("all.yaml", &single_route_to(&[new.address]));
    assert_eq!(gateway.get("a.example", "/").text(), "new");
    open.send(()).unwrap();
    assert_eq!(client.response().text(), "old");
    until("the gateway has closed its connections", || origin.open() == 0);
}

// ===== limits =====

/// Upstream limits of a gateway.
struct Limits {
    connections: u32,
    pending: u32,
    /// Maximum wait of a pending request.
    connect_total: Duration,
    workers: u16,
}

/// Starts a gateway with these limits.
fn limited(endpoints: &[SocketAddr], limits: &Limits) -> TestGateway {
    let settings = settings(|all| {
        all.limits.upstream_connections = limits.connections.try_into().unwrap();
        all.limits.pending_requests = limits.pending;
        all.timeouts.connect_total = limits.connect_total;
        all.workers = Some(limits.workers);
    });
    TestGateway::with(&single_route_to(endpoints), settings)
}

#[test]
fn request_beyond_the_pending_limit_gets_503_with_retry_after() {
    let (open, closed) = gate();
    let origin = Origin::start(move |call| {
        let _ = closed.lock().unwrap().recv();
        call.respond(ok("a")).map(|()| Then::Keep)
    });
    let limits = Limits { connections: 1, pending: 1, connect_total: DEADLINE, workers: 1 };
    let gateway = limited(&[origin.address], &limits);
    let mut clients = [gateway.client(), gateway.client()];
    clients[0].send("GET /1 HTTP/1.1\r\nHost: a.example\r\n\r\n");
    origin.wait_heads(1);
    // A client that disconnects while its request is pending frees its slot.
    let mut leaving = gateway.client();
    leaving.send("GET /left HTTP/1.1\r\nHost: a.example\r\n\r\n");
    until("the request is pending", || gateway.get("a.example", "/").status() == 503);
    let rejected = gateway.get("a.example", "/");
    assert_eq!((rejected.status(), rejected.field("gateway-reason")), (503, Some("upstream_overloaded")));
    assert_eq!(rejected.field("retry-after"), Some("1"));
    drop(leaving);
    until("the slot is free", || {
        clients[1] = gateway.client();
        clients[1].stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        clients[1].send("GET /2 HTTP/1.1\r\nHost: a.example\r\n\r\n");
        // The request is pending if it gets no response within 1 s.
        !matches!(clients[1].head(), Ok(Some(_)))
    });
    clients[1].stream.set_read_timeout(Some(DEADLINE)).unwrap();
    open.send(()).unwrap();
    assert_eq!(clients[0].response().status(), 200);
    open.send(()).unwrap();
    assert_eq!(clients[1].response().status(), 200);
    assert_eq!(origin.connections(), 1, "the second request reuses the connection");
}

#[test]
fn pending_request_gets_503_after_the_connect_timeout() {
    let origin = Origin::start(|_| Ok(Then::Hang));
    let connect_total = Duration::from_millis(500);
    let limits = Limits { connections: 1, pending: 8, connect_total, workers: 1 };
    let gateway = limited(&[origin.address], &limits);
    let mut busy = gateway.client();
    busy.send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    origin.wait_heads(1);
    let sent = Instant::now();
    assert_eq!(gateway.get("a.example", "/").field("gateway-reason"), Some("upstream_overloaded"));
    assert!(sent.elapsed() >= connect_total, "{:?}", sent.elapsed());
}

#[test]
fn connection_limit_spans_workers_and_serves_all_requests() {
    let origin = Origin::named("a");
    let limits = Limits { connections: 2, pending: 64, connect_total: DEADLINE, workers: 4 };
    let gateway = limited(&[origin.address], &limits);
    let max_open = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..24 {
            scope.spawn(|| {
                for _ in 0..3 {
                    assert_eq!(gateway.get("a.example", "/").status(), 200);
                    max_open.fetch_max(origin.open(), Relaxed);
                }
            });
        }
    });
    // The origin notices a close later than the gateway, so up to two closed connections still count.
    assert!(max_open.load(Relaxed) <= 2 + 2, "{max_open:?} concurrent connections");
    assert_eq!(origin.count(), 72, "each request is sent once");
}
