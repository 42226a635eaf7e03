//! The share of a worker's time that one connection takes.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod support;

use std::io::Read;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use support::fixtures::{ingress, secret, service};
use support::{Certificate, Client, Origin, TestGateway, Then, ok, tls_client};

/// Requests of one case.
const REQUESTS: usize = 50;

/// Maximum median of their latencies. A turn of a download takes less than 1 ms, also in a debug build.
const MAX_MEDIAN: Duration = Duration::from_millis(250);

/// Reads a response until its end, or until `stop`.
fn read_until(stop: &AtomicBool, stream: &mut impl Read) {
    let mut buffer = vec![0; 64 << 10];
    while !stop.load(Ordering::Relaxed) {
        if stream.read(&mut buffer).unwrap() == 0 {
            break;
        }
    }
}

#[test]
fn small_requests_are_served_beside_downloads() {
    // An endless body, as fast as the gateway reads it.
    let large = Origin::start(|call| {
        call.respond("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        let chunk = [&b"10000\r\n"[..], &[b'x'; 64 << 10], b"\r\n"].concat();
        loop {
            call.wire.stream.write_all(&chunk)?;
        }
    });
    let small = Origin::start(|call| call.respond(ok("a")).map(|()| Then::Keep));
    let certificate = Certificate::new("a.example");
    let objects =
        ingress("i").host("a.example").path("/large", "large").path("/", "small").tls("a.example", "s")
            + service("large").endpoints(&[large.address])
            + service("small").endpoints(&[small.address])
            + secret("s", &certificate);
    let gateway = TestGateway::start(&objects);
    for is_tls in [false, true] {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let request = b"GET /large HTTP/1.1\r\nHost: a.example\r\n\r\n";
                    if is_tls {
                        let mut client = tls_client(gateway.gateway.https, "a.example", &[&certificate]);
                        client.send(request);
                        read_until(&stop, &mut client.stream);
                    } else {
                        let mut client = Client::connect(gateway.gateway.http);
                        client.send(request);
                        read_until(&stop, &mut client.stream);
                    }
                });
            }
            let mut latencies: Vec<_> = (0..REQUESTS)
                .map(|_| {
                    let began = Instant::now();
                    assert_eq!(gateway.get("a.example", "/").status(), 200);
                    began.elapsed()
                })
                .collect();
            stop.store(true, Ordering::Relaxed);
            latencies.sort();
            let median = latencies[REQUESTS / 2];
            assert!(median < MAX_MEDIAN, "TLS {is_tls}: {median:?}, slowest {:?}", latencies[REQUESTS - 1]);
        });
    }
}
