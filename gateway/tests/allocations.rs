//! Heap allocations that a plain HTTP/1.1 request costs the process.
//!
//! Client and endpoint are blocking sockets with fixed buffers, so the gateway makes all counted allocations. This test
//! is a separate binary because the counter is the allocator of the process.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::alloc::System;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use gateway::cli::args::loopback;
use gateway::cli::process::{Gateway, Options, Source};
use gateway::observe::access_log::Destination;
use gateway::settings::{ListenerSettings, Settings};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const REQUEST: &[u8] =
    b"GET /api/products?page=2 HTTP/1.1\r\nHost: a.example\r\nUser-Agent: test\r\nAccept: */*\r\n\r\n";
const RESPONSE: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: text/plain\r\nServer: test\r\n\r\nhello";

/// Maximum allocations of a plain request (DESIGN.md §3).
const MAX_ALLOCATIONS: usize = 4;

/// Both cases are one test: parallel tests would count each other's allocations. The access log allocates once per 16 KiB
/// of entries, which the margin covers.
#[test]
fn plain_request_costs_at_most_four_allocations() {
    let folder = tempfile::tempdir().unwrap();
    for destination in [Destination::Off, Destination::File(folder.path().join("log"))] {
        check_allocations(destination);
    }
    assert!(std::fs::read_to_string(folder.path().join("log")).unwrap().lines().count() >= 2000);
}

fn check_allocations(destination: Destination) {
    let origin = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = origin.local_addr().unwrap().port();
    std::thread::spawn(move || serve_endpoint(&origin));

    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.yaml"), yaml(port)).unwrap();
    let listeners =
        ListenerSettings { http: loopback(0), https: loopback(0), admin: loopback(0), probe: None };
    let mut settings = Settings { listeners, workers: Some(1), ..Settings::default() };
    settings.access_log.destination = destination.clone();
    settings.drain.delay = Duration::ZERO;
    let gateway = Gateway::start(&Options::new(Source::Files(folder.path().to_owned()), settings)).unwrap();
    gateway.wait(1, Duration::from_secs(10)).unwrap();

    let mut client = TcpStream::connect(gateway.http).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    send_requests(&mut client, 100);
    let region = Region::new(ALLOCATOR);
    let requests = 2000;
    send_requests(&mut client, requests);
    let counted = region.change();
    let total = counted.allocations + counted.reallocations;
    // The margin of 0.1 allocations a request covers the other threads.
    assert!(
        total <= MAX_ALLOCATIONS * requests + requests / 10,
        "{total} allocations in {requests} requests, access log {destination}: {counted:?}"
    );
    gateway.drain();
}

fn send_requests(client: &mut TcpStream, times: usize) {
    let mut buffer = [0u8; 4096];
    for _ in 0..times {
        client.write_all(REQUEST).unwrap();
        let mut read = 0;
        while !buffer[..read].ends_with(b"hello") {
            let more = client.read(&mut buffer[read..]).unwrap();
            assert_ne!(more, 0, "the gateway closed the connection");
            read += more;
        }
    }
}

fn serve_endpoint(origin: &TcpListener) {
    let mut buffer = [0u8; 4096];
    while let Ok((mut stream, _)) = origin.accept() {
        let mut read = 0;
        while let Ok(more @ 1..) = stream.read(&mut buffer[read..]) {
            read += more;
            if buffer[..read].ends_with(b"\r\n\r\n") {
                read = 0;
                if stream.write_all(RESPONSE).is_err() {
                    break;
                }
            }
        }
    }
}

fn yaml(port: u16) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: web, namespace: shop}}
spec:
  rules:
  - host: a.example
    http:
      paths:
      - {{path: /, pathType: Prefix, backend: {{service: {{name: web, port: {{number: 80}}}}}}}}
---
apiVersion: v1
kind: Service
metadata:
  name: web
  namespace: shop
  annotations: {{wasm-gateway.dev/endpoints: \"127.0.0.1:{port}\"}}
spec: {{ports: [{{port: 80}}]}}
"
    )
}
