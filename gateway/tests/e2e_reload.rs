//! Edits of the folder while requests run: they take effect at once, and no request fails.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use gateway::settings::{DrainSettings, Settings};
use support::fixtures::{Manifests, ingress, secret, service};
use support::{Certificate, DEADLINE, Follows, Origin, TestGateway, Then};
use support::{ok, single_route, tls_client, until};

/// Clients that send requests continuously, over one connection each, until [`Load::stop`].
struct Load {
    stop: Arc<AtomicBool>,
    served: mpsc::Receiver<Served>,
    edits: Arc<AtomicUsize>,
    clients: Vec<std::thread::JoinHandle<usize>>,
}

/// One request that was served.
struct Served {
    /// The number of edits that were live when the request was sent.
    edits_before: usize,
    /// The name of the origin that responded.
    origin: String,
}

impl Load {
    fn start(gateway: &TestGateway) -> Self {
        let (stop, edits) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (sender, served) = mpsc::channel();
        let start = |method: &'static str| {
            let (stop, edits, sender) = (Arc::clone(&stop), Arc::clone(&edits), sender.clone());
            let mut client = gateway.client();
            std::thread::spawn(move || {
                let mut count = 0;
                while !stop.load(Ordering::SeqCst) {
                    let edits_before = edits.load(Ordering::SeqCst);
                    client.send(format!(
                        "{method} / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\n\r\nhi"
                    ));
                    let response = client.response();
                    assert_eq!(response.status(), 200, "{response:?}");
                    count += 1;
                    let _ = sender.send(Served { edits_before, origin: response.text().to_owned() });
                }
                count
            })
        };
        // A lost POST is not retried, so the gateway cannot hide a failure.
        let clients = ["GET", "POST", "GET", "POST"].into_iter().map(start).collect();
        Self { stop, served, edits, clients }
    }

    /// Receives at least `min_count` responses, until one comes from the origin of the newest edit.
    ///
    /// Asserts that each comes from the origin of an edit at least as new as the edits live when it was sent.
    fn check(&self, min_count: usize) {
        let newest = self.edits.load(Ordering::SeqCst);
        for count in 1.. {
            let Served { edits_before, origin } = self.served.recv_timeout(DEADLINE).unwrap();
            let origin: usize = origin.parse().unwrap();
            assert!(origin >= edits_before, "sent after edit {edits_before}, served by origin {origin}");
            if count >= min_count && origin == newest {
                return;
            }
        }
    }

    /// Stops the clients and returns the number of requests. Panics if one failed.
    fn stop(self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        self.clients.into_iter().map(|client| client.join().unwrap()).sum()
    }
}

/// Moves traffic from one origin to the next by edits of one file. `unchanged` is served throughout.
fn check_traffic_moves(unchanged: Manifests, file: &str, edited: impl Fn(usize, &Origin) -> String) {
    let origins: Vec<_> = ["0", "1", "2", "3", "4", "5", "6"].into_iter().map(Origin::named).collect();
    let services = origins.iter().enumerate();
    let services = services.map(|(n, origin)| service(&format!("s{n}")).endpoints(&[origin.address]));
    let gateway = TestGateway::start(&(unchanged + services.collect::<Manifests>()));
    let mut edits = origins.iter().enumerate();
    let mut edit = || edits.next().map(|(n, origin)| gateway.replace(file, &edited(n, origin)));
    edit().unwrap();
    let load = Load::start(&gateway);
    load.check(300);
    while edit().is_some() {
        load.edits.fetch_add(1, Ordering::SeqCst);
        load.check(300);
    }
    let sent = load.stop();
    assert!(sent >= 2000, "{sent}");
    let received: usize = origins.iter().map(Origin::count).sum();
    assert_eq!(received, sent, "no request is lost, none is sent twice");
}

#[test]
fn ingress_edits_under_load_move_traffic_without_failures() {
    check_traffic_moves(Manifests::default(), "ingress.yaml", |n, _| {
        ingress("i").host("a.example").path("/", &format!("s{n}")).to_yaml()
    });
}

#[test]
fn endpoint_edits_under_load_move_traffic_without_failures() {
    let route = Manifests::default() + ingress("i").host("a.example").path("/", "s");
    check_traffic_moves(route, "service.yaml", |_, origin| {
        service("s").endpoints(&[origin.address]).to_yaml()
    });
}

#[test]
fn listeners_stay_bound_without_routes_and_send_404() {
    let origin = Origin::named("a");
    let gateway = TestGateway::start("");
    let mut client = gateway.client();
    assert_eq!(client.get("a.example", "/").field("gateway-reason"), Some("no_rule"));
    assert_eq!(gateway.admin("/readyz").0, 200, "an empty folder is a complete table");
    gateway.replace("routes.yaml", &single_route(&origin));
    assert_eq!(client.get("a.example", "/").text(), "a");
    let before = gateway.gateway.generation();
    std::fs::remove_file(gateway.path("routes.yaml")).unwrap();
    gateway.gateway.wait(before + 1, DEADLINE).unwrap();
    assert_eq!(client.get("a.example", "/").status(), 404);
    assert_eq!(gateway.get("a.example", "/").status(), 404, "new connections are accepted");
}

#[test]
fn broken_edit_keeps_the_table_and_reports_a_problem() {
    let origin = Origin::named("a");
    let gateway = TestGateway::start(&single_route(&origin));
    gateway.replace("all.yaml", "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nspec: {rules: [\n");
    assert_eq!(gateway.get("a.example", "/").text(), "a");
    let problems = gateway.admin("/problems").1;
    assert!(problems.contains("all.yaml"), "{problems}");
}

#[test]
fn rotated_certificate_is_used_at_the_next_handshake() {
    let origin = Origin::named("a");
    let (old, new, other) =
        (Certificate::new("a.example"), Certificate::new("a.example"), Certificate::new("b.example"));
    let objects = ingress("a").host("a.example").path("/", "a").tls("a.example", "s")
        + ingress("b").host("b.example").path("/", "a").tls("b.example", "t")
        + service("a").endpoints(&[origin.address])
        + secret("t", &other);
    let gateway = TestGateway::start(&objects);
    gateway.replace("secret.yaml", &secret("s", &old));
    let https = gateway.gateway.https;
    let trusted = [&old, &new, &other];
    let mut before = tls_client(https, "a.example", &trusted);
    assert_eq!((before.get("a.example", "/").text(), before.certificate()), ("a", old.der.clone()));
    gateway.replace("secret.yaml", &secret("s", &new));
    assert_eq!(before.get("a.example", "/").text(), "a", "a connection outlives its certificate");
    assert_eq!(tls_client(https, "a.example", &trusted).certificate(), new.der);
    assert_eq!(tls_client(https, "b.example", &trusted).certificate(), other.der);
    // A Secret that became malformed keeps its last valid certificate.
    let malformed = secret("s", &new).to_yaml().replace("BEGIN CERTIFICATE", "BEGIN NONSENSE");
    gateway.replace("secret.yaml", &malformed);
    assert_eq!(tls_client(https, "a.example", &trusted).certificate(), new.der);
    let problems = gateway.admin("/problems").1;
    assert!(problems.contains("default/s") && problems.contains("tls.crt"), "{problems}");
}

#[test]
fn drain_finishes_requests_and_refuses_new_connections() {
    let (release, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let origin = Origin::start(move |call| {
        call.read_body()?;
        if call.request.target() == "/slow" {
            let _ = gate.lock().unwrap().recv_timeout(DEADLINE);
        }
        call.wire.stream.write_all(ok("a").as_bytes()).map(|()| Then::Keep)
    });
    let mut settings = Settings::default();
    settings.drain.delay = Duration::ZERO;
    let gateway = TestGateway::with(&single_route(&origin), settings);
    let (http, admin) = (gateway.gateway.http, gateway.gateway.admin);
    let (mut busy, mut idle) = (gateway.client(), gateway.client());
    assert_eq!(idle.get("a.example", "/").status(), 200);
    busy.send("GET /slow HTTP/1.1\r\nHost: a.example\r\n\r\n");
    origin.wait_heads(2);
    let TestGateway { gateway, folder } = gateway;
    let draining = std::thread::spawn(move || gateway.drain());
    until("new connections are refused", || TcpStream::connect_timeout(&http, DEADLINE).is_err());
    assert_eq!(idle.rest(), b"", "an idle connection is closed gracefully");
    let page = support::Client::connect(admin).get("admin", "/readyz");
    assert_eq!((page.status(), page.text()), (503, "not ready: draining\n"));
    assert!(!draining.is_finished());
    release.send(()).unwrap();
    let response = busy.response();
    assert_eq!((response.status(), response.text()), (200, "a"));
    assert_eq!(response.field("connection"), Some("close"), "the client must send no more requests on it");
    assert_eq!(busy.rest(), b"");
    draining.join().unwrap();
    drop(folder);
}

#[test]
fn drain_ends_at_its_time_limit() {
    let origin = Origin::start(|call| call.read_body().map(|()| Then::Hang));
    let limit = Duration::from_millis(200);
    let gateway = TestGateway::with(
        &single_route(&origin),
        Settings { drain: DrainSettings { delay: Duration::ZERO, limit }, ..Settings::default() },
    );
    let mut busy = gateway.client();
    busy.send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    origin.wait_heads(1);
    let started = std::time::Instant::now();
    gateway.gateway.drain();
    assert!(started.elapsed() >= limit && started.elapsed() < DEADLINE);
    until("the request is cut off", || !matches!(busy.message(Follows::Response), Ok(Some(_))));
}

#[test]
fn hundred_unrelated_edits_disturb_no_connection() {
    let (release, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let origin = Origin::start(move |call| {
        call.read_body()?;
        if call.request.target() == "/poll" {
            call.wire.stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")?;
            let _ = gate.lock().unwrap().recv_timeout(DEADLINE);
            return call.wire.stream.write_all(b"cd").map(|()| Then::Keep);
        }
        call.wire.stream.write_all(ok("a").as_bytes()).map(|()| Then::Keep)
    });
    let certificate = Certificate::new("a.example");
    let objects = ingress("a").host("a.example").path("/", "a").tls("a.example", "s")
        + service("a").endpoints(&[origin.address])
        + secret("s", &certificate);
    let gateway = TestGateway::start(&objects);
    let (mut plain, mut poll) = (gateway.client(), gateway.client());
    let mut secure = tls_client(gateway.gateway.https, "a.example", &[&certificate]);
    poll.send("GET /poll HTTP/1.1\r\nHost: a.example\r\n\r\n");
    let mut polled = poll.head().unwrap().unwrap();
    for n in 0..100 {
        // Each edit replaces the host, Service, endpoints and certificate of another Ingress.
        let host = format!("b{n}.example");
        let other = ingress("b").host(&host).path("/", "b").tls(&host, "t")
            + service("b").endpoints(&[([127, 0, 0, 1], 1000 + n).into()])
            + secret("t", &Certificate::new(&host));
        gateway.replace("other.yaml", &other);
        if n % 10 == 0 {
            assert_eq!(
                (plain.get("a.example", "/").status(), secure.get("a.example", "/").status()),
                (200, 200)
            );
        }
    }
    release.send(()).unwrap();
    poll.body(&mut polled, Follows::Response).unwrap();
    assert_eq!(polled.text(), "abcd");
    for response in [plain.get("a.example", "/"), secure.get("a.example", "/"), poll.get("a.example", "/")] {
        assert_eq!((response.status(), response.field("connection")), (200, None));
    }
    let metrics = gateway.admin("/metrics").1;
    assert!(metrics.contains("gateway_client_connections_accepted_total 3\n"), "{metrics}");
}
