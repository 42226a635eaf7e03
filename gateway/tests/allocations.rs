//! How many heap allocations a plain HTTP/1.1 request costs the whole process.
//!
//! Client and endpoint are blocking sockets with fixed buffers, so what is counted is the gateway's. A binary of
//! its own, since the counter is the process's allocator.

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
const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: text/plain\r\nServer: test\r\n\r\nhello";

/// DESIGN's bound for a plain request.
const MOST_PER_REQUEST: usize = 4;

/// One test, since the counter is everybody's. With the access log, one allocation per 16 KiB of lines comes on top,
/// which the margin covers.
#[test]
fn a_plain_request_costs_at_most_four_allocations_with_and_without_the_access_log() {
    let folder = tempfile::tempdir().unwrap();
    for to in [Destination::Off, Destination::File(folder.path().join("log"))] {
        check(to);
    }
    assert!(std::fs::read_to_string(folder.path().join("log")).unwrap().lines().count() >= 2000);
}

fn check(to: Destination) {
    let origin = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = origin.local_addr().unwrap().port();
    std::thread::spawn(move || answer_for_ever(&origin));

    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.yaml"), yaml(port)).unwrap();
    let listeners =
        ListenerSettings { http: loopback(0), https: loopback(0), admin: loopback(0), probe: None };
    let mut settings = Settings { listeners, workers: Some(1), ..Settings::default() };
    settings.access_log.destination = to.clone();
    settings.drain.delay = Duration::ZERO;
    let gateway = Gateway::start(&Options::new(Source::Files(folder.path().to_owned()), settings)).unwrap();
    gateway.wait(1, Duration::from_secs(10)).unwrap();

    let mut client = TcpStream::connect(gateway.http).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    request(&mut client, 100);
    let region = Region::new(ALLOCATOR);
    let requests = 2000;
    request(&mut client, requests);
    let counted = region.change();
    let total = counted.allocations + counted.reallocations;
    // A tenth of an allocation is left for what other threads do meanwhile.
    assert!(
        total <= MOST_PER_REQUEST * requests + requests / 10,
        "{total} allocations in {requests} requests, access log {to}: {counted:?}"
    );
    gateway.drain();
}

fn request(client: &mut TcpStream, times: usize) {
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

fn answer_for_ever(origin: &TcpListener) {
    let mut buffer = [0u8; 4096];
    while let Ok((mut stream, _)) = origin.accept() {
        let mut read = 0;
        while let Ok(more @ 1..) = stream.read(&mut buffer[read..]) {
            read += more;
            if buffer[..read].ends_with(b"\r\n\r\n") {
                read = 0;
                if stream.write_all(ANSWER).is_err() {
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
