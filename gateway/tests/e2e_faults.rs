//! Endpoints that die, hang, refuse or swallow connections: what it costs requests, and what must never happen.

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
    ANY_PORT, DEADLINE, Follows, Origin, TestGateway, Then, ingress, ok, one, service, settings, until,
};

/// Host `a.example` at these endpoints.
fn at(endpoints: &[SocketAddr]) -> String {
    ingress("a", "a.example", &[("/", "a")]) + &service("a", endpoints)
}

/// The sum of a counter on the metrics page.
fn counter(gateway: &TestGateway, name: &str) -> u64 {
    let (_, page) = gateway.admin("/metrics");
    let line = page.lines().find_map(|line| line.strip_prefix(&format!("gateway_{name}_total ")));
    line.unwrap_or_else(|| panic!("no {name}: {page}")).parse().unwrap()
}

// ===== an endpoint that can die and come back =====

struct Mortal {
    address: SocketAddr,
    served: Arc<AtomicUsize>,
    life: Option<Life>,
}

struct Life {
    listener: TcpListener,
    streams: Arc<Mutex<Vec<TcpStream>>>,
    accepting: JoinHandle<()>,
}

impl Mortal {
    fn new() -> Self {
        let listener = TcpListener::bind(ANY_PORT).unwrap();
        let address = listener.local_addr().unwrap();
        let mut mortal = Self { address, served: Arc::default(), life: None };
        mortal.live(listener);
        mortal
    }

    fn live(&mut self, listener: TcpListener) {
        let streams = Arc::<Mutex<Vec<TcpStream>>>::default();
        let (incoming, known, served) =
            (listener.try_clone().unwrap(), Arc::clone(&streams), Arc::clone(&self.served));
        let accepting = std::thread::spawn(move || {
            while let Ok((stream, _)) = incoming.accept() {
                known.lock().unwrap().push(stream.try_clone().unwrap());
                let served = Arc::clone(&served);
                std::thread::spawn(move || serve(stream, &served));
            }
        });
        self.life = Some(Life { listener, streams, accepting });
    }

    /// As when a process is killed: nobody listens, and all connections end.
    fn die(&mut self) {
        let life = self.life.take().unwrap();
        socket2::SockRef::from(&life.listener).shutdown(Shutdown::Both).unwrap();
        life.accepting.join().unwrap();
        drop(life.listener);
        for stream in life.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn rise(&mut self) {
        self.live(TcpListener::bind(self.address).unwrap());
    }

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
            if stream.write_all(ok("mortal").as_bytes()).is_err() {
                return;
            }
            served.fetch_add(1, Relaxed);
        }
    }
}

/// Clients that ask one request after the other until told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<(usize, Vec<String>)>>,
}

impl Load {
    fn start(gateway: &TestGateway, clients: usize) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let client = |_| {
            let (mut client, stop) = (gateway.client(), Arc::clone(&stop));
            std::thread::spawn(move || {
                let (mut good, mut bad) = (0, Vec::new());
                while !stop.load(Relaxed) {
                    let answer = client.get("a.example", "/");
                    if answer.status() == 200 { good += 1 } else { bad.push(answer.text().to_owned()) }
                }
                (good, bad)
            })
        };
        let clients = (0..clients).map(client).collect();
        Self { stop, clients }
    }

    /// How many requests were served, and what the others got.
    fn stop(self) -> (usize, Vec<String>) {
        self.stop.store(true, Relaxed);
        let (mut good, mut bad) = (0, Vec::new());
        for client in self.clients {
            let (more, failed) = client.join().unwrap();
            good += more;
            bad.extend(failed);
        }
        (good, bad)
    }
}

// ===== an address that swallows attempts to connect =====

struct Blackhole {
    address: SocketAddr,
    _socket: socket2::Socket,
    _filling: Vec<std::io::Result<TcpStream>>,
}

impl Blackhole {
    /// One connection fills a queue of length 0; the kernel then ignores further ones.
    fn new() -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&ANY_PORT.into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let fill = |_| TcpStream::connect_timeout(&address, Duration::from_millis(100));
        let filling: Vec<_> = (0..3).map(fill).collect();
        assert!(filling.iter().any(Result::is_err), "the queue is full");
        Self { address, _socket: socket, _filling: filling }
    }
}

/// A gate that a test opens for an endpoint's script.
fn gate() -> (Sender<()>, Mutex<Receiver<()>>) {
    let (open, gate) = channel();
    (open, Mutex::new(gate))
}

// ===== the sentences =====

#[test]
fn one_dead_endpoint_of_three_under_load_costs_no_get_and_returns_within_ten_seconds() {
    let mut mortals = [Mortal::new(), Mortal::new(), Mortal::new()];
    let gateway = TestGateway::start(&at(&mortals.each_ref().map(|mortal| mortal.address)));
    let load = Load::start(&gateway, 4);
    until("all serve", || mortals.iter().all(|mortal| mortal.served() > 100));
    mortals[1].die();
    until("the death is noticed", || counter(&gateway, "upstream_connect_failures") > 0);
    let noticed = Instant::now();
    until("a second has passed", || noticed.elapsed() > Duration::from_secs(1));
    // Four clients may have tried at the same time; then it is out, but for one attempt a second.
    let failures = counter(&gateway, "upstream_connect_failures");
    assert!(failures <= 4 + 2, "{failures} attempts to connect to a dead endpoint");
    let before = mortals[1].served();
    mortals[1].rise();
    let risen = Instant::now();
    until("it serves again", || mortals[1].served() > before);
    assert!(risen.elapsed() < Duration::from_secs(10), "{:?}", risen.elapsed());
    let (good, bad) = load.stop();
    assert!(bad.is_empty() && good > 300, "{good} good, {bad:?}");
}

#[test]
fn a_blackholed_endpoint_among_three_costs_no_request_and_later_ones_do_not_pay_for_it() {
    let (a, b, hole) = (Origin::named("a"), Origin::named("b"), Blackhole::new());
    let gateway = TestGateway::start(&at(&[a.address, hole.address, b.address]));
    let mut client = gateway.client();
    let (began, mut slow) = (Instant::now(), 0);
    // Long enough for the first ejection of a second to end, and for the attempt after it.
    while began.elapsed() < Duration::from_secs(3) {
        let asked = Instant::now();
        client.send("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\n\r\nhi");
        assert_eq!(client.response().status(), 200);
        slow += usize::from(asked.elapsed() > Duration::from_millis(700));
    }
    assert_eq!(slow, 1, "the one that found out");
    assert!(counter(&gateway, "upstream_connect_failures") >= 2, "it was tried again beside the requests");
}

#[test]
fn an_endpoint_that_hangs_or_sends_garbage_is_left_alone_after_five_answers() {
    for garbage in ["", "garbage\r\n\r\n"] {
        let bad = Origin::start(move |call| {
            call.answer(garbage)?;
            Ok(if garbage.is_empty() { Then::Hang } else { Then::Close })
        });
        let good = Origin::named("good");
        let settings = settings(|all| all.timeouts.first_byte = Duration::from_millis(20));
        let gateway = TestGateway::with(&at(&[bad.address, good.address]), settings);
        let statuses: Vec<_> = (0..40).map(|_| gateway.get("a.example", "/").status()).collect();
        let failed = statuses.iter().filter(|status| **status != 200).count();
        // One more if the second of its ejection passes meanwhile, and somebody has to find out.
        assert!((5..=6).contains(&failed), "{garbage:?}: {statuses:?}");
        assert!(statuses[..10].iter().filter(|status| **status == 200).count() >= 5, "{statuses:?}");
    }
}

#[test]
fn a_put_lost_on_a_stale_connection_is_sent_again_whole_and_a_post_never() {
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
    let body = "x".repeat(20_000);
    let send = |method: &str| {
        format!("{method} /{method} HTTP/1.1\r\nHost: a.example\r\nContent-Length: 20000\r\n\r\n{body}")
    };
    assert_eq!(client.get("a.example", "/").status(), 200);
    client.send(send("PUT"));
    assert_eq!(client.response().status(), 200);
    let puts = |requests: Vec<support::Message>| {
        requests.into_iter().filter(|seen| seen.target() == "/PUT").collect::<Vec<_>>()
    };
    let seen = puts(origin.requests());
    assert_eq!(seen.len(), 2, "once in vain");
    assert!(seen.iter().all(|put| put.body == body.as_bytes()), "whole both times");
    client.send(send("POST"));
    assert_eq!(client.response().status(), 502);
    assert_eq!(origin.requests().iter().filter(|seen| seen.target() == "/POST").count(), 1);
    // More than is held is sent once.
    assert_eq!(client.get("a.example", "/").status(), 200);
    let large = "PUT /large HTTP/1.1\r\nHost: a.example\r\nContent-Length: 200000\r\n\r\n".to_owned()
        + &"y".repeat(200_000);
    client.send(large);
    assert_eq!(client.response().status(), 502);
    assert_eq!(origin.requests().iter().filter(|seen| seen.target() == "/large").count(), 1);
}

#[test]
fn an_endpoint_that_dies_after_the_head_is_not_asked_again() {
    let origin = Origin::start(|call| {
        call.answer("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe")?;
        Ok(Then::Reset)
    });
    let gateway = TestGateway::start(&at(&[origin.address]));
    let mut client = gateway.client();
    client.send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    assert!(client.message(Follows::Response).is_err(), "it must not look whole");
    assert_eq!(origin.count(), 1);
}

#[test]
fn a_removed_endpoint_lets_its_request_end_and_keeps_no_connection() {
    let (open, closed) = gate();
    let origin = Origin::start(move |call| {
        if call.request.target() == "/slow" {
            let _ = closed.lock().unwrap().recv();
        }
        call.answer(ok("old")).map(|()| Then::Keep)
    });
    let gateway = TestGateway::start(&one(&origin));
    let mut client = gateway.client();
    assert_eq!(client.get("a.example", "/").text(), "old");
    client.send("GET /slow HTTP/1.1\r\nHost: a.example\r\n\r\n");
    origin.wait_heads(2);
    let new = Origin::named("new");
    gateway.replace("all.yaml", &at(&[new.address]));
    assert_eq!(gateway.get("a.example", "/").text(), "new");
    open.send(()).unwrap();
    assert_eq!(client.response().text(), "old");
    until("nothing is kept for it", || origin.open() == 0);
}

// ===== limits =====

/// A gateway whose Services may have so many connections and waiting requests, and how long those wait.
fn limited(
    endpoints: &[SocketAddr],
    (connections, pending): (u32, u32),
    (workers, total): (u16, Duration),
) -> TestGateway {
    let settings = settings(|all| {
        all.limits.upstream_connections = connections.try_into().unwrap();
        all.limits.pending_requests = pending;
        all.timeouts.connect_total = total;
        all.workers = Some(workers);
    });
    TestGateway::with(&at(endpoints), settings)
}

#[test]
fn beyond_connections_and_pending_requests_the_answer_is_503_with_retry_after() {
    let (open, closed) = gate();
    let origin = Origin::start(move |call| {
        let _ = closed.lock().unwrap().recv();
        call.answer(ok("a")).map(|()| Then::Keep)
    });
    let gateway = limited(&[origin.address], (1, 1), (1, DEADLINE));
    let mut clients = [gateway.client(), gateway.client()];
    clients[0].send("GET /1 HTTP/1.1\r\nHost: a.example\r\n\r\n");
    origin.wait_heads(1);
    // One that leaves while it waits takes no place with it.
    let mut left = gateway.client();
    left.send("GET /left HTTP/1.1\r\nHost: a.example\r\n\r\n");
    until("it waits", || gateway.get("a.example", "/").status() == 503);
    let refused = gateway.get("a.example", "/");
    assert_eq!((refused.status(), refused.field("gateway-reason")), (503, Some("upstream_overloaded")));
    assert_eq!(refused.field("retry-after"), Some("1"));
    drop(left);
    until("the place is free", || {
        clients[1] = gateway.client();
        clients[1].stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        clients[1].send("GET /2 HTTP/1.1\r\nHost: a.example\r\n\r\n");
        // No answer at all within a second: it waits.
        !matches!(clients[1].head(), Ok(Some(_)))
    });
    clients[1].stream.set_read_timeout(Some(DEADLINE)).unwrap();
    open.send(()).unwrap();
    assert_eq!(clients[0].response().status(), 200);
    open.send(()).unwrap();
    assert_eq!(clients[1].response().status(), 200);
    assert_eq!(origin.connections(), 1, "the second one got the connection of the first");
}

#[test]
fn a_request_that_waits_in_vain_is_503_after_the_time_to_connect() {
    let origin = Origin::start(|_| Ok(Then::Hang));
    let gateway = limited(&[origin.address], (1, 8), (1, Duration::from_millis(500)));
    let mut busy = gateway.client();
    busy.send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    origin.wait_heads(1);
    let asked = Instant::now();
    assert_eq!(gateway.get("a.example", "/").field("gateway-reason"), Some("upstream_overloaded"));
    assert!(asked.elapsed() >= Duration::from_millis(500), "{:?}", asked.elapsed());
}

#[test]
fn limits_hold_over_all_workers_and_everybody_is_served() {
    let origin = Origin::named("a");
    let gateway = limited(&[origin.address], (2, 64), (4, DEADLINE));
    let most = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..24 {
            scope.spawn(|| {
                for _ in 0..3 {
                    assert_eq!(gateway.get("a.example", "/").status(), 200);
                    most.fetch_max(origin.open(), Relaxed);
                }
            });
        }
    });
    // The origin notices an end later than the gateway makes it.
    assert!(most.load(Relaxed) <= 2 + 2, "{most:?} connections at a time");
    assert_eq!(origin.count(), 72, "each request was seen once");
}
