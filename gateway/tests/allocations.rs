//! Heap allocations that HTTP/1.1 requests cost the whole process, plain and with filters.
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

const RESPONSE: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: text/plain\r\nServer: test\r\n\r\nhello";

/// Requests of one case after 100 that fill pools and caches.
const REQUESTS: usize = 2000;

/// A kind of request, and the heap allocations that it may cost.
struct Case {
    name: &'static str,
    /// The spec of a RoutePolicy; empty without one.
    policy: &'static str,
    /// Fields of the request.
    fields: &'static str,
    /// The last bytes of the response.
    end: &'static [u8],
    allocations: usize,
}

/// One test, since the counter is the whole process's.
#[test]
fn requests_cost_few_allocations() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let plain = Case { name: "plain", policy: "", fields: "", end: b"hello", allocations: 3 };
    check(&plain, Destination::Off);
    // Entries cost no allocation, but the batches that hold them do: less than one per request.
    check(&Case { name: "logged", allocations: 4, ..plain }, Destination::File(log.clone()));
    assert!(std::fs::read_to_string(log).unwrap().lines().count() >= REQUESTS);
    for case in [
        Case {
            name: "header edits",
            policy: "{requestHeaders: {set: [{name: x-team, value: shop}], remove: [accept]}, \
                     responseHeaders: {set: [{name: x-frame-options, value: DENY}]}}",
            fields: "",
            end: b"hello",
            allocations: 8,
        },
        Case {
            name: "CORS",
            policy: "{cors: {allowOrigins: [\"https://shop.example\"]}}",
            fields: "Origin: https://shop.example\r\n",
            end: b"hello",
            allocations: 10,
        },
        Case {
            name: "redirect",
            policy: "{redirect: {https: Always}}",
            fields: "",
            end: b"\r\n\r\n",
            allocations: 14,
        },
    ] {
        check(&case, Destination::Off);
    }
}

fn check(case: &Case, log: Destination) {
    let origin = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = origin.local_addr().unwrap().port();
    std::thread::spawn(move || serve(&origin));

    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.yaml"), yaml(port, case.policy)).unwrap();
    let listeners =
        ListenerSettings { http: loopback(0), https: loopback(0), admin: loopback(0), probe: None };
    let mut settings = Settings { listeners, workers: Some(1), ..Settings::default() };
    settings.access_log.destination = log.clone();
    settings.drain.delay = Duration::ZERO;
    let gateway = Gateway::start(&Options::new(Source::Files(folder.path().to_owned()), settings)).unwrap();
    gateway.wait(1, Duration::from_secs(10)).unwrap();

    let mut client = TcpStream::connect(gateway.http).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    request(&mut client, case, 100);
    let region = Region::new(ALLOCATOR);
    request(&mut client, case, REQUESTS);
    let counted = region.change();
    let total = counted.allocations + counted.reallocations;
    // A tenth of an allocation is left for what other threads do meanwhile.
    assert!(
        total <= case.allocations * REQUESTS + REQUESTS / 10,
        "{}: {total} allocations in {REQUESTS} requests, access log {log}: {counted:?}",
        case.name
    );
    gateway.drain();
}

fn request(client: &mut TcpStream, case: &Case, times: usize) {
    let request = format!(
        "GET /api/products?page=2 HTTP/1.1\r\nHost: a.example\r\nUser-Agent: test\r\nAccept: */*\r\n{}\r\n",
        case.fields
    );
    let mut buffer = [0u8; 4096];
    for _ in 0..times {
        client.write_all(request.as_bytes()).unwrap();
        let mut read = 0;
        while !buffer[..read].ends_with(case.end) {
            let more = client.read(&mut buffer[read..]).unwrap();
            assert_ne!(more, 0, "the gateway closed the connection");
            read += more;
        }
    }
}

fn serve(origin: &TcpListener) {
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

fn yaml(port: u16, policy: &str) -> String {
    let ingress = format!(
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
    );
    if policy.is_empty() {
        return ingress;
    }
    let target = "targetRefs: [{group: networking.k8s.io, kind: Ingress, name: web}]";
    let spec = policy.replacen('{', &format!("{{{target}, "), 1);
    format!(
        "{ingress}---
apiVersion: wasm-gateway.dev/v1alpha1
kind: RoutePolicy
metadata: {{name: p, namespace: shop}}
spec: {spec}
"
    )
}
